"""The whole matrix: ``nox -l`` lists the sessions, ``nox -s "tests(airflow='3.1.8')"`` runs one of them.

``make test`` and ``.ci/run`` are the short way; this is for looking at the Airflow versions in between.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "tests"]

OLDEST, NEWEST = "2.11.0", "3.3.2"
# The versions in between have no lock file: the newest releases that their own requirements admit.
AIRFLOW = [OLDEST, "3.0.6", "3.1.8", "3.2.2", NEWEST]
# The ObjectStoragePath of 2.11 and 3.0 raises at file:// and s3:// with universal-pathlib 0.3.9 and newer.
# (3.1 keeps to 0.2 by itself, 3.2 and later work with the newest.)
NEEDS = {"3.0.6": ["universal-pathlib==0.2.6"]}
LOCKS = {OLDEST: "requirements/oldest.txt", NEWEST: "requirements/newest.txt"}
TEST_TOOLS = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")


def _install(session: nox.Session, lock: str) -> None:
    """Install exactly what the lock says and the checkout, editable."""
    session.run_install("uv", "pip", "sync", "--quiet", lock)
    session.install("hatchling")
    session.install("--no-deps", "--no-build-isolation", "--editable", ".")


@nox.session
@nox.parametrize("airflow", AIRFLOW)
def tests(session: nox.Session, airflow: str) -> None:
    """Run the tests on one Airflow version; arguments after ``--`` go to pytest."""
    if airflow in LOCKS:
        _install(session, LOCKS[airflow])
    else:
        session.install("--editable", ".", *TEST_TOOLS, f"apache-airflow=={airflow}", *NEEDS.get(airflow, []))
    home = {"AIRFLOW_HOME": str(Path(session.create_tmp(), "airflow").absolute())}
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs, env=home)


@nox.session(venv_backend="none")
def wheel(session: nox.Session) -> None:
    """Build the wheel and run the tests against it, on the oldest and on the newest Airflow."""
    session.run("make", "test-wheel", f"WITH={' '.join(session.posargs)}", external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling."""
    _install(session, LOCKS[NEWEST])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the package's types."""
    _install(session, LOCKS[NEWEST])
    session.run("mypy", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    _install(session, LOCKS[NEWEST])
    session.run("sphinx-build", "-nW", "--keep-going", "docs", "docs/_build/html")


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks, beside other providers."""
    _install(session, "requirements/bench.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)

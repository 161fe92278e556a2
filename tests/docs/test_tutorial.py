"""The tutorial, followed to the letter: each command and each snippet, in its order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs/tutorial/first-export.md"
FENCE = re.compile(r"^```(\S+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What the tests do not do again: this interpreter has the package installed, and is active.
INSTALL = ["python -m venv venv", ". venv/bin/activate", "pip install airflow-provider-exports"]
# As the prompt does: one statement after the other, and the value of an expression is shown.
PROMPT = """
import ast, sys
for statement in ast.parse(sys.stdin.read()).body:
    exec(compile(ast.Interactive([statement]), "tutorial", "single"))
"""
SIMULATOR = "python -m airflow_provider_exports.simulator"


class Reader:
    """Somebody with a terminal, an empty home, and the tutorial.

    :param home: the home.
    """

    def __init__(self, home: Path) -> None:
        self.landed = home / "landed"
        self.dags = home / "airflow" / "dags"
        self.dags.mkdir(parents=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        # Examples of Airflow's own would be read as well, which takes long and changes nothing here.
        self.environment = kept | {"HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        self.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
        self.ports: dict[str, str] = {}

    def here(self, text: str) -> str:
        """Return what the tutorial shows, with this simulator's ports and this test's folder."""
        for documented, real in self.ports.items():
            text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{real}")
        return text.replace("file:///tmp/first-export", f"file://{self.landed}")

    def run(self, command: str, typed: str | None = None) -> str:
        """Run a command to its end, and return what it prints."""
        done = subprocess.run(
            shlex.split(command),
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[tuple[Reader, list[str]]]:
    """A reader, and what the simulator has printed, which runs meanwhile."""
    reader = Reader(tmp_path)
    printed = tmp_path / "simulator.txt"
    command = [sys.executable, *shlex.split(SIMULATOR)[1:], "--port", "0", "--files-port", "0"]
    with printed.open("w") as output:
        process = subprocess.Popen(command, env=reader.environment, stdout=output)
    try:
        deadline = time.monotonic() + 60
        while not (text := printed.read_text()).endswith("ready\n"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        for documented, name in (("8765", "mews"), ("8766", "files")):
            (reader.ports[documented],) = re.findall(
                rf"^{name}: http://127\.0\.0\.1:(\d+)", text, re.MULTILINE
            )
        yield reader, text.splitlines()
    finally:
        process.terminate()
        process.wait(30)


def commands(body: str) -> list[str]:
    """Return the commands of a console."""
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]


@pytest.mark.airflow_e2e
def test_tutorial_does_what_it_says(reader: tuple[Reader, list[str]]) -> None:
    """Whoever types the whole tutorial lands the files that it promises, with Python and with Airflow."""
    newcomer, printed = reader
    session: list[str] = []
    done: list[str] = []
    for language, shown in FENCE.findall(TUTORIAL.read_text("utf-8")):
        body = newcomer.here(shown)
        if language == "python" and "DAG(" in body:
            (newcomer.dags / "first_export.py").write_text(body)
        elif language == "python":
            session.append(body)
        for command in commands(body) if language == "console" else []:
            done.append(command)
            if command.startswith("export "):
                name, _, value = shlex.split(command)[1].partition("=")
                newcomer.environment[name] = value
            elif command == SIMULATOR:
                rest = iter(printed)
                lines = [line for line in body.splitlines() if not line.startswith(("$", "…"))]
                assert all(line in rest for line in lines), "the simulator prints something else"
            elif command.startswith("airflow "):
                newcomer.run(command)
            else:
                assert command in [*INSTALL, "python"]
    assert done[:3] == INSTALL
    assert metadata(INSTALL[-1].split()[-1])["Name"] == INSTALL[-1].split()[-1]
    assert done[-1] == "airflow dags test first_export"
    by_airflow = {path.name for path in newcomer.landed.iterdir() if path.suffix == ".jsonl"}
    assert len(by_airflow) == 2

    said = newcomer.run(f"python -c {shlex.quote(PROMPT)}", "\n".join(session))
    assert "(True, " in said
    assert said.index("'queued'") < said.index("'ready'")
    assert "EntityType" in said
    assert {path.suffix for path in newcomer.landed.iterdir()} >= {".jsonl", ".csv"}
    assert len({path.name for path in newcomer.landed.iterdir() if path.suffix == ".jsonl"}) == 4

"""A throw-away Airflow home, no internet, no real waiting."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from tests.versions import AIRFLOW

# Before anything imports Airflow: it reads its configuration and makes its database path at import. Processes
# that share the tests (pytest -n) have a home each.
_HOME = tempfile.TemporaryDirectory(prefix="airflow-exports-tests-")
os.environ.update(
    AIRFLOW_HOME=_HOME.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME.name}/airflow.db",
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parent.parent / "example_dags"),
)
if "PYTEST_XDIST_WORKER" in os.environ:
    # Landings keep what they have in the folder for temporary files, by destination and export, and tests
    # that run at once have the same ones, such as memory://there. Its path is short, for a browser's sockets.
    _TEMPORARY = tempfile.TemporaryDirectory(prefix="tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = _TEMPORARY.name
for name in list(os.environ):
    if name.startswith("AIRFLOW_CONN_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
        del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return what ``-n auto`` means: one process more than cores, as many a test waits for a server."""
    return 1 + (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give out the tests one by one, but those of a whole Airflow as two groups, one of them with a browser.

    Each of these starts half a dozen processes, and more at a time would starve each other. They come
    first: a scheduler of this kind begins with the largest groups.
    """
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def group(file: str) -> str:
        return "browser" if "mark.browser" in (config.rootpath / file).read_text("utf-8") else "airflow"

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.partition("::")[0]) if nodeid.startswith("tests/e2e/") else nodeid

    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is of other versions of Airflow. A skip would say that something is missing here."""
    here = ".".join(map(str, AIRFLOW))
    others = [
        item
        for item in items
        if any(here not in SpecifierSet(mark.args[0]) for mark in item.iter_markers("only_airflow"))
    ]
    items[:] = [item for item in items if item not in others]
    if others:
        config.hook.pytest_deselected(items=others)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let nothing be skipped in CI: a developer may lack a tool, CI installs it."""
    report = yield
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, dict[str, Any] | None, Any]:
    """Let a process tell of hostile text: half a surrogate pair in a log cannot be sent."""

    def sendable(value: Any) -> Any:
        match value:
            case str():
                return value.encode("utf-8", "backslashreplace").decode()
            case dict():
                return {sendable(key): sendable(one) for key, one in value.items()}
            case list() | tuple():
                return type(value)(map(sendable, value))
        return value

    return sendable((yield))


LOOPBACK = ("127.", "localhost", "::1")


@pytest.fixture(autouse=True)
def _no_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects to anything but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple):
            assert str(address[0]).startswith(LOOPBACK), f"a test connects to {address}"
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)

"""A throw-away Airflow home, no internet, no real waiting."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

# Before anything imports Airflow: it reads its configuration and makes its database path at import.
_HOME = tempfile.TemporaryDirectory(prefix="airflow-exports-tests-")
os.environ.update(
    AIRFLOW_HOME=_HOME.name,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME.name}/airflow.db",
    AIRFLOW__CORE__DAGS_FOLDER=str(Path(__file__).parent.parent / "example_dags"),
)
for name in list(os.environ):
    if name.startswith("AIRFLOW_CONN_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy"}:
        del os.environ[name]


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

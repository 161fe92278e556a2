"""Starts and stops a whole Airflow on this machine: loopback, SQLite, a home of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from airflow import __version__ as AIRFLOW_VERSION

AIRFLOW_3 = int(AIRFLOW_VERSION.split(".")[0]) >= 3
# Of an Airflow that is set up in the caller's shell, and of anything that would lead away from loopback.
_FOREIGN = ("AIRFLOW", "PYTHON", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_ALWAYS = {"NO_PROXY": "*", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
_STOP_SECONDS = 5.0
_COMMAND_SECONDS = 60.0


class DemoError(Exception):
    """Something did not start, ended early or took too long.

    :param log: file whose end tells why.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


class Processes:
    """Child processes, each with a log file and, on Linux and macOS, a session of its own.

    :param logs: folder of the log files.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, psutil.Popen] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> None:
        """Start ``command`` in the background."""
        with self.log(name).open("ab") as log:
            # A session of its own, so that Ctrl-C reaches this program only and it can stop things in order.
            self._running[name] = psutil.Popen(
                command,
                env=environment,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        """Return the log file of one process."""
        return self._logs / f"{name}.log"

    def finish(self, name: str, timeout: float, meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Wait until a process has ended by itself.

        :param meanwhile: called twice a second.
        :raises DemoError: it failed or took too long.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                status = self._running[name].wait(0.5)
                break
            except psutil.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise DemoError(f"{name} did not end within {timeout:.0f} s", self.log(name)) from None
            meanwhile()
        if status != 0:
            raise DemoError(f"{name} failed with exit code {status}", self.log(name))
        del self._running[name]

    def check(self) -> None:
        """Raise :class:`DemoError` if a process has ended that should be running."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise DemoError(f"{name} ended with exit code {process.returncode}", self.log(name))

    def kill(self, name: str) -> None:
        """Kill a process and its descendants with SIGKILL; nobody misses it."""
        process = self._running.pop(name)
        for one in (process, *process.children(recursive=True)):
            one.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        """End all processes and their descendants, the last one started first."""
        # Descendants lead process groups of their own, and are nobody's children once their parent is gone.
        family: list[psutil.Process] = []
        for process in reversed(self._running.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                family += [process, *process.children(recursive=True)]
        for process in reversed(self._running.values()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, _STOP_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, _STOP_SECONDS)
        self._running.clear()

    def wait_until(self, what: str, happened: Callable[[], Any], timeout: float) -> Any:
        """Return the first true result of ``happened``, looking twice a second.

        :raises DemoError: it took too long, or a process has ended.
        """
        deadline = time.monotonic() + timeout
        while not (result := happened()):
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not happen within {timeout:.0f} s")
            time.sleep(0.5)
        return result


class LocalAirflow:
    """An Airflow of one machine in one folder.

    :param home: its ``AIRFLOW_HOME``, where everything is.
    :param dags: folder of the DAG files.
    :param port: port of the web interface; 0 takes any free one. (Airflow 3 only.)
    :param patience: seconds that a process waits for its turn to write to the database.
    :param settings: further environment variables for all its processes.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        processes: Processes,
        *,
        port: int,
        patience: int,
        settings: Mapping[str, str],
    ) -> None:
        self.home = home
        self.processes = processes
        self.port = port or free_port()
        self.patience = patience
        self.url = f"http://127.0.0.1:{self.port}"
        self.database = home / "airflow.db"
        self._environment = {**clean_environment(), **self._configuration(dags), **settings}

    def command(self, *arguments: str) -> list[str]:
        """Return an ``airflow`` command line."""
        return [sys.executable, "-m", "airflow", *arguments]

    def run(self, name: str, *arguments: str, meanwhile: Callable[[], Any] = lambda: None) -> None:
        """Run an ``airflow`` command to its end.

        :param meanwhile: called twice a second.
        :raises DemoError: it failed.
        """
        self.launch(name, *arguments)
        self.processes.finish(name, _COMMAND_SECONDS, meanwhile)

    def launch(self, name: str, *arguments: str) -> None:
        """Start an ``airflow`` command in the background."""
        self.processes.start(name, self.command(*arguments), self._environment, self.home)

    def start(self) -> None:
        """Start all parts; returns when the web interface answers. The database must be there."""
        if AIRFLOW_3:
            self.launch("api-server", "api-server", "--host", "127.0.0.1", "--port", str(self.port))
        self.launch("triggerer", "triggerer", "--skip-serve-logs")
        if AIRFLOW_3:
            # A task that starts before the API server answers fails.
            self.processes.wait_until(
                "the API server's first answer", lambda: _answers(f"{self.url}/api/v2/version"), 90
            )
            self.launch("dag-processor", "dag-processor")
        self.launch("scheduler", "scheduler", "--skip-serve-logs")

    def trigger(self, dag_id: str, meanwhile: Callable[[], Any]) -> None:
        """Start a run, without a logical date."""
        # Not over the API: what logs a user's action there waits for SQLite inside the event loop, and the
        # request whose end it waits for cannot end before the loop goes on.
        self.run(f"trigger-{dag_id}", "dags", "trigger", dag_id, meanwhile=meanwhile)

    def _configuration(self, dags: Path) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Airflow 2 lets SQLite be used one task at a time only.
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor" if AIRFLOW_3 else "SequentialExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout={self.patience}",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }


def clean_environment() -> dict[str, str]:
    """Return the caller's environment without what would lead to another Airflow or off this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(_FOREIGN)}
    # Airflow 2 starts each task as the first `airflow` on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**kept, "PATH": path, **_ALWAYS}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tail(file: Path, lines: int = 40) -> Iterator[str]:
    """Yield the last lines of a log file."""
    if file.is_file():
        yield from file.read_text(errors="replace").splitlines()[-lines:]


def _answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=10).close()
    except OSError:
        return False
    return True

"""``python -m airflow_provider_exports.simulator`` as a process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
}
COMMAND = [sys.executable, "-m", "airflow_provider_exports.simulator"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process and what it printed until it was ready; killed if a test leaves it running."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", "--files-port", "0", *arguments],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "ready":
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_announces_itself_and_ends_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    """It prints addresses and connections, then ready, writes the ready file, and ends with status 0."""
    ready_file = tmp_path / "ready.json"
    with running("--ready-file", str(ready_file)) as (process, lines):
        assert lines[-1] == "ready"
        shown = dict(line.split(": ", 1) for line in lines if line.startswith(("mews:", "giosg:", "files:")))
        assert requests.get(f"{shown['giosg']}/api/v5/users/me", timeout=5).status_code == 401
        assert all(address.startswith("http://127.0.0.1:") for address in shown.values())
        (variable,) = (line for line in lines if line.startswith("AIRFLOW_CONN_MEWS_DEFAULT="))
        connection = json.loads(variable.partition("=")[2].strip("'"))
        assert connection["host"] == shown["mews"]
        state = json.loads(ready_file.read_text())
        assert state["connections"]["mews"] == connection
        assert state["files"] == shown["files"]
        process.send_signal(number)
        assert process.wait(timeout=10) == 0
        assert not ready_file.exists()
        with pytest.raises(requests.ConnectionError):
            requests.get(state["api"], timeout=5)


def test_options_reach_the_vendors() -> None:
    """Speed, readiness and switches given on the command line are in force."""
    options = ["--ready-after-seconds", "7", "--vendor-option", "mews.busy_status=403"]
    with running(*options, "--vendor-option", "giosg.file_url=signed", "--speed", "3600") as (_, lines):
        api = next(line for line in lines if line.startswith("mews:")).split(": ")[1].removesuffix("/mews")
        post = f"{api}/_control/configure"
        mews = requests.post(post, json={"vendor": "mews", "switches": {}}, timeout=5).json()
        giosg = requests.post(post, json={"vendor": "giosg", "switches": {}}, timeout=5).json()
    assert (mews["ready_after_seconds"], mews["ready_after_reads"]) == (7, None)
    assert (giosg["ready_after_seconds"], giosg["ready_after_reads"]) == (7, None)
    assert mews["busy_status"] == 403
    assert giosg["file_url"] == "signed"


@pytest.mark.parametrize(
    "arguments",
    [["--vendor-option", "mews.nothing=1"], ["--vendor-option", "mews"], ["--speed", "-1"], ["--nothing"]],
)
def test_mistakes_end_it_with_a_message(arguments: list[str]) -> None:
    """A wrong option ends the process with status 2 and one message, not a traceback."""
    ended = subprocess.run(
        [*COMMAND, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=20
    )
    assert ended.returncode == 2
    assert "error:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_ends_it_with_a_message() -> None:
    """A port in use ends the process with status 1."""
    with running() as (_, lines):
        port = lines[0].split(":")[-1].partition("/")[0]
        ended = subprocess.run(
            [*COMMAND, "--port", port, "--files-port", "0"],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr

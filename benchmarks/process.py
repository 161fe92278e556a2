"""Start probes and servers, in a clean environment and bounded in time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def airflow_home() -> Iterator[dict[str, str]]:
    """Yield the environment of a fresh Airflow, without the caller's settings, proxies and CA bundle."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("AIRFLOW", "_AIRFLOW", "AWS_", "PYTHON"))
        and not name.upper().endswith(("_PROXY", "_CA_BUNDLE"))
    }
    with tempfile.TemporaryDirectory() as home:
        yield {
            **kept,
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PYTHONWARNINGS": "ignore",
        }


def probe(name: str, *arguments: str, environment: Mapping[str, str], timeout: float = 180.0) -> Any:
    """Run ``benchmarks.probes.<name>`` in a fresh interpreter and return the JSON of its last line.

    :param timeout: seconds after which it is stopped.
    :raises RuntimeError: it failed.
    """
    ran = subprocess.run(
        [sys.executable, "-m", f"benchmarks.probes.{name}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"the probe {name} {' '.join(arguments)} failed:\n{ran.stderr[-4000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


@contextlib.contextmanager
def server(answer: str, *, delay: float = 0.0, seconds: float = 900.0) -> Iterator[str]:
    """Run the loopback server in a process of its own and yield its base URL.

    :param answer: what it answers, see :mod:`benchmarks.server`.
    :param delay: seconds before each answer.
    :param seconds: after these it stops by itself.
    """
    with listening("benchmarks.server", answer, str(delay), str(seconds)) as url:
        yield url


@contextlib.contextmanager
def listening(module: str, *arguments: str) -> Iterator[str]:
    """Run a server that prints its port in a process of its own and yield its base URL."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait(timeout=10)


def request_count(url: str) -> int:
    """Return how many requests the server has got."""
    # Without the environment's proxies.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/-/requests") as answer:
        return int(answer.read())


def connections(url: str) -> dict[str, str]:
    """Return environment variables with an Airflow connection to ``url`` for each subject."""
    common = {"host": url, "password": "benchmark"}
    return {
        "AIRFLOW_CONN_BENCH_MEWS": json.dumps(
            {**common, "conn_type": "mews", "extra": {"client_token": "benchmark"}}
        ),
        "AIRFLOW_CONN_BENCH_GIOSG": json.dumps(
            {**common, "conn_type": "giosg", "extra": {"organization_id": "bench", "user_id": "bench"}}
        ),
        "AIRFLOW_CONN_BENCH_AIRBYTE": json.dumps(
            {"conn_type": "airbyte", "host": url, "extra": {"timeout": 30}}
        ),
        "AIRFLOW_CONN_BENCH_HTTP": json.dumps({"conn_type": "http", "host": url}),
    }

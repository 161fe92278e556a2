"""What tests of a real Airflow share: a simulator in its own process, calls to it and to Airflow's API."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from demo.airflow_processes import Processes, clean_environment


def start_simulator(home: Path, processes: Processes) -> dict[str, Any]:
    """Start the simulated vendors in a process of their own and return what they say of themselves."""
    ready = home / "simulator.json"
    command = [sys.executable, "-m", "airflow_provider_exports.simulator", "--port", "0", "--files-port", "0"]
    command += ["--ready-after-seconds", "9", "--ready-file", str(ready)]
    processes.start("simulator", command, clean_environment(), home)
    processes.wait_until("the simulator's start", ready.exists, 30)
    state: dict[str, Any] = json.loads(ready.read_text())
    return state


def call(url: str, method: str | None = None, body: Any = None, token: str | None = None) -> Any:
    """Send JSON and return the JSON of the answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{url}: {error.code} {error.read().decode()}") from None

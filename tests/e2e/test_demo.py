"""The demo, as a user runs it: a whole Airflow, the simulated vendors and the example DAGs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from configparser import RawConfigParser
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.simulator import Simulator

pytestmark = pytest.mark.airflow_e2e

ROOT = Path(__file__).parent.parent.parent
DEMO_SECONDS = 400.0
BULK = "giosg_rooms_bulk"
EXPORTS = {
    "connhex_channel_daily": ["export_channel [0: boiler room]", "export_channel [1: cold store]"],
    BULK: ["export_room [0: Web shop]", "export_room [1: Support]", "export_room [2: Booking]"],
    "medable_objects_daily": ["export [0: accounts]", "export [1: c_visits]"],
    "mews_nightly_increment": ["export [0: Reservation]", "export [1: OrderItem]", "export [2: Payment]"],
    "onna_slack_weekly": ["export_week"],
}
"""The export tasks of each DAG."""


@dataclass
class Finished:
    """A demo that has ended."""

    status: int
    output: str
    home: Path
    report: dict[str, Any]
    canaries: dict[str, str]

    @property
    def database(self) -> Path:
        return self.home / "airflow" / "airflow.db"

    @property
    def logs(self) -> Path:
        return self.home / "airflow" / "logs"

    @property
    def said_by_simulator(self) -> str:
        """What the simulator prints at its start: addresses and credentials."""
        return (self.home / "logs" / "simulator.log").read_text()

    def exports(self) -> list[dict[str, Any]]:
        """The export tasks of all runs."""
        return [
            {**task, "dag_id": run["dag_id"]}
            for run in self.report["runs"]
            for task in run["tasks"]
            if task["operator"].endswith("RunExportOperator")
        ]


class RunningDemo:
    """``demo/run.py`` as a process, with credentials of its own at the simulator.

    :param folder: where everything goes.
    :param arguments: further arguments of the demo.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.home = folder / "home"
        self._json = folder / "report.json"
        self._output = folder / "output.txt"
        with Simulator() as known:
            names = list(known.tokens)
        self.canaries = {name: f"canary-{secrets.token_hex(8)}" for name in [*names, "link secret"]}
        tokens = {name: value for name, value in self.canaries.items() if name != "link secret"}
        launcher = [sys.executable, str(Path(__file__).with_name("canary_simulator.py"))]
        command = [sys.executable, str(ROOT / "demo" / "run.py")]
        command += ["--home", str(self.home), "--json", str(self._json), "--simulator", shlex.join(launcher)]
        environment = {
            "CANARY_TOKENS": json.dumps(tokens),
            "CANARY_LINK_SECRET": self.canaries["link secret"],
        }
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, *arguments],
                cwd=folder,
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._deadline = time.monotonic() + DEMO_SECONDS

    def control(self, name: str, body: dict[str, Any]) -> None:
        """Call one of the simulator's controls, once it runs."""
        ready_file = self.home / "simulator.json"
        while not ready_file.exists():
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < self._deadline
            time.sleep(0.1)
        url = f"{json.loads(ready_file.read_text())['api']}/_control/{name}"
        request = urllib.request.Request(url, json.dumps(body).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(request, timeout=10).close()

    def finish(self) -> Finished:
        """Wait for the end."""
        try:
            status = self._process.wait(self._deadline - time.monotonic())
        finally:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                self._process.wait(60)
        output = self._output.read_text()
        assert self._json.exists(), output
        return Finished(status, output, self.home, json.loads(self._json.read_text()), self.canaries)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The whole demo, run once."""
    return RunningDemo(tmp_path_factory.mktemp("demo")).finish()


def test_demo_succeeds(demo: Finished) -> None:
    """A DAG of each vendor runs to success, and the demo says so to whoever started it."""
    assert demo.status == 0, demo.output
    assert demo.report["problems"] == []
    assert {run["dag_id"]: run["state"] for run in demo.report["runs"]} == dict.fromkeys(EXPORTS, "success")
    for dag_id, names in EXPORTS.items():
        assert sorted(task["name"] for task in demo.exports() if task["dag_id"] == dag_id) == names
    assert set(demo.report["exports"]) == set(BUILT_IN)


def test_every_file_landed(demo: Finished) -> None:
    """What the tasks return is what lies on the disk, and nothing else lies there."""
    files = [file for task in demo.exports() for file in task["files"]]
    # Two per entity type of Mews, one per export elsewhere.
    assert len(files) == sum(map(len, EXPORTS.values())) + 3
    for file in files:
        content = Path(file["uri"].removeprefix("file://")).read_bytes()
        assert len(content) == file["size"] > 0
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    landed = {f"file://{path}" for path in (demo.home / "exports").rglob("*") if path.is_file()}
    manifests = {uri for uri in landed if "/_export-" in uri}
    assert len(manifests) == len(demo.exports())
    landed -= manifests
    assert landed == {file["uri"] for file in files}
    rows = [json.loads(line) for line in _lines(files, "Reservation", ".jsonl")]
    assert rows
    assert all(isinstance(row, dict) for row in rows)


def test_tasks_waited_in_a_triggerer(demo: Finished) -> None:
    """Each export gave its worker slot back, and a triggerer process waited for it."""
    triggers = {trigger["id"]: trigger for trigger in demo.report["triggers"]}
    with closing(sqlite3.connect(demo.database)) as database:
        triggerers = {
            row[0] for row in database.execute("SELECT id FROM job WHERE job_type = 'TriggererJob'")
        }
    for task in demo.exports():
        assert task["triggers"], task
        for number in task["triggers"]:
            assert triggers[number]["classpath"] == "airflow_provider_exports.triggers.export.ExportTrigger"
        assert triggers[task["triggers"][-1]]["triggerer_id"] in triggerers
        # The triggerer writes a log of its own for each task.
        (folder,) = demo.logs.glob(f"dag_id={task['dag_id']}/*/task_id={task['task_id']}")
        if task["map_index"] >= 0:
            folder /= f"map_index={task['map_index']}"
        written = [file.read_text() for file in folder.glob("*.trigger.*.log")]
        assert any(task["export_id"] in text and "ready" in text for text in written)


def test_nothing_was_created_twice(demo: Finished) -> None:
    """One create request per task, and each created export is one task's."""
    creates = [request for request in demo.report["requests"] if request["operation"] == "create"]
    assert len(creates) == len(demo.exports()) == sum(map(len, EXPORTS.values()))
    created = [export["name"] for exports in demo.report["exports"].values() for export in exports]
    assert sorted(created) == sorted(task["export_id"] for task in demo.exports())


def test_medable_exports_wait_for_their_turn(demo: Finished) -> None:
    """The org makes one export at a time: the second task waits for the first one's, without a worker."""
    exports = demo.report["exports"]["medable"]
    first, second = sorted(exports, key=lambda export: export["created_at"])
    assert second["created_at"] >= first["finished_at"]
    waits = {len(task["triggers"]) for task in demo.exports() if task["dag_id"] == "medable_objects_daily"}
    assert max(waits) >= 2


def test_triggers_carry_ids_only(demo: Finished) -> None:
    """There is no secret and no link in the trigger arguments, which are in the database during the wait."""
    from cryptography.fernet import Fernet

    config = RawConfigParser(strict=False)
    config.read(demo.home / "airflow" / "airflow.cfg")
    key = Fernet(config["core"]["fernet_key"].encode())
    stored = [trigger["kwargs"] for trigger in demo.report["triggers"]]
    # Some versions of Airflow encrypt them.
    plain = [text if text.startswith("{") else key.decrypt(text.encode()).decode() for text in stored]
    waited_for = [task["export_id"] for task in demo.exports() if any(task["export_id"] in t for t in plain)]
    assert len(waited_for) == len(demo.exports())
    for text in plain:
        assert not [name for name, word in _forbidden(demo).items() if word in text]


def test_no_secret_and_no_link_is_kept(demo: Finished) -> None:
    """Neither database, nor logs, nor output hold a token, a link or a link's signature."""
    texts = dict(_everything_kept(demo))
    kept = b"\n".join(texts.values())
    # The search finds what is there …
    for task in demo.exports():
        assert task["export_id"].encode() in kept
    assert any(name.endswith("attempt=1.log") for name in texts)
    # … the words it is about were in use …
    used = demo.said_by_simulator
    for name in ("mews_client_token", "mews_access_token", "giosg_api_token"):
        assert demo.canaries[name] in used
    # … and none of them is there.
    found = [
        (where, what)
        for where, text in texts.items()
        for what, word in _forbidden(demo).items()
        if word.encode() in text
    ]
    assert found == []


def test_all_processes_have_ended(demo: Finished) -> None:
    """Nothing of the demo runs on: no process of this machine has its folder in its environment."""
    import psutil

    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("AIRFLOW_HOME") == str(demo.home / "airflow"):
                left.append(process.cmdline())
        except psutil.Error:
            continue
    assert left == []


def test_one_failing_room_does_not_stop_the_others(tmp_path: Path) -> None:
    """Its task fails at once, the others land, and the summary fails the run and names it."""
    running = RunningDemo(tmp_path, "--dag", BULK)
    running.control("fail-next", {"vendor": "giosg", "operation": "create", "fault": "forbidden"})
    demo = running.finish()
    assert demo.status == 1, demo.output
    (run,) = demo.report["runs"]
    assert run["state"] == "failed"
    states = {task["name"]: task["state"] for task in run["tasks"]}
    assert states["list_rooms"] == "success"
    assert states["summary"] == "failed"
    exports = demo.exports()
    assert sorted(task["state"] for task in exports) == ["failed", "success", "success"]
    for task in exports:
        landed = [file["verified"] for file in task["files"]]
        assert landed == ([True] if task["state"] == "success" else [])
        # Not allowed is not allowed: a retry would not help.
        assert task["tries"] == 1
    (failed,) = (task for task in exports if task["state"] == "failed")
    label = re.fullmatch(r"export_room \[\d: (.+)\]", failed["name"])[1]  # type: ignore[index]
    assert label in ("Web shop", "Support", "Booking")
    (log,) = demo.logs.glob(f"dag_id={BULK}/*/task_id=summary/attempt=1.log")
    assert f"1 of 3 rooms failed: {label}" in log.read_text()
    assert f"1 of 3 rooms failed: {label}" in demo.output


def _lines(files: list[dict[str, Any]], folder: str, suffix: str) -> Iterator[str]:
    for file in files:
        path = Path(file["uri"].removeprefix("file://"))
        if path.parent.name == folder and path.suffix == suffix:
            yield from path.read_text().splitlines()


def _forbidden(demo: Finished) -> dict[str, str]:
    """Words that may stand nowhere, by what they are."""
    origin = re.search(r"^files: (http://\S+)$", demo.said_by_simulator, re.MULTILINE)[1]  # type: ignore[index]
    return {
        **demo.canaries,
        "address of the file host": origin,
        "address of the file host, quoted": origin.replace("/", "%2F"),
        "giosg link": "/files/reportexports/",
        "Mews link": "/mews/exports/",
        "signature": "signature=",
    }


def _everything_kept(demo: Finished) -> Iterator[tuple[str, bytes]]:
    """All that the demo leaves behind but the landed files and what the simulator says of itself."""
    yield "output", demo.output.encode()
    yield "report", json.dumps(demo.report).encode()
    for folder in (demo.home / "airflow", demo.home / "logs"):
        for path in folder.rglob("*"):
            # The database's own file too: rows that were deleted can still be read there.
            if path.is_file() and path.name != "simulator.log":
                yield str(path.relative_to(demo.home)), path.read_bytes()
    with closing(sqlite3.connect(demo.database)) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert {"task_instance", "xcom", "rendered_task_instance_fields", "log", "trigger"} <= set(tables)
        assert database.execute("SELECT count(*) FROM connection").fetchone() == (0,)
        for table in tables:
            rows = database.execute(f'SELECT * FROM "{table}"').fetchall()
            cells = [cell if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row]
            yield f"table {table}", b"\n".join(cells)

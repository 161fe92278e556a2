"""A real Airflow whose processes are killed with SIGKILL, and whose user ends tasks: no export too many."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from demo.airflow_processes import DemoError, LocalAirflow, Processes
from tests.e2e.running import call, start_simulator

pytestmark = pytest.mark.airflow_e2e

# Worker or deferred, and where something dies or is ended.
KILLED = {
    "mews": "mews_written_down",
    "giosg": "giosg_create_sent",
    "onna": "onna_half_a_file",
    "connhex": "connhex_all_files",
    "medable": "medable_waiting",
}
ENDED = ["connhex_failed_deferred", "connhex_failed_running"]
CLEARED = "connhex_cleared"
DEFERRED = ["medable_waiting", "connhex_failed_deferred", CLEARED]
DAGS = """
import os
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.operators.onna import OnnaRunExportOperator

HOME = Path({home!r})


def die(context):
    # Once: the next try lives.
    try:
        (HOME / f"{{context['ti'].dag_id}}.killed").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def after(owner, name, happens, context):
    real = getattr(owner, name)

    def method(this, *arguments, **named):
        result = real(this, *arguments, **named)
        if happens(*arguments, **named):
            die(context)
        return result

    setattr(owner, name, method)


def create_sent(context):
    from airflow_provider_exports.transports.blocking import BlockingTransport

    after(BlockingTransport, "_exchange", lambda request: not request.idempotent, context)


def written_down(context):
    from airflow_provider_exports.durable import TaskMemory

    after(TaskMemory, "note", lambda **changes: "export_id" in changes, context)


def half_a_file(context):
    from airflow_provider_exports.landing.host import Body

    after(Body, "read", lambda most: True, context)


def all_files(context):
    from airflow_provider_exports.hooks.export import ExportHook

    after(ExportHook, "land_export", lambda *_, **__: True, context)


def export(dag_id, operator, killed=None, **arguments):
    with DAG(
        dag_id,
        schedule="@once",
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        default_args={{"retries": 2, "retry_delay": timedelta(seconds=1)}},
    ):
        operator(
            task_id="export",
            poll_interval=2,
            destination=f"file://{{HOME}}/landed/{{dag_id}}",
            pre_execute=killed,
            **arguments,
        )


def connhex(dag_id, killed=None, **arguments):
    export(
        dag_id,
        ConnhexRunExportOperator,
        killed,
        filename=dag_id,
        extension="csv",
        channel_id="00000000-0000-4000-8000-000000000001",
        subtopic="events.data",
        targets=["urn:cpt:smartdevice:nid:AA01:temp"],
        from_time="2025-01-01",
        to_time="2025-01-02",
        **arguments,
    )


export("mews_written_down", MewsRunExportOperator, written_down, entity_type="Payment")
export(
    "giosg_create_sent",
    GiosgRunExportOperator,
    create_sent,
    room_id={room!r},
    type="logs",
    format="csv",
    starting_at="2026-01-01",
    ending_at="2026-01-08",
    deferrable=True,
)
export(
    "onna_half_a_file",
    OnnaRunExportOperator,
    half_a_file,
    title="Weekly",
    workspace_url="weekly-archive-T3mWzs",
    modified_after="2026-01-05",
    modified_before="2026-01-12",
    deferrable=True,
)
connhex("connhex_all_files", all_files)
export(
    "medable_waiting", MedableRunExportOperator, objects="c_visits", format="text/csv", deferrable=True
)
connhex("connhex_failed_deferred", deferrable=True)
connhex("connhex_failed_running")
connhex("connhex_cleared", deferrable=True)
"""


@dataclass
class Story:
    """What happened, from the start to the end of all tasks."""

    home: Path
    simulator: str
    airflow: LocalAirflow
    processes: Processes
    notes: dict[str, Any] = field(default_factory=dict)

    def control(self, name: str, body: Any = None) -> Any:
        """Call one of the simulator's controls."""
        return call(f"{self.simulator}/_control/{name}", None if body is None else "POST", body)

    def user(self, method: str, path: str, body: Any) -> Any:
        """Call Airflow's API, as a user does."""
        token = call(f"{self.airflow.url}/auth/token")["access_token"]
        return call(f"{self.airflow.url}/api/v2/{path}", method, body, token)

    def tasks(self) -> dict[str, tuple[str | None, int]]:
        """Return state and try of each DAG's only task."""
        rows = self.query("SELECT dag_id, state, try_number FROM task_instance")
        return {dag_id: (state, number) for dag_id, state, number in rows}

    def query(self, text: str) -> list[Any]:
        with closing(sqlite3.connect(self.airflow.database, timeout=30)) as database:
            return database.execute(text).fetchall()

    def exports(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the exports that one task has made."""
        vendor = dag_id.partition("_")[0]
        found: list[dict[str, Any]] = self.control(f"exports?vendor={vendor}")
        if vendor != "connhex":
            return found
        return [one for one in found if dag_id in json.dumps(one["request"])]

    def finish(self, dag_id: str) -> None:
        """Let the vendor finish the export of a task."""
        (export,) = self.exports(dag_id)
        vendor = dag_id.partition("_")[0]
        self.control("set-state", {"vendor": vendor, "export_id": export["id"], "state": "ready"})

    def looks(self, export_id: str) -> int:
        """Return how often somebody has looked at an export."""
        requests = self.control("requests")
        return sum(one["method"] == "GET" and export_id in one["path"] for one in requests)

    def deletes(self) -> list[str]:
        """Return the paths of the deletes."""
        return [one["path"] for one in self.control("requests") if one["method"] == "DELETE"]

    def until(self, what: str, happened: Callable[[], Any], timeout: float = 90.0) -> Any:
        return self.processes.wait_until(what, happened, timeout)

    def log(self, dag_id: str) -> str:
        """Return the logs of a task, of its worker and of its triggerer."""
        files = (self.airflow.home / "logs").glob(f"dag_id={dag_id}/**/*.log")
        return "".join(file.read_text() for file in sorted(files))


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """All that happens, once."""
    home = tmp_path_factory.mktemp("killed")
    for name in ("airflow", "dags", "logs", "landed"):
        (home / name).mkdir()
    processes = Processes(home / "logs")
    try:
        simulated = start_simulator(home, processes)
        connections = {
            f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT": json.dumps(given)
            for vendor, given in simulated["connections"].items()
        }
        airflow = LocalAirflow(
            home / "airflow",
            home / "dags",
            processes,
            port=0,
            patience=30,
            settings={
                **connections,
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
                # How soon another triggerer takes up what a dead one has left.
                "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
                "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
            },
        )
        told = Story(home, simulated["api"], airflow, processes)
        # Ready when the test says so.
        for vendor in ("connhex", "medable"):
            told.control("configure", {"vendor": vendor, "outcome": "never"})
        room = told.control("add-room", {"name": "Killed"})["room_id"]
        (home / "dags" / "killed.py").write_text(DAGS.format(home=str(home), room=room))
        airflow.run("db-migrate", "db", "migrate")
        airflow.start()
        _play(told)
        yield told
    finally:
        processes.stop()


def _play(story: Story) -> None:
    def made(*dags: str) -> bool:
        return all(story.exports(dag_id) for dag_id in dags)

    def waits(*dags: str) -> bool:
        tasks = story.tasks()
        return all(tasks.get(dag_id, (None, 0))[0] == "deferred" for dag_id in dags)

    story.until("the wait of the deferred tasks", lambda: waits(*DEFERRED), 150)
    story.until("all exports", lambda: made(*KILLED.values(), *ENDED, CLEARED), 90)
    # Medable's task waited for its turn before.
    story.until("the wait for the exports", lambda: waits(*DEFERRED), 60)
    story.processes.kill("triggerer")
    seen = {dag_id: story.looks(story.exports(dag_id)[0]["name"]) for dag_id in DEFERRED}
    story.notes["deferred when the triggerer died"] = [
        dag_id for dag_id, (state, _) in story.tasks().items() if state == "deferred"
    ]
    story.airflow.launch("triggerer", "triggerer", "--skip-serve-logs")
    story.until(
        "a look of the new triggerer",
        lambda: all(story.looks(story.exports(dag_id)[0]["name"]) > seen[dag_id] for dag_id in DEFERRED),
    )
    story.notes["deletes before anybody ended a task"] = story.deletes()
    runs = dict(story.query("SELECT dag_id, run_id FROM dag_run"))
    story.notes["exports before the end"] = {
        dag_id: story.exports(dag_id)[0]["name"] for dag_id in (*ENDED, CLEARED)
    }
    # Airflow calls a trigger's on_kill off after a second, and a login takes longer than that.
    slow = {"vendor": "connhex", "operation": "flow", "fault": "timeout", "seconds": 2, "times": None}
    story.control("fail-next", slow)
    for dag_id in ENDED:
        path = f"dags/{dag_id}/dagRuns/{runs[dag_id]}/taskInstances/export"
        story.user("PATCH", path, {"new_state": "failed"})
    cleared = {"dry_run": False, "dag_run_id": runs[CLEARED], "task_ids": ["export"], "only_failed": False}
    story.user("POST", f"dags/{CLEARED}/clearTaskInstances", cleared)
    story.finish("connhex_all_files")
    story.finish("medable_waiting")
    story.until("the second try of the cleared task", lambda: story.tasks()[CLEARED] == ("deferred", 2))
    with contextlib.suppress(DemoError):
        # The test of the cancels tells it better.
        story.until("the cancels", lambda: len(story.deletes()) >= len(ENDED), 20)
    story.finish(CLEARED)
    wanted = {*KILLED.values(), CLEARED}
    story.until(
        "the end of the tasks",
        lambda: all(story.tasks()[dag_id][0] in ("success", "failed") for dag_id in wanted),
        90,
    )


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_one_export_whatever_dies(story: Story, vendor: str) -> None:
    """The task's process, or the triggerer's, is killed: the task succeeds, with the files of one export."""
    dag_id = KILLED[vendor]
    by_worker = vendor != "medable"
    assert (story.home / f"{dag_id}.killed").exists() == by_worker
    assert story.tasks()[dag_id] == ("success", 2 if by_worker else 1), story.log(dag_id)
    (export,) = story.exports(dag_id)
    folder = story.home / "landed" / dag_id
    (manifest,) = (json.loads(path.read_text()) for path in folder.glob("_export*.json"))
    assert manifest["export_id"] in (export["id"], export["name"])
    assert manifest["files"]
    for file in manifest["files"]:
        assert hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    hidden = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert hidden == []


def test_dead_triggerer_loses_and_cancels_nothing(story: Story) -> None:
    """All that waited in it wakes in the next one, once."""
    assert set(DEFERRED) <= set(story.notes["deferred when the triggerer died"])
    assert story.notes["deletes before anybody ended a task"] == []
    assert story.tasks()["medable_waiting"] == ("success", 1)


@pytest.mark.parametrize("dag_id", ENDED)
def test_task_that_a_user_ends_is_cancelled_once(story: Story, dag_id: str) -> None:
    """Marked as failed, deferred or at work: the vendor is told to stop, once."""
    export_id = story.notes["exports before the end"][dag_id]
    assert [path for path in story.deletes() if export_id in path] != [], story.log(dag_id)
    assert len([path for path in story.deletes() if export_id in path]) == 1
    assert story.tasks()[dag_id] == ("failed", 1)


def test_cleared_task_goes_on_with_its_export(story: Story) -> None:
    """Cleared while it is deferred: nothing is cancelled, and its next try takes the export up."""
    export_id = story.notes["exports before the end"][CLEARED]
    assert [path for path in story.deletes() if export_id in path] == []
    assert story.tasks()[CLEARED] == ("success", 2), story.log(CLEARED)
    assert [export["name"] for export in story.exports(CLEARED)] == [export_id]

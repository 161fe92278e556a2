"""A real Airflow and many tasks at once: no more exports at a time than allowed, and no task is lost."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Any

import pytest

from demo.airflow_processes import LocalAirflow, Processes
from tests.e2e.running import call, start_simulator

pytestmark = pytest.mark.airflow_e2e

TASKS, MOST = 40, 20
DAG = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator

with DAG("bulk", schedule="@once", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    GiosgRunExportOperator.partial(
        task_id="export",
        type="logs",
        format="csv",
        starting_at="2026-01-01",
        ending_at="2026-01-08",
        poll_interval=1,
        deferrable=True,
        retries=0,
    ).expand(room_id={rooms!r})
"""


@pytest.fixture(scope="module")
def bulk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Forty rooms whose exports all take five seconds, twenty at once."""
    home = tmp_path_factory.mktemp("bulk")
    for name in ("airflow", "dags", "logs"):
        (home / name).mkdir()
    processes = Processes(home / "logs")
    try:
        simulated = start_simulator(home, processes)

        def control(name: str, body: Any = None) -> Any:
            return call(f"{simulated['api']}/_control/{name}", None if body is None else "POST", body)

        control("configure", {"vendor": "giosg", "ready_after_seconds": 5})
        rooms = [control("add-room", {"name": f"Room {number}"})["room_id"] for number in range(TASKS)]
        connection = simulated["connections"]["giosg"]
        connection["extra"] = {**connection["extra"], "max_in_progress": MOST, "conflict_interval": 10}
        (home / "dags" / "bulk.py").write_text(DAG.format(rooms=rooms))
        airflow = LocalAirflow(
            home / "airflow",
            home / "dags",
            processes,
            port=0,
            patience=30,
            settings={
                "AIRFLOW_CONN_GIOSG_DEFAULT": json.dumps(connection),
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            },
        )
        airflow.run("db-migrate", "db", "migrate")
        airflow.start()

        def states() -> Counter[str]:
            with closing(sqlite3.connect(airflow.database, timeout=30)) as database:
                rows = database.execute("SELECT state FROM task_instance WHERE map_index >= 0")
                return Counter(state for (state,) in rows)

        def over() -> bool:
            found = states()
            return found["success"] + found["failed"] + found["upstream_failed"] >= TASKS

        processes.wait_until("the end of all tasks", over, 400)
        yield {
            "states": states(),
            "exports": control("exports?vendor=giosg"),
            "requests": [one["operation"] for one in control("requests")],
        }
    finally:
        processes.stop()


def test_no_task_is_lost(bulk: dict[str, Any]) -> None:
    """Twenty exports are ready in the same moment, and their tasks have no retries."""
    assert bulk["states"] == {"success": TASKS}
    assert len(bulk["exports"]) == TASKS


def test_never_too_many_at_once(bulk: dict[str, Any]) -> None:
    """All tasks begin in the same moment: a look by each would have shown room for each."""
    spans = [
        (datetime.fromisoformat(one["created_at"]), datetime.fromisoformat(one["finished_at"]))
        for one in bulk["exports"]
    ]
    at_once = [sum(begin <= moment < end for begin, end in spans) for moment, _ in spans]
    assert max(at_once) <= MOST
    # And the limit is used.
    assert max(at_once) > 1


def test_waiting_for_a_turn_costs_little(bulk: dict[str, Any]) -> None:
    """Each worker looks once before its create; all others wait on the looks of one."""
    creates = bulk["requests"].count("create")
    assert creates == TASKS
    assert bulk["requests"].count("list") <= 3 * TASKS

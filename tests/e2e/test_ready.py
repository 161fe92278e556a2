"""A real Airflow that watches a vendor: a DAG starts when an export of somebody else is ready."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.hooks.giosg import GiosgHook
from demo.airflow_processes import LocalAirflow, Processes
from tests.e2e.running import call, start_simulator

pytestmark = pytest.mark.airflow_e2e

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "giosg_reports_ready.py"


class Watched:
    """An Airflow with the example DAG, and a simulated vendor with one room."""

    def __init__(self, home: Path, processes: Processes, patch: pytest.MonkeyPatch) -> None:
        for name in ("airflow", "dags"):
            (home / name).mkdir()
        self.processes, self.landed = processes, home / "landed"
        simulated = start_simulator(home, processes)
        self._control = f"{simulated['api']}/_control"
        call(f"{self._control}/configure", "POST", {"vendor": "giosg", "ready_after_seconds": 5})
        self.room = call(f"{self._control}/add-room", "POST", {"name": "Shop"})["room_id"]
        connection = simulated["connections"]["giosg"]
        connection["extra"] = {**connection["extra"], "settle_delay": 0}
        patch.setenv("AIRFLOW_CONN_GIOSG_DEFAULT", json.dumps(connection))
        source = EXAMPLE.read_text("utf-8").replace('vendor="giosg")', 'vendor="giosg", poll_interval=5)')
        assert "poll_interval=5" in source
        (home / "dags" / "ready.py").write_text(source)
        self.airflow = LocalAirflow(
            home / "airflow",
            home / "dags",
            processes,
            port=0,
            patience=30,
            settings={
                "AIRFLOW_CONN_GIOSG_DEFAULT": json.dumps(connection),
                "AIRFLOW_VAR_EXPORTS_DESTINATION": f"file://{self.landed}",
                "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            },
        )

    def create(self, day: int) -> str:
        """Create an export as somebody else would, who has nothing to do with Airflow; return its id."""
        dates = {"starting_at": f"2026-01-{day:02d}", "ending_at": f"2026-01-{day + 1:02d}"}
        payload = {"room_id": self.room, "type": "logs", "format": "csv", **dates}
        return GiosgHook("giosg_default").create_export(payload).export_id

    def looks(self) -> int:
        """Return how often the vendor was asked for its exports."""
        return len(call(f"{self._control}/requests?vendor=giosg&operation=list"))

    def told(self) -> list[str]:
        """Return the ids in the asset's events."""
        with closing(sqlite3.connect(self.airflow.database, timeout=30)) as database:
            rows = database.execute("SELECT extra FROM asset_event").fetchall()
        extras: list[Any] = [json.loads(row[0]) for row in rows]
        return sorted(extra["payload"]["export_id"] for extra in extras)

    def landed_exports(self) -> list[str]:
        """Return the ids of the exports whose manifest is there."""
        return sorted(path.parent.name for path in self.landed.rglob("_export*.json"))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """An Airflow that has looked at the vendor, which has an export from before."""
    home = tmp_path_factory.mktemp("ready")
    (home / "logs").mkdir()
    processes = Processes(home / "logs")
    try:
        with pytest.MonkeyPatch.context() as patch:
            one = Watched(home, processes, patch)
            one.create(1)
            one.airflow.run("db-migrate", "db", "migrate")
            one.airflow.start()
            before = one.looks()
            processes.wait_until("two looks of the watcher", lambda: one.looks() >= before + 2, 120)
            yield one
    finally:
        processes.stop()


def test_dag_lands_what_becomes_ready(watched: Watched) -> None:
    """What was there before is not told; what comes is landed, without a DAG run that waits."""
    export_id = watched.create(2)
    watched.processes.wait_until("the landing", watched.landed_exports, 180)
    assert watched.told() == watched.landed_exports() == [export_id]


def test_restart_of_the_triggerer_forgets_and_repeats_nothing(watched: Watched) -> None:
    """What becomes ready while none runs is told by the next one, once."""
    known = watched.landed_exports()
    watched.processes.kill("triggerer")
    export_id = watched.create(3)
    watched.airflow.launch("triggerer", "triggerer", "--skip-serve-logs")
    expected = sorted([*known, export_id])
    watched.processes.wait_until("its landing", lambda: watched.landed_exports() == expected, 240)
    looked = watched.looks()
    watched.processes.wait_until("another look", lambda: watched.looks() >= looked + 2, 60)
    assert watched.told() == expected

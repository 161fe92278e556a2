"""What a task does with landed files: the example that loads them runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import run
from tests.airflow.conftest import simulator  # noqa: F401 - a fixture
from tests.airflow.test_example_dags import FOLDER, load

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_example_loads_what_has_landed(simulator: Simulator, tmp_path: Path, vendor: str) -> None:  # noqa: F811
    """The table has each row once, also when the task runs again; CSV of another vendor loads as well."""
    where: dict[str, Any] = {"task_id": "t", "destination": tmp_path.as_uri(), "deferrable": False}
    if vendor == "mews":
        result = run(lambda: MewsRunExportOperator(entity_type="Company", **where))
    else:
        room = simulator.rooms()[0]["id"]
        window = {"type": "logs", "format": "csv", "starting_at": "2026-01-01", "ending_at": "2026-01-08"}
        result = run(lambda: GiosgRunExportOperator(room_id=room, as_jsonl=True, **window, **where))
    lines = [
        json.loads(line)
        for file in result["files"]
        for line in ObjectStoragePath(file["uri"]).read_text().splitlines()
    ]
    assert lines
    task = load(FOLDER)["mews_companies_duckdb"].get_task("load")
    database = str(tmp_path / "exports.duckdb")
    for _ in range(2):
        assert task.python_callable(result, database) == len(lines)
    with duckdb.connect(database) as connection:
        assert set(connection.table("companies").columns) == set().union(*lines)

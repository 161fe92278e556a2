"""What OpenLineage is told, by its own provider: real task runs, events in files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_exports.simulator import Simulator
from tests.airflow.trial import Trial

pytestmark = pytest.mark.filterwarnings("ignore")

DAG = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator
from airflow_provider_exports.operators.export import DownloadExportOperator
from airflow_provider_exports.operators.giosg import GiosgCreateExportOperator, GiosgRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator

HOME = {home!r}
WINDOW = dict(type="logs", format="csv", starting_at="2026-01-01", ending_at="2026-01-08")

with DAG("told", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    # The second looks at a ready export, which the first has left at the vendor.
    created = GiosgRunExportOperator(task_id="leave", room_id={room!r}, **WINDOW)
    DownloadExportOperator(
        task_id="download",
        conn_id="giosg_default",
        export_id="{{{{ ti.xcom_pull('leave')['export_id'] }}}}",
        destination=f"file://{{HOME}}/downloaded",
    ) << created
    GiosgCreateExportOperator(task_id="create", room_id={room!r}, **WINDOW)
    MewsRunExportOperator(
        task_id="run", entity_type="Payment", destination=f"file://{{HOME}}/landed", deferrable=True
    )
    ConnhexRunExportOperator(
        task_id="columns",
        type="oneTime",
        extension="csv",
        columns=[{{"id": "time", "label": "When"}}, {{"id": "value", "label": "Much"}}],
        channel_id="00000000-0000-4000-8000-000000000001",
        subtopic="events.data",
        targets=["urn:cpt:smartdevice:nid:AA01:temp"],
        from_time="2025-01-01",
        to_time="2025-01-02",
        destination=f"file://{{HOME}}/columns",
    )
    GiosgRunExportOperator(task_id="fail", room_id="00000000-0000-4000-8000-000000000009", **WINDOW)
"""


@pytest.fixture(scope="module")
def told(
    export_simulator_server: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, dict[str, Any]], Trial]:
    """The last event of each task, after one run of the DAG."""
    simulator = export_simulator_server
    simulator.reset()
    home = tmp_path_factory.mktemp("lineage")
    trial = Trial(home, simulator)
    trial.write("told", DAG.format(home=str(home), room=simulator.rooms()[0]["id"]))
    (home / "events").mkdir()
    transport = {"type": "file", "log_file_path": str(home / "events" / "event"), "append": False}
    trial.airflow(
        "dags",
        "test",
        "told",
        "2026-03-01",
        succeeds=False,
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
        AIRFLOW__OPENLINEAGE__NAMESPACE="tests",
    )
    last: dict[str, dict[str, Any]] = {}
    for file in sorted((home / "events").iterdir()):
        event = json.loads(file.read_text("utf-8"))
        if event["job"]["name"].startswith("told.") and event["eventType"] in ("COMPLETE", "FAIL"):
            last[event["job"]["name"].removeprefix("told.")] = event
    return last, trial


Told = tuple[dict[str, dict[str, Any]], Trial]


def names(datasets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Namespace and name of each dataset."""
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def statistics(event: dict[str, Any]) -> dict[str, Any]:
    """What is told of the only output's size."""
    (output,) = event["outputs"]
    found = output["outputFacets"]["outputStatistics"]
    return {name: found.get(name) for name in ("rowCount", "size", "fileCount")}


def test_run_leads_from_the_vendor_to_the_folder(told: Told) -> None:
    """The entity type in, the folder out, with rows, bytes and files; the export's id with them."""
    events, trial = told
    event = events["run"]
    # The simulator's vendors share a host, each below a path of its own.
    host = trial.simulator.connection("mews")["host"].removesuffix("/mews")
    assert event["eventType"] == "COMPLETE"
    assert names(event["inputs"]) == [(host, "mews/Payment")]
    assert names(event["outputs"]) == [("file", str(trial.home / "landed"))]
    files = list((trial.home / "landed").glob("*.jsonl"))
    assert statistics(event) == {
        "rowCount": sum(file.read_bytes().count(b"\n") for file in files),
        "size": sum(file.stat().st_size for file in files),
        "fileCount": len(files),
    }
    query = event["run"]["facets"]["externalQuery"]
    (made,) = trial.simulator.exports("mews")
    assert (query["externalQueryId"], query["source"]) == (made.id, host)


def test_create_has_nothing_landed(told: Told) -> None:
    """What was asked for, and the export's id."""
    events, trial = told
    event = events["create"]
    room = trial.simulator.rooms()[0]["id"]
    assert [name for _, name in names(event["inputs"])] == [f"giosg/rooms/{room}/logs"]
    assert event["outputs"] == []
    assert event["run"]["facets"]["externalQuery"]["externalQueryId"] in {
        made.id for made in trial.simulator.exports("giosg")
    }


def test_download_does_not_know_what_was_asked_for(told: Told) -> None:
    """CSV has rows that nobody has counted."""
    events, trial = told
    event = events["download"]
    assert [name for _, name in names(event["inputs"])] == ["giosg/exports"]
    assert names(event["outputs"]) == [("file", str(trial.home / "downloaded"))]
    (file,) = (trial.home / "downloaded").glob("*.csv")
    assert statistics(event) == {"rowCount": None, "size": file.stat().st_size, "fileCount": 1}


def test_columns_are_told_where_the_payload_names_them(told: Told) -> None:
    """The titles that the files have, without a look into them."""
    events, trial = told
    (output,) = events["columns"]["outputs"]
    assert [field["name"] for field in output["facets"]["schema"]["fields"]] == ["When", "Much"]
    (file,) = (trial.home / "columns").glob("*.csv")
    assert file.read_text("utf-8").splitlines()[0].split(",") == ["When", "Much"]


def test_failure_is_told_with_its_error(told: Told) -> None:
    """What it wanted and why there is none."""
    events, _ = told
    event = events["fail"]
    assert event["eventType"] == "FAIL"
    ((_, subject),) = names(event["inputs"])
    assert subject == "giosg/rooms/00000000-0000-4000-8000-000000000009/logs"
    assert event["outputs"] == []
    assert "giosg" in event["run"]["facets"]["errorMessage"]["message"]


def test_no_credential_and_no_link_is_told(told: Told) -> None:
    """Whoever reads the events may not read the connection."""
    _, trial = told
    text = "".join(file.read_text("utf-8") for file in (trial.home / "events").iterdir())
    secrets = [trial.simulator.connection(vendor)["password"] for vendor in ("mews", "giosg", "connhex")]
    assert all(secrets)
    for secret in secrets:
        assert secret not in text
    assert "/files/" not in text
    assert "signature" not in text.lower()


def test_lineage_costs_the_vendor_no_request(told: Told) -> None:
    """Each vendor got the requests of its exports, no other ones."""
    _, trial = told
    asked = [request.operation for request in trial.simulator.requests("mews")]
    assert asked.count("create") == 1
    assert set(asked) == {"create", "get", "file"}

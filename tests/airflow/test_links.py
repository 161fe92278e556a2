"""The buttons of a task: where they lead, and that they are right whatever the task is doing."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.core.vendor import ConnectionInfo, Vendor
from airflow_provider_exports.exceptions import DownloadError, InvalidConnection
from airflow_provider_exports.links import export_page, files_page
from airflow_provider_exports.operators.export import (
    CreateExportOperator,
    DownloadExportOperator,
    RunExportOperator,
)
from airflow_provider_exports.operators.giosg import GiosgCreateExportOperator, GiosgRunExportOperator
from airflow_provider_exports.simulator import Simulator
from demo.airflow_processes import LocalAirflow, Processes
from tests.airflow.conftest import Connect
from tests.airflow.tries import TaskInstance

pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = "https://app.example.com/exports/{export_id}?tab=files"
LINK = "_link_ExportLink"


def vendor(**extra: Any) -> Vendor:
    """A vendor whose connection says this."""
    return vendor_class("giosg")(ConnectionInfo("c", password="s3same", extra=extra))


def test_no_vendor_has_a_page_that_we_know() -> None:
    """None is documented: a link needs the user's word."""
    assert export_page(vendor(), "e1") is None


@pytest.mark.parametrize(
    ("export_id", "expected"),
    [
        ("e1", "https://app.example.com/exports/e1?tab=files"),
        ("i1/j1", "https://app.example.com/exports/i1%2Fj1?tab=files"),
        ("../x?y=1#z", "https://app.example.com/exports/..%2Fx%3Fy%3D1%23z?tab=files"),
        ('"><script>', "https://app.example.com/exports/%22%3E%3Cscript%3E?tab=files"),
        ("{export_id}", "https://app.example.com/exports/%7Bexport_id%7D?tab=files"),
    ],
)
def test_page_of_an_export(export_id: str, expected: str) -> None:
    """The id is one part of the address, whatever is in it."""
    assert export_page(vendor(export_page=PAGE), export_id) == expected


@pytest.mark.parametrize(
    "page",
    [
        "javascript:alert(1)//{export_id}",
        "app.example.com/{export_id}",
        "//app.example.com/{export_id}",
        "https:///{export_id}",
        "https://{export_id}@app.example.com/",
        "https://user:pw@app.example.com/{export_id}",
        "https://app.example.com/{id}",
        "https://app.example.com/\n{export_id}",
        "https://[app/{export_id}",
        42,
    ],
)
def test_page_that_is_no_web_address_is_refused(page: Any) -> None:
    """A click leads to a web page or nowhere."""
    with pytest.raises(InvalidConnection, match="no web address"):
        export_page(vendor(export_page=page), "e1")


def test_credential_is_never_part_of_a_link() -> None:
    """Everybody who may read the task sees its links."""
    with pytest.raises(InvalidConnection, match="credential") as caught:
        export_page(vendor(export_page="https://app.example.com/{export_id}?key=s3same"), "e1")
    assert "s3same" not in str(caught.value)


def s3(endpoint: str, partition: str = "aws", region: str | None = "eu-west-1") -> Any:
    """A connected S3 file system."""
    return SimpleNamespace(
        s3=SimpleNamespace(
            meta=SimpleNamespace(endpoint_url=endpoint, partition=partition, region_name=region)
        )
    )


EUROPE = s3("https://s3.eu-west-1.amazonaws.com")


@pytest.mark.parametrize(
    ("protocol", "fs", "key", "expected"),
    [
        (
            "s3",
            EUROPE,
            "raw/a b&c",
            "https://console.aws.amazon.com/s3/buckets/bucket?region=eu-west-1&prefix=raw%2Fa+b%26c%2F",
        ),
        ("s3", EUROPE, "", "https://console.aws.amazon.com/s3/buckets/bucket?region=eu-west-1"),
        (
            "s3a",
            s3("https://s3.cn-north-1.amazonaws.com.cn", "aws-cn", "cn-north-1"),
            "raw",
            "https://console.amazonaws.cn/s3/buckets/bucket?region=cn-north-1&prefix=raw%2F",
        ),
        ("s3", s3("https://minio.example.com:9000"), "raw", None),
        ("s3", s3("https://s3.amazonaws.com.example.com"), "raw", None),
        ("s3", s3("https://s3.eu-isoe.amazonaws.com", "aws-iso-e"), "raw", None),
        ("s3", SimpleNamespace(), "raw", None),
        ("gs", None, "raw/in", "https://console.cloud.google.com/storage/browser/bucket/raw/in"),
        ("gs", None, "", "https://console.cloud.google.com/storage/browser/bucket"),
        ("file", None, "data", None),
        ("sftp", None, "data", None),
        ("abfs", None, "data", None),
    ],
)
def test_page_of_the_landed_files(protocol: str, fs: Any, key: str, expected: str | None) -> None:
    """Only where a browser shows them: no other store that speaks S3, no disk."""
    folder: Any = SimpleNamespace(protocol=protocol, bucket="bucket", key=key, fs=fs)
    assert files_page(folder) == expected


def giosg(simulator: Simulator, folder: Path, **changes: Any) -> Any:
    """Makes a task that waits in the triggerer."""
    arguments = {"room_id": simulator.rooms()[0]["id"], "type": "logs", "format": "csv", "deferrable": True}
    window = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}
    given = {**arguments, **window, "destination": folder.as_uri(), **changes}
    return lambda: GiosgRunExportOperator(task_id="t", **given)


def until_created(task: TaskInstance, number: int = 1) -> str:
    """Go on until the task waits for its so-many-th export; return its id."""
    while len(task.simulator.exports("giosg")) < number or task.operator._shown_id is None:  # type: ignore[union-attr]
        task.resume()
    assert task.deferred is not None
    return str(task.simulator.exports("giosg")[-1].id)


def test_link_is_right_in_each_step(simulator: Simulator, connect: Connect, tmp_path: Path) -> None:
    """While the task is deferred, after it is resumed, and in a retry, whose XComs begin empty."""
    connect("giosg", export_page="https://app.example.com/{export_id}")
    simulator.configure("giosg", ready_after_seconds=500)
    simulator.fail_next("giosg", "file", fault="html_instead", times=None)
    task = TaskInstance(simulator, giosg(simulator, tmp_path), lasting=True)
    task.start()
    made = f"https://app.example.com/{until_created(task)}"
    assert task.xcoms[LINK] == made
    with pytest.raises(DownloadError):
        task.run()
    assert task.xcoms[LINK] == made
    task.xcoms.clear()
    simulator.clear_faults("giosg")
    task.run()
    assert task.xcoms[LINK] == made
    assert len(simulator.exports("giosg")) == 1


def test_link_leads_to_the_export_that_took_the_place(
    simulator: Simulator, connect: Connect, tmp_path: Path
) -> None:
    """The first one failed at the vendor, and another was made."""
    connect("giosg", export_page="https://app.example.com/{export_id}")
    simulator.fail_next("giosg", "create", fault="job_failed")
    task = TaskInstance(simulator, giosg(simulator, tmp_path), lasting=True)
    result = task.run()
    assert len(simulator.exports("giosg")) == 2
    assert task.xcoms[LINK] == f"https://app.example.com/{result['export_id']}"


@pytest.mark.parametrize("operator", [CreateExportOperator, DownloadExportOperator])
def test_other_operators_have_it_too(
    simulator: Simulator, connect: Connect, tmp_path: Path, operator: Any
) -> None:
    """Also a download that fails."""
    connect("giosg", export_page="https://app.example.com/{export_id}")
    export_id = "00000000-0000-4000-8000-000000000001"
    if operator is CreateExportOperator:
        window = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}
        payload = {"room_id": simulator.rooms()[0]["id"], "type": "logs", "format": "csv", **window}
        arguments: dict[str, Any] = {"payload": payload, "deferrable": False}
    else:
        arguments = {"export_id": export_id, "destination": tmp_path.as_uri()}

    def make() -> Any:
        return operator(task_id="t", conn_id="giosg_default", **arguments)

    task = TaskInstance(simulator, make, lasting=False)
    if operator is CreateExportOperator:
        export_id = task.run()
    else:
        with pytest.raises(AirflowFailException, match="ExportNotFound"):
            task.run()
    assert task.xcoms[LINK] == f"https://app.example.com/{export_id}"


def test_bad_page_costs_a_warning_and_no_export(
    simulator: Simulator, connect: Connect, tmp_path: Path, caplog: Any, capsys: Any
) -> None:
    """The export is worth more than a link."""
    connect("giosg", export_page="nowhere")
    task = TaskInstance(simulator, giosg(simulator, tmp_path, deferrable=False), lasting=False)
    assert task.run()["state"] == "ready"
    assert LINK not in task.xcoms
    # Airflow 3 writes a task's log past pytest's.
    said = capsys.readouterr().out or caplog.text
    assert said.count("'export_page' is no web address") == 1


def test_buttons_of_each_operator() -> None:
    """Files are landed by two of them; what a vendor adds changes nothing."""

    def names(operator: Any) -> list[str]:
        return [link.name for link in operator.operator_extra_links]

    assert names(CreateExportOperator) == names(GiosgCreateExportOperator) == ["Export"]
    for operator in (RunExportOperator, GiosgRunExportOperator, DownloadExportOperator):
        assert names(operator) == ["Export", "Landed files"]


def test_airflow_knows_the_links_of_a_dag_it_has_stored() -> None:
    """Its web interface has the DAG as JSON, never the operators."""
    with DAG("links", schedule=None) as dag:
        GiosgRunExportOperator(task_id="one", room_id="r")
        GiosgRunExportOperator.partial(task_id="many").expand(room_id=["r"])
    stored = through_the_database(dag)
    for task_id in ("one", "many"):
        task = stored.get_task(task_id)
        assert {link.name: link.xcom_key for link in task.operator_extra_links} == {
            "Export": LINK,
            "Landed files": "_link_FilesLink",
        }


def through_the_database(dag: Any) -> Any:
    """Return the DAG as the web interface has it."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
    return DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))


DAG_FILE = """
from datetime import datetime, timedelta, timezone
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator

HOME = Path({home!r})
ROOMS = Asset("giosg_rooms")

with DAG(
    "land_rooms",
    schedule="@once",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    default_args={{"retries": 2, "retry_delay": timedelta(seconds=1)}},
):
    GiosgRunExportOperator.partial(
        task_id="export",
        type="logs",
        format="csv",
        starting_at="2026-01-01",
        ending_at="2026-01-08",
        destination=f"file://{{HOME}}/landed",
        poll_interval=2,
        deferrable=True,
        outlets=[ROOMS],
    ).expand(room_id={rooms!r})

with DAG("load_rooms", schedule=[ROOMS], start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):

    @task
    def load(triggering_asset_events=None):
        return [event.extra for events in triggering_asset_events.values() for event in events]

    load()
"""


@pytest.mark.airflow_e2e
@pytest.mark.only_airflow(">=3.3")
def test_real_airflow_shows_links_and_starts_the_next_dag(
    export_simulator: Simulator, tmp_path: Path
) -> None:
    """Two mapped tasks: each has its own link while it is deferred, in its retry and at its end."""
    export_simulator.configure("giosg", ready_after_reads=None, ready_after_seconds=10_000_000)
    rooms = [room["id"] for room in export_simulator.rooms()[:2]]
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "rooms.py").write_text(DAG_FILE.format(home=str(tmp_path), rooms=rooms), "utf-8")
    fields = export_simulator.connection("giosg")
    page = {"export_page": "https://app.example.com/{export_id}", "settle_delay": 0, "max_requests": 0}
    fields["extra"] = {**fields["extra"], **page}
    processes = Processes(tmp_path)
    airflow = LocalAirflow(
        tmp_path,
        dags,
        processes,
        port=0,
        patience=30,
        settings={
            "AIRFLOW_CONN_GIOSG_DEFAULT": json.dumps(fields),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        },
    )

    def ask(path: str) -> Any:
        with opener.open(f"{airflow.url}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def rows(query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(airflow.database, timeout=30)) as database:
            return database.execute(query).fetchall()

    def states() -> dict[int, tuple[str, int]]:
        query = "SELECT map_index, state, try_number FROM task_instance WHERE dag_id = 'land_rooms'"
        return {index: (state, number) for index, state, number in rows(query)}

    def waiting() -> bool:
        ids = rows("SELECT map_index FROM xcom WHERE key = 'export_id' AND dag_id = 'land_rooms'")
        deferred = [state for state, _ in states().values()] == ["deferred", "deferred"]
        return deferred and len(ids) == len(links()) == 2

    def links() -> dict[int, str]:
        (run,) = rows("SELECT run_id FROM dag_run WHERE dag_id = 'land_rooms'")
        found = {}
        for index in states():
            task = f"/api/v2/dags/land_rooms/dagRuns/{quote(run[0])}/taskInstances/export"
            told = ask(f"{task}/links?map_index={index}")["extra_links"]
            assert told["Landed files"] is None
            if told["Export"]:
                found[index] = told["Export"]
        return found

    def expected() -> dict[int, str]:
        made = {export.request["room_id"]: export.id for export in export_simulator.exports("giosg")}
        return {index: f"https://app.example.com/{made[room]}" for index, room in enumerate(rooms)}

    try:
        airflow.run("db-migrate", "db", "migrate")
        airflow.start()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        token = ask("/auth/token")["access_token"]
        opener.addheaders = [("Authorization", f"Bearer {token}")]
        processes.wait_until("both tasks to wait", waiting, 120)
        assert links() == expected()
        # The first look at a file fails, and another try of the same task lands it.
        export_simulator.fail_next("giosg", "file", fault="html_instead", times=1)
        export_simulator.advance(10_000_001)
        processes.wait_until(
            "both tasks to succeed",
            lambda: [state for state, _ in states().values()] == ["success", "success"],
            150,
        )
        assert sorted(number for _, number in states().values()) == [1, 2]
        assert links() == expected()
        done = "SELECT state FROM dag_run WHERE dag_id = 'load_rooms' AND state = 'success'"
        processes.wait_until("the next DAG to run", lambda: rows(done), 90)
    finally:
        processes.stop()
    told = [json.loads(extra) for (extra,) in rows("SELECT extra FROM asset_event")]
    assert {extra["export_id"] for extra in told} == {
        export.id for export in export_simulator.exports("giosg")
    }
    for extra in told:
        (file,) = extra["files"]
        assert (tmp_path / "landed" / file["name"]).stat().st_size == extra["bytes"]

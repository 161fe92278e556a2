"""What a DAG that is scheduled on landed files gets to know of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, Asset, AssetAlias, ObjectStoragePath

from airflow_provider_exports.core.model import Content
from airflow_provider_exports.core.vendor import MOST_NAMES
from airflow_provider_exports.landed import MOST_BYTES, Landed, place, tell_outlets, uri_of
from airflow_provider_exports.landing import export_files
from airflow_provider_exports.operators.export import DownloadExportOperator
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.test_windows import CASES, Window
from tests.airflow.trial import Trial
from tests.versions import AIRFLOW

try:
    from airflow.sdk.execution_time.context import OutletEventAccessors
except ImportError:  # before Airflow 3
    from airflow.utils.context import OutletEventAccessors

pytestmark = pytest.mark.filterwarnings("ignore")

ROOMS = Asset("giosg_rooms")
WINDOW = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}


def context(task: Any) -> dict[str, Any]:
    """The context of a task instance, with Airflow's own outlet events."""
    names = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    ti = SimpleNamespace(**names, try_number=1, max_tries=0, xcom_push=lambda **_: None)
    return {"ti": ti, "task": task, "outlet_events": OutletEventAccessors()}


def execute(make: Callable[..., Any], outlet: Any, **arguments: Any) -> tuple[Any, Any]:
    """Run a task to its end; return its result and the event of its outlet."""
    task = make(task_id="t", outlets=[outlet], deferrable=False, **arguments)
    given = context(task)
    return task.execute(given), given["outlet_events"][outlet]


def giosg(simulator: Simulator, **arguments: Any) -> dict[str, Any]:
    """Arguments of an export of chat logs."""
    return {"room_id": simulator.rooms()[0]["id"], "type": "logs", "format": "csv", **WINDOW, **arguments}


def test_event_says_what_has_landed(simulator: Simulator, tmp_path: Path) -> None:
    """Id, vendor, window, files, rows and bytes, and the manifest that says the same."""
    arguments = giosg(simulator, destination=tmp_path.as_uri(), as_jsonl=True)
    result, event = execute(GiosgRunExportOperator, ROOMS, **arguments)
    (file,) = result["files"]
    rows = len((tmp_path / file["name"]).read_bytes().splitlines())
    manifest = Path(event.extra["manifest"].removeprefix("file://"))
    assert event.extra == {
        "export_id": result["export_id"],
        "vendor": "giosg",
        "created_at": result["created_at"],
        "expires_at": result["expires_at"],
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-08T00:00:00Z"},
        "file_count": 1,
        "rows": rows,
        "bytes": file["size"],
        "manifest": manifest.as_uri(),
        "files": [{**file, "rows": rows}],
    }
    assert rows > 1
    assert json.loads(manifest.read_bytes())["files"][0]["rows"] == rows
    json.dumps(event.extra)


def test_event_names_files_that_can_be_opened(simulator: Simulator, tmp_path: Path) -> None:
    """``export_files`` takes the extra of an event as it takes a result."""
    arguments = {"entity_type": "Payment", "destination": tmp_path.as_uri()}
    result, event = execute(MewsRunExportOperator, ROOMS, **arguments)
    files = export_files(event.extra)
    assert len(files) == 2
    assert [file.read_bytes() for file in files] == [
        (tmp_path / file["name"]).read_bytes() for file in result["files"]
    ]
    # Mews has JSON Lines, whose rows count themselves; it was asked for no window.
    assert event.extra["rows"] == sum(file.read_bytes().count(b"\n") for file in files)
    assert event.extra["window"] is None


def test_rows_that_nobody_has_counted_are_not_told(simulator: Simulator, tmp_path: Path) -> None:
    """CSV as it comes is not read for its rows."""
    _, event = execute(GiosgRunExportOperator, ROOMS, **giosg(simulator, destination=tmp_path.as_uri()))
    assert event.extra["rows"] is None
    assert event.extra["files"][0]["rows"] is None
    assert event.extra["bytes"] > 0


@pytest.mark.parametrize("layout", ["{name}", "{vendor}/{export_id}/{name}", "all/{stem}{suffix}"])
def test_download_tells_its_outlet_as_well(simulator: Simulator, tmp_path: Path, layout: str) -> None:
    """Whoever has made the export, and wherever the manifest lies; what was asked for is not known then."""
    simulator.configure("mews", ready_after_seconds=0)
    made, _ = execute(MewsRunExportOperator, ROOMS, entity_type="Payment")
    task = DownloadExportOperator(
        task_id="t",
        conn_id="mews_default",
        export_id=made["export_id"],
        destination=tmp_path.as_uri(),
        layout=layout,
        outlets=[ROOMS],
    )
    given = context(task)
    result = task.execute(given)
    extra = given["outlet_events"][ROOMS].extra
    assert (extra["export_id"], extra["window"], extra["file_count"]) == (made["export_id"], None, 2)
    assert extra["rows"] > 0
    assert Path(extra["manifest"].removeprefix("file://")).is_file()
    assert [file["uri"] for file in extra["files"]] == [file["uri"] for file in result["files"]]


def test_nothing_landed_is_told_of_a_task_without_destination(simulator: Simulator) -> None:
    """Its files are still at the vendor."""
    _, event = execute(MewsRunExportOperator, ROOMS, entity_type="Payment")
    assert event.extra == {}


def test_what_the_dag_author_has_put_into_the_event_stays(simulator: Simulator, tmp_path: Path) -> None:
    """Such as in ``pre_execute``."""
    task = MewsRunExportOperator(
        task_id="t", entity_type="Payment", destination=tmp_path.as_uri(), outlets=[ROOMS], deferrable=False
    )
    given = context(task)
    given["outlet_events"][ROOMS].extra = {"team": "finance"}
    task.execute(given)
    assert given["outlet_events"][ROOMS].extra["team"] == "finance"
    assert given["outlet_events"][ROOMS].extra["vendor"] == "mews"


def landed(files: int, name: str = "part-{}.csv") -> Landed:
    """So many landed files."""
    result = {
        "export_id": "e",
        "vendor": "mews",
        "state": "ready",
        "created_at": None,
        "expires_at": None,
        "files": [
            {"uri": f"file:///data/{name.format(i)}", "name": name.format(i), "size": 7, "sha256": "0" * 64}
            for i in range(files)
        ],
    }
    rows = {file["name"]: 2 for file in result["files"]}
    return Landed(result, Content(), ObjectStoragePath("file:///data"), "file:///data/_export.json", rows)


def test_thousand_files_do_not_blow_up_the_event() -> None:
    """The list is left out whole, and who reads it anyway fails; counts and manifest are there."""
    extra = landed(1000).extra()
    assert len(json.dumps(extra)) < 1000
    assert (extra["file_count"], extra["rows"], extra["bytes"]) == (1000, 2000, 7000)
    with pytest.raises(KeyError, match="files"):
        export_files(extra)


def test_list_of_files_is_bounded_by_its_bytes() -> None:
    """Few files with long names are as much as many with short ones."""
    assert len(landed(50).extra()["files"]) == 50
    assert "files" not in landed(50, "n" * 200 + "-{}").extra()
    assert MOST_BYTES < 65535 / 2


def test_task_does_not_fail_for_what_is_shown_of_its_files(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are there; another try would meet the same, or an export that has expired."""

    def gone(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the credentials have just expired")

    monkeypatch.setattr("airflow_provider_exports.landed.uri_of", gone)
    arguments = giosg(simulator, destination=tmp_path.as_uri())
    result, _ = execute(GiosgRunExportOperator, AssetAlias("landed"), **arguments)
    assert result["state"] == "ready"
    assert (tmp_path / result["files"][0]["name"]).is_file()


def test_manifest_that_cannot_be_read_back_costs_the_rows_only(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each store raises errors of its own."""

    def gone(*_: Any) -> Any:
        raise RuntimeError("connection lost")

    monkeypatch.setattr("airflow_provider_exports.landed.Manifest.from_json", gone)
    arguments = giosg(simulator, destination=tmp_path.as_uri(), as_jsonl=True)
    _, event = execute(GiosgRunExportOperator, ROOMS, **arguments)
    assert (event.extra["file_count"], event.extra["rows"]) == (1, None)


@pytest.mark.parametrize(("key", "told"), [(20260301, "2026-03-01"), (" ", None), ("x" * 251, None)])
def test_partition_key_is_checked_before_anything_is_sent(
    simulator: Simulator, tmp_path: Path, key: Any, told: str | None
) -> None:
    """A template may render to a number; what Airflow does not take would fail each try after landing."""
    arguments = giosg(simulator, destination=tmp_path.as_uri(), partition_key=key)
    if told:
        assert execute(GiosgRunExportOperator, ROOMS, **arguments)[0]["state"] == "ready"
        return
    with pytest.raises(AirflowFailException, match="partition_key"):
        execute(GiosgRunExportOperator, ROOMS, **arguments)
    assert simulator.exports("giosg") == []


def test_alias_becomes_the_asset_of_the_folder(simulator: Simulator, tmp_path: Path) -> None:
    """A task whose destination is only known when it runs names an alias."""
    alias = AssetAlias("landed")
    arguments = {"entity_type": "Payment", "destination": f"{tmp_path.as_uri()}/a"}
    _, event = execute(MewsRunExportOperator, alias, **arguments)
    if AIRFLOW >= (3, 0):
        ((uri, extra),) = ((told.dest_asset_key.uri, told.extra) for told in event.asset_alias_events)
    else:
        ((uri, extra),) = ((t["dest_dataset_uri"], t["extra"]) for t in event.dataset_alias_events)
    assert uri == f"{tmp_path.as_uri()}/a"
    assert extra["vendor"] == "mews"


@pytest.mark.only_airflow(">=3.3")
def test_event_is_of_the_partition_that_is_named() -> None:
    """Where none is named, Airflow takes the one of the run."""
    task = SimpleNamespace(outlets=[ROOMS])
    for key, expected in ((None, set()), ("2026-03-01", {"2026-03-01"})):
        given = context(task)
        tell_outlets(given, landed(1), key)
        assert given["outlet_events"][ROOMS].partition_keys == expected


@pytest.mark.only_airflow("<3.3")
def test_partition_is_passed_over_where_there_are_none() -> None:
    """The event is told all the same."""
    given = context(SimpleNamespace(outlets=[ROOMS]))
    tell_outlets(given, landed(1), "2026-03-01")
    assert given["outlet_events"][ROOMS].extra["export_id"] == "e"


@pytest.mark.only_airflow(">=3.0")
def test_reference_to_an_asset_is_an_outlet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG may name an asset that is defined in another."""
    events: dict[Any, Any] = {}
    reference = Asset.ref(name="giosg_rooms")
    events[reference] = SimpleNamespace(extra={})
    tell_outlets({"task": SimpleNamespace(outlets=[reference]), "outlet_events": events}, landed(1))  # type: ignore[arg-type, typeddict-item]
    assert events[reference].extra["export_id"] == "e"


@pytest.mark.parametrize(
    ("uri", "namespace", "name", "without_connection"),
    [
        ("file:///data/in", "file", "/data/in", "file:///data/in"),
        ("s3://bucket/raw/in", "s3://bucket", "raw/in", "s3://bucket/raw/in"),
        ("s3://bucket", "s3://bucket", "/", "s3://bucket/"),
        ("s3://bucket/übung", "s3://bucket", "übung", "s3://bucket/%C3%BCbung"),
        ("file:///data/übung", "file", "/data/übung", "file:///data/%C3%BCbung"),
    ],
)
def test_places_have_names_that_others_know(
    uri: str, namespace: str, name: str, without_connection: str
) -> None:
    """By the rules of OpenLineage, without Airflow's connection."""
    path = ObjectStoragePath(uri)
    assert place(path) == (namespace, name)
    assert uri_of(path) == without_connection


@pytest.mark.parametrize(
    ("protocol", "fs", "expected", "uri"),
    [
        (
            "sftp",
            SimpleNamespace(storage_options={"host": "files.example", "port": 2022, "password": "s3same"}),
            ("file://files.example:2022", "/in/new"),
            "sftp://files.example:2022/in/new",
        ),
        ("gs", None, ("gs://bucket", "in/new"), "gs://bucket/in/new"),
        (
            "abfs",
            SimpleNamespace(account_name="acct"),
            ("abfss://bucket@acct.dfs.core.windows.net", "in/new"),
            "abfss://bucket@acct.dfs.core.windows.net/in/new",
        ),
    ],
)
def test_places_of_other_stores(protocol: str, fs: Any, expected: tuple[str, str], uri: str) -> None:
    """No user, no password, and the address of the machine where the store is one."""
    path: Any = SimpleNamespace(protocol=protocol, bucket="bucket", key="in/new", path="/in/new", fs=fs)
    assert place(path) == expected
    assert uri_of(path) == uri


DAY = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))


@pytest.mark.parametrize("vendor", sorted(CASES))
def test_window_is_read_as_the_vendor_reads_it(vendor: str) -> None:
    """Start and end of what was asked for, whatever the vendor calls them."""
    case = CASES[vendor]
    payload = case.payload(DAY)
    asked = case.vendor().known_content(payload)
    assert (asked.start, asked.end) == case.window(payload)
    assert asked.subjects


@pytest.mark.parametrize(
    ("vendor", "payload", "subjects", "columns"),
    [
        ("mews", {"EntityType": "Payment"}, ("Payment",), ()),
        ("giosg", {"room_id": "r1", "type": "stats"}, ("rooms/r1/stats",), ()),
        ("medable", {"objects": "c_tasks", "paths": ["_id", "c_status"]}, ("c_tasks",), ("_id", "c_status")),
        (
            "connhex",
            {
                "format": {"columns": [{"id": "time", "label": "When"}, {"id": "value", "label": "Much"}]},
                "items": [{"params": {"channelId": c}} for c in ("c1", "c2", "c1")],
            },
            ("channels/c1", "channels/c2"),
            ("When", "Much"),
        ),
        ("mews", {}, (), ()),
        ("giosg", None, (), ()),
    ],
)
def test_subjects_and_columns(
    vendor: str, payload: dict[str, Any] | None, subjects: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    """What the rows are of; nothing where the payload cannot be read."""
    asked = CASES[vendor].vendor().known_content(payload)
    assert (asked.subjects, asked.columns) == (subjects, columns)


def test_window_is_what_was_asked_for_with_overlap() -> None:
    """A loader replaces what lies in the window: it must not begin a day early."""
    vendor = CASES["giosg"].vendor(overlap=86400)
    payload = vendor.prepare({"room_id": "r", "type": "logs", "starting_at": DAY.start, "ending_at": DAY.end})
    assert payload["starting_at"].startswith("2026-02-28")
    assert vendor.known_content(payload).start == DAY.start


def test_subjects_are_bounded() -> None:
    """An export of thousands of channels names some."""
    items = [{"params": {"channelId": str(number)}} for number in range(5000)]
    assert len(CASES["connhex"].vendor().known_content({"items": items}).subjects) == MOST_NAMES


DAG = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator

with DAG("land_rooms", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    GiosgRunExportOperator(
        task_id="export",
        room_id={room!r},
        type="logs",
        format="csv",
        starting_at="2026-01-01",
        ending_at="2026-01-08",
        destination="file://{home}/landed",
        as_jsonl=True,
        deferrable=True,
        outlets=[Asset("giosg_rooms")],
        partition_key="{{{{ ds }}}}",
    )
"""


def test_event_reaches_the_database(export_simulator: Simulator, tmp_path: Path) -> None:
    """What Airflow keeps of the event is what the files are."""
    trial = Trial(tmp_path, export_simulator)
    trial.write("land_rooms", DAG.format(room=export_simulator.rooms()[0]["id"], home=tmp_path))
    if AIRFLOW < (3, 0):
        # There a test run of a DAG that the database does not know updates none of its assets.
        trial.airflow("dags", "reserialize")
    trial.airflow("dags", "test", "land_rooms", "2026-03-01")
    table = "asset_event" if AIRFLOW >= (3, 0) else "dataset_event"
    ((told, source),) = trial.rows(f"SELECT extra, source_task_id FROM {table}")
    extra = json.loads(told)
    extra = json.loads(extra) if isinstance(extra, str) else extra
    assert source == "export"
    assert (extra["vendor"], extra["file_count"]) == ("giosg", 1)
    landed_file = tmp_path / "landed" / extra["files"][0]["name"]
    assert landed_file.stat().st_size == extra["bytes"]
    assert len(landed_file.read_bytes().splitlines()) == extra["rows"]
    if AIRFLOW >= (3, 3):
        assert trial.rows("SELECT partition_key FROM asset_event") == [("2026-03-01",)]

"""The example DAGs: they import fast, alone and offline, and cover the window they should."""

from __future__ import annotations

import json
import socket
import sys
from datetime import UTC, datetime, timedelta
from importlib.util import module_from_spec, spec_from_file_location
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction

from airflow_provider_exports.core.registry import BUILT_IN
from tests.airflow.test_windows import CASES, Window
from tests.versions import AIRFLOW

FOLDER = Path(__file__).parent.parent.parent / "example_dags"
NIGHTLY, BULK = "mews_nightly_increment", "giosg_rooms_bulk"
# DAGs that are started from a form.
FORMS = {f"{vendor}_from_form" for vendor in BUILT_IN}
ALL = {
    *FORMS,
    NIGHTLY,
    BULK,
    "connhex_channel_daily",
    "connhex_recurring_report",
    "giosg_chats_daily",
    "giosg_chats_loaded",
    "mews_companies_duckdb",
    "medable_objects_daily",
    "onna_slack_weekly",
}
READY = "giosg_reports_ready"
# Vendor and exporting task of the DAGs with a schedule.
SCHEDULED = {
    NIGHTLY: ("mews", "export"),
    "connhex_channel_daily": ("connhex", "export_channel"),
    "giosg_chats_daily": ("giosg", "export"),
    "medable_objects_daily": ("medable", "export"),
    "onna_slack_weekly": ("onna", "export_week"),
}
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOON = datetime(2026, 3, 2, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def dags() -> dict[str, Any]:
    """The DAGs of the folder."""
    return load(FOLDER)


def load(folder: Path) -> dict[str, Any]:
    """The DAGs of a folder as Airflow loads them."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before Airflow 3.1
        from airflow.models.dagbag import DagBag

    bag = DagBag(str(folder))
    assert bag.import_errors == {}
    return dict(bag.dags)


def module(name: str) -> ModuleType:
    """One DAG file as a module."""
    spec = spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def dag_run(**given: Any) -> SimpleNamespace:
    """A run as templates see it; Airflow 3 has one without dates when it is started without any."""
    names = ("logical_date", "data_interval_start", "data_interval_end", "run_after", "run_type")
    return SimpleNamespace(**{name: given.get(name) for name in names})


def test_folder_holds_these_dags(dags: dict[str, Any]) -> None:
    """No DAG of the folder is missed by these tests."""
    # Airflow 2 watches no assets.
    assert set(dags) == (ALL | {READY} if AIRFLOW >= (3, 0) else ALL)
    assert {file.stem for file in FOLDER.glob("*.py")} == ALL | {READY}


@pytest.mark.parametrize("name", sorted(ALL | {READY}))
def test_parsing_needs_no_network_and_no_client(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DAG file is parsed every few seconds: it connects nowhere and loads no hook."""

    def refuse(*_arguments: object) -> None:
        raise AssertionError("a DAG file connects to something while it is parsed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    for loaded in [one for one in sys.modules if one.startswith("airflow_provider_exports.hooks")]:
        monkeypatch.delitem(sys.modules, loaded)
    module(name)
    assert not [one for one in sys.modules if one.startswith("airflow_provider_exports.hooks")]


def test_nightly_exports_each_entity_type_of_a_real_interval(dags: dict[str, Any]) -> None:
    """One mapped task per entity type, named after it; no overlap of two nights; an interval has a length."""
    dag = dags[NIGHTLY]
    assert {task.task_id for task in dag.tasks} == {"export", "publish"}
    export = dag.get_task("export")
    assert type(export).__name__ == "MappedOperator"
    assert export.operator_name == "MewsRunExportOperator"
    assert export.partial_kwargs["map_index_template"] == "{{ task.entity_type }}"
    assert export.partial_kwargs["deferrable"] is True
    assert export.downstream_task_ids == {"publish"}
    assert [asset.uri for asset in dag.get_task("publish").outlets] == [NIGHTLY]
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert type(dag.timetable).__name__ == "CronDataIntervalTimetable"


def test_nightly_templates_render(dags: dict[str, Any]) -> None:
    """Window and destination come from the run and the Variable."""
    export = dags[NIGHTLY].get_task("export").partial_kwargs
    context = {
        "dag_run": dag_run(data_interval_start=datetime(2026, 3, 1, tzinfo=UTC), data_interval_end=MIDNIGHT),
        "params": {"start_utc": None, "end_utc": None},
        "task": SimpleNamespace(entity_type="Payment"),
        "var": SimpleNamespace(value={"exports_destination": "s3://c@bucket/raw"}),
    }
    environment = dags[NIGHTLY].get_template_env()
    rendered = {
        name: environment.from_string(export[name]).render(context)
        for name in ("start_utc", "end_utc", "destination")
    }
    assert rendered == {
        "start_utc": "2026-03-01 00:00:00+00:00",
        "end_utc": "2026-03-02 00:00:00+00:00",
        "destination": "s3://c@bucket/raw/mews/2026-03-01/Payment",
    }


def test_bulk_exports_each_listed_room_and_sums_up(dags: dict[str, Any]) -> None:
    """One mapped task per room, named after it; the summary runs whatever became of them."""
    dag = dags[BULK]
    assert {task.task_id for task in dag.tasks} == {"list_rooms", "export_room", "summary"}
    export = dag.get_task("export_room")
    assert type(export).__name__ == "MappedOperator"
    assert export.operator_name == "GiosgRunExportOperator"
    assert export.partial_kwargs["map_index_template"] == "{{ task.export_label }}"
    assert export.partial_kwargs["deferrable"] is True
    assert export.upstream_task_ids == {"list_rooms"}
    assert dag.get_task("summary").upstream_task_ids == {"list_rooms", "export_room"}
    assert dag.get_task("summary").trigger_rule == "all_done"


@pytest.mark.parametrize(
    ("run", "typed", "start", "end"),
    [
        pytest.param(
            {"data_interval_start": datetime(2026, 3, 1, tzinfo=UTC), "data_interval_end": MIDNIGHT},
            {},
            "2026-03-01",
            "2026-03-02",
            id="scheduled",
        ),
        pytest.param({"run_after": NOON}, {}, "2026-03-01", "2026-03-02", id="by hand without a date"),
        pytest.param(
            {"data_interval_start": datetime(2026, 3, 1, tzinfo=UTC), "data_interval_end": MIDNIGHT},
            {"start_utc": "2026-02-20T00:00:00Z"},
            "2026-02-20",
            "2026-03-02",
            id="start typed in",
        ),
        pytest.param(
            {"run_after": NOON},
            {"start_utc": "2026-01-01", "end_utc": "2026-01-05T02:00:00+02:00"},
            "2026-01-01",
            "2026-01-05",
            id="both typed in",
        ),
    ],
)
def test_nightly_window(run: dict[str, datetime], typed: dict[str, str], start: str, end: str) -> None:
    """The form comes first, then the data interval, then the last whole day."""
    window = module(NIGHTLY).window(dag_run(**run), {"start_utc": None, "end_utc": None, **typed})
    assert [moment.astimezone(UTC).isoformat() for moment in window] == [
        f"{start}T00:00:00+00:00",
        f"{end}T00:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("run", "typed", "start", "end"),
    [
        pytest.param({"run_after": NOON}, {}, "2026-02-23", "2026-03-02", id="without a date"),
        pytest.param(
            {"logical_date": datetime(2026, 2, 10, 9, tzinfo=UTC), "run_after": NOON},
            {},
            "2026-02-03",
            "2026-02-10",
            id="for another day",
        ),
        pytest.param(
            {"run_after": NOON}, {"ending_at": "2026-02-15"}, "2026-02-08", "2026-02-15", id="end typed in"
        ),
        pytest.param(
            {"run_after": NOON},
            {"starting_at": "2026-01-01", "ending_at": "2026-01-05"},
            "2026-01-01",
            "2026-01-05",
            id="both typed in",
        ),
    ],
)
def test_bulk_window(run: dict[str, datetime], typed: dict[str, str], start: str, end: str) -> None:
    """The form comes first, then the seven whole days before the run."""
    window = module(BULK).window(dag_run(**run), {"starting_at": None, "ending_at": None, **typed})
    assert [moment.isoformat() for moment in window] == [
        f"{start}T00:00:00+00:00",
        f"{end}T00:00:00+00:00",
    ]


def test_summary_names_the_failed_rooms() -> None:
    """A room without a result fails the summary, with its name; the files of the others are not lost."""
    from airflow.providers.common.compat.sdk import AirflowFailException

    results = {0: {"files": [{"uri": "file:///a"}]}, 1: None}
    ti = SimpleNamespace(xcom_pull=lambda task_ids, map_indexes: results[map_indexes])
    rooms = [{"room_id": "1", "export_label": "Web shop"}, {"room_id": "2", "export_label": "Support"}]
    summary = module(BULK).summary.function
    with pytest.raises(AirflowFailException, match=r"1 of 2 rooms failed: Support"):
        summary(rooms, ti=ti)
    results[1] = {"files": []}
    assert summary(rooms, ti=ti) == {"Web shop": ["file:///a"], "Support": []}


def run_of(interval: Any, run_type: str = "scheduled") -> SimpleNamespace:
    """The run of a data interval."""
    return dag_run(
        logical_date=interval.start,
        data_interval_start=interval.start,
        data_interval_end=interval.end,
        run_after=interval.end,
        run_type=run_type,
    )


def payload(dag: Any, run: SimpleNamespace) -> dict[str, Any]:
    """What the DAG's exporting task sends in a run; of a mapped task, its first instance."""
    vendor, task_id = SCHEDULED[dag.dag_id]
    # Rendering writes into the task.
    task = dag.get_task(task_id)
    if not hasattr(task, "expand_input"):
        task = task.prepare_for_execution()
    else:
        given = task.expand_input.value
        first = given[0] if isinstance(given, list) else {name: values[0] for name, values in given.items()}
        task = task.unmap(first)
    params = dict.fromkeys(dag.params)
    task.render_template_fields(
        {"dag_run": run, "params": params, "task": task, "var": SimpleNamespace(value={})}
    )
    client = CASES[vendor].vendor()
    parameters = {name: getattr(task, name) for name in task.payload_parameters}
    sent = client.prepare(client.compose(parameters, task.payload))
    client.check(sent, run.run_after.timestamp() + 86400)
    return sent


def window_of(dag: Any, run: SimpleNamespace) -> Window:
    """The window that a run exports, as the vendor reads it."""
    vendor, _ = SCHEDULED[dag.dag_id]
    return CASES[vendor].window(payload(dag, run))


def as_scheduled(dag: Any) -> Any:
    """The DAG as the scheduler has it, which knows its runs."""
    if hasattr(dag, "iter_dagrun_infos_between"):  # before Airflow 3.1
        return dag
    try:
        from airflow.serialization.serialized_objects import DagSerialization
    except ImportError:  # before Airflow 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
    return DagSerialization.from_dict(DagSerialization.to_dict(dag))


def missed(dag: Any, catchup: bool) -> tuple[DataInterval, list[DataInterval]]:
    """The last interval before an outage of some 40 days, and those that are run after it, all at once."""
    now = pendulum.now("UTC")
    timetable = dag.timetable
    last = timetable.infer_manual_data_interval(run_after=now.subtract(days=40))
    restriction = TimeRestriction(pendulum.instance(dag.start_date), None, catchup)
    made, interval = [], last
    while info := timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction):
        if info.run_after > now:
            break
        interval = info.data_interval
        made.append(interval)
    return last, made


@pytest.mark.parametrize("name", SCHEDULED)
def test_catchup_exports_what_was_missed(dags: dict[str, Any], name: str) -> None:
    """With ``catchup=True`` the runs after an outage go on where the last one ended."""
    last, made = missed(dags[name], catchup=True)
    windows = [window_of(dags[name], run_of(interval)) for interval in (last, *made)]
    assert len(made) >= 5
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert windows[-1].end > datetime.now(UTC) - timedelta(days=8)


@pytest.mark.parametrize("name", SCHEDULED)
def test_without_catchup_only_the_newest_is_exported(dags: dict[str, Any], name: str) -> None:
    """As the examples are, an outage leaves a gap; what they export then is the newest interval."""
    assert dags[name].catchup is False
    last, made = missed(dags[name], catchup=False)
    assert len(made) == 1
    assert window_of(dags[name], run_of(made[0])).start - last.end > timedelta(days=20)


@pytest.mark.parametrize("name", SCHEDULED)
def test_backfill_exports_a_range(dags: dict[str, Any], name: str) -> None:
    """A backfill makes one run per interval of its range, which sends what the scheduled run sends."""
    dag = dags[name]
    first, last = pendulum.datetime(2026, 3, 2), pendulum.datetime(2026, 4, 6)
    infos = list(as_scheduled(dag).iter_dagrun_infos_between(first, last))
    windows = [window_of(dag, run_of(info.data_interval, "backfill")) for info in infos]
    assert len(windows) >= 5
    assert windows[0].start == first
    assert windows[-1].start == last
    assert all(before.end == after.start for before, after in pairwise(windows))
    for info in infos:
        backfilled, scheduled = (
            json.dumps(payload(dag, run_of(info.data_interval, run_type)))
            for run_type in ("backfill", "scheduled")
        )
        assert backfilled == scheduled


@pytest.mark.parametrize("name", sorted(set(SCHEDULED) - {"onna_slack_weekly"}))
def test_run_by_hand_exports_the_last_day(dags: dict[str, Any], name: str) -> None:
    """A run by hand sends what the last scheduled one sent, with an interval or, on Airflow 3, without."""
    dag = dags[name]
    scheduled = payload(dag, run_of(Window(MIDNIGHT - timedelta(days=1), MIDNIGHT)))
    inferred = dag.timetable.infer_manual_data_interval(run_after=pendulum.instance(NOON))
    for run in (run_of(inferred, "manual"), dag_run(run_after=NOON, run_type="manual")):
        assert json.dumps(payload(dag, run)) == json.dumps(scheduled)


def test_run_by_hand_exports_the_last_seven_days(dags: dict[str, Any]) -> None:
    """The weekly example does not go back to Monday when it is started by hand."""
    dag = dags["onna_slack_weekly"]
    thursday = datetime(2026, 3, 5, 12, 30, tzinfo=UTC)
    expected = Window(datetime(2026, 2, 26, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC))
    inferred = dag.timetable.infer_manual_data_interval(run_after=pendulum.instance(thursday))
    with_date = run_of(inferred, "manual")
    with_date.logical_date = with_date.run_after = thursday
    for run in (with_date, dag_run(run_after=thursday, run_type="manual")):
        assert window_of(dag, run) == expected


@pytest.mark.parametrize("name", [NIGHTLY, "connhex_channel_daily", "medable_objects_daily"])
def test_runs_do_not_overlap_where_the_vendor_has_one_queue(dags: dict[str, Any], name: str) -> None:
    """Mews refuses a second export of a type, Connhex and Medable queue: two runs would only wait."""
    assert dags[name].max_active_runs == 1


REPEATED = "connhex_recurring_report"


def test_report_is_kept_watched_and_landed_for_one_run(dags: dict[str, Any]) -> None:
    """Sensor and download are given the same run: the one that was due at the end of the interval."""
    dag = dags[REPEATED]
    assert dag.get_task("keep").reuse_existing
    assert dag.get_task("watch").upstream_task_ids == {"keep"}
    assert dag.get_task("land").upstream_task_ids == {"keep", "watch"}
    assert dag.max_active_runs == 1
    due = module(REPEATED).due
    six = MIDNIGHT + timedelta(hours=6)
    run = dag_run(data_interval_start=six - timedelta(days=1), data_interval_end=six)
    context = {"dag_run": run, "due": due, "macros": SimpleNamespace(timedelta=timedelta)}
    for name in ("watch", "land"):
        task = dag.get_task(name)
        rendered = [
            task.render_template(getattr(task, field), context) for field in ("run_due", "next_run_due")
        ]
        assert [pendulum.parse(text) for text in rendered] == [six, six + timedelta(days=1)]


@pytest.mark.parametrize(
    ("started", "due"),
    [
        (NOON, datetime(2026, 3, 2, 6, tzinfo=UTC)),
        (datetime(2026, 3, 2, 5, 59, tzinfo=UTC), datetime(2026, 3, 1, 6, tzinfo=UTC)),
        (datetime(2026, 3, 2, 6, tzinfo=UTC), datetime(2026, 3, 2, 6, tzinfo=UTC)),
    ],
)
def test_report_started_by_hand_is_the_newest_run(started: datetime, due: datetime) -> None:
    """Without an interval the run that was due last is taken."""
    assert module(REPEATED).due(dag_run(run_after=started)) == due


def test_report_is_due_when_the_vendor_says_so() -> None:
    """The vendor counts from periodStart by periodicity, Airflow by the timetable: both at the same times."""
    report = module(REPEATED).REPORT
    first = pendulum.parse(report["periodStart"])
    length = pendulum.parse(report["periodicity"])
    assert module(REPEATED).due(dag_run(run_after=first + 5 * length)) == first + 5 * length


def test_report_that_is_not_wanted_is_deleted(tmp_path: Path) -> None:
    """Set to False, the file has one task, which ends the recurrence."""
    text = (FOLDER / f"{REPEATED}.py").read_text("utf-8")
    assert "WANTED = True\n" in text
    (tmp_path / "ended.py").write_text(text.replace("WANTED = True\n", "WANTED = False\n"), "utf-8")
    assert {task.task_id for task in load(tmp_path)[REPEATED].tasks} == {"end"}


def test_next_dag_is_scheduled_on_what_has_landed(dags: dict[str, Any]) -> None:
    """Both name the same asset, and nothing else joins them."""
    (outlet,) = dags["giosg_chats_daily"].get_task("export").outlets
    # As the scheduler has it.
    schedule = as_scheduled(dags["giosg_chats_loaded"]).timetable.serialize()
    assert json.dumps(outlet.uri) in json.dumps(schedule)


@pytest.mark.parametrize("word", ["triggering_asset_events", "triggering_dataset_events"])
def test_next_dag_reads_the_files_of_each_event(tmp_path: Path, word: str) -> None:
    """With what the events say alone."""
    events = []
    for number in (1, 2):
        file = tmp_path / f"{number}.jsonl"
        file.write_text("{}\n" * number, "utf-8")
        extra = {"export_id": str(number), "window": None, "files": [{"uri": file.as_uri()}]}
        events.append(SimpleNamespace(extra=extra))
    assert module("giosg_chats_loaded").load.function(**{word: {"giosg_chats": events}}) == 3


@pytest.mark.only_airflow(">=3.0")
def test_ready_exports_are_landed_once_each(dags: dict[str, Any]) -> None:
    """Events may be many, and tell an export twice; each is a task of its own."""
    dag = dags[READY]
    payloads = [{"export_id": "b"}, {"export_id": "a"}, {"export_id": "b"}]
    events = [SimpleNamespace(extra={"from_trigger": True, "payload": payload}) for payload in payloads]
    which = dag.get_task("which").python_callable
    assert which(triggering_asset_events={"giosg_reports": events}) == ["a", "b"]
    assert type(dag.get_task("land")).__name__ == "MappedOperator"
    assert dag.get_task("land").upstream_task_ids == {"which"}

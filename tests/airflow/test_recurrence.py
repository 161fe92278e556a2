"""An export that the vendor repeats: created once, each run landed once, ended when the DAG says so."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.hooks.connhex import ConnhexHook
from airflow_provider_exports.landing.transfer import Transfer
from airflow_provider_exports.operators.connhex import ConnhexCreateExportOperator, ConnhexRunExportOperator
from airflow_provider_exports.operators.export import CreateExportOperator, DownloadExportOperator
from airflow_provider_exports.sensors.connhex import ConnhexExportSensor
from airflow_provider_exports.sensors.export import ExportSensor
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, landed, run
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")

DAY = timedelta(days=1)


def report(simulator: Simulator, **changes: Any) -> dict[str, Any]:
    """A report of the last day that is due once a day, first in an hour."""
    item = {
        "channelId": "00000000-0000-4000-8000-000000000001",
        "subtopic": "events.data",
        "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp"},
        "period": "P1D",
    }
    return {
        "type": "recurring",
        "periodicity": "P1D",
        "periodStart": first_due(simulator).isoformat(),
        "format": {"extension": "csv"},
        "items": [{"params": item}],
        **changes,
    }


def first_due(simulator: Simulator) -> datetime:
    return simulator.now().replace(microsecond=0) + timedelta(hours=1)


def keep(payload: dict[str, Any]) -> Any:
    return run(lambda: ConnhexCreateExportOperator(task_id="keep", payload=payload, reuse_existing=True))


def land(export_id: str, folder: Path, **changes: Any) -> DownloadExportOperator:
    """A task that lands a run."""
    arguments = {"task_id": "land", "conn_id": "connhex_default", "export_id": export_id, **changes}
    return DownloadExportOperator(destination=folder.as_uri(), **arguments)


def run_of(due: datetime) -> dict[str, Any]:
    """The run that was due then."""
    return {"run_due": due.isoformat(), "next_run_due": (due + DAY).isoformat()}


def watch(simulator: Simulator, export_id: str, deferrable: bool, due: datetime, **changes: Any) -> None:
    """Watch for one run: deferred, or with one look a minute as Airflow's own loop does."""
    arguments = {
        "task_id": "watch",
        "export_id": export_id,
        **run_of(due),
        "deferrable": deferrable,
        "poke_interval": 60,
        **changes,
    }
    if deferrable:
        run(lambda: ConnhexExportSensor(**arguments))
        return
    sensor = ConnhexExportSensor(**arguments)
    while not sensor.poke({}):
        simulator.advance(60)


def watch_error(*arguments: Any) -> BaseException | None:
    with pytest.raises(Exception, match="") as caught:
        watch(*arguments)
    return caught.value if isinstance(caught.value, errors.ExportError) else caught.value.__cause__


@pytest.mark.parametrize(
    "told", [{"status_form": "status"}, {"status_form": "jobs"}, {"status_form": "jobs", "jobs_shown": "all"}]
)
def test_each_run_is_landed_once(
    simulator: Simulator, deferrable: bool, told: dict[str, Any], tmp_path: Path
) -> None:
    """Three DAG runs: one export, three files, each of the day before its run, whatever the status tells."""
    simulator.configure("connhex", ready_after_seconds=400, file_life_seconds=2 * 86400, **told)
    due, payload = first_due(simulator), report(simulator)
    files = []
    for number in range(3):
        export_id = keep(payload)
        watch(simulator, export_id, deferrable, due + number * DAY)
        assert due + number * DAY < simulator.now() < due + number * DAY + timedelta(minutes=30)
        arguments = {"task_id": "land", "conn_id": "connhex_default", "export_id": export_id}
        arguments |= run_of(due + number * DAY)
        destination = (tmp_path / str(number)).as_uri()
        result = run(lambda: DownloadExportOperator(destination=destination, **arguments))  # noqa: B023
        files.append(Path(result["files"][0]["uri"].removeprefix("file://")).read_text().splitlines()[1:])
        # Until the next DAG run starts.
        simulator.advance((due + (number + 1) * DAY - simulator.now()).total_seconds() - 60)
    assert len(simulator.exports("connhex")) == len(simulator.requests("connhex", "create")) == 1
    rows = [row for file in files for row in file]
    assert all(files)
    assert len(rows) == len(set(rows)) == 3 * 24 * 12  # a value every five minutes, none twice, none missing
    assert rows == sorted(rows)


def test_run_that_fails_is_this_runs_failure_only(simulator: Simulator, deferrable: bool) -> None:
    """Monday's run fails Monday's task; Tuesday's run is watched anew, and the export is kept."""
    simulator.configure("connhex", ready_after_seconds=400, status_form="jobs", outcome="failed")
    due, payload = first_due(simulator), report(simulator)
    export_id = keep(payload)
    assert type(watch_error(simulator, export_id, deferrable, due)) is errors.ExportFailed
    simulator.configure("connhex", outcome="success")
    simulator.advance((due + DAY - simulator.now()).total_seconds() - 60)
    assert keep(payload) == export_id
    watch(simulator, export_id, deferrable, due + DAY)


def test_run_that_was_missed_is_not_confused_with_the_newest(simulator: Simulator, deferrable: bool) -> None:
    """A task that comes a day late does not land the wrong day's data."""
    simulator.configure("connhex", ready_after_seconds=400, status_form="jobs")
    due = first_due(simulator)
    export_id = keep(report(simulator))
    simulator.advance(3600 + 86400 + 1000)
    caught = watch_error(simulator, export_id, deferrable, due)
    assert type(caught) is errors.RunMissed
    assert "made way for the next one" in str(caught)
    assert export_id in str(caught)


def test_download_that_comes_too_late_does_not_land_the_next_run(
    simulator: Simulator, tmp_path: Path
) -> None:
    """The task that lands Monday's run is cleared on Tuesday: Tuesday's rows are not Monday's."""
    simulator.configure("connhex", ready_after_seconds=400, status_form="jobs")
    due = first_due(simulator)
    export_id = keep(report(simulator))
    watch(simulator, export_id, True, due)
    simulator.advance(86400)
    caught = error_of(lambda: land(export_id, tmp_path, **run_of(due)))
    assert type(caught) is errors.RunMissed
    assert landed(tmp_path) == []
    assert run(lambda: land(export_id, tmp_path, **run_of(due + DAY)))["files"]


def test_download_before_the_run_is_refused(simulator: Simulator, tmp_path: Path) -> None:
    """Yesterday's file is not landed for today."""
    simulator.configure("connhex", ready_after_seconds=400, status_form="jobs")
    due = first_due(simulator)
    export_id = keep(report(simulator))
    watch(simulator, export_id, True, due)
    caught = error_of(lambda: land(export_id, tmp_path, **run_of(due + DAY)))
    assert type(caught) is errors.ExportTimedOut
    assert landed(tmp_path) == []


def test_run_that_begins_during_the_download_is_noticed(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the last byte the next run has come: nothing tells whose bytes these are."""
    simulator.configure("connhex", ready_after_seconds=400, status_form="jobs")
    due = first_due(simulator)
    export_id = keep(report(simulator))
    watch(simulator, export_id, True, due)
    fetch = Transfer.run

    def slow(self: Transfer) -> Any:
        simulator.advance(86400)
        return fetch(self)

    monkeypatch.setattr(Transfer, "run", slow)
    caught = error_of(lambda: land(export_id, tmp_path))
    assert type(caught) is errors.DownloadIncomplete
    assert "another run" in str(caught)
    assert landed(tmp_path) == []


def test_messages_make_no_other_export(simulator: Simulator, connect: Connect) -> None:
    """Who is told about a report, and how, may change without a second report beside the first."""
    payload = report(simulator)
    first = keep(payload)
    connect("connhex", notification_target="others@example.com")
    assert keep(payload) == first


def test_repeated_export_is_none_for_the_run_operator(simulator: Simulator, deferrable: bool) -> None:
    """It would create one more with every run of the task."""
    payload = report(simulator)
    caught = error_of(lambda: ConnhexRunExportOperator(task_id="t", payload=payload, deferrable=deferrable))
    assert type(caught) is errors.InvalidPayload
    assert "reuse_existing" in str(caught)
    assert simulator.requests("connhex", "create") == []


@pytest.mark.parametrize(
    ("run_due", "next_run_due", "said"),
    [
        ("None", None, "run_due"),
        ("2026-01-01", "soon", "next_run_due"),
        (None, "2026-01-01", "nothing without it"),
        ("2026-01-02", "2026-01-01", "later than run_due"),
    ],
)
def test_wrong_times_of_a_run_are_told_at_once(
    simulator: Simulator, tmp_path: Path, run_due: Any, next_run_due: Any, said: str
) -> None:
    """A template that rendered to nonsense is named, and no retry repeats it."""
    times = {"run_due": run_due, "next_run_due": next_run_due}
    for make in (
        lambda: ConnhexExportSensor(task_id="s", export_id="e", deferrable=True, **times),
        lambda: land("e", tmp_path, **times),
    ):
        caught = error_of(make)
        assert type(caught) is errors.InvalidPayload
        assert said in str(caught)


def test_another_payload_is_another_export(simulator: Simulator) -> None:
    """Only exactly the same report is used again."""
    first = keep(report(simulator))
    payload = report(simulator)
    assert keep(payload | {"format": {"extension": "pdf"}}) != first
    assert keep(payload) == first


def test_ended_report_is_created_anew(simulator: Simulator) -> None:
    """What was deleted is not found, so the next keep creates."""
    payload, hook = report(simulator), ConnhexHook()
    first = keep(payload)
    assert [export.export_id for export in hook.find_exports(payload)] == [first]
    assert hook.delete_export(first)
    assert hook.find_exports(payload) == []
    assert keep(payload) != first


def test_vendor_that_cannot_find_says_so_before_it_creates(simulator: Simulator) -> None:
    """Mews has no list: reuse_existing would be a promise that nobody keeps."""
    caught = error_of(
        lambda: CreateExportOperator(
            task_id="t", conn_id="mews_default", payload={"EntityType": "Payment"}, reuse_existing=True
        )
    )
    assert type(caught) is errors.ExportRejected
    assert "find" in str(caught)
    assert simulator.requests("mews") == []


def test_vendor_without_recurrence_has_no_runs(simulator: Simulator, deferrable: bool) -> None:
    """A sensor on a run of a giosg export is a mistake, said at once."""
    arguments = {"task_id": "s", "conn_id": "giosg_default", "export_id": "e", "run_due": "2026-01-01"}
    caught = error_of(lambda: ExportSensor(deferrable=deferrable, **arguments))
    assert type(caught) is errors.ExportRejected
    assert "does not repeat" in str(caught)


def test_nothing_is_asked_before_the_run_is_due(simulator: Simulator, connect: Connect) -> None:
    """The wait for tomorrow's run costs no request."""
    connect("connhex", poll_initial=60)
    export_id = keep(report(simulator))
    before = len(simulator.requests("connhex"))
    due = simulator.now() + 5 * DAY
    watch(simulator, export_id, True, due, next_run_due=None)
    asked = simulator.requests("connhex")[before:]
    assert asked
    assert min(request.at for request in asked) >= due

"""The sensor in its modes, and the trigger's contract with Airflow."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_exports.core import ExportState
from airflow_provider_exports.exceptions import (
    ExportExpired,
    ExportFailed,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.hooks.mews import MewsHook
from airflow_provider_exports.sensors.export import ExportSensor
from airflow_provider_exports.sensors.giosg import GiosgExportSensor
from airflow_provider_exports.sensors.mews import MewsExportSensor
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.triggers.export import ExportTrigger, awaited_export
from tests.airflow.both_modes import error_of, fire, run
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def export_id(simulator: Simulator) -> str:
    """A Mews export that is ready after 100 s."""
    simulator.configure("mews", ready_after_seconds=100)
    return MewsHook().create_export({"EntityType": "Bill"}).export_id


def sensor(export_id: str, **changes: Any) -> Any:
    return lambda: MewsExportSensor(task_id="s", export_id=export_id, **changes)


def test_poke_looks_once(simulator: Simulator, export_id: str) -> None:
    """False while it runs, True once it is ready: what poke and reschedule modes need."""
    assert sensor(export_id)().poke({}) is False
    simulator.set_state("mews", export_id, "ready")
    assert sensor(export_id)().poke({}) is True
    assert sensor(export_id, mode="reschedule")().reschedule


def test_deferrable_waits_in_the_trigger(simulator: Simulator, export_id: str) -> None:
    """Not ready at the first look, so it defers, and the event ends it."""
    events: list[dict[str, Any]] = []
    assert run(sensor(export_id, deferrable=True), events=events) is None
    assert [event["state"] for event in events] == ["ready"]


def test_ready_at_the_first_look_needs_no_trigger(simulator: Simulator, export_id: str) -> None:
    """A trigger that fires at once can lose the task, so none is started."""
    simulator.set_state("mews", export_id, "ready")
    events: list[dict[str, Any]] = []
    run(sensor(export_id, deferrable=True), events=events)
    assert events == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_waiting_for_expiry(simulator: Simulator, export_id: str, deferrable: bool) -> None:
    """Ready is not what was asked for, expired is."""
    simulator.configure("mews", ready_after_seconds=100, file_life_seconds=4000)
    until = ["expired", ExportState.FAILED]
    if deferrable:
        run(sensor(export_id, until=until, deferrable=True))
    else:
        assert sensor(export_id, until=until)().poke({}) is False
        simulator.set_state("mews", export_id, "expired")
        assert sensor(export_id, until=until)().poke({}) is True


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(("state", "error"), [("failed", ExportFailed), ("expired", ExportExpired)])
def test_other_ends_are_errors(
    simulator: Simulator, export_id: str, deferrable: bool, state: Any, error: type[Exception]
) -> None:
    """An export that ended otherwise is not waited for."""
    simulator.set_state("mews", export_id, state)
    assert type(error_of(sensor(export_id, deferrable=deferrable))) is error


def test_deferred_timeout_is_airflows_own(simulator: Simulator, export_id: str) -> None:
    """Sensors end in AirflowSensorTimeout, which soft_fail and retries understand."""
    simulator.configure("mews", outcome="never")
    simulator.set_state("mews", export_id, "processing")
    with pytest.raises(AirflowSensorTimeout, match=export_id):
        run(sensor(export_id, deferrable=True, timeout=600))


def test_typed_sensor_checks_the_connection(simulator: Simulator) -> None:
    """A Mews connection under a giosg sensor is a mistake, said by name."""
    caught = error_of(lambda: GiosgExportSensor(task_id="s", giosg_conn_id="mews_default", export_id="x"))
    assert "not 'giosg'" in str(caught)


def test_unknown_target_state_fails_at_parse_time() -> None:
    """A typo in a constant is found before anything runs."""
    with pytest.raises(ValueError, match="done"):
        ExportSensor(task_id="s", conn_id="c", export_id="x", until="done")


def test_trigger_round_trip_keeps_every_argument() -> None:
    """What the triggerer rebuilds equals what the task deferred with."""
    arguments = {
        "conn_id": "c",
        "vendor": "mews",
        "export_id": "e",
        "until": ["expired"],
        "poll_interval": 7.0,
        "end_time": 5.0,
        "first_poll_delay": 11.0,
        "not_before": 3.0,
        "run_due": 1.0,
        "next_run_due": 2.0,
        "known": True,
        "cancel_on_kill": True,
        "queue": "companies",
        "queued_at": 4.0,
        "next_try": 6.0,
    }
    path, kwargs = ExportTrigger(**arguments).serialize()  # type: ignore[arg-type]
    assert path == "airflow_provider_exports.triggers.export.ExportTrigger"
    assert json.loads(json.dumps(kwargs)) == arguments
    import inspect

    assert set(arguments) == set(inspect.signature(ExportTrigger.__init__).parameters) - {"self"}


def test_first_look_comes_after_the_minimum_delay(simulator: Simulator, export_id: str) -> None:
    """A trigger that fires at once loses tasks to a race in Airflow."""
    simulator.set_state("mews", export_id, "ready")
    before = simulator.now()
    assert fire(ExportTrigger("mews_default", "mews", export_id))["state"] == "ready"
    assert (simulator.now() - before).total_seconds() >= 10


def test_unforeseen_error_becomes_an_event_without_its_text(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task learns that it failed, but a text that may quote anything stays out of the database."""

    async def boom(*_: Any, **__: Any) -> Any:
        raise RuntimeError("s3same")

    from airflow_provider_exports.hooks.export import ExportHook

    monkeypatch.setattr(ExportHook, "aget_vendor", boom)
    event = fire(ExportTrigger("mews_default", "mews", "e1"))
    assert event["error"]["type"] == "RuntimeError"
    assert "s3same" not in json.dumps(event)
    with pytest.raises(Exception, match=r"RuntimeError: the trigger met an unforeseen error"):
        awaited_export(event)


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        "ready",
        {"v": 2, "export_id": "e1", "state": "ready"},
        {"v": 1, "export_id": 7, "state": "ready"},
        {"v": 1, "export_id": "e1", "state": None},
        {"v": 1, "export_id": None, "state": "ready"},
        {"v": 1, "export_id": "e1", "state": "melted"},
        {"v": 1, "export_id": "e1"},
    ],
)
def test_events_that_are_not_understood_fail(event: Any) -> None:
    """Nothing but a known state of the right export is success."""
    with pytest.raises(UnexpectedResponse):
        awaited_export(event)


def test_event_of_this_release_stays_readable() -> None:
    """Tasks that were deferred before an upgrade resume after it: this literal must go on working."""
    event = {"v": 1, "vendor": "mews", "export_id": "e1", "state": "ready"}
    assert awaited_export(event) == ("e1", ExportState.READY)
    failed = {
        "v": 1,
        "vendor": "mews",
        "export_id": "e1",
        "error": {"type": "ExportFailed", "message": "it failed.", "vendor": "mews", "export_id": "e1"},
    }
    with pytest.raises(ExportFailed, match=r"mews export e1: it failed\."):
        awaited_export(failed)


def test_missing_connection_is_an_event(simulator: Simulator, connect: Connect) -> None:
    """A connection that was deleted meanwhile ends the wait instead of killing the triggerer's task."""
    event = fire(ExportTrigger("deleted_connection", "mews", "e1"))
    assert event["error"]["type"] == "AirflowNotFoundException"


@pytest.mark.parametrize(
    "event",
    [
        {"v": 1, "export_id": "another", "state": "ready"},
        {"v": 1, "export_id": None, "state": None},
        {"v": 1, "export_id": "e1", "state": "running"},
    ],
)
def test_sensor_takes_only_what_it_waited_for(event: Any) -> None:
    """Another export, no export, or a state that was not asked for is no success."""
    waiting = MewsExportSensor(task_id="s", export_id="e1", deferrable=True)
    with pytest.raises(UnexpectedResponse, match="not understood"):
        waiting.execute_complete({}, event=event)


@pytest.mark.parametrize("deferrable", [False, True])
def test_soft_fail_skips_in_both_modes(
    simulator: Simulator, connect: Connect, export_id: str, deferrable: bool
) -> None:
    """A permanent error at the first look skips the task when it is asked to."""
    connect("mews", password="wrong")
    with pytest.raises(AirflowSkipException):
        sensor(export_id, deferrable=deferrable, soft_fail=True)().execute({})


def test_poke_bears_with_a_bad_minute_but_not_for_ever(
    simulator: Simulator, connect: Connect, export_id: str
) -> None:
    """A failed look is a look, until too many in a row have failed."""
    connect("mews", max_poll_failures=3, retry_attempts=1)
    simulator.fail_next("mews", "get", fault="503", times=None)
    waiting = sensor(export_id)()
    assert [waiting.poke({}), waiting.poke({})] == [False, False]
    with pytest.raises(VendorUnavailable):
        waiting.poke({})
    simulator.clear_faults()
    simulator.set_state("mews", export_id, "ready")
    assert waiting.poke({}) is True


@pytest.mark.parametrize("deferrable", [False, True])
def test_quick_export_passes_running_unseen(simulator: Simulator, export_id: str, deferrable: bool) -> None:
    """Who waits for running does not wait for ever when it is ready already."""
    simulator.set_state("mews", export_id, "ready")
    waiting = sensor(export_id, until="running", deferrable=deferrable)
    assert waiting().poke({}) is True


def test_poke_interval_may_be_a_timedelta(simulator: Simulator, export_id: str) -> None:
    """As everywhere in Airflow, and it crosses the database as a number."""
    with pytest.raises(TaskDeferred) as deferred:
        sensor(export_id, deferrable=True, poke_interval=timedelta(minutes=2))().execute({})
    assert deferred.value.trigger.serialize()[1]["poll_interval"] == 120.0

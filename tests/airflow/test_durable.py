"""One export per task instance, however often and wherever it is tried, cleared, or killed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.durable import KEY
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsCreateExportOperator, MewsRunExportOperator
from airflow_provider_exports.operators.onna import OnnaRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import fire
from tests.airflow.conftest import Connect
from tests.airflow.tries import TaskInstance, creates

pytestmark = pytest.mark.filterwarnings("ignore")


def mews(deferrable: bool, **changes: Any) -> Any:
    arguments = {"task_id": "t", "entity_type": "Payment", "deferrable": deferrable, **changes}
    return lambda: MewsRunExportOperator(**arguments)


def onna(deferrable: bool, **changes: Any) -> Any:
    return lambda: OnnaRunExportOperator(
        task_id="t",
        title="Weekly",
        workspace_url="weekly-archive-T3mWzs",
        modified_after="2026-01-05",
        modified_before="2026-01-12",
        deferrable=deferrable,
        **changes,
    )


def medable(deferrable: bool, **changes: Any) -> Any:
    arguments = {"task_id": "t", "objects": "c_visits", "format": "text/csv", **changes}
    return lambda: MedableRunExportOperator(deferrable=deferrable, **arguments)


def record(task: TaskInstance) -> Any:
    assert task.store is not None
    return task.store.get(KEY)


def test_retry_takes_up_the_export(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """The files could not be fetched at first: the next try lands them, of the same export."""
    simulator.fail_next("mews", "file", fault="html_instead", times=None)
    task = TaskInstance(simulator, mews(deferrable, destination=tmp_path.as_uri()), lasting=True)
    with pytest.raises(errors.NotTheFile):
        task.run()
    made = record(task)["export_id"]
    simulator.clear_faults("mews")
    assert task.run()["export_id"] == made
    assert creates(simulator, "mews") == 1


@pytest.mark.parametrize("lasting", [False, True], ids=["before 3.3", "3.3"])
@pytest.mark.parametrize("make", [mews, onna, medable])
def test_cleared_after_success_exports_anew(
    simulator: Simulator, deferrable: bool, lasting: bool, make: Any, tmp_path: Path
) -> None:
    """Who clears a task that has succeeded wants newer data; a retry after that keeps the new one."""
    vendor = make.__name__
    task = TaskInstance(simulator, make(deferrable, destination=tmp_path.as_uri()), lasting=lasting)
    first = task.run()
    simulator.advance(3600)
    task.clear()
    simulator.fail_next(vendor, "file", fault="html_instead", times=None)
    with pytest.raises(errors.NotTheFile):
        task.run()
    simulator.clear_faults(vendor)
    if lasting or vendor != "mews":
        second = task.run()
        assert second["export_id"] != first["export_id"]
        assert creates(simulator, vendor) == 2


def test_success_that_airflow_never_heard_of(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """The worker dies right after the last line of the task: its next try has nothing to do."""
    task = TaskInstance(simulator, mews(deferrable, destination=tmp_path.as_uri()), lasting=True)
    first = task.run()
    fetched = len(simulator.requests("mews", "file"))
    assert task.run() == first
    assert creates(simulator, "mews") == 1
    assert len(simulator.requests("mews", "file")) == fetched


def test_cleared_after_a_failure_takes_up_the_export(simulator: Simulator, deferrable: bool) -> None:
    """Not ready in time, cleared by hand: the vendor has gone on with it meanwhile."""
    simulator.configure("mews", ready_after_seconds=5000)
    task = TaskInstance(simulator, mews(deferrable, timeout=1000), lasting=True, retries=0)
    with pytest.raises(errors.ExportTimedOut):
        task.run()
    simulator.advance(5000)
    task.clear()
    assert task.run()["state"] == "ready"
    assert creates(simulator, "mews") == 1


def test_changed_payload_is_another_export(simulator: Simulator, deferrable: bool) -> None:
    """Nobody may get the data of another request."""
    simulator.fail_next("mews", "file", fault="html_instead")
    task = TaskInstance(simulator, mews(deferrable, destination="s3://b"), lasting=True)
    with pytest.raises(errors.DownloadError):
        task.run()
    task.make = mews(deferrable, entity_type="Bill")
    assert task.run()["export_id"] != simulator.exports("mews")[0].id
    assert [made.request["EntityType"] for made in simulator.exports("mews")] == ["Payment", "Bill"]


@pytest.mark.parametrize("lasting", [False, True], ids=["before 3.3", "3.3"])
def test_failed_export_is_made_once_more(simulator: Simulator, deferrable: bool, lasting: bool) -> None:
    """At once and in the same try; then it is the vendor's last word, and no retry asks again."""
    simulator.fail_next("mews", "create", fault="job_failed", times=None)
    task = TaskInstance(simulator, mews(deferrable), lasting=lasting)
    error = task.until_it_ends()
    assert isinstance(error, AirflowFailException)
    assert isinstance(error.__cause__, errors.ExportFailed)
    assert (creates(simulator, "mews"), task.try_number) == (2, 1)


def test_second_export_succeeds(simulator: Simulator, deferrable: bool) -> None:
    """The vendor had a bad moment."""
    simulator.fail_next("mews", "create", fault="job_failed")
    task = TaskInstance(simulator, mews(deferrable), lasting=True)
    assert task.run()["state"] == "ready"
    assert creates(simulator, "mews") == 2


@pytest.mark.parametrize("recreate", [False, True])
def test_expired_before_the_next_try(
    simulator: Simulator, deferrable: bool, recreate: bool, tmp_path: Path
) -> None:
    """The worker came back after the files had gone: an error that says what to do, or one new export."""
    simulator.fail_next("mews", "file", fault="html_instead", times=None)
    task = TaskInstance(
        simulator,
        mews(deferrable, destination=tmp_path.as_uri(), recreate_if_expired=recreate),
        lasting=True,
    )
    with pytest.raises(errors.NotTheFile):
        task.run()
    simulator.clear_faults("mews")
    (made,) = simulator.exports("mews")
    simulator.set_state("mews", made.id, "expired")
    if recreate:
        assert task.run()["state"] == "ready"
        assert creates(simulator, "mews") == 2
    else:
        with pytest.raises(AirflowFailException, match="recreate_if_expired"):
            task.run()
        assert creates(simulator, "mews") == 1


@pytest.mark.parametrize("make", [mews, onna])
def test_force_new(simulator: Simulator, deferrable: bool, make: Any, tmp_path: Path) -> None:
    """Asked for: an export per try."""
    vendor = make.__name__
    simulator.fail_next(vendor, "file", fault="html_instead", times=None)
    changes = {"destination": tmp_path.as_uri(), "force_new": True}
    task = TaskInstance(simulator, make(deferrable, **changes), lasting=True)
    with pytest.raises(errors.NotTheFile):
        task.run()
    simulator.clear_faults(vendor)
    task.run()
    assert creates(simulator, vendor) == 2


def test_create_operator_returns_the_same_id(simulator: Simulator) -> None:
    """Its success was not heard of: the next try returns the id that the one before has made."""
    task = TaskInstance(
        simulator, lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment"), lasting=True
    )
    assert task.run() == task.run()
    assert creates(simulator, "mews") == 1


@pytest.mark.parametrize("make", [onna, medable])
def test_before_3_3_the_vendor_is_asked(
    simulator: Simulator, deferrable: bool, make: Any, tmp_path: Path
) -> None:
    """Nothing outlives the try, but the vendor has the export, and its API can tell."""
    vendor = make.__name__
    simulator.fail_next(vendor, "file", fault="html_instead", times=None)
    task = TaskInstance(simulator, make(deferrable, destination=tmp_path.as_uri()), lasting=False)
    with pytest.raises(errors.NotTheFile):
        task.run()
    simulator.clear_faults(vendor)
    task.run()
    assert creates(simulator, vendor) == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("vendor", ["mews", "medable"])
def test_timeout_cancels_where_the_vendor_can(
    simulator: Simulator, deferrable: bool, vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    """on_timeout='cancel': Medable stops, Mews cannot, and the log says that it goes on."""
    simulator.configure(vendor, outcome="never")
    make = {"mews": mews, "medable": medable}[vendor](deferrable, timeout=1000, on_timeout="cancel")
    task = TaskInstance(simulator, make, lasting=True)
    with pytest.raises(errors.ExportTimedOut):
        task.run()
    deleted = len(simulator.requests(vendor, "delete")) if vendor == "medable" else 0
    assert deleted == (vendor == "medable")
    if vendor == "medable":
        assert record(task)["nothing"]


def test_deadline_outlives_a_worker(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of the wait: the next try waits for the rest of the time, not for all of it."""
    simulator.configure("mews", outcome="never")
    task = TaskInstance(simulator, mews(False, timeout=10_000), lasting=True)
    started = simulator.now()

    def die(*_: Any, **__: Any) -> Any:
        simulator.advance(6000)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ExportHook, "wait_for_export", die)
        with pytest.raises(KeyboardInterrupt):
            task.run()
    with pytest.raises(errors.ExportTimedOut):
        task.run()
    assert 10_000 <= (simulator.now() - started).total_seconds() < 11_000


def test_store_that_does_not_work_costs_no_export(
    simulator: Simulator, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's store is a help, not a condition."""
    task = TaskInstance(simulator, mews(deferrable), lasting=True)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such table")

    for method in ("get", "set"):
        monkeypatch.setattr(type(task.store), method, broken)
    assert task.run()["state"] == "ready"


def test_garbage_in_the_store_is_no_record(simulator: Simulator, deferrable: bool) -> None:
    """Another version, another user of the key."""
    for garbage in ("x", 5, {"version": 99}, {"version": 1}, {"version": 1, "vendor": 3}):
        task = TaskInstance(simulator, mews(deferrable), lasting=True)
        assert task.store is not None
        task.store.set(KEY, garbage)
        assert task.run()["state"] == "ready"


def test_id_is_an_xcom_while_it_waits(simulator: Simulator, connect: Connect) -> None:
    """People find the export at the vendor, and the framework's own timeout finds it to cancel."""
    simulator.configure("mews", ready_after_seconds=500)
    task = TaskInstance(simulator, mews(True), lasting=False)
    task.start()
    assert task.xcoms == {"export_id": simulator.exports("mews")[0].id}


@pytest.mark.parametrize("lasting", [False, True], ids=["before 3.3", "3.3"])
def test_airflow_ends_the_wait(simulator: Simulator, lasting: bool) -> None:
    """No triggerer runs: Airflow's own deadline comes, which counts like ours."""
    simulator.configure("medable", outcome="never")
    task = TaskInstance(simulator, medable(True, on_timeout="cancel"), lasting=lasting)
    task.start_waiting()
    with pytest.raises(errors.ExportTimedOut) as caught:
        task.end_wait()
    (deleted,) = simulator.requests("medable", "delete")
    assert deleted.path.endswith(str(caught.value.export_id))


@pytest.mark.parametrize("lasting", [True, False], ids=["3.3", "before 3.3"])
def test_retry_waits_for_its_turn_as_well(simulator: Simulator, lasting: bool) -> None:
    """The first try came to nothing while it queued: fifty of those must not create all at once."""
    task = TaskInstance(simulator, medable(True), lasting=lasting)
    for _ in range(2):
        task.start()
        assert task.deferred is not None
        assert task.deferred.trigger.vendor_queue is not None
        assert task.deferred.trigger.export_id is None
        with pytest.raises(errors.ExportTimedOut) as caught:
            task.end_wait()
        assert caught.value.export_id is None
    assert creates(simulator, "medable") == 0
    assert task.run()["state"] == "ready"


def test_export_that_may_exist_needs_a_turn_if_it_does_not(simulator: Simulator) -> None:
    """Who would take one that is there queues like all others when there is none."""
    first = TaskInstance(simulator, medable(True, reuse_existing=True), lasting=True)
    first.start()
    assert first.deferred is not None
    assert first.deferred.trigger.vendor_queue is not None
    assert creates(simulator, "medable") == 0
    export_id = first.run()["export_id"]
    second = TaskInstance(simulator, medable(True, reuse_existing=True), lasting=True)
    assert second.start()["export_id"] == export_id


def test_export_made_anew_has_the_time_that_is_left(simulator: Simulator) -> None:
    """The first one fails late; neither the turn for the second nor its wait begins the timeout anew."""
    simulator.configure("medable", outcome="never")
    task = TaskInstance(simulator, medable(True, timeout=3600), lasting=True)
    task.start_waiting()
    assert task.deferred is not None
    deadline = task.deferred.trigger.end_time
    simulator.advance(3000)
    simulator.set_state("medable", simulator.exports("medable")[0].id, "failed")
    for _ in range(2):
        task.resume()
        assert task.deferred is not None
        assert task.deferred.trigger.end_time == deadline
    assert creates(simulator, "medable") == 2


def test_settings_that_contradict_each_other() -> None:
    """Said while the DAG is read."""
    with pytest.raises(ValueError, match="exclude each other"):
        MewsRunExportOperator(task_id="t", entity_type="Bill", reuse_existing=True, force_new=True)
    with pytest.raises(ValueError, match="on_timeout"):
        MewsRunExportOperator(task_id="t", entity_type="Bill", on_timeout="stop")


@pytest.mark.parametrize(
    ("state", "cancelled"),
    [("failed", True), ("success", True), ("running", False), ("up_for_retry", False), (None, False)],
)
def test_kill_cancels_what_nobody_wants(simulator: Simulator, state: Any, cancelled: bool) -> None:
    """SIGTERM also comes when a worker shuts down; then the next try goes on with the export."""
    simulator.configure("medable", outcome="never")
    task = TaskInstance(simulator, medable(True), lasting=True)
    task.start_waiting()
    task.state = state
    assert task.operator is not None
    task.operator.on_kill()
    assert len(simulator.requests("medable", "delete")) == cancelled


def test_kill_without_an_answer_of_airflow_cancels_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows who stopped the task: the export may be wanted."""
    simulator.configure("medable", outcome="never")
    task = TaskInstance(simulator, medable(True), lasting=True)
    task.start_waiting()

    def silent(_: Any) -> bool:
        raise RuntimeError("no supervisor")

    monkeypatch.setattr("airflow_provider_exports.operators.export.wanted_no_more", silent)
    assert task.operator is not None
    task.operator.on_kill()
    assert simulator.requests("medable", "delete") == []


def test_kill_before_anything_was_created() -> None:
    """There is nothing to cancel, and no error of its own."""
    mews(True)().on_kill()
    mews(True, cancel_on_kill=False)().on_kill()


def down(*_: Any, **__: Any) -> Any:
    raise errors.VendorUnreachable("no connection.")


def test_retry_after_a_clear_does_not_find_what_was_done(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleared while its run goes on, and unlucky once: the old export is not the new one."""
    task = TaskInstance(simulator, medable(False), lasting=True)
    first = task.run()["export_id"]
    simulator.advance(3600)
    started = task.run_started
    task.clear()
    task.run_started = started
    with monkeypatch.context() as patch:
        patch.setattr(ExportHook, "create_prepared", down)
        with pytest.raises(errors.VendorUnreachable):
            task.run()
    assert task.run()["export_id"] != first


def test_export_of_another_task_is_left_to_it(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same payload in the same run: who knows that nothing was made does not look."""
    one, other = (TaskInstance(simulator, medable(False), lasting=True) for _ in range(2))
    first = one.run()["export_id"]
    with monkeypatch.context() as patch:
        patch.setattr(ExportHook, "create_prepared", down)
        with pytest.raises(errors.VendorUnreachable):
            other.run()
    assert other.run()["export_id"] != first


def test_what_could_not_be_cancelled_is_taken_up(simulator: Simulator, deferrable: bool) -> None:
    """Mews goes on whatever is asked of it."""
    simulator.configure("mews", ready_after_seconds=2000)
    task = TaskInstance(simulator, mews(deferrable, timeout=1000, on_timeout="cancel"), lasting=True)
    with pytest.raises(errors.ExportTimedOut):
        task.run()
    simulator.advance(1500)
    assert task.run()["state"] == "ready"
    assert creates(simulator, "mews") == 1


def test_kill_leaves_an_export_that_others_use(simulator: Simulator) -> None:
    """It was there before: who made it wants it."""
    simulator.configure("medable", outcome="never")
    TaskInstance(simulator, medable(True), lasting=True).start_waiting()
    user = TaskInstance(simulator, medable(True, reuse_existing=True), lasting=True)
    user.start()
    assert creates(simulator, "medable") == 1
    user.state = "failed"
    assert user.operator is not None
    user.operator.on_kill()
    assert simulator.requests("medable", "delete") == []


def test_gone_between_event_and_worker(simulator: Simulator) -> None:
    """The trigger has seen it ready, the worker comes late: expired, and created anew if that is wanted."""
    task = TaskInstance(simulator, medable(True, recreate_if_expired=True), lasting=True)
    task.start_waiting()
    deferred = task.deferred
    assert deferred is not None
    event = fire(deferred.trigger)
    ExportHook("medable_default").delete_export(simulator.exports("medable")[0].id)
    simulator.advance(5000)
    task.deferred = None
    kwargs = {"event": event, **(deferred.kwargs or {})}
    task._step(lambda one: one.resume_execution(deferred.method_name, kwargs, task.context()))
    while task.deferred is not None:
        task.resume()
    assert len(simulator.requests("medable", "create")) == 2


def test_count_of_recreations_survives_bad_luck(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vendor fails each export, and every other create does not get through: two exports all the same."""
    simulator.configure("medable", outcome="failed")
    task = TaskInstance(simulator, medable(False), lasting=True, retries=6)
    create, tries = ExportHook.create_prepared, itertools.count()

    def flaky(hook: ExportHook, *arguments: Any, **named: Any) -> Any:
        return down() if next(tries) % 2 else create(hook, *arguments, **named)

    monkeypatch.setattr(ExportHook, "create_prepared", flaky)
    assert isinstance(task.until_it_ends(), AirflowFailException)
    assert creates(simulator, "medable") == 2


def test_cleared_task_has_all_its_time(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline was that of the tries before."""
    simulator.configure("medable", ready_after_seconds=20_000)
    task = TaskInstance(simulator, medable(False, timeout=12_000), lasting=True)
    with monkeypatch.context() as patch:
        patch.setattr(ExportHook, "wait_for_export", down)
        with pytest.raises(errors.VendorUnreachable):
            task.run()
    simulator.advance(9900)
    task.clear()
    assert task.run()["state"] == "ready"


def test_unknown_status_fails_at_once_where_that_is_set(
    simulator: Simulator, connect: Connect, deferrable: bool
) -> None:
    """Not after ten looks."""
    connect("medable", unknown_status="fail")
    simulator.configure("medable", outcome="never")
    for operation in ("get", "list"):
        simulator.fail_next("medable", operation, fault="unknown_status", times=None)
    began = simulator.now()
    task = TaskInstance(simulator, medable(deferrable), lasting=True)
    with pytest.raises(errors.UnknownStatus):
        task.run()
    assert (simulator.now() - began).total_seconds() < 60

"""Medable exports through Airflow, on a worker and deferred, against the simulated vendor."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.hooks.medable import MedableHook
from airflow_provider_exports.operators.export import DeleteExportOperator, DownloadExportOperator
from airflow_provider_exports.operators.medable import MedableCreateExportOperator, MedableRunExportOperator
from airflow_provider_exports.sensors.medable import MedableExportSensor
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, fire, landed, run
from tests.airflow.conftest import Connect

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("simulator")]


def medable(deferrable: bool, **changes: Any) -> Any:
    # Another export in the place of a failed one is not what these tests are about.
    arguments = {"task_id": "t", "max_recreations": 0, "objects": "c_visits", "format": "text/csv", **changes}
    return lambda: MedableRunExportOperator(deferrable=deferrable, **arguments)


def use(simulator: Simulator, connect: Connect, mode: str, **changes: Any) -> None:
    """Connect with one of the three kinds of credentials."""
    if mode == "signed":
        connect("medable", **changes)
    elif mode == "bearer":
        password = simulator.medable.connection_for("bearer")["password"]
        connect("medable", auth_mode=mode, **{"password": password, **changes})
    else:
        fields = simulator.medable.connection_for("session")
        session = {"login": fields["login"], "password": fields["password"], **fields["extra"]}
        connect("medable", **{**session, **changes})


def sent(simulator: Simulator, operation: str) -> int:
    return len(simulator.requests("medable", operation))


@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
def test_archive_lands_whole(
    simulator: Simulator, connect: Connect, deferrable: bool, mode: str, tmp_path: Path
) -> None:
    """One create, a wait, and one zip archive under our own name; no credential leaves the API."""
    use(simulator, connect, mode)
    simulator.configure("medable", ready_after_seconds=200, reject_file_credentials=True)
    events: list[dict[str, Any]] = []
    result = run(medable(deferrable, destination=tmp_path.as_uri()), events=events)
    assert sent(simulator, "create") == 1
    # A turn in the org's queue, then the export.
    assert [event["state"] for event in events] == ([None, "ready"] if deferrable else [])
    assert result["expires_at"] is not None
    (file,) = result["files"]
    assert file["name"] == f"{result['export_id']}.zip"
    assert (tmp_path / file["name"]).stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(tmp_path / file["name"]) as archive:
        assert archive.testzip() is None
    for secret in (*simulator.tokens.values(), simulator.link_secret):
        assert secret not in repr((result, events))
    assert simulator.leaks() == []


@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
def test_wrong_credentials(simulator: Simulator, connect: Connect, deferrable: bool, mode: str) -> None:
    """They are told at once, and never tried often."""
    use(simulator, connect, mode, password="wrong")
    assert type(error_of(medable(deferrable))) is errors.AuthenticationFailed
    assert len(simulator.requests("medable")) == 1


OUTCOMES = [
    # what happens at the vendor, and the class of the error
    ("forbidden", errors.PermissionDenied),
    ("forbidden later", errors.PermissionDenied),
    ("not accepted later", errors.AuthenticationFailed),
    ("no administrator", errors.PermissionDenied),
    ("wrong org", errors.InvalidConnection),
    ("unknown object", errors.ExportRejected),
    ("failed", errors.ExportFailed),
    ("archive failed", errors.ExportFailed),
    ("expired", errors.ExportExpired),
    ("unknown status", errors.UnknownStatus),
    ("missing field", errors.UnexpectedResponse),
    ("page instead of JSON", errors.UnexpectedResponse),
    ("fault with 200", errors.AuthenticationFailed),
    ("maintenance", errors.RateLimited),
    ("rate limited", errors.RateLimited),
    ("server fault at the create", errors.UnknownOutcome),
    ("page for the create", errors.UnknownOutcome),
    ("connection lost at the create", errors.UnknownOutcome),
    ("never ready", errors.ExportTimedOut),
    ("deleted", errors.ExportExpired),
    ("busy", errors.ExportConflict),
    ("truncated file", errors.DownloadIncomplete),
    ("page instead of the file", errors.NotTheFile),
    ("message instead of the file", errors.NotTheFile),
    ("dead link", errors.LinkExpired),
    ("gone during the download", errors.ExportExpired),
]


@pytest.mark.parametrize(("case", "error"), OUTCOMES, ids=[case for case, _ in OUTCOMES])
def test_each_failure_has_its_own_error(
    simulator: Simulator,
    connect: Connect,
    deferrable: bool,
    case: str,
    error: type[errors.ExportError],
    tmp_path: Path,
) -> None:
    """Class, vendor and next step are the same in both modes, and nothing is left behind."""
    changes: dict[str, Any] = {"destination": tmp_path.as_uri()}
    always: dict[str, Any] = {"times": None}
    match case:
        case "forbidden":
            simulator.fail_next("medable", "create", fault="forbidden")
        case "forbidden later":
            simulator.fail_next("medable", "get", fault="cortex.accessDenied.instanceRead", after=1, **always)
        case "not accepted later":
            # Only a gateway would say 401.
            simulator.fail_next("medable", "get", fault="unauthorized", after=1, **always)
        case "no administrator":
            simulator.configure("medable", principal="anonymous")
        case "wrong org":
            connect("medable", host=simulator.base_url("medable").replace("/simulated", "/simulatde"))
        case "unknown object":
            changes["objects"] = "c_vistis"
        case "failed":
            simulator.configure("medable", outcome="failed", ready_after_seconds=100)
        case "archive failed":
            simulator.configure("medable", facet_outcome="error")
        case "expired":
            # A week of 100 s, on both sides: it is gone before the first look.
            simulator.configure("medable", file_life_seconds=50, ready_after_seconds=50)
            connect("medable", retention_days=100 / 86400)
            changes["poll_interval"] = 400
        case "unknown status":
            simulator.fail_next("medable", "get", fault="unknown_status", **always)
        case "missing field":
            simulator.fail_next("medable", "get", fault="missing_field", field="state", **always)
        case "page instead of JSON":
            simulator.fail_next("medable", "get", fault="html", **always)
        case "fault with 200":
            simulator.fail_next("medable", "get", fault="cortex.success.newLocation", **always)
        case "maintenance":
            simulator.fail_next("medable", "create", fault="cortex.accessDenied.maintenance", **always)
        case "rate limited":
            simulator.fail_next("medable", "create", fault="cortex.throttled.policy", **always)
        case "server fault at the create":
            simulator.fail_next("medable", "create", fault="500", **always)
        case "page for the create":
            simulator.fail_next("medable", "create", fault="html", **always)
        case "connection lost at the create":
            simulator.fail_next("medable", "create", fault="reset", **always)
        case "never ready":
            simulator.configure("medable", outcome="never")
            changes["timeout"] = 3600
        case "deleted":
            simulator.fail_next("medable", "get", fault="cortex.notFound.instance", after=3, **always)
            simulator.configure("medable", outcome="never")
        case "busy":
            simulator.configure("medable", outcome="never")
            run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
            changes["on_conflict"] = "fail"
        case "truncated file":
            simulator.fail_next("medable", "file", fault="truncated", **always)
        case "page instead of the file":
            simulator.fail_next("medable", "file", fault="html_instead", **always)
        case "message instead of the file":
            simulator.fail_next("medable", "file", fault="json_error_instead", **always)
        case "dead link":
            simulator.fail_next("medable", "file", fault="stale_link", **always)
        case "gone during the download":
            connect("medable", retention_days=0)
            simulator.fail_next("medable", "file", fault="truncated")
            # Whoever waits has seen it, and on the next worker once more.
            gone = "cortex.notFound.instance"
            simulator.fail_next("medable", "content", fault=gone, after=1 + deferrable, **always)
        case _:
            raise AssertionError(case)
    caught = error_of(medable(deferrable, **changes))
    assert type(caught) is error, repr(caught)
    assert caught.vendor == "medable"
    assert caught.next_step or caught.advice
    assert sent(simulator, "create") <= (5 if error is errors.RateLimited else 2)
    assert landed(tmp_path) == []
    assert simulator.leaks() == []
    assert not any(secret in str(caught) for secret in (*simulator.tokens.values(), simulator.link_secret))


def test_token_that_expires_during_the_wait(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """410 is about the token: the export is not lost, and the error says which of the two it is."""
    simulator.configure("medable", ready_after_seconds=2000, ready_after_reads=None)
    token = simulator.medable.issue_token(900)
    use(simulator, connect, "bearer", password=token)
    caught = error_of(medable(deferrable))
    assert type(caught) is errors.AuthenticationFailed
    assert (caught.http_status, "expired" in str(caught)) == (410, True)
    assert len(simulator.exports("medable")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "cortex.accessDenied.notLoggedIn",
        "cortex.accessDenied.sessionExpired",
        "cortex.accessDenied.loggedInElsewhere",
        "cortex.accessDenied.csrfTokenMismatch",
        # A gateway's word for the same.
        "unauthorized",
    ],
)
def test_session_is_renewed_on_the_documented_faults(
    simulator: Simulator, connect: Connect, deferrable: bool, fault: str
) -> None:
    """In the middle of a wait it costs one more login, and the export is not created again."""
    use(simulator, connect, "session")
    simulator.fail_next("medable", "get", fault=fault, after=1)
    assert run(medable(deferrable))["state"] == "ready"
    # In the other mode each process logs in for itself, the triggerer for a turn and for the export.
    assert sent(simulator, "login") == 2 + 3 * deferrable
    assert sent(simulator, "create") == 1


def test_session_that_ends_during_the_wait_is_renewed(
    simulator: Simulator, connect: Connect, deferrable: bool
) -> None:
    """A pause longer than the session's life costs one more login."""
    use(simulator, connect, "session", poll_initial=1200, poll_maximum=1200)
    simulator.configure("medable", ready_after_seconds=3000, ready_after_reads=None)
    assert run(medable(deferrable))["state"] == "ready"
    assert 2 <= sent(simulator, "login") <= 7


def test_export_that_went_after_seven_days_is_expired(simulator: Simulator) -> None:
    """The vendor answers 404 then; the id tells the age."""
    hook = MedableHook()
    export_id = run(lambda: MedableCreateExportOperator(task_id="t", objects="c_visits"))
    simulator.set_state("medable", export_id, "ready")
    assert hook.get_export(export_id).state == "ready"
    simulator.advance(7 * 86400 + 600)
    assert hook.get_export(export_id).state == "expired"
    assert (
        type(error_of(lambda: MedableExportSensor(task_id="t", export_id=export_id))) is errors.ExportExpired
    )


UNKNOWN = "6b49d200" + "0" * 16


def test_unknown_id(simulator: Simulator, tmp_path: Path) -> None:
    """Nothing to read or to download; a delete has nothing left to do."""
    with pytest.raises(errors.ExportNotFound, match=UNKNOWN):
        MedableHook().get_export(UNKNOWN)
    download = lambda: DownloadExportOperator(  # noqa: E731
        task_id="t", conn_id="medable_default", export_id=UNKNOWN, destination=tmp_path.as_uri()
    )
    assert type(error_of(download)) is errors.ExportNotFound
    assert (
        run(lambda: DeleteExportOperator(task_id="t", conn_id="medable_default", export_id=UNKNOWN)) is False
    )
    assert landed(tmp_path) == []


@pytest.mark.parametrize(
    ("export_id", "error"), [(UNKNOWN, errors.ExportNotFound), ("not-an-id", errors.ExportRejected)]
)
def test_wait_for_an_unknown_id(
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
    export_id: str,
    error: type[errors.ExportError],
) -> None:
    """It could be one that is not visible yet, but not for long; a wrong form is told at once."""
    before = simulator.now()
    sensor = MedableExportSensor(task_id="t", export_id=export_id, deferrable=deferrable)
    if not deferrable:
        # Airflow's own loop around the looks would really sleep.
        monkeypatch.setattr(sensor, "execute", lambda context: poked(sensor, simulator))
    assert type(error_of(lambda: sensor)) is error
    assert (simulator.now() - before).total_seconds() < 120


def poked(sensor: MedableExportSensor, simulator: Simulator) -> None:
    while not sensor.poke({}):
        simulator.advance(10)


def test_download_of_an_expired_export(simulator: Simulator, tmp_path: Path) -> None:
    """A week later there is nothing to fetch, and the error says why."""
    export_id = run(lambda: MedableCreateExportOperator(task_id="t", objects="c_visits"))
    simulator.set_state("medable", export_id, "ready")
    simulator.advance(7 * 86400 + 60)
    download = lambda: DownloadExportOperator(  # noqa: E731
        task_id="t", conn_id="medable_default", export_id=export_id, destination=tmp_path.as_uri()
    )
    assert type(error_of(download)) is errors.ExportExpired
    assert landed(tmp_path) == []


@pytest.mark.parametrize("fault", ["stale_link", "truncated", "reset", "503", "html_instead"])
def test_file_that_fails_half_way_is_fetched_again(
    simulator: Simulator, deferrable: bool, fault: str, tmp_path: Path
) -> None:
    """A fresh link for each attempt, and no second export; what is no archive is not tried again."""
    simulator.fail_next("medable", "file", fault=fault)
    make = medable(deferrable, destination=tmp_path.as_uri())
    if fault == "html_instead":
        assert type(error_of(make)) is errors.NotTheFile
    else:
        result = run(make)
        assert zipfile.is_zipfile(tmp_path / result["files"][0]["name"])
        first, second = simulator.requests("medable", "file")
        assert first.query["signature"] != second.query["signature"]
    assert sent(simulator, "create") == 1
    assert simulator.leaks() == []


@pytest.mark.parametrize("create_body", ["result", "empty"])
def test_create_answer_in_another_form(simulator: Simulator, deferrable: bool, create_body: str) -> None:
    """An answer without an id is looked up by the tag: one export at the vendor."""
    simulator.configure("medable", create_body=create_body)
    result = run(medable(deferrable))
    assert [export.id for export in simulator.exports("medable")] == [result["export_id"]]


@pytest.mark.parametrize("fault", ["lost_response", "500_after", "408_after", "reset", "500", "html"])
def test_create_that_is_not_answered_is_looked_for(
    simulator: Simulator, deferrable: bool, fault: str
) -> None:
    """Found in the list by its tag, or created again because it is not there: one export in the end."""
    simulator.fail_next("medable", "create", fault=fault)
    result = run(medable(deferrable))
    assert [export.id for export in simulator.exports("medable")] == [result["export_id"]]
    assert sent(simulator, "create") == (1 if fault in ("lost_response", "500_after", "408_after") else 2)


def test_maintenance_during_the_wait_is_waited_for(simulator: Simulator, deferrable: bool) -> None:
    """However long it takes: the export is not lost, and the deadline bounds it."""
    maintenance = "cortex.accessDenied.maintenance"
    simulator.fail_next("medable", "get", fault=maintenance, after=1, times=40)
    assert run(medable(deferrable))["state"] == "ready"
    assert sent(simulator, "create") == 1


def test_clock_that_is_wrong_is_corrected(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """A stale signature costs one more request."""
    simulator.fail_next("medable", "create", fault="cortex.invalidArgument.staleRequestSignature")
    assert run(medable(deferrable))["state"] == "ready"
    assert sent(simulator, "create") == 2


@pytest.mark.parametrize("style", ["accept", "json", "redirect"])
def test_archive_behind_its_export(
    simulator: Simulator, deferrable: bool, style: str, tmp_path: Path
) -> None:
    """Ready, but the archive is not yet: the wait goes on; both styles of the download work."""
    simulator.configure("medable", facet_lag_seconds=120, download_style=style)
    result = run(medable(deferrable, destination=tmp_path.as_uri()))
    assert zipfile.is_zipfile(tmp_path / result["files"][0]["name"])


def test_archive_that_is_not_ready_answers_202(
    simulator: Simulator, deferrable: bool, tmp_path: Path
) -> None:
    """The fault with status 202 is no archive."""
    simulator.fail_next("medable", "content", fault="cortex.accepted.mediaNotReady", times=3)
    result = run(medable(deferrable, destination=tmp_path.as_uri()))
    assert zipfile.is_zipfile(tmp_path / result["files"][0]["name"])


def test_exports_of_others_come_first(simulator: Simulator, deferrable: bool) -> None:
    """The org has one queue; ours is created at once and waits in it."""
    for _ in range(3):
        simulator.medable.add_foreign_export(seconds=600)
    before = simulator.now()
    assert run(medable(deferrable))["state"] == "ready"
    assert (simulator.now() - before).total_seconds() >= 1800
    assert sent(simulator, "create") == 1


@pytest.mark.parametrize("max_open", [0, 1, 2])
def test_own_exports_come_so_many_at_a_time(
    simulator: Simulator, connect: Connect, deferrable: bool, max_open: int
) -> None:
    """The next one is created when there is room, and waits for that without a worker."""
    connect("medable", max_open=max_open)
    simulator.configure("medable", ready_after_seconds=500, ready_after_reads=None)
    before = [
        run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
        for _ in range(max_open or 3)
    ]
    events: list[dict[str, Any]] = []
    result = run(medable(deferrable), events=events)
    assert [export.id for export in simulator.exports("medable")] == [*before, result["export_id"]]
    first, *_, last = simulator.requests("medable", "create")
    waited = (last.at - first.at).total_seconds()
    # The first place is free when the first one has ended.
    assert (500 <= waited < 700) if max_open else waited < 10
    if deferrable:
        assert events.pop()["state"] == "ready"
        assert bool(events) == bool(max_open)
        assert all(event["state"] is None for event in events)


def test_turn_that_does_not_come_in_time(simulator: Simulator, deferrable: bool) -> None:
    """Nothing is created after the task's deadline."""
    simulator.configure("medable", outcome="never")
    run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
    assert type(error_of(medable(deferrable, timeout=1000))) is errors.ExportConflict
    assert sent(simulator, "create") == 1


@pytest.mark.parametrize("max_open", [1, 2])
def test_failing_item_of_a_bulk_does_not_stop_the_others(
    simulator: Simulator, connect: Connect, deferrable: bool, max_open: int, tmp_path: Path
) -> None:
    """One fails at the vendor and one is refused: the rest lands all the same, never too many at once."""
    connect("medable", max_open=max_open)
    simulator.configure("medable", ready_after_seconds=300, ready_after_reads=None)
    simulator.fail_next("medable", "create", fault="job_failed")
    outcomes = run_together(
        [
            medable(deferrable, objects=objects, job_label=f"{n}", destination=f"{tmp_path.as_uri()}/{n}")
            for n, objects in enumerate(["c_visits", "c_vistis", "accounts", "c_patients"])
        ]
    )
    failed, refused, *landed = outcomes
    assert (type(failed), type(refused)) == (errors.ExportFailed, errors.ExportRejected)
    assert [result["state"] for result in landed] == ["ready", "ready"]
    for result in landed:
        assert zipfile.is_zipfile(result["files"][0]["uri"].removeprefix("file://"))
    made = simulator.exports("medable")
    assert len(made) == 3
    for export in made:
        open_then = [
            one
            for one in made
            if one.created_at <= export.created_at and one.finished_at and one.finished_at > export.created_at
        ]
        assert len(open_then) <= max_open


def run_together(makes: list[Any]) -> list[Any]:
    """Run operators as a bulk and return result or error of each.

    Deferred tasks take turns: all begin, then each trigger fires and its task goes on, in the order in which
    they were deferred. On a worker one comes after the other.
    """
    outcomes: dict[int, Any] = {}
    waiting: list[tuple[int, Callable[[], Any]]] = [(n, partial(begin, make)) for n, make in enumerate(makes)]
    while waiting:
        n, step = waiting.pop(0)
        try:
            outcomes[n] = step()
        except TaskDeferred as deferred:
            waiting.append((n, partial(resume, makes[n], deferred)))
        except AirflowFailException as error:
            outcomes[n] = error.__cause__
        except errors.ExportError as error:
            outcomes[n] = error
    return [outcomes[n] for n in range(len(makes))]


def begin(make: Any) -> Any:
    return make().execute({})


def resume(make: Any, deferred: TaskDeferred) -> Any:
    event = fire(deferred.trigger)
    return getattr(make(), deferred.method_name)({}, event=event, **(deferred.kwargs or {}))


def test_existing_export_is_taken_without_waiting_for_a_turn(simulator: Simulator, deferrable: bool) -> None:
    """It holds the only place itself; without its tag nobody could know it."""
    first = run(lambda: MedableCreateExportOperator(task_id="t", objects="c_visits", format="text/csv"))
    assert run(medable(deferrable, reuse_existing=True))["export_id"] == first
    assert sent(simulator, "create") == 1


def test_deleted_export_makes_room(simulator: Simulator, deferrable: bool) -> None:
    """A delete takes it out of the queue."""
    simulator.configure("medable", outcome="never")
    first = run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
    assert run(lambda: DeleteExportOperator(task_id="t", conn_id="medable_default", export_id=first))
    simulator.configure("medable", outcome="success")
    before = simulator.now()
    assert run(medable(deferrable))["state"] == "ready"
    assert (simulator.now() - before).total_seconds() < 120


def test_running_export_that_is_not_deleted(simulator: Simulator) -> None:
    """An org may refuse that: a later try of the task can succeed."""
    simulator.configure("medable", delete_running="deny", outcome="never")
    export_id = run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
    simulator.set_state("medable", export_id, "processing")
    delete = lambda: DeleteExportOperator(  # noqa: E731
        task_id="t", conn_id="medable_default", export_id=export_id
    )
    assert type(error_of(delete)) is errors.ExportConflict
    simulator.set_state("medable", export_id, "failed")
    assert run(delete) is True


def test_filter_reaches_the_vendor_as_text(simulator: Simulator, deferrable: bool) -> None:
    """A dict with rendered times is sent as JSON text with times in the vendor's form."""
    where = {"updated": {"$gte": "2026-01-01 00:00:00+00:00", "$lt": "2026-01-02T01:00:00+01:00"}}
    run(medable(deferrable, where=where, job_label="nightly", paths=["_id"], zip_files="False"))
    body = simulator.exports("medable")[0].request
    assert body["where"] == (
        '{"updated":{"$gte":"2026-01-01T00:00:00.000Z","$lt":"2026-01-02T00:00:00.000Z"}}'
    )
    assert (body["label"], body["paths"], body["zipFiles"]) == ("nightly", ["_id"], False)


def test_hook_lists_deletes_and_tests(simulator: Simulator) -> None:
    """What is beyond create and wait."""
    hook = MedableHook()
    assert hook.test_connection()[0], hook.test_connection()
    export_id = run(lambda: MedableCreateExportOperator(task_id="t", objects="c_visits"))
    assert [export.export_id for export in hook.list_exports()] == [export_id]
    delete = DeleteExportOperator(task_id="t", conn_id="medable_default", export_id=export_id)
    assert [delete.execute({}), delete.execute({})] == [True, False]
    assert hook.list_exports() == []


def test_other_paths_are_called_in_a_session_as_well(simulator: Simulator, connect: Connect) -> None:
    """Each answer hands out a new CSRF token, and ``hook.run`` takes it up as the exports do."""
    use(simulator, connect, "session")
    hook = MedableHook(method="GET")
    answers = [hook.run("/exports", extra_options={"check_response": False}).status_code for _ in range(5)]
    assert answers == [200] * 5

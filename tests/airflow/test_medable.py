"""Medable exports through Airflow, on a worker and deferred, against the simulated vendor."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.hooks.medable import MedableHook
from airflow_provider_exports.operators.export import DeleteExportOperator
from airflow_provider_exports.operators.medable import MedableCreateExportOperator, MedableRunExportOperator
from airflow_provider_exports.sensors.medable import MedableExportSensor
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, run
from tests.airflow.conftest import Connect

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("simulator")]


def medable(deferrable: bool, **changes: Any) -> Any:
    arguments = {"task_id": "t", "objects": "c_visits", "format": "text/csv", **changes}
    return lambda: MedableRunExportOperator(deferrable=deferrable, **arguments)


def use(simulator: Simulator, connect: Connect, mode: str, **changes: Any) -> None:
    """Connect with one of the three kinds of credentials."""
    if mode == "signed":
        connect("medable", **changes)
    elif mode == "bearer":
        password = simulator.medable.connection_for("token")["password"]
        connect("medable", auth_mode=mode, **{"password": password, **changes})
    else:
        fields = simulator.medable.connection_for("session")
        session = {
            "login": fields["extra"]["client_key"],
            "email": fields["login"],
            "password": fields["password"],
        }
        connect("medable", auth_mode=mode, **{**session, **changes})


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
    assert len(events) == int(deferrable)
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
    ("maintenance", errors.VendorUnavailable),
    ("rate limited", errors.RateLimited),
    ("never ready", errors.ExportTimedOut),
    ("deleted", errors.ExportNotFound),
    ("busy", errors.ExportConflict),
    ("truncated file", errors.DownloadIncomplete),
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
            simulator.configure("medable", retention_from="created", outcome="never")
            simulator.configure("medable", file_life_seconds=7 * 86400)
            simulator.fail_next("medable", "get", fault="cortex.notFound.instance", after=20, **always)
            connect("medable", poll_initial=86400, poll_maximum=86400)
            changes["timeout"] = 60 * 86400
        case "unknown status":
            simulator.fail_next("medable", "get", fault="unknown_status", **always)
        case "missing field":
            simulator.fail_next("medable", "get", fault="missing_field", field="state", **always)
        case "page instead of JSON":
            simulator.fail_next("medable", "get", fault="html", **always)
        case "fault with 200":
            simulator.fail_next("medable", "get", fault="cortex.success.newLocation", **always)
        case "maintenance":
            simulator.fail_next("medable", "get", fault="cortex.accessDenied.maintenance", **always)
        case "rate limited":
            simulator.fail_next("medable", "create", fault="cortex.throttled.policy", **always)
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
        case _:
            raise AssertionError(case)
    caught = error_of(medable(deferrable, **changes))
    assert type(caught) is error, repr(caught)
    assert caught.vendor == "medable"
    assert caught.next_step or caught.advice
    assert list(tmp_path.iterdir()) == []
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


def test_session_that_ends_during_the_wait_is_renewed(
    simulator: Simulator, connect: Connect, deferrable: bool
) -> None:
    """A pause longer than the session's life costs one more login."""
    use(simulator, connect, "session", poll_initial=1200, poll_maximum=1200)
    simulator.configure("medable", ready_after_seconds=3000, ready_after_reads=None)
    assert run(medable(deferrable))["state"] == "ready"
    assert 2 <= sent(simulator, "login") <= 6


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


@pytest.mark.parametrize("create_body", ["result", "empty"])
def test_create_answer_in_another_form(simulator: Simulator, deferrable: bool, create_body: str) -> None:
    """An answer without an id is looked up by the tag: one export at the vendor."""
    simulator.configure("medable", create_body=create_body)
    result = run(medable(deferrable))
    assert [export.id for export in simulator.exports("medable")] == [result["export_id"]]


def test_lost_create_is_adopted(simulator: Simulator, deferrable: bool) -> None:
    """The lost answer is found in the list by its tag."""
    simulator.fail_next("medable", "create", fault="lost_response")
    result = run(medable(deferrable))
    assert [export.id for export in simulator.exports("medable")] == [result["export_id"]]


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


def test_own_exports_come_one_at_a_time(simulator: Simulator, deferrable: bool) -> None:
    """The second is created when the first has ended."""
    simulator.configure("medable", ready_after_seconds=500, ready_after_reads=None)
    first = run(lambda: MedableCreateExportOperator(task_id="t", objects="accounts"))
    result = run(medable(deferrable))
    assert [export.id for export in simulator.exports("medable")] == [first, result["export_id"]]
    created = simulator.requests("medable", "create")
    assert (created[1].at - created[0].at).total_seconds() >= 500


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

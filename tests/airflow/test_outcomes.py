"""Every way an export can end, on a worker and deferred, with the same outcome."""

from __future__ import annotations

import hashlib
import json
import socket
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.operators.export import (
    CreateExportOperator,
    DownloadExportOperator,
    RunExportOperator,
)
from airflow_provider_exports.operators.giosg import GiosgCreateExportOperator, GiosgRunExportOperator
from airflow_provider_exports.operators.mews import MewsCreateExportOperator, MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, fire, run
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")

WINDOW = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}


def mews(deferrable: bool, **changes: Any) -> Any:
    arguments = {"task_id": "t", "entity_type": "Payment", "deferrable": deferrable, **changes}
    return lambda: MewsRunExportOperator(**arguments)


def giosg(simulator: Simulator, deferrable: bool, **changes: Any) -> Any:
    arguments = {
        "task_id": "t",
        "room_id": simulator.rooms()[0]["id"],
        "type": "logs",
        "format": "csv",
        **WINDOW,
        "deferrable": deferrable,
        **changes,
    }
    return lambda: GiosgRunExportOperator(**arguments)


def creates(simulator: Simulator, vendor: str) -> int:
    return len([r for r in simulator.requests(vendor) if r.operation == "create"])


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_files_land_whole(simulator: Simulator, deferrable: bool, vendor: str, tmp_path: Path) -> None:
    """One create, a wait, and every file under its own name with the size and hash that are returned."""
    simulator.configure(vendor, ready_after_seconds=200)
    make = (
        mews(deferrable, destination=tmp_path.as_uri())
        if vendor == "mews"
        else giosg(simulator, deferrable, destination=tmp_path.as_uri())
    )
    events: list[dict[str, Any]] = []
    result = run(make, events=events)
    assert creates(simulator, vendor) == 1
    assert len(events) == int(deferrable)
    assert set(result) == {"export_id", "vendor", "state", "created_at", "expires_at", "files"}
    assert result["state"] == "ready"
    assert len(result["files"]) == {"mews": 2, "giosg": 1}[vendor]
    for file in result["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert file["uri"].endswith(f"{tmp_path}/{file['name']}")
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f["name"] for f in result["files"])
    for secret in (*simulator.tokens.values(), simulator.link_secret):
        assert secret not in repr((result, events))
    assert simulator.leaks() == []


def test_without_destination_files_are_only_named(simulator: Simulator, deferrable: bool) -> None:
    """The same shape of result, nothing downloaded."""
    result = run(mews(deferrable))
    assert [(f["uri"], f["sha256"]) for f in result["files"]] == [(None, None)] * 2
    assert [r for r in simulator.requests("mews") if r.operation == "file"] == []


OUTCOMES = [
    # what happens at the vendor, and the class of the error
    ("wrong payload", errors.InvalidPayload),
    ("same field twice", errors.InvalidPayload),
    ("unknown entity type", errors.ExportRejected),
    ("wrong credentials", errors.AuthenticationFailed),
    ("forbidden", errors.PermissionDenied),
    ("busy", errors.ExportConflict),
    ("failed", errors.ExportFailed),
    ("expired", errors.ExportExpired),
    ("unknown status", errors.UnknownStatus),
    ("connection refused", errors.VendorUnreachable),
    ("rate limited", errors.RateLimited),
    ("malformed answer", errors.UnexpectedResponse),
    ("malformed create", errors.UnknownOutcome),
    ("lost create", errors.UnknownOutcome),
    ("never ready", errors.ExportTimedOut),
    ("gone", errors.ExportNotFound),
    ("truncated file", errors.DownloadIncomplete),
    ("size mismatch", errors.DownloadIncomplete),
    ("dead link", errors.LinkExpired),
    ("page instead of file", errors.NotTheFile),
    ("file host down", errors.VendorUnavailable),
    ("unsafe redirect", errors.UnsafeLink),
    ("wrong connection type", errors.InvalidConnection),
    ("no such vendor", errors.InvalidConnection),
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
    """Class, vendor, id and next step are the same in both modes, and nothing is left behind."""
    changes: dict[str, Any] = {"destination": tmp_path.as_uri()}
    match case:
        case "wrong payload":
            changes["entity_type"] = "payments"
        case "same field twice":
            changes["payload"] = {"EntityType": "Bill"}
        case "unknown entity type":
            changes["entity_type"] = "Paymint"
        case "wrong credentials":
            connect("mews", password="wrong")
        case "forbidden":
            simulator.fail_next("mews", "create", fault="forbidden")
        case "busy":
            simulator.configure("mews", outcome="never")
            run(lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment"))
            changes["on_conflict"] = "fail"
        case "failed":
            simulator.configure("mews", outcome="failed", ready_after_seconds=100)
        case "expired":
            simulator.configure("mews", file_life_seconds=20, ready_after_seconds=100)
            connect("mews", poll_initial=90, poll_factor=1)
        case "unknown status":
            simulator.fail_next("mews", "get", fault="unknown_status", times=None)
        case "connection refused":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                connect("mews", host=f"http://127.0.0.1:{unused.getsockname()[1]}")
        case "rate limited":
            simulator.fail_next("mews", "create", fault="429", times=None, seconds=900)
        case "malformed answer":
            simulator.fail_next("mews", "get", fault="malformed_json", times=None)
        case "malformed create":
            simulator.fail_next("mews", "create", fault="malformed_json")
        case "lost create":
            simulator.fail_next("mews", "create", fault="lost_response")
        case "never ready":
            simulator.configure("mews", outcome="never")
            changes["timeout"] = 3600
        case "gone":
            simulator.configure("mews", outcome="never", visible_after_seconds=1e9)
        case "truncated file":
            simulator.fail_next("mews", "file", fault="truncated", times=None, after=1)
        case "size mismatch":
            simulator.fail_next("mews", "file", fault="size_mismatch", times=None)
        case "dead link":
            simulator.fail_next("mews", "file", fault="stale_link", times=None)
        case "page instead of file":
            simulator.fail_next("mews", "file", fault="html_instead", times=None)
        case "file host down":
            simulator.fail_next("mews", "file", fault="503", times=None)
        case "unsafe redirect":
            simulator.fail_next("mews", "file", fault="redirect", times=None, location="file:///etc/passwd")
        case "wrong connection type":
            changes["mews_conn_id"] = "giosg_default"
        case "no such vendor":
            connect("mews", conn_type="acme")
            with pytest.raises(Exception, match="there is no vendor called 'acme'"):
                run(lambda: RunExportOperator(task_id="t", conn_id="mews_default", deferrable=deferrable))
            return
    caught = error_of(mews(deferrable, **changes))
    assert type(caught) is error
    assert caught.vendor == "mews"
    assert caught.next_step or caught.advice
    exports = simulator.exports("mews")
    if exports and error not in (errors.ExportConflict, errors.UnknownOutcome, errors.RateLimited):
        assert caught.export_id == exports[-1].id
        assert exports[-1].id in str(caught)
    assert list(tmp_path.iterdir()) == []
    assert creates(simulator, "mews") <= 2
    assert simulator.leaks() == []
    assert not any(secret in str(caught) for secret in (*simulator.tokens.values(), simulator.link_secret))


def test_busy_entity_type_is_waited_for(simulator: Simulator, deferrable: bool) -> None:
    """The default waits for the slot: in the triggerer when deferrable, and creates once it is free."""
    simulator.configure("mews", ready_after_seconds=700)
    first = run(lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment"))
    events: list[dict[str, Any]] = []
    result = run(mews(deferrable), events=events)
    assert result["export_id"] != first
    assert len(simulator.exports("mews")) == 2
    if deferrable:
        assert [event["state"] for event in events] == [None, None, None, "ready"]


def test_busy_beyond_the_timeout_is_a_conflict(simulator: Simulator, deferrable: bool) -> None:
    """Waiting for the slot ends with the task's timeout."""
    simulator.configure("mews", outcome="never")
    run(lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment"))
    assert type(error_of(mews(deferrable, timeout=1000))) is errors.ExportConflict


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_window_that_has_just_ended_is_left_to_settle(
    simulator: Simulator, deferrable: bool, vendor: str
) -> None:
    """The create waits until the vendor's data counts as complete, then is sent once."""
    end = simulator.now().replace(microsecond=0) - timedelta(seconds=5)
    start = end - timedelta(days=1)
    if vendor == "mews":
        make = mews(deferrable, start_utc=start, end_utc=end)
        settle = 360
    else:
        make = giosg(simulator, deferrable, starting_at=start, ending_at=end)
        settle = 3600
    run(make)
    request = next(r for r in simulator.requests(vendor) if r.operation == "create")
    assert (request.at - end).total_seconds() >= settle
    assert creates(simulator, vendor) == 1


def test_wrong_payload_does_not_wait_to_settle(simulator: Simulator, deferrable: bool) -> None:
    """A mistake is told at once, not after the pause."""
    before = simulator.now()
    caught = error_of(
        mews(deferrable, start_utc=before.isoformat(), end_utc=before.isoformat(), entity_type="Payment")
    )
    assert "CronDataIntervalTimetable" in str(caught)
    assert (simulator.now() - before).total_seconds() < 60
    assert simulator.requests("mews") == []


def test_future_window_is_refused(simulator: Simulator, deferrable: bool) -> None:
    """A window that ends far ahead is a mistake, not something to wait for."""
    caught = error_of(giosg(simulator, deferrable, starting_at="2062-01-01", ending_at="2062-01-08"))
    assert "future" in str(caught)


def test_empty_export(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """No rows is a result, or a skip if the author wants that."""
    simulator.configure("mews", files=0)
    assert run(mews(deferrable, destination=tmp_path.as_uri()))["files"] == []
    with pytest.raises(AirflowSkipException):
        run(mews(deferrable, skip_if_empty=True))


@pytest.mark.parametrize("trouble", ["invisible", "500", "malformed_json"])
def test_trouble_right_after_the_create_does_not_lose_the_export(
    simulator: Simulator, deferrable: bool, trouble: str
) -> None:
    """An export that exists is waited for, even when the first looks at it fail."""
    if trouble == "invisible":
        simulator.configure("giosg", visible_after_seconds=8.0)
    else:
        simulator.fail_next("giosg", "get", fault=trouble, times=6)
    result = run(giosg(simulator, deferrable))
    assert [export.id for export in simulator.exports("giosg")] == [result["export_id"]]


def test_arguments_of_a_deferral_are_not_needed(simulator: Simulator) -> None:
    """``airflow dags test`` resumes a task without them."""
    make = mews(True)
    with pytest.raises(TaskDeferred) as deferred:
        make().execute({})
    event = fire(deferred.value.trigger)
    assert getattr(make(), deferred.value.method_name)({}, event=event)["state"] == "ready"


def test_dead_link_is_replaced_once(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """A link that died on the way is asked for anew, and the file lands."""
    simulator.fail_next("mews", "file", fault="stale_link", times=1, after=1)
    result = run(mews(deferrable, destination=tmp_path.as_uri()))
    assert len(list(tmp_path.iterdir())) == len(result["files"]) == 2


def test_broken_transfer_is_started_over(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """Two broken transfers of one file cost two more, and the bytes are right."""
    simulator.fail_next("mews", "file", fault="truncated", times=2)
    result = run(mews(deferrable, destination=tmp_path.as_uri()))
    assert [(tmp_path / f["name"]).stat().st_size for f in result["files"]] == [
        f["size"] for f in result["files"]
    ]


def test_giosg_unanswered_create_is_adopted(simulator: Simulator, deferrable: bool) -> None:
    """The lost answer is found in the list: one export at the vendor."""
    simulator.fail_next("giosg", "create", fault="lost_response")
    result = run(giosg(simulator, deferrable))
    assert [export.id for export in simulator.exports("giosg")] == [result["export_id"]]


@pytest.mark.parametrize("file_url", ["same_host", "signed", "redirect"])
def test_giosg_files_wherever_they_are(
    simulator: Simulator, deferrable: bool, file_url: str, tmp_path: Path
) -> None:
    """The token goes to the API's own origin only; a signed link elsewhere works without it."""
    simulator.configure("giosg", file_url=file_url, reject_file_credentials=True)
    result = run(giosg(simulator, deferrable, destination=tmp_path.as_uri()))
    assert (tmp_path / result["files"][0]["name"]).read_bytes()
    assert simulator.leaks() == []


def test_create_returns_the_id_and_download_fetches_it(simulator: Simulator, tmp_path: Path) -> None:
    """The three steps also work as three tasks, generic and typed."""
    simulator.configure("giosg", ready_after_seconds=1000)
    export_id = run(
        lambda: CreateExportOperator(
            task_id="t", conn_id="giosg_default", payload=giosg_payload(simulator), export_label="x"
        )
    )
    assert export_id == simulator.exports("giosg")[0].id
    download = lambda: DownloadExportOperator(  # noqa: E731
        task_id="t", conn_id="giosg_default", export_id=export_id, destination=tmp_path.as_uri()
    )
    assert "not ready yet" in str(error_of(download))
    simulator.set_state("giosg", export_id, "ready")
    assert run(download)["files"][0]["size"] > 0


def giosg_payload(simulator: Simulator) -> dict[str, Any]:
    return {"room_id": simulator.rooms()[0]["id"], "type": "stats", "format": "xlsx", **WINDOW}


def test_payload_may_be_json_text(simulator: Simulator) -> None:
    """A template renders to text; text that is no JSON object is told."""
    text = json.dumps(giosg_payload(simulator))
    assert run(lambda: GiosgCreateExportOperator(task_id="t", payload=text))
    for wrong in ("{", "[1]"):
        caught = error_of(partial(GiosgCreateExportOperator, task_id="t", payload=wrong))
        assert type(caught) is errors.InvalidPayload


def test_on_conflict_is_checked_when_the_dag_is_parsed() -> None:
    """A typo in a constant fails at parse time."""
    with pytest.raises(Exception, match="on_conflict"):
        MewsRunExportOperator(task_id="t", on_conflict="adopt")


def test_vendor_unwell_at_resume_does_not_lose_the_export(simulator: Simulator) -> None:
    """The trigger has seen it ready, then the vendor fails for a while: the task bears with it."""
    make = mews(True)
    with pytest.raises(TaskDeferred) as deferred:
        make().execute({})
    event = fire(deferred.value.trigger)
    simulator.fail_next("mews", "get", fault="503", times=6)
    assert getattr(make(), deferred.value.method_name)({}, event=event)["state"] == "ready"
    assert creates(simulator, "mews") == 1


def test_deferral_has_a_deadline_of_its_own_and_one_for_the_framework(simulator: Simulator) -> None:
    """Ours comes first and is absolute; the framework's follows, for a triggerer that never comes back."""
    simulator.configure("mews", outcome="never")
    with pytest.raises(TaskDeferred) as deferred:
        mews(True, timeout=timedelta(hours=2))().execute({})
    assert deferred.value.timeout > timedelta(hours=2)
    end_time = deferred.value.trigger.serialize()[1]["end_time"]
    assert 7190 < end_time - simulator.now().timestamp() <= 7200


def test_endless_timeout_is_cut_before_anything_is_created(simulator: Simulator) -> None:
    """A number beyond the framework's arithmetic must not fail the task after the create."""
    simulator.configure("mews", outcome="never")
    with pytest.raises(TaskDeferred):
        mews(True, timeout=1e15)().execute({})


def test_pause_before_a_create_keeps_the_minimum_delay(simulator: Simulator, connect: Connect) -> None:
    """A trigger that fires at once can lose its task, however short the vendor's own pause is."""
    simulator.configure("mews", outcome="never")
    run(lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment"))
    connect("mews", conflict_interval=0)
    with pytest.raises(TaskDeferred) as deferred:
        mews(True)().execute({})
    not_before = deferred.value.trigger.serialize()[1]["not_before"]
    assert not_before - simulator.now().timestamp() >= 8.9


@pytest.mark.parametrize("poll_interval", [0, -5])
def test_no_poll_interval_makes_a_hot_loop(
    simulator: Simulator, deferrable: bool, poll_interval: int
) -> None:
    """Whatever was typed, a wait of 100 s is at most a hundred looks."""
    simulator.configure("mews", ready_after_seconds=100)
    run(mews(deferrable, poll_interval=poll_interval))
    assert len([r for r in simulator.requests("mews") if r.operation == "get"]) <= 105


def test_rendered_text_in_the_place_of_an_object_is_told(simulator: Simulator, deferrable: bool) -> None:
    """A template may render to anything; nothing is dropped in silence, nothing is sent."""
    for payload in ({"Filters": "text"}, {"Filters": {"UpdatedUtc": "x"}}):
        assert type(error_of(mews(deferrable, payload=payload))) is errors.InvalidPayload
        both = mews(deferrable, payload=payload, start_utc="2026-01-01", end_utc="2026-01-02")
        assert type(error_of(both)) is errors.InvalidPayload
    assert simulator.requests("mews") == []


def test_payload_is_prepared_once(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """What the connection adds to a payload is added once: an overlap of a minute is not two."""
    connect("giosg", overlap=60)
    run(giosg(simulator, deferrable))
    request = next(r for r in simulator.requests("giosg") if r.operation == "create")
    assert request.body["starting_at"] == "2025-12-31T23:59:00.000Z"

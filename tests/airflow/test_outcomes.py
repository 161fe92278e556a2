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

from airflow_provider_exports import __version__
from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.operators.export import (
    CreateExportOperator,
    DeleteExportOperator,
    DownloadExportOperator,
    RunExportOperator,
)
from airflow_provider_exports.operators.giosg import GiosgCreateExportOperator, GiosgRunExportOperator
from airflow_provider_exports.operators.mews import MewsCreateExportOperator, MewsRunExportOperator
from airflow_provider_exports.sensors.giosg import GiosgExportSensor
from airflow_provider_exports.sensors.mews import MewsExportSensor
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.apis.giosg import ORGANIZATION_ID
from tests.airflow.both_modes import error_of, fire, landed, run
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")

NOBODY = "00000000-0000-4000-8000-000000000001"
WINDOW = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}


def mews(deferrable: bool, **changes: Any) -> Any:
    # Another export in the place of a failed one is not what these tests are about.
    arguments = {"task_id": "t", "max_recreations": 0, "entity_type": "Payment", "deferrable": deferrable}
    arguments |= changes
    return lambda: MewsRunExportOperator(**arguments)


def giosg(simulator: Simulator, deferrable: bool, **changes: Any) -> Any:
    arguments = {
        "task_id": "t",
        "max_recreations": 0,
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
    # At giosg a turn comes first: there may be only so many exports at once.
    awaited = {"mews": ["ready"], "giosg": [None, "ready"]}[vendor]
    assert [event["state"] for event in events] == (awaited if deferrable else [])
    assert set(result) == {"export_id", "vendor", "state", "created_at", "expires_at", "files"}
    assert result["state"] == "ready"
    assert len(result["files"]) == {"mews": 2, "giosg": 1}[vendor]
    for file in result["files"]:
        content = (tmp_path / file["name"]).read_bytes()
        assert file["uri"].endswith(f"{tmp_path}/{file['name']}")
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert landed(tmp_path) == sorted(f["name"] for f in result["files"])
    for secret in (*simulator.tokens.values(), simulator.link_secret):
        assert secret not in repr((result, events))
    assert simulator.leaks() == []


def test_without_destination_files_are_only_named(simulator: Simulator, deferrable: bool) -> None:
    """The same shape of result, nothing downloaded."""
    result = run(mews(deferrable))
    assert [(f["uri"], f["sha256"]) for f in result["files"]] == [(None, None)] * 2
    assert [r for r in simulator.requests("mews") if r.operation == "file"] == []


def exporting(simulator: Simulator, vendor: str, deferrable: bool, **changes: Any) -> Any:
    """Return what makes the run operator of a vendor."""
    return mews(deferrable, **changes) if vendor == "mews" else giosg(simulator, deferrable, **changes)


OUTCOMES: list[tuple[str, type[errors.ExportError] | None, type[errors.ExportError] | None]] = [
    # what happens at the vendor, and the class of the error at Mews and at giosg; None: see the tests below
    ("wrong payload", errors.InvalidPayload, errors.InvalidPayload),
    ("same field twice", errors.InvalidPayload, errors.InvalidPayload),
    ("wrong connection type", errors.InvalidConnection, errors.InvalidConnection),
    ("connection refused", errors.VendorUnreachable, errors.VendorUnreachable),
    ("wrong credentials", errors.AuthenticationFailed, errors.AuthenticationFailed),
    ("forbidden", errors.PermissionDenied, errors.PermissionDenied),
    ("no right to exports", errors.AuthenticationFailed, errors.PermissionDenied),
    ("refused field", errors.ExportRejected, errors.ExportRejected),
    ("unknown user", None, errors.ExportRejected),
    ("busy", errors.ExportConflict, errors.ExportConflict),
    ("rate limited", errors.RateLimited, errors.RateLimited),
    ("lost create", errors.UnknownOutcome, None),
    ("malformed create", errors.UnknownOutcome, None),
    ("nameless create", errors.UnknownOutcome, None),
    ("broken connection at each create", errors.UnknownOutcome, errors.UnknownOutcome),
    ("fault at each create", errors.UnknownOutcome, errors.UnknownOutcome),
    ("page instead of each create", errors.UnknownOutcome, errors.UnknownOutcome),
    ("failed", errors.ExportFailed, errors.ExportFailed),
    ("expired", errors.ExportExpired, errors.ExportExpired),
    ("unknown status", errors.UnknownStatus, errors.UnexpectedResponse),
    ("malformed answer", errors.UnexpectedResponse, errors.UnexpectedResponse),
    ("missing field", errors.UnexpectedResponse, errors.UnexpectedResponse),
    ("missing files", errors.UnexpectedResponse, errors.UnexpectedResponse),
    ("page instead of status", errors.UnexpectedResponse, errors.UnexpectedResponse),
    ("vendor down", errors.VendorUnavailable, errors.VendorUnavailable),
    ("credentials end during the wait", errors.AuthenticationFailed, errors.AuthenticationFailed),
    ("right ends during the wait", errors.PermissionDenied, errors.ExportExpired),
    ("never ready", errors.ExportTimedOut, errors.ExportTimedOut),
    ("gone", errors.ExportExpired, errors.ExportExpired),
    ("expired during the download", errors.ExportExpired, errors.ExportExpired),
    ("dead link", errors.LinkExpired, errors.LinkExpired),
    ("truncated file", errors.DownloadIncomplete, errors.DownloadIncomplete),
    # giosg announces no size.
    ("size mismatch", errors.DownloadIncomplete, None),
    ("page instead of file", errors.NotTheFile, errors.NotTheFile),
    ("message instead of file", errors.DownloadIncomplete, errors.NotTheFile),
    ("file host down", errors.VendorUnavailable, errors.VendorUnavailable),
    ("unsafe redirect", errors.UnsafeLink, errors.UnsafeLink),
]


@pytest.mark.parametrize(
    ("vendor", "case", "error"),
    [
        pytest.param(vendor, case, error, id=f"{vendor} {case}")
        for case, *both in OUTCOMES
        for vendor, error in zip(("mews", "giosg"), both, strict=True)
        if error is not None
    ],
)
def test_each_failure_has_its_own_error(
    simulator: Simulator,
    connect: Connect,
    deferrable: bool,
    vendor: str,
    case: str,
    error: type[errors.ExportError],
    tmp_path: Path,
) -> None:
    """Class, vendor, id and next step are the same in both modes, and nothing is left behind."""
    changes: dict[str, Any] = {"destination": tmp_path.as_uri()}
    before = arrange(simulator, connect, vendor, case, changes)
    caught = error_of(exporting(simulator, vendor, deferrable, **changes))
    assert type(caught) is error, repr(caught)
    assert caught.vendor == vendor
    assert caught.next_step or caught.advice
    exports = simulator.exports(vendor)
    if exports and error not in (errors.ExportConflict, errors.UnknownOutcome, errors.RateLimited):
        assert caught.export_id == exports[-1].id
        assert exports[-1].id in str(caught)
    assert landed(tmp_path) == []
    assert creates(simulator, vendor) - before <= 2
    assert simulator.leaks() == []
    assert not any(secret in str(caught) for secret in (*simulator.tokens.values(), simulator.link_secret))


def arrange(simulator: Simulator, connect: Connect, vendor: str, case: str, changes: dict[str, Any]) -> int:
    """Make ``case`` happen to the next task with these arguments; return how often something was created."""
    is_mews = vendor == "mews"
    fail = partial(simulator.fail_next, vendor)
    match case:
        case "wrong payload":
            changes |= {"entity_type": "payments"} if is_mews else {"format": "pdf"}
        case "same field twice":
            changes["payload"] = {"EntityType": "Bill"} if is_mews else {"type": "logs"}
        case "wrong connection type":
            changes[f"{vendor}_conn_id"] = "giosg_default" if is_mews else "mews_default"
        case "connection refused":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                connect(vendor, host=f"http://127.0.0.1:{unused.getsockname()[1]}")
        case "wrong credentials":
            connect(vendor, password="wrong")
        case "forbidden":
            fail("create", fault="forbidden")
        case "no right to exports":
            switch = {"exports_permission": False} if is_mews else {"access": "no_settings_permission"}
            simulator.configure(vendor, **switch)
        case "refused field":
            changes |= {"entity_type": "Paymint"} if is_mews else {"room_id": NOBODY}
        case "unknown user":
            connect(vendor, user_id=NOBODY)
        case "busy":
            simulator.configure(vendor, outcome="never")
            connect(vendor, max_in_progress=1)
            run(exporting_only(simulator, vendor))
            changes["on_conflict"] = "fail"
        case "rate limited":
            fail("create", fault="429", times=None, seconds=900)
        case "lost create":
            fail("create", fault="lost_response")
        case "malformed create":
            fail("create", fault="malformed_json")
        case "nameless create":
            fail("create", fault="missing_field")
        case "broken connection at each create":
            fail("create", fault="reset", times=None)
        case "fault at each create":
            fail("create", fault="500", times=None)
        case "page instead of each create":
            fail("create", fault="html", times=None)
        case "failed":
            simulator.configure(vendor, outcome="failed", ready_after_seconds=100)
        case "expired":
            simulator.configure(vendor, file_life_seconds=20, ready_after_seconds=100)
            connect(vendor, poll_initial=90, poll_factor=1, poll_maximum=90)
        case "unknown status":
            fail("get", fault="unknown_status", times=None)
        case "malformed answer":
            fail("get", fault="malformed_json", times=None)
        case "missing field":
            fail("get", fault="missing_field", times=None)
        case "missing files":
            fail("get", fault="missing_field", field="Files" if is_mews else "url", times=None)
        case "page instead of status":
            fail("get", fault="html", times=None)
        case "vendor down":
            fail("get", fault="503", times=None)
        case "credentials end during the wait" | "right ends during the wait":
            simulator.configure(vendor, ready_after_seconds=900)
            fault = "unauthorized" if case.startswith("credentials") else "forbidden"
            fail("get", fault=fault, times=None, after=4)
        case "never ready":
            simulator.configure(vendor, outcome="never")
            changes["timeout"] = 3600
        case "gone":
            simulator.configure(vendor, outcome="never", visible_after_seconds=1e9)
        case "expired during the download":
            # The pauses between the tries, 2, 4 and 8 s, outlast the export.
            simulator.configure(vendor, ready_after_reads=2, file_life_seconds=10)
            connect(vendor, expiry_margin=0)
            fail("file", fault="503", times=None, after=1 if is_mews else 0)
        case "dead link":
            fail("file", fault="stale_link", times=None)
        case "truncated file":
            fail("file", fault="truncated", times=None, after=1 if is_mews else 0)
        case "size mismatch":
            fail("file", fault="size_mismatch", times=None)
        case "page instead of file":
            fail("file", fault="html_instead", times=None)
        case "message instead of file":
            fail("file", fault="json_error_instead", times=None)
        case "file host down":
            fail("file", fault="503", times=None)
        case "unsafe redirect":
            fail("file", fault="redirect", times=None, location="file:///etc/passwd")
        case _:
            raise AssertionError(case)
    return creates(simulator, vendor)


def exporting_only(simulator: Simulator, vendor: str) -> Any:
    """Return what makes the create operator of a vendor."""
    if vendor == "mews":
        return lambda: MewsCreateExportOperator(task_id="t", entity_type="Payment")
    return lambda: GiosgCreateExportOperator(task_id="t", payload=giosg_payload(simulator))


def test_unknown_vendor_is_told(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """A connection type that no vendor has, with the names of those that there are."""
    connect("mews", conn_type="acme")
    caught = error_of(lambda: RunExportOperator(task_id="t", conn_id="mews_default", deferrable=deferrable))
    assert type(caught) is errors.InvalidConnection
    assert "there is no vendor called 'acme'" in str(caught)


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_unknown_id(simulator: Simulator, deferrable: bool, vendor: str, tmp_path: Path) -> None:
    """To read, to wait for and to download; neither vendor can delete, whatever the id."""
    conn_id = f"{vendor}_default"

    def wait() -> Any:
        sensor = {"mews": MewsExportSensor, "giosg": GiosgExportSensor}[vendor]
        return sensor(task_id="t", export_id=NOBODY, deferrable=True)

    if deferrable:
        caught = [error_of(wait)]
    else:
        hook = ExportHook(conn_id)
        caught = []
        for call in (hook.get_export, hook.wait_for_export):
            with pytest.raises(errors.ExportNotFound) as raised:
                call(NOBODY)
            caught.append(raised.value)
        assert hook.get_exports([NOBODY]) == {}
        target = {"conn_id": conn_id, "export_id": NOBODY}
        caught.append(
            error_of(lambda: DownloadExportOperator(task_id="t", destination=tmp_path.as_uri(), **target))
        )
        delete = error_of(lambda: DeleteExportOperator(task_id="t", **target))
        assert type(delete) is errors.ExportRejected
        assert "offers no delete" in str(delete)
    for error in caught:
        assert type(error) is errors.ExportNotFound
        assert (error.vendor, error.export_id) == (vendor, NOBODY)
    assert landed(tmp_path) == []


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_requests_arrive_as_documented(simulator: Simulator, deferrable: bool, vendor: str) -> None:
    """Method, address, query, body and the headers that matter, from whichever transport."""
    simulator.configure(vendor, ready_after_seconds=200)
    result = run(exporting(simulator, vendor, deferrable))
    sent = simulator.requests(vendor)
    content = {"Content-Type": "application/json"}
    if vendor == "mews":
        credentials = {
            "ClientToken": simulator.tokens["mews_client_token"],
            "AccessToken": simulator.tokens["mews_access_token"],
            "Client": f"airflow-provider-exports {__version__}",
        }
        address = "/mews/api/connector/v1/exports"
        known = {
            "create": ("POST", f"{address}/add", content, {**credentials, "EntityType": "Payment"}),
            "get": (
                "POST",
                f"{address}/getAll",
                content,
                {**credentials, "ExportIds": [result["export_id"]]},
            ),
        }
    else:
        token = {
            "Accept": "application/json",
            "Authorization": f"Token {simulator.tokens['giosg_api_token']}",
        }
        me = simulator.exports("giosg")[0]
        address = f"/giosg/api/v5/orgs/{ORGANIZATION_ID}/users/{me.owner}/reportexports"
        body = {
            "room_id": simulator.rooms()[0]["id"],
            "type": "logs",
            "format": "csv",
            "starting_at": "2026-01-01T00:00:00.000Z",
            "ending_at": "2026-01-08T00:00:00.000Z",
        }
        known = {
            "me": ("GET", "/giosg/api/v5/users/me", token, None),
            "list": ("GET", address, token, None),
            "create": ("POST", address, {**token, **content}, body),
            "get": ("GET", f"{address}/{result['export_id']}", token, None),
        }
    assert {request.operation for request in sent} == set(known)
    for request in sent:
        matter = ("Accept", "Authorization", "Content-Type", "Cookie", "Prefer")
        headers = {name: request.headers[name] for name in matter if name in request.headers}
        if headers.get("Accept") == "*/*":
            del headers["Accept"]
        assert (request.method, request.path, headers, request.body) == known[request.operation or ""]
        assert not request.query


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


@pytest.mark.parametrize(
    ("vendor", "switches"),
    [
        ("mews", {"rows": 0, "empty_files": "zero_byte"}),
        ("giosg", {"rows": 0, "empty_result": "zero_bytes"}),
    ],
)
def test_file_without_a_byte_lands(
    simulator: Simulator, deferrable: bool, vendor: str, switches: dict[str, Any], tmp_path: Path
) -> None:
    """An export without rows may also be a file of no bytes."""
    simulator.configure(vendor, **switches)
    (file,) = run(exporting(simulator, vendor, deferrable, destination=tmp_path.as_uri()))["files"]
    assert (file["size"], (tmp_path / file["name"]).read_bytes()) == (0, b"")


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


@pytest.mark.parametrize(("vendor", "files"), [("mews", 2), ("giosg", 1)])
def test_dead_link_is_replaced_once(
    simulator: Simulator, deferrable: bool, vendor: str, files: int, tmp_path: Path
) -> None:
    """A link that died on the way is asked for anew, and the file lands."""
    simulator.fail_next(vendor, "file", fault="stale_link", times=1, after=files - 1)
    result = run(exporting(simulator, vendor, deferrable, destination=tmp_path.as_uri()))
    assert len(landed(tmp_path)) == len(result["files"]) == files


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_broken_transfer_is_started_over(
    simulator: Simulator, deferrable: bool, vendor: str, tmp_path: Path
) -> None:
    """Two broken transfers of one file cost two more, and the bytes are right."""
    whole = run(exporting(simulator, vendor, deferrable, destination=(tmp_path / "whole").as_uri()))
    simulator.fail_next(vendor, "file", fault="truncated", times=2)
    result = run(exporting(simulator, vendor, deferrable, destination=(tmp_path / "broken").as_uri()))
    assert [(f["size"], f["sha256"]) for f in result["files"]] == [
        (f["size"], f["sha256"]) for f in whole["files"]
    ]
    assert [(tmp_path / "broken" / f["name"]).stat().st_size for f in result["files"]] == [
        f["size"] for f in result["files"]
    ]


@pytest.mark.parametrize("fault", ["lost_response", "500_after", "malformed_json", "missing_field"])
def test_giosg_unanswered_create_is_adopted(simulator: Simulator, deferrable: bool, fault: str) -> None:
    """The lost answer is found in the list: one export at the vendor."""
    simulator.fail_next("giosg", "create", fault=fault)
    result = run(giosg(simulator, deferrable))
    assert [export.id for export in simulator.exports("giosg")] == [result["export_id"]]
    assert creates(simulator, "giosg") == 1


@pytest.mark.parametrize("fault", ["reset", "500", "408", "html"])
def test_giosg_create_that_left_nothing_behind_is_repeated(
    simulator: Simulator, deferrable: bool, fault: str
) -> None:
    """Two looks at the list find nothing, so the create is sent a second time."""
    simulator.fail_next("giosg", "create", fault=fault)
    result = run(giosg(simulator, deferrable))
    assert [export.id for export in simulator.exports("giosg")] == [result["export_id"]]
    assert creates(simulator, "giosg") == 2


def test_mews_retry_waits_for_the_lost_export(simulator: Simulator, deferrable: bool) -> None:
    """Nobody finds a lost Mews export: the next try meets it as busy, waits for its end, and exports anew."""
    simulator.configure("mews", ready_after_seconds=700)
    simulator.fail_next("mews", "create", fault="lost_response")
    assert type(error_of(mews(deferrable))) is errors.UnknownOutcome
    result = run(mews(deferrable))
    lost, second = simulator.exports("mews")
    assert second.id == result["export_id"]
    assert lost.finished_at is not None
    assert second.created_at >= lost.finished_at


def most_at_once(simulator: Simulator) -> int:
    """Return how many giosg exports were in progress at the same time at most."""
    exports = simulator.exports("giosg")
    return max(
        sum(
            other.created_at <= one.created_at
            and (other.finished_at is None or one.created_at < other.finished_at)
            for other in exports
        )
        for one in exports
    )


def test_giosg_cap_holds_for_a_bulk(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """Five rooms, two at once: the others wait for room, in the triggerer where they may."""
    connect("giosg", max_in_progress=2)
    # The vendor would refuse a third, and the test with it.
    simulator.configure("giosg", ready_after_seconds=200, max_in_progress=2, max_in_progress_status=400)
    simulator.add_room("Fifth")
    rooms = [room["id"] for room in simulator.rooms()]
    assert len(rooms) == 5

    def bulk(room_id: str) -> Any:
        # On a worker, one task after the other: what waits there is the create.
        operator = GiosgRunExportOperator if deferrable else GiosgCreateExportOperator
        arguments = {"type": "logs", "format": "csv", **WINDOW, "deferrable": deferrable}
        return lambda: operator(task_id="t", room_id=room_id, **arguments)

    if deferrable:
        waiting: list[tuple[Any, TaskDeferred]] = []
        for room_id in rooms:
            with pytest.raises(TaskDeferred) as deferred:
                bulk(room_id)().execute({})
            waiting.append((bulk(room_id), deferred.value))
        # Those that looked in this moment would all have found room.
        assert creates(simulator, "giosg") == 0
        assert [one.method_name for _, one in waiting] == ["resume_create"] * 5
        results = []
        while waiting:
            make, one = waiting.pop(0)
            event = fire(one.trigger)
            try:
                results.append(getattr(make(), one.method_name)({}, event=event, **(one.kwargs or {})))
            except TaskDeferred as again:
                waiting.append((make, again))
        assert [result["state"] for result in results] == ["ready"] * 5
    else:
        for room_id in rooms:
            run(bulk(room_id))
    assert [export.request["room_id"] for export in simulator.exports("giosg")] == rooms
    assert creates(simulator, "giosg") == 5
    assert most_at_once(simulator) == 2


def test_giosg_cap_beyond_the_timeout_is_a_conflict(
    simulator: Simulator, connect: Connect, deferrable: bool
) -> None:
    """Waiting for room ends with the task's timeout; without a cap nothing is waited for and no list read."""
    connect("giosg", max_in_progress=1)
    simulator.configure("giosg", outcome="never")
    run(exporting_only(simulator, "giosg"))
    assert type(error_of(giosg(simulator, deferrable, timeout=600))) is errors.ExportConflict
    assert creates(simulator, "giosg") == 1
    connect("giosg", max_in_progress=0)
    before = len(simulator.requests("giosg", "list"))
    run(exporting_only(simulator, "giosg"))
    assert len(simulator.requests("giosg", "list")) == before


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

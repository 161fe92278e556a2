"""The same cases through both transports, against the simulated vendors, in virtual time."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_exports.core import ConnectionInfo, ExportState, Lifecycle, Request
from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportRejected,
    ExportTimedOut,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    UnsafeLink,
    VendorUnavailable,
    VendorUnreachable,
)
from airflow_provider_exports.simulator import Simulator
from tests.transports.virtual import Runner, run_async, run_blocking, simulated_vendor

MEWS = {"EntityType": "Payment"}


@pytest.fixture(params=[run_blocking, run_async], ids=["blocking", "asynchronous"])
def run(request: pytest.FixtureRequest) -> Runner:
    """Each test runs through both transports."""
    runner: Runner = request.param
    return runner


def payload(simulator: Simulator, vendor: str) -> dict[str, Any]:
    if vendor == "mews":
        return dict(MEWS)
    return {
        "room_id": simulator.rooms()[0]["id"],
        "type": "logs",
        "format": "csv",
        "starting_at": "2026-01-01T00:00:00.000Z",
        "ending_at": "2026-01-08T00:00:00.000Z",
    }


def whole(payload: dict[str, Any], **options: Any) -> Callable[[Lifecycle], Any]:
    """Return a plan that creates and waits."""

    def plan(life: Lifecycle) -> Any:
        export = yield from life.submit(payload)
        return (yield from life.wait(export.export_id, **options))

    return plan


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_create_and_wait(export_simulator: Simulator, run: Runner, vendor: str) -> None:
    """An export is created by exactly one request and waited for until its files are there."""
    export_simulator.configure(vendor, ready_after_seconds=200)
    export = run(
        export_simulator, simulated_vendor(export_simulator, vendor), whole(payload(export_simulator, vendor))
    )
    assert export.state is ExportState.READY
    assert export.files
    created = [r for r in export_simulator.requests(vendor) if r.operation == "create"]
    assert len(created) == 1


CASES: list[tuple[str, str, str, dict[str, Any], type[ExportError]]] = [
    # operation, fault, options and the error that both transports must end in
    ("mews", "create", "unauthorized", {}, AuthenticationFailed),
    ("giosg", "create", "unauthorized", {}, AuthenticationFailed),
    ("mews", "create", "forbidden", {}, PermissionDenied),
    ("giosg", "create", "forbidden", {}, PermissionDenied),
    ("mews", "create", "lost_response", {}, UnknownOutcome),
    ("mews", "create", "500_after", {}, UnknownOutcome),
    ("mews", "create", "malformed_json", {}, UnknownOutcome),
    ("mews", "create", "missing_field", {}, UnknownOutcome),
    ("mews", "create", "html", {}, UnknownOutcome),
    ("mews", "create", "redirect_307", {}, ExportRejected),
    ("giosg", "create", "redirect_307", {}, ExportRejected),
    ("mews", "create", "429", {"retry_after": "seconds", "seconds": 600}, RateLimited),
    ("giosg", "create", "429", {"retry_after": "date", "seconds": 600}, RateLimited),
    ("mews", "create", "429", {"retry_after": "missing"}, RateLimited),
    ("mews", "get", "malformed_json", {}, UnexpectedResponse),
    ("giosg", "get", "malformed_json", {}, UnexpectedResponse),
    ("mews", "get", "html", {}, UnexpectedResponse),
    ("mews", "get", "missing_field", {}, UnexpectedResponse),
    ("giosg", "get", "missing_field", {"field": "completed_at"}, UnexpectedResponse),
    ("mews", "get", "unknown_status", {}, UnknownStatus),
    ("mews", "get", "500", {}, VendorUnavailable),
    ("giosg", "get", "503", {}, VendorUnavailable),
    ("mews", "get", "reset", {}, VendorUnavailable),
    ("giosg", "get", "reset", {}, VendorUnavailable),
    ("mews", "get", "unauthorized", {}, AuthenticationFailed),
    ("giosg", "get", "not_found", {}, ExportNotFound),
    ("mews", "get", "429", {"retry_after": "seconds", "seconds": 30}, ExportTimedOut),
    ("giosg", "me", "unauthorized", {}, AuthenticationFailed),
]


@pytest.mark.parametrize(("vendor", "operation", "fault", "options", "error"), CASES)
def test_lasting_faults_end_in_their_own_error(
    export_simulator: Simulator,
    run: Runner,
    vendor: str,
    operation: str,
    fault: str,
    options: dict[str, Any],
    error: type[ExportError],
) -> None:
    """Each fault has one class, whichever transport met it, and names vendor and next step."""
    export_simulator.fail_next(vendor, operation, fault=fault, times=None, **options)
    deadline = export_simulator.now().timestamp() + 86400
    with pytest.raises(ExportError) as caught:
        run(
            export_simulator,
            simulated_vendor(export_simulator, vendor),
            whole(payload(export_simulator, vendor), deadline=deadline),
        )
    assert type(caught.value) is error
    assert str(caught.value).startswith(vendor)
    assert caught.value.next_step or caught.value.advice
    text = str(caught.value)
    assert not any(token in text for token in export_simulator.tokens.values())
    strays = [r for r in export_simulator.requests(vendor) if r.origin == "files"]
    assert strays == []


@pytest.mark.parametrize("fault", ["lost_response", "500_after", "malformed_json", "html"])
def test_unanswered_giosg_create_is_adopted(export_simulator: Simulator, run: Runner, fault: str) -> None:
    """The list shows what the lost answer did not: one export, not two."""
    export_simulator.fail_next("giosg", "create", fault=fault)
    export = run(
        export_simulator,
        simulated_vendor(export_simulator, "giosg"),
        whole(payload(export_simulator, "giosg")),
    )
    assert export.state is ExportState.READY
    assert len(export_simulator.exports("giosg")) == 1


@pytest.mark.parametrize("fault", ["reset", "500", "malformed_json", "html", "429"])
@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_passing_faults_of_a_look_are_survived(
    export_simulator: Simulator, run: Runner, vendor: str, fault: str
) -> None:
    """A few bad looks in a row do not end a wait."""
    export_simulator.fail_next(vendor, "get", fault=fault, times=3)
    export = run(
        export_simulator, simulated_vendor(export_simulator, vendor), whole(payload(export_simulator, vendor))
    )
    assert export.state is ExportState.READY


def test_busy_entity_type(export_simulator: Simulator, run: Runner) -> None:
    """The second export of a type is a conflict, and is created once the first has ended."""
    export_simulator.configure("mews", ready_after_seconds=400)
    vendor = simulated_vendor(export_simulator, "mews")
    run(export_simulator, vendor, lambda life: life.submit(MEWS))
    with pytest.raises(ExportConflict, match="already in progress"):
        run(export_simulator, vendor, lambda life: life.submit(MEWS))
    deadline = export_simulator.now().timestamp() + 3600
    second = run(export_simulator, vendor, lambda life: life.submit(MEWS, conflict_deadline=deadline))
    assert second.state is ExportState.QUEUED
    assert len(export_simulator.exports("mews")) == 2


@pytest.mark.parametrize(("state", "error"), [("failed", ExportFailed), ("expired", ExportExpired)])
@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_ended_exports(
    export_simulator: Simulator, run: Runner, vendor: str, state: Any, error: type[ExportError]
) -> None:
    """A failed or expired export is the error of that name."""
    client = simulated_vendor(export_simulator, vendor)
    export = run(export_simulator, client, lambda life: life.submit(payload(export_simulator, vendor)))
    export_simulator.set_state(vendor, export.export_id, state)
    with pytest.raises(error, match=export.export_id):
        run(export_simulator, client, lambda life: life.wait(export.export_id))


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_wrong_credentials(export_simulator: Simulator, run: Runner, vendor: str) -> None:
    """Credentials the vendor does not know are told at the first call, and only once."""
    fields = export_simulator.connection(vendor)
    client = vendor_class(vendor)(
        ConnectionInfo("c", fields["host"], password="wrong-one", extra=fields["extra"])
    )
    with pytest.raises(AuthenticationFailed) as caught:
        run(export_simulator, client, whole(payload(export_simulator, vendor)))
    assert "wrong-one" not in str(caught.value)
    assert len(export_simulator.requests(vendor)) == 1


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_connection_refused(export_simulator: Simulator, run: Runner, vendor: str) -> None:
    """Nothing listens there: said with the reason, and safe to repeat."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}/{vendor}"
    fields = export_simulator.connection(vendor)
    client = vendor_class(vendor)(ConnectionInfo("c", host, password="p", extra=fields["extra"]))
    with pytest.raises(VendorUnreachable, match=r"(?i)refused|connect call failed"):
        run(export_simulator, client, whole(payload(export_simulator, vendor)))


def test_expiry_follows_the_vendors_clock(export_simulator: Simulator, run: Runner) -> None:
    """A file that is gone for the vendor is gone for us, whatever our clock says."""
    client = simulated_vendor(export_simulator, "giosg")
    export = run(export_simulator, client, whole(payload(export_simulator, "giosg")))
    export_simulator.advance(2 * 86400)
    with pytest.raises(ExportExpired):
        run(export_simulator, client, lambda life: life.wait(export.export_id))


def test_rooms_over_many_pages(export_simulator: Simulator, run: Runner) -> None:
    """One row a page, an empty first page: every own room is found."""
    export_simulator.configure("giosg", page_size=1, empty_first_page=True)
    client = simulated_vendor(export_simulator, "giosg")
    rooms = run(export_simulator, client, lambda life: life.call(life.vendor.list_datasources()))
    assert {room.name for room in rooms} == {
        r["display_name"] for r in export_simulator.rooms() if not r["is_shared"]
    }


@pytest.mark.parametrize("next_url", ["relative", "absolute"])
def test_export_list_over_pages(export_simulator: Simulator, run: Runner, next_url: str) -> None:
    """Whatever the form of next, every export is listed, newest first."""
    export_simulator.configure("giosg", page_size=2, next_url=next_url)
    client = simulated_vendor(export_simulator, "giosg")
    made = []
    for _ in range(5):
        export = run(export_simulator, client, lambda life: life.submit(payload(export_simulator, "giosg")))
        made.append(export.export_id)
        export_simulator.advance(10)
    listed = run(export_simulator, client, lambda life: life.call(life.vendor.list_exports()))
    assert [export.export_id for export in listed] == made[::-1]


def test_foreign_next_page_gets_no_token(export_simulator: Simulator, run: Runner) -> None:
    """A next link to another origin is an error, and nothing is sent there."""
    export_simulator.configure("giosg", page_size=1, next_url="foreign")
    client = simulated_vendor(export_simulator, "giosg")
    with pytest.raises(UnexpectedResponse):
        run(export_simulator, client, lambda life: life.call(life.vendor.list_datasources()))
    assert [r for r in export_simulator.requests("giosg") if r.origin == "files"] == []


def test_rate_budget_is_kept(export_simulator: Simulator, run: Runner) -> None:
    """Requests are spaced so that the vendor's documented limit is never met."""
    export_simulator.configure("mews", rate_limit=5, rate_window_seconds=30)
    client = simulated_vendor(export_simulator, "mews", max_requests=5, max_requests_period=30)

    def many(life: Lifecycle) -> Any:
        for _ in range(12):
            yield from life.call(life.vendor.ping())

    run(export_simulator, client, many)
    assert {record.status for record in export_simulator.requests("mews")} == {200}


def test_no_request_leaves_the_base_url(export_simulator: Simulator, run: Runner) -> None:
    """Even a vendor's own mistake cannot send credentials elsewhere."""
    client = simulated_vendor(export_simulator, "giosg")

    def stray(life: Lifecycle) -> Any:
        def flow() -> Any:
            yield Request("GET", f"{export_simulator.files_origin}/x")

        return (yield from life.call(flow()))

    with pytest.raises(UnsafeLink):
        run(export_simulator, client, stray)
    assert export_simulator.requests() == []


def test_secrets_stay_out_of_the_log(
    export_simulator: Simulator, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even DEBUG shows a token, a body or a link."""
    with caplog.at_level(logging.DEBUG):
        for vendor in ("mews", "giosg"):
            export_simulator.fail_next(vendor, "get", fault="500")
            run(
                export_simulator,
                simulated_vendor(export_simulator, vendor),
                whole(payload(export_simulator, vendor)),
            )
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("tests.transports"))
    assert "exports/add" in ours
    for secret in (*export_simulator.tokens.values(), export_simulator.link_secret):
        assert secret not in ours

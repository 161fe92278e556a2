"""Connhex without network: what is sent, and what each documented or assumed answer means."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pendulum
import pytest

from airflow_provider_exports.core import (
    ConnectionInfo,
    Expiry,
    Export,
    ExportState,
    Lifecycle,
    Links,
    Request,
    Response,
)
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    VendorUnavailable,
)
from airflow_provider_exports.testing.conformance import VendorConformance
from airflow_provider_exports.vendors.connhex import ConnhexVendor
from tests.core.replay import Replay, ok

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
ACCOUNTS, APIS = "https://accounts.connhex.com", "https://apis.connhex.com"
BEGIN = f"{ACCOUNTS}/auth/self-service/login/api"
ACTION = f"{ACCOUNTS}/auth/self-service/login?flow=f1"
FLOW = ok({"id": "f1", "ui": {"action": ACTION, "method": "POST"}})
SESSION = ok({"session_token": "ory_st_one", "session": {"id": "s", "expires_at": "2027-01-16T08:00:00Z"}})
LOGIN = [FLOW, SESSION]

# The request sample of https://connhex.com/docs/api/exporter/1.3.7/create-request, field by field. It breaks
# the page's own rule of two messages, and its window is empty.
PAGE_SAMPLE: dict[str, Any] = {
    "format": {
        "filename": "string",
        "extension": "csv",
        "columns": [{"id": "string", "label": "string"}],
        "timezone": "utc",
        "template": "tabular",
        "csvDelimiter": "string",
    },
    "type": "recurring",
    "items": [
        {
            "params": {
                "target": {"value": "string", "label": "string"},
                "channelId": "0115c85d-ef3e-4de9-9732-d0c5c4f2c482",
                "subtopic": "events.data",
                "from": 0,
                "to": 0,
                "period": "P1Y6M4DT12H30M5S",
                "decimation": {"ds": "15m", "dsf": "avg"},
                "transform": "delta",
                "outputFormat": "long",
            },
            "filename": "string",
        }
    ],
    "periodicity": "P1Y6M4DT12H30M5S",
    "periodStart": 0,
    "notification": {
        "messages": [
            {
                "target": "string",
                "policy": "onSuccess",
                "medium": "email",
                "title": "string",
                "text": "string",
            }
        ]
    },
}
PAYLOAD: dict[str, Any] = {
    "type": "oneTime",
    "format": {"extension": "csv", "filename": "run-7f3a", "timezone": "utc", "template": "tabular"},
    "items": [
        {
            "filename": "temp",
            "params": {
                "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp", "label": "temperature"},
                "channelId": "00000000-0000-4000-8000-000000000001",
                "subtopic": "events.data",
                "from": 1735689600,
                "to": 1735776000,
                "decimation": {"ds": "15m", "dsf": "avg"},
                "outputFormat": "long",
            },
        }
    ],
    "notification": {
        "messages": [
            {"policy": "onSuccess", "medium": "email", "title": "ok", "text": "ready"},
            {"policy": "onFailure", "medium": "email", "title": "ko", "text": "failed"},
        ]
    },
}
PARAMS = "items.0.params"
RECURRING = {
    "type": "recurring",
    "periodicity": "P1M",
    f"{PARAMS}.period": "P1M",
    f"{PARAMS}.from": ...,
    f"{PARAMS}.to": ...,
}


def vendor(host: str = "", **extra: Any) -> ConnhexVendor:
    info = ConnectionInfo("connhex_default", host=host, login="a@example.com", password="s3same", extra=extra)
    return ConnhexVendor(info)


def life(**extra: Any) -> Lifecycle:
    return Lifecycle(vendor(**extra), chance=lambda: 0.5)


def row(export_id: str = "e1", body: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The answer to a create: the request, and four fields of the vendor's."""
    return {
        **(body or PAYLOAD),
        "id": export_id,
        "createdAt": "2027-01-15T07:59:59.049Z",
        "updatedAt": "2027-01-15T07:59:59.049Z",
        "deletedAt": None,
        **fields,
    }


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A deep copy with values at dotted paths; ``...`` takes a value away."""
    made = copy.deepcopy(body)
    for path, value in changes.items():
        place: Any = made
        *parents, last = path.split(".")
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        if value is ...:
            del place[int(last) if isinstance(place, list) else last]
        else:
            place[int(last) if isinstance(place, list) else last] = value
    return made


def problems(changes: dict[str, Any], body: dict[str, Any] = PAYLOAD, **extra: Any) -> str:
    connhex = vendor(**extra)
    with pytest.raises(InvalidPayload) as caught:
        connhex.check(connhex.prepare(changed(body, changes)), NOW)
    return str(caught.value)


def valid(changes: dict[str, Any], body: dict[str, Any] = PAYLOAD, **extra: Any) -> dict[str, Any]:
    connhex = vendor(**extra)
    prepared = connhex.prepare(changed(body, changes))
    connhex.check(prepared, NOW)
    return prepared


def read(status: Any, *more: Response, **extra: Any) -> Export:
    replay = Replay([*LOGIN, ok(status), *(more or [ok({"results": [row()], "total": 1})])], now=NOW)
    return replay.run(life(**extra).check("e1", retry=None))


def call(method: str, path: str, **details: Any) -> Request:
    """A signed API call, whole."""
    headers = {"Accept": "application/json", "Authorization": "Bearer ory_st_one"}
    return Request(method, path, headers=headers, **details)


class TestConnhexConformance(VendorConformance):
    """The public suite; the bodies of everything but the create are assumed."""

    vendor_class = ConnhexVendor
    connection = ConnectionInfo("connhex_default", login="a@example.com", password="made-up-password")
    payload = PAYLOAD
    samples = (
        ({"id": "e1", "status": "notProcessed"}, ExportState.QUEUED),
        ({"id": "e1", "status": "inProgress", "startedAt": "2027-01-15T06:00:00.000Z"}, ExportState.RUNNING),
        ({"id": "e1", "status": "done"}, ExportState.READY),
        ({"id": "e1", "status": "failed"}, ExportState.FAILED),
        ({"id": "e1", "exportStatus": "expired"}, ExportState.EXPIRED),
        ({"id": "e1", "jobs": [{"status": "notProcessed"}, {"status": "done"}]}, ExportState.RUNNING),
    )
    happy_path = (
        *LOGIN,
        ok(row(), 201),
        ok({"status": "notProcessed"}),
        ok({"status": "inProgress"}),
        ok({"status": "done"}),
    )
    # 429 is a full queue; rights on a new export come a little later than the export.
    create_errors = MappingProxyType({429: ExportConflict})
    get_errors = MappingProxyType({403: ExportNotFound})


def test_what_the_api_offers_is_declared() -> None:
    """Deleting stops an unfinished export, the vendor can repeat one, and nobody tells when a file goes."""
    assert ConnhexVendor.delete_cancels
    assert vendor().repeats({**PAYLOAD, "type": "recurring"})
    assert not vendor().repeats(PAYLOAD)
    assert (ConnhexVendor.expiry, ConnhexVendor.links) == (Expiry.UNKNOWN, Links.AUTHENTICATED)


# -- addresses and login -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "apis", "accounts"),
    [
        ("", APIS, ACCOUNTS),
        ("connhex.com", APIS, ACCOUNTS),
        ("https://apis.connhex.com/", APIS, ACCOUNTS),
        (
            "iot.example.org:8443",
            "https://apis.iot.example.org:8443",
            "https://accounts.iot.example.org:8443",
        ),
    ],
)
def test_both_addresses_follow_from_the_instance(host: str, apis: str, accounts: str) -> None:
    """The instance's domain has one subdomain for the APIs and one for the login."""
    assert vendor(host).api_urls == (apis, accounts)


def test_addresses_may_be_given() -> None:
    """Where there are no subdomains, both are said; what is no base URL is refused."""
    local = {"apis_url": "http://127.0.0.1:8080/apis", "accounts_url": "http://127.0.0.1:8081"}
    assert vendor("http://127.0.0.1:8080", **local).api_urls == tuple(local.values())
    with pytest.raises(InvalidConnection, match="apis_url and accounts_url"):
        vendor("http://127.0.0.1:8080")
    with pytest.raises(InvalidConnection, match=r"accounts_url.*plain http"):
        vendor(accounts_url="http://accounts.example.org")


@pytest.mark.parametrize("missing", ["login", "password"])
def test_credentials_are_required(missing: str) -> None:
    """A connection without one of them says which."""
    fields = {"login": "a", "password": "b", missing: ""}
    with pytest.raises(InvalidConnection, match="no username" if missing == "login" else "no password"):
        ConnhexVendor(ConnectionInfo("c", **fields))


@pytest.mark.parametrize("name", ["download_mode", "multi_item_packing", "notification_medium"])
def test_unusable_settings_are_named(name: str) -> None:
    """A mistake in the connection is found before any request."""
    with pytest.raises(InvalidConnection, match=name):
        vendor(**{name: "pigeon"})


def test_login_then_create_sends_exactly_this() -> None:
    """The flow, the form, and the body with its fingerprint; the session token signs API calls only."""
    replay = Replay([*LOGIN, lambda request: ok(row(body=request.json), 201)], now=NOW)
    plan = life()
    export = replay.run(plan.submit(plan.vendor.prepare(PAYLOAD)))
    accept = {"Accept": "application/json"}
    form = {"method": "password", "identifier": "a@example.com", "password": "s3same"}
    name = replay.requests[2].json["format"]["filename"]
    assert replay.requests == [
        Request("GET", BEGIN, headers=accept, signed=False, operation="login flow"),
        Request("POST", ACTION, json=form, headers=accept, signed=False, operation="login"),
        call(
            "POST",
            "/exports",
            json=changed(PAYLOAD, {"format.filename": name}),
            idempotent=False,
            operation="create",
        ),
    ]
    assert name.startswith("run-7f3a-")
    assert len(name) == len("run-7f3a-") + 12
    assert (export.export_id, export.state, export.vendor_status) == ("e1", ExportState.QUEUED, None)
    assert export.created_at == datetime(2027, 1, 15, 7, 59, 59, 49000, UTC)


def test_every_other_call_is_exactly_this() -> None:
    """Method, path, query, headers and body of each."""
    plan = life(download_mode="link")
    listed = ok({"results": [row()], "total": 1})
    replay = Replay(
        [
            *LOGIN,
            ok({"status": "done"}),
            listed,
            ok({"url": "https://files.example/1"}),
            Response(204),
            ok({}),
        ]
    )
    replay.run(plan.check("e1"))
    replay.run(plan.delete("e1"))
    replay.run(plan.call(plan.vendor.ping()))
    query = {"page": "0", "pageSize": "100", "sort": "createdAt:desc"}
    assert replay.requests[2:] == [
        call("GET", "/exports/e1/status", operation="status", export_id="e1"),
        call("GET", "/exports", params=query, operation="list"),
        call("GET", "/exports/e1/download", operation="download", export_id="e1"),
        call("DELETE", "/exports/e1", operation="delete", export_id="e1"),
        call("GET", f"{ACCOUNTS}/auth/sessions/whoami", operation="whoami"),
    ]


def test_answer_to_a_create_is_the_request_with_four_fields_more() -> None:
    """Every field of the page's own sample; the time of the deletion is null while it lives."""
    answer = {
        **PAGE_SAMPLE,
        "id": "0115c85d-ef3e-4de9-9732-d0c5c4f2c482",
        "createdAt": "2025-01-13T15:42:36.049Z",
        "updatedAt": "2025-01-13T15:42:36.049Z",
        "deletedAt": None,
    }
    export = vendor().read(answer, NOW)
    assert (export.export_id, export.state) == (answer["id"], ExportState.QUEUED)
    assert export.created_at == datetime(2025, 1, 13, 15, 42, 36, 49000, UTC)
    assert export.parameters == PAGE_SAMPLE
    deleted = vendor().read({**answer, "deletedAt": "2025-01-14T15:42:36.049Z"}, NOW)
    assert deleted.state is ExportState.CANCELLED


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ({"ui": {"action": "https://evil.example/login?flow=f1"}}, "another host"),
        ({"ui": {"action": "http://accounts.connhex.com/login"}}, "another host"),
        ({"ui": {"action": "https://[bad"}}, "another host"),
        ({"ui": {}}, "ui.action"),
        ([], "ui.action"),
    ],
)
def test_password_goes_to_the_accounts_address_only(flow: Any, said: str) -> None:
    """The flow names the address; one elsewhere gets nothing."""
    replay = Replay([ok(flow)] * 3, now=NOW)
    with pytest.raises(UnexpectedResponse, match=said):
        replay.run(life().check("e1", retry=None))
    assert all(request.method == "GET" for request in replay.requests)


def test_relative_action_is_below_the_flow() -> None:
    """A path is as good as an address."""
    replay = Replay([ok({"ui": {"action": "/auth/self-service/login?flow=f1"}}), SESSION, ok("done"), ok([])])
    replay.run(life().check("e1"))
    assert replay.requests[1].path == ACTION


def test_refused_login_quotes_the_vendor() -> None:
    """Kratos tells in ui.messages."""
    refused = ok({"ui": {"messages": [{"text": "The provided credentials are invalid."}]}}, 400)
    replay = Replay([FLOW, refused])
    with pytest.raises(AuthenticationFailed, match="credentials are invalid"):
        replay.run(life().check("e1"))
    assert len(replay.requests) == 2


@pytest.mark.parametrize("answer", [{}, [], {"session_token": 5}])
def test_login_without_token_is_an_error(answer: Any) -> None:
    """Nothing is signed with nothing."""
    with pytest.raises(UnexpectedResponse, match="session_token"):
        Replay([FLOW, ok(answer)] * 3).run(life().check("e1"))


def test_session_is_replaced_before_it_ends() -> None:
    """Its end is compared by the local clock, however the vendor's is set."""
    late = ok({"session_token": "t", "session": {"expires_at": "2027-01-15T09:00:00Z"}})
    skewed = Response(200, {"date": "Fri, 15 Jan 2027 08:30:00 GMT"}, late.body)
    replay = Replay([FLOW, skewed, ok("inProgress"), ok("inProgress"), *LOGIN, ok("inProgress")], now=NOW)
    plan = life()
    replay.run(plan.check("e1"))
    replay.now += 1700
    replay.run(plan.check("e1"))
    replay.now += 100
    replay.run(plan.check("e1"))
    assert len(replay.requests) == 7
    assert "ory_st_one" in plan.vendor.secrets
    assert plan.vendor.token_expires_at("another") is None


@pytest.mark.parametrize("session", [None, {}, {"expires_at": "soon"}])
def test_unknown_end_of_a_session_is_no_error(session: Any) -> None:
    """Only a refusal tells then, and it costs one more login."""
    first = ok({"session_token": "ory_st_zero", "session": session})
    for refusal in (ok({"error": {"message": "No."}}, 401), ok({"message": "Missing user identity id"}, 400)):
        replay = Replay([FLOW, first, refusal, *LOGIN, ok("inProgress")])
        assert replay.run(life().check("e1")).state is ExportState.RUNNING
        assert replay.requests[-1].headers["Authorization"] == "Bearer ory_st_one"
    twice = Replay([FLOW, first, refusal, *LOGIN, refusal])
    with pytest.raises(AuthenticationFailed, match="Missing user identity"):
        twice.run(life().check("e1"))


# -- states and files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "state"),
    [
        ({"status": "notProcessed"}, ExportState.QUEUED),
        ({"status": "inProgress"}, ExportState.RUNNING),
        ({"status": "done"}, ExportState.READY),
        ({"status": "failed"}, ExportState.FAILED),
        ({"status": "expired"}, ExportState.EXPIRED),
        ({"status": "NotProcessed"}, ExportState.QUEUED),
        ("Done", ExportState.READY),
        ({"exportStatus": "failed"}, ExportState.FAILED),
        ([], ExportState.QUEUED),
        ({"jobs": []}, ExportState.QUEUED),
        (["done", "done"], ExportState.READY),
        ({"jobs": [{"status": "done"}, {"status": "failed"}]}, ExportState.FAILED),
        ({"jobs": [{"status": "failed"}, {"status": "inProgress"}]}, ExportState.FAILED),
        ([{"status": "inProgress"}, {"status": "notProcessed"}], ExportState.RUNNING),
        ([{"status": "notProcessed"}, {"status": "notProcessed"}], ExportState.QUEUED),
        ([{"status": "notProcessed"}, {"status": "done"}], ExportState.RUNNING),
        ([{"status": "done"}, {"status": "expired"}], ExportState.EXPIRED),
        ([{"status": "inProgress"}, {"status": "expired"}], ExportState.RUNNING),
    ],
)
def test_status_in_every_form(body: Any, state: ExportState) -> None:
    """The words are published, what carries them is not; several jobs are reduced to one state."""
    export = read(body)
    assert export.state is state
    assert export.documented
    assert bool(export.files) == (state is ExportState.READY)


def test_status_field_is_a_setting() -> None:
    """A server may call it otherwise."""
    assert read({"state": "failed"}, status_field="state").state is ExportState.FAILED


def test_unknown_word_is_waited_on_or_fails() -> None:
    """As the connection says; it hides no failed job."""
    export = read({"status": "paused"})
    assert (export.state, export.vendor_status, export.documented) == (ExportState.RUNNING, "paused", False)
    assert read(["paused", "done"]).vendor_status == "paused"
    assert read(["paused", "failed"]).state is ExportState.FAILED
    with pytest.raises(UnknownStatus):
        read({"status": "paused"}, ok({"status": "paused"}), ok({"status": "paused"}), unknown_status="fail")


@pytest.mark.parametrize("body", [{}, {"status": None}, {"status": 5}, [{"status": "done"}, {}], None, 5])
def test_answers_without_status_are_errors(body: Any) -> None:
    """Never success."""
    with pytest.raises(UnexpectedResponse):
        read(body, ok(body), ok(body))


def job(status: Any, started_at: Any = ...) -> dict[str, Any]:
    """A job as the vendor describes it: its status, and the time of its start."""
    return {"status": status} if started_at is ... else {"status": status, "startedAt": started_at}


FIRST, SECOND = "2027-01-14T06:00:00.000Z", "2027-01-15T06:00:00.000Z"
EARLIER = "2027-01-15T05:59:59.500Z"
SECOND_STARTED = datetime(2027, 1, 15, 6, tzinfo=UTC)
REPEATED = ok({"results": [row(type="recurring", periodicity="P1D")], "total": 1})


@pytest.mark.parametrize(
    ("body", "started_at"),
    [
        (job("inProgress", SECOND), SECOND_STARTED),
        ({"exportStatus": "inProgress", "startedAt": "2027-01-15T07:00:00+01:00"}, SECOND_STARTED),
        (job("inProgress", SECOND_STARTED.timestamp()), SECOND_STARTED),
        (job("inProgress", int(SECOND_STARTED.timestamp() * 1000)), SECOND_STARTED),
        ({"status": "inProgress", "startTime": SECOND}, SECOND_STARTED),
        ({"jobs": [job("inProgress", FIRST), job("done", SECOND)]}, SECOND_STARTED),
        ([job("done", SECOND), job("inProgress", FIRST), job("done", "soon")], SECOND_STARTED),
        (job("inProgress"), None),
        (job("inProgress", None), None),
        (job("inProgress", "soon"), None),
        (job("inProgress", "08:00"), None),
        (job("inProgress", "3:"), None),
        (job("inProgress", "now"), None),
        (job("inProgress", "9999-12-31T23:59:59-12:00"), None),
        (job("inProgress", "2027-01-15T06:00:00"), SECOND_STARTED),
        (job("inProgress", True), None),
        (job("inProgress", 1e300), None),
        (job("inProgress", {"at": SECOND}), None),
        ("inProgress", None),
    ],
)
def test_start_of_the_newest_job_is_read_where_it_is_told(body: Any, started_at: datetime | None) -> None:
    """Neither its name nor its form is published; one that cannot be read is not told."""
    assert read(body, ok([])).run_started_at == started_at


@pytest.mark.parametrize(
    ("jobs", "state", "started_at"),
    [
        ([job("done", SECOND), job("failed", FIRST)], ExportState.READY, SECOND_STARTED),
        ([job("failed", FIRST), job("done", SECOND)], ExportState.READY, SECOND_STARTED),
        ([job("expired", FIRST), job("done", SECOND)], ExportState.READY, SECOND_STARTED),
        ([job("failed", SECOND), job("done", FIRST)], ExportState.FAILED, SECOND_STARTED),
        ([job("inProgress", SECOND), job("failed", FIRST)], ExportState.RUNNING, SECOND_STARTED),
        ([job("notProcessed", SECOND), job("done", FIRST)], ExportState.QUEUED, SECOND_STARTED),
        # One that waits has not started.
        ([job("done", FIRST), job("notProcessed", None)], ExportState.QUEUED, None),
        ([job("failed"), job("NotProcessed")], ExportState.QUEUED, None),
        # One run with a job for each item.
        (
            [job("failed", SECOND), job("done", SECOND), job("done", FIRST)],
            ExportState.FAILED,
            SECOND_STARTED,
        ),
        # Its items start one after the other, and each of them counts.
        ([job("done", SECOND), job("inProgress", EARLIER)], ExportState.RUNNING, SECOND_STARTED),
        ([job("done", SECOND), job("failed", EARLIER)], ExportState.FAILED, SECOND_STARTED),
        ([job("done", SECOND), job("inProgress", FIRST)], ExportState.RUNNING, SECOND_STARTED),
        # Which of them is the newest is not known: no failure is hidden.
        ([job("done", SECOND), job("failed", "soon")], ExportState.FAILED, SECOND_STARTED),
        ([job("done"), job("failed")], ExportState.FAILED, None),
    ],
)
def test_state_of_a_recurring_export_is_that_of_its_newest_run(
    jobs: list[Any], state: ExportState, started_at: datetime | None
) -> None:
    """The answer or the list tells that it is recurring; earlier runs count no more."""
    told = Replay([*LOGIN, ok({"type": "recurring", "jobs": jobs}), ok([])], now=NOW)
    for export in (read(jobs, REPEATED), told.run(life().check("e1", retry=None))):
        assert (export.state, export.run_started_at) == (state, started_at)
        assert bool(export.files) == (state is ExportState.READY)


@pytest.mark.parametrize("told", [5, "daily", None, ["recurring"], {"recurring": True}])
def test_type_that_makes_no_sense_is_not_told(told: Any) -> None:
    """The status is worth more than a field that nobody promised."""
    assert read({"type": told, "status": "inProgress"}).state is ExportState.RUNNING


@pytest.mark.parametrize("listed", [ok([]), ok({}, 403), ok([row()])])
def test_every_job_counts_unless_the_export_is_known_to_be_recurring(listed: Response) -> None:
    """Jobs of a one-time export with several items may also start one after the other."""
    assert read([job("done", SECOND), job("failed", FIRST)], listed).state is ExportState.FAILED


def test_create_tells_that_the_export_is_recurring() -> None:
    """The list is not asked then, and for one job it is not asked either before the export is ready."""
    plan = life()
    recurring = row(type="recurring", periodicity="P1D")
    replay = Replay(
        [*LOGIN, ok(recurring, 201), ok([job("done", SECOND), job("failed", FIRST)]), ok([job("inProgress")])]
    )
    replay.run(plan.submit(plan.vendor.prepare(changed(PAYLOAD, RECURRING))))
    assert replay.run(plan.check("e1")).state is ExportState.READY
    assert replay.run(plan.check("e2")).state is ExportState.RUNNING


def test_file_is_named_after_what_was_asked_for() -> None:
    """The status answer does not tell the format; the list does, and the address takes the session token."""
    file = read("done").files[0]
    assert (file.name, file.format, file.authenticated) == ("e1.csv", "csv", True)
    assert file.url == f"{APIS}/exports/e1/download"
    several = row(items=PAYLOAD["items"] * 2)
    assert read("done", ok([several])).files[0].name == "e1.zip"
    assert read("done", ok([several]), multi_item_packing="plain").files[0].name == "e1.csv"


@pytest.mark.parametrize(
    "answer",
    [ok({}, 404), ok({}, 403), ok({"rows": []}), ok([row("other")]), ok([row(format={"extension": "exe"})])],
)
def test_file_is_fetched_even_if_nobody_tells_its_format(answer: Response) -> None:
    """It is worth more than its name."""
    answers = [*LOGIN, ok("done"), answer, ok([])]
    file = Replay(answers, now=NOW).run(life().check("e1")).files[0]
    assert (file.name, file.format) == ("e1.bin", None)


def test_format_is_asked_for_once() -> None:
    """One name for one file, also when the list comes back; and no list is asked where there is none."""
    plan = life()
    replay = Replay([*LOGIN, ok("done"), ok({}, 403), ok("done")])
    assert replay.run(plan.check("e1")).files[0].name == "e1.bin"
    assert replay.run(plan.check("e1")).files[0].name == "e1.bin"
    without = Replay([*LOGIN, ok("done")])
    assert without.run(life(has_list=False).check("e1")).files[0].name == "e1.bin"


@pytest.mark.parametrize("name", ["url", "downloadUrl"])
def test_download_may_answer_with_a_link(name: str) -> None:
    """A setting says so, since the answer to a download is not read before it is the file."""
    link = ok({name: "/files/1?sig=x"})
    file = read("done", ok([row()]), link, download_mode="link").files[0]
    assert file.url == f"{APIS}/files/1?sig=x"
    answers = [*LOGIN, ok("done"), ok([row()]), ok({}), *([ok("done"), ok({})] * 2)]
    with pytest.raises(UnexpectedResponse, match="without url"):
        Replay(answers).run(life(download_mode="link").check("e1"))


@pytest.mark.parametrize("refused", [ok({}, 400), ok({}, 404)])
def test_refused_link_asks_for_the_status(refused: Response) -> None:
    """How a download without a file is refused is not published: an expired export is no rejected request."""
    answers = [*LOGIN, ok("done"), ok([row()]), refused, ok("expired")]
    replay = Replay(answers, now=NOW)
    assert replay.run(life(download_mode="link").check("e1")).state is ExportState.EXPIRED
    answers = [*LOGIN, ok("done"), ok([row()]), refused, ok("done")]
    with pytest.raises((ExportRejected, ExportNotFound)):
        Replay(answers, now=NOW).run(life(download_mode="link").check("e1"))


def test_ids_are_opaque() -> None:
    """Whatever an id holds, it is one part of the path and of a file name."""
    replay = Replay([*LOGIN, ok("done"), ok([])])
    file = replay.run(life().check("../x?y")).files[0]
    assert replay.requests[2].path == "/exports/..%2Fx%3Fy/status"
    assert "/" not in file.name


# -- refused requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, {"statusCode": 400, "message": ["a is bad", "b too"]}, ExportRejected, "a is bad; b too"),
        (400, {"errors": [{"detail": "No such channel."}]}, ExportRejected, "No such channel."),
        (400, {"error": {"message": "Ory says."}}, ExportRejected, "Ory says."),
        (400, {"error": "Bad Request"}, ExportRejected, "Bad Request"),
        (400, "plain words", ExportRejected, "plain words"),
        (403, {"message": "Forbidden"}, PermissionDenied, "Forbidden"),
        (404, {"message": "Not Found"}, ExportRejected, "Not Found"),
        (409, {}, ExportConflict, "409"),
        (429, {"message": "Maximum number of queued exports reached"}, ExportConflict, "Maximum number"),
    ],
)
def test_refused_creates(status: int, body: Any, error: type[Exception], said: str) -> None:
    """No error format is published: those of the vendor's other services are read."""
    with pytest.raises(error, match=said):
        Replay([*LOGIN, ok(body, status)], now=NOW).run(life().submit(PAYLOAD))


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"x_request_id": "req-1", "request_id": "req-3"}, "(request req-1)"),
        ({"x_correlation_id": "req-2", "request_id": "req-3"}, "(request req-2)"),
        ({"request_id": "req-3"}, "(request req-3)"),
        ({"x_request_id": "a b\nc"}, None),
        ({}, None),
    ],
)
def test_refusal_names_the_request_for_the_vendors_people(headers: dict[str, str], shown: str | None) -> None:
    """Where the answer tells it, in the order of the vendor's own client; only what looks like an id."""
    with pytest.raises(PermissionDenied) as caught:
        Replay([*LOGIN, ok({}, 403, **headers)]).run(life().submit(PAYLOAD))
    assert ("(request" in str(caught.value)) == (shown is not None)
    assert (shown or "") in str(caught.value)


def test_plain_text_is_quoted_and_pages_are_not() -> None:
    """A gateway's HTML says nothing to a reader."""
    text = Response(400, {"content-type": "text/plain; charset=utf-8"}, b"wrong: s3same " + b"x" * 900)
    with pytest.raises(ExportRejected, match=r"wrong: \*\*\* xx"):
        Replay([*LOGIN, text]).run(life().submit(PAYLOAD))
    page = Response(400, {"content-type": "text/html"}, b"<html>no</html>")
    with pytest.raises(ExportRejected) as caught:
        Replay([*LOGIN, page]).run(life().submit(PAYLOAD))
    assert "html" not in str(caught.value)


def test_full_queue_is_waited_for_in_minutes() -> None:
    """The queue limit is no rate: no short retries, and Retry-After holds where it is given."""
    full = ok({"message": "Maximum number of queued exports reached"}, 429)
    asked = ok({}, 429, retry_after="90")
    replay = Replay([*LOGIN, full, asked, ok(row(), 201)], now=NOW)
    replay.run(life().submit(PAYLOAD, conflict_deadline=NOW + 3600))
    assert replay.pauses == [300.0, 90.0]


@pytest.mark.parametrize("status", [403, 404])
def test_new_export_may_not_be_visible_yet(status: int) -> None:
    """Rights on it follow by an event; after the grace it is an error that names the right."""
    plan = life()
    replay = Replay([*LOGIN, ok({}, status), ok({}, status), ok("done"), ok([row()])], now=NOW)
    assert replay.run(plan.wait("e1")).state is ExportState.READY
    with pytest.raises(ExportNotFound) as caught:
        Replay([ok({"message": "No."}, status)] * 9, now=NOW).run(plan.wait("e1"))
    assert caught.value.http_status == status


def test_delete() -> None:
    """204 is deleted, 404 was gone already, 403 is neither."""
    plan = life()
    replay = Replay([*LOGIN, Response(204), ok({}, 404), ok({}, 403)])
    assert replay.run(plan.delete("e1")) is True
    assert (replay.requests[2].method, replay.requests[2].path) == ("DELETE", "/exports/e1")
    assert replay.run(plan.delete("e1")) is False
    with pytest.raises(PermissionDenied):
        replay.run(plan.delete("e1"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [({"identity": {"traits": {"email": "a@example.com"}}}, "as a@example.com"), ({}, "accepted;")],
)
def test_ping_asks_whose_session_it_is(answer: Any, said: str) -> None:
    """whoami, at the accounts address, with the session token."""
    plan = life()
    replay = Replay([*LOGIN, ok(answer)])
    assert said in replay.run(plan.call(plan.vendor.ping()))
    assert replay.requests[2].path == f"{ACCOUNTS}/auth/sessions/whoami"
    assert replay.requests[2].headers["Authorization"] == "Bearer ory_st_one"
    with pytest.raises(UnexpectedResponse):
        Replay([ok([])]).run(plan.call(plan.vendor.ping()))


# -- list and find -----------------------------------------------------------------------------------------


def test_list_reads_every_page_and_each_state() -> None:
    """A row tells what was asked for; its status is asked for, and deleted ones are left out or told."""
    pages = [
        ok({"results": [row("a"), row("b"), {"no": "id"}], "total": 5}),
        ok({"results": [row("b"), row("c", deletedAt="2027-01-15T08:00:00Z"), row("d", status="failed")]}),
        ok({"results": [row("d")]}),
    ]
    replay = Replay([*LOGIN, *pages, ok("inProgress"), ok({}, 404)], now=NOW)
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert {export.export_id: str(export.state) for export in exports} == {
        "a": "running",
        "c": "cancelled",
        "d": "failed",
    }
    assert [dict(request.params) for request in replay.requests[2:5]] == [
        {"page": str(page), "pageSize": "100", "sort": "createdAt:desc"} for page in range(3)
    ]
    assert exports[0].parameters["items"] == PAYLOAD["items"]


def test_search_ends_where_exports_are_too_old() -> None:
    """The list is newest first: no page more than needed."""
    plan, payload = life(), vendor().prepare(PAYLOAD)
    pages = [ok({"results": [row("a")]}), ok({"results": [row("b", createdAt=FIRST)]})]
    replay = Replay([*LOGIN, *pages], now=NOW)
    assert replay.run(plan.call(plan.vendor.find(payload, NOW - 3600))) == []
    assert replay.answers == []


def test_format_is_not_looked_for_without_end() -> None:
    """Of a long list only the newest pages are read; a list that is ill is no list without the export."""
    pages = [ok({"results": [row(f"o{page}")]}) for page in range(10)]
    replay = Replay([*LOGIN, ok("done"), *pages], now=NOW)
    assert replay.run(life().check("e1")).files[0].name == "e1.bin"
    assert replay.answers == []
    ill = Replay([*LOGIN, ok("done"), *[ok({}, 503)] * 5], now=NOW)
    with pytest.raises(VendorUnavailable):
        ill.run(life().check("e1"))


def test_list_ends_with_its_total() -> None:
    """No page more than needed."""
    replay = Replay([*LOGIN, ok({"results": [row(status="failed")], "total": 1})])
    plan = life()
    assert len(replay.run(plan.call(plan.vendor.list_exports()))) == 1


def lost(*listed: dict[str, Any], **extra: Any) -> tuple[Replay, Lifecycle]:
    """A create without answer, then the list; rows get the body that was sent unless they have their own."""
    sent: list[Any] = []

    def create(request: Any) -> Response:
        sent.append(request.json)
        return ok({}, 502)

    def rows(request: Any) -> Response:
        return ok({"results": [{**row(), **sent[0], **fields} for fields in listed], "total": len(listed)})

    return Replay([*LOGIN, create, rows, *([ok("inProgress")] * 3)], now=NOW), life(**extra)


@pytest.mark.parametrize("fingerprint", [True, False])
def test_unanswered_create_is_adopted(fingerprint: bool) -> None:
    """By its fingerprint, or by type, format and items with defaults filled in."""
    others: list[dict[str, Any]] = [
        {"id": "o1", "format": {"extension": "csv", "filename": "run-7f3a-000000000000"}},
        {"id": "o2", "deletedAt": "2027-01-15T08:00:00Z"},
        {"id": "o3", "createdAt": "2027-01-15T07:00:00.000Z"},
    ]
    replay, plan = lost(*others, {"id": "mine"}, fingerprint=fingerprint)
    assert replay.run(plan.submit(PAYLOAD)).export_id == "mine"
    assert len([request for request in replay.requests if request.operation == "create"]) == 1


def test_echo_may_hold_defaults_or_not() -> None:
    """Without a fingerprint an equal request counts, however it is written."""
    bare = changed(
        PAYLOAD, {"format.timezone": ..., "items.0.params.outputFormat": ..., "format.columns": None}
    )
    fields = {key: bare[key] for key in ("format", "items")}
    resource = {"items": [{"params": {"type": "device"}}]}
    replay, plan = lost({"id": "r", **resource}, {"id": "mine", **fields}, fingerprint=False)
    assert replay.run(plan.submit(PAYLOAD)).export_id == "mine"


def test_failed_equal_export_is_not_adopted() -> None:
    """An earlier attempt that failed is no reason to fail again."""
    replay, plan = lost({"id": "old"}, fingerprint=True)
    replay.answers[4:] = [ok("failed"), ok([]), lambda request: ok(row("new", body=request.json), 201)]
    assert replay.run(plan.submit(PAYLOAD)).export_id == "new"
    hidden, plan = lost({"id": "mine"})
    hidden.answers[4:] = [ok({}, 403)]
    assert hidden.run(plan.submit(PAYLOAD)).export_id == "mine"


def found(
    listed: list[dict[str, Any]], *answers: Response, changes: dict[str, Any], **extra: Any
) -> list[Any]:
    """What ``find`` returns for a payload; rows get the body that would be sent, changed by their fields."""
    plan = life(**extra)
    payload = plan.vendor.prepare(changed(PAYLOAD, changes))
    sent: list[Any] = []
    creating = Replay([*LOGIN, lambda request: (sent.append(request.json), ok(row(), 201))[1]], now=NOW)
    creating.run(plan.call(plan.vendor.create(payload)))
    rows = [{**row(), **sent[0], **fields} for fields in listed]
    replay = Replay([ok({"results": rows, "total": len(rows)}), *answers], now=NOW)
    exports = replay.run(plan.call(plan.vendor.find(payload, 0.0)))
    assert replay.answers == []
    return exports


@pytest.mark.parametrize("word", ["notProcessed", "inProgress", "done", "failed", "expired"])
def test_recurring_export_is_found_whatever_became_of_its_newest_run(word: str) -> None:
    """It goes on until it is deleted; a one-time export that failed or expired is of no use any more."""
    answer = ok([job(word, SECOND), job("failed", FIRST)])
    (export,) = found([{"id": "mine"}], answer, changes=RECURRING)
    assert (export.export_id, export.vendor_status, export.run_started_at) == ("mine", word, SECOND_STARTED)
    assert export.created_at == datetime(2027, 1, 15, 7, 59, 59, 49000, UTC)
    assert export.parameters["periodicity"] == "P1M"
    once = found([{"id": "mine"}], ok([job(word, SECOND)]), changes={})
    assert bool(once) == (word not in ("failed", "expired"))


def test_deleted_recurring_export_is_gone() -> None:
    """As the list says, or as the status does of one that is too old to be waiting for its rights."""
    assert found([{"id": "a", "deletedAt": SECOND}], changes=RECURRING) == []
    old = {"id": "a", "createdAt": FIRST}
    assert found([old], ok({}, 404), changes=RECURRING) == []
    assert found([old], ok({}, 403), changes=RECURRING) == []


def test_without_a_fingerprint_the_period_counts_as_well() -> None:
    """Two exports of the same data at other times are not the same."""
    listed: list[dict[str, Any]] = [
        {"id": "daily", "periodicity": "P1D"},
        {"id": "late", "periodStart": 1_800_000_000},
        {"id": "same"},
    ]
    changes = {**RECURRING, "periodStart": 1_700_000_000}
    (export,) = found(listed, ok("done"), changes=changes, fingerprint=False)
    assert export.export_id == "same"
    # Without a start the vendor takes that of the create, and may show it.
    started = found([{"id": "a", "periodStart": 5}], ok("done"), changes=RECURRING, fingerprint=False)
    assert [one.export_id for one in started] == ["a"]


@pytest.mark.parametrize("extra", [{"has_list": False}, {}])
def test_without_a_list_the_outcome_is_unknown(extra: dict[str, Any]) -> None:
    """Never a second create on a guess."""
    replay = Replay([*LOGIN, ok({}, 502), ok({}, 404)], now=NOW)
    with pytest.raises(UnknownOutcome, match="Looking for it failed"):
        replay.run(life(**extra).submit(PAYLOAD))


def test_create_whose_answer_has_no_id_is_looked_for() -> None:
    """It exists, so it is never repeated."""
    replay = Replay([*LOGIN, ok({}, 201), ok([]), ok([])], now=NOW)
    with pytest.raises(UnknownOutcome) as caught:
        replay.run(life().submit(PAYLOAD))
    assert caught.value.created


# -- payloads ----------------------------------------------------------------------------------------------


def test_the_pages_own_sample() -> None:
    """It breaks the page's rule of two messages; with the second one and a window it is sent as it is."""
    assert "lacks the message with policy onFailure" in problems({}, PAGE_SAMPLE)
    assert "exactly two messages" in problems({}, PAGE_SAMPLE)
    failure = {"target": "string", "policy": "onFailure", "medium": "email", "title": "string", "text": "s"}
    messages = [*PAGE_SAMPLE["notification"]["messages"], failure]
    changes = {"notification.messages": messages, "items.0.params.to": 1}
    assert valid(changes, PAGE_SAMPLE) == changed(PAGE_SAMPLE, changes)


def test_minimal_body_is_sent_as_it_is() -> None:
    """Nothing is added to what is complete, and preparing twice changes nothing."""
    assert valid({}) == PAYLOAD
    assert vendor().prepare(vendor().prepare(PAYLOAD)) == PAYLOAD
    assert vendor().prepare({})["type"] == "oneTime"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"type": "daily"}, "type"),
        ({"format": ...}, "format"),
        ({"format.extension": "xls"}, "xls"),
        ({"format.template": "wide"}, "template"),
        ({"format.columns": [{"id": "time"}]}, "label"),
        ({"format.colour": "red"}, "colour"),
        ({"items": []}, "at least one item"),
        ({"items": "all"}, "at least one item"),
        ({"items.0.params": {}}, "params"),
        ({"items.0.params": 5}, "params"),
        ({"items.0": 5}, "object"),
        ({f"{PARAMS}.channelId": ...}, "channelId"),
        ({f"{PARAMS}.target": "urn"}, "target"),
        ({f"{PARAMS}.target.value": "a,,b", f"{PARAMS}.target.label": ...}, "empty entry"),
        ({f"{PARAMS}.target.value": ["a", "b"]}, "as many labels"),
        ({f"{PARAMS}.target.label": "a,b"}, "as many labels"),
        ({f"{PARAMS}.target.value": ["a,b"]}, "without commas"),
        ({f"{PARAMS}.decimation.ds": "0m"}, "such as 15m"),
        ({f"{PARAMS}.decimation.ds": "1.5h"}, "such as 15m"),
        ({f"{PARAMS}.decimation.dsf": ...}, "dsf"),
        ({f"{PARAMS}.decimation.dsf": "median"}, "median"),
        ({f"{PARAMS}.transform": "sum"}, "transform"),
        ({f"{PARAMS}.outputFormat": "wide"}, "wide needs columns"),
        ({f"{PARAMS}.outputFormat": "wide", "format.columns": []}, "wide needs columns"),
        ({f"{PARAMS}.from": ...}, "needs from and to, or period"),
        ({f"{PARAMS}.to": ...}, "needs from and to, or period"),
        ({f"{PARAMS}.to": 1735689600}, "CronDataIntervalTimetable"),
        ({f"{PARAMS}.to": "2024-12-31"}, "must be later than from"),
        ({f"{PARAMS}.to": "2027-01-16"}, "lies in the future"),
        ({f"{PARAMS}.to": "next week"}, "is no time"),
        ({f"{PARAMS}.to": True}, "is no time"),
        ({f"{PARAMS}.to": 1.5}, "is no time"),
        ({f"{PARAMS}.from": -5}, "Unix seconds"),
        ({f"{PARAMS}.period": "P1W"}, "ISO 8601 duration"),
        ({f"{PARAMS}.period": "P0D"}, "longer than zero"),
        ({f"{PARAMS}.period": timedelta(seconds=-5)}, "not negative"),
        ({f"{PARAMS}.period": timedelta(milliseconds=5)}, "whole seconds"),
        ({f"{PARAMS}.period": f"P{'9' * 12}Y"}, "counted with"),
        ({"type": "recurring"}, "recurring needs periodicity"),
        ({"type": "recurring", "periodicity": "P1D"}, "needs period"),
        ({**RECURRING, "periodicity": "1 day"}, "ISO 8601 duration"),
        ({**RECURRING, "periodicity": "PT0S"}, "longer than zero"),
        ({"notification": 5}, "notification"),
        ({"notification.messages": "none"}, "messages"),
        ({"notification.messages": []}, "exactly two messages"),
        ({"notification.messages.1.policy": "onSuccess"}, "lacks the message with policy onFailure"),
        ({"notification.messages.1.policy": "always"}, "always"),
        ({"notification.messages.1.medium": "sms"}, "sms"),
    ],
)
def test_invalid_payloads(changes: dict[str, Any], said: str) -> None:
    """Each rule is told in words."""
    assert said in problems(changes)


@pytest.mark.parametrize(
    "text", ["P1Y6M4DT12H30M5S", "P1Y", "P1M", "P10D", "PT1H", "PT90M", "P1DT1S", "P2Y3D", "P1MT1M"]
)
def test_durations_of_whole_parts_are_valid(text: str) -> None:
    """Each is also one that pendulum can count with."""
    valid({**RECURRING, "periodicity": text})


@pytest.mark.parametrize(
    "text", ["P", "PT", "P1DT", "P-1D", "P1.5D", "1D", "p1d", "P1H", "PT1D", "P1D2M", ""]
)
def test_other_durations_are_not(text: str) -> None:
    """Weeks, fractions, signs and disorder are not known to pass the vendor's own rule."""
    assert "duration" in problems({**RECURRING, "periodicity": text})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=1), "P1D"),
        (timedelta(hours=36, seconds=5), "P1DT12H5S"),
        (timedelta(minutes=90), "PT1H30M"),
        (pendulum.duration(months=1), "P1M"),
        (pendulum.duration(years=1, weeks=2, days=3, hours=1), "P1Y17DT1H"),
        (" P1D ", "P1D"),
    ],
)
def test_durations_may_be_objects(value: Any, text: str) -> None:
    """Months stay months: they have no length in days."""
    assert valid({**RECURRING, "periodicity": value})["periodicity"] == text


@pytest.mark.parametrize(
    "value",
    [
        "2025-01-02",
        "2025-01-02 01:00:00+01:00",
        datetime(2025, 1, 2, tzinfo=UTC),
        pendulum.datetime(2025, 1, 2),
        1735776000,
        1735776000.0,
        "1735776000",
    ],
)
def test_times_are_sent_as_unix_seconds(value: Any) -> None:
    """Text, objects and numbers."""
    assert valid({f"{PARAMS}.to": value})["items"][0]["params"]["to"] == 1735776000


def test_nulls_are_left_out() -> None:
    """An explicit null is the vendor's default."""
    changes = {
        "format.columns": None,
        f"{PARAMS}.transform": None,
        f"{PARAMS}.period": None,
        "periodicity": None,
    }
    assert valid({**changes, f"{PARAMS}.outputFormat": None}) == PAYLOAD


def test_resource_items_pass_through() -> None:
    """Their fields are not published: nothing is added, converted or refused."""
    params = {"type": "device", "filter": {"to": "2030-01-01", "x": None}, "period": "whatever"}
    prepared = valid({PARAMS: params, "format.columns": [{"id": "device.name", "label": "Name"}]})
    assert prepared["items"][0]["params"] == params
    assert vendor().settled_at(prepared) is None
    time = [{"id": "time", "label": "Time"}]
    assert "<type>.<attribute>" in problems({PARAMS: params, "format.columns": time})
    assert valid({"format.columns": time})["format"]["columns"] == time


def test_messages_are_filled_in_from_the_connection() -> None:
    """The API demands two messages; medium and recipient go together."""
    settings = {"notification_medium": "slack", "notification_target": "#ops"}
    first, second = valid({"notification": ...}, **settings)["notification"]["messages"]
    assert first == {
        "policy": "onSuccess",
        "medium": "slack",
        "target": "#ops",
        "title": "Export ready",
        "text": "The export is ready to be downloaded.",
    }
    assert (second["policy"], second["title"]) == ("onFailure", "Export failed")
    own = [{"policy": "onSuccess", "medium": "email"}, {"policy": "onFailure", "text": "x", "target": None}]
    first, second = valid({"notification.messages": own}, **settings)["notification"]["messages"]
    assert "target" not in first
    assert (second["text"], second["target"]) == ("x", "#ops")


def test_parameters_become_one_item_and_two_messages() -> None:
    """The names of a DAG author end up where the vendor has them."""
    parameters = dict.fromkeys(ConnhexVendor.payload_fields) | {
        "extension": "csv",
        "filename": "run-7f3a",
        "timezone": "utc",
        "template": "tabular",
        "channel_id": "00000000-0000-4000-8000-000000000001",
        "subtopic": "events.data",
        "targets": ["urn:a", "urn:b"],
        "labels": ["a", "b"],
        "from_time": "2025-01-01",
        "to_time": "2025-01-02",
        "decimation": {"ds": "15m", "dsf": "avg"},
        "success_text": "Yes.",
        "notification_medium": "discord",
    }
    prepared = valid({}, ConnhexVendor.compose(parameters, None))
    params = {**PAYLOAD["items"][0]["params"], "target": {"value": "urn:a,urn:b", "label": "a,b"}}
    assert prepared["items"] == [{"params": params}]
    assert prepared["format"] == PAYLOAD["format"]
    assert [(m["medium"], m["text"]) for m in prepared["notification"]["messages"]] == [
        ("discord", "Yes."),
        ("discord", "The export has failed."),
    ]


@pytest.mark.parametrize(
    ("parameters", "payload", "path"),
    [
        ({"channel_id": "c"}, {"items": PAYLOAD["items"]}, "items"),
        ({"success_text": "x"}, {"notification": PAYLOAD["notification"]}, "notification.messages"),
        ({"extension": "csv"}, {"format": {"extension": "csv"}}, "format.extension"),
    ],
)
def test_nothing_is_given_twice(parameters: dict[str, Any], payload: dict[str, Any], path: str) -> None:
    """Neither wins in silence."""
    with pytest.raises(InvalidPayload, match=f"{path}: is given"):
        vendor().prepare(ConnhexVendor.compose(parameters, payload))


def test_older_servers_get_what_they_know() -> None:
    """Neither fingerprint nor outputFormat, where the connection says so."""
    replay = Replay([*LOGIN, ok(row(), 201)], now=NOW)
    body = changed(PAYLOAD, {"format.filename": ...})
    body["items"] = [*body["items"], {"params": {"outputFormat": "theirs"}}]
    replay.run(life(fingerprint=False, send_output_format=False).submit(body))
    sent = replay.requests[2].json
    assert sent["format"] == body["format"]
    assert "outputFormat" not in sent["items"][0]["params"]
    assert sent["items"][1] == body["items"][1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"periodicity": "P1D"}, "no documented meaning"),
        ({f"{PARAMS}.period": "P1D"}, "which of them holds"),
    ],
)
def test_advice_on_what_is_valid_but_looks_wrong(changes: dict[str, Any], said: str) -> None:
    """A warning, not a refusal."""
    assert said in str(vendor().advise(valid(changes)))
    assert vendor().advise(PAYLOAD) is None


def test_window_may_settle_or_lie_ahead() -> None:
    """Both are settings."""
    assert vendor(settle_delay=60).settled_at(PAYLOAD) == 1735776060
    valid({f"{PARAMS}.to": "2027-02-01"}, allow_future=True)
    assert vendor(allow_future=True).settled_at(PAYLOAD) is None

"""Medable without network: what is sent, and what each documented answer means."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_exports.core import (
    Capability,
    ConnectionInfo,
    Export,
    ExportState,
    Lifecycle,
    NetworkError,
    Request,
    Response,
)
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportFailed,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    VendorUnavailable,
)
from airflow_provider_exports.vendors.medable import MedableVendor
from airflow_provider_exports.vendors.medable.auth import SignedRequests, cookies
from airflow_provider_exports.vendors.medable.payload import tag
from tests.core.replay import Replay, ok

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
KEY, SECRET = "A" * 22, "B" * 64
ID = "6b49d200" + "0" * 16  # created at NOW
TOKEN = "e30.eyJpc3MiOiJBQUFBQUFBQUFBQUFBQUFBQUFBQUFBIn0.c2ln"
URL = "https://files.example/archive.zip?signature=s3same"
PAYLOAD = {
    "label": "nightly c_visits",
    "objects": "c_visits",
    "format": "text/csv",
    "exportFiles": False,
    "zipFiles": False,
    "where": '{"created":{"$gte":"2025-01-01T00:00:00.000Z"}}',
    "paths": ["_id", "c_status"],
}
"""The create of the vendor's properties as an example, without the tag."""
TAG = "[req:06de92e5e554]"
"""What marks that create."""
FACET = {
    "object": "facet",
    "name": "content",
    "state": 2,
    "mime": "application/zip",
    "size": 52586,
    "ETag": "0" * 32,
    "creator": "5f" * 12,
    "location": 4,
    "filename": "../archive.zip",
    "path": f"/exports/{ID}/dataFile/content",
    "url": URL,
}


def vendor(**extra: Any) -> MedableVendor:
    fields = {name: extra.pop(name) for name in ("host", "login", "password") if name in extra}
    info = {"host": "https://api.medable.com/my_org", "login": KEY, "password": SECRET, **fields}
    return MedableVendor(ConnectionInfo("medable_default", **info, extra=extra))


def life(**extra: Any) -> Lifecycle:
    """A lifecycle without a limit of its own, unless told otherwise."""
    return Lifecycle(vendor(**{"max_open": 0, **extra}), chance=lambda: 0.5, nonce=lambda: "0123456789abcdef")


def row(**fields: Any) -> dict[str, Any]:
    """An export that waits, in the form of the vendor's objects."""
    return {
        "_id": ID,
        "object": "export",
        "state": "pending",
        **PAYLOAD,
        "created": "2027-01-15T08:00:00.010Z",
        "creator": {"_id": "5f" * 12, "object": "account", "path": "/accounts/" + "5f" * 12},
        **fields,
    }


def page(*rows: dict[str, Any], more: bool = False) -> Response:
    return ok({"object": "list", "data": list(rows), "hasMore": more})


def fault(err_code: str, code: str = "kError", status: int = 400, **fields: Any) -> Response:
    body = {"object": "fault", "name": "error", "code": code, "errCode": err_code, "status": status}
    return ok({**body, "message": "Said so.", **fields}, status)


def check(*answers: Any, **extra: Any) -> Export:
    return Replay(answers, now=NOW).run(life(**extra).check(ID))


def test_signatures_are_those_of_the_test_vectors() -> None:
    """Key and secret joined are the key; org, version, query and body are not signed."""
    auth = SignedRequests(KEY, SECRET, "https://api.medable.com/my_org/v2")
    create = "0895ce1e0f7a2290f82161a67ea93d008e8a1a72b7517d16928899f39519941a"
    read = "8834169368b01226b5e8743445702834b34ad4bd46664e6d44e56fa8974f721f"
    assert auth.signature("POST", "/exports", "1700000000000") == create
    for path in (
        "//exports//?limit=1",
        "https://api.medable.com/my_org/v2/exports",
        # HTTP libraries write the host in lower case and may leave the port out.
        "https://API.medable.com:443/my_org/v2/exports",
        "exports/",
    ):
        assert auth.signature("post", path, "1700000000000") == create
    assert auth.signature("GET", "/exports/5516ee1b34d8d934281699e3", "1700000000000") == read


def signed(signature: str, **headers: str) -> dict[str, str]:
    """The headers of a signed request at the time of the test vectors."""
    return {
        "Accept": "application/json",
        "Medable-Client-Key": KEY,
        "Medable-Client-Signature": signature,
        "Medable-Client-Timestamp": "1700000000000",
        "Medable-Client-Nonce": "0123456789abcdef",
        **headers,
    }


def test_create_is_the_documented_request() -> None:
    """The body is the vendor's example with a tag in its description, the signature the test vector."""
    replay = Replay([ok(row())], now=1_700_000_000.0)
    plan = life(account_id="5f" * 12)
    created = replay.run(plan.submit(plan.vendor.prepare(PAYLOAD)))
    vector = "0895ce1e0f7a2290f82161a67ea93d008e8a1a72b7517d16928899f39519941a"
    assert replay.requests == [
        Request(
            "POST",
            "/exports",
            json={**PAYLOAD, "description": TAG},
            headers=signed(vector, **{"Medable-Client-Account": "5f" * 12}),
            idempotent=False,
            operation="create",
        )
    ]
    assert plan.vendor.base_url == "https://api.medable.com/my_org/v2"
    assert (created.export_id, created.state) == (ID, ExportState.QUEUED)


def test_read_is_the_documented_request() -> None:
    """The second test vector."""
    export_id = "5516ee1b34d8d934281699e3"
    replay = Replay([ok(row(_id=export_id))], now=1_700_000_000.0)
    replay.run(life().check(export_id))
    vector = "8834169368b01226b5e8743445702834b34ad4bd46664e6d44e56fa8974f721f"
    assert replay.requests == [
        Request("GET", f"/exports/{export_id}", headers=signed(vector), operation="read", export_id=export_id)
    ]


@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
def test_requests_of_each_kind_of_credentials(mode: str) -> None:
    """Field by field; kinds do not mix, and a body is sent with the create and the login only."""
    extra: dict[str, Any] = {
        "signed": {},
        "bearer": {"auth_mode": mode, "password": TOKEN},
        "session": SESSION,
    }
    plan = life(**extra[mode])
    replay = Replay(
        [login(Medable_Csrf_Token="c1")] * (mode == "session")
        + [ok(row()), ok(row(state="ready")), ok(FACET), page(), ok({"object": "result", "data": True})],
        now=NOW,
    )
    replay.run(plan.submit(plan.vendor.prepare(PAYLOAD)))
    replay.run(plan.check(ID))
    replay.run(plan.call(plan.vendor.ping()))
    replay.run(plan.delete(ID))
    requests = replay.requests

    def expected(request: Request) -> dict[str, str]:
        accept = {"Accept": "application/json", "Medable-Client-Key": KEY}
        if mode == "bearer":
            return {**accept, "Authorization": f"Bearer {TOKEN}"}
        if mode == "session":
            cookies = "md.sid=s%3A1.x; md.fingerprint=f1"
            return {**accept, "Cookie": cookies, "Medable-Csrf-Token": "c1"}
        text = f"{request.path};{request.method};1800000000000".encode()
        return {
            **accept,
            "Medable-Client-Signature": hmac.new((KEY + SECRET).encode(), text, "sha256").hexdigest(),
            "Medable-Client-Timestamp": "1800000000000",
            "Medable-Client-Nonce": "0123456789abcdef",
        }

    if mode == "session":
        assert requests.pop(0) == Request(
            "POST",
            "/accounts/login",
            json={"email": "ada@example.org", "password": "open sesame"},
            headers={"Accept": "application/json", "Medable-Client-Key": KEY},
            operation="login",
            signed=False,
        )
    plain = [
        Request(
            "POST",
            "/exports",
            json={**PAYLOAD, "description": TAG},
            idempotent=False,
            operation="create",
        ),
        Request("GET", f"/exports/{ID}", operation="read", export_id=ID),
        Request("GET", f"/exports/{ID}/dataFile/content", operation="dataFile", export_id=ID),
        Request("GET", "/exports", params={"limit": "1"}, operation="list"),
        Request("DELETE", f"/exports/{ID}", operation="delete", export_id=ID),
    ]
    assert requests == [replace(request, headers=expected(request)) for request in plain]


@pytest.mark.parametrize(
    "body",
    [
        {"_id": ID},
        {"object": "result", "data": {"_id": ID}},
        {"object": "result", "data": ID},
        {"data": {"_id": ID}},
    ],
)
@pytest.mark.parametrize("status", [200, 201])
def test_any_form_of_the_create_answer_is_read(body: Any, status: int) -> None:
    """Code and body are not published: an id is enough, a queued job is what it means."""
    created = Replay([ok(body, status)], now=NOW).run(life().submit(PAYLOAD))
    assert (created.export_id, created.state, created.vendor_status) == (ID, ExportState.QUEUED, "pending")


def test_bearer_tokens_go_with_the_api_key_if_there_is_one() -> None:
    """The token alone is accepted; its issuer or the connection names the App."""
    for login, token, key in (("", TOKEN, KEY), ("c_app", TOKEN, "c_app"), ("", "opaque", None)):
        replay = Replay([ok(row())])
        replay.run(life(auth_mode="bearer", login=login, password=token).check(ID))
        headers = replay.requests[0].headers
        assert headers["Authorization"] == f"Bearer {token}"
        assert headers.get("Medable-Client-Key") == key
        assert "Medable-Client-Signature" not in headers


SESSION = {"auth_mode": "session", "email": "ada@example.org", "password": "open sesame"}
SET_COOKIE = (
    "md.sid=s%3A1.x; Path=/my_org; Expires=Fri, 15 Jan 2027 09:00:00 GMT; HttpOnly, "
    "md.fingerprint=f1; Path=/; Secure"
)


ACCOUNT = {
    "_id": "5f" * 12,
    "object": "account",
    "email": "ada@example.org",
    "roles": ["0" * 23 + "4"],
    "inherited_roles": [],
    "state": "verified",
    "locked": False,
}
"""What a login answers."""


def login(**headers: str) -> Response:
    return ok(ACCOUNT, 200, set_cookie=SET_COOKIE, **headers)


def test_session_logs_in_once_and_chains_the_csrf_token() -> None:
    """Each answer may bring another CSRF token, which goes out with the next request."""
    plan = life(**SESSION, fingerprint_token="f0")
    replay = Replay(
        [
            login(Medable_Csrf_Token="c1"),
            ok(row(), medable_csrf_token="c2"),
            ok(row(), set_cookie="md.sid=s2; Path=/my_org"),
            ok(row()),
        ]
    )
    for _ in range(3):
        replay.run(plan.check(ID))
    first, *others = replay.requests
    assert (first.method, first.path) == ("POST", "/accounts/login")
    assert first.json == {"email": "ada@example.org", "password": "open sesame"}
    assert first.headers["Cookie"] == "md.fingerprint=f0"
    assert [r.headers["Medable-Csrf-Token"] for r in others] == ["c1", "c2", "c2"]
    assert others[0].headers["Cookie"] == "md.fingerprint=f1; md.sid=s%3A1.x"
    assert others[2].headers["Cookie"] == "md.fingerprint=f1; md.sid=s2"
    assert all(r.headers["Medable-Client-Key"] == KEY for r in replay.requests)


def test_joined_cookies_are_told_apart() -> None:
    """A date holds a comma as well."""
    assert cookies(SET_COOKIE) == {"md.sid": "s%3A1.x", "md.fingerprint": "f1"}
    assert cookies("") == {}


@pytest.mark.parametrize(
    "detail", ["notLoggedIn", "sessionExpired", "loggedInElsewhere", "csrfTokenMismatch"]
)
def test_session_that_is_over_is_renewed_once(detail: str) -> None:
    """On the four codes of the vendor's own client, and only for one more try."""
    over = fault(f"cortex.accessDenied.{detail}", status=403)
    replay = Replay([login(), over, login(), ok(row())])
    assert replay.run(life(**SESSION).check(ID)).export_id == ID
    with pytest.raises(AuthenticationFailed):
        Replay([login(), over, login(), over]).run(life(**SESSION).check(ID))


@pytest.mark.parametrize("detail", ["accountLocked", "passwordExpired", "invalidCredentials"])
def test_refused_account_is_not_tried_again(detail: str) -> None:
    """Each further login could lock the account."""
    replay = Replay([login(), fault(f"cortex.accessDenied.{detail}", status=403)])
    with pytest.raises(AuthenticationFailed, match=detail):
        replay.run(life(**SESSION).check(ID))
    replay = Replay([fault("cortex.accessDenied.invalidCredentials", "kInvalidCredentials", 403)])
    with pytest.raises(AuthenticationFailed, match="login: the credentials are not accepted"):
        replay.run(life(**SESSION).check(ID))


@pytest.mark.parametrize(
    "answer",
    [
        fault("cortex.success.newLocation", "kNewLocation", 200, name="location"),
        ok({"object": "fault", "name": "location", "code": "kNewLocation", "status": 200}),
        fault("cortex.accessDenied.unverifiedLocation", "kUnverifiedLocation", 403),
    ],
)
def test_unseen_location_says_what_to_do(answer: Response) -> None:
    """The fault with status 200 is no login."""
    with pytest.raises(AuthenticationFailed, match="bypass list"):
        Replay([answer]).run(life(**SESSION).check(ID))


def test_login_without_cookie_is_no_login() -> None:
    """Without md.sid nothing that follows could work."""
    with pytest.raises(UnexpectedResponse, match=r"md\.sid"):
        Replay([ok({})] * 3).run(life(**SESSION).check(ID))


@pytest.mark.parametrize("told", ["1799999100000", "Fri, 15 Jan 2027 07:45:00 GMT"])
def test_stale_signature_is_signed_anew_by_the_vendors_clock(told: str) -> None:
    """Ours is a quarter of an hour ahead: once more with the vendor's time, for creates as well."""
    stale = fault("cortex.invalidArgument.staleRequestSignature", "kStaleRequestSignature", 400)
    stale = Response(400, {**stale.headers, "medable-server-time": told}, stale.body)
    plan = life()
    replay = Replay([stale, ok(row()), ok(row())], now=NOW)
    assert replay.run(plan.submit(PAYLOAD)).export_id == ID
    replay.run(plan.check(ID))
    stamps = [request.headers["Medable-Client-Timestamp"] for request in replay.requests]
    assert stamps == ["1800000000000", "1799999100000", "1799999100000"]
    with pytest.raises(AuthenticationFailed, match="clock"):
        Replay([stale, stale], now=NOW).run(life().check(ID))


@pytest.mark.parametrize(
    ("raw", "state", "documented"),
    [
        (row(), ExportState.QUEUED, True),
        (row(state="running"), ExportState.RUNNING, True),
        (row(state="error"), ExportState.FAILED, True),
        (row(state="archiving"), ExportState.RUNNING, False),
    ],
)
def test_states_that_need_one_request(raw: dict[str, Any], state: ExportState, documented: bool) -> None:
    """The four words of the vendor, and one it does not document."""
    export = check(ok(raw))
    assert (export.state, export.documented) == (state, documented)


def test_ready_export_yields_its_archive() -> None:
    """The second request tells size and link; the link never gets our credentials."""
    replay = Replay([ok(row(state="ready")), ok(FACET)], now=NOW)
    export = replay.run(life().check(ID))
    assert [(r.method, r.path, r.headers["Accept"]) for r in replay.requests] == [
        ("GET", f"/exports/{ID}", "application/json"),
        ("GET", f"/exports/{ID}/dataFile/content", "application/json"),
    ]
    (file,) = export.files
    assert (file.name, file.url, file.size, file.format) == (f"{ID}.zip", URL, 52586, "zip")
    assert not file.authenticated
    assert export.expires_at == datetime(2027, 1, 22, 8, 0, 0, 10000, UTC)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (ok({**FACET, "state": 0, "url": None}), ExportState.RUNNING),
        (ok({**FACET, "state": 1}), ExportState.RUNNING),
        (fault("cortex.accepted.mediaNotReady", "kMediaNotReady", 202), ExportState.RUNNING),
        (ok({**FACET, "state": 3, "fault": {"message": "No space."}}), ExportState.FAILED),
        (ok({**FACET, "state": 4}), ExportState.FAILED),
        (fault("cortex.error.facet", "kScriptError", 500), ExportState.FAILED),
        (ok({"url": URL}), ExportState.READY),
        (ok({"object": "result", "data": FACET}), ExportState.READY),
        (ok({"object": "file", "facets": [{"name": "thumb"}, FACET]}), ExportState.READY),
        (ok(None, 302, location=URL), ExportState.READY),
    ],
)
def test_archive_may_be_behind_its_export(answer: Response, state: ExportState) -> None:
    """The facet has states of its own, and comes as JSON or as a redirect; 202 is a fault, no file."""
    export = check(ok(row(state="ready")), answer)
    assert export.state is state
    assert [file.url for file in export.files] == ([URL] if state is ExportState.READY else [])


@pytest.mark.parametrize(
    "answer",
    [
        fault("cortex.notFound.file", "kNotFound", 404),
        ok({**FACET, "url": None}),
        ok(None, 302),
        Response(404, {"content-type": "text/html"}, b"<html>"),
    ],
)
def test_ready_without_archive_is_read_again_then_reported(answer: Response) -> None:
    """It is neither success nor a wait without end."""
    with pytest.raises(UnexpectedResponse):
        check(*[ok(row(state="ready")), answer] * 3)


def test_reason_of_a_failure_is_shown_if_there_is_one() -> None:
    """No property for it is published; what looks like one is quoted."""
    export = check(ok(row(state="error", fault={"object": "child", "message": "Disk full."})))
    assert export.vendor_status == "error: Disk full."
    with pytest.raises(ExportFailed, match="Disk full"):
        Replay([ok(row(state="error", message="Disk full."))]).run(life().wait(ID))


def test_unknown_state_fails_at_once_if_the_connection_says_so() -> None:
    """Otherwise the deadline bounds it."""
    with pytest.raises(UnknownStatus, match="archiving"):
        check(*[ok(row(state="archiving"))] * 3, unknown_status="fail")


@pytest.mark.parametrize("raw", [{"_id": ID}, {"state": "ready"}, row(state=5), row(created="soon"), [], "x"])
def test_broken_answers_are_read_again_then_reported(raw: Any) -> None:
    """A missing field is never success."""
    with pytest.raises(UnexpectedResponse):
        check(*[ok(raw)] * 3)
    assert check(ok(raw), ok(row())).state is ExportState.QUEUED


def test_page_in_the_place_of_json_is_reported() -> None:
    """Status 200 proves nothing."""
    with pytest.raises(UnexpectedResponse, match="not JSON"):
        check(*[Response(200, {"content-type": "text/html"}, b"<html></html>")] * 3)


FAULTS = [
    # status, errCode without "cortex.", code, error; the rows of the vendor's registry that matter here
    (400, "invalidArgument.validation", "kValidationError", ExportRejected),
    (400, "invalidArgument.required", "kRequired", ExportRejected),
    (400, "invalidArgument.enumValue", "kEnumValue", ExportRejected),
    (400, "invalidArgument.object", "kInvalidObject", ExportRejected),
    (400, "invalidArgument.query", "kInvalidArgument", ExportRejected),
    (400, "invalidArgument.invalidObjectId", "kInvalidArgument", ExportRejected),
    (400, "invalidArgument.staleRequestSignature", "kStaleRequestSignature", AuthenticationFailed),
    (400, "invalidArgument.envDisabled", "kOrgDisabled", ExportRejected),
    (400, "invalidArgument.invalidApiVersion", "kInvalidArgument", InvalidConnection),
    (403, "accessDenied.invalidRequestSignature", "kInvalidRequestSignature", AuthenticationFailed),
    (403, "accessDenied.notLoggedIn", "kNotLoggedIn", AuthenticationFailed),
    (403, "accessDenied.sessionExpired", "kSessionExpired", AuthenticationFailed),
    (403, "accessDenied.loggedInElsewhere", "kLoggedInElsewhere", AuthenticationFailed),
    (403, "accessDenied.csrfTokenMismatch", "kCSRFTokenMismatch", AuthenticationFailed),
    (403, "accessDenied.invalidCredentials", "kInvalidCredentials", AuthenticationFailed),
    (403, "accessDenied.accountLocked", "kAccountLocked", AuthenticationFailed),
    (403, "accessDenied.passwordExpired", "kPasswordExpired", AuthenticationFailed),
    (403, "accessDenied.noCredentialsSupplied", "kNoCredentialsSupplied", AuthenticationFailed),
    (403, "accessDenied.unverifiedLocation", "kUnverifiedLocation", AuthenticationFailed),
    (403, "accessDenied.invalidJwt", "kInvalidCredentials", AuthenticationFailed),
    (403, "accessDenied.invalidJwtApp", "kInvalidCredentials", AuthenticationFailed),
    (403, "accessDenied.app", "kAccessDenied", AuthenticationFailed),
    (404, "notFound.app", "kNotFound", AuthenticationFailed),
    (403, "accessDenied.scope", "kAccessDenied", PermissionDenied),
    *(
        (403, f"accessDenied.{detail}", "kAccessDenied", PermissionDenied)
        for detail in (
            "instanceCreate",
            "instanceRead",
            "instanceDelete",
            "role",
            "principal",
            "route",
            "policy",
            "unspecified",
            "privateFacet",
            "appDisabled",
            "appReadOnly",
            "appSuspended",
        )
    ),
    (403, "accessDenied.inUse", "kAccessDenied", ExportConflict),
    (403, "accessDenied.notDeletable", "kNotDeletable", ExportConflict),
    (403, "accessDenied.maintenance", "kMaintenance", RateLimited),
    (404, "notFound.env", "kOrgControlInvalidOrg", InvalidConnection),
    (404, "notFound.org", "kNotFound", InvalidConnection),
    (404, "notFound.instance", "kNotFound", ExportNotFound),
    (404, "notFound.unspecified", "kNotFound", ExportNotFound),
    (404, "notFound.file", "kNotFound", UnexpectedResponse),
    (404, "notFound.facet", "kNotFound", UnexpectedResponse),
    (404, "notFound.property", "kNotFound", UnexpectedResponse),
    (408, "timeout.dbQuery", "kTimeout", VendorUnavailable),
    (408, "timeout.unspecified", "kTimeout", VendorUnavailable),
    (409, "conflict.unspecified", "kConflict", ExportRejected),
    (410, "expired.jwt", "kTokenExpired", AuthenticationFailed),
    (410, "expired.app", "kExpired", AuthenticationFailed),
    (410, "expired.unspecified", "kExpired", AuthenticationFailed),
    (413, "tooLarge.unspecified", "kRequestTooLarge", ExportRejected),
    (429, "throttled.policy", "kThrottled", RateLimited),
    (429, "throttled.unspecified", "kThrottled", RateLimited),
    (429, "throttled.stalledCursor", "kThrottled", RateLimited),
    (429, "tooBusy.unspecified", "kTooBusy", RateLimited),
    (429, "tooBusy.sandbox", "kTooBusy", RateLimited),
    (500, "error.unspecified", "kError", VendorUnavailable),
    (500, "error.db", "kError", VendorUnavailable),
    (500, "error.aborted", "kCancelled", VendorUnavailable),
    (500, "error.facet", "kScriptError", VendorUnavailable),
    (501, "notImplemented.pointerUrl", "kNotImplemented", ExportRejected),
    (418, "tea.pot", "kOwnPolicy", ExportRejected),
    (200, "tea.pot", "kOwnPolicy", ExportRejected),
]


def read_once(answer: Response) -> ExportError:
    with pytest.raises(ExportError) as caught:
        Replay([answer] * 3, now=NOW).run(life(retry_attempts=1).check(ID))
    return caught.value


@pytest.mark.parametrize(("status", "err_code", "code", "error"), FAULTS)
def test_faults_by_code(status: int, err_code: str, code: str, error: type[ExportError]) -> None:
    """The code decides, whatever the status; the vendor's words are quoted."""
    caught = read_once(fault(f"cortex.{err_code}", code, status))
    assert type(caught) is error
    assert "Said so." in str(caught)
    if err_code != "tea.pot":
        with_200 = fault(f"cortex.{err_code}", code, status)
        assert type(read_once(Response(200, with_200.headers, with_200.body))) is error


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("kNotFound", 404, ExportNotFound),
        ("kInvalidRequestSignature", 400, AuthenticationFailed),
        ("kAccessDenied", 403, PermissionDenied),
        ("kTokenExpired", 410, AuthenticationFailed),
        ("kThrottled", 429, RateLimited),
        ("kInvalidObject", 400, ExportRejected),
        ("kNotImplemented", 501, ExportRejected),
        ("kUnheardOf", 503, VendorUnavailable),
    ],
)
def test_older_releases_send_no_err_code(code: str, status: int, error: type[ExportError]) -> None:
    """Then the short code decides, and last the status."""
    assert type(read_once(ok({"object": "fault", "code": code, "status": status}, status))) is error


def test_children_of_a_fault_are_told_and_do_not_decide() -> None:
    """A child may carry status 500 inside a 400."""
    child = {"object": "fault", "code": "kEnumValue", "status": 500, "path": "export.format", "reason": "csv"}
    answer = fault("cortex.invalidArgument.validation", "kValidationError", 400, faults=[child])
    with pytest.raises(ExportRejected, match=r"export\.format: csv"):
        Replay([answer]).run(life().submit(PAYLOAD))


@pytest.mark.parametrize("status", [401, 502])
def test_gateway_without_fault_is_understood_by_status(status: int) -> None:
    """A page of a proxy has no code."""
    caught = read_once(Response(status, {"content-type": "text/html"}, b"<html>"))
    assert type(caught) is (AuthenticationFailed if status == 401 else VendorUnavailable)


def test_fault_with_2xx_is_no_created_export() -> None:
    """2xx is not success."""
    with pytest.raises(ExportRejected, match="The vendor says"):
        Replay([fault("cortex.invalidArgument.object", "kInvalidObject", 200)]).run(life().submit(PAYLOAD))


def test_removed_export_is_told_from_an_unknown_one_by_its_id() -> None:
    """Ids carry their second of creation: seven days later a 404 means expired."""
    gone = fault("cortex.notFound.instance", "kNotFound", 404)
    with pytest.raises(ExportNotFound, match=ID):
        Replay([gone], now=NOW + 6 * 86400).run(life().check(ID))
    export = Replay([gone], now=NOW + 8 * 86400).run(life().check(ID))
    assert export.state is ExportState.EXPIRED
    assert export.expires_at == datetime(2027, 1, 22, 8, tzinfo=UTC)
    with pytest.raises(ExportNotFound):
        Replay([gone], now=NOW + 8 * 86400).run(life().check("r1"))


def test_export_that_goes_while_it_is_looked_at_is_expired() -> None:
    """The seventh day may end between the look at the export and the look at its archive."""
    answers = [ok(row(state="ready")), fault("cortex.notFound.instance", "kNotFound", 404)]
    assert Replay(answers, now=NOW + 8 * 86400).run(life().check(ID)).state is ExportState.EXPIRED
    with pytest.raises(ExportNotFound):
        Replay(answers, now=NOW + 6 * 86400).run(life().check(ID))


def test_maintenance_is_a_refusal_that_passes() -> None:
    """A create was not lost in it, and a wait goes on for as long as it takes."""
    maintenance = fault("cortex.accessDenied.maintenance", "kMaintenance", 403)
    with pytest.raises(RateLimited, match="maintenance"):
        Replay([maintenance] * 5, now=NOW).run(life().submit(PAYLOAD))
    replay = Replay([maintenance] * 50 + [ok(row(state="error"))], now=NOW)
    with pytest.raises(ExportFailed):
        replay.run(life().wait(ID))


def test_create_that_conflicts_is_refused() -> None:
    """A duplicate key is no queue: waiting for another export to end would not help."""
    answer = fault("cortex.conflict.unspecified", "kConflict", 409)
    with pytest.raises(ExportRejected):
        Replay([answer], now=NOW).run(life().submit(PAYLOAD, conflict_deadline=NOW + 3600))


def tagged(**fields: Any) -> dict[str, Any]:
    """A row of the list that our create of PAYLOAD made."""
    return row(**{"description": f"mine {TAG}", **fields})


def test_unanswered_create_is_found_by_its_tag() -> None:
    """Failed, foreign and older exports are not ours; of two the one that is done sooner is taken."""
    replay = Replay(
        [
            NetworkError("reset", sent=True),
            page(
                row(_id="a" * 24, created="2027-01-15T08:00:05Z"),
                tagged(_id="b" * 24, created="2027-01-15T08:00:04Z"),
                tagged(_id="c" * 24, state="error"),
                more=True,
            ),
            page(
                tagged(_id="b" * 24),
                tagged(),
                {"broken": True},
                tagged(_id="d" * 24, created="2027-01-14T08:00:00Z"),
                more=True,
            ),
        ],
        now=NOW,
    )
    assert replay.run(life().submit(PAYLOAD)).export_id == ID
    assert [dict(r.params) for r in replay.requests[1:]] == [
        {"sort": '{"_id":-1}', "limit": "100", "skip": "0"},
        {"sort": '{"_id":-1}', "limit": "100", "skip": "3"},
    ]


def test_existing_exports_of_a_payload_come_newest_first() -> None:
    """What is taken in place of a new export must not be last week's while there is today's."""
    plan = life()
    today, monday = tagged(_id="c" * 24, state="ready"), tagged(_id="b" * 24, state="ready")
    answers = [page(today, row(_id="a" * 24), monday), page(today, monday)]
    replay = Replay(answers, now=NOW)
    found = replay.run(plan.call(plan.vendor.find(plan.vendor.prepare(PAYLOAD), 0.0)))
    assert [export.export_id for export in found] == ["c" * 24, "b" * 24]
    assert replay.run(plan.submit(plan.vendor.prepare(PAYLOAD), reuse_existing=True)).export_id == "c" * 24


def test_clock_that_is_ahead_does_not_hide_an_unanswered_create() -> None:
    """The list tells the vendor's time, by which the export is new: creating it again would double it."""
    behind = str((NOW - 900) * 1000)
    stale = fault("cortex.invalidArgument.staleRequestSignature", "kStaleRequestSignature", 400)
    found = page(tagged(created="2027-01-15T07:45:00.010Z"))
    answers: list[Any] = [
        Response(stale.status, {**stale.headers, "medable-server-time": behind}, stale.body),
        NetworkError("reset", sent=True),
        Response(found.status, {**found.headers, "medable-server-time": behind}, found.body),
    ]
    assert Replay(answers, now=NOW).run(life().submit(PAYLOAD)).export_id == ID


def test_without_tag_an_unanswered_create_is_not_repeated() -> None:
    """Nothing could tell a second job from the first."""
    plan = life(tag_prefix="none")
    replay = Replay([NetworkError("reset", sent=True)])
    with pytest.raises(UnknownOutcome):
        replay.run(plan.submit(PAYLOAD))
    assert replay.requests[0].json == PAYLOAD
    assert Capability.FIND not in plan.vendor.capabilities


def test_tag_depends_on_everything_that_is_asked_for() -> None:
    """The same payload has the same tag in every process, another one has another."""
    medable = vendor()
    changes: list[dict[str, Any]] = [
        {},
        {"where": {"created": {"$gte": "2025-01-01"}}},
        {"where": {}},
        {"paths": ["_id"]},
    ]
    tags = {tag("req", medable.prepare({**PAYLOAD, **change})) for change in changes}
    assert len(tags) == 3


def test_own_open_exports_are_waited_for() -> None:
    """The org has one queue: by default the next one is created when ours has ended."""
    ours, foreign, done = tagged(), row(_id="f" * 24), tagged(_id="e" * 24, state="ready")
    with pytest.raises(ExportConflict, match="max_open"):
        Replay([page(foreign, ours, done)], now=NOW).run(life(max_open=1).submit(PAYLOAD))
    replay = Replay([page(ours), page(foreign, done, ours), ok(row())], now=NOW)
    replay.run(life(max_open=1).submit(PAYLOAD, conflict_deadline=NOW + 3600))
    assert [r.method for r in replay.requests] == ["GET", "GET", "POST"]
    assert replay.pauses == [60.0]


def test_list_drops_doubles_and_ends() -> None:
    """Rows that moved to the next page count once; an empty page is the end, whatever it says."""
    plan = life(page_size=2)
    second = row(_id="a" * 24)
    replay = Replay([page(row(), second, more=True), page(second, more=True), page(more=True)])
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [export.export_id for export in exports] == [ID, "a" * 24]
    with pytest.raises(UnexpectedResponse):
        Replay([ok([])]).run(plan.call(plan.vendor.list_exports()))


@pytest.mark.parametrize("answer", [ok({"object": "result", "data": True}), Response(204)])
def test_delete_takes_any_success(answer: Response) -> None:
    """The answer is not published; 404 means that it is gone already."""
    replay = Replay([answer])
    assert replay.run(life().delete(ID))
    assert (replay.requests[0].method, replay.requests[0].path) == ("DELETE", f"/exports/{ID}")
    assert not Replay([fault("cortex.notFound.instance", status=404)]).run(life().delete(ID))
    with pytest.raises(UnexpectedResponse):
        Replay([Response(200, {}, b"<html>")]).run(life().delete(ID))


@pytest.mark.parametrize("detail", ["inUse", "notDeletable"])
def test_running_export_is_deleted_later(detail: str) -> None:
    """It may be deleted when it has ended: a retry of the task can help."""
    replay = Replay([fault(f"cortex.accessDenied.{detail}", "kNotDeletable", 403)])
    with pytest.raises(ExportConflict, match="after it has ended") as caught:
        replay.run(life().delete(ID))
    assert not caught.value.permanent


def test_ping_lists_one_export() -> None:
    """The cheapest call that needs the right to exports."""
    plan = life()
    replay = Replay([page()])
    assert "accepted" in replay.run(plan.call(plan.vendor.ping()))
    assert (replay.requests[0].path, replay.requests[0].params) == ("/exports", {"limit": "1"})


def test_prepare_fills_in_and_reads_templates() -> None:
    """Five fields are always sent; rendered text becomes what the vendor takes; twice changes nothing."""
    medable = vendor()
    prepared = medable.prepare(
        {
            "objects": "c_visits",
            "exportFiles": "True",
            "paths": '["_id"]',
            "include": "c_a, c_b",
            "expand": ("c_site",),
            "principal": None,
            "where": {
                "$and": [
                    {
                        "updated": {
                            "$gte": "2027-01-01 02:00:00+02:00",
                            "$lt": datetime(2027, 1, 2, tzinfo=UTC),
                        }
                    },
                    {"c_text": "2027-01-01"},
                ]
            },
        }
    )
    assert prepared == {
        "objects": "c_visits",
        "label": "c_visits",
        "format": "application/x-ndjson",
        "exportFiles": True,
        "zipFiles": False,
        "paths": ["_id"],
        "include": ["c_a", "c_b"],
        "expand": ["c_site"],
        "where": (
            '{"$and":[{"updated":{"$gte":"2027-01-01T00:00:00.000Z","$lt":"2027-01-02T00:00:00.000Z"}},'
            '{"c_text":"2027-01-01"}]}'
        ),
    }
    assert medable.prepare(prepared) == prepared
    assert medable.prepare(PAYLOAD) == PAYLOAD
    medable.check(prepared, NOW)
    assert medable.settled_at(prepared) == datetime(2027, 1, 2, tzinfo=UTC).timestamp() + 60
    assert medable.settled_at(PAYLOAD) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objects": None}, "objects"),
        ({"objects": "c visits"}, "plural name of one object"),
        ({"format": "csv"}, "format"),
        ({"exportFiles": "perhaps"}, "exportFiles"),
        ({"paths": []}, "paths"),
        ({"paths": "[_id"}, "paths"),
        ({"principal": "ada"}, "id of an account"),
        ({"where": "{"}, "where: is no JSON"),
        ({"where": "[1]"}, "object of conditions"),
        ({"where": {"a": object()}}, "cannot be written"),
        ({"where": {"updated": {"$gte": "last week"}}}, "where"),
        ({"where": {"updated": {"$gte": "2027-01-02", "$lt": "2027-01-01"}}}, "end later"),
        ({"where": {"updated": {"$gte": "2027-01-01", "$lt": "2027-01-01"}}}, "CronDataIntervalTimetable"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_invalid_payloads(changes: dict[str, Any], said: str) -> None:
    """Each rule is told in words, with the path of the field."""
    medable = vendor()
    with pytest.raises(InvalidPayload) as caught:
        medable.check(medable.prepare({**PAYLOAD, **changes}), NOW)
    assert said in str(caught.value)


def test_odd_payloads_are_advised_on() -> None:
    """They are valid, but look like a mistake."""
    medable = vendor()
    assert "zipFiles" in str(medable.advise({**PAYLOAD, "zipFiles": True}))
    assert "1024 KB" in str(medable.advise({**PAYLOAD, "where": json.dumps({"a": "x" * 1_100_000})}))
    assert medable.advise(PAYLOAD) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auth_mode": "basic"}, "auth_mode"),
        ({"login": ""}, "API key"),
        ({"password": ""}, "API secret"),
        ({"auth_mode": "bearer", "password": ""}, "token"),
        ({"auth_mode": "session"}, "e-mail address"),
        ({"page_size": 101}, "page_size"),
        ({"tag_prefix": "a]"}, "tag_prefix"),
        ({"host": "https://api.medable.com"}, "no org code"),
        ({"host": ""}, "no base URL"),
    ],
)
def test_unusable_connections_are_named(changes: dict[str, Any], said: str) -> None:
    """A mistake in the connection is found before any request."""
    with pytest.raises(InvalidConnection, match=said):
        vendor(**changes)


def test_base_url_may_hold_the_version() -> None:
    """Copied from the vendor's page, it is the same address."""
    assert vendor(host="api.dev.medable.com/my_org/v2/").base_url == "https://api.dev.medable.com/my_org/v2"


def test_credentials_are_secret_in_every_mode() -> None:
    """What signs is never shown."""
    assert SECRET in vendor().secrets
    assert TOKEN in vendor(auth_mode="bearer", password=TOKEN).secrets
    session = vendor(**SESSION, fingerprint_token="f0")
    assert {"open sesame", "f0"} <= set(session.secrets)
    for one in (vendor(), session, vendor(auth_mode="bearer", password=TOKEN)):
        assert not any(secret in repr((one.auth, one.settings)) for secret in one.secrets)
        assert one.auth.download_headers("{}") == {}
    assert Capability.LOGIN in session.capabilities
    assert Capability.LOGIN not in vendor().capabilities

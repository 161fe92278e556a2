"""giosg without network: what is sent, and what each documented answer means."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_exports.core import ConnectionInfo, Export, ExportState, Lifecycle, Request, Response
from airflow_provider_exports.core.retry import ONCE
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
)
from airflow_provider_exports.vendors.giosg import GiosgVendor
from airflow_provider_exports.vendors.giosg import vendor as module
from tests.core.replay import Replay, ok

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
ORGANIZATION, USER = "0b2c3d4e-0000-4000-8000-000000000001", "0b2c3d4e-0000-4000-8000-000000000002"
ROOM = "9926bdfa-56e0-11e5-b98c-6c4008c08dfe"
COLLECTION = f"/api/v5/orgs/{ORGANIZATION}/users/{USER}/reportexports"
ME = ok({"id": USER, "organization_id": ORGANIZATION, "email": None})
PAYLOAD = {
    "room_id": ROOM,
    "type": "logs",
    "format": "csv",
    "starting_at": "2027-01-01T00:00:00.000Z",
    "ending_at": "2027-01-08T00:00:00.000Z",
}
URL = "https://service.giosg.com/files/r1.csv"
HEADERS = {"Accept": "application/json", "Authorization": "Token s3same"}


def vendor(**extra: Any) -> GiosgVendor:
    return GiosgVendor(ConnectionInfo("giosg_default", password="s3same", extra=extra))


def life(**extra: Any) -> Lifecycle:
    """A vendor that knows its ids and does not look for room before a create, unless told otherwise."""
    known = {"organization_id": ORGANIZATION, "user_id": USER, "max_in_progress": 0}
    return Lifecycle(vendor(**{**known, **extra}), chance=lambda: 0.5)


def row(**fields: Any) -> dict[str, Any]:
    """A resource in progress, in the shape of the vendor's page."""
    return {
        "id": "r1",
        **PAYLOAD,
        "is_real_conversation": None,
        "min_message_count": 0,
        "created_at": "2027-01-15T07:59:00.000Z",
        "created_by_user_id": USER,
        "updated_at": "2027-01-15T07:59:00.000Z",
        "completed_at": None,
        "expires_at": None,
        "is_failed": None,
        "url": None,
        **fields,
    }


DONE = {"completed_at": "2027-01-15T07:59:30.000Z"}
READY = {**DONE, "is_failed": False, "expires_at": "2027-01-16T00:00:00.000Z", "url": URL}


def read(raw: Any, **extra: Any) -> Export:
    return Replay([ok(raw)] * 3, now=NOW).run(life(**extra).check("r1"))


def problems(changes: dict[str, Any], **extra: Any) -> str:
    giosg = vendor(**extra)
    with pytest.raises(InvalidPayload) as caught:
        giosg.check(giosg.prepare({**PAYLOAD, **changes}), NOW)
    return str(caught.value)


def test_requests_are_the_documented_ones() -> None:
    """The path needs organization and user, asked for once; the body is that of the vendor's fields."""
    fields = {
        "starting_at": "2026-01-01T00:00:00.000Z",
        "ending_at": "2026-02-01T00:00:00.000Z",
        "room_id": "9926bdfa-56e0-11e5-b98c-6c4008c08dfe",
        "type": "logs",
        "format": "csv",
        "is_real_conversation": True,
        "min_message_count": 2,
    }
    parameters = {**fields, "starting_at": "2026-01-01", "ending_at": "2026-02-01 01:00:00+01:00"}
    replay = Replay([ME, page(), ok(row(**fields), 201), ok(row(**fields)), page(row(**fields))], now=NOW)
    plan = life(organization_id="", user_id="", max_in_progress=3)
    created = replay.run(plan.submit(plan.vendor.prepare(GiosgVendor.compose(parameters, None))))
    replay.run(plan.check("r1"))
    replay.run(plan.call(plan.vendor.list_exports()))
    assert replay.requests == [
        Request("GET", "/api/v5/users/me", headers=HEADERS, operation="users/me"),
        Request("GET", COLLECTION, headers=HEADERS, operation="list"),
        Request("POST", COLLECTION, json=fields, headers=HEADERS, idempotent=False, operation="create"),
        Request("GET", f"{COLLECTION}/r1", headers=HEADERS, operation="retrieve", export_id="r1"),
        Request("GET", COLLECTION, headers=HEADERS, operation="list"),
    ]
    assert created.state is ExportState.RUNNING
    assert created.created_at is not None
    assert dict(created.parameters) == fields


def test_oauth_tokens_use_their_own_word() -> None:
    """Bearer is for OAuth2 access tokens."""
    replay = Replay([ok(row())])
    replay.run(life(auth_scheme="Bearer").check("r1"))
    assert replay.requests[0].headers["Authorization"] == "Bearer s3same"


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        (row(), ExportState.RUNNING),
        (row(**READY), ExportState.READY),
        (row(**{**READY, "is_failed": "failed"}), ExportState.READY),
        (row(**{**READY, "expires_at": None}), ExportState.READY),
        ({k: v for k, v in row(**READY).items() if k != "expires_at"}, ExportState.READY),
        (row(**DONE, is_failed=True), ExportState.FAILED),
        (row(**{**READY, "expires_at": "2027-01-15T07:59:59.000Z", "url": None}), ExportState.EXPIRED),
        (row(**{**READY, "expires_at": "2027-01-15T08:00:29.000Z"}), ExportState.EXPIRED),
        (row(**{**READY, "expires_at": "2027-01-15T08:00:31.000Z"}), ExportState.READY),
    ],
)
def test_state_follows_from_four_fields(raw: dict[str, Any], state: ExportState) -> None:
    """There is no status word; the page's slip about is_failed and a late clock change nothing."""
    assert read(raw).state is state


@pytest.mark.parametrize(
    "fields",
    [
        {"is_failed": False},
        {**DONE, "is_failed": False},
        {**DONE, "is_failed": False, "expires_at": "2027-01-16T00:00:00.000Z"},
        {**READY, "expires_at": "tomorrow"},
        {"completed_at": 5},
    ],
)
def test_contradicting_rows_are_read_again_then_reported(fields: dict[str, Any]) -> None:
    """A half-written row heals; one that stays so is an error, never success."""
    with pytest.raises(UnexpectedResponse):
        read(row(**fields))
    replay = Replay([ok(row(**fields)), ok(row(**READY))], now=NOW)
    assert replay.run(life().check("r1")).state is ExportState.READY


def test_file_is_named_by_us_and_carries_the_token_policy() -> None:
    """The name comes from id and format; whether the token may go along is a setting."""
    file = read(row(**READY)).files[0]
    assert (file.name, file.format, file.size, file.authenticated) == ("r1.csv", "csv", None, True)
    assert not read(row(**READY), download_auth="never").files[0].authenticated
    hosts = vendor(download_auth="always", download_hosts="files.example, cdn.example:8443").file_hosts
    assert hosts == {"files.example", "cdn.example:8443"}
    assert vendor(download_hosts="files.example").file_hosts == frozenset()


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, {"format": ["bad choice."], "room_id": ["required."]}, ExportRejected, "format: bad choice."),
        (400, {"non_field_errors": ["No."]}, ExportRejected, "non_field_errors: No."),
        (400, {"detail": "JSON parse error - x"}, ExportRejected, "JSON parse error - x"),
        (400, {"error": "invalid_grant", "error_description": "Gone."}, ExportRejected, "Gone."),
        (400, b"Bad room.\n", ExportRejected, 'says: "Bad room."'),
        (400, b"<html>Bad room for s3same</html>", ExportRejected, r"<html>Bad room for \*\*\*</html>"),
        (400, b"\xff\xfe", ExportRejected, "HTTP 400"),
        (401, {"detail": "Invalid token."}, AuthenticationFailed, "Invalid token."),
        (401, b"", AuthenticationFailed, "dies with the user who made it"),
        (403, {"detail": "No subscription."}, PermissionDenied, "No subscription."),
        (404, ["User unknown."], ExportRejected, "User unknown.*organization_id and user_id"),
        (404, {"detail": "Not found."}, ExportRejected, "Not found."),
        (405, None, ExportRejected, "HTTP 405"),
        (409, {"detail": "Exists."}, ExportConflict, "Exists."),
        (429, {"detail": "Throttled."}, RateLimited, "Throttled."),
    ],
)
def test_refused_creates(status: int, body: Any, error: type[Exception], said: str) -> None:
    """No error format is published: objects, lists, texts, pages and nothing are all read."""
    answer = Response(status, {}, body) if isinstance(body, bytes) else ok(body, status, retry_after="900")
    with pytest.raises(error, match=said):
        Replay([answer], now=NOW).run(life().submit(PAYLOAD))


def test_unknown_export_is_not_found() -> None:
    """404 on a retrieve is about the export."""
    with pytest.raises(ExportNotFound, match="giosg export r1"):
        Replay([ok({}, 404)] * 3).run(life().check("r1"))


def page(*rows: dict[str, Any], following: str | None = None) -> Response:
    return ok({"next": following, "previous": None, "results": list(rows)})


def test_list_follows_every_page_and_drops_doubles() -> None:
    """Short and empty pages are not the end, and rows that moved to the next page count once."""
    base = f"https://service.giosg.com{COLLECTION}"
    replay = Replay(
        [
            page(row(), following=f"{base}?cursor=a"),
            page(following=f"{base}?cursor=b"),
            page(row(), row(id="r2"), {"id": "broken"}),
        ],
        now=NOW,
    )
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [export.export_id for export in exports] == ["r1", "r2"]
    assert [request.path for request in replay.requests] == [
        COLLECTION,
        f"{base}?cursor=a",
        f"{base}?cursor=b",
    ]


def test_long_list_is_read_in_parts() -> None:
    """Whatever else runs in the triggerer has its turn in between; a broken row is left out all the same."""
    rows = [row(id=f"r{number}") for number in range(249)]
    replay = Replay([page({"id": "broken"}, *rows)], now=NOW)
    plan = life()
    assert len(replay.run(plan.call(plan.vendor.list_exports()))) == 249
    assert replay.pauses == [0, 0]


def test_list_never_follows_to_another_host() -> None:
    """The token would go with the request."""
    plan = life()
    with pytest.raises(UnexpectedResponse, match="another host"):
        Replay([page(following="https://evil.example/?cursor=a")]).run(plan.call(plan.vendor.list_exports()))


@pytest.mark.parametrize("following", [5, ["x"], "https://[", "https://service.giosg.com:x/"])
def test_next_page_without_an_address_is_told(following: Any) -> None:
    """What is no address is an unexpected answer, not a crash."""
    plan = life()
    with pytest.raises(UnexpectedResponse, match="next page"):
        Replay([page(following=following)]).run(plan.call(plan.vendor.list_exports()))


@pytest.mark.parametrize("answer", [ok([]), ok({"results": None}), ok({"results": ["r1"]}), ok(None)])
def test_drifted_lists_are_named(answer: Response) -> None:
    """A list that is none is an unexpected answer, for exports as for rooms."""
    for what in ("list_exports", "list_datasources"):
        plan = life()
        with pytest.raises(UnexpectedResponse, match=r"^giosg: (list|rooms) "):
            Replay([answer]).run(plan.call(getattr(plan.vendor, what)()))


def test_other_drifted_answers_are_named() -> None:
    """A room without an id, a user without an organization, and pages that never end."""
    plan = life()
    with pytest.raises(UnexpectedResponse, match="room has no id"):
        Replay([page({"name": "Web"})]).run(plan.call(plan.vendor.list_datasources()))
    unknown = life(organization_id="")
    with pytest.raises(UnexpectedResponse, match="users/me"):
        Replay([ok({"id": USER})]).run(unknown.check("r1", retry=ONCE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MAX_PAGES", 3)
        endless = page(following=f"https://service.giosg.com{COLLECTION}?cursor=a")
        with pytest.raises(UnexpectedResponse, match="goes on after 3 pages"):
            Replay([endless] * 3).run(plan.call(plan.vendor.list_exports()))


BUSY = [row(id=f"r{number}") for number in range(3)]


def test_create_waits_for_room() -> None:
    """No more than three exports of the user are in progress; a look costs one request of the list."""
    full = page(*BUSY, row(id="done", **READY), following=f"https://service.giosg.com{COLLECTION}?cursor=a")
    room = page(*BUSY[:2], row(id="r2", **DONE, is_failed=True), row(id="done", **READY))
    replay = Replay([full, *[page()] * 9], now=NOW)
    # The page was a short one, so the next is read as well.
    with pytest.raises(ExportConflict, match="3 exports of this user are in progress, max_in_progress is 3"):
        replay.run(life(max_in_progress=3).submit(PAYLOAD))
    assert [request.method for request in replay.requests] == ["GET", "GET"]
    replay = Replay([page(*BUSY), room, ok(row(), 201)], now=NOW)
    replay.run(life(max_in_progress=3).submit(PAYLOAD, conflict_deadline=NOW + 600))
    assert [request.method for request in replay.requests] == ["GET", "GET", "POST"]
    assert replay.pauses == [60]


def test_room_is_looked_for_in_one_page() -> None:
    """Rows are listed newest first: what is in progress stands at the head."""
    old = [row(id=f"old{number}", **READY) for number in range(25)]
    following = f"https://service.giosg.com{COLLECTION}?cursor=a"
    replay = Replay([page(*BUSY[:2], *old, following=following), ok(row(), 201)], now=NOW)
    replay.run(life(max_in_progress=3).submit(PAYLOAD))
    assert len(replay.requests) == 2


def test_stuck_and_broken_rows_do_not_take_room_for_ever() -> None:
    """What is in progress for longer than our own longest wait no longer counts."""
    stuck = [row(id=f"s{number}", created_at="2027-01-15T06:59:00.000Z") for number in range(3)]
    broken = [{"id": "broken"}, row(id="half", **DONE)]
    replay = Replay([page(*BUSY[:2], *broken, *stuck), ok(row(), 201)], now=NOW)
    assert replay.run(life(max_in_progress=3).submit(PAYLOAD)).export_id == "r1"


def test_no_cap_asks_for_no_list() -> None:
    """0 switches the cap off, and with it the request; the default is three."""
    replay = Replay([ok(row(), 201)], now=NOW)
    replay.run(life(max_in_progress=0).submit(PAYLOAD))
    assert vendor().settings.max_in_progress == 3


def test_unanswered_create_is_matched_by_everything_that_was_asked() -> None:
    """Time notation and defaults may differ; room, window, type, format and filters may not."""
    same = row(id="same", starting_at="2027-01-01T00:00:00Z", ending_at="2027-01-08T00:00:00+00:00")
    others = [
        row(id="o1", room_id=ROOM.replace("9926", "0000")),
        row(id="o2", ending_at="2027-01-09T00:00:00Z"),
        row(id="o3", min_message_count=2),
        row(id="o4", **DONE, is_failed=True),
    ]
    old = row(id="old", created_at="2027-01-14T00:00:00.000Z")
    replay = Replay([ok({}, 502), page(*others, same, old, following="never")], now=NOW)
    assert replay.run(life().submit(PAYLOAD)).export_id == "same"
    assert len(replay.requests) == 2


def test_rooms_leave_out_shared_ones_unless_asked_for() -> None:
    """Whether a shared room can be exported is not published."""
    rooms = page(
        {"id": ROOM, "name": "Web", "display_name": "Web shop", "is_shared": False},
        {"id": "r2", "name": "Partner", "is_shared": True},
    )
    plan = life()
    replay = Replay([rooms])
    assert [d.name for d in replay.run(plan.call(plan.vendor.list_datasources()))] == ["Web shop"]
    assert replay.requests[0].path == f"/api/v5/orgs/{ORGANIZATION}/rooms"
    shared = life(include_shared=True, rooms_path="/rooms")
    replay = Replay([rooms])
    assert len(replay.run(shared.call(shared.vendor.list_datasources()))) == 2
    assert replay.requests[0].path == "/api/v5/rooms"


def test_rooms_path_may_name_the_user() -> None:
    """The vendor's sample bot lists rooms below the user; other braces are a mistake, said at once."""
    plan = life(rooms_path="/users/{user_id}/rooms")
    replay = Replay([page()])
    replay.run(plan.call(plan.vendor.list_datasources()))
    assert replay.requests[0].path == f"/api/v5/users/{USER}/rooms"
    with pytest.raises(InvalidConnection, match="rooms_path"):
        vendor(rooms_path="/{team}/rooms")


def test_foreign_export_is_not_found_with_either_code() -> None:
    """Whether 403 or 404 answers for another user's export is not published."""
    with pytest.raises(ExportNotFound, match="giosg export r1"):
        Replay([ok({"detail": "No."}, 403)]).run(life().check("r1"))


def test_ping_proves_as_much_as_one_call_can() -> None:
    """With known ids it reads the export list, else it asks whose token it is."""
    plan = life()
    replay = Replay([page()])
    assert "report exports" in replay.run(plan.call(plan.vendor.ping()))
    assert replay.requests[0].path == COLLECTION
    unknown = life(organization_id="", user_id="")
    assert USER in Replay([ME]).run(unknown.call(unknown.vendor.ping()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"room_id": "Web shop"}, "UUID of one room"),
        ({"room_id": 7}, "UUID of one room"),
        ({"type": "chats"}, "type"),
        ({"type": "stats", "format": "txt"}, "txt is for logs"),
        ({"type": "stats", "min_message_count": 1}, "min_message_count: is for type logs only"),
        ({"type": "stats", "is_real_conversation": True}, "is_real_conversation: is for type logs only"),
        ({"min_message_count": -1}, "min_message_count"),
        ({"min_message_count": 1.5}, "min_message_count"),
        ({"is_real_conversation": "perhaps"}, "is_real_conversation"),
        ({"starting_at": None}, "starting_at"),
        ({"ending_at": "next week"}, "is no time"),
        ({"ending_at": "2027-01-01"}, "CronDataIntervalTimetable"),
        ({"ending_at": "2026-12-31"}, "later than starting_at"),
        ({"starting_at": "2026-12-01"}, "longer than 31 days"),
        ({"ending_at": "2027-01-16"}, "lies in the future"),
        ({"colour": "red"}, "colour"),
        ({"min_message_count": "\u00b2"}, "min_message_count"),
    ],
)
def test_invalid_payloads(changes: dict[str, Any], said: str) -> None:
    """Each rule is told in words, with the path of the field."""
    assert said in problems(changes)


def test_missing_type_is_not_taken_for_stats() -> None:
    """Only what is wrong is told."""
    said = problems({"type": None, "format": "txt", "min_message_count": 1})
    assert "'type' is a required property" in said
    assert "stats" not in said
    assert "logs" not in said


def test_overlap_does_not_count_against_the_longest_range() -> None:
    """A month of 31 days stays exportable, whatever the overlap that the connection adds."""
    giosg = vendor(overlap=3600)
    month = {**PAYLOAD, "starting_at": "2026-12-01", "ending_at": "2027-01-01"}
    prepared = giosg.prepare(month)
    assert prepared["starting_at"] == "2026-11-30T23:00:00.000Z"
    giosg.check(prepared, NOW)
    assert "longer than 31 days" in problems({**month, "ending_at": "2027-01-01T01:00:01"}, overlap=3600)
    assert "longer than 31 days" in problems(
        {**month, "type": "stats", "ending_at": "2027-01-01T01:00:01"}, overlap=3600
    )


@pytest.mark.parametrize("kind", ["logs", "stats"])
@pytest.mark.parametrize("file_format", ["csv", "xlsx", "txt"])
def test_validity_matrix(kind: str, file_format: str) -> None:
    """Everything but stats as txt is allowed."""
    payload = {**PAYLOAD, "type": kind, "format": file_format}
    if (kind, file_format) == ("stats", "txt"):
        assert "txt is for logs" in problems(payload)
    else:
        vendor().check(vendor().prepare(payload), NOW)


def test_prepare_reads_templates_and_drops_nulls() -> None:
    """Rendered text becomes numbers, booleans and ids in the vendor's form; nulls are left out."""
    prepared = vendor(overlap=90).prepare(
        {
            **PAYLOAD,
            "room_id": f" {ROOM.upper()}",
            "starting_at": "2027-01-01 02:00:00+02:00",
            "min_message_count": "2",
            "is_real_conversation": "True",
            "ending_at": "2027-01-08",
        }
    )
    assert prepared["room_id"] == ROOM
    assert prepared["starting_at"] == "2026-12-31T23:58:30.000Z"
    assert prepared["ending_at"] == "2027-01-08T00:00:00.000Z"
    assert (prepared["min_message_count"], prepared["is_real_conversation"]) == (2, True)
    assert "min_message_count" not in vendor().prepare({**PAYLOAD, "min_message_count": None})


def test_limits_of_the_window_are_configurable() -> None:
    """The vendor publishes none, so ours can be lifted."""
    giosg = vendor(max_window_days=0, allow_future=True)
    giosg.check(giosg.prepare({**PAYLOAD, "starting_at": "2026-01-01", "ending_at": "2027-02-01"}), NOW)
    assert giosg.settled_at(PAYLOAD) is None
    assert vendor().settled_at(PAYLOAD) == 1799366400 + 3600


@pytest.mark.parametrize(
    "extra", [{"download_auth": "sometimes"}, {"download_auth": "always"}, {"max_window_days": "long"}]
)
def test_unusable_settings_are_named(extra: dict[str, Any]) -> None:
    """A mistake in the connection is found before any request."""
    with pytest.raises(InvalidConnection, match=next(iter(extra))):
        vendor(**extra)


def test_token_is_required() -> None:
    """A connection without token says so."""
    with pytest.raises(InvalidConnection, match="no access token"):
        GiosgVendor(ConnectionInfo("g"))

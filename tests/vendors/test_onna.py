"""Onna without network: what is sent, and what each documented answer means."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_exports.core import ConnectionInfo, Export, ExportState, Lifecycle, Request, Response
from airflow_provider_exports.core.wire import NetworkError
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
    UnknownOutcome,
    VendorUnavailable,
)
from airflow_provider_exports.vendors.onna import OnnaVendor, query
from airflow_provider_exports.vendors.onna.settings_template import default_settings
from tests.core.replay import Replay, ok

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
USER = "exporter@example.com"
API = "/api/rel0/ACME"
FOLDER = f"{API}/{USER}"
HOST = "https://enterprise.onna.com"
CODE = ok({"auth_code": "0123456789abcdef"})
WORKSPACE = f"{HOST}/ACME/user/workspaces/matter-1"
SHORT = {
    "title": "Export-PastWeek-2027-01-10",
    "workspace_url": WORKSPACE,
    "modified_after": "2027-01-03",
    "modified_before": "2027-01-10T00:00:00Z",
}


def jwt(lifetime: float = 604_800, issued_at: float = NOW) -> Response:
    """The raw text that a login answers, with the claims of the vendor's published example."""
    claims = {
        "iat": issued_at,
        "exp": issued_at + lifetime,
        "token": "inner",
        "login": USER,
        "name": "Exporter",
        "superuser": False,
        "aid": "a",
        "sub": USER,
        "av": 1,
        "gt": "authorization_code",
    }
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    return text(".".join([*parts, "c2lnbmVk"]))


def text(body: str, status: int = 200) -> Response:
    return Response(status, {"content-type": "text/plain"}, body.encode())


LOGIN = [CODE, jwt()]


def vendor(**extra: Any) -> OnnaVendor:
    extra = {"account": "ACME", "container": "rel0", "max_active": 0, "check_files": False, **extra}
    return OnnaVendor(ConnectionInfo("onna_default", login=USER, password="s3same", extra=extra))


def life(**extra: Any) -> Lifecycle:
    return Lifecycle(vendor(**extra), chance=lambda: 0.5)


def prepared(changes: dict[str, Any] | None = None, **extra: Any) -> dict[str, Any]:
    return vendor(**extra).prepare({**SHORT, **(changes or {})})


PAYLOAD = prepared()
NAME = PAYLOAD["id"]


def summary(name: str = NAME) -> dict[str, Any]:
    """The answer of the vendor's page to a create."""
    return {
        "@id": f"{HOST}{FOLDER}/{name}",
        "@name": name,
        "@type": "Export",
        "@uid": "f4ke85b2aefe4157adcd8628da8d8fa6",
    }


def obj(name: str = NAME, **fields: Any) -> dict[str, Any]:
    """The object in the shape of the framework."""
    return {
        **summary(name),
        "@static_behaviors": ["guillotina.behaviors.dublincore.IDublinCore"],
        "parent": {"@id": f"{HOST}{FOLDER}", "@name": USER},
        "is_folderish": False,
        "creation_date": "2027-01-15T07:59:00.191373+00:00",
        "modification_date": "2027-01-15T07:59:00.191373+00:00",
        "title": PAYLOAD["title"],
        "settings": PAYLOAD["settings"],
        **fields,
    }


FILE = {"filename": "x.zip", "content_type": "application/zip", "size": 10, "extension": "zip", "md5": None}
CONFLICT = ok(
    {
        "reason": "conflictId",
        "details": "This ID already exists",
        "type": "ConflictId",
        "message": f"Conflict ID {NAME}",
        "eid": "5f",
    },
    409,
)


def read(raw: Any, **extra: Any) -> Export:
    return Replay([*LOGIN, *[ok(raw)] * 3], now=NOW).run(life(**extra).check(NAME))


def seen(replay: Replay) -> list[tuple[str, str]]:
    """What was asked after the login."""
    return [(request.method, request.path) for request in replay.requests if request.signed]


def problems(changes: dict[str, Any], **extra: Any) -> str:
    onna = vendor(**extra)
    with pytest.raises(InvalidPayload) as caught:
        onna.check(onna.prepare({**SHORT, **changes}), NOW)
    return str(caught.value)


def test_login_create_and_start_are_sent_as_documented() -> None:
    """Two steps to a token, the object into the user's folder, then the start by title and URL."""
    replay = Replay([*LOGIN, ok(summary(), 201), ok({})])
    export = replay.run(life().submit(PAYLOAD))
    code, token, create, start = replay.requests
    assert (code.method, code.path) == ("GET", f"{API}/@oauthgetcode")
    assert code.params == {"client_id": "canonical", "scope": "ACME"}
    assert (token.method, token.path) == ("POST", "/auth/oauth/get_auth_token")
    assert token.headers == {"Accept": "application/json"}
    assert token.json == {
        "grant_type": "user",
        "code": "0123456789abcdef",
        "username": USER,
        "password": "s3same",
        "scopes": ["ACME"],
        "client_id": "canonical",
    }
    assert (create.method, create.path, create.json) == ("POST", FOLDER, PAYLOAD)
    assert create.headers["Authorization"] == f"Bearer {LOGIN[1].body.decode()}"
    assert (start.method, start.path) == ("POST", f"{API}/@multiFileExport")
    assert start.json == {"title": PAYLOAD["title"], "resource_url": summary()["@id"]}
    assert (export.export_id, export.state) == (NAME, ExportState.RUNNING)


def test_payload_of_the_slack_example() -> None:
    """Name and title agree; window, workspace and type are the conditions; the rest is the example."""
    (settings,) = PAYLOAD["settings"]
    assert set(PAYLOAD) == {"@type", "id", "title", "settings"}
    assert PAYLOAD["@type"] == "Export"
    assert settings == {
        **default_settings(),
        "name": SHORT["title"],
        "created_by": USER,
        "scope_query": {
            "advanced": {
                "and": [
                    {">": [{"var": "date_modified"}, "2027-01-02T23:59:59.999999Z"]},
                    {"<": [{"var": "date_modified"}, "2027-01-10T00:00:00Z"]},
                    {"text_contains": [{"var": "path"}, WORKSPACE]},
                    {"text_contains": [{"var": "type_name"}, "Resource"]},
                ]
            }
        },
    }
    assert {
        name: settings[name]
        for name in (
            "exportType",
            "scope_uuid",
            "exclude_nist",
            "include_family",
            "dedupe_parents",
            "prefer_pdf",
            "message_context_days",
            "slack_as_single_message",
            "use_original_filename",
        )
    } == {
        "exportType": "advanced",
        "scope_uuid": None,
        "exclude_nist": True,
        "include_family": True,
        "dedupe_parents": False,
        "prefer_pdf": False,
        "message_context_days": 0,
        "slack_as_single_message": True,
        "use_original_filename": False,
    }
    values = {
        block: {name: option["value"] for name, option in settings[block].items()}
        for block in ("documentNumbering", "volumeNumbering", "subdirectoryNumbering", "loadFileFormat")
    }
    assert values == {
        "documentNumbering": {
            "fieldName": "ControlNumber",
            "prefix": "CN",
            "startNumber": 1,
            "digits": 8,
            "groupIdentifierField": "GroupID",
        },
        "volumeNumbering": {"prefix": "VOL", "startNumber": 1, "digits": 3, "maxSize": 2000},
        "subdirectoryNumbering": {
            "includeNatives": False,
            "exportTextSeparately": False,
            "textFileEncoding": "utf-8",
            "nativeFolderName": "NATIVE",
            "textFolderName": "TEXT",
            "startNumber": 1,
            "digits": 3,
            "maxFilesPerFolder": 500,
        },
        "loadFileFormat": {
            "format": "csv",
            "encoding": "utf-8",
            "columnCharacter": 44,
            "quoteCharacter": 34,
            "newLineCharacter": 10,
            "multivalueCharacter": 59,
            "nestedCharacter": 92,
        },
    }


def test_both_blocks_of_columns_say_the_same() -> None:
    """Which of them the vendor obeys is not published."""
    settings = default_settings()
    meta = {
        f"{interface}|{column['value']}"
        for interface, columns in settings["meta"].items()
        for column in columns
        if column["selected"]
    }
    formatted = {
        child["value"]
        for group in settings["formattedMeta"]
        for child in group["children"]
        if child["isSelected"]
    }
    assert meta == formatted
    assert "onna.canonical.behaviors.conversation.IConversation|thread_name" in meta


def test_windows_of_whole_days() -> None:
    """Like the vendor's example, for a service that takes dates only."""
    scope = prepared(time_form="date")["settings"][0]["scope_query"]
    assert query.operands(scope, "date_modified") == {">": "2027-01-02", "<": "2027-01-10"}


def test_neighbouring_windows_leave_no_gap() -> None:
    """One ends where the next begins, also when a clock is put forward in between."""
    border = "2027-03-28T03:00:00+02:00"
    scopes = [
        prepared(changes)["settings"][0]["scope_query"]
        for changes in ({"modified_before": border}, {"modified_after": border, "modified_before": None})
    ]
    ends, starts = (query.operands(scope, "date_modified") for scope in scopes)
    assert ends["<"] == "2027-03-28T01:00:00Z"
    assert starts[">"] == "2027-03-28T00:59:59.999999Z"


@pytest.mark.parametrize(
    "template",
    [
        {"prefer_pdf": True, "exportType": "report"},
        [{"prefer_pdf": True, "exportType": "report"}],
        {"@type": "Export", "title": "T", "settings": [{"prefer_pdf": True, "exportType": "report"}]},
    ],
)
def test_captured_template_is_the_base(template: Any) -> None:
    """Copied with or without what surrounds it; name, creator and scope are of the run."""
    payload = prepared({"template": template, "include_family": "False", "message_context_days": "2"})
    settings = payload["settings"][0]
    assert (settings["prefer_pdf"], settings["exportType"], payload["title"]) == (
        True,
        "report",
        SHORT["title"],
    )
    assert (settings["include_family"], settings["message_context_days"]) == (False, 2)
    assert settings["created_by"] == USER


def test_conditions_of_a_template_stay_beside_those_of_the_run() -> None:
    """A new window takes the place of the old one; a search term remains."""
    term = {"text_contains": [{"var": "extracted_text"}, "merger"]}
    old = {">": [{"var": "date_modified"}, "2020-12-01"]}
    scope = prepared({"template": {"scope_query": {"advanced": {"and": [old, term]}}}})
    conditions = query.conditions(scope["settings"][0]["scope_query"])
    assert conditions is not None
    assert term in conditions
    assert old not in conditions
    nested = {"or": [term, old]}
    scope = prepared({"template": {"scope_query": {"advanced": nested}}})
    assert nested in (query.conditions(scope["settings"][0]["scope_query"]) or [])


@pytest.mark.parametrize(
    ("form", "given", "sent"),
    [
        ("ui", "matter-1", WORKSPACE),
        ("ui", f"{HOST}{API}/workspaces/matter-1", WORKSPACE),
        ("ui", WORKSPACE, WORKSPACE),
        ("api", WORKSPACE, f"{HOST}{API}/workspaces/matter-1"),
        ("given", "matter-1", "matter-1"),
        ("ui", "https://acme.onna.io/elsewhere", "https://acme.onna.io/elsewhere"),
    ],
)
def test_workspace_url_takes_the_form_of_the_setting(form: str, given: str, sent: str) -> None:
    """Whether the scope wants the address of the user interface or of the API is not certain."""
    scope = prepared({"workspace_url": given}, path_form=form)["settings"][0]["scope_query"]
    assert query.operands(scope, "path") == {"text_contains": sent}


def test_datasources_and_format_are_written_into_the_settings() -> None:
    """By uid, one or many; the format keeps its place in the layout."""
    payload = prepared({"datasource_uid": "u1", "load_file_format": "dat", "type_name": "Mail"})
    settings = payload["settings"][0]
    assert query.operands(settings["scope_query"], "parent_datasource.uuid") == {"in": ["u1"]}
    assert query.operands(settings["scope_query"], "type_name") == {"text_contains": "Mail"}
    assert settings["loadFileFormat"]["format"]["value"] == "dat"
    assert settings["loadFileFormat"]["columnCharacter"]["value"] == 44
    many = prepared({"datasource_uid": ["u1", "u2"]})["settings"][0]["scope_query"]
    assert query.operands(many, "parent_datasource.uuid") == {"in": ["u1", "u2"]}


def test_id_is_that_of_the_occurrence() -> None:
    """The same payload has the same id, another window another; preparing twice changes nothing."""
    assert vendor().prepare(PAYLOAD) == PAYLOAD
    assert prepared() == PAYLOAD
    assert prepared({"modified_before": "2027-01-11"})["id"] != NAME
    assert prepared(id_prefix="nightly.")["id"].startswith("nightly.")
    assert prepared({"id": "mine"})["id"] == "mine"
    untitled = prepared({"title": None})
    assert untitled["title"] == untitled["id"] == untitled["settings"][0]["name"]
    assert vendor().prepare(untitled) == untitled


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modified_after": "yesterdayish"}, "modified_after: is no time"),
        ({"modified_before": "2027-01-03"}, "CronDataIntervalTimetable"),
        ({"modified_before": "2027-01-02"}, "not later than its start"),
        ({"modified_before": "2027-01-16"}, "in the future"),
        ({"id": "_hidden"}, "starts with neither"),
        ({"id": "a/b"}, "starts with neither"),
        ({"id": ".."}, "starts with neither"),
        ({"template": "weekly"}, "one object"),
        ({"settings": [{}, {}]}, "one object"),
        ({"settings": {"loadFileFormat": {"format": "csv"}}}, "selected, viewValue and value"),
        ({"settings": {"prefer_pdf": True}, "prefer_pdf": True}, "at once"),
        ({"settings": {"scope_query": {}}}, "at once"),
        ({"template": {"scope_query": {"simple": "x"}}}, "no condition can be added"),
        ({"prefer_pdf": "perhaps"}, "prefer_pdf"),
        ({"message_context_days": "-1"}, "message_context_days"),
        ({"colour": "red"}, "colour"),
        ({"@type": "Rule"}, "Export"),
    ],
)
def test_invalid_payloads(changes: dict[str, Any], said: str) -> None:
    """Each rule is told in words, with the path of the field."""
    assert said in problems(changes)


def test_payload_without_scope_is_warned_of() -> None:
    """It exports everything the user may see; so does a query in a form that nobody knows."""
    onna = vendor()
    assert "everything" in str(onna.advise(onna.prepare({"title": "All"})))
    assert onna.advise(PAYLOAD) is None
    with pytest.raises(InvalidPayload, match="under advanced"):
        onna.check(onna.prepare({"title": "All", "settings": {"scope_query": {"simple": "x"}}}), NOW)


def test_window_settles() -> None:
    """Sources are synced every 20 to 30 minutes; without an end there is nothing to wait for."""
    end = datetime(2027, 1, 10, tzinfo=UTC).timestamp()
    assert vendor().settled_at(PAYLOAD) == end + 1800
    assert vendor(allow_future=True).settled_at(PAYLOAD) is None
    assert vendor().settled_at(prepared({"modified_before": None})) is None
    broken = prepared({"modified_before": None})
    broken["settings"][0]["scope_query"]["advanced"]["and"].append(query.condition("<", "date_modified", "?"))
    assert vendor().settled_at(broken) is None


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, ExportState.RUNNING),
        ({"file": None}, ExportState.RUNNING),
        ({"status": "created"}, ExportState.QUEUED),
        ({"status": "pending"}, ExportState.RUNNING),
        ({"export_status": "Processing"}, ExportState.RUNNING),
        ({"status": "processing", "file": FILE}, ExportState.RUNNING),
        ({"status": "done", "file": FILE}, ExportState.READY),
        ({"file": FILE}, ExportState.READY),
        ({"file": {**FILE, "size": 0}}, ExportState.RUNNING),
        ({"status": "what", "files": {"VOL001": FILE}}, ExportState.READY),
        ({"status": "what"}, ExportState.RUNNING),
        ({"sync_status": "error", "error": "settings[0] has no meta"}, ExportState.FAILED),
        ({"exception": {"code": 3}}, ExportState.FAILED),
        ({"state": "expired"}, ExportState.EXPIRED),
        ({"state": "aborted"}, ExportState.CANCELLED),
    ],
)
def test_state_follows_from_word_file_and_error(fields: dict[str, Any], state: ExportState) -> None:
    """In this order; an object without any of them is running."""
    export = read(obj(**fields))
    assert export.state is state
    assert export.documented is (fields.get("status") != "what")


def test_reason_of_a_failure_is_told_without_secrets() -> None:
    """The error text comes with the word."""
    export = read(obj(status="error", error="s3same is no field"))
    assert export.vendor_status == "error: *** is no field"
    assert read(obj(exception={"code": 3})).vendor_status == 'no status: {"code": 3}'


def test_words_and_fields_are_settings() -> None:
    """None of them is published."""
    export = read(
        obj(phase="packed", archive=FILE),
        status_fields="phase",
        status_map="packed=ready",
        file_fields="archive",
    )
    assert export.state is ExportState.READY
    assert export.files[0].url == f"{HOST}{FOLDER}/{NAME}/@download/archive"


def test_files_are_named_by_us() -> None:
    """One archive or several volumes, below our own address, with the token."""
    (file,) = read(obj(status="done", file=FILE)).files
    assert (file.name, file.size, file.authenticated) == (f"{NAME}.zip", 10, True)
    assert file.url == f"{HOST}{FOLDER}/{NAME}/@download/file"
    volumes = {"VOL 2": {**FILE, "extension": "../x"}, "VOL 1": FILE, "note": "x"}
    files = read(obj(status="done", files=volumes)).files
    assert [file.name for file in files] == [f"{NAME}-1.zip", f"{NAME}-2.zip"]
    assert files[0].url.endswith("/@download/files/VOL%201")


@pytest.mark.parametrize(
    "raw",
    [
        [],
        {**obj(), "@id": None},
        {**obj(), "@type": "Rule"},
        obj(status="done"),
        obj(status="done", file=None),
        obj(creation_date="yesterday"),
    ],
)
def test_answers_that_make_no_sense(raw: Any) -> None:
    """Something needed is missing, or it is finished without a file: never success."""
    with pytest.raises(UnexpectedResponse):
        read(raw)


@pytest.mark.parametrize(
    ("status", "state"), [(200, "ready"), (302, "ready"), (404, "expired"), (410, "expired")]
)
def test_missing_file_is_the_sign_of_expiry(status: int, state: str) -> None:
    """The object stays when its archive has gone; storage elsewhere may redirect."""
    replay = Replay([*LOGIN, ok(obj(status="done", file=FILE)), Response(status)])
    export = replay.run(life(check_files=True).check(NAME))
    assert export.state == state
    assert len(export.files) == (state == "ready")
    assert seen(replay) == [
        ("GET", f"{FOLDER}/{NAME}"),
        ("HEAD", f"{HOST}{FOLDER}/{NAME}/@download/file"),
    ]


def test_token_is_replaced_ten_minutes_before_its_end() -> None:
    """By its own claim; a short one halfway; one that cannot be read when it is refused."""
    onna = vendor()
    assert onna.token_expires_at(jwt().body.decode()) == NOW + 604_800 - 600
    assert onna.token_expires_at(jwt(lifetime=60).body.decode()) == NOW + 30
    assert onna.token_expires_at("a.b.c") is None
    assert onna.token_expires_at("abc") is None
    assert onna.token_expires_at(f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c") is None
    claims = base64.urlsafe_b64encode(json.dumps({"exp": NOW}).encode()).decode()
    assert onna.token_expires_at(f"a.{claims}.c") == NOW - 600


def test_refused_token_is_replaced_once() -> None:
    """A second refusal of a new token means a missing right."""
    refused = ok({"reason": "You are not authorized to access content", "content": "x", "auth": USER}, 401)
    replay = Replay([*LOGIN, refused, *LOGIN, ok(obj())])
    assert replay.run(life().check(NAME)).state is ExportState.RUNNING
    with pytest.raises(PermissionDenied, match="not authorized to access"):
        Replay([*LOGIN, refused, *LOGIN, refused]).run(life().check(NAME))


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_dead_token_may_come_as_an_empty_500(body: bytes) -> None:
    """Past the token's end by the vendor's clock it is a login problem, before it a fault."""
    late = {"date": "Fri, 15 Jan 2027 09:00:00 GMT"}
    first = [CODE, jwt(lifetime=1800)]
    replay = Replay([*first, Response(500, late, body), *LOGIN, ok(obj())])
    replay.run(life().check(NAME))
    assert [request.operation for request in replay.requests].count("get_auth_token") == 2
    assert replay.pauses == []
    replay = Replay([*first, Response(500, {}, body), ok(obj())])
    replay.run(life().check(NAME))
    assert len(replay.pauses) == 1


@pytest.mark.parametrize(
    ("answers", "error", "said"),
    [
        ([ok({"auth_code": None})], AuthenticationFailed, "no code"),
        ([ok({"code": "x"})], UnexpectedResponse, "without auth_code"),
        ([text("<html>")], UnexpectedResponse, "not JSON"),
        ([CODE, text("", 401)], AuthenticationFailed, "401"),
        ([CODE, text("<html>")], UnexpectedResponse, "no token"),
        ([CODE, text("", 400), CODE, text("", 400)], AuthenticationFailed, "400"),
        ([CODE, text("", 404)], ExportRejected, "may be gone"),
        ([ok({"reason": "object and/or route not found"}, 404)], ExportRejected, "route not found"),
    ],
)
def test_logins_that_fail(answers: list[Response], error: type[Exception], said: str) -> None:
    """Null instead of a code, a page instead of a token, wrong credentials: each is told apart."""
    with pytest.raises(error, match=said):
        Replay(answers * 3).run(life().check(NAME))


def test_code_that_was_used_up_is_replaced() -> None:
    """A lost answer has used up the code: the repeat gets 400, and a new code works."""
    replay = Replay([CODE, NetworkError("lost", sent=True), text("", 400), CODE, jwt(), ok(obj())])
    assert replay.run(life().check(NAME)).export_id == NAME


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (400, {}, ExportRejected, "HTTP 400"),
        (
            404,
            {"reason": "object and/or route not found"},
            ExportRejected,
            "object and/or route not found",
        ),
        (
            412,
            {
                "error": {"type": "RequiredParam", "message": "No type."},
                "reason": "requiredParamMissing",
                "details": "Not specified",
                "type": "RequiredParam",
            },
            ExportRejected,
            "No type.; Not specified; requiredParamMissing",
        ),
        (
            412,
            {
                "reason": "deserializationError",
                "details": "D",
                "type": "DeserializationError",
                "message": "M",
                "deserialization_errors": [{"field": "settings", "message": "wrong type"}, "x"],
            },
            ExportRejected,
            "settings: wrong type",
        ),
        (
            412,
            {"reason": "jsonDecodeError", "details": "Bad", "type": "PreconditionFailed"},
            ExportRejected,
            "Bad; jsonDecodeError",
        ),
        (412, "text", ExportRejected, "text"),
        (412, [], ExportRejected, "HTTP 412"),
        (409, {}, RateLimited, "database is busy"),
        (409, "no JSON object", RateLimited, "database is busy"),
    ],
)
def test_refused_creates(status: int, body: Any, error: type[Exception], said: str) -> None:
    """The framework's error bodies are read whatever their shape."""
    with pytest.raises(error, match=said):
        Replay([*LOGIN, *[ok(body, status)] * 5]).run(life().submit(PAYLOAD))


def test_conflict_without_json_is_a_busy_database() -> None:
    """An empty 409 is a write conflict, tried again; it is never taken for a duplicate."""
    replay = Replay([*LOGIN, Response(409), ok(summary(), 201), ok({})])
    assert replay.run(life().submit(PAYLOAD)).state is ExportState.RUNNING


def test_unwell_login_server_is_waited_for() -> None:
    """424 passes like a 503."""
    down = ok({"reason": "oauthServerFailure", "message": "Down"}, 424)
    assert Replay([*LOGIN, down, ok(obj())]).run(life().check(NAME)).export_id == NAME
    with pytest.raises(VendorUnavailable, match="Down"):
        Replay([*LOGIN, *[down] * 5]).run(life().check(NAME))


def test_unknown_export_is_not_found() -> None:
    """404 on a read is about the export."""
    missing = ok({"reason": "object and/or route not found"}, 404)
    with pytest.raises(ExportNotFound, match=f"onna export {NAME}"):
        Replay([*LOGIN, missing]).run(life().check(NAME))


@pytest.mark.parametrize(
    ("fields", "starts"),
    [({"status": "created"}, 1), ({}, 1), ({"status": "pending"}, 0), ({"status": "done", "file": FILE}, 0)],
)
def test_existing_export_is_adopted_and_started_if_it_was_not(fields: dict[str, Any], starts: int) -> None:
    """A conflict means that an earlier try made it; whether it also started it, the object tells."""
    replay = Replay([*LOGIN, CONFLICT, ok(obj(**fields)), *[ok({})] * starts])
    assert replay.run(life().submit(PAYLOAD)).export_id == NAME
    paths = [("POST", FOLDER), ("GET", f"{FOLDER}/{NAME}"), ("POST", f"{API}/@multiFileExport")]
    assert seen(replay) == paths[: 2 + starts]


def test_failed_export_is_followed_by_a_numbered_one() -> None:
    """It blocks its id for good."""
    failed = ok(obj(status="error"))
    replay = Replay([*LOGIN, CONFLICT, failed, ok(summary(f"{NAME}-2"), 201), ok({})])
    assert replay.run(life().submit(PAYLOAD)).export_id == f"{NAME}-2"
    assert replay.requests[4].json == {**PAYLOAD, "id": f"{NAME}-2"}
    with pytest.raises(ExportRejected, match="have failed or expired"):
        Replay([*LOGIN, *[CONFLICT, failed] * 50]).run(life().submit(PAYLOAD))


@pytest.mark.parametrize(
    "fields", [{"title": "Other"}, {"settings": [{**PAYLOAD["settings"][0], "prefer_pdf": True}]}]
)
def test_id_of_another_export_is_refused(fields: dict[str, Any]) -> None:
    """An id of the author's own that something else has is a mistake, not an adoption."""
    with pytest.raises(ExportRejected, match="other settings"):
        Replay([*LOGIN, CONFLICT, ok(obj(**fields))]).run(life().submit(PAYLOAD))


def test_unanswered_create_is_looked_for_by_its_id() -> None:
    """Failed ones before it are passed over; what is not there is created again, once."""
    lost = NetworkError("lost", sent=True)
    missing = ok({}, 404)
    found = [ok(obj(status="error")), ok(obj(f"{NAME}-2", status="created")), missing]
    replay = Replay([*LOGIN, lost, *found, ok({})])
    assert replay.run(life().submit(PAYLOAD)).export_id == f"{NAME}-2"
    replay = Replay([*LOGIN, lost, missing, missing, ok(summary(), 201), ok({})])
    assert replay.run(life().submit(PAYLOAD)).export_id == NAME
    plan = life()
    payload = {**PAYLOAD}
    replay = Replay([*LOGIN, *[ok(obj(status="error"))] * 50])
    assert replay.run(plan.call(plan.vendor.find(payload, 0.0))) == []


def test_unanswered_start_is_looked_at_before_it_is_repeated() -> None:
    """What a second start does is not published."""
    lost = NetworkError("lost", sent=True)
    created = [*LOGIN, ok(summary(), 201)]
    replay = Replay([*created, lost, ok(obj(status="pending"))])
    assert replay.run(life().submit(PAYLOAD)).state is ExportState.RUNNING
    replay = Replay([*created, lost, ok(obj(status="created")), ok({})])
    assert replay.run(life().submit(PAYLOAD)).state is ExportState.RUNNING
    with pytest.raises(UnknownOutcome, match="@multiFileExport"):
        Replay([*created, lost, ok(obj(status="created")), lost]).run(life().submit(PAYLOAD))


def test_start_may_name_the_id() -> None:
    """The vendor's script sends the name where its page says the title."""
    replay = Replay([*LOGIN, ok(summary(), 201), ok({})])
    replay.run(life(run_title="name").submit(PAYLOAD))
    assert replay.requests[-1].json["title"] == NAME


def folder(*rows: Any) -> Response:
    return ok({**summary(), "@type": "UserFolder", "length": len(rows), "items": list(rows)})


def data(*rows: Any, cursor: str | None = None) -> Response:
    return ok({"updates": list(rows), "total": len(rows), "deleted": [], "cursor": cursor})


def test_list_follows_the_cursor_and_keeps_to_the_own_folder() -> None:
    """An id is good in its own folder only; newest first; broken entries hide nothing."""
    newer = obj("b", status="done", file=FILE, creation_date="2027-01-15T07:59:30+00:00")
    foreign = {**obj("c", status="done"), "@id": f"{HOST}{API}/colleague@example.com/c", "file": FILE}
    replay = Replay(
        [*LOGIN, data(obj("a", status="created"), foreign, cursor="n"), data({"status": "x"}, newer)]
    )
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [export.export_id for export in exports] == ["b", "a"]
    assert [dict(request.params) for request in replay.requests[2:]] == [
        {"types": "Export"},
        {"types": "Export", "cursor": "n"},
    ]


@pytest.mark.parametrize("answer", [data(summary("a")), ok({}, 412)])
def test_list_falls_back_to_the_folder(answer: Response) -> None:
    """Entries without a state, or no list at all: the folder shows whole objects."""
    replay = Replay([*LOGIN, answer, folder(obj("a", status="created"), {**obj("e", status="done")}, "x")])
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [(export.export_id, export.state) for export in exports] == [("a", ExportState.QUEUED)]
    assert (replay.requests[-1].path, dict(replay.requests[-1].params)) == (FOLDER, {"fullobjects": "true"})


@pytest.mark.parametrize("answer", [ok([]), ok({"updates": None})])
def test_lists_of_another_shape_are_reported(answer: Response) -> None:
    """Neither is taken for an empty list."""
    plan = life()
    with pytest.raises(UnexpectedResponse):
        Replay([*LOGIN, answer]).run(plan.call(plan.vendor.list_exports()))
    with pytest.raises(UnexpectedResponse):
        Replay([*LOGIN, ok({}, 412), answer]).run(plan.call(plan.vendor.list_exports()))


def test_cursor_that_never_ends_is_stopped() -> None:
    """The vendor promises no last page."""
    plan = life()
    with pytest.raises(UnexpectedResponse, match="pages"):
        Replay([*LOGIN, *[data(cursor="n")] * 10_000]).run(plan.call(plan.vendor.list_exports()))


def test_cap_counts_what_runs() -> None:
    """Not what was never started, has ended or has run for longer than any wait."""
    old = obj("o", status="processing", creation_date="2027-01-10T00:00:00+00:00")
    idle = obj("i", status="created")
    busy = [obj(name, status="processing") for name in "ab"]
    with pytest.raises(ExportConflict, match="max_active is 2"):
        Replay([*LOGIN, folder(old, idle, *busy)], now=NOW).run(life(max_active=2).submit(PAYLOAD))
    replay = Replay([*LOGIN, folder(old, idle, busy[0]), ok(summary(), 201), ok({})], now=NOW)
    assert replay.run(life(max_active=2).submit(PAYLOAD)).export_id == NAME
    own = obj(status="processing")
    replay = Replay([*LOGIN, folder(own, *busy), CONFLICT, ok(own)], now=NOW)
    assert replay.run(life(max_active=2).submit(PAYLOAD)).export_id == NAME


def source(name: str, workspace: str, **fields: Any) -> dict[str, Any]:
    url = f"{HOST}{API}/workspaces/{workspace}/{name}"
    return {"@id": url, "@uid": f"uid-{name}", "title": name, "creation_date": "2026-01-01", **fields}


def test_datasources_of_a_workspace() -> None:
    """Type by type, those below the workspace's own address."""
    plan = life(workspace=WORKSPACE)
    replay = Replay(
        [
            *LOGIN,
            ok(["SlackEDatasource", "GMailDatasource"]),
            data(source("a", "matter-1"), source("b", "matter-10")),
            data(source("c", "matter-1", title=None)),
        ]
    )
    found = replay.run(plan.call(plan.vendor.list_datasources()))
    assert [(one.id, one.name) for one in found] == [("uid-a", "a"), ("uid-c", "uid-c")]
    assert [request.path for request in replay.requests[2:]] == [
        f"{API}/@enabledDSTypes",
        *[f"{API}/@data"] * 2,
    ]
    everything = life(datasource_types="SlackEDatasource")
    replay = Replay([*LOGIN, data(source("a", "matter-1"), source("b", "matter-10"))])
    assert len(replay.run(everything.call(everything.vendor.list_datasources()))) == 2


@pytest.mark.parametrize("answers", [[ok({"types": []})], [ok(["SlackEDatasource"]), data({"title": "x"})]])
def test_datasources_of_another_shape_are_reported(answers: list[Response]) -> None:
    """Neither is taken for no datasources."""
    plan = life()
    with pytest.raises(UnexpectedResponse):
        Replay([*LOGIN, *answers]).run(plan.call(plan.vendor.list_datasources()))


@pytest.mark.parametrize("status", [200, 204])
def test_delete_reads_no_body(status: int) -> None:
    """It is empty whatever its content type says."""
    replay = Replay([*LOGIN, Response(status, {"content-type": "application/json"})])
    assert replay.run(life().delete(NAME)) is True
    assert seen(replay) == [("DELETE", f"{FOLDER}/{NAME}")]
    assert Replay([*LOGIN, ok({}, 404)]).run(life().delete(NAME)) is False


def test_ping_asks_who_it_is() -> None:
    """The documented check call, with the account as scope."""
    plan = life()
    replay = Replay([*LOGIN, ok({"login": USER})])
    assert "ACME" in replay.run(plan.call(plan.vendor.ping()))
    request: Request = replay.requests[-1]
    assert (request.method, request.path, dict(request.params)) == (
        "POST",
        "/auth/oauth/me",
        {"scope": "ACME"},
    )


@pytest.mark.parametrize(
    "extra",
    [
        {"run_title": "both"},
        {"path_form": "any"},
        {"time_form": "epoch"},
        {"status_map": "packed"},
        {"status_map": "packed=nearly"},
        {"account": ""},
    ],
)
def test_unusable_settings_are_named(extra: dict[str, Any]) -> None:
    """A mistake in the connection is found before any request."""
    with pytest.raises(InvalidConnection, match=next(iter(extra))):
        vendor(**extra)


@pytest.mark.parametrize("fields", [{"login": USER}, {"password": "x"}])
def test_login_and_password_are_required(fields: dict[str, str]) -> None:
    """A connection without either says so."""
    with pytest.raises(InvalidConnection, match=r"has no (password|user e-mail)"):
        OnnaVendor(ConnectionInfo("o", extra={"account": "ACME"}, **fields))


def test_container_defaults_to_the_account() -> None:
    """They are often the same."""
    onna = OnnaVendor(ConnectionInfo("o", login="a b@example.com", password="x", extra={"account": "ACME"}))
    payload = onna.prepare(SHORT)
    replay = Replay([*LOGIN, folder(), ok(summary(), 201), ok({})])
    replay.run(Lifecycle(onna).submit(payload))
    assert replay.requests[-2].path == "/api/ACME/ACME/a%20b@example.com"

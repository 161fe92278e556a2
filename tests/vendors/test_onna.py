"""Onna without network: what is sent, and what each documented answer means."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from airflow_provider_exports.core import (
    ConnectionInfo,
    Expiry,
    Export,
    ExportState,
    Lifecycle,
    Links,
    Response,
)
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
from airflow_provider_exports.testing.conformance import VendorConformance
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


def look(**fields: Any) -> dict[str, Any]:
    """The object as a wait asks for it."""
    return {name: value for name, value in obj(**fields).items() if name != "settings"}


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


Sent = tuple[str, str, dict[str, str], dict[str, str], Any]


def signed(method: str, path: str, params: dict[str, str] | None = None, body: Any = None) -> Sent:
    """A request with the token that ``LOGIN`` gives, and nothing else."""
    return method, path, params or {}, {"Authorization": f"Bearer {LOGIN[1].body.decode()}"}, body


def sent(replay: Replay) -> list[Sent]:
    """Every request field by field: method, path, query, headers, body."""
    return [
        (request.method, request.path, dict(request.params), dict(request.headers), request.json)
        for request in replay.requests
    ]


def seen(replay: Replay) -> list[tuple[str, str]]:
    """What was asked after the login."""
    return [(request.method, request.path) for request in replay.requests if request.signed]


def problems(changes: dict[str, Any], **extra: Any) -> str:
    onna = vendor(**extra)
    with pytest.raises(InvalidPayload) as caught:
        onna.check(onna.prepare({**SHORT, **changes}), NOW)
    return str(caught.value)


LOGIN_SENT: list[Sent] = [
    ("GET", f"{API}/@oauthgetcode", {"client_id": "canonical", "scope": "ACME"}, {}, None),
    (
        "POST",
        "/auth/oauth/get_auth_token",
        {},
        {"Accept": "application/json"},
        {
            "grant_type": "user",
            "code": "0123456789abcdef",
            "username": USER,
            "password": "s3same",
            "scopes": ["ACME"],
            "client_id": "canonical",
        },
    ),
]
START = {"title": SHORT["title"], "resource_url": f"{HOST}{FOLDER}/{NAME}"}
REQUESTS: dict[str, tuple[Callable[[Lifecycle], Any], list[Response], list[Sent]]] = {
    "create and start": (
        lambda life: life.submit(PAYLOAD),
        [ok(summary(), 201), ok({})],
        [signed("POST", FOLDER, body=PAYLOAD), signed("POST", f"{API}/@multiFileExport", body=START)],
    ),
    "get": (
        lambda life: life.check(NAME),
        [ok(obj())],
        [signed("GET", f"{FOLDER}/{NAME}", {"omit": "settings"})],
    ),
    "find": (
        lambda life: life.call(life.vendor.find(PAYLOAD, 0.0)),
        [ok(obj()), ok({}, 404)],
        [signed("GET", f"{FOLDER}/{NAME}"), signed("GET", f"{FOLDER}/{NAME}-2")],
    ),
    "list": (
        lambda life: life.call(life.vendor.list_exports()),
        [ok({"updates": [], "total": 0, "deleted": [], "cursor": None})],
        [signed("GET", f"{API}/@data", {"types": "Export"})],
    ),
    "list of the folder": (
        lambda life: life.call(life.vendor.list_exports()),
        [ok({}, 412), ok({**summary(), "length": 0, "items": []})],
        [
            signed("GET", f"{API}/@data", {"types": "Export"}),
            signed("GET", FOLDER, {"fullobjects": "true"}),
        ],
    ),
    "delete": (lambda life: life.delete(NAME), [Response(200)], [signed("DELETE", f"{FOLDER}/{NAME}")]),
    "datasources": (
        lambda life: life.call(life.vendor.list_datasources()),
        [ok(["SlackEDatasource"]), ok({"updates": [], "cursor": None})],
        [
            signed("GET", f"{API}/@enabledDSTypes"),
            signed("GET", f"{API}/@data", {"types": "SlackEDatasource"}),
        ],
    ),
    "who am I": (
        lambda life: life.call(life.vendor.ping()),
        [ok({"login": USER})],
        [signed("POST", "/auth/oauth/me", {"scope": "ACME"})],
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_are_sent_as_documented(name: str) -> None:
    """Two steps to a token, then each call: nothing of a request is other than the vendor's pages say."""
    make, answers, wanted = REQUESTS[name]
    replay = Replay([*LOGIN, *answers])
    replay.run(make(life()))
    assert sent(replay) == [*LOGIN_SENT, *wanted]


def test_created_export_runs_once_it_is_started() -> None:
    """The id is the one that was asked for."""
    export = Replay([*LOGIN, ok(summary(), 201), ok({})]).run(life().submit(PAYLOAD))
    assert (export.export_id, export.state) == (NAME, ExportState.RUNNING)


def option(value: Any) -> dict[str, Any]:
    """An option of the settings; its ``value`` is what counts."""
    return {"selected": True, "viewValue": str(value), "value": value}


# Those of the vendor's script; of its 31 contract columns only these are known by name.
COLUMNS = {
    "onna.canonical.behaviors.metadata.IMetadata": (
        "content_type resource_name author content_length company processing_title md5 date_modified "
        "other_metadata application_name processing_exception date_created extension"
    ),
    "onna.canonical.behaviors.origin.IOrigin": (
        "origin_created_by origin origin_modified_by origin_targeted_users origin_other_metadata "
        "origin_server_modified origin_exception filter origin_label_ids"
    ),
    "onna.canonical.content.resources.eslack.IESlack": "workspace_id workspace_name",
    "onna.canonical.behaviors.conversation.IConversation": "thread_id thread_name thread_type",
    "onna.canonical.behaviors.related_users.IRelatedUsers": "related_users",
    "onna.canonical.behaviors.machine_learning.IMachineLearning": "nist language",
    "onna.canonical.behaviors.folderdata.IFolderData": "revision parent_folder orig_path",
    "onna.canonical.behaviors.xtag.IXTag": "tags",
    "onna.canonical.content.resource.IResource": "title",
    "guillotina.behaviors.dublincore.IDublinCore": "expiration_date description effective_date tags",
    "guillotina.behaviors.dynamic.IDynamicFieldValues": "values",
    "onna.canonical.content.resources.mail.IMail": (
        "subject to_mail from_mail is_starred bcc_mail cc_mail is_important message_id"
    ),
    "onna.canonical.content.resources.confluence.IConfluence": (
        "ancestors space_type space space_name confluence_labels"
    ),
    "onna.canonical.content.resources.jira.IJira": "thread_id thread_name thread_type",
    "onna.canonical.content.resources.workplace.IWorkplace": "thread_id thread_name thread_type",
    "onna.canonical.content.resources.zendesk.IZendesk": (
        "thread_name requester status thread_id tags group priority thread_type organization assignee"
    ),
    "onna.canonical.behaviors.contract.IContract": (
        "deal_summary term_type amount amount_currency contract_number contract_type contract_status "
        "legal_entity departments contract_owner"
    ),
}


def test_payload_of_the_slack_example() -> None:
    """Name and title agree; window, workspace and type are the conditions; the rest is the example."""
    (settings,) = PAYLOAD["settings"]
    assert set(PAYLOAD) == {"@type", "id", "title", "settings"}
    assert PAYLOAD["@type"] == "Export"
    assert PAYLOAD["title"] == "Export-PastWeek-2027-01-10"
    assert {name: value for name, value in settings.items() if name not in ("meta", "formattedMeta")} == {
        "name": "Export-PastWeek-2027-01-10",
        "created_by": USER,
        "exportType": "advanced",
        "scope_uuid": None,
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
        "exclude_nist": True,
        "include_family": True,
        "dedupe_parents": False,
        "prefer_pdf": False,
        "message_context_days": 0,
        "slack_as_single_message": True,
        "use_original_filename": False,
        "documentNumbering": {
            "fieldName": option("ControlNumber"),
            "prefix": option("CN"),
            "startNumber": option(1),
            "digits": option(8),
            "groupIdentifierField": option("GroupID"),
        },
        "volumeNumbering": {
            "prefix": option("VOL"),
            "startNumber": option(1),
            "digits": option(3),
            "maxSize": option(2000),
        },
        "subdirectoryNumbering": {
            "includeNatives": option(False),
            "exportTextSeparately": option(False),
            "textFileEncoding": option("utf-8"),
            "nativeFolderName": option("NATIVE"),
            "textFolderName": option("TEXT"),
            "startNumber": option(1),
            "digits": option(3),
            "maxFilesPerFolder": option(500),
        },
        "loadFileFormat": {
            "format": option("csv"),
            "encoding": option("utf-8"),
            "columnCharacter": option(44),
            "quoteCharacter": option(34),
            "newLineCharacter": option(10),
            "multivalueCharacter": option(59),
            "nestedCharacter": option(92),
        },
    }


def test_all_known_columns_are_selected_in_both_blocks() -> None:
    """Which of the two blocks the vendor obeys is not published, so they say the same."""
    settings = default_settings()
    wanted = {interface: names.split() for interface, names in COLUMNS.items()}
    assert settings["meta"] == {
        interface: [option(name) for name in names] for interface, names in wanted.items()
    }
    assert [child for group in settings["formattedMeta"] for child in group["children"]] == [
        {"label": name, "value": f"{interface}|{name}", "isSelected": True, "isHidden": True}
        for interface, names in wanted.items()
        for name in names
    ]


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
    for nested in ({"or": [term, old]}, {"or": [term]}):
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
    vendor().check(prepared({"id": "$ A-1._@$^()+= "}), NOW)
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
        ({"id": "weekly\n"}, "starts with neither"),
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
    assert vendor().settled_at(prepared({"modified_after": None})) == end + 1800
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
        ({"file": {**FILE, "size": None}}, ExportState.RUNNING),
        ({"file": {**FILE, "size": True}}, ExportState.RUNNING),
        ({"status": "done", "file": {**FILE, "size": None}}, ExportState.READY),
        ({"status": "what", "file": FILE}, ExportState.RUNNING),
        ({"status": "what", "error": "settings[0] has no meta"}, ExportState.FAILED),
        ({"status": "what"}, ExportState.RUNNING),
        ({"sync_status": "error", "error": "settings[0] has no meta"}, ExportState.FAILED),
        ({"exception": {"code": 3}}, ExportState.FAILED),
        ({"state": "expired"}, ExportState.EXPIRED),
        ({"state": "aborted"}, ExportState.CANCELLED),
    ],
)
def test_state_follows_from_word_file_and_error(fields: dict[str, Any], state: ExportState) -> None:
    """An object without any of them is running, and so is one with a word that nobody knows.

    Beside such a word a file may still be written to; an error ends the export whatever the word is.
    """
    export = read(obj(**fields))
    assert export.state is state
    assert export.documented is (fields.get("status") != "what")
    assert bool(export.files) is (state is ExportState.READY)


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
        {name: value for name, value in obj().items() if name != "@name"},
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
        (
            412,
            {
                "error": {"type": "PreconditionFailed", "message": "Invalid id"},
                "reason": "invalidId",
                "details": "Invalid id",
                "type": "PreconditionFailed",
            },
            ExportRejected,
            "Invalid id; invalidId",
        ),
        (
            412,
            {
                "reason": "notAllowed",
                "details": "Not here",
                "type": "PreconditionFailed",
                "message": "Type not allowed",
            },
            ExportRejected,
            "Type not allowed; Not here; notAllowed",
        ),
        (412, "text", ExportRejected, "text"),
        (412, [], ExportRejected, "HTTP 412"),
        (412, {"reason": "r", "deserialization_errors": 7}, ExportRejected, "HTTP 412.*r"),
        (
            401,
            {
                "reason": "unauthorized",
                "details": "No right",
                "type": "Unauthorized",
                "message": "May not add",
            },
            PermissionDenied,
            "May not add; No right; unauthorized",
        ),
        (
            401,
            {"reason": "You are not authorized to view", "content": "x", "auth": USER},
            PermissionDenied,
            "not authorized to view",
        ),
        (409, {}, RateLimited, "database is busy"),
        (409, {"reason": "locked"}, ExportRejected, "HTTP 409.*locked"),
        (409, "no JSON object", ExportRejected, "no JSON object"),
    ],
)
def test_refused_creates(status: int, body: Any, error: type[Exception], said: str) -> None:
    """The framework's error bodies are read whatever their shape."""
    with pytest.raises(error, match=said):
        Replay([*LOGIN, *answers_to(ok(body, status))]).run(life().submit(PAYLOAD))


def answers_to(refusal: Response) -> list[Response]:
    """A 401 leads to a new login and one more try, a busy database to four more."""
    return [refusal, *LOGIN, refusal] if refusal.status == 401 else [refusal] * 5


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_conflict_that_says_nothing_is_a_busy_database(body: bytes) -> None:
    """Such a 409 is a write conflict, tried again after a pause; it is never taken for a duplicate."""
    replay = Replay([*LOGIN, Response(409, {}, body), ok(summary(), 201), ok({})])
    assert replay.run(life().submit(PAYLOAD)).state is ExportState.RUNNING
    assert len(replay.pauses) == 1


def test_fault_of_the_framework_is_looked_behind() -> None:
    """A 500 to a create says nothing about the export: its id is looked for before it is sent again."""
    fault = {
        "message": "Error on execution of view 5f",
        "reason": "unknownError",
        "details": "D",
        "eid": "5f",
    }
    replay = Replay([*LOGIN, ok(fault, 500), ok(obj(status="created")), ok({}, 404), ok({})])
    assert replay.run(life().submit(PAYLOAD)).state is ExportState.RUNNING
    assert seen(replay)[:2] == [("POST", FOLDER), ("GET", f"{FOLDER}/{NAME}")]


@pytest.mark.parametrize("reason", ["oauthServerFailure", "userApiTimeout"])
def test_unwell_login_server_is_waited_for(reason: str) -> None:
    """424 passes like a 503."""
    down = ok({"reason": reason, "message": "Down", "retries": 3, "status": 500, "text": "x"}, 424)
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
    replay = Replay([*LOGIN, data(obj("a", status="created"), foreign, cursor="n"), data(newer)])
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [export.export_id for export in exports] == ["b", "a"]
    assert sent(replay)[2:] == [
        signed("GET", f"{API}/@data", {"types": "Export"}),
        signed("GET", f"{API}/@data", {"types": "Export", "cursor": "n"}),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        data(summary("a")),
        data({"title": "T", "@uid": "u", "creation_date": "2027-01-15T07:59:30+00:00"}),
        data({**summary("a"), "status": "done"}),
        data("x"),
        ok({}, 412),
    ],
)
def test_list_falls_back_to_the_folder(answer: Response) -> None:
    """Entries without state or file, or no list at all: the folder shows whole objects.

    There a broken one hides nothing.
    """
    replay = Replay([*LOGIN, answer, folder(obj("a", status="created"), {**obj("e", status="done")}, "x")])
    plan = life()
    exports = replay.run(plan.call(plan.vendor.list_exports()))
    assert [(export.export_id, export.state) for export in exports] == [("a", ExportState.QUEUED)]
    assert (replay.requests[-1].path, dict(replay.requests[-1].params)) == (FOLDER, {"fullobjects": "true"})


@pytest.mark.parametrize("answer", [ok([]), ok({"updates": None})])
def test_lists_of_another_shape_are_reported(answer: Response) -> None:
    """Neither is taken for an empty list, nor for an empty folder."""
    for answers, said in (([answer], "without updates"), ([ok({}, 412), answer], "without items")):
        plan = life()
        with pytest.raises(UnexpectedResponse, match=said):
            Replay([*LOGIN, *answers]).run(plan.call(plan.vendor.list_exports()))


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


@pytest.mark.parametrize(
    "answers",
    [
        [ok({"types": []})],
        [ok(["SlackEDatasource"]), data({"title": "x"})],
        [ok(["SlackEDatasource"]), data({"title": "x", "@uid": "u", "creation_date": "2026-01-01"})],
    ],
)
def test_datasources_of_another_shape_are_reported(answers: list[Response]) -> None:
    """None is taken for no datasources; without an address nobody knows the workspace of one."""
    plan = life(workspace=WORKSPACE)
    with pytest.raises(UnexpectedResponse):
        Replay([*LOGIN, *answers]).run(plan.call(plan.vendor.list_datasources()))


@pytest.mark.parametrize("status", [200, 204])
def test_delete_reads_no_body(status: int) -> None:
    """It is empty whatever its content type says."""
    replay = Replay([*LOGIN, Response(status, {"content-type": "application/json"})])
    assert replay.run(life().delete(NAME)) is True
    assert seen(replay) == [("DELETE", f"{FOLDER}/{NAME}")]
    assert Replay([*LOGIN, ok({}, 404)]).run(life().delete(NAME)) is False


def test_ping_tells_the_account() -> None:
    """The sentence is for people."""
    plan = life()
    assert "ACME" in Replay([*LOGIN, ok({"login": USER})]).run(plan.call(plan.vendor.ping()))


def test_declared_facts() -> None:
    """Deleting is the only way to stop an export, nothing repeats or dates it, files want the token."""
    facts = OnnaVendor.delete_cancels, OnnaVendor.expiry, OnnaVendor.links
    assert facts == (True, Expiry.UNKNOWN, Links.AUTHENTICATED)


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


class TestOnnaConformance(VendorConformance):
    """Onna: a login of two steps, a start of its own, words that nobody has published."""

    vendor_class = OnnaVendor
    connection = ConnectionInfo(
        "onna_default",
        login=USER,
        password="s3same",
        extra={"account": "ACME", "container": "rel0", "max_active": 0, "check_files": False},
    )
    payload = SHORT
    # As a look shows them: it asks for all but the settings.
    samples = tuple(
        (look(status=word, file=FILE if state is ExportState.READY else None), state)
        for word, state in OnnaVendor.states.items()
    )
    happy_path = (
        *LOGIN,
        ok(summary(), 201),
        ok({}),
        ok(look(status="pending")),
        ok(look(status="done", file=FILE)),
    )
    # 401 is also what others answer with 403; only a 409 of known content is a duplicate.
    create_errors = MappingProxyType({401: PermissionDenied, 409: ExportRejected})
    get_errors = MappingProxyType({401: PermissionDenied})

    def test_create_is_never_repeated(self) -> None:
        """Neither create nor start, the two requests of one submit, is sent again when nobody answers."""
        once = [request.operation for request in self.happy()[0].requests if not request.idempotent]
        assert once == ["create", "@multiFileExport"]
        replay, error = self.refused_create(NetworkError("the connection broke", sent=True))
        assert isinstance(error, UnknownOutcome)
        assert [request.operation for request in replay.requests if not request.idempotent] == ["create"]

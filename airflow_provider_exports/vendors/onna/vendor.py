"""Everything that is known about Onna exports.

Source of the vendor facts, where no other is named:
https://developers.onna.com/tutorials/customize-export/create-exports.html. The page ends with the start of
the export. What comes after it (state, file, deletion) follows the framework that the API is built on,
https://github.com/plone/guillotina, or is a setting.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import (
    JSON,
    Datasource,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.vendor import Capability, Vendor, VendorSettings, invalid_payload
from airflow_provider_exports.core.wire import Flow, Request, Response
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    VendorUnavailable,
)
from airflow_provider_exports.vendors.onna import query
from airflow_provider_exports.vendors.onna.settings_template import default_settings

# Stops a list whose cursor never ends.
_MAX_PAGES = 10_000
# How often one occurrence may be created anew after its exports have failed or expired.
_MAX_REPEATS = 50
_JWT = re.compile(r"[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]*")
_USABLE = (ExportState.QUEUED, ExportState.RUNNING, ExportState.READY)

# Parameter to setting, for those that need no more than a place.
_SWITCHES = {
    "include_family": "include_family",
    "single_messages": "slack_as_single_message",
    "exclude_nist": "exclude_nist",
    "dedupe_parents": "dedupe_parents",
    "prefer_pdf": "prefer_pdf",
}
_SCOPE = ("workspace_url", "datasource_uid", "type_name", "modified_after", "modified_before")
_SHORTHANDS = ("template", *_SCOPE, *_SWITCHES, "message_context_days", "load_file_format")


class _NotAllowed(AuthenticationFailed):
    """A 401 to a token: it is dead, or a right is missing. Only a second one to a new token tells."""


@dataclass(frozen=True, kw_only=True)
class OnnaSettings(VendorSettings):
    """Onna's own settings in the connection's Extra; durations are seconds.

    The vendor publishes neither limits nor the names of state and file: all such defaults here are ours.
    """

    account: str = ""
    """Name of the Onna account (required)."""
    container: str = ""
    """Database that holds the account, such as ``rel0``; empty takes the account's name."""
    client_id: str = "canonical"
    """Client of the login; the vendor has only this one."""
    token_margin: float = 600.0
    """How long before its end a token is replaced."""
    id_prefix: str = "airflow-"
    """What the ids of exports begin with when the task names none."""
    run_title: str = "title"
    """What starts an export besides its URL: ``title`` by the vendor's page, ``name`` by its script."""
    path_form: str = "ui"
    """URL of a workspace in the scope: ``ui`` for that of the user interface, ``api`` for that of the API, or
    ``given`` to leave it as it is."""
    time_form: str = "instant"
    """Bounds of the window: ``instant``, or ``date`` for whole days like the vendor's example."""
    status_fields: str = "status, export_status, sync_status, state"
    """Where an export's status word may stand, first match wins."""
    status_map: str = ""
    """More status words or other meanings, such as ``packed=ready, broken=failed``."""
    error_fields: str = "error, exception"
    """Where an export's error may stand."""
    file_fields: str = "file, export_file, files"
    """Where an export's files may hang."""
    check_files: bool = True
    """Ask for the head of each file of a ready export: a missing one is the only known sign of expiry."""
    workspace: str = ""
    """Name or URL of the workspace whose datasources are listed; empty for all."""
    datasource_types: str = ""
    """Types of datasources to list, comma separated; empty asks the vendor which are enabled."""
    max_active: int = 2
    """Most exports of the user that run at once; a create waits for room. 0 for no limit of ours."""
    allow_future: bool = False
    """Permit a window that has not ended yet."""
    # https://developers.onna.com/tutorials/datasources/ds-sync-status-types.html: 20 to 30 minutes.
    settle_delay: float = 1800.0
    max_requests: int = 2
    max_requests_period: float = 1.0
    poll_initial: float = 30.0
    # Workplace conversations are personal data.
    file_mode: str = "600"


class OnnaVendor(Vendor):
    """Onna. An export is an object in the user's folder, created first and started by a second call."""

    name = "onna"
    display_name = "Onna"
    docs_url = "https://developers.onna.com/tutorials/customize-export/create-exports.html"
    default_host = "https://enterprise.onna.com"
    settings_class = OnnaSettings
    capabilities = frozenset(
        {
            Capability.LOGIN,
            Capability.START,
            Capability.FIND,
            Capability.LIST,
            Capability.DATASOURCES,
            Capability.DELETE,
            Capability.PING,
        }
    )
    # None of the words is published for exports; a few are for datasources.
    states: ClassVar[Mapping[str, ExportState]] = {
        **dict.fromkeys(("created", "draft", "new"), ExportState.QUEUED),
        **dict.fromkeys(
            ("pending", "queued", "scheduled", "syncing", "processing", "running", "in_progress", "resuming"),
            ExportState.RUNNING,
        ),
        **dict.fromkeys(
            ("ready", "synced", "done", "finished", "complete", "completed", "success", "exported"),
            ExportState.READY,
        ),
        **dict.fromkeys(("error", "failed", "failure"), ExportState.FAILED),
        "expired": ExportState.EXPIRED,
        **dict.fromkeys(("cancelled", "canceled", "aborted"), ExportState.CANCELLED),
    }
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "title": ("title",),
        "unique_id": ("id",),
        **{name: (name,) for name in _SHORTHANDS},
    }

    settings: OnnaSettings

    def make_auth(self) -> HeaderToken:
        settings, conn_id = self.settings, self.connection.conn_id
        for label, value in (
            ("user e-mail", self.connection.login),
            ("password", self.connection.password),
            ("account", settings.account),
        ):
            if not value:
                raise InvalidConnection(f"connection {conn_id!r} has no {label}.")
        for name, value, allowed in (
            ("run_title", settings.run_title, ("title", "name")),
            ("path_form", settings.path_form, ("ui", "api", "given")),
            ("time_form", settings.time_form, ("instant", "date")),
        ):
            if value not in allowed:
                raise InvalidConnection(f"the setting {name!r} must be one of {', '.join(allowed)}.")
        self._words = dict(self.states)
        for entry in _items(settings.status_map):
            word, _, state = (part.strip().lower() for part in entry.partition("="))
            if not word or state not in list(ExportState):
                said = "the setting 'status_map' reads like 'packed=ready, broken=failed'."
                raise InvalidConnection(said, next_step=f"The states are {', '.join(ExportState)}.")
            self._words[word] = ExportState(state)
        container = settings.container or settings.account
        self._api = f"/api/{quote(container, safe='')}/{quote(settings.account, safe='')}"
        # The framework takes a literal @ in the middle of a segment.
        self._folder = f"{self._api}/{quote(self.connection.login, safe='@')}"
        self._token_dies_at: float | None = None
        return HeaderToken("")

    # -- login -----------------------------------------------------------------------------------------

    def login(self) -> Flow[str]:
        # https://developers.onna.com/get-started/authentication.html
        try:
            return (yield from self._login())
        except ExportRejected as error:
            if error.http_status != 400:
                raise
        # A code is good for one try and two minutes: an answer that was lost has used it up.
        try:
            return (yield from self._login())
        except ExportRejected as error:
            raise AuthenticationFailed(
                error.message, http_status=error.http_status, next_step="Check account and client_id."
            ) from None

    def token_expires_at(self, token: str) -> float | None:
        claims = _claims(token)
        expires_at, issued_at = claims.get("exp"), claims.get("iat")
        if not isinstance(expires_at, (int, float)):
            self._token_dies_at = None
            return None
        self._token_dies_at = float(expires_at)
        margin = self.settings.token_margin
        if isinstance(issued_at, (int, float)):
            # A token shorter than the margin would be replaced at every call.
            margin = min(margin, max(0.0, (expires_at - issued_at) / 2))
        return float(expires_at) - margin

    def ping(self) -> Flow[str]:
        # https://developers.onna.com/get-started/authentication.html
        yield from self._ask(
            Request("POST", "/auth/oauth/me", params={"scope": self.settings.account}, operation="oauth/me")
        )
        return f"the login is accepted for account {self.settings.account}"

    # -- exports ---------------------------------------------------------------------------------------

    def create(self, payload: Payload) -> Flow[Export]:
        yield from self._wait_for_room(payload)
        for name in _names(payload):
            body = {**payload, "id": name}
            try:
                response = yield from self._ask(
                    Request("POST", self._folder, json=body, idempotent=False, operation="create")
                )
            except ExportConflict:
                existing = yield from self._existing(name, payload)
                if existing.state in _USABLE:
                    return existing
                # It failed or expired and blocks its id for good.
                continue
            export = self.read(response.json(), response.server_time)
            # The answer is a summary without state; nothing runs before the second call.
            return replace(export, state=ExportState.QUEUED)
        raise ExportRejected(
            f"{_MAX_REPEATS} exports of this title and these settings have failed or expired.",
            next_step="Delete them at the vendor, or give the task another title.",
        )

    def start(self, export: Export, payload: Payload) -> Flow[Export]:
        if not _is_untouched(export):
            return export
        title = export.export_id if self.settings.run_title == "name" else payload["title"]
        # The vendor's own string: it is made from what the server thinks its address is.
        body = {"title": title, "resource_url": export.parameters["@id"]}
        request = Request(
            "POST",
            f"{self._api}/@multiFileExport",
            json=body,
            idempotent=False,
            operation="@multiFileExport",
            export_id=export.export_id,
        )
        try:
            yield from self._ask(request)
        except UnknownOutcome:
            # What a second start does is not published: look for signs of work first.
            current = yield from self.get(export.export_id)
            if not _is_untouched(current):
                return current
            yield from self._ask(request)
        # The body of the answer is not published.
        return replace(export, state=ExportState.RUNNING, vendor_status=None)

    def get(self, export_id: str) -> Flow[Export]:
        export = yield from self._object(export_id, {"omit": "settings"})
        return export

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        found = []
        for name in _names(payload):
            try:
                export = yield from self._existing(name, payload)
            except ExportNotFound:
                break
            if export.state in _USABLE:
                found.append(export)
        return found[::-1]

    def list_exports(self) -> Flow[list[Export]]:
        rows: list[tuple[JSON, float]] | None
        try:
            rows = yield from self._data("Export")
        except ExportRejected:
            rows = None
        # Which fields the entries carry is published for datasources only, without the state.
        if rows is None or not all(isinstance(row, dict) and self._word(row) for row, _ in rows):
            rows = yield from self._children()
        return self._exports(rows)

    def delete(self, export_id: str) -> Flow[None]:
        # 200 or 204, and no body.
        yield from self._ask(
            Request("DELETE", self._path(export_id), operation="delete", export_id=export_id)
        )

    def list_datasources(self) -> Flow[list[Datasource]]:
        types = _items(self.settings.datasource_types)
        if not types:
            # https://developers.onna.com/tutorial/primer/create-static-datasource.html
            response = yield from self._ask(
                Request("GET", f"{self._api}/@enabledDSTypes", operation="@enabledDSTypes")
            )
            types = response.json()
            if not isinstance(types, list) or not all(isinstance(name, str) for name in types):
                raise UnexpectedResponse("@enabledDSTypes answers without a list of names.")
        workspace = self.settings.workspace.rstrip("/").rpartition("/")[2]
        found: dict[str, Datasource] = {}
        for name in types:
            for row, _ in (yield from self._data(name)):
                if not isinstance(row, dict) or not isinstance(row.get("@uid"), str):
                    raise UnexpectedResponse("a listed datasource has no @uid.")
                if workspace and f"/workspaces/{workspace}/" not in unquote(str(row.get("@id"))):
                    continue
                found[row["@uid"]] = Datasource(row["@uid"], str(row.get("title") or row["@uid"]))
        return list(found.values())

    def parse(self, raw: JSON, now: float) -> Export:
        export_id = raw.get("@name") or unquote(urlsplit(raw["@id"]).path.rstrip("/").rpartition("/")[2])
        word = self._word(raw)
        state = self._words.get(word.lower()) if word else None
        files = self._files(raw, export_id)
        problem = next((raw[name] for name in _items(self.settings.error_fields) if raw.get(name)), None)
        documented = word is None or state is not None
        if state is None:
            # The service may have no such field: then only a file or an error tells that it is over.
            state = ExportState.READY if files else ExportState.FAILED if problem else ExportState.RUNNING
        if state is ExportState.READY and not files:
            raise UnexpectedResponse(
                f"its status is {word!r}, but none of the fields {self.settings.file_fields} holds a file.",
                export_id=export_id,
                next_step="If the files hang elsewhere, name the field in the setting file_fields.",
            )
        if state is ExportState.FAILED and problem:
            reason = problem if isinstance(problem, str) else json.dumps(problem)
            word = f"{word or 'no status'}: {redact(reason, self.secrets, limit=200)}"
        return Export(
            vendor=self.name,
            export_id=export_id,
            state=state,
            vendor_status=word,
            documented=documented,
            created_at=times.reported(raw.get("creation_date"), "creation_date"),
            files=files if state is ExportState.READY else (),
            parameters={name: raw[name] for name in ("@id", "title", "settings") if name in raw},
        )

    # -- payload ---------------------------------------------------------------------------------------

    def prepare(self, payload: Payload) -> Payload:
        given = {name: value for name, value in payload.items() if value is not None}
        short = {name: given.pop(name) for name in _SHORTHANDS if name in given}
        problems: list[Problem] = []
        own = _one_settings(given.get("settings"), "settings", problems)
        template = short.pop("template", None)
        if isinstance(template, Mapping) and "settings" in template:
            template = template["settings"]
        captured = _one_settings(template, "template", problems)
        settings: dict[str, Any] = {**default_settings(), **captured, **own}
        for name in short:
            place = "scope_query" if name in _SCOPE else _SWITCHES.get(name, name)
            place = "loadFileFormat" if name == "load_file_format" else place
            if place in own:
                problems.append(Problem(f"settings.0.{place}", f"is given by {name} and by settings at once"))
        self._apply(short, settings, problems)
        if problems:
            raise invalid_payload(self.name, problems)
        title = given.get("title") or own.get("name")
        settings["created_by"] = own.get("created_by") or self.connection.login
        settings.pop("name", None)
        name = given.get("id") or self.settings.id_prefix + _digest({"title": title, "settings": settings})
        # Page and script disagree on what must equal what: one text for all three suits both.
        title = title or name
        return {
            **{key: value for key, value in given.items() if key not in ("settings", "id", "title")},
            "@type": given.get("@type", "Export"),
            "id": name,
            "title": title,
            "settings": [{"name": title, **settings}],
        }

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        path = "settings.0.scope_query"
        scope = payload["settings"][0]["scope_query"]
        if not scope or query.conditions(scope) is None:
            yield Problem(path, "must hold its conditions under advanced")
            return
        start, end = _window(payload)
        if start is not None and end is not None and end <= start:
            hint = (
                ". On Airflow 3 a plain cron schedule has intervals of no length: "
                "use CronDataIntervalTimetable"
                if end == start
                else ""
            )
            yield Problem(path, f"has a window whose end is not later than its start{hint}")
        elif end is not None and end.timestamp() > now and not self.settings.allow_future:
            yield Problem(path, "has a window that ends in the future")

    def settled_at(self, payload: Payload) -> float | None:
        end = _window(payload)[1]
        if end is None or self.settings.allow_future:
            return None
        return end.timestamp() + self.settings.settle_delay

    def advise(self, payload: Payload) -> str | None:
        scope = payload["settings"][0]["scope_query"]
        if payload["settings"][0]["scope_uuid"] or any(
            query.operands(scope, field) for field in (query.PATH, query.DATASOURCE)
        ):
            return None
        return "neither a workspace nor a datasource is given: everything the user may see is exported"

    # -- errors ----------------------------------------------------------------------------------------

    def is_conflict(self, request: Request, response: Response) -> bool:
        if response.status != 409:
            return False
        try:
            body = response.json()
        except UnexpectedResponse:
            return False
        return isinstance(body, dict) and body.get("reason") == "conflictId"

    def error(self, request: Request, response: Response) -> ExportError | None:
        status = response.status
        if request.operation == "head" and status not in (401, 424, 429, 500, 502, 503, 504):
            # Only whether the file is there counts; storage elsewhere may redirect.
            return None
        refused = super().error(request, response)
        if refused is None:
            return None
        details: dict[str, Any] = {"export_id": request.export_id, "http_status": status}
        if request.signed and (status == 401 or self._is_dead_token(response)):
            # Existence is never told to a caller who may not look: 401 stands for 403 as well.
            said = self.error_text(response)
            return _NotAllowed(
                f"{request.operation} is not allowed (HTTP {status})."
                + (f' The vendor says: "{said}"' if said else ""),
                **details,
            )
        if status == 409 and not isinstance(refused, ExportConflict):
            # https://github.com/plone/guillotina: a write conflict in the database; nothing was written.
            return RateLimited(
                f"{request.operation}: the vendor's database is busy (HTTP 409).",
                next_step="Nothing was written; let the task retry.",
                **details,
            )
        if status == 424:
            # https://github.com/onna/guillotina_oauth
            return VendorUnavailable(refused.message, retry_after=response.retry_after, **details)
        if status in (404, 410) and isinstance(refused, ExportRejected):
            refused.next_step = (
                "Check address, container, account and user of the connection. The vendor has announced "
                "the end of this API: it may be gone."
            )
        return refused

    def error_words(self, body: JSON) -> str:
        # https://github.com/plone/guillotina: the shapes of its error bodies.
        if not isinstance(body, dict):
            return body if isinstance(body, str) else ""
        inner = body.get("error")
        words = [
            str(value)
            for value in (
                body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner),
                body.get("details"),
                body.get("reason"),
            )
            if value
        ]
        for entry in body.get("deserialization_errors") or ():
            if isinstance(entry, dict):
                words.append(f"{entry.get('field')}: {entry.get('message')}")
        return "; ".join(dict.fromkeys(words))

    # -- inside ----------------------------------------------------------------------------------------

    def _login(self) -> Flow[str]:
        account, client_id = self.settings.account, self.settings.client_id
        response = yield Request(
            "GET",
            f"{self._api}/@oauthgetcode",
            params={"client_id": client_id, "scope": account},
            operation="@oauthgetcode",
            signed=False,
        )
        body = response.json()
        code = body.get("auth_code", "") if isinstance(body, dict) else ""
        if code is None:
            raise AuthenticationFailed(
                "the vendor gives no code for a login.", next_step="Check account and client_id."
            )
        if not code or not isinstance(code, str):
            raise UnexpectedResponse("@oauthgetcode answers without auth_code.")
        response = yield Request(
            "POST",
            "/auth/oauth/get_auth_token",
            json={
                "grant_type": "user",
                "code": code,
                "username": self.connection.login,
                "password": self.connection.password,
                "scopes": [account],
                "client_id": client_id,
            },
            headers={"Accept": "application/json"},
            operation="get_auth_token",
            signed=False,
        )
        # The whole body is the token.
        token = response.body.decode("ascii", "replace").strip()
        if not _JWT.fullmatch(token):
            raise UnexpectedResponse("get_auth_token answers with something that is no token.")
        self.token_expires_at(token)
        return token

    def _ask(self, request: Request) -> Flow[Response]:
        """Send a signed request; a 401 that a new token does not mend is a missing right."""
        try:
            return (yield request)
        except _NotAllowed as error:
            raise PermissionDenied(
                f"the login is good, but {error.message}",
                export_id=error.export_id,
                http_status=error.http_status,
                next_step=(
                    "Onna answers 401 for a missing right as well: check the user's role and the address, "
                    "container and account. Changes take up to two minutes to count."
                ),
            ) from None

    def _is_dead_token(self, response: Response) -> bool:
        # https://github.com/onna/guillotina_oauth: an expired token may end in a 500 that says nothing.
        return (
            response.status == 500
            and response.body.strip() in (b"", b"{}")
            and self._token_dies_at is not None
            and response.server_time >= self._token_dies_at
        )

    def _path(self, export_id: str) -> str:
        return f"{self._folder}/{quote(export_id, safe='@')}"

    def _object(self, export_id: str, params: Mapping[str, str]) -> Flow[Export]:
        response = yield from self._ask(
            Request("GET", self._path(export_id), params=params, operation="get", export_id=export_id)
        )
        export = self.read(response.json(), response.server_time)
        if self.settings.check_files:
            for file in export.files:
                head = yield from self._ask(Request("HEAD", file.url, operation="head", export_id=export_id))
                if head.status in (404, 410):
                    return replace(export, state=ExportState.EXPIRED, files=())
        return export

    def _existing(self, name: str, payload: Payload) -> Flow[Export]:
        """Return the export that has this id, if it is of the same title and settings."""
        export = yield from self._object(name, {})
        found, wanted = export.parameters, payload["settings"][0]
        stored = found.get("settings")
        stored = stored[0] if isinstance(stored, list) and stored else stored
        same = found.get("title") == payload["title"] and (
            not isinstance(stored, dict) or all(stored.get(key) == wanted[key] for key in wanted)
        )
        if not same:
            raise ExportRejected(
                "an export with this id exists and was made of another title or other settings.",
                export_id=name,
                next_step="Give the task another unique_id, or none.",
            )
        return export

    def _wait_for_room(self, payload: Payload) -> Flow[None]:
        if not self.settings.max_active:
            return
        rows = yield from self._children()
        running = {
            export.export_id
            for export, now in ((export, now) for row, now in rows for export in self._exports([(row, now)]))
            if export.state is ExportState.RUNNING
            and export.created_at is not None
            and now - export.created_at.timestamp() < self.settings.wait_timeout
        }
        # One of ours that is running already is adopted, not created.
        if len(running) >= self.settings.max_active and not running.intersection(_names(payload)):
            raise ExportConflict(
                f"{len(running)} exports of this user are running, max_active is {self.settings.max_active}."
            )

    def _children(self) -> Flow[list[tuple[JSON, float]]]:
        """Return the objects in the user's folder with the vendor's time."""
        # Without fullobjects a folder of more than 20 shows none of them.
        response = yield from self._ask(
            Request("GET", self._folder, params={"fullobjects": "true"}, operation="folder")
        )
        body = response.json()
        if not isinstance(body, dict) or not isinstance(body.get("items"), list):
            raise UnexpectedResponse("the user's folder answers without items.")
        return [(row, response.server_time) for row in body["items"]]

    def _exports(self, rows: list[tuple[JSON, float]]) -> list[Export]:
        found: dict[str, Export] = {}
        for row, now in rows:
            if not isinstance(row, dict) or row.get("@type") != "Export":
                continue
            try:
                export = self.read(row, now)
            except UnexpectedResponse:
                # One broken entry must not hide the others.
                continue
            # An id is good in its own folder only.
            where = unquote(urlsplit(row["@id"]).path)
            if where.endswith(unquote(self._path(export.export_id))):
                found[export.export_id] = export
        return sorted(
            found.values(),
            key=lambda one: one.created_at.timestamp() if one.created_at else 0.0,
            reverse=True,
        )

    def _data(self, kind: str) -> Flow[list[tuple[JSON, float]]]:
        """Return all objects of a type with the vendor's time, page by page."""
        rows: list[tuple[JSON, float]] = []
        params = {"types": kind}
        for _ in range(_MAX_PAGES):
            response = yield from self._ask(
                Request("GET", f"{self._api}/@data", params=params, operation="@data")
            )
            page = response.json()
            if not isinstance(page, dict) or not isinstance(page.get("updates"), list):
                raise UnexpectedResponse("@data answers without updates.")
            rows += [(row, response.server_time) for row in page["updates"]]
            if not page.get("cursor"):
                return rows
            params = {"types": kind, "cursor": str(page["cursor"])}
        raise UnexpectedResponse(f"@data goes on after {_MAX_PAGES} pages.")

    def _word(self, raw: Mapping[str, Any]) -> str | None:
        for name in _items(self.settings.status_fields):
            if isinstance(raw.get(name), str) and raw[name]:
                return str(raw[name])
        return None

    def _files(self, raw: Mapping[str, Any], export_id: str) -> tuple[ExportFile, ...]:
        base = f"{self.base_url}{self._path(export_id)}/@download"
        for field in _items(self.settings.file_fields):
            value = raw.get(field)
            found: list[tuple[str, dict[str, Any]]] = []
            if isinstance(value, dict) and _is_file(value):
                found = [(f"{base}/{quote(field, safe='')}", value)]
            elif isinstance(value, dict):
                found = [
                    (f"{base}/{quote(field, safe='')}/{quote(key, safe='')}", one)
                    for key, one in sorted(value.items())
                    if _is_file(one)
                ]
            if found:
                return tuple(
                    ExportFile(
                        f"{file_stem(export_id)}{f'-{number}' if len(found) > 1 else ''}.{_extension(one)}",
                        url,
                        one.get("size"),
                        authenticated=True,
                        format=_extension(one),
                    )
                    for number, (url, one) in enumerate(found, start=1)
                )
        return ()

    def _apply(self, short: Mapping[str, Any], settings: dict[str, Any], problems: list[Problem]) -> None:
        """Write the shorthands into the settings."""
        for name, key in _SWITCHES.items():
            if name in short:
                word = str(short[name]).strip().lower()
                settings[key] = {"true": True, "false": False}.get(word, short[name])
        if "message_context_days" in short:
            days = str(short["message_context_days"]).strip()
            settings["message_context_days"] = (
                int(days) if days.isdecimal() else short["message_context_days"]
            )
        if "load_file_format" in short:
            layout = settings["loadFileFormat"]
            word = short["load_file_format"]
            settings["loadFileFormat"] = {
                **(layout if isinstance(layout, dict) else {}),
                "format": {"selected": True, "viewValue": word, "value": word},
            }
        wanted: list[query.Condition] = []
        days_only = self.settings.time_form == "date"
        for name, write in (
            ("modified_after", query.modified_from),
            ("modified_before", query.modified_before),
        ):
            if name in short:
                try:
                    wanted.append(write(times.instant(short[name]), days=days_only))
                except ValueError as error:
                    problems.append(Problem(name, f"is no time: {error}"))
        if "workspace_url" in short:
            wanted.append(query.below(self._workspace_url(str(short["workspace_url"]))))
        if "datasource_uid" in short:
            uids = short["datasource_uid"]
            wanted.append(query.of_datasources([uids] if isinstance(uids, str) else uids))
        if "type_name" in short:
            wanted.append(query.of_type(short["type_name"]))
        if wanted:
            narrowed = query.narrowed(settings["scope_query"], wanted)
            if narrowed is None:
                problems.append(Problem("scope_query", "has a form into which no condition can be added"))
            else:
                settings["scope_query"] = narrowed

    def _workspace_url(self, given: str) -> str:
        """Return the URL of a workspace in the form that ``path_form`` names."""
        account = quote(self.settings.account, safe="")
        forms = {"api": f"{self._api}/workspaces/", "ui": f"/{account}/user/workspaces/"}
        wanted = forms.get(self.settings.path_form)
        if wanted is None:
            return given
        for form in forms.values():
            base, found, rest = given.partition(form)
            if found:
                return base + wanted + rest
        return given if "/" in given else f"{self.base_url}{wanted}{given}"


def _items(setting: str) -> list[str]:
    return [item.strip() for item in setting.split(",") if item.strip()]


def _names(payload: Payload) -> Iterator[str]:
    """Yield the ids that exports of one payload may have, in the order they are taken."""
    yield payload["id"]
    for number in range(2, _MAX_REPEATS + 1):
        yield f"{payload['id']}-{number}"


def _is_untouched(export: Export) -> bool:
    """Return whether nothing shows that an export was started."""
    return not export.state.finished and (export.state is ExportState.QUEUED or export.vendor_status is None)


def _is_file(value: Any) -> bool:
    # https://github.com/plone/guillotina, files/field.py: filename, content_type, size, extension, md5.
    return (
        isinstance(value, dict)
        and ("filename" in value or "content_type" in value)
        and (value.get("size") is None or (isinstance(value["size"], int) and value["size"] > 0))
    )


def _extension(file: Mapping[str, Any]) -> str:
    extension = str(file.get("extension") or "zip").lower().lstrip(".")
    return extension if re.fullmatch(r"[a-z0-9]{1,8}", extension) else "zip"


def _claims(token: str) -> dict[str, Any]:
    """Return what a token says about itself; empty when it cannot be read. Not verified: it is ours."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _one_settings(value: Any, name: str, problems: list[Problem]) -> dict[str, Any]:
    """Return the one settings object of a payload or template, which may stand in a list."""
    if value is None:
        return {}
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(one, Mapping):
        return dict(one)
    problems.append(Problem(name, "must be one object, or a list of one"))
    return {}


def _window(payload: Payload) -> tuple[datetime | None, datetime | None]:
    """Return start (included) and end (excluded) of ``date_modified``; None where none can be read."""
    found = query.operands(payload["settings"][0]["scope_query"], query.MODIFIED)

    def moment(operator: str) -> datetime | None:
        try:
            return times.instant(found[operator]) if operator in found else None
        except ValueError:
            return None

    start = moment(">")
    if start is not None:
        start += query.DAY if len(str(found[">"])) == len("2026-01-31") else query.TICK
    return start, moment("<")

"""Everything that is known about Onna exports.

Source of the vendor facts, where no other is named:
https://developers.onna.com/tutorials/customize-export/create-exports.html. The page ends with the start of
the export. What comes after it (state, file, deletion) follows the framework that the API is built on,
https://github.com/plone/guillotina, or is a setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Datasource,
    Export,
    ExportState,
    Payload,
    Problem,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.turns import Room
from airflow_provider_exports.core.vendor import Capability, Links, Vendor
from airflow_provider_exports.core.wire import Flow, Request, Response
from airflow_provider_exports.exceptions import (
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    UnexpectedResponse,
    UnknownOutcome,
)
from airflow_provider_exports.vendors.onna import answers, faults
from airflow_provider_exports.vendors.onna.login import claims, log_in
from airflow_provider_exports.vendors.onna.payload import (
    SHORTHANDS,
    content,
    is_unlimited,
    prepared,
    scope_problems,
    window,
)
from airflow_provider_exports.vendors.onna.settings import STATES, OnnaSettings, items

# Stops a list whose cursor never ends.
_MAX_PAGES = 10_000
# All exports of one connection count against the same limit.
_QUEUE = "exports"
# How often one occurrence may be created anew after its exports have failed or expired.
_MAX_REPEATS = 50
_USABLE = (ExportState.QUEUED, ExportState.RUNNING, ExportState.READY)
# Answers to a HEAD that say nothing about the file.
_NOT_ABOUT_THE_FILE = (401, 424, 429, 500, 502, 503, 504)


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
            Capability.ROOM,
            Capability.FIND,
            Capability.LIST,
            Capability.DATASOURCES,
            Capability.DELETE,
            Capability.PING,
        }
    )
    # No other lever is known; that the job stops as well is assumed.
    delete_cancels = True
    lists_states = True
    links = Links.AUTHENTICATED
    states = STATES
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "title": ("title",),
        "unique_id": ("id",),
        **{name: (name,) for name in SHORTHANDS},
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
        settings.check_choices()
        self._words = settings.words()
        container = settings.container or settings.account
        self._api = f"/api/{quote(container, safe='')}/{quote(settings.account, safe='')}"
        # The framework takes a literal @ in the middle of a segment.
        self._folder = f"{self._api}/{quote(self.connection.login, safe='@')}"
        self._token_dies_at: float | None = None
        return HeaderToken("")

    # -- login -----------------------------------------------------------------------------------------

    def login(self) -> Flow[str]:
        token = yield from log_in(self.connection, self.settings, self._api)
        # The first request is sent before anybody asks when the token ends.
        self.token_expires_at(token)
        return token

    def token_expires_at(self, token: str) -> float | None:
        told = claims(token)
        expires_at, issued_at = told.get("exp"), told.get("iat")
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
        if self.queue(payload):
            room = yield from self.room(_QUEUE)
            # One of ours that is running already is adopted, not created.
            if not room.taken.intersection(_names(payload)):
                room.raise_if_full()
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

    def parse(self, raw: JSON, now: float) -> Export:
        export_id, settings = raw["@name"], self.settings
        word, problem = answers.status_word(raw, settings), answers.problem(raw, settings)
        files = answers.files(raw, settings, export_id, f"{self.base_url}{self._path(export_id)}")
        state = self._words.get(word.lower()) if word else None
        documented = word is None or state is not None
        if state is None:
            # The service may have no such field: then a file tells that it is ready. Beside a word that
            # nobody knows a file tells nothing, it may still be written to. An error always ends it.
            whole = word is None and files and all(file.size for file in files)
            state = ExportState.READY if whole else ExportState.FAILED if problem else ExportState.RUNNING
        if state is ExportState.READY and not files:
            raise UnexpectedResponse(
                f"its status is {word!r}, but none of the fields {settings.file_fields} holds a file.",
                export_id=export_id,
                next_step="If the files hang elsewhere, name the field in the setting file_fields.",
            )
        if state is ExportState.FAILED and problem:
            word = f"{word or 'no status'}: {redact(problem, self.secrets, limit=200)}"
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

    def told_apart(self, payload: Payload, mark: str) -> Payload:
        return {**payload, "id": f"{payload['id']}-{mark}"}

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
        # Which fields the entries carry is published for datasources only; the folder shows whole objects.
        if rows is None or not all(self._is_whole(row, now) for row, now in rows):
            rows = yield from self._children()
        return (yield from self._exports(rows))

    def list_datasources(self) -> Flow[list[Datasource]]:
        types = items(self.settings.datasource_types)
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
                if workspace and not isinstance(row.get("@id"), str):
                    raise UnexpectedResponse(
                        "a listed datasource has no @id, which alone tells its workspace.",
                        next_step="Leave the setting workspace empty: all datasources are listed then.",
                    )
                if workspace and f"/workspaces/{workspace}/" not in unquote(row["@id"]):
                    continue
                found[row["@uid"]] = Datasource(row["@uid"], str(row.get("title") or row["@uid"]))
        return list(found.values())

    def delete(self, export_id: str) -> Flow[None]:
        # 200 or 204, and no body.
        yield from self._ask(
            Request("DELETE", self._path(export_id), operation="delete", export_id=export_id)
        )

    # -- payload ---------------------------------------------------------------------------------------

    def prepare(self, payload: Payload) -> Payload:
        return prepared(payload, self.settings, self.connection.login, self.base_url, self._api)

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        return scope_problems(payload, now, allow_future=self.settings.allow_future)

    def content(self, payload: Payload) -> Content:
        return content(payload)

    def settled_at(self, payload: Payload) -> float | None:
        end = window(payload)[1]
        if end is None or self.settings.allow_future:
            return None
        return end.timestamp() + self.settings.settle_delay

    def advise(self, payload: Payload) -> str | None:
        if is_unlimited(payload):
            return "neither a workspace nor a datasource is given: everything the user may see is exported"
        return None

    # -- errors ----------------------------------------------------------------------------------------

    def is_conflict(self, request: Request, response: Response) -> bool:
        return faults.is_duplicate(response)

    def error(self, request: Request, response: Response) -> ExportError | None:
        if request.operation == "head" and response.status not in _NOT_ABOUT_THE_FILE:
            # Only whether the file is there counts; storage elsewhere may redirect.
            return None
        refused = super().error(request, response)
        if refused is None:
            return None
        said = self.error_text(response)
        dead = self._is_dead_token(response)
        return faults.meaning(refused, request, response, said=said, token_is_dead=dead)

    def error_words(self, body: JSON) -> str:
        return faults.words(body)

    # -- inside ----------------------------------------------------------------------------------------

    def _ask(self, request: Request) -> Flow[Response]:
        """Send a signed request; a 401 that a new token does not mend is a missing right."""
        try:
            return (yield request)
        except faults.NotAllowed as error:
            raise faults.missing_right(error) from None

    def _is_dead_token(self, response: Response) -> bool:
        # https://github.com/onna/guillotina_oauth: an expired token may end in a 500 that says nothing.
        return (
            response.status == 500
            and faults.says_nothing(response)
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

    def queue(self, payload: Payload) -> str | None:
        return _QUEUE if self.settings.max_active else None

    def room(self, queue: str) -> Flow[Room]:
        rows = yield from self._children()
        running = frozenset(
            export.export_id
            for export, now in (yield from self._listed(rows))
            if export.state is ExportState.RUNNING
            and export.created_at is not None
            and now - export.created_at.timestamp() < self.settings.wait_timeout
        )
        most = self.settings.max_active
        return Room(running, most, f"{len(running)} exports of this user are running, max_active is {most}.")

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

    def _is_whole(self, row: JSON, now: float) -> bool:
        """Return whether a listed object has all that is read of an export."""
        try:
            self.read(row, now)
        except UnexpectedResponse:
            return False
        return answers.status_word(row, self.settings) is not None

    def _listed(self, rows: list[tuple[JSON, float]]) -> Flow[list[tuple[Export, float]]]:
        """Return the exports of the user's folder among objects."""
        exports = [row for row in rows if isinstance(row[0], dict) and row[0].get("@type") == "Export"]
        return [
            (export, now)
            for export, now in (yield from self.read_rows(exports))
            # An id is good in its own folder only.
            if unquote(urlsplit(export.parameters["@id"]).path).endswith(
                unquote(self._path(export.export_id))
            )
        ]

    def _exports(self, rows: list[tuple[JSON, float]]) -> Flow[list[Export]]:
        found = {export.export_id: export for export, _ in (yield from self._listed(rows))}
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


def _names(payload: Payload) -> Iterator[str]:
    """Yield the ids that exports of one payload may have, in the order they are taken."""
    yield payload["id"]
    for number in range(2, _MAX_REPEATS + 1):
        yield f"{payload['id']}-{number}"


def _is_untouched(export: Export) -> bool:
    """Return whether nothing shows that an export was started."""
    return not export.state.finished and (export.state is ExportState.QUEUED or export.vendor_status is None)

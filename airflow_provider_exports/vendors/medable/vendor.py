"""Everything that is known about exports of Medable Cortex.

Source of the vendor facts, where no other is named: https://docs.medable.com/cortex-api/objects/export. An
export is an object of the org like any other; what holds for all objects is taken to hold for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import Auth
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.turns import Room
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Expiry,
    Vendor,
    VendorSettings,
    invalid_payload,
)
from airflow_provider_exports.core.wire import Flow, Request, Response
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    InvalidConnection,
    UnexpectedResponse,
)
from airflow_provider_exports.vendors.medable import answers, faults
from airflow_provider_exports.vendors.medable.auth import BearerToken, ServerClock, Session, SignedRequests
from airflow_provider_exports.vendors.medable.payload import (
    advice,
    content,
    prepared,
    problems,
    tag,
    window_end,
)

# Stops a list that never ends; 100 rows are the largest page.
_MAX_PAGES = 1000
# All exports of one connection count against the same limit.
_QUEUE = "exports"
_OPEN = (ExportState.QUEUED, ExportState.RUNNING)
_JSON: Mapping[str, str] = {"Accept": "application/json"}


@dataclass(frozen=True, kw_only=True)
class MedableSettings(VendorSettings):
    """Medable's own settings in the connection's Extra; durations are seconds."""

    auth_mode: str = "signed"
    """``signed`` for API key and secret, ``bearer`` for a token, ``session`` for an account's password."""
    account_id: str = ""
    """Signed requests: account to act as, where the App allows it; empty for the App's own principal."""
    email: str = ""
    """Session: e-mail address of the account."""
    fingerprint_token: str = field(default="", repr=False)
    """Session: the ``md.fingerprint`` cookie of a verified login, in place of a verification code."""
    max_open: int = 1
    """Most of our exports that wait or run in the org at once, 0 for no limit. The org has one queue: more
    make nothing faster and stand in the way of others."""
    tag_prefix: str = "req"
    """Word of the tag in an export's description, by which an unanswered create is found again; ``none``
    for no tag, then nothing is looked for and ``max_open`` has no effect."""
    retention_days: float = 7.0
    """How long after its creation an export is removed, days."""
    page_size: int = 100
    """Exports per page of a list, 1 to 100."""
    max_requests: int = 5
    max_requests_period: float = 1.0
    poll_initial: float = 5.0
    poll_factor: float = 1.5
    poll_maximum: float = 60.0
    # The pause until the next look at an own export that is still open.
    conflict_interval: float = 60.0
    # The life of a link is not published.
    link_lifetime: float = 300.0
    # Updates may be written a little late.
    settle_delay: float = 60.0
    # The data may be protected health information.
    file_mode: str = "600"


class MedableVendor(Vendor):
    """Medable Cortex. Exports of an org run one after another in the order of their creation; no cancel."""

    name = "medable"
    display_name = "Medable"
    docs_url = "https://docs.medable.com/cortex-api/objects/export"
    settings_class = MedableSettings
    capabilities = frozenset(
        {
            Capability.LIST,
            Capability.FIND,
            Capability.DELETE,
            Capability.PING,
            Capability.LOGIN,
            Capability.ROOM,
        }
    )
    # Assumed: it leaves the queue, or the job stops; an org may also refuse that while it runs (inUse).
    delete_cancels = True
    lists_states = True
    expiry = Expiry.COMPUTED
    states: ClassVar[Mapping[str, ExportState]] = {
        "pending": ExportState.QUEUED,
        "running": ExportState.RUNNING,
        "ready": ExportState.READY,
        "error": ExportState.FAILED,
    }
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "objects": ("objects",),
        # Every Airflow operator has a read-only ``label`` of its own.
        "job_label": ("label",),
        "description": ("description",),
        "format": ("format",),
        "export_files": ("exportFiles",),
        "zip_files": ("zipFiles",),
        "where": ("where",),
        "paths": ("paths",),
        "include": ("include",),
        "expand": ("expand",),
        "after_script": ("afterScript",),
        "principal": ("principal",),
        "prefix": ("prefix",),
    }

    settings: MedableSettings

    def __init__(self, connection: ConnectionInfo) -> None:
        self._clock = ServerClock()
        # The vendor's time of the last answer, epoch seconds.
        self._now = 0.0
        self._no_login: AuthenticationFailed | None = None
        super().__init__(connection)
        # What the class declares is what there can be; a connection may have less.
        missing = set() if self.settings.auth_mode == "session" else {Capability.LOGIN}
        if not self._tags:
            missing.add(Capability.FIND)
        self.capabilities = type(self).capabilities - missing  # type: ignore[misc]

    def make_auth(self) -> Auth:
        settings, connection = self.settings, self.connection
        needed = {
            "signed": {"API key": connection.login, "API secret": connection.password},
            "bearer": {"token": connection.password},
            "session": {
                "API key": connection.login,
                "e-mail address": settings.email,
                "password": connection.password,
            },
        }.get(settings.auth_mode)
        if needed is None:
            raise InvalidConnection("the setting 'auth_mode' must be signed, bearer or session.")
        for what, value in needed.items():
            if not value:
                raise InvalidConnection(f"connection {connection.conn_id!r} has no {what}.")
        if not 1 <= settings.page_size <= 100:
            raise InvalidConnection("the setting 'page_size' must be from 1 to 100.")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", settings.tag_prefix):
            raise InvalidConnection("the setting 'tag_prefix' may hold letters, digits, - and _ only.")
        match settings.auth_mode:
            case "signed":
                return SignedRequests(
                    connection.login, connection.password, self.base_url, settings.account_id, self._clock
                )
            case "bearer":
                return BearerToken(connection.password, connection.login)
            case _:
                return Session(connection.login, connection.password, settings.fingerprint_token)

    def _base_url(self) -> str:
        url = super()._base_url().removesuffix("/v2")
        if not urlsplit(url).path.strip("/"):
            raise InvalidConnection(
                f"the host of connection {self.connection.conn_id!r} has no org code.",
                next_step="Give the whole base URL, such as https://api.medable.com/my_org.",
            )
        return f"{url}/v2"

    # -- login -------------------------------------------------------------------------------------------

    def login(self) -> Flow[str]:
        auth = self.auth
        assert isinstance(auth, Session)
        if self._no_login is not None:
            raise self._no_login
        # https://docs.medable.com/cortex-api/objects/account
        response = yield Request(
            "POST",
            "/accounts/login",
            json={"email": self.settings.email, "password": self.connection.password},
            headers={**_JSON, **auth.headers(None)},
            operation="login",
            signed=False,
        )
        response.json()
        token = auth.after(None, response)
        if "md.sid" not in json.loads(token)["cookies"]:
            raise UnexpectedResponse("the login is answered without the cookie md.sid.")
        return token

    def renewed_token(self, token: str, response: Response) -> str:
        assert isinstance(self.auth, Session)
        return self.auth.after(token, response)

    # -- exports -----------------------------------------------------------------------------------------

    def create(self, payload: Payload) -> Flow[Export]:
        if self.queue(payload):
            (yield from self.room(_QUEUE)).raise_if_full()
        response = yield from self._send(
            Request(
                "POST",
                "/exports",
                json=self._tagged(payload),
                headers=_JSON,
                idempotent=False,
                operation="create",
            )
        )
        raw = answers.unwrapped(response.json())
        if not isinstance(raw, dict) or not raw.get("_id"):
            # The form of the answer is not published: the tag will tell.
            raise UnexpectedResponse("the create was answered without an _id.")
        return self.read({"state": "pending", **raw}, answers.vendor_time(response))

    def queue(self, payload: Payload) -> str | None:
        return _QUEUE if self._tags and self.settings.max_open else None

    def room(self, queue: str) -> Flow[Room]:
        ours = f"[{self.settings.tag_prefix}:"
        waiting = [
            export
            for export in (yield from self._exports(only_open=True))
            if ours in str(export.parameters.get("description"))
        ]
        most = self.settings.max_open
        oldest = f", the oldest is {waiting[-1].export_id}" if waiting else ""
        said = f"{len(waiting)} of our exports are still open in the org{oldest}; max_open allows {most}."
        return Room(frozenset(export.export_id for export in waiting), most, said)

    @property
    def _tags(self) -> bool:
        """Whether descriptions get a tag; an empty setting would be its default."""
        return self.settings.tag_prefix != "none"

    def _tagged(self, payload: Payload) -> Payload:
        if not self._tags:
            return payload
        mark = tag(self.settings.tag_prefix, payload)
        return {**payload, "description": f"{payload.get('description', '')} {mark}".strip()}

    def get(self, export_id: str) -> Flow[Export]:
        request = Request("GET", _path(export_id), headers=_JSON, operation="read", export_id=export_id)
        try:
            response = yield from self._send(request)
            raw, now = answers.unwrapped(response.json()), answers.vendor_time(response)
            export = self.read(raw, now)
            if raw["state"] == "ready":
                # https://docs.medable.com/cortex-api/objects-definition/object-properties/file
                facet = yield from self._facet(export_id)
                export = self.read({**raw, "dataFile": facet}, now)
        except ExportNotFound:
            # The vendor removes the export itself with its archive; the 404 of an old one is no mystery.
            created_at = answers.created_by_id(export_id)
            if created_at is None or self._removed_at(created_at).timestamp() > self._now:
                raise
            expires_at = self._removed_at(created_at)
            return Export(
                self.name, export_id, ExportState.EXPIRED, created_at=created_at, expires_at=expires_at
            )
        return export

    def _facet(self, export_id: str) -> Flow[dict[str, Any]]:
        """Return state, size and link of the archive."""
        path = f"{_path(export_id)}/dataFile/content"
        response = yield from self._send(
            Request("GET", path, headers=_JSON, operation="dataFile", export_id=export_id)
        )
        if response.status == 302:
            location = response.headers.get("location")
            if not location:
                raise UnexpectedResponse("the archive is redirected to nowhere.")
            return {"url": urljoin(f"{self.base_url}{path}", location)}
        fault = faults.fault_in(response)
        if fault is not None:
            waiting = faults.code_of(fault) == "accepted.mediaNotReady"
            return {"state": 1} if waiting else {"state": 3, "fault": fault}
        facet = answers.content_facet(answers.unwrapped(response.json()))
        if facet.get("state") not in (0, 1, 3, 4) and not facet.get("url"):
            raise UnexpectedResponse("the archive is said to be ready, but has no url.")
        return facet

    def parse(self, raw: JSON, now: float) -> Export:
        word = raw["state"]
        state = self.states.get(word)
        created_at = times.reported(raw.get("created"), "created") or answers.created_by_id(raw["_id"])
        facet = answers.content_facet(raw.get("dataFile"))
        facet_state, url = facet.get("state"), facet.get("url")
        status = word
        files: tuple[ExportFile, ...] = ()
        if state is ExportState.READY and facet:
            # 0 pending, 1 processing, 2 ready, 3 error, 4 dead
            if facet_state in (3, 4):
                state, status = ExportState.FAILED, f"{word}, but its archive has failed"
            elif facet_state in (0, 1):
                state, status = ExportState.RUNNING, f"{word}, but its archive is not yet"
            elif url:
                name = f"{file_stem(raw['_id'])}.zip"
                files = (ExportFile(name, url, facet.get("size"), authenticated=False, format="zip"),)
        if state is ExportState.FAILED and (reason := answers.reason(raw, facet, self.secrets)):
            status = f"{status}: {reason}"
        return Export(
            vendor=self.name,
            export_id=raw["_id"],
            # A word of tomorrow most likely means that it is not done yet; the deadline bounds the guess.
            state=state or ExportState.RUNNING,
            vendor_status=status,
            documented=state is not None,
            created_at=created_at,
            expires_at=self._removed_at(created_at) if created_at else None,
            files=files,
            parameters={place[0]: raw.get(place[0]) for place in self.payload_fields.values()},
        )

    def _removed_at(self, created_at: datetime) -> datetime:
        # Whether the seven days count from the creation or from the end is not published; this is earlier.
        return created_at + timedelta(days=self.settings.retention_days)

    def list_exports(self) -> Flow[list[Export]]:
        return (yield from self._exports())

    def _exports(self, since: float | None = None, only_open: bool = False) -> Flow[list[Export]]:
        """Return the exports of the org, newest first.

        :param since: stop at the first that was created before, epoch seconds by our clock.
        :param only_open: stop at the first that has ended: they run in the order of their creation.
        """
        found: dict[str, Export] = {}
        skip = 0
        for _ in range(_MAX_PAGES):
            # https://docs.medable.com/cortex-api/querying
            params = {"sort": '{"_id":-1}', "limit": str(self.settings.page_size), "skip": str(skip)}
            response = yield from self._send(
                Request("GET", "/exports", params=params, headers=_JSON, operation="list")
            )
            page = response.json()
            rows = page.get("data") if isinstance(page, dict) else None
            if not isinstance(rows, list):
                raise UnexpectedResponse("list answers without data.")
            oldest = None if since is None else since + answers.clock_offset(response)
            now = answers.vendor_time(response)
            for export, _ in (yield from self.read_rows((row, now) for row in rows)):
                if oldest is not None and export.created_at and export.created_at.timestamp() < oldest:
                    return list(found.values())
                if only_open and export.state not in _OPEN:
                    return list(found.values())
                # New exports push old ones onto the next page while we read.
                found.setdefault(export.export_id, export)
            skip += len(rows)
            if not rows or not page.get("hasMore"):
                return list(found.values())
        raise UnexpectedResponse(f"list goes on after {_MAX_PAGES} pages.")

    def list_since(self, since: float) -> Flow[list[Export]]:
        return (yield from self._exports(since=since))

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        mark = tag(self.settings.tag_prefix, payload)
        usable = (*_OPEN, ExportState.READY)
        found = [
            export
            for export in (yield from self._exports(since=since))
            if export.state in usable and mark in str(export.parameters.get("description"))
        ]
        # Of several that one create may have left, the oldest: in the same queue it is done sooner.
        return found[::-1] if since else found

    def file_fault(self, last: JSON) -> str | None:
        # https://github.com/Medable/mdctl: a stream may end in a fault, with status 200 at its beginning.
        if not isinstance(last, dict) or last.get("object") != "fault":
            return None
        return str(last.get("reason") or last.get("message") or last.get("errCode") or "a fault")

    def delete(self, export_id: str) -> Flow[None]:
        request = Request("DELETE", _path(export_id), headers=_JSON, operation="delete", export_id=export_id)
        response = yield from self._send(request)
        if response.body.strip():
            # Whatever it says, but a page of a proxy is no success.
            response.json()

    def ping(self) -> Flow[str]:
        yield from self._send(
            Request("GET", "/exports", params={"limit": "1"}, headers=_JSON, operation="list")
        )
        return "the credentials are accepted and may list exports"

    # -- payload -----------------------------------------------------------------------------------------

    def prepare(self, payload: Payload) -> Payload:
        try:
            return prepared(payload)
        except ValueError as error:
            raise invalid_payload(self.name, [Problem("where", str(error))]) from None

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        return problems(payload)

    def content(self, payload: Payload) -> Content:
        return content(payload)

    def settled_at(self, payload: Payload) -> float | None:
        end = window_end(payload)
        return None if end is None else end + self.settings.settle_delay

    def advise(self, payload: Payload) -> str | None:
        return advice(payload)

    # -- errors ------------------------------------------------------------------------------------------

    def _send(self, request: Request) -> Flow[Response]:
        """Send a request, and once more if its signature was stale: the clock has been corrected by then."""
        self._clock.corrected = False
        try:
            return (yield request)
        except AuthenticationFailed:
            if not self._clock.corrected:
                raise
        return (yield request)

    def error(self, request: Request, response: Response) -> ExportError | None:
        self._now = answers.vendor_time(response)
        fault = faults.fault_in(response)
        if fault is None:
            if request.operation == "dataFile" and response.status == 302:
                # The other style of the download: the address of the file in the place of its facet.
                return None
            if response.status in (404, 410) and request.export_id:
                # The vendor says it by a fault; this is a proxy or another server.
                name = request.operation or f"{request.method} {request.path}"
                return UnexpectedResponse(
                    f"{name}: HTTP {response.status} comes without a fault document.",
                    http_status=response.status,
                )
            return super().error(request, response)
        code = faults.code_of(fault)
        if request.operation == "dataFile" and code in ("accepted.mediaNotReady", "error.facet"):
            return None
        meaning = faults.meaning_of(code, request.export_id)
        if meaning is None:
            # An org's own policy may answer with any code: then its status decides.
            status = fault["status"] if isinstance(fault.get("status"), int) else response.status
            if response.status < 300:
                response = replace(response, status=status if status >= 400 else 400)
            return super().error(request, response)
        if code == "invalidArgument.staleRequestSignature":
            self._clock.offset = answers.clock_offset(response)
            self._clock.corrected = True
        error = faults.error_of(meaning, fault, request, response, self.secrets)
        if isinstance(error, AuthenticationFailed) and code not in faults.LOG_IN_AGAIN:
            self._no_login = error
        return error

    def error_words(self, body: JSON) -> str:
        return faults.words(body)


def _path(export_id: str) -> str:
    return f"/exports/{quote(export_id, safe='')}"

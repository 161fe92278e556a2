"""Everything that is known about exports of Medable Cortex.

Source of the vendor facts, where no other is named: https://docs.medable.com/cortex-api/objects/export. An
export is an object of the org like any other; what holds for all objects is taken to hold for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import Auth
from airflow_provider_exports.core.model import (
    JSON,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Vendor,
    VendorSettings,
    invalid_payload,
)
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
    VendorUnavailable,
)
from airflow_provider_exports.vendors.medable.auth import (
    BearerToken,
    ServerClock,
    Session,
    SignedRequests,
)

FORMATS = ("application/x-ndjson", "application/json", "text/csv")
"""Formats of the exported data; the archive around it is always zip."""

# Stops a list that never ends; 100 rows are the largest page.
_MAX_PAGES = 1000
# The default size limit of a request, by the vendor's list of limits.
_MAX_BODY = 1024 * 1024
_OPEN = (ExportState.QUEUED, ExportState.RUNNING)
_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")

_APP = "Have an administrator of the org check the App of this API key (Settings, Apps)."
_LOCATION = (
    "Two-factor login: put the account's address on the org's login verification bypass list, store the "
    "md.fingerprint cookie of a verified login in the connection, or use signed requests."
)


class _Meaning(NamedTuple):
    """What a fault means to the reader."""

    error: type[ExportError]
    said: str
    next_step: str | None = None


_RIGHTS = _Meaning(PermissionDenied, "is forbidden", None)
_BUSY = _Meaning(RateLimited, "came while the org is too busy")
_LATER = _Meaning(VendorUnavailable, "met a fault at the vendor")
_REFUSED = _Meaning(ExportRejected, "was refused")
_CREDENTIALS = _Meaning(AuthenticationFailed, "the credentials are not accepted")
_SESSION = _Meaning(AuthenticationFailed, "the session is over")
_NEW_LOCATION = _Meaning(AuthenticationFailed, "a verification code is asked for", _LOCATION)
_SIGNATURE = _Meaning(
    AuthenticationFailed, "the signature is not accepted", "Check API key and API secret in the connection."
)
_APP_RIGHTS = _Meaning(PermissionDenied, "the App may not do this", _APP)
_APP_UNKNOWN = _Meaning(AuthenticationFailed, "the App is not accepted", "Check the API key. " + _APP)
_EXPIRED = _Meaning(
    AuthenticationFailed,
    "the credential has expired",
    "Have an administrator of the org issue a new token, or a permanent one, or renew the App.",
)
_ADDRESS = _Meaning(
    InvalidConnection,
    "the address is not known to the vendor",
    "Check host and org code in the connection: https://api.medable.com/<org>.",
)

# https://docs.medable.com/cortex-api/faults and its fault reference. An entry holds for the whole errCode
# without "cortex.", or for its family.
_FAULTS: Mapping[str, _Meaning] = {
    "success.newLocation": _NEW_LOCATION,
    "accessDenied": _RIGHTS,
    "accessDenied.invalidRequestSignature": _SIGNATURE,
    "accessDenied.notLoggedIn": _SESSION,
    "accessDenied.sessionExpired": _SESSION,
    "accessDenied.loggedInElsewhere": _SESSION,
    "accessDenied.csrfTokenMismatch": _SESSION,
    "accessDenied.invalidCredentials": _CREDENTIALS,
    "accessDenied.accountLocked": _CREDENTIALS,
    "accessDenied.passwordExpired": _CREDENTIALS,
    "accessDenied.noCredentialsSupplied": _CREDENTIALS,
    "accessDenied.unverifiedLocation": _NEW_LOCATION,
    "accessDenied.invalidJwt": _CREDENTIALS,
    "accessDenied.invalidJwtApp": _CREDENTIALS,
    "accessDenied.app": _APP_UNKNOWN,
    "accessDenied.appDisabled": _APP_RIGHTS,
    "accessDenied.appReadOnly": _APP_RIGHTS,
    "accessDenied.appSuspended": _APP_RIGHTS,
    "accessDenied.maintenance": _Meaning(VendorUnavailable, "came during maintenance of the org"),
    "accessDenied.inUse": _Meaning(
        ExportRejected, "was refused: it is in use", "Delete it after it has ended."
    ),
    "accessDenied.notDeletable": _Meaning(
        ExportRejected, "was refused: it cannot be deleted now", "Delete it after it has ended."
    ),
    "invalidArgument": _REFUSED,
    "invalidArgument.invalidApiVersion": _ADDRESS,
    "invalidArgument.staleRequestSignature": _Meaning(
        AuthenticationFailed, "the signature's time is not accepted", "Check this machine's clock."
    ),
    "notFound.app": _APP_UNKNOWN,
    "notFound.env": _ADDRESS,
    "notFound.org": _ADDRESS,
    "notFound.file": _Meaning(UnexpectedResponse, "found no archive"),
    "notFound.facet": _Meaning(UnexpectedResponse, "found no archive"),
    "notFound.property": _Meaning(UnexpectedResponse, "found no archive"),
    "timeout": _Meaning(VendorUnavailable, "took the vendor too long"),
    # 410 is about credentials, never about an export.
    "expired": _EXPIRED,
    "tooLarge": _Meaning(ExportRejected, "was refused: it is too large", "Shorten where and paths."),
    "throttled": _Meaning(RateLimited, "came too soon after others"),
    "tooBusy": _BUSY,
    "error": _LATER,
    # The org's file storage cannot give out addresses.
    "notImplemented": _REFUSED,
    "accepted": _Meaning(UnexpectedResponse, "is not done yet"),
}

# Releases before the current fault registry send no errCode.
_BY_CODE: Mapping[str, str] = {
    "kNewLocation": "success.newLocation",
    "kUnverifiedLocation": "accessDenied.unverifiedLocation",
    "kMediaNotReady": "accepted.mediaNotReady",
    "kStreamMediaError": "error.facet",
    "kInvalidRequestSignature": "accessDenied.invalidRequestSignature",
    "kStaleRequestSignature": "invalidArgument.staleRequestSignature",
    "kNotLoggedIn": "accessDenied.notLoggedIn",
    "kSessionExpired": "accessDenied.sessionExpired",
    "kLoggedInElsewhere": "accessDenied.loggedInElsewhere",
    "kCSRFTokenMismatch": "accessDenied.csrfTokenMismatch",
    "kInvalidCredentials": "accessDenied.invalidCredentials",
    "kAccountLocked": "accessDenied.accountLocked",
    "kPasswordExpired": "accessDenied.passwordExpired",
    "kNoCredentialsSupplied": "accessDenied.noCredentialsSupplied",
    "kMaintenance": "accessDenied.maintenance",
    "kNotDeletable": "accessDenied.notDeletable",
    "kAccessDenied": "accessDenied.unspecified",
    "kOrgControlInvalidOrg": "notFound.env",
    "kNotFound": "notFound.unspecified",
    "kTimeout": "timeout.unspecified",
    "kTokenExpired": "expired.jwt",
    "kExpired": "expired.unspecified",
    "kRequestTooLarge": "tooLarge.unspecified",
    "kThrottled": "throttled.unspecified",
    "kTooBusy": "tooBusy.unspecified",
    "kError": "error.unspecified",
}

# The vendor's own client logs in again on these and on no others; more would lock the account.
_LOG_IN_AGAIN = {
    "accessDenied.notLoggedIn",
    "accessDenied.sessionExpired",
    "accessDenied.loggedInElsewhere",
    "accessDenied.csrfTokenMismatch",
}


@dataclass(frozen=True, kw_only=True)
class MedableSettings(VendorSettings):
    """Medable's own settings in the connection's Extra; durations are seconds."""

    auth_mode: str = "signed"
    """``signed`` for API key and secret, ``bearer`` for a token, ``session`` for an account's password."""
    account_id: str = ""
    """Signed requests: account to act as, where the App allows it; empty for the App's own principal."""
    email: str = ""
    """Session: e-mail address of the account."""
    fingerprint: str = field(default="", repr=False)
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
        {Capability.LIST, Capability.FIND, Capability.DELETE, Capability.PING, Capability.LOGIN}
    )
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
                return Session(connection.login, connection.password, settings.fingerprint)

    # -- exports ---------------------------------------------------------------------------------------

    def create(self, payload: Payload) -> Flow[Export]:
        if self._tags and self.settings.max_open:
            yield from self._wait_for_turn()
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
        raw = _unwrapped(response.json())
        if not isinstance(raw, dict) or not raw.get("_id"):
            # The form of the answer is not published: the tag will tell.
            raise UnexpectedResponse("the create was answered without an _id.")
        return self.read({"state": "pending", **raw}, self._time(response))

    def get(self, export_id: str) -> Flow[Export]:
        request = Request("GET", _path(export_id), headers=_JSON, operation="read", export_id=export_id)
        try:
            response = yield from self._send(request)
        except ExportNotFound:
            # The vendor removes the export itself with its archive. Ids carry the second of creation:
            # https://github.com/Medable/mdctl (sample data), so the 404 of an old one is no mystery.
            created_at = _created_by_id(export_id)
            if created_at is None or self._removed_at(created_at).timestamp() > self._now:
                raise
            return Export(
                self.name,
                export_id,
                ExportState.EXPIRED,
                created_at=created_at,
                expires_at=self._removed_at(created_at),
            )
        raw = _unwrapped(response.json())
        export = self.read(raw, self._time(response))
        if raw["state"] == "ready":
            # https://docs.medable.com/cortex-api/objects-definition/object-properties/file
            facet = yield from self._facet(export_id)
            return self.read({**raw, "dataFile": facet}, self._time(response))
        return export

    def delete(self, export_id: str) -> Flow[None]:
        request = Request("DELETE", _path(export_id), headers=_JSON, operation="delete", export_id=export_id)
        response = yield from self._send(request)
        if response.body.strip():
            # Whatever it says, but a page of a proxy is no success.
            response.json()

    def list_exports(self) -> Flow[list[Export]]:
        return (yield from self._exports())

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        tag = self._tag(payload)
        usable = (*_OPEN, ExportState.READY)
        found = [
            export
            for export in (yield from self._exports(since=since))
            if export.state in usable and tag in str(export.parameters.get("description"))
        ]
        # Oldest first, unlike elsewhere: of two that wait in the same queue it is done sooner.
        return found[::-1]

    def ping(self) -> Flow[str]:
        yield from self._send(
            Request("GET", "/exports", params={"limit": "1"}, headers=_JSON, operation="list")
        )
        return "the credentials are accepted and may list exports"

    def parse(self, raw: JSON, now: float) -> Export:
        word = raw["state"]
        state = self.states.get(word)
        created_at = times.reported(raw.get("created"), "created") or _created_by_id(raw["_id"])
        facet = _content_facet(raw.get("dataFile"))
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
        if state is ExportState.FAILED and (reason := self._reason(raw, facet)):
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

    # -- payload ---------------------------------------------------------------------------------------

    def prepare(self, payload: Payload) -> Payload:
        prepared: Payload = {name: value for name, value in payload.items() if value is not None}
        problems: list[Problem] = []
        # Which fields are required is not published; with these five nothing is left to a default.
        prepared.setdefault("format", FORMATS[0])
        if isinstance(prepared.get("objects"), str):
            prepared.setdefault("label", prepared["objects"])
        for name in ("exportFiles", "zipFiles"):
            value = prepared.setdefault(name, False)
            if isinstance(value, str):
                # Templates render to text.
                prepared[name] = {"true": True, "false": False}.get(value.strip().lower(), value)
        for name in ("paths", "include", "expand"):
            if isinstance(prepared.get(name), str):
                prepared[name] = _names(prepared[name])
            elif isinstance(prepared.get(name), (tuple, set, frozenset)):
                prepared[name] = list(prepared[name])
        if "where" in prepared:
            try:
                prepared["where"] = _filter_text(prepared["where"])
            except ValueError as error:
                problems.append(Problem("where", str(error)))
        if problems:
            raise invalid_payload(self.name, problems)
        return prepared

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        for name, start, end in _windows(payload):
            if start is not None and end is not None and end <= start:
                hint = (
                    ". On Airflow 3 a plain cron schedule has intervals of no length: "
                    "use CronDataIntervalTimetable"
                    if end == start
                    else ""
                )
                yield Problem("where", f"the range of {name} must end later than it starts{hint}")

    def settled_at(self, payload: Payload) -> float | None:
        ends = [end.timestamp() for _, _, end in _windows(payload) if end is not None]
        return max(ends) + self.settings.settle_delay if ends else None

    def advise(self, payload: Payload) -> str | None:
        if payload["zipFiles"] and not payload["exportFiles"]:
            return "zipFiles has no effect without exportFiles"
        if len(json.dumps(payload)) > _MAX_BODY:
            return "the request is larger than the vendor's default limit of 1024 KB"
        return None

    # -- sessions and errors ---------------------------------------------------------------------------

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

    def error(self, request: Request, response: Response) -> ExportError | None:
        self._now = self._time(response)
        fault = _fault(response)
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
        code = _code(fault)
        if request.operation == "dataFile" and code in ("accepted.mediaNotReady", "error.facet"):
            return None
        meaning = _FAULTS.get(code) or _FAULTS.get(code.partition(".")[0])
        if code.startswith("notFound.") and meaning is None and request.export_id:
            meaning = _Meaning(ExportNotFound, "the vendor does not know it")
        if meaning is None:
            # An org's own policy may answer with any code: then its status decides.
            status = fault["status"] if isinstance(fault.get("status"), int) else response.status
            if response.status < 300:
                response = replace(response, status=status if status >= 400 else 400)
            return super().error(request, response)
        if code == "invalidArgument.staleRequestSignature":
            self._clock.offset = self._now - response.received_at
            self._clock.corrected = True
        name = request.operation or f"{request.method} {request.path}"
        shown = redact(str(fault.get("errCode") or fault.get("code") or "no code"), self.secrets, limit=80)
        said = self.error_text(response)
        separator = " " if meaning.said.startswith(_VERBS) else ": "
        error = meaning.error(
            f"{name}{separator}{meaning.said} ({shown}, HTTP {response.status})."
            + (f' The vendor says: "{said}"' if said else ""),
            export_id=request.export_id,
            http_status=response.status,
            retry_after=response.retry_after,
            next_step=meaning.next_step,
        )
        if isinstance(error, AuthenticationFailed) and code not in _LOG_IN_AGAIN:
            self._no_login = error
        return error

    def error_words(self, body: JSON) -> str:
        if not isinstance(body, dict):
            return ""
        words = [str(body[key]) for key in ("message", "reason") if body.get(key)]
        children = body.get("faults")
        for child in children if isinstance(children, list) else []:
            if isinstance(child, dict):
                where = child.get("path") or child.get("code")
                words.append(f"{where}: {self.error_words(child) or child.get('code')}")
        return "; ".join(words)

    # -- inside ----------------------------------------------------------------------------------------

    _now = 0.0

    def _base_url(self) -> str:
        url = super()._base_url().removesuffix("/v2")
        if not urlsplit(url).path.strip("/"):
            raise InvalidConnection(
                f"the host of connection {self.connection.conn_id!r} has no org code.",
                next_step="Give the whole base URL, such as https://api.medable.com/my_org.",
            )
        return f"{url}/v2"

    def _send(self, request: Request) -> Flow[Response]:
        """Send a request, and once more if its signature was stale: the clock has been corrected by then."""
        self._clock.corrected = False
        try:
            return (yield request)
        except AuthenticationFailed:
            if not self._clock.corrected:
                raise
        return (yield request)

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
        fault = _fault(response)
        if fault is not None:
            return {"state": 1} if _code(fault) == "accepted.mediaNotReady" else {"state": 3, "fault": fault}
        facet = _content_facet(_unwrapped(response.json()))
        if facet.get("state") not in (0, 1, 3, 4) and not facet.get("url"):
            raise UnexpectedResponse("the archive is said to be ready, but has no url.")
        return facet

    def _wait_for_turn(self) -> Flow[None]:
        """Return when there is room for one more of our exports.

        :raises ExportConflict: there is none.
        """
        ours = f"[{self.settings.tag_prefix}:"
        waiting = [
            export
            for export in (yield from self._exports(only_open=True))
            if ours in str(export.parameters.get("description"))
        ]
        if len(waiting) >= self.settings.max_open:
            raise ExportConflict(
                f"{len(waiting)} of our exports are still open in the org, the oldest is "
                f"{waiting[-1].export_id}; max_open allows {self.settings.max_open}."
            )

    def _exports(self, since: float | None = None, only_open: bool = False) -> Flow[list[Export]]:
        """Return the exports of the org, newest first.

        :param since: stop at the first that was created before, epoch seconds.
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
            for row in rows:
                try:
                    export = self.read(row, self._time(response))
                except UnexpectedResponse:
                    # One broken row must not hide the others.
                    continue
                if since is not None and export.created_at and export.created_at.timestamp() < since:
                    return list(found.values())
                if only_open and export.state not in _OPEN:
                    return list(found.values())
                # New exports push old ones onto the next page while we read.
                found.setdefault(export.export_id, export)
            skip += len(rows)
            if not rows or not page.get("hasMore"):
                return list(found.values())
        raise UnexpectedResponse(f"list goes on after {_MAX_PAGES} pages.")

    @property
    def _tags(self) -> bool:
        """Whether descriptions get a tag; an empty setting would be its default."""
        return self.settings.tag_prefix != "none"

    def _tag(self, payload: Payload) -> str:
        """Return the mark of this very payload, for the description."""
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        return f"[{self.settings.tag_prefix}:{hashlib.sha256(text.encode()).hexdigest()[:12]}]"

    def _tagged(self, payload: Payload) -> Payload:
        if not self._tags:
            return payload
        description = f"{payload.get('description', '')} {self._tag(payload)}".strip()
        return {**payload, "description": description}

    def _removed_at(self, created_at: datetime) -> datetime:
        # Whether the seven days count from the creation or from the end is not published; this is earlier.
        return created_at + timedelta(days=self.settings.retention_days)

    def _time(self, response: Response) -> float:
        """Return the vendor's clock; the form of its own header is not published."""
        value = response.headers.get("medable-server-time", "").strip()
        try:
            return float(value) / 1000
        except ValueError:
            try:
                return parsedate_to_datetime(value).timestamp()
            except (TypeError, ValueError):
                return response.server_time

    def _reason(self, raw: Mapping[str, Any], facet: Mapping[str, Any]) -> str:
        """Return why an export failed; no property for it is published."""
        for place in (raw, facet):
            for key in ("fault", "error", "message"):
                value = place.get(key)
                words = self.error_words(value) if isinstance(value, dict) else value
                if isinstance(words, str) and words:
                    return redact(words, self.secrets, limit=200)
        return ""


_JSON: Mapping[str, str] = {"Accept": "application/json"}
_VERBS = ("is ", "was ", "came ", "met ", "took ", "found ")


def _path(export_id: str) -> str:
    return f"/exports/{quote(export_id, safe='')}"


def _fault(response: Response) -> dict[str, Any] | None:
    """Return the fault in an answer, whatever its status: two come with 200 and 202."""
    try:
        body = response.json()
    except UnexpectedResponse:
        return None
    return body if isinstance(body, dict) and body.get("object") == "fault" else None


def _code(fault: Mapping[str, Any]) -> str:
    """Return family and detail of a fault; classified by the parent, never by its children."""
    code = fault.get("errCode")
    if isinstance(code, str) and code:
        return code.removeprefix("cortex.")
    return _BY_CODE.get(str(fault.get("code")), "")


def _unwrapped(body: JSON) -> JSON:
    """Return the object inside of a ``result``; an id alone becomes an object."""
    if isinstance(body, dict) and body.get("object") == "result":
        body = body.get("data")
    return {"_id": body} if isinstance(body, str) and _OBJECT_ID.fullmatch(body) else body


def _content_facet(value: JSON) -> dict[str, Any]:
    """Return the facet *content* of a file; empty if nothing is known about it."""
    if not isinstance(value, dict):
        return {}
    facets = value.get("facets")
    for facet in facets if isinstance(facets, list) else []:
        if isinstance(facet, dict) and facet.get("name") == "content":
            return {**value, **facet}
    return value


def _created_by_id(export_id: str) -> datetime | None:
    """Return the second in the first eight digits of an ObjectId; None for another id."""
    if not _OBJECT_ID.fullmatch(export_id):
        return None
    return datetime.fromtimestamp(int(export_id[:8], 16), UTC)


def _names(text: str) -> JSON:
    """Return a rendered list: JSON, or names with commas between them."""
    if text.strip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [name.strip() for name in text.split(",") if name.strip()]


def _filter_text(value: Any) -> str:
    """Return a filter as the text that is sent: JSON, its times in the vendor's form.

    :raises ValueError: it is none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise ValueError("must be an object of conditions")
    try:
        return json.dumps(_with_times(value), separators=(",", ":"), ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None


def _with_times(value: Any, is_time: bool = False) -> Any:
    """Return a filter with all times as text, and the texts that stand for times in the vendor's form."""
    if isinstance(value, Mapping):
        return {
            key: _with_times(inner, key in _TIMES or (is_time and key in _COMPARISONS))
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_with_times(inner, is_time) for inner in value]
    if isinstance(value, datetime):
        return times.milliseconds(times.instant(value))
    if is_time and isinstance(value, str):
        return times.milliseconds(times.instant(value))
    return value


_TIMES = ("created", "updated")
_COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")


def _windows(payload: Payload) -> Iterator[tuple[str, datetime | None, datetime | None]]:
    """Yield start and end of each range of ``created`` and ``updated`` that all exported rows are in."""
    if "where" not in payload:
        return
    conditions = [json.loads(payload["where"])]
    for condition in conditions:
        if not isinstance(condition, dict):
            continue
        more = condition.get("$and")
        conditions += more if isinstance(more, list) else []
        for name in _TIMES:
            range_ = condition.get(name)
            if isinstance(range_, dict):
                start, end = (
                    next(
                        (times.instant(range_[key]) for key in keys if isinstance(range_.get(key), str)), None
                    )
                    for keys in (("$gte", "$gt"), ("$lt", "$lte"))
                )
                yield name, start, end

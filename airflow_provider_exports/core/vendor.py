"""The contract of a vendor: one class that knows everything about one API and does no I/O.

The smallest vendor says a ``name``, an ``auth``, :meth:`Vendor.create`, :meth:`Vendor.get` and
:meth:`Vendor.parse`. Everything else has a default or is a declared :class:`Capability`.
"""

from __future__ import annotations

import contextlib
import enum
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from airflow_provider_exports.core import schemas
from airflow_provider_exports.core.auth import Auth
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Datasource,
    Export,
    ExportState,
    Payload,
    Problem,
)
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.turns import Room
from airflow_provider_exports.core.wire import LOOPBACK_HOSTS, Flow, Request, Response, breath, origin
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    UnknownStatus,
    VendorUnavailable,
)

SettingsT = TypeVar("SettingsT", bound="VendorSettings")


@dataclass(frozen=True)
class ConnectionInfo:
    """An Airflow connection, as plain values."""

    conn_id: str
    """Connection id, for messages."""
    host: str = ""
    """Host name or base URL; empty for the vendor's production address."""
    schema: str = ""
    """``http`` or ``https`` when ``host`` is a bare name; empty means ``https``."""
    port: int | None = None
    """Port, where it is not part of ``host``."""
    login: str = ""
    """Login field."""
    password: str = field(default="", repr=False)
    """Password field."""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The parsed Extra field."""


@dataclass(frozen=True, kw_only=True)
class VendorSettings:
    """What a connection's Extra may set for every vendor. Durations are seconds.

    A subclass adds its vendor's own settings, and other defaults. A value that cannot be read as the
    default's type is an :class:`InvalidConnection` that names it.
    """

    request_timeout: float = 30.0
    """Longest silence during one API call."""
    verify: str = "true"
    """TLS: ``true``, ``false``, or the path of a CA bundle."""
    proxy: str = field(default="", repr=False)
    """Proxy URL for API calls and files; empty takes the worker's environment."""
    allow_http: bool = False
    """Permit plain http to a host that is not this machine."""
    max_requests: int = 0
    """Most API requests of one task within ``max_requests_period``; 0 for no limit of ours."""
    max_requests_period: float = 1.0
    """Period of ``max_requests``."""
    retry_attempts: int = 5
    """How often one API call is sent at most."""
    poll_initial: float = 15.0
    """First pause between two looks at an export."""
    poll_factor: float = 2.0
    """Growth of that pause per look."""
    poll_maximum: float = 300.0
    """Longest pause between two looks."""
    max_poll_failures: int = 10
    """Failed looks in a row after which a wait gives up."""
    wait_timeout: float = 86400.0
    """Longest wait for an export, when the task sets none."""
    conflict_interval: float = 300.0
    """Pause before another try when the vendor is busy with an export that excludes ours."""
    unknown_status: str = "wait"
    """On a status word that is not documented: ``wait`` on under the deadline, or ``fail`` at once."""
    run_patience: float = 600.0
    """How long after a run of an export that the vendor repeats was due its status may still be that of the
    run before, where the vendor does not tell when a run started."""
    settle_delay: float = 0.0
    """How long after the end of a window its data counts as complete; the create waits for that."""
    expiry_margin: float = 30.0
    """An export counts as expired this long before it does."""
    link_lifetime: float = 0.0
    """How long a download link works after it was given out; 0 for as long as the export."""
    link_margin: float = 60.0
    """A link is replaced this long before it dies."""
    stale_link_statuses: tuple[int, ...] = (400, 401, 403, 404, 410)
    """Answers of a file host that mean a dead link, which is replaced by a fresh one."""
    clock_margin: float = 300.0
    """How far the vendor's and our clock may differ when exports are matched by their creation time."""
    parallel_files: int = 4
    """Files of one export that are fetched at once."""
    parallel_ranges: int = 8
    """Most connections to one large file, where each one is slow and the file host serves parts."""
    slowest_transfer: float = 1024.0
    """Bytes per second below which, over a minute, a transfer counts as dead."""
    file_mode: str = ""
    """Octal permissions of files that land on a local disk, such as ``600``; empty for the umask's."""

    @classmethod
    def from_extra(cls: type[SettingsT], extra: Mapping[str, Any], conn_type: str) -> SettingsT:
        """Read the settings out of a connection's Extra; absent, None and empty take the default.

        :param extra: parsed Extra. Airflow 2 stored form fields as ``extra__<conn_type>__<name>``.
        :raises InvalidConnection: a value is not of the setting's type.
        """
        values = {}
        for setting in fields(cls):
            value = extra.get(setting.name, extra.get(f"extra__{conn_type}__{setting.name}"))
            if value is None or value == "":
                continue
            try:
                values[setting.name] = _convert(value, setting.default)
            except (KeyError, TypeError, ValueError):
                kind = type(setting.default).__name__
                raise InvalidConnection(f"the setting {setting.name!r} cannot be read as {kind}.") from None
        return cls(**values)

    @property
    def poll(self) -> PollRule:
        """The pace of a wait when the task sets none."""
        return PollRule(self.poll_initial, self.poll_factor, self.poll_maximum)

    @property
    def tls_verify(self) -> bool | str:
        """``verify`` as HTTP libraries take it: True, False or the path of a CA bundle."""
        word = self.verify.strip().lower()
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(
            word, self.verify
        )


MOST_NAMES = 50
"""Subjects and columns that are told of an export at most."""
ROWS_AT_ONCE = 100
"""Rows of an answer that are read in one go."""
_LONGEST_ID = 500
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
"""A host name or an IPv6 address."""


class Capability(enum.Enum):
    """What a vendor's API offers beyond create and get. Each names the method that must be overridden."""

    GET_MANY = "get_many"
    LIST = "list_exports"
    FIND = "find"
    DATASOURCES = "list_datasources"
    PING = "ping"
    LOGIN = "login"
    START = "start"
    DELETE = "delete"
    RECURRENCE = "repeats"
    ROOM = "room"


class Expiry(enum.Enum):
    """How it is known until when the files of an export can be fetched."""

    TOLD = "told by the vendor"
    COMPUTED = "computed from the vendor's rule"
    UNKNOWN = "not told: download at once"


class Links(enum.Enum):
    """What opens a download link."""

    SIGNED = "whoever has the link"
    AUTHENTICATED = "the connection's credentials"


class Vendor:
    """Base class of a vendor.

    :param connection: where and as whom to call.
    :raises InvalidConnection: the connection lacks something or allows something it must not.
    """

    name: ClassVar[str]
    """Vendor name, also the connection type."""
    display_name: ClassVar[str]
    """Name for people."""
    docs_url: ClassVar[str] = ""
    """Where the vendor documents its export API."""
    default_host: ClassVar[str] = ""
    """Base URL of production."""
    settings_class: ClassVar[type[VendorSettings]] = VendorSettings
    """Settings read from the connection's Extra."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    """What the API offers beyond create and get."""
    delete_cancels: ClassVar[bool] = False
    """Whether deleting an unfinished export also stops it; no known vendor has a cancel of its own."""
    expiry: ClassVar[Expiry] = Expiry.UNKNOWN
    """How it is known until when files can be fetched."""
    links: ClassVar[Links] = Links.SIGNED
    """What opens a download link."""
    states: ClassVar[Mapping[str, ExportState]] = {}
    """The vendor's status words, where it has any."""
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Operator parameter to its place in the payload, outermost key first."""
    lists_states: ClassVar[bool] = False
    """Whether :meth:`list_since` tells the state of each export, as :meth:`get` does."""
    one_at_a_time: ClassVar[bool] = False
    """Whether exports of one :meth:`queue` exclude each other altogether."""
    max_batch: ClassVar[int] = 1
    """Most ids that :meth:`get_many` takes at once."""

    auth: Auth
    settings: VendorSettings

    def __init__(self, connection: ConnectionInfo) -> None:
        self.connection = connection
        self.settings = self.settings_class.from_extra(connection.extra, self.name)
        if not re.fullmatch("[0-7]{0,4}", self.settings.file_mode):
            raise InvalidConnection("the setting 'file_mode' is no octal number such as 600.")
        self.base_url = self._base_url()
        self.auth = self.make_auth()

    # -- what every vendor says ------------------------------------------------------------------------

    def make_auth(self) -> Auth:
        """Return how requests are signed, from ``self.connection`` and ``self.settings``."""
        raise NotImplementedError

    def create(self, payload: Payload) -> Flow[Export]:
        """Create one export. Its request says ``idempotent=False``."""
        raise NotImplementedError

    def get(self, export_id: str) -> Flow[Export]:
        """Read one export, with fresh links when it is ready."""
        raise NotImplementedError

    def parse(self, raw: JSON, now: float) -> Export:
        """Turn the vendor's JSON into an export; the only place that reads it.

        :param now: the vendor's time, epoch seconds.
        :raises UnexpectedResponse: something needed is missing or of another type.
        """
        raise NotImplementedError

    # -- what a vendor may say -------------------------------------------------------------------------

    def login(self) -> Flow[str]:
        """Return a token for :meth:`Auth.sign`; called once, and again after a 401."""
        raise NotImplementedError

    def token_expires_at(self, token: str) -> float | None:
        """Return when to log in anew, epoch seconds; None when only a refusal tells."""
        return None

    def renewed_token(self, token: str, response: Response) -> str:
        """Return the token to use after an answer: some vendors hand out a new one with each."""
        return token

    def start(self, export: Export, payload: Payload) -> Flow[Export]:
        """Start an export that has been created; for vendors where these are two calls."""
        raise NotImplementedError

    def delete(self, export_id: str) -> Flow[None]:
        """Delete an export and its files at the vendor."""
        raise NotImplementedError

    def get_many(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
        """Read up to ``max_batch`` exports at once; ids that the vendor does not know are absent."""
        raise NotImplementedError

    def list_exports(self) -> Flow[list[Export]]:
        """Return the exports the credentials can see, newest first."""
        raise NotImplementedError

    def list_since(self, since: float) -> Flow[list[Export]]:
        """Return exports with their states: those created since ``since``, epoch seconds, or more."""
        return self.list_exports()

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        """Return usable exports of exactly this payload created since ``since``, the one to use first.

        :param since: epoch seconds, not before a create that was not answered; 0 for any time, newest first.
        """
        raise NotImplementedError

    def list_datasources(self) -> Flow[list[Datasource]]:
        """Return what exports can be made of."""
        raise NotImplementedError

    def ping(self) -> Flow[str]:
        """Make one cheap authenticated call and return what it proves, one sentence."""
        raise NotImplementedError

    def prepare(self, payload: Payload) -> Payload:
        """Return the payload as it is sent: times in the vendor's form, defaults of the connection added.

        :raises InvalidPayload: a value cannot be read, such as a text that is no time.
        """
        return payload

    def told_apart(self, payload: Payload, mark: str) -> Payload:
        """Return a prepared payload whose export differs from one of the same payload without ``mark``.

        For vendors whose exports get their id from us: the second of the same id would be refused.
        """
        return payload

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        """Yield violations that a JSON Schema cannot express; ``now`` is epoch seconds."""
        return ()

    def repeats(self, payload: Payload) -> bool:
        """Return whether the vendor repeats the export of this prepared payload by itself."""
        return False

    def settled_at(self, payload: Payload) -> float | None:
        """Return from when on the payload's window may be exported, epoch seconds; None for at once."""
        return None

    def content(self, payload: Payload) -> Content:
        """Return what a prepared payload asks for, for asset events and lineage.

        Nothing is decided by it, so an exception means only that it is not known.
        """
        return Content()

    def advise(self, payload: Payload) -> str | None:
        """Return a warning about a payload that is valid but looks wrong, else None."""
        return None

    def file_fault(self, last: JSON) -> str | None:
        """Return what the last line of a JSON Lines file says went wrong at the vendor, None for a row."""
        return None

    def queue(self, payload: Payload) -> str | None:
        """Return the name of the queue in which creates wait for each other; None where none waits.

        Those of one connection and name get their turns in order; the name is stored and logged.
        """
        return None

    def room(self, queue: str) -> Flow[Room]:
        """Return how many exports of a queue there may be at once, and which there are."""
        raise NotImplementedError

    def is_conflict(self, request: Request, response: Response) -> bool:
        """Return whether a refused create means that another export is active."""
        return response.status == 409

    # -- shared by all vendors -------------------------------------------------------------------------

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never appear in a log, error, event or file name."""
        return tuple(secret for secret in (self.connection.password, *self.auth.secrets) if secret)

    @property
    def api_urls(self) -> tuple[str, ...]:
        """Base URLs whose origins API requests may go to."""
        return (self.base_url,)

    @property
    def file_hosts(self) -> frozenset[str]:
        """Hosts (``name`` or ``name:port``) besides the API's own origin that may see the credentials."""
        return frozenset()

    @classmethod
    def compose(cls, parameters: Mapping[str, Any], payload: Mapping[str, Any] | None) -> Payload:
        """Merge an operator's own parameters into its ``payload=``.

        :param parameters: names of ``payload_fields`` to values; None means not given.
        :raises InvalidPayload: a field is given both ways.
        """
        merged: Payload = _deep_copy(payload or {})
        problems: list[Problem] = []
        for parameter, value in parameters.items():
            if value is None:
                continue
            *parents, key = cls.payload_fields[parameter]
            place = merged
            for parent in parents:
                inner = place.setdefault(parent, {})
                if inner is None:
                    inner = place[parent] = {}
                if not isinstance(inner, dict):
                    problems.append(Problem(parent, f"is no object, so {parameter}= has no place in it"))
                    inner = {}
                place = inner
            if key in place:
                path = ".".join(cls.payload_fields[parameter])
                problems.append(Problem(path, f"is given by {parameter}= and by payload= at once"))
            place[key] = value
        if problems:
            raise invalid_payload(cls.name, problems)
        return merged

    def known_content(self, payload: Payload | None) -> Content:
        """Return :meth:`content`, bounded; empty where the payload is not known or cannot be read."""
        try:
            found = Content() if payload is None else self.content(payload)
        except Exception:  # noqa: BLE001 - nothing is decided by it
            return Content()
        subjects = tuple(dict.fromkeys(one.strip("/") for one in found.subjects if one))
        return replace(found, subjects=subjects[:MOST_NAMES], columns=found.columns[:MOST_NAMES])

    def check_shape(self, payload: Payload) -> None:
        """Check a prepared payload against the schema alone.

        :raises InvalidPayload: with every problem found.
        """
        found = self._problems(schemas.CREATE_REQUEST, payload)
        if found:
            raise invalid_payload(self.name, found)

    def check(self, payload: Payload, now: float) -> None:
        """Check a prepared payload against schema and rules before anything is sent.

        :raises InvalidPayload: with every problem found.
        """
        # The rules may rely on the shape that the schema has checked.
        self.check_shape(payload)
        found = list(self.rules(payload, now))
        if found:
            raise invalid_payload(self.name, found)

    @classmethod
    def load_schemas(cls) -> None:
        """Read and compile the schemas, so that the first check costs no more than the others."""
        for name in (schemas.CREATE_REQUEST, schemas.EXPORT_RESPONSE):
            schemas.problems(cls._schema_folder(), name, {})

    def read(self, raw: JSON, now: float) -> Export:
        """Check one export object of an answer against the response schema, then :meth:`parse` it.

        :raises UnexpectedResponse: what we read of it is missing or of another type.
        :raises UnknownStatus: the status word is not documented and the connection says ``fail``.
        """
        found = self._problems(schemas.EXPORT_RESPONSE, raw)
        if found:
            where = "; ".join(
                f"{p.path or 'the export'}: {redact(p.message, self.secrets, limit=120)}" for p in found
            )
            raise UnexpectedResponse(f"the vendor's answer lacks what its documentation promises ({where}).")
        export = self.parse(raw, now)
        if not 0 < len(export.export_id) <= _LONGEST_ID or not export.export_id.isprintable():
            raise UnexpectedResponse("the vendor's answer names an export by what is no id.")
        if not export.documented and self.settings.unknown_status == "fail":
            raise unknown_status(export, self.secrets)
        return export

    def read_rows(self, rows: Iterable[tuple[JSON, float]]) -> Flow[list[tuple[Export, float]]]:
        """Return the exports of a list with the vendor's time of each, epoch seconds.

        One broken row must not hide the others: it is left out.
        """
        found = []
        for number, (row, now) in enumerate(rows, start=1):
            if number % ROWS_AT_ONCE == 0:
                yield from breath()
            with contextlib.suppress(UnexpectedResponse):
                found.append((self.read(row, now), now))
        return found

    def error(self, request: Request, response: Response) -> ExportError | None:
        """Return what a refused request means, or None when it was not refused."""
        status = response.status
        if 200 <= status < 300:
            return None
        said = self.error_text(response)
        quoted = f' The vendor says: "{said}"' if said else ""
        name = request.operation or f"{request.method} {request.path}"
        error_class: type[ExportError]
        match status:
            case _ if 300 <= status < 400:
                error_class, what = (
                    ExportRejected,
                    f"{name} was redirected, which is not followed (HTTP {status}).",
                )
            case 401:
                error_class, what = (
                    AuthenticationFailed,
                    f"{name}: the credentials are not accepted (HTTP 401).",
                )
            case _ if not request.idempotent and self.is_conflict(request, response):
                error_class = ExportConflict
                what = f"{name}: another export is still active (HTTP {status})."
            case 403:
                error_class, what = PermissionDenied, f"{name} is forbidden (HTTP 403)."
            case 404 | 410 if request.export_id:
                error_class, what = ExportNotFound, f"the vendor does not know it (HTTP {status})."
            case 429:
                error_class, what = RateLimited, f"{name}: too many requests (HTTP 429)."
            case 408 | 425:
                error_class, what = VendorUnavailable, f"{name} took the vendor too long (HTTP {status})."
            case _ if status >= 500:
                error_class, what = VendorUnavailable, f"{name} met a fault at the vendor (HTTP {status})."
            case _:
                error_class, what = ExportRejected, f"{name} was refused (HTTP {status})."
        return error_class(
            what + quoted, export_id=request.export_id, http_status=status, retry_after=response.retry_after
        )

    def error_text(self, response: Response) -> str:
        """Return the readable part of an error body, redacted; empty when there is none to show."""
        try:
            body = response.json()
        except UnexpectedResponse:
            return ""
        return redact(self.error_words(body), self.secrets)

    def error_words(self, body: JSON) -> str:
        """Return what an error body says, as text; override for a vendor's own shape."""
        return body if isinstance(body, str) else ""

    def _problems(self, schema: str, value: JSON) -> list[Problem]:
        """Check ``value`` against a schema in folder ``schemas`` beside the vendor's module."""
        return schemas.problems(self._schema_folder(), schema, value)

    @classmethod
    def _schema_folder(cls) -> Path:
        return _schema_folder(cls.__module__)

    def _base_url(self) -> str:
        connection = self.connection
        host = (connection.host or self.default_host).strip()
        url = host.rstrip("/") if "://" in host else f"{connection.schema or 'https'}://{host.rstrip('/')}"
        if connection.port and host and not _has_port(url):
            scheme, _, rest = url.partition("://")
            head, _, path = rest.partition("/")
            url = f"{scheme}://{head}:{connection.port}" + (f"/{path}" if path else "")
        return self.checked_url(url, f"the host of connection {connection.conn_id!r}")

    def checked_url(self, url: str, what: str) -> str:
        """Return ``url`` if credentials may be sent there.

        :param what: what the connection calls it, for the error.
        :raises InvalidConnection: it is no base URL, or plain http to another machine.
        """
        try:
            scheme, name, _ = origin(url)
        except ValueError:
            scheme, name = "", ""
        if scheme not in ("http", "https") or not _HOST.fullmatch(name) or any(c in url for c in "@?#"):
            # What stands before an @ may be a password.
            shown = "" if "@" in url else f" ({redact(url)})"
            raise InvalidConnection(f"{what} is no base URL{shown}.")
        if scheme == "http" and name not in LOOPBACK_HOSTS and not self.settings.allow_http:
            raise InvalidConnection(
                f"{what} would send credentials over plain http to {name}.",
                next_step="Use https, or set allow_http to true in the connection's Extra.",
            )
        return url


@cache
def _schema_folder(module: str) -> Path:
    return Path(sys.modules[module].__file__ or "").parent / "schemas"


def invalid_payload(vendor: str, problems: Iterable[Problem]) -> InvalidPayload:
    """Return the error that lists ``problems``."""
    found = [(problem.path, problem.message) for problem in problems]
    lines = "; ".join(f"{path}: {text}" if path else text for path, text in found)
    return InvalidPayload(f"the payload is not valid: {lines}.", problems=found, vendor=vendor)


def unknown_status(export: Export, secrets: Iterable[str] = ()) -> UnknownStatus:
    """Return the error for an export whose status word is not documented."""
    word = redact(str(export.vendor_status), secrets, limit=60)
    return UnknownStatus(
        f"the vendor reports the status {word!r}, which its documentation does not know.",
        vendor=export.vendor,
        export_id=export.export_id,
    )


def _convert(value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
            str(value).lower()
        ]
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else value
        return tuple(int(str(item).strip()) for item in items)
    if isinstance(default, str):
        return str(value)
    number = type(default)(value)
    if number < 0 or not math.isfinite(number):
        raise ValueError
    return number


def _deep_copy(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _deep_copy(item) if isinstance(item, Mapping) else item for key, item in value.items()}


def _has_port(url: str) -> bool:
    return url.partition("://")[2].partition("/")[0].rpartition(":")[2].isdigit()

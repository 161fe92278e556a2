"""What the simulated vendors share: one call in, one answer out, without any network."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from airflow_provider_exports.simulator.clock import Clock, http_date
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.scenario import Fault, Faults, Switches
from airflow_provider_exports.simulator.store import ExportRecord, Link, State, Store

__all__ = ["Answer", "Call", "Refused", "VendorApi", "World"]

OPEN_STATES = ("pending", "processing")


@dataclass
class World:
    """What all vendors of one simulator share; ``lock`` guards all of it."""

    clock: Clock
    tokens: dict[str, str]
    link_secret: str
    api_origin: str = ""
    files_origin: str = ""
    store: Store = field(default_factory=Store)
    faults: Faults = field(default_factory=Faults)
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass
class Call:
    """One request, its path without the vendor's prefix."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    raw_body: bytes
    body: Any
    #: The fault that hits this call, for the few that an operation itself must know.
    fault: Fault | None = None


@dataclass
class Answer:
    """One response, and how its delivery goes wrong."""

    status: int = 200
    payload: Any = None
    text: str | None = None
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    file: FileContent | None = None
    #: Values of ``Set-Cookie``, of which there can be several.
    cookies: tuple[str, ...] = ()
    #: First and last-plus-one byte of the file to send.
    span: tuple[int, int] | None = None
    framing: Literal["length", "chunked", "close"] = "length"
    #: Drop the connection without a word.
    dropped: bool = False
    #: Cut the body in half although its length is announced.
    halved: bool = False
    #: The connection ends after so many bytes of the file.
    cut_at: int | None = None
    #: Real seconds before the answer, before each piece of the file, and after its cut.
    hold: float = 0.0
    pace: float = 0.0
    stall: float = 0.0
    piece_bytes: int | None = None
    #: Text of the status line, where a vendor says something there.
    reason: str | None = None


Handler = Callable[[Call], Answer]


class Refused(Exception):
    """Ends an operation with an error answer in the vendor's words."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class VendorApi:
    """Base of a simulated vendor: life cycle, links, limits, file delivery.

    A vendor sets the class attributes and implements ``connection``, ``route``, ``error`` and ``content``.
    """

    name: ClassVar[str]
    #: Names and defaults of the credentials that clients of this vendor use.
    token_defaults: ClassVar[dict[str, str]]
    #: The operations that faults can hit.
    operations: ClassVar[tuple[str, ...]] = ("create", "get", "file")
    switches_class: ClassVar[type[Switches]] = Switches
    #: Field that the ``missing_field`` fault takes away, by operation.
    critical_fields: ClassVar[dict[str, str]] = {}

    #: Faults of this vendor only, by name, next to those that all vendors have.
    own_faults: ClassVar[dict[str, str]] = {}
    #: Headers that are credentials whatever they hold, in lower case, next to those of HTTP.
    credential_headers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, world: World) -> None:
        self.world = world
        self.reset()

    def reset(self) -> None:
        """Back to the default switches; exports and log belong to the store."""
        self.switches = self.switches_class()
        self._arrivals: dict[str, deque[datetime]] = {}

    # To be implemented by each vendor

    def connection(self) -> dict[str, Any]:
        """The fields of an Airflow connection to this vendor."""
        raise NotImplementedError

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """The operation that an API address stands for, and what answers it."""
        raise NotImplementedError

    def error(self, status: int, message: str | None = None) -> Answer:
        """An error in the vendor's words."""
        raise NotImplementedError

    def own_fault(self, name: str) -> Answer:
        """The answer of one of ``own_faults``."""
        raise NotImplementedError

    def content(self, record: ExportRecord) -> list[FileContent]:
        """The files of a ready export; the same each time for the same export."""
        raise NotImplementedError

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """The export objects in an answer; faults change them in place."""
        raise NotImplementedError

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """Put an export object into a state that the documentation does not know."""
        raise NotImplementedError

    def enlarge_sizes(self, export: dict[str, Any]) -> None:
        """Announce one byte too many for each file; nothing where the vendor announces no sizes."""

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The same as ``route``, on the files origin."""
        raise NotImplementedError

    def notifications(self) -> list[dict[str, Any]]:
        """Messages that the vendor has sent to people, oldest first; none where a vendor sends none."""
        return []

    def finish_headers(self, answer: Answer) -> None:
        """Headers that the vendor puts on every API response."""

    def base_url(self) -> str:
        """Where the API is, as the host of a connection has it."""
        return f"{self.world.api_origin}/{self.name}"

    def new_id(self) -> str | None:
        """Id of a new export in the vendor's form; None: a UUID."""
        return None

    # Life cycle

    @property
    def tokens(self) -> dict[str, str]:
        """This vendor's credentials by name."""
        return {name: self.world.tokens[name] for name in self.token_defaults}

    def now(self) -> datetime:
        """The virtual time."""
        return self.world.clock.now()

    def find(self, export_id: str) -> ExportRecord | None:
        """The export that a test means by this id."""
        return self.world.store.find(self.name, export_id)

    def begun_at(self, record: ExportRecord) -> datetime | None:
        """When the work on an export began, from which its age counts; None: it has not begun."""
        return record.created_at

    def create(self, call: Call, owner: str, request: dict[str, Any]) -> ExportRecord:
        """A new pending export, its end decided by a fault if one is queued."""
        record = self.world.store.add(self.name, owner, request, self.now(), self.new_id())
        if call.fault is not None and call.fault.name in ("job_failed", "job_never"):
            record.fate = "failed" if call.fault.name == "job_failed" else "never"
        return record

    def visible(self, record: ExportRecord, *, read: bool) -> bool:
        """Whether reads can see the export now, after moving it on; ``read`` counts as a look."""
        if self.now() < record.created_at + timedelta(seconds=self.switches.visible_after_seconds):
            return False
        if read:
            record.reads += 1
        return self.settle(record)

    def settle(self, record: ExportRecord) -> bool:
        """Bring the export to where it is by now; False if the vendor has forgotten it."""
        now = self.now()
        if record.state in OPEN_STATES and not record.held:
            due = self._due(record, now)
            if due is not None:
                fate = record.fate or self.switches.outcome
                self._finish(record, "failed" if fate == "failed" else "ready", due)
            elif self._halfway(record, now):
                record.state = "processing"
        if record.state == "ready" and record.expires_at is not None and record.expires_at <= now:
            record.state = "expired"
        kept = self.switches.dropped_after_seconds
        if kept is not None and record.state in ("failed", "expired"):
            since = record.expires_at or record.finished_at
            if since is not None and since + timedelta(seconds=kept) <= now:
                self.world.store.drop(record)
                return False
        return True

    def set_state(self, record: ExportRecord, state: State) -> None:
        """Put an export into a state by hand; an unfinished one then stays as it is."""
        now = self.now()
        record.held = state in OPEN_STATES
        if state in OPEN_STATES:
            record.state, record.finished_at, record.expires_at = state, None, None
        elif state == "expired":
            record.state = state
            record.finished_at = record.finished_at or now
            record.expires_at = min(record.expires_at or now, now)
        else:
            self._finish(record, state, now)

    def _finish(self, record: ExportRecord, state: State, at: datetime) -> None:
        record.state, record.finished_at, record.expires_at = state, at, None
        if state == "ready":
            # Vendors send whole seconds at least; a hidden fraction would make a link die early.
            life = timedelta(seconds=self.switches.file_life_seconds)
            record.expires_at = (at + life).replace(microsecond=0)

    def _due(self, record: ExportRecord, now: datetime) -> datetime | None:
        begun = self.begun_at(record)
        if begun is None or (record.fate or self.switches.outcome) == "never":
            return None
        reads, seconds = self.switches.ready_after_reads, self.switches.ready_after_seconds
        moments = [now] if reads is not None and record.reads >= reads else []
        if seconds is not None:
            moments.append(begun + timedelta(seconds=seconds))
        due = min(moments, default=None)
        return due if due is not None and due <= now else None

    def _halfway(self, record: ExportRecord, now: datetime) -> bool:
        begun = self.begun_at(record)
        if begun is None:
            return False
        reads, seconds = self.switches.ready_after_reads, self.switches.ready_after_seconds
        if seconds is not None and now >= begun + timedelta(seconds=seconds / 2):
            return True
        return record.reads > 0 and (reads is None or record.reads * 2 >= reads)

    # Limits

    def throttle(self, key: str) -> None:
        """Count a request of this token against the rate limit; refuse it with 429 above the limit."""
        limit = self.switches.rate_limit
        if limit is None:
            return
        now, window = self.now(), timedelta(seconds=self.switches.rate_window_seconds)
        arrivals = self._arrivals.setdefault(key, deque())
        while arrivals and arrivals[0] + window <= now:
            arrivals.popleft()
        if len(arrivals) >= limit:
            wait = max(1.0, (arrivals[0] + window - now).total_seconds())
            raise Refused(self.too_many(self.switches.retry_after, wait))
        arrivals.append(now)

    def too_many(self, form: object, seconds: float) -> Answer:
        """A 429 whose Retry-After is in seconds, a date, missing, or the number given as ``form``."""
        answer = self.error(429)
        if form == "date":
            answer.headers["Retry-After"] = http_date(self.now() + timedelta(seconds=seconds + 0.999))
        elif form == "seconds":
            answer.headers["Retry-After"] = str(int(seconds + 0.999))
        elif form != "missing":
            answer.headers["Retry-After"] = str(form)
        return answer

    # Files

    def files(self, record: ExportRecord) -> list[FileContent]:
        """The files of an export, made at the first request for them."""
        if record.files is None:
            record.files = self.content(record)
        return record.files

    def signed_path(self, record: ExportRecord, index: int, path: str) -> str:
        """A path on the files origin with a new signature in its query string."""
        link = Link(self.name, record.id, index, path, self.now())
        return f"{path}?signature={self.world.store.sign(self.world.link_secret, link)}"

    def serve(
        self, call: Call, content: FileContent, content_type: str, filename: str | None = None
    ) -> Answer:
        """A file, whole or the requested part of it."""
        answer = Answer(content_type=content_type, file=content, framing=self.switches.transfer)
        if filename is not None:
            answer.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
        if self.switches.ranges == "honoured":
            tag = self.etag(content)
            answer.headers |= {"Accept-Ranges": "bytes", "ETag": tag}
            span = _span(call.headers.get("Range"), content.size)
            if span is not None and call.headers.get("If-Range") in (None, tag):
                if span[0] >= content.size:
                    headers = {"Content-Range": f"bytes */{content.size}"}
                    return Answer(416, text="", content_type="text/plain", headers=headers)
                answer.status, answer.span = 206, span
                answer.headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{content.size}"
        return answer

    def etag(self, content: FileContent) -> str:
        """The ETag of a file, in its quotes."""
        return f'"{content.size}-{hash(content) & 0xFFFFFFFF:x}"'

    def redirected(self, call: Call) -> Answer:
        """What a redirected API call finds on the files origin."""
        return Answer(payload={"redirected": True})


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    unit, _, wanted = (header or "").partition("=")
    first, dash, last = wanted.partition("-")
    if unit != "bytes" or dash != "-" or not first.isdigit() or not (last == "" or last.isdigit()):
        return None
    start, stop = int(first), int(last) + 1 if last else max(size, int(first) + 1)
    return (start, min(stop, max(size, start))) if start < stop else None

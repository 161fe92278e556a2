"""What vendor code and plans say to a transport, and what they get back.

A *flow* is a generator that yields :class:`Request` and is sent :class:`Response`: vendor code. A *plan*
may also yield :class:`Pause`, :class:`Now` and :class:`Note`: the lifecycle. A transport executes plans, so
nothing here does I/O, sleeps, reads a clock or logs.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, Generic, TypeAlias, TypeVar
from urllib.parse import SplitResult, urlsplit

from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.exceptions import UnexpectedResponse, UnsafeLink

T = TypeVar("T")

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Request:
    """One API call. Its ``repr`` is safe: body, query and headers are left out."""

    method: str
    """HTTP method, upper case."""
    path: str
    """Path below the base URL, or an absolute URL on the same origin (a vendor's *next* link)."""
    json: Any = field(default=None, repr=False)
    """JSON body, or None for no body."""
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Query parameters."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Request headers."""
    idempotent: bool = True
    """Whether it may be sent again when nobody knows if it arrived. False for every create."""
    operation: str = ""
    """Name for logs and errors, in the vendor's words, such as ``exports/add``."""
    export_id: str | None = None
    """The export it is about, for errors."""
    signed: bool = True
    """Whether the vendor's credentials are added."""

    def with_headers(self, **headers: str) -> Request:
        """Return a copy with ``headers`` added (underscores become dashes)."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})


@dataclass(frozen=True)
class Response:
    """The answer to a request, body read whole (API answers only, never files)."""

    status: int
    """HTTP status code."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Response headers, names in lower case."""
    body: bytes = field(default=b"", repr=False)
    """The decoded body."""
    received_at: float = 0.0
    """When it arrived by the local clock, epoch seconds."""

    @property
    def server_time(self) -> float:
        """The vendor's clock by the ``Date`` header, epoch seconds; the local clock without one.

        Expiry is compared with this, so that a skewed local clock neither loses nor trusts a dead file.
        """
        date = _parse_http_date(self.headers.get("date"))
        return self.received_at if date is None else date

    @property
    def retry_after(self) -> float | None:
        """Seconds asked for by ``Retry-After``, given as seconds or as an HTTP date; None without it.

        None also for what is neither, such as ``inf``: nobody can wait so long, nor JSON carry it.
        """
        value = self.headers.get("retry-after", "").strip()
        if not value:
            return None
        try:
            seconds = float(value)
        except ValueError:
            date = _parse_http_date(value)
            return None if date is None else max(0.0, date - self.server_time)
        return max(0.0, seconds) if math.isfinite(seconds) else None

    def json(self) -> Any:
        """Return the parsed body, with a question mark for each half of a character.

        :raises UnexpectedResponse: the body is not JSON, or nested so deeply that nobody means it.
        """
        try:
            value = json.loads(self.body)
            if _SURROGATE.search(self.body):
                # Half a character can neither be logged, nor stored, nor sent.
                value = json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
            return value
        except (ValueError, RecursionError):
            kind = redact(self.headers.get("content-type", "no content type"), limit=60)
            raise UnexpectedResponse(
                f"the answer with status {self.status} ({kind}, {len(self.body)} bytes) is not JSON.",
                http_status=self.status,
            ) from None


@dataclass(frozen=True)
class Pause:
    """Wait this many seconds; the plan is sent the time afterwards, epoch seconds."""

    seconds: float


@dataclass(frozen=True)
class Now:
    """The plan is sent the time, epoch seconds."""


@dataclass(frozen=True)
class Note:
    """Tell whoever runs the plan; the transport logs it. Lazy arguments, never a secret."""

    level: int
    """A level of the logging module."""
    message: str
    """%-style format."""
    args: tuple[Any, ...] = ()
    """Its arguments."""


def info(message: str, *args: Any) -> Note:
    """Return a note of level INFO."""
    return Note(logging.INFO, message, args)


def warning(message: str, *args: Any) -> Note:
    """Return a note of level WARNING."""
    return Note(logging.WARNING, message, args)


class NetworkError(Exception):
    """A transport could not get an answer.

    :param message: what happened, without the URL's query.
    :param sent: whether the request may have reached the vendor. False only when that is certain
        (refused, DNS, TLS): then repeating is safe whatever the request is.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


Flow: TypeAlias = Generator[Request, Response, T]


def breath() -> Flow[None]:
    """Interrupt long work: in a triggerer, whatever else runs there has its turn."""
    others: Any = Pause(0.0)
    yield others


Step: TypeAlias = Request | Pause | Now | Note
Plan: TypeAlias = Generator[Step, Any, T]


class PlanRunner(Generic[T]):
    """The half of a transport that both share: feeds answers into a plan until it returns.

    ``step`` is what the plan wants next, None once it is done; then ``result`` holds what it returned.
    Errors of the plan pass through.
    """

    def __init__(self, plan: Plan[T]) -> None:
        self._plan = plan
        self.step: Step | None = None
        self.result: T
        self.send(None)

    def send(self, reply: Any) -> None:
        """Answer the current step."""
        try:
            self.step = self._plan.send(reply)
        except StopIteration as stop:
            self._finish(stop)

    def throw(self, error: NetworkError) -> None:
        """Tell the plan that the current request failed."""
        try:
            self.step = self._plan.throw(error)
        except StopIteration as stop:
            self._finish(stop)

    def _finish(self, stop: StopIteration) -> None:
        self.step = None
        self.result = stop.value


def resolve(base_urls: Sequence[str], path: str) -> str:
    """Return the absolute URL of a request's path, which is below the first of ``base_urls``.

    :raises UnsafeLink: it leads to the origin of none of them; credentials would go with it.
    """
    url = path if "://" in path else base_urls[0] + path
    try:
        ours = origin(url) in map(origin, base_urls)
    except ValueError:
        ours = False
    if not ours:
        raise UnsafeLink("an API request would leave the connection's own address.")
    return url


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port (the scheme's default when absent): what decides who gets credentials.

    :raises ValueError: it is no URL, or one that not every client reads alike.
    """
    # In https://a\@b/ one client takes b for the host, and another one a.
    if _AMBIGUOUS.search(url):
        raise ValueError("the host of a URL holds a character that no host has")
    parts: SplitResult = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    return parts.scheme.lower(), (parts.hostname or "").lower(), port


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_AMBIGUOUS = re.compile(r"://[^/?#]*[\\\x00-\x20\x7f]")


@lru_cache(maxsize=256)
def _parse_http_date(value: str | None) -> float | None:
    if not value:
        return None
    try:
        date = parsedate_to_datetime(value)
        # Without a zone it would count as local time; HTTP knows only one.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, TypeError, ValueError):
        return None

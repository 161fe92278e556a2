"""Run plans on a worker: requests sessions that the HTTP provider's hook builds."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import requests
from requests import exceptions as errors
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationParseError,
    NewConnectionError,
    ReadTimeoutError,
)

from airflow_provider_exports.core.polling import RateBudget
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.core.wire import (
    NetworkError,
    Note,
    Now,
    Pause,
    Plan,
    PlanRunner,
    Request,
    Response,
    resolve,
)

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
"""Seconds for making a connection, in both transports."""
MAX_BODY = 64 * 1024 * 1024
"""Largest API answer that is read, bytes; files do not come this way."""
LONGEST_ANSWER = 300.0
"""Seconds from the request to the last byte of an API answer, in both transports.

``request_timeout`` is about silence only: with a byte now and then an answer would last for ever.
"""


class Log(Protocol):
    """What both transports need of a logger; Airflow's is not a ``logging.Logger`` since 3.1."""

    def log(self, level: int, msg: str, /, *args: Any) -> Any: ...
    def debug(self, msg: str, /, *args: Any) -> Any: ...
    def warning(self, msg: str, /, *args: Any) -> Any: ...


class BlockingTransport:
    """Runs plans with requests.

    :param session: session of the API, never used for files.
    :param vendor: whose base URL and settings hold.
    :param log: gets the plan's notes.
    :param clock: returns epoch seconds.
    :param sleep: waits for seconds.
    """

    def __init__(
        self,
        session: requests.Session,
        vendor: Vendor,
        log: Log,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        harden(session)
        self._session = session
        self._vendor = vendor
        self._log = log
        self._clock = clock
        self._sleep = sleep
        settings = vendor.settings
        self._budget = RateBudget(settings.max_requests, settings.max_requests_period)

    def run(self, plan: Plan[T]) -> T:
        """Run ``plan`` to its end and return its result; its errors pass through."""
        runner = PlanRunner(plan)
        while (step := runner.step) is not None:
            match step:
                case Request():
                    try:
                        answer = self._exchange(step)
                    except NetworkError as error:
                        runner.throw(error)
                    else:
                        runner.send(answer)
                case Pause(seconds):
                    self._sleep(seconds)
                    runner.send(self._clock())
                case Now():
                    runner.send(self._clock())
                case Note(level, message, args):
                    self._log.log(level, message, *args)
                    runner.send(None)
        return runner.result

    def _exchange(self, request: Request) -> Response:
        url = resolve(self._vendor.api_urls, request.path)
        delay = self._budget.reserve(self._clock())
        if delay > 0:
            self._sleep(delay)
        started = time.perf_counter()
        try:
            with (
                time_limit(LONGEST_ANSWER),
                self._session.request(
                    request.method,
                    url,
                    params=dict(request.params) or None,
                    json=request.json,
                    headers=dict(request.headers),
                    # A callable keeps requests from putting a ~/.netrc entry in the place of our own header.
                    auth=unsigned,
                    timeout=(CONNECT_TIMEOUT, self._vendor.settings.request_timeout),
                    # Said per request: the environment's REQUESTS_CA_BUNDLE overrides the session's value.
                    verify=self._vendor.settings.tls_verify,
                    # A followed redirect would carry headers, and on 307 the body, to wherever it points.
                    allow_redirects=False,
                    stream=True,
                ) as answer,
            ):
                body = bytearray()
                while chunk := answer.raw.read(65536, decode_content=True):
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise NetworkError(f"the answer is larger than {MAX_BODY} bytes", sent=True)
        except (errors.RequestException, HTTPError, OSError) as error:
            # Not chained: the text of the library's own error shows the whole address.
            raise network_error(error) from None
        self._log.debug(
            "%s %s: %d in %.3f s",
            request.method,
            request.path,
            answer.status_code,
            time.perf_counter() - started,
        )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, headers, bytes(body), self._clock())


def unsigned(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    """Auth callable that adds nothing."""
    return prepared


def leave_redirects(session: requests.Session) -> None:
    """Have the session read nothing of a redirect that is not followed."""
    # It would read all of it, to find out where it leads.
    session.get_redirect_target = lambda _answer: None  # type: ignore[method-assign,assignment]


def harden(session: requests.Session) -> None:
    """Have the session read nothing that was not asked for, and all else under :func:`time_limit`."""
    leave_redirects(session)
    for adapter in session.adapters.values():
        if isinstance(adapter, requests.adapters.HTTPAdapter):
            # Not an adapter of our own: this one keeps connections alive as the HTTP provider wants it.
            adapter.get_connection_with_tls_context = _Watched(adapter)  # type: ignore[method-assign]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Bound what this thread reads from hardened sessions, in all: the limit of a socket is for each read."""
    _limit.until = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.until = None


_limit = threading.local()


class _Watched:
    """Has an adapter's connections read their answers under the time limit."""

    def __init__(self, adapter: requests.adapters.HTTPAdapter) -> None:
        self._get = type(adapter).get_connection_with_tls_context.__get__(adapter)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        pool = self._get(*args, **kwargs)
        pool.ConnectionCls = _watched(pool.ConnectionCls)
        return pool


@lru_cache(maxsize=8)
def _watched(kind: type[Any]) -> type[Any]:
    if issubclass(kind.response_class, _Answer):
        return kind
    return type(kind.__name__, (kind,), {"response_class": _Answer})


class _Answer(http.client.HTTPResponse):
    """An answer that also counts the time of its head, which may drip as its body may."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Clocked(sock, self.fp.detach()))


class _Clocked(io.RawIOBase):
    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock, self._raw = sock, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        until: float | None = getattr(_limit, "until", None)
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer does not end")
            silence = self._sock.gettimeout()
            self._sock.settimeout(left if silence is None else min(left, silence))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def network_error(error: Exception) -> NetworkError:
    """Return what an exception of requests means; its own text would show the URL with its query.

    Only what provably happened before the first byte of the request counts as not sent: a TLS or proxy error
    may also come after the whole of it.
    """
    for cause in _causes(error):
        if isinstance(cause, (NewConnectionError, ssl.SSLCertVerificationError)) or _TUNNEL in str(cause):
            return NetworkError(_reason(cause), sent=False)
        if isinstance(cause, (ConnectTimeoutError, errors.ConnectTimeout)):
            return NetworkError(f"no connection within {CONNECT_TIMEOUT:.0f} s", sent=False)
        if isinstance(cause, (errors.InvalidURL, LocationParseError)):
            return NetworkError("the address cannot be used", sent=False)
    if isinstance(error, (errors.Timeout, ReadTimeoutError, TimeoutError)):
        return NetworkError("no answer in time", sent=True)
    return NetworkError(f"the connection broke ({type(_causes(error)[-1]).__name__})", sent=True)


# What a proxy that refuses to connect us is reported as; the request goes through the tunnel only afterwards.
_TUNNEL = "Tunnel connection failed"


def _causes(error: Exception) -> list[Exception]:
    """Return ``error`` and what requests and urllib3 have wrapped in it, outermost first."""
    found: list[Exception] = [error]
    for cause in found:
        inner = [*cause.args, getattr(cause, "reason", None), getattr(cause, "original_error", None)]
        found += [e for e in inner if isinstance(e, Exception) and e not in found]
    return found


def _reason(cause: Exception) -> str:
    # It reads like: HTTPSConnection(host=…): Failed to establish a new connection: [Errno 111] …
    text = str(cause)
    return text.partition("): ")[2] or text

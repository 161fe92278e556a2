"""Run plans in the triggerer: the aiohttp session of the HTTP provider's asynchronous hook."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import lru_cache
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urljoin

import aiohttp
from airflow.providers.http.hooks.http import AsyncHttpSession, HttpAsyncHook, SessionConfig
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

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
from airflow_provider_exports.transports.blocking import CONNECT_TIMEOUT, LONGEST_ANSWER, MAX_BODY, Log

T = TypeVar("T")


class _SessionHook(HttpAsyncHook):
    """The provider's hook without its reading of the connection, which makes headers of unknown extras."""

    async def config(self) -> SessionConfig:
        return SessionConfig(base_url="", headers={}, auth=None, extra_options={})


class AsyncTransport:
    """Runs plans with aiohttp; an asynchronous context manager that owns its sessions.

    :param vendor: whose base URL and settings hold.
    :param log: gets the plan's notes.
    :param clock: returns epoch seconds.
    :param sleep: waits for seconds.
    """

    def __init__(
        self,
        vendor: Vendor,
        log: Log,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self._vendor = vendor
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._stack = AsyncExitStack()
        # The provider binds a session to one HTTP method.
        self._sessions: dict[str, AsyncHttpSession] = {}
        settings = vendor.settings
        self._budget = RateBudget(settings.max_requests, settings.max_requests_period)
        self.requests = 0
        """How many requests were sent."""
        self._ssl: ssl.SSLContext | bool | None = None

    async def __aenter__(self) -> AsyncTransport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def run(self, plan: Plan[T]) -> T:
        """Run ``plan`` to its end and return its result; its errors pass through."""
        runner = PlanRunner(plan)
        while (step := runner.step) is not None:
            match step:
                case Request():
                    try:
                        answer = await self._exchange(step)
                    except NetworkError as error:
                        runner.throw(error)
                    else:
                        runner.send(answer)
                case Pause(seconds):
                    await self._sleep(seconds)
                    runner.send(self._clock())
                case Now():
                    runner.send(self._clock())
                case Note(level, message, args):
                    self._log.log(level, message, *args)
                    runner.send(None)
        return runner.result

    async def _exchange(self, request: Request) -> Response:
        url = resolve(self._vendor.api_urls, request.path)
        if request.params and request.method != "GET":
            url = str(URL(url).update_query(dict(request.params)))
        delay = self._budget.reserve(self._clock())
        if delay > 0:
            await self._sleep(delay)
        session = await self._session(request.method)
        self.requests += 1
        timeout = self._vendor.settings.request_timeout
        started = time.perf_counter()
        try:
            answer = await session.run(
                url,
                # For GET the provider takes the query from here, for others the body.
                data=dict(request.params) or None if request.method == "GET" else None,
                json=request.json,
                headers=dict(request.headers),
                extra_options={
                    "check_response": False,
                    # A followed redirect would carry headers, and on 307 the body, to wherever it points.
                    "allow_redirects": False,
                    "timeout": aiohttp.ClientTimeout(
                        total=LONGEST_ANSWER, sock_connect=CONNECT_TIMEOUT, sock_read=timeout
                    ),
                    "ssl": await self._tls(),
                    "proxy": self._proxy(url),
                },
            )
            async with answer:
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY:
                        raise NetworkError(f"the answer is larger than {MAX_BODY} bytes", sent=True)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _network_error(error) from error
        self._log.debug(
            "%s %s: %d in %.3f s", request.method, request.path, answer.status, time.perf_counter() - started
        )
        headers: dict[str, str] = {}
        for name, value in answer.headers.items():
            # As requests does: a vendor may set more than one cookie.
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Response(answer.status, headers, bytes(body), self._clock())

    async def _session(self, method: str) -> AsyncHttpSession:
        if method not in self._sessions:
            hook = _SessionHook(method=method, http_conn_id=self._vendor.connection.conn_id, retry_limit=1)
            self._sessions[method] = await self._stack.enter_async_context(hook.session())
        return self._sessions[method]

    async def _tls(self) -> ssl.SSLContext | bool:
        if self._ssl is None:
            verify = self._vendor.settings.tls_verify
            if verify is True:
                # As requests does on a worker, so that both trust the same authorities.
                named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
                verify = named or DEFAULT_CA_BUNDLE_PATH
            # Reading a bundle of certificates takes long enough to be felt by other triggers.
            self._ssl = await asyncio.to_thread(_trusting, verify) if isinstance(verify, str) else verify
        return self._ssl

    def _proxy(self, url: str) -> str | None:
        # As requests does on a worker; aiohttp by itself would read no_proxy differently.
        if self._vendor.settings.proxy:
            return self._vendor.settings.proxy
        return _environment_proxy(urljoin(url, "/"), tuple(map(os.environ.get, _PROXY_VARIABLES)))


_PROXY_VARIABLES = tuple(
    form(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for form in (str.lower, str.upper)
)


@lru_cache(maxsize=1024)
def _environment_proxy(url: str, _variables: tuple[str | None, ...]) -> str | None:
    return select_proxy(url, get_environ_proxies(url))


def _trusting(authorities: str) -> ssl.SSLContext:
    """Return the context for a file or folder of certificates; one for all transports until that changes."""
    # Each costs tens of milliseconds of CPU: one per waiting export would keep a triggerer busy with that.
    with _ONE_AT_A_TIME:
        return _context(authorities, os.stat(authorities).st_mtime_ns)


_ONE_AT_A_TIME = threading.Lock()


@lru_cache(maxsize=16)
def _context(authorities: str, _changed_at: int) -> ssl.SSLContext:
    if os.path.isdir(authorities):
        return ssl.create_default_context(capath=authorities)
    return ssl.create_default_context(cafile=authorities)


def _network_error(error: Exception) -> NetworkError:
    match error:
        case aiohttp.ConnectionTimeoutError():
            return NetworkError(f"no connection within {CONNECT_TIMEOUT:.0f} s", sent=False)
        case aiohttp.ClientConnectorError():
            return NetworkError(f"{type(error).__name__}: {error.os_error}", sent=False)
        case aiohttp.ClientSSLError() | aiohttp.ClientHttpProxyError():
            return NetworkError(type(error).__name__, sent=False)
        case TimeoutError():
            return NetworkError("no answer in time", sent=True)
        case _:
            return NetworkError(f"the connection broke ({type(error).__name__})", sent=True)

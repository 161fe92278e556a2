"""Open a download link: checked, with credentials for nobody else, and at any byte the server lets us."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakSet

import requests
import requests.adapters
from requests import exceptions as errors
from urllib3 import exceptions as broken
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_exports.core.model import ExportFile
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.core.wire import LOOPBACK_HOSTS, Response, origin
from airflow_provider_exports.exceptions import (
    DownloadError,
    DownloadIncomplete,
    LinkExpired,
    RateLimited,
    UnsafeLink,
    VendorUnavailable,
)
from airflow_provider_exports.transports.blocking import (
    CONNECT_TIMEOUT,
    leave_redirects,
    network_error,
    unsigned,
)

_MAX_REDIRECTS = 5
_LARGEST_CHUNK = 4 * 1024 * 1024
# Links of one export that are hidden from everybody's logs; the library's own never show one.
_MOST_HIDDEN = 100
_LENGTH = re.compile("[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass
class Body:
    """The open answer of a file host; close it."""

    start: int
    """Offset of its first byte in the file."""
    stop: int | None
    """Offset in the file of the byte after its last, None when the host does not tell."""
    total: int | None
    """Bytes of the whole file, None when the host does not tell."""
    etag: str | None
    """Strong entity tag: two answers with the same one are of the same file, byte by byte."""
    ranges: bool
    """Whether the host says, or has just shown, that it can start at any byte."""
    media_type: str
    """Content type, lower case, may be empty."""
    _answer: requests.Response
    _name: str
    _open_ended: bool = False

    def read(self, most: int) -> bytes:
        """Return what has arrived, at most ``most`` bytes; empty at the end.

        :raises DownloadIncomplete: the connection broke, or fell silent.
        """
        try:
            chunk = bytes(self._answer.raw.read1(most))
        except broken.ReadTimeoutError:
            raise DownloadIncomplete(f"{self._name}: the file host fell silent.") from None
        except (broken.HTTPError, OSError):
            raise DownloadIncomplete(f"{self._name}: the transfer broke off.") from None
        if not chunk and self._open_ended:
            # Cut off within its headers an answer looks the same.
            raise DownloadIncomplete(f"{self._name}: the file host hangs up without a byte or a length.")
        self._open_ended = False
        return chunk

    def close(self) -> None:
        """Give the connection back, or hang up."""
        self._answer.close()


class _WithoutQueries(logging.Filter):
    """Keeps what comes after the ``?`` of an address out of what the HTTP library logs about each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{one.partition('?')[0]}?***" if isinstance(one, str) and "?" in one else one
                for one in record.args
            )
        return True


_WITHOUT_QUERIES = _WithoutQueries()


class _Connections:
    """The connections of a host: whoever waits at one for the next byte can be woken."""

    def __init__(self) -> None:
        self._open: WeakSet[HTTPConnection] = WeakSet()
        self._ended = False
        self._lock = threading.Lock()

    def add(self, one: HTTPConnection) -> None:
        with self._lock:
            self._open.add(one)
            if self._ended:
                self._shut(one)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for one in self._open:
                self._shut(one)

    def end_slow(self, longest: float) -> None:
        """End those that have waited for the headers of an answer for more than ``longest`` seconds."""
        now = time.monotonic()
        with self._lock:
            for one in self._open:
                asked_at = getattr(one, "asked_at", None)
                if asked_at is not None and now - asked_at > longest:
                    self._shut(one)

    def _shut(self, one: HTTPConnection) -> None:
        # Closing it would wait for the thread that reads.
        with contextlib.suppress(OSError, AttributeError):
            one.sock.shutdown(socket.SHUT_RDWR)

    def pools(self) -> dict[str, type[HTTPConnectionPool]]:
        """Return pools by scheme whose connections are among these."""
        connections = self

        class Plain(HTTPConnection):
            asked_at: float | None = None

            def connect(self) -> None:
                super().connect()
                connections.add(self)

            def getresponse(self) -> Any:
                self.asked_at = time.monotonic()
                try:
                    return super().getresponse()
                finally:
                    self.asked_at = None

        class Encrypted(Plain, HTTPSConnection):
            pass

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        return {"http": PlainPool, "https": EncryptedPool}


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, connections: _Connections, **options: Any) -> None:
        self._pools = connections.pools()
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            # Those need connections of their own kind.
            manager.pool_classes_by_scheme = self._pools
        return manager


class RangeRefused(Exception):
    """The host does not start where we asked: there is no such byte, or it serves another part."""


class FileHost:
    """Opens links with a session of its own, which never carries API credentials across origins.

    Several threads may use it; what talks to Airflow (``headers``, ``mask``) is called by one at a time.

    :param session: a session that no API call uses.
    :param vendor: whose files they are.
    :param headers: returns the credentials for files on the API's own origin.
    :param mask: keeps a text out of the logs from then on.
    :param connections: most connections at once.
    """

    def __init__(
        self,
        session: requests.Session,
        vendor: Vendor,
        headers: Callable[[], Mapping[str, str]],
        mask: Callable[[str], object],
        connections: int,
    ) -> None:
        # glibc maps and unmaps memory for each large object until one as large has been given back: those
        # page faults, with each chunk anew, cost up to four times what the chunk itself does.
        bytes(_LARGEST_CHUNK)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._connections = _Connections()
        for prefix in ("http://", "https://"):
            session.mount(prefix, _Adapter(self._connections, pool_maxsize=connections))
        leave_redirects(session)
        self._session = session
        self._vendor = vendor
        self._credentials = headers
        self._mask = mask
        self._hidden = 0
        logging.getLogger("urllib3.connectionpool").addFilter(_WITHOUT_QUERIES)
        self.airflow = threading.RLock()
        """Held by whoever talks to Airflow: its channel to the supervisor takes one speaker at a time."""

    def open(self, file: ExportFile, start: int = 0, stop: int | None = None, etag: str = "") -> Body:
        """Ask for the bytes of ``file`` from ``start`` to ``stop``, of the version with ``etag``.

        A host that has another version, or no ranges, answers with the whole file: see ``Body.start``.

        :raises RangeRefused: it answers with neither.
        :raises LinkExpired: it refuses the link; a fresh one may work.
        :raises UnsafeLink: the link must not be followed.
        :raises VendorUnavailable: it has a fault or does not answer.
        :raises DownloadError: it sends an encoding or status that makes no sense.
        """
        asked = {}
        if start or stop is not None:
            asked = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}", "If-Range": etag}
        try:
            answer = self._walk(file, asked)
        except (errors.RequestException, broken.LocationParseError, OSError) as error:
            # Not chained: the library's own text shows the link.
            said = f"{file.name}: the file host does not answer: {network_error(error)}."
            raise VendorUnavailable(said) from None
        except ValueError:
            # Also requests parses where a redirect leads.
            raise UnsafeLink(f"{file.name}: a redirect leads to what is no web address.") from None
        try:
            return self._body(file, answer, start, stop)
        except BaseException:
            answer.close()
            raise

    def hang_up(self) -> None:
        """End all requests at once, also those of other threads, which get an error; none works any more."""
        self._connections.end()

    def hang_up_on_slow_answers(self) -> None:
        """End requests whose headers come so slowly that no single read of them times out."""
        self._connections.end_slow(2 * self._vendor.settings.request_timeout)

    def close(self) -> None:
        """Give up the connections that nobody uses."""
        self._session.close()

    def _walk(self, file: ExportFile, asked: Mapping[str, str]) -> requests.Response:
        url = file.url
        for _ in range(_MAX_REDIRECTS + 1):
            self._check(url)
            headers = {"Accept": "*/*", "Accept-Encoding": "identity", **asked}
            with self.airflow:
                self._hide(url)
                if file.authenticated and self._trusted(url):
                    headers |= self._credentials()
            # Redirects are walked by hand: each hop is checked and gets credentials on its own merits.
            answer = self._session.get(
                url,
                headers=headers,
                auth=unsigned,
                timeout=(CONNECT_TIMEOUT, self._vendor.settings.request_timeout),
                verify=self._vendor.settings.tls_verify,
                allow_redirects=False,
                stream=True,
            )
            if not answer.is_redirect:
                return answer
            answer.close()
            url = urljoin(url, answer.headers["Location"])
        raise UnsafeLink(f"{file.name}: more than {_MAX_REDIRECTS} redirects.")

    def _body(self, file: ExportFile, answer: requests.Response, start: int, stop: int | None) -> Body:
        status, headers = answer.status_code, answer.headers
        if status not in (200, 206):
            raise self._refusal(file, answer)
        encoding = headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            # A cut body in an encoding passes every HTTP client unnoticed, so an unasked one is refused.
            raise DownloadError(
                f"{file.name}: the file host sends {encoding!r} encoding, which was not asked for."
            )
        etag = headers.get("ETag", "")
        details: dict[str, Any] = {
            "etag": etag if etag.startswith('"') else None,
            "media_type": headers.get("Content-Type", "").lower(),
            "_answer": answer,
            "_name": file.name,
        }
        if status == 200:
            length = headers.get("Content-Length", "")
            if length.isdecimal() and not _LENGTH.fullmatch(length):
                raise DownloadIncomplete(f"{file.name}: the file host announces a length that cannot be.")
            size = int(length) if length.isdecimal() else None
            chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
            return Body(
                start=0,
                stop=size,
                total=size,
                ranges=headers.get("Accept-Ranges", "").lower() == "bytes",
                _open_ended=size is None and not chunked,
                **details,
            )
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
        if first != start or last != (total if stop is None else min(stop, total)) - 1:
            raise RangeRefused
        return Body(start=start, stop=last + 1, total=total, ranges=True, **details)

    def _refusal(self, file: ExportFile, answer: requests.Response) -> Exception:
        status = answer.status_code
        if status == 416:
            return RangeRefused()
        if status in self._vendor.settings.stale_link_statuses:
            return LinkExpired(f"{file.name}: the file host refuses the link.", http_status=status)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        asked = Response(status, headers, received_at=time.time()).retry_after
        if status == 429:
            said = f"{file.name}: the file host asks for fewer requests."
            return RateLimited(said, http_status=status, retry_after=asked)
        if status >= 500:
            said = f"{file.name}: the file host has a fault (HTTP {status})."
            return VendorUnavailable(said, http_status=status, retry_after=asked)
        return DownloadError(f"{file.name}: the file host answers with status {status}.", http_status=status)

    def _check(self, url: str) -> None:
        scheme = host = ""
        with contextlib.suppress(ValueError):
            scheme, host, _ = origin(url)
        if scheme not in ("http", "https") or not host:
            raise UnsafeLink("the download link is no web address.")
        if _is_link_local(host) and host != origin(self._vendor.base_url)[1]:
            raise UnsafeLink(f"the download link leads to {host}, which is an address of this network only.")
        if scheme == "https" or self._vendor.settings.allow_http:
            return
        # This machine is a fair place for files only if the API is here as well.
        local = {host, origin(self._vendor.base_url)[1]} <= LOOPBACK_HOSTS
        if not local:
            raise UnsafeLink(f"the download link leads over plain http to {host}.")

    def _hide(self, url: str) -> None:
        query = urlsplit(url).query
        # Each text that Airflow is to hide makes it look for all of them anew: thousands would take hours.
        if query and self._hidden < _MOST_HIDDEN:
            self._hidden += 1
            self._mask(query)

    def _trusted(self, url: str) -> bool:
        if origin(url) == origin(self._vendor.base_url):
            return True
        host, netloc = (urlsplit(url).hostname or "").lower(), urlsplit(url).netloc.lower()
        return bool({host, netloc} & self._vendor.file_hosts)


def _is_link_local(host: str) -> bool:
    """Return whether a host is a link-local address, where clouds keep credentials, in whatever notation."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        try:
            # 2852039166, 0xa9fea9fe and 0251.0376.0251.0376 are addresses as well.
            found = ipaddress.ip_address(socket.inet_aton(host))
        except OSError:
            return False
    found = getattr(found, "ipv4_mapped", None) or found
    return found.is_link_local or found.is_unspecified

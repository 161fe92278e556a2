"""Open a download link: checked, with credentials for nobody else, and at any byte the server lets us."""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
from requests import exceptions as errors
from urllib3 import exceptions as broken

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
from airflow_provider_exports.transports.blocking import CONNECT_TIMEOUT, network_error, unsigned

_MAX_REDIRECTS = 5
# Links of one export that are hidden from everybody's logs; the library's own never show one.
_MOST_HIDDEN = 100
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass
class Body:
    """The open answer of a file host; close it."""

    start: int
    """Offset of its first byte in the file."""
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

    def read(self, most: int) -> bytes:
        """Return what has arrived, at most ``most`` bytes; empty at the end.

        :raises DownloadIncomplete: the connection broke, or fell silent.
        """
        try:
            return bytes(self._answer.raw.read1(most))
        except broken.ReadTimeoutError:
            raise DownloadIncomplete(f"{self._name}: the file host fell silent.") from None
        except (broken.HTTPError, OSError):
            raise DownloadIncomplete(f"{self._name}: the transfer broke off.") from None

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
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for prefix in ("http://", "https://"):
            session.mount(prefix, requests.adapters.HTTPAdapter(pool_maxsize=connections))
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

    def close(self) -> None:
        """Hang up."""
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
            return Body(
                start=0,
                total=int(length) if length.isdecimal() else None,
                ranges=headers.get("Accept-Ranges", "").lower() == "bytes",
                **details,
            )
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        first, last, total = map(int, found.groups()) if found else (-1, -1, -1)
        if first != start or last != (total if stop is None else min(stop, total)) - 1:
            raise RangeRefused
        return Body(start=start, total=total, ranges=True, **details)

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

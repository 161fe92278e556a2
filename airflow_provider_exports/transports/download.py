"""Fetch a file to local disk, checked; nothing here decides where it finally lands."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from requests import exceptions as errors

from airflow_provider_exports.core.model import ExportFile
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.core.wire import LOOPBACK_HOSTS, Response, origin
from airflow_provider_exports.exceptions import (
    DownloadError,
    DownloadIncomplete,
    LinkExpired,
    NotTheFile,
    RateLimited,
    UnsafeLink,
    VendorUnavailable,
)
from airflow_provider_exports.transports.blocking import CONNECT_TIMEOUT, Log, network_error, unsigned

# Below 64 KiB the interpreter costs more than the copy, above 1 MiB only memory grows (docs/explanation).
CHUNK = 256 * 1024
_MAX_REDIRECTS = 5
_MEDIA_TYPES = {
    "csv": "text/csv",
    "txt": "text/plain",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_MAGIC = {"pdf": b"%PDF", "xlsx": b"PK\x03\x04", "zip": b"PK"}


@dataclass(frozen=True)
class Fetched:
    """A file on local disk, whole and checked."""

    path: Path
    """Where it is."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of its content."""


class Downloader:
    """Fetches files with a session of its own, which never carries API credentials across origins.

    :param session: a session that no API call uses.
    :param vendor: whose files they are.
    :param log: for one line per oddity.
    :param headers: returns the credentials for files on the API's own origin.
    :param mask: keeps a text out of the logs from then on.
    """

    def __init__(
        self,
        session: requests.Session,
        vendor: Vendor,
        log: Log,
        headers: Callable[[], Mapping[str, str]],
        mask: Callable[[str], object],
    ) -> None:
        self._session = session
        self._vendor = vendor
        self._log = log
        self._credentials = headers
        self._mask = mask

    def fetch(self, file: ExportFile, path: Path) -> Fetched:
        """Stream ``file`` into ``path``.

        :raises LinkExpired: the file host refuses the link; a fresh one may work.
        :raises DownloadIncomplete: the size is not the announced one, or the connection broke.
        :raises NotTheFile: an error page came instead.
        :raises UnsafeLink: the link must not be followed.
        :raises VendorUnavailable: the file host has a fault or does not answer.
        """
        try:
            with self._open(file) as answer:
                return self._save(file, answer, path)
        except errors.RequestException as error:
            failure = network_error(error)
            if isinstance(error, (errors.ChunkedEncodingError, errors.ContentDecodingError)):
                raise DownloadIncomplete(f"{file.name}: the transfer broke off.") from None
            # Not chained: the library's own text shows the link.
            raise VendorUnavailable(f"{file.name}: the file host does not answer: {failure}.") from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DownloadError(
                    f"{file.name}: no space left on {path.parent}.",
                    next_step="Free space, then let it retry.",
                ) from error
            raise

    def _open(self, file: ExportFile) -> requests.Response:
        url = file.url
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_link(url)
            self._hide(url)
            headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
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
            if answer.is_redirect:
                url = urljoin(url, answer.headers["Location"])
                answer.close()
                continue
            status = answer.status_code
            if status == 200:
                return answer
            answer.close()
            if status in self._vendor.settings.stale_link_statuses:
                raise LinkExpired(f"{file.name}: the file host refuses the link.", http_status=status)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            asked = Response(status, headers, received_at=time.time()).retry_after
            if status == 429:
                said = f"{file.name}: the file host asks for fewer requests."
                raise RateLimited(said, http_status=status, retry_after=asked)
            if status >= 500:
                said = f"{file.name}: the file host has a fault (HTTP {status})."
                raise VendorUnavailable(said, http_status=status, retry_after=asked)
            raise DownloadError(
                f"{file.name}: the file host answers with status {status}.", http_status=status
            )
        raise UnsafeLink(f"{file.name}: more than {_MAX_REDIRECTS} redirects.")

    def _check_link(self, url: str) -> None:
        try:
            scheme, host, _ = origin(url)
        except ValueError:
            scheme, host = "", ""
        if scheme not in ("http", "https") or not host:
            raise UnsafeLink("the download link is no web address.")
        if scheme == "https" or self._vendor.settings.allow_http:
            return
        # This machine is a fair place for files only if the API is here as well.
        local = {host, origin(self._vendor.base_url)[1]} <= LOOPBACK_HOSTS
        if not local:
            raise UnsafeLink(f"the download link leads over plain http to {host}.")

    def _hide(self, url: str) -> None:
        # HTTP libraries log what comes after the host, and by itself.
        parts = urlsplit(url)
        for secret in (url, parts._replace(scheme="", netloc="").geturl(), parts.query):
            if secret not in ("", parts.path):
                self._mask(secret)

    def _trusted(self, url: str) -> bool:
        if origin(url) == origin(self._vendor.base_url):
            return True
        host, netloc = (urlsplit(url).hostname or "").lower(), urlsplit(url).netloc.lower()
        return bool({host, netloc} & self._vendor.file_hosts)

    def _save(self, file: ExportFile, answer: requests.Response, path: Path) -> Fetched:
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            # A cut body in an encoding passes every HTTP client unnoticed, so an unasked one is refused.
            raise DownloadError(
                f"{file.name}: the file host sends {encoding!r} encoding, which was not asked for."
            )
        announced = answer.headers.get("Content-Length", "")
        announced_size = int(announced) if announced.isdecimal() else None
        kind = answer.headers.get("Content-Type", "").lower()
        digest = hashlib.sha256()
        size = 0
        with path.open("wb", buffering=0) as sink:
            for chunk in answer.iter_content(CHUNK):
                if size == 0:
                    self._recognise(file, chunk, kind)
                view = memoryview(chunk)
                while view:
                    view = view[sink.write(view) :]
                digest.update(chunk)
                size += len(chunk)
        for source, expected in (("the vendor", file.size), ("the file host", announced_size)):
            if expected is not None and expected != size:
                raise DownloadIncomplete(f"{file.name}: {size} bytes came, {source} announced {expected}.")
        if file.size is None and announced_size is None:
            self._log.warning("%s: nobody announced its size, %d bytes cannot be verified", file.name, size)
        if self._vendor.settings.file_mode:
            path.chmod(int(self._vendor.settings.file_mode, 8))
        return Fetched(path, size, digest.hexdigest())

    def _recognise(self, file: ExportFile, head: bytes, kind: str) -> None:
        """Refuse an error page that came with status 200."""
        start = head[:256].lstrip().lower()
        magic = _MAGIC.get(file.format or "")
        if start.startswith((b"<!doctype html", b"<html")):
            raise NotTheFile(f"{file.name}: an HTML page came instead of the file.")
        if magic and not head.startswith(magic):
            raise NotTheFile(f"{file.name}: what came is no {file.format} file.")
        expected = _MEDIA_TYPES.get(file.format or "")
        if kind and expected and not kind.startswith((expected, "application/octet-stream")):
            self._log.warning("%s: the file host calls it %s", file.name, kind.partition(";")[0])
        if file.format in ("csv", "txt") and "json" in kind and start.startswith((b"{", b"[")):
            raise NotTheFile(f"{file.name}: a JSON message came instead of the file.")

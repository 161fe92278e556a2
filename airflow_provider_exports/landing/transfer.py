"""Move one file from its host to a local disk: in parts, at once, from where the last try stopped.

Bytes are written to their place in the file as they arrive. A thread of its own reads the file behind them
and hashes it, so what is hashed is what lies on the disk, in whatever order it came.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_exports.core.model import ExportFile
from airflow_provider_exports.exceptions import (
    DownloadError,
    DownloadIncomplete,
    ExportError,
    LinkExpired,
    VendorUnavailable,
)
from airflow_provider_exports.landing import check
from airflow_provider_exports.landing.host import Body, FileHost, RangeRefused

# Below 64 KiB the interpreter costs more than the copy, above 1 MiB only memory grows (docs/explanation).
CHUNK = 512 * 1024
SPLIT = 16 * 1024 * 1024
"""Smallest part, bytes, that is worth a connection of its own."""
FAST = 128 * 1024 * 1024
"""A connection that moves this many bytes per second is not what holds a file up."""
ATTEMPTS = 4
"""Failures in a row, without progress between them, after which a file is given up."""
MOST_FAILURES = 100
"""Failures of one file in all."""
PROGRESS = 64 * 1024
"""Bytes that count as progress."""
_SAVE_SECONDS = 2.0
_STALL_SECONDS = 60.0
_REST_SECONDS = 30.0


@dataclass(eq=False)
class Part:
    """A stretch of the file that one connection at a time fetches."""

    begin: int
    """First byte."""
    at: int
    """Next byte to be written."""
    end: int | None
    """Byte after the last; None while nobody knows."""

    @property
    def complete(self) -> bool:
        """Whether all of it is on the disk."""
        return self.end is not None and self.at >= self.end


@dataclass(frozen=True)
class Fetched:
    """A file on local disk, as it came."""

    path: Path
    """Where it is."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest of its content."""
    rows: int | None
    """Rows, where the format tells them by its line ends."""
    announced: bool
    """Whether somebody had announced its size or digest, so that it is known to be whole."""


class Stopped(Exception):
    """Somebody else has failed, or the task is being stopped."""


class _StartOver(Exception):
    """What lies on the disk is of no use any more, because of ``error``."""

    def __init__(self, error: ExportError) -> None:
        super().__init__()
        self.error = error


class Transfer:
    """One file on its way. :meth:`run` does it, on any thread; the other methods look on from outside.

    :param host: whom to ask.
    :param file: returns the file with a link that is still good.
    :param renew: takes the link that died, and asks the vendor for a fresh one.
    :param path: where the file goes; ``.<name>.state`` beside it remembers how far it came.
    :param stop: set from outside to give up.
    :param recognise: looks at the first bytes and at the content type, and raises if this is not the file.
    :param connections: most connections for this file.
    :param slowest: bytes per second below which a connection counts as dead.
    :param patience: longest pause, seconds, that a host may ask for.
    """

    def __init__(
        self,
        host: FileHost,
        file: Callable[[], ExportFile],
        renew: Callable[[str], None],
        path: Path,
        stop: threading.Event,
        recognise: Callable[[ExportFile, bytes, str], None],
        *,
        connections: int = 1,
        slowest: float = 0.0,
        patience: float = 600.0,
    ) -> None:
        self.path = path
        self.total: int | None = None
        """Bytes of the whole file, None while unknown."""
        self.moved = 0
        """Bytes that came over the wire, repeated ones as well."""
        self._host, self._file, self._renew, self._stop = host, file, renew, stop
        self._recognise, self._connections = recognise, connections
        self._slowest, self._patience = slowest, patience
        # No file of an export begins with a dot.
        self._state_file = path.with_name(f".{path.name}.state")
        self._changed = threading.Condition(threading.RLock())
        self._parts: list[Part] = []
        self._taken: list[Part] = []
        self._offered: list[Part] = []
        self._helpers: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._descriptor = -1
        self._used = ""
        self._etag: str | None = None
        self._announced = self._ranges = False
        self._failures = self._in_a_row = 0
        self._saved_at = self._rested_at = 0.0

    @property
    def landed(self) -> int:
        """Bytes on the disk."""
        with self._changed:
            return sum(part.at - part.begin for part in self._parts)

    @property
    def connections(self) -> int:
        """Connections at work."""
        return 1 + sum(thread.is_alive() for thread in self._helpers)

    def run(self) -> Fetched:
        """Fetch the file.

        :raises ExportError: it cannot be had; what came stays for another try where it may be of use.
        :raises Stopped: before it was whole.
        """
        while True:
            self._take_up()
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                os.ftruncate(self._descriptor, max((part.at for part in self._parts), default=0))
                hasher = _Hasher(self, self._descriptor, self._current())
                try:
                    self._fetch()
                    return self._checked(hasher.finish(self.total or 0))
                finally:
                    hasher.end()
            except _StartOver as again:
                self._state_file.unlink(missing_ok=True)
                self._error = None
                self._bear(again.error, progress=0)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise self._no_space() from error
                raise
            finally:
                os.close(self._descriptor)

    def help(self, rate: float, free: int) -> int:
        """Add connections, if each one is slow and the host has said that it serves parts.

        :param rate: bytes of this file per second, now.
        :param free: how many connections may be added.
        :return: how many were.
        """
        with self._changed:
            running = self.connections
            if not self._ranges or self._etag is None or self._error or rate / running > FAST:
                return 0
            if time.monotonic() < self._rested_at:
                return 0
            room = sum((part.end or 0) - part.at for part in self._parts) // SPLIT - 1
            added = max(0, min(self._connections - running, free, room))
            for _ in range(added):
                thread = threading.Thread(target=self._share, name=f"land {self.path.name}", daemon=True)
                self._helpers.append(thread)
                thread.start()
            return added

    def frontier(self) -> int:
        """Return how much of the file's beginning is on the disk, without a hole."""
        with self._changed:
            at = 0
            for part in sorted(self._parts, key=lambda part: part.begin):
                if part.begin > at:
                    break
                at = max(at, part.at)
            return at

    # -- fetching --------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        try:
            while (part := self._next()) is not None:
                self._pull(part)
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            self._fail(error)
        for thread in self._helpers:
            thread.join()
        self._helpers.clear()
        if self._error is not None:
            self._save(force=True)
            raise self._error

    def _next(self) -> Part | None:
        """Take a part that nobody has; wait while others are at work on theirs."""
        with self._changed:
            while self._error is None:
                for part in self._parts:
                    if not part.complete and part not in self._taken:
                        self._taken.append(part)
                        return part
                if not self._taken:
                    return None
                self._changed.wait(1.0)
            return None

    def _share(self) -> None:
        """Take over half of what another connection has before it, again and again."""
        try:
            while (offer := self._largest()) is not None:
                try:
                    split = self._split(offer)
                finally:
                    self._offered.remove(offer)
                if split is not None:
                    self._pull(*split)
        except RangeRefused:
            self._ranges = False
        except (DownloadIncomplete, LinkExpired, VendorUnavailable, Stopped) as error:
            asked = getattr(error, "retry_after", None) or 0.0
            self._rested_at = time.monotonic() + max(asked, _REST_SECONDS)
            # The first connection takes up what this one leaves, and tells if it cannot.
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits for this one
            self._fail(error)

    def _split(self, offer: Part) -> tuple[Part, Body] | None:
        """Open the second half of a part, and take it; None if there is no need any more.

        :raises RangeRefused: the host does not serve it.
        """
        with self._changed:
            end = offer.end
            middle = (offer.at + (end or 0)) // 2
        body = self._host.open(self._current(), middle, end, self._etag or "")
        with self._changed:
            if not self._continues(body, middle):
                body.close()
                raise RangeRefused
            if offer.end != end or offer.at >= middle:
                # It was quicker than our request.
                body.close()
                return None
            part = Part(middle, middle, end)
            offer.end = middle
            self._parts.append(part)
            self._taken.append(part)
            return part, body

    def _largest(self) -> Part | None:
        with self._changed:
            if self._stop.is_set() or self._error is not None:
                return None
            # Two helpers with the same offer would fetch the same half.
            known = [part for part in self._taken if part.end is not None and part not in self._offered]
            largest = max(known, key=lambda part: (part.end or 0) - part.at, default=None)
            if largest is None or (largest.end or 0) - largest.at < 2 * SPLIT:
                return None
            self._offered.append(largest)
            return largest

    def _pull(self, part: Part, body: Body | None = None) -> None:
        """Fetch a taken part until it is complete, over as many connections as that takes."""
        try:
            while not part.complete:
                before = part.at
                try:
                    body = body or self._open(part)
                    self._write(part, body)
                except (DownloadIncomplete, LinkExpired, VendorUnavailable) as error:
                    if part.at > 0 and self._etag is None:
                        # Nothing would tell whether what comes next is still of the same file.
                        raise _StartOver(error) from None
                    self._bear(error, progress=part.at - before)
                finally:
                    if body is not None:
                        body.close()
                        body = None
        finally:
            with self._changed:
                self._taken.remove(part)
                self._changed.notify_all()

    def _open(self, part: Part) -> Body:
        if part.at == 0:
            return self._begin(part)
        try:
            body = self._host.open(self._current(), part.at, part.end, self._etag or "")
        except RangeRefused:
            raise self._over("the file host does not serve the part that is missing.") from None
        if not self._continues(body, part.at):
            body.close()
            raise self._over("the file host sends another version of it.")
        return body

    def _begin(self, part: Part) -> Body:
        """Open the file from its first byte, and learn what the host tells about it."""
        file = self._current()
        try:
            body = self._host.open(file)
        except RangeRefused:
            said = f"{file.name}: the file host serves a part that was not asked for."
            raise DownloadIncomplete(said) from None
        try:
            with self._changed:
                if len(self._parts) > 1 and (body.total, body.etag) != (self.total, self._etag):
                    raise self._over("the file host sends another version of it.")
                if len(self._parts) == 1:
                    part.end = self.total = body.total
                self._etag, self._ranges = body.etag, body.ranges
                self._announced = body.total is not None
            if file.size is not None and body.total not in (None, file.size):
                # A page in the file's place is the better explanation.
                self._recognise(file, body.read(CHUNK), body.media_type)
                said = f"the file host has {body.total} bytes, the vendor announced {file.size}."
                raise DownloadIncomplete(f"{file.name}: {said}")
            if body.total is not None and body.total > shutil.disk_usage(self.path.parent).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except BaseException:
            body.close()
            raise
        return body

    def _continues(self, body: Body, start: int) -> bool:
        return (body.start, body.total) == (start, self.total) and body.etag in (None, self._etag)

    def _write(self, part: Part, body: Body) -> None:
        """Write what ``body`` holds of ``part``; its end may come nearer meanwhile."""
        begun, before = time.monotonic(), part.at
        while not part.complete:
            chunk = body.read(CHUNK)
            if not chunk:
                break
            if part.at == 0:
                self._recognise(self._current(), chunk, body.media_type)
            view = memoryview(chunk)
            if part.end is not None:
                view = view[: max(0, part.end - part.at)]
            at = part.at
            while view:
                written = os.pwrite(self._descriptor, view, at)
                view = view[written:]
                at += written
                with self._changed:
                    # A helper may have taken over meanwhile what begins before this.
                    part.at = at if part.end is None else min(at, part.end)
                    self.moved += written
                    self._changed.notify_all()
            self._save()
            if self._stop.is_set() or self._error is not None:
                raise Stopped
            seconds = time.monotonic() - begun
            if seconds > _STALL_SECONDS:
                rate = (part.at - before) / seconds
                if rate < self._slowest:
                    raise DownloadIncomplete(f"{self.path.name}: only {rate:.0f} B/s came.")
                # What came before does not make up for what comes now.
                begun, before = time.monotonic(), part.at
        with self._changed:
            if part.end is None:
                part.end = self.total = part.at
        if not part.complete:
            raise DownloadIncomplete(f"{self.path.name}: {part.at} of {self.total} bytes came.")

    def _bear(self, error: ExportError, progress: int) -> None:
        """Wait before another connection, or give up."""
        with self._changed:
            self._failures += 1
            self._in_a_row = 1 if progress >= PROGRESS else self._in_a_row + 1
            if self._in_a_row >= ATTEMPTS or self._failures >= MOST_FAILURES:
                raise error
            waits = isinstance(error, VendorUnavailable)
            pause = max(error.retry_after or 0.0, 2.0**self._in_a_row if waits else 0.0)
        if pause > self._patience:
            raise error
        _pause(self._stop, pause)
        if self._stop.is_set() or self._error is not None:
            raise Stopped
        if isinstance(error, LinkExpired) or progress < PROGRESS:
            # Also without a refusal: meanwhile the export may have expired, which only the vendor tells.
            with self._host.airflow:
                self._renew(self._used)

    def _current(self) -> ExportFile:
        with self._host.airflow:
            file = self._file()
            self._used = file.url
            return file

    def _over(self, said: str) -> _StartOver:
        return _StartOver(DownloadIncomplete(f"{self.path.name}: {said}"))

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _no_space(self) -> DownloadError:
        # So that somebody else can breathe: a part that does not fit is of no use.
        self._state_file.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        return DownloadError(
            f"{self.path.name}: no space left on {self.path.parent}.",
            next_step="Free space, then let it retry.",
        )

    # -- what another try needs ------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Take up what an earlier try left, unless the machine went down since, which may lose writes."""
        self._parts, self._etag, self.total = [Part(0, 0, None)], None, None
        self._ranges = self._announced = False
        self._saved_at = time.monotonic()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            raw = json.loads(self._state_file.read_text())
            boot, etag, total = raw["boot"], str(raw["etag"]), int(raw["total"])
            parts = [Part(*map(int, numbers)) for numbers in raw["parts"]]
            size, reached = self.path.stat().st_size, 0
            for part in parts:
                if not reached == part.begin <= part.at <= min(size, part.end or 0):
                    return
                reached = part.end or 0
            if boot and boot == _boot() and reached == total:
                self._etag, self.total, self._parts = etag, total, parts
                self._ranges = self._announced = True

    def _save(self, *, force: bool = False) -> None:
        now = time.monotonic()
        with self._changed:
            due = force or now > self._saved_at + _SAVE_SECONDS
            if self._etag is None or self.total is None or not due:
                return
            self._saved_at = now
            parts = sorted((part.begin, part.at, part.end) for part in self._parts)
            state = {"boot": _boot(), "etag": self._etag, "total": self.total, "parts": parts}
            partial = self._state_file.with_name(f"{self._state_file.name}.new")
            partial.write_text(json.dumps(state))
            partial.replace(self._state_file)

    def _checked(self, digests: dict[str, Any]) -> Fetched:
        file, size = self._current(), self.total or 0
        if file.size is not None and file.size != size:
            raise self._over(f"{size} bytes came, the vendor announced {file.size}.")
        if file.md5 is not None and digests["md5"] != file.md5.lower():
            raise self._over("its MD5 is not the one that the vendor announced.")
        self._state_file.unlink(missing_ok=True)
        announced = self._announced or file.size is not None or file.md5 is not None
        rows = digests["lines"] if file.format in check.JSON_LINES else None
        return Fetched(self.path, size, digests["sha256"], rows, announced)


class _Hasher(threading.Thread):
    """Hashes a file behind those who write it."""

    def __init__(self, transfer: Transfer, descriptor: int, file: ExportFile) -> None:
        super().__init__(name=f"hash {transfer.path.name}", daemon=True)
        self._transfer, self._descriptor = transfer, descriptor
        self._hashes = {"sha256": hashlib.sha256()}
        if file.md5 is not None:
            self._hashes["md5"] = hashlib.md5(usedforsecurity=False)
        self._counts_lines = file.format in check.JSON_LINES
        self._lines = self._at = 0
        self._size: int | None = None
        self._ended = False
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Follow the frontier to the end."""
        try:
            buffer = bytearray(2 * CHUNK)
            while (ready := self._wait()) > 0:
                count = os.preadv(self._descriptor, [memoryview(buffer)[:ready]], self._at)
                if count == 0:
                    raise OSError(errno.EIO, "the file is shorter than what was written")
                read = memoryview(buffer)[:count]
                for one in self._hashes.values():
                    one.update(read)
                if self._counts_lines:
                    self._lines += buffer.count(b"\n", 0, count)
                self._at += count
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits for this one
            self._error = error

    def finish(self, size: int) -> dict[str, Any]:
        """Hash the rest of a file of ``size`` bytes; return hex digests by name, and ``lines``."""
        with self._transfer._changed:
            self._size = size
            self._transfer._changed.notify_all()
        self.join()
        if self._error is not None:
            raise self._error
        if self._at != size:
            raise OSError(errno.EIO, "not all of the file was read back")
        return {"lines": self._lines, **{name: one.hexdigest() for name, one in self._hashes.items()}}

    def end(self) -> None:
        """Stop, also before the end."""
        with self._transfer._changed:
            self._ended = True
            self._transfer._changed.notify_all()
        self.join()

    def _wait(self) -> int:
        """Return how many bytes to hash next; 0 at the end."""
        with self._transfer._changed:
            while not self._ended:
                ready = self._transfer.frontier() - self._at
                # Small reads while the file is on its way would only take the interpreter from its writers.
                if ready >= 2 * CHUNK or self._size is not None:
                    return min(ready, 2 * CHUNK)
                self._transfer._changed.wait()
        return 0


def _boot() -> str:
    """Return what names the time since the machine was started."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _pause(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
CHUNK = 1024 * 1024
SPLIT = 2 * 1024 * 1024
"""Smallest part, bytes, that is worth a request of its own."""
FAST = 128 * 1024 * 1024
"""A connection that moves this many bytes per second is not what holds a file up."""
ATTEMPTS = 4
"""Failures in a row, without progress between them, after which a file is given up."""
MOST_FAILURES = 100
"""Failures of one file in all."""
PROGRESS = 64 * 1024
"""Bytes that count as progress."""
_SAVE_SECONDS = 2.0
# A part for one of several connections: a request costs little of it, and the hash, which goes in order, does
# not wait long.
_BLOCK_SECONDS = 1.0
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

    @property
    def left(self) -> int:
        """Bytes to come, as far as anybody knows."""
        return 0 if self.end is None else max(0, self.end - self.at)


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
    keep: Callable[[], None] = field(repr=False, compare=False)
    """Remembers it for another try, which then need not fetch it again."""


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
        self._helpers: list[threading.Thread] = []
        self._error: BaseException | None = None
        self._descriptor = -1
        self._used = ""
        self._etag: str | None = None
        self._announced = self._ranges = self._proven = False
        self._failures = self._in_a_row = 0
        self._saved_at = self._rested_at = self._looked_at = 0.0
        self._seen, self._pace = 0, 0.0
        self._hasher: _Hasher | None = None
        self._digest: str | None = None
        self._kept = ""

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
                try:
                    self._fetch()
                    return self._checked(self._hash().finish(self.total or 0))
                finally:
                    if self._hasher is not None:
                        self._hasher.end()
                        self._hasher = None
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

    def help(self, free: int, window: float) -> int:
        """Add connections, if each one is slow and the host has said that it serves parts.

        :param free: how many connections may be added.
        :param window: seconds over which a rate means something.
        :return: how many were.
        """
        with self._changed:
            now, running = time.monotonic(), self.connections
            if not self._shared() or self._error or now < max(self._rested_at, self._looked_at + window):
                return 0
            rate = (self.moved - self._seen) / (now - self._looked_at)
            self._looked_at, self._seen, self._pace = now, self.moved, rate / running
            if self._pace > FAST:
                return 0
            # Each one that is at work keeps a part for itself.
            room = sum(part.left // SPLIT - (part in self._taken) for part in self._parts if part.left)
            added = max(0, min(self._connections - running, free, room))
            self._helpers = [thread for thread in self._helpers if thread.is_alive()]
            for _ in range(added):
                thread = threading.Thread(target=self._share, name=f"land {self.path.name}", daemon=True)
                self._helpers.append(thread)
                thread.start()
            return added

    def keep(self) -> None:
        """Remember that the file came whole, so that another try need not fetch it again."""
        if self._kept:
            with contextlib.suppress(OSError):
                self._remember(self._kept)

    def forget(self) -> None:
        """Let another try fetch the file again: it came, and is no good."""
        self._kept = ""
        self._state_file.unlink(missing_ok=True)

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
        if self._error is None and self._stop.is_set():
            self._error = Stopped()
        if self._error is not None:
            self._save(force=True)
            raise self._error

    def _next(self) -> Part | None:
        """Take a part that nobody has; wait while others are at work on theirs."""
        with self._changed:
            while self._error is None:
                if (part := self._take()) is not None or not self._taken:
                    return part
                self._changed.wait(1.0)
            return None

    def _share(self) -> None:
        """Fetch parts that nobody has, or that another connection has before it, as long as there are any."""
        try:
            while (part := self._take()) is not None:
                try:
                    body = self._host.open(self._current(), part.at, part.end, self._etag or "")
                    if not self._continues(body, part.at):
                        body.close()
                        raise RangeRefused
                    with self._changed:
                        self._proven = True
                        self._changed.notify_all()
                except BaseException:
                    self._give_back(part)
                    raise
                self._pull(part, body)
        except RangeRefused:
            self._ranges = False
        except (DownloadIncomplete, LinkExpired, VendorUnavailable, Stopped) as error:
            asked = getattr(error, "retry_after", None) or 0.0
            self._rested_at = time.monotonic() + max(asked, _REST_SECONDS)
            # The first connection takes up what this one leaves, and tells if it cannot.
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits for this one
            self._fail(error)

    def _take(self) -> Part | None:
        """Take the first part that nobody has, or some of what another connection has before it.

        Parts are handed out from the front of the file, so that the hash can go along.
        """
        with self._changed:
            if self._error is not None or self._stop.is_set():
                return None
            free = [part for part in self._parts if not part.complete and part not in self._taken]
            if not free and self._shared():
                largest = max(self._taken, key=lambda part: part.left, default=None)
                if largest is not None and largest.left >= 2 * SPLIT:
                    free = [self._cut(largest)]
            if not free:
                return None
            part = min(free, key=lambda part: part.begin)
            if self._shared() and self.connections > 1:
                self._cut(part)
            self._taken.append(part)
            return part

    def _cut(self, part: Part) -> Part:
        """Leave ``part`` what is due to one of several connections, and return the rest, maybe empty."""
        # At the end less than a fair share, so that all of them are done at the same time.
        share = self._unclaimed(part) // (2 * self._connections)
        size = max(SPLIT, min(share, round(self._pace * _BLOCK_SECONDS)))
        if part.end is None or part.left < size + SPLIT:
            return part
        rest = Part(part.at + size, part.at + size, part.end)
        part.end = rest.begin
        self._parts.append(rest)
        return rest

    def _unclaimed(self, part: Part) -> int:
        others = sum(one.left for one in self._parts if one is not part and one not in self._taken)
        return part.left + others

    def _give_back(self, part: Part) -> None:
        with self._changed:
            self._taken.remove(part)
            # Else the parts of a large file would become more and more.
            self._parts.sort(key=lambda one: one.begin)
            for before, behind in zip(self._parts[:-1], self._parts[1:], strict=True):
                if before.complete and behind.complete and not {before, behind} & set(self._taken):
                    behind.begin = before.begin
                    self._parts.remove(before)
            self._changed.notify_all()

    def _extend(self, part: Part, reach: int | None) -> bool:
        """Go on into the part behind a complete one if nobody has it, as far as the answer reaches."""
        with self._changed:
            while reach is not None and part.at < reach:
                behind = next((one for one in self._parts if one.begin == one.at == part.end), None)
                if behind is None or behind.end is None:
                    return False
                if behind not in self._taken:
                    if self._shared() and self.connections > 1:
                        self._cut(behind)
                    part.end = min(behind.end, reach)
                    behind.begin = behind.at = part.end
                    if behind.complete:
                        self._parts.remove(behind)
                    return True
                if self._proven or self._error is not None or self._stop.is_set():
                    return False
                # A host that refuses parts after all has nobody but this connection.
                self._changed.wait(1.0)
            return False

    def _shared(self) -> bool:
        return self._ranges and self._etag is not None and self._connections > 1

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
            self._give_back(part)

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
        self._look()
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
        self._look()
        return body

    def _look(self) -> None:
        """Begin to measure, and to hash what needs a thread of its own, with the first answer."""
        with self._changed:
            if self._hasher is None:
                self._hash()
                self._looked_at, self._seen = time.monotonic(), self.moved

    def _hash(self) -> _Hasher:
        if self._hasher is None:
            self._hasher = _Hasher(self, self._descriptor, self._current())
        return self._hasher

    def _continues(self, body: Body, start: int) -> bool:
        return (body.start, body.total) == (start, self.total) and body.etag in (None, self._etag)

    def _write(self, part: Part, body: Body) -> None:
        """Write what ``body`` holds of ``part``; its end may come nearer meanwhile."""
        begun, before = time.monotonic(), part.at
        while not part.complete or self._extend(part, body.stop):
            # Each of several has its own chunk in memory, and is slow.
            chunk = body.read(CHUNK // 4 if self._helpers else CHUNK)
            if not chunk:
                break
            if part.at == 0:
                self._recognise(self._current(), chunk, body.media_type)
            self._put(part, memoryview(chunk), body.stop)
            size = self._current().size if part.end is None else None
            if size is not None and part.at > size:
                raise self._over(f"the file host sends more bytes, the vendor announced {size}.")
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

    def _put(self, part: Part, view: memoryview, reach: int | None) -> None:
        at = part.at
        while True:
            with self._changed:
                # A helper may have taken over meanwhile what begins before this.
                before, part.at = part.at, at if part.end is None else min(at, part.end)
                if part.complete or part.at // CHUNK > before // CHUNK:
                    self._changed.notify_all()
                if part.complete and self._extend(part, reach):
                    continue
                if not view or part.complete:
                    return
                room = len(view) if part.end is None else part.end - at
            written = os.pwrite(self._descriptor, view[:room], at)
            view, at = view[written:], at + written
            with self._changed:
                self.moved += written

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
        self._ranges = self._announced = self._proven = False
        self._saved_at, self._looked_at = time.monotonic(), 0.0
        self._digest = None
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            raw = json.loads(self._state_file.read_text())
            boot, etag, total, digest = raw["boot"], raw["etag"], int(raw["total"]), raw.get("sha256")
            parts = [Part(*map(int, numbers)) for numbers in raw["parts"]]
            size, reached = self.path.stat().st_size, 0
            for part in parts:
                if not reached == part.begin <= part.at <= min(size, part.end or 0):
                    return
                reached = part.end or 0
            if not boot or boot != _boot() or reached != total:
                return
            if digest is not None and etag is not None:
                # The last byte is asked for again: with it the host says whether it still is the same file.
                parts = [Part(0, total - 1, total)]
            elif digest is not None and self._current().size != total and self._current().md5 is None:
                return
            self._etag, self.total, self._parts, self._digest = etag, total, parts, digest
            self._ranges, self._announced = etag is not None, True

    def _save(self, *, force: bool = False) -> None:
        now = time.monotonic()
        with self._changed:
            due = force or now > self._saved_at + _SAVE_SECONDS
            if self._etag is None or self.total is None or not due:
                return
            self._saved_at = now
            parts = sorted((part.begin, part.at, part.end) for part in self._parts)
            self._remember(self._state(parts))

    def _state(self, parts: Sequence[tuple[int, int, int | None]], **more: str) -> str:
        told = {"boot": _boot(), "etag": self._etag, "total": self.total, "parts": parts}
        return json.dumps(told | more)

    def _remember(self, state: str) -> None:
        partial = self._state_file.with_name(f"{self._state_file.name}.new")
        partial.write_text(state)
        partial.replace(self._state_file)

    def _checked(self, digests: dict[str, Any]) -> Fetched:
        file, size = self._current(), self.total or 0
        if file.size is not None and file.size != size:
            raise self._over(f"{size} bytes came, the vendor announced {file.size}.")
        if file.md5 is not None and digests["md5"] != file.md5.lower():
            raise self._over("its MD5 is not the one that the vendor announced.")
        if self._digest not in (None, digests["sha256"]):
            raise self._over("it was changed on the disk after an earlier try.")
        self._state_file.unlink(missing_ok=True)
        if size > CHUNK:
            # Less is fetched as quickly as it is asked for.
            self._kept = self._state([(0, size, size)], sha256=digests["sha256"])
        announced = self._announced or file.size is not None or file.md5 is not None
        rows = digests["lines"] if file.format in check.JSON_LINES else None
        return Fetched(self.path, size, digests["sha256"], rows, announced, self.keep)


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
        if transfer.total is None or transfer.total > 2 * CHUNK:
            # Less is hashed as quickly as a thread begins.
            self.start()

    def run(self) -> None:
        """Follow the frontier to the end."""
        try:
            buffer = bytearray(CHUNK if self._size is None else min(CHUNK, self._size))
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
        if self.ident is None:
            self.run()
        else:
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
        if self.ident is not None:
            self.join()

    def _wait(self) -> int:
        """Return how many bytes to hash next; 0 at the end."""
        with self._transfer._changed:
            while not self._ended:
                ready = self._transfer.frontier() - self._at
                # Small reads while the file is on its way would only take the interpreter from its writers.
                if ready >= CHUNK or self._size is not None:
                    return min(ready, CHUNK)
                self._transfer._changed.wait()
        return 0


def _boot() -> str:
    """Return what names the time since the machine was started."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _pause(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)

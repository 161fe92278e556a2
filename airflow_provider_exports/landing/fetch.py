"""Fetch all files of an export to a local folder, several at once, and say how far it has come."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

from airflow_provider_exports.core.model import Export, ExportFile
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.exceptions import DownloadIncomplete
from airflow_provider_exports.landing import check
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.landing.transfer import Fetched, Transfer
from airflow_provider_exports.transports.blocking import Log

_TICK = 0.02
_TELL_SECONDS = 5.0
_SHOW_SECONDS = 0.1


@dataclass(frozen=True)
class Progress:
    """How far a download has come; ``str()`` says it in words."""

    files: int
    """Files of the export."""
    done: int
    """Files that have come whole."""
    landed: int
    """Bytes on the disk, with those of an earlier try."""
    total: int | None
    """Bytes of all files; None while nobody knows."""
    rate: float
    """Bytes per second of this try."""

    @property
    def left(self) -> float | None:
        """Seconds to go at this rate; None while nobody knows."""
        if self.total is None or not self.rate:
            return None
        return (self.total - self.landed) / self.rate

    def __str__(self) -> str:
        text = f"{self.done} of {self.files} files, " if self.files > 1 else ""
        if self.total is None:
            return f"{text}{in_bytes(self.landed)}, {in_bytes(self.rate)}/s"
        share = 100 * self.landed / self.total if self.total else 100.0
        text += f"{in_bytes(self.landed)} of {in_bytes(self.total)} ({share:.0f} %), {in_bytes(self.rate)}/s"
        return text if self.left is None else f"{text}, {self.left:.0f} s left"


Tell = Callable[[Progress], object]


class Links:
    """The download links of one export, replaced before they die, or when one has died.

    :param export: as it was just read.
    :param read: reads it again, with fresh links, and raises if it has no files any more.
    """

    clock = staticmethod(time.monotonic)

    def __init__(self, vendor: Vendor, export: Export, read: Callable[[], Export]) -> None:
        self._settings, self._read = vendor.settings, read
        self._taken_at = self.clock()
        self._export = export

    def current(self, position: int) -> ExportFile:
        """Return the file at ``position`` with a link that is still good."""
        age = self.clock() - self._taken_at
        if 0 < self._settings.link_lifetime < age + self._settings.link_margin:
            self._renew()
        return self._export.files[position]

    def check_run(self) -> None:
        """Make sure, after the last byte, that the bytes are of the run that was asked for.

        A run that began meanwhile may have put its files in the place of this one's.

        :raises DownloadIncomplete: another run has begun.
        """
        if self._export.run_started_at is not None:
            self._renew()

    def renew(self, position: int, dead: str) -> None:
        """Replace a link that has died, unless another transfer has done so meanwhile."""
        if self._export.files[position].url == dead:
            self._renew()

    def _renew(self) -> None:
        again = self._read()
        if again.run_started_at != self._export.run_started_at:
            raise DownloadIncomplete("the vendor began another run of the export during the download.")
        if [(f.name, f.size) for f in again.files] != [(f.name, f.size) for f in self._export.files]:
            raise DownloadIncomplete("the vendor changed the list of files during the download.")
        self._export, self._taken_at = again, self.clock()


def fetch_all(
    host: FileHost,
    links: Links,
    export: Export,
    names: Sequence[str],
    folder: Path,
    vendor: Vendor,
    log: Log,
    tell: Tell | None = None,
) -> list[Fetched]:
    """Fetch the files of ``export`` into ``folder`` under ``names``; they are checked, in the same order.

    :param tell: called ten times a second and at the end with how far it has come, on this thread.
    :raises ExportError: of the first file that cannot be had; the others are stopped.
    """
    settings = vendor.settings
    stop = threading.Event()

    def recognise(file: ExportFile, head: bytes, media_type: str) -> None:
        if said := check.recognise(file, head, media_type):
            log.warning("%s", said)

    running: set[Transfer] = set()

    def fetch(transfer: Transfer, position: int) -> Fetched:
        running.add(transfer)
        try:
            fetched = transfer.run()
        finally:
            running.discard(transfer)
        file = export.files[position]
        try:
            known = check.whole(file, fetched.path, vendor.file_fault)
        except BaseException:
            transfer.forget()
            raise
        if not (fetched.announced or known):
            log.warning("%s: nobody announced its size, %d bytes cannot be verified", file.name, fetched.size)
        log.log(20, "%s: %d bytes, sha256 %s", file.name, fetched.size, fetched.sha256)
        return replace(fetched, announced=fetched.announced or known)

    transfers = [
        Transfer(
            host,
            partial(links.current, position),
            partial(links.renew, position),
            folder / name,
            stop,
            recognise,
            connections=max(1, settings.parallel_ranges),
            slowest=settings.slowest_transfer,
        )
        for position, name in enumerate(names)
    ]
    most = max(settings.parallel_files, settings.parallel_ranges)
    ended: SimpleQueue[Future[Fetched]] = SimpleQueue()
    try:
        with ThreadPoolExecutor(max(1, settings.parallel_files), thread_name_prefix="land") as pool:
            futures = [pool.submit(fetch, one, position) for position, one in enumerate(transfers)]
            for future in futures:
                future.add_done_callback(ended.put)
            try:
                _watch(transfers, running, ended, export, host, most, log, tell)
            except BaseException:
                stop.set()
                host.hang_up()
                for future in futures:
                    future.cancel()
                raise
    except BaseException:
        # They need not come again because another one did not.
        for one in transfers:
            one.keep()
        raise
    return [future.result() for future in futures]


def _watch(
    transfers: Sequence[Transfer],
    running: Set[Transfer],
    ended: SimpleQueue[Future[Fetched]],
    export: Export,
    host: FileHost,
    most: int,
    log: Log,
    tell: Tell | None,
) -> None:
    """Wait until all have come or one has failed; add connections where they help; say how far it is."""
    began = told = shown = looked = time.monotonic()
    done = 0
    while done < len(transfers):
        with contextlib.suppress(Empty):
            ended.get(timeout=_TICK).result()
            done += 1
        now = time.monotonic()
        if now - looked >= _TICK:
            looked = now
            host.hang_up_on_slow_answers()
            busy = list(running)
            free = most - sum(one.connections for one in busy)
            for one in busy:
                free -= one.help(free, 5 * _TICK)
        if now - told >= _TELL_SECONDS:
            told = now
            far = _progress(transfers, done, export, now - began)
            log.log(20, "%s export %s: %s", export.vendor, export.export_id, far)
        if tell is not None and (now - shown >= _SHOW_SECONDS or done == len(transfers)):
            shown = now
            tell(_progress(transfers, done, export, now - began))


def _progress(transfers: Sequence[Transfer], done: int, export: Export, seconds: float) -> Progress:
    pairs = zip(transfers, export.files, strict=True)
    sizes = [file.size if one.total is None else one.total for one, file in pairs]
    return Progress(
        files=len(transfers),
        done=done,
        landed=sum(one.landed for one in transfers),
        total=None if None in sizes else sum(size or 0 for size in sizes),
        rate=sum(one.moved for one in transfers) / seconds,
    )


def in_bytes(number: float) -> str:
    """Return a number of bytes as people read it, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"

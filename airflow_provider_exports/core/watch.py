"""One wait for one export, without I/O: what each look means, and when the next one is due.

A worker waits for one export at a time, a poller in the triggerer for thousands; both look, hand over what
they saw, and do what this says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, assert_never

from airflow_provider_exports.core.model import Export, ExportState
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.runs import RunWatch
from airflow_provider_exports.core.vendor import Vendor, unknown_status
from airflow_provider_exports.core.wire import Note, info, warning
from airflow_provider_exports.exceptions import (
    ExportCancelled,
    ExportError,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportTimedOut,
    RateLimited,
    UnexpectedResponse,
    UnknownStatus,
    VendorUnavailable,
)

_NOTHING: Mapping[str, Any] = MappingProxyType({})

NOT_FOUND_GRACE = 30.0
"""Seconds at the start of a wait during which *not found* may only mean *not yet visible*."""
TELL_AGAIN = 3600.0
"""Seconds after which a state that has not changed is told again."""


class Watch:
    """A wait that has begun.

    :param vendor: whose export.
    :param export_id: which one.
    :param now: epoch seconds.
    :param until: the states that end it.
    :param deadline: epoch seconds, None for never; absolute, so that a restart does not extend it.
    :param poll: the pace; None takes the connection's.
    :param first_delay: seconds before the first look.
    :param run: the run to wait for, of an export that the vendor repeats; no look before it is due.
    :param known: whether it has been seen before, so that *not found* means that it is gone.
    :param chance: source of random numbers in [0, 1) for jitter.
    """

    # There are thousands of them.
    __slots__ = (
        "_asked",
        "_chance",
        "_failures",
        "_known",
        "_looks",
        "_poll",
        "_run",
        "_seen",
        "_told_at",
        "_until",
        "_vendor",
        "deadline",
        "export_id",
        "interval",
        "next_look",
        "notes",
        "started",
    )

    def __init__(
        self,
        vendor: Vendor,
        export_id: str,
        now: float,
        *,
        until: Collection[ExportState] = (ExportState.READY,),
        deadline: float | None = None,
        poll: PollRule | None = None,
        first_delay: float = 0.0,
        run: RunWatch | None = None,
        known: bool = False,
        chance: Callable[[], float],
    ) -> None:
        self.export_id = export_id
        self.notes: list[Note] = []
        """What there is to tell; whoever tells it empties the list."""
        self.interval = 0.0
        """Seconds between the last two looks that were planned."""
        self._vendor, self._until, self._run = vendor, until, run
        self.deadline = float("inf") if deadline is None else deadline
        """When the wait ends, epoch seconds."""
        self._poll = poll or vendor.settings.poll
        self._known, self._chance = known, chance
        self.started = now
        """When the wait began, epoch seconds."""
        self._looks = self._failures = 0
        self._asked = 0.0
        self._seen: Export | None = None
        self._told_at = now
        self.next_look = self._not_after_deadline(now + max(first_delay, run.due - now if run else 0.0))
        """When to look, epoch seconds."""

    @property
    def seen(self) -> bool:
        """Whether a look has shown the export."""
        return self._seen is not None

    def is_due(self, now: float) -> bool:
        """Return whether to look now.

        :raises ExportTimedOut: the deadline comes before the run that is waited for.
        """
        if now < self.next_look:
            return False
        if self._run is not None and now < self._run.due:
            raise self._timed_out(now)
        return True

    def saw(self, export: Export, now: float) -> bool:
        """Take what a look has shown, and return whether the wait is over.

        :raises ExportFailed, ExportExpired, ExportCancelled: it ended in another state than asked for.
        """
        self._failures, self._asked = 0, 0.0
        seen = self._seen
        if seen is None or (seen.state, seen.vendor_status) != (export.state, export.vendor_status):
            self._tell(export, now)
        elif now - self._told_at >= TELL_AGAIN:
            self._tell(export, now, "still ")
        if seen is None or _told(seen) != _told(export):
            # Of thousands that wait, what was asked for and the links are not kept.
            self._seen = replace(export, files=(), parameters=_NOTHING)
        run = self._run
        if run is None or run.shown_by(export, now):
            if run is not None and run.guessed and export.state.finished:
                self.notes.append(warning("%s", run.guess(export)))
            if reached(export.state, self._until):
                self.notes += expires_soon(export, now)
                return True
            if export.state is not ExportState.READY:
                raise_if_ended(export, self._vendor.secrets)
        return False

    def failed(self, error: ExportError, now: float) -> None:
        """Take the error of a look; it is raised again if it ends the wait.

        :raises ExportError: no further look would help, or too many in a row have failed.
        :raises ExportExpired: it had been there, and is gone.
        """
        self._asked = 0.0
        if isinstance(error, (VendorUnavailable, UnexpectedResponse)) and not isinstance(
            error, UnknownStatus
        ):
            # Being told to slow down is an answer, not a failure; the deadline bounds it.
            self._failures += not isinstance(error, RateLimited)
            if self._failures >= self._vendor.settings.max_poll_failures:
                raise error
            self._asked = error.retry_after or 0.0
            counts = (self._looks + 1, self._failures)
            self.notes.append(warning("%s (look %d, failed in a row: %d)", error, *counts))
        elif isinstance(error, ExportNotFound):
            if now - self.started > NOT_FOUND_GRACE:
                raise (vanished(error) if self._known or self._seen is not None else error) from None
            told = (self._vendor.name, self.export_id)
            self.notes.append(info("%s export %s: not visible yet", *told))
        else:
            raise error

    def plan(self, now: float, usual: float | None = None) -> None:
        """Say when the next look is due.

        :param usual: how long exports of this connection take from their creation, seconds, if it is known.
        :raises ExportTimedOut: the deadline has passed; :class:`UnknownStatus` when the status was unknown.
        """
        if now >= self.deadline:
            raise self._timed_out(now)
        self.interval = self._poll.interval(self._looks, self._chance())
        created_at = self._seen.created_at if self._seen is not None else None
        if usual is not None and created_at is not None:
            self.interval = self._poll.near(self.interval, now - created_at.timestamp(), usual)
        self._looks += 1
        self.next_look = self._not_after_deadline(now + max(self.interval, self._asked))

    def _not_after_deadline(self, moment: float) -> float:
        return min(moment, self.deadline)

    def _tell(self, export: Export, now: float, still: str = "") -> None:
        self._told_at = now
        if export.documented:
            told = f"{still}{word(export, self._vendor.secrets)}"
            if export.created_at is not None and (age := now - export.created_at.timestamp()) >= 1:
                told += f", {in_time(age)} old"
            if export.state is ExportState.READY and export.expires_at is not None:
                told += f", its files stay until {export.expires_at:%Y-%m-%dT%H:%M:%SZ}"
            self.notes.append(info("%s export %s: %s", export.vendor, export.export_id, told))
        else:
            self.notes.append(warning("%s", unknown_status(export, self._vendor.secrets)))

    def _timed_out(self, now: float) -> ExportError:
        seen = self._seen
        if seen is not None and not seen.documented:
            return unknown_status(seen, self._vendor.secrets)
        state = f"still {seen.state}" if seen else "never seen"
        waited = now - self.started
        return ExportTimedOut(
            f"{state} after {waited:.0f} s.", vendor=self._vendor.name, export_id=self.export_id
        )


def _told(export: Export) -> tuple[object, ...]:
    return export.state, export.vendor_status, export.documented, export.created_at


def reached(state: ExportState, until: Collection[ExportState]) -> bool:
    """Return whether ``state`` is one of ``until``; a quick export passes unfinished ones unseen."""
    return state in until or (state is ExportState.READY and not any(wanted.finished for wanted in until))


def raise_unless_ready(export: Export) -> None:
    """Raise why the export has no files to fetch.

    :raises ExportFailed, ExportExpired, ExportCancelled: it never will have.
    :raises ExportTimedOut: it has none yet.
    """
    raise_if_ended(export)
    if export.state is not ExportState.READY:
        raise ExportTimedOut(
            f"it is {export.state}, not ready yet.",
            vendor=export.vendor,
            export_id=export.export_id,
            next_step="Wait for it first, with an export sensor or with the run operator.",
        )


def raise_if_ended(export: Export, secrets: Iterable[str] = ()) -> None:
    """Raise the error of a finished state other than READY.

    :param secrets: what the error must not show, if the vendor's word for the state should.
    :raises ExportFailed, ExportExpired, ExportCancelled: the state's own.
    """
    shown = f" (status {word(export, secrets)})" if export.vendor_status else ""
    match export.state:
        case ExportState.FAILED:
            error: ExportError = ExportFailed(f"the vendor reports that it failed{shown}.")
        case ExportState.EXPIRED:
            since = f" since {export.expires_at:%Y-%m-%dT%H:%M:%SZ}" if export.expires_at else ""
            error = ExportExpired(f"its files are gone{since}{shown}.")
        case ExportState.CANCELLED:
            error = ExportCancelled(f"it was cancelled at the vendor{shown}.")
        case ExportState.QUEUED | ExportState.RUNNING | ExportState.READY:
            return
        case _:
            assert_never(export.state)
    error.vendor, error.export_id = export.vendor, export.export_id
    raise error


def vanished(error: ExportNotFound) -> ExportExpired:
    """Return what *not found* means of an export that has been there."""
    return ExportExpired(
        "the vendor does not show it any more: it expired, was deleted, or may not be seen any more.",
        vendor=error.vendor,
        export_id=error.export_id,
        http_status=error.http_status,
    )


def in_time(seconds: float) -> str:
    """Return a duration as people read it, such as ``12 min``."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.1f} days"


def expires_soon(export: Export, now: float) -> list[Note]:
    """Return a warning when less than a quarter of the files' life is left."""
    made, gone = export.run_started_at or export.created_at, export.expires_at
    if export.state is not ExportState.READY or made is None or gone is None:
        return []
    left = gone.timestamp() - now
    if left >= (gone - made).total_seconds() / 4:
        return []
    told = (export.vendor, export.export_id, left / 3600, f"{gone:%Y-%m-%dT%H:%M:%SZ}")
    return [warning("%s export %s: its files go in %.1f h, at %s", *told)]


def word(export: Export, secrets: Iterable[str] = ()) -> str:
    """Return the vendor's word for the state, fit to be shown, or ours where it has none."""
    return redact(export.vendor_status or "", secrets, limit=60) or export.state.value

"""What a status answer of Connhex tells; no page shows its form.

Source of what a job carries: https://connhex.com/docs/exporter/jobs
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from airflow_provider_exports.core.model import JSON, ExportState

_STARTS = ("startedAt", "startTimestamp", "startTime", "startDate")
# Jobs for the items of one run may start one after the other.
_ONE_RUN = timedelta(minutes=15)
_ENDED = ("done", "failed", "expired")
# As seconds this is the year 5138.
_MILLISECONDS_FROM = 1e11


@dataclass(frozen=True)
class Job:
    """One execution of an export."""

    word: str
    """Status word as the vendor wrote it."""
    started_at: datetime | None = None
    """Start, aware UTC; None where it is not told or cannot be read."""


def jobs(body: JSON, status_field: str) -> list[Job] | None:
    """Return the jobs of a status answer, a bare word as one; None if it holds no status.

    :param status_field: name that the connection gives to the field with the word.
    """
    if isinstance(body, str):
        return [Job(body)]
    if isinstance(body, list):
        found: list[Job] = []
        for entry in body:
            some = jobs(entry, status_field)
            if some is None:
                return None
            found += some
        return found
    if isinstance(body, dict):
        for name in (status_field, "status", "exportStatus", "jobs"):
            if body.get(name) is not None:
                inner = jobs(body[name], status_field)
                start = _start(body)
                return inner and [replace(job, started_at=job.started_at or start) for job in inner]
    return None


def newest_run(found: Sequence[Job]) -> Sequence[Job]:
    """Return the jobs of the newest run of a recurring export; all where their starts do not tell which."""
    # One that waits has not started.
    waiting = [job for job in found if job.started_at is None and job.word.lower() == "notprocessed"]
    if waiting:
        return waiting
    newest = newest_start(found)
    if newest is None or any(job.started_at is None for job in found):
        return found
    return [
        job
        for job in found
        if job.word.lower() not in _ENDED or (job.started_at and newest - job.started_at <= _ONE_RUN)
    ]


def newest_start(found: Iterable[Job]) -> datetime | None:
    """Return when the last of the jobs started; None where none tells."""
    return max((job.started_at for job in found if job.started_at is not None), default=None)


def reduced(found: Sequence[Job], states: Mapping[str, ExportState]) -> tuple[str | None, ExportState | None]:
    """Return word and state of an export that has these jobs; state None for an unknown word."""
    if not found:
        # Created, and no run yet.
        return None, ExportState.QUEUED
    by_lower = {word.lower(): state for word, state in states.items()}
    of = {by_lower.get(job.word.lower()): job.word for job in reversed(found)}
    order = (
        ExportState.FAILED,
        None,
        ExportState.RUNNING,
        ExportState.QUEUED,
        ExportState.EXPIRED,
        ExportState.READY,
    )
    state = next(state for state in order if state in of)
    begun = state is ExportState.QUEUED and ExportState.READY in of
    return of[state], ExportState.RUNNING if begun else state


def _start(job: Mapping[str, JSON]) -> datetime | None:
    value = next((job[name] for name in _STARTS if job.get(name) is not None), None)
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > _MILLISECONDS_FROM else value, UTC)
    except (OverflowError, OSError, ValueError):
        # It only helps to tell runs apart.
        pass
    return None

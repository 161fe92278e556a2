"""The jobs of an export request: one, or one per period, each with a life and a message of its own."""

import uuid
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from airflow_provider_exports.simulator.apis.base import OPEN_STATES, VendorApi
from airflow_provider_exports.simulator.apis.connhex_periods import Duration, Schedule
from airflow_provider_exports.simulator.apis.connhex_switches import ConnhexSwitches
from airflow_provider_exports.simulator.store import ExportRecord, State

__all__ = ["Jobs"]

#: Of a long time that passes at once only so many jobs are made up for.
_MOST_JOBS = 100


class Jobs(VendorApi):
    """The life cycle of Connhex exports.

    A job is a record of its own, which the store does not know. The record in the store is the request: it
    shows its newest job's state.
    """

    switches_class = ConnhexSwitches
    switches: ConnhexSwitches

    def reset(self) -> None:
        """Also without any message."""
        super().reset()
        self._messages: list[dict[str, Any]] = []

    def schedule(self, record: ExportRecord) -> None:
        """Note when a new request runs and what its files are like, and start what is due."""
        switches, request = self.switches, record.request
        periodicity = None
        if request["type"] == "recurring" and "periodicity" in request:
            periodicity = Duration.parse(request["periodicity"], switches.duration_rule)
        origin = record.created_at
        if periodicity is not None and "periodStart" in request:
            origin = _moment(request["periodStart"])
        at_once = switches.past_period_start == "at_once" or origin == record.created_at
        record.notes = {
            "jobs": [],
            "schedule": Schedule(record.created_at, origin, periodicity, at_once, switches.month_arithmetic),
            "deleted_at": None,
            "files": {
                "rows": switches.rows,
                "bytes": switches.file_bytes,
                "packing": switches.multi_item_packing,
                "csv_dialect": switches.csv_dialect,
                "range_policy": switches.range_policy,
            },
        }
        self._start_jobs(record)

    def queued(self, user: str) -> int:
        """Exports in the queue, of a user or of all."""
        counted = OPEN_STATES if self.switches.queue_counts_running else OPEN_STATES[:1]
        everybody = self.switches.queue_scope == "installation"
        records = [one for one in self.world.store.of(self.name) if everybody or one.owner == user]
        waiting = [one for one in records if self.settle(one) and one.state in counted]
        return sum(bool(one.notes["jobs"]) and one.notes["deleted_at"] is None for one in waiting)

    def by_id(self, wanted: str, scope: str) -> ExportRecord | None:
        """The request with this id, or with a job of this id."""
        found = self.world.store.find(self.name, wanted) if scope != "job" else None
        if found is None and scope != "request":
            records = list(self.world.store.of(self.name))
            found = next((one for one in records if any(job.id == wanted for job in one.notes["jobs"])), None)
        return found

    def end(self, record: ExportRecord) -> None:
        """Delete a request: its jobs stop, and there will be no more."""
        self.settle(record)
        if self.switches.delete_semantics == "removed":
            self.world.store.drop(record)
            return
        record.notes["deleted_at"] = self.now()
        for job in record.notes["jobs"]:
            job.held = job.held or job.state in OPEN_STATES
        self._mirror(record)

    def notifications(self) -> list[dict[str, Any]]:
        """The messages sent so far, oldest first."""
        for record in self.world.store.of(self.name):
            self.settle(record)
        return [dict(message) for message in sorted(self._messages, key=lambda one: one["at"])]

    # Life cycle

    def visible(self, record: ExportRecord, *, read: bool) -> bool:
        """A look at a request is a look at its newest job."""
        self._start_jobs(record)
        if not super().visible(record, read=False):
            return False
        if read:
            record.reads += 1
            for job in record.notes["jobs"][-1:]:
                job.reads += 1
        return self.settle(record)

    def settle(self, record: ExportRecord) -> bool:
        """Start the jobs that are due and bring all to where they are by now."""
        self._start_jobs(record)
        jobs: list[ExportRecord] = record.notes["jobs"]
        for job, successor in pairwise(jobs):
            super().settle(job)
            fate = job.fate or self.switches.outcome
            if job.state in OPEN_STATES and not job.held and fate != "never":
                # Nobody reads about an earlier job any more, so reads cannot finish it.
                self._finish(job, "failed" if fate == "failed" else "ready", successor.created_at)
        alive = super().settle(jobs[-1]) if jobs else True
        for job in jobs:
            self._notify(record, job)
        self._mirror(record)
        if not alive and record.notes["schedule"].periodicity is None:
            self.world.store.drop(record)
            return False
        return True

    def set_state(self, record: ExportRecord, state: State) -> None:
        """Put the newest job into a state by hand; makes one if none has started."""
        self._start_jobs(record)
        jobs = record.notes["jobs"] or [self._job(record, self.now())]
        record.notes["jobs"] = jobs
        super().set_state(jobs[-1], state)
        self._notify(record, jobs[-1])
        self._mirror(record)

    def _start_jobs(self, record: ExportRecord) -> None:
        jobs: list[ExportRecord] = record.notes["jobs"]
        if record.notes["deleted_at"] is None:
            last = jobs[-1].created_at if jobs else None
            starts = record.notes["schedule"].starts(last, self.now(), _MOST_JOBS)
            jobs += [self._job(record, start) for start in starts]
            del jobs[:-_MOST_JOBS]

    def _job(self, record: ExportRecord, start: datetime) -> ExportRecord:
        return ExportRecord(
            id=str(uuid.uuid4()),
            vendor=self.name,
            owner=record.owner,
            request=record.request,
            created_at=start,
            serial=record.serial,
            fate=record.fate,
            notes=dict(record.notes["files"]),
        )

    def _mirror(self, record: ExportRecord) -> None:
        for job in record.notes["jobs"][-1:]:
            record.state, record.held, record.files = job.state, job.held, job.files
            record.finished_at, record.expires_at = job.finished_at, job.expires_at

    def _finish(self, record: ExportRecord, state: State, at: datetime) -> None:
        super()._finish(record, state, at)
        if state == "ready" and self.switches.retention_from == "start":
            life = timedelta(seconds=self.switches.file_life_seconds)
            record.expires_at = (record.created_at + life).replace(microsecond=0)

    def _notify(self, record: ExportRecord, job: ExportRecord) -> None:
        """Send the message of a job that has ended, once."""
        if job.state in OPEN_STATES or "notification" in job.notes:
            return
        lost = self.switches.notification_delivery == "lost"
        job.notes["notification"] = "failed" if lost else "sent"
        policy = "onFailure" if job.state == "failed" else "onSuccess"
        for message in record.request.get("notification", {}).get("messages", []):
            if message["policy"] == policy and not lost:
                about = {"export_id": record.id, "job_id": job.id, "at": job.finished_at or self.now()}
                self._messages.append(about | {"target": record.owner} | message)


def _moment(seconds: float) -> datetime:
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        # Before the year 1, which is long past in any case.
        return datetime.min.replace(tzinfo=UTC)

"""One worker per org that takes the exports in the order they were created, in virtual time."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from airflow_provider_exports.simulator.apis.base import OPEN_STATES
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches
from airflow_provider_exports.simulator.store import ExportRecord, State

__all__ = ["Queue"]

Finish = Callable[[ExportRecord, State, datetime], None]


class Queue:
    """When the worker of each org became free, and what it does next."""

    def __init__(self) -> None:
        self._free: dict[str, datetime] = {}

    def freed(self, org: str, at: datetime) -> None:
        """The worker is done with a job, or lost it."""
        self._free[org] = max(at, self._free.get(org, at))

    def look(self, records: Iterable[ExportRecord]) -> None:
        """Count a read. It is the first in the queue that it brings forward: only that one can move."""
        first = next((one for one in records if one.state in OPEN_STATES), None)
        if first is not None:
            first.notes["looks"] = first.notes.get("looks", 0) + 1

    def run(
        self, records: Iterable[ExportRecord], now: datetime, switches: MedableSwitches, finish: Finish
    ) -> None:
        """Bring all exports of one org, oldest first, to where they are by now."""
        for record in records:
            if record.state not in OPEN_STATES:
                continue
            if record.held:
                return
            turn = max(record.created_at, self._free.get(record.owner, record.created_at))
            due = self._due(record, turn, now, switches)
            if due is None:
                if self._taken(record, turn, now, switches):
                    record.state = "processing"
                return
            fate = record.fate or switches.outcome
            finish(record, "failed" if fate == "failed" else "ready", due)
            self.freed(record.owner, due)

    def _due(
        self, record: ExportRecord, turn: datetime, now: datetime, switches: MedableSwitches
    ) -> datetime | None:
        if (record.fate or switches.outcome) == "never":
            return None
        seconds, reads = self._pace(record, switches)
        looks = record.notes.get("looks", 0)
        moments = [max(turn, now)] if reads is not None and looks >= reads else []
        if seconds is not None:
            moments.append(turn + timedelta(seconds=seconds))
        due = min(moments, default=None)
        return due if due is not None and due <= now else None

    def _taken(self, record: ExportRecord, turn: datetime, now: datetime, switches: MedableSwitches) -> bool:
        _, reads = self._pace(record, switches)
        looks = record.notes.get("looks", 0)
        if looks > 0 and (reads is None or looks * 2 >= reads):
            return True
        return now >= turn + timedelta(seconds=switches.pending_seconds)

    def _pace(self, record: ExportRecord, switches: MedableSwitches) -> tuple[float | None, int | None]:
        """The export's own seconds without reads, if it was added with some, else the switches."""
        if "seconds" in record.notes:
            return record.notes["seconds"], None
        return switches.ready_after_seconds, switches.ready_after_reads

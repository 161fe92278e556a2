"""The runs of an export that the vendor repeats: which of them does an answer speak of?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import ExportExpired


@dataclass
class RunWatch:
    """Tells whether an export shows the run that is waited for, or still the one before.

    Vendors answer with the newest run. When it started is the best evidence; without that, an export that
    is at work after the run was due has begun it; and after ``patience`` even a run that was never seen at
    work counts as this one.

    :param due: when the run starts, epoch seconds.
    :param next_due: when the next one starts; None for never.
    :param patience: seconds after ``due`` during which a finished export may still show the run before.
    """

    due: float
    next_due: float | None
    patience: float
    _begun: bool = False

    def shown_by(self, export: Export, now: float) -> bool:
        """Return whether ``export``, as read at ``now`` (not before ``due``), shows the run.

        :raises ExportExpired: the next run has taken its place.
        """
        started = export.run_started_at.timestamp() if export.run_started_at else None
        if self.next_due is not None and (now if started is None else started) >= self.next_due:
            raise ExportExpired(
                f"the run that was due at {_shown(self.due)} has made way for the next one.",
                vendor=export.vendor,
                export_id=export.export_id,
                next_step="Export that window once more, as a one-time export.",
            )
        if started is not None:
            return started >= self.due
        self._begun = self._begun or not export.state.finished
        return self._begun or now >= self.due + self.patience


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"

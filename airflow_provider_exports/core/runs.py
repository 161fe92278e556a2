"""The runs of an export that the vendor repeats: which of them does an answer speak of?"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from airflow_provider_exports.core.model import Export, ExportState
from airflow_provider_exports.exceptions import RunMissed


@dataclass
class RunWatch:
    """Tells whether an export shows the run that is waited for, or still the one before.

    Vendors answer with the newest run. When it started is the best evidence. Without that, an export that
    was finished and is at work again, or that waits for its turn, has begun the run; and after ``patience``
    the newest run counts as this one, whatever was seen of it.

    :param due: when the run starts, epoch seconds.
    :param next_due: when the next one starts; None for never.
    :param patience: seconds after ``due`` during which the export may still show the run before.
    :param margin: seconds by which a run may start too early.
    """

    due: float
    next_due: float | None
    patience: float
    margin: float
    guessed: bool = field(default=False, init=False)
    """Whether nothing but patience told that it is this run."""
    _begun: bool = field(default=False, init=False)
    _rested: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.next_due is not None:
            # Of a short period neither may reach into the next run.
            period = self.next_due - self.due
            self.patience = min(self.patience, period / 2)
            self.margin = min(self.margin, period / 4)

    def shown_by(self, export: Export, now: float) -> bool:
        """Return whether ``export``, as read at ``now`` (not before ``due``), shows the run.

        :raises RunMissed: the next run has taken its place.
        """
        started = export.run_started_at.timestamp() if export.run_started_at else None
        if self.next_due is not None and (
            now >= self.next_due if started is None else started >= self.next_due - self.margin
        ):
            raise RunMissed(
                f"the run that was due at {_shown(self.due)} has made way for the next one.",
                vendor=export.vendor,
                export_id=export.export_id,
            )
        if started is not None:
            return started >= self.due - self.margin
        # One that is at work at the first look may be the run before, and late.
        self._begun = self._begun or export.state is ExportState.QUEUED
        self._begun = self._begun or (self._rested and not export.state.finished)
        self._rested = self._rested or export.state.finished
        self.guessed = not self._begun and now >= self.due + self.patience
        return self._begun or self.guessed

    def guess(self, export: Export) -> str:
        """Return the warning that nothing tells which run this is."""
        return (
            f"{export.vendor} export {export.export_id}: the vendor does not tell when a run started; "
            f"its newest run is taken for the one that was due at {_shown(self.due)}"
        )


def _shown(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"

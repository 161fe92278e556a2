"""Who may create next, without I/O: a queue before a vendor that takes only so many exports at once."""

from __future__ import annotations

import bisect
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_exports.core.polling import spread
from airflow_provider_exports.exceptions import ExportConflict

TURN_LASTS = 120.0
"""Seconds for which a turn holds its room until the export that was created in it shows."""


@dataclass(frozen=True)
class Room:
    """How many exports there may be at once, and which there are."""

    taken: frozenset[str]
    """Ids of those that take up room."""
    most: int
    """How many may."""
    said: str
    """The same for people, one sentence."""

    def raise_if_full(self) -> None:
        """Raise that there is no room for one more.

        :raises ExportConflict: there is none.
        """
        if len(self.taken) >= self.most:
            raise ExportConflict(self.said)


@dataclass(eq=False, slots=True)
class Turn:
    """One that waits to create an export; all times are epoch seconds."""

    queued_at: float
    """Since when it waits: who came first is first."""
    next_try: float
    """When to try although nothing tells that there is room."""
    deadline: float
    """When it tries for the last time."""
    wake: Callable[[Exception | None], None] = lambda _error: None
    """Called when it is its turn, or with what it waits in vain for. Whichever poller looks calls it."""


class Turns:
    """The queue of those who exclude each other.

    A turn is given when there is room, in the order in which tasks came. From then on it takes up room of its
    own, since between a turn and the vendor's first word of the export there is a worker that has to start.

    :param told: whether the vendor tells how much room there is. Otherwise one tries, and if that goes well
        the next one.
    :param alone: whether there is room for one only, so that nobody tries while one of ours is under way.
    :param interval: seconds between two looks, or two tries.
    """

    def __init__(self, *, told: bool, alone: bool, interval: float) -> None:
        self.told = told
        self.failures = 0
        """How often in a row the vendor could not tell."""
        self._alone, self._interval = alone, interval
        self._waiting: list[Turn] = []
        # By the moment since when they wait, until when each holds its room.
        self._given: dict[float, float] = {}
        self._holders: Counter[str] = Counter()
        self._shown: frozenset[str] = frozenset()
        # Of the held ones, those that the vendor has shown: their turn has ended with that.
        self._counted: set[str] = set()
        self._look_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def over(self, now: float) -> bool:
        """Return whether nobody waits and there is nothing to remember."""
        return not (self._waiting or self._holders or any(until > now for until in self._given.values()))

    def join(self, turn: Turn, now: float) -> int:
        """Wait for a turn; returns how many are before it."""
        # It comes back without an export: somebody else was faster.
        if self._given.pop(turn.queued_at, None) is not None and self.told:
            self._look_at = max(self._look_at, now + self._pause())
        place = bisect.bisect(self._waiting, turn.queued_at, key=lambda other: other.queued_at)
        self._waiting.insert(place, turn)
        return place

    def leave(self, turn: Turn) -> None:
        """Wait no more, if it still does."""
        if turn in self._waiting:
            self._waiting.remove(turn)

    def hold(self, export_id: str, now: float) -> None:
        """Take note of an export of this queue that somebody waits for."""
        self._holders[export_id] += 1
        if export_id in self._shown:
            self._counted.add(export_id)
        if not self.told and self._show(frozenset(self._holders)) and not self._alone:
            # That went well.
            self._try_at(now)

    def release(self, export_id: str, now: float) -> None:
        """Take note that its wait is over, and so most likely there is room."""
        self._holders[export_id] -= 1
        self._holders = +self._holders
        if export_id not in self._holders:
            if self.told and export_id not in self._counted and self._given:
                # It was quicker than two looks. Most likely the oldest turn was its own.
                del self._given[min(self._given)]
            self._counted.discard(export_id)
        self._look_at = now
        self._try_at(now)

    def next_look(self, now: float, held_until: float = 0.0) -> float:
        """Return when something is to be done, epoch seconds.

        :param held_until: when the vendor may be asked again, epoch seconds.
        """
        if not self._waiting:
            return float("inf")
        # The clock may have been set back.
        self._look_at = min(self._look_at, now + 2 * self._interval)
        deadline = min(turn.deadline for turn in self._waiting)
        return min(max(self._look_at, held_until) if self.told else self._free_at(), deadline)

    def late(self, now: float) -> list[Turn]:
        """Return those who wait no longer, whether there is room or not."""
        late = [turn for turn in self._waiting if now >= turn.deadline]
        for turn in late:
            self._waiting.remove(turn)
        return late

    def look(self, now: float, room: Room | None = None) -> list[Turn]:
        """Return whose turn it is.

        :param room: what the vendor tells, where it tells.
        """
        if room is None:
            free = int(now >= self._free_at())
        else:
            self.failures = 0
            self._show(room.taken)
        # Not before: an export that shows after its turn was over must not count as that of another turn.
        self._given = {
            queued_at: until for queued_at, until in self._given.items() if now < until <= now + TURN_LASTS
        }
        if room is not None:
            free = room.most - len(room.taken) - len(self._given)
        ours = self._waiting[: max(free, 0)]
        del self._waiting[: len(ours)]
        for turn in ours:
            self._given[turn.queued_at] = now + TURN_LASTS
        if ours or self.told:
            # Where there is room to spare, who comes next need not wait.
            self._look_at = now if free > len(ours) else now + self._pause()
            for turn in self._waiting:
                # What one finds out, the others need not.
                turn.next_try = max(turn.next_try, self._look_at)
        return ours

    def failed(self, now: float) -> None:
        """Take note that the vendor could not tell."""
        self.failures += 1
        self._look_at = now + self._pause()

    def give_up(self) -> list[Turn]:
        """Return all that wait, who do so no longer."""
        self.failures = 0
        waiting, self._waiting = self._waiting, []
        return waiting

    def _pause(self) -> float:
        return spread(self._interval, random.random())

    def _free_at(self) -> float:
        """Return when one may try, where the vendor does not tell, epoch seconds."""
        if self._alone and self._holders:
            return float("inf")
        if self._given:
            # Who does not come back until then has created, and there may be more room.
            return max(self._given.values())
        return min((turn.next_try for turn in self._waiting), default=float("inf"))

    def _try_at(self, moment: float) -> None:
        for turn in self._waiting:
            turn.next_try = min(turn.next_try, moment)

    def _show(self, taken: frozenset[str]) -> bool:
        """Take note of exports that take up room; return whether one is new, most likely of a turn given."""
        new = len(taken - self._shown)
        self._shown = taken
        self._counted |= taken & self._holders.keys()
        for queued_at in sorted(self._given)[:new]:
            del self._given[queued_at]
        return new > 0

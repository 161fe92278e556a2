"""How often to ask: the pace of one wait, and a budget of requests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SHORTEST_INTERVAL = 1.0
"""Seconds between two looks at least."""


@dataclass(frozen=True)
class PollRule:
    """Intervals between two looks at one export, all in seconds.

    The n-th interval is ``min(initial * factor**n, maximum)``, moved by up to ``jitter`` of itself so that
    exports created together do not ask together.
    """

    initial: float = 15.0
    """First interval."""
    factor: float = 2.0
    """Growth per look; 1 for a fixed pace."""
    maximum: float = 300.0
    """Longest interval."""
    jitter: float = 0.1
    """Relative spread, both ways."""

    @classmethod
    def every(cls, seconds: float) -> PollRule:
        """Return the fixed pace that a user's ``poll_interval`` asks for."""
        return cls(initial=seconds, factor=1.0, maximum=seconds)

    def interval(self, looks: int, chance: float) -> float:
        """Return the pause after ``looks`` earlier looks; ``chance`` is a random number in [0, 1)."""
        # Past 64 doublings every rule is at its maximum, and factor**looks would overflow.
        base = min(self.initial * self.factor ** min(looks, 64), self.maximum)
        # Whatever a user typed, a wait is no hot loop.
        return max(SHORTEST_INTERVAL, spread(base, chance, self.jitter))

    def near(self, interval: float, age: float, usual: float) -> float:
        """Return a shorter interval for an export that is about as old as most are when they are ready.

        :param interval: what :meth:`interval` says.
        :param age: seconds since its creation.
        :param usual: at which age most are ready, seconds.
        """
        if age < usual:
            shorter = usual - age
        elif age < 1.5 * usual:
            shorter = usual / 10
        else:
            return interval
        # A fixed pace stays: its first interval is its longest.
        return min(interval, max(self.initial, shorter, SHORTEST_INTERVAL))


def spread(seconds: float, chance: float, jitter: float = 0.1) -> float:
    """Return ``seconds`` moved by up to ``jitter`` of itself; ``chance`` is a random number in [0, 1)."""
    return seconds * (1 + jitter * (2 * chance - 1))


class RateBudget:
    """At most ``requests`` in any ``seconds``: a sliding window over the times of earlier requests.

    0 requests means no limit.
    """

    def __init__(self, requests: int, seconds: float) -> None:
        # Two requests reach the vendor a little closer together, or further apart, than we send them.
        self._seconds = seconds * 1.05
        self._times: deque[float] = deque(maxlen=max(0, requests))

    def reserve(self, now: float) -> float:
        """Book the next request and return the seconds to wait before sending it."""
        start = now
        if self._times and len(self._times) == self._times.maxlen:
            # A clock that was set back must not make us wait for longer than the window.
            start = min(max(now, self._times[0] + self._seconds), now + self._seconds)
        self._times.append(start)
        return start - now

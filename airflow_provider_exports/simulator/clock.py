"""The simulator's own time, so that a week of waiting takes no time at all."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

__all__ = ["Clock", "http_date"]


class Clock:
    """Virtual time that starts at the real time and can be sped up or moved forward.

    :param speed: virtual seconds per real second.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self._lock = threading.Lock()
        self._initial_speed = _checked_speed(speed)
        self.reset()

    def reset(self) -> None:
        """Go back to the real time and to the speed the clock was made with."""
        with self._lock:
            self._speed = self._initial_speed
            self._anchor = datetime.now(UTC)
            self._anchored_at = time.monotonic()

    def now(self) -> datetime:
        """The virtual time, as an aware UTC datetime."""
        with self._lock:
            return self._now()

    def advance(self, seconds: float) -> None:
        """Move time forward by so many virtual seconds; time never goes backwards."""
        if seconds < 0:
            raise ValueError("virtual time cannot go backwards")
        with self._lock:
            self._anchor += timedelta(seconds=seconds)

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._speed

    @speed.setter
    def speed(self, value: float) -> None:
        with self._lock:
            self._anchor, self._anchored_at = self._now(), time.monotonic()
            self._speed = _checked_speed(value)

    def _now(self) -> datetime:
        return self._anchor + timedelta(seconds=(time.monotonic() - self._anchored_at) * self._speed)


def http_date(moment: datetime) -> str:
    """A moment in the form of the ``Date`` and ``Retry-After`` headers."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _checked_speed(value: float) -> float:
    if value < 0:
        raise ValueError("the speed of virtual time cannot be negative")
    return float(value)

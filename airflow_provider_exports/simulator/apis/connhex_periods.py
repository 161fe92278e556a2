"""ISO 8601 durations, and the times at which a recurring export runs."""

import bisect
import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Duration", "Schedule"]

# The reference names a regular expression and does not print it.
_STRICT = re.compile(
    r"P(?=\d|T\d)(?:(?P<Y>\d+)Y)?(?:(?P<M>\d+)M)?(?:(?P<D>\d+)D)?"
    r"(?:T(?=\d)(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+)S)?)?",
    re.ASCII,
)
_LOOSE = re.compile(_STRICT.pattern.replace(r"\d+)", r"\d+(?:[.,]\d+)?)"), re.ASCII)
_WEEKS = re.compile(r"P(?P<W>\d+(?:[.,]\d+)?)W", re.ASCII)
_NEVER = datetime.max.replace(tzinfo=UTC)
_MOST_PERIODS = 2**40


@dataclass(frozen=True)
class Duration:
    """Months, whose length depends on where they begin, and a time of fixed length."""

    months: int
    rest: timedelta

    @classmethod
    def parse(cls, text: str, rule: str = "strict") -> "Duration":
        """The duration in a text. :raises ValueError: if the rule does not take it."""
        match = _STRICT.fullmatch(text)
        if match is None and rule == "loose":
            match = _LOOSE.fullmatch(text) or _WEEKS.fullmatch(text)
        if match is None:
            raise ValueError(text)
        parts = {unit: float((count or "0").replace(",", ".")) for unit, count in match.groupdict().items()}
        try:
            rest = timedelta(
                weeks=parts.get("W", 0),
                days=parts.get("D", 0),
                hours=parts.get("h", 0),
                minutes=parts.get("m", 0),
                seconds=parts.get("s", 0),
            )
            return cls(int(parts.get("Y", 0) * 12 + parts.get("M", 0)), rest)
        except OverflowError:
            raise ValueError(text) from None

    def __bool__(self) -> bool:
        return bool(self.months or self.rest)

    def after(self, moment: datetime, times: int = 1, months: str = "clamp") -> datetime:
        """So many durations after a moment, or before it. :raises OverflowError: outside of the calendar."""
        index = moment.year * 12 + moment.month - 1 + self.months * times
        year, month = index // 12, index % 12 + 1
        if not 1 <= year <= 9999:
            raise OverflowError(year)
        day = min(moment.day, calendar.monthrange(year, month)[1])
        excess = timedelta(days=moment.day - day if months == "overflow" else 0)
        return moment.replace(year=year, month=month, day=day) + excess + self.rest * times


@dataclass(frozen=True)
class Schedule:
    """When the jobs of an export start.

    Every start is counted from the first one, so that the 31st comes back after a short month.
    """

    #: Moment of the create, before which nothing runs.
    created_at: datetime
    #: Start of the first period.
    origin: datetime
    #: None: one job only.
    periodicity: Duration | None
    #: Whether a job starts with the create although its period began before.
    at_once: bool = True
    months: str = "clamp"

    def starts(self, after: datetime | None, until: datetime, most: int) -> list[datetime]:
        """Starts later than ``after`` and not later than ``until``; the last ones if there are too many."""
        found: list[datetime] = []
        if after is None and self.at_once and self.origin <= self.created_at:
            found.append(self.created_at)
        if self.periodicity is None:
            return found
        # Nothing starts before the create; what starts with it has just been added.
        early = self.created_at if after is None else after
        late = bisect.bisect_right(range(_MOST_PERIODS), until, key=self._at)
        first = bisect.bisect_right(range(_MOST_PERIODS), early, key=self._at)
        return found + [self._at(number) for number in range(max(first, late - most), late)]

    def _at(self, number: int) -> datetime:
        try:
            assert self.periodicity is not None
            return self.periodicity.after(self.origin, number, self.months)
        except OverflowError:
            return _NEVER

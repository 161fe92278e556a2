"""Read the times that users and vendors write; every result is aware UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

import pendulum

from airflow_provider_exports.exceptions import UnexpectedResponse


def instant(value: Any) -> datetime:
    """Return ``value`` as aware UTC.

    :param value: datetime, pendulum or text in ISO 8601 (also with a blank for the ``T``, as Airflow's
        templates render times). Without an offset it counts as UTC.
    :raises ValueError: it is no time.
    """
    try:
        return _instant(value)
    except OverflowError:
        raise ValueError(f"{value!r} is out of range") from None
    except (AttributeError, TypeError):
        # What pendulum stumbles over: "3:", "PT/P5D".
        raise ValueError(f"{value!r} is no point in time") from None


def _instant(value: Any) -> datetime:
    if isinstance(value, str) and not value.strip()[:1].isdecimal():
        # To pendulum "now" is a time as well, another one each time.
        raise ValueError(f"{value!r} is no point in time")
    moment: Any = pendulum.parse(value.strip(), tz="UTC", exact=True) if isinstance(value, str) else value
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if not isinstance(moment, datetime):
        raise ValueError(f"{value!r} is no point in time")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    # A plain datetime: pendulum's own class has other arithmetic and another repr.
    return datetime.fromisoformat(moment.astimezone(UTC).isoformat())


def reported(value: Any, name: str) -> datetime | None:
    """Return the time in field ``name`` of an answer as aware UTC, None for null.

    :raises UnexpectedResponse: it is no time.
    """
    if value is None:
        return None
    try:
        return _instant_of(value) if isinstance(value, str) else instant(value)
    except ValueError:
        raise UnexpectedResponse(f"{name} is no time.") from None


# The times of exports that are waited for are read again and again.
_instant_of = lru_cache(maxsize=32768)(instant)


def calendar_date(value: Any) -> date:
    """Return ``value`` as a date; a point in time gives its date in UTC.

    :raises ValueError: it is no date.
    """
    if isinstance(value, date) and not isinstance(value, datetime):
        return date(value.year, value.month, value.day)
    return instant(value).date()


def seconds(moment: datetime) -> str:
    """Return ``2026-01-31T23:00:00Z``; a fraction of a second is cut off."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def milliseconds(moment: datetime) -> str:
    """Return ``2026-01-31T23:00:00.000Z``; finer fractions are cut off."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"

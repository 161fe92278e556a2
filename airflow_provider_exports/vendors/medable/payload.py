"""What is asked of Medable: fields filled in, templates read, filters in the vendor's form.

Source, where no other is named: https://docs.medable.com/cortex-api/objects/export.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_exports.core import times
from airflow_provider_exports.core.model import JSON, Content, Payload, Problem, fingerprint

FORMATS = ("application/x-ndjson", "application/json", "text/csv")
"""Formats of the exported data; the archive around it is always zip."""

# The default size limit of a request, by the vendor's list of limits.
_MAX_BODY = 1024 * 1024
_TIMES = ("created", "updated")
_COMPARISONS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")


def prepared(payload: Payload) -> Payload:
    """Return the payload as it is sent, but for the tag.

    :raises ValueError: its filter is none.
    """
    sent: Payload = {name: value for name, value in payload.items() if value is not None}
    # Which fields are required is not published; with these five nothing is left to a default.
    sent.setdefault("format", FORMATS[0])
    if isinstance(sent.get("objects"), str):
        sent.setdefault("label", sent["objects"])
    for name in ("exportFiles", "zipFiles"):
        value = sent.setdefault(name, False)
        if isinstance(value, str):
            # Templates render to text.
            sent[name] = {"true": True, "false": False}.get(value.strip().lower(), value)
    for name in ("paths", "include", "expand"):
        if isinstance(sent.get(name), str):
            sent[name] = _names(sent[name])
        elif isinstance(sent.get(name), (tuple, set, frozenset)):
            sent[name] = list(sent[name])
    if "where" in sent:
        sent["where"] = _filter_text(sent["where"])
    return sent


def problems(payload: Payload) -> Iterator[Problem]:
    """Yield what is wrong with a prepared payload besides its shape."""
    for name, start, end in _windows(payload):
        if start is not None and end is not None and end <= start:
            hint = (
                ". On Airflow 3 a plain cron schedule has intervals of no length: "
                "use CronDataIntervalTimetable"
                if end == start
                else ""
            )
            yield Problem("where", f"the range of {name} must end later than it starts{hint}")


def advice(payload: Payload) -> str | None:
    """Return a warning about a prepared payload that looks like a mistake."""
    if payload["zipFiles"] and not payload["exportFiles"]:
        return "zipFiles has no effect without exportFiles"
    if len(json.dumps(payload)) > _MAX_BODY:
        return "the request is larger than the vendor's default limit of 1024 KB"
    return None


def window_end(payload: Payload) -> float | None:
    """Return when the ranges of a prepared payload have all ended, epoch seconds; None if none ends."""
    ends = [end.timestamp() for _, _, end in _windows(payload) if end is not None]
    return max(ends, default=None)


def content(payload: Payload) -> Content:
    """Return the object, the window that all rows are in, and their paths."""
    windows = list(_windows(payload))
    return Content(
        (str(payload["objects"]),),
        max((start for _, start, _ in windows if start is not None), default=None),
        min((end for _, _, end in windows if end is not None), default=None),
        tuple(map(str, payload.get("paths") or ())),
    )


def tag(word: str, payload: Payload) -> str:
    """Return the mark of this very payload, for the description."""
    return f"[{word}:{fingerprint(payload)[:12]}]"


def _names(text: str) -> JSON:
    """Return a rendered list: JSON, or names with commas between them."""
    if text.strip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return [name.strip() for name in text.split(",") if name.strip()]


def _filter_text(value: Any) -> str:
    """Return a filter as the text that is sent: JSON, its times in the vendor's form.

    :raises ValueError: it is none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(value, Mapping):
        raise ValueError("must be an object of conditions")
    try:
        return json.dumps(_with_times(value), separators=(",", ":"), ensure_ascii=False)
    except TypeError as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None


def _with_times(value: Any, is_time: bool = False) -> Any:
    """Return a filter with all times as text, and the texts that stand for times in the vendor's form."""
    if isinstance(value, Mapping):
        return {
            key: _with_times(inner, key in _TIMES or (is_time and key in _COMPARISONS))
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_with_times(inner, is_time) for inner in value]
    if isinstance(value, datetime):
        return times.milliseconds(times.instant(value))
    if is_time and isinstance(value, str):
        return times.milliseconds(times.instant(value))
    return value


def _windows(payload: Payload) -> Iterator[tuple[str, datetime | None, datetime | None]]:
    """Yield start and end of each range of ``created`` and ``updated`` that all exported rows are in."""
    if "where" not in payload:
        return
    conditions = [json.loads(payload["where"])]
    for condition in conditions:
        if not isinstance(condition, dict):
            continue
        more = condition.get("$and")
        conditions += more if isinstance(more, list) else []
        for name in _TIMES:
            range_ = condition.get(name)
            if isinstance(range_, dict):
                start, end = (
                    next(
                        (times.instant(range_[key]) for key in keys if isinstance(range_.get(key), str)), None
                    )
                    for keys in (("$gte", "$gt"), ("$lt", "$lte"))
                )
                yield name, start, end

"""What may be asked of Connhex: how a payload is completed, checked, marked and recognised.

Source, where no other is named: https://connhex.com/docs/api/exporter/1.3.7/create-request
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pendulum

from airflow_provider_exports.core import times
from airflow_provider_exports.core.model import JSON, Content, Payload, Problem, fingerprint

ONE_ITEM = "items[]"
"""Place of what operator parameters say about the one item of most exports."""
EACH_MESSAGE = "messages[]"
"""Place of what they say about both messages."""
SUCCESS_MESSAGE, FAILURE_MESSAGE = "messages[onSuccess]", "messages[onFailure]"
"""Places of what they say about one message."""

_MESSAGES = {
    "onSuccess": ("Export ready", "The export is ready to be downloaded."),
    "onFailure": ("Export failed", "The export has failed."),
}
_RESOURCE_COLUMN = re.compile(r"[^.\s]+\.\S+")
_BY_POLICY = {"onSuccess": SUCCESS_MESSAGE, "onFailure": FAILURE_MESSAGE}


# -- complete -------------------------------------------------------------------------------------------


def completed(payload: Payload, medium: str, target: str) -> tuple[Payload, list[Problem]]:
    """Return the payload in the vendor's form, and what could not be brought into it.

    :param medium: of messages that name none.
    :param target: recipient of messages on that medium that name none; empty for the user.
    """
    problems: list[Problem] = []
    # An explicit null is the vendor's default; it is left out rather than sent.
    made = _without_nulls(payload)
    made.setdefault("type", "oneTime")
    _convert(made, "periodStart", _unix_seconds, "periodStart", problems)
    _convert(made, "periodicity", _duration, "periodicity", problems)
    if isinstance(made.get("format"), Mapping):
        made["format"] = _without_nulls(made["format"])
    if ONE_ITEM in made:
        item = made.pop(ONE_ITEM)
        if "items" in made:
            problems.append(Problem("items", "is given, and its one item by parameters at once"))
        made["items"] = [item]
    if isinstance(made.get("items"), (list, tuple)):
        made["items"] = [
            _completed_item(item, f"items.{number}", problems) for number, item in enumerate(made["items"])
        ]
    made["notification"] = _completed_notification(made.get("notification"), medium, target, problems)
    return made, problems


def _completed_item(item: Any, path: str, problems: list[Problem]) -> Any:
    if not isinstance(item, Mapping):
        return item
    made = _without_nulls(item)
    params = made.get("params")
    # The fields of resource items are not published: they pass as they are.
    if not isinstance(params, Mapping) or not is_channel_data(params):
        return made
    made["params"] = params = _without_nulls(params)
    params.setdefault("outputFormat", "long")
    for name in ("from", "to"):
        _convert(params, name, _unix_seconds, f"{path}.params.{name}", problems)
    _convert(params, "period", _duration, f"{path}.params.period", problems)
    if isinstance(params.get("target"), Mapping):
        params["target"] = _without_nulls(params["target"])
        for name in ("value", "label"):
            _convert(params["target"], name, _joined, f"{path}.params.target.{name}", problems)
    return made


def _completed_notification(notification: Any, medium: str, target: str, problems: list[Problem]) -> Any:
    """Fill in what messages lack: the API demands two, whether anybody wants to read them or not."""
    if notification is None:
        notification = {}
    if not isinstance(notification, Mapping):
        return notification
    made = dict(notification)
    shared = made.pop(EACH_MESSAGE, None)
    own = {policy: made.pop(place, None) for policy, place in _BY_POLICY.items()}
    messages = made.get("messages")
    if messages is not None and (shared or any(own.values())):
        said = "is given, and texts, medium or target by parameters at once"
        problems.append(Problem("notification.messages", said))
    if messages is None:
        messages = [{"policy": policy, **(shared or {}), **(own[policy] or {})} for policy in _MESSAGES]
    if isinstance(messages, (list, tuple)):
        made["messages"] = [_completed_message(message, medium, target) for message in messages]
    return made


def _completed_message(message: Any, medium: str, target: str) -> Any:
    if not isinstance(message, Mapping) or message.get("policy") not in _MESSAGES:
        return message
    title, text = _MESSAGES[message["policy"]]
    made = {"title": title, "text": text, **_without_nulls(message)}
    # A recipient belongs to its medium.
    if made.setdefault("medium", medium) == medium:
        made.setdefault("target", target)
    if not made.get("target"):
        made.pop("target", None)
    return made


# -- check ----------------------------------------------------------------------------------------------


def violations(payload: Payload, now: float, *, allow_future: bool) -> Iterator[Problem]:
    """Yield the rules that a completed payload breaks and that its schema cannot express."""
    if "periodicity" in payload:
        yield from _duration_rules(payload["periodicity"], "periodicity")
    if not any(is_channel_data(item["params"]) for item in payload["items"]):
        for number, column in enumerate(payload["format"].get("columns", ())):
            if not _RESOURCE_COLUMN.fullmatch(column["id"]):
                yield Problem(f"format.columns.{number}.id", "must be <type>.<attribute> for resource items")
    for number, item in enumerate(payload["items"]):
        if not is_channel_data(item["params"]):
            continue
        path, params = f"items.{number}.params", item["params"]
        target = params["target"]
        values = target["value"].split(",")
        if not all(value.strip() for value in values):
            yield Problem(f"{path}.target.value", "has an empty entry")
        if "label" in target and len(target["label"].split(",")) != len(values):
            yield Problem(f"{path}.target.label", "must hold as many labels as value holds URNs")
        if "period" in params:
            yield from _duration_rules(params["period"], f"{path}.period")
        elif payload["type"] == "recurring":
            # A fixed window would be exported again and again.
            yield Problem(path, "needs period (a window that moves) for type recurring")
        elif "from" not in params or "to" not in params:
            yield Problem(path, "needs from and to, or period")
        if "from" in params and "to" in params and params["to"] <= params["from"]:
            hint = (
                ". On Airflow 3 a plain cron schedule has intervals of no length: "
                "use CronDataIntervalTimetable"
                if params["to"] == params["from"]
                else ""
            )
            yield Problem(f"{path}.to", f"must be later than from{hint}")
        if params.get("to", 0) > now and not allow_future:
            yield Problem(f"{path}.to", "lies in the future")


def _duration_rules(text: str, path: str) -> Iterator[Problem]:
    try:
        length: Any = pendulum.parse(text)
        # A calendar month is as long as it is; any start will do.
        moves = datetime(2000, 1, 1, tzinfo=pendulum.UTC) + length > datetime(2000, 1, 1, tzinfo=pendulum.UTC)
    except (ValueError, OverflowError):
        yield Problem(path, "is no duration that can be counted with")
    else:
        if not moves:
            yield Problem(path, "must be longer than zero")


def advice(payload: Payload) -> str | None:
    """Return a warning about a payload that is valid but looks wrong, else None."""
    recurring = payload["type"] == "recurring"
    if not recurring and ("periodicity" in payload or "periodStart" in payload):
        return "periodicity and periodStart have no documented meaning for type oneTime"
    for item in payload["items"]:
        params = item["params"]
        if is_channel_data(params) and "period" in params and ("from" in params or "to" in params):
            return "period is given together with from or to; which of them holds is not documented"
    return None


def content(payload: Payload) -> Content:
    """Return the channels, the window that holds all of theirs, and the columns by their labels."""
    params = [item["params"] for item in payload["items"]]
    starts = [datetime.fromtimestamp(one["from"], UTC) for one in params if "from" in one]
    ends = [datetime.fromtimestamp(one["to"], UTC) for one in params if "to" in one]
    columns = (payload.get("format") or {}).get("columns") or ()
    return Content(
        tuple(f"channels/{one['channelId']}" for one in params if "channelId" in one),
        min(starts, default=None),
        max(ends, default=None),
        tuple(str(column["label"]) for column in columns),
    )


def latest_end(payload: Payload) -> float | None:
    """Return the latest end of a fixed window, epoch seconds; None if there is none."""
    ends = [item["params"].get("to") for item in payload["items"] if is_channel_data(item["params"])]
    return max((end for end in ends if end is not None), default=None)


def is_channel_data(params: Mapping[str, Any]) -> bool:
    """Return whether an item is of the documented kind, as the schema decides it."""
    return not params.keys().isdisjoint(("channelId", "subtopic", "target"))


# -- mark and recognise ---------------------------------------------------------------------------------


def marked(payload: Payload) -> Payload:
    """Return the payload with a fingerprint of what it asks for in ``format.filename``, which is echoed."""
    # Who is told about it, and in which words, makes it no other export.
    asked = {name: value for name, value in payload.items() if name != "notification"}
    stem = payload["format"].get("filename", "export")
    return {**payload, "format": {**payload["format"], "filename": f"{stem}-{fingerprint(asked)[:12]}"}}


def without_output_format(payload: Payload) -> Payload:
    """Return the payload for a server that does not know ``outputFormat``."""
    items = [
        {**item, "params": {name: v for name, v in item["params"].items() if name != "outputFormat"}}
        if is_channel_data(item["params"])
        else item
        for item in payload["items"]
    ]
    return {**payload, "items": items}


def same_mark(listed: Mapping[str, Any], wanted: Payload) -> bool:
    """Return whether a listed request has the fingerprint of a payload that was marked."""
    return bool((listed.get("format") or {}).get("filename") == wanted["format"]["filename"])


def same_request(listed: Mapping[str, Any], wanted: Payload) -> bool:
    """Return whether a listed request asks for the same data at the same times."""
    # The vendor's default is the moment of the create, which an echo may hold.
    same_start = wanted.get("periodStart") in (None, listed.get("periodStart"))
    return same_start and _comparable(listed) == _comparable(wanted)


def _comparable(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two requests are compared by, with the vendor's defaults: an echo may hold them or not."""

    def item(entry: JSON) -> JSON:
        params = entry.get("params") if isinstance(entry, Mapping) else None
        if not isinstance(params, Mapping) or not is_channel_data(params):
            return entry
        return {**_without_nulls(entry), "params": {"outputFormat": "long", **_without_nulls(params)}}

    defaults = {"timezone": "utc", "template": "tabular"}
    return {
        "type": payload.get("type"),
        "periodicity": payload.get("periodicity"),
        "format": {**defaults, **_without_nulls(payload.get("format") or {})},
        "items": [item(entry) for entry in payload.get("items") or ()],
    }


# -- values ---------------------------------------------------------------------------------------------


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if inner is not None}


def _convert(holder: dict[str, Any], name: str, read: Any, path: str, problems: list[Problem]) -> None:
    if name in holder:
        try:
            holder[name] = read(holder[name])
        except ValueError as error:
            problems.append(Problem(path, str(error)))


def _unix_seconds(value: Any) -> Any:
    """Return a point in time as Unix seconds; a fraction of a second is cut off."""
    if isinstance(value, bool):
        raise ValueError("is no time")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return value
    # Templates render to text.
    if isinstance(value, str) and len(value.strip()) > 8 and value.strip().isdecimal():
        return int(value)
    try:
        return int(times.instant(value).timestamp())
    except ValueError as error:
        raise ValueError(f"is no time: {error}") from None


def _duration(value: Any) -> Any:
    """Return a duration as ISO 8601 text, in the parts that the vendor's example has."""
    if not isinstance(value, timedelta):
        return value.strip() if isinstance(value, str) else value
    years = months = 0
    if isinstance(value, pendulum.Duration):
        # Months have no length in days.
        years, months = value.years, value.months
        days, seconds = value.weeks * 7 + value.remaining_days, value.hours * 3600
        seconds += value.minutes * 60 + value.remaining_seconds
    else:
        days, seconds = value.days, value.seconds
    if value.microseconds or min(years, months, days, seconds) < 0:
        raise ValueError("must be whole seconds and not negative")
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    date = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    time = "".join(f"{n}{unit}" for n, unit in ((hour, "H"), (minute, "M"), (second, "S")) if n)
    return f"P{date}T{time}" if time else f"P{date or '0D'}"


def _joined(value: Any) -> Any:
    """Return a list as the vendor's comma-separated text."""
    if not isinstance(value, (list, tuple)):
        return value
    # No way to write a comma inside of an entry is documented.
    if any(not isinstance(entry, str) or "," in entry for entry in value):
        raise ValueError("must be texts without commas")
    return ",".join(value)

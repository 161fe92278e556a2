"""Which create payloads giosg takes, and the words in which it refuses the others."""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_exports.simulator.apis.giosg_switches import GiosgSwitches

__all__ = ["checked_payload"]

FORMATS = {"logs": ("csv", "xlsx", "txt"), "stats": ("csv", "xlsx")}
REQUIRED = ("starting_at", "ending_at", "room_id", "type", "format")
LOGS_ONLY = ("is_real_conversation", "min_message_count")
_STRICT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

Errors = dict[str, list[str]]


def checked_payload(
    payload: dict[str, Any], switches: GiosgSwitches, now: datetime
) -> tuple[dict[str, Any], Errors]:
    """The export's own fields and no errors, or whatever could be read and all errors by field."""
    errors: Errors = {}
    fields: dict[str, Any] = {}
    readers: dict[str, Callable[[Any], Any]] = {
        "starting_at": lambda value: _time(value, switches),
        "ending_at": lambda value: _time(value, switches),
        "room_id": _uuid,
        "type": lambda value: _choice(value, tuple(FORMATS)),
        "format": lambda value: _choice(value, FORMATS.get(str(payload.get("type")), FORMATS["logs"])),
    }
    for name in REQUIRED:
        if name not in payload:
            errors[name] = ["This field is required."]
        elif payload[name] is None:
            errors[name] = ["This field may not be null."]
        else:
            try:
                fields[name] = readers[name](payload[name])
            except ValueError as error:
                errors[name] = [str(error)]
    errors |= _logs_fields(payload, fields, switches)
    if "starting_at" in fields and "ending_at" in fields:
        errors |= _window(fields["starting_at"], fields["ending_at"], switches, now)
    return fields, errors


def _logs_fields(payload: dict[str, Any], fields: dict[str, Any], switches: GiosgSwitches) -> Errors:
    errors: Errors = {}
    fields |= {"is_real_conversation": None, "min_message_count": 0}
    if payload.get("type") == "stats":
        named = [name for name in LOGS_ONLY if name in payload]
        if switches.logs_fields_with_stats == "reject":
            return {name: ["This field is only available if type is logs."] for name in named}
        if switches.logs_fields_with_stats == "null":
            fields |= dict.fromkeys(named)
        return errors
    real = payload.get("is_real_conversation")
    if real is not None and not isinstance(real, bool):
        errors["is_real_conversation"] = ["Must be a valid boolean."]
    fields["is_real_conversation"] = real
    count = payload.get("min_message_count", 0)
    if count is None and switches.null_min_message_count == "zero":
        count = 0
    if count is None:
        errors["min_message_count"] = ["This field may not be null."]
    elif isinstance(count, bool) or not isinstance(count, int):
        errors["min_message_count"] = ["A valid integer is required."]
    elif count < 0:
        errors["min_message_count"] = ["Ensure this value is greater than or equal to 0."]
    fields["min_message_count"] = count
    return errors


def _window(start: datetime, end: datetime, switches: GiosgSwitches, now: datetime) -> Errors:
    if end <= start:
        return {"ending_at": ["Must be later than starting_at."]}
    if switches.future_end == "reject" and end > now:
        return {"ending_at": ["Must not be in the future."]}
    if switches.max_window_days is not None and end - start > timedelta(days=switches.max_window_days):
        return {"non_field_errors": [f"The time range is longer than {switches.max_window_days:g} days."]}
    return {}


def _time(value: object, switches: GiosgSwitches) -> datetime:
    try:
        if not isinstance(value, str) or (
            switches.datetime_input == "strict" and not _STRICT_TIME.fullmatch(value)
        ):
            raise ValueError
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Datetime has wrong format.") from None


def _uuid(value: object) -> str:
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(uuid.UUID(value))
    except ValueError:
        raise ValueError("Must be a valid UUID.") from None


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f'"{value}" is not a valid choice.')
    return value

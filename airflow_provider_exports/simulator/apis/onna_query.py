"""The conditions by which Onna searches and exports."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = ["bounds", "matches"]

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def matches(condition: Any, values: Mapping[str, Any]) -> bool:
    """Whether an object with these values is meant; a field it does not have never matches.

    :raises ValueError: for an operator or operands that are not known.
    """
    if not isinstance(condition, dict):
        raise ValueError("a condition is an object")
    return all(_holds(operator, operands, values) for operator, operands in condition.items())


def bounds(condition: Any, field: str) -> tuple[datetime, datetime]:
    """A time span outside of which nothing can match, by the outermost conditions on this field."""
    lower, upper = _EARLIEST, _LATEST
    if isinstance(condition, dict) and isinstance(condition.get("and"), list):
        for part in condition["and"]:
            for operator, operands in part.items() if isinstance(part, dict) else ():
                if operator in ("<", ">") and (moment := _moment_for(operands, field)) is not None:
                    lower = max(lower, moment) if operator == ">" else lower
                    upper = min(upper, moment) if operator == "<" else upper
    return lower, upper


def _holds(operator: str, operands: Any, values: Mapping[str, Any]) -> bool:
    if not isinstance(operands, list):
        raise ValueError(f"the operands of {operator} are a list")
    match operator:
        case "and":
            return all(matches(part, values) for part in operands)
        case "and_not":
            return not any(matches(part, values) for part in operands)
        case "in" | "text_contains" | ">" | "<":
            field, operand = _field_and_operand(operator, operands)
            return any(_compared(operator, value, operand) for value in _each(values.get(field)))
        case _:
            raise ValueError(f"unknown operator {operator}")


def _field_and_operand(operator: str, operands: list[Any]) -> tuple[str, Any]:
    if len(operands) != 2 or not isinstance(operands[0], dict) or not isinstance(operands[0].get("var"), str):
        raise ValueError(f"{operator} compares a field with a value")
    if operator == "in" and not isinstance(operands[1], list):
        raise ValueError("in compares a field with a list")
    return operands[0]["var"], operands[1]


def _compared(operator: str, value: Any, operand: Any) -> bool:
    if operator == "in":
        return value in operand
    if operator == "text_contains":
        return str(operand).lower() in str(value).lower()
    moment = _moment(operand)
    if moment is None or not isinstance(value, datetime):
        raise ValueError(f"{operator} compares times")
    return value > moment if operator == ">" else value < moment


def _each(value: Any) -> Iterator[Any]:
    if value is not None:
        yield from value if isinstance(value, tuple) else (value,)


def _moment_for(operands: Any, field: str) -> datetime | None:
    if not isinstance(operands, list) or len(operands) != 2 or operands[0] != {"var": field}:
        return None
    return _moment(operands[1])


def _moment(operand: Any) -> datetime | None:
    """A date or time in ISO form, UTC unless it says otherwise; seconds since 1970 are taken as well."""
    try:
        if isinstance(operand, int | float) and not isinstance(operand, bool):
            return datetime.fromtimestamp(operand, UTC)
        moment = datetime.fromisoformat(operand)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)

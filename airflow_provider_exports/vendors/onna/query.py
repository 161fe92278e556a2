"""Conditions of a ``scope_query``: which content an export takes.

Source: https://developers.onna.com/tutorials/customize-export/create-exports.html and the script it links.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

Condition: TypeAlias = dict[str, Any]

MODIFIED, PATH, DATASOURCE, TYPE_NAME = "date_modified", "path", "parent_datasource.uuid", "type_name"

TICK, DAY = timedelta(microseconds=1), timedelta(days=1)


def condition(operator: str, field: str, operand: Any) -> Condition:
    """Return one condition, such as ``{">": [{"var": "date_modified"}, "2026-01-01"]}``."""
    return {operator: [{"var": field}, operand]}


def modified_from(start: datetime, *, days: bool = False) -> Condition:
    """Return the condition for content modified at ``start`` or later.

    The vendor's ``>`` leaves the bound out, so the bound is one microsecond earlier.

    :param days: write the day before as a plain date, like the vendor's example.
    """
    bound = (start - DAY).date().isoformat() if days else written(start - TICK)
    return condition(">", MODIFIED, bound)


def modified_before(end: datetime, *, days: bool = False) -> Condition:
    """Return the condition for content modified before ``end``."""
    return condition("<", MODIFIED, end.date().isoformat() if days else written(end))


def below(workspace_url: str) -> Condition:
    """Return the condition for content below a workspace's or datasource's URL."""
    return condition("text_contains", PATH, workspace_url)


def of_datasources(uids: Iterable[str]) -> Condition:
    """Return the condition for content of datasources, by their ``@uid``."""
    return condition("in", DATASOURCE, list(uids))


def of_type(type_name: str) -> Condition:
    """Return the condition for content of one type, such as ``Resource``."""
    return condition("text_contains", TYPE_NAME, type_name)


def conditions(scope_query: Any) -> list[Condition] | None:
    """Return the conditions that must all hold; None when the query has another form."""
    advanced = scope_query.get("advanced") if isinstance(scope_query, dict) else None
    if not isinstance(advanced, dict):
        return None
    if list(advanced) != ["and"]:
        return [advanced] if advanced else []
    found = advanced["and"]
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else None


def operands(scope_query: Any, field: str) -> dict[str, Any]:
    """Return operator to operand for a field's conditions at the top of the query."""
    found = {}
    for one in conditions(scope_query) or ():
        for operator, arguments in one.items():
            if _field(arguments) == field:
                found[operator] = arguments[1]
    return found


def narrowed(scope_query: Any, wanted: list[Condition]) -> dict[str, Any] | None:
    """Return the query with ``wanted`` in the place of its conditions on the same fields.

    Conditions on other fields stay, and those that nest. None when the query has an unknown form.
    """
    present = conditions(scope_query)
    if present is None:
        return None
    fields = {_field(arguments) for one in wanted for arguments in one.values()}
    kept = [one for one in present if not any(_field(arguments) in fields for arguments in one.values())]
    return {"advanced": {"and": wanted + kept}}


def written(moment: datetime) -> str:
    """Return a time as a bound: microseconds only where it has any."""
    return f"{moment.replace(tzinfo=None).isoformat()}Z"


def _field(arguments: Any) -> str | None:
    if isinstance(arguments, list) and len(arguments) == 2 and isinstance(arguments[0], dict):
        name = arguments[0].get("var")
        return name if isinstance(name, str) else None
    return None

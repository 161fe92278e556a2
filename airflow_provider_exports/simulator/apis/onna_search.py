"""What a query finds in the invented past of an Onna account."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from airflow_provider_exports.simulator.apis.onna_places import Places
from airflow_provider_exports.simulator.apis.onna_query import bounds, matches
from airflow_provider_exports.simulator.apis.onna_records import Resource, families

__all__ = ["exported", "found_resources", "page_of"]

_MOST = 500


def exported(
    settings: Mapping[str, Any], rows: int | None, now: datetime, places: Places
) -> list[tuple[Resource, ...]]:
    """The documents of an export by family, oldest first; the newest ones if there are too many.

    :raises ValueError: for a query that cannot be understood.
    """
    if rows is not None:
        every = (one for family in families(now, *bounds({}, "")) for one in family)
        singles: list[tuple[Resource, ...]] = [(one,) for one in islice(every, max(0, rows))]
        return singles[::-1]
    query = settings.get("scope_query")
    advanced = {} if query is None else query.get("advanced") if isinstance(query, dict) else None
    if advanced is None:
        raise ValueError("scope_query has no advanced query")
    uid, whole = settings.get("scope_uuid"), bool(settings.get("include_family"))
    parts = _matching(advanced, now, places, whole=whole)
    inside = (part for part in parts if uid is None or part[0].datasource.uid == uid)
    return list(islice(inside, _MOST))[::-1]


def found_resources(condition: Any, now: datetime, places: Places, within: tuple[str, ...]) -> list[Resource]:
    """The documents that match, newest first; ``within``: names of a workspace and maybe a datasource.

    :raises ValueError: for a query that cannot be understood.
    """
    parts = _matching(condition, now, places, whole=False)
    ones = (one for part in parts for one in part)
    inside = (one for one in ones if (one.datasource.workspace, one.datasource.slug)[: len(within)] == within)
    return list(islice(inside, _MOST))


def page_of(found: list[dict[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The part of the hits that a search asks for, sorted and cut down to the fields it includes.

    :raises ValueError: for numbers that are none.
    """
    sort = body.get("sort")
    if isinstance(sort, dict):
        field = str(sort.get("field")).removesuffix(".keyword")
        found = sorted(
            found, key=lambda one: str(one.get(field, "")), reverse=sort.get("direction") == "desc"
        )
    first, size = body.get("from", 0), body.get("size", 20)
    if not (isinstance(first, int) and isinstance(size, int) and first >= 0 <= size):
        raise ValueError("from and size are numbers")
    wanted = body.get("includes")
    shown = found[first : first + size]
    if not isinstance(wanted, list) or not wanted:
        return shown
    return [{name: one[name] for name in one if name in wanted or name.startswith("@")} for one in shown]


def _matching(
    condition: Any, now: datetime, places: Places, *, whole: bool
) -> Iterator[tuple[Resource, ...]]:
    for family in families(now, *bounds(condition, "date_modified")):
        hits = tuple(one for one in family if matches(condition, places.searchable(one)))
        if hits:
            yield family if whole else hits

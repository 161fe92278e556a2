"""Medable's query arguments: where, sort, skip, limit and the selection of properties.

Source: https://docs.medable.com/cortex-api/querying (read 2026-08).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_provider_exports.simulator.apis.medable_faults import Denied

__all__ = ["compiled", "names", "page", "parsed", "selected", "value_at"]

Document = dict[str, Any]
Test = Callable[[Any], bool]

_MOST = 100
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?")
_PATTERN = re.compile(r"/(?P<text>.*)/(?P<flags>[a-z]*)", re.DOTALL)


def parsed(text: str) -> Document:
    """The JSON object that a where is written as."""
    try:
        where = json.loads(text)
    except ValueError as error:
        raise Denied("cortex.invalidArgument.invalidJSON", f"where: {error}") from None
    if not isinstance(where, dict):
        raise _bad("where must be an object")
    return where


def compiled(where: Document, refused: Collection[str] = ()) -> Callable[[Document], bool]:
    """What decides whether a document fits; a fault for operators or ``refused`` names in it."""
    tests: list[Callable[[Document], bool]] = []
    for name, value in where.items():
        if name in ("$and", "$or", "$nor"):
            tests.append(_logical(name, value, refused))
        elif name.startswith("$"):
            raise _bad(f"unknown operator {name}")
        elif name.partition(".")[0] in refused:
            raise _bad(f"{name} is not indexed")
        else:
            tests.append(_property(name, _condition(value)))
    return lambda document: all(test(document) for test in tests)


def page(
    documents: list[Document], query: Mapping[str, str], *, default_limit: int, refused: Collection[str] = ()
) -> tuple[list[Document], bool]:
    """The documents that a list call asks for, and whether there are more after them."""
    if (where := query.get("where")) is not None:
        documents = list(filter(compiled(parsed(where), refused), documents))
    for name, direction in reversed(_order(query.get("sort"), refused)):
        ranks = {id(one): _rank(value_at(one, name)) for one in documents}
        documents = sorted(documents, key=lambda one: ranks[id(one)], reverse=direction < 0)
    skip = _whole(query.get("skip", "0"), "skip")
    limit = _whole(query.get("limit", str(default_limit)), "limit")
    if not 1 <= limit <= _MOST:
        raise _bad(f"limit must be from 1 to {_MOST}")
    return documents[skip : skip + limit], len(documents) > skip + limit


def names(query: Mapping[str, str], argument: str) -> list[str]:
    """The values of a repeatable argument, written with or without brackets."""
    return [value for name, value in query.items() if name in (argument, f"{argument}[]")]


def selected(document: Document, paths: Collection[str], kept: Collection[str] = ()) -> Document:
    """The document with these paths only, which may go into its parts; all of it without any paths."""
    if not paths:
        return document
    found: Document = {name: document[name] for name in kept if name in document}
    for path in paths:
        value = value_at(document, path)
        if value is None:
            continue
        *parents, last = path.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


def value_at(document: Any, path: str) -> Any:
    """What stands at a dotted path; None if nothing does."""
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _bad(reason: str) -> Denied:
    return Denied("cortex.invalidArgument.query", reason)


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise _bad(f"{name} must be a whole number")
    return int(text)


def _order(text: str | None, refused: Collection[str]) -> list[tuple[str, int]]:
    if not text:
        return [("_id", -1)]
    if not text.lstrip().startswith("{"):
        order: Document = {text: 1}
    else:
        try:
            order = json.loads(text)
        except ValueError as error:
            raise Denied("cortex.invalidArgument.invalidJSON", f"sort: {error}") from None
    for name, direction in order.items():
        if type(direction) is not int or direction not in (1, -1):
            raise _bad(f"sort: {name} must be 1 or -1")
        if name in refused:
            raise _bad(f"{name} is not indexed")
    return list(order.items())


def _logical(name: str, value: object, refused: Collection[str]) -> Callable[[Document], bool]:
    if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
        raise _bad(f"{name} needs a list of conditions")
    parts = [compiled(one, refused) for one in value]
    if name == "$and":
        return lambda document: all(part(document) for part in parts)
    wanted = name == "$or"
    return lambda document: any(part(document) for part in parts) is wanted


def _property(name: str, test: Test) -> Callable[[Document], bool]:
    return lambda document: test(value_at(document, name))


def _condition(value: Any) -> Test:
    if not isinstance(value, dict) or not any(name.startswith("$") for name in value):
        return lambda actual: _equal(actual, value)
    tests = [_operator(name, operand) for name, operand in value.items()]
    return lambda actual: all(test(actual) for test in tests)


def _operator(name: str, operand: Any) -> Test:
    if name in ("$in", "$nin", "$all") and not isinstance(operand, list):
        raise _bad(f"{name} needs a list")
    match name:
        case "$eq":
            return lambda actual: _equal(actual, operand)
        case "$ne":
            return lambda actual: not _equal(actual, operand)
        case "$gt":
            return lambda actual: _compared(actual, operand) > 0
        case "$gte":
            return lambda actual: _compared(actual, operand) >= 0
        case "$lt":
            return lambda actual: _compared(operand, actual) > 0
        case "$lte":
            return lambda actual: _compared(operand, actual) >= 0
        case "$in":
            return lambda actual: any(_equal(actual, one) for one in operand)
        case "$nin":
            return lambda actual: not any(_equal(actual, one) for one in operand)
        case "$all":
            return lambda actual: all(_equal(actual, one) for one in operand)
        case "$size":
            return lambda actual: isinstance(actual, list) and len(actual) == operand
        case "$elemMatch":
            part = _condition(operand)
            return lambda actual: isinstance(actual, list) and any(map(part, actual))
        case "$regex":
            pattern = _pattern(operand)
            return lambda actual: isinstance(actual, str) and pattern.search(actual) is not None
        case _:
            raise _bad(f"unknown operator {name}")


def _pattern(operand: object) -> re.Pattern[str]:
    if not isinstance(operand, str):
        raise _bad("$regex needs a string")
    parts = _PATTERN.fullmatch(operand)
    text, flags = (parts["text"], parts["flags"]) if parts else (operand, "")
    try:
        return re.compile(text, re.IGNORECASE if "i" in flags else 0)
    except re.error as error:
        raise _bad(f"$regex: {error}") from None


def _equal(actual: Any, wanted: Any) -> bool:
    if isinstance(actual, list) and not isinstance(wanted, list):
        return any(_equal(one, wanted) for one in actual)
    if isinstance(actual, dict) and isinstance(wanted, str):
        return actual.get("_id") == wanted  # a reference
    return bool(_rank(actual) == _rank(wanted))


def _compared(left: Any, right: Any) -> float:
    """Above 0 if the left one is larger, 0 if equal, less or not a number if not comparable."""
    (kind, first), (other, second) = _rank(left), _rank(right)
    if kind != other or left is None:
        return float("nan")
    return int(first > second) - int(first < second)


def _rank(value: Any) -> tuple[int, Any]:
    """A value that sorts beside values of other types."""
    if value is None:
        return 0, 0
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            moment = datetime.fromisoformat(value)
            return 4, moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        except ValueError:
            pass
    return (3, value) if isinstance(value, str) else (5, json.dumps(value, sort_keys=True))

"""The two forms in which giosg cuts a collection into pages."""

import base64
import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_exports.simulator.apis.giosg_switches import GiosgSwitches

__all__ = ["page"]

Page = tuple[Sequence[int], dict[str, Any]]


def page(keys: Sequence[int], query: Mapping[str, str], address: str, switches: GiosgSwitches) -> Page:
    """The part of the ascending ``keys`` that a request asks for, and the envelope around it.

    A cursor names the key it starts at, so that new items at the head do not shift the pages after it.

    :raises LookupError: for a page that does not exist.
    """
    size = max(1, switches.page_size)
    if switches.envelope == "numbers":
        return _numbered(keys, query.get("page", "1"), address, size)
    cursor = query.get("cursor")
    at = 0 if cursor is None else bisect.bisect_left(keys, _key(cursor))
    if cursor is None and switches.empty_first_page and keys:
        return [], {"next": f"{address}?cursor={_cursor(keys[0])}", "previous": None}
    following = None if at + size >= len(keys) else keys[at + size]
    previous = None if at == 0 else keys[max(0, at - size)]
    return keys[at : at + size], {
        "next": None if following is None else f"{address}?cursor={_cursor(following)}",
        "previous": None if previous is None else f"{address}?cursor={_cursor(previous)}",
    }


def _numbered(keys: Sequence[int], asked: str, address: str, size: int) -> Page:
    count = max(1, -(-len(keys) // size))
    if not asked.isdigit() or not 1 <= int(asked) <= count:
        raise LookupError(asked)
    number = int(asked)
    following, previous = number + 1 if number < count else None, number - 1 or None
    return keys[(number - 1) * size : number * size], {
        "count": len(keys),
        "per_page": size,
        "num_pages": count,
        "current_page": number,
        "next_page": following,
        "previous_page": previous,
        "next_page_url": following and f"{address}?page={following}",
        "previous_page_url": previous and f"{address}?page={previous}",
    }


def _cursor(key: int) -> str:
    return base64.urlsafe_b64encode(f"simulated {key}".encode()).decode().rstrip("=")


def _key(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return int(text.removeprefix("simulated "))
    except ValueError:
        raise LookupError(cursor) from None

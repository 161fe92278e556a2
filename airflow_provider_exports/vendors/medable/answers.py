"""Medable's answers: what is read of them, in whatever form they come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_exports.core.model import JSON
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.wire import Response
from airflow_provider_exports.vendors.medable import faults

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


def unwrapped(body: JSON) -> JSON:
    """Return the object inside of ``data``, if it is in there; an id alone becomes an object."""
    if isinstance(body, dict) and "_id" not in body and "data" in body:
        body = body["data"]
    return {"_id": body} if isinstance(body, str) and _OBJECT_ID.fullmatch(body) else body


def content_facet(value: JSON) -> dict[str, Any]:
    """Return the facet *content* of a file; empty if nothing is known about it."""
    if not isinstance(value, dict):
        return {}
    facets = value.get("facets")
    for facet in facets if isinstance(facets, list) else []:
        if isinstance(facet, dict) and facet.get("name") == "content":
            return {**value, **facet}
    return value


def created_by_id(export_id: str) -> datetime | None:
    """Return the second in the first eight digits of an ObjectId; None for another id.

    Source: the sample data of https://github.com/Medable/mdctl (commit 3f84f155).
    """
    if not _OBJECT_ID.fullmatch(export_id):
        return None
    return datetime.fromtimestamp(int(export_id[:8], 16), UTC)


def vendor_time(response: Response) -> float:
    """Return the vendor's clock, epoch seconds; the form of its own header is not published."""
    value = response.headers.get("medable-server-time", "").strip()
    try:
        return float(value) / 1000
    except ValueError:
        try:
            return parsedate_to_datetime(value).timestamp()
        except (TypeError, ValueError):
            return response.server_time


def clock_offset(response: Response) -> float:
    """Return the seconds by which the vendor's clock is ahead of ours."""
    return vendor_time(response) - response.received_at


def reason(raw: Mapping[str, Any], facet: Mapping[str, Any], secrets: Iterable[str]) -> str:
    """Return why an export failed, empty if nothing says so; no property for it is published."""
    for place in (raw, facet):
        for key in ("fault", "error", "message"):
            value = place.get(key)
            said = faults.words(value) if isinstance(value, dict) else value
            if isinstance(said, str) and said:
                return redact(said, secrets, limit=200)
    return ""

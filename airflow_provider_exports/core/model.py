"""Values that all vendors share: an export, its state, its files."""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")

JSON: TypeAlias = Any
"""Parsed JSON; ``Any`` only at the border, it ends in a vendor's ``parse``."""
Payload: TypeAlias = dict[str, Any]
"""What is asked of the vendor, in the vendor's own field names, without credentials."""


class ExportState(enum.StrEnum):
    """Where an export is in its life, in the same words for every vendor.

    READY is finished but not final: its files expire.
    """

    QUEUED = "queued"
    RUNNING = "running"
    READY = "ready"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        """Whether the vendor has stopped working on it."""
        return self not in (ExportState.QUEUED, ExportState.RUNNING)


@dataclass(frozen=True)
class ExportFile:
    """One file of a ready export. Its ``repr`` is safe: the link is left out."""

    name: str
    """File name made by us from the export id; a vendor's own name is never used as a path."""
    url: str = field(repr=False)
    """Download link. Often a bearer secret: never log, store or return it."""
    size: int | None = None
    """Bytes the vendor announces, None when it does not."""
    authenticated: bool = False
    """Whether the API credentials may go with the request, and then only to the API's own origin."""
    format: str | None = None
    """File format in the vendor's word (``csv``, ``jsonl`` …), used to recognise an error page."""
    md5: str | None = None
    """Hex digest that the vendor announces, None when it does not."""


@dataclass(frozen=True)
class Export:
    """An export as the vendor reported it."""

    vendor: str
    """Vendor name, such as ``mews``."""
    export_id: str
    """The vendor's id, opaque."""
    state: ExportState
    """Common state."""
    vendor_status: str | None = None
    """The vendor's own status word, where it has one."""
    documented: bool = True
    """False when ``vendor_status`` is not a word that the vendor documents."""
    created_at: datetime | None = None
    """Creation time, aware UTC, where the vendor reports it."""
    expires_at: datetime | None = None
    """When the files go, aware UTC; None while unknown."""
    run_started_at: datetime | None = None
    """Start of the newest run of an export that the vendor repeats, aware UTC, where the vendor tells."""
    files: tuple[ExportFile, ...] = ()
    """Files that can be fetched now; empty unless READY."""
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What was asked for, as the vendor reports it, for comparing two exports."""

    def result(self, files: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return the *export result*: the one JSON shape that operators return and XCom holds.

        ``export_id, vendor, state, created_at, expires_at, files[{uri, name, size, sha256}]``; times ISO 8601
        or None. No link of the vendor is in it. ``files`` are the landed ones; without them the files are
        named with ``uri`` and ``sha256`` None.
        """
        if files is None:
            files = [{"uri": None, "name": f.name, "size": f.size, "sha256": None} for f in self.files]
        return {
            "export_id": self.export_id,
            "vendor": self.vendor,
            "state": self.state.value,
            "created_at": _iso(self.created_at),
            "expires_at": _iso(self.expires_at),
            "files": files,
        }


@dataclass(frozen=True)
class Datasource:
    """Something an export can be made of, as listed by a vendor (a room, an entity type)."""

    id: str
    """The vendor's id, to be put into the payload."""
    name: str
    """What a person calls it."""


@dataclass(frozen=True)
class Content:
    """What an export holds, in words that all vendors share. Empty where it is not known."""

    subjects: tuple[str, ...] = ()
    """What the rows are of, each as a path such as ``rooms/<id>/logs``; names of the vendor."""
    start: datetime | None = None
    """Start of the window, aware UTC."""
    end: datetime | None = None
    """End of the window, aware UTC; whether it is included is the vendor's matter."""
    columns: tuple[str, ...] = ()
    """Columns of the rows, where the payload chooses them."""

    @property
    def window(self) -> dict[str, str | None] | None:
        """The window as JSON, ``start`` and ``end`` as ISO 8601 text; None where it has neither."""
        if self.start is None and self.end is None:
            return None
        return {"start": _iso(self.start), "end": _iso(self.end)}


@dataclass(frozen=True)
class Problem:
    """One violation of a payload rule."""

    path: str
    """Where, in the vendor's field names joined by dots; empty for the whole payload."""
    message: str
    """What is wrong with it."""


def fingerprint(value: JSON) -> str:
    """Return the SHA-256 of JSON, hex: the same for the same value in whatever order its keys stand."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_stem(export_id: str) -> str:
    """Return an export id as a part of a file name: it comes from outside and may hold ``/`` or ``..``."""
    return _UNSAFE_IN_NAMES.sub("_", export_id)[:100]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

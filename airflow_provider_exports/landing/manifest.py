"""The manifest says what landed, and is written last: where it stands, all that it names is there and whole.

It is called ``_export.json`` in a folder that only one export has, and ``_export-<key>.json`` elsewhere, with
a key of the task instance that landed it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_exports.landing.names import own_stem

__all__ = ["LandedFile", "Manifest", "file_name"]

VERSION = 1


def file_name(owner: str | None, identity: str, *, alone: bool) -> str:
    """Return what the manifest is called.

    :param owner: the task instance; its next export finds the manifest again, and takes its place.
    :param alone: whether the folder is that of one export only.
    """
    if alone:
        return "_export.json"
    key = own_stem(identity) if owner is None else hashlib.sha256(owner.encode()).hexdigest()[:16]
    return f"_export-{key}.json"


@dataclass(frozen=True)
class LandedFile:
    """A file at its destination."""

    name: str
    """Name within the manifest's folder."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest."""
    rows: int | None = None
    """Rows, where the format tells them without being read (JSON Lines), or they were made JSON Lines."""
    verified: bool = True
    """Whether its size or end was known from somewhere, so that nothing can be missing."""


@dataclass(frozen=True)
class Manifest:
    """The content of ``_export.json``."""

    vendor: str
    """Vendor name."""
    export_id: str
    """The vendor's id."""
    identity: str
    """The id, and the run of an export that the vendor repeats: what no other export has."""
    owner: str | None
    """Task instance that landed it, ``dag_id/run_id/task_id/map_index``; None outside of Airflow."""
    files: tuple[LandedFile, ...]
    """The files, in the vendor's order."""
    created_at: str | None = None
    """When the vendor created the export, ISO 8601."""
    expires_at: str | None = None
    """Until when the vendor keeps it, ISO 8601."""
    landed_at: str | None = None
    """When it landed, ISO 8601."""
    payload: dict[str, Any] | None = None
    """What was asked for, window and all, in the vendor's field names; None where nobody knows it."""
    payload_sha256: str | None = None
    """Hex digest of the payload as canonical JSON: two exports with the same one were asked for the same."""
    unpacked: bool = False
    """Whether zips were taken apart and gzip files decompressed."""
    as_jsonl: bool = False
    """Whether CSV files and JSON arrays were made JSON Lines."""
    version: int = field(default=VERSION)
    """Version of this format."""

    def to_json(self) -> bytes:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2, sort_keys=False).encode() + b"\n"

    @classmethod
    def from_json(cls, content: bytes) -> Manifest | None:
        """Read the file's content; None for what is no manifest of a version that we know."""
        try:
            raw = json.loads(content)
            if raw["version"] != VERSION:
                return None
            files = tuple(LandedFile(**file) for file in raw.pop("files"))
            found = cls(files=files, **raw)
            return found if found._sound() else None
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            return None

    def _sound(self) -> bool:
        # Files are looked for, and later removed, under these names: none may lead out of the folder.
        texts = (self.vendor, self.export_id, self.identity, *(file.name for file in self.files))
        return all(isinstance(text, str) for text in texts) and not any(
            part in ("", ".", "..") or "\0" in part for file in self.files for part in file.name.split("/")
        )

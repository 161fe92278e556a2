"""The zip archives of exports. The vendor does not publish their layout; this one is assumed."""

import csv
import io
import json
import re
import struct
import zipfile
import zlib
from typing import Any

from airflow_provider_exports.simulator import documents
from airflow_provider_exports.simulator.apis import medable_faults, medable_records
from airflow_provider_exports.simulator.content import FileContent, json_lines, padded_lines

__all__ = ["archive"]

EXTENSIONS = {"application/x-ndjson": "ndjson", "application/json": "json", "text/csv": "csv"}
_SPECIAL = re.compile(r"[^A-Za-z0-9_-]+")


def archive(request: dict[str, Any], notes: dict[str, Any]) -> FileContent:
    """The archive of one export; the same request gives the same bytes."""
    if notes["archive"] == "not_a_zip":
        return FileContent(head=b"This is no archive.\n")
    if notes["bytes"] is not None:
        return _stored(f"{request['objects']}.ndjson", notes["bytes"])
    chosen = medable_records.records(request, notes["rows"])
    entries = _data(request, chosen, notes)
    if request["exportFiles"]:
        files = medable_records.attachments(request, chosen)
        if request["zipFiles"]:
            entries["files.zip"] = documents.archive(files)
        else:
            entries |= {f"files/{path}": content for path, content in files.items()}
    if notes["archive"] == "traversal":
        entries["../../outside.txt"] = b"This must not land outside.\n"
    raw = documents.archive(entries)
    return FileContent(head=_damaged(raw) if notes["archive"] == "bad_crc" else raw)


def _data(request: dict[str, Any], chosen: list[dict[str, Any]], notes: dict[str, Any]) -> dict[str, bytes]:
    name, extension = request["objects"], EXTENSIONS[request["format"]]
    if notes["layout"] == "split":
        half = len(chosen) // 2
        parts = (chosen[:half], chosen[half:])
        return {f"{name}-{n}.{extension}": _file(request, part, notes) for n, part in enumerate(parts, 1)}
    folder = f"{_SPECIAL.sub('-', request.get('label') or 'export')}/" if notes["layout"] == "folder" else ""
    return {f"{folder}{name}.{extension}": _file(request, chosen, notes)}


def _file(request: dict[str, Any], chosen: list[dict[str, Any]], notes: dict[str, Any]) -> bytes:
    match request["format"]:
        case "text/csv":
            return _csv(chosen)
        case "application/json":
            listed = {"object": "list", "data": chosen, "hasMore": False}
            return json.dumps(
                chosen if notes["json_form"] == "array" else listed, ensure_ascii=False
            ).encode()
        case _:
            fault = medable_faults.document("cortex.error.db", "The cursor was lost.")
            return json_lines([*chosen, fault] if notes["final_fault"] else chosen)


def _csv(chosen: list[dict[str, Any]]) -> bytes:
    """RFC 4180 with a header row; parts of a property are columns with dots in their names."""
    rows = [_flat(record) for record in chosen]
    header = list(dict.fromkeys(name for row in rows for name in row))
    if not header:
        return b""
    text = io.StringIO()
    table = csv.DictWriter(text, header, restval="", lineterminator="\r\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue().encode()


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{name}.")
        else:
            row[f"{prefix}{name}"] = str(value).lower() if isinstance(value, bool) else value
    return row


def _damaged(raw: bytes) -> bytes:
    """The archive with a wrong checksum of its first entry, in its local header and its directory."""
    with zipfile.ZipFile(io.BytesIO(raw)) as book:
        right = struct.pack("<L", book.infolist()[0].CRC)
    return raw.replace(right, bytes(byte ^ 0xFF for byte in right))


def _stored(name: str, size: int) -> FileContent:
    """An archive of exactly this size around one uncompressed entry, of which only a part is in memory.

    It is written by hand, with the fields of zip64 throughout, since zipfile wants to have all of it.
    """
    title = name.encode()
    fixed = (30 + len(title) + 20) + (46 + len(title) + 28) + 56 + 20 + 22
    if size < fixed:
        return FileContent(head=b"\n" * size)
    data = padded_lines(
        b"", [json_lines([{"_id": f"{n:024x}", "c_week": n}]) for n in range(50)], size - fixed
    )
    crc = 0
    for chunk in data.chunks():
        crc = zlib.crc32(chunk, crc)
    most, date = 0xFFFFFFFF, (2026 - 1980) << 9 | 1 << 5 | 1
    common = (45, 0, 0, 0, date, crc, most, most, len(title))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", *common, 20) + title
    local += struct.pack("<HHQQ", 1, 16, data.size, data.size)
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 45, *common, 28, 0, 0, 0, 0, most) + title
    entry += struct.pack("<HHQQQ", 1, 24, data.size, data.size, 0)
    at = len(local) + data.size
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(entry), at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, at + len(entry), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), most, 0)
    tail = data.tail + entry + end64 + locator + end
    return FileContent(local + data.head, data.block, data.times, tail)

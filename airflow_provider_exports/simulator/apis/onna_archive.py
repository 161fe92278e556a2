"""The archives of an Onna export: load files and documents, laid out as the settings say.

The vendor publishes the options only; the layout is what their names make most likely.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

from airflow_provider_exports.simulator.apis.onna_records import Resource
from airflow_provider_exports.simulator.apis.onna_rules import option
from airflow_provider_exports.simulator.content import CHUNK_BYTES, FileContent
from airflow_provider_exports.simulator.documents import archive

__all__ = ["archives", "of_size", "volume_names"]

Families = Sequence[Sequence[Resource]]
_END_BYTES = 22


def volume_names(settings: dict[str, Any], count: int) -> list[str]:
    """VOL001 and so on, by the settings."""
    prefix = option(settings, "volumeNumbering", "prefix", "VOL")
    first = option(settings, "volumeNumbering", "startNumber", 1)
    digits = option(settings, "volumeNumbering", "digits", 3)
    return [f"{prefix}{first + number:0{max(digits, 1)}d}" for number in range(count)]


def archives(
    settings: dict[str, Any], title: str, found: Families, count: int, columns_from: str
) -> list[bytes]:
    """One ZIP file per volume, each with a load file of its part of the documents."""
    share = max(1, -(-len(found) // count))
    made, number = [], option(settings, "documentNumbering", "startNumber", 1)
    for index, volume in enumerate(volume_names(settings, count)):
        part = found[index * share : (index + 1) * share]
        made.append(_archive(settings, title, volume, part, number, columns_from))
        number += sum(map(len, part))
    return made


def of_size(archive: bytes, size: int) -> FileContent:
    """The archive with nothing before its directory, as much as needed; below 4 GiB still a ZIP file."""
    gap = size - len(archive)
    if gap < 0:
        return FileContent(head=archive[:size])
    # The end record names where the directory begins, the one number that the gap changes.
    at = int.from_bytes(archive[-6:-2], "little")
    end = archive[-_END_BYTES:-6] + ((at + gap) & 0xFFFFFFFF).to_bytes(4, "little") + archive[-2:]
    times, rest = divmod(gap, CHUNK_BYTES)
    return FileContent(archive[:at], bytes(CHUNK_BYTES), times, bytes(rest) + archive[at:-_END_BYTES] + end)


def _archive(
    settings: dict[str, Any], title: str, volume: str, part: Families, number: int, columns_from: str
) -> bytes:
    columns = _columns(settings, columns_from)
    natives = option(settings, "subdirectoryNumbering", "includeNatives", False)
    texts = option(settings, "subdirectoryNumbering", "exportTextSeparately", False)
    control = option(settings, "documentNumbering", "fieldName", "ControlNumber")
    group = option(settings, "documentNumbering", "groupIdentifierField", "GroupID")
    header = [control, group, *columns.values()]
    header += ["NativePath"] * natives + ["TextPath"] * texts
    rows: list[list[str]] = [header]
    documents: dict[str, bytes] = {}
    numbers = iter(range(number, number + sum(map(len, part))))
    for family in part:
        first = ""
        for resource in family:
            position = len(rows) - 1
            name = _control_number(settings, next(numbers))
            first = first or name
            values = resource.metadata()
            row = [name, first, *(_shown(settings, values.get(field, "")) for _, field in columns)]
            if natives:
                row.append(f"{_folder(settings, 'native', position)}/{name}.{resource.extension}")
                documents[row[-1]] = resource.text.encode()
            if texts:
                row.append(f"{_folder(settings, 'text', position)}/{name}.txt")
                encoding = option(settings, "subdirectoryNumbering", "textFileEncoding", "utf-8")
                documents[row[-1]] = _encoded(resource.text, encoding)
            rows.append(row)
    encoding = option(settings, "loadFileFormat", "encoding", "utf-8")
    load_file = {f"{title.replace('/', '_')}.csv": _encoded(_table(settings, rows), encoding)}
    return archive({f"{volume}/{name}": raw for name, raw in (load_file | documents).items()})


def _columns(settings: dict[str, Any], source: str) -> dict[tuple[str, str], str]:
    """Interface and field of each selected column, and its heading: the field, with interface if needed."""
    chosen: list[tuple[str, str]] = []
    meta, formatted = settings.get("meta"), settings.get("formattedMeta")
    if source in ("meta", "both") and isinstance(meta, dict):
        for interface, fields in meta.items():
            chosen += [(interface, str(one.get("value"))) for one in _objects(fields) if one.get("selected")]
    if source in ("formattedMeta", "both"):
        for child in (child for group in _objects(formatted) for child in _objects(group.get("children"))):
            interface, _, field = str(child.get("value")).partition("|")
            chosen += [(interface, field)] if child.get("isSelected") else []
    chosen = list(dict.fromkeys(chosen))
    fields = [field for _, field in chosen]
    return {
        (interface, field): field if fields.count(field) == 1 else f"{interface.rpartition('.')[2]}.{field}"
        for interface, field in chosen
    }


def _objects(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _control_number(settings: dict[str, Any], number: int) -> str:
    digits = option(settings, "documentNumbering", "digits", 8)
    return f"{option(settings, 'documentNumbering', 'prefix', 'CN')}{number:0{max(digits, 1)}d}"


def _folder(settings: dict[str, Any], kind: str, position: int) -> str:
    name = option(settings, "subdirectoryNumbering", f"{kind}FolderName", kind.upper())
    most = max(1, option(settings, "subdirectoryNumbering", "maxFilesPerFolder", 500))
    number = option(settings, "subdirectoryNumbering", "startNumber", 1) + position // most
    return f"{name}/{number:0{max(1, option(settings, 'subdirectoryNumbering', 'digits', 3))}d}"


def _shown(settings: dict[str, Any], value: Any) -> str:
    if isinstance(value, tuple):
        return _character(settings, "multivalueCharacter", 59).join(map(str, value))
    return str(value)


def _table(settings: dict[str, Any], rows: list[list[str]]) -> str:
    text = io.StringIO()
    comma, quote, end = (
        _character(settings, name, default)
        for name, default in (("columnCharacter", 44), ("quoteCharacter", 34), ("newLineCharacter", 10))
    )
    if len({comma, quote, end}) < 3:  # nobody could tell them apart
        comma, quote, end = ',"\n'
    try:
        writer = csv.writer(text, delimiter=comma, quotechar=quote, lineterminator=end)
    except (TypeError, ValueError):  # such as a line feed between columns
        writer = csv.writer(text, lineterminator="\n")
    writer.writerows(rows)
    return text.getvalue()


def _character(settings: dict[str, Any], name: str, default: int) -> str:
    code = option(settings, "loadFileFormat", name, default)
    return chr(code if 0 < code < 0x110000 else default)


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding, "replace")
    except LookupError:
        return text.encode()

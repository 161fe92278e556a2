"""Is it the file? What can be told from the first bytes, and from all of them once it has come whole."""

from __future__ import annotations

import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from airflow_provider_exports.core.model import JSON, ExportFile
from airflow_provider_exports.exceptions import DownloadIncomplete, NotTheFile
from airflow_provider_exports.landing.archive import LINES, most_inflated

JSON_LINES = frozenset({"jsonl", "ndjson", "application/x-ndjson"})
_TEXTS = frozenset({"csv", "txt", "text/csv"})
_MAGIC = {"pdf": b"%PDF", "xlsx": b"PK\x03\x04", "zip": b"PK", "gz": b"\x1f\x8b"}
_MEDIA_TYPES = {
    "csv": "text/csv",
    "txt": "text/plain",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_LAST_LINE = 1024 * 1024
# What zipfile raises while it follows numbers that make no sense.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, struct.error)


def recognise(file: ExportFile, head: bytes, media_type: str) -> str | None:
    """Refuse an error page that came with status 200, by its first bytes.

    :param media_type: content type as the host gave it, lower case.
    :return: a warning about the content type, None if it fits.
    :raises NotTheFile: it is a page, a message, or of another format.
    """
    start = head[:256].lstrip().lower()
    magic = _MAGIC.get(file.format or "")
    if start.startswith((b"<!doctype html", b"<html")):
        raise NotTheFile(f"{file.name}: an HTML page came instead of the file.")
    # The first bytes of a slow host are not many.
    if magic and not magic.startswith(head[: len(magic)]):
        raise NotTheFile(f"{file.name}: what came is no {file.format} file.")
    if file.format in _TEXTS and "json" in media_type and start.startswith((b"{", b"[")):
        raise NotTheFile(f"{file.name}: a JSON message came instead of the file.")
    expected = _MEDIA_TYPES.get(file.format or "")
    if media_type and expected and not media_type.startswith((expected, "application/octet-stream")):
        return f"{file.name}: the file host calls it {media_type.partition(';')[0]}"
    return None


def whole(file: ExportFile, path: Path, fault: Callable[[JSON], str | None]) -> bool:
    """Check a file that has come; return whether its own format shows that nothing is missing at its end.

    :param fault: returns what the last line of JSON Lines says went wrong at the vendor, None for a row.
    :raises NotTheFile: it is something else.
    :raises DownloadIncomplete: its end is missing, or a checksum inside is wrong.
    """
    with path.open("rb") as stream:
        head = stream.read(4096)
    recognise(file, head, "")
    if file.format in ("zip", "xlsx"):
        _check_archive(file, path, fault)
        return True
    if file.format == "gz":
        return _check_gzip(file, path)
    if file.format in JSON_LINES:
        return _check_last(file, _tail(path, _LAST_LINE), fault)
    if file.format == "pdf":
        return b"%%EOF" in _tail(path, 2048)
    return False


def _check_archive(file: ExportFile, path: Path, fault: Callable[[JSON], str | None]) -> None:
    """Read every member to its end, where its checksum is; rows may also end in a fault of the vendor's."""
    try:
        with zipfile.ZipFile(path) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
            encrypted = any(member.flag_bits & 1 for member in archive.infolist())
            # Inflating a bomb to check it is what its maker wanted.
            if encrypted or inflated > most_inflated(path):
                return
            for member in archive.infolist():
                tail = b""
                with archive.open(member) as stream:
                    while chunk := stream.read(_LAST_LINE):
                        tail = (tail + chunk)[-_LAST_LINE:]
                if member.filename.lower().endswith(LINES):
                    _check_last(file, tail, fault)
    except NotImplementedError:
        # A way of compressing that this Python does not know.
        return
    except _DAMAGED as error:
        raise DownloadIncomplete(f"{file.name}: the archive is damaged ({error}).") from None


def _check_gzip(file: ExportFile, path: Path) -> bool:
    """Inflate all members: a gzip file that was cut looks fine up to its end."""
    decoder = zlib.decompressobj(wbits=31)
    begun, most = False, most_inflated(path)
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1024 * 1024):
                # Padding may follow a member.
                while chunk := chunk if begun else chunk.lstrip(b"\0"):
                    begun = True
                    most -= len(decoder.decompress(chunk, 16 * 1024 * 1024))
                    if most < 0:
                        return False
                    chunk = decoder.unconsumed_tail
                    if decoder.eof:
                        chunk = decoder.unused_data
                        decoder, begun = zlib.decompressobj(wbits=31), False
    except zlib.error:
        raise DownloadIncomplete(f"{file.name}: the gzip file is damaged.") from None
    if begun:
        raise DownloadIncomplete(f"{file.name}: the gzip file ends too early.")
    return True


def _check_last(file: ExportFile, tail: bytes, fault: Callable[[JSON], str | None]) -> bool:
    *_, last = [b"", *tail.rstrip(b"\r\n").split(b"\n")]
    if not last.strip():
        # No rows, or only empty lines.
        return tail.endswith(b"\n") or not tail
    try:
        value = json.loads(last)
    except (ValueError, RecursionError):
        if len(tail) == _LAST_LINE and b"\n" not in tail.rstrip(b"\r\n"):
            # The last line is longer than what was read of it.
            return tail.endswith(b"\n")
        raise DownloadIncomplete(f"{file.name}: its last line is no whole JSON value.") from None
    if (said := fault(value)) is not None:
        raise DownloadIncomplete(f"{file.name}: the vendor reports at its end: {said}")
    return True


def _tail(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - most))
        return stream.read()

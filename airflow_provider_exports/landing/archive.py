"""Take an archive apart, or a compressed file: bounded, checked, and without leaving its folder."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_exports.exceptions import DownloadError, DownloadIncomplete
from airflow_provider_exports.landing.names import safe_name, told_apart

MOST_MEMBERS = 100_000
"""Files in one archive."""
MOST_RATIO = 200
"""Bytes that one byte of an archive may become."""
LINES = (".jsonl", ".ndjson")
"""How the names of JSON Lines files end."""
_SMALL = 1024 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Member:
    """A file that came out of another one."""

    name: str
    """Its path below the other's folder, made of safe names."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest."""
    rows: int | None = None
    """Rows, where they were counted."""


def unpack(archive: Path, folder: Path) -> list[Member]:
    """Write the files of a zip below ``folder``, and return them in the archive's order.

    :raises DownloadError: it is encrypted, holds a link, or grows beyond the bounds.
    :raises DownloadIncomplete: it is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, members)
            names = told_apart(_path(member, number) for number, member in enumerate(members, 1))
            return [
                _extract(opened, member, folder, name) for member, name in zip(members, names, strict=True)
            ]
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise DownloadIncomplete(f"{archive.name}: the archive is damaged ({error}).") from None
    except NotImplementedError as error:
        raise DownloadError(f"{archive.name}: it cannot be unpacked here ({error}).") from None


def is_gzip(path: Path) -> bool:
    """Return whether a file begins as gzip files do."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def decompress(packed: Path, place: Path) -> Member:
    """Write what a gzip file holds, all its members one after the other, to ``place``, and say what it is.

    :raises DownloadError: it grows beyond the bounds.
    :raises DownloadIncomplete: it is damaged, or its end is missing.
    """
    digest, size, rows, most = hashlib.sha256(), 0, 0, most_inflated(packed)
    try:
        with room_for(packed), gzip.open(packed) as source, place.open("wb") as sink:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > most:
                    said = f"it would become more than {MOST_RATIO} times its size."
                    raise DownloadError(f"{packed.name}: {said}")
                sink.write(chunk)
                digest.update(chunk)
                rows += chunk.count(b"\n")
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise DownloadIncomplete(f"{packed.name}: the gzip file is damaged ({error}).") from None
    name = packed.name.lower().removesuffix(".gz")
    return Member(place.name, size, digest.hexdigest(), rows if name.endswith(LINES) else None)


@contextlib.contextmanager
def room_for(file: Path) -> Iterator[None]:
    """Tell a full disk as what it is: it is the worker's, which need not be that of the destination."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DownloadError(
            f"{file.name}: no space left on {file.parent} for what it becomes.",
            next_step="Free space, then let it retry.",
        ) from error


def most_inflated(archive: Path) -> int:
    """Return what a compressed file may become, bytes; small ones may become anything."""
    return MOST_RATIO * max(archive.stat().st_size, _SMALL)


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if any(member.flag_bits & 1 for member in members):
        raise DownloadError(
            f"{archive.name}: the archive is encrypted.", next_step="Land it without unpack=True."
        )
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise DownloadError(f"{archive.name}: the archive holds a link to another file.")
    if len(members) > MOST_MEMBERS:
        raise DownloadError(
            f"{archive.name}: the archive holds {len(members)} files, more than {MOST_MEMBERS}."
        )
    # As announced; that no member is longer than it says is watched below.
    inflated = sum(member.file_size for member in members)
    if inflated > most_inflated(archive):
        said = f"the archive would become {inflated} bytes, more than {MOST_RATIO} times its size."
        raise DownloadError(f"{archive.name}: {said}")
    if inflated > shutil.disk_usage(archive.parent).free:
        raise DownloadError(
            f"{archive.name}: no space left on {archive.parent} for its {inflated} bytes.",
            next_step="Free space, then let it retry.",
        )


def _path(member: zipfile.ZipInfo, number: int) -> str:
    parts = member.filename.replace("\\", "/").split("/")
    return "/".join(safe_name(part) for part in parts if part not in ("", ".", "..")) or f"file-{number}"


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, name: str) -> Member:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size, rows = hashlib.sha256(), 0, 0
    with opened.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > member.file_size:
                raise zipfile.BadZipFile(f"{name} is longer than the archive says")
            sink.write(chunk)
            digest.update(chunk)
            rows += chunk.count(b"\n")
    return Member(name, size, digest.hexdigest(), rows if name.lower().endswith(LINES) else None)

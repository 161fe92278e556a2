"""Take an archive apart: bounded, checked, and without leaving its folder."""

from __future__ import annotations

import hashlib
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_exports.exceptions import DownloadError, DownloadIncomplete
from airflow_provider_exports.landing.names import safe_name, told_apart

MOST_MEMBERS = 100_000
"""Files in one archive."""
MOST_RATIO = 200
"""Bytes that one byte of an archive may become."""
_SMALL = 1024 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Member:
    """A file that came out of an archive."""

    name: str
    """Its path below the archive's folder, made of safe names."""
    size: int
    """Bytes."""
    sha256: str
    """Hex digest."""


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
    digest, size = hashlib.sha256(), 0
    with opened.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > member.file_size:
                raise zipfile.BadZipFile(f"{name} is longer than the archive says")
            sink.write(chunk)
            digest.update(chunk)
    return Member(name, size, digest.hexdigest())

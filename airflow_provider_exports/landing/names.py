"""Where files are called what: safe names, and the layout below a destination."""

from __future__ import annotations

import hashlib
import posixpath
import re
import string
from collections.abc import Iterable, Sequence

from airflow_provider_exports.core.model import file_stem

LAYOUT = "{name}"
"""Right below the destination; our names of files hold the id of their export."""
_FOLDER_FIELDS = frozenset({"vendor", "export_id"})
_FILE_FIELDS = _FOLDER_FIELDS | {"name", "stem", "suffix", "position"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_OURS = re.compile(r"(?i)_export[.-].*")
"""What manifests are called."""
_NUMBER = re.compile(r"0?\d?d?")
_LONGEST = 240
_LONGEST_OF_VENDOR = 120


def check_layout(layout: str) -> None:
    """Check a layout template.

    :raises ValueError: a field is not known or not allowed there, or it leads out of the destination.
    """
    folder, _, last = layout.rpartition("/")
    for text, allowed in ((folder, _FOLDER_FIELDS), (last, _FILE_FIELDS)):
        for _, field, spec, conversion in string.Formatter().parse(text):
            if field is not None and (field not in allowed or conversion):
                known = ", ".join(sorted(allowed))
                raise ValueError(f"layout {layout!r}: {field!r} is not one of {known}")
            if spec and (field != "position" or not _NUMBER.fullmatch(spec)):
                raise ValueError(f"layout {layout!r}: {field!r} cannot be formatted with {spec!r}")
    parts = layout.split("/")
    if not last or any(part in ("", ".", "..") for part in parts) or "\\" in layout or "\0" in layout:
        raise ValueError(f"layout {layout!r} is no relative path of a file")


def safe_name(name: str, longest: int = _LONGEST) -> str:
    """Return a name that is one path component everywhere, also when the vendor's own is hostile."""
    name = _UNSAFE.sub("_", posixpath.basename(name.replace("\\", "/"))).strip(".")
    stem, suffix = posixpath.splitext(name)
    name = stem[: longest - 1 - len(suffix[:20])] + suffix[:20]
    return f"_{name}" if not name or _DEVICE.fullmatch(name) or _OURS.fullmatch(name) else name


def told_apart(names: Iterable[str]) -> list[str]:
    """Return the names, with its position in each that stood before, whatever the case of its letters.

    A name that is also that of a folder which another one lies in counts as one that stood before.
    """
    names = list(names)
    known = {folder for name in names for folder in _folders(name.lower())}
    return [free_name(name, known, position) for position, name in enumerate(names, 1)]


def free_name(name: str, known: set[str], position: int) -> str:
    """Return the name, with ``position`` in it if it is ``known``, and add it to those, in lower case."""
    while name.lower() in known:
        stem, suffix = posixpath.splitext(name)
        name = f"{stem}-{position}{suffix}"
    known.add(name.lower())
    return name


def own_stem(export_id: str) -> str:
    """Return an export id as a part of a path that no other id gives: ``a/b`` is not ``a_b``."""
    stem = file_stem(export_id)
    return stem if stem == export_id else f"{stem}-{hashlib.sha256(export_id.encode()).hexdigest()[:8]}"


def lay_out(layout: str, vendor: str, export_id: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """Return the folder below the destination, empty for itself, and the files' names in it.

    :param names: what the files are called by themselves; equal ones are told apart by their position.
    :raises ValueError: the layout calls two files the same, or is not valid.
    """
    check_layout(layout)
    folder, _, last = layout.rpartition("/")
    fields = {"vendor": file_stem(vendor), "export_id": own_stem(export_id)}
    # Shorter than a name may be: a layout adds to it, and what tells two names apart must not be cut.
    safe = told_apart(safe_name(_own_name(name, export_id), _LONGEST_OF_VENDOR) for name in names)
    laid_out = []
    for position, name in enumerate(safe, 1):
        stem, suffix = posixpath.splitext(name)
        laid_out.append(
            safe_name(last.format(**fields, name=name, stem=stem, suffix=suffix, position=position))
        )
    if len({name.lower() for name in laid_out}) < len(laid_out):
        raise ValueError(f"layout {layout!r} calls two files of the export the same")
    return folder.format(**fields), laid_out


def _own_name(name: str, export_id: str) -> str:
    stem = file_stem(export_id)
    return own_stem(export_id) + name[len(stem) :] if name.startswith(stem) else name


def _folders(name: str) -> list[str]:
    return [name[: found.start()] for found in re.finditer("/", name)]

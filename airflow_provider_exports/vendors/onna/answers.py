"""What an Onna export object says: its status word, its error, its files.

The names of these fields are not published and therefore settings; the form of a file is that of
https://github.com/plone/guillotina, ``files/field.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from airflow_provider_exports.core.model import ExportFile, file_stem
from airflow_provider_exports.vendors.onna.settings import OnnaSettings, items

_MD5 = re.compile(r"[0-9A-Fa-f]{32}")


def status_word(raw: Mapping[str, Any], settings: OnnaSettings) -> str | None:
    """Return the word of the first status field that has one."""
    for name in items(settings.status_fields):
        if isinstance(raw.get(name), str) and raw[name]:
            return str(raw[name])
    return None


def problem(raw: Mapping[str, Any], settings: OnnaSettings) -> str | None:
    """Return the text of the first error field that is not empty."""
    for name in items(settings.error_fields):
        if raw.get(name):
            return raw[name] if isinstance(raw[name], str) else json.dumps(raw[name])
    return None


def files(raw: Mapping[str, Any], settings: OnnaSettings, export_id: str, url: str) -> tuple[ExportFile, ...]:
    """Return the file of the first file field that has one, or its files, by the names of their volumes.

    :param url: our own address of the export.
    """
    for field in items(settings.file_fields):
        value = raw.get(field)
        address = f"{url}/@download/{quote(field, safe='')}"
        found: list[tuple[str, dict[str, Any]]] = []
        if isinstance(value, dict) and _is_file(value):
            found = [(address, value)]
        elif isinstance(value, dict):
            found = [
                (f"{address}/{quote(key, safe='')}", one)
                for key, one in sorted(value.items())
                if _is_file(one)
            ]
        if found:
            return tuple(
                ExportFile(
                    f"{file_stem(export_id)}{f'-{number}' if len(found) > 1 else ''}.{_extension(one)}",
                    link,
                    one.get("size"),
                    authenticated=True,
                    format=_extension(one),
                    md5=_md5(one),
                )
                for number, (link, one) in enumerate(found, start=1)
            )
    return ()


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and ("filename" in value or "content_type" in value)
        and (value.get("size") is None or (type(value["size"]) is int and value["size"] > 0))
    )


def _md5(file: Mapping[str, Any]) -> str | None:
    value = file.get("md5")
    return value if isinstance(value, str) and _MD5.fullmatch(value) else None


def _extension(file: Mapping[str, Any]) -> str:
    extension = str(file.get("extension") or "zip").lower().lstrip(".")
    return extension if re.fullmatch(r"[a-z0-9]{1,8}", extension) else "zip"

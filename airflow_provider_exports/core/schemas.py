"""The vendors' JSON Schemas (2020-12): loaded once, compiled once, with readable problems."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_exports.core.model import JSON, Problem

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

CREATE_REQUEST = "create.request.json"
EXPORT_RESPONSE = "export.response.json"
MOST_REMEMBERED = 20_000
"""Answers that are remembered as valid."""

_valid: set[bytes] = set()


def load(folder: Path, name: str) -> dict[str, Any] | None:
    """Return schema ``name`` in a vendor's ``folder``, or None when the vendor has none."""
    file = folder / name
    if not file.is_file():
        return None
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


def problems(folder: Path, name: str, value: JSON) -> list[Problem]:
    """Return every violation of the schema in ``value``, ordered by path; none when there is no schema."""
    if name != EXPORT_RESPONSE:
        return _problems(folder, name, value)
    # An export that is waited for looks the same again and again, and a check costs more than all else.
    digest = hashlib.blake2b(json.dumps(value).encode(), key=str(folder).encode()[-64:]).digest()
    if digest in _valid:
        return []
    found = _problems(folder, name, value)
    if not found:
        if len(_valid) >= MOST_REMEMBERED:
            _valid.clear()
        _valid.add(digest)
    return found


def _problems(folder: Path, name: str, value: JSON) -> list[Problem]:
    validator = _validator(folder, name)
    if validator is None:
        return []
    found = {_problem(error) for error in validator.iter_errors(value)}
    return sorted(found, key=lambda problem: (problem.path, problem.message))


@cache
def _validator(folder: Path, name: str) -> Draft202012Validator | None:
    # Compiled once: jsonschema.validate() checks the schema anew each time, 49 times slower for a payload.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    schema = load(folder, name)
    if schema is None:
        return None
    strict: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": _pattern}
    )
    return strict(schema)


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    # In JSON Schema a "$" at the end is the end of the text; Python's also matches before a line end there.
    strict = rf"(?:{pattern})\Z" if pattern.endswith("$") and not pattern.endswith(r"\$") else pattern
    if isinstance(value, str) and not re.search(strict, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _problem(error: ValidationError) -> Problem:
    path = ".".join(str(part) for part in error.absolute_path)
    # A schema may say in its own words what a failed condition means to the reader.
    message = error.schema.get("errorMessage") if isinstance(error.schema, dict) else None
    return Problem(path, message or error.message)

"""The vendors' schemas, as they are compiled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_exports.core import schemas


@pytest.mark.parametrize(("value", "fits"), [("abc", True), ("abc\n", False), ("xabc", False), ("a$", True)])
def test_pattern_ends_where_the_text_does(tmp_path: Path, value: str, fits: bool) -> None:
    """JSON Schema's ``$`` is the end of the text; Python's own also matches before a last line end."""
    # A dollar in a set of characters is none, and "^[$]$" is a pattern as well.
    (tmp_path / "create.request.json").write_text(json.dumps({"pattern": r"^(abc|a[$])$"}))
    assert (schemas.problems(tmp_path, schemas.CREATE_REQUEST, value) == []) == fits

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


def test_answer_that_was_valid_is_remembered_for_its_own_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer is checked once; another one, or another vendor's schema, is checked anew."""
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, kind in ((one, "string"), (other, "number")):
        folder.mkdir()
        (folder / schemas.EXPORT_RESPONSE).write_text(json.dumps({"properties": {"id": {"type": kind}}}))
    checks: list[object] = []
    check = schemas._problems
    monkeypatch.setattr(schemas, "_problems", lambda *about: checks.append(about) or check(*about))
    for _ in range(3):
        assert schemas.problems(one, schemas.EXPORT_RESPONSE, {"id": "e1"}) == []
    assert len(checks) == 1
    for _ in range(2):
        assert schemas.problems(one, schemas.EXPORT_RESPONSE, {"id": 1}) != []
        assert schemas.problems(other, schemas.EXPORT_RESPONSE, {"id": "e1"}) != []
    assert len(checks) == 5
    monkeypatch.setattr(schemas, "MOST_REMEMBERED", 0)
    for _ in range(2):
        assert schemas.problems(one, schemas.EXPORT_RESPONSE, {"id": "e2"}) == []

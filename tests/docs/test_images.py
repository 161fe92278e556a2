"""The pictures of the documentation; ``make screenshots`` takes them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.provider_info import connection_type

DOCS = Path(__file__).parents[2] / "docs"
LARGEST = 150 * 1024


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_vendor_page_shows_the_connection_form(vendor: str) -> None:
    """The page of a built-in vendor has a picture of its connection form, and words in its place."""
    text = (DOCS / f"vendors/{vendor}.md").read_text("utf-8")
    ((words, link),) = re.findall(r"^!\[(.*)\]\((\S+)\)$", text, re.MULTILINE)
    assert len(words.split()) > 3
    assert link == f"../images/connection-{vendor}.png"
    picture = DOCS / "images" / f"connection-{vendor}.png"
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert picture.stat().st_size < LARGEST


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_picture_shows_the_fields_of_today(vendor: str) -> None:
    """A picture was taken after the last change of its form; if not: ``make screenshots``."""
    shown = json.loads((DOCS / "images" / "shown.json").read_text("utf-8"))
    assert shown[vendor] == connection_type(vendor)["conn-fields"]


def test_no_picture_is_left_over() -> None:
    """Every picture is that of a built-in vendor's form."""
    assert {file.name for file in (DOCS / "images").glob("*.png")} == {
        f"connection-{vendor}.png" for vendor in BUILT_IN
    }

"""The pictures of the documentation; ``make screenshots`` takes them."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from airflow_provider_exports.core.forms import form_fields
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


def test_picture_of_the_trigger_form_is_of_today() -> None:
    """It was taken after the last change of the form's fields; if not: ``make screenshots``."""
    shown = json.loads((DOCS / "images" / "shown.json").read_text("utf-8"))
    fields = {name: asdict(field) for name, field in form_fields("giosg").items()}
    assert shown["trigger"] == json.loads(json.dumps(fields))


def test_every_picture_is_shown() -> None:
    """None is left over, none is missing, and each has words in its place."""
    shown = set()
    for page in DOCS.glob("[!_]*/*.md"):
        for words, name in re.findall(
            r"^!\[(.*)\]\(\.\./images/(\S+)\)$", page.read_text("utf-8"), re.MULTILINE
        ):
            assert len(words.split()) > 3
            shown.add(name)
    assert {file.name for file in (DOCS / "images").glob("*.png")} == shown

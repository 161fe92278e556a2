"""Names and layouts: one component everywhere, told apart, and never out of the destination."""

from __future__ import annotations

import posixpath
import re
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_exports.landing.names import LAYOUT, check_layout, lay_out, safe_name

HOSTILE = [
    "",
    ".",
    "..",
    "...",
    "/",
    "//",
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/passwd",
    "C:\\x",
    "C:x",
    "\0",
    "a\0b.csv",
    "a\nb\r.csv",
    "x" * 300,
    "x" * 300 + ".csv",
    "a." + "x" * 300,
    "." * 300 + "a",
    ".hidden",
    "a.",
    "a. ",
    " ",
    "-rf",
    "CON",
    "con.txt",
    "Lpt1.tar.gz",
    "NUL.",
    "nul .txt",
    "COM\u00b9",
    "con\u2024txt",
    "\u202efdp.exe",
    "a\u2215b",
    "a\uff0fb",
    "\uff0e\uff0e",
    "é.csv",
    "e\u0301.csv",
    "ﬁle.csv",
    "\ud800.csv",
    "名.csv",
    "a:stream",
    "*?<>|",
    "{name}",
    "%2e%2e%2f",
    "~root",
    "$HOME",
    "_export.json",
    "_EXPORT-00ff.json",
    ".e-1.landing",
    "lock",
]


def sound(name: str) -> bool:
    """Return whether a name is one plain component on every system, and no name of ours."""
    device = PureWindowsPath(name).is_reserved() if hasattr(PureWindowsPath, "is_reserved") else False
    return (
        bool(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name))
        and not name.endswith(".")
        and len(name) <= 240
        and PurePosixPath(name).name == name == PureWindowsPath(name).name
        and not device
        and not re.match(r"(?i)_export[.-]", name)
    )


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str) -> None:
    """Each becomes a plain one, and stays that."""
    safe = safe_name(name)
    assert sound(safe)
    assert safe_name(safe) == safe


@given(st.text(st.characters(exclude_categories=[]), max_size=400))
@example("con.\u00e9")
@example("a" * 199 + ".b")
def test_any_name(name: str) -> None:
    """There is no name that breaks out."""
    assert sound(safe_name(name))


@pytest.mark.parametrize("name", ["bills-2024.csv", "e-1.tar.gz", "A_b-c.JSONL"])
def test_plain_names_stay(name: str) -> None:
    """So that users find what they know."""
    assert safe_name(name) == name


@given(st.lists(st.sampled_from([*HOSTILE, "a.csv", "A.csv", "a-2.csv", "a-3.csv", "a-4.csv"]), max_size=12))
@example(["a-3.csv", "a.csv", "a.csv"])
@example(["x" * 300 + ".csv"] * 3)
@example(["A.csv", "a.csv"])
def test_equal_names_are_told_apart(names: list[str]) -> None:
    """Also on disks that know no capitals; the order stays."""
    for layout in (LAYOUT, "{vendor}/{export_id}/{stem}-{position}{suffix}"):
        _, laid_out = lay_out(layout, "files", "e-1", names)
        assert len({name.lower() for name in laid_out}) == len(names) == len(laid_out)
        assert all(map(sound, laid_out))


def test_many_equal_names() -> None:
    """Five thousand of them are a matter of milliseconds."""
    _, laid_out = lay_out(LAYOUT, "files", "e-1", ["a.csv"] * 5000)
    assert laid_out[:2] == ["a.csv", "a-2.csv"]
    assert len(set(laid_out)) == 5000


@pytest.mark.parametrize("export_id", ["..", ".", "/", "a/b", "../../x", "\0", "x" * 400, "é"])
def test_hostile_ids_stay_below(export_id: str) -> None:
    """Ids come from outside as well."""
    folder, (name,) = lay_out("{vendor}/{export_id}/{export_id}-{name}", "files", export_id, ["a.csv"])
    assert posixpath.normpath(folder) == folder
    assert folder.startswith("files/")
    assert ".." not in folder
    assert sound(name)


@pytest.mark.parametrize(
    ("layout", "folder", "names"),
    [
        ("{name}", "", ["a.csv", "b.csv"]),
        ("raw/{vendor}/{export_id}/{name}", "raw/files/e-1", ["a.csv", "b.csv"]),
        ("{export_id}/part-{position:03}{suffix}", "e-1", ["part-001.csv", "part-002.csv"]),
        ("{stem}_{export_id}{suffix}", "", ["a_e-1.csv", "b_e-1.csv"]),
    ],
)
def test_layouts(layout: str, folder: str, names: list[str]) -> None:
    """Folders, and every field."""
    assert lay_out(layout, "files", "e-1", ["a.csv", "b.csv"]) == (folder, names)


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "/",
        "a/",
        "/{name}",
        "../{name}",
        "a/../{name}",
        "./{name}",
        "a//{name}",
        "..",
        "a\\{name}",
        "a\0{name}",
        "{nothing}",
        "{}",
        "{0}",
        "{name.__class__}",
        "{name[0]}",
        "{name!r}",
        "{name",
        "name}",
        "{name}/{export_id}",
        "{position}/{name}",
        "{name:{stem}}",
        "{name:/}",
        "{name:d}",
        "{name:>99999999999}",
    ],
)
def test_invalid_layouts(layout: str) -> None:
    """They are told before anything is asked for."""
    with pytest.raises(ValueError):
        check_layout(layout)


def test_layout_that_calls_two_files_the_same() -> None:
    """Only one of them would be left."""
    with pytest.raises(ValueError, match="the same"):
        lay_out("data{suffix}", "files", "e-1", ["a.csv", "b.csv"])

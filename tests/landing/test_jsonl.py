"""CSV and JSON arrays land as JSON Lines: each row, each digit, and a clear word where that cannot be."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import tracemalloc
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_exports.exceptions import DownloadError, DownloadIncomplete, InvalidPayload
from airflow_provider_exports.landing import jsonl
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, run
from tests.airflow.conftest import simulator  # noqa: F401 - a fixture
from tests.landing.conftest import FilesVendor, World

pytestmark = pytest.mark.filterwarnings("ignore")


def made(folder: Path, content: bytes | str, form: str) -> list[str]:
    """Convert, check what is said of the result, and return its lines."""
    source, place = folder / f"e-1.{form}", folder / "e-1.jsonl"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    told = jsonl.convert(source, place, form)
    written = place.read_bytes()
    assert (told.size, told.sha256) == (len(written), hashlib.sha256(written).hexdigest())
    lines = written.decode().split("\n")
    assert lines.pop() == ""
    assert told.rows == len(lines)
    return lines


# -- CSV -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("", []),
        ("id,text\n", []),
        ("id,text", []),
        ("id,text\n1,a\n", [{"id": "1", "text": "a"}]),
        ("id,text\r\n1,a\r\n2,b", [{"id": "1", "text": "a"}, {"id": "2", "text": "b"}]),
        ("\ufeffid,text\n1,ä\n", [{"id": "1", "text": "ä"}]),
        (
            'id,text\n1,"two\nlines"\n2,"a ""b"" c"\n',
            [{"id": "1", "text": "two\nlines"}, {"id": "2", "text": 'a "b" c'}],
        ),
        ('"id","co,de"\n007,\n', [{"id": "007", "co,de": ""}]),
        ("id\n1\n\n2\n\n", [{"id": "1"}, {"id": "2"}]),
        ("\nid\n1\n", [{"id": "1"}]),
        ("id,text\n1,\u2028\x00\n", [{"id": "1", "text": "\u2028\x00"}]),
    ],
)
def test_rows_of_csv(tmp_path: Path, content: str, rows: list[dict[str, str]]) -> None:
    """Keys from the header, all values strings."""
    assert [json.loads(line) for line in made(tmp_path, content, "csv")] == rows


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,text\n1,a\n2\n", "line 3: 1 cells below a header of 2"),
        ("id,text\n1,a,b\n", "line 2: 3 cells below a header of 2"),
        ('id,text\n1,"a\nb\nc"\n2\n', "line 5: 1 cells"),
        ("id,id\n", "line 1: two columns are called 'id'"),
        ("id,,text\n", "line 1: column 2 has no name"),
        ("id,text, \n", "line 1: column 3 has no name"),
        ("id;text\n1;a\n", "line 1: its cells are not separated by commas"),
        ("id\ttext\n1\ta\n", "line 1: its cells are not separated by commas"),
        ('id,text\n1,"cut', "line 2: unexpected end of data"),
        ('id,text\n1,a\n2,"a"b\n', "line 3: ',' expected after '\"'"),
        (b"id,text\n1,a\n2,\xe4\n", "line 3: it is not UTF-8"),
        (b"\xe4,text\n", "line 1: it is not UTF-8"),
        ("id,text\n1,a\n".encode("utf-16"), "line 1: it is not UTF-8"),
        ("id,text\n1,a\n".encode("utf-16-le"), "line 1: it is not UTF-8"),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: bytes | str, said: str) -> None:
    """The error names the file and the line, and what to do."""
    with pytest.raises(DownloadError, match="as_jsonl") as caught:
        made(tmp_path, content, "csv")
    assert caught.value.message.startswith(f"e-1.csv, {said}")


@pytest.mark.parametrize("content", ["x" * 5000, 'id\n"' + "x\n" * 5000, "id\n" + "x" * 5000])
def test_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """What is no table, or has a quote too many, does not fill the memory."""
    monkeypatch.setattr(jsonl, "LARGEST", 1000)
    before = csv.field_size_limit()
    with pytest.raises(DownloadError, match=r"line \d: (it is longer|field larger)"):
        made(tmp_path, content, "csv")
    assert csv.field_size_limit() == before


def test_large_cell(tmp_path: Path) -> None:
    """Larger than Python's module for CSV takes by itself, as a long conversation is."""
    (line,) = made(tmp_path, f"id,text\n1,{'x' * 200_000}\n", "csv")
    assert len(json.loads(line)["text"]) == 200_000


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2)))
def test_any_table(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    """Whatever is in the cells comes back."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    lines = made(tmp_path_factory.mktemp("any"), text.getvalue(), "csv")
    assert [list(json.loads(line).values()) for line in lines] == rows


# -- JSON ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("[]", []),
        ("\ufeff [ ]\n", []),
        ('[{"a":1}]', ['{"a":1}']),
        ('[{"a": 1},\n {"a": 2}]\n', ['{"a": 1}', '{"a": 2}']),
        ('[\r\n{\r\n  "a": [\r\n1\r\n]\r\n}\r\n]', ['{"a": [1]}']),
        ('[ 12 , -0.10e+5,true , null,"x" ]', ["12", "-0.10e+5", "true", "null", '"x"']),
        (r'[{"a": "\u00e4\ud800\n\\", "b": "ä], }"}]', [r'{"a": "\u00e4\ud800\n\\", "b": "ä], }"}']),
        ('[{"a": "  kept  "}]', ['{"a": "  kept  "}']),
        (f"[{'9' * 5000}, 0.{'1' * 400}, 1e400]", ["9" * 5000, "0." + "1" * 400, "1e400"]),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
def test_elements_of_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, lines: list[str], chunk: int
) -> None:
    """Their text is kept, and each digit, wherever a read ends."""
    monkeypatch.setattr(jsonl, "_CHUNK", chunk)
    assert made(tmp_path, content, "json") == lines


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "line 1: it is no JSON array"),
        ('\n{"data": []}', "line 2: it is no JSON array"),
        ("<html>", "line 1: it is no JSON array"),
        ('[{"a": 1},\n{"a": ', "line 2: it is no JSON (Expecting value)"),
        ('[{"a": 1}', "line 1: it is no JSON"),
        ('[{"a": 1}\n,\n]', "line 3: it is no JSON"),
        ("[1 2]", "line 1: it is no JSON"),
        ("[1,\n1.]", "line 2: it is no JSON"),
        ("[1,\n012]", "line 2: it is no JSON"),
        ("[1]\n\n[2]", "line 3: something follows the array"),
        ('[1,\n{"a": NaN}]', "line 2: NaN is no number"),
        ("[-Infinity]", "line 1: -Infinity is no number"),
        ('["a\nb"]', "line 1: it is no JSON (Invalid control character at)"),
        (b'[{"a": 1},\n{"a": "\xff"}]', "line 2: it is not UTF-8"),
        ("[" * 100_000, "line 1: it is nested too deeply"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_what_is_no_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | str, said: str, chunk: int
) -> None:
    """The error names the file and the line, wherever a read ends."""
    monkeypatch.setattr(jsonl, "_CHUNK", chunk)
    with pytest.raises(DownloadError, match="as_jsonl") as caught:
        made(tmp_path, content, "json")
    assert caught.value.message.startswith(f"e-1.json, {said}")


@pytest.mark.parametrize(
    ("form", "begin", "row", "end"),
    [("json", "[", f'{{"id": "{"x" * 90}"}},\n', "1]"), ("csv", "id\n", f"{'x' * 99}\n", "")],
)
@pytest.mark.parametrize("wrong", [False, True])
def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, begin: str, row: str, end: str, wrong: bool
) -> None:
    """Nor where a quote too many makes one value of all the rest."""
    monkeypatch.setattr(jsonl, "_CHUNK", 10_000)
    monkeypatch.setattr(jsonl, "LARGEST", 100_000)
    row = row.replace('"', "") if wrong else row
    (tmp_path / "large").write_text(begin + '"' * wrong + row * 50_000 + end)
    tracemalloc.start()
    try:
        with pytest.raises(DownloadError) if wrong else contextlib.nullcontext():
            jsonl.convert(tmp_path / "large", tmp_path / "out", form)
        assert tracemalloc.get_traced_memory()[1] < 1_500_000 < (tmp_path / "large").stat().st_size / 3
    finally:
        tracemalloc.stop()


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def written(value: Any) -> str:
    """JSON of a value, its decimals as they are."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",\n ".join(f"{json.dumps(k)}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\r\n" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False) if str(value).isprintable() else json.dumps(value)


@given(st.lists(VALUES), st.integers(1, 50))
def test_any_array(tmp_path_factory: pytest.TempPathFactory, values: list[Any], chunk: int) -> None:
    """Whatever is in it comes back, the same number by number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "_CHUNK", chunk)
        lines = made(tmp_path_factory.mktemp("any"), written(values), "json")
    texts = {"parse_float": str, "parse_int": str}
    expected = json.loads(written(values), **texts)
    assert [json.loads(line, **texts) for line in lines] == expected


# -- landed --------------------------------------------------------------------------------------------------


def manifest(world: World) -> dict[str, Any]:
    """What stands beside the files."""
    (path,) = world.destination.rglob("_export*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def packed(*members: tuple[str, bytes]) -> bytes:
    """A zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in members:
            opened.writestr(name, content)
    return stream.getvalue()


def test_files_land_as_json_lines(world: World) -> None:
    """Each in its place, with rows in the manifest; what is JSON Lines already stays as it came."""
    world.add(b"id\n1\n2\n", "e-1-1.csv", format="csv")
    world.add(b"[1, 2, 3]", "e-1-2.json", format="application/json")
    world.add(b'{"a": 1}\n', "e-1-3.ndjson", format="ndjson")
    landed = world.land(as_jsonl=True)
    assert [file["name"] for file in landed["files"]] == ["e-1-1.jsonl", "e-1-2.jsonl", "e-1-3.ndjson"]
    assert (world.destination / "e-1-1.jsonl").read_text() == '{"id": "1"}\n{"id": "2"}\n'
    assert len(world.visible) == 4
    told = manifest(world)
    assert told["as_jsonl"] is True
    assert [file["rows"] for file in told["files"]] == [2, 3, 1]
    assert world.land(as_jsonl=True) == landed
    assert world.hosts == 1
    assert world.one() == b"id\n1\n2\n"
    assert manifest(world)["as_jsonl"] is False


@pytest.mark.parametrize(
    ("layout", "name"),
    [("rows{suffix}", "rows.jsonl"), ("rows-{position}", "rows-1.jsonl"), ("rows.jsonl", "rows.jsonl")],
)
def test_name_that_the_layout_gives(world: World, layout: str, name: str) -> None:
    """It ends in .jsonl, whatever it ended in."""
    world.add(b"id\n1\n", "e-1.csv", format="csv")
    assert [file["name"] for file in world.land(as_jsonl=True, layout=layout)["files"]] == [name]


def test_packed_rows(world: World) -> None:
    """Of the members those that lie highest are rows; what is below them are somebody's files."""
    theirs = b"not;a,table\nat all"
    world.add(
        packed(
            ("v/rows.csv", b"id\n1\n"),
            ("v/rows.json", b"[1]"),
            ("v/rows.jsonl", b"1\n2\n"),
            ("v/note.txt", b"text"),
            ("v/natives/1.csv", theirs),
        ),
        "e-1.zip",
        format="zip",
    )
    world.land(as_jsonl=True, unpack=True)
    told = {file["name"]: file["rows"] for file in manifest(world)["files"]}
    folder = world.destination / "e-1/v"
    assert (folder / "natives/1.csv").read_bytes() == theirs
    assert told.pop("e-1/v/note.txt") is None
    assert told.pop("e-1/v/natives/1.csv") is None
    assert told == {"e-1/v/rows-1.jsonl": 1, "e-1/v/rows-1-1.jsonl": 1, "e-1/v/rows.jsonl": 2}
    assert len(world.visible) == 6


def test_compressed_rows(world: World) -> None:
    """A gzip file of CSV."""
    import gzip

    world.add(gzip.compress(b"id\n1\n"), "e-1.csv.gz", format="gz")
    assert world.one(as_jsonl=True, unpack=True) == b'{"id": "1"}\n'
    assert manifest(world)["files"][0]["name"] == "e-1.jsonl"


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("e-1.xlsx", "xlsx", "from the format xlsx"),
        ("e-1.pdf", "pdf", "from the format pdf"),
        ("e-1.bin", None, "from the format unknown"),
        ("e-1.zip", "zip", "unpack=True as well"),
        ("e-1.csv.gz", "gz", "unpack=True as well"),
    ],
)
def test_format_without_rows_is_said_before_the_transfer(
    world: World, name: str, form: str | None, said: str
) -> None:
    """Nothing is asked of the file host."""
    world.add(b"id\n1\n", "e-1.csv", format="csv")
    world.add(b"", name, format=form)
    with pytest.raises(InvalidPayload, match=said) as caught:
        world.land(as_jsonl=True)
    # Another try of the task would find the same.
    assert caught.value.permanent
    assert world.hosts == 0


@pytest.mark.parametrize(
    ("asked", "content"),
    [
        ({"format": {"csvDelimiter": ";"}}, "id;text\n1;a,b\n"),
        ({"format": {"csvDelimiter": ":"}}, "id:text\n1:a,b\n"),
        ({"format": {"csvDelimiter": ","}}, 'id,text\n1,"a,b"\n'),
        ({"format": {"csvDelimiter": None}}, 'id,text\n1,"a,b"\n'),
        ({}, 'id,text\n1,"a,b"\n'),
        # The task that fetches by id does not know; most have commas.
        (None, 'id,text\n1,"a,b"\n'),
    ],
)
def test_cells_are_separated_as_was_asked(
    world: World, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any] | None, content: str
) -> None:
    """Of a vendor that lets its users choose, the payload tells."""
    monkeypatch.setattr(FilesVendor, "payload_fields", {"csv_delimiter": ("format", "csvDelimiter")})
    world.add(content.encode(), "e-1.csv", format="csv")
    assert world.one(as_jsonl=True, payload=asked) == b'{"id": "1", "text": "a,b"}\n'


def test_one_column_of_a_known_delimiter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header without the delimiter is one column, whatever marks are in it."""
    monkeypatch.setattr(FilesVendor, "payload_fields", {"csv_delimiter": ("format", "csvDelimiter")})
    world.add(b"in|out\n1\n", "e-1.csv", format="csv")
    asked = {"format": {"csvDelimiter": ";"}}
    assert world.one(as_jsonl=True, payload=asked) == b'{"in|out": "1"}\n'


def test_delimiter_that_nobody_knows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One column, or many that are separated by something else: nobody can tell."""
    monkeypatch.setattr(FilesVendor, "payload_fields", {"csv_delimiter": ("format", "csvDelimiter")})
    world.add(b"id:text\n1:a\n", "e-1.csv", format="csv")
    with pytest.raises(DownloadError, match=r"line 1: it has one cell.*task that asked for it"):
        world.land(as_jsonl=True)
    assert world.visible == []


@pytest.mark.parametrize("parameter", ["format", "extension"])
def test_format_that_was_asked_for(world: World, monkeypatch: pytest.MonkeyPatch, parameter: str) -> None:
    """The payload tells, where the vendor does not say what its file is."""
    monkeypatch.setattr(FilesVendor, "payload_fields", {parameter: ("to", "form")})
    world.add(b"id\n1\n", "e-1.csv")
    with pytest.raises(InvalidPayload, match="from the format xlsx"):
        world.land(as_jsonl=True, payload={"to": {"form": "xlsx"}})
    assert world.hosts == 0
    assert world.one(as_jsonl=True, payload={"to": {"form": "text/csv"}}) == b'{"id": "1"}\n'


@pytest.mark.parametrize("comma", ["", "||", '"', "\n", 5])
def test_delimiter_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch, comma: Any) -> None:
    """It is said before anything is transferred, and no retry helps."""
    monkeypatch.setattr(FilesVendor, "payload_fields", {"csv_delimiter": ("format", "csvDelimiter")})
    world.add(b"id\n1\n", "e-1.csv", format="csv")
    with pytest.raises(InvalidPayload, match=r"where format\.csvDelimiter is"):
        world.land(as_jsonl=True, payload={"format": {"csvDelimiter": comma}})
    assert world.hosts == 0


def test_archive_without_rows(world: World) -> None:
    """Silence would look like an export without rows."""
    world.add(packed(("a.pdf", b"%PDF")), "e-1.zip", format="zip")
    with pytest.raises(InvalidPayload, match="no file with rows"):
        world.land(as_jsonl=True, unpack=True)
    assert world.visible == []


def test_failure_leaves_nothing(world: World) -> None:
    """Not the files before it either; without the wish it lands."""
    world.add(b"id\n1\n", "e-1-1.csv", format="csv")
    world.add(b"id,text\n1\n", "e-1-2.csv", format="csv")
    with pytest.raises(DownloadError, match=r"e-1-2\.csv, line 2"):
        world.land(as_jsonl=True)
    assert list(world.destination.iterdir()) == []
    assert len(world.land()["files"]) == 2


def test_fault_at_the_end_of_an_array(world: World) -> None:
    """The vendor reports in the last element what it does in the last line."""
    world.add(b'[{"a": 1}, {"fault": "out of memory"}]', "e-1.json", format="json")
    with pytest.raises(DownloadIncomplete, match="out of memory"):
        world.land(as_jsonl=True)
    assert world.visible == []


# -- vendors -------------------------------------------------------------------------------------------------

MEDABLE = {"task_id": "t", "objects": "c_visits", "deferrable": False}
GIOSG = {"task_id": "t", "type": "logs", "starting_at": "2026-01-01", "ending_at": "2026-01-08"}


@pytest.mark.parametrize("form", ["text/csv", "application/json", "application/x-ndjson"])
def test_medable(simulator: Simulator, tmp_path: Path, form: str) -> None:  # noqa: F811
    """All three of its formats, each in its archive."""
    task = {**MEDABLE, "format": form, "destination": tmp_path.as_uri(), "unpack": True, "as_jsonl": True}
    (file,) = run(lambda: MedableRunExportOperator(**task))["files"]
    assert file["name"].endswith("jsonl" if "x-" not in form else "ndjson")
    rows = [json.loads(line) for line in (tmp_path / file["name"]).read_text().splitlines()]
    assert rows
    assert all(isinstance(row, dict) for row in rows)


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_giosg(simulator: Simulator, tmp_path: Path, form: str) -> None:  # noqa: F811
    """CSV becomes rows; for a sheet nothing is transferred."""
    room = simulator.rooms()[0]["id"]
    task = {**GIOSG, "room_id": room, "format": form, "destination": tmp_path.as_uri(), "as_jsonl": True}
    make = lambda: GiosgRunExportOperator(**task, deferrable=False)  # noqa: E731
    if form == "csv":
        (file,) = run(make)["files"]
        assert [json.loads(line) for line in (tmp_path / file["name"]).read_text().splitlines()]
    else:
        assert "from the format xlsx" in str(error_of(make))
        assert [one for one in simulator.requests("giosg") if one.operation == "file"] == []


def test_mews(simulator: Simulator, tmp_path: Path) -> None:  # noqa: F811
    """Its files are JSON Lines, and land as they are."""
    task = {"task_id": "t", "entity_type": "Payment", "destination": tmp_path.as_uri(), "as_jsonl": True}
    result = run(lambda: MewsRunExportOperator(**task, deferrable=False))
    assert all(file["name"].endswith(".jsonl") for file in result["files"])

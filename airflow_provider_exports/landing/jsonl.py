"""Turn CSV files and JSON arrays into JSON Lines, row by row: a file never stands in memory."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring
from operator import add
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TextIO

from airflow_provider_exports.core.model import ExportFile, Payload
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.exceptions import DownloadError, InvalidPayload
from airflow_provider_exports.landing.archive import Member, room_for
from airflow_provider_exports.landing.check import JSON_LINES

CSV, ARRAY, LINES = "csv", "json", "jsonl"
COMMA = ","
LARGEST = 64 * 1024 * 1024
"""Characters that one line of CSV, one cell, or one element of an array may have."""
_CHUNK = 1024 * 1024
_FORMS = {
    "csv": CSV,
    "text/csv": CSV,
    "json": ARRAY,
    "application/json": ARRAY,
    **dict.fromkeys(JSON_LINES, LINES),
}
# No string of JSON has a line end in it.
_LINE_END = re.compile(r"[\r\n][ \t\r\n]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_WITHOUT = "Land it without as_jsonl=True."


def form_of(name: str) -> str | None:
    """Return how a file of this name holds its rows; None if it holds none that we can read."""
    return _FORMS.get(PurePosixPath(name).suffix[1:].lower())


def check_forms(files: Sequence[ExportFile], *, unpack: bool) -> None:
    """Look, before anything is transferred, whether these files can become JSON Lines.

    :raises InvalidPayload: one of them cannot, nor in any other try.
    """
    for file in files:
        packed = file.format in ("zip", "gz") or file.name.lower().endswith(".gz")
        if packed and not unpack:
            raise InvalidPayload(
                f"{file.name}: its rows are packed.", next_step="Land it with unpack=True as well."
            )
        if file.format != "zip" and form(file) is None:
            known = file.format or "unknown"
            raise _never(f"{file.name}: rows cannot be read from the format {known}.")


def check_payload(vendor: Vendor, payload: Payload) -> None:
    """Look whether what is asked for can become JSON Lines; it takes no export to tell.

    :raises InvalidPayload: it cannot.
    """
    for parameter in ("format", "extension"):
        asked = _asked(payload, vendor.payload_fields.get(parameter, ()))
        if isinstance(asked, str) and asked.lower() not in _FORMS:
            raise _never(f"rows cannot be read from the format {asked}.")
    delimiter_of(vendor, payload)


def delimiter_of(vendor: Vendor, payload: Payload | None) -> str | None:
    """Return what stands between two cells of an export's CSV files; None where only the payload tells.

    :raises InvalidPayload: it is one that Python's module for CSV cannot read.
    """
    place = vendor.payload_fields.get("csv_delimiter")
    if place is None:
        return COMMA
    if payload is None:
        return None
    found = _asked(payload, place)
    if found is None:
        return COMMA
    if not isinstance(found, str) or len(found) != 1 or found in '"\r\n':
        raise _never(f"rows cannot be read where {'.'.join(place)} is {found!r}.")
    return found


def _asked(payload: Payload, place: Sequence[str]) -> Any:
    found: Any = payload if place else None
    for key in place:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def form(file: ExportFile) -> str | None:
    """Return how a file holds its rows, by the vendor's word for its format, else by its name."""
    name = file.name[:-3] if file.name.lower().endswith(".gz") else file.name
    return _FORMS.get(file.format or "") or form_of(name)


def with_rows(names: Sequence[str], archive: str) -> dict[str, str]:
    """Return how the members of an archive hold its rows: those do that lie highest in it.

    What lies deeper are attachments, which may well be CSV files of somebody else's making.

    :raises InvalidPayload: no member holds rows.
    """
    forms = {name: found for name in names if (found := form_of(name)) is not None}
    if names and not forms:
        raise _never(f"{archive}: no file with rows is in it.")
    highest = min((name.count("/") for name in forms), default=0)
    return {name: found for name, found in forms.items() if name.count("/") == highest}


def as_lines(name: str) -> str:
    """Return what a file is called as JSON Lines."""
    path = PurePosixPath(name)
    return str(path.with_suffix(".jsonl") if form_of(name) else path.with_name(f"{path.name}.jsonl"))


def convert(source: Path, place: Path, form: str, delimiter: str | None = COMMA) -> Member:
    """Write the rows of ``source`` to ``place``, one JSON value per line.

    Cells of CSV become strings, under the names of the header row. What an array holds keeps its text, and so
    each digit of its numbers; only its line ends go.

    :param form: ``CSV`` or ``ARRAY``.
    :param delimiter: what stands between two cells of CSV; None where nobody knows, which is read as commas.
    :raises DownloadError: it cannot be read; the error names the line.
    """
    digest, size, rows = hashlib.sha256(), 0, 0
    # What is no UTF-8 is kept until its row is written: only there the line is known.
    with (
        _large_cells(),
        room_for(source),
        source.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream,
        place.open("wb") as sink,
    ):
        found = _csv(stream, source.name, delimiter) if form == CSV else _array(stream, source.name)
        for line, row in found:
            try:
                written = f"{row}\n".encode()
            except UnicodeEncodeError:
                _refuse(source.name, line, "it is not UTF-8")
            sink.write(written)
            digest.update(written)
            size += len(written)
            rows += 1
    return Member(place.name, size, digest.hexdigest(), rows)


@contextlib.contextmanager
def _large_cells() -> Iterator[None]:
    limit = csv.field_size_limit(LARGEST)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _csv(stream: TextIO, name: str, delimiter: str | None) -> Iterator[tuple[int, str]]:
    # Strict: else a file that ends within quotes would count as whole.
    reader = csv.reader(_text_lines(stream, name), strict=True, delimiter=delimiter or COMMA)
    keys: list[str] = []
    line = 1
    try:
        for cells in reader:
            # An empty line is no row.
            if cells and keys:
                if len(cells) != len(keys):
                    _refuse(name, line, f"{len(cells)} cells below a header of {len(keys)}")
                # As json.dumps writes it, in half the time.
                yield line, f"{{{', '.join(map(add, keys, map(encode_basestring, cells)))}}}"
            elif cells:
                _check_header(cells, name, line, delimiter)
                keys = [f"{encode_basestring(cell)}: " for cell in cells]
            line = reader.line_num + 1
    except csv.Error as error:
        _refuse(name, line, str(error))


def _text_lines(stream: TextIO, name: str) -> Iterator[str]:
    number = 0
    while text := stream.readline(LARGEST):
        number += 1
        if len(text) == LARGEST and not text.endswith(("\n", "\r")):
            _refuse(name, number, f"it is longer than {LARGEST} characters")
        yield text


def _check_header(header: list[str], name: str, line: int, delimiter: str | None) -> None:
    if any(mark == "\0" or "\udc80" <= mark <= "\udcff" for mark in "".join(header)):
        _refuse(name, line, "it is not UTF-8")
    if not all(cell.strip() for cell in header):
        _refuse(name, line, f"column {1 + [bool(cell.strip()) for cell in header].index(False)} has no name")
    if len(set(header)) < len(header):
        twice = next(cell for cell in header if header.count(cell) > 1)
        _refuse(name, line, f"two columns are called {twice[:100]!r}")
    if len(header) == 1 and delimiter is None:
        _refuse(
            name, line, "it has one cell, and what separates cells is known to the task that asked for it"
        )
    if len(header) == 1 and delimiter == COMMA and any(mark in header[0] for mark in ";\t|"):
        _refuse(name, line, "its cells are not separated by commas")


def _array(stream: TextIO, name: str) -> Iterator[tuple[int, str]]:
    buffer = _Buffer(stream, name)
    if buffer.next_mark() != "[":
        buffer.refuse("it is no JSON array")
    buffer.pass_mark()
    if buffer.next_mark() == "]":
        buffer.pass_mark()
    else:
        while True:
            yield buffer.element()
            mark = buffer.next_mark()
            buffer.pass_mark()
            if mark == "]":
                break
    if buffer.next_mark():
        buffer.refuse("something follows the array")


class _Buffer:
    """The part of a JSON text that is being read."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._text, self._at, self._line = "", 0, 1
        # Numbers stay text: nobody computes with them, and some are longer than Python likes.
        self._decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_number)

    def refuse(self, why: str, at: int = 0) -> NoReturn:
        """Say what is wrong, and in which line."""
        _refuse(self._name, self._line + self._text.count("\n", self._at, at), why)

    def next_mark(self) -> str:
        """Go to the next character that is no space, and return it; empty at the end."""
        while True:
            self._go(_after_space(self._text, self._at))
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._grow():
                return ""

    def pass_mark(self) -> None:
        """Go on behind that character."""
        self._at += 1

    def element(self) -> tuple[int, str]:
        """Return the next value, which a comma or the end of the array follows, and the line it begins at."""
        self.next_mark()
        while True:
            why, wrong = "it is no JSON", 0
            try:
                _, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                self.refuse("it is nested too deeply")
            except json.JSONDecodeError as error:
                why, wrong = f"it is no JSON ({error.msg})", error.pos
            except ValueError as error:
                why = str(error)
            else:
                # Without what follows it, a number may be half of a longer one.
                wrong = _after_space(self._text, end)
                if self._text[wrong : wrong + 1] in (",", "]"):
                    break
            if not self._grow():
                self.refuse(why, wrong)
        line, text = self._line, self._text[self._at : end]
        self._go(end)
        return line, _LINE_END.sub("", text)

    def _go(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _grow(self) -> bool:
        """Read on, and forget what has been read; return whether there is more."""
        left = len(self._text) - self._at
        # Twice as much each time, so that a large value is not read over and over again.
        more = self._stream.read(max(_CHUNK, left)) if left <= LARGEST else ""
        if more:
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _never(message: str) -> InvalidPayload:
    # It is the task that asks for what cannot be; another try would ask the same.
    return InvalidPayload(message, next_step=_WITHOUT)


def _refuse(name: str, line: int, why: str) -> NoReturn:
    raise DownloadError(f"{name}, line {line}: {why}.", next_step=_WITHOUT) from None

"""Damage that only the format of a file shows."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core.model import ExportFile
from airflow_provider_exports.exceptions import DownloadIncomplete, NotTheFile
from airflow_provider_exports.landing import archive as archives
from airflow_provider_exports.landing import check
from tests.landing.faults import gzip_of

NOISE = random.Random(1).randbytes(5000)


def looked_at(tmp_path: Path, form: str, content: bytes) -> bool:
    """Check ``content`` as a file of a format."""
    path = tmp_path / "file"
    path.write_bytes(content)
    return check.whole(ExportFile("file", "http://files.example/", format=form), path, fault)


def fault(last: Any) -> str | None:
    """Read a vendor's fault line."""
    return last.get("fault") if isinstance(last, dict) else None


def archive(*members: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as made:
        for number, member in enumerate(members):
            made.writestr(str(number), member)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("zip", archive(NOISE)),
        ("zip", archive()),
        ("xlsx", archive(NOISE)),
        ("gz", gzip_of(NOISE)),
        ("gz", gzip_of(NOISE) + gzip_of(b"more")),
        ("gz", gzip_of(b"")),
        ("gz", gzip_of(NOISE) + bytes(512)),
        ("jsonl", b'{"a": 1}\n{"a": 2}\n'),
        ("jsonl", b'{"a": 1}\r\n{"a": 2}'),
        ("jsonl", b"1\n\n\n"),
        ("jsonl", b""),
        ("ndjson", b"\n"),
        ("pdf", b"%PDF-1.7\n...\n%%EOF\n"),
    ],
)
def test_whole_files(tmp_path: Path, form: str, content: bytes) -> None:
    """Their end is where it belongs."""
    assert looked_at(tmp_path, form, content)


@pytest.mark.parametrize(("form", "content"), [("csv", b"a,b\n1"), ("pdf", b"%PDF-1.7\n"), ("bin", NOISE)])
def test_files_that_do_not_tell(tmp_path: Path, form: str, content: bytes) -> None:
    """Nothing is claimed of them."""
    assert not looked_at(tmp_path, form, content)


def test_zip_with_a_wrong_checksum(tmp_path: Path) -> None:
    """One bit is enough."""
    content = bytearray(archive(NOISE, method=zipfile.ZIP_STORED))
    content[1000] ^= 1
    with pytest.raises(DownloadIncomplete, match="CRC"):
        looked_at(tmp_path, "zip", bytes(content))


def test_zip_with_damaged_data(tmp_path: Path) -> None:
    """What cannot be inflated is told as well."""
    content = bytearray(archive(b"abcdefgh" * 500))
    content[31:40] = b"\xff" * 9
    with pytest.raises(DownloadIncomplete, match="damaged"):
        looked_at(tmp_path, "zip", bytes(content))


@pytest.mark.parametrize("cut", [4, 100, 2500, -1, -10, -22])
def test_cut_zip(tmp_path: Path, cut: int) -> None:
    """Its directory stands at the end."""
    with pytest.raises(DownloadIncomplete, match="damaged"):
        looked_at(tmp_path, "zip", archive(NOISE)[:cut])


@pytest.mark.parametrize("seed", range(40))
def test_zip_of_scrambled_bytes(tmp_path: Path, seed: int) -> None:
    """Whatever is wrong with it, there is one typed error or none."""
    noise = random.Random(seed)
    content = bytearray(archive(NOISE, b"abc" * 500))
    for _ in range(8):
        # The directory at the end is where a reader trips.
        content[noise.randrange(len(content) - 200, len(content))] = noise.randrange(256)
    with contextlib.suppress(DownloadIncomplete):
        looked_at(tmp_path, "zip", bytes(content))


def test_zip_bomb_is_not_inflated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a whole file, and that is all."""
    read = 0
    inflate = zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, count: int | None = -1) -> bytes:
        nonlocal read
        data = inflate(self, count)
        read += len(data)
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    monkeypatch.setattr(archives, "_SMALL", 1024)
    assert looked_at(tmp_path, "zip", archive(bytes(20_000_000)))
    assert read == 0


@pytest.mark.parametrize("cut", [3, 10, 2500, -1, -8])
def test_cut_gzip(tmp_path: Path, cut: int) -> None:
    """Its length and checksum stand at the end."""
    with pytest.raises(DownloadIncomplete, match="too early"):
        looked_at(tmp_path, "gz", gzip_of(NOISE)[:cut])


def test_cut_second_gzip_member(tmp_path: Path) -> None:
    """A whole first one does not make a whole file."""
    with pytest.raises(DownloadIncomplete, match="too early"):
        looked_at(tmp_path, "gz", gzip_of(NOISE) + gzip_of(NOISE)[:-3])


def test_gzip_with_a_wrong_checksum(tmp_path: Path) -> None:
    """It is read to its end."""
    content = bytearray(gzip_of(NOISE))
    content[-5] ^= 1
    with pytest.raises(DownloadIncomplete, match="damaged"):
        looked_at(tmp_path, "gz", bytes(content))


def test_gzip_bomb_is_inflated_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its content never stands in memory, and a huge one is not inflated to its end."""
    inflated = 0
    make = zlib.decompressobj

    class Counted:
        def __init__(self, **options: int) -> None:
            self._real = make(**options)

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal inflated
            piece = self._real.decompress(data, most)
            assert len(piece) <= 16 * 1024 * 1024
            inflated += len(piece)
            return piece

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    monkeypatch.setattr(check.zlib, "decompressobj", Counted)
    monkeypatch.setattr(archives, "_SMALL", 1024)
    assert not looked_at(tmp_path, "gz", gzip_of(bytes(100_000_000)))
    assert inflated < 60_000_000


@pytest.mark.parametrize(
    "content", [b'{"a": 1}\n{"a": ', b'{"a": 1}\n{"a"', b"nothing", b'{"a": 1}\n\xff\xfe']
)
def test_cut_last_line(tmp_path: Path, content: bytes) -> None:
    """It is no JSON."""
    with pytest.raises(DownloadIncomplete, match="last line"):
        looked_at(tmp_path, "jsonl", content)


def test_deep_last_line(tmp_path: Path) -> None:
    """Nesting that JSON cannot be read with is one typed error."""
    with pytest.raises(DownloadIncomplete, match="last line"):
        looked_at(tmp_path, "jsonl", b"[" * 200_000)


def test_long_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read whole; its line end says that it is."""
    monkeypatch.setattr(check, "_LAST_LINE", 100)
    assert looked_at(tmp_path, "jsonl", b'"' + b"x" * 500 + b'"\n')
    assert not looked_at(tmp_path, "jsonl", b'"' + b"x" * 500)


def test_fault_in_the_last_line(tmp_path: Path) -> None:
    """The vendor says itself that it did not get to the end."""
    with pytest.raises(DownloadIncomplete, match="out of memory"):
        looked_at(tmp_path, "jsonl", b'{"a": 1}\n{"fault": "out of memory"}\n')


@pytest.mark.parametrize(
    ("form", "head", "media_type"),
    [
        ("csv", b"<html>", ""),
        (None, b"\n <!DOCTYPE HTML>", "text/csv"),
        ("pdf", b"{}", ""),
        ("zip", b"no", "application/zip"),
        ("csv", b'{"error": 1}', "application/json"),
        ("gz", b"id,text\n", ""),
    ],
)
def test_what_is_no_file(form: str | None, head: bytes, media_type: str) -> None:
    """It is known by its first bytes."""
    with pytest.raises(NotTheFile):
        check.recognise(ExportFile("file", "http://files.example/", format=form), head, media_type)


@pytest.mark.parametrize(("form", "head"), [("pdf", b"%"), ("zip", b"P"), ("gz", b""), ("xlsx", b"PK\x03")])
def test_few_first_bytes(form: str, head: bytes) -> None:
    """A slow host sends no more at first."""
    check.recognise(ExportFile("file", "http://files.example/", format=form), head, "")


def test_content_type_is_only_a_hint() -> None:
    """Hosts call files anything."""
    file = ExportFile("file", "http://files.example/", format="csv")
    assert "text/html" in (check.recognise(file, b"id\n", "text/html; charset=x") or "")
    assert check.recognise(file, b"id\n", "text/csv") is None

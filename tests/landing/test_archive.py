"""Archives are taken apart within bounds, and never outside of their folder."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.exceptions import DestinationTaken, DownloadError, DownloadIncomplete
from airflow_provider_exports.landing import archive as archives
from airflow_provider_exports.landing import export_files
from airflow_provider_exports.landing.archive import unpack
from airflow_provider_exports.operators.export import DownloadExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, run
from tests.airflow.conftest import simulator  # noqa: F401 - a fixture
from tests.landing.conftest import World
from tests.landing.faults import gzip_of

pytestmark = pytest.mark.filterwarnings("ignore")


def packed(folder: Path, members: list[tuple[Any, bytes]], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip with these members."""
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in members:
            opened.writestr(name, content)
    return path


def test_members_come_out_with_size_and_hash(tmp_path: Path) -> None:
    """Folders are kept, empty ones are not."""
    path = packed(tmp_path, [("a/", b""), ("a/one.csv", b"1\n"), ("two.csv", b"")])
    members = unpack(path, tmp_path / "out")
    assert [(member.name, member.size) for member in members] == [("a/one.csv", 2), ("two.csv", 0)]
    assert members[0].sha256 == hashlib.sha256(b"1\n").hexdigest()
    assert (tmp_path / "out" / "a" / "one.csv").read_bytes() == b"1\n"


@pytest.mark.parametrize(
    "name",
    [
        "../../escape.csv",
        "/etc/escape.csv",
        "..\\..\\escape.csv",
        "C:\\escape.csv",
        "a/../../../escape.csv",
        "./././escape.csv",
        "con",
        "...",
        "\u202eescape.csv",
        "a" * 300 + ".csv",
    ],
)
def test_no_member_leaves_its_folder(tmp_path: Path, name: str) -> None:
    """Whatever a member is called, it lies below the archive's folder under a plain name."""
    folder = tmp_path / "deep" / "out"
    (member,) = unpack(packed(tmp_path, [(name, b"x")]), folder)
    assert (folder / member.name).resolve().is_relative_to(folder.resolve())
    assert (folder / member.name).read_bytes() == b"x"
    assert all(len(part) <= 255 and not part.startswith(".") for part in member.name.split("/"))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "export.zip"] == [
        folder / member.name
    ]


def test_members_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """Also when only our way of naming makes them equal."""
    path = packed(tmp_path, [("a?.csv", b"1"), ("a*.csv", b"2"), ("A_.csv", b"3"), ("x", b"4"), ("x", b"5")])
    names = [member.name for member in unpack(path, tmp_path / "out")]
    assert len({name.lower() for name in names}) == 5
    assert names[0] == "a_.csv"


def test_members_that_take_each_others_name_are_told_apart(tmp_path: Path) -> None:
    """The name that tells the third from the second is that of the first already."""
    path = packed(tmp_path, [("x-3.csv", b"1"), ("x.csv", b"2"), ("x.csv", b"3")])
    members = unpack(path, tmp_path / "out")
    assert [(tmp_path / "out" / member.name).read_bytes() for member in members] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("order", [["a", "a/b", "a/c/d"], ["a/c/d", "a/b", "a"], ["A/b", "a", "a/c/d"]])
def test_file_and_folder_of_one_name_are_told_apart(tmp_path: Path, order: list[str]) -> None:
    """An archive may hold both, a disk may not; the file gives way."""
    path = packed(tmp_path, [(name, name.encode()) for name in order])
    members = unpack(path, tmp_path / "out")
    assert [(tmp_path / "out" / member.name).read_bytes().decode() for member in members] == order
    (file,) = [member.name for member, name in zip(members, order, strict=True) if name == "a"]
    assert file.startswith("a-")


def test_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    """Nothing is written of an archive that would become two hundred times its size."""
    path = packed(tmp_path, [("bomb", bytes(300 * 1024 * 1024))])
    with pytest.raises(DownloadError, match="200 times its size"):
        unpack(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound on their number as well."""
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(DownloadError, match="holds 4 files"):
        unpack(packed(tmp_path, [(str(n), b"") for n in range(4)]), tmp_path / "out")


def test_link_and_encrypted_archive_are_refused(tmp_path: Path) -> None:
    """A link could lead anywhere, and nobody has the password."""
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(DownloadError, match="holds a link"):
        unpack(packed(tmp_path, [(link, b"/etc/passwd")]), tmp_path / "out")
    path = packed(tmp_path, [("a", b"x")])
    content = bytearray(path.read_bytes())
    # The flag in the central directory, as encrypting programs set it.
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DownloadError, match="is encrypted"):
        unpack(path, tmp_path / "out")


def test_damaged_archive_is_incomplete(tmp_path: Path) -> None:
    """A wrong byte in a member, or the end cut off."""
    path = packed(tmp_path, [("a.csv", b"hello, hello")], zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"hello, hello", b"hello, jello"))
    with pytest.raises(DownloadIncomplete, match="damaged"):
        unpack(path, tmp_path / "out")
    path.write_bytes(whole[:-10])
    with pytest.raises(DownloadIncomplete, match="damaged"):
        unpack(path, tmp_path / "cut")


def test_large_archive_format_is_read(tmp_path: Path) -> None:
    """zip64, as archives beyond four gigabytes have it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, opened.open("a.csv", "w", force_zip64=True) as member:
        member.write(b"1\n")
    (tmp_path / "export.zip").write_bytes(buffer.getvalue())
    assert [member.size for member in unpack(tmp_path / "export.zip", tmp_path / "out")] == [2]


# -- gzip ----------------------------------------------------------------------------------------------------

ROWS = b"id,text\n" + b"".join(b"%d,row\n" % number for number in range(5000))


def manifest(world: World) -> dict[str, Any]:
    """What stands beside the files."""
    (path,) = world.destination.rglob("_export*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(
    "content",
    [
        gzip_of(ROWS),
        gzip_of(ROWS[:999]) + gzip_of(b"") + gzip_of(ROWS[999:]),
        gzip_of(ROWS) + bytes(512),
    ],
)
def test_gzip_file_lands_decompressed(world: World, content: bytes) -> None:
    """All of its members, under a name without the suffix."""
    world.add(content, "e-1.csv.gz", format="gz")
    assert world.one(unpack=True) == ROWS
    assert [name for name in world.visible if "_export" not in name] == ["e-1.csv"]
    assert manifest(world)["unpacked"] is True
    assert world.land(unpack=True)["files"][0]["name"] == "e-1.csv"
    assert world.hosts == 1


def test_gzip_file_lands_as_it_is_unless_asked_for(world: World) -> None:
    """Another wish lands it again, and nothing of the first is left."""
    world.add(gzip_of(ROWS), "e-1.csv.gz", format="gz")
    assert world.one() == gzip_of(ROWS)
    assert world.one(unpack=True) == ROWS
    assert [name for name in world.visible if "_export" not in name] == ["e-1.csv"]


def test_name_alone_makes_no_gzip_file(world: World) -> None:
    """Nor do the first bytes."""
    world.add(b"plain", "e-1.txt.gz")
    world.add(gzip_of(b"text"), "e-1.bin")
    world.land(unpack=True)
    assert (world.destination / "e-1.txt.gz").read_bytes() == b"plain"
    assert (world.destination / "e-1.bin").read_bytes() == gzip_of(b"text")


def test_what_comes_out_has_a_name_of_its_own(world: World) -> None:
    """Two files of one export that would be called the same are told apart."""
    world.add(b"plain", "e-1.csv")
    world.add(gzip_of(b"was packed"), "e-1.csv.gz")
    world.land(unpack=True)
    assert (world.destination / "e-1.csv").read_bytes() == b"plain"
    assert (world.destination / "e-1-2.csv").read_bytes() == b"was packed"


def test_name_that_the_layout_gives(world: World) -> None:
    """It may lack the suffix that says gzip."""
    world.add(gzip_of(ROWS), "e-1.csv.gz")
    world.land(unpack=True, layout="rows-{position}")
    assert (world.destination / "rows-1").read_bytes() == ROWS


def test_what_comes_out_replaces_nothing_of_others(world: World) -> None:
    """Its name is known only when it has come."""
    world.destination.mkdir()
    (world.destination / "rows.csv").write_text("mine")
    world.add(gzip_of(ROWS), "e-1.csv.gz")
    with pytest.raises(DestinationTaken, match=r"rows\.csv"):
        world.land(unpack=True, layout="rows.csv{suffix}")
    assert world.visible == ["rows.csv"]
    assert (world.destination / "rows.csv").read_text() == "mine"


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c[:-9], lambda c: c[:-6] + b"\0" + c[-5:]])
@pytest.mark.parametrize("form", ["gz", None])
def test_damaged_gzip_file_is_incomplete(world: World, damage: Any, form: str | None) -> None:
    """Cut, or with a wrong checksum, whatever the vendor calls the format."""
    world.add(damage(gzip_of(ROWS)), "e-1.csv.gz", format=form)
    with pytest.raises(DownloadIncomplete):
        world.land(unpack=True)
    assert world.visible == []


def test_gzip_bomb_is_refused(world: World) -> None:
    """At two hundred times its size."""
    world.add(gzip_of(bytes(300 * 1024 * 1024)), "e-1.csv.gz")
    with pytest.raises(DownloadError, match="200 times its size"):
        world.land(unpack=True)
    assert world.visible == []


def test_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the worker's, not the destination's."""
    (tmp_path / "e-1.csv.gz").write_bytes(gzip_of(ROWS))

    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DownloadError, match="no space left"):
        archives.decompress(tmp_path / "e-1.csv.gz", tmp_path / "e-1.csv")


# -- through the operators -----------------------------------------------------------------------------------

MEDABLE = {"task_id": "t", "objects": "c_visits", "format": "text/csv", "deferrable": False}


def test_unpacked_export_lands_as_its_members(simulator: Simulator, tmp_path: Path) -> None:  # noqa: F811
    """The archive's files lie in a folder of its name, the archive itself does not."""
    make = lambda: MedableRunExportOperator(**MEDABLE, destination=tmp_path.as_uri(), unpack=True)  # noqa: E731
    result = run(make)
    assert result["files"]
    for file in result["files"]:
        folder, _, name = file["name"].partition("/")
        assert folder == result["export_id"]
        assert name.endswith(".csv")
        content = (tmp_path / file["name"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert list(tmp_path.rglob("*.zip")) == []
    assert [path.read_bytes() for path in export_files(result)] == [
        (tmp_path / file["name"]).read_bytes() for file in result["files"]
    ]


def test_changed_mind_about_unpacking_lands_again(simulator: Simulator, tmp_path: Path) -> None:  # noqa: F811
    """An export that has landed as an archive has not landed unpacked."""
    export_id = run(lambda: MedableRunExportOperator(**MEDABLE))["export_id"]
    names = []
    for wanted in (False, True, True):
        task = DownloadExportOperator(
            task_id="d",
            conn_id="medable_default",
            export_id=export_id,
            destination=tmp_path.as_uri(),
            unpack=wanted,
        )
        names.append([file["name"] for file in run(lambda: task)["files"]])  # noqa: B023
    assert names[0] == [f"{export_id}.zip"]
    assert names[1] == names[2] != names[0]


def test_fault_at_the_end_of_the_rows_is_noticed(simulator: Simulator, tmp_path: Path) -> None:  # noqa: F811
    """Medable may end a stream of rows with a fault, inside an archive that is otherwise fine."""
    simulator.configure("medable", final_fault=True)
    task = {**MEDABLE, "format": "application/x-ndjson"}
    caught = error_of(lambda: MedableRunExportOperator(**task, destination=tmp_path.as_uri()))
    assert type(caught) is DownloadIncomplete
    assert "reports at its end" in str(caught)
    assert list(tmp_path.iterdir()) == []


def test_files_that_were_not_landed_are_none(simulator: Simulator) -> None:  # noqa: F811
    """Without a destination there is nothing to open, which is said."""
    result = run(lambda: MewsRunExportOperator(task_id="t", entity_type="Payment", deferrable=False))
    with pytest.raises(ValueError, match="give the task a destination"):
        export_files(result)

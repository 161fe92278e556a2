"""All files appear together, the manifest last; nothing of others is touched; a failure leaves nothing."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_provider_exports.core.model import ExportFile, file_stem
from airflow_provider_exports.exceptions import DestinationTaken, DownloadError
from airflow_provider_exports.landing import target, transfer
from airflow_provider_exports.landing.manifest import LandedFile, Manifest, file_name
from tests.landing.conftest import BODY, SIZE, World
from tests.landing.faults import Content, FaultServer
from tests.landing.test_transfer import GOOD, always

FOLDER = "{vendor}/{export_id}/{name}"
OWNER = "dag/run/task/-1"


@pytest.fixture
def three(world: World) -> World:
    """An export of three files."""
    for text in (b"one", b"two", b"three"):
        world.add(text)
    return world


def another(world: World, *texts: bytes, export_id: str = "e-2") -> None:
    """Make it an export with another id."""
    world.export = replace(world.export, export_id=export_id, files=())
    for number, text in enumerate(texts):
        world.add(text, f"{export_id}-{number}.bin")


def manifest_of(**changes: Any) -> bytes:
    """Return a manifest that is not right."""
    good = {
        "version": 1,
        "files": [],
        "vendor": "files",
        "export_id": "e-1",
        "identity": "e-1",
        "owner": None,
    }
    return json.dumps(good | changes).encode()


# -- manifest ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["{name}", FOLDER])
def test_manifest_is_written_last(three: World, monkeypatch: pytest.MonkeyPatch, layout: str) -> None:
    """Where it stands, all that it names is there."""
    move, seen = os.replace, []
    (three.destination / "files/e-1").mkdir(parents=True)
    (three.destination / "files/e-1/of-somebody").touch()

    def watched(source: Any, place: Any) -> None:
        if ".state" not in str(place):
            seen.append(Path(place).name)
        move(source, place)

    monkeypatch.setattr(target.os, "replace", watched)
    landed = three.land(layout=layout)
    assert len(seen) == 4
    assert seen[-1].startswith("_export")
    (path,) = three.destination.rglob("_export*.json")
    manifest = Manifest.from_json(path.read_bytes())
    assert manifest is not None
    assert [file.name for file in manifest.files] == [file["name"] for file in landed["files"]] == seen[:-1]


def test_second_time_asks_for_nothing(three: World) -> None:
    """It has landed, and all of it is there."""
    first = three.land()
    three.server.close()
    assert three.land() == first
    assert (three.hosts, three.reads) == (1, 0)


def test_payload_and_owner_are_told(three: World) -> None:
    """And no link is."""
    three.land(owner=OWNER, payload={"b": 1, "a": 2})
    (path,) = three.destination.glob("_export*.json")
    raw = json.loads(path.read_text())
    assert (raw["owner"], raw["payload"], raw["version"]) == (OWNER, {"b": 1, "a": 2}, 1)
    assert "http" not in path.read_text()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("longer one")])
@pytest.mark.parametrize("layout", ["{name}", FOLDER])
def test_missing_and_damaged_files_land_again(three: World, damage: Any, layout: str) -> None:
    """The manifest alone is no proof."""
    three.land(layout=layout)
    (path,) = three.destination.rglob("e-1-1.bin")
    damage(path)
    three.land(layout=layout)
    assert path.read_bytes() == b"two"
    assert three.hosts == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"version": 2}',
        b'{"version": 1, "files": 5}',
        manifest_of(files=[{"name": 5, "size": 1, "sha256": ""}]),
        manifest_of(files=[{"name": "../../x", "size": 1, "sha256": ""}]),
        manifest_of(identity=["e-1"]),
        manifest_of(files=[{"name": "x"}]),
        b'{"version": 1, "files": [], "what": 1}',
    ],
)
def test_garbage_is_no_manifest(three: World, content: bytes) -> None:
    """It is replaced by a good one."""
    assert Manifest.from_json(content) is None
    folder = three.destination / "files" / "e-1"
    folder.mkdir(parents=True)
    (folder / "_export.json").write_bytes(content)
    three.land(layout=FOLDER)
    assert Manifest.from_json((folder / "_export.json").read_bytes()) is not None
    assert three.hosts == 1


def test_manifest_of_a_later_version_is_not_trusted(three: World) -> None:
    """Nobody knows what it means."""
    three.land(layout=FOLDER)
    path = three.destination / "files/e-1/_export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    three.land(layout=FOLDER)
    assert three.hosts == 2


def test_hostile_manifest_removes_nothing(three: World) -> None:
    """Names in it that lead elsewhere make it no manifest."""
    outside = three.destination.parent / "outside"
    outside.write_text("mine")
    three.land(layout="data/{name}", owner=OWNER)
    (path,) = (three.destination / "data").glob("_export*.json")
    raw = json.loads(path.read_text())
    raw["files"].append({"name": "../../outside", "size": 4, "sha256": ""})
    path.write_text(json.dumps(raw))
    another(three, b"new")
    three.land(layout="data/{name}", owner=OWNER)
    assert outside.read_text() == "mine"


# -- others --------------------------------------------------------------------------------------------------


def test_another_owner(three: World) -> None:
    """What lies there is somebody else's; nothing is transferred."""
    three.land(layout="data/same{suffix}-{position}", owner=OWNER)
    before = {path: path.read_bytes() for path in three.destination.rglob("*") if path.is_file()}
    another(three, b"x")
    with pytest.raises(DestinationTaken):
        three.land(layout="data/same{suffix}-{position}", owner="dag/run/other/-1")
    assert {path: path.read_bytes() for path in three.destination.rglob("*") if path.is_file()} == before
    assert three.hosts == 1


@pytest.mark.parametrize("owner", [None, OWNER])
def test_file_of_nobody_we_know(three: World, owner: str | None) -> None:
    """It is not overwritten."""
    three.destination.mkdir()
    (three.destination / "data-2").write_text("mine")
    with pytest.raises(DestinationTaken, match="data-2"):
        three.land(layout="data-{position}", owner=owner)
    assert three.visible == ["data-2"]
    assert (three.destination / "data-2").read_text() == "mine"
    assert three.hosts == 0


def test_same_id_of_another_vendor(three: World) -> None:
    """Ids are not the same thing everywhere."""
    three.land(layout="{export_id}/{name}")
    three.export = replace(three.export, vendor="others")
    with pytest.raises(DestinationTaken):
        three.land(layout="{export_id}/{name}")
    assert three.hosts == 1


def test_next_export_of_the_same_owner(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the place of the one before, once it is there."""
    three.land(owner=OWNER)
    manifest = target.Manifest
    old = ["e-1-0.bin", "e-1-1.bin", "e-1-2.bin"]
    unlink, gone = Path.unlink, []

    def watched(path: Path, missing_ok: bool = False) -> None:
        if path.name in old:
            gone.append(path.name)
            # The new ones are there before the first old one goes.
            assert "e-2-0.bin" in three.visible
            (found,) = three.destination.glob("_export-*.json")
            now = manifest.from_json(found.read_bytes())
            assert now is not None
            assert now.export_id == "e-2"
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    another(three, b"new")
    three.land(owner=OWNER)
    assert sorted(gone) == old
    assert [name for name in three.visible if "_export" not in name] == ["e-2-0.bin"]


def test_next_export_under_the_same_names(three: World) -> None:
    """Three files make way for one."""
    layout = "part-{position}{suffix}"
    three.land(owner=OWNER, layout=layout)
    another(three, b"new")
    three.land(owner=OWNER, layout=layout)
    assert (three.destination / "part-1.bin").read_bytes() == b"new"
    assert [name for name in three.visible if "_export" not in name] == ["part-1.bin"]


def test_short_id_is_no_claim(three: World) -> None:
    """That it is a part of somebody's name does not make the file ours."""
    three.destination.mkdir()
    (three.destination / "part-1.bin").write_text("mine")
    three.export = replace(three.export, export_id="1")
    with pytest.raises(DestinationTaken, match=r"part-1\.bin"):
        three.land(layout="part-{position}{suffix}")
    assert (three.destination / "part-1.bin").read_text() == "mine"


@pytest.mark.parametrize("layout", ["{name}", FOLDER])
def test_ids_that_look_alike(world: World, layout: str) -> None:
    """Two exports whose ids make the same name share neither files nor folder nor manifest."""
    for export_id in ("a/b", "a_b", "a:b", "x" * 101, "x" * 102):
        stem = file_stem(export_id)
        world.export = replace(world.export, export_id=export_id, files=())
        world.add(export_id.encode(), f"{stem}-1.bin")
        world.land(layout=layout)
    assert {path.read_text() for path in world.destination.rglob("*.bin")} == {
        *("a/b", "a_b", "a:b"),
        *("x" * 101, "x" * 102),
    }
    assert len(list(world.destination.rglob("_export*.json"))) == 5


def test_same_id_of_another_vendor_is_staged_elsewhere(three: World) -> None:
    """What one has fetched is not taken for the other's, and both may land at once."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    where = ObjectStoragePath(three.destination.as_uri())
    one = target.open_target(where, "", "one", "e-1", "_export-1.json")
    two = target.open_target(where, "", "two", "e-1", "_export-2.json")
    with one.staged(fresh=False) as mine, two.staged(fresh=False) as theirs:
        assert mine != theirs


@pytest.mark.parametrize(("owner", "left"), [(OWNER, []), ("dag/run/other/-1", ["e-1-0.csv"])])
def test_same_export_in_another_form(world: World, owner: str, left: list[str]) -> None:
    """What the same task landed before goes; what another one did stays, as somebody may want to read it."""
    world.add(b"a\n1\n", "e-1-0.csv", format="csv")
    world.land(owner=OWNER, layout=FOLDER)
    world.land(owner=owner, layout=FOLDER, as_jsonl=True)
    folder = world.destination / "files/e-1"
    assert sorted(path.name for path in folder.iterdir()) == ["_export.json", *left, "e-1-0.jsonl"]


# -- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("layout", ["{name}", FOLDER])
def test_publishing_fails_in_the_middle(
    three: World, monkeypatch: pytest.MonkeyPatch, at: int, layout: str
) -> None:
    """In a folder that exists: nothing new is to be seen, and the next try works."""
    folder = three.destination / ("files/e-1" if layout == FOLDER else "")
    folder.mkdir(parents=True)
    (folder / "of-somebody").write_text("mine")
    move, moved = os.replace, 0

    def fails(source: Any, place: Any) -> None:
        nonlocal moved
        if ".state" in str(place):
            return move(source, place)
        if moved == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        moved += 1
        return move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(target.os, "replace", fails)
        with pytest.raises(DownloadError, match="Input/output"):
            three.land(layout=layout)
    assert [Path(name).name for name in three.visible] == ["of-somebody"]
    three.land(layout=layout)
    assert len(three.visible) == 5


SAME = "part-{position}{suffix}"


def content(world: World) -> dict[str, bytes]:
    """Return what an onlooker reads."""
    return {name: (world.destination / name).read_bytes() for name in world.visible}


@pytest.mark.parametrize("at", range(5))
def test_replacing_fails_in_the_middle(three: World, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The files that were to be replaced are back, with their manifest, and the next try works."""
    three.land(owner=OWNER, layout=SAME)
    before = content(three)
    another(three, b"new one", b"new two", b"new three", b"new four")
    move, moved = os.replace, 0

    def fails(source: Any, place: Any) -> None:
        nonlocal moved
        if ".state" not in str(place):
            if moved == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            moved += 1
        move(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(target.os, "replace", fails)
        with pytest.raises(DownloadError, match="Input/output"):
            three.land(owner=OWNER, layout=SAME)
    assert content(three) == before
    assert [path.name for path in three.destination.iterdir() if path.name.startswith(".")] == []
    three.land(owner=OWNER, layout=SAME)
    assert content(three)["part-4.bin"] == b"new four"


def fitting(world: World) -> bool:
    """Return whether the manifest that lies there, if one does, fits the files."""
    for path in world.destination.glob("_export*.json"):
        manifest = Manifest.from_json(path.read_bytes())
        assert manifest is not None
        for file in manifest.files:
            found = (world.destination / file.name).read_bytes()
            if hashlib.sha256(found).hexdigest() != file.sha256:
                return False
    return True


@pytest.mark.parametrize("at", range(1, 12))
@pytest.mark.parametrize("names", [SAME, "{name}"])
def test_worker_dies_while_it_replaces(three: World, at: int, names: str) -> None:
    """No manifest stands beside files that it does not fit, and the next export of the task lands."""
    three.land(owner=OWNER, layout=names)
    another(three, b"new one", b"two", b"new three", b"new four")
    child = os.fork()
    if child == 0:
        left = at

        def die(call: Any) -> Any:
            def counted(*given: Any, **options: Any) -> Any:
                nonlocal left
                if str(three.destination) in str(given[0]) and ".state" not in str(given):
                    left -= 1
                    if left == 0:
                        os._exit(9)
                return call(*given, **options)

            return counted

        for name in ("replace", "rename"):
            setattr(os, name, die(getattr(os, name)))
        try:
            three.land(owner=OWNER, layout=names)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert fitting(three)
    if at < 6:
        assert os.waitstatus_to_exitcode(status) == 9
    # Neither the export that was cut off nor the one before it is left.
    another(three, b"newest one", b"newest two", export_id="e-3")
    result = three.land(owner=OWNER, layout=names)
    assert fitting(three)
    assert three.visible[1:] == [file["name"] for file in result["files"]]
    assert [path.name for path in three.destination.iterdir() if path.name.endswith(".begun")] == []


def test_worker_dies_after_the_manifest(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try transfers nothing, and removes what was replaced."""
    three.land(owner=OWNER)
    another(three, b"new")
    with monkeypatch.context() as patch:
        patch.setattr(target.LocalTarget, "_remove", lambda *_: True)
        three.land(owner=OWNER)
    assert len(three.visible) == 5
    three.land(owner=OWNER)
    assert three.hosts == 2
    assert three.visible[1:] == ["e-2-0.bin"]


def test_what_readers_see_meanwhile(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right in the destination, whose folder cannot appear at once: whole files, then the manifest."""
    seen: list[list[str]] = []
    move = os.replace

    def watched(source: Any, place: Any) -> None:
        move(source, place)
        if ".state" not in str(place):
            assert {text for name, text in content(three).items() if "_export" not in name} <= {
                *(b"one", b"two", b"three")
            }
            seen.append(three.visible)

    monkeypatch.setattr(target.os, "replace", watched)
    three.land()
    assert [len(names) for names in seen] == [1, 2, 3, 4]
    assert ["_export" in names[0] for names in seen] == [False, False, False, True]


@pytest.mark.parametrize("layout", ["{name}", FOLDER])
def test_files_are_on_the_disk_before_the_manifest(
    three: World, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """A machine that loses its power keeps whole files beside a manifest, or has no manifest."""
    kept: list[str] = []
    sync, moves = os.fsync, {name: getattr(os, name) for name in ("replace", "rename")}

    def synced(descriptor: int) -> None:
        sync(descriptor)
        kept.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)

    def moved(name: str) -> Any:
        def move(source: Any, place: Any) -> None:
            moves[name](source, place)
            if Path(place).name.startswith("_export") or Path(place).name == "e-1":
                kept.append("shown")

        return move

    monkeypatch.setattr(target.os, "fsync", synced)
    for name in moves:
        monkeypatch.setattr(target.os, name, moved(name))
    three.land(layout=layout)
    (shown,) = [number for number, name in enumerate(kept) if name == "shown"]
    assert {"e-1-0.bin", "e-1-1.bin", "e-1-2.bin"} <= set(kept[:shown])
    assert any(name.startswith("_export") for name in kept[:shown])
    folder = "there" if layout == "{name}" else "files"
    assert kept[-1] == folder
    assert layout == FOLDER or folder in kept[:shown]


def test_disk_that_cannot_flush_folders(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems cannot: that is no reason not to land."""

    def cannot(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(target.os, "fsync", cannot)
    assert len(three.land()["files"]) == 3


def test_publishing_a_new_folder_fails(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It appears at once or not at all."""

    def fails(*_: Any) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(target.os, "rename", fails)
        with pytest.raises(DownloadError, match="Permission denied"):
            three.land(layout=FOLDER)
    assert three.visible == []
    three.land(layout=FOLDER)
    assert len(three.visible) == 4


@pytest.fixture
def store(three: World) -> Iterator[Any]:
    """A store in memory."""
    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach  # type: ignore[no-redef]
    import fsspec

    memory = fsspec.filesystem("memory")
    attach("memory", fs=memory)
    three.uri = "memory://bucket/there"
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


def test_store(three: World, store: Any) -> None:
    """The manifest comes last there as well, and a second time nothing is asked for."""
    three.land(owner=OWNER)
    assert three.land(owner=OWNER)["files"][1]["uri"].endswith("there/e-1-1.bin")
    assert three.hosts == 1
    another(three, b"new")
    three.land(owner=OWNER)
    assert [Path(path).name for path in sorted(store.find("/bucket")) if "_export" not in path] == [
        "e-2-0.bin"
    ]


# -- two at once ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["disk", "store"])
def two(request: pytest.FixtureRequest, server: FaultServer, tmp_path: Path) -> tuple[World, World]:
    """Exports of two tasks for the same folder, which exists."""
    found = tuple(World(server, tmp_path / "there") for _ in range(2))
    (tmp_path / "there").mkdir()
    (tmp_path / "there/of-somebody").touch()
    if request.param == "store":
        request.getfixturevalue("store")
    for number, world in enumerate(found):
        if request.param == "store":
            world.uri = "memory://bucket/there"
        world.export = replace(world.export, export_id=f"e-{number}")
        for position in range(3):
            path = f"/{number}-{position}"
            server.files[path] = Content(f"file {position} of task {number}".encode())
            file = ExportFile(f"e-{number}-{position}.bin", server.url + path)
            world.export = replace(world.export, files=(*world.export.files, file))
    return found  # type: ignore[return-value]


def lies(world: World) -> dict[str, bytes]:
    """Return all files but that of somebody, hidden ones too."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    path = ObjectStoragePath(world.uri or world.destination.as_uri())
    found = path.fs.find(path.path) if path.exists() else []
    return {Path(one).name: path.fs.cat_file(one) for one in found if "of-somebody" not in one}


def check_landed(world: World, number: int) -> None:
    """All that is there is of this task, and its manifest says so."""
    found = lies(world)
    (manifest,) = [Manifest.from_json(found.pop(name)) for name in list(found) if "_export" in name]
    assert manifest is not None
    assert manifest.owner == f"dag/run/{number}/-1"
    assert found == {
        f"part-{position + 1}.bin": f"file {position} of task {number}".encode() for position in range(3)
    }


def test_names_that_were_taken_meanwhile(two: tuple[World, World]) -> None:
    """Another task lands under the same names while ours are fetched: it keeps them, and we are told."""
    first, second = two
    path = "/0-0"
    serve, once = first.server.files[path], []

    def late(asked: Any) -> Any:
        if not once:
            once.append(second.land(layout=SAME, owner="dag/run/1/-1"))
        return serve(asked)

    first.server.files[path] = late
    with pytest.raises(DestinationTaken, match=r"part-1\.bin"):
        first.land(layout=SAME, owner="dag/run/0/-1")
    check_landed(first, 1)


def test_same_names_at_the_same_moment(two: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked, and both have said what they want: one lands, the other is told."""
    both = threading.Barrier(2)
    hold, waited = target.Target._hold, threading.local()

    def late(*arguments: Any) -> None:
        if not hasattr(waited, "done"):
            waited.done = both.wait(10)
        hold(*arguments)

    monkeypatch.setattr(target.Target, "_hold", late)
    errors: dict[int, DownloadError] = {}

    def land(number: int) -> None:
        try:
            two[number].land(layout=SAME, owner=f"dag/run/{number}/-1")
        except DownloadError as error:
            errors[number] = error

    threads = [threading.Thread(target=land, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ((number, error),) = errors.items()
    check_landed(two[0], 1 - number)
    assert "right now" in str(error)
    assert not error.permanent


def test_journal_of_another_task(two: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that has died, maybe: the error says what to do. What it does not want is free."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    world = two[0]
    monkeypatch.setattr(target, "_LOOK_SECONDS", 0)
    theirs = Manifest("files", "e-9", "e-9", "dag/run/9/-1", (LandedFile("part-2.bin", 1, ""),))
    place = ObjectStoragePath(world.uri or world.destination.as_uri()) / "._export-zz.json.begun"
    place.write_bytes(theirs.to_json())
    # An earlier try of ours has died as well, with files of which only its journal knows.
    ours = replace(theirs, owner="dag/run/0/-1", files=(LandedFile("old.bin", 1, ""),))
    own = place.parent / f".{file_name(ours.owner, '', alone=False)}.begun"
    own.write_bytes(ours.to_json())
    with pytest.raises(DownloadError, match=r"right now.*remove \._export-zz") as caught:
        world.land(layout=SAME, owner=ours.owner)
    assert not caught.value.permanent
    assert lies(world) == {place.name: theirs.to_json(), own.name: ours.to_json()}
    place.write_bytes(replace(theirs, files=(LandedFile("part-4.bin", 1, ""),)).to_json())
    world.land(layout=SAME, owner=ours.owner)
    place.unlink()
    check_landed(world, 0)


def test_failure_after_the_manifest_was_put(
    three: World, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted client may have sent all of it: it goes with the files that it names."""
    move = type(store).mv

    def shown(self: Any, old: str, new: str, **options: Any) -> None:
        move(self, old, new, **options)
        if Path(new).name.startswith("_export"):
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

    monkeypatch.setattr(type(store), "mv", shown)
    with pytest.raises(DownloadError, match="reset"):
        three.land()
    assert store.find("/bucket") == []


def test_folder_that_others_may_write_to_is_not_trusted(
    three: World, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who foretold the staging folder's name could put files of theirs in the place of ours."""
    monkeypatch.setattr(target.tempfile, "gettempdir", lambda: str(tmp_path))
    ours = tmp_path / f"airflow-exports-{os.getuid()}"
    ours.mkdir()
    ours.chmod(0o777)
    with pytest.raises(DownloadError, match="not a folder of this user alone"):
        three.land()
    ours.rmdir()
    ours.symlink_to(tmp_path)
    with pytest.raises(DownloadError, match="not a folder of this user alone"):
        three.land()
    ours.unlink()
    assert three.land()["files"]
    assert ours.stat().st_mode & 0o777 == 0o700


def break_off(patch: pytest.MonkeyPatch, store: Any, at: int) -> None:
    """Have the store take ``at`` files, and none after them."""
    put, numbers = type(store).put_file, itertools.count()

    def fails(self: Any, *paths: Any, **options: Any) -> Any:
        if next(numbers) >= at:
            raise OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return put(self, *paths, **options)

    patch.setattr(type(store), "put_file", fails)


@pytest.mark.parametrize("at", range(4))
def test_publishing_to_a_store_fails(
    three: World, store: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """What was put there already goes again."""
    with monkeypatch.context() as patch:
        break_off(patch, store, at)
        with pytest.raises(DownloadError, match="reset"):
            three.land()
    assert store.find("/bucket") == []
    three.land()
    assert len(store.find("/bucket")) == 4


@pytest.mark.parametrize("at", range(1, 6))
def test_replacing_in_a_store_fails(
    three: World, store: Any, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """No manifest stands beside files that it does not fit, and the next try needs no help."""
    three.land(owner=OWNER, layout=SAME)
    another(three, b"1", b"2")
    with monkeypatch.context() as patch:
        break_off(patch, store, at)
        if at < 4:
            with pytest.raises(DownloadError, match="reset"):
                three.land(owner=OWNER, layout=SAME)
            assert not any(Path(path).name.startswith("_export") for path in store.find("/bucket"))
        else:
            three.land(owner=OWNER, layout=SAME)
    three.land(owner=OWNER, layout=SAME)
    assert [Path(path).name for path in store.find("/bucket")][1:] == ["part-1.bin", "part-2.bin"]
    assert store.cat_file("/bucket/there/part-2.bin") == b"2"


def test_manifest_that_cannot_be_removed(three: World, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no file is replaced: it would not fit."""
    three.land(owner=OWNER, layout=SAME)
    another(three, b"1", b"2")

    remove = type(store).rm_file

    def refused(self: Any, path: str) -> None:
        if Path(path).name.startswith("_export"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        remove(self, path)

    monkeypatch.setattr(type(store), "rm_file", refused)
    with pytest.raises(DownloadError, match="cannot be removed"):
        three.land(owner=OWNER, layout=SAME)
    assert store.cat_file("/bucket/there/part-1.bin") == b"one"


class Usage(NamedTuple):
    """What ``shutil.disk_usage`` returns."""

    total: int
    used: int
    free: int


def test_disk_without_room_is_told_before_the_transfer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The length is known from the headers."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(SIZE, 1, SIZE - 1))
    world.add(always(GOOD, pace=(4096, 0.01)))
    with pytest.raises(DownloadError, match="no space left"):
        world.land()
    assert world.server.sent < SIZE
    assert list(world.destination.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("connections", [1, 8])
def test_disk_that_fills_up(
    world: World, monkeypatch: pytest.MonkeyPatch, code: int, connections: int
) -> None:
    """In the middle: the error says so, and the room is given back."""
    world.settings["parallel_ranges"] = connections
    write = os.pwrite

    def fills(descriptor: int, data: memoryview, at: int) -> int:
        if at > SIZE // 2:
            raise OSError(code, os.strerror(code))
        return write(descriptor, data, at)

    monkeypatch.setattr(transfer.os, "pwrite", fills)
    world.add(lambda asked: GOOD(asked).but(pace=(16_384, 0.002)))
    with pytest.raises(DownloadError, match="no space left"):
        world.land()
    assert list(world.destination.iterdir()) == []


def test_destination_that_is_a_file(three: World) -> None:
    """It stays what it is."""
    three.destination.write_text("mine")
    with pytest.raises(DownloadError, match="cannot be written"):
        three.land()
    assert three.destination.read_text() == "mine"


def test_destination_below_a_dangling_link(three: World) -> None:
    """It is an error, not an endless wait."""
    three.destination.symlink_to(three.destination.parent / "gone")
    with pytest.raises(DownloadError, match="cannot be written"):
        three.land()


def test_destination_without_permission(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it."""
    make = Path.mkdir

    def refused(path: Path, *args: Any, **options: Any) -> None:
        if path.is_relative_to(three.destination):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        make(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DownloadError, match="there cannot be written to: Permission denied"):
        three.land()
    assert three.visible == []


def test_permissions_of_files(world: World) -> None:
    """As the connection says."""
    world.settings["file_mode"] = "600"
    world.add(Content(BODY))
    world.land(layout=FOLDER)
    (path,) = world.destination.rglob("e-1-0.bin")
    assert path.stat().st_mode & 0o777 == 0o600


def test_session_is_closed(three: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections do not stay open for as long as the worker lives."""
    import requests

    closed: list[requests.Session] = []
    monkeypatch.setattr(requests.Session, "close", lambda self: closed.append(self))
    three.land()
    assert len(closed) == 1


def test_landed_file_is_checked_when_read() -> None:
    """Only plain names and numbers are believed."""
    good = Manifest("files", "e-1", "e-1", None, (LandedFile("a.csv", 1, "00"),))
    assert Manifest.from_json(good.to_json()) == good
    for bad in ("", ".", "..", "a/../b", "/a", "a/", "a\0b"):
        manifest = replace(good, files=(LandedFile(bad, 1, "00"),))
        assert Manifest.from_json(manifest.to_json()) is None

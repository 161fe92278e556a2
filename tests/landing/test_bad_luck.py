"""What may go wrong between a host and a folder, from end to end: complete and equal, or one clear error."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import DownloadError, DownloadIncomplete, NotTheFile
from tests.landing.conftest import BODY, SIZE, World, check_digest
from tests.landing.faults import Answer, Asked, Content, gzip_of, gzipped
from tests.landing.test_names import HOSTILE
from tests.landing.test_resume import break_off
from tests.landing.test_transfer import GOOD, PLAIN, TENTHS, always, fails, fresh_link, once, refuse

PAGE = Answer(b"<!doctype html><title>Sign in</title>", headers={"Content-Type": "text/html"})
NOISE = random.Random(3).randbytes(200_000)
MEMBERS = gzip_of(NOISE) + gzip_of(NOISE)


# -- the rest of a file that is not the rest -----------------------------------------------------------------


def of_rest(answer: Any) -> Any:
    """Serve half of the file, and what ``answer`` makes of the rest."""

    def host(asked: Asked) -> Answer:
        if asked.range is None:
            return GOOD(asked).but(cut=TENTHS[4] if asked.number == 0 else None)
        made: Answer = answer(asked)
        return made

    return host


def ranged(asked: Asked, said: str, body: bytes) -> Answer:
    """Answer with a Content-Range as it is said."""
    return Answer(body, 206, {"ETag": '"v1"', "Content-Range": said})


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: ranged(asked, f"bytes {TENTHS[4]}-{SIZE - 1}/{SIZE + 1}", BODY[TENTHS[4] :]),
        lambda asked: ranged(asked, f"bytes {TENTHS[4]}-{SIZE - 2}/{SIZE}", BODY[TENTHS[4] : -1]),
        lambda asked: ranged(asked, f"bytes {TENTHS[4]}-{SIZE}/{SIZE}", BODY[TENTHS[4] :]),
        lambda asked: ranged(asked, f"bytes {TENTHS[4]}-{SIZE - 1}/*", BODY[TENTHS[4] :]),
        lambda asked: ranged(asked, f"bytes {TENTHS[4] + 1}-{SIZE - 1}/{SIZE}", BODY[TENTHS[4] + 1 :]),
        lambda asked: ranged(asked, "bytes */*", BODY[TENTHS[4] :]),
        lambda asked: ranged(asked, "", BODY[TENTHS[4] :]),
        lambda asked: ranged(asked, f"bytes {TENTHS[4]}-{SIZE - 1}/{SIZE}", BODY[TENTHS[4] :] + b"more"),
        lambda asked: PAGE,
    ],
    ids=["total", "last", "beyond", "no-total", "first", "stars", "empty", "more", "page"],
)
def test_rest_that_is_not_what_was_asked_for(world: World, answer: Any) -> None:
    """The file lands nevertheless, from its first byte where need be."""
    world.add(of_rest(answer))
    assert world.one() == BODY


def test_page_for_ever_in_place_of_the_rest(world: World) -> None:
    """The session at the host has ended: it says so in HTML, with status 200."""
    world.add(once(lambda asked: GOOD(asked) if asked.number == 0 else PAGE, cut=TENTHS[4]))
    fails(world, NotTheFile, "HTML")


@pytest.mark.parametrize("cut", [None, TENTHS[1], 5])
def test_body_in_an_encoding(world: World, cut: int | None) -> None:
    """Whole or cut it is refused: of a cut one no client would say so."""
    path = world.add(lambda asked: gzipped(PLAIN(asked)).but(cut=cut))
    fails(world, DownloadError, "gzip")
    assert len(world.server.of(path)) == 1


# -- bodies that end when the connection does ----------------------------------------------------------------


def zipped(*members: bytes) -> bytes:
    """Return an archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for number, member in enumerate(members):
            made.writestr(f"{number}.csv", member)
    return stream.getvalue()


ENDING = {
    "gz": gzip_of(NOISE),
    "zip": zipped(NOISE),
    "jsonl": b'{"a": "%s"}\n' % NOISE.hex().encode(),
}


@pytest.mark.parametrize("tenth", range(1, 10))
@pytest.mark.parametrize("form", ENDING)
def test_cut_body_without_length_is_seen_by_its_format(world: World, form: str, tenth: int) -> None:
    """Nobody announced its size; the next try gets all of it."""
    content = ENDING[form]
    cut = len(content) * tenth // 10
    world.add(once(always(Content(content, None, False), length=False), cut=cut), f"a.{form}", format=form)
    fails(world, DownloadIncomplete, r"a\.")
    assert world.one() == content


@pytest.mark.parametrize("cut", [len(MEMBERS) // 2 + 5, len(MEMBERS) * 3 // 4, len(MEMBERS) - 1])
def test_gzip_of_two_members(world: World, cut: int) -> None:
    """Cut in the second one it is not whole, whatever the first one says."""
    world.add(once(always(Content(MEMBERS, None, False), length=False), cut=cut), "a.gz", format="gz")
    fails(world, DownloadIncomplete, "too early")
    assert world.one() == MEMBERS


# -- names and archives --------------------------------------------------------------------------------------


def test_hostile_names_land_below_the_destination(world: World, tmp_path: Path) -> None:
    """Each file under one plain name of its own, and nothing beside the destination."""
    for number, name in enumerate(HOSTILE):
        world.add(b"%d" % number, name or " ")
    before = sorted(tmp_path.iterdir())
    landed = world.land()["files"]
    for number, said in enumerate(landed):
        check_digest(said, (world.destination / said["name"]).read_bytes())
        assert (world.destination / said["name"]).read_bytes() == b"%d" % number
    assert len(world.visible) == len(HOSTILE) + 1
    assert sorted(tmp_path.iterdir()) == [*before, world.destination]


def test_zip_bomb_leaves_nothing(world: World) -> None:
    """The archive itself may land; taken apart it is one error."""
    bomb = zipped(bytes(300_000_000))
    world.add(bomb, "a.zip", format="zip")
    with pytest.raises(DownloadError, match=r"a\.zip.* times its size"):
        world.land(unpack=True)
    assert list(world.destination.iterdir()) == []
    assert world.one() == bomb


# -- links ---------------------------------------------------------------------------------------------------


def test_dead_link_when_another_try_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The link of the second try has died as well, before its first byte: a third one brings the rest."""
    path = world.add(refuse(GOOD, range(1, 2), 403))
    fresh_link(world, path)
    break_off(world, monkeypatch)
    assert world.one() == BODY
    assert world.reads == 1
    assert world.server.sent < SIZE
    assert world.server.of(path)[-1].range is not None


def test_link_that_dies_for_some_of_the_files(world: World) -> None:
    """What has come by then is not asked for again in this try."""
    paths = [world.add(GOOD if number < 3 else refuse(GOOD, range(1), 410)) for number in range(6)]

    def read(export: Export) -> Export:
        files = [replace(file, url=f"{file.url}?again") for file in export.files]
        return replace(export, files=tuple(files))

    world.on_read = read
    assert [said["size"] for said in world.land()["files"]] == [SIZE] * 6
    assert [len(world.server.of(path)) for path in paths[:3]] == [1, 1, 1]


# -- workers that die ----------------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
import tests.conftest
from airflow_provider_exports.landing import target
from tests.landing.conftest import World
from tests.landing.faults import FaultServer
moves = 0
def watched(move):
    def moved(source, place):
        global moves
        moves += 1
        if moves > int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        move(source, place)
    return moved
publish = target.LocalTarget.publish
def begin(*arguments):
    target.os.replace, target.os.rename = watched(os.replace), watched(os.rename)
    publish(*arguments)
target.LocalTarget.publish = begin
world = World(FaultServer(), Path(sys.argv[2]))
for number, text in enumerate((b"one", b"two", b"three")):
    world.add(text)
world.land(layout=sys.argv[3])
"""


@pytest.mark.parametrize(
    ("moved", "layout"),
    [(0, "{name}"), (2, "{name}"), (3, "{name}"), (2, "{vendor}/{export_id}/{name}")],
)
def test_worker_killed_while_it_publishes(world: World, moved: int, layout: str) -> None:
    """In a folder that exists: there is no manifest then, and the next try completes it."""
    folder = world.destination / ("files/e-1" if "/" in layout else "")
    folder.mkdir(parents=True)
    (folder / "of-somebody").write_text("mine")
    command = [sys.executable, "-c", KILLED, str(moved), str(world.destination), layout]
    died = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=False
    )
    assert died.returncode == -9, died.stderr[-2000:]
    assert [name for name in world.visible if Path(name).name.startswith("_export")] == []
    for text in (b"one", b"two", b"three"):
        world.add(text)
    for said, text in zip(world.land(layout=layout)["files"], (b"one", b"two", b"three"), strict=True):
        check_digest(said, text)
        assert (folder / said["name"]).read_bytes() == text
    assert len(world.visible) == 5
    assert (folder / "of-somebody").read_text() == "mine"

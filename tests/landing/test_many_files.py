"""Exports of hundreds and thousands of files: all of them under their own names, or none."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import DownloadError
from airflow_provider_exports.landing import fetch
from tests.landing.conftest import World, check_digest
from tests.landing.faults import Answer, Asked, Content, Handler
from tests.landing.test_target import store as store
from tests.landing.test_target import three as three
from tests.landing.test_transfer import fails

COUNT = 600


@pytest.fixture(autouse=True)
def _look_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at hundreds of transfers as often as in earnest."""
    monkeypatch.setattr(fetch, "_TICK", 0.25)


def content(number: int) -> bytes:
    """Return what a file holds; no two hold the same."""
    return b"%d," % number * (300 + number % 7)


def at_first(handler: Handler, answer: Answer) -> Handler:
    """Give the first who asks something else."""
    return lambda asked: answer if asked.number == 0 else handler(asked)


def check(world: World, landed: Sequence[dict[str, Any]]) -> None:
    """Compare every file with what its host holds."""
    assert len({said["name"] for said in landed}) == len(landed)
    for number, said in enumerate(landed):
        check_digest(said, content(number))
        assert (world.destination / said["name"]).read_bytes() == content(number)
    assert len(world.visible) == len(landed) + 1


def test_every_fifth_file_goes_wrong_at_first(world: World, pauses: list[float]) -> None:
    """In another way each time; every file lands, and none is asked for more often than need be."""
    world.settings["parallel_files"] = 8
    paths = []
    for number in range(COUNT):
        good = Content(content(number))
        faults = [
            Answer(b"no", 503),
            Answer(b"no", 403),
            Answer(b"no", 429, {"Retry-After": "1"}),
            good(Asked("", {}, 0)).but(cut=500),
            good(Asked("", {}, 0)).but(cut=0, reset=True),
        ]
        fault = faults[number // 5 % len(faults)] if number % 5 == 0 else None
        paths.append(world.add(good if fault is None else at_first(good, fault)))
    check(world, world.land()["files"])
    assert {len(world.server.of(path)) for path in paths[1::5]} == {1}
    assert {len(world.server.of(path)) for path in paths[::5]} == {2}


def test_all_links_die_in_the_middle(world: World) -> None:
    """The vendor is asked for fresh ones once, not for each file."""
    world.settings["parallel_files"] = 4
    dead = COUNT // 2

    def until_dead(good: Content) -> Handler:
        return lambda asked: good(asked) if len(world.server.asked) <= dead else Answer(b"no", 403)

    for number in range(COUNT):
        path = world.add(until_dead(Content(content(number))))
        world.server.files[f"/new{path}"] = Content(content(number))

    def read(export: Export) -> Export:
        urls = [file.url.replace(world.server.url, f"{world.server.url}/new") for file in export.files]
        return replace(
            export, files=tuple(replace(file, url=url) for file, url in zip(export.files, urls, strict=True))
        )

    world.on_read = read
    check(world, world.land()["files"])
    assert world.reads == 1


def test_last_of_many_cannot_be_had(world: World) -> None:
    """None of the others is to be seen; the next try lands all."""
    for number in range(COUNT - 1):
        world.add(content(number))
    path = world.add(lambda _: Answer(b"", 418))
    fails(world, DownloadError, "418")
    world.server.files[path] = Content(content(COUNT - 1))
    check(world, world.land()["files"])


def test_equal_names(world: World) -> None:
    """A vendor may call all of them the same."""
    for number in range(COUNT):
        world.add(content(number), "Rows.csv" if number % 2 else "rows.csv")
    check(world, world.land()["files"])


def test_a_thousand_files_in_a_store(world: World, three: World, store: Any) -> None:
    """The manifest names all of them; a second time nothing is asked for."""
    world.export = replace(world.export, files=())
    for number in range(1000):
        world.add(b"%d" % number)
    landed = world.land()["files"]
    found = {path.rpartition("/")[2]: store.cat_file(path) for path in store.find("/bucket")}
    assert [found[said["name"]] for said in landed] == [b"%d" % number for number in range(1000)]
    assert len(found) == 1001
    asked = len(world.server.asked)
    assert world.land()["files"] == landed
    assert len(world.server.asked) == asked


def test_five_thousand_files_in_an_archive(world: World) -> None:
    """They are taken apart into a folder of the archive's name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for number in range(5000):
            made.writestr(f"{number % 50}/{number}.csv", b"%d" % number)
    world.add(stream.getvalue(), "rows.zip", format="zip")
    landed = world.land(unpack=True)["files"]
    assert len(landed) == 5000
    assert (world.destination / "rows/21/4321.csv").read_bytes() == b"4321"
    assert len(world.visible) == 5001

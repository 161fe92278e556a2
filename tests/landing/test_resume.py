"""A try goes on where the last one stopped, and only where that is safe."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.exceptions import DownloadError, DownloadIncomplete
from airflow_provider_exports.landing import fetch, transfer
from airflow_provider_exports.landing.target import LocalTarget
from tests.landing.conftest import BODY, SIZE, World, check_digest
from tests.landing.faults import Answer, Content
from tests.landing.test_transfer import GOOD, PLAIN, TENTHS

HALF = SIZE // 2


def break_off(world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None) -> None:
    """Land half of the file, then die of something that is not foreseen."""
    write = os.pwrite

    def dies(descriptor: int, data: memoryview, at: int) -> int:
        if at >= HALF:
            raise error or MemoryError
        return write(descriptor, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(transfer.os, "pwrite", dies)
        with pytest.raises(type(error) if error else MemoryError):
            world.land()
    assert world.visible == []
    world.server.sent = 0


def state_of(world: World) -> Path:
    """Return the file that says how far it came."""
    (found,) = [path for path in world.staging.rglob("*") if path.name.endswith(".state")]
    return found


@pytest.mark.parametrize("error", [None, SystemExit(), KeyboardInterrupt(), OSError(5, "Input/output error")])
def test_next_try_fetches_the_rest(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    """Whatever it died of."""
    world.add(GOOD)
    if isinstance(error, OSError):
        with pytest.raises(DownloadError, match="Input/output"):
            break_off(world, monkeypatch, error)
        world.server.sent = 0
    else:
        break_off(world, monkeypatch, error)
    assert world.one() == BODY
    # What was under way when it died counts for the first try.
    assert world.server.sent <= SIZE - HALF + 16 * 1024
    assert not world.staging.exists()


def test_next_try_takes_up_all_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are holes between them."""
    world.settings["parallel_ranges"] = 8
    world.add(lambda asked: GOOD(asked).but(pace=(4096, 0.003)))
    break_off(world, monkeypatch)
    parts = json.loads(state_of(world).read_text())["parts"]
    assert len(parts) > 1
    assert world.one() == BODY
    assert world.server.sent <= SIZE - sum(at - begin for begin, at, _ in parts) + 8 * 65536


def test_without_tag_there_is_nothing_to_take_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try starts over."""
    world.add(PLAIN)
    break_off(world, monkeypatch)
    assert not world.staging.exists()
    assert world.one() == BODY
    assert world.server.sent == SIZE


def test_another_version_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the old one is of no use."""
    path = world.add(GOOD)
    break_off(world, monkeypatch)
    world.server.files[path] = new = Content(bytes(reversed(BODY)), '"v2"')
    assert world.one() == new.body


def lies(**changes: Any) -> Callable[[dict[str, Any]], str]:
    """Return a state in which something is not so."""
    return lambda state: json.dumps(state | changes)


@pytest.mark.parametrize(
    "lie",
    [
        lies(boot="00000000-0000-0000-0000-000000000000"),
        lies(boot=""),
        lies(parts=[[0, SIZE, SIZE]]),
        lies(parts=[[0, 10, 10]]),
        lies(parts=[[10, 10, SIZE]]),
        lies(parts=[[0, 10, 100], [200, 200, SIZE]]),
        lies(parts=[[0, 100, 100], [50, 60, SIZE]]),
        lies(parts=[[0, -5, SIZE]]),
        lies(parts=[[5, 0, SIZE]]),
        lies(parts=[]),
        lies(parts=[[0, 0, None]]),
        lies(parts=None),
        lies(total=SIZE - 1),
        lies(total=10**15, parts=[[0, 10**15, 10**15]]),
        lies(total="x"),
        lambda state: json.dumps(state)[:-9],
        lambda state: "",
        lambda state: "[]",
        lambda state: "[" * 100_000,
        lambda state: "null",
    ],
)
def test_state_that_lies(
    world: World, monkeypatch: pytest.MonkeyPatch, lie: Callable[[dict[str, Any]], str]
) -> None:
    """It is not believed: all is fetched again."""
    world.add(GOOD)
    break_off(world, monkeypatch)
    state_of(world).write_text(lie(json.loads(state_of(world).read_text())))
    assert world.one() == BODY
    assert world.server.sent == SIZE


def test_state_of_a_file_that_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody tidied up."""
    world.add(GOOD)
    break_off(world, monkeypatch)
    (world.staging / "files" / "e-1-0.bin").unlink()
    assert world.one() == BODY


def test_state_of_another_tag(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host says that it is another file."""
    world.add(GOOD)
    break_off(world, monkeypatch)
    state = json.loads(state_of(world).read_text())
    state_of(world).write_text(json.dumps(state | {"etag": '"v0"'}))
    assert world.one() == BODY


def test_damage_is_not_taken_up_for_ever(world: World) -> None:
    """A file that came whole and is broken inside is fetched anew by the next try."""
    path = world.add(Content(b"PK\x03\x04" + BODY), format="zip")
    with pytest.raises(DownloadIncomplete, match="damaged"):
        world.land()
    assert world.visible == []
    world.server.sent = 0
    world.server.files[path] = Content(b"PK\x05\x06" + bytes(18))
    world.one()
    assert world.server.sent == 22


def test_names_that_look_like_ours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may be called like what remembers how far another one came."""
    monkeypatch.setattr(transfer, "_SAVE_SECONDS", 0.0)
    world.settings["parallel_files"] = 8
    names = ["a", "a.state", "a.state.new", "lock", "_export.json", ".a.state"]
    for name in names:
        world.add(lambda asked: GOOD(asked).but(pace=(8192, 0.001)), name)
    landed = world.land()
    for said in landed["files"]:
        assert (world.destination / said["name"]).read_bytes() == BODY
    assert len(world.visible) == len(names) + 1


def test_leftovers_of_another_layout_stay_out_of_sight(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a file under its former name is not published with the others."""
    world.add(GOOD)
    break_off(world, monkeypatch)
    world.land(layout="{export_id}/part-{position}{suffix}")
    assert world.visible == ["e-1/_export.json", "e-1/part-1.bin"]
    assert [path.name for path in (world.destination / "e-1").iterdir() if path.name[0] == "."] == []


def first_try_fails(world: World) -> None:
    """Let one of two files come whole, and then the other one fail."""
    came = threading.Event()
    good, bad = "/0", "/1"
    handler = world.server.files[good]
    world.server.files[bad] = lambda _: Answer(b"", 418) if came.wait(10) else Answer()
    recognised = transfer.Transfer._checked

    def checked(self: transfer.Transfer, digests: dict[str, Any]) -> transfer.Fetched:
        fetched = recognised(self, digests)
        came.set()
        return fetched

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transfer.Transfer, "_checked", checked)
        with pytest.raises(DownloadError, match="418"):
            world.land()
    assert world.visible == []
    world.server.files[good], world.server.files[bad] = handler, GOOD
    world.server.sent = 0


def test_whole_file_is_not_fetched_again(world: World) -> None:
    """Another one failed: the host is asked for one byte, and says that it still is the same file."""
    path = world.add(GOOD)
    world.add(GOOD)
    first_try_fails(world)
    for said in world.land()["files"]:
        check_digest(said, BODY)
    assert world.server.sent == SIZE + 1
    assert world.server.of(path)[-1].headers["if-range"] == '"v1"'
    assert not world.staging.exists()


@pytest.mark.parametrize(
    ("details", "sent"),
    [
        ({}, 2 * SIZE),
        ({"size": SIZE}, SIZE),
        ({"md5": hashlib.md5(BODY, usedforsecurity=False).hexdigest()}, SIZE),
    ],
    ids=["nothing", "size", "md5"],
)
def test_whole_file_of_a_host_without_tags(world: World, details: dict[str, Any], sent: int) -> None:
    """It is used again only if the vendor says something of it that still fits."""
    world.add(PLAIN, **details)
    world.add(GOOD)
    first_try_fails(world)
    for said in world.land()["files"]:
        check_digest(said, BODY)
    assert world.server.sent == sent


def test_whole_file_of_which_there_is_another_version(world: World) -> None:
    """It is fetched."""
    path = world.add(GOOD)
    world.add(GOOD)
    first_try_fails(world)
    new = bytes(reversed(BODY))
    world.server.files[path] = Content(new, '"v2"')
    check_digest(world.land()["files"][0], new)


@pytest.mark.parametrize("change", [lambda old: old[:-1] + b"x", lambda old: old + b"x", lambda old: old[1:]])
def test_whole_file_that_was_changed_meanwhile(world: World, change: Callable[[bytes], bytes]) -> None:
    """What lies on the disk is hashed again, and it is not what came."""
    world.add(GOOD)
    world.add(GOOD)
    first_try_fails(world)
    left = world.staging / "files" / "e-1-0.bin"
    left.write_bytes(change(left.read_bytes()))
    check_digest(world.land()["files"][0], BODY)


def test_fetched_file_can_be_kept_when_it_cannot_be_published(tmp_path: Path, world: World) -> None:
    """Whoever publishes says so."""
    path = world.add(GOOD)
    export, host = world.export, world.host()
    log = logging.getLogger("tests.landing")
    for _ in range(2):
        links = fetch.Links(world.vendor, export, world.read)
        (fetched,) = fetch.fetch_all(host, links, export, ["a"], tmp_path, world.vendor, log)
        assert fetched.path.read_bytes() == BODY
        assert not (tmp_path / ".a.state").exists()
        fetched.keep()
    host.close()
    assert [asked.range for asked in world.server.of(path)] == [None, (SIZE - 1, SIZE)]


def test_what_could_not_be_published_is_not_fetched_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store had a bad moment after the last byte had come."""
    path = world.add(GOOD)
    publish = LocalTarget.publish

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(LocalTarget, "publish", broken)
    with pytest.raises(DownloadError, match="Input/output error"):
        world.land()
    monkeypatch.setattr(LocalTarget, "publish", publish)
    assert world.one() == BODY
    assert [asked.range for asked in world.server.of(path)] == [None, (SIZE - 1, SIZE)]


def test_killed_worker(world: World) -> None:
    """Nobody else lands it while it lives; nothing is to be seen; the next one goes on."""
    gate = threading.Event()
    path = world.add(lambda asked: GOOD(asked).but(gate=None), size=SIZE)
    world.server.files[path] = lambda asked: GOOD(asked).but(silent_at=TENTHS[6], pace=(40_000, 0))
    command = [sys.executable, "-m", "tests.landing.worker", world.server.url + path, str(SIZE)]
    worker = subprocess.Popen([*command, str(world.destination)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 30
        while world.server.sent < TENTHS[6] and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.1)
        assert worker.poll() is None
        assert world.visible == []
        with pytest.raises(DownloadError, match="another task is landing"):
            world.land()
        assert world.visible == []
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        gate.set()
    assert world.visible == []
    world.server.files[path] = GOOD
    world.server.sent = 0
    assert world.one() == BODY
    assert 0 < world.server.sent < SIZE - TENTHS[3]


def test_two_at_once(world: World) -> None:
    """One lands it, the others are told so; whoever comes later finds it."""
    gate = threading.Event()
    world.add(lambda asked: GOOD(asked).but(gate=gate))
    errors: list[BaseException] = []
    landed: list[dict[str, Any]] = []

    def one() -> None:
        try:
            landed.append(world.land())
        except DownloadError as error:
            errors.append(error)
            # Only now may the first one end.
            gate.set()

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(landed) == len(errors) == 1
    assert "another task is landing" in str(errors[0])
    assert world.one() == BODY
    assert world.hosts == 1


def test_lock_is_held_by_one(tmp_path: Path) -> None:
    """Also while folders come and go beneath the others."""
    from airflow_provider_exports.landing.target import _locked

    inside, most, wrong = 0, 0, []
    lock = threading.Lock()

    def often() -> None:
        nonlocal inside, most
        for _ in range(150):
            try:
                with _locked(tmp_path / "a" / "staging", fresh=False) as folder:
                    with lock:
                        inside += 1
                        most = max(most, inside)
                    (folder / "files" / "x").write_text("x")
                    if (folder / "files" / "x").read_text() != "x":
                        wrong.append("lost")
                    with lock:
                        inside -= 1
            except DownloadError:
                pass
            except OSError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (most, wrong) == (1, [])

"""A try goes on where the last one stopped, and only where that is safe."""

from __future__ import annotations

import json
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
from airflow_provider_exports.landing import transfer
from tests.landing.conftest import BODY, SIZE, World
from tests.landing.faults import Content
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

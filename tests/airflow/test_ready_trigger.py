"""The trigger for asset watchers: each export that becomes ready is told once."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.hooks.giosg import GiosgHook
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.triggers import ready as module
from airflow_provider_exports.triggers.ready import ExportReadyTrigger
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")


class Store:
    """What Airflow 3.3 gives to a watcher's trigger."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def aget(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.dumps(value)


@pytest.fixture
def time(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Virtual time for the trigger's pauses."""

    async def sleep(seconds: float) -> None:
        simulator.advance(seconds)
        await asyncio.sleep(0)

    virtual = SimpleNamespace(sleep=sleep, to_thread=asyncio.to_thread)
    monkeypatch.setattr(module, "asyncio", virtual)
    return simulator


def events(count: int, store: Store | None = None, **arguments: Any) -> list[dict[str, Any]]:
    """Return the first events of a trigger that was rebuilt from its serialised form."""
    _, kwargs = ExportReadyTrigger("giosg_default", "giosg", **arguments).serialize()
    trigger = ExportReadyTrigger(**json.loads(json.dumps(kwargs)))
    trigger.asset_state_store = store

    async def first() -> list[Any]:
        found: list[Any] = []
        stream = trigger.run()
        async for event in stream:
            found.append(event.payload)
            if len(found) == count:
                break
        await stream.aclose()
        return found

    return asyncio.run(asyncio.wait_for(first(), 60))


def create(simulator: Simulator, day: int) -> str:
    payload = {
        "room_id": simulator.rooms()[0]["id"],
        "type": "logs",
        "format": "csv",
        "starting_at": f"2026-01-{day:02d}",
        "ending_at": f"2026-01-{day + 1:02d}",
    }
    return GiosgHook().create_export(payload).export_id


def test_export_that_becomes_ready_is_told(time: Simulator) -> None:
    """Not what was ready before, and no link."""
    time.configure("giosg", ready_after_seconds=2000)
    before = create(time, 1)
    time.advance(3000)
    wanted = create(time, 5)
    (told,) = events(1, poll_interval=300)
    assert (told["vendor"], told["export_id"]) == ("giosg", wanted)
    assert before != wanted
    assert "http" not in json.dumps(told)


def test_restart_neither_forgets_nor_repeats(time: Simulator) -> None:
    """What became ready while no triggerer ran is told, in the order of creation, and nothing twice."""
    time.configure("giosg", ready_after_seconds=100)
    store = Store()
    asyncio.run(store.aset("seen", []))
    first = create(time, 1)
    assert [told["export_id"] for told in events(1, store)] == [first]
    later = [create(time, 5), create(time, 9)]
    time.advance(1000)
    # The one that was told last before the end may be told again: nobody knows whether it was heard.
    assert [told["export_id"] for told in events(3, store)] == [first, *later]
    asyncio.run(store.aset("seen", [first, later[0]]))
    assert [told["export_id"] for told in events(1, store)] == later[1:]


def test_store_that_does_not_answer_at_once_is_asked_again(time: Simulator) -> None:
    """Else all that became ready while no triggerer ran would count as old."""
    time.configure("giosg", ready_after_seconds=100)
    wanted = create(time, 1)
    time.advance(1000)

    class Restarting(Store):
        left = 2

        async def aget(self, key: str, default: Any = None) -> Any:
            self.left -= 1
            if self.left >= 0:
                raise ConnectionError("the API server restarts")
            return await super().aget(key, default)

    store = Restarting()
    asyncio.run(store.aset("seen", []))
    assert [told["export_id"] for told in events(1, store)] == [wanted]


def test_vendor_that_is_not_well_is_asked_less_often(time: Simulator, connect: Connect) -> None:
    """The watcher never ends by itself: nobody would start it again."""
    connect("giosg", retry_attempts=1)
    time.configure("giosg", ready_after_seconds=10)
    store = Store()
    asyncio.run(store.aset("seen", []))
    wanted = create(time, 1)
    time.fail_next("giosg", "list", fault="503", times=4)
    began = time.now()
    assert [told["export_id"] for told in events(1, store, poll_interval=60)] == [wanted]
    # 120 + 240 + 480 + 960 seconds.
    assert (time.now() - began).total_seconds() >= 1800


def test_who_looks_at_the_same_shares_the_looks() -> None:
    """The key is made of all that a look depends on."""
    keys = {
        ExportReadyTrigger("c", "giosg").shared_stream_key(),
        ExportReadyTrigger("c", "giosg").shared_stream_key(),
        ExportReadyTrigger("c", "giosg", "e1").shared_stream_key(),
        ExportReadyTrigger("d", "giosg").shared_stream_key(),
        ExportReadyTrigger("c", "giosg", poll_interval=5).shared_stream_key(),
    }
    assert len(keys) == 4


def test_watcher_outlives_a_connection_that_is_gone(time: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks again, later and later, and goes on when the connection is back."""
    time.configure("giosg", ready_after_seconds=10)
    store = Store()
    asyncio.run(store.aset("seen", []))
    wanted = create(time, 1)
    get = ExportHook.aget_vendor
    looks = [0]

    async def sometimes(hook: ExportHook) -> Any:
        looks[0] += 1
        if looks[0] < 20:
            raise LookupError("no such connection")
        return await get(hook)

    monkeypatch.setattr(ExportHook, "aget_vendor", sometimes)
    assert [told["export_id"] for told in events(1, store)] == [wanted]


def test_long_list_is_told_once(time: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """More are ready than are remembered of what is gone: none of them is told again."""
    monkeypatch.setattr(module, "MOST_SEEN", 2)
    time.configure("giosg", ready_after_seconds=10)
    before = []
    for day in range(1, 6):
        before.append(create(time, day))
        time.advance(100)
    store = Store()
    asyncio.run(store.aset("seen", before))
    wanted = create(time, 10)
    time.advance(100)
    trigger = ExportReadyTrigger("giosg_default", "giosg")
    trigger.asset_state_store = store

    async def three_looks() -> list[str]:
        told: list[str] = []
        looks = 0

        async def stream() -> Any:
            nonlocal looks
            async for found in ExportReadyTrigger.open_shared_stream(trigger.serialize()[1]):
                looks += 1
                if looks > 3:
                    return
                yield found

        async for event in trigger.filter_shared_stream(stream()):
            told.append(event.payload["export_id"])
        return told

    assert asyncio.run(three_looks()) == [wanted]

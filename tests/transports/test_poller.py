"""One poller for all who wait on a connection: how often it asks, in which way, and whom an error reaches."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar, TypeVar, cast

import pytest

from airflow_provider_exports.core import (
    Capability,
    ConnectionInfo,
    Export,
    ExportFile,
    ExportState,
    Flow,
    HeaderToken,
    NetworkError,
    PollRule,
    Request,
    Response,
    Room,
    Vendor,
    VendorSettings,
)
from airflow_provider_exports.core.turns import TURN_LASTS, Turn, Turns
from airflow_provider_exports.core.watch import Watch
from airflow_provider_exports.core.wire import Note, Now, Pause, Plan, PlanRunner
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportFailed,
    ExportTimedOut,
    InvalidConnection,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.testing.replay import ok
from airflow_provider_exports.transports import poller as module
from airflow_provider_exports.transports.poller import Poller, connected, shared

T = TypeVar("T")
START = 1_800_000_000.0


class World:
    """A vendor in memory, and virtual time: it goes on when everybody sleeps."""

    def __init__(self) -> None:
        self.now = START
        self.ready_at: dict[str, float] = {}
        self.requests: list[tuple[float, str, int]] = []
        self.refuse: Callable[[str, list[str]], Response | NetworkError | None] = lambda _op, _ids: None
        self.slow: Callable[[list[str]], float] = lambda _ids: 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + max(0.0, seconds), next(self._numbers), future))
        await future

    def run(self, *waits: Coroutine[Any, Any, Any]) -> list[Any]:
        """Return results and errors of coroutines that run together in virtual time."""

        async def together() -> list[Any]:
            everybody = asyncio.ensure_future(asyncio.gather(*waits, return_exceptions=True))
            while not everybody.done():
                for _ in range(20):
                    await asyncio.sleep(0)
                while self._sleepers and self._sleepers[0][2].done():
                    heapq.heappop(self._sleepers)
                if everybody.done():
                    break
                assert self._sleepers, "everybody waits for nothing"
                moment, _, future = heapq.heappop(self._sleepers)
                self.now = max(self.now, moment)
                future.set_result(None)
            return everybody.result()

        return asyncio.run(together())

    def rounds(self, operation: str) -> list[int]:
        """Return how many exports each request of an operation was about."""
        return [count for _, name, count in self.requests if name == operation]

    def state(self, export_id: str) -> dict[str, Any]:
        ready = self.now >= self.ready_at[export_id]
        return {"id": export_id, "state": "ready" if ready else "running", "created": START}

    def answer(self, request: Request) -> Response | NetworkError:
        operation = request.operation
        ids = (request.json or {}).get("ids") or [request.export_id] if operation != "list" else []
        self.requests.append((self.now, operation, len(ids)))
        refused = self.refuse(operation, ids)
        if refused is not None:
            return refused
        if operation == "list":
            return ok([self.state(one) for one in self.ready_at])
        if operation == "get":
            return ok(self.state(ids[0])) if ids[0] in self.ready_at else ok({}, 404)
        return ok([self.state(one) for one in ids if one in self.ready_at])


class Transport:
    """Stands in for aiohttp's."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.requests = 0

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def run(self, plan: Plan[T]) -> T:
        runner = PlanRunner(plan)
        while (step := runner.step) is not None:
            match step:
                case Request():
                    self.requests += 1
                    answer = self.world.answer(step)
                    await self.world.sleep(self.world.slow([step.export_id or ""]))
                    if isinstance(answer, NetworkError):
                        runner.throw(answer)
                    else:
                        runner.send(answer)
                case Pause(seconds):
                    await self.world.sleep(seconds)
                    runner.send(self.world.now)
                case Now():
                    runner.send(self.world.now)
                case Note():
                    runner.send(None)
        return runner.result


class Single(Vendor):
    """Reads one export at a time."""

    name = "single"
    display_name = "Single"
    default_host = "https://api.acme.example"
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    settings_class = VendorSettings

    def make_auth(self) -> HeaderToken:
        return HeaderToken(self.connection.password)

    def get(self, export_id: str) -> Flow[Export]:
        response = yield Request("GET", f"/exports/{export_id}", operation="get", export_id=export_id)
        return self.parse(response.json(), 0)

    def parse(self, raw: Any, now: float) -> Export:
        if "state" not in raw:
            raise UnexpectedResponse("no state.")
        created = datetime.fromtimestamp(raw["created"], UTC)
        return Export(self.name, raw["id"], ExportState(raw["state"]), raw["state"], created_at=created)


class Batch(Single):
    """Reads up to 1000 at once."""

    name = "batch"
    capabilities = frozenset({Capability.GET_MANY})
    max_batch = 1000

    def get_many(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
        response = yield Request("POST", "/exports/many", json={"ids": export_ids}, operation="many")
        return {raw["id"]: self.parse(raw, 0) for raw in response.json()}


class Listed(Single):
    """Lists all, with their states."""

    name = "listed"
    capabilities = frozenset({Capability.LIST})
    lists_states = True

    def list_exports(self) -> Flow[list[Export]]:
        response = yield Request("GET", "/exports", operation="list")
        return [self.parse(raw, 0) for raw in response.json()]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(module, "AsyncTransport", lambda *_, **__: Transport(made))
    return made


def poller(
    world: World, vendor: type[Vendor], queues: dict[str, Turns] | None = None, **extra: Any
) -> Poller:
    info = ConnectionInfo("c", password="s3same", extra=extra)
    return Poller(vendor(info), queues, clock=world.clock, sleep=world.sleep)


def waits(world: World, one: Poller, count: int, *, ready_after: float, **details: Any) -> list[Any]:
    """Return waits for so many exports that are ready at the same time."""
    ids = [f"e{number}" for number in range(count)]
    world.ready_at |= dict.fromkeys(ids, START + ready_after)
    log = logging.getLogger("waiter")
    return [one.wait(export_id, log, first_delay=10, **details) for export_id in ids]


def states(results: list[Any]) -> set[Any]:
    return {getattr(result, "state", type(result)) for result in results}


def test_thousand_exports_are_one_request(world: World) -> None:
    """A vendor that reads a thousand ids at once is asked once per round."""
    found = world.run(*waits(world, poller(world, Batch), 1000, ready_after=400))
    assert states(found) == {ExportState.READY}
    assert set(world.rounds("many")) == {1000}
    assert len(world.requests) <= 7


def test_more_than_a_request_takes(world: World) -> None:
    """2,500 exports are three requests."""
    found = world.run(*waits(world, poller(world, Batch), 2500, ready_after=5))
    assert states(found) == {ExportState.READY}
    assert world.rounds("many") == [1000, 1000, 500]


def test_list_takes_the_place_of_many_reads(world: World) -> None:
    """Only pages of the list are asked for, and nobody is read alone."""
    found = world.run(*waits(world, poller(world, Listed), 300, ready_after=100))
    assert states(found) == {ExportState.READY}
    assert world.rounds("get") == []
    assert len(world.rounds("list")) <= 4


def test_one_export_is_not_worth_a_list(world: World) -> None:
    """It is read by its id."""
    world.run(*waits(world, poller(world, Listed), 1, ready_after=100))
    assert world.rounds("list") == []


def test_many_tasks_may_wait_for_one_export(world: World) -> None:
    """It is read once for all of them, and no list is worth that."""
    one = poller(world, Listed)
    pending = [wait for _ in range(50) for wait in waits(world, one, 1, ready_after=0)]
    assert states(world.run(*pending)) == {ExportState.READY}
    assert world.rounds("list") == []
    assert len(world.rounds("get")) <= 10


def test_what_a_list_leaves_out_is_read_alone(world: World) -> None:
    """Older than was thought: the others come from the list."""
    one = poller(world, Listed)
    pending = waits(world, one, 50, ready_after=5)
    answer = world.answer

    def without_first(request: Request) -> Any:
        response = answer(request)
        if request.operation != "list":
            return response
        return ok([raw for raw in response.json() if raw["id"] != "e0"])  # type: ignore[union-attr]

    world.answer = without_first  # type: ignore[method-assign]
    assert states(world.run(*pending)) == {ExportState.READY}
    assert (world.rounds("list"), world.rounds("get")) == ([0], [1])


def test_single_reads_are_bounded(world: World) -> None:
    """Eight at a time, whoever waits: the vendor sees one client."""
    at_once = most = 0
    world.slow = lambda _: 5.0
    run = Transport.run

    async def counted(self: Transport, plan: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await run(self, plan)
        finally:
            at_once -= 1

    Transport.run = counted  # type: ignore[method-assign]
    try:
        found = world.run(*waits(world, poller(world, Single), 40, ready_after=0))
    finally:
        Transport.run = run  # type: ignore[method-assign]
    assert states(found) == {ExportState.READY}
    assert most == module.SINGLES_AT_ONCE


def test_one_unreadable_export_does_not_hide_the_others(world: World) -> None:
    """The batch is halved until it is alone; the others are told as soon as ever."""
    one = poller(world, Batch, max_poll_failures=2)
    pending = waits(world, one, 64, ready_after=0)
    world.refuse = lambda _op, ids: ok([{"id": "e5", "nothing": 1}]) if "e5" in ids else None
    found = world.run(*pending)
    assert type(found.pop(5)) is UnexpectedResponse
    assert states(found) == {ExportState.READY}


def test_refused_credentials_end_every_wait_with_one_request(world: World) -> None:
    """No look would help; nobody asks again."""
    world.refuse = lambda *_: ok({}, 401)
    found = world.run(*waits(world, poller(world, Batch), 500, ready_after=0))
    assert states(found) == {AuthenticationFailed}
    assert len(world.requests) == 1


def test_request_to_slow_down_counts_for_all(world: World) -> None:
    """Nobody asks before the time that one of them was told."""
    one = poller(world, Single)
    pending = waits(world, one, 30, ready_after=0)
    refused = iter([ok({}, 429, retry_after="600")])
    world.refuse = lambda *_: next(refused, None)
    assert states(world.run(*pending)) == {ExportState.READY}
    first, second, *_ = [moment for moment, _, _ in world.requests]
    assert second - first >= 600


def test_deadline_does_not_wait_for_a_vendor_that_wants_peace(world: World) -> None:
    """The pause that it asks for is longer than the wait may be."""
    world.refuse = lambda *_: ok({}, 429, retry_after="5000")
    (found,) = world.run(*waits(world, poller(world, Batch), 1, ready_after=0, deadline=START + 300))
    assert type(found) is ExportTimedOut
    assert START + 300 <= world.now < START + 310
    assert len(world.requests) == 1


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_hour_of_refusals(world: World, status: int) -> None:
    """As many requests as the rules say, for a thousand who wait."""
    headers = {"retry_after": "60"} if status == 429 else {}
    world.refuse = lambda *_: ok({}, status, **headers)
    world.run(*waits(world, poller(world, Batch), 1000, ready_after=0, deadline=START + 3600))
    assert len(world.requests) <= {401: 1, 429: 60, 500: 10}[status]


def test_failures_in_a_row_end_the_wait(world: World) -> None:
    """As they do on a worker."""
    world.refuse = lambda *_: NetworkError("no route", sent=False)
    found = world.run(*waits(world, poller(world, Batch, max_poll_failures=3), 5, ready_after=0))
    assert all(isinstance(error, VendorUnavailable) for error in found)
    assert len(world.requests) == 3


def test_other_ends_reach_their_own_waiter(world: World) -> None:
    """One fails at the vendor, one waits for another state, one leaves: the rest goes on."""
    one = poller(world, Batch)
    pending = waits(world, one, 4, ready_after=1000)
    state = world.state

    def fate(export_id: str) -> dict[str, Any]:
        return {**state(export_id), **({"state": "failed"} if export_id == "e1" else {})}

    world.state = fate  # type: ignore[method-assign]

    async def leaves(wait: Any) -> str:
        task = asyncio.ensure_future(wait)
        await world.sleep(100)
        task.cancel()
        return "left"

    found = world.run(pending[0], pending[1], leaves(pending[2]), pending[3])
    assert [getattr(one, "state", one) for one in (found[0], found[2], found[3])] == [
        ExportState.READY,
        "left",
        ExportState.READY,
    ]
    assert type(found[1]) is ExportFailed
    assert world.rounds("many")[-1] == 2


def test_usual_duration_shortens_the_last_pause(world: World) -> None:
    """Exports here take 1,000 s: the next ones are looked at then, not a long interval later."""
    one = poller(world, Batch)

    async def learn() -> float:
        log = logging.getLogger("waiter")
        for number in range(3):
            world.ready_at[f"old{number}"] = START + 1000
            await one.wait(f"old{number}", log, poll=PollRule.every(10))
        began = world.now
        world.ready_at["new"] = began + 1000
        answer = world.state

        def fresh(export_id: str) -> dict[str, Any]:
            return {**answer(export_id), **({"created": began} if export_id == "new" else {})}

        world.state = fresh  # type: ignore[method-assign]
        await one.wait("new", log, first_delay=10)
        return world.now - began - 1000

    (late,) = world.run(learn())
    assert 0 <= late <= 100


def test_poller_goes_with_its_last_waiter(world: World) -> None:
    """And the next one gets another: nothing is kept alive for nobody."""

    async def twice() -> tuple[Poller, Poller, Poller]:
        vendor = Batch(ConnectionInfo("c", password="s3same"))
        first = shared(vendor)
        assert shared(Batch(ConnectionInfo("c", password="s3same"))) is first
        other = shared(Batch(ConnectionInfo("c", password="changed")))
        first._clock, first._sleep = world.clock, world.sleep
        world.ready_at["e"] = START
        await first.wait("e", logging.getLogger("waiter"))
        return first, other, shared(vendor)

    ((first, other, later),) = world.run(twice())
    assert other is not first
    assert later is not first


def test_unforeseen_error_reaches_all(world: World) -> None:
    """A mistake of ours, or of a plug-in, leaves nobody waiting for ever."""

    class Broken(Batch):
        def get_many(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
            raise ZeroDivisionError
            yield

    found = world.run(*waits(world, poller(world, Broken), 3, ready_after=0))
    assert states(found) == {ZeroDivisionError}


def test_metrics_tell_how_many_wait_and_what_that_costs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls, requests, who waits and for how long, who was told to slow down, and how late one is woken."""
    seen: dict[str, list[Any]] = {}
    tags: set[tuple[tuple[str, str], ...]] = set()

    def tell(name: str, value: Any = 1, **more: Any) -> None:
        seen.setdefault(name, []).append(value)
        tags.add(tuple(sorted(more["tags"].items())))

    monkeypatch.setattr(module, "Stats", SimpleNamespace(incr=tell, gauge=tell, timing=tell))
    refused = iter([ok({}, 429, retry_after="60")])
    world.refuse = lambda *_: next(refused, None)
    world.run(*waits(world, poller(world, Batch), 3, ready_after=200))
    assert seen["exports.requests"] == [1] * len(seen["exports.polls"])
    assert (seen["exports.waiting"][0], seen["exports.waiting"][-1]) == (3, 0)
    assert seen["exports.longest_wait"][1] >= 60
    assert seen["exports.throttled"] == [1]
    assert len(seen["exports.wake_up"]) == 3
    assert tags == {(("conn_id", "c"), ("vendor", "batch"))}


def test_page_in_place_of_every_answer_is_not_asked_for_by_each(world: World) -> None:
    """It is not about one export: halving stops, and the round costs a few dozen requests."""
    world.refuse = lambda *_: Response(200, {}, b"<html>")
    one = poller(world, Batch, max_poll_failures=1)
    found = world.run(*waits(world, one, 1000, ready_after=0))
    assert states(found) == {UnexpectedResponse}
    assert len(world.requests) < 50


def test_credentials_that_end_do_so_for_single_reads_too(world: World) -> None:
    """One read tells; the others are not asked for."""
    world.refuse = lambda *_: ok({}, 401)
    found = world.run(*waits(world, poller(world, Single), 100, ready_after=0))
    assert states(found) == {AuthenticationFailed}
    assert len(world.requests) == 1


def test_token_that_dies_in_a_round_fails_nobody(world: World) -> None:
    """Eight reads are refused at once, one logs in: the others come again."""

    class Session(Single):
        capabilities = frozenset({Capability.LOGIN})

        def login(self) -> Flow[str]:
            response = yield Request("POST", "/login", signed=False, operation="login")
            return str(response.json()["token"])

    answer, token, died = world.answer, ["t1"], [False]

    def refusing(request: Request) -> Any:
        if request.operation == "login":
            return ok({"token": token[0]})
        if len(world.requests) == 5 and not died[0]:
            died[0], token[0] = True, "t2"
        if request.headers.get("Authorization") != f"Bearer {token[0]}":
            return ok({}, 401)
        return answer(request)

    world.answer = refusing  # type: ignore[method-assign]
    world.slow = lambda _: 1.0
    found = world.run(*waits(world, poller(world, Session), 20, ready_after=0))
    assert died[0]
    assert states(found) == {ExportState.READY}


def test_deadline_is_seen_while_the_vendor_is_slow(world: World) -> None:
    """Each read takes half a minute, and there are hundreds: who has no time left does not wait for all."""
    one = poller(world, Single)
    world.slow = lambda _: 30.0
    ended: list[float] = []

    async def hurried(wait: Any) -> None:
        with pytest.raises(ExportTimedOut):
            await wait
        ended.append(world.now - START)

    many = waits(world, one, 400, ready_after=5000)
    world.ready_at["late"] = START + 9000
    late = one.wait("late", logging.getLogger("waiter"), first_delay=10, deadline=START + 100)
    world.run(hurried(late), *many)
    assert 100 <= ended[0] < 300


def test_mistake_about_one_export_is_its_own(world: World) -> None:
    """A plug-in's parse stumbles over one row; the others are told as soon as ever."""

    class Clumsy(Batch):
        def parse(self, raw: Any, now: float) -> Export:
            return (
                Export("batch", raw["oops"], ExportState.READY)
                if raw["id"] == "e3"
                else super().parse(raw, now)
            )

    found = world.run(*waits(world, poller(world, Clumsy), 40, ready_after=0))
    assert type(found.pop(3)) is KeyError
    assert states(found) == {ExportState.READY}


def test_poller_that_dies_leaves_nobody_waiting(world: World) -> None:
    """Also when it is stopped from outside; and who comes later gets another one."""

    class Gone(BaseException):
        """What no handler expects."""

    class Stopped(Batch):
        def get_many(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
            raise Gone
            yield

    one = poller(world, Stopped)
    found = world.run(*waits(world, one, 3, ready_after=0))
    assert states(found) == {RuntimeError}
    assert not one.alive


def test_notes_are_told_by_the_one_who_waits(world: World) -> None:
    """Airflow puts a line into the log of the task whose context it comes from."""
    seen: list[tuple[str, str]] = []

    class Log:
        def log(self, level: int, message: str, *args: Any) -> None:
            task = asyncio.current_task()
            assert task is not None
            seen.append((task.get_name(), message % args))

        debug = warning = log

    one = poller(world, Batch)
    world.ready_at |= {"a": START, "b": START}

    async def named(name: str) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(name)
        return await one.wait(name, Log())

    world.run(named("a"), named("b"))
    assert sorted(seen) == [("a", "batch export a: ready"), ("b", "batch export b: ready")]


def test_long_wait_is_told_of_now_and_then() -> None:
    """Each change of state, and every hour one that lasts; with the age, and at the end how long it stays."""
    watch = Watch(Single(ConnectionInfo("c", password="p")), "e", START, chance=lambda: 0.5)
    made = datetime.fromtimestamp(START, UTC)
    running = Export("single", "e", ExportState.RUNNING, "at work", created_at=made)
    for minute in range(0, 190, 10):
        assert not watch.saw(running, START + 60 * minute)
    ready = replace(running, state=ExportState.READY, vendor_status=None, expires_at=made + timedelta(days=1))
    assert watch.saw(ready, START + 200 * 60)
    assert [note.message % note.args for note in watch.notes] == [
        "single export e: at work",
        "single export e: still at work, 60 min old",
        "single export e: still at work, 2 h old",
        "single export e: still at work, 3 h old",
        f"single export e: ready, 3 h old, its files stay until {ready.expires_at:%Y-%m-%dT%H:%M:%SZ}",
    ]


def test_who_comes_later_wakes_nobody(world: World) -> None:
    """Thousands begin to wait at once: each that is due after the others leaves the poller asleep."""
    one = poller(world, Batch)
    pending = waits(world, one, 200, ready_after=0)
    scans = 0
    pause = one._pause

    def counted() -> float:
        nonlocal scans
        scans += 1
        return pause()

    one._pause = counted  # type: ignore[method-assign]
    assert states(world.run(*pending)) == {ExportState.READY}
    assert scans <= 5


def test_who_is_due_earlier_does_not_wait_for_the_others(world: World) -> None:
    """The poller sleeps until the first look of somebody else, an hour away."""
    one = poller(world, Batch)
    world.ready_at |= {"late": START, "early": START}
    log = logging.getLogger("waiter")

    async def early() -> float:
        await world.sleep(100)
        await one.wait("early", log, first_delay=10)
        return world.now - START

    _, seen = world.run(one.wait("late", log, first_delay=3600), early())
    assert 110 <= seen < 112


def test_others_have_their_turn_while_thousands_are_woken(world: World) -> None:
    """Each of them logs or fires: done in one go, that would hold up every other trigger."""
    most = woken = 0

    async def other() -> None:
        nonlocal most, woken
        while len(done) < 1000:
            await asyncio.sleep(0)
            most, woken = max(most, len(done) - woken), len(done)

    async def counted(wait: Any) -> None:
        await wait
        done.append(1)

    done: list[int] = []
    world.run(*map(counted, waits(world, poller(world, Batch), 1000, ready_after=0)), other())
    assert most <= module.WOKEN_AT_ONCE


def test_trace_of_a_shared_error_does_not_grow(world: World) -> None:
    """One error for all who wait: each raises it with the same few lines, not with those of all before."""
    world.refuse = lambda *_: ok({}, 401)
    lengths: list[int] = []

    async def counted(wait: Any) -> None:
        try:
            await wait
        except AuthenticationFailed as error:
            lengths.append(len(traceback.extract_tb(error.__traceback__)))

    world.run(*map(counted, waits(world, poller(world, Batch), 100, ready_after=0)))
    assert len(lengths) == 100
    assert len(set(lengths)) == 1


def test_links_are_not_kept_while_waiting(world: World) -> None:
    """What was asked for and the files of each export would fill the memory of a triggerer."""
    watch = poller(world, Batch).lifecycle.watch("e", START)
    file = ExportFile("e.csv", "https://files.acme.example/e?key=1")
    assert watch.saw(Export("batch", "e", ExportState.READY, files=(file,), parameters={"a": 1}), START)
    assert (watch._seen.files, watch._seen.parameters) == ((), {})  # type: ignore[union-attr]


def test_connection_is_read_once_for_all_who_come_together(world: World) -> None:
    """Each reading is a call to Airflow. One that fails and a poller that has gone count for nobody else."""
    reads = 0
    fails = True

    async def read() -> Vendor:
        nonlocal reads, fails
        reads += 1
        await asyncio.sleep(0)
        if fails:
            fails = False
            raise InvalidConnection("no token.")
        return Batch(ConnectionInfo("c", password="s3same"))

    async def together() -> list[Any]:
        all_of_them = (connected("c", "batch", read) for _ in range(10))
        return await asyncio.gather(*all_of_them, return_exceptions=True)

    async def twice() -> tuple[Any, Any]:
        first = await together()
        first[1]._clock, first[1]._sleep = world.clock, world.sleep
        world.ready_at["e"] = START
        await first[1].wait("e", logging.getLogger("waiter"))
        return first, await together()

    ((first, later),) = world.run(twice())
    assert type(first[0]) is InvalidConnection
    assert len(set(first[1:])) == 1
    assert reads == 3
    assert set(later).isdisjoint(first)


def test_connection_is_read_again_after_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody may have changed it."""
    passwords = iter(["first", "second"])
    monkeypatch.setattr(module, "READ_FRESH", 0.0)

    async def read() -> Vendor:
        return Batch(ConnectionInfo("c", password=next(passwords)))

    async def twice() -> list[str]:
        return [(await connected("c", "batch", read)).vendor.connection.password for _ in range(2)]

    assert world.run(twice()) == [["first", "second"]]


class Capped(Single):
    """Takes so many exports at once as the connection says, and tells which there are."""

    name = "capped"
    capabilities = frozenset({Capability.ROOM})

    def queue(self, payload: Any) -> str:
        return "all"

    def room(self, queue: str) -> Flow[Room]:
        response = yield Request("GET", "/exports?open", operation="room")
        taken, most = response.json()["taken"], response.json()["most"]
        return Room(frozenset(taken), most, f"{len(taken)} of {most}")


class Full(Single):
    """Only refuses a create when it is full."""

    name = "full"

    def queue(self, payload: Any) -> str:
        return "all"


class Alone(Full):
    """Takes one after the other."""

    name = "alone"
    one_at_a_time = True


class Bulk:
    """Tasks that each want an export of a vendor that takes ``most`` at once and needs 100 s for each."""

    def __init__(
        self, world: World, vendor: type[Vendor], most: int, *, lag: float = 0.0, interval: float = 60
    ) -> None:
        self.world, self.most, self.lag, self.interval = world, most, lag, interval
        self.make = lambda queues: poller(
            world, vendor, queues, conflict_interval=interval, max_poll_failures=3
        )
        self.latest = self.make({})
        self.created: list[int] = []
        self.began: dict[str, float] = {}
        self.conflicts = self.most_at_once = 0
        self.refuse_rooms: Callable[[], Response | None] = lambda: None
        self._answer = world.answer
        world.answer = self.answer  # type: ignore[method-assign]

    @property
    def one(self) -> Poller:
        """The connection's poller, another one when the last waiter has gone."""
        if not self.latest.alive:
            self.latest = self.make(self.latest._queues)
        return self.latest

    def open(self, lag: float = 0.0) -> list[str]:
        now, began = self.world.now, self.began
        return [one for one, end in self.world.ready_at.items() if began.get(one, START) + lag <= now < end]

    def answer(self, request: Request) -> Response | NetworkError:
        if request.operation != "room":
            return self._answer(request)
        self.world.requests.append((self.world.now, "room", 0))
        return self.refuse_rooms() or ok({"taken": self.open(self.lag), "most": self.most})

    async def task(self, number: int, arrives: float, worker: float, first: bool = True) -> None:
        world, log = self.world, logging.getLogger("waiter")
        await world.sleep(arrives)
        came, next_try = world.now, None
        while True:
            if first or next_try is not None:
                await self.one.turn("all", log, queued_at=came, next_try=next_try, deadline=came + 100_000)
                # A worker has to start.
                await world.sleep(worker)
            if len(self.open()) < self.most:
                break
            self.conflicts += 1
            next_try = world.now + self.interval
        export_id = f"e{number}"
        self.created.append(number)
        self.began[export_id], world.ready_at[export_id] = world.now, world.now + 100
        self.most_at_once = max(self.most_at_once, len(self.open()))
        await self.one.wait(export_id, log, first_delay=10, poll=PollRule.every(20), queue="all")


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize(("worker", "lag"), [(0, 0), (1, 10), (40, 0), (90, 20)])
def test_turns_come_in_order_and_never_too_many(world: World, most: int, worker: float, lag: float) -> None:
    """Twelve tasks at once: the turn holds the room while a worker starts and the list does not show it."""
    bulk = Bulk(world, Capped, most, lag=lag)
    assert world.run(*(bulk.task(n, arrives=n * 0.01, worker=worker) for n in range(12))) == [None] * 12
    assert bulk.created == list(range(12))
    assert bulk.most_at_once == most
    assert bulk.conflicts == 0
    # One list tells all of them; a wait that is over asks at once.
    assert len(world.rounds("room")) <= 12 * 5


def test_turn_that_is_over_answers_for_its_own_export() -> None:
    """An export that shows later than its turn holds room takes away the room of no other turn."""
    turns = Turns(told=True, alone=False, interval=60)
    for moment, taken in ((0.0, []), (60.0, []), (125.0, ["of the first turn"])):
        turns.join(Turn(moment, moment, deadline=float("inf")), moment)
        turns.next_look(moment)
        given = turns.look(moment, Room(frozenset(taken), 2, ""))
        assert len(given) == (moment < 125)


def test_clock_that_is_set_back_holds_nobody_up() -> None:
    """What was planned by the clock of before is forgotten soon."""
    turns = Turns(told=True, alone=False, interval=60)
    turns.join(Turn(9000.0, 9000.0, float("inf")), 9000.0)
    full = Room(frozenset({"a"}), 1, "")
    turns.join(Turn(9001.0, 9001.0, float("inf")), 9001.0)
    assert len(turns.look(9001.0, Room(frozenset(), 1, ""))) == 1
    assert turns.look(9002.0, full) == []
    assert turns.next_look(1000.0) <= 1000 + 2 * 60
    assert len(turns.look(1120.0, Room(frozenset(), 1, ""))) == 1


def asked(turns: Turns, now: float, *taken: str, most: int = 1) -> int:
    """Look, when it is time, and return how many turns were given."""
    if now < turns.next_look(now):
        return 0
    return len(turns.look(now, Room(frozenset(taken), most, "")))


def test_export_that_is_over_holds_no_room_any_more() -> None:
    """One that was quicker than two looks never shows in the list, and its turn ends with it all the same."""
    turns = Turns(told=True, alone=False, interval=60)
    turns.join(Turn(0.0, 0.0, float("inf")), 0.0)
    assert asked(turns, 0.0) == 1
    turns.hold("a", 15.0)
    turns.release("a", 45.0)
    turns.join(Turn(60.0, 60.0, float("inf")), 60.0)
    assert asked(turns, 66.0) == 1


def test_export_that_has_shown_ends_no_other_turn() -> None:
    """Its own turn was over when it showed; the room of the next one stays taken."""
    turns = Turns(told=True, alone=False, interval=60)
    turns.join(Turn(0.0, 0.0, float("inf")), 0.0)
    assert asked(turns, 0.0, most=2) == 1
    turns.hold("a", 15.0)
    turns.join(Turn(16.0, 16.0, float("inf")), 16.0)
    assert asked(turns, 66.0, "a", most=2) == 1
    turns.join(Turn(67.0, 67.0, float("inf")), 67.0)
    turns.join(Turn(68.0, 68.0, float("inf")), 68.0)
    assert asked(turns, 140.0, most=2) == 1
    turns.release("a", 150.0)
    assert asked(turns, 150.0, most=2) == 0


def test_spare_room_is_given_to_who_comes_next() -> None:
    """Triggers start over several seconds: the second one does not wait for the next look on the clock."""
    turns = Turns(told=True, alone=False, interval=300)
    turns.join(Turn(0.0, 0.0, float("inf")), 0.0)
    assert asked(turns, 0.0, most=2) == 1
    turns.join(Turn(1.0, 1.0, float("inf")), 1.0)
    assert asked(turns, 1.0, most=2) == 1
    turns.join(Turn(2.0, 2.0, float("inf")), 2.0)
    assert asked(turns, 2.0, most=2) == 0


def test_failures_are_counted_anew_after_all_have_given_up() -> None:
    """Who comes with the next try bears as many again."""
    turns = Turns(told=True, alone=False, interval=60)
    turns.join(Turn(0.0, 0.0, float("inf")), 0.0)
    for second in range(10):
        turns.failed(float(second))
    assert len(turns.give_up()) == 1
    turns.failed(20.0)
    assert turns.failures == 1


def test_create_without_a_wait_went_well_if_it_does_not_come_back() -> None:
    """Where only refusals tell: the next one tries after the turn, and not only after its own interval."""
    turns = Turns(told=False, alone=False, interval=300)
    for moment in (0.0, 1.0):
        turns.join(Turn(moment, 0.0, float("inf")), moment)
    assert len(turns.look(2.0)) == 1
    assert turns.next_look(3.0) == 2.0 + TURN_LASTS
    assert len(turns.look(2.0 + TURN_LASTS)) == 1


def test_poller_that_ends_takes_no_turn_along(world: World) -> None:
    """Its last one is cleared while it asks for room; somebody has come to the next poller meanwhile."""
    queues: dict[str, Turns] = {}
    pollers = [poller(world, Capped, queues) for _ in range(2)]
    bulk = Bulk(world, Capped, 1)
    log = logging.getLogger("waiter")
    asking = asyncio.Event()
    answered = asyncio.Event()
    answer = Transport.run

    async def slowly(transport: Transport, plan: Any) -> Any:
        if not asking.is_set():
            asking.set()
            await answered.wait()
        return await answer(transport, plan)

    async def both() -> None:
        first = asyncio.ensure_future(pollers[0].turn("all", log))
        await asking.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        second = asyncio.ensure_future(pollers[1].turn("all", log, deadline=START + 1000))
        await asyncio.sleep(0)
        answered.set()
        await second

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transport, "run", slowly)
        assert world.run(asyncio.wait_for(both(), 10)) == [None]
    assert bulk.conflicts == 0


def test_queue_of_a_poller_that_lives_is_not_forgotten(world: World) -> None:
    """A sensor keeps it alive, nobody queues; another trigger of the connection comes."""

    async def twice() -> bool:
        vendor = Capped(ConnectionInfo("c", password="kept"))
        one = shared(vendor)
        one._turns("all").join(Turn(time.time(), 0.0, float("inf")), time.time())
        one._waiters[cast(Any, object())] = None
        one._queues["all"].look(time.time(), Room(frozenset(), 1, ""))
        queues = one._queues
        queues.clear()
        again = shared(vendor)
        return again._queues is queues is module._QUEUES[next(k for k in module._QUEUES if k[0] == "capped")]

    assert asyncio.run(twice())


def test_deadline_is_no_way_around_the_limit(world: World) -> None:
    """Thirty whose time is up at once: only so many may create as there is room for."""
    bulk = Bulk(world, Capped, 3)
    for name in ("x", "y"):
        world.ready_at[name] = START + 100_000
    log = logging.getLogger("waiter")
    found = world.run(
        *(bulk.one.turn("all", log, queued_at=START + n, deadline=START + 100) for n in range(30))
    )
    assert found.count(None) == 1
    refused = [one for one in found if isinstance(one, ExportConflict)]
    assert len(refused) == 29
    assert "2 of 3" in str(refused[0]) or "3" in str(refused[0])


def test_late_comer_queues_behind(world: World) -> None:
    """Also when it comes while a turn was just given and nobody else waits."""
    bulk = Bulk(world, Capped, 1)
    world.run(bulk.task(1, arrives=3, worker=30), bulk.task(0, arrives=0, worker=30))
    assert bulk.created == [0, 1]
    assert (bulk.most_at_once, bulk.conflicts) == (1, 0)


def test_export_of_somebody_else_is_waited_for(world: World) -> None:
    """The list shows it; no create is tried in vain, and who was first stays so."""
    bulk = Bulk(world, Capped, 1)
    world.ready_at["foreign"] = START + 1000
    world.run(*(bulk.task(n, arrives=n, worker=1) for n in range(3)))
    assert (bulk.created, bulk.conflicts) == ([0, 1, 2], 0)
    assert (
        len([moment for moment, name, _ in world.requests if name == "room" and moment < START + 1000]) < 20
    )


@pytest.mark.parametrize("known", [True, False])
def test_one_after_the_other_where_the_vendor_only_refuses(world: World, known: bool) -> None:
    """What we wait for ourselves tells when it is over; of what others have made, a try tells in time."""
    bulk = Bulk(world, Alone, 1, interval=600 if known else 60)
    world.ready_at["before"] = START + 100
    others = [bulk.one.wait("before", logging.getLogger("waiter"), queue="all")] if known else []
    world.run(*others, *(bulk.task(n, arrives=n, worker=1, first=False) for n in range(6)))
    assert bulk.created == list(range(6))
    assert bulk.most_at_once == 1
    # Each finds out for itself that it has to wait; from then on nobody tries in vain who need not.
    assert bulk.conflicts <= (6 if known else 8)
    # The next one does not wait for its next try when it is told: a look may be 20 s late, not 600.
    assert not known or world.now <= START + 7 * 150


def test_full_vendor_is_filled_up_in_order(world: World) -> None:
    """How many it takes is not known: as long as it goes well the next one tries."""
    bulk = Bulk(world, Full, 3)
    world.run(*(bulk.task(n, arrives=n / 100, worker=1) for n in range(9)))
    assert bulk.created == list(range(9))
    assert bulk.most_at_once == 3
    assert bulk.conflicts <= 9


def test_turn_that_nobody_takes_is_given_on(world: World) -> None:
    """Its worker died: the next one waits no longer than a turn lasts and a look takes."""
    bulk = Bulk(world, Capped, 1)

    async def dies() -> None:
        await bulk.one.turn("all", logging.getLogger("waiter"))

    world.run(dies(), bulk.task(1, arrives=1, worker=1))
    assert bulk.created == [1]
    assert world.now < START + 120 + 66 + 1 + 150


def test_room_that_somebody_else_was_faster_to_take(world: World) -> None:
    """The task comes back without an export, and first in line: its own turn is not in its way."""
    bulk = Bulk(world, Capped, 1)

    async def faster() -> None:
        await world.sleep(10)
        bulk.began["foreign"], world.ready_at["foreign"] = world.now, world.now + 35

    world.run(faster(), *(bulk.task(n, arrives=n, worker=20) for n in range(3)))
    assert (bulk.created, bulk.conflicts) == ([0, 1, 2], 1)
    # A look comes 66 s after the conflict at the latest.
    assert bulk.began["e0"] <= START + 20 + 66 + 20


def test_turn_ends_with_its_deadline(world: World) -> None:
    """It says then that there was no room."""
    bulk = Bulk(world, Capped, 1)
    world.ready_at["foreign"] = START + 10_000
    (error,) = world.run(bulk.one.turn("all", logging.getLogger("waiter"), deadline=START + 500))
    assert isinstance(error, ExportConflict)
    assert START + 500 <= world.now <= START + 510


def test_queue_leaves_a_vendor_alone_that_wants_peace(world: World) -> None:
    """One request in the time that it asks for, and then the turns."""
    bulk = Bulk(world, Capped, 1)
    refused = iter([ok({}, 429, retry_after="600")])
    bulk.refuse_rooms = lambda: next(refused, None)
    world.run(bulk.task(0, arrives=0, worker=1), bulk.task(1, arrives=0, worker=1))
    first, second, *_ = [moment for moment, name, _ in world.requests if name == "room"]
    assert second - first >= 600
    assert bulk.created == [0, 1]


@pytest.mark.parametrize(
    ("status", "error", "requests"), [(401, AuthenticationFailed, 1), (500, VendorUnavailable, 3)]
)
def test_queue_of_a_vendor_that_does_not_answer_ends(
    world: World, status: int, error: type[Exception], requests: int
) -> None:
    """All hear of it, after as many tries as a wait would make."""
    bulk = Bulk(world, Capped, 1)
    bulk.refuse_rooms = lambda: ok({}, status)
    found = world.run(*(bulk.task(n, arrives=0, worker=1) for n in range(20)))
    assert states(found) == {error}
    assert len(world.rounds("room")) == requests


def test_given_turns_outlive_the_poller(world: World) -> None:
    """Nobody else waits on the connection when the first one goes to its worker; the second looks later."""

    async def both() -> list[Poller]:
        pollers = []
        for came in (START, START + 5):
            one = shared(Capped(ConnectionInfo("c", password="s3same")))
            one._clock, one._sleep = world.clock, world.sleep
            pollers.append(one)
            await one.turn("all", logging.getLogger("waiter"), queued_at=came)
        return pollers

    world.answer = lambda _: ok({"taken": [], "most": 1})  # type: ignore[method-assign]
    ((first, second),) = world.run(both())
    assert first is not second
    assert world.now >= START + TURN_LASTS

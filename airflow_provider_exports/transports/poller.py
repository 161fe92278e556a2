"""One poller per connection and event loop: thousands wait, one asks.

It asks in the cheapest way that the vendor has, within one budget of requests, and tells each waiter what it
saw. What a look means for a wait is decided in :mod:`~airflow_provider_exports.core.watch`, as on a worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import astuple, replace
from datetime import timedelta
from types import TracebackType
from typing import Any

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_exports.core.lifecycle import Lifecycle
from airflow_provider_exports.core.model import Export, ExportState
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.retry import ONCE
from airflow_provider_exports.core.turns import Turn, Turns
from airflow_provider_exports.core.vendor import Capability, Vendor
from airflow_provider_exports.core.watch import Watch
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    RateLimited,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.transports.asynchronous import AsyncTransport
from airflow_provider_exports.transports.blocking import Log

SINGLES_AT_ONCE = 8
"""Most reads of single exports at once on one connection."""
TAKEN_ALONG = 0.25
"""A look that is due within this part of its interval is taken along by one that is due now."""
SHORTEST_ROUND = 1.0
"""Seconds between two rounds of looks at least."""
LONGEST_ROUND = 60.0
"""Seconds after which single reads that are left are put off, so that deadlines are seen."""
EXPECTED_ROWS = 25
"""Rows on a page of a list, until a list has told."""
REMEMBERED = 20
"""How many durations of exports tell what is usual on a connection."""
WOKEN_AT_ONCE = 100
"""Each of those who are woken logs a line or fires; after so many, others on the loop have their turn."""
READ_FRESH = 5.0
"""Seconds for which a connection that was read counts for all who begin to wait."""

_log = logging.getLogger(__name__)


class Poller:
    """Waits for the exports of one connection. It lives as long as somebody waits.

    :param vendor: whose exports.
    :param queues: of those who wait to create one, by name; they outlive the poller.
    :param log: gets what concerns no single export.
    :param clock: returns epoch seconds.
    :param sleep: waits for seconds.
    """

    def __init__(
        self,
        vendor: Vendor,
        queues: dict[str, Turns] | None = None,
        *,
        log: Log = _log,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        self.vendor = vendor
        self.lifecycle = Lifecycle(vendor)
        self._log, self._clock, self._sleep = log, clock, sleep
        # In the order in which they came; thousands come and go.
        self._waiters: dict[_Waiter, None] = {}
        self._queues = {} if queues is None else queues
        self._queued: set[Turn] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hold_until = self._next_round = 0.0
        # Whoever is due earlier has to wake the poller.
        self._asleep_until = float("-inf")
        self._pages = 0.0
        self._durations: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def alive(self) -> bool:
        """Whether somebody waits; a poller that has ended starts no more."""
        return self._task is None or bool((self._waiters or self._queued) and not self._task.done())

    async def wait(
        self,
        export_id: str,
        log: Log,
        *,
        until: Collection[ExportState] = (ExportState.READY,),
        deadline: float | None = None,
        poll: PollRule | None = None,
        first_delay: float = 0.0,
        run_due: float | None = None,
        next_run_due: float | None = None,
        known: bool = False,
        queue: str | None = None,
    ) -> Export:
        """Do what :meth:`Lifecycle.wait` does.

        :param queue: where the export takes up room, so that the next one is told when the wait is over.
        :param log: gets what there is to tell of this export, from the waiter's own task: Airflow finds the
            right log by the context of the task that writes.
        """
        life = self.lifecycle
        watch = life.watch(
            export_id,
            self._clock(),
            until=until,
            deadline=deadline,
            poll=poll,
            first_delay=first_delay,
            run=life.watch_run(run_due, next_run_due),
            known=known,
        )
        waiter = _Waiter(watch, self._clock() - self.vendor.settings.wait_timeout)
        self._waiters[waiter] = None
        self._wake_up(watch.next_look)
        if queue is not None:
            turns = self._turns(queue)
            turns.hold(export_id, self._clock())
            self._wake_up(turns.next_look(self._clock()))
        try:
            while True:
                await waiter.news
                waiter.news = asyncio.get_running_loop().create_future()
                for note in watch.notes:
                    log.log(note.level, note.message, *note.args)
                watch.notes.clear()
                if waiter.error is not None:
                    # The same error for all: the trace of one must not grow with those of the others.
                    raise waiter.error.with_traceback(waiter.trace)
                if waiter.export is not None:
                    return waiter.export
        finally:
            del self._waiters[waiter]
            if queue is not None:
                turns.release(export_id, self._clock())
            if not self._waiters or (queue is not None and len(turns)):
                self._news.set()

    async def turn(
        self,
        queue: str,
        log: Log,
        *,
        queued_at: float | None = None,
        next_try: float | None = None,
        deadline: float | None = None,
    ) -> None:
        """Return when it is this task's turn to create an export, or at its deadline.

        :param queue: as of :meth:`Vendor.queue`.
        :param queued_at: since when it waits, epoch seconds: who came first is first; None for now.
        :param next_try: when to try although nothing tells that there is room; None for now.
        :raises ExportError: the vendor does not tell how much room there is, and will not.
        """
        now = self._clock()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake(error: Exception | None) -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        turn = Turn(
            now if queued_at is None else queued_at,
            now if next_try is None else next_try,
            float("inf") if deadline is None else deadline,
            wake,
        )
        turns = self._turns(queue)
        before = turns.join(turn, now)
        self._queued.add(turn)
        self._wake_up(turns.next_look(now))
        try:
            if before:
                log.log(logging.INFO, "%s: %d wait for room before this task", self.vendor.name, before)
            await future
        finally:
            turns.leave(turn)
            self._queued.discard(turn)
            if not self._queued:
                self._news.set()
        waited = self._clock() - turn.queued_at
        log.log(logging.INFO, "%s: it is this task's turn after %.0f s", self.vendor.name, waited)

    # -- inside ----------------------------------------------------------------------------------------

    def _turns(self, queue: str) -> Turns:
        known = self._queues.get(queue)
        if known is None:
            known = self._queues[queue] = Turns(
                told=Capability.ROOM in self.vendor.capabilities,
                alone=self.vendor.one_at_a_time,
                interval=self.lifecycle.conflict_interval,
            )
        return known

    def _wake_up(self, moment: float) -> None:
        """Start, or get up from a sleep that goes on beyond ``moment``, epoch seconds."""
        if moment < self._asleep_until:
            self._news.set()
        if self._task is None:
            # A context of its own: what it logs belongs to no task.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        try:
            async with AsyncTransport(
                self.vendor, self._log, clock=self._clock, sleep=self._sleep
            ) as transport:
                while self._waiters or self._queued:
                    self._news.clear()
                    pause = self._pause()
                    if pause > 0:
                        await self._rest(pause)
                        continue
                    self._next_round = self._clock() + SHORTEST_ROUND
                    due = self._due()
                    before = transport.requests
                    if due:
                        await self._round(transport, due)
                    await self._give_turns(transport)
                    if due or transport.requests > before:
                        self._measure(transport.requests - before)
        except BaseException as error:
            # Whoever waits must hear of it, also when the loop is being closed.
            if self._waiters:
                self._log.warning("Waiting on %s has failed: %s", self.vendor.name, type(error).__name__)
            told = error if isinstance(error, Exception) else RuntimeError("the poller was stopped")
            _tell(self._queued, told)
            for waiter in self._waiters:
                if not waiter.over:
                    waiter.fail(told)
                waiter.wake()
            if told is not error:
                raise

    def _pause(self) -> float:
        """Return the seconds until somebody is due; not long where nobody is."""
        now = self._clock()
        moments = [
            max(watch.next_look, min(self._hold_until, watch.deadline))
            for watch in (waiter.watch for waiter in self._waiters if not waiter.over)
        ]
        moments += [turns.next_look(now, self._hold_until) for turns in self._queues.values() if len(turns)]
        soonest = min(moments, default=now + SHORTEST_ROUND)
        return max(min(soonest, now + LONGEST_ROUND), self._next_round) - now

    async def _rest(self, seconds: float) -> None:
        """Sleep, but not when the last waiter has gone, nor past the first look of a new one."""
        self._asleep_until = self._clock() + seconds
        nap = asyncio.ensure_future(self._sleep(seconds))
        news = asyncio.ensure_future(self._news.wait())
        try:
            await asyncio.wait((nap, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._asleep_until = float("-inf")
            for one in (nap, news):
                one.cancel()
            await asyncio.gather(nap, news, return_exceptions=True)

    def _due(self) -> list[_Waiter]:
        now, held = self._clock(), self._clock() < self._hold_until
        due, soon = [], []
        for waiter in self._waiters:
            watch = waiter.watch
            if waiter.over:
                continue
            try:
                if not watch.is_due(now):
                    if watch.next_look - now <= TAKEN_ALONG * watch.interval:
                        soon.append(waiter)
                elif not held:
                    due.append(waiter)
                elif now >= watch.deadline:
                    # The vendor wants to be left alone; only this ends a wait now.
                    watch.plan(now)
            except ExportError as error:
                waiter.fail(error)
                waiter.wake()
        return due + soon if due and self._many_at_once([*due, *soon]) else due

    def _many_at_once(self, due: Sequence[_Waiter]) -> bool:
        return Capability.GET_MANY in self.vendor.capabilities or self._by_list(due)

    def _by_list(self, due: Sequence[_Waiter]) -> bool:
        """Return whether one list is cheaper than a read of each export."""
        if not self.vendor.lists_states:
            return False
        count = len({waiter.watch.export_id for waiter in due})
        return (self._pages or 1 + count / EXPECTED_ROWS) < count

    async def _round(self, transport: AsyncTransport, due: Sequence[_Waiter]) -> None:
        if Capability.GET_MANY in self.vendor.capabilities:
            size = self.vendor.max_batch
            for start in range(0, len(due), size):
                if self._clock() >= self._hold_until:
                    await self._batch(transport, due[start : start + size], [0] * 2 * size.bit_length())
        elif self._by_list(due):
            await self._list(transport, due)
        else:
            await self._singles(transport, due)

    async def _give_turns(self, transport: AsyncTransport) -> None:
        for queue, turns in list(self._queues.items()):
            now = self._clock()
            if turns.over(now):
                del self._queues[queue]
                continue
            if not len(turns) or now < turns.next_look(now, self._hold_until):
                continue
            room = refused = None
            if turns.told:
                if now < self._hold_until:
                    _tell(turns.late(now))
                    continue
                try:
                    room = await transport.run(self.lifecycle.call(self.vendor.room(queue), retry=ONCE))
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                    self._no_turns(turns, error)
                    _tell(turns.late(now))
                    continue
                refused = ExportConflict(room.said, vendor=self.vendor.name)
            _tell(turns.look(self._clock(), room))
            # Where the vendor only refuses, they try for the last time.
            _tell(turns.late(now), refused)

    def _no_turns(self, turns: Turns, error: Exception) -> None:
        now = self._clock()
        turns.failed(now)
        if isinstance(error, RateLimited):
            turns.failures -= 1
            self._throttled(error, now)
        passing = isinstance(error, (VendorUnavailable, UnexpectedResponse))
        if passing and turns.failures < self.vendor.settings.max_poll_failures:
            self._log.warning("Who may create next cannot be told: %s", error)
            return
        _tell(turns.give_up(), error)

    async def _batch(self, transport: AsyncTransport, due: Sequence[_Waiter], splits: list[int]) -> None:
        """Look at many at once.

        :param splits: how often a batch may still be halved: when that does not find the export which spoils
            the answer, it is not about one.
        """
        ids = list(dict.fromkeys(waiter.watch.export_id for waiter in due))
        try:
            found = await transport.run(self.lifecycle.call(self.vendor.get_many(ids), retry=ONCE))
        except Exception as error:  # noqa: BLE001 - of any kind, it may concern one export only
            odd = isinstance(error, (UnexpectedResponse, ExportRejected)) or not isinstance(
                error, ExportError
            )
            if not odd or len(due) == 1 or not splits:
                await self._failed(due, error)
                return
            # One export that cannot be read must not hide the others.
            splits.pop()
            middle = len(due) // 2
            for half in (due[:middle], due[middle:]):
                if self._clock() >= self._hold_until:
                    await self._batch(transport, half, splits)
        else:
            await self._found(due, found)

    async def _list(self, transport: AsyncTransport, due: Sequence[_Waiter]) -> None:
        since = min(waiter.since for waiter in due) - self.vendor.settings.clock_margin
        before = transport.requests
        try:
            rows = await transport.run(self.lifecycle.call(self.vendor.list_since(since), retry=ONCE))
        except Exception as error:  # noqa: BLE001 - as above
            if isinstance(error, ExportError) and not isinstance(error, (UnexpectedResponse, ExportRejected)):
                await self._failed(due, error)
            else:
                await self._singles(transport, due)
            return
        self._pages = transport.requests - before
        found = {export.export_id: export for export in rows}
        listed = [waiter for waiter in due if waiter.watch.export_id in found]
        await self._found(listed, found)
        # Older than we thought, or left out: the list says nothing of them.
        await self._singles(transport, [waiter for waiter in due if waiter.watch.export_id not in found])

    async def _singles(self, transport: AsyncTransport, due: Sequence[_Waiter]) -> None:
        waiting: dict[str, list[_Waiter]] = {}
        for waiter in due:
            waiting.setdefault(waiter.watch.export_id, []).append(waiter)
        now = self._clock()
        # Who has no more time comes first, then who has waited longest.
        queue = deque(
            sorted(
                waiting.items(), key=lambda one: (one[1][0].watch.deadline > now, one[1][0].watch.next_look)
            )
        )

        async def look(*, alone: bool = False) -> None:
            export_id, waiters = queue.popleft()
            try:
                export = await transport.run(self.lifecycle.check(export_id, retry=ONCE))
            except AuthenticationFailed as error:
                # Another look may just be replacing the token, so these are due again; but what is refused
                # to one that is alone is refused to all.
                if alone:
                    queue.clear()
                    await self._failed(due, error)
            except Exception as error:  # noqa: BLE001 - it concerns this export
                await self._failed(waiters, error)
            else:
                await self._found(waiters, {export_id: export})

        async def look_on() -> None:
            # Those that are left when the vendor asks for a pause, or is slow, are due in another round.
            while queue and self._hold_until <= self._clock() < now + LONGEST_ROUND:
                await look()

        if queue:
            # Alone: where there is a login, the others find its token.
            await look(alone=True)
            await asyncio.gather(*(look_on() for _ in range(min(SINGLES_AT_ONCE, len(queue)))))

    async def _found(self, due: Iterable[_Waiter], found: dict[str, Export]) -> None:
        now, usual = self._clock(), self._usual

        def learn(waiter: _Waiter) -> None:
            watch = waiter.watch
            export = found.get(watch.export_id)
            if export is None:
                watch.failed(_missing(self.vendor, watch.export_id), now)
            else:
                if export.created_at is not None:
                    waiter.since = export.created_at.timestamp()
                if watch.saw(export, now):
                    # It may have been ready ever since the look before.
                    Stats.timing("exports.wake_up", timedelta(seconds=watch.interval), tags=self._tags)
                    self._remember(export, now)
                    waiter.end(export)
                    return
            watch.plan(now, usual)

        await self._each(due, learn)

    async def _failed(self, due: Iterable[_Waiter], error: Exception) -> None:
        now, trace = self._clock(), error.__traceback__
        if isinstance(error, RateLimited):
            self._throttled(error, now)

        def learn(waiter: _Waiter) -> None:
            if not isinstance(error, ExportError):
                # A mistake of ours or of a plug-in: what it means for a wait, nobody knows.
                raise error.with_traceback(trace)
            waiter.watch.failed(error.with_traceback(trace), now)
            waiter.watch.plan(now)

        await self._each(due, learn)

    def _throttled(self, error: RateLimited, now: float) -> None:
        Stats.incr("exports.throttled", tags=self._tags)
        self._hold_until = max(self._hold_until, now + (error.retry_after or 0.0))

    async def _each(self, due: Iterable[_Waiter], learn: Callable[[_Waiter], None]) -> None:
        """Let each waiter learn what a look has shown, and wake it where there is something to tell."""
        woken = 0
        for waiter in due:
            try:
                learn(waiter)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
                waiter.fail(error)
            woken += waiter.wake()
            if woken >= WOKEN_AT_ONCE:
                woken = 0
                await asyncio.sleep(0)

    def _measure(self, requests: int) -> None:
        """Tell Airflow's metrics what a round was like."""
        began = [waiter.watch.started for waiter in self._waiters if not waiter.over]
        Stats.incr("exports.polls", tags=self._tags)
        Stats.incr("exports.requests", requests, tags=self._tags)
        Stats.gauge("exports.waiting", len(began), tags=self._tags)
        Stats.gauge("exports.queued", len(self._queued), tags=self._tags)
        Stats.gauge("exports.longest_wait", self._clock() - min(began) if began else 0.0, tags=self._tags)

    @property
    def _tags(self) -> dict[str, str]:
        return {"vendor": self.vendor.name, "conn_id": self.vendor.connection.conn_id}

    def _remember(self, export: Export, now: float) -> None:
        if export.created_at is not None and export.state is ExportState.READY:
            self._durations.append(now - export.created_at.timestamp())

    @property
    def _usual(self) -> float | None:
        """Seconds that exports usually take here; None before three have told."""
        return statistics.median(self._durations) if len(self._durations) >= 3 else None


class _Waiter:
    """Somebody who waits for an export."""

    __slots__ = ("error", "export", "news", "since", "trace", "watch")

    def __init__(self, watch: Watch, since: float) -> None:
        self.watch = watch
        self.since = since
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.export: Export | None = None
        self.error: Exception | None = None
        self.trace: TracebackType | None = None

    @property
    def over(self) -> bool:
        return self.export is not None or self.error is not None

    def end(self, export: Export) -> None:
        self.export = export

    def fail(self, error: Exception) -> None:
        self.error, self.trace = error, error.__traceback__

    def wake(self) -> bool:
        """Wake whoever waits if there is something to tell; return whether there is."""
        if not (self.watch.notes or self.over):
            return False
        if not self.news.done():
            self.news.set_result(None)
        return True


def _missing(vendor: Vendor, export_id: str) -> ExportNotFound:
    return ExportNotFound("the vendor's answer leaves it out.", vendor=vendor.name, export_id=export_id)


def _tell(whom: Iterable[Turn], error: Exception | None = None) -> None:
    for turn in whom:
        turn.wake(error)


_POLLERS: dict[tuple[int, str, int], Poller] = {}
_QUEUES: dict[tuple[str, int], dict[str, Turns]] = {}


def shared(vendor: Vendor) -> Poller:
    """Return the poller of this event loop for the connection that ``vendor`` was built from.

    A connection that was changed has another poller: those who wait already go on with what they know.
    """
    connection = vendor.connection
    key = (
        vendor.name,
        hash(
            json.dumps(
                [*astuple(replace(connection, extra={})), connection.extra], sort_keys=True, default=str
            )
        ),
    )
    for other in [known for known, poller in _POLLERS.items() if not poller.alive]:
        del _POLLERS[other]
    now, used = time.time(), {known[1:] for known in _POLLERS}
    for old, its in list(_QUEUES.items()):
        if old not in used and all(one.over(now) for one in its.values()):
            del _QUEUES[old]
    queues = _QUEUES.setdefault(key, {})
    return _POLLERS.setdefault((id(asyncio.get_running_loop()), *key), Poller(vendor, queues))


class _Connected:
    """A connection that was read, and the poller that came of it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.poller: Poller | None = None
        self.until = 0.0


_CONNECTED: dict[asyncio.AbstractEventLoop, dict[tuple[str, str | None], _Connected]] = {}


async def connected(conn_id: str, vendor: str | None, read: Callable[[], Awaitable[Vendor]]) -> Poller:
    """Return the poller of this event loop for an Airflow connection.

    Triggers start by the hundred, and each reading of a connection is a call to Airflow: who comes right
    after another takes what that one has got.

    :param vendor: name of the vendor that the connection must be of.
    :param read: reads the connection.
    """
    for loop in [loop for loop in _CONNECTED if loop.is_closed()]:
        del _CONNECTED[loop]
    known = _CONNECTED.setdefault(asyncio.get_running_loop(), {})
    for other in known.values():
        if other.poller is not None and not other.poller.alive:
            # It holds credentials.
            other.poller = None
    one = known.setdefault((conn_id, vendor), _Connected())
    async with one.lock:
        if one.poller is None or not one.poller.alive or time.monotonic() >= one.until:
            one.poller = shared(await read())
            one.until = time.monotonic() + READ_FRESH
        return one.poller

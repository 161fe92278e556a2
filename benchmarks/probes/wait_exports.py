"""Let triggers wait in Airflow's trigger runner, as a plan in a file says: ``wait_exports FILE``.

No triggerer's supervisor and no database: connections come from the environment, what is logged becomes JSON
and goes nowhere, events stay in the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import time
import urllib.request
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from airflow.jobs.triggerer_job_runner import TriggerRunner
from airflow.sdk.log import configure_logging

from benchmarks.probes.run_triggers import Collections

TICK = 0.02
"""Seconds between two ticks on an idle loop."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do. Moments are seconds after the server's clock was started."""

    url: str
    """The server."""
    triggers: list[tuple[int, str, dict[str, Any]]]
    """Number, class path and arguments of each, as the metadata database holds them."""
    first: int = 0
    """How many of them are started before the others, to see what each further one takes."""
    rest_from: float = 0.0
    """When the others are started."""
    window: tuple[float, float] = (0.0, 0.0)
    """Seconds after the last trigger was started, and length, of the time in which waiting is measured."""
    end: float = 0.0
    """When to stop at the latest, but not before that; earlier when all have fired."""
    restarted: bool = False
    """Whether the server's clock goes on from an earlier start."""
    events: str = ""
    """File to which each trigger that has fired is appended, as a triggerer tells the metadata database."""
    wait_for_all: bool = True
    """Whether to end before ``end`` when all have fired."""
    profile: str = ""
    """File for a profile of the window; the figures of that run mean nothing."""


@dataclass
class Ticks:
    """What a ticker on the loop has seen."""

    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Moment (monotonic) and length of each gap between two ticks."""
    collections: Collections = field(default_factory=Collections)
    """The garbage collections meanwhile."""

    async def tick(self) -> None:
        """Tick for ever."""
        while True:
            started = time.monotonic()
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self.gaps.append((now, now - started))

    def seen(self, since: float, until: float) -> dict[str, float]:
        """Return p99 and longest gap between two moments, and the longest without garbage collections."""
        found = [(moment, length) for moment, length in self.gaps if since <= moment <= until]
        own = [
            length
            - sum(
                max(0.0, min(end, moment) - max(begin, moment - length))
                for begin, end in self.collections.felt
            )
            for moment, length in found
        ]
        lengths = [length for _, length in found]
        return {
            "p99": statistics.quantiles(lengths, n=100)[98]
            if len(lengths) > 1
            else max(lengths, default=0.0),
            "longest": max(lengths, default=0.0),
            "longest_own": max(own, default=0.0),
        }


class Events(deque[Any]):
    """The runner's queue of events, with the moment of each."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.fired: dict[int, list[float]] = {}
        self.bad: list[str] = []
        # Unbuffered: the process may be killed at any moment.
        self._file = open(file, "ab", buffering=0) if file else None  # noqa: SIM115 - as long as the process

    def append(self, entry: Any) -> None:
        self.fired.setdefault(entry.trigger_id, []).append(time.time())
        payload = entry.event.payload
        if payload is not True and payload.get("state") != "ready" and payload.get("status") != "success":
            self.bad.append(str(payload.get("error") or payload)[:300])
        if self._file is not None:
            self._file.write(f"{entry.trigger_id}\n".encode())


def memory() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ask(url: str, method: str = "GET") -> bytes:
    """Call the server's control interface, blocking."""
    request = urllib.request.Request(url, method=method)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return bytes(answer.read())


async def wait(plan: Plan) -> dict[str, Any]:
    """Do what the plan says and return what it was like."""
    runner = TriggerRunner()
    runner.log = structlog.get_logger()
    runner.events = events = Events(plan.events)
    ticks = Ticks()
    watchdog = asyncio.create_task(runner.block_watchdog())
    gc.collect()
    ticker = asyncio.create_task(ticks.tick())
    if not plan.restarted:
        await asyncio.to_thread(ask, f"{plan.url}/-/start", "POST")
    clock = time.time()
    begun, cpu_begun = time.monotonic(), time.process_time()
    started: dict[int, float] = {}

    async def until(moment: float) -> None:
        await asyncio.sleep(max(0.0, begun + moment - time.monotonic()))

    async def start(triggers: list[tuple[int, str, dict[str, Any]]]) -> None:
        for trigger_id, class_path, arguments in triggers:
            # As TriggerRunner.create_triggers.
            await asyncio.sleep(0)
            trigger_class = runner.get_trigger_by_classpath(class_path)
            await asyncio.sleep(0)
            details = {"task": None, "is_watcher": False, "name": f"bench {trigger_id}", "events": 0}
            runner.triggers[trigger_id] = details
            started[trigger_id] = time.time() - clock
            details["task"] = asyncio.create_task(runner.run_trigger(trigger_id, trigger_class(**arguments)))

    result: dict[str, Any] = {}
    await start(plan.triggers[: plan.first])
    if plan.first:
        await until(plan.rest_from)
        result["memory_first"] = memory()
    cpu = time.process_time()
    since = time.monotonic()
    await start(plan.triggers[plan.first :])
    # The last of them have only begun.
    await asyncio.sleep(0.5)
    result["starting"] = {
        "seconds": time.monotonic() - since,
        "cpu": time.process_time() - cpu,
        **ticks.seen(since, time.monotonic()),
    }
    print("waiting", flush=True)
    if plan.window[1]:
        await asyncio.sleep(plan.window[0])
        counts = json.loads(await asyncio.to_thread(ask, f"{plan.url}/-/counts"))
        profile: Any = None
        if plan.profile:
            import cProfile

            profile = cProfile.Profile()
            profile.enable()
        since, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(plan.window[1])
        if profile is not None:
            profile.disable()
            profile.dump_stats(plan.profile)
        result["window"] = {
            "seconds": time.monotonic() - since,
            "cpu": time.process_time() - cpu,
            "counts": [counts, json.loads(await asyncio.to_thread(ask, f"{plan.url}/-/counts"))],
            **ticks.seen(since, time.monotonic()),
        }
        result["memory_waiting"] = memory()
    tasks = [details["task"] for details in runner.triggers.values()]
    left = max(0.0, begun + plan.end - time.monotonic())
    if tasks and plan.wait_for_all:
        await asyncio.wait(tasks, timeout=left)
    else:
        await asyncio.sleep(left)
    ended = time.monotonic()
    result["overall"] = {
        "seconds": ended - begun,
        "cpu": time.process_time() - cpu_begun,
        "longest_collection": ticks.collections.longest,
        **ticks.seen(begun, ended),
    }
    result["memory_last"] = memory()
    result["started"] = started
    result["fired"] = {one: [moment - clock for moment in moments] for one, moments in events.fired.items()}
    result["bad"] = events.bad
    for task in (*tasks, ticker):
        task.cancel()
    runner.stop = True
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, ticker, watchdog, return_exceptions=True)
    return result


def main() -> None:
    """Run and report."""
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    with open(os.devnull, "wb") as nowhere:
        # As in a triggerer, whose supervisor reads what is written here.
        configure_logging(json_output=True, output=nowhere, sending_to_supervisor=True)
        result = asyncio.run(wait(plan))
    print()
    print(json.dumps(result))


if __name__ == "__main__":
    main()

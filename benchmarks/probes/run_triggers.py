"""Run waves of triggers in Airflow's trigger runner: ``run_triggers SUBJECT COUNT [COUNT …]``.

No triggerer's supervisor and no database: connections come from the environment, events stay in the runner.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
import time
from typing import Any

import structlog
from airflow.jobs.triggerer_job_runner import TriggerRunner

from benchmarks.server import export_id

EXPORTS = "airflow_provider_exports.triggers.export.ExportTrigger"
SUBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mews": (
        EXPORTS,
        {"conn_id": "bench_mews", "vendor": "mews", "first_poll_delay": 0},
    ),
    "giosg": (
        EXPORTS,
        {"conn_id": "bench_giosg", "vendor": "giosg", "first_poll_delay": 0},
    ),
    "airbyte": (
        "airflow.providers.airbyte.triggers.airbyte.AirbyteSyncTrigger",
        {"conn_id": "bench_airbyte", "job_id": 1, "end_time": time.time() + 3600, "poll_interval": 60},
    ),
    "http": (
        "airflow.providers.http.triggers.http.HttpTrigger",
        {"http_conn_id": "bench_http", "method": "GET", "endpoint": "/job"},
    ),
    "idle": ("", {}),
}
TICK = 0.05
"""Seconds between two ticks on an idle loop."""
lines: list[str] = []


class Lines:
    """A structlog logger that keeps what is logged."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        """Keep one line."""
        lines.append(message)

    debug = info = warning = error = critical = exception = msg


class Collections:
    """Watches the garbage collector, which stops the loop like everything else."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.felt: list[tuple[float, float]] = []
        """Begin and end (monotonic) of those that took 5 ms or more."""
        self._started = 0.0
        gc.callbacks.append(self._watch)

    def stop(self) -> None:
        """Stop watching."""
        gc.callbacks.remove(self._watch)

    def _watch(self, phase: str, _: object) -> None:
        if phase == "start":
            self._started = time.monotonic()
        else:
            ended = time.monotonic()
            self.longest = max(self.longest, ended - self._started)
            if ended - self._started >= 0.005:
                self.felt.append((self._started, ended))


async def run_waves(subject: str, counts: list[int]) -> list[dict[str, Any]]:
    """Run one wave after the other on one runner and return what each was like."""
    runner = TriggerRunner()
    runner.log = structlog.get_logger()
    watchdog = asyncio.create_task(runner.block_watchdog())
    results = []
    for count in counts:
        # A full collection of Airflow's own objects takes longer than the gaps that are looked for. One that
        # is due since the start of the process would fall into any wave, whatever its triggers do.
        gc.collect()
        await asyncio.sleep(0.5)
        results.append(await run_wave(runner, subject, count))
    runner.stop = True
    await watchdog
    return results


async def run_wave(runner: TriggerRunner, subject: str, count: int) -> dict[str, Any]:
    """Start ``count`` triggers as the runner does, and wait for all of them."""
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            started = time.monotonic()
            await asyncio.sleep(TICK)
            gaps.append(time.monotonic() - started)

    collections = Collections()
    lines.clear()
    runner.events.clear()
    runner.triggers.clear()
    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0.2)
    gaps.clear()
    started, cpu = time.monotonic(), time.process_time()
    class_path, arguments = SUBJECTS[subject]
    for trigger_id in range(1, count + 1):
        # As TriggerRunner.create_triggers: the class is imported on the loop, on first use.
        await asyncio.sleep(0)
        trigger_class = runner.get_trigger_by_classpath(class_path)
        await asyncio.sleep(0)
        details = {"task": None, "is_watcher": False, "name": f"bench {trigger_id}", "events": 0}
        runner.triggers[trigger_id] = details
        each = {"export_id": export_id(trigger_id)} if class_path == EXPORTS else {}
        trigger = trigger_class(**arguments, **each)
        details["task"] = asyncio.create_task(runner.run_trigger(trigger_id, trigger))
    await asyncio.gather(*(details["task"] for details in runner.triggers.values()))
    total, cpu = time.monotonic() - started, time.process_time() - cpu
    # An idle loop is watched as long as the triggers take; a blocked one gets to log what it has noticed.
    await asyncio.sleep(0.3 if count else 1.3)
    ticker.cancel()
    collections.stop()
    return {
        "total": total,
        "cpu": cpu,
        "longest_gap": max(gaps),
        "gaps_over_100_ms": sum(gap > 0.1 for gap in gaps),
        "longest_collection": collections.longest,
        "watchdog_lines": sum("was blocked" in line for line in lines),
        "good_events": sum(is_good(entry.event.payload) for entry in runner.events),
    }


def is_good(payload: dict[str, Any]) -> bool:
    """Return whether an event says that the job is done."""
    return payload.get("state") == "ready" or payload.get("status") == "success"


def main() -> None:
    """Run and report."""
    structlog.configure(
        processors=[structlog.stdlib.PositionalArgumentsFormatter(), structlog.processors.KeyValueRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=Lines,
        cache_logger_on_first_use=False,
    )
    logging.disable(logging.CRITICAL)
    results = asyncio.run(run_waves(sys.argv[1], [int(count) for count in sys.argv[2:]]))
    print()
    print(json.dumps(results))


if __name__ == "__main__":
    main()

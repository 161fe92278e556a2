"""Let one trigger wait for 3 s against the server its connection leads to: ``poll_errors SUBJECT``."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import structlog
from airflow.providers.http.triggers.http import HttpSensorTrigger
from airflow.triggers.base import BaseTrigger

from airflow_provider_exports.triggers.export import ExportTrigger, _import_hook

EXPORT_ID = "11111111-1111-4111-8111-111111111111"
SECONDS = 3.0


def trigger(subject: str) -> BaseTrigger:
    """Return the trigger, with the pace it has when nothing is said."""
    if subject == "http":
        return HttpSensorTrigger(http_conn_id="bench_http", endpoint="/job", poke_interval=60)
    return ExportTrigger(conn_id=f"bench_{subject}", vendor=subject, export_id=EXPORT_ID, first_poll_delay=0)


async def first_event(waiting: BaseTrigger) -> Any:
    """Return the payload of the trigger's first event."""
    async for event in waiting.run():
        return event.payload
    return None


async def watch(subject: str) -> dict[str, Any]:
    """Wait 3 s and return how the trigger spent them."""
    cpu = time.process_time()
    task = asyncio.create_task(first_event(trigger(subject)))
    done, _ = await asyncio.wait({task}, timeout=SECONDS)
    cpu = time.process_time() - cpu
    task.cancel()
    return {"cpu": cpu, "ended": how_it_ended(task) if done else "still waiting"}


def how_it_ended(task: asyncio.Task[Any]) -> str:
    """Return the error that ended the wait, or that it fired."""
    if (error := task.exception()) is not None:
        return type(error).__name__
    payload = task.result()
    return payload["error"]["type"] if isinstance(payload, dict) and "error" in payload else "fired"


def main() -> None:
    """Wait and report."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    subject = sys.argv[1]
    # The time is for waiting, not for imports.
    _import_hook(None if subject == "http" else subject)
    print()
    print(json.dumps(asyncio.run(watch(subject))))


if __name__ == "__main__":
    main()

"""The only trigger: waits for an export of any vendor, or for the moment when one may be created."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_exports.core.model import ExportState
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.durable import wanted_no_more
from airflow_provider_exports.exceptions import ExportError, UnexpectedResponse, error_from_event

EVENT_VERSION = 1
MINIMUM_DELAY = 10.0
"""Seconds before a trigger may fire: one that fires at once loses tasks to a race in Airflow
(apache/airflow#71580; 6 of 12 tasks failed at 0 s, none at 15 s)."""

_CANCELS: set[asyncio.Task[None]] = set()
"""Cancels under way: the event loop itself holds no task."""


class ExportTrigger(BaseTrigger):
    """Wait in the triggerer, without a worker slot.

    Arguments and event hold ids, states and numbers only: both are stored in the metadata database and
    logged. It never creates an export, and a restart or a move to another triggerer never cancels one.

    :param conn_id: Airflow connection.
    :param vendor: vendor name, for messages.
    :param export_id: export to wait for; None for a turn in ``queue``, or only until ``not_before``.
    :param until: states that end the wait.
    :param poll_interval: fixed seconds between looks; None takes the connection's growing pace.
    :param end_time: deadline, epoch seconds; absolute, so that a restart of the triggerer does not extend it.
    :param first_poll_delay: seconds before the first look.
    :param not_before: epoch seconds before which nothing happens.
    :param run_due: start of the run to wait for, epoch seconds, of an export that the vendor repeats.
    :param next_run_due: start of the run after it.
    :param known: whether the export has been seen, so that *not found* means that it is gone.
    :param cancel_on_kill: whether to cancel the export when somebody ends the waiting task (Airflow 3.3).
    :param queue: queue of the vendor in which creates wait for each other; of an export that is waited for,
        the one in which it takes up room.
    :param queued_at: since when the task waits for its turn, epoch seconds: who came first is first.
    :param next_try: when to try, epoch seconds, although nothing tells that there is room.
    """

    def __init__(
        self,
        conn_id: str,
        vendor: str | None = None,
        export_id: str | None = None,
        until: Sequence[str] = (ExportState.READY.value,),
        poll_interval: float | None = None,
        end_time: float | None = None,
        first_poll_delay: float = MINIMUM_DELAY,
        not_before: float | None = None,
        run_due: float | None = None,
        next_run_due: float | None = None,
        known: bool = False,
        cancel_on_kill: bool = False,
        queue: str | None = None,
        queued_at: float | None = None,
        next_try: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.vendor = vendor
        self.export_id = export_id
        self.until = list(until)
        self.poll_interval = poll_interval
        self.end_time = end_time
        self.first_poll_delay = first_poll_delay
        self.not_before = not_before
        self.run_due = run_due
        self.next_run_due = next_run_due
        self.known = known
        self.cancel_on_kill = cancel_on_kill
        self.vendor_queue = queue
        self.queued_at = queued_at
        self.next_try = next_try

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_provider_exports.triggers.export.ExportTrigger",
            {
                "conn_id": self.conn_id,
                "vendor": self.vendor,
                "export_id": self.export_id,
                "until": self.until,
                "poll_interval": self.poll_interval,
                "end_time": self.end_time,
                "first_poll_delay": self.first_poll_delay,
                "not_before": self.not_before,
                "run_due": self.run_due,
                "next_run_due": self.next_run_due,
                "known": self.known,
                "cancel_on_kill": self.cancel_on_kill,
                "queue": self.vendor_queue,
                "queued_at": self.queued_at,
                "next_try": self.next_try,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: a state that was waited for, or the error that ended the wait."""
        event: dict[str, Any] = {"v": EVENT_VERSION, "vendor": self.vendor, "export_id": self.export_id}
        not_before = time.time() + (MINIMUM_DELAY if self.first_poll_delay else 0.0)
        try:
            event["state"] = await self._wait()
        except ExportError as error:
            event["error"] = error.to_event()
        except Exception as error:
            # Only the class goes into the event: an unforeseen message may quote anything.
            self.log.exception("Waiting for %s export %s failed", self.vendor, self.export_id)
            event["error"] = {
                "type": type(error).__name__,
                "message": "the trigger met an unforeseen error, see its log.",
                "vendor": self.vendor,
                "export_id": self.export_id,
            }
        if "error" in event:
            # What cannot even begin, such as with a connection that is gone, fails at once.
            await asyncio.sleep(max(0.0, not_before - time.time()))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self) -> str | None:
        if self.not_before is not None:
            await asyncio.sleep(max(0.0, self.not_before - time.time()))
        if self.export_id is None and self.vendor_queue is None:
            return None
        if self.vendor not in _LOADED:
            await asyncio.to_thread(_import_hook, self.vendor)
        hook_class = _LOADED[self.vendor]
        poll = None if self.poll_interval is None else PollRule.every(self.poll_interval)
        from airflow_provider_exports.transports import poller

        # What is read is not kept here: thousands may wait.
        shared = await poller.connected(
            self.conn_id,
            self.vendor,
            lambda: hook_class(self.conn_id, vendor_name=self.vendor).aget_vendor(),
        )
        if self.export_id is None:
            await shared.turn(
                str(self.vendor_queue),
                self.log,
                queued_at=self.queued_at,
                next_try=self.next_try,
                deadline=self.end_time,
            )
            return None
        export = await shared.wait(
            self.export_id,
            self.log,
            until=[ExportState(state) for state in self.until],
            deadline=self.end_time,
            poll=poll,
            # Spread, so that tasks which were deferred together do not wake up together.
            first_delay=self.first_poll_delay * (1 + 0.5 * random.random()),
            run_due=self.run_due,
            next_run_due=self.next_run_due,
            known=self.known,
            queue=self.vendor_queue,
        )
        return str(export.state)

    async def on_kill(self) -> None:
        """Cancel the export if somebody has ended the task.

        Airflow calls this also when it only moves the trigger to another triggerer, or when the task was
        cleared and its next try takes the export up.
        """
        if not self.cancel_on_kill or self.export_id is None or self.task_instance is None:
            return
        # Airflow 3.3 cancels this again with each look at its list, a second later, until it has ended.
        work = asyncio.create_task(self._cancel_if_unwanted(self.export_id))
        _CANCELS.add(work)
        work.add_done_callback(_CANCELS.discard)
        await asyncio.shield(work)

    async def _cancel_if_unwanted(self, export_id: str) -> None:
        from asgiref.sync import sync_to_async

        try:
            # Not a thread of our own: Airflow's channel finds its way back to this loop through asgiref only.
            if not await sync_to_async(wanted_no_more)(self.task_instance):
                return
            hook_class = await asyncio.to_thread(_import_hook, self.vendor)
            hook = hook_class(self.conn_id, vendor_name=self.vendor)
            await hook.arun_plan(lambda life: life.cancel(export_id))
        except Exception:
            self.log.exception("%s export %s could not be cancelled", self.vendor, export_id)


def awaited_export(event: dict[str, Any] | None) -> tuple[str, ExportState] | None:
    """Return id and state of the awaited export, None if only time was waited for; or raise what went wrong.

    The id comes from the event: Airflow's inline runner (``dags test``) drops the arguments of a deferral.
    Fails closed: whatever is not understood (the event may have crossed an upgrade) is an error.
    """
    if isinstance(event, dict) and isinstance(event.get("error"), dict):
        raise error_from_event(event["error"])
    try:
        if not isinstance(event, dict) or event["v"] != EVENT_VERSION:
            raise ValueError
        export_id, state = event["export_id"], event["state"]
        if export_id is None and state is None:
            return None
        if not isinstance(export_id, str):
            raise ValueError
        return export_id, ExportState(state)
    except (KeyError, ValueError):
        raise not_understood() from None


def not_understood() -> UnexpectedResponse:
    """Return the error for an event that does not fit the task."""
    return UnexpectedResponse(
        "the trigger's event is not understood.",
        next_step="Triggerer and worker may run different versions of airflow-provider-exports.",
    )


def _import_hook(vendor: str | None) -> Any:
    """Load all that a wait needs; in a thread, so that it does not hold up every other trigger."""
    import airflow_provider_exports.transports.poller  # noqa: F401 - loaded here, used by the trigger
    from airflow_provider_exports.core.registry import vendor_class
    from airflow_provider_exports.hooks.export import ExportHook

    if vendor is not None:
        vendor_class(vendor).load_schemas()
    _LOADED[vendor] = ExportHook
    return ExportHook


_LOADED: dict[str | None, Any] = {}
"""The hook, for each vendor of which all is loaded."""

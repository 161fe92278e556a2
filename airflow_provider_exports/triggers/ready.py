"""Start a DAG when an export becomes ready, whoever has made it: a trigger for an asset watcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from typing import Any

from airflow.providers.common.compat.triggers import BaseEventTrigger
from airflow.triggers.base import TriggerEvent

from airflow_provider_exports.core.model import Export, ExportState
from airflow_provider_exports.exceptions import ExportError, ExportRejected
from airflow_provider_exports.triggers.export import EVENT_VERSION

SEEN = "seen"
"""Key in the asset's state store (Airflow 3.3)."""
MOST_SEEN = 1000
"""Exports that are remembered, the newest, of those that the vendor does not show any more."""
READ_AGAIN = (1.0, 5.0, 15.0)
"""Seconds before what was told is read again from a store that does not answer."""
LONGEST_PAUSE = 3600.0
"""Seconds between two looks at most, while they fail."""


class ExportReadyTrigger(BaseEventTrigger):
    """Fire once for each export that becomes ready: of a connection, or each run of one that repeats.

    ::

        ready = Asset("reports", watchers=[AssetWatcher(
            name="giosg", trigger=ExportReadyTrigger(conn_id="giosg_default", vendor="giosg")
        )])

        with DAG("load", schedule=[ready]): …

    What is ready when the watcher starts for the first time is not told. From Airflow 3.3 on the asset's
    state store remembers what was, so that a restart neither forgets nor repeats; before, what becomes ready
    while no triggerer runs is not told. After a crash an export may be told twice.

    The asset event's ``extra`` holds ``vendor``, ``export_id``, ``created_at``, ``expires_at`` and
    ``run_started_at``; never a link.

    :param conn_id: Airflow connection.
    :param vendor: vendor name.
    :param export_id: one export, each new run of which is told; None for all that the credentials can see,
        where the vendor lists exports with their states.
    :param poll_interval: seconds between two looks; triggers that look at the same share them (Airflow 3.3).
    """

    # Without this a deployment whose triggerers all name queues would run it nowhere.
    supports_triggerer_queue = True

    def __init__(
        self,
        conn_id: str,
        vendor: str,
        export_id: str | None = None,
        poll_interval: float = 300.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.vendor = vendor
        self.export_id = export_id
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            "airflow_provider_exports.triggers.ready.ExportReadyTrigger",
            {
                "conn_id": self.conn_id,
                "vendor": self.vendor,
                "export_id": self.export_id,
                "poll_interval": self.poll_interval,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """Say which triggers may share one stream of looks."""
        _, kwargs = self.serialize()
        return ("airflow_provider_exports", *kwargs.values())

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield what is ready, again and again: a mapping of keys to the payloads of their events.

        It never ends and never raises: a vendor that is not well is asked less often.
        """
        trigger = cls(**kwargs)
        failures = 0
        while True:
            pause = trigger.poll_interval
            try:
                found = await trigger._look()
            except Exception as error:  # noqa: BLE001 - a watcher that ends is not started again
                failures += 1
                asked = getattr(error, "retry_after", None) or 0.0
                pause = max(asked, min(pause * 2 ** min(failures, 12), LONGEST_PAUSE))
                said = error if isinstance(error, ExportError) else type(error).__name__
                trigger.log.warning("%s Next look in %.0f s.", said, pause)
            else:
                failures = 0
                yield found
            await asyncio.sleep(max(pause, 1.0))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[dict[str, Any]]
    ) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each export that has not been told."""
        seen = await self._recall()
        async for found in shared_stream:
            if seen is None:
                seen = list(found)
                await self._remember(seen)
                continue
            for key in [key for key in found if key not in seen]:
                yield TriggerEvent(found[key])  # type: ignore[no-untyped-call]
                # What is still listed is never forgotten, or it would be told again.
                gone = [one for one in seen if one not in found][-MOST_SEEN:]
                seen = [*gone, *(one for one in seen if one in found), key]
                await self._remember(seen)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look alone, where Airflow knows no shared streams."""
        _, kwargs = self.serialize()
        async for event in self.filter_shared_stream(self.open_shared_stream(kwargs)):
            yield event

    async def _look(self) -> dict[str, Any]:
        from airflow_provider_exports.triggers.export import _import_hook

        hook_class = await asyncio.to_thread(_import_hook, self.vendor)
        hook = hook_class(self.conn_id, vendor_name=self.vendor)
        vendor = await hook.aget_vendor()
        if self.export_id is None and not vendor.lists_states:
            raise ExportRejected(
                "the vendor lists no exports with their states.",
                vendor=vendor.name,
                next_step="Name the export that the trigger is to watch.",
            )
        if self.export_id is None:
            exports = await hook.arun_plan(lambda life: life.call(life.vendor.list_exports()))
        else:
            export_id = self.export_id
            exports = [await hook.arun_plan(lambda life: life.check(export_id))]
        # The oldest first: they are told in the order in which they were made.
        ready = [export for export in exports if export.state is ExportState.READY][::-1]
        return {_key(export): _payload(export) for export in ready}

    async def _recall(self) -> list[str] | None:
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return None
        for pause in (*READ_AGAIN, None):
            try:
                found = await store.aget(SEEN)
            except Exception as error:  # noqa: BLE001 - a watcher of several assets has no store of its own
                if pause is None:
                    self.log.warning("Airflow does not remember what was told (%s).", type(error).__name__)
                else:
                    # What became ready since would count as old, and never be told.
                    await asyncio.sleep(pause)
            else:
                return found if isinstance(found, list) else None
        return None

    async def _remember(self, seen: list[str]) -> None:
        store = getattr(self, "asset_state_store", None)
        if store is None:
            return
        try:
            await store.aset(SEEN, seen)
        except Exception as error:  # noqa: BLE001 - as above
            self.log.warning("Airflow does not remember what was told (%s).", type(error).__name__)


def _key(export: Export) -> str:
    started = export.run_started_at
    return export.export_id if started is None else f"{export.export_id}@{started.isoformat()}"


def _payload(export: Export) -> dict[str, Any]:
    moments = {
        name: None if value is None else value.isoformat()
        for name, value in (
            ("created_at", export.created_at),
            ("expires_at", export.expires_at),
            ("run_started_at", export.run_started_at),
        )
    }
    return {"v": EVENT_VERSION, "vendor": export.vendor, "export_id": export.export_id, **moments}

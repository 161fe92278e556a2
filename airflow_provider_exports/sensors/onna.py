"""Onna sensor."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_exports.sensors.export import ExportSensor


class OnnaExportSensor(ExportSensor):
    """Wait until an Onna export is in a state.

    :param onna_conn_id: connection of type ``onna``.

    The other parameters are those of :class:`~airflow_provider_exports.sensors.export.ExportSensor`.
    """

    vendor_name: ClassVar[str | None] = "onna"

    def __init__(self, *, onna_conn_id: str = "onna_default", **kwargs: Any) -> None:
        super().__init__(conn_id=onna_conn_id, **kwargs)

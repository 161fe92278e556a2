"""Medable sensor."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_exports.sensors.export import ExportSensor


class MedableExportSensor(ExportSensor):
    """Wait until a Medable export is in a state.

    :param medable_conn_id: connection of type ``medable``.

    The other parameters are those of :class:`~airflow_provider_exports.sensors.export.ExportSensor`.
    """

    vendor_name: ClassVar[str | None] = "medable"

    def __init__(self, *, medable_conn_id: str = "medable_default", **kwargs: Any) -> None:
        super().__init__(conn_id=medable_conn_id, **kwargs)

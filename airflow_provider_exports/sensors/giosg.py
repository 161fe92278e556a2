"""giosg sensor."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_exports.sensors.export import ExportSensor


class GiosgExportSensor(ExportSensor):
    """Wait until a giosg export is in a state.

    :param giosg_conn_id: connection of type ``giosg``.

    The other parameters are those of :class:`~airflow_provider_exports.sensors.export.ExportSensor`.
    """

    vendor_name: ClassVar[str | None] = "giosg"

    def __init__(self, *, giosg_conn_id: str = "giosg_default", **kwargs: Any) -> None:
        super().__init__(conn_id=giosg_conn_id, **kwargs)

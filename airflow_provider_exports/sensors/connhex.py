"""Connhex sensor."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_exports.sensors.export import ExportSensor


class ConnhexExportSensor(ExportSensor):
    """Wait until a Connhex export is in a state.

    :param connhex_conn_id: connection of type ``connhex``.

    The other parameters are those of :class:`~airflow_provider_exports.sensors.export.ExportSensor`.
    """

    vendor_name: ClassVar[str | None] = "connhex"

    def __init__(self, *, connhex_conn_id: str = "connhex_default", **kwargs: Any) -> None:
        super().__init__(conn_id=connhex_conn_id, **kwargs)

"""Mews sensor."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_exports.sensors.export import ExportSensor


class MewsExportSensor(ExportSensor):
    """Wait until a Mews export is in a state.

    :param mews_conn_id: connection of type ``mews``.

    The other parameters are those of :class:`~airflow_provider_exports.sensors.export.ExportSensor`.
    """

    vendor_name: ClassVar[str | None] = "mews"

    def __init__(self, *, mews_conn_id: str = "mews_default", **kwargs: Any) -> None:
        super().__init__(conn_id=mews_conn_id, **kwargs)

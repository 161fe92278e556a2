"""Medable hook."""

from __future__ import annotations

from airflow_provider_exports.hooks.export import ExportHook


class MedableHook(ExportHook):
    """Exports of Medable Cortex.

    :param medable_conn_id: connection of type ``medable``.
    """

    conn_name_attr = "medable_conn_id"
    default_conn_name = "medable_default"
    conn_type = vendor_name = "medable"
    hook_name = "Medable"

    def __init__(self, medable_conn_id: str = default_conn_name, *, method: str = "GET") -> None:
        super().__init__(medable_conn_id, method=method)
        self.medable_conn_id = medable_conn_id

"""Onna hook."""

from __future__ import annotations

from airflow_provider_exports.hooks.export import ExportHook


class OnnaHook(ExportHook):
    """Exports of Onna's legacy API.

    :param onna_conn_id: connection of type ``onna``.
    """

    conn_name_attr = "onna_conn_id"
    default_conn_name = "onna_default"
    conn_type = vendor_name = "onna"
    hook_name = "Onna"

    def __init__(self, onna_conn_id: str = default_conn_name, *, method: str = "GET") -> None:
        super().__init__(onna_conn_id, method=method)
        self.onna_conn_id = onna_conn_id

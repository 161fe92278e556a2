"""Connhex hook."""

from __future__ import annotations

from airflow_provider_exports.hooks.export import ExportHook


class ConnhexHook(ExportHook):
    """Exports of Connhex.

    :param connhex_conn_id: connection of type ``connhex``.
    """

    conn_name_attr = "connhex_conn_id"
    default_conn_name = "connhex_default"
    conn_type = vendor_name = "connhex"
    hook_name = "Connhex"

    def __init__(self, connhex_conn_id: str = default_conn_name, *, method: str = "GET") -> None:
        super().__init__(connhex_conn_id, method=method)
        self.connhex_conn_id = connhex_conn_id

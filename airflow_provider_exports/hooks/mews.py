"""Mews hook."""

from __future__ import annotations

from airflow_provider_exports.hooks.export import ExportHook


class MewsHook(ExportHook):
    """Exports of Mews.

    :param mews_conn_id: connection of type ``mews``.
    """

    conn_name_attr = "mews_conn_id"
    default_conn_name = "mews_default"
    conn_type = vendor_name = "mews"
    hook_name = "Mews"

    def __init__(self, mews_conn_id: str = default_conn_name, *, method: str = "POST") -> None:
        super().__init__(mews_conn_id, method=method)
        self.mews_conn_id = mews_conn_id

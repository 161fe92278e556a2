"""giosg hook."""

from __future__ import annotations

from airflow_provider_exports.hooks.export import ExportHook


class GiosgHook(ExportHook):
    """Report exports of giosg.

    :param giosg_conn_id: connection of type ``giosg``.
    """

    conn_name_attr = "giosg_conn_id"
    default_conn_name = "giosg_default"
    conn_type = vendor_name = "giosg"
    hook_name = "giosg"

    def __init__(self, giosg_conn_id: str = default_conn_name, *, method: str = "GET") -> None:
        super().__init__(giosg_conn_id, method=method)
        self.giosg_conn_id = giosg_conn_id

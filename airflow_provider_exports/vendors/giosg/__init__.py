"""giosg, a live-chat platform: HTTP API, *Report Exports*."""

from airflow_provider_exports.vendors.giosg.vendor import GiosgSettings, GiosgVendor

__all__ = ["GiosgSettings", "GiosgVendor"]

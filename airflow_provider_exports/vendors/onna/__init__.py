"""Onna, an archive of workplace content: legacy API, *Create exports*."""

from airflow_provider_exports.vendors.onna.vendor import OnnaSettings, OnnaVendor

__all__ = ["OnnaSettings", "OnnaVendor"]

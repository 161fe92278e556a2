"""Onna, an archive of workplace content: legacy API, *Create exports*."""

from airflow_provider_exports.vendors.onna.settings import OnnaSettings
from airflow_provider_exports.vendors.onna.vendor import OnnaVendor

__all__ = ["OnnaSettings", "OnnaVendor"]

"""Connhex, an IoT platform: *Exporter* API."""

from airflow_provider_exports.vendors.connhex.settings import ConnhexSettings
from airflow_provider_exports.vendors.connhex.vendor import ConnhexVendor

__all__ = ["ConnhexSettings", "ConnhexVendor"]

"""Connhex, an IoT platform: *Exporter* API."""

from airflow_provider_exports.vendors.connhex.vendor import ConnhexSettings, ConnhexVendor

__all__ = ["ConnhexSettings", "ConnhexVendor"]

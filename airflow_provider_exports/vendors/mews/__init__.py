"""Mews, a hotel property-management system: Connector API, operations *Exports*."""

from airflow_provider_exports.vendors.mews.vendor import MewsSettings, MewsVendor

__all__ = ["MewsSettings", "MewsVendor"]

"""Medable Cortex, a platform for clinical trials: Cortex API, *Export object*."""

from airflow_provider_exports.vendors.medable.vendor import MedableSettings, MedableVendor

__all__ = ["MedableSettings", "MedableVendor"]

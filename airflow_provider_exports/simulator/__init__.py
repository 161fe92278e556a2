"""Stands in for the vendors' APIs in tests, demos and tutorials; written from their documentation only."""

from airflow_provider_exports.simulator.app import Simulator

__all__ = ["Simulator"]

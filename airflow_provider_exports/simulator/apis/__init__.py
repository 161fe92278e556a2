"""The simulated vendors. A further one is a module here and a line in ``VENDORS``."""

from airflow_provider_exports.simulator.apis.base import VendorApi
from airflow_provider_exports.simulator.apis.giosg import GiosgApi
from airflow_provider_exports.simulator.apis.mews import MewsApi

__all__ = ["VENDORS"]

VENDORS: dict[str, type[VendorApi]] = {
    "giosg": GiosgApi,
    "mews": MewsApi,
}

"""The simulated vendors. A further one is a module here and a line in ``VENDORS``."""

from airflow_provider_exports.simulator.apis.base import VendorApi
from airflow_provider_exports.simulator.apis.connhex import ConnhexApi
from airflow_provider_exports.simulator.apis.giosg import GiosgApi
from airflow_provider_exports.simulator.apis.medable import MedableApi
from airflow_provider_exports.simulator.apis.mews import MewsApi
from airflow_provider_exports.simulator.apis.onna import OnnaApi

__all__ = ["VENDORS"]

VENDORS: dict[str, type[VendorApi]] = {
    "connhex": ConnhexApi,
    "giosg": GiosgApi,
    "medable": MedableApi,
    "mews": MewsApi,
    "onna": OnnaApi,
}

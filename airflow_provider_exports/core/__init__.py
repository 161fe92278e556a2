"""What a vendor author may import; no Airflow, no HTTP library, no clock."""

from airflow_provider_exports.core.auth import Auth, BodyFields, HeaderToken, Signing
from airflow_provider_exports.core.lifecycle import Lifecycle
from airflow_provider_exports.core.model import (
    Content,
    Datasource,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
)
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.retry import RetryRule
from airflow_provider_exports.core.turns import Room
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Expiry,
    Links,
    Vendor,
    VendorSettings,
)
from airflow_provider_exports.core.watch import raise_if_ended, raise_unless_ready
from airflow_provider_exports.core.wire import Flow, NetworkError, Plan, Request, Response

__all__ = [
    "Auth",
    "BodyFields",
    "Capability",
    "ConnectionInfo",
    "Content",
    "Datasource",
    "Expiry",
    "Export",
    "ExportFile",
    "ExportState",
    "Flow",
    "HeaderToken",
    "Lifecycle",
    "Links",
    "NetworkError",
    "Payload",
    "Plan",
    "PollRule",
    "Problem",
    "Request",
    "Response",
    "RetryRule",
    "Room",
    "Signing",
    "Vendor",
    "VendorSettings",
    "raise_if_ended",
    "raise_unless_ready",
]

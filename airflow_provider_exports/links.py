"""Where the links of a task lead: to the vendor's page of the export, and to the landed files."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode, urlsplit

from airflow_provider_exports.exceptions import InvalidConnection

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_exports.core.vendor import Vendor

EXPORT_PAGE = "export_page"
"""Key in the connection's Extra: the address of an export's page, with ``{export_id}`` in it."""
_CONSOLES = {
    "aws": "https://console.aws.amazon.com",
    "aws-cn": "https://console.amazonaws.cn",
    "aws-us-gov": "https://console.amazonaws-us-gov.com",
}
"""Partition to the address of the web console, as Airflow's Amazon provider has them."""


def export_page(vendor: Vendor, export_id: str) -> str | None:
    """Return the address of the export's page; None if the connection does not say it.

    No vendor documents one.

    :raises InvalidConnection: what it says is no web address, or would show a credential.
    """
    template = vendor.connection.extra.get(EXPORT_PAGE)
    if not template:
        return None
    shown = str(template).replace("{export_id}", quote(export_id, safe=""))
    try:
        parts = urlsplit(shown)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        whole = False
    if not whole or not shown.isprintable() or any(c in shown for c in ' "<>\\^`{|}'):
        raise InvalidConnection(f"the setting {EXPORT_PAGE!r} is no web address.", vendor=vendor.name)
    if any(secret in text for secret in vendor.secrets for text in (str(template), shown)):
        raise InvalidConnection(f"the setting {EXPORT_PAGE!r} holds a credential.", vendor=vendor.name)
    return shown


def files_page(folder: ObjectStoragePath) -> str | None:
    """Return the page of a folder in its store's web console; None where there is none that we know.

    :param folder: has been written to, so that its store is connected.
    """
    bucket, _, key = f"{folder.bucket}/{folder.key}".strip("/").partition("/")
    if folder.protocol in ("s3", "s3a", "s3n"):
        client = getattr(folder.fs, "s3", None)
        if client is None:
            return None
        store = client.meta
        host = urlsplit(store.endpoint_url or "").hostname or ""
        console = _CONSOLES.get(store.partition)
        # Other stores that speak S3 are not in Amazon's console.
        if console is None or not host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
            return None
        query = {"region": store.region_name or "", "prefix": f"{key}/" if key else ""}
        return f"{console}/s3/buckets/{quote(bucket)}?{urlencode({k: v for k, v in query.items() if v})}"
    if folder.protocol in ("gs", "gcs"):
        # The address that Airflow's Google provider links to.
        return f"https://console.cloud.google.com/storage/browser/{quote(f'{bucket}/{key}'.rstrip('/'))}"
    return None

"""What has landed, told to Airflow's assets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import Asset, AssetAlias, ObjectStoragePath

from airflow_provider_exports.core.model import Content
from airflow_provider_exports.landing.manifest import Manifest, file_name
from airflow_provider_exports.landing.names import lay_out

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_SFTP = ("sftp", "ssh")
MOST_BYTES = 16_000
"""Longest list of files in an asset event, bytes of JSON: some databases take 64 KiB at most."""


@dataclass(frozen=True)
class Landed:
    """The landed files of one export."""

    result: Mapping[str, Any]
    """The *export result*."""
    content: Content
    """What was asked for."""
    folder: ObjectStoragePath
    """Where the files lie."""
    manifest: str
    """URI of the manifest."""
    rows: Mapping[str, int]
    """File name to number of rows, of those files that have a known one."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file["size"] for file in self.result["files"])

    @property
    def row_count(self) -> int | None:
        """Rows of all files; None unless all are known."""
        names = [file["name"] for file in self.result["files"]]
        return sum(self.rows[name] for name in names) if all(name in self.rows for name in names) else None

    def extra(self) -> dict[str, Any]:
        """Return the ``extra`` of an asset event: JSON of bounded size, no link of the vendor in it.

        ``export_id, vendor, created_at, expires_at, window{start, end}, file_count, rows, bytes, manifest``
        and ``files[{uri, name, size, sha256, rows}]``. What is not known is None. A list of files that is
        too long is left out whole, so that nobody takes a part for all: the manifest names them.
        """
        files = [{**file, "rows": self.rows.get(file["name"])} for file in self.result["files"]]
        told = {
            **{name: self.result[name] for name in ("export_id", "vendor", "created_at", "expires_at")},
            "window": self.content.window,
            "file_count": len(files),
            "rows": self.row_count,
            "bytes": self.size,
            "manifest": self.manifest,
        }
        return {**told, "files": files} if len(json.dumps(files)) <= MOST_BYTES else told


def find_landed(
    result: Mapping[str, Any], content: Content, destination: str, layout: str, owner: str
) -> Landed:
    """Return what a task has landed, with the rows that its manifest tells.

    :param result: the *export result*.
    :param owner: the task instance that landed it.
    """
    path = ObjectStoragePath(destination)
    below, _ = lay_out(layout, result["vendor"], result["export_id"], [])
    folder = path / below if below else path
    alone = "{export_id}" in layout.rpartition("/")[0]
    manifest = folder / file_name(owner, result["export_id"], alone=alone)
    try:
        # As where it is written: the path's own read may go on without its connection.
        found = Manifest.from_json(manifest.fs.cat_file(manifest.path))
    except Exception:  # noqa: BLE001 - each store raises its own, and the files are there
        found = None
    files = found.files if found is not None and found.export_id == result["export_id"] else ()
    rows = {file.name: file.rows for file in files if file.rows is not None}
    return Landed(result, content, folder, str(manifest), rows)


def tell_outlets(context: Context, landed: Landed, partition_key: str | None = None) -> None:
    """Put what has landed into the events of the task's outlets.

    :param partition_key: the partition that the events are for, where Airflow knows some (3.3). None leaves
        it to Airflow, which takes the run's, if it has one.
    """
    events: Any = context.get("outlet_events")
    outlets = getattr(context.get("task"), "outlets", None)
    if events is None or not outlets:
        return
    extra = landed.extra()
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            event = events[outlet]
            event.add(Asset(uri_of(landed.folder)), extra={**event.extra, **extra})
        elif isinstance(outlet, (Asset, *_references())):
            event = events[outlet]
            event.extra = {**event.extra, **extra}
            if partition_key and hasattr(event, "add_partitions"):
                event.add_partitions(partition_key)


def _references() -> tuple[type, ...]:
    """Return the classes that name an asset which is defined elsewhere."""
    try:
        from airflow.sdk.definitions.asset import AssetRef
    except ImportError:  # before Airflow 3
        return ()
    return (AssetRef,)


def uri_of(path: ObjectStoragePath) -> str:
    """Return the URI of a path as the world knows it: without Airflow's connection in it."""
    namespace, name = place(path)
    # A URI ends at "#" or "?", and some versions of Airflow take ASCII only.
    name = quote(name, safe="/:@!$&'()*+,;=~")
    if namespace == "file":
        return f"file://{name}"
    uri = f"{namespace}/{name.lstrip('/')}"
    return f"sftp{uri.removeprefix('file')}" if path.protocol in _SFTP else uri


def place(path: ObjectStoragePath) -> tuple[str, str]:
    """Return namespace and name of a path by the rules of OpenLineage.

    Source: https://openlineage.io/docs/spec/naming, and for SFTP Airflow's own provider.
    """
    match path.protocol:
        case "file" | "local" | "":
            return "file", str(path.path)
        case scheme if scheme in _SFTP:
            options = path.fs.storage_options
            return f"file://{options.get('host')}:{options.get('port') or 22}", str(path.path)
        case "abfs" | "abfss":
            account = getattr(path.fs, "account_name", None)
            host = f"@{account}.dfs.core.windows.net" if account else ""
            return f"abfss://{path.bucket}{host}", path.key
        case "s3" | "s3a" | "s3n":
            scheme = "s3"
        case "gs" | "gcs":
            scheme = "gs"
        case other:
            scheme = other
    return f"{scheme}://{path.bucket}", path.key or "/"

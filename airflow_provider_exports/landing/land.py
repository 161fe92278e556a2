"""Land one export: look whether it has, else fetch, check, and publish its files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_exports.core.model import Export, Payload, fingerprint
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.vendor import Capability, Vendor
from airflow_provider_exports.exceptions import DownloadError, ExportError
from airflow_provider_exports.landing import archive
from airflow_provider_exports.landing.fetch import Links, fetch_all
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.landing.manifest import LandedFile, Manifest, file_name
from airflow_provider_exports.landing.names import lay_out
from airflow_provider_exports.landing.target import Target, open_target
from airflow_provider_exports.landing.transfer import Fetched
from airflow_provider_exports.transports.blocking import Log

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath


def land(
    vendor: Vendor,
    export: Export,
    destination: ObjectStoragePath,
    make_host: Callable[[], FileHost],
    read: Callable[[], Export],
    log: Log,
    *,
    layout: str,
    unpack: bool = False,
    owner: str | None = None,
    payload: Payload | None = None,
) -> dict[str, Any]:
    """Land the files of a ready export and return the *export result*.

    :param make_host: opens the session for files; not called when everything is there already.
    :param read: reads the export again, with fresh links.
    :param layout: see :func:`~airflow_provider_exports.landing.names.lay_out`.
    :param unpack: whether zips are taken apart, each into a folder of its own name.
    :param owner: the task instance: what it landed for an earlier export makes way for this one.
    :param payload: what was asked for, where it is known; it goes into the manifest.
    :raises DownloadError: they could not be landed; no incomplete file is visible at the destination.
    """
    folder, names = lay_out(layout, export.vendor, export.export_id, [file.name for file in export.files])
    own = identity(export)
    name = file_name(owner, own, alone="{export_id}" in layout.rpartition("/")[0])
    target = open_target(destination, folder, export.vendor, own, name)
    # One id of a repeated export stands for many runs: what is left of one is nothing to another.
    known = Capability.RECURRENCE not in vendor.capabilities or export.run_started_at is not None
    try:
        found = target.landed() if known else None
        if found is not None and found.unpacked == unpack:
            log.log(20, "%s export %s: has landed in %s", export.vendor, export.export_id, target.shown)
            return result(export, found, target)
        replaced = target.make_way(owner, names)
        with target.staged(fresh=not known) as staging:
            links = Links(vendor, export, read)
            with contextlib.closing(make_host()) as host:
                fetched = fetch_all(host, links, export, names, staging / "files", vendor, log)
            links.check_run()
            landed = _landed(export, names, fetched, staging / "files", unpack=unpack)
            if vendor.settings.file_mode:
                for one in landed:
                    (staging / "files" / one.name).chmod(int(vendor.settings.file_mode, 8))
            told = export.result()
            manifest = Manifest(
                vendor=export.vendor,
                export_id=export.export_id,
                identity=own,
                owner=owner,
                unpacked=unpack,
                files=tuple(landed),
                created_at=told["created_at"],
                expires_at=told["expires_at"],
                landed_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                payload=payload,
                payload_sha256=None if payload is None else fingerprint(payload),
            )
            target.publish(staging, manifest, replaced)
    except ExportError as error:
        error.vendor, error.export_id = error.vendor or export.vendor, error.export_id or export.export_id
        raise
    except OSError as error:
        raise DownloadError(
            f"{redact(str(destination))} cannot be written to: {error.strerror or type(error).__name__}.",
            vendor=export.vendor,
            export_id=export.export_id,
            next_step="Check the destination, its permissions and its free space.",
        ) from error
    count = len(manifest.files)
    log.log(20, "%s export %s: %d files landed in %s", export.vendor, export.export_id, count, target.shown)
    return result(export, manifest, target)


def _landed(
    export: Export, names: Sequence[str], fetched: Sequence[Fetched], folder: Path, *, unpack: bool
) -> list[LandedFile]:
    landed = []
    for file, name, one in zip(export.files, names, fetched, strict=True):
        if not (unpack and file.format == "zip"):
            landed.append(LandedFile(name, one.size, one.sha256, one.rows, one.announced))
            continue
        inner = one.path.with_suffix("")
        shutil.rmtree(inner, ignore_errors=True)
        landed += [
            LandedFile(f"{inner.name}/{member.name}", member.size, member.sha256, None, one.announced)
            for member in archive.unpack(one.path, folder / inner.name)
        ]
        one.path.unlink()
    return landed


def identity(export: Export) -> str:
    """Return what tells this export's files from all others: its id, and the run where it is repeated."""
    if export.run_started_at is None:
        return export.export_id
    return f"{export.export_id}-{export.run_started_at:%Y%m%dT%H%M%S}"


def result(export: Export, manifest: Manifest, target: Target) -> dict[str, Any]:
    """Return the *export result* of what has landed."""
    return export.result(
        [
            {"uri": target.uri(file.name), "name": file.name, "size": file.size, "sha256": file.sha256}
            for file in manifest.files
        ]
    )

"""Land one export: look whether it has, else fetch, check, and publish its files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_exports.core.model import Export, ExportFile, Payload, fingerprint
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.vendor import Capability, Vendor
from airflow_provider_exports.exceptions import DownloadError, ExportError
from airflow_provider_exports.landing import archive, check, jsonl
from airflow_provider_exports.landing.fetch import Links, Tell, fetch_all
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.landing.manifest import LandedFile, Manifest, file_name
from airflow_provider_exports.landing.names import free_name, lay_out
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
    as_jsonl: bool = False,
    owner: str | None = None,
    payload: Payload | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Land the files of a ready export and return the *export result*.

    :param make_host: opens the session for files; not called when everything is there already.
    :param read: reads the export again, with fresh links.
    :param layout: see :func:`~airflow_provider_exports.landing.names.lay_out`.
    :param unpack: whether zips are taken apart, each into a folder of its own name, and gzip files
        decompressed.
    :param as_jsonl: whether CSV files and JSON arrays become JSON Lines; with ``unpack`` those in zips too.
    :param owner: the task instance: what it landed for an earlier export makes way for this one.
    :param payload: what was asked for, where it is known; it goes into the manifest.
    :param tell: told how far the transfer has come, ten times a second.
    :raises DownloadError: they could not be landed; no incomplete file is visible at the destination.
    :raises InvalidPayload: with ``as_jsonl``, rows cannot be read from files of this format.
    """
    folder, names = lay_out(layout, export.vendor, export.export_id, [file.name for file in export.files])
    own = identity(export)
    name = file_name(owner, own, alone="{export_id}" in layout.rpartition("/")[0])
    target = open_target(destination, folder, export.vendor, own, name)
    # One id of a repeated export stands for many runs: what is left of one is nothing to another.
    known = Capability.RECURRENCE not in vendor.capabilities or export.run_started_at is not None
    try:
        found = target.landed() if known else None
        if found is not None and (found.unpacked, found.as_jsonl) == (unpack, as_jsonl):
            log.log(20, "%s export %s: has landed in %s", export.vendor, export.export_id, target.shown)
            return result(export, found, target)
        comma = None
        if as_jsonl:
            if payload is not None:
                jsonl.check_payload(vendor, payload)
            jsonl.check_forms(export.files, unpack=unpack)
            comma = jsonl.delimiter_of(vendor, payload)
        replaced = target.make_way(owner, names)
        with target.staged(fresh=not known) as staging:
            links = Links(vendor, export, read)
            with contextlib.closing(make_host()) as host:
                fetched = fetch_all(host, links, export, names, staging / "files", vendor, log, tell)
            links.check_run()
            landed = _landed(
                vendor, export, names, fetched, staging / "files", comma, unpack=unpack, as_jsonl=as_jsonl
            )
            # What they became may have other names, of which nobody knew before.
            target.make_way(owner, [one.name for one in landed if one.name not in names])
            if vendor.settings.file_mode:
                for file in landed:
                    (staging / "files" / file.name).chmod(int(vendor.settings.file_mode, 8))
            told = export.result()
            manifest = Manifest(
                vendor=export.vendor,
                export_id=export.export_id,
                identity=own,
                owner=owner,
                unpacked=unpack,
                as_jsonl=as_jsonl,
                files=tuple(landed),
                created_at=told["created_at"],
                expires_at=told["expires_at"],
                landed_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                payload=payload,
                payload_sha256=None if payload is None else fingerprint(payload),
            )
            try:
                target.publish(staging, manifest, replaced)
            except BaseException as error:
                if not getattr(error, "permanent", False):
                    # They need not come again because they could not be published.
                    for one in fetched:
                        one.keep()
                raise
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
    vendor: Vendor,
    export: Export,
    names: Sequence[str],
    fetched: Sequence[Fetched],
    folder: Path,
    comma: str | None,
    *,
    unpack: bool,
    as_jsonl: bool,
) -> list[LandedFile]:
    """Make the files what was asked for, and return what lands."""
    known = {name.lower() for name in names}
    landed = []
    for position, (file, name, one) in enumerate(zip(export.files, names, fetched, strict=True), 1):
        members = [archive.Member(name, one.size, one.sha256, one.rows)]
        forms: Mapping[str, str | None] = {name: jsonl.form(file)}
        if unpack and file.format == "zip":
            inside = free_name(one.path.with_suffix("").name, known, position)
            # An earlier try may have come as far.
            shutil.rmtree(folder / inside, ignore_errors=True)
            members = [
                replace(member, name=f"{inside}/{member.name}")
                for member in archive.unpack(one.path, folder / inside)
            ]
            known |= {member.name.lower() for member in members}
            forms = jsonl.with_rows([member.name for member in members], file.name) if as_jsonl else {}
            one.path.unlink()
        elif unpack and file.name.lower().endswith(".gz") and archive.is_gzip(one.path):
            known.discard(name.lower())
            plain = free_name(name[:-3] if name.lower().endswith(".gz") else name, known, position)
            members = [_become(folder, name, plain, archive.decompress)]
            forms = {plain: jsonl.form(file)}
        if as_jsonl:
            members = [
                _as_jsonl(vendor, folder, member, form, comma, known, position)
                if (form := forms.get(member.name)) in (jsonl.CSV, jsonl.ARRAY)
                else member
                for member in members
            ]
        landed += [LandedFile(m.name, m.size, m.sha256, m.rows, one.announced) for m in members]
    return landed


def _as_jsonl(
    vendor: Vendor,
    folder: Path,
    member: archive.Member,
    form: str,
    comma: str | None,
    known: set[str],
    position: int,
) -> archive.Member:
    known.discard(member.name.lower())
    name = free_name(jsonl.as_lines(member.name), known, position)
    made = _become(folder, member.name, name, partial(jsonl.convert, form=form, delimiter=comma))
    if form == jsonl.ARRAY:
        # The vendor may say at its end what went wrong, as in JSON Lines.
        check.whole(ExportFile(member.name, "", format="jsonl"), folder / name, vendor.file_fault)
    return made


def _become(
    folder: Path, name: str, new: str, make: Callable[[Path, Path], archive.Member]
) -> archive.Member:
    """Put what ``make`` writes in the place of a file; the names may be the same."""
    source = folder / name
    hidden = source.with_name(f".{source.name}.made")
    made = make(source, hidden)
    source.unlink()
    hidden.replace(folder / new)
    return replace(made, name=new)


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

"""Exports as the Onna API shows them, and their files; how they are made and changed is elsewhere."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from airflow_provider_exports.simulator.apis import onna_files
from airflow_provider_exports.simulator.apis.base import OPEN_STATES, Answer, Call, Handler, Refused
from airflow_provider_exports.simulator.apis.onna_catalog import Entry, OnnaCatalog
from airflow_provider_exports.simulator.apis.onna_jobs import Job
from airflow_provider_exports.simulator.apis.onna_places import USER
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["OnnaExports"]

_FILE = re.compile(r"/exports/(?P<id>[0-9a-f-]{36})/[1-9]\d*\.zip")


class OnnaExports(OnnaCatalog):
    """One export: found, shown, downloaded."""

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """One object, or the entries of a list."""
        for name in ("updates", "items"):
            if name in payload:
                return list(payload[name])
        return [payload]

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """A word outside of every list."""
        if self.switches.status_field is not None:
            export[self.switches.status_field] = "archiving"

    def enlarge_sizes(self, export: dict[str, Any]) -> None:
        """Off by one."""
        for field in {self._file_field(several) for several in (False, True)}:
            held = export.get(field) or {}
            for entry in [held] if "size" in held else held.values():
                entry["size"] += 1

    def export_entries(self) -> Iterator[Entry]:
        """The exports that can be seen now; only one that is shown in full has been looked at."""
        for record in self._mine():
            if self.visible(record, read=False):
                yield 1_000_000 + record.serial, "Export", partial(self._entry, record)

    def _entry(self, record: ExportRecord, full: bool) -> dict[str, Any]:
        if full:
            self.visible(record, read=True)
        return self._rendered(record)

    def notifications(self) -> list[dict[str, Any]]:
        """The mail to the creator of each ready export; of one about a failure nothing is known."""
        told = [one for one in self._mine() if one.state in ("ready", "expired")]
        return [
            {
                "to": one.owner,
                "export": self._summary(one)["@id"],
                "title": one.request.get("title"),
                "at": one.finished_at,
            }
            for one in told
        ]

    # One export

    def _mine(self) -> list[ExportRecord]:
        return [one for one in self.world.store.of(self.name) if self.settle(one)]

    def _named(self, name: str) -> ExportRecord | None:
        return next((one for one in self._mine() if one.notes["name"] == name), None)

    def _existing(self, name: str, *, read: bool = False) -> ExportRecord:
        record = self._named(name)
        if record is None or not self.visible(record, read=read):
            raise Refused(self.error(404))
        return record

    def find(self, export_id: str) -> ExportRecord | None:
        """By the simulator's own id, or any of the three that the API shows."""
        for record in self.world.store.of(self.name):
            if export_id in (record.id, *self._summary(record).values()):
                return record
        return None

    def begun_at(self, record: ExportRecord) -> datetime | None:
        """With the start, not with the create."""
        started_at: datetime | None = record.notes.get("started_at")
        return started_at

    def _summary(self, record: ExportRecord) -> dict[str, Any]:
        return self.places.summary("Export", record.notes["uid"], USER, record.notes["name"])

    def _rendered(self, record: ExportRecord) -> dict[str, Any]:
        switches = self.switches
        modified = [record.notes.get(one) for one in ("started_at", "modified_at")]
        moments = [one for one in (*modified, record.created_at, record.finished_at) if one is not None]
        parent = self.places.user_folder()
        export = self.places.head(self._summary(record), parent, record.created_at, max(moments))
        export |= {name: record.request.get(name) for name in ("title", "settings")}
        if switches.status_field is not None:
            export[switches.status_field] = self._word(record)
        if record.state == "failed" and switches.error_field is not None:
            problem = None if "job" not in record.notes else record.notes["job"].problem
            export[switches.error_field] = problem or "The export could not be completed"
        several = self._several(record)
        export[self._file_field(several)] = self._file_json(record, several)
        if switches.size_mismatch:
            self.enlarge_sizes(export)
        return export

    def _word(self, record: ExportRecord) -> str:
        switches = self.switches
        if record.state == "pending" and "started_at" not in record.notes:
            return switches.created_word
        return {
            "pending": switches.pending_word,
            "processing": switches.processing_word,
            "ready": switches.ready_word,
            "failed": switches.failed_word,
            "expired": switches.expired_word or switches.ready_word,
        }[record.state]

    # Files

    def content(self, record: ExportRecord) -> list[FileContent]:
        """One archive per volume."""
        return self._job(record).files()

    def _job(self, record: ExportRecord) -> Job:
        """The run of an export; one that was put into a state by hand gets its run now."""
        job: Job | None = record.notes.get("job")
        if job is None:
            job = Job.of(record.request, self.switches, record.created_at, self.places)
            if record.state not in OPEN_STATES:
                record.notes["job"] = job
        return job

    def _several(self, record: ExportRecord) -> bool:
        job: Job | None = record.notes.get("job")
        return (self.switches if job is None else job).volumes > 1

    def _file_field(self, several: bool) -> str:
        return self.switches.file_field or ("files" if several else "file")

    def _file_json(self, record: ExportRecord, several: bool) -> dict[str, Any] | None:
        kept = record.state == "expired" and self.switches.expired_word is None
        if not (record.state == "ready" or kept) or not self.files(record):
            return None
        entries = {}
        for number, (volume, content) in enumerate(
            zip(self._job(record).volume_names, self.files(record), strict=True)
        ):
            entries[volume] = {
                "filename": self._filename(record, number),
                "content_type": "application/zip",
                "size": content.size,
                "extension": "zip",
                "md5": self._md5(record, number),
            }
        return entries if several else next(iter(entries.values()))

    def _filename(self, record: ExportRecord, number: int) -> str:
        job = self._job(record)
        end = f"-{job.volume_names[number]}" if job.volumes > 1 else ""
        return f"{record.notes['name']}{end}.zip"

    def _md5(self, record: ExportRecord, number: int) -> str | None:
        key = f"md5 {number} {self.switches.md5}"
        if key not in record.notes:
            record.notes[key] = onna_files.checksum(self.files(record)[number], self.switches.md5)
        md5: str | None = record.notes[key]
        return md5

    def _download(self, call: Call, user: str, name: str, field: str, key: str) -> Answer:
        self.in_folder_of(call, user, view=True)
        record = self._existing(name)
        job = self._job(record)
        if field != self._file_field(job.volumes > 1):
            raise self.refused(404, {"reason": "No valid name"})
        if record.state == "expired":
            raise self.refused(self.switches.gone_status, {"reason": "File does not exist"})
        keys = job.volume_names if job.volumes > 1 else [key]
        if record.state != "ready" or not self.files(record) or key not in keys:
            raise self.refused(404, {"reason": "File does not exist"})
        number = keys.index(key)
        if self.switches.download == "signed":
            path = self.signed_path(record, number, f"/onna/exports/{record.id}/{number + 1}.zip")
            return Answer(302, text="", headers={"Location": f"{self.world.files_origin}{path}"})
        # The last part of the address of a single file is only the name it gets.
        filename = key if key and job.volumes == 1 else self._filename(record, number)
        ranges = self.switches.ranges == "honoured"
        answer = onna_files.download(
            call, self.files(record)[number], filename, ranges=ranges, range_status=self.switches.range_status
        )
        answer.framing = self.switches.transfer
        return onna_files.headed(call, answer)

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The files origin knows signatures only."""
        if call.method in ("GET", "HEAD") and _FILE.fullmatch(call.path):
            return "file", self._signed_file
        return None, lambda _call: _plain(404, "Not found")

    def _signed_file(self, call: Call) -> Answer:
        link = self.world.store.links.get(call.query.get("signature", ""))
        record = None if link is None else self.world.store.find(self.name, link.export_id)
        if link is None or record is None or link.path != f"/onna{call.path}":
            return _plain(403, "No such link")
        alive = self.settle(record) and record.state == "ready"
        if not alive or self.now() - link.issued_at >= timedelta(seconds=self.switches.link_seconds):
            return _plain(self.switches.stale_status, "This link is not valid (any more)")
        content, name = self.files(record)[link.index], self._filename(record, link.index)
        return onna_files.headed(call, self.serve(call, content, "application/zip", name))


def _plain(status: int, message: str) -> Answer:
    return Answer(status, text=f"{message}\n", content_type="text/plain")

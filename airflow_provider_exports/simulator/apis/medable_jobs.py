"""The life of a Medable export and of its archive: queue, retention, facets, the file host."""

import hashlib
import itertools
import re
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_exports.simulator.apis import medable_archives, medable_auth, medable_documents
from airflow_provider_exports.simulator.apis.base import OPEN_STATES, Answer, Call, Handler, VendorApi
from airflow_provider_exports.simulator.apis.medable_access import ORGS
from airflow_provider_exports.simulator.apis.medable_queue import Queue
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.store import ExportRecord, State

__all__ = ["Jobs"]

_FILE = re.compile(r"/files/(?P<id>[0-9a-f]{24})/[^/]+\.zip")


class Jobs(VendorApi):
    """One worker per org, seven days of retention, addresses of files that live for minutes."""

    switches: MedableSwitches

    def reset(self) -> None:
        """Also no waiting job."""
        super().reset()
        self._queue = Queue()
        self._ids = itertools.count(1)

    def new_id(self) -> str:
        """An ObjectId: the second of creation, a constant, a counter."""
        return f"{int(self.now().timestamp()):08x}5100a7ed00{next(self._ids):06x}"

    def _note(self, record: ExportRecord, creator: str) -> None:
        names = ("rows", "layout", "json_form", "final_fault", "archive")
        record.notes = {name: getattr(self.switches, name) for name in names}
        record.notes |= {"creator": creator, "bytes": self.switches.file_bytes}

    def add_foreign_export(
        self,
        *,
        seconds: float = 60,
        org: str = ORGS[0],
        label: str = "by a colleague",
        objects: str = "accounts",
    ) -> str:
        """An export that somebody else has put into the queue; returns its id.

        :param seconds: virtual seconds it keeps the worker busy; reads do not change that.
        """
        if org not in ORGS:
            raise ValueError(f"no org {org!r}; there are: {', '.join(ORGS)}")
        with self.world.lock:
            request: dict[str, Any] = {"label": label, "objects": objects, "format": "application/x-ndjson"}
            request |= {"exportFiles": False, "zipFiles": False}
            record = self.world.store.add(self.name, org, request, self.now(), self.new_id())
            self._note(record, medable_auth.COLLEAGUE_ID)
            record.notes["seconds"] = float(seconds)
            return record.id

    # Queue and retention

    def _of(self, org: str) -> list[ExportRecord]:
        return [record for record in self.world.store.of(self.name) if record.owner == org]

    def settle(self, record: ExportRecord) -> bool:
        """An export moves with its whole queue, and is gone after the retention."""
        now = self.now()
        self._queue.run(self._of(record.owner), now, self.switches, self._finish)
        kept, ended = timedelta(seconds=self.switches.file_life_seconds), record.finished_at
        failed = record.state == "failed" and self.switches.errors_expire
        if failed and ended is not None and ended + kept <= now:
            record.state, record.expires_at = "expired", ended + kept
        # The worker is the queue's business, the rest is the same as everywhere.
        return super().settle(record) if record.state not in OPEN_STATES else True

    def set_state(self, record: ExportRecord, state: State) -> None:
        """An ended export leaves the worker; a held one keeps it from all that come after."""
        super().set_state(record, state)
        if state not in OPEN_STATES:
            self._queue.freed(record.owner, self.now())

    def _finish(self, record: ExportRecord, state: State, at: datetime) -> None:
        if state == "ready" and not self._room(record.owner, self.files(record)[0].size):
            state = "failed"
        super()._finish(record, state, at)
        if state == "ready" and self.switches.retention_from == "created":
            record.expires_at = record.created_at + timedelta(seconds=self.switches.file_life_seconds)

    def _room(self, org: str, size: int) -> bool:
        """Whether so many bytes more fit into the org's storage."""
        quota = self.switches.storage_quota_bytes
        if quota is None:
            return True
        stored = sum(self.files(one)[0].size for one in self._of(org) if one.state == "ready")
        return stored + size <= quota

    # Files

    def content(self, record: ExportRecord) -> list[FileContent]:
        """One archive."""
        return [medable_archives.archive(record.request, record.notes)]

    def etag(self, content: FileContent) -> str:
        """The same in facets and on the file host."""
        # Of a big file only what is in memory counts, which says as much about it.
        parts = b"".join((content.head, content.block * min(content.times, 1), content.tail))
        digest = hashlib.md5(parts + b"+" * content.times, usedforsecurity=False).hexdigest()
        return f'"{digest}-2"' if self.switches.etag == "multipart" or content.times else f'"{digest}"'

    def _facet_state(self, record: ExportRecord) -> int:
        if record.state != "ready" or record.finished_at is None:
            return 0
        if self.now() < record.finished_at + timedelta(seconds=self.switches.facet_lag_seconds):
            return self.switches.facet_lag_state
        return {"ready": 2, "error": 3, "dead": 4}[self.switches.facet_outcome]

    def _facet(self, record: ExportRecord, *, with_url: bool = True) -> dict[str, Any]:
        state = self._facet_state(record)
        if state != 2:
            return medable_documents.facet(record, state)
        content = self.files(record)[0]
        file: dict[str, Any] = {"size": content.size, "ETag": self.etag(content).strip('"')}
        if self.switches.private_facet:
            file["private"] = True
        if with_url:
            path = f"/medable/files/{record.id}/{medable_documents.filename(record)}"
            file["url"] = f"{self.world.files_origin}{self.signed_path(record, 0, path)}"
        return medable_documents.facet(record, state, **file)

    def _file_document(self, record: ExportRecord, *, with_url: bool = True) -> dict[str, Any]:
        facet = self._facet(record, with_url=with_url)
        return facet | {"facets": [dict(facet)]}

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The file host knows addresses with signatures, and no credentials."""
        match = _FILE.fullmatch(call.path)
        if match is None or call.method != "GET":
            return None, lambda _call: Answer(404, text="Not found\n", content_type="text/plain")
        return "file", self._file

    def _file(self, call: Call) -> Answer:
        link = self.world.store.links.get(call.query.get("signature", ""))
        record = None if link is None else self.world.store.find(self.name, link.export_id)
        if link is None or record is None or link.path != f"/medable{call.path}":
            return _stale()
        alive = self.settle(record) and record.state == "ready"
        if not alive or self.now() - link.issued_at >= timedelta(seconds=self.switches.url_seconds):
            return _stale()
        return self.serve(
            call, self.files(record)[link.index], "application/zip", medable_documents.filename(record)
        )


def _stale() -> Answer:
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>\n'
    return Answer(403, text=text, content_type="application/xml")

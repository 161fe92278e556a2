"""The Export object of the Medable Cortex API.

Source: https://docs.medable.com/cortex-api/objects/export (read 2026-08).
What it leaves open is a switch.
"""

import json
import re
from typing import Any, ClassVar

from airflow_provider_exports.simulator.apis import medable_documents, medable_queries, medable_rules
from airflow_provider_exports.simulator.apis.base import OPEN_STATES, Answer, Call, Handler
from airflow_provider_exports.simulator.apis.medable_access import Access, Operation
from airflow_provider_exports.simulator.apis.medable_faults import Denied
from airflow_provider_exports.simulator.apis.medable_jobs import Jobs
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["MedableApi"]

_ADDRESS = re.compile(r"/(?P<org>[^/]+)/(?P<version>[^/]+)(?P<command>/.+)")
_NO_FILE = "There is no file."
#: What an export can have without showing it.
_OPTIONAL = (
    "label",
    "description",
    "paths",
    "include",
    "expand",
    "where",
    "afterScript",
    "principal",
    "prefix",
)


class MedableApi(Access, Jobs):
    """REST with three kinds of credentials; what a body is, its ``object`` tells, not the status."""

    name = "medable"
    operations = (
        "create",
        "get",
        "list",
        "delete",
        "property",
        "facet",
        "content",
        "login",
        "status",
        "logout",
        "file",
    )
    switches_class = MedableSwitches
    critical_fields: ClassVar[dict[str, str]] = {
        "create": "_id",
        "get": "state",
        "list": "_id",
        "property": "data",
        "facet": "state",
        "content": "url",
        "login": "object",
        "status": "loggedin",
    }
    switches: MedableSwitches

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """One export, bare or in a result, or those of a list."""
        inner = payload.get("data")
        if isinstance(inner, list):
            return list(inner)
        return [inner if isinstance(inner, dict) else payload]

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """A state outside of the documented four; a number for facets."""
        if export.get("object") == "result":
            export["data"] = "archiving"
        else:
            export["state"] = 7 if export.get("object") == "facet" else "archiving"

    def enlarge_sizes(self, export: dict[str, Any]) -> None:
        """Off by one, in the facet and in the copy of it that an export shows."""
        file = export.get("dataFile", export)
        for facet in (file, *file.get("facets", ())):
            if "size" in facet:
                facet["size"] += 1

    # Routes

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """Org and version first; then exact addresses, of which exports are one kind."""
        address = _ADDRESS.fullmatch(call.path)
        if address is not None:
            command = address["command"]
            for method, pattern, name, operation in self._routes():
                match = pattern.fullmatch(command)
                if match is not None and method == call.method:
                    return name, self._checked(address, match, operation)
        return None, self._checked(address, None, None)

    def _routes(self) -> tuple[tuple[str, re.Pattern[str], str, Operation], ...]:
        one, file = r"/exports/(?P<id>[^/]+)", r"/exports/(?P<id>[^/]+)/dataFile"
        return (
            ("POST", re.compile(r"/accounts/login"), "login", self._login),
            ("GET", re.compile(r"/accounts/status"), "status", self._status),
            ("POST", re.compile(r"/accounts/me/logout"), "logout", self._logout),
            ("GET", re.compile(r"/exports"), "list", self._list),
            ("POST", re.compile(r"/exports"), "create", self._create),
            ("GET", re.compile(one), "get", self._get),
            ("DELETE", re.compile(one), "delete", self._delete),
            ("GET", re.compile(file), "facet", self._file_info),
            ("GET", re.compile(rf"{file}/(?P<facet>[^/]+)"), "content", self._file_content),
            ("GET", re.compile(rf"{one}/(?P<property>[^/]+)"), "property", self._property),
        )

    # Exports

    def _create(self, call: Call, _match: re.Match[str]) -> Answer:
        if len(call.raw_body) > self.switches.max_body_bytes:
            raise Denied("cortex.tooLarge.unspecified")
        who = self._permitted(call, "instanceCreate", writes=True)
        org = self._org(call)
        fields, will_fail = medable_rules.checked(_json_object(call), self.switches)
        if self.switches.quota_exceeded == "create" and not self._room(org, 1):
            raise Denied("cortex.accessDenied.unspecified", "The org has no storage left.")
        record = self.create(call, org, fields)
        if will_fail and record.fate is None:
            record.fate = "failed"
        self._note(record, who.account_id)
        # The worker has not seen it yet, however free it is.
        document = self._rendered(record)
        status = self.switches.create_status
        match self.switches.create_body:
            case "empty":
                return Answer(status, text="")
            case "result":
                return Answer(status, payload=medable_documents.result(document))
            case "instance":
                return Answer(status, payload=document)

    def _found(self, call: Call, match: re.Match[str], *, looked: bool) -> ExportRecord:
        if not medable_rules.OBJECT_ID.fullmatch(match["id"]):
            raise Denied("cortex.invalidArgument.invalidObjectId", "An id has 24 hexadecimal digits.")
        record = self.world.store.find(self.name, match["id"].lower())
        if record is not None and record.owner == self._org(call):
            there = self.visible(record, read=False) and record.state != "expired"
            if there and looked:
                self._queue.look(self._of(record.owner))
                self.visible(record, read=True)
            if there:
                return record
        raise Denied("cortex.notFound.instance", "The export does not exist.", path=f"exports.{match['id']}")

    def _get(self, call: Call, match: re.Match[str]) -> Answer:
        self._permitted(call, "instanceRead")
        return Answer(payload=self._selected(call, self._rendered(self._found(call, match, looked=True))))

    def _property(self, call: Call, match: re.Match[str]) -> Answer:
        self._permitted(call, "instanceRead")
        name = match["property"]
        document = self._rendered(self._found(call, match, looked=True))
        if name not in (*document, *_OPTIONAL):
            raise Denied("cortex.notFound.property", f"There is no property {name}.")
        return Answer(payload=medable_documents.result(document.get(name)))

    def _list(self, call: Call, _match: re.Match[str]) -> Answer:
        self._permitted(call, "instanceRead")
        org = self._org(call)
        alive = [one for one in self._of(org) if self.visible(one, read=False) and one.state != "expired"]
        page, more = self._page(call, alive)
        first = next((one for one in alive if one.state in OPEN_STATES), None)
        shown = {document["_id"] for document in page}
        if first is not None and first.id in shown:
            # Only what a page shows has been looked at.
            self._queue.look([first])
        for record in alive:
            if record.id in shown:
                self.visible(record, read=True)
        # The page was chosen before, but shows what this look at it has made of them.
        looked = {one.id: self._rendered(one, with_url=False) for one in alive if one.id in shown}
        data = [self._selected(call, looked[document["_id"]]) for document in page]
        return Answer(payload={"object": "list", "data": data, "hasMore": more})

    def _page(self, call: Call, records: list[ExportRecord]) -> tuple[list[dict[str, Any]], bool]:
        return medable_queries.page(
            [medable_documents.export(record) for record in records],
            call.query,
            default_limit=self.switches.default_limit,
            refused=self.switches.unindexed,
        )

    def _selected(self, call: Call, document: dict[str, Any]) -> dict[str, Any]:
        paths = [name for one in ("paths", "include") for name in medable_queries.names(call.query, one)]
        for name in medable_queries.names(call.query, "expand"):
            reference = document.get(name)
            if isinstance(reference, dict) and reference.get("object") == "account":
                document[name] = reference | {"email": f"{reference['_id']}@example.com"}
        if not medable_queries.names(call.query, "paths"):
            return document
        return medable_queries.selected(document, paths, kept=("_id", "object"))

    def _delete(self, call: Call, match: re.Match[str]) -> Answer:
        self._permitted(call, "instanceDelete", writes=True)
        record = self._found(call, match, looked=False)
        if record.state == "processing":
            if self.switches.delete_running == "deny":
                raise Denied("cortex.accessDenied.inUse", "The export is running.")
            self._queue.freed(record.owner, self.now())
        self.world.store.drop(record)
        if self.switches.delete_answer == "204":
            return Answer(204, text="")
        return Answer(payload=medable_documents.result(True))

    def _rendered(self, record: ExportRecord, *, with_url: bool = True) -> dict[str, Any]:
        document = medable_documents.export(record)
        if record.state == "ready" and self.switches.data_file == "shown":
            document["dataFile"] = self._file_document(record, with_url=with_url)
        return document

    def _with_file(self, call: Call, match: re.Match[str]) -> ExportRecord:
        who = self._permitted(call, "role", archive=True)
        record = self._found(call, match, looked=False)
        if self.switches.private_facet and record.notes["creator"] != who.account_id:
            raise Denied("cortex.accessDenied.privateFacet")
        if record.state == "failed":
            raise Denied("cortex.notFound.file", _NO_FILE)
        if record.state in OPEN_STATES and self.switches.before_ready_status == 404:
            raise Denied("cortex.notFound.file", _NO_FILE)
        return record

    def _file_info(self, call: Call, match: re.Match[str]) -> Answer:
        return Answer(payload=self._file_document(self._with_file(call, match)))

    def _file_content(self, call: Call, match: re.Match[str]) -> Answer:
        record = self._with_file(call, match)
        if match["facet"] != "content":
            raise Denied("cortex.notFound.facet")
        state = self._facet_state(record)
        if state in (3, 4):
            raise Denied("cortex.error.facet", "The archive could not be stored.")
        if state != 2:
            raise Denied("cortex.accepted.mediaNotReady", "The file is being processed.")
        facet, style = self._facet(record), self.switches.download_style
        asked = call.headers.get("Accept", "").strip().lower().startswith("application/json")
        if style == "json" or (style == "accept" and asked):
            return Answer(payload=facet)
        return Answer(302, text="", headers={"Location": facet["url"]})


def _json_object(call: Call) -> dict[str, Any]:
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    try:
        body = json.loads(call.raw_body) if kind == "application/json" else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Denied("cortex.invalidArgument.invalidJSON", "The body must be a JSON object.")
    return body

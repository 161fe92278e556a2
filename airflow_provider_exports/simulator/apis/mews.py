"""The exports operations of the Mews Connector API.

Source: https://docs.mews.com/connector-api/operations/exports (read 2026-08).
What it leaves open is a switch.
"""

import json
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_exports.simulator.apis import mews_records
from airflow_provider_exports.simulator.apis.base import (
    OPEN_STATES,
    Answer,
    Call,
    Handler,
    Refused,
    VendorApi,
)
from airflow_provider_exports.simulator.apis.mews_switches import MewsSwitches
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["MewsApi"]

ENTITY_TYPES = (
    "OrderItem",
    "Payment",
    "Reservation",
    "Customer",
    "Company",
    "Bill",
    "AvailabilityAdjustment",
    "AvailabilityBlock",
    "ResourceBlock",
    "LedgerEntry",
)
# Ids of the vendor's own examples, so that these can be sent as they are.
ENTERPRISE_IDS = ("3fa85f64-5717-4562-b3fc-2c963f66afa6", "4d0201db-36f5-428b-8d11-4f0a65e960cc")
CHAIN_IDS = ("3fa85f64-5717-4562-b3fc-2c963f66afa6",)

STATUSES = {
    "pending": "Pending",
    "processing": "Processing",
    "ready": "Success",
    "failed": "Failed",
    "expired": "Expired",
}
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_FILE_PATH = re.compile(r"/exports/(?P<id>[0-9a-f-]{36})-(?P<n>[1-9]\d*)\.jsonl")


class MewsApi(VendorApi):
    """POST only, exact addresses, credentials in the body."""

    name = "mews"
    token_defaults: ClassVar[dict[str, str]] = {
        "mews_client_token": "simulated-mews-client-token",
        "mews_access_token": "simulated-mews-access-token",
        # A second integration of the same enterprises, to try what one may see of the other.
        "mews_other_client_token": "simulated-mews-other-client-token",
        "mews_other_access_token": "simulated-mews-other-access-token",
    }
    switches_class = MewsSwitches
    critical_fields: ClassVar[dict[str, str]] = {"create": "Id", "get": "Status"}
    switches: MewsSwitches

    def connection(self) -> dict[str, Any]:
        """Host, access token as password, client token in the extra."""
        return {
            "conn_type": "mews",
            "host": f"{self.world.api_origin}/mews",
            "password": self.tokens["mews_access_token"],
            "extra": {"client_token": self.tokens["mews_client_token"]},
        }

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """Only two operations exist; another method is the same as a wrong address."""
        routes: dict[str, tuple[str, Handler]] = {
            "/api/connector/v1/exports/add": ("create", self._add),
            "/api/connector/v1/exports/getAll": ("get", self._get_all),
        }
        if call.method != "POST" or call.path not in routes:
            return None, lambda _call: self.error(404)
        return routes[call.path]

    def error(self, status: int, message: str | None = None) -> Answer:
        """The error body of the Connector API; ``Details`` is for development environments only."""
        texts = {
            401: "Invalid access token.",
            403: "The operation is not allowed.",
            404: "Resource not found.",
            408: "The request took too long.",
            429: "Too many requests.",
        }
        body = {"Message": message or texts.get(status, "An error occurred."), "RequestId": str(uuid.uuid4())}
        headers = {"Request-Id": body["RequestId"]}
        if self.switches.seed_era:
            # RequestId came into the body in July 2025; the header is older.
            del body["RequestId"]
        return Answer(status, payload=body, headers=headers)

    def finish_headers(self, answer: Answer) -> None:
        """Every response, good or bad, names its request."""
        answer.headers.setdefault("Request-Id", str(uuid.uuid4()))

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """One export after a create, a list after a lookup."""
        return [payload["Export"]] if "Export" in payload else payload.get("Exports", [])

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """A status word outside the documented five."""
        export["Status"] = "Archiving"

    def enlarge_sizes(self, export: dict[str, Any]) -> None:
        """Off by one."""
        for entry in export["Files"]:
            entry["SizeInBytes"] += 1

    # Operations

    def _add(self, call: Call) -> Answer:
        body = self._authenticated(call, {"EntityType", "Scope", "Filters"})
        entity_type = body.get("EntityType")
        if entity_type not in ENTITY_TYPES:
            raise self._invalid("EntityType")
        request: dict[str, Any] = {"EntityType": entity_type}
        if not self.switches.seed_era:
            request["Scope"] = self._scope(body.get("Scope"), entity_type)
            request["Filters"] = self._filters(body.get("Filters"), entity_type)
        for record in self.world.store.of(self.name):
            if record.request["EntityType"] == entity_type and self._excludes(record, body):
                self.settle(record)
                if record.state in OPEN_STATES:
                    raise Refused(self.error(self.switches.busy_status, self.switches.busy_message))
        record = self.create(call, body["AccessToken"], request)
        record.notes = {
            "client": body["ClientToken"],
            "files": self.switches.files,
            "rows": self.switches.rows,
            "bytes": self.switches.file_bytes,
        }
        return Answer(payload={"Export": self._rendered(record)})

    def _get_all(self, call: Call) -> Answer:
        body = self._authenticated(call, {"ExportIds"})
        ids = body.get("ExportIds")
        if not isinstance(ids, list) or not 1 <= len(ids) <= 1000 or not all(map(_is_uuid, ids)):
            raise self._invalid("ExportIds")
        found = []
        for export_id in dict.fromkeys(one.lower() for one in ids):
            record = self.world.store.find(self.name, export_id)
            if record is None or not self._may_see(record, body) or not self.visible(record, read=True):
                if self.switches.unknown_id == "400":
                    raise self._invalid("ExportIds")
                continue
            found.append(self._rendered(record))
        return Answer(payload={"Exports": found})

    def _rendered(self, record: ExportRecord) -> dict[str, Any]:
        export = {
            "Id": record.id,
            "Status": STATUSES[record.state],
            "EntityType": record.request["EntityType"],
            "Files": self._entries(record) if record.state == "ready" else [],
            "ExpiresUtc": None if record.expires_at is None else f"{record.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        }
        if not self.switches.seed_era:
            export |= {"Scope": record.request.get("Scope"), "Filters": record.request.get("Filters")}
        if self.switches.size_mismatch:
            self.enlarge_sizes(export)
        return export

    def _entries(self, record: ExportRecord) -> list[dict[str, Any]]:
        entries = []
        for index, content in enumerate(self.files(record)):
            path = self.signed_path(record, index, f"/mews/exports/{record.id}-{index + 1}.jsonl")
            entries.append({"Url": f"{self.world.files_origin}{path}", "SizeInBytes": content.size})
        return entries

    # Checks

    def _authenticated(self, call: Call, own_fields: set[str]) -> dict[str, Any]:
        content_type = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise self._invalid("Content-Type")
        try:
            body = json.loads(call.raw_body.decode("utf-8"), parse_constant=_no_constant)
        except ValueError:
            raise self._invalid("JSON") from None
        if not isinstance(body, dict):
            raise self._invalid("JSON")
        for name in ("ClientToken", "AccessToken", "Client"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise self._invalid(name)
        own = {"ClientToken", "AccessToken", "Client", "LanguageCode", "CultureCode"} | own_fields
        if self.switches.unknown_fields == "reject" and body.keys() - own:
            raise self._invalid(min(body.keys() - own))
        # The guidelines want both or neither.
        if (body.get("LanguageCode") is None) != (body.get("CultureCode") is None):
            raise self._invalid("CultureCode" if body.get("CultureCode") is None else "LanguageCode")
        tokens = self.tokens
        self.throttle(body["AccessToken"])
        if body["ClientToken"] not in (tokens["mews_client_token"], tokens["mews_other_client_token"]):
            raise Refused(self.error(401, "Invalid client token."))
        if body["AccessToken"] not in (tokens["mews_access_token"], tokens["mews_other_access_token"]):
            raise Refused(self.error(401, "Invalid access token."))
        if not self.switches.exports_permission:
            raise Refused(self.error(401, "The client does not have permission for this operation."))
        return body

    def _scope(self, scope: Any, entity_type: str) -> dict[str, Any]:
        """The scope of the answer: one list filled, the other null, as in all of the vendor's examples."""
        by_chain = entity_type in ("Customer", "Company")
        applies, other = ("ChainIds", "EnterpriseIds") if by_chain else ("EnterpriseIds", "ChainIds")
        reach = CHAIN_IDS if by_chain else ENTERPRISE_IDS
        if scope is not None and not isinstance(scope, dict):
            raise self._invalid("Scope")
        lists = {name: (scope or {}).get(name) for name in (applies, other)}
        for name, ids in lists.items():
            if ids is not None and (
                not isinstance(ids, list) or not 1 <= len(ids) <= 1000 or not all(map(_is_uuid, ids))
            ):
                raise self._invalid(f"Scope.{name}")
        wanted = lists[applies]
        if self.switches.foreign_scope == "reject":
            if lists[other] is not None:
                raise self._invalid(f"Scope.{other}")
            if wanted is not None and not {one.lower() for one in wanted} <= set(reach):
                raise self._invalid(f"Scope.{applies}")
        return {applies: list(reach) if wanted is None else wanted, other: None}

    def _filters(self, filters: Any, entity_type: str) -> dict[str, Any] | None:
        if filters is not None and not isinstance(filters, dict):
            raise self._invalid("Filters")
        updated = (filters or {}).get("UpdatedUtc")
        ledger = (filters or {}).get("LedgerEntryFilters")
        if (ledger is not None) != (entity_type == "LedgerEntry"):
            raise self._invalid("Filters.LedgerEntryFilters")
        if updated is not None and entity_type == "LedgerEntry":
            # A ledger entry is immutable and has no UpdatedUtc to filter by.
            raise self._invalid("Filters.UpdatedUtc")
        if updated is not None:
            start, end = (_time(updated, name) for name in ("StartUtc", "EndUtc"))
            if start is None or end is None or start > end:
                raise self._invalid("Filters.UpdatedUtc")
            if end > self.now() - timedelta(minutes=5) or end - start > timedelta(days=180):
                raise self._invalid("Filters.UpdatedUtc")
        if ledger is not None:
            posting = ledger.get("Posting") if isinstance(ledger, dict) else None
            first, last = (_date(posting, name) for name in ("Start", "End"))
            if first is None or last is None or first > last:
                raise self._invalid("Filters.LedgerEntryFilters.Posting")
        return None if filters is None else {"UpdatedUtc": updated, "LedgerEntryFilters": ledger}

    def _excludes(self, record: ExportRecord, body: dict[str, Any]) -> bool:
        match self.switches.exclusive_per:
            case "token":
                return record.owner == str(body["AccessToken"])
            case "client":
                return bool(record.notes["client"] == body["ClientToken"])
            case "enterprise":
                return True  # all simulated tokens belong to the same enterprises

    def _may_see(self, record: ExportRecord, body: dict[str, Any]) -> bool:
        return self.switches.visible_across_tokens or record.owner == body["AccessToken"]

    def _invalid(self, what: str) -> Refused:
        return Refused(self.error(400, f"Invalid {what}."))

    # Files

    def content(self, record: ExportRecord) -> list[FileContent]:
        """JSON Lines files; none, or one empty, if the export has no records."""
        if record.notes["rows"] == 0 and record.notes["bytes"] is None:
            return [FileContent()] if self.switches.empty_files == "zero_byte" else []
        rows, size = record.notes["rows"], record.notes["bytes"]
        return [
            mews_records.file_content(record.request, index, rows, size, record.created_at)
            for index in range(record.notes["files"])
        ]

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The file host knows links only, and no credentials."""
        return ("file", self._file) if _FILE_PATH.fullmatch(call.path) else (None, self._no_file)

    def _file(self, call: Call) -> Answer:
        if call.method != "GET":
            return Answer(405, text="GET only\n", content_type="text/plain", headers={"Allow": "GET"})
        link = self.world.store.links.get(call.query.get("signature", ""))
        record = None if link is None else self.world.store.find(self.name, link.export_id)
        if link is None or record is None or link.path != f"/mews{call.path}":
            return self._stale()
        alive = self.settle(record) and record.state == "ready"
        if not alive or self.now() - link.issued_at >= timedelta(seconds=self.switches.link_seconds):
            return self._stale()
        return self.serve(call, self.files(record)[link.index], "application/x-ndjson")

    def _stale(self) -> Answer:
        status = self.switches.stale_status
        return Answer(status, text="This link is not valid (any more).\n", content_type="text/plain")

    def _no_file(self, call: Call) -> Answer:
        return Answer(404, text="Not found\n", content_type="text/plain")


def _is_uuid(value: object) -> bool:
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def _time(interval: object, name: str) -> datetime | None:
    """A UTC time as the serialization page wants it, or None."""
    value = interval.get(name) if isinstance(interval, dict) else None
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return None


def _date(interval: object, name: str) -> date | None:
    value = interval.get(name) if isinstance(interval, dict) else None
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")

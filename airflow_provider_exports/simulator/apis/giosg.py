"""The report exports of the giosg HTTP API.

Source: https://docs.giosg.com/api_reference/giosg_live/giosg_http_api/exports (read 2026-08).
What it leaves open is a switch.
"""

import json
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_exports.simulator.apis import giosg_pages, giosg_records, giosg_rules
from airflow_provider_exports.simulator.apis.base import (
    OPEN_STATES,
    Answer,
    Call,
    Handler,
    Refused,
    VendorApi,
)
from airflow_provider_exports.simulator.apis.giosg_switches import GiosgSwitches
from airflow_provider_exports.simulator.clock import http_date
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["GiosgApi"]

ORGANIZATION_ID = "0f5b1c1e-7a43-4d1e-9f10-51e0a11ce001"
PARTNER_ORGANIZATION_ID = "0f5b1c1e-7a43-4d1e-9f10-51e0a11ce002"
USER_ID = "7c2d9e44-3b0a-4c55-8a21-51e0a11ce003"
#: A user of the same organization whom the token's user has no access to.
COLLEAGUE_ID = "7c2d9e44-3b0a-4c55-8a21-51e0a11ce004"
ROOMS = (("Web shop", False), ("Support", False), ("Booking", False), ("Partner help desk", True))

_DETAILS = {
    400: "Bad request.",
    401: "Authentication credentials were not provided.",
    403: "You do not have permission to perform this action.",
    404: "Not found.",
    405: "Method not allowed.",
    409: "An export like this exists already.",
    415: "Unsupported media type in request.",
    429: "Request was throttled.",
}
_ACCESS_DETAILS = {
    "no_subscription": "Your organization does not have an active subscription.",
    "no_organization_access": "You do not have access to the organization.",
    "no_settings_permission": "You do not have the settings permission.",
    "no_user_access": "You do not have access to the user.",
}
_EXPORTS = re.compile(r"/api/v5/orgs/(?P<org>[^/]+)/users/(?P<user>[^/]+)/reportexports(/(?P<id>[^/]+))?")
_ROOMS = {
    "orgs": re.compile(r"/api/v5/orgs/(?P<org>[^/]+)/rooms"),
    "users": re.compile(r"/api/v5/users/(?P<user>[^/]+)/rooms"),
    "root": re.compile(r"/api/v5/rooms"),
}
_FILE = re.compile(r"/files/reportexports/(?P<id>[0-9a-f-]{36})\.(csv|xlsx|txt)")


class GiosgApi(VendorApi):
    """REST with a token in the header; errors as Django REST framework words them."""

    name = "giosg"
    token_defaults: ClassVar[dict[str, str]] = {
        "giosg_api_token": "simulated-giosg-api-token",
        "giosg_oauth_token": "simulated-giosg-oauth-token",
    }
    operations = ("create", "get", "list", "rooms", "me", "file")
    switches_class = GiosgSwitches
    critical_fields: ClassVar[dict[str, str]] = {"create": "id", "get": "completed_at", "list": "id"}
    switches: GiosgSwitches

    def reset(self) -> None:
        """Also back to the four rooms of the beginning."""
        super().reset()
        self.rooms: list[dict[str, Any]] = []
        for name, is_shared in ROOMS:
            self.add_room(name, is_shared=is_shared)

    def add_room(
        self, name: str, *, is_shared: bool = False, deleted: bool = False, room_id: str | None = None
    ) -> str:
        """A further room; a shared one belongs to a partner organization."""
        number = len(self.rooms) + 1
        created = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=number)
        owner = PARTNER_ORGANIZATION_ID if is_shared else ORGANIZATION_ID
        room: dict[str, Any] = {
            "id": room_id or str(uuid.uuid5(uuid.UUID(ORGANIZATION_ID), f"{number} {name}")),
            "organization_id": owner,
            "organization": {"id": owner},
            "domain": None,
            "name": name,
            "display_name": name,
            "is_shared": is_shared,
            "language_code": "en",
            "is_online": True,
            "is_humans_online": False,
        }
        if not is_shared:  # timestamps are shown to the owner only
            room |= {"created_at": created, "updated_at": created}
            room |= {"updated_by_user_id": USER_ID, "updated_by_user": {"id": USER_ID}}
        self.rooms.append(room | {"_deleted": deleted})
        return str(room["id"])

    def connection(self) -> dict[str, Any]:
        """Host, and the API token as password."""
        return {
            "conn_type": "giosg",
            "host": f"{self.world.api_origin}/giosg",
            "password": self.tokens["giosg_api_token"],
            "extra": {},
        }

    def error(self, status: int, message: str | None = None) -> Answer:
        """``detail`` and a text."""
        return self._error(status, {"detail": message or _DETAILS.get(status, "A server error occurred.")})

    def _error(self, status: int, payload: Any) -> Answer:
        forms = {
            "drf": Answer(status, payload=payload),
            "text": Answer(status, text=f"Error {status}\n", content_type="text/plain"),
            "html": Answer(status, text=f"<html>Error {status}</html>\n", content_type="text/html"),
            "empty": Answer(status, text="", content_type="text/plain"),
        }
        answer = forms[self.switches.error_format]
        if status == 401:
            answer.headers["WWW-Authenticate"] = "Token"
        return answer

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """One export, or the results of a page."""
        return list(payload["results"]) if "results" in payload else [payload]

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """There is no status word; a completed row that neither failed nor has a file says as little."""
        now = self._shown(self.now())
        export |= {"completed_at": now, "is_failed": None, "expires_at": None, "url": None}

    # Addresses

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """Exact addresses without trailing slash; a wrong method on one of them is 405."""
        if call.path == "/api/v5/users/me":
            return self._only_get(call, "me", self._me)
        if match := _EXPORTS.fullmatch(call.path):
            if match["id"] is not None:
                return self._only_get(call, "get", self._retrieve)
            if call.method == "POST":
                return "create", self._create
            return self._only_get(call, "list", self._list, "GET, POST")
        for kind, pattern in _ROOMS.items():
            if pattern.fullmatch(call.path) and self.switches.rooms_path in (kind, "all"):
                return self._only_get(call, "rooms", self._list_rooms)
        if _FILE.fullmatch(call.path):
            name = "redirect" if self.switches.file_url == "redirect" else "file"
            return self._only_get(call, name, self._own_file)
        return None, lambda _call: self.error(404)

    def _only_get(
        self, call: Call, name: str, handler: Handler, allow: str = "GET"
    ) -> tuple[str | None, Handler]:
        def refuse(_call: Call) -> Answer:
            answer = self.error(405)
            answer.headers["Allow"] = allow
            return answer

        return (name, handler) if call.method == "GET" else (None, refuse)

    def _authenticate(self, call: Call) -> None:
        expected = {
            f"Token {self.tokens['giosg_api_token']}",
            f"Bearer {self.tokens['giosg_oauth_token']}",
        }
        sent = call.headers.get("Authorization")
        if sent not in expected:
            raise Refused(self.error(401, None if sent is None else "Invalid token."))
        self.throttle(sent)
        if call.query.get("format", "json") != "json":
            # Django REST framework takes this parameter for the form of the response, and knows no csv.
            raise Refused(self.error(404))

    def _user_of(self, call: Call, pattern: re.Pattern[str]) -> str:
        """The user of the path, after all checks of access."""
        self._authenticate(call)
        if self.switches.access != "granted":
            raise Refused(self.error(403, _ACCESS_DETAILS[self.switches.access]))
        match = pattern.fullmatch(call.path)
        ids = match.groupdict() if match else {}
        if ids.get("org", ORGANIZATION_ID) != ORGANIZATION_ID:
            raise Refused(self.error(self.switches.unknown_organization_status))
        user = ids.get("user", USER_ID)
        if user == "me" and self.switches.me_in_path:
            user = USER_ID
        if user == COLLEAGUE_ID:
            raise Refused(self.error(403, _ACCESS_DETAILS["no_user_access"]))
        if user != USER_ID:
            raise Refused(self.error(404))
        return user

    # Operations

    def _me(self, call: Call) -> Answer:
        self._authenticate(call)
        since = self._shown(datetime(2025, 1, 1, tzinfo=UTC))
        user = {"id": USER_ID, "organization_id": ORGANIZATION_ID, "email": None, "is_bot": True}
        user |= {"full_name": "Simulated bot", "created_at": since, "updated_at": since, "deleted_at": None}
        return Answer(payload=user)

    def _create(self, call: Call) -> Answer:
        user = self._user_of(call, _EXPORTS)
        fields = self._payload(call)
        mine = [one for one in self.world.store.of(self.name) if one.owner == user and self.settle(one)]
        twins = [one for one in mine if one.request == fields and one.state in (*OPEN_STATES, "ready")]
        if twins and self.switches.duplicate_create == "conflict":
            raise Refused(self.error(409))
        if twins and self.switches.duplicate_create == "same":
            return Answer(201, payload=self._rendered(twins[-1]))
        limit = self.switches.max_in_progress
        if limit is not None and sum(one.state in OPEN_STATES for one in mine) >= limit:
            if self.switches.max_in_progress_status == 429:
                raise Refused(self.too_many(self.switches.retry_after, 30))
            raise Refused(self._error(400, {"non_field_errors": ["Too many exports in progress."]}))
        record = self.create(call, user, fields)
        record.notes = {
            "rows": self.switches.rows,
            "bytes": self.switches.file_bytes,
            "membership": self.switches.membership,
            "empty_result": self.switches.empty_result,
        }
        if self.switches.empty_result == "failed" and not giosg_records.has_rows(fields, record.notes):
            record.fate = "failed"
        return Answer(201, payload=self._rendered(record))

    def _payload(self, call: Call) -> dict[str, Any]:
        if call.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(self.error(self.switches.content_type_status))
        try:
            payload = json.loads(call.raw_body.decode("utf-8"))
        except ValueError as error:
            raise Refused(self.error(400, f"JSON parse error - {error}")) from None
        if not isinstance(payload, dict):
            raise Refused(self._error(400, {"non_field_errors": ["Invalid data. Expected a dictionary."]}))
        fields, errors = giosg_rules.checked_payload(payload, self.switches, self.now())
        room = next((room for room in self.rooms if room["id"] == fields.get("room_id")), None)
        if "room_id" not in errors and (room is None or room["_deleted"]):
            if self.switches.unknown_room_status != 400 and room is None:
                raise Refused(self.error(self.switches.unknown_room_status))
            errors["room_id"] = ["Unknown room."]
        if errors:
            raise Refused(self._error(400, errors))
        if room is not None and room["is_shared"] and self.switches.shared_room == "403":
            raise Refused(self.error(403))
        return fields

    def _retrieve(self, call: Call) -> Answer:
        user = self._user_of(call, _EXPORTS)
        record = self.world.store.find(self.name, call.path.rpartition("/")[2])
        if record is None or record.owner != user or not self.visible(record, read=True):
            raise Refused(self.error(self.switches.unknown_export_status))
        return Answer(payload=self._rendered(record))

    def _list(self, call: Call) -> Answer:
        user = self._user_of(call, _EXPORTS)
        mine = [one for one in self.world.store.of(self.name) if one.owner == user]
        newest_first = {-one.serial: one for one in reversed(mine) if self.visible(one, read=False)}
        page, envelope = self._page(call, list(newest_first))
        # Only what a page shows has been looked at.
        shown = [newest_first[key] for key in page if self.visible(newest_first[key], read=True)]
        return Answer(payload=envelope | {"results": [self._rendered(record) for record in shown]})

    def _list_rooms(self, call: Call) -> Answer:
        pattern = next(one for one in _ROOMS.values() if one.fullmatch(call.path))
        self._user_of(call, pattern)
        deleted_too = call.query.get("include_deleted") == "true"
        rooms = [room for room in self.rooms if deleted_too or not room["_deleted"]]
        page, envelope = self._page(call, list(range(len(rooms))))
        results = [
            {name: self._shown(value) for name, value in rooms[key].items() if not name.startswith("_")}
            for key in page
        ]
        return Answer(payload=envelope | {"results": results})

    def _page(self, call: Call, keys: Sequence[int]) -> tuple[Sequence[int], dict[str, Any]]:
        origin = {"absolute": self.world.api_origin, "relative": "", "foreign": self.world.files_origin}
        address = f"{origin[self.switches.next_url]}/giosg{call.path}"
        try:
            return giosg_pages.page(keys, call.query, address, self.switches)
        except LookupError:
            raise Refused(self.error(404, "Invalid page.")) from None

    def _rendered(self, record: ExportRecord) -> dict[str, Any]:
        succeeded = record.state in ("ready", "expired")
        changed = record.expires_at if record.state == "expired" else record.finished_at
        export = {
            "id": record.id,
            **record.request,
            "created_at": record.created_at,
            "created_by_user_id": record.owner,
            "updated_at": changed or record.created_at,
            "completed_at": record.finished_at,
            "expires_at": record.expires_at,
            "is_failed": {"ready": False, "expired": False, "failed": True}.get(record.state),
            "url": self._url(record) if record.state == "ready" else None,
        }
        if succeeded and self.switches.is_failed_slip:
            export["is_failed"] = "failed"
        if self.switches.expires_at_field == "missing":
            del export["expires_at"]
        if record.request["type"] == "stats" and self.switches.stats_shape != "defaults":
            for name in giosg_rules.LOGS_ONLY:
                export[name] = None
                if self.switches.stats_shape == "absent":
                    del export[name]
        return {name: self._shown(value) for name, value in export.items()}

    def _shown(self, value: Any) -> Any:
        if not isinstance(value, datetime):
            return value
        form = self.switches.datetime_output
        text = value.isoformat(timespec="milliseconds" if form == "no_zone" else form)
        return text.replace("+00:00", "" if form == "no_zone" else "Z")

    # Files

    def content(self, record: ExportRecord) -> list[FileContent]:
        """One file per export."""
        return [giosg_records.file_content(record.request, record.notes)]

    def _url(self, record: ExportRecord) -> str:
        path = f"/giosg/files/reportexports/{record.id}.{record.request['format']}"
        if self.switches.file_url != "signed":
            version = f"?version={uuid.uuid4().hex[:8]}" if self.switches.url_changes else ""
            return f"{self.world.api_origin}{path}{version}"
        return self._signed_url(record, path)

    def _signed_url(self, record: ExportRecord, path: str) -> str:
        always = self.switches.url_changes or self.switches.link_seconds is not None
        if always or "signed" not in record.notes:
            record.notes["signed"] = self.signed_path(record, 0, path)
        return f"{self.world.files_origin}{record.notes['signed']}"

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The files origin knows signatures only."""
        if _FILE.fullmatch(call.path):
            return "file", self._signed_file
        return None, lambda _call: self.error(404)

    def _own_file(self, call: Call) -> Answer:
        self._authenticate(call)
        match = _FILE.fullmatch(call.path)
        record = None if match is None else self.world.store.find(self.name, match["id"])
        if record is None:
            raise Refused(self.error(404))
        if self.switches.file_url == "redirect" and self.settle(record) and record.state == "ready":
            return Answer(302, text="", headers={"Location": self._signed_url(record, f"/giosg{call.path}")})
        return self._file(call, record)

    def _signed_file(self, call: Call) -> Answer:
        if call.method != "GET":
            raise Refused(self.error(405))
        link = self.world.store.links.get(call.query.get("signature", ""))
        record = None if link is None else self.world.store.find(self.name, link.export_id)
        if link is None or record is None or link.path != f"/giosg{call.path}":
            raise Refused(self.error(403))
        life = self.switches.link_seconds
        if life is not None and self.now() - link.issued_at >= timedelta(seconds=life):
            raise Refused(self.error(self.switches.gone_status))
        return self._file(call, record)

    def _file(self, call: Call, record: ExportRecord) -> Answer:
        if not self.settle(record) or record.state != "ready":
            raise Refused(self.error(self.switches.gone_status if record.state == "expired" else 404))
        kind = record.request["format"]
        name = f"report-{record.id}.{kind}" if self.switches.content_disposition else None
        answer = self.serve(call, self.files(record)[0], giosg_records.MEDIA_TYPES[kind], name)
        if record.finished_at is not None:
            answer.headers["Last-Modified"] = http_date(record.finished_at)
        return answer

"""Everything that is known about giosg report exports.

Source of the vendor facts, where no other is named:
https://docs.giosg.com/api_reference/giosg_live/giosg_http_api/exports. There is no status field: the state
follows from ``completed_at``, ``is_failed``, ``expires_at`` and ``url``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urljoin

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Datasource,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.turns import Room
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Expiry,
    Links,
    Vendor,
    VendorSettings,
    invalid_payload,
)
from airflow_provider_exports.core.wire import Flow, Request, Response, origin, resolve
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    PermissionDenied,
    UnexpectedResponse,
)

# Stops a list whose `next` links never end; the vendor promises neither page size nor length.
_MAX_PAGES = 10_000

# Rows, newest first, among which exports in progress are looked for before a create. Pages of the vendor's
# collections were once documented to hold 25 and more, so this is one request.
_HEAD_OF_LIST = 20
# All exports of one connection count against the same limit.
_QUEUE = "exports"
# A month of 31 days is longer by this where the clocks go back in it.
_CLOCK_CHANGE = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class GiosgSettings(VendorSettings):
    """giosg's own settings in the connection's Extra; durations are seconds.

    The vendor publishes no limits, paces or lifetimes: all defaults here are ours.
    """

    organization_id: str = ""
    """Organization in the export path; empty asks the vendor whom the token belongs to."""
    user_id: str = ""
    """User in the export path; empty asks the vendor whom the token belongs to."""
    auth_scheme: str = "Token"
    """``Token`` for an API token, ``Bearer`` for an OAuth2 access token."""
    api_prefix: str = "/api/v5"
    """Path of the API below the host."""
    rooms_path: str = "/orgs/{organization_id}/rooms"
    """Path of the room collection below ``api_prefix``."""
    include_shared: bool = False
    """Whether listed rooms include those that another organization shares."""
    download_auth: str = "auto"
    """Token with the file request: ``auto`` to the API's own origin only, ``never``, or ``always``, which
    adds the hosts in ``download_hosts``."""
    download_hosts: str = ""
    """Hosts (``name`` or ``name:port``, comma separated) that may see the token with ``always``."""
    max_window_days: float = 31.0
    """Longest range asked for, days; 0 for no limit."""
    allow_future: bool = False
    """Permit a range that has not ended yet."""
    overlap: float = 0.0
    """How much earlier a ``logs`` range starts than asked for. Which time of a chat decides is not
    published: a chat across the border of two ranges might be in neither."""
    max_in_progress: int = 3
    """Most exports of the user in progress at once; a create waits for room. 0 for no limit of ours."""
    # A wait ends after an hour here: five minutes would leave few tries.
    conflict_interval: float = 60.0
    max_requests: int = 4
    max_requests_period: float = 1.0
    poll_initial: float = 2.0
    poll_factor: float = 1.5
    poll_maximum: float = 30.0
    wait_timeout: float = 3600.0
    # Chats are personal data.
    file_mode: str = "600"
    # Chats may still be open or written late when the range ends.
    settle_delay: float = 3600.0


class GiosgVendor(Vendor):
    """giosg. One room and one range per export; no cancel, no delete, no limit on parallel exports known."""

    name = "giosg"
    display_name = "giosg"
    docs_url = "https://docs.giosg.com/api_reference/giosg_live/giosg_http_api/exports"
    default_host = "https://service.giosg.com"
    settings_class = GiosgSettings
    capabilities = frozenset(
        {Capability.LIST, Capability.FIND, Capability.DATASOURCES, Capability.PING, Capability.ROOM}
    )
    lists_states = True
    expiry = Expiry.TOLD
    # Not published; the setting download_auth says what is sent.
    links = Links.AUTHENTICATED
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        name: (name,)
        for name in (
            "room_id",
            "type",
            "format",
            "starting_at",
            "ending_at",
            "is_real_conversation",
            "min_message_count",
        )
    }

    settings: GiosgSettings

    def __init__(self, connection: ConnectionInfo) -> None:
        super().__init__(connection)
        self._ids = (self.settings.organization_id, self.settings.user_id)

    def make_auth(self) -> HeaderToken:
        settings = self.settings
        if not self.connection.password:
            raise InvalidConnection(f"connection {self.connection.conn_id!r} has no access token.")
        if settings.download_auth not in ("auto", "never", "always"):
            raise InvalidConnection("the setting 'download_auth' must be auto, never or always.")
        if settings.download_auth == "always" and not settings.download_hosts:
            raise InvalidConnection("download_auth 'always' needs the hosts it is for, in 'download_hosts'.")
        try:
            settings.rooms_path.format(organization_id="", user_id="")
        except (KeyError, IndexError, ValueError):
            said = "the setting 'rooms_path' may hold {organization_id} and {user_id}, no other braces."
            raise InvalidConnection(said) from None
        return HeaderToken(self.connection.password, scheme=settings.auth_scheme)

    @property
    def file_hosts(self) -> frozenset[str]:
        if self.settings.download_auth != "always":
            return frozenset()
        return frozenset(
            host.strip().lower() for host in self.settings.download_hosts.split(",") if host.strip()
        )

    def create(self, payload: Payload) -> Flow[Export]:
        collection = yield from self._collection()
        if self.settings.max_in_progress:
            (yield from self.room(_QUEUE)).raise_if_full()
        response = yield self._request("POST", collection, json=payload, idempotent=False, operation="create")
        return self.read(response.json(), response.server_time)

    def get(self, export_id: str) -> Flow[Export]:
        collection = yield from self._collection()
        path = f"{collection}/{quote(export_id, safe='')}"
        response = yield self._request("GET", path, export_id=export_id, operation="retrieve")
        return self.read(response.json(), response.server_time)

    def list_exports(self) -> Flow[list[Export]]:
        return (yield from self._exports(since=None))

    def list_since(self, since: float) -> Flow[list[Export]]:
        return (yield from self._exports(since))

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        wanted = _comparable(payload)
        exports = yield from self._exports(since)
        return [
            export
            for export in exports
            if export.state in (ExportState.QUEUED, ExportState.RUNNING, ExportState.READY)
            and _comparable(export.parameters) == wanted
        ]

    def list_datasources(self) -> Flow[list[Datasource]]:
        organization_id, user_id = (quote(part, safe="") for part in (yield from self._path_ids()))
        rooms_path = self.settings.rooms_path.format(organization_id=organization_id, user_id=user_id)
        path = self.settings.api_prefix + rooms_path
        rooms: dict[str, Datasource] = {}
        for row, _ in (yield from self._rows(path, "rooms")):
            if not isinstance(row.get("id"), str):
                raise UnexpectedResponse("a listed room has no id.")
            if self.settings.include_shared or row.get("is_shared") is not True:
                name = row.get("display_name") or row.get("name") or row["id"]
                rooms[row["id"]] = Datasource(row["id"], str(name))
        return list(rooms.values())

    def ping(self) -> Flow[str]:
        if all(self._ids):
            collection = yield from self._collection()
            yield self._request("GET", collection, operation="list")
            return "the token is accepted and may use report exports"
        yield from self._path_ids()
        return f"the token is accepted; it belongs to user {self._ids[1]} of organization {self._ids[0]}"

    def parse(self, raw: JSON, now: float) -> Export:
        completed, url = raw["completed_at"], raw.get("url")
        expires_at = times.reported(raw.get("expires_at"), "expires_at")
        # Success is read from the other fields: by a slip, the page calls is_failed "failed" on success.
        failed = raw.get("is_failed") is True
        expired = expires_at is not None and expires_at.timestamp() - self.settings.expiry_margin <= now
        if completed is None and raw.get("is_failed") is None:
            state = ExportState.RUNNING
        elif completed is not None and failed:
            state = ExportState.FAILED
        elif completed is not None and expired:
            state = ExportState.EXPIRED
        elif completed is not None and url:
            state = ExportState.READY
        else:
            # Half-written rows are read again; if one stays so, the wait gives up.
            raise UnexpectedResponse(
                f"its fields contradict each other (completed_at {'set' if completed else 'null'}, is_failed "
                f"{raw.get('is_failed')!r}, url {'set' if url else 'null'}).",
                export_id=raw["id"],
            )
        files: tuple[ExportFile, ...] = ()
        if state is ExportState.READY:
            extension = raw.get("format") or "bin"
            authenticated = self.settings.download_auth != "never"
            files = (ExportFile(f"{file_stem(raw['id'])}.{extension}", url, None, authenticated, extension),)
        return Export(
            vendor=self.name,
            export_id=raw["id"],
            state=state,
            created_at=times.reported(raw.get("created_at"), "created_at"),
            expires_at=expires_at,
            files=files,
            parameters={name: raw.get(name) for name in self.payload_fields},
        )

    def prepare(self, payload: Payload) -> Payload:
        # An explicit null is the vendor's default; it is left out rather than sent.
        prepared = {name: value for name, value in payload.items() if value is not None}
        problems: list[Problem] = []
        for name in ("starting_at", "ending_at"):
            if name in prepared:
                try:
                    moment = times.instant(prepared[name])
                    if name == "starting_at" and prepared.get("type") == "logs":
                        moment -= timedelta(seconds=self.settings.overlap)
                    prepared[name] = times.milliseconds(moment)
                except ValueError as error:
                    problems.append(Problem(name, f"is no time: {error}"))
        # Templates render to text.
        if (
            isinstance(prepared.get("min_message_count"), str)
            and prepared["min_message_count"].strip().isdecimal()
        ):
            prepared["min_message_count"] = int(prepared["min_message_count"])
        if isinstance(prepared.get("is_real_conversation"), str):
            word = prepared["is_real_conversation"].strip().lower()
            prepared["is_real_conversation"] = {"true": True, "false": False}.get(word, word)
        if isinstance(prepared.get("room_id"), str):
            # UUIDs are lower case: https://docs.giosg.com/api_reference/common_api_guidelines/
            prepared["room_id"] = prepared["room_id"].strip().lower()
        if problems:
            raise invalid_payload(self.name, problems)
        return prepared

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        start, end = self._asked_from(payload), times.instant(payload["ending_at"])
        if end <= start:
            hint = (
                ". On Airflow 3 a plain cron schedule has intervals of no length: "
                "use CronDataIntervalTimetable"
                if end == start
                else ""
            )
            yield Problem("ending_at", f"must be later than starting_at{hint}")
        elif 0 < self.settings.max_window_days < (end - start - _CLOCK_CHANGE) / timedelta(days=1):
            yield Problem("ending_at", f"makes the range longer than {self.settings.max_window_days:g} days")
        if end.timestamp() > now and not self.settings.allow_future:
            yield Problem("ending_at", "lies in the future")

    def content(self, payload: Payload) -> Content:
        start = self._asked_from(payload) if "starting_at" in payload else None
        end = times.instant(payload["ending_at"]) if "ending_at" in payload else None
        return Content((f"rooms/{payload['room_id']}/{payload['type']}",), start, end)

    def _asked_from(self, payload: Payload) -> datetime:
        """Return the start that was asked for, before :meth:`prepare` made it earlier."""
        overlap = self.settings.overlap if payload["type"] == "logs" else 0.0
        return times.instant(payload["starting_at"]) + timedelta(seconds=overlap)

    def settled_at(self, payload: Payload) -> float | None:
        if "ending_at" not in payload or self.settings.allow_future:
            return None
        return times.instant(payload["ending_at"]).timestamp() + self.settings.settle_delay

    def error(self, request: Request, response: Response) -> ExportError | None:
        refused = super().error(request, response)
        if isinstance(refused, PermissionDenied) and request.export_id:
            # Whether another user's export is answered with 403 or 404 is not published.
            said = self.error_text(response)
            return ExportNotFound(
                f"the vendor does not show it to this token (HTTP 403). {said}".strip(),
                export_id=request.export_id,
                http_status=403,
                next_step="Check the id, whose token made it, the settings permission and the subscription.",
            )
        if isinstance(refused, AuthenticationFailed):
            # https://docs.giosg.com/getting_started/get_api_token/
            refused.next_step = (
                "Check the credentials in the connection: a token dies with the user who made it."
            )
        elif isinstance(refused, ExportRejected) and response.status == 404:
            refused.next_step = (
                "Check organization_id and user_id in the connection, its address and the room."
            )
        return refused

    def error_text(self, response: Response) -> str:
        try:
            response.json()
        except UnexpectedResponse:
            # No error format is published: a text or a page may be all there is.
            return redact(response.body.decode("utf-8", "replace"), self.secrets)
        return super().error_text(response)

    def error_words(self, body: JSON) -> str:
        # No error format is published; these are the shapes of the framework the API shows the habits of.
        if isinstance(body, list):
            return "; ".join(self.error_words(item) for item in body)
        if not isinstance(body, dict):
            return "" if body is None else str(body)
        for key in ("detail", "error_description", "error"):
            if isinstance(body.get(key), str):
                return str(body[key])
        return "; ".join(f"{key}: {self.error_words(value)}" for key, value in body.items())

    def _path_ids(self) -> Flow[tuple[str, str]]:
        """Return organization and user id, asking the vendor once for what the connection leaves open."""
        if not all(self._ids):
            # https://docs.giosg.com/getting_started/quickstart/
            response = yield self._request(
                "GET", f"{self.settings.api_prefix}/users/me", operation="users/me"
            )
            me = response.json()
            if not isinstance(me, dict) or not all(
                isinstance(me.get(key), str) for key in ("id", "organization_id")
            ):
                raise UnexpectedResponse("users/me answers without id and organization_id.")
            self._ids = (self._ids[0] or me["organization_id"], self._ids[1] or me["id"])
        return self._ids

    def _collection(self) -> Flow[str]:
        organization_id, user_id = yield from self._path_ids()
        # No trailing slash: a redirect would turn the POST into a GET.
        return (
            f"{self.settings.api_prefix}/orgs/{quote(organization_id, safe='')}"
            f"/users/{quote(user_id, safe='')}/reportexports"
        )

    def _request(self, method: str, path: str, **details: Any) -> Request:
        return Request(method, path, headers={"Accept": "application/json"}, **details)

    def _exports(self, since: float | None) -> Flow[list[Export]]:
        def older(row: dict[str, Any]) -> bool:
            created_at = times.reported(row.get("created_at"), "created_at")
            return since is not None and created_at is not None and created_at.timestamp() < since

        collection = yield from self._collection()
        rows = yield from self._rows(collection, "list", until=older)
        found: dict[str, Export] = {}
        for export, _ in (yield from self.read_rows(rows)):
            # New rows push old ones onto the next page while we read.
            found.setdefault(export.export_id, export)
        return list(found.values())

    def queue(self, payload: Payload) -> str | None:
        return _QUEUE if self.settings.max_in_progress else None

    def room(self, queue: str) -> Flow[Room]:
        collection = yield from self._collection()
        most = self.settings.max_in_progress
        rows = yield from self._rows(collection, "list", enough=max(most, _HEAD_OF_LIST))
        running = frozenset(
            export.export_id
            for export, now in (yield from self.read_rows(rows))
            if export.state is ExportState.RUNNING
            # A stuck export would take its room for ever.
            and export.created_at is not None
            and now - export.created_at.timestamp() < self.settings.wait_timeout
        )
        said = f"{len(running)} exports of this user are in progress, max_in_progress is {most}."
        return Room(running, most, said)

    def _rows(
        self,
        path: str,
        operation: str,
        until: Callable[[dict[str, Any]], bool] = lambda _: False,
        enough: float = math.inf,
    ) -> Flow[list[tuple[dict[str, Any], float]]]:
        """Return the rows of a collection with the vendor's time, page by page, up to the first ``until``.

        No further page is asked for when there are ``enough`` rows.
        """
        rows: list[tuple[dict[str, Any], float]] = []
        for _ in range(_MAX_PAGES):
            response = yield self._request("GET", path, operation=operation)
            page = response.json()
            if not isinstance(page, dict) or not isinstance(page.get("results"), list):
                raise UnexpectedResponse(f"{operation} answers without results.")
            for row in page["results"]:
                if not isinstance(row, dict):
                    raise UnexpectedResponse(f"{operation} lists something that is no object.")
                if until(row):
                    return rows
                rows.append((row, response.server_time))
            # A short or empty page is not the end: https://docs.giosg.com/api_reference/common_api_guidelines/
            following = page.get("next") or page.get("next_page_url")
            if not following or len(rows) >= enough:
                return rows
            try:
                path = urljoin(resolve(self.api_urls, path), following)
                elsewhere = origin(path) != origin(self.base_url)
            except (TypeError, ValueError):
                raise UnexpectedResponse(f"{operation}: the next page has no address.") from None
            if elsewhere:
                raise UnexpectedResponse(
                    f"{operation}: the next page is said to be on another host; not followed."
                )
        raise UnexpectedResponse(f"{operation} goes on after {_MAX_PAGES} pages.")


def _comparable(payload: Mapping[str, Any]) -> tuple[Any, ...]:
    # Times as instants and defaults filled in: the vendor may write both in another form than we sent.
    return (
        str(payload.get("room_id")).lower(),
        payload.get("type"),
        payload.get("format"),
        times.reported(payload.get("starting_at"), "starting_at"),
        times.reported(payload.get("ending_at"), "ending_at"),
        payload.get("is_real_conversation"),
        payload.get("min_message_count") or 0,
    )

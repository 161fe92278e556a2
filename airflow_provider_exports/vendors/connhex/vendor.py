"""Everything that is known about Connhex exports.

Source of the vendor facts, where no other is named:
https://connhex.com/docs/api/exporter/1.3.7/create-request and the pages beside it. Only the create is
documented with its bodies; what the other calls answer is assumed, so it is read tolerantly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Links,
    Vendor,
    invalid_payload,
)
from airflow_provider_exports.core.wire import LOOPBACK_HOSTS, Flow, Request, Response, origin
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.vendors.connhex import answers, faults
from airflow_provider_exports.vendors.connhex.payload import (
    EACH_MESSAGE,
    FAILURE_MESSAGE,
    ONE_ITEM,
    SUCCESS_MESSAGE,
    advice,
    completed,
    content,
    latest_end,
    marked,
    same_mark,
    same_request,
    violations,
    without_output_format,
)
from airflow_provider_exports.vendors.connhex.settings import ConnhexSettings

# Stops a list whose pages never end; the vendor promises neither page size nor length.
_MAX_PAGES = 1_000
# What was asked for is looked up among the newest exports only.
_LOOKUP_PAGES = 10
_PAGE_SIZE = 100
# A session is replaced this many seconds before it ends.
_SESSION_MARGIN = 30.0


class ConnhexVendor(Vendor):
    """Connhex. Channel data, once or recurring; the number of queued exports is limited."""

    name = "connhex"
    display_name = "Connhex"
    docs_url = "https://connhex.com/docs/api/exporter/1.3.7/create-request"
    default_host = "https://connhex.com"
    settings_class = ConnhexSettings
    capabilities = frozenset(
        {
            Capability.LOGIN,
            Capability.LIST,
            Capability.FIND,
            Capability.DELETE,
            Capability.PING,
            Capability.RECURRENCE,
        }
    )
    delete_cancels = True
    links = Links.AUTHENTICATED
    # https://connhex.com/docs/exporter/jobs
    states: ClassVar[Mapping[str, ExportState]] = {
        "notProcessed": ExportState.QUEUED,
        "inProgress": ExportState.RUNNING,
        "done": ExportState.READY,
        "failed": ExportState.FAILED,
        "expired": ExportState.EXPIRED,
    }
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "type": ("type",),
        "extension": ("format", "extension"),
        "filename": ("format", "filename"),
        "columns": ("format", "columns"),
        "timezone": ("format", "timezone"),
        "template": ("format", "template"),
        "csv_delimiter": ("format", "csvDelimiter"),
        "items": ("items",),
        "channel_id": (ONE_ITEM, "params", "channelId"),
        "subtopic": (ONE_ITEM, "params", "subtopic"),
        "targets": (ONE_ITEM, "params", "target", "value"),
        "labels": (ONE_ITEM, "params", "target", "label"),
        "from_time": (ONE_ITEM, "params", "from"),
        "to_time": (ONE_ITEM, "params", "to"),
        "period": (ONE_ITEM, "params", "period"),
        "decimation": (ONE_ITEM, "params", "decimation"),
        "transform": (ONE_ITEM, "params", "transform"),
        "output_format": (ONE_ITEM, "params", "outputFormat"),
        "periodicity": ("periodicity",),
        "period_start": ("periodStart",),
        "messages": ("notification", "messages"),
        "success_text": ("notification", SUCCESS_MESSAGE, "text"),
        "failure_text": ("notification", FAILURE_MESSAGE, "text"),
        "notification_medium": ("notification", EACH_MESSAGE, "medium"),
        "notification_target": ("notification", EACH_MESSAGE, "target"),
    }

    settings: ConnhexSettings

    def __init__(self, connection: ConnectionInfo) -> None:
        super().__init__(connection)
        self.accounts_url = self._service_url("accounts", self.settings.accounts_url)
        # Session token and when it ends by the local clock, as the last login said.
        self._session: tuple[str, float | None] = ("", None)
        # Type and file extension by export id: the status answer does not tell what was asked for.
        self._asked: dict[str, tuple[str | None, str]] = {}

    def make_auth(self) -> HeaderToken:
        settings, connection = self.settings, self.connection
        for label, value in (("username", connection.login), ("password", connection.password)):
            if not value:
                raise InvalidConnection(f"connection {connection.conn_id!r} has no {label}.")
        for name, value, choices in (
            ("download_mode", settings.download_mode, ("stream", "link")),
            ("multi_item_packing", settings.multi_item_packing, ("zip", "plain")),
            ("notification_medium", settings.notification_medium, ("email", "telegram", "slack", "discord")),
        ):
            if value not in choices:
                raise InvalidConnection(f"the setting {name!r} must be one of {', '.join(choices)}.")
        return HeaderToken("")

    @property
    def api_urls(self) -> tuple[str, ...]:
        return (self.base_url, self.accounts_url)

    @property
    def secrets(self) -> tuple[str, ...]:
        token, _ = self._session
        return (*super().secrets, token) if token else super().secrets

    # https://connhex.com/docs/quickstart/token-authentication
    def login(self) -> Flow[str]:
        begin = f"{self.accounts_url}/auth/self-service/login/api"
        flow = (yield self._request("GET", begin, signed=False, operation="login flow")).json()
        ui = flow.get("ui") if isinstance(flow, dict) else None
        action = ui.get("action") if isinstance(ui, dict) else None
        if not isinstance(action, str) or not action:
            raise UnexpectedResponse("the login flow does not say where the credentials go (ui.action).")
        try:
            action = urljoin(begin, action)
            trusted = origin(action) == origin(self.accounts_url)
        except ValueError:
            trusted = False
        if not trusted:
            raise UnexpectedResponse("the login flow leads to another host; the password is not sent there.")
        form = {
            "method": "password",
            "identifier": self.connection.login,
            "password": self.connection.password,
        }
        response = yield self._request("POST", action, json=form, signed=False, operation="login")
        answer = response.json()
        token = answer.get("session_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise UnexpectedResponse("the login answers without session_token.")
        self._session = (token, self._session_end(answer.get("session"), response))
        return token

    def token_expires_at(self, token: str) -> float | None:
        known, ends_at = self._session
        return None if ends_at is None or token != known else ends_at - _SESSION_MARGIN

    def create(self, payload: Payload) -> Flow[Export]:
        response = yield self._request(
            "POST", "/exports", json=self._sent(payload), idempotent=False, operation="create"
        )
        return self._remember(self.read(response.json(), response.server_time))

    def get(self, export_id: str) -> Flow[Export]:
        export = yield from self._status(export_id)
        if export.state is not ExportState.READY:
            return export
        yield from self._look_up(export_id)
        file = self._file(export_id)
        if self.settings.download_mode == "link":
            try:
                file = replace(file, url=(yield from self._link(export_id)))
            except (ExportNotFound, ExportRejected):
                # How a download without a file is refused is not published: the status decides.
                export = yield from self._status(export_id)
                if export.state is ExportState.READY:
                    raise
                return export
        return replace(export, files=(file,))

    def parse(self, raw: JSON, now: float) -> Export:
        jobs = answers.jobs(raw, self.settings.status_field) or []
        # Jobs of a one-time export are parts of it, and each of them counts.
        shown = answers.newest_run(jobs) if raw.get("type") == "recurring" else jobs
        word, state = answers.reduced(shown, self.states)
        if raw.get("deletedAt"):
            state = ExportState.CANCELLED
        asked = ("type", "format", "items", "periodicity", "periodStart", "notification")
        return Export(
            vendor=self.name,
            export_id=raw["id"],
            # A word of tomorrow most likely means that it is not done yet; the deadline bounds the guess.
            state=state or ExportState.RUNNING,
            vendor_status=word,
            documented=state is not None,
            files=(self._file(raw["id"]),) if state is ExportState.READY else (),
            created_at=times.reported(raw.get("createdAt"), "createdAt"),
            run_started_at=answers.newest_start(shown),
            parameters={name: raw[name] for name in asked if raw.get(name) is not None},
        )

    def repeats(self, payload: Payload) -> bool:
        return bool(payload.get("type") == "recurring")

    def list_exports(self) -> Flow[list[Export]]:
        rows, _ = yield from self._rows()
        exports: list[Export] = []
        for listed in rows:
            if listed.state is ExportState.CANCELLED or (listed.vendor_status and not listed.files):
                exports.append(listed)
                continue
            # A row holds what was asked for, not what became of it.
            try:
                seen = yield from self.get(listed.export_id)
            except ExportNotFound:
                # Deleted while we read.
                continue
            exports.append(_joined(seen, listed))
        return exports

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        wanted = self._sent(payload)
        same = same_mark if self.settings.fingerprint else same_request
        rows, now = yield from self._rows(since)
        exports: list[Export] = []
        for listed in rows:
            if listed.state is ExportState.CANCELLED or not same(listed.parameters, wanted):
                continue
            try:
                seen = _joined((yield from self._status(listed.export_id)), listed)
            except ExportNotFound:
                # Rights on a new export come a little later than the export.
                if _older(listed, now - self.settings.clock_margin):
                    continue
                seen = listed
            # A recurring one goes on, whatever became of its newest run.
            gone = seen.state in (ExportState.FAILED, ExportState.EXPIRED)
            if payload["type"] == "recurring" or not gone:
                exports.append(seen)
        return exports

    def delete(self, export_id: str) -> Flow[None]:
        yield self._request("DELETE", _path(export_id), export_id=export_id, operation="delete")

    def ping(self) -> Flow[str]:
        # https://connhex.com/docs/quickstart/token-authentication
        response = yield self._request("GET", f"{self.accounts_url}/auth/sessions/whoami", operation="whoami")
        answer = response.json()
        if not isinstance(answer, dict):
            raise UnexpectedResponse("whoami answers with no object.")
        identity = answer.get("identity")
        traits = identity.get("traits") if isinstance(identity, dict) else None
        email = traits.get("email") if isinstance(traits, dict) else None
        who = f" as {email}" if isinstance(email, str) else ""
        return f"the login is accepted{who}; rights on exports show with the first export only"

    def prepare(self, payload: Payload) -> Payload:
        settings = self.settings
        made, problems = completed(payload, settings.notification_medium, settings.notification_target)
        if problems:
            raise invalid_payload(self.name, problems)
        return made

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        return violations(payload, now, allow_future=self.settings.allow_future)

    def content(self, payload: Payload) -> Content:
        return content(payload)

    def settled_at(self, payload: Payload) -> float | None:
        end = None if self.settings.allow_future else latest_end(payload)
        return None if end is None else end + self.settings.settle_delay

    def advise(self, payload: Payload) -> str | None:
        return advice(payload)

    def queue(self, payload: Payload) -> str | None:
        return "exports"

    def is_conflict(self, request: Request, response: Response) -> bool:
        # 429 is "Maximum number of queued exports reached", not a rate:
        # https://connhex.com/docs/api/exporter/create-request
        return response.status in (409, 429)

    def error(self, request: Request, response: Response) -> ExportError | None:
        refused = super().error(request, response)
        if refused is None:
            return None
        refused = faults.named(refused, request, response, self.error_text(response))
        request_id = faults.request_id(response.headers)
        refused.message += f" (request {request_id})" if request_id else ""
        return refused

    def error_text(self, response: Response) -> str:
        try:
            response.json()
        except UnexpectedResponse:
            if not response.headers.get("content-type", "").startswith("text/plain"):
                return ""
            return redact(response.body[:500].decode("utf-8", "replace"), self.secrets)
        return super().error_text(response)

    def error_words(self, body: JSON) -> str:
        return faults.words(body)

    def _base_url(self) -> str:
        return self._service_url("apis", self.settings.apis_url)

    def _service_url(self, service: str, given: str) -> str:
        """Return where a service of the instance is: apis.connhex.com for the instance connhex.com."""
        if given:
            return self.checked_url(given.strip().rstrip("/"), f"the setting '{service}_url'")
        instance = urlsplit(super()._base_url())
        if (instance.hostname or "") in LOOPBACK_HOSTS:
            raise InvalidConnection(
                f"the host of connection {self.connection.conn_id!r} has no subdomains: set both "
                "apis_url and accounts_url in its Extra."
            )
        domain = instance.netloc
        for prefix in ("apis.", "accounts.", "www."):
            domain = domain.removeprefix(prefix)
        return f"{instance.scheme}://{service}.{domain}"

    def _request(self, method: str, path: str, **details: Any) -> Request:
        return Request(method, path, headers={"Accept": "application/json"}, **details)

    def _session_end(self, session: JSON, response: Response) -> float | None:
        ends = session.get("expires_at") if isinstance(session, dict) else None
        try:
            ends_at = times.reported(ends, "expires_at")
        except UnexpectedResponse:
            # It only saves a refused call.
            return None
        # By the local clock, which decides when to log in anew.
        lag = response.received_at - response.server_time
        return None if ends_at is None else ends_at.timestamp() + lag

    def _sent(self, payload: Payload) -> Payload:
        """Return the body of a create, marked so that it can be found again."""
        body = marked(payload) if self.settings.fingerprint else payload
        return body if self.settings.send_output_format else without_output_format(body)

    def _status(self, export_id: str) -> Flow[Export]:
        path = f"{_path(export_id)}/status"
        response = yield self._request("GET", path, export_id=export_id, operation="status")
        answer = response.json()
        jobs = answers.jobs(answer, self.settings.status_field)
        if jobs is None:
            raise UnexpectedResponse("the status answer holds no status.")
        told = answer.get("type") if isinstance(answer, dict) else None
        export_type = told if told in ("oneTime", "recurring") else None
        if len(jobs) > 1 and export_type is None:
            export_type, _ = yield from self._look_up(export_id)
        raw = {"id": export_id, "type": export_type, self.settings.status_field: answer}
        return self.read(raw, response.server_time)

    def _rows(
        self, since: float | None = None, pages: int = _MAX_PAGES, until: str = ""
    ) -> Flow[tuple[list[Export], float]]:
        """Return listed exports created since ``since``, page by page, and the vendor's time, epoch seconds.

        :param until: id of the export with which to stop.
        """
        if not self.settings.has_list:
            raise ExportRejected("the connection says that this server has no list of exports (has_list).")
        found: dict[str, Export] = {}
        now = 0.0
        for page in range(pages):
            # As the vendor's other services do; neither path nor paging of this list is published.
            params = {"page": str(page), "pageSize": str(_PAGE_SIZE), "sort": "createdAt:desc"}
            response = yield self._request("GET", self.settings.list_path, params=params, operation="list")
            body, now = response.json(), response.server_time
            rows = body.get("results") if isinstance(body, dict) else body
            if not isinstance(rows, list):
                raise UnexpectedResponse("list answers without results.")
            fresh = {}
            for export, _ in (yield from self.read_rows((row, now) for row in rows)):
                self._remember(export)
                if export.export_id not in found:
                    fresh[export.export_id] = export
            found |= fresh
            total = body.get("total") if isinstance(body, dict) else None
            # A server that does not know `page` sends the same rows again.
            if not fresh or until in found or (isinstance(total, int) and len(found) >= total):
                break
            if since is not None and all(_older(export, since) for export in fresh.values()):
                break
        return [export for export in found.values() if since is None or not _older(export, since)], now

    def _remember(self, export: Export) -> Export:
        asked = export.parameters
        extension = (asked.get("format") or {}).get("extension")
        if extension in ("csv", "xlsx", "pdf"):
            packed = len(asked.get("items") or ()) > 1 and self.settings.multi_item_packing == "zip"
            self._asked[export.export_id] = (asked.get("type"), "zip" if packed else extension)
        return export

    def _look_up(self, export_id: str) -> Flow[tuple[str | None, str]]:
        """Return type and file extension of an export, None and empty where the vendor does not tell."""
        if export_id not in self._asked and self.settings.has_list:
            try:
                yield from self._rows(pages=_LOOKUP_PAGES, until=export_id)
            except (AuthenticationFailed, VendorUnavailable):
                raise
            except ExportError:
                # No list, or no right to it: the file is worth more than its name.
                pass
        # Asked once: one name for one file, also when the list comes back.
        return self._asked.setdefault(export_id, (None, ""))

    def _file(self, export_id: str) -> ExportFile:
        _, extension = self._asked.get(export_id, (None, ""))
        name = f"{file_stem(export_id)}.{extension or 'bin'}"
        url = f"{self.base_url}{_path(export_id)}/download"
        return ExportFile(name, url, authenticated=True, format=extension or None)

    def _link(self, export_id: str) -> Flow[str]:
        path = f"{_path(export_id)}/download"
        response = yield self._request("GET", path, export_id=export_id, operation="download")
        answer = response.json()
        for name in ("url", "downloadUrl"):
            link = answer.get(name) if isinstance(answer, dict) else None
            if isinstance(link, str) and link:
                return urljoin(f"{self.base_url}{path}", link)
        raise UnexpectedResponse("the download answers without url.")


def _path(export_id: str) -> str:
    return f"/exports/{quote(export_id, safe='')}"


def _joined(seen: Export, listed: Export) -> Export:
    """Return an export as its status shows it, with what only the list tells."""
    return replace(seen, created_at=listed.created_at, parameters=listed.parameters)


def _older(export: Export, moment: float) -> bool:
    return export.created_at is not None and export.created_at.timestamp() < moment

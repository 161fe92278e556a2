"""Everything that is known about Connhex exports.

Source of the vendor facts, where no other is named:
https://connhex.com/docs/api/exporter/1.3.7/create-request and the pages beside it. Only the create is
documented with its bodies; what the other calls answer is assumed, so it is read tolerantly.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

import pendulum

from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import (
    JSON,
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
    Vendor,
    VendorSettings,
    invalid_payload,
)
from airflow_provider_exports.core.wire import LOOPBACK_HOSTS, Flow, Request, Response, origin
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    PermissionDenied,
    UnexpectedResponse,
    VendorUnavailable,
)

# Stops a list whose pages never end; the vendor promises neither page size nor length.
_MAX_PAGES = 1_000
# The extension of an export is looked up among the newest ones only.
_LOOKUP_PAGES = 10
_PAGE_SIZE = 100
# A session is replaced this many seconds before it ends.
_SESSION_MARGIN = 30.0

# https://connhex.com/docs/api/exporter/create-request: what a 400 says to a caller without a session.
_NO_IDENTITY = b"missing user identity"

_MESSAGES = {
    "onSuccess": ("Export ready", "The export is ready to be downloaded."),
    "onFailure": ("Export failed", "The export has failed."),
}
_ITEM = "items[]"
_BY_POLICY = {"messages[onSuccess]": "onSuccess", "messages[onFailure]": "onFailure"}
_EACH_MESSAGE = "messages[]"


@dataclass(frozen=True, kw_only=True)
class ConnhexSettings(VendorSettings):
    """Connhex's own settings in the connection's Extra; durations are seconds.

    The vendor publishes no limits, paces or lifetimes: all defaults here are ours.
    """

    apis_url: str = ""
    """Base URL of the REST APIs; empty for ``https://apis.<host>``."""
    accounts_url: str = ""
    """Base URL of the login; empty for ``https://accounts.<host>``."""
    notification_medium: str = "email"
    """Medium of messages for which a task gives none: ``email``, ``telegram``, ``slack``, ``discord``."""
    notification_target: str = ""
    """Recipient of those messages; empty for the connection's own user."""
    fingerprint: bool = True
    """Whether ``format.filename`` gets a short fingerprint of the payload, by which an unanswered create is
    found again. Without it type, format and items are compared."""
    send_output_format: bool = True
    """Whether ``outputFormat`` is sent; servers older than 1.3 do not know it."""
    allow_future: bool = False
    """Permit a window that has not ended yet."""
    has_list: bool = True
    """Whether the server has a list of exports; only its title is published."""
    list_path: str = "/exports"
    """Path of that list."""
    status_field: str = "status"
    """Field of the status answer that holds the word."""
    download_mode: str = "stream"
    """What a download answers: ``stream`` for the file itself or a redirect to it, ``link`` for JSON with its
    address."""
    multi_item_packing: str = "zip"
    """How the file of several items is named: ``zip``, or ``plain`` for the extension of the format."""
    # Full queue: short pauses only add load.
    conflict_interval: float = 300.0
    # Exports are made at low priority, without a time limit: https://connhex.com/docs/exporter/intro
    poll_initial: float = 5.0
    poll_factor: float = 1.5
    poll_maximum: float = 60.0


class ConnhexVendor(Vendor):
    """Connhex. Channel data, once or recurring; the number of queued exports is limited. No cancel."""

    name = "connhex"
    display_name = "Connhex"
    docs_url = "https://connhex.com/docs/api/exporter/1.3.7/create-request"
    default_host = "https://connhex.com"
    settings_class = ConnhexSettings
    capabilities = frozenset(
        {Capability.LOGIN, Capability.LIST, Capability.FIND, Capability.DELETE, Capability.PING}
    )
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
        "channel_id": (_ITEM, "params", "channelId"),
        "subtopic": (_ITEM, "params", "subtopic"),
        "targets": (_ITEM, "params", "target", "value"),
        "labels": (_ITEM, "params", "target", "label"),
        "from_time": (_ITEM, "params", "from"),
        "to_time": (_ITEM, "params", "to"),
        "period": (_ITEM, "params", "period"),
        "decimation": (_ITEM, "params", "decimation"),
        "transform": (_ITEM, "params", "transform"),
        "output_format": (_ITEM, "params", "outputFormat"),
        "periodicity": ("periodicity",),
        "period_start": ("periodStart",),
        "messages": ("notification", "messages"),
        "success_text": ("notification", "messages[onSuccess]", "text"),
        "failure_text": ("notification", "messages[onFailure]", "text"),
        "notification_medium": ("notification", _EACH_MESSAGE, "medium"),
        "notification_target": ("notification", _EACH_MESSAGE, "target"),
    }

    settings: ConnhexSettings

    def __init__(self, connection: ConnectionInfo) -> None:
        super().__init__(connection)
        self.accounts_url = self._service_url("accounts", self.settings.accounts_url)
        # Session token and when it ends by the local clock, as the last login said.
        self._session: tuple[str, float | None] = ("", None)
        # Names of files by export id: the status answer does not tell what was asked for.
        self._extensions: dict[str, str] = {}

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
        path = f"/exports/{quote(export_id, safe='')}"
        response = yield self._request("GET", f"{path}/status", export_id=export_id, operation="status")
        words = self._words(response.json())
        if words is None:
            raise UnexpectedResponse("the status answer holds no status.")
        raw = {"id": export_id, self.settings.status_field: words}
        export = self.read(raw, response.server_time)
        if export.state is not ExportState.READY:
            return export
        yield from self._look_up_extension(export_id)
        file = self._file(export_id)
        if self.settings.download_mode == "link":
            file = replace(file, url=(yield from self._link(f"{path}/download", export_id)))
        return replace(export, files=(file,))

    def delete(self, export_id: str) -> Flow[None]:
        path = f"/exports/{quote(export_id, safe='')}"
        yield self._request("DELETE", path, export_id=export_id, operation="delete")

    def list_exports(self) -> Flow[list[Export]]:
        exports: list[Export] = []
        for listed in (yield from self._rows()):
            if listed.state is ExportState.CANCELLED or (listed.vendor_status and not listed.files):
                exports.append(listed)
                continue
            # A row holds what was asked for, not what became of it.
            try:
                seen = yield from self.get(listed.export_id)
            except ExportNotFound:
                # Deleted while we read.
                continue
            exports.append(replace(seen, created_at=listed.created_at, parameters=listed.parameters))
        return exports

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        wanted = self._sent(payload)
        exports: list[Export] = []
        for listed in (yield from self._rows(since)):
            if listed.state is ExportState.CANCELLED or not self._same(listed.parameters, wanted):
                continue
            try:
                state = (yield from self.get(listed.export_id)).state
            except ExportNotFound:
                # Rights on a new export come a little later than the export.
                state = ExportState.QUEUED
            if state not in (ExportState.FAILED, ExportState.EXPIRED):
                exports.append(replace(listed, state=state))
        return exports

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

    def parse(self, raw: JSON, now: float) -> Export:
        words = self._words(raw) or []
        word, state = self._reduced(words)
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
            parameters={name: raw[name] for name in asked if raw.get(name) is not None},
        )

    @classmethod
    def compose(cls, parameters: Mapping[str, Any], payload: Mapping[str, Any] | None) -> Payload:
        merged = super().compose(parameters, payload)
        problems: list[Problem] = []
        if _ITEM in merged:
            item = merged.pop(_ITEM)
            if "items" in merged:
                problems.append(Problem("items", "is given, and its one item by parameters at once"))
            merged["items"] = [item]
        notification = merged.get("notification")
        if isinstance(notification, dict):
            shared = notification.pop(_EACH_MESSAGE, None)
            own = {policy: notification.pop(key, {}) for key, policy in _BY_POLICY.items()}
            if shared or any(own.values()):
                if "messages" in notification:
                    said = "is given, and texts, medium or target by parameters at once"
                    problems.append(Problem("notification.messages", said))
                notification["messages"] = [
                    {"policy": policy, **(shared or {}), **given} for policy, given in own.items()
                ]
        if problems:
            raise invalid_payload(cls.name, problems)
        return merged

    def prepare(self, payload: Payload) -> Payload:
        # An explicit null is the vendor's default; it is left out rather than sent.
        prepared = _without_nulls(payload)
        prepared.setdefault("type", "oneTime")
        problems: list[Problem] = []
        _convert(prepared, "periodStart", _unix_seconds, "periodStart", problems)
        _convert(prepared, "periodicity", _duration, "periodicity", problems)
        if isinstance(prepared.get("format"), Mapping):
            prepared["format"] = _without_nulls(prepared["format"])
        if isinstance(prepared.get("items"), (list, tuple)):
            prepared["items"] = [
                self._prepared_item(item, f"items.{number}", problems)
                for number, item in enumerate(prepared["items"])
            ]
        prepared["notification"] = self._prepared_notification(prepared.get("notification"))
        if problems:
            raise invalid_payload(self.name, problems)
        return prepared

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        if "periodicity" in payload:
            yield from _duration_rules(payload["periodicity"], "periodicity")
        for number, item in enumerate(payload["items"]):
            if not _is_channel_data(item["params"]):
                continue
            path, params = f"items.{number}.params", item["params"]
            target = params["target"]
            values = target["value"].split(",")
            if not all(value.strip() for value in values):
                yield Problem(f"{path}.target.value", "has an empty entry")
            if "label" in target and len(target["label"].split(",")) != len(values):
                yield Problem(f"{path}.target.label", "must hold as many labels as value holds URNs")
            if "period" in params:
                yield from _duration_rules(params["period"], f"{path}.period")
            elif payload["type"] == "recurring":
                # A fixed window would be exported again and again.
                yield Problem(path, "needs period (a window that moves) for type recurring")
            elif "from" not in params or "to" not in params:
                yield Problem(path, "needs from and to, or period")
            if "from" in params and "to" in params and params["to"] <= params["from"]:
                hint = (
                    ". On Airflow 3 a plain cron schedule has intervals of no length: "
                    "use CronDataIntervalTimetable"
                    if params["to"] == params["from"]
                    else ""
                )
                yield Problem(f"{path}.to", f"must be later than from{hint}")
            if params.get("to", 0) > now and not self.settings.allow_future:
                yield Problem(f"{path}.to", "lies in the future")

    def settled_at(self, payload: Payload) -> float | None:
        if self.settings.allow_future:
            return None
        ends = [item["params"].get("to") for item in payload["items"] if _is_channel_data(item["params"])]
        known = [end for end in ends if end is not None]
        return max(known) + self.settings.settle_delay if known else None

    def advise(self, payload: Payload) -> str | None:
        recurring = payload["type"] == "recurring"
        if not recurring and ("periodicity" in payload or "periodStart" in payload):
            return "periodicity and periodStart have no documented meaning for type oneTime"
        for item in payload["items"]:
            params = item["params"]
            if _is_channel_data(params) and "period" in params and ("from" in params or "to" in params):
                return "period is given together with from or to; which of them holds is not documented"
        return None

    def is_conflict(self, request: Request, response: Response) -> bool:
        # 429 is "Maximum number of queued exports reached", not a rate:
        # https://connhex.com/docs/api/exporter/create-request
        return response.status in (409, 429)

    def error(self, request: Request, response: Response) -> ExportError | None:
        refused = super().error(request, response)
        if refused is None:
            return None
        status, said = response.status, self.error_text(response)
        if request.operation == "login" and isinstance(refused, (ExportRejected, PermissionDenied)):
            return AuthenticationFailed(
                f"the login is refused (HTTP {status}). {said}".strip(), http_status=status
            )
        if status == 400 and _NO_IDENTITY in response.body.lower():
            return AuthenticationFailed(
                f"{request.operation}: the session is not accepted (HTTP 400). {said}",
                export_id=request.export_id,
                http_status=status,
            )
        if isinstance(refused, PermissionDenied) and request.operation == "status":
            # Rights on a new export follow its creation by an event: https://connhex.com/docs/exporter/requests
            return ExportNotFound(
                f"the vendor does not show it to this user (HTTP 403). {said}".strip(),
                export_id=request.export_id,
                http_status=status,
                next_step="Check the id, and that the user may exporter:exports:get.",
            )
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
        # The exporter's form is not published; these are those of the vendor's other services and its login.
        if not isinstance(body, dict):
            return super().error_words(body)
        for holder, listed, key in (
            (body, "errors", "detail"),
            (body.get("ui"), "messages", "text"),
        ):
            entries = holder.get(listed) if isinstance(holder, dict) else None
            if isinstance(entries, list) and entries and isinstance(entries[0], dict) and entries[0].get(key):
                return str(entries[0][key])
        error, message = body.get("error"), body.get("message")
        if isinstance(error, dict) and error.get("message"):
            return str(error["message"])
        if isinstance(message, list):
            return "; ".join(str(line) for line in message)
        return str(message or error or "")

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

    def _words(self, body: JSON) -> list[str] | None:
        """Return the status words of an answer, one per job; None if it holds none."""
        if isinstance(body, str):
            return [body]
        if isinstance(body, list):
            found = [self._words(entry) for entry in body]
            if any(words is None for words in found):
                return None
            return [word for words in found for word in words or ()]
        if isinstance(body, dict):
            for name in (self.settings.status_field, "status", "exportStatus", "jobs"):
                if body.get(name) is not None:
                    return self._words(body[name])
        return None

    def _reduced(self, words: list[str]) -> tuple[str | None, ExportState | None]:
        """Return word and state of an export whose jobs have these words; state None for an unknown word."""
        if not words:
            # Created, and no run yet.
            return None, ExportState.QUEUED
        by_lower = {word.lower(): state for word, state in self.states.items()}
        of: dict[ExportState | None, str] = {by_lower.get(word.lower()): word for word in reversed(words)}
        order = (
            ExportState.FAILED,
            None,
            ExportState.RUNNING,
            ExportState.QUEUED,
            ExportState.EXPIRED,
            ExportState.READY,
        )
        for state in order:
            if state in of:
                begun = state is ExportState.QUEUED and ExportState.READY in of
                return of[state], ExportState.RUNNING if begun else state
        raise AssertionError("every word has a state or none")

    def _rows(
        self, since: float | None = None, pages: int = _MAX_PAGES, until: str = ""
    ) -> Flow[list[Export]]:
        """Return listed exports created since ``since``, page by page, up to the one with id ``until``."""
        if not self.settings.has_list:
            raise ExportRejected("the connection says that this server has no list of exports (has_list).")
        found: dict[str, Export] = {}
        for page in range(pages):
            # As the vendor's other services do; neither path nor paging of this list is published.
            params = {"page": str(page), "pageSize": str(_PAGE_SIZE), "sort": "createdAt:desc"}
            response = yield self._request("GET", self.settings.list_path, params=params, operation="list")
            body = response.json()
            rows = body.get("results") if isinstance(body, dict) else body
            if not isinstance(rows, list):
                raise UnexpectedResponse("list answers without results.")
            fresh = {}
            for row in rows:
                try:
                    export = self._remember(self.read(row, response.server_time))
                except UnexpectedResponse:
                    # One broken row must not hide the others.
                    continue
                if export.export_id not in found:
                    fresh[export.export_id] = export
            found |= fresh
            total = body.get("total") if isinstance(body, dict) else None
            # A server that does not know `page` sends the same rows again.
            if not fresh or until in found or (isinstance(total, int) and len(found) >= total):
                break
            if since is not None and all(_older(export, since) for export in fresh.values()):
                break
        return [export for export in found.values() if since is None or not _older(export, since)]

    def _remember(self, export: Export) -> Export:
        extension = (export.parameters.get("format") or {}).get("extension")
        items = export.parameters.get("items") or ()
        if extension in ("csv", "xlsx", "pdf"):
            packed = len(items) > 1 and self.settings.multi_item_packing == "zip"
            self._extensions[export.export_id] = "zip" if packed else extension
        return export

    def _file(self, export_id: str) -> ExportFile:
        extension = self._extensions.get(export_id) or None
        url = f"{self.base_url}/exports/{quote(export_id, safe='')}/download"
        name = f"{file_stem(export_id)}.{extension or 'bin'}"
        return ExportFile(name, url, authenticated=True, format=extension)

    def _look_up_extension(self, export_id: str) -> Flow[None]:
        """Find out the extension of an export's file, where the vendor tells."""
        if export_id not in self._extensions and self.settings.has_list:
            try:
                yield from self._rows(pages=_LOOKUP_PAGES, until=export_id)
            except (AuthenticationFailed, VendorUnavailable):
                raise
            except ExportError:
                # No list, or no right to it: the file is worth more than its name.
                pass
            # One name for one file, also when it is asked for again.
            self._extensions.setdefault(export_id, "")

    def _link(self, path: str, export_id: str) -> Flow[str]:
        response = yield self._request("GET", path, export_id=export_id, operation="download")
        answer = response.json()
        for name in ("url", "downloadUrl"):
            link = answer.get(name) if isinstance(answer, dict) else None
            if isinstance(link, str) and link:
                return urljoin(f"{self.base_url}{path}", link)
        raise UnexpectedResponse("the download answers without url.")

    def _sent(self, payload: Payload) -> Payload:
        """Return the body of a create: the payload, marked so that it can be found again."""
        body: Payload = dict(payload)
        if not self.settings.send_output_format:
            body["items"] = [
                {**item, "params": {name: v for name, v in item["params"].items() if name != "outputFormat"}}
                if _is_channel_data(item["params"])
                else item
                for item in payload["items"]
            ]
        if self.settings.fingerprint:
            canonical = json.dumps(payload, sort_keys=True, separators=(",", ":"))
            mark = hashlib.sha256(canonical.encode()).hexdigest()[:12]
            stem = payload["format"].get("filename", "export")
            body["format"] = {**payload["format"], "filename": f"{stem}-{mark}"}
        return body

    def _same(self, listed: Mapping[str, Any], wanted: Payload) -> bool:
        if self.settings.fingerprint:
            return bool((listed.get("format") or {}).get("filename") == wanted["format"]["filename"])
        return _comparable(listed) == _comparable(wanted)

    def _prepared_item(self, item: Any, path: str, problems: list[Problem]) -> Any:
        if not isinstance(item, Mapping):
            return item
        prepared = _without_nulls(item)
        params = prepared.get("params")
        # The fields of resource items are not published: they pass as they are.
        if not isinstance(params, Mapping) or not _is_channel_data(params):
            return prepared
        prepared["params"] = params = _without_nulls(params)
        params.setdefault("outputFormat", "long")
        for name in ("from", "to"):
            _convert(params, name, _unix_seconds, f"{path}.params.{name}", problems)
        _convert(params, "period", _duration, f"{path}.params.period", problems)
        if isinstance(params.get("target"), Mapping):
            params["target"] = _without_nulls(params["target"])
            for name in ("value", "label"):
                _convert(params["target"], name, _joined, f"{path}.params.target.{name}", problems)
        return prepared

    def _prepared_notification(self, notification: Any) -> Any:
        """Fill in what messages lack: the API demands two, whether anybody wants to read them or not."""
        if notification is None:
            notification = {}
        if not isinstance(notification, Mapping):
            return notification
        messages = notification.get("messages")
        if messages is None:
            messages = [{"policy": policy} for policy in _MESSAGES]
        if not isinstance(messages, (list, tuple)):
            return notification
        return {**notification, "messages": [self._prepared_message(message) for message in messages]}

    def _prepared_message(self, message: Any) -> Any:
        if not isinstance(message, Mapping) or message.get("policy") not in _MESSAGES:
            return message
        title, text = _MESSAGES[message["policy"]]
        prepared = {"title": title, "text": text, **_without_nulls(message)}
        # A recipient belongs to its medium.
        if prepared.setdefault("medium", self.settings.notification_medium) == (
            self.settings.notification_medium
        ):
            prepared.setdefault("target", self.settings.notification_target)
        if not prepared.get("target"):
            prepared.pop("target", None)
        return prepared


def _is_channel_data(params: Mapping[str, Any]) -> bool:
    # As the schema decides it.
    return not params.keys().isdisjoint(("channelId", "subtopic", "target"))


def _without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: inner for name, inner in value.items() if inner is not None}


def _convert(holder: dict[str, Any], name: str, read: Any, path: str, problems: list[Problem]) -> None:
    if name in holder:
        try:
            holder[name] = read(holder[name])
        except ValueError as error:
            problems.append(Problem(path, str(error)))


def _unix_seconds(value: Any) -> Any:
    """Return a point in time as Unix seconds; a fraction of a second is cut off."""
    if isinstance(value, bool):
        raise ValueError("is no time")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return value
    # Templates render to text.
    if isinstance(value, str) and len(value.strip()) > 8 and value.strip().isdecimal():
        return int(value)
    try:
        return int(times.instant(value).timestamp())
    except ValueError as error:
        raise ValueError(f"is no time: {error}") from None


def _duration(value: Any) -> Any:
    """Return a duration as ISO 8601 text, in the parts that the vendor's example has."""
    if not isinstance(value, timedelta):
        return value.strip() if isinstance(value, str) else value
    years = months = 0
    if isinstance(value, pendulum.Duration):
        # Months have no length in days.
        years, months = value.years, value.months
        days, seconds = value.weeks * 7 + value.remaining_days, value.hours * 3600
        seconds += value.minutes * 60 + value.remaining_seconds
    else:
        days, seconds = value.days, value.seconds
    if value.microseconds or min(years, months, days, seconds) < 0:
        raise ValueError("must be whole seconds and not negative")
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    date = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    time = "".join(f"{n}{unit}" for n, unit in ((hour, "H"), (minute, "M"), (second, "S")) if n)
    return f"P{date}T{time}" if time else f"P{date or '0D'}"


def _duration_rules(text: str, path: str) -> Iterator[Problem]:
    try:
        length: Any = pendulum.parse(text)
        # A calendar month is as long as it is; any start will do.
        moves = datetime(2000, 1, 1, tzinfo=pendulum.UTC) + length > datetime(2000, 1, 1, tzinfo=pendulum.UTC)
    except (ValueError, OverflowError):
        yield Problem(path, "is no duration that can be counted with")
    else:
        if not moves:
            yield Problem(path, "must be longer than zero")


def _joined(value: Any) -> Any:
    """Return a list as the vendor's comma-separated text."""
    if not isinstance(value, (list, tuple)):
        return value
    # No way to write a comma inside of an entry is documented.
    if any(not isinstance(entry, str) or "," in entry for entry in value):
        raise ValueError("must be texts without commas")
    return ",".join(value)


def _older(export: Export, since: float) -> bool:
    return export.created_at is not None and export.created_at.timestamp() < since


def _comparable(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return type, format and items with the vendor's defaults filled in: an echo may hold them or not."""

    def item(entry: JSON) -> JSON:
        params = entry.get("params") if isinstance(entry, Mapping) else None
        if not isinstance(params, Mapping) or not _is_channel_data(params):
            return entry
        return {**_without_nulls(entry), "params": {"outputFormat": "long", **_without_nulls(params)}}

    defaults = {"timezone": "utc", "template": "tabular"}
    return {
        "type": payload.get("type"),
        "format": {**defaults, **_without_nulls(payload.get("format") or {})},
        "items": [item(entry) for entry in payload.get("items") or ()],
    }

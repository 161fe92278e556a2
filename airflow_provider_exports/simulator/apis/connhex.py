"""The exporter of the Connhex platform, and the login that its callers need.

Sources: https://connhex.com/docs/api/exporter/create-request and the pages beside it,
https://connhex.com/docs/quickstart/token-authentication (read 2026-08).
What they leave open, which is most of the answers, is a switch.

Both subdomains of the vendor are path prefixes here: ``accounts`` and ``apis``.
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, ClassVar

from airflow_provider_exports.simulator.apis import connhex_answers, connhex_records, connhex_rules
from airflow_provider_exports.simulator.apis.base import Answer, Call, Handler, Refused
from airflow_provider_exports.simulator.apis.connhex_documents import MEDIA_TYPES
from airflow_provider_exports.simulator.apis.connhex_jobs import Jobs
from airflow_provider_exports.simulator.apis.connhex_sessions import (
    NO_STRATEGY,
    WRONG_CREDENTIALS,
    Flow,
    Session,
    Sessions,
)
from airflow_provider_exports.simulator.content import FileContent
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["ConnhexApi"]

USERNAME = "simulated-user@example.com"
#: A second user, to try what one may see of the other.
OTHER_USERNAME = "simulated-colleague@example.com"
MISSING_IDENTITY = "Missing user identity id"
QUEUE_FULL = "Maximum number of queued exports reached"

_LOGIN = "/accounts/auth/self-service/login"
_WHOAMI = "/accounts/auth/sessions/whoami"
_EXTEND = re.compile(r"/apis/iam/sessions/(?P<id>[^/]+)/extend")
_EXPORT = re.compile(r"/apis/exports/(?P<id>[^/]+)(?P<action>/status|/download)?")
_FILE = re.compile(r"/files/(?P<job>[0-9a-f-]{36})")
_SORT = re.compile(r"(createdAt|updatedAt)(:(?P<order>asc|desc))?")


class ConnhexApi(Jobs):
    """A session token from a login flow, then REST with that token."""

    name = "connhex"
    token_defaults: ClassVar[dict[str, str]] = {
        "connhex_password": "simulated-connhex-password",
        "connhex_other_password": "simulated-connhex-other-password",
        # What each session token begins with.
        "connhex_session_token": "ory_st_simulated-connhex-session",
        # A token that somebody obtained elsewhere; it does not end.
        "connhex_bearer_token": "simulated-connhex-bearer-token",
    }
    operations = ("flow", "login", "whoami", "extend", "create", "get", "list", "delete", "download", "file")
    critical_fields: ClassVar[dict[str, str]] = {
        "flow": "ui",
        "login": "session_token",
        "whoami": "identity",
        "extend": "expires_at",
        "create": "id",
        "get": "status",
        "list": "id",
        "download": "url",
    }

    def reset(self) -> None:
        """Also without any session."""
        super().reset()
        self._sessions = Sessions(self.tokens["connhex_session_token"])
        self._on_accounts = False
        self._on_create = False

    def connection(self) -> dict[str, Any]:
        """Host, user and password; the origins of the two subdomains in the extra."""
        host = f"{self.world.api_origin}/connhex"
        return {
            "conn_type": "connhex",
            "host": host,
            "login": USERNAME,
            "password": self.tokens["connhex_password"],
            "extra": {"apis_url": f"{host}/apis", "accounts_url": f"{host}/accounts"},
        }

    def error(self, status: int, message: str | None = None) -> Answer:
        """An error in the words of the exporter, or of the identity server if the call went there."""
        if message is None:
            phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
            message = QUEUE_FULL if status == 429 and self._on_create else phrase
        form = "ory" if self._on_accounts else self.switches.error_format
        return connhex_answers.error(form, status, message)

    def finish_headers(self, answer: Answer) -> None:
        """Every response names its request."""
        answer.headers.setdefault("x-request-id", str(uuid.uuid4()))

    def exports_in(self, payload: Any) -> list[dict[str, Any]]:
        """One export or status, or the results of a page."""
        return list(payload["results"]) if "results" in payload else [payload]

    def make_unknown_status(self, export: dict[str, Any]) -> None:
        """The status operation does it itself, as some of its answers are no objects."""

    # Addresses

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """Exact addresses; a wrong method is the same as a wrong address."""
        self._on_accounts = call.path.startswith("/accounts/")
        self._on_create = (call.method, call.path) == ("POST", "/apis/exports")
        routes: dict[tuple[str, str], tuple[str, Handler]] = {
            ("GET", f"{_LOGIN}/api"): ("flow", self._start_flow),
            ("POST", _LOGIN): ("login", self._log_in),
            ("GET", _WHOAMI): ("whoami", self._whoami),
            ("POST", "/apis/exports"): ("create", self._create),
            ("GET", "/apis/exports"): ("list", self._list),
        }
        if (call.method, call.path) in routes:
            return routes[call.method, call.path]
        if call.method == "PATCH" and _EXTEND.fullmatch(call.path):
            return "extend", self._extend
        match = _EXPORT.fullmatch(call.path)
        download = "file" if self.switches.download_mode == "stream" else "download"
        actions: dict[tuple[str, str | None], tuple[str, Handler]] = {
            ("GET", "/status"): ("get", self._status),
            ("GET", "/download"): (download, self._download),
            ("DELETE", None): ("delete", self._delete),
        }
        if match and (call.method, match["action"]) in actions:
            return actions[call.method, match["action"]]
        return None, self._no_such_address

    def _no_such_address(self, call: Call) -> Answer:
        return self.error(404, f"Cannot {call.method} {call.path.removeprefix('/apis')}")

    # Login

    def _start_flow(self, call: Call) -> Answer:
        flow = self._sessions.start(self.now(), self.switches.flow_seconds)
        return Answer(payload=flow.shown(self._action(flow)))

    def _action(self, flow: Flow) -> str:
        switch = self.switches.login_action
        origin = {"absolute": self.world.api_origin, "relative": "", "foreign": self.world.files_origin}[
            switch
        ]
        return f"{origin}/connhex{_LOGIN}?flow={flow.id}"

    def _log_in(self, call: Call) -> Answer:
        flow = self._sessions.flow(call.query.get("flow", ""))
        if flow is None:
            raise Refused(self.error(404, "The requested resource could not be found"))
        if flow.expires_at <= self.now():
            answer = self.error(410, "The self-service flow expired, initialize a new one.")
            answer.payload["error"]["id"] = "self_service_flow_expired"
            raise Refused(answer)
        body = call.body if isinstance(call.body, dict) else {}
        if _media_type(call) != "application/json" or body.get("method") != "password":
            return Answer(400, payload=flow.shown(self._action(flow), NO_STRATEGY))
        user, password = body.get("identifier"), body.get("password")
        known = {
            USERNAME: self.tokens["connhex_password"],
            OTHER_USERNAME: self.tokens["connhex_other_password"],
        }
        if not isinstance(user, str) or known.get(user) is None or known[user] != password:
            status = self.switches.login_failed_status
            return Answer(status, payload=flow.shown(self._action(flow), WRONG_CREDENTIALS))
        life, generation = self.switches.token_ttl_seconds, self.switches.session_generation
        session = self._sessions.log_in(user, self.now(), life, generation)
        payload: dict[str, Any] = {"session_token": session.token}
        if self.switches.login_session != "missing":
            payload["session"] = session.shown()
            if self.switches.login_session == "no_expiry":
                del payload["session"]["expires_at"]
        return Answer(payload=payload)

    def _session(self, token: str) -> Session | None:
        session = self._sessions.by_token(token, self.now(), self.switches.session_generation)
        most = self.switches.calls_per_session
        return None if session is None or (most is not None and session.calls >= most) else session

    def _whoami(self, call: Call) -> Answer:
        session = self._session(_bearer(call) or "")
        if session is None:
            raise Refused(self.error(401, "The request could not be authorized"))
        payload = session.shown()
        if "tokenize_as" in call.query:
            if call.query["tokenize_as"] != "jwt_template":
                raise Refused(self.error(400, "There is no such template."))
            payload["tokenized"] = f"simulated.{session.token}.jwt"
        return Answer(payload=payload)

    def _extend(self, call: Call) -> Answer:
        user = self._user(call)
        match = _EXTEND.fullmatch(call.path)
        session = None if match is None else self._sessions.by_id(match["id"])
        alive = session is not None and session.expires_at > self.now()
        if session is None or not alive or session.user != user:
            raise Refused(self.error(404))
        earliest = self.switches.earliest_extend_seconds
        if earliest is not None and self.now() < session.expires_at - timedelta(seconds=earliest):
            raise Refused(self.error(400, "The session cannot be extended yet"))
        session.expires_at = self.now() + timedelta(seconds=self.switches.token_ttl_seconds)
        return Answer(payload=session.shown())

    def _user(self, call: Call) -> str:
        """Who calls; counts the call."""
        token = _bearer(call)
        if token is None:
            raise Refused(self.error(self.switches.missing_identity_status, MISSING_IDENTITY))
        user = USERNAME if token == self.tokens["connhex_bearer_token"] else None
        session = self._session(token)
        if session is not None:
            session.calls += 1
            user = session.user
        if user is None:
            status = self.switches.bad_token_status
            raise Refused(self.error(status, MISSING_IDENTITY if status == 400 else None))
        self.throttle(user)
        return user

    def _permitted(self, call: Call, action: str) -> str:
        user = self._user(call)
        if action not in self.switches.permissions:
            raise Refused(self.error(403, f"Action exporter:exports:{action} is not allowed"))
        return user

    # Operations

    def _create(self, call: Call) -> Answer:
        user = self._permitted(call, "create")
        request, wrong = connhex_rules.checked_request(self._parsed(call), self.switches)
        if wrong:
            form = self.switches.error_format
            raise Refused(connhex_answers.error(form, self.switches.validation_status, wrong))
        channels = any(connhex_rules.is_channel_data(item["params"]) for item in request["items"])
        if channels and not self.switches.channel_access:
            raise Refused(self.error(403, "Action core:channels:subscribe is not allowed"))
        limit = self.switches.max_queued
        if limit is not None and self.queued(user) >= limit:
            raise Refused(self.too_many(self.switches.retry_after, 60))
        record = self.create(call, user, request)
        self.schedule(record)
        return Answer(201, payload=self._rendered(record))

    def _parsed(self, call: Call) -> Any:
        if _media_type(call) != "application/json":
            return None
        try:
            return json.loads(call.raw_body.decode("utf-8"), parse_constant=_no_constant)
        except ValueError as error:
            raise Refused(self.error(400, f"The body is not JSON: {error}")) from None

    def _status(self, call: Call) -> Answer:
        record, job = self._found(call, "get", read=True)
        jobs = list(reversed(record.notes["jobs"]))
        if job is not None and (self.switches.jobs_shown == "newest" or job.id == self._id_in(call)):
            jobs = [job]
        words = [connhex_answers.word(one.state, self.switches.status_case) for one in jobs or [record]]
        fault = None if call.fault is None else call.fault.name
        if fault == "unknown_status":
            words[0] = "archived"
        if fault == "missing_field" and "field" not in (call.fault.options if call.fault else {}):
            return Answer(payload=connhex_answers.status_without_word(self.switches.status_form))
        return Answer(payload=connhex_answers.status(words, jobs, self.switches))

    def _delete(self, call: Call) -> Answer:
        record, _job = self._found(call, "delete")
        self.end(record)
        return Answer(204, text="")

    def _list(self, call: Call) -> Answer:
        if self.switches.list_form == "absent":
            return self._no_such_address(call)
        user = self._permitted(call, "list")
        page, size = self._count(call, "page", 0), self._count(call, "pageSize", self.switches.page_size)
        sort = _SORT.fullmatch(call.query.get("sort", "createdAt:asc"))
        if page is None or not size or sort is None:
            raise Refused(self.error(self.switches.validation_status, "page, pageSize or sort is not valid"))
        records = [one for one in self.world.store.of(self.name) if one.owner == user]
        mine = [one for one in records if self.visible(one, read=False)]
        if sort["order"] == "desc":
            mine.reverse()
        shown = [self._rendered(record) for record in mine[page * size : (page + 1) * size]]
        if self.switches.list_status:
            for export in shown:
                record = next(one for one in mine if one.id == export["id"])
                export["status"] = connhex_answers.word(record.state, self.switches.status_case)
        paged = self.switches.list_form == "paged"
        return Answer(payload={"results": shown, "total": len(mine)} if paged else shown)

    def _count(self, call: Call, name: str, default: int) -> int | None:
        value = call.query.get(name, str(default))
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None

    def _id_in(self, call: Call) -> str:
        match = _EXPORT.fullmatch(call.path)
        return "" if match is None else match["id"]

    def _found(
        self, call: Call, action: str, *, read: bool = False
    ) -> tuple[ExportRecord, ExportRecord | None]:
        """The export of a call and the job that the call is about, after all checks of access."""
        user, wanted = self._permitted(call, action), self._id_in(call)
        unknown = Refused(self.error(self.switches.unknown_export_status))
        scope = "request" if action == "delete" else self.switches.id_scope
        record = self.by_id(wanted, scope)
        if record is None or record.owner != user or not self.visible(record, read=read):
            raise unknown
        if action == "delete" and record.notes["deleted_at"] is not None:
            raise unknown
        lag = timedelta(seconds=self.switches.rights_lag_seconds)
        if self.now() < record.created_at + lag:
            raise Refused(self.error(self.switches.rights_lag_status))
        jobs: list[ExportRecord] = record.notes["jobs"]
        named = next((job for job in jobs if job.id == wanted), None)
        return record, named or (jobs[-1] if jobs else None)

    def _rendered(self, record: ExportRecord) -> dict[str, Any]:
        deleted: datetime | None = record.notes["deleted_at"]
        request = record.request
        if self.switches.echo_defaults:
            form = {"timezone": "utc", "template": "tabular"} | request["format"]
            start = {"periodStart": int(record.created_at.timestamp())}
            request = start | request | {"format": form}
        shown = {
            **request,
            "id": record.id,
            "createdAt": connhex_answers.shown_time(record.created_at),
            "updatedAt": connhex_answers.shown_time(deleted or record.created_at),
            "deletedAt": None if deleted is None else connhex_answers.shown_time(deleted),
        }
        if deleted is None and self.switches.deleted_at == "missing":
            del shown["deletedAt"]
        return shown

    # Files

    def content(self, record: ExportRecord) -> list[FileContent]:
        """One file per job: the data, or an archive of the files of all items."""
        return [connhex_records.file_content(record.request, record.notes, record.created_at)]

    def _download(self, call: Call) -> Answer:
        record, job = self._found(call, "download")
        if job is None or job.state != "ready":
            statuses: Mapping[str, int] = {
                "failed": self.switches.failed_status,
                "expired": self.switches.expired_status,
            }
            state = "pending" if job is None else job.state
            messages = {"failed": "The export failed", "expired": "The export is expired"}
            status = statuses.get(state, self.switches.not_ready_status)
            raise Refused(self.error(status, messages.get(state, "The export is not ready")))
        if self.switches.download_mode == "stream":
            return self._file(call, record, job)
        address = self.world.files_origin + self.signed_path(record, 0, f"/connhex/files/{job.id}")
        if self.switches.download_mode == "redirect":
            return Answer(302, text="", headers={"Location": address})
        return Answer(payload={self.switches.download_mode: address})

    def route_file(self, call: Call) -> tuple[str | None, Handler]:
        """The files origin knows signatures only."""
        if call.method == "GET" and _FILE.fullmatch(call.path):
            return "file", self._signed_file
        return None, lambda _call: _plain_error(404)

    def _signed_file(self, call: Call) -> Answer:
        link = self.world.store.links.get(call.query.get("signature", ""))
        record = None if link is None else self.world.store.find(self.name, link.export_id)
        if link is None or record is None or link.path != f"/connhex{call.path}":
            return _plain_error(403)
        self.settle(record)
        job = next((one for one in record.notes["jobs"] if call.path.endswith(one.id)), None)
        life = self.switches.link_seconds
        stale = life is not None and self.now() - link.issued_at >= timedelta(seconds=life)
        if job is None or job.state != "ready" or stale:
            return _plain_error(403)
        return self._file(call, record, job)

    def _file(self, call: Call, record: ExportRecord, job: ExportRecord) -> Answer:
        name = connhex_records.file_name(record.request, job.notes, record.id)
        media_type = MEDIA_TYPES[name.rpartition(".")[2]]
        if self.switches.media_type == "octet_stream":
            media_type = "application/octet-stream"
        shown = name if self.switches.disposition_name is None else self.switches.disposition_name
        shown_or_not = shown if self.switches.content_disposition else None
        return self.serve(call, self.files(job)[0], media_type, shown_or_not)


def _media_type(call: Call) -> str:
    return call.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _bearer(call: Call) -> str | None:
    """The token of the header; empty if the header holds something else."""
    header = call.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _plain_error(status: int) -> Answer:
    return Answer(status, text=f"Error {status}\n", content_type="text/plain")


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")

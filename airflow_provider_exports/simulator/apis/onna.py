"""The exports of the legacy Onna API.

Source: https://developers.onna.com/tutorials/customize-export/create-exports.html (read 2026-08), the
vendor's published scripts, and the framework the API is built on. What they leave open is a switch.
"""

import re
import uuid
from functools import partial
from typing import Any, ClassVar

from airflow_provider_exports.simulator.apis import onna_errors, onna_rules
from airflow_provider_exports.simulator.apis.base import Answer, Call, Handler, Refused
from airflow_provider_exports.simulator.apis.onna_exports import OnnaExports
from airflow_provider_exports.simulator.apis.onna_jobs import Job
from airflow_provider_exports.simulator.apis.onna_places import ACCOUNT, CONTAINER, USER
from airflow_provider_exports.simulator.apis.onna_records import DATASOURCE_TYPES
from airflow_provider_exports.simulator.apis.onna_switches import OnnaSwitches
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["OnnaApi"]


class OnnaApi(OnnaExports):
    """Objects with addresses, views whose names begin with @, and a job that is started by a second call."""

    name = "onna"
    token_defaults: ClassVar[dict[str, str]] = {"onna_password": "simulated-onna-password"}
    operations = (
        "code",
        "login",
        "me",
        "create",
        "start",
        "get",
        "update",
        "delete",
        "duplicate",
        "list",
        "search",
        "workspaces",
        "datasources",
        "file",
    )
    switches_class = OnnaSwitches
    critical_fields: ClassVar[dict[str, str]] = {
        "code": "auth_code",
        "me": "login",
        "create": "@id",
        "get": "status",
        "list": "@uid",
        "search": "member",
        "workspaces": "updates",
        "datasources": "updates",
    }

    def connection(self) -> dict[str, Any]:
        """Host, user and password; database and account in the extra."""
        return {
            "conn_type": "onna",
            "host": f"{self.world.api_origin}/onna",
            "login": USER,
            "password": self.tokens["onna_password"],
            "extra": {"container": CONTAINER, "account": ACCOUNT},
        }

    # Addresses

    def route(self, call: Call) -> tuple[str | None, Handler]:
        """Doubled slashes count as one; what is not here is 401 to strangers and 404 to users."""
        if self.switches.retired != "no":
            return None, lambda _call: self.error(int(self.switches.retired))
        match call.method, re.sub("/+", "/", call.path).strip("/").split("/"):
            case "POST", ["auth", "oauth", "get_auth_token"]:
                return "login", self.auth_token
            case "POST", ["auth", "oauth", "me"]:
                return "me", self.account_information
            case method, ["api", container, account, *names] if (container, account) == (CONTAINER, ACCOUNT):
                found = self._view(call, names) or self._object(method, names)
                return found or (None, self._nothing)
            case _:
                return None, lambda _call: self.error(404)

    def _view(self, call: Call, names: list[str]) -> tuple[str, Handler] | None:
        match call.method, names:
            case "GET" | "POST", ["@oauthgetcode"]:
                return "code", self.auth_code
            case "GET", ["@statusAccount"]:
                return "me", self.account_information
            case "POST", ["@multiFileExport"]:
                return "start", self._start
            case "GET", ["@workspaces"]:
                return "workspaces", self.list_workspaces
            case "GET", ["@enabledDSTypes"]:
                return "datasources", self.list_datasource_types
            case "GET", ["@data"]:
                kinds = call.query.get("types", "")
                operation = "workspaces" if kinds == "Workspace" else "list"
                return "datasources" if kinds.endswith("Datasource") else operation, self.list_data
            case "GET", ["@resolveuid", uid]:
                return "get", partial(self._resolve, uid=uid)
            case "POST", [*within, "@frontsearch"]:
                return "search", partial(self.search, within=tuple(within))
            case _:
                return None

    def _object(self, method: str, names: list[str]) -> tuple[str, Handler] | None:
        match method, names:
            case "POST", ["workspaces"]:
                return "workspaces", self.add_workspace
            case "GET", ["workspaces", *rest] if rest:
                return "workspaces", partial(self.show_workspace, names=rest)
            case "POST", [user]:
                return "create", partial(self._create, user=user)
            case "GET", [user]:
                return "list", partial(self._folder, user=user)
            case "GET", [user, name]:
                return "get", partial(self._get, user=user, name=name)
            case "PATCH", [user, name]:
                return "update", partial(self._update, user=user, name=name)
            case "DELETE", [user, name]:
                return "delete", partial(self._delete, user=user, name=name)
            case "POST", [user, name, "@duplicate"]:
                return "duplicate", partial(self._duplicate, user=user, name=name)
            case "GET" | "HEAD", [user, name, "@download", field, *key] if len(key) < 2:
                operation = "redirect" if self.switches.download == "signed" else "file"
                return operation, partial(self._download, user=user, name=name, field=field, key="".join(key))
            case _:
                return None

    def _nothing(self, call: Call) -> Answer:
        self.authenticated(call)
        return self.error(404)

    # Exports

    def _create(self, call: Call, user: str) -> Answer:
        self.adding(call)
        self.in_folder_of(call, user)
        body = self.json_object(call)
        kind = body.get("@type")
        if not kind:
            raise self.refused(412, onna_errors.required("@type"))
        if kind != "Export":
            known = kind == "Workspace" or kind in DATASOURCE_TYPES
            wrong = onna_errors.not_allowed(kind) if known else onna_errors.unknown_type(kind)
            raise self.refused(412, wrong)
        record = self._added(
            call, body.get("id"), {name: body[name] for name in ("title", "settings") if name in body}
        )
        summary = self._summary(record)
        return Answer(201, payload=summary, headers={"Location": summary["@id"]})

    def _added(self, call: Call, name: Any, fields: dict[str, Any]) -> ExportRecord:
        """A new export object in the user's folder; nothing runs yet."""
        if name is not None and not onna_rules.valid_id(name):
            raise self.refused(412, onna_errors.bad_id(name))
        errors = onna_rules.wrong_fields(fields)
        if self.switches.missing_field == "412":
            errors |= {one: "Required field" for one in ("title", "settings") if one not in fields}
        if not errors and self.switches.incomplete_settings == "412":
            gap = onna_rules.settings_gap(fields.get("settings"), self.switches.required_settings)
            errors |= {} if gap is None else {"settings": gap}
        if errors:
            raise self.refused(412, onna_errors.field_errors(errors))
        if name is not None and self._named(name) is not None:
            raise self.refused(409, onna_errors.duplicate_id(name))
        record = self.create(call, USER, fields)
        uid = record.id.replace("-", "")
        record.notes["uid"] = uid if self.switches.uid_form == "hex" else f"{uid[:3]}|{uid}"
        record.notes["name"] = name or uuid.uuid4().hex
        return record

    def _start(self, call: Call) -> Answer:
        self.authenticated(call)
        body = self.json_object(call)
        for name in ("title", "resource_url"):
            if not isinstance(body.get(name), str) or not body[name]:
                raise self.refused(412, onna_errors.required(name))
        names = self.places.names(body["resource_url"], self.switches.resource_url_match)
        record = None if names is None or names[:-1] != [USER] else self._named(names[-1])
        if record is None:
            raise Refused(self.error(404))
        titles = {"title": record.request.get("title"), "name": record.notes["name"]}
        rule = self.switches.title_rule
        allowed = titles.values() if rule == "either" else [titles.get(rule, body["title"])]
        if body["title"] not in allowed:
            raise self.refused(412, onna_errors.precondition("invalidTitle", "The title is another one"))
        if "started_at" not in record.notes or self._may_run_again(record):
            self._begin(call, record)
        forms = {"object": "{}", "empty": "", "text": "OK"}
        return Answer(text=forms[self.switches.start_body])

    def _may_run_again(self, record: ExportRecord) -> bool:
        if self.switches.rerun == "error412":
            raise self.refused(412, onna_errors.precondition("alreadyRun", "The export has run already"))
        if self.switches.rerun == "noop" and record.state != "failed":
            return False
        record.state, record.finished_at, record.expires_at = "pending", None, None
        record.reads, record.files, record.fate, record.held = 0, None, None, False
        return True

    def _begin(self, call: Call, record: ExportRecord) -> None:
        now = self.now()
        job = Job.of(record.request, self.switches, now, self.places)
        record.notes |= {"started_at": now, "job": job}
        record.reads = 0
        if job.problem is not None:
            record.fate = "failed"
        elif call.fault is not None and call.fault.name in ("job_failed", "job_never"):
            record.fate = "failed" if call.fault.name == "job_failed" else "never"

    def _get(self, call: Call, user: str, name: str) -> Answer:
        self.in_folder_of(call, user, view=True)
        export = self._rendered(self._existing(name, read=True))
        included, omitted = (
            set(filter(None, call.query.get(one, "").split(","))) for one in ("include", "omit")
        )
        return Answer(
            payload={
                field: value
                for field, value in export.items()
                if field.startswith("@") or (field not in omitted and (not included or field in included))
            }
        )

    def _resolve(self, call: Call, uid: str) -> Answer:
        self.authenticated(call)
        record = next((one for one in self._mine() if one.notes["uid"] == uid), None)
        if record is None:
            raise Refused(self.error(404))
        return Answer(301, text="", headers={"Location": self._summary(record)["@id"]})

    def _update(self, call: Call, user: str, name: str) -> Answer:
        self.in_folder_of(call, user)
        record, body = self._existing(name), self.json_object(call)
        if errors := onna_rules.wrong_fields(body):
            raise self.refused(412, onna_errors.field_errors(errors))
        record.request |= {field: body[field] for field in ("title", "settings") if field in body}
        record.notes["modified_at"] = self.now()
        return Answer(204, text="")

    def _delete(self, call: Call, user: str, name: str) -> Answer:
        self.in_folder_of(call, user)
        record = self._existing(name)
        self.world.store.drop(record)
        self.deleted.append(record.notes["uid"])
        return Answer(self.switches.delete_status, text="")

    def _duplicate(self, call: Call, user: str, name: str) -> Answer:
        self.adding(call)
        self.in_folder_of(call, user)
        original, body = self._existing(name), self.json_object(call)
        new_name = body.get("new_id") or f"{name}-duplicate-{uuid.uuid4().hex[:8]}"
        return Answer(payload=self._rendered(self._added(call, new_name, dict(original.request))))

    # Lists

    def _folder(self, call: Call, user: str) -> Answer:
        self.in_folder_of(call, user, view=True)
        mine = [one for one in self._mine() if self.visible(one, read=False)]
        full = call.query.get("fullobjects", "").lower() in ("true", "1")
        if full:
            items = [self._rendered(one) for one in mine if self.visible(one, read=True)]
        else:
            items = [self._summary(one) for one in mine] if len(mine) <= self.switches.folder_items else []
        shown = {"is_folderish": True, "title": USER, "length": len(mine), "items": items}
        return Answer(payload=self.places.user_folder() | shown)

"""What an Onna account holds besides exports, and the lists and searches over all of it."""

import base64
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from airflow_provider_exports.simulator.apis import onna_errors
from airflow_provider_exports.simulator.apis.base import Answer, Call, Refused
from airflow_provider_exports.simulator.apis.onna_access import OnnaAccess
from airflow_provider_exports.simulator.apis.onna_places import Places
from airflow_provider_exports.simulator.apis.onna_query import matches
from airflow_provider_exports.simulator.apis.onna_records import (
    DATASOURCE_TYPES,
    DATASOURCES,
    WORKSPACES,
    Workspace,
)
from airflow_provider_exports.simulator.apis.onna_rules import valid_id
from airflow_provider_exports.simulator.apis.onna_search import found_resources, page_of

__all__ = ["Entry", "OnnaCatalog"]

# Position in the list, type, and the object, in full or as it is listed.
Entry = tuple[int, str, Callable[[bool], dict[str, Any]]]

_LISTED = ("@id", "@name", "@type", "@uid", "title", "creation_date")
_MINIMAL = ("title", "@uid", "creation_date")


class OnnaCatalog(OnnaAccess):
    """Workspaces, their datasources, ``@data`` and ``@frontsearch``."""

    def reset(self) -> None:
        """Also back to the workspaces of the beginning, and nothing deleted."""
        super().reset()
        self.workspaces = list(WORKSPACES)
        self.deleted: list[str] = []

    @property
    def places(self) -> Places:
        """The addresses of the account as this server sees them."""
        base = self.switches.id_base or f"{self.world.api_origin}/onna"
        return Places(base.rstrip("/"), self.switches.path_form)

    def export_entries(self) -> Iterator[Entry]:
        """The exports that can be seen now."""
        raise NotImplementedError

    # Workspaces and datasources

    def list_workspaces(self, call: Call) -> Answer:
        """All workspaces, in one of the forms that a list without documentation may have."""
        self.authenticated(call, view=True)
        found = [self.places.workspace(one) for one in self.workspaces]
        shape = self.switches.workspaces_shape
        return Answer(payload=found if shape == "list" else {shape: found})

    def list_datasource_types(self, call: Call) -> Answer:
        """All types of datasources; every one is enabled."""
        self.authenticated(call, view=True)
        return Answer(payload=list(DATASOURCE_TYPES))

    def show_workspace(self, call: Call, names: list[str]) -> Answer:
        """A workspace, or one of its datasources."""
        self.authenticated(call, view=True)
        for workspace in self.workspaces:
            if names == [workspace.slug]:
                return Answer(payload=self.places.workspace(workspace))
        for source in DATASOURCES:
            if names == [source.workspace, source.slug]:
                return Answer(payload=self.places.datasource(source, self.switches.sync_status))
        raise Refused(self.error(404))

    def add_workspace(self, call: Call) -> Answer:
        """A further workspace, without datasources."""
        self.adding(call)
        body = self.json_object(call)
        if body.get("@type") != "Workspace":
            kind = body.get("@type")
            raise self.refused(412, onna_errors.unknown_type(kind) if kind else onna_errors.required("@type"))
        name, title = body.get("id"), body.get("title")
        if not valid_id(name):
            raise self.refused(412, onna_errors.bad_id(name))
        if any(one.slug == name for one in self.workspaces):
            raise self.refused(409, onna_errors.duplicate_id(str(name)))
        workspace = Workspace(str(name), title if isinstance(title, str) else str(name))
        self.workspaces.append(workspace)
        summary = self.places.summary("Workspace", workspace.uid, "workspaces", workspace.slug)
        return Answer(201, payload=summary, headers={"Location": summary["@id"]})

    # Lists and searches

    def list_data(self, call: Call) -> Answer:
        """One page of the objects of some types, oldest first; the cursor names where the next one begins."""
        self.authenticated(call, view=True)
        kinds = set(filter(None, call.query.get("types", "").split(",")))
        entries = [entry for entry in self._entries() if not kinds or entry[1] in kinds]
        first = self._position(call.query.get("cursor"))
        rest = [entry for entry in entries if entry[0] >= first]
        size = max(1, self.switches.page_size)
        return Answer(
            payload={
                "updates": [self._listed(entry) for entry in rest[:size]],
                "total": len(entries),
                "deleted": list(self.deleted),
                "cursor": _cursor(rest[size][0]) if len(rest) > size else None,
            }
        )

    def search(self, call: Call, within: tuple[str, ...]) -> Answer:
        """What matches a query, in the account or below a workspace or a datasource."""
        self.authenticated(call, view=True)
        if within and (within[0] != "workspaces" or len(within) > 3):
            raise Refused(self.error(404))
        body = self.json_object(call)
        try:
            condition = body.get("advanced", {})
            found = [] if within else self._found_objects(condition)
            places = self.places
            found += map(places.resource, found_resources(condition, self.now(), places, within[1:]))
            return Answer(payload={"member": page_of(found, body), "total": len(found)})
        except ValueError as error:
            raise self.refused(412, onna_errors.precondition("invalidQuery", str(error))) from None

    def _entries(self) -> Iterator[Entry]:
        places = self.places
        for number, workspace in enumerate(self.workspaces):
            yield number, "Workspace", partial(_fixed, places.workspace(workspace))
        for number, source in enumerate(DATASOURCES, 1_000):
            shown = places.datasource(source, self.switches.sync_status)
            yield number, source.type_name, partial(_fixed, shown)
        yield from self.export_entries()

    def _listed(self, entry: Entry) -> dict[str, Any]:
        form = self.switches.list_entries
        shown = entry[2](form == "full")
        wanted = {"summary": _LISTED, "minimal": _MINIMAL, "full": tuple(shown)}[form]
        return {name: shown[name] for name in wanted if name in shown}

    def _found_objects(self, condition: Any) -> list[dict[str, Any]]:
        found = []
        for _, kind, shown in self._entries():
            if kind == "Export" and not self.switches.exports_indexed:
                continue
            one = {name: value for name, value in shown(False).items() if name in _LISTED}
            if matches(condition, {"type_name": kind, "uuid": one["@uid"], "title": one.get("title")}):
                found.append(one)
        return found

    def _position(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            return int(text.removeprefix("simulated "))
        except ValueError:
            message = "The cursor cannot be read"
            raise self.refused(412, onna_errors.precondition("invalidCursor", message)) from None


def _fixed(shown: dict[str, Any], _full: bool) -> dict[str, Any]:
    return shown


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"simulated {position}".encode()).decode().rstrip("=")

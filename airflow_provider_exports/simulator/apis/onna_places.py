"""Where the objects of an Onna account are, and how their JSON begins."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from airflow_provider_exports.simulator.apis.onna_records import Datasource, Resource, Workspace

__all__ = ["ACCOUNT", "CONTAINER", "USER", "Places", "iso"]

#: The database of the account; not its name, as in two of the vendor's scripts.
CONTAINER = "rel0"
ACCOUNT = "example"
USER = "exporter@example.com"

_SINCE = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Places:
    """Addresses below one base, which a server behind a proxy may see differently from its clients."""

    base: str
    path_form: str = "either"

    @property
    def api(self) -> str:
        """Address of the account."""
        return f"{self.base}/api/{CONTAINER}/{ACCOUNT}"

    def address(self, *names: str) -> str:
        """The address of an object by the names on the way to it."""
        return "/".join([self.api, *(quote(name, safe="@") for name in names)])

    def names(self, address: str, match: str) -> list[str] | None:
        """The names in an address of this account; None for any other address."""
        _, found, rest = address.partition(f"/api/{CONTAINER}/{ACCOUNT}/")
        if not found or (match == "exact" and not address.startswith(f"{self.api}/")):
            return None
        return [unquote(name) for name in rest.strip("/").split("/")]

    def summary(self, kind: str, uid: str, *names: str) -> dict[str, Any]:
        """What every mention of an object has."""
        return {"@id": self.address(*names), "@name": names[-1], "@type": kind, "@uid": uid}

    def user_folder(self) -> dict[str, Any]:
        """Mention of the folder that holds the user's exports."""
        return self.summary("UserFolder", "simulated-folder", USER)

    def head(
        self,
        shown: dict[str, Any],
        parent: dict[str, Any],
        created: datetime,
        modified: datetime | None = None,
    ) -> dict[str, Any]:
        """The beginning of a full object, by the mentions of it and of what holds it."""
        return shown | {
            "@static_behaviors": ["guillotina.behaviors.dublincore.IDublinCore"],
            "parent": parent,
            "is_folderish": shown["@type"] != "Export",
            "creation_date": iso(created),
            "modification_date": iso(modified or created),
        }

    def workspace(self, one: Workspace) -> dict[str, Any]:
        """A workspace, with the address that a person sees."""
        parent = self.summary("Workspaces", "simulated-workspaces", "workspaces")
        ui = f"{self.base}/{ACCOUNT}/user/workspaces/{one.slug}"
        return self.head(self._workspace(one.slug), parent, _SINCE) | {"title": one.title, "url": ui}

    def datasource(self, one: Datasource, sync_status: str) -> dict[str, Any]:
        """A datasource of a workspace."""
        shown = self.summary(one.type_name, one.uid, "workspaces", one.workspace, one.slug)
        state = {"title": one.title, "type_sync": "auto", "sync_status": sync_status}
        return self.head(shown, self._workspace(one.workspace), _SINCE) | state

    def _workspace(self, slug: str) -> dict[str, Any]:
        return self.summary("Workspace", Workspace(slug, slug).uid, "workspaces", slug)

    def resource(self, one: Resource) -> dict[str, Any]:
        """A document as the search shows it."""
        names = ("workspaces", one.datasource.workspace, one.datasource.slug, one.name)
        shown = {
            name: list(value) if isinstance(value, tuple) else value for name, value in one.metadata().items()
        }
        return self.summary(one.type_name, one.uid, *names) | shown

    def searchable(self, one: Resource) -> dict[str, Any]:
        """The values that conditions compare with those of a document."""
        source = one.datasource
        end = f"workspaces/{source.workspace}/{source.slug}/{one.name}"
        paths = {"ui": f"{self.base}/{ACCOUNT}/user/{end}", "api": f"{self.api}/{end}"}
        return one.metadata() | {
            "path": tuple(paths.values()) if self.path_form == "either" else paths[self.path_form],
            "type_name": one.type_name,
            "uuid": one.uid,
            "date_modified": one.modified_at,
            "extracted_text": one.text,
            "parent_datasource.uuid": source.uid,
            "identity-member": one.author,
            "from_mail.keyword": one.author,
        }


def iso(moment: datetime) -> str:
    """A time as the framework writes it."""
    return moment.astimezone(UTC).isoformat()

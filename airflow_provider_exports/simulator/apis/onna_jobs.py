"""What a start of an Onna export fixes: settings, documents, and whether it can succeed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_exports.simulator.apis.onna_archive import archives, of_size, volume_names
from airflow_provider_exports.simulator.apis.onna_places import Places
from airflow_provider_exports.simulator.apis.onna_records import Resource
from airflow_provider_exports.simulator.apis.onna_rules import settings_gap
from airflow_provider_exports.simulator.apis.onna_search import exported
from airflow_provider_exports.simulator.apis.onna_switches import OnnaSwitches
from airflow_provider_exports.simulator.content import FileContent

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One run of an export; later changes of the object or of the switches do not reach it."""

    title: str
    settings: dict[str, Any]
    families: list[tuple[Resource, ...]]
    #: Why it will fail; None: it will not, as far as the settings go.
    problem: str | None
    volumes: int
    columns_from: str
    #: Wanted size of each file.
    file_bytes: int | None
    without_file: bool

    @classmethod
    def of(cls, request: Mapping[str, Any], switches: OnnaSwitches, now: datetime, places: Places) -> "Job":
        """The run of these title and settings at this moment."""
        sent = request.get("settings")
        settings = sent[0] if isinstance(sent, list) and sent and isinstance(sent[0], dict) else {}
        families: list[tuple[Resource, ...]] = []
        problem = settings_gap(sent, switches.required_settings)
        if problem is None and not isinstance(request.get("title"), str):
            problem = "the export has no title"
        if problem is None:
            try:
                families = exported(settings, switches.rows, now, places)
            except ValueError as error:
                problem = str(error)
        if problem is None and not families and switches.empty_result == "failed":
            problem = "there is nothing to export"
        return cls(
            title=str(request.get("title")),
            settings=settings,
            families=families,
            problem=problem,
            volumes=max(1, switches.volumes),
            columns_from=switches.columns_from,
            file_bytes=switches.file_bytes,
            without_file=not families and switches.empty_result == "no_file",
        )

    @property
    def volume_names(self) -> list[str]:
        """Name of each file in a field of several."""
        return volume_names(self.settings, self.volumes)

    def files(self) -> list[FileContent]:
        """The archives, one per volume."""
        if self.without_file:
            return []
        made = archives(self.settings, self.title, self.families, self.volumes, self.columns_from)
        size = self.file_bytes
        return [FileContent(head=one) if size is None else of_size(one, size) for one in made]

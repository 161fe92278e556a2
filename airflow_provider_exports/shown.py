"""What a task shows of its export in Airflow: links, asset events, lineage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

from airflow_provider_exports.exceptions import InvalidConnection, InvalidPayload

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_exports.core.model import Payload
    from airflow_provider_exports.landed import Landed

MOST_PARTITION = 250
"""Longest key of a partition that Airflow takes, characters."""


@attrs.define()
class _Stored(BaseOperatorLink):
    """A link that the task has stored as an XCom, as soon as it knew where it leads.

    So it is there while the task waits, with or without a worker, and afterwards, and anew in each try.
    """

    @property
    def xcom_key(self) -> str:
        """Name of the XCom that holds the link."""
        return f"_link_{type(self).__name__}"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the link; empty where there is none, and Airflow shows no button."""
        found = XCom.get_value(ti_key=ti_key, key=self.xcom_key)
        return found if isinstance(found, str) else ""


@attrs.define()
class ExportLink(_Stored):
    """The export's page in the vendor's own web interface, where the connection says its address."""

    name = "Export"


@attrs.define()
class FilesLink(_Stored):
    """The folder of the landed files, where a browser can open it: Amazon S3 and Google Cloud Storage."""

    name = "Landed files"


class Shown:
    """Part of an operator, which has ``hook`` and ``log``, and maybe ``partition_key``."""

    hook: Any
    log: Any
    partition_key: Any = None
    _shown_id: str | None = None
    _landed: Landed | None = None

    def _show_export(self, ti: Any, export_id: str) -> None:
        """Remember the export, and store the link to its page."""
        from airflow_provider_exports.links import export_page

        if self._shown_id == export_id:
            return
        self._shown_id = export_id
        try:
            page = export_page(self.hook.vendor, export_id)
        except InvalidConnection as error:
            # The export is there, and worth more than a link.
            self.log.warning("%s", error)
            return
        if page is not None and ti is not None:
            ti.xcom_push(key=ExportLink().xcom_key, value=page)

    def _show_landed(
        self,
        context: Context,
        result: Mapping[str, Any],
        destination: str,
        layout: str,
        *,
        owner: str | None,
        payload: Payload | None = None,
    ) -> None:
        """Store the link to the files, and tell the outlets and lineage of them."""
        from airflow_provider_exports.landed import find_landed, tell_outlets
        from airflow_provider_exports.links import files_page

        ti = context.get("ti")
        if owner is None or ti is None:
            return
        try:
            content = self.hook.vendor.known_content(payload)
            self._landed = landed = find_landed(result, content, destination, layout, owner)
            page = files_page(landed.folder)
            if page is not None:
                ti.xcom_push(key=FilesLink().xcom_key, value=page)
            tell_outlets(context, landed, self._partition())
        except Exception:
            # The files are there: another try would find the same, or an export that has expired.
            self.log.exception("The files have landed, but what is shown of them could not all be stored.")

    def _partition(self) -> str | None:
        """Return the partition key as Airflow takes it.

        :raises InvalidPayload: it is none.
        """
        if self.partition_key is None:
            return None
        # A template may render to a number.
        key = str(self.partition_key).strip()
        if not 0 < len(key) <= MOST_PARTITION:
            raise InvalidPayload(f"partition_key must have 1 to {MOST_PARTITION} characters.")
        return key

    def _known_payload(self) -> Payload | None:
        """Return the payload as it is sent; None where it is not known or not valid."""
        return None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return what OpenLineage is told of a task that has succeeded."""
        from airflow_provider_exports.lineage import facets

        # It is told by a process of its own, which is not to read the connection once more.
        vendor = vars(self.hook).get("vendor")
        if vendor is None:
            return None
        return facets(vendor, self._known_payload(), self._shown_id, self._landed)

    def get_openlineage_facets_on_failure(self, task_instance: Any) -> OperatorLineage[Any, Any] | None:
        """Return what OpenLineage is told of one that has failed; the error it has from Airflow."""
        return self.get_openlineage_facets_on_complete(task_instance)

"""Onna operators: the settings that differ from export to export as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from airflow_provider_exports.operators.export import CreateExportOperator, RunExportOperator

_PARAMETERS = (
    "title",
    "unique_id",
    "template",
    "workspace_url",
    "datasource_uid",
    "type_name",
    "modified_after",
    "modified_before",
    "include_family",
    "single_messages",
    "message_context_days",
    "exclude_nist",
    "dedupe_parents",
    "prefer_pdf",
    "load_file_format",
)


class OnnaCreateExportOperator(CreateExportOperator):
    """Create and start an Onna export and return its id.

    :param onna_conn_id: connection of type ``onna``.
    :param title: name of the export in Onna (templated); None for the id.
    :param unique_id: id of the export, unique among the user's exports (templated); None makes one from the
        settings, so that the same occurrence has the same id.
    :param template: export settings copied from Onna's user interface, the request payload or its
        ``settings`` (templated); None for the vendor's Slack Enterprise example with all columns but 21 of
        contracts, whose names are not known.
    :param workspace_url: URL of the workspace to export (templated).
    :param datasource_uid: ``@uid`` of the datasource to export, or a list of them (templated).
    :param type_name: only content of this type (templated).
    :param modified_after: only what was modified at this moment or later (templated): ISO 8601 text,
        datetime or pendulum.
    :param modified_before: only what was modified before this moment (templated).
    :param include_family: bring attachments and parents along.
    :param single_messages: Slack conversations as single messages.
    :param message_context_days: days of conversation around a message that matches.
    :param exclude_nist: drop known system files.
    :param dedupe_parents: drop parents that are doubles.
    :param prefer_pdf: PDF in the place of the native file.
    :param load_file_format: format of the list of documents (templated); ``csv`` is the documented one.

    The other parameters are those of
    :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, *_PARAMETERS)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **CreateExportOperator.template_fields_renderers,
        "template": "json",
    }
    vendor_name: ClassVar[str | None] = "onna"
    payload_parameters: ClassVar[Sequence[str]] = _PARAMETERS

    def __init__(
        self,
        *,
        onna_conn_id: str = "onna_default",
        title: str | None = None,
        unique_id: str | None = None,
        template: Mapping[str, Any] | None = None,
        workspace_url: str | None = None,
        datasource_uid: str | Sequence[str] | None = None,
        type_name: str | None = None,
        modified_after: str | datetime | None = None,
        modified_before: str | datetime | None = None,
        include_family: bool | str | None = None,
        single_messages: bool | str | None = None,
        message_context_days: int | str | None = None,
        exclude_nist: bool | str | None = None,
        dedupe_parents: bool | str | None = None,
        prefer_pdf: bool | str | None = None,
        load_file_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=onna_conn_id, **kwargs)
        self.title = title
        self.unique_id = unique_id
        self.template = template
        self.workspace_url = workspace_url
        self.datasource_uid = datasource_uid
        self.type_name = type_name
        self.modified_after = modified_after
        self.modified_before = modified_before
        self.include_family = include_family
        self.single_messages = single_messages
        self.message_context_days = message_context_days
        self.exclude_nist = exclude_nist
        self.dedupe_parents = dedupe_parents
        self.prefer_pdf = prefer_pdf
        self.load_file_format = load_file_format


class OnnaRunExportOperator(OnnaCreateExportOperator, RunExportOperator):
    """Create and start an Onna export, wait for it and, with ``destination``, land its archive.

    Parameters are those of :class:`OnnaCreateExportOperator` and of
    :class:`~airflow_provider_exports.operators.export.RunExportOperator`.
    """

    template_fields: Sequence[str] = (*RunExportOperator.template_fields, *_PARAMETERS)

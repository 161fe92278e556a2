"""Medable operators: the vendor's fields as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow_provider_exports.operators.export import CreateExportOperator, RunExportOperator

_PARAMETERS = (
    "objects",
    "job_label",
    "description",
    "format",
    "export_files",
    "zip_files",
    "where",
    "paths",
    "include",
    "expand",
    "after_script",
    "principal",
    "prefix",
)


class MedableCreateExportOperator(CreateExportOperator):
    """Create a Medable export of one object and return its id.

    :param medable_conn_id: connection of type ``medable``.
    :param objects: plural name of the object, such as ``accounts`` or ``c_visits`` (templated).
    :param job_label: the field ``label``, the name in Medable's list of exports (templated); None takes
        ``objects``.
    :param description: text in Medable's list of exports (templated); a tag of ours is added.
    :param format: ``application/x-ndjson``, ``application/json`` or ``text/csv`` (templated); None takes the
        first.
    :param export_files: put the objects' files into the archive as well, which can take very long.
    :param zip_files: with ``export_files``: files go into a zip archive of their own within the archive.
    :param where: filter, as a dict or JSON text (templated); times in ``created`` and ``updated`` may be
        written as anywhere else.
    :param paths: only these properties (templated); None for all that are not optional.
    :param include: optional properties to add (templated).
    :param expand: references to expand (templated).
    :param after_script: source of a script that Medable runs afterwards; never from untrusted input.
    :param principal: id of the account whose rights limit the export (templated).
    :param prefix: limit to a write-through list or nested document array (templated).

    The other parameters are those of
    :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, *_PARAMETERS)
    vendor_name: ClassVar[str | None] = "medable"
    payload_parameters: ClassVar[Sequence[str]] = _PARAMETERS

    def __init__(
        self,
        *,
        medable_conn_id: str = "medable_default",
        objects: str | None = None,
        job_label: str | None = None,
        description: str | None = None,
        format: str | None = None,
        export_files: bool | str | None = None,
        zip_files: bool | str | None = None,
        where: Mapping[str, Any] | str | None = None,
        paths: Sequence[str] | str | None = None,
        include: Sequence[str] | str | None = None,
        expand: Sequence[str] | str | None = None,
        after_script: str | None = None,
        principal: str | None = None,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=medable_conn_id, **kwargs)
        self.objects = objects
        self.job_label = job_label
        self.description = description
        self.format = format
        self.export_files = export_files
        self.zip_files = zip_files
        self.where = where
        self.paths = paths
        self.include = include
        self.expand = expand
        self.after_script = after_script
        self.principal = principal
        self.prefix = prefix


class MedableRunExportOperator(MedableCreateExportOperator, RunExportOperator):
    """Create a Medable export of one object, wait for it and, with ``destination``, land its archive.

    Parameters are those of :class:`MedableCreateExportOperator` and of
    :class:`~airflow_provider_exports.operators.export.RunExportOperator`.
    """

    template_fields: Sequence[str] = (*RunExportOperator.template_fields, *_PARAMETERS)

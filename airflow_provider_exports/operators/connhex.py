"""Connhex operators: the vendor's fields as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from airflow_provider_exports.operators.export import CreateExportOperator, RunExportOperator

_PARAMETERS = (
    "type",
    "extension",
    "filename",
    "columns",
    "timezone",
    "template",
    "csv_delimiter",
    "items",
    "channel_id",
    "subtopic",
    "targets",
    "labels",
    "from_time",
    "to_time",
    "period",
    "decimation",
    "transform",
    "output_format",
    "periodicity",
    "period_start",
    "messages",
    "success_text",
    "failure_text",
    "notification_medium",
    "notification_target",
)


class ConnhexCreateExportOperator(CreateExportOperator):
    """Create a Connhex export request and return its id.

    The parameters from ``channel_id`` to ``output_format`` describe the one item of most exports; several
    items go into ``items`` as the vendor writes them.

    :param connhex_conn_id: connection of type ``connhex``.
    :param type: ``oneTime`` (default) or ``recurring``, which the vendor runs by itself (templated).
    :param extension: ``csv``, ``xlsx`` or ``pdf`` (templated).
    :param filename: name of the file at the vendor, without extension; a fingerprint of the payload is
        appended (templated).
    :param columns: columns of the file, each ``{"id": …, "label": …}`` (templated); needed for ``wide``.
    :param timezone: time zone of the times in the file (templated); None for UTC.
    :param template: ``tabular`` or ``expanded`` (templated).
    :param csv_delimiter: character between two values (templated).
    :param items: items in the vendor's field names (templated), in place of the parameters of one item.
    :param channel_id: channel of the one item (templated).
    :param subtopic: subtopic, such as ``events.data`` (templated).
    :param targets: URN or list of URNs to be exported (templated).
    :param labels: text or list of texts that replace the URNs, as many as ``targets`` (templated).
    :param from_time: start of the window (templated): ISO 8601 text, datetime, pendulum or Unix seconds.
    :param to_time: end of the window (templated).
    :param period: window that ends when a run starts, as ISO 8601 duration or timedelta (templated); in place
        of ``from_time`` and ``to_time``.
    :param decimation: ``{"ds": "15m", "dsf": "avg"}``: granularity and aggregation (templated).
    :param transform: ``delta`` for differences (templated).
    :param output_format: ``long`` (default) or ``wide`` (templated).
    :param periodicity: time between two runs of a recurring export, as ISO 8601 duration or timedelta
        (templated).
    :param period_start: first run of a recurring export (templated); None for at once.
    :param messages: the two messages in the vendor's field names (templated), in place of the next four.
    :param success_text: text of the message about an export that is ready (templated).
    :param failure_text: text of the message about an export that failed (templated).
    :param notification_medium: ``email``, ``telegram``, ``slack`` or ``discord`` (templated); None takes the
        connection's.
    :param notification_target: recipient (templated); None takes the connection's, else its user.

    The other parameters are those of
    :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, *_PARAMETERS)
    vendor_name: ClassVar[str | None] = "connhex"
    payload_parameters: ClassVar[Sequence[str]] = _PARAMETERS

    def __init__(
        self,
        *,
        connhex_conn_id: str = "connhex_default",
        type: str | None = None,
        extension: str | None = None,
        filename: str | None = None,
        columns: Sequence[Mapping[str, str]] | None = None,
        timezone: str | None = None,
        template: str | None = None,
        csv_delimiter: str | None = None,
        items: Sequence[Mapping[str, Any]] | None = None,
        channel_id: str | None = None,
        subtopic: str | None = None,
        targets: str | Sequence[str] | None = None,
        labels: str | Sequence[str] | None = None,
        from_time: str | float | datetime | None = None,
        to_time: str | float | datetime | None = None,
        period: str | timedelta | None = None,
        decimation: Mapping[str, str] | None = None,
        transform: str | None = None,
        output_format: str | None = None,
        periodicity: str | timedelta | None = None,
        period_start: str | float | datetime | None = None,
        messages: Sequence[Mapping[str, str]] | None = None,
        success_text: str | None = None,
        failure_text: str | None = None,
        notification_medium: str | None = None,
        notification_target: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=connhex_conn_id, **kwargs)
        self.type = type
        self.extension = extension
        self.filename = filename
        self.columns = columns
        self.timezone = timezone
        self.template = template
        self.csv_delimiter = csv_delimiter
        self.items = items
        self.channel_id = channel_id
        self.subtopic = subtopic
        self.targets = targets
        self.labels = labels
        self.from_time = from_time
        self.to_time = to_time
        self.period = period
        self.decimation = decimation
        self.transform = transform
        self.output_format = output_format
        self.periodicity = periodicity
        self.period_start = period_start
        self.messages = messages
        self.success_text = success_text
        self.failure_text = failure_text
        self.notification_medium = notification_medium
        self.notification_target = notification_target


class ConnhexRunExportOperator(ConnhexCreateExportOperator, RunExportOperator):
    """Create a Connhex export request, wait for it and, with ``destination``, land its file.

    Parameters are those of :class:`ConnhexCreateExportOperator` and of
    :class:`~airflow_provider_exports.operators.export.RunExportOperator`.
    """

    template_fields: Sequence[str] = (*RunExportOperator.template_fields, *_PARAMETERS)

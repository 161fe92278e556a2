"""giosg operators: the vendor's fields as parameters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

from airflow_provider_exports.operators.export import CreateExportOperator, RunExportOperator

_PARAMETERS = (
    "room_id",
    "type",
    "format",
    "starting_at",
    "ending_at",
    "is_real_conversation",
    "min_message_count",
)


class GiosgCreateExportOperator(CreateExportOperator):
    """Start a giosg report export of one room and return its id.

    :param giosg_conn_id: connection of type ``giosg``.
    :param room_id: UUID of the room (templated).
    :param type: ``logs`` or ``stats`` (templated).
    :param format: ``csv``, ``xlsx`` or, for logs, ``txt`` (templated).
    :param starting_at: start of the range, included (templated): ISO 8601 text, datetime or pendulum.
    :param ending_at: end of the range, excluded (templated).
    :param is_real_conversation: logs only: True for real conversations, False for the others, None for all.
    :param min_message_count: logs only: fewest messages of a chat.

    The other parameters are those of
    :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, *_PARAMETERS)
    vendor_name: ClassVar[str | None] = "giosg"
    payload_parameters: ClassVar[Sequence[str]] = _PARAMETERS

    def __init__(
        self,
        *,
        giosg_conn_id: str = "giosg_default",
        room_id: str | None = None,
        type: str | None = None,
        format: str | None = None,
        starting_at: str | datetime | None = None,
        ending_at: str | datetime | None = None,
        is_real_conversation: bool | str | None = None,
        min_message_count: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=giosg_conn_id, **kwargs)
        self.room_id = room_id
        self.type = type
        self.format = format
        self.starting_at = starting_at
        self.ending_at = ending_at
        self.is_real_conversation = is_real_conversation
        self.min_message_count = min_message_count


class GiosgRunExportOperator(GiosgCreateExportOperator, RunExportOperator):
    """Start a giosg report export of one room, wait for it and, with ``destination``, land its file.

    Parameters are those of :class:`GiosgCreateExportOperator` and of
    :class:`~airflow_provider_exports.operators.export.RunExportOperator`.
    """

    template_fields: Sequence[str] = (*RunExportOperator.template_fields, *_PARAMETERS)

"""Mews operators: the vendor's fields as parameters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, ClassVar

from airflow_provider_exports.operators.export import CreateExportOperator, RunExportOperator

_PARAMETERS = (
    "entity_type",
    "enterprise_ids",
    "chain_ids",
    "start_utc",
    "end_utc",
    "posting_start",
    "posting_end",
)


class MewsCreateExportOperator(CreateExportOperator):
    """Create a Mews export of one entity type and return its id.

    :param mews_conn_id: connection of type ``mews``.
    :param entity_type: ``OrderItem``, ``Payment``, ``Reservation`` … (templated).
    :param enterprise_ids: UUIDs of the enterprises, at most 1000 (templated); None for all the token reaches.
    :param chain_ids: UUIDs of the chains, at most 1000 (templated); None for all the token reaches.
    :param start_utc: only what was updated from this moment on (templated): ISO 8601 text, datetime or
        pendulum.
    :param end_utc: only what was updated before this moment (templated); at most 180 days after
        ``start_utc``.
    :param posting_start: first posting date, included (templated); for ``LedgerEntry``, which needs it.
    :param posting_end: last posting date, included (templated).

    The other parameters are those of
    :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, *_PARAMETERS)
    vendor_name: ClassVar[str | None] = "mews"
    payload_parameters: ClassVar[Sequence[str]] = _PARAMETERS

    def __init__(
        self,
        *,
        mews_conn_id: str = "mews_default",
        entity_type: str | None = None,
        enterprise_ids: list[str] | None = None,
        chain_ids: list[str] | None = None,
        start_utc: str | datetime | None = None,
        end_utc: str | datetime | None = None,
        posting_start: str | date | None = None,
        posting_end: str | date | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(conn_id=mews_conn_id, **kwargs)
        self.entity_type = entity_type
        self.enterprise_ids = enterprise_ids
        self.chain_ids = chain_ids
        self.start_utc = start_utc
        self.end_utc = end_utc
        self.posting_start = posting_start
        self.posting_end = posting_end


class MewsRunExportOperator(MewsCreateExportOperator, RunExportOperator):
    """Create a Mews export of one entity type, wait for it and, with ``destination``, land its files.

    Parameters are those of :class:`MewsCreateExportOperator` and of
    :class:`~airflow_provider_exports.operators.export.RunExportOperator`.
    """

    template_fields: Sequence[str] = (*RunExportOperator.template_fields, *_PARAMETERS)

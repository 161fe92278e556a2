"""A sensor on one export of any vendor; the vendor follows from the connection's type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    conf,
)

from airflow_provider_exports.core.lifecycle import raise_if_ended, reached
from airflow_provider_exports.core.model import ExportState
from airflow_provider_exports.exceptions import (
    ExportTimedOut,
    RateLimited,
    UnexpectedResponse,
    UnknownStatus,
    VendorUnavailable,
)
from airflow_provider_exports.operators.export import airflow_errors, as_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_exports.hooks.export import ExportHook


class ExportSensor(BaseSensorOperator):
    """Wait until an export is in a state: ready to be downloaded, expired …

    In every mode an export that ends in another state than asked for is the error of that state, and the
    sensor's own ``timeout`` ends the wait with ``AirflowSensorTimeout``.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :param until: state or states to wait for: ``ready``, ``expired``, ``failed``, ``cancelled``, ``running``.
    :param deferrable: wait in the triggerer; the connection's growing pace then takes the place of
        ``poke_interval``, unless that is given.
    """

    template_fields: Sequence[str] = ("conn_id", "export_id")
    ui_color = "#e6f4ea"

    vendor_name: ClassVar[str | None] = None
    """Vendor that the connection must be of; None takes any."""

    def __init__(
        self,
        *,
        conn_id: str,
        export_id: str,
        until: str | Sequence[str] = ExportState.READY.value,
        poke_interval: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.export_id = export_id
        self.until = [ExportState(state) for state in ([until] if isinstance(until, str) else until)]
        self.own_pace = as_seconds(poke_interval)
        self._failures = 0
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> ExportHook:
        """The hook of the task's connection."""
        from airflow_provider_exports.hooks.export import ExportHook

        return ExportHook(self.conn_id, vendor_name=self.vendor_name)

    def execute(self, context: Context) -> Any:
        """Wait in the sensor's mode."""
        if not self.deferrable:
            return super().execute(context)
        try:
            if self.poke(context):
                return None
        except AirflowFailException as error:
            # As the base class does in its own modes.
            if self.soft_fail:
                raise AirflowSkipException("Skipping due to soft_fail is set to True.") from error
            raise
        from airflow_provider_exports.triggers.export import ExportTrigger

        return self.defer(
            trigger=ExportTrigger(
                conn_id=self.conn_id,
                vendor=self.hook.vendor.name,
                export_id=self.export_id,
                until=[state.value for state in self.until],
                poll_interval=self.own_pace,
                end_time=time.time() + self.timeout,
            ),
            method_name="execute_complete",
        )

    def poke(self, context: Context) -> bool:
        """Look once; a look that fails counts as not yet, unless too many in a row do."""
        with airflow_errors():
            try:
                export = self.hook.get_export(self.export_id)
            except UnknownStatus:
                raise
            except (UnexpectedResponse, VendorUnavailable) as error:
                self._failures += not isinstance(error, RateLimited)
                if self._failures >= self.hook.vendor.settings.max_poll_failures:
                    raise
                self.log.warning("%s", error)
                return False
            self._failures = 0
            word = export.vendor_status or export.state
            self.log.info("%s export %s: %s", export.vendor, export.export_id, word)
            if reached(export.state, self.until):
                return True
            raise_if_ended(export)
            return False

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Read what the trigger saw."""
        from airflow_provider_exports.triggers.export import awaited_export, not_understood

        with airflow_errors():
            try:
                awaited = awaited_export(event)
            except (ExportTimedOut, UnknownStatus) as error:
                raise AirflowSensorTimeout(str(error)) from error
            if awaited is None or awaited[0] != self.export_id or not reached(awaited[1], self.until):
                raise not_understood()

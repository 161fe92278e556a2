"""A sensor on one export of any vendor; the vendor follows from the connection's type."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    conf,
)

from airflow_provider_exports.core.model import ExportState
from airflow_provider_exports.core.watch import reached
from airflow_provider_exports.exceptions import (
    ExportError,
    ExportNotFound,
    ExportTimedOut,
    UnknownStatus,
)
from airflow_provider_exports.operators.export import airflow_errors, as_seconds, retry_policy_or, run_window

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_exports.core.runs import RunWatch
    from airflow_provider_exports.core.watch import Watch
    from airflow_provider_exports.hooks.export import ExportHook


class ExportSensor(BaseSensorOperator):
    """Wait until an export is in a state: ready to be downloaded, expired …

    In every mode an export that ends in another state than asked for is the error of that state, and the
    sensor's own ``timeout`` ends the wait with ``AirflowSensorTimeout``.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :param until: state or states to wait for: ``ready``, ``expired``, ``failed``, ``cancelled``, ``running``.
    :param run_due: of an export that the vendor repeats, the run to wait for: when it starts (templated), as
        ISO 8601 text, datetime or pendulum. None for the newest run, which may be an old one.
    :param next_run_due: when the run after it starts (templated). From then on it is ``RunMissed``: vendors
        keep the newest run only.
    :param deferrable: wait in the triggerer; the connection's growing pace then takes the place of
        ``poke_interval``, unless that is given.
    :param retry_policy: as of :class:`~airflow_provider_exports.operators.export.CreateExportOperator`.
    """

    template_fields: Sequence[str] = ("conn_id", "export_id", "run_due", "next_run_due")
    ui_color = "#e6f4ea"

    vendor_name: ClassVar[str | None] = None
    """Vendor that the connection must be of; None takes any."""

    def __init__(
        self,
        *,
        conn_id: str,
        export_id: str,
        until: str | Sequence[str] = ExportState.READY.value,
        run_due: str | datetime | None = None,
        next_run_due: str | datetime | None = None,
        poke_interval: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        super().__init__(**retry_policy_or(retry_policy), **kwargs)
        self.conn_id = conn_id
        self.export_id = export_id
        self.until = [ExportState(state) for state in ([until] if isinstance(until, str) else until)]
        self.run_due = run_due
        self.next_run_due = next_run_due
        self.own_pace = as_seconds(poke_interval)
        self._watch: Watch | None = None
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> ExportHook:
        """The hook of the task's connection."""
        from airflow_provider_exports.hooks.export import ExportHook

        return ExportHook(self.conn_id, vendor_name=self.vendor_name)

    @cached_property
    def _watched_run(self) -> RunWatch | None:
        """The run that is waited for."""
        return self.hook.lifecycle.watch_run(*run_window(self.run_due, self.next_run_due))

    def execute(self, context: Context) -> Any:
        """Wait in the sensor's mode."""
        if not self.deferrable:
            return super().execute(context)
        try:
            if self.poke(context):
                return None
            run = self._watched_run
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
                run_due=run.due if run else None,
                next_run_due=run.next_due if run else None,
                known=self._watch is not None and self._watch.seen,
            ),
            method_name="execute_complete",
        )

    def poke(self, context: Context) -> bool:
        """Look once; a look that fails counts as not yet, unless too many in a row do."""
        with airflow_errors():
            run = self._watched_run
            if run is not None and time.time() < run.due:
                self.log.info("The run is due in %.0f s.", run.due - time.time())
                return False
            if self._watch is None:
                self._watch = self.hook.lifecycle.watch(
                    self.export_id, time.time(), until=self.until, run=run
                )
            watch, now = self._watch, time.time()
            over = False
            try:
                export = self.hook.get_export(self.export_id)
            except ExportError as error:
                # A rescheduled sensor starts anew with each look, and would never find out.
                if self.reschedule and isinstance(error, ExportNotFound):
                    raise
                watch.failed(error, now)
            else:
                over = watch.saw(export, now)
            for note in watch.notes:
                self.log.log(note.level, note.message, *note.args)
            watch.notes.clear()
            watch.plan(now)
            return over

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

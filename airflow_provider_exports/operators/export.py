"""Operators for every vendor; the vendor follows from the connection's type."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    BaseOperator,
    conf,
)

from airflow_provider_exports.exceptions import (
    ExportConflict,
    ExportError,
    ExportNotFound,
    InvalidPayload,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.landing.names import LAYOUT, check_layout

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_exports.core.model import Export, Payload
    from airflow_provider_exports.hooks.export import ExportHook

# How much later than ours the framework's own deadline lies: ours has the better words.
_FRAMEWORK_MARGIN = 600.0
# How long a resumed task bears with a vendor that does not answer, seconds.
_RESUME_SECONDS = 900.0
# Longer waits than ten years overflow the framework's own arithmetic.
_LONGEST_WAIT = 10 * 365 * 86400.0


@contextlib.contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn permanent errors into ``AirflowFailException``, which no retry repeats; let the others pass."""
    try:
        yield
    except ExportError as error:
        if error.permanent:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise


def run_window(
    run_due: str | datetime | None, next_run_due: str | datetime | None
) -> tuple[float | None, float | None]:
    """Return when a run of an export that the vendor repeats, and the one after it, are due, epoch seconds.

    :raises InvalidPayload: one of them is no time, or they are not in this order.
    """
    from airflow_provider_exports.core import times

    moments: list[float | None] = []
    for name, value in (("run_due", run_due), ("next_run_due", next_run_due)):
        try:
            moments.append(None if value in (None, "") else times.instant(value).timestamp())
        except ValueError as error:
            raise InvalidPayload(f"{name}: {error}.") from None
    due, next_due = moments
    if next_due is not None and (due is None or next_due <= due):
        raise InvalidPayload("next_run_due must be later than run_due, and is nothing without it.")
    return due, next_due


def as_seconds(duration: float | timedelta | None) -> float | None:
    """Return a duration given in seconds or as a timedelta in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def owner(context: Context) -> str | None:
    """Return what names the task instance over all its tries, None outside of a run."""
    ti = context.get("ti")
    if ti is None:
        return None
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{getattr(ti, 'map_index', -1)}"


class CreateExportOperator(BaseOperator):
    """Create an export and return its id; nothing waits for it.

    The payload is checked against the vendor's rules before anything is sent. A window that has only just
    ended is left to settle first (connection setting ``settle_delay``).

    :param conn_id: connection, of the vendor's type (templated).
    :param payload: what to export, in the vendor's field names, as a dict or JSON text (templated).
    :param export_label: name for people, for ``map_index_template="{{ task.export_label }}"`` (templated).
    :param on_conflict: ``wait`` until the vendor has finished an export that excludes this one, or ``fail``.
    :param reuse_existing: take an export of exactly this payload, where the vendor has one that has not
        failed, expired or been deleted: so an export that the vendor repeats is created once. A payload
        without a fixed window (the last day, everything) finds an old export as well, with the data of its
        own time. Not every vendor's API can find exports.
    :param timeout: longest wait for the vendor, seconds or timedelta; None takes the connection's
        ``wait_timeout``.
    :param deferrable: wait in the triggerer, without a worker slot.
    :return: the export id.
    """

    template_fields: Sequence[str] = ("conn_id", "payload", "export_label")
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json"}
    ui_color = "#e8f0fe"

    vendor_name: ClassVar[str | None] = None
    """Vendor that the connection must be of; None takes any."""
    payload_parameters: ClassVar[Sequence[str]] = ()
    """Parameters of a typed operator that end up in the payload."""

    def __init__(
        self,
        *,
        conn_id: str,
        payload: Mapping[str, Any] | str | None = None,
        export_label: str | None = None,
        on_conflict: str = "wait",
        reuse_existing: bool = False,
        timeout: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if on_conflict not in ("wait", "fail"):
            raise ValueError(f"on_conflict must be 'wait' or 'fail', not {on_conflict!r}")
        self.conn_id = conn_id
        self.payload = payload
        self.export_label = export_label
        self.on_conflict = on_conflict
        self.reuse_existing = reuse_existing
        self.timeout = timeout
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> ExportHook:
        """The hook of the task's connection."""
        from airflow_provider_exports.hooks.export import ExportHook

        return ExportHook(self.conn_id, vendor_name=self.vendor_name)

    def execute(self, context: Context) -> Any:
        """Create the export and go on with it."""
        with airflow_errors():
            return self._go_on(context, self._create(None))

    def resume_create(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        give_up_at: float | None = None,
        unanswered_at: float | None = None,
    ) -> Any:
        """Create the export after a pause in the triggerer."""
        from airflow_provider_exports.triggers.export import awaited_export

        with airflow_errors():
            awaited_export(event)
            return self._go_on(context, self._create(give_up_at, unanswered_at))

    def _go_on(self, context: Context, export: Export) -> Any:
        """Return the task's result once the export exists."""
        return export.export_id

    def _check_kind(self, payload: Payload) -> None:
        """Raise what speaks against creating this kind of export here."""

    def _create(self, give_up_at: float | None, unanswered_at: float | None = None) -> Export:
        vendor = self.hook.vendor
        payload = self._prepared()
        vendor.check_shape(payload)
        self._check_kind(payload)
        now = time.time()
        settled_at = vendor.settled_at(payload) or 0.0
        # A window that lies in the future is a mistake and fails the check; one that has just ended is not,
        # also when this machine's clock is a little behind the scheduler's.
        if now < settled_at <= now + vendor.settings.settle_delay + vendor.settings.clock_margin:
            vendor.check(payload, settled_at)
            self.log.info("The data of this window counts as complete in %.0f s.", settled_at - now)
            self._sleep_until(settled_at, None, unanswered_at)
        if give_up_at is None:
            give_up_at = time.time() + self._wait_timeout()
        deadline = give_up_at if self.on_conflict == "wait" and not self.deferrable else None
        try:
            return self.hook.create_prepared(
                payload,
                conflict_deadline=deadline,
                reuse_existing=self.reuse_existing,
                unanswered_at=unanswered_at,
            )
        except ExportConflict as conflict:
            pause = self.hook.lifecycle.conflict_pause(conflict)
            next_try = time.time() + pause
            if self.on_conflict == "fail" or not self.deferrable or next_try > give_up_at:
                raise
            self.log.info("%s Next try in %.0f s.", conflict.message, pause)
            self._sleep_until(next_try, give_up_at, conflict.unanswered_at)
            raise AssertionError("a deferred task does not come back here") from None

    def _sleep_until(self, moment: float, give_up_at: float | None, unanswered_at: float | None) -> None:
        if not self.deferrable:
            time.sleep(max(0.0, moment - time.time()))
            return
        from airflow_provider_exports.triggers.export import MINIMUM_DELAY, ExportTrigger

        moment = max(moment, time.time() + MINIMUM_DELAY)
        self.defer(
            trigger=ExportTrigger(conn_id=self.conn_id, vendor=self.hook.vendor.name, not_before=moment),
            method_name="resume_create",
            kwargs={"give_up_at": give_up_at, "unanswered_at": unanswered_at},
        )

    def _prepared(self) -> Payload:
        vendor = self.hook.vendor
        parameters = {name: getattr(self, name) for name in self.payload_parameters}
        return vendor.prepare(vendor.compose(parameters, self._payload()))

    def _payload(self) -> Payload:
        payload = self.payload
        if isinstance(payload, str):
            try:
                payload = json.loads(payload)
            except ValueError as error:
                raise InvalidPayload(f"the payload is no JSON: {error}.", vendor=self.vendor_name) from None
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayload("the payload is no object.", vendor=self.vendor_name)
        return dict(payload or {})

    def _wait_timeout(self) -> float:
        timeout = as_seconds(self.timeout)
        return min(self.hook.vendor.settings.wait_timeout if timeout is None else timeout, _LONGEST_WAIT)


class RunExportOperator(CreateExportOperator):
    """Create an export, wait until it is ready and, with ``destination``, land its files.

    :param destination: URI below which the files land, such as ``s3://conn@bucket/prefix`` or
        ``file:///data`` (templated); None leaves them at the vendor.
    :param layout: where the files go below it, such as ``{vendor}/{export_id}/{name}``; the last part may
        also hold ``{stem}``, ``{suffix}`` and ``{position}``. By default they lie right below it.
    :param unpack: take zips apart, each into a folder of its own name.
    :param poll_interval: fixed seconds between two looks; None takes the connection's growing pace.
    :param skip_if_empty: mark the task skipped when the export has no files.
    :return: the *export result*: ``export_id, vendor, state, created_at, expires_at,
        files[{uri, name, size, sha256}]``.

    An export that the vendor repeats is none for this operator, which would create one more with each run.
    The other parameters are those of :class:`CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, "destination")

    def __init__(
        self,
        *,
        destination: str | None = None,
        layout: str = LAYOUT,
        unpack: bool = False,
        poll_interval: float | timedelta | None = None,
        skip_if_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_layout(layout)
        self.destination = destination
        self.layout = layout
        self.unpack = unpack
        self.poll_interval = poll_interval
        self.skip_if_empty = skip_if_empty

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Land the export after the wait in the triggerer."""
        from airflow_provider_exports.triggers.export import awaited_export, not_understood

        with airflow_errors():
            awaited = awaited_export(event)
            if awaited is None:
                raise not_understood()
            # A wait again, if a short one: the vendor may be unwell in the very minute we come back.
            return self._finish(context, self.hook.wait_for_export(awaited[0], timeout=_RESUME_SECONDS))

    def _check_kind(self, payload: Payload) -> None:
        if self.hook.vendor.repeats(payload):
            raise InvalidPayload(
                "the vendor would repeat this export, and each run of the task would create one more.",
                vendor=self.hook.vendor.name,
                next_step="Create it with the create operator and reuse_existing=True; a sensor watches it.",
            )

    def _go_on(self, context: Context, export: Export) -> Any:
        timeout = self._wait_timeout()
        if not self.deferrable:
            poll_interval = as_seconds(self.poll_interval)
            return self._finish(
                context,
                self.hook.wait_for_export(export.export_id, timeout=timeout, poll_interval=poll_interval),
            )
        # A quick export needs no trigger, and a trigger that fires soon can lose the task.
        try:
            export = self.hook.get_export(export.export_id)
        except (ExportNotFound, UnexpectedResponse, VendorUnavailable) as error:
            # It exists: whether it is only not visible yet, or the vendor not well, the wait will tell.
            self.log.info("%s", error)
        if export.state.finished:
            return self._finish(context, export)
        from airflow_provider_exports.triggers.export import ExportTrigger

        return self.defer(
            trigger=ExportTrigger(
                conn_id=self.conn_id,
                vendor=export.vendor,
                export_id=export.export_id,
                poll_interval=as_seconds(self.poll_interval),
                end_time=time.time() + timeout,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=timeout + _FRAMEWORK_MARGIN),
        )

    def _finish(self, context: Context, export: Export) -> dict[str, Any]:
        from airflow_provider_exports.core.lifecycle import raise_unless_ready

        raise_unless_ready(export)
        if self.skip_if_empty and not export.files:
            raise AirflowSkipException(f"{export.vendor} export {export.export_id} has no files.")
        if not self.destination:
            return export.result()
        return self.hook.land_export(
            export,
            self.destination,
            layout=self.layout,
            unpack=self.unpack,
            owner=owner(context),
            payload=self._prepared(),
        )


class DownloadExportOperator(BaseOperator):
    """Land the files of an export that is ready.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :param destination: URI below which the files land, such as ``s3://conn@bucket/prefix`` or
        ``file:///data`` (templated).
    :param layout: where the files go below it, as of :class:`RunExportOperator`.
    :param unpack: take zips apart, as of :class:`RunExportOperator`.
    :param run_due: of an export that the vendor repeats, the run whose files are wanted: when it was due
        (templated), as ISO 8601 text, datetime or pendulum. None for the newest run.
    :param next_run_due: when the run after it is due (templated); from then on it is ``RunMissed``.
    :return: the *export result*, as of :class:`RunExportOperator`.
    """

    template_fields: Sequence[str] = ("conn_id", "export_id", "destination", "run_due", "next_run_due")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        conn_id: str,
        export_id: str,
        destination: str,
        layout: str = LAYOUT,
        unpack: bool = False,
        run_due: str | datetime | None = None,
        next_run_due: str | datetime | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_layout(layout)
        self.conn_id = conn_id
        self.export_id = export_id
        self.destination = destination
        self.layout = layout
        self.unpack = unpack
        self.run_due = run_due
        self.next_run_due = next_run_due

    def execute(self, context: Context) -> dict[str, Any]:
        """Land the files."""
        from airflow_provider_exports.hooks.export import ExportHook

        with airflow_errors():
            run_due, next_run_due = run_window(self.run_due, self.next_run_due)
            return ExportHook(self.conn_id).download_export(
                self.export_id,
                self.destination,
                layout=self.layout,
                unpack=self.unpack,
                owner=owner(context),
                run_due=run_due,
                next_run_due=next_run_due,
            )


class DeleteExportOperator(BaseOperator):
    """Delete an export and its files at the vendor, where its API can.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :return: True, or False if it was gone already.
    """

    template_fields: Sequence[str] = ("conn_id", "export_id")
    ui_color = "#e8f0fe"

    def __init__(self, *, conn_id: str, export_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.export_id = export_id

    def execute(self, context: Context) -> bool:
        """Delete it."""
        from airflow_provider_exports.hooks.export import ExportHook

        with airflow_errors():
            return ExportHook(self.conn_id).delete_export(self.export_id)

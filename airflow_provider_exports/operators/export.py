"""Operators for every vendor; the vendor follows from the connection's type."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    conf,
)

from airflow_provider_exports.durable import XCOM_KEY, Record, TaskMemory, wanted_no_more
from airflow_provider_exports.exceptions import (
    ExportCancelled,
    ExportConflict,
    ExportError,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportTimedOut,
    InvalidPayload,
    UnexpectedResponse,
    UnknownOutcome,
    VendorUnavailable,
)
from airflow_provider_exports.landing.names import LAYOUT, check_layout
from airflow_provider_exports.shown import ExportLink, FilesLink, Shown

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperatorLink, Context

    from airflow_provider_exports.core.model import Export, Payload
    from airflow_provider_exports.hooks.export import ExportHook

# How much later than ours the framework's own deadline lies: ours has the better words.
_FRAMEWORK_MARGIN = 600.0
# How long a resumed task bears with a vendor that does not answer, seconds.
_RESUME_SECONDS = 900.0
# Longer waits than ten years overflow the framework's own arithmetic.
_LONGEST_WAIT = 10 * 365 * 86400.0
# Airflow kills a task without mercy this soon after it has asked it to stop, seconds.
_KILL_SECONDS = 4.5


@contextlib.contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn permanent errors into ``AirflowFailException``, which no retry repeats; let the others pass."""
    try:
        yield
    except ExportError as error:
        if error.permanent:
            raise AirflowFailException(f"{type(error).__name__}: {error}") from error
        raise


def retry_policy_or(given: Any) -> dict[str, Any]:
    """Return the argument of Airflow's base operator by which errors decide over retries, if it has one."""
    if given is None:
        try:
            from airflow_provider_exports.retry_policy import ExportRetryPolicy
        except ImportError:  # before Airflow 3.3
            return {}
        given = ExportRetryPolicy()
    return {"retry_policy": given}


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


class CreateExportOperator(Shown, BaseOperator):
    """Create an export and return its id; nothing waits for it.

    The payload is checked against the vendor's rules before anything is sent. A window that has only just
    ended is left to settle first (connection setting ``settle_delay``).

    However often a task is tried, it makes one export: a try takes up what the one before has created, if it
    was of the same payload and connection and the vendor still has it. From Airflow 3.3 on the id is kept in
    the task's state store; before, and where a create was never answered, the vendor is asked, as far as its
    API can tell. A task that is cleared after it has succeeded exports anew.

    :param conn_id: connection, of the vendor's type (templated).
    :param payload: what to export, in the vendor's field names, as a dict or JSON text (templated).
    :param export_label: name for people, for ``map_index_template="{{ task.export_label }}"`` (templated).
    :param on_conflict: ``wait`` until the vendor has finished an export that excludes this one, or ``fail``.
    :param reuse_existing: take an export of exactly this payload, where the vendor has one that has not
        failed, expired or been deleted: so an export that the vendor repeats is created once. A payload
        without a fixed window (the last day, everything) finds an old export as well, with the data of its
        own time. Not every vendor's API can find exports.
    :param force_new: create an export in each try, whatever an earlier one has left.
    :param max_recreations: how many exports may be created in the place of ones that the vendor could not
        make, or that have expired; then the task fails and is not tried again.
    :param recreate_if_expired: whether an export whose files are gone is created anew.
    :param timeout: longest wait for the vendor, seconds or timedelta; None takes the connection's
        ``wait_timeout``.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param retry_policy: Airflow's own, from 3.3 on; None takes
        :class:`~airflow_provider_exports.retry_policy.ExportRetryPolicy`.
    :return: the export id.
    """

    template_fields: Sequence[str] = ("conn_id", "payload", "export_label")
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json"}
    operator_extra_links: Collection[BaseOperatorLink] = (ExportLink(),)
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
        force_new: bool = False,
        max_recreations: int = 1,
        recreate_if_expired: bool = False,
        timeout: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_policy_or(retry_policy), **kwargs)
        if on_conflict not in ("wait", "fail"):
            raise ValueError(f"on_conflict must be 'wait' or 'fail', not {on_conflict!r}")
        if reuse_existing and force_new:
            raise ValueError("reuse_existing and force_new exclude each other")
        self.conn_id = conn_id
        self.payload = payload
        self.export_label = export_label
        self.on_conflict = on_conflict
        self.reuse_existing = reuse_existing
        self.force_new = force_new
        self.max_recreations = max_recreations
        self.recreate_if_expired = recreate_if_expired
        self.timeout = timeout
        self.deferrable = deferrable

    @cached_property
    def hook(self) -> ExportHook:
        """The hook of the task's connection."""
        from airflow_provider_exports.hooks.export import ExportHook

        return ExportHook(self.conn_id, vendor_name=self.vendor_name)

    def execute(self, context: Context) -> Any:
        """Take up what an earlier try has created, or create the export, and go on with it."""
        with airflow_errors():
            self._remember(context)
            return self._go_on(context, self._adopt_or_create())

    def resume_create(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        give_up_at: float | None = None,
        unanswered_at: float | None = None,
        recreated: int = 0,
        queued_at: float | None = None,
        wait_until: float | None = None,
    ) -> Any:
        """Create the export after a pause in the triggerer."""
        from airflow_provider_exports.triggers.export import awaited_export

        with airflow_errors():
            self._remember(context, recreated, wait_until)
            awaited_export(event)
            # None where ``dags test`` has dropped the arguments: it comes from the triggerer all the same.
            turn = queued_at or time.time()
            return self._go_on(context, self._create(self._checked(), give_up_at, unanswered_at, turn))

    def _remember(self, context: Context, recreated: int = 0, wait_until: float | None = None) -> None:
        self._ti = context.get("ti")
        self._memory = TaskMemory(context, self.retries or 0, self.log)
        self._recreated = recreated
        self._wait_until = wait_until
        self._export_id: str | None = None

    def _go_on(self, context: Context, export: Export) -> Any:
        """Return the task's result once the export exists."""
        self._show_export(self._ti, export.export_id)
        self._memory.note(done=True)
        return export.export_id

    def _check_kind(self, payload: Payload) -> None:
        """Raise what speaks against creating this kind of export here."""

    def _new_record(self, payload: Payload) -> Record:
        vendor = self.hook.vendor.name
        return self._memory.begin(vendor, self.conn_id, payload, time.time(), recreated=self._recreated)

    def _adopt_or_create(self) -> Export:
        from airflow_provider_exports.core.vendor import Capability

        memory = self._memory
        payload = self._checked()
        if self.force_new:
            return self._create(payload, None)
        record, unanswered_at = memory.recall(), None
        if record is None:
            # Where Airflow remembers, nothing was created; but it may not have remembered in that try.
            asked = not memory.lasting or (
                memory.generation == 0 and Capability.FIND in self.hook.vendor.capabilities
            )
            if memory.retried and memory.run_started and asked and not self.reuse_existing:
                unanswered_at = memory.run_started
        elif record.nothing:
            self._recreated = record.recreated if record.generation == memory.generation else 0
        elif record.done and record.generation != memory.generation:
            self.log.info("Cleared after export %s was done: another one is created.", record.export_id)
        elif not record.same_request(self._new_record(payload)):
            self.log.warning(
                "Payload or connection have changed since an earlier try; what it made is left alone: %s.",
                f"export {record.export_id}" if record.export_id else "a create without answer",
            )
        else:
            self._recreated = record.recreated if record.generation == memory.generation else 0
            unanswered_at = record.since
            if record.export_id is not None:
                export = self._adopt(record)
                if export is None:
                    unanswered_at = None
                elif record.started:
                    return export
        return self._create(payload, None, unanswered_at)

    def _adopt(self, record: Record) -> Export | None:
        """Return the export of an earlier try; None if another one is to be created in its place."""
        from airflow_provider_exports.core.watch import raise_if_ended

        cleared = record.generation != self._memory.generation
        try:
            export = self.hook.adopt_export(str(record.export_id), record.since)
            raise_if_ended(export, self.hook.vendor.secrets)
        except (ExportFailed, ExportExpired) as error:
            if cleared:
                self.log.info("%s Cleared since: another one is created.", error)
            else:
                self._spend(error)
            return None
        except ExportCancelled:
            if cleared:
                return None
            raise
        self.log.info("%s export %s: taken up from an earlier try", export.vendor, export.export_id)
        self._memory.note(
            done=False,
            generation=self._memory.generation,
            recreated=self._recreated,
            wait_until=None if cleared else record.wait_until,
        )
        return export

    def _spend(self, error: ExportFailed | ExportExpired) -> None:
        """Count one more export that came to nothing.

        :raises ExportError: the given one, for good: no more may be created in its place.
        """
        expired = isinstance(error, ExportExpired)
        if self._recreated >= self.max_recreations or (expired and not self.recreate_if_expired):
            error.permanent = True  # type: ignore[misc]
            if expired and not self.recreate_if_expired:
                error.next_step = (
                    "Clear the task, or let it create another one with recreate_if_expired=True."
                )
            raise error
        self._recreated += 1
        self.log.warning(
            "%s Another one is created (%d of %d).", error, self._recreated, self.max_recreations
        )

    def _checked(self) -> Payload:
        payload = self._prepared()
        self.hook.vendor.check_shape(payload)
        self._check_kind(payload)
        self._queue = self.hook.vendor.queue(payload)
        return payload

    def _create(
        self,
        payload: Payload,
        give_up_at: float | None,
        unanswered_at: float | None = None,
        queued_at: float | None = None,
    ) -> Export:
        from airflow_provider_exports.core.vendor import Capability

        vendor, memory = self.hook.vendor, self._memory
        now = time.time()
        # Tasks that look in the same moment all see the same room.
        turn_first = (
            queued_at is None
            and self._queue is not None
            and self.on_conflict == "wait"
            and self.deferrable
            and Capability.ROOM in vendor.capabilities
        )
        may_exist_since = 0.0 if self.reuse_existing else unanswered_at
        settled_at = vendor.settled_at(payload) or 0.0
        # A window that lies in the future is a mistake and fails the check; one that has just ended is not,
        # also when this machine's clock is a little behind the scheduler's.
        if now < settled_at <= now + vendor.settings.settle_delay + vendor.settings.clock_margin:
            vendor.check(payload, settled_at)
            self.log.info("The data of this window counts as complete in %.0f s.", settled_at - now)
            latest = settled_at + self._wait_timeout()
            turn = turn_first and may_exist_since is None
            self._sleep_until(settled_at, latest, unanswered_at, self._queue if turn else None)
        if give_up_at is None:
            give_up_at = time.time() + self._wait_timeout()
        if turn_first:
            vendor.check(payload, time.time())
            wanted = self._told_apart(payload)
            # What exists needs no room; the create below finds it again, and takes it up.
            turn_first = may_exist_since is None or not self.hook.run_plan(
                lambda life: life.find(wanted, may_exist_since)
            )
        if turn_first:
            if unanswered_at is None:
                memory.write(replace(self._new_record(payload), nothing=True))
            self.log.info("%s takes only so many exports at once: waiting for a turn.", vendor.display_name)
            self._sleep_until(0.0, give_up_at, unanswered_at, self._queue)
        deadline = give_up_at if self.on_conflict == "wait" and not self.deferrable else None
        record = self._new_record(payload)
        memory.write(record if unanswered_at is None else replace(record, since=unanswered_at))
        try:
            export = self.hook.create_prepared(
                self._told_apart(payload),
                conflict_deadline=deadline,
                reuse_existing=self.reuse_existing,
                unanswered_at=unanswered_at,
            )
        except ExportConflict as conflict:
            self._forget_unless(conflict.unanswered_at)
            pause = self.hook.lifecycle.conflict_pause(conflict)
            next_try = time.time() + pause
            if self.on_conflict == "fail" or not self.deferrable or next_try > give_up_at:
                raise
            self.log.info("%s Next try in %.0f s.", conflict.message, pause)
            moment = next_try if self._queue is None else 0.0
            left = conflict.unanswered_at
            self._sleep_until(moment, give_up_at, left, self._queue, queued_at, next_try)
            raise AssertionError("a deferred task does not come back here") from None
        except UnknownOutcome as error:
            self._note_known(error)
            raise
        except ExportError as error:
            self._forget_unless(error.unanswered_at or unanswered_at or error.export_id)
            self._note_known(error)
            raise
        wait_until = self._wait_until or time.time() + self._wait_timeout()
        memory.note(export_id=export.export_id, wait_until=wait_until)
        return export

    def _note_known(self, error: ExportError) -> None:
        """Write down an export that was created, but not started: the next try does that."""
        if error.export_id is not None:
            self._memory.note(export_id=error.export_id, started=False)

    def _told_apart(self, payload: Payload) -> Payload:
        """Return the payload as it is sent: an export that is wanted anew may need another id."""
        memory = self._memory
        mark = str(memory.generation) if memory.generation else ""
        if self.force_new:
            mark = f"{memory.try_number}-{self._recreated}"
        return self.hook.vendor.told_apart(payload, mark) if mark and not self.reuse_existing else payload

    def _forget_unless(self, something_left: Any) -> None:
        if not something_left:
            self._memory.forget()

    def _sleep_until(
        self,
        moment: float,
        give_up_at: float | None,
        unanswered_at: float | None,
        queue: str | None = None,
        queued_at: float | None = None,
        next_try: float | None = None,
    ) -> None:
        """Wait until a moment, epoch seconds; in the triggerer, after it for a turn in ``queue`` as well.

        :param queued_at: since when the task waits for its turn; None for now.
        :param next_try: when it is its turn although nothing tells that there is room.
        """
        if not self.deferrable:
            time.sleep(max(0.0, moment - time.time()))
            return
        from airflow_provider_exports.triggers.export import MINIMUM_DELAY, ExportTrigger

        now = time.time()
        moment = max(moment, now + MINIMUM_DELAY)
        self.defer(
            trigger=ExportTrigger(
                conn_id=self.conn_id,
                vendor=self.hook.vendor.name,
                not_before=moment,
                end_time=give_up_at,
                queue=queue,
                queued_at=queued_at or now,
                next_try=next_try,
            ),
            method_name="resume_create",
            kwargs={
                "give_up_at": give_up_at,
                "unanswered_at": unanswered_at,
                "recreated": self._recreated,
                "queued_at": queued_at or now,
                "wait_until": self._wait_until,
            },
            timeout=None if give_up_at is None else timedelta(seconds=give_up_at - now + _FRAMEWORK_MARGIN),
        )

    def _prepared(self) -> Payload:
        vendor = self.hook.vendor
        parameters = {name: getattr(self, name) for name in self.payload_parameters}
        return vendor.prepare(vendor.compose(parameters, self._payload()))

    def _known_payload(self) -> Payload | None:
        try:
            return self._prepared()
        except ExportError:
            return None

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
    :param unpack: take zips apart, each into a folder of its own name, and decompress gzip files.
    :param as_jsonl: land CSV files and JSON arrays as JSON Lines; with ``unpack`` those in zips as well.
    :param poll_interval: fixed seconds between two looks; None takes the connection's growing pace.
    :param skip_if_empty: mark the task skipped when the export has no files.
    :param on_timeout: whether the vendor goes on with an export that was not ready in time (``fail``), and
        the next try takes it up, or is told to stop (``cancel``). ``execution_timeout`` counts as well.
    :param cancel_on_kill: whether the vendor is told to stop when somebody marks the waiting task as failed
        or done. Not when it is cleared, or only its worker or triggerer stops: the next try takes it up.
    :param partition_key: partition of the outlet assets that the files are for (templated; Airflow 3.3). It
        starts DAGs that are scheduled on partitions of the asset, and then no others. None leaves it to
        Airflow: it takes the partition of the DAG run, if it has one.
    :return: the *export result*: ``export_id, vendor, state, created_at, expires_at,
        files[{uri, name, size, sha256}]``.

    While it waits, the export's id is the XCom ``export_id``.
    An export that the vendor repeats is none for this operator, which would create one more with each run.
    The other parameters are those of :class:`CreateExportOperator`.
    """

    template_fields: Sequence[str] = (*CreateExportOperator.template_fields, "destination", "partition_key")
    operator_extra_links = (ExportLink(), FilesLink())

    def __init__(
        self,
        *,
        destination: str | None = None,
        layout: str = LAYOUT,
        unpack: bool = False,
        as_jsonl: bool = False,
        poll_interval: float | timedelta | None = None,
        skip_if_empty: bool = False,
        on_timeout: str = "fail",
        cancel_on_kill: bool = True,
        partition_key: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_layout(layout)
        if on_timeout not in ("fail", "cancel"):
            raise ValueError(f"on_timeout must be 'fail' or 'cancel', not {on_timeout!r}")
        self.destination = destination
        self.layout = layout
        self.unpack = unpack
        self.as_jsonl = as_jsonl
        self.poll_interval = poll_interval
        self.skip_if_empty = skip_if_empty
        self.on_timeout = on_timeout
        self.cancel_on_kill = cancel_on_kill
        self.partition_key = partition_key

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        recreated: int = 0,
        wait_until: float | None = None,
    ) -> Any:
        """Land the export after the wait in the triggerer."""
        from airflow_provider_exports.triggers.export import awaited_export, not_understood

        with airflow_errors():
            self._remember(context, recreated, wait_until)
            record = self._memory.recall()
            if record is not None:
                self._recreated = max(self._recreated, record.recreated)
            awaited = None
            try:
                awaited = awaited_export(event)
                if awaited is None:
                    raise not_understood()
                self._export_id = awaited[0]
                # A wait again, if a short one: the vendor may be unwell in the very minute we come back.
                export = self.hook.wait_for_export(awaited[0], timeout=_RESUME_SECONDS, known=True)
                return self._finish(context, export)
            except ExportTimedOut as error:
                if awaited is None:
                    self._too_late(error)
                raise
            except (ExportFailed, ExportExpired) as error:
                return self._go_on(context, self._once_more(error, self._deadline()))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after the triggerer; its own deadline, where Airflow keeps it, ends the wait like ours."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except Exception as error:
            # Before Airflow 3 only the text tells a timeout from other ends.
            if "TaskDeferral" not in type(error).__name__ or "timeout" not in str(error):
                raise
            with airflow_errors():
                self._remember(context)
                self._too_late(
                    ExportTimedOut(
                        "the triggerer did not end the wait in time.",
                        vendor=self.vendor_name,
                        export_id=self._awaited_id(),
                    )
                )

    def on_kill(self) -> None:
        """Cancel the export if somebody has ended the task."""
        export_id = getattr(self, "_export_id", None)
        if not self.cancel_on_kill or self.reuse_existing or export_id is None:
            return
        # A thread of its own: the main one may hold the channel to Airflow while this interrupts it.
        thread = threading.Thread(target=self._cancel_if_unwanted, args=(export_id,), daemon=True)
        thread.start()
        thread.join(_KILL_SECONDS)

    def _cancel_if_unwanted(self, export_id: str) -> None:
        try:
            if not wanted_no_more(self._ti):
                self.log.info("Export %s goes on: another try of this task takes it up.", export_id)
                return
        except Exception:
            self.log.exception("Airflow does not tell who stopped the task; export %s goes on.", export_id)
            return
        self._cancel(export_id)

    def _cancel(self, export_id: str) -> bool:
        try:
            return self.hook.cancel_export(export_id)
        except ExportError as error:
            self.log.warning("It could not be cancelled: %s", error)
            return False

    def _too_late(self, error: ExportTimedOut) -> NoReturn:
        """Raise the error, after the vendor was told to stop where that is asked for."""
        if error.export_id is not None:
            self._cancel_late(error.export_id)
        raise error

    def _cancel_late(self, export_id: str) -> None:
        # One that goes on, or is ready after all, is the next try's.
        if self.on_timeout == "cancel" and not self.reuse_existing and self._cancel(export_id):
            self._memory.forget()

    def _awaited_id(self) -> str | None:
        record = self._memory.recall()
        if record is not None and record.export_id is not None:
            return record.export_id
        if self._ti is None or (record is not None and record.nothing):
            return None
        found = self._ti.xcom_pull(
            task_ids=self.task_id, key=XCOM_KEY, map_indexes=getattr(self._ti, "map_index", -1)
        )
        return found if isinstance(found, str) else None

    def _check_kind(self, payload: Payload) -> None:
        self._partition()
        if self.hook.vendor.repeats(payload):
            raise InvalidPayload(
                "the vendor would repeat this export, and each run of the task would create one more.",
                vendor=self.hook.vendor.name,
                next_step="Create it with the create operator and reuse_existing=True; a sensor watches it.",
            )
        if self.destination and self.as_jsonl:
            from airflow_provider_exports.landing import jsonl

            jsonl.check_payload(self.hook.vendor, payload)

    def _go_on(self, context: Context, export: Export) -> Any:
        deadline = self._deadline()
        while True:
            self._export_id = export.export_id
            self._show_export(self._ti, export.export_id)
            if self._ti is not None and self.do_xcom_push:
                self._ti.xcom_push(key=XCOM_KEY, value=export.export_id)
            try:
                return self._wait(context, export, deadline)
            except (ExportFailed, ExportExpired) as error:
                export = self._once_more(error, deadline)

    def _deadline(self) -> float:
        """Return when the wait ends: what an earlier part of it has settled, unless that has passed."""
        record = self._memory.record
        settled = self._wait_until or (record.wait_until if record is not None else None)
        now = time.time()
        return settled if settled is not None and settled > now else now + self._wait_timeout()

    def _once_more(self, error: ExportFailed | ExportExpired, deadline: float) -> Export:
        self._spend(error)
        self._export_id = None
        self._wait_until = deadline
        self._memory.note(recreated=self._recreated)
        self._memory.forget()
        return self._create(self._checked(), deadline)

    def _wait(self, context: Context, export: Export, deadline: float) -> Any:
        if not self.deferrable:
            timeout, poll_interval = deadline - time.time(), as_seconds(self.poll_interval)
            try:
                found = self.hook.wait_for_export(
                    export.export_id, timeout=timeout, poll_interval=poll_interval, known=True
                )
            except ExportTimedOut as error:
                self._too_late(error)
            except AirflowTaskTimeout:
                self._cancel_late(export.export_id)
                raise
            return self._finish(context, found)
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
                end_time=deadline,
                known=True,
                cancel_on_kill=self.cancel_on_kill and not self.reuse_existing,
                queue=self._queue,
            ),
            method_name="execute_complete",
            kwargs={"recreated": self._recreated, "wait_until": deadline},
            timeout=timedelta(seconds=deadline - time.time() + _FRAMEWORK_MARGIN),
        )

    def _finish(self, context: Context, export: Export) -> dict[str, Any]:
        from airflow_provider_exports.core.watch import raise_unless_ready

        # From here on there is nothing to cancel: it is done, and stays at the vendor.
        self._export_id = None
        self._show_export(self._ti, export.export_id)
        raise_unless_ready(export)
        if self.skip_if_empty and not export.files:
            self._memory.note(done=True)
            raise AirflowSkipException(f"{export.vendor} export {export.export_id} has no files.")
        if self.destination:
            who, payload = owner(context), self._prepared()
            result = self.hook.land_export(
                export,
                self.destination,
                layout=self.layout,
                unpack=self.unpack,
                as_jsonl=self.as_jsonl,
                owner=who,
                payload=payload,
            )
            self._show_landed(
                context,
                result,
                self.destination,
                self.layout,
                owner=who,
                payload=payload,
            )
        else:
            result = export.result()
        self._memory.note(done=True)
        return result


class DownloadExportOperator(Shown, BaseOperator):
    """Land the files of an export that is ready.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :param destination: URI below which the files land, such as ``s3://conn@bucket/prefix`` or
        ``file:///data`` (templated).
    :param layout: where the files go below it, as of :class:`RunExportOperator`.
    :param unpack: take zips apart and decompress gzip files, as of :class:`RunExportOperator`.
    :param as_jsonl: land rows as JSON Lines, as of :class:`RunExportOperator`.
    :param run_due: of an export that the vendor repeats, the run whose files are wanted: when it was due
        (templated), as ISO 8601 text, datetime or pendulum. None for the newest run.
    :param next_run_due: when the run after it is due (templated); from then on it is ``RunMissed``.
    :param partition_key: as of :class:`RunExportOperator`.
    :param retry_policy: as of :class:`CreateExportOperator`.
    :return: the *export result*, as of :class:`RunExportOperator`.
    """

    template_fields: Sequence[str] = (
        "conn_id",
        "export_id",
        "destination",
        "run_due",
        "next_run_due",
        "partition_key",
    )
    operator_extra_links = (ExportLink(), FilesLink())
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        conn_id: str,
        export_id: str,
        destination: str,
        layout: str = LAYOUT,
        unpack: bool = False,
        as_jsonl: bool = False,
        run_due: str | datetime | None = None,
        next_run_due: str | datetime | None = None,
        partition_key: str | None = None,
        retry_policy: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_policy_or(retry_policy), **kwargs)
        check_layout(layout)
        self.conn_id = conn_id
        self.export_id = export_id
        self.destination = destination
        self.layout = layout
        self.unpack = unpack
        self.as_jsonl = as_jsonl
        self.run_due = run_due
        self.next_run_due = next_run_due
        self.partition_key = partition_key

    @cached_property
    def hook(self) -> ExportHook:
        """The hook of the task's connection."""
        from airflow_provider_exports.hooks.export import ExportHook

        return ExportHook(self.conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Land the files."""
        with airflow_errors():
            run_due, next_run_due = run_window(self.run_due, self.next_run_due)
            self._partition()
            self._show_export(context.get("ti"), self.export_id)
            who = owner(context)
            result = self.hook.download_export(
                self.export_id,
                self.destination,
                layout=self.layout,
                unpack=self.unpack,
                as_jsonl=self.as_jsonl,
                owner=who,
                run_due=run_due,
                next_run_due=next_run_due,
            )
            self._show_landed(
                context,
                result,
                self.destination,
                self.layout,
                owner=who,
            )
            return result


class DeleteExportOperator(BaseOperator):
    """Delete an export and its files at the vendor, where its API can.

    :param conn_id: connection, of the vendor's type (templated).
    :param export_id: the vendor's id (templated).
    :param retry_policy: as of :class:`CreateExportOperator`.
    :return: True, or False if it was gone already.
    """

    template_fields: Sequence[str] = ("conn_id", "export_id")
    ui_color = "#e8f0fe"

    def __init__(self, *, conn_id: str, export_id: str, retry_policy: Any = None, **kwargs: Any) -> None:
        super().__init__(**retry_policy_or(retry_policy), **kwargs)
        self.conn_id = conn_id
        self.export_id = export_id

    def execute(self, context: Context) -> bool:
        """Delete it."""
        from airflow_provider_exports.hooks.export import ExportHook

        with airflow_errors():
            return ExportHook(self.conn_id).delete_export(self.export_id)

"""What a task keeps of its export from one try to the next, and what tells whether Airflow still wants it.

Airflow 3.3 and newer give each task instance a store that outlives its tries. Before 3.3 nothing does: there
the vendor is asked what an earlier try has left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider_exports.core.model import Payload
    from airflow_provider_exports.transports.blocking import Log

KEY = "export"
"""Key in the task state store."""
XCOM_KEY = "export_id"
"""Name of the XCom in which a task that waits shows the vendor's id."""
VERSION = 1
RETENTION = timedelta(days=365)
"""How long Airflow keeps a record that no try has come back to; vendors keep files for less."""
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which nothing of a task instance may run any more."""


@dataclass(frozen=True)
class Record:
    """An export of a task instance: asked for, made, or landed. JSON, and nothing secret in it."""

    vendor: str
    """Vendor name."""
    conn_id: str
    """Airflow connection: an id means nothing on another one."""
    fingerprint: str
    """Hex digest of the prepared payload."""
    generation: int
    """Tries before the task was last cleared."""
    since: float
    """From when on the create may have been sent, epoch seconds."""
    export_id: str | None = None
    """The vendor's id; None while the create is not answered."""
    started: bool = True
    """Whether it was started, for vendors where that is a call of its own."""
    done: bool = False
    """Whether the task has had all it wanted of the export."""
    recreated: int = 0
    """How many exports before it failed or expired, since the task was last cleared."""
    nothing: bool = False
    """Whether the vendor has surely made nothing, or stopped it: no try needs to look for it."""
    wait_until: float | None = None
    """When the wait for it ends, epoch seconds."""

    def same_request(self, other: Record) -> bool:
        """Return whether both are about the same payload on the same connection."""
        mine, others = ((r.vendor, r.conn_id, r.fingerprint) for r in (self, other))
        return mine == others

    @classmethod
    def read(cls, raw: Any) -> Record | None:
        """Read what the store holds; None for what is no record of a version that we know."""
        if not isinstance(raw, dict) or raw.get("version") != VERSION:
            return None
        known = {field.name for field in fields(cls)}
        try:
            record = cls(**{name: value for name, value in raw.items() if name in known})
        except TypeError:
            return None
        texts = (record.vendor, record.conn_id, record.fingerprint)
        sound = all(isinstance(text, str) for text in texts) and isinstance(record.since, (int, float))
        return record if sound else None


class _Store(Protocol):
    def get(self, key: str) -> Any: ...
    def set(self, key: str, value: Any, *, retention: timedelta | None) -> None: ...


class TaskMemory:
    """The record of one task instance, written down where Airflow can.

    A store that does not answer costs no export and no task: the vendor is asked then, as before 3.3.

    :param context: the task's context.
    :param retries: the task's ``retries``.
    :param log: where failures of the store are told.
    """

    def __init__(self, context: Mapping[str, Any], retries: int, log: Log) -> None:
        self._log = log
        self._store: _Store | None = context.get("task_state_store")
        ti, run = context.get("ti"), context.get("dag_run")
        # As Airflow counts: clearing a task raises max_tries by what it has used up.
        self.generation: int = 0 if ti is None else max(0, (ti.max_tries or 0) - retries)
        """Tries before the task was last cleared."""
        self.try_number: int = 1 if ti is None else ti.try_number
        """Number of this try, over all clears."""
        self.retried: bool = self.try_number > self.generation + 1
        """Whether a try before this one has ended badly, since the task was last cleared."""
        started = getattr(run, "start_date", None)
        self.run_started: float = 0.0 if started is None else started.timestamp()
        """Start of the DAG run, epoch seconds; 0 where nobody knows."""
        self.record: Record | None = None
        """What is known of the export."""

    def begin(self, vendor: str, conn_id: str, payload: Payload, now: float, *, recreated: int = 0) -> Record:
        """Return a new record for a payload, which nobody has seen yet."""
        from airflow_provider_exports.core.model import fingerprint

        return Record(vendor, conn_id, fingerprint(payload), self.generation, now, recreated=recreated)

    def recall(self) -> Record | None:
        """Return what an earlier try, or an earlier part of this one, has written down."""
        if self._store is not None:
            try:
                self.record = Record.read(self._store.get(KEY))
            except Exception as error:  # noqa: BLE001 - each backend raises its own
                self._give_up(error)
        return self.record

    def write(self, record: Record) -> None:
        """Write down what is known now."""
        self.record = record
        if self._store is None:
            return
        try:
            self._store.set(KEY, {"version": VERSION, **asdict(record)}, retention=RETENTION)
        except Exception as error:  # noqa: BLE001 - each backend raises its own
            self._give_up(error)

    def note(self, **changes: Any) -> None:
        """Change the record that was written last."""
        if self.record is not None:
            self.write(replace(self.record, **changes))

    def forget(self) -> None:
        """Write down that nothing is left at the vendor."""
        self.note(export_id=None, started=True, done=False, nothing=True, wait_until=None)

    @property
    def lasting(self) -> bool:
        """Whether the next try will find what this one writes."""
        return self._store is not None

    def _give_up(self, error: Exception) -> None:
        self._store = None
        self._log.warning(
            "Airflow's task state store does not work (%s); a retry will ask the vendor for the export.",
            type(error).__name__,
        )


def wanted_no_more(ti: Any) -> bool:
    """Return whether Airflow counts a task instance as ended: somebody marked it, or its run ended.

    It does not while the instance was only cleared, moved to another triggerer, or its worker shut down:
    then the next try goes on with its export.
    """
    if callable(getattr(ti, "current_state", None)):  # Airflow 2
        return str(ti.current_state()) in ENDED
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: dict[str, dict[str, Any]] = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    found = [str(getattr(state, "value", state)) for run in states.values() for state in run.values()]
    return bool(found) and all(state in ENDED for state in found)

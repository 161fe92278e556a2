"""The exports that this deployment has made, from Airflow's own records; no vendor is asked.

Three things tell of an export: the XCom ``export_id``, which a task that waits has pushed, the *export
result* or id that a task has returned, and from Airflow 3.3 on the record in the task's state store.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import Select, and_, literal, select, tuple_, union
from sqlalchemy.orm import Session, aliased

from airflow_provider_exports.core.model import ExportState
from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.durable import KEY, XCOM_KEY, Record
from airflow_provider_exports.shown import ExportLink, FilesLink

try:
    from airflow.models.task_state_store import TaskStateStoreModel
except ImportError:  # before Airflow 3.3
    TaskStateStoreModel = None  # type: ignore[assignment,misc]

__all__ = ["MOST", "STATES", "ExportRow", "TaskOfExport", "plain", "read_exports", "read_links"]

MOST = 20_000
"""How many task instances are read at most, those of the newest runs."""
STATES = {
    "landed": "Landed",
    "ready": "Ready",
    "expired": "Expired",
    "waiting": "Waiting",
    "creating": "Creating",
    "created": "Created",
    "cancelled": "Cancelled",
    "skipped": "Task skipped",
    "failed": "Task failed",
    "unknown": "Unknown",
}
"""Where an export stands, as far as the records tell: name and label, the one that tells most first."""
EXPORT_LINK = ExportLink().xcom_key
FILES_LINK = FilesLink().xcom_key
_RANK = {state: rank for rank, state in enumerate(STATES)}
_FILES_SHOWN = 10
_CREATES = "CreateExportOperator"
_ACTIVE = frozenset(
    {"deferred", "queued", "restarting", "running", "scheduled", "up_for_reschedule", "up_for_retry"}
)
_FAILED = frozenset({"failed", "upstream_failed"})


@dataclass(frozen=True)
class TaskOfExport:
    """A task instance that has made an export, or has landed its files."""

    task_id: str
    """Id of the task."""
    map_index: int
    """Index of a mapped task instance, else -1."""
    state: str | None
    """Airflow's state of it."""


@dataclass(frozen=True)
class ExportRow:
    """An export in a DAG run. What no record tells is None."""

    dag_id: str
    """The DAG."""
    run_id: str
    """Its run."""
    task: TaskOfExport
    """The task that made it; where no record of that is left, the one that landed it."""
    landed_by: TaskOfExport
    """The task that has its files; the same one if nothing else has landed them."""
    vendor: str | None
    """Vendor name."""
    export_id: str | None
    """The vendor's id."""
    state: str
    """One of :data:`STATES`."""
    created: datetime | None
    """When the vendor created it, or where it does not tell when Airflow first knew of it."""
    expires: datetime | None
    """Until when the vendor keeps it."""
    files: int | None
    """How many files."""
    size: int | None
    """Their bytes; None also if the size of one is not known."""
    uris: tuple[str, ...]
    """Where the first ones have landed."""
    made: bool
    """Whether ``task`` has made it."""


def plain(text: str) -> str:
    """Return a text of others with escapes for what is not seen, or changes how the rest is seen."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else rf"\u{ord(one):04x}" for one in text)


def read_exports(
    session: Session, dag_ids: Collection[str], *, since: datetime | None, now: datetime
) -> tuple[list[ExportRow], bool]:
    """Return the exports in runs of these DAGs, and whether there are more than are read.

    :param since: start of the period, None for all runs; a run counts by its ``run_after``.
    """
    rows: list[ExportRow] = []
    read = 0
    # Piecewise: a result may name thousands of files.
    with session.execute(_statement(dag_ids, since), execution_options={"yield_per": 500}) as found:
        for records in found:
            read += 1
            if read > MOST:
                break
            row = _row(records, now)
            if row is not None:
                rows.append(row)
    return list(_merged(rows)), read > MOST


def read_links(session: Session, rows: Iterable[ExportRow]) -> dict[tuple[ExportRow, str], str]:
    """Return the web addresses that the tasks of these exports have stored, by export and key."""
    tasks = {
        (row.dag_id, row.run_id, task.task_id, task.map_index): row
        for row in rows
        for task in (row.task, row.landed_by)
    }
    if not tasks:
        return {}
    xcom = XComModel
    statement = select(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index, xcom.key, xcom.value).where(
        tuple_(xcom.dag_id, xcom.run_id, xcom.task_id, xcom.map_index).in_(list(tasks)),
        xcom.key.in_([EXPORT_LINK, FILES_LINK]),
    )
    return {
        (tasks[dag_id, run_id, task_id, map_index], key): address
        for dag_id, run_id, task_id, map_index, key, value in session.execute(statement)
        if isinstance(address := _json(value), str) and address.startswith(("https://", "http://"))
    }


def _statement(dag_ids: Collection[str], since: datetime | None) -> Select[Any]:
    run, ti = DagRun, TaskInstance
    marked, returned = aliased(XComModel), aliased(XComModel)
    # Whoever names an operator of his own otherwise is found by the two other marks.
    by_name = (
        select(run.id.label("dag_run_id"), ti.task_id, ti.map_index)
        .join(ti, and_(ti.dag_id == run.dag_id, ti.run_id == run.run_id))
        .where(ti.dag_id.in_(dag_ids), ti.operator.contains("ExportOperator", autoescape=True))
    )
    if since is not None:
        by_name = by_name.where(run.run_after >= since)
    marks = [
        by_name,
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index).where(
            XComModel.key == XCOM_KEY, XComModel.dag_id.in_(dag_ids)
        ),
    ]
    stored: Any = literal(None)
    if TaskStateStoreModel is not None:
        store = TaskStateStoreModel
        stored = store.value
        marks.append(
            select(store.dag_run_id, store.task_id, store.map_index).where(
                store.key == KEY, store.dag_id.in_(dag_ids)
            )
        )
    keys = union(*marks).subquery()

    def of_task(table: Any, key: str) -> Any:
        return and_(
            table.dag_run_id == keys.c.dag_run_id,
            table.task_id == keys.c.task_id,
            table.map_index == keys.c.map_index,
            table.key == key,
        )

    statement = (
        select(
            ti.dag_id,
            ti.run_id,
            ti.task_id,
            ti.map_index,
            ti.state,
            ti.operator,
            marked.value.label("marked"),
            marked.timestamp.label("marked_at"),
            returned.value.label("returned"),
            returned.timestamp.label("returned_at"),
            stored.label("stored"),
        )
        .select_from(keys)
        .join(run, run.id == keys.c.dag_run_id)
        .join(
            ti,
            and_(
                ti.dag_id == run.dag_id,
                ti.run_id == run.run_id,
                ti.task_id == keys.c.task_id,
                ti.map_index == keys.c.map_index,
            ),
        )
        .outerjoin(marked, of_task(marked, XCOM_KEY))
        .outerjoin(returned, of_task(returned, XCOM_RETURN_KEY))
    )
    if TaskStateStoreModel is not None:
        statement = statement.outerjoin(TaskStateStoreModel, of_task(TaskStateStoreModel, KEY))
    if since is not None:
        statement = statement.where(run.run_after >= since)
    return statement.order_by(run.run_after.desc(), run.id.desc()).limit(MOST + 1)


def _row(found: Any, now: datetime) -> ExportRow | None:
    """Return what the records of one task instance tell; None if that is no export of ours."""
    operator = str(found.operator or "")
    returned = _json(found.returned)
    result = returned if _is_result(returned) else {}
    # With both there is nothing that the record could add.
    told = bool(result) and found.marked is not None
    record = None if told or found.stored is None else Record.read(_json(found.stored))
    if record is None and not result and not operator.endswith("ExportOperator"):
        return None
    creates = operator.endswith(_CREATES)
    export_id = _first_text(
        result.get("export_id"),
        None if record is None or record.nothing else record.export_id,
        _json(found.marked),
        returned if creates else None,
    )
    asked = record is not None and not record.nothing
    if export_id is None and not asked:
        return None

    state = str(found.state) if found.state else None
    task = TaskOfExport(found.task_id, found.map_index, state)
    expires = _moment(result.get("expires_at"))
    files = [file for file in result.get("files", ()) if isinstance(file, dict)] if result else None
    sizes = [_size(file.get("size")) for file in files or ()]
    uris = [file["uri"] for file in files or () if isinstance(file.get("uri"), str)]
    since = _epoch(record.since) if record is not None and asked else None
    return ExportRow(
        dag_id=found.dag_id,
        run_id=found.run_id,
        task=task,
        landed_by=task,
        vendor=_first_text(result.get("vendor"), record.vendor if record else None, _vendor(operator)),
        export_id=export_id,
        state=_state(result, bool(uris), export_id, state, expires, now),
        created=_moment(result.get("created_at")) or since or found.marked_at or found.returned_at,
        expires=expires,
        files=None if files is None else len(files),
        size=None if files is None or None in sizes else sum(size for size in sizes if size is not None),
        uris=tuple(plain(uri) for uri in uris[:_FILES_SHOWN]),
        made=asked or found.marked is not None or creates,
    )


def _state(
    result: dict[str, Any],
    landed: bool,
    export_id: str | None,
    task_state: str | None,
    expires: datetime | None,
    now: datetime,
) -> str:
    if landed:
        return "landed"
    if result:
        told = str(result["state"])
        if told == ExportState.READY and expires is not None and expires <= now:
            return "expired"
        return told if told in ("ready", "expired", "cancelled") else "unknown"
    if task_state in _FAILED:
        return "failed"
    if task_state == "skipped":
        return "skipped"
    if task_state in _ACTIVE:
        return "creating" if export_id is None else "waiting"
    return "created" if task_state == "success" and export_id is not None else "unknown"


def _merged(rows: Iterable[ExportRow]) -> Iterator[ExportRow]:
    """Make one row of what several tasks of a run have done with one export: create it, land it."""
    by_export: dict[tuple[str, str, str], list[ExportRow]] = {}
    for row in rows:
        if row.export_id is None:
            yield row
            continue
        same = by_export.setdefault((row.dag_id, row.run_id, row.export_id), [])
        for place, other in enumerate(same):
            if None in (row.vendor, other.vendor) or row.vendor == other.vendor:
                same[place] = _merge(other, row)
                break
        else:
            same.append(row)
    for same in by_export.values():
        yield from same


def _merge(one: ExportRow, other: ExportRow) -> ExportRow:
    tells_most = min(one, other, key=lambda row: _RANK[row.state])
    maker = one if one.made or not other.made else other
    return replace(
        tells_most,
        task=maker.task,
        vendor=one.vendor or other.vendor,
        created=tells_most.created if tells_most.files is not None else maker.created,
        made=maker.made,
    )


def _is_result(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("vendor"), str)
        and isinstance(value.get("export_id"), str)
        and isinstance(value.get("state"), str)
        and isinstance(value.get("files"), list)
    )


def _json(value: Any) -> Any:
    """Return a stored value: JSON, or JSON as text, which one way to write XComs makes of it."""
    # An id may look like a number, and stays what it is.
    if isinstance(value, str) and value.startswith(("{", '"')):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _first_text(*values: Any) -> str | None:
    return next((plain(value) for value in values if isinstance(value, str) and value), None)


def _vendor(operator: str) -> str | None:
    """Return the vendor in the name of a typed operator."""
    return next((vendor for vendor in BUILT_IN if operator.lower().startswith(vendor)), None)


def _moment(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _epoch(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _size(value: Any) -> int | None:
    sound = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return value if sound else None

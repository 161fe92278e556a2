"""What an Airflow did, read from its metadata database while it runs; SQLite only."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FINISHED = ("success", "failed")


@dataclass
class File:
    """One landed file, as the task returned it and as it is on the disk."""

    uri: str
    name: str
    size: int
    sha256: str
    verified: bool


@dataclass
class Task:
    """One task instance at its end."""

    task_id: str
    map_index: int
    name: str
    """What the interface shows in place of the map index."""
    state: str
    operator: str
    tries: int
    deferred_seconds: float
    """Time between the first and the last look that saw it deferred."""
    triggers: list[str]
    """Ids of the triggers that it waited for."""
    export_id: str | None = None
    files: list[File] = field(default_factory=list)

    @property
    def is_export(self) -> bool:
        """Whether it should have landed files."""
        return self.operator.endswith("RunExportOperator")


@dataclass
class Run:
    """One DAG run at its end."""

    dag_id: str
    run_id: str
    run_type: str
    state: str
    tasks: list[Task]


@dataclass
class Trigger:
    """A row of the trigger table, which exists only as long as a task waits for it."""

    id: str
    """Number and time of creation: SQLite gives numbers of deleted rows anew."""
    classpath: str
    kwargs: str
    """As stored: JSON, which some versions of Airflow encrypt."""
    triggerer_id: int | None = None
    """Job of the triggerer process that ran it."""


_Key = tuple[str, str, str, int]


class Observation:
    """Looks at the database again and again, since some things are there only for a while.

    :param database: the SQLite file.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._states: dict[_Key, str] = {}
        self._deferred: dict[_Key, dict[str, list[float]]] = {}
        self.triggers: dict[str, Trigger] = {}

    def look(self) -> list[str]:
        """Look once; returns a line for each task whose state has changed."""
        now = time.monotonic()
        with self._open() as database:
            rows = database.execute(
                "SELECT dag_id, run_id, task_id, map_index, rendered_map_index, state, trigger_id"
                " FROM task_instance ORDER BY 1, 2, 3, 4"
            ).fetchall()
            waits = database.execute(
                "SELECT id, created_date, classpath, kwargs, triggerer_id FROM trigger"
            ).fetchall()
        names = {row["id"]: f"{row['id']} {row['created_date']}" for row in waits}
        for row in waits:
            name = names[row["id"]]
            seen = self.triggers.setdefault(name, Trigger(name, row["classpath"], str(row["kwargs"])))
            seen.triggerer_id = row["triggerer_id"] or seen.triggerer_id
        changes = []
        for row in rows:
            key = (row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
            state = row["state"] or "no state"
            if state == "deferred" and row["trigger_id"] in names:
                wait = self._deferred.setdefault(key, {}).setdefault(names[row["trigger_id"]], [now, now])
                wait[1] = now
            if self._states.get(key) != state:
                self._states[key] = state
                if state not in ("no state", "scheduled", "queued"):
                    name = _name(row["task_id"], row["map_index"], row["rendered_map_index"])
                    changes.append(f"{row['dag_id']}: {name} {state}")
        return changes

    def dags(self) -> set[str]:
        """Return the ids of the DAGs that can be run."""
        with self._open() as database:
            return {row[0] for row in database.execute("SELECT dag_id FROM serialized_dag")}

    def finished(self, dag_ids: set[str]) -> bool:
        """Return whether each of the DAGs has a run and every run has ended."""
        with self._open() as database:
            states = database.execute("SELECT dag_id, state FROM dag_run").fetchall()
        return {row["dag_id"] for row in states} >= dag_ids and all(
            row["state"] in FINISHED for row in states
        )

    def runs(self) -> list[Run]:
        """Return all DAG runs with their tasks and files; each file is hashed again."""
        with self._open() as database:
            runs = database.execute(
                "SELECT dag_id, run_id, run_type, state FROM dag_run ORDER BY dag_id, run_id"
            )
            return [
                Run(row["dag_id"], row["run_id"], row["run_type"], row["state"], self._tasks(database, row))
                for row in runs.fetchall()
            ]

    def _tasks(self, database: sqlite3.Connection, run: sqlite3.Row) -> list[Task]:
        tasks = []
        for row in database.execute(
            "SELECT * FROM task_instance WHERE dag_id = ? AND run_id = ? ORDER BY start_date",
            (run["dag_id"], run["run_id"]),
        ).fetchall():
            key = (row["dag_id"], row["run_id"], row["task_id"], row["map_index"])
            waits = self._deferred.get(key, {})
            task = Task(
                task_id=row["task_id"],
                map_index=row["map_index"],
                name=_name(row["task_id"], row["map_index"], row["rendered_map_index"]),
                state=row["state"] or "no state",
                operator=row["operator"] or "",
                tries=row["try_number"],
                deferred_seconds=round(sum(last - first for first, last in waits.values()), 1),
                triggers=list(waits),
            )
            result = _returned(database, key)
            if task.is_export and isinstance(result, dict):
                task.export_id = result["export_id"]
                task.files = [_verified(file) for file in result["files"]]
            tasks.append(task)
        return tasks

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True, timeout=10)
        database.row_factory = sqlite3.Row
        with contextlib.closing(database):
            yield database


def as_json(value: Run | Trigger) -> dict[str, Any]:
    """Return a dataclass of this module as JSON."""
    return asdict(value)


def _name(task_id: str, map_index: int, rendered: str | None) -> str:
    return task_id if map_index < 0 else f"{task_id} [{map_index}: {rendered or '?'}]"


def _returned(database: sqlite3.Connection, key: _Key) -> Any:
    row = database.execute(
        "SELECT value FROM xcom WHERE key = 'return_value'"
        " AND dag_id = ? AND run_id = ? AND task_id = ? AND map_index = ?",
        key,
    ).fetchone()
    value = None if row is None else row["value"]
    # Airflow 2 stores JSON text as bytes, Airflow 3 in a column of JSON.
    while isinstance(value, str | bytes):
        value = json.loads(value)
    return value


def _verified(file: dict[str, Any]) -> File:
    path = Path(file["uri"].removeprefix("file://"))
    verified = False
    if path.is_file():
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        verified = (path.stat().st_size, digest) == (file["size"], file["sha256"])
    return File(file["uri"], file["name"], file["size"], file["sha256"], verified)

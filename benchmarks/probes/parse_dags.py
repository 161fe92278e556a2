"""Parse a DAG file with 100 tasks of one kind, in a fresh interpreter and again with everything imported."""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

TASKS = {
    "exports, Mews": (
        "from airflow_provider_exports.operators.mews import MewsRunExportOperator",
        "MewsRunExportOperator(task_id=f't{i}', entity_type='Bill', destination='/data', deferrable=True)",
    ),
    "HTTP": (
        "from airflow.providers.http.operators.http import HttpOperator",
        "HttpOperator(task_id=f't{i}', endpoint='x', deferrable=True)",
    ),
    "Airbyte": (
        "from airflow.providers.airbyte.operators.airbyte import AirbyteTriggerSyncOperator",
        "AirbyteTriggerSyncOperator(task_id=f't{i}', connection_id='x', deferrable=True)",
    ),
    "empty operator": (
        "from airflow.providers.standard.operators.empty import EmptyOperator",
        "EmptyOperator(task_id=f't{i}')",
    ),
}
DAG_FILE = """\
from airflow.sdk import DAG
{imports}

with DAG("bench", schedule=None):
    for i in range(100):
        {task}
"""
sockets = 0


def audit(event: str, _: object) -> None:
    """Count what opens or uses a socket."""
    global sockets
    sockets += event in ("socket.__new__", "socket.connect", "socket.getaddrinfo")


def parse(file: Path) -> float:
    """Return the seconds that one parse takes."""
    started = time.perf_counter()
    bag = DagBag(dag_folder=file)
    elapsed = time.perf_counter() - started
    if bag.import_errors or len(bag.dags["bench"].tasks) != 100:
        raise RuntimeError(f"the DAG file does not parse: {bag.import_errors}")
    return elapsed


def main() -> None:
    """Parse twice and report."""
    logging.disable(logging.CRITICAL)
    imports, task = TASKS[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.py"
        file.write_text(DAG_FILE.format(imports=imports, task=task), encoding="utf-8")
        sys.addaudithook(audit)
        cold, warm = parse(file), min(parse(file) for _ in range(3))
    print()
    print(json.dumps({"cold": cold, "warm": warm, "sockets": sockets}))


if __name__ == "__main__":
    main()

"""DAGs run to their end with ``airflow dags test``: the real task runner, its database, no scheduler."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.simulator import Simulator


class Trial:
    """An Airflow home with a database and DAGs.

    :param home: an empty folder.
    """

    def __init__(self, home: Path, simulator: Simulator, **extra: Any) -> None:
        self.home, self.simulator = home, simulator
        (home / "dags").mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "OPENLINEAGE"))}
        self.environment = {
            **kept,
            "NO_PROXY": "*",
            "PYTHONWARNINGS": "ignore",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW_VAR_EXPORTS_DESTINATION": (home / "landed").as_uri(),
        }
        for vendor in BUILT_IN:
            fields = simulator.connection(vendor)
            fields["extra"] = {**fields["extra"], "max_requests": 0, "poll_initial": 1, **extra}
            self.environment[f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT"] = json.dumps(fields)
        self.airflow("db", "migrate")

    def write(self, name: str, text: str) -> None:
        """Add a DAG file."""
        (self.home / "dags" / f"{name}.py").write_text(text, "utf-8")

    def airflow(self, *command: str, succeeds: bool = True, **environment: str) -> str:
        """Run an ``airflow`` command to its end and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *command],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is succeeds, said
        return said

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            return database.execute(query).fetchall()

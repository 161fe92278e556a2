"""Collect measurements, compare them with targets, print and store them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PACKAGES = (
    "apache-airflow",
    "apache-airflow-task-sdk",
    "apache-airflow-providers-http",
    "apache-airflow-providers-airbyte",
    "apache-airflow-providers-amazon",
    "aiohttp",
    "boto3",
    "s3fs",
    "airflow-provider-exports",
)


@dataclass(frozen=True)
class Row:
    """One measure of one subject, over all runs."""

    subject: str
    """What was measured."""
    measure: str
    """Which property of it."""
    unit: str
    """Unit of the values, empty for a count."""
    values: list[float]
    """One per run."""
    target: float | None = None
    """Highest median that is good enough; None where there is no target."""

    @property
    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        """Whether the median is above the target: one slow run on a busy machine says little."""
        return self.target is not None and self.median > self.target

    @property
    def shown_median(self) -> str:
        """The median with its unit."""
        return f"{_number(self.median)} {self.unit}".strip()

    @property
    def shown_spread(self) -> str:
        """Lowest and highest value."""
        return f"{_number(min(self.values))}–{_number(max(self.values))}"  # noqa: RUF001 - a range

    @property
    def shown_target(self) -> str:
        """The target with its unit; empty without one."""
        return "" if self.target is None else f"≤ {_number(self.target)} {self.unit}".strip()


@dataclass
class Report:
    """The rows of one benchmark."""

    name: str
    """Name of the benchmark."""
    rows: list[Row] = field(default_factory=list)
    """Its measurements, in the order in which they are shown."""
    notes: list[str] = field(default_factory=list)
    """What else the figures depend on, and what could not be measured."""

    def add(
        self, subject: str, measure: str, values: list[float], unit: str = "", target: float | None = None
    ) -> Row:
        """Add a row and return it."""
        row = Row(subject, measure, unit, [round(value, 4) for value in values], target)
        self.rows.append(row)
        return row

    @property
    def missed(self) -> list[Row]:
        """Rows whose median misses the target."""
        return [row for row in self.rows if row.missed]

    def text(self) -> str:
        """Return the table for a terminal."""
        cells = [("subject", "measure", "median", "min–max", "runs", "target", "")]  # noqa: RUF001 - a range
        cells += [
            (
                row.subject,
                row.measure,
                row.shown_median,
                row.shown_spread,
                str(len(row.values)),
                row.shown_target,
                "MISSES TARGET" if row.missed else "",
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        facts = ", ".join(f"{name} {value}" for name, value in machine().items())
        return "\n".join((f"== {self.name}", facts, *self.notes, *lines, ""))

    def write(self, folder: Path) -> None:
        """Store machine facts and all values as JSON."""
        folder.mkdir(exist_ok=True)
        content = {
            "benchmark": self.name,
            "machine": machine(),
            "notes": self.notes,
            "rows": [
                {
                    "subject": row.subject,
                    "measure": row.measure,
                    "unit": row.unit,
                    "median": row.median,
                    "values": row.values,
                    "target": row.target,
                    "missed": row.missed,
                }
                for row in self.rows
            ],
        }
        text = json.dumps(content, indent=2, ensure_ascii=False)
        (folder / f"{self.name}.json").write_text(f"{text}\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Return what the figures depend on; no host name and no path."""
    facts: dict[str, Any] = {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
    }
    installed = {one.name for one in importlib.metadata.distributions()}
    return facts | {name: importlib.metadata.version(name) for name in PACKAGES if name in installed}


def _number(value: float) -> str:
    if value == int(value):
        return f"{int(value)}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"

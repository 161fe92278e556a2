"""Writes the tables of ``explanation/exactly-once.md`` from a run of the crash matrix.

``python docs/_ext/crashes.py`` after the matrix has changed; a test fails where the page says something else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_exports.core.registry import BUILT_IN, vendor_class

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "exactly-once.md"
MATRIX = ROOT / "tests" / "airflow" / "test_crash_matrix.py"
BEGIN, END = "<!-- begin: docs/_ext/crashes.py -->\n", "<!-- end -->\n"

Row = tuple[str, str, bool, bool, int]
"""Vendor, where something dies, whether Airflow keeps the record, whether deferred, exports made."""


def render(rows: Iterable[Row], points: Mapping[str, str]) -> str:
    """Return the tables as Markdown.

    :param points: name and description of each place where something dies, in the order of the rows.
    """
    counts = {row[:4]: row[4] for row in rows}
    parts = []
    for lasting, title in ((True, "Airflow 3.3 and newer"), (False, "Airflow before 3.3")):
        head = [title, *(vendor_class(vendor).display_name for vendor in BUILT_IN)]
        lines = [head, ["---"] * len(head)]
        for point, description in points.items():
            cells = [_cell(counts, vendor, point, lasting) for vendor in BUILT_IN]
            lines.append([description, *cells])
        parts.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    return "\n".join(parts)


def _cell(counts: Mapping[Any, int], vendor: str, point: str, lasting: bool) -> str:
    modes = {"on a worker": False, "deferred": True}
    found = {
        mode: counts[vendor, point, lasting, deferred]
        for mode, deferred in modes.items()
        if (vendor, point, lasting, deferred) in counts
    }
    if len(set(found.values())) == 1:
        return str(next(iter(found.values())))
    return ", ".join(f"{count} {mode}" for mode, count in found.items())


def written(page: str, tables: str) -> str:
    """Return the page with these tables in it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no place for the tables")
    return f"{before}{begin}{tables}{end}{after}"


class _Collected:
    """Takes the counts from the reports of the tests."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.points: Mapping[str, str] = {}

    def pytest_collection_modifyitems(self, items: Sequence[Any]) -> None:
        self.points = items[0].module.POINTS

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call":
            self.rows += [value for name, value in report.user_properties if name == "cell"]


def main() -> int:
    """Run the matrix and write the page; returns the exit status."""
    import pytest

    collected = _Collected()
    status = pytest.main(["-q", str(MATRIX), "-k", "test_one_export"], plugins=[collected])
    if status == 0:
        PAGE.write_text(written(PAGE.read_text("utf-8"), render(collected.rows, collected.points)), "utf-8")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())

"""Put the figures of the last ``landing`` benchmark into the documentation: ``python -m benchmarks.tables``.

Only this program writes what stands between the two markers of the page; what was not measured has no row.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from typing import Any

from benchmarks.process import ROOT
from benchmarks.report import Row

PAGE = ROOT / "docs" / "explanation" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results" / "landing.json"
BEGIN = "<!-- landing figures: python -m benchmarks.tables -->"
END = "<!-- end of landing figures -->"


def tables(content: dict[str, Any]) -> str:
    """Return one Markdown table for each thing that was done, with the clients as its rows."""
    races: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
    runs: dict[str, int] = {}
    for raw in content["rows"]:
        race, _, client = raw["subject"].rpartition(": ")
        row = Row(raw["subject"], raw["measure"], raw["unit"], raw["values"], raw["target"])
        races[race][client][row.measure] = row
        runs[race] = len(row.values)
    return "\n\n".join(
        f"{race}; {runs[race]} {'run' if runs[race] == 1 else 'runs'}.\n\n{_table(clients)}"
        for race, clients in races.items()
    )


def _table(clients: dict[str, dict[str, Row]]) -> str:
    columns = {measure: row.unit for rows in clients.values() for measure, row in rows.items()}
    heads = [
        f"{measure}, {unit}" if unit else measure.replace("as a multiple of", "multiple of")
        for measure, unit in columns.items()
    ]
    lines = [["", *heads], ["---"] * (len(heads) + 1)]
    for client, rows in clients.items():
        lines.append([_shown(client), *(_cell(rows.get(measure)) for measure in columns)])
    for client, rows in clients.items():
        if any(row.target is not None for row in rows.values()):
            targets = [rows[m].shown_target if m in rows else "" for m in columns]
            lines.append([f"*target for {client}*", *(f"*{text}*" if text else "" for text in targets)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    figure = row.shown_median.removesuffix(f" {row.unit}" if row.unit else "")
    text = figure if min(row.values) == max(row.values) else f"{figure} ({row.shown_spread})"
    return f"**{text}**" if row.missed else text


def _shown(client: str) -> str:
    return client if client.startswith("exports") else f"`{client}`"


def main() -> None:
    """Write the page."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    notes = "\n".join(f"- {note}" for note in content["notes"])
    facts = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        sys.exit(f"{PAGE.name} lacks the markers {BEGIN} and {END}")
    text = f"Measured with {facts}:\n\n{notes}\n\n{tables(content)}"
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

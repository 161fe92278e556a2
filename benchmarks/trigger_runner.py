"""Many triggers on one event loop, run by Airflow's own ``TriggerRunner``, against an API that takes 1 s."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import certifi

from benchmarks.process import airflow_home, connections, probe, server
from benchmarks.report import Report


@dataclass(frozen=True, eq=False)
class Subject:
    """One kind of trigger."""

    name: str
    """Name in the table."""
    key: str
    """Its name in the probe."""
    ours: bool = False
    """Whether the targets hold for it."""
    # In the first wave nothing of the subject is imported yet; in the others everything is.
    waves: Sequence[int] = (50, 1, 10, 50)
    """Triggers in each wave."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables besides Airflow's."""
    maximum_runs: int = 100
    """Most runs."""


MEWS = Subject("exports, Mews", "mews", ours=True)
AIRBYTE = Subject("AirbyteSyncTrigger", "airbyte", waves=(1, 1, 10, 50), maximum_runs=2)
HTTP = Subject("HttpTrigger", "http")
SUBJECTS = (
    MEWS,
    # Reading certificates is the dearest thing that a connection can ask for.
    Subject(
        "exports, Mews, CA bundle", "mews", ours=True, environment={"REQUESTS_CA_BUNDLE": certifi.where()}
    ),
    Subject("exports, giosg", "giosg", ours=True),
    HTTP,
    AIRBYTE,
    # What the machine alone does to a loop that only ticks.
    Subject("no trigger", "idle", waves=(0, 0)),
)
MAXIMUM_TOTAL = 2.5
"""Seconds until the last of the triggers has fired."""
MAXIMUM_GAP = 100.0
"""Milliseconds between two ticks that are 50 ms apart on an idle loop."""


def measure(report: Report, runs: int) -> None:
    """Measure ``runs`` times, the subjects taking turns so that a busy minute hits all of them."""
    seen: dict[tuple[Subject, int, str], list[dict[str, Any]]] = defaultdict(list)
    with airflow_home() as environment, server("ready", delay=1.0, seconds=300.0 * (runs + 1)) as url:
        environment |= connections(url)
        for run in range(runs):
            for subject in SUBJECTS:
                if run < subject.maximum_runs:
                    for wave, state, result in _run(subject, environment):
                        seen[subject, wave, state].append(result)
    for (subject, wave, state), results in seen.items():
        name = f"{subject.name}, {wave} {state}"
        total = [one["total"] for one in results]
        longest_gap = [one["longest_gap"] * 1000 for one in results]
        gaps = [one["gaps_over_100_ms"] for one in results]
        lines = [one["watchdog_lines"] for one in results]
        collection = [one["longest_collection"] * 1000 for one in results]
        report.add(name, "total", total, "s", MAXIMUM_TOTAL if subject.ours else None)
        report.add(name, "longest gap", longest_gap, "ms", MAXIMUM_GAP if subject.ours else None)
        report.add(name, "gaps over 100 ms", gaps, target=0 if subject.ours else None)
        report.add(name, "watchdog lines", lines, target=0 if subject.ours else None)
        report.add(name, "longest garbage collection", collection, "ms")
        report.add(name, "CPU", [one["cpu"] for one in results], "s")
    for other in (AIRBYTE, HTTP):
        # Of runs that were made one after the other.
        pairs = zip(seen[other, 50, "warm"], seen[MEWS, 50, "warm"], strict=False)
        ratios = [theirs["total"] / ours["total"] for theirs, ours in pairs]
        report.add(f"{other.name}, 50 warm", f"total, as a multiple of {MEWS.name}", ratios)


def _run(subject: Subject, environment: Mapping[str, str]) -> list[tuple[int, str, dict[str, Any]]]:
    """Return size, state and result of each wave of one fresh process."""
    waves = subject.waves
    arguments = [str(count) for count in waves]
    results = probe(
        "run_triggers", subject.key, *arguments, environment={**environment, **subject.environment}
    )
    for count, result in zip(waves, results, strict=True):
        if result["good_events"] != count:
            raise RuntimeError(f"{subject.name}: {result['good_events']} of {count} triggers succeeded")
    states = ["cold"] + ["warm"] * (len(waves) - 1)
    return list(zip(waves, states, results, strict=True))

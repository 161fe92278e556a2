"""How many requests a waiting trigger makes in 3 s when every answer is an error."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import Any

from benchmarks.process import airflow_home, connections, probe, request_count, server
from benchmarks.report import Report

# Answer to the most requests that are good enough.
ANSWERS = {"401": 1, "403": 1, "404": 2, "429": 1, "503": 2, "malformed": 2}
SUBJECTS = {
    "mews": "exports, Mews",
    "giosg": "exports, giosg",
    "http": "HttpSensorTrigger, poke_interval=60",
}
OURS = ("mews", "giosg")
TYPED = {"401": "AuthenticationFailed", "403": "PermissionDenied"}
"""Answers that no waiting helps against, and the error that must end the wait."""


def measure(report: Report, runs: int) -> None:
    """Measure ``runs`` times, the subjects taking turns."""
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    with airflow_home() as environment:
        for _ in range(runs):
            for answer in ANSWERS:
                for subject in SUBJECTS:
                    with contextlib.ExitStack() as stack:
                        url = stack.enter_context(server(answer, seconds=60.0))
                        result = probe("poll_errors", subject, environment=environment | connections(url))
                        result["requests"] = request_count(url)
                    seen[subject, answer].append(result)
    for (subject, answer), results in seen.items():
        ours = subject in OURS
        name = f"{SUBJECTS[subject]}, {answer}"
        ended = " or ".join(sorted({one["ended"] for one in results}))
        report.add(
            name,
            f"requests in 3 s ({ended})",
            [one["requests"] for one in results],
            target=ANSWERS[answer] if ours else None,
        )
        if ours and answer in TYPED:
            others = [one["ended"] != TYPED[answer] for one in results]
            report.add(name, f"ended without {TYPED[answer]}", others, target=0)
        report.add(name, "CPU", [one["cpu"] for one in results], "s")

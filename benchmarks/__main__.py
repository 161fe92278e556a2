"""Run the benchmarks and print a table; see docs/explanation/performance.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import hot_loop, import_time, landing, trigger_runner, waiting
from benchmarks.report import Report

BENCHMARKS = {
    "import_time": import_time.measure,
    "trigger_runner": trigger_runner.measure,
    "hot_loop": hot_loop.measure,
    "landing": landing.measure,
    "waiting": waiting.measure,
}
QUICK = {"landing": landing.try_out, "waiting": waiting.try_out}
PARTS = {"landing", "waiting"}
"""Those of which a part can be run alone."""
DEFAULT_RUNS = {"import_time": 7, "trigger_runner": 5, "hot_loop": 2, "landing": 3, "waiting": 1}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Return the exit status: 1 with ``--check`` and a target that was missed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHMARKS)}; default all"
    )
    parser.add_argument("--runs", type=int, help="how often each measurement is made")
    parser.add_argument(
        "--quick", action="store_true", help="only those with a small variant, to see whether they work"
    )
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="of landing or waiting, parts with it in their name"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    known = QUICK if arguments.quick else BENCHMARKS
    if unknown := set(arguments.names) - set(known):
        parser.error(f"no quick variant: {', '.join(sorted(unknown))}")
    if arguments.runs is not None and arguments.runs < 1:
        parser.error("--runs must be at least 1")
    if arguments.only and not (len(arguments.names) == 1 and PARTS.issuperset(arguments.names)):
        parser.error(f"--only goes with one of {', '.join(sorted(PARTS))}")

    missed = []
    for name in arguments.names or known:
        # What is not all of it takes no other's place in the folder of results.
        report = Report(name + "_quick" * arguments.quick + "_part" * bool(arguments.only))
        more = {"only": arguments.only} if arguments.only else {}
        known[name](report, arguments.runs or (1 if arguments.quick else DEFAULT_RUNS[name]), **more)
        print(report.text(), flush=True)
        report.write(RESULTS)
        missed += report.missed
    if not arguments.quick:
        print(f"{len(missed)} targets missed." if missed else "All targets met.")
    for row in missed:
        print(f"  misses target: {row.subject}, {row.measure}: {row.shown_median}, target {row.shown_target}")
    return 1 if missed and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())

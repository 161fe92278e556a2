"""What importing operators adds to a DAG file that imports ``airflow.sdk``, and what parsing costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from benchmarks.process import airflow_home, probe
from benchmarks.report import Report

OURS = {
    "exports, Mews operators": "airflow_provider_exports.operators.mews",
    "exports, Mews sensor": "airflow_provider_exports.sensors.mews",
}
OTHERS = {
    "HTTP operators": "airflow.providers.http.operators.http",
    "Airbyte operators": "airflow.providers.airbyte.operators.airbyte",
}
DAG_FILES = ("exports, Mews", "HTTP", "Airbyte", "empty operator")
MAXIMUM_TIME = 30.0
"""Milliseconds above ``airflow.sdk``."""
MAXIMUM_MODULES = 25.0
"""Modules above ``airflow.sdk``."""
MAXIMUM_PARSE = 15.0
"""Milliseconds for 100 tasks with everything imported."""
CLIENTS = ("aiohttp", "requests", "urllib3", "httpx", "fsspec", "s3fs", "boto3")
"""Client libraries that a DAG file should not have to load."""


def measure(report: Report, runs: int) -> None:
    """Measure ``runs`` times, the subjects taking turns so that a busy minute hits all of them."""
    imports = defaultdict(list)
    parses = defaultdict(list)
    with airflow_home() as environment:
        # The first import writes configuration and byte code.
        for module in (OURS | OTHERS).values():
            probe("import_module", module, environment=environment)
        for _ in range(runs):
            for subject, module in (OURS | OTHERS).items():
                imports[subject].append(probe("import_module", module, environment=environment))
            for subject in DAG_FILES:
                parses[subject].append(probe("parse_dags", subject, environment=environment))
    for subject, seen in imports.items():
        ours = subject in OURS
        report.add(
            subject,
            "import, wall",
            [one["wall"] * 1000 for one in seen],
            "ms",
            MAXIMUM_TIME if ours else None,
        )
        report.add(subject, "import, CPU", [one["cpu"] * 1000 for one in seen], "ms")
        modules = [len(one["modules"]) for one in seen]
        report.add(subject, "new modules", modules, target=MAXIMUM_MODULES if ours else None)
        clients = [len(_clients(one["modules"])) for one in seen]
        report.add(subject, "client libraries loaded", clients, target=0 if ours else None)
        report.add(subject, "sockets", [one["sockets"] for one in seen], target=0 if ours else None)
    for subject, seen in parses.items():
        ours = subject.startswith("exports")
        report.add(f"{subject}, 100 tasks", "first parse", [one["cold"] * 1000 for one in seen], "ms")
        report.add(
            f"{subject}, 100 tasks",
            "warm parse",
            [one["warm"] * 1000 for one in seen],
            "ms",
            MAXIMUM_PARSE if ours else None,
        )
        sockets = [one["sockets"] for one in seen]
        report.add(f"{subject}, 100 tasks", "sockets", sockets, target=0 if ours else None)


def _clients(modules: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules} & set(CLIENTS)

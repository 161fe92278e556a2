"""What this provider can do on which version of Airflow, and how the installed Airflow is asked for it.

The tests ask the Airflow that they run on, so each version that is tested holds its column of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

__all__ = ["FEATURES", "VERSIONS", "Feature", "installed", "table"]

VERSIONS = ((2, 11), (3, 0), (3, 1), (3, 2), (3, 3))
"""The supported ones."""


@dataclass(frozen=True)
class Feature:
    """One difference between the versions of Airflow that somebody who writes DAGs notices."""

    name: str
    since: tuple[int, int]
    """First version that has it."""
    before: str
    """What holds where Airflow lacks it."""
    found: Callable[[], bool]
    """Asks the installed Airflow whether it has it."""

    def holds(self, airflow: tuple[int, int]) -> bool:
        """Return whether a version has it."""
        return airflow >= self.since


def installed() -> tuple[int, int]:
    """Return the version of the installed Airflow."""
    major, minor = version("apache-airflow").split(".")[:2]
    return int(major), int(minor)


def _has(path: str) -> Callable[[], bool]:
    module, _, name = path.partition(":")

    def found() -> bool:
        try:
            place = import_module(module)
        except ImportError:
            return False
        for part in name.split("."):
            if not hasattr(place, part):
                return False
            place = getattr(place, part)
        return True

    return found


def _runs_have_intervals_only_by_timetable() -> bool:
    from airflow.configuration import conf

    return not conf.getboolean("scheduler", "create_cron_data_intervals")


def _catchup_is_off() -> bool:
    from airflow.configuration import conf

    return not conf.getboolean("scheduler", "catchup_by_default")


def _has_backfill_command() -> bool:
    from airflow.cli import cli_parser

    return "backfill" in cli_parser.ALL_COMMANDS_DICT


FEATURES = (
    Feature(
        "all operators, the sensor, the hooks, connection forms, landing; waiting in the triggerer",
        (2, 11),
        "",
        _has("airflow_provider_exports.operators.export:RunExportOperator"),
    ),
    Feature(
        "a DAG starts when an export is ready: `ExportReadyTrigger` behind an `AssetWatcher`",
        (3, 0),
        "a DAG with a sensor, on a schedule",
        _has("airflow.sdk:AssetWatcher"),
    ),
    Feature(
        "`airflow backfill create`",
        (3, 0),
        "`airflow dags backfill`",
        _has_backfill_command,
    ),
    Feature(
        "data intervals come from an interval timetable only; a cron text makes none",
        (3, 0),
        "a cron text makes them as well",
        _runs_have_intervals_only_by_timetable,
    ),
    Feature(
        "`catchup` is off unless a DAG says otherwise",
        (3, 0),
        "it is on: write `catchup=False`",
        _catchup_is_off,
    ),
    Feature(
        "the page *Browse > Exports* in the web interface",
        (3, 1),
        "the logs of the tasks",
        _has("airflow.plugins_manager:AirflowPlugin.external_views"),
    ),
    Feature(
        "`airflow exports`",
        (3, 2),
        "`python -m airflow_provider_exports`, with the same commands",
        _has("airflow.providers_manager:ProvidersManager.cli_command_functions"),
    ),
    Feature(
        "a triggerer that serves named queues takes `ExportReadyTrigger` too",
        (3, 2),
        "there are no such queues",
        _has("airflow.triggers.base:BaseTrigger.supports_triggerer_queue"),
    ),
    Feature(
        "a retry knows the export of the try before by its id: Airflow's task state store",
        (3, 3),
        "the vendor is asked, as far as its API can tell; at Mews a retry may make another export",
        _has("airflow.sdk.execution_time.context:TaskStateStoreAccessor"),
    ),
    Feature(
        "a retry comes when the vendor has asked for it: `retry_policy`",
        (3, 3),
        "`retry_delay` decides",
        _has("airflow.sdk:RetryPolicy"),
    ),
    Feature(
        "marking a waiting task as failed or done cancels its export from the triggerer",
        (3, 3),
        "only while it is on a worker; deferred, its export goes on",
        _has("airflow.triggers.base:BaseTrigger.on_kill"),
    ),
    Feature(
        "an asset event of landed files names its partition: `partition_key`",
        (3, 3),
        "`partition_key` does nothing; the window is in the event's `extra`",
        _has("airflow.sdk.execution_time.context:OutletEventAccessor.add_partitions"),
    ),
    Feature(
        "`ExportReadyTrigger` remembers what it has told: a restart of the triggerer loses nothing",
        (3, 3),
        "what becomes ready while no triggerer runs is not told",
        _has("airflow.sdk.execution_time.context:AssetStateStoreAccessors"),
    ),
    Feature(
        "watchers that look at the same thing share their looks",
        (3, 3),
        "each looks for itself",
        _has("airflow.triggers.base:BaseEventTrigger.open_shared_stream"),
    ),
)


def table() -> str:
    """Return the features by version, as Markdown."""
    heads = [f"{major}.{minor}" for major, minor in VERSIONS]
    rows = [["", *heads, "before"], ["---"] * (len(heads) + 2)]
    for feature in FEATURES:
        cells = ["yes" if feature.holds(one) else "no" for one in VERSIONS]
        rows.append([feature.name, *cells, feature.before])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)

"""Mews, every night: what changed since the night before, one export per entity type, into object storage.

To make it yours: name your entity types in ``ENTITY_TYPES``, point the Airflow Variable
``exports_destination`` at your bucket (``s3://my_aws_connection@my-bucket/exports``), give the connection
``mews_default`` your tokens, and schedule consumers on the asset ``mews_nightly_increment``.

Started by hand it exports the last complete night, or the window typed into the form.
"""

# [START mews_nightly]
from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

# An interval timetable on purpose: with a plain cron text the data intervals of Airflow 3 have no length.
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.mews import MewsRunExportOperator

ENTITY_TYPES = ["Reservation", "OrderItem", "Payment"]
INCREMENT = Asset("mews_nightly_increment")


class Window(NamedTuple):
    """What one run exports; the end is not part of it."""

    start: datetime
    end: datetime


def window(dag_run: Any, params: Mapping[str, Any]) -> Window:
    """Return the run's data interval, or what was typed into the form in its place."""
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    if start is None:
        # On Airflow 3 a run that is started without a logical date has no data interval.
        end = pendulum.instance(dag_run.run_after).in_timezone("UTC").start_of("day")
        start = end.subtract(days=1)
    if params["start_utc"]:
        start = pendulum.parse(params["start_utc"])
    if params["end_utc"]:
        end = pendulum.parse(params["end_utc"])
    return Window(start, end)


with DAG(
    dag_id="mews_nightly_increment",
    description="What changed at Mews since the night before",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # Mews runs one export per entity type at a time; two runs at once would only wait for each other.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "start_utc": Param(
            None, type=["null", "string"], format="date-time", title="From", description="Empty: last night"
        ),
        "end_utc": Param(
            None, type=["null", "string"], format="date-time", title="Until", description="Empty: last night"
        ),
    },
    user_defined_macros={"window": window},
    tags=["exports", "mews"],
    doc_md=__doc__,
):
    exports = MewsRunExportOperator.partial(
        task_id="export",
        start_utc="{{ window(dag_run, params).start }}",
        end_utc="{{ window(dag_run, params).end }}",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/mews/{{ window(dag_run, params).start | ds }}/{{ task.entity_type }}"
        ),
        deferrable=True,
        map_index_template="{{ task.entity_type }}",
    ).expand(entity_type=ENTITY_TYPES)

    @task(outlets=[INCREMENT])
    def publish(results: Iterable[dict[str, Any]], *, outlet_events: Any = None) -> list[str]:
        """Tell the asset's consumers which files there are, once all of them are there."""
        uris = [file["uri"] for result in results for file in result["files"]]
        outlet_events[INCREMENT].extra = {"files": uris}
        return uris

    publish(exports.output)
# [END mews_nightly]

"""Medable, every day: what changed the day before, one export per object, into object storage.

To make it yours: name your objects in ``OBJECTS``, point the Airflow Variable ``exports_destination`` at
your bucket (``s3://my_aws_connection@my-bucket/exports``), give the connection ``medable_default`` your
credentials, and schedule consumers on the asset ``medable_objects_daily``.

Started by hand it exports the last whole day, or the window typed into the form. What was deleted at Medable
does not show in such an export.
"""

# [START medable_daily]
from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

# An interval timetable on purpose: with a plain cron text the data intervals of Airflow 3 have no length.
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.medable import MedableRunExportOperator

OBJECTS = ["accounts", "c_visits"]
INCREMENT = Asset("medable_objects_daily")


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
    if params["start"]:
        start = pendulum.parse(params["start"])
    if params["end"]:
        end = pendulum.parse(params["end"])
    return Window(start, end)


with DAG(
    dag_id="medable_objects_daily",
    description="What changed at Medable the day before",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # The org has one queue; two runs at once would only wait for each other.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "start": Param(
            None, type=["null", "string"], format="date-time", title="From", description="Empty: last day"
        ),
        "end": Param(
            None, type=["null", "string"], format="date-time", title="Until", description="Empty: last day"
        ),
    },
    user_defined_macros={"window": window},
    tags=["exports", "medable"],
    doc_md=__doc__,
):
    exports = MedableRunExportOperator.partial(
        task_id="export",
        job_label="{{ task.objects }} {{ window(dag_run, params).start | ds }}",
        format="application/x-ndjson",
        where={
            "updated": {
                "$gte": "{{ window(dag_run, params).start }}",
                "$lt": "{{ window(dag_run, params).end }}",
            }
        },
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/medable/{{ window(dag_run, params).start | ds }}/{{ task.objects }}"
        ),
        deferrable=True,
        map_index_template="{{ task.objects }}",
    ).expand(objects=OBJECTS)

    @task(outlets=[INCREMENT])
    def publish(results: Iterable[dict[str, Any]], *, outlet_events: Any = None) -> list[str]:
        """Tell the asset's consumers which files there are, once all of them are there."""
        uris = [file["uri"] for result in results for file in result["files"]]
        outlet_events[INCREMENT].extra = {"files": uris}
        return uris

    publish(exports.output)
# [END medable_daily]

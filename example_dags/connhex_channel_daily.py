"""Connhex, daily: the data of given channels, one export per channel and day, into object storage.

To make it yours: list your channels, choose subtopic, columns and decimation, point the Airflow Variable
``exports_destination`` at your bucket (``s3://my_aws_connection@my-bucket/exports``), and give the connection
``connhex_default`` your login.

Airflow schedules one-time exports over its data intervals: each day is exported once, and a day can be run
again. With ``catchup=True`` days that were missed are made up. A day begins at midnight UTC. Started by hand
it exports the last whole day. A channel that fails does not stop the others.
"""

# [START connhex_daily]
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator

# Name for people, channel, and the URNs to be exported with the names they get in the file.
CHANNELS = [
    {
        "export_label": "boiler room",
        "channel_id": "00000000-0000-4000-8000-000000000001",
        "targets": ["urn:cpt:smartdevice:nid:AA01:temp", "urn:cpt:smartdevice:nid:AA01:pressure"],
        "labels": ["temperature", "pressure"],
    },
    {
        "export_label": "cold store",
        "channel_id": "00000000-0000-4000-8000-000000000002",
        "targets": ["urn:cpt:smartdevice:nid:AA02:temp"],
        "labels": ["temperature"],
    },
]


class Window(NamedTuple):
    """What one run exports; the end is not part of it."""

    start: datetime
    end: datetime


def window(dag_run: Any) -> Window:
    """Return the run's data interval, or the last whole day in its place."""
    if dag_run.data_interval_start is not None:
        return Window(dag_run.data_interval_start, dag_run.data_interval_end)
    # On Airflow 3 a run that is started without a logical date has no data interval.
    end = pendulum.instance(dag_run.run_after).in_timezone("UTC").start_of("day")
    return Window(end.subtract(days=1), end)


with DAG(
    dag_id="connhex_channel_daily",
    description="One day of data of each Connhex channel",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # The queue at the vendor is short, and a backfill would fill it.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    user_defined_macros={"window": window},
    tags=["exports", "connhex"],
    doc_md=__doc__,
):
    ConnhexRunExportOperator.partial(
        task_id="export_channel",
        extension="csv",
        subtopic="events.data",
        # The end of one interval is the start of the next: no gap and no overlap.
        from_time="{{ window(dag_run).start }}",
        to_time="{{ window(dag_run).end }}",
        decimation={"ds": "15m", "dsf": "avg"},
        success_text="The daily export is ready.",
        failure_text="The daily export has failed; Airflow will try again.",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/connhex/{{ window(dag_run).start | ds }}/{{ task.channel_id }}"
        ),
        deferrable=True,
        max_active_tis_per_dagrun=2,
        map_index_template="{{ task.export_label }}",
    ).expand_kwargs(CHANNELS)
# [END connhex_daily]

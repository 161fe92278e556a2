"""giosg, daily: the chat logs of one room land as JSON Lines, and an asset says so.

To make it yours: set the Airflow Variable ``giosg_room`` to the id of your room and ``exports_destination``
to your bucket (``s3://my_aws_connection@my-bucket/exports``), and give the connection ``giosg_default`` your
token.

The DAG ``giosg_chats_loaded`` starts each time these files have landed. The two know of each other only by
the asset.
"""

# [START giosg_chats_daily]
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator


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
    dag_id="giosg_chats_daily",
    description="One day of chat logs of a giosg room",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    user_defined_macros={"window": window},
    tags=["exports", "giosg"],
    doc_md=__doc__,
):
    GiosgRunExportOperator(
        task_id="export",
        room_id="{{ var.value.get('giosg_room', '774001f1-e223-5f83-b56f-7511f214f4e0') }}",
        type="logs",
        format="csv",
        starting_at="{{ window(dag_run).start }}",
        ending_at="{{ window(dag_run).end }}",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/giosg/chats/{{ window(dag_run).start | ds }}"
        ),
        # Rows of JSON Lines are counted as they land.
        as_jsonl=True,
        deferrable=True,
        outlets=[Asset("giosg_chats")],
    )
# [END giosg_chats_daily]

"""Acme: the orders of each day, when the day is over."""

# [START dag]
from __future__ import annotations

import pendulum
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.export import RunExportOperator

with DAG(
    dag_id="acme_orders",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
):
    RunExportOperator(
        task_id="orders",
        conn_id="acme_default",
        payload={
            "report": "orders",
            "range": {"first_day": "{{ ds }}", "last_day": "{{ ds }}"},
        },
        destination="file:///tmp/acme/{{ ds }}",
        deferrable=True,
    )
# [END dag]

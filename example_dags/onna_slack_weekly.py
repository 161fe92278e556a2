"""Onna, every week: the Slack Enterprise content of the last seven days, as CSV with everything around it.

Attachments and parents come along, all metadata is in the columns, and conversations are single messages.

To make it yours: name your workspace in the Airflow Variable ``onna_workspace`` (its address in Onna), point
the Variable ``exports_destination`` at your bucket (``s3://my_aws_connection@my-bucket/exports``), and give
the connection ``onna_default`` your account and user. If you have the settings of an export that you made in
Onna's user interface, give them as ``template=``.

Each scheduled run exports the week that has just ended. Started by hand it exports the last seven whole days,
or the window typed into the form.
"""

# [START onna_weekly]
from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG, Param
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.onna import OnnaRunExportOperator


class Window(NamedTuple):
    """What one run exports; the end is not part of it."""

    start: datetime
    end: datetime


def window(dag_run: Any, params: Mapping[str, Any]) -> Window:
    """Return what was typed into the form, the run's week, or the seven whole days before the run."""
    start, end = dag_run.data_interval_start, dag_run.data_interval_end
    typed = params["modified_after"] or params["modified_before"]
    if typed or start is None or getattr(dag_run, "run_type", None) == "manual":
        # On Airflow 3 a run that is started without a logical date has none.
        moment = pendulum.instance(dag_run.logical_date or dag_run.run_after).in_timezone("UTC")
        end = (
            pendulum.parse(params["modified_before"]) if params["modified_before"] else moment.start_of("day")
        )
        start = pendulum.parse(params["modified_after"]) if params["modified_after"] else end.subtract(days=7)
    return Window(start, end)


with DAG(
    dag_id="onna_slack_weekly",
    description="The Slack content of the last seven days",
    # An interval has a length, also on Airflow 3: each run exports the week before it.
    schedule=CronDataIntervalTimetable("0 0 * * 1", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 5, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "modified_after": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="From",
            description="Empty: the run's week, or seven days before the end",
        ),
        "modified_before": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Until",
            description="Empty: the end of the run's week, or last midnight, UTC",
        ),
    },
    user_defined_macros={"window": window},
    tags=["exports", "onna"],
    doc_md=__doc__,
):
    OnnaRunExportOperator(
        task_id="export_week",
        title="Export-PastWeek-{{ window(dag_run, params).end | ds }}",
        workspace_url="{{ var.value.get('onna_workspace', 'weekly-archive') }}",
        modified_after="{{ window(dag_run, params).start }}",
        modified_before="{{ window(dag_run, params).end }}",
        include_family=True,
        single_messages=True,
        load_file_format="csv",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/onna/{{ window(dag_run, params).start | ds }}"
        ),
        deferrable=True,
    )
# [END onna_weekly]

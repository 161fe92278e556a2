"""Connhex, a report that Connhex itself repeats every morning, and each of its runs landed by Airflow.

The people who read the report get Connhex's own message about it, whether Airflow runs or not. Airflow
creates the export once, keeps it, and lands each run as soon as it is ready. Where every file must arrive,
also those of days on which Airflow was down, let Airflow schedule one-time exports instead:
``connhex_channel_daily``.

To make it yours: describe your report in ``REPORT``, point the Airflow Variable ``exports_destination`` at
your bucket (``s3://my_aws_connection@my-bucket/exports``), and give the connection ``connhex_default`` your
login. To end the report set ``WANTED`` to False: the next run deletes it at Connhex.

Whether Connhex makes a first run at once or when the next one is due is not published: in the second case the
first DAG run fails with ``RunMissed``, and may be marked as success.
"""

# [START connhex_recurring]
from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task
from airflow.timetables.interval import CronDataIntervalTimetable

from airflow_provider_exports.operators.connhex import ConnhexCreateExportOperator
from airflow_provider_exports.operators.export import DownloadExportOperator
from airflow_provider_exports.sensors.connhex import ConnhexExportSensor

WANTED = True
# In Connhex's own field names. Its runs are due when this DAG's are: at six in the morning, UTC.
REPORT: dict[str, Any] = {
    "type": "recurring",
    "periodicity": "P1D",
    "periodStart": "2026-01-01T06:00:00Z",
    "format": {"extension": "pdf", "filename": "boiler-report"},
    "items": [
        {
            "params": {
                "channelId": "00000000-0000-4000-8000-000000000001",
                "subtopic": "events.data",
                "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp", "label": "temperature"},
                # Of the day before each run: a fixed window would be exported again and again.
                "period": "P1D",
                "decimation": {"ds": "1h", "dsf": "avg"},
            }
        }
    ],
}


def due(dag_run: Any) -> datetime:
    """Return when the newest run of the report was due."""
    if dag_run.data_interval_end is not None:
        return dag_run.data_interval_end
    # On Airflow 3 a run that is started without a logical date has no data interval.
    return (
        pendulum.instance(dag_run.run_after).in_timezone("UTC").subtract(hours=6).start_of("day").add(hours=6)
    )


with DAG(
    dag_id="connhex_recurring_report",
    description="Each run of a report that Connhex repeats every morning",
    schedule=CronDataIntervalTimetable("0 6 * * *", timezone="UTC"),
    start_date=pendulum.datetime(2026, 1, 1, 6, tz="UTC"),
    # Connhex keeps the newest run only: there is nothing to catch up.
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
    user_defined_macros={"due": due},
    tags=["exports", "connhex"],
    doc_md=__doc__,
):
    if WANTED:
        keep = ConnhexCreateExportOperator(task_id="keep", payload=REPORT, reuse_existing=True)
        # The run of this DAG run, and no other one, however late its tasks are.
        run: dict[str, Any] = {
            "run_due": "{{ due(dag_run) }}",
            "next_run_due": "{{ due(dag_run) + macros.timedelta(days=1) }}",
        }
        watch = ConnhexExportSensor(task_id="watch", export_id=keep.output, deferrable=True, **run)
        land = DownloadExportOperator(
            task_id="land",
            conn_id="connhex_default",
            export_id=keep.output,
            destination=(
                "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
                "/connhex/report/{{ due(dag_run) | ds }}"
            ),
            **run,
        )
        watch >> land
    else:

        @task
        def end() -> list[str]:
            """Delete the report at Connhex, with all runs that were still to come."""
            from airflow_provider_exports.hooks.connhex import ConnhexHook

            hook = ConnhexHook()
            ended = [export.export_id for export in hook.find_exports(REPORT)]
            for export_id in ended:
                hook.delete_export(export_id)
            return ended

        end()
# [END connhex_recurring]

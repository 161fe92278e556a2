"""giosg: starts when an export becomes ready, whoever has made it, and lands its files. Airflow 3 only.

To make it yours: point the Airflow Variable ``exports_destination`` at your bucket
(``s3://my_aws_connection@my-bucket/exports``), and give the connection ``giosg_default`` your token.

A triggerer watches the exports that this token can see, without a DAG run. What was ready before is not told.
"""

# [START giosg_reports_ready]
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_exports.operators.export import DownloadExportOperator
from airflow_provider_exports.triggers.ready import ExportReadyTrigger

try:
    from airflow.sdk import AssetWatcher
except ImportError:  # Airflow 2 watches no assets: there this file has no DAG.
    AssetWatcher = None

if AssetWatcher is not None:
    trigger = ExportReadyTrigger(conn_id="giosg_default", vendor="giosg")
    reports = Asset("giosg_reports", watchers=[AssetWatcher(name="ready", trigger=trigger)])

    with DAG(
        dag_id="giosg_reports_ready",
        description="Reports of giosg, as they become ready",
        schedule=[reports],
        start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
        catchup=False,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
        tags=["exports", "giosg"],
        doc_md=__doc__,
    ):

        @task
        def which(*, triggering_asset_events: Any = None) -> list[str]:
            """Return the ids of the exports that have become ready; one run may be of several."""
            payloads = [
                event.extra["payload"] for events in triggering_asset_events.values() for event in events
            ]
            return sorted({payload["export_id"] for payload in payloads})

        DownloadExportOperator.partial(
            task_id="land",
            conn_id="giosg_default",
            destination=(
                "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}/giosg/reports"
            ),
            layout="{export_id}/{name}",
        ).expand(export_id=which())
# [END giosg_reports_ready]

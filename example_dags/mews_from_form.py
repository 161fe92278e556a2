"""Mews, from a form: press *Trigger*, fill in what to export, and find the files in object storage.

To make it yours: list in ``conn_ids`` the connections that may be chosen, give the fields other ``defaults``,
or leave those out that are always the same (``omit``) and write them into the operator. Point the Airflow
Variable ``exports_destination`` at your bucket (``s3://my_aws_connection@my-bucket/exports``). Each export
lands in a folder of its own, named after its id.

Mews makes one export of an entity type at a time: the task waits for another one that is still active.
"""

# [START mews_from_form]
from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.params import export_params, export_payload

with DAG(
    dag_id="mews_from_form",
    description="A Mews export of one entity type, from a form",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params=export_params("mews", conn_ids=["mews_default"]),
    user_defined_macros={"export_payload": export_payload},
    tags=["exports", "mews"],
    doc_md=__doc__,
):
    MewsRunExportOperator(
        task_id="export",
        mews_conn_id="{{ params.conn_id }}",
        payload="{{ export_payload('mews', params) | tojson }}",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}/mews/from-form"
        ),
        layout="{export_id}/{name}",
        deferrable=True,
    )
# [END mews_from_form]

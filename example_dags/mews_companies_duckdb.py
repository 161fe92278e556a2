"""Mews, every week: all companies, loaded into a DuckDB file from where their export has landed.

To make it yours: point the Airflow Variable ``exports_destination`` at your bucket
(``s3://my_aws_connection@my-bucket/exports``) and ``exports_database`` at a DuckDB file that the workers
share, and give the connection ``mews_default`` your tokens. The workers need the package ``duckdb``.

Mews gives JSON Lines. With another vendor's CSV ``as_jsonl=True`` lands rows that load in the same way.
"""

# [START mews_companies]
from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_exports.landing import export_files
from airflow_provider_exports.operators.mews import MewsRunExportOperator

with DAG(
    dag_id="mews_companies_duckdb",
    description="All companies at Mews as a table of DuckDB",
    schedule="@weekly",
    start_date=pendulum.datetime(2026, 1, 5, tz="UTC"),
    catchup=False,
    # One export per entity type at a time, and one writer of the database.
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["exports", "mews"],
    doc_md=__doc__,
):
    export = MewsRunExportOperator(
        task_id="export",
        entity_type="Company",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}/mews/companies"
        ),
        # Without rows there are no files: the table stays as it was.
        skip_if_empty=True,
        deferrable=True,
    )

    @task
    def load(result: dict[str, Any], database: str) -> int:
        """Put the rows in the place of those of the week before; DuckDB reads them where they lie."""
        import duckdb

        files = export_files(result)
        with duckdb.connect(database) as connection:
            connection.register_filesystem(files[0].fs)
            where = [f"{file.protocol}://{file.path}" for file in files]
            connection.execute("CREATE OR REPLACE TABLE companies AS FROM read_json(?)", [where])
            return connection.table("companies").shape[0]

    load(export.output, "{{ var.value.get('exports_database', '/tmp/airflow-exports.duckdb') }}")
# [END mews_companies]

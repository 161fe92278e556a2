"""giosg: starts each time chat logs have landed, and reads what has come.

The DAG ``giosg_chats_daily`` lands them. The event of its asset says which files there are, of which window,
and how many rows they have: nobody has to be asked.
"""

# [START giosg_chats_loaded]
from __future__ import annotations

import logging
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, Asset, task

from airflow_provider_exports.landing import export_files

log = logging.getLogger(__name__)

with DAG(
    dag_id="giosg_chats_loaded",
    description="Chat logs of a giosg room, as they land",
    schedule=[Asset("giosg_chats")],
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    tags=["exports", "giosg"],
    doc_md=__doc__,
):

    @task
    def load(*, triggering_asset_events: Any = None, triggering_dataset_events: Any = None) -> int:
        """Read the files of each event that has started this run; return the number of their rows."""
        # Airflow 2 calls an asset a dataset.
        told = triggering_asset_events or triggering_dataset_events or {}
        count = 0
        for extra in (event.extra for events in told.values() for event in events):
            rows = [row for file in export_files(extra) for row in file.read_text().splitlines()]
            log.info("export %s, %s: %d rows", extra["export_id"], extra["window"], len(rows))
            count += len(rows)
        return count

    load()
# [END giosg_chats_loaded]

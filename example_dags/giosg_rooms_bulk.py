"""giosg, on demand: the chat logs of every room, one export per room, into object storage.

To make it yours: choose ``type``, ``format`` and the filters of the export, point the Airflow Variable
``exports_destination`` at your bucket (``s3://my_aws_connection@my-bucket/exports``), and give the connection
``giosg_default`` your token.

Started by hand it exports the last seven whole days, or the window typed into the form. A room that fails
does not stop the others; the last task then fails and says which rooms are missing.
"""

# [START giosg_bulk]
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pendulum
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, Param, task

from airflow_provider_exports.operators.giosg import GiosgRunExportOperator

log = logging.getLogger(__name__)


class Window(NamedTuple):
    """What one run exports; the end is not part of it."""

    start: datetime
    end: datetime


def window(dag_run: Any, params: Mapping[str, Any]) -> Window:
    """Return what was typed into the form, or the seven whole days before the run."""
    # On Airflow 3 a run that is started without a logical date has none.
    moment = pendulum.instance(dag_run.logical_date or dag_run.run_after).in_timezone("UTC")
    end = pendulum.parse(params["ending_at"]) if params["ending_at"] else moment.start_of("day")
    start = pendulum.parse(params["starting_at"]) if params["starting_at"] else end.subtract(days=7)
    return Window(start, end)


with DAG(
    dag_id="giosg_rooms_bulk",
    description="The chat logs of every giosg room",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "starting_at": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="From",
            description="Empty: seven days before the end",
        ),
        "ending_at": Param(
            None,
            type=["null", "string"],
            format="date-time",
            title="Until",
            description="Empty: last midnight, UTC",
        ),
    },
    user_defined_macros={"window": window},
    tags=["exports", "giosg"],
    doc_md=__doc__,
):

    @task
    def list_rooms() -> list[dict[str, str]]:
        """Return the arguments of one export per room."""
        # Here, not above: parsing the file must not cost the import of an HTTP client.
        from airflow_provider_exports.hooks.giosg import GiosgHook

        return [{"room_id": room.id, "export_label": room.name} for room in GiosgHook().list_datasources()]

    rooms = list_rooms()

    exports = GiosgRunExportOperator.partial(
        task_id="export_room",
        type="logs",
        format="csv",
        starting_at="{{ window(dag_run, params).start }}",
        ending_at="{{ window(dag_run, params).end }}",
        destination=(
            "{{ var.value.get('exports_destination', 'file:///tmp/airflow-exports') }}"
            "/giosg/{{ window(dag_run, params).start | ds }}/{{ task.room_id }}"
        ),
        deferrable=True,
        map_index_template="{{ task.export_label }}",
    ).expand_kwargs(rooms)

    @task(trigger_rule="all_done", retries=0)
    def summary(rooms: Sequence[Mapping[str, str]], *, ti: Any = None) -> dict[str, list[str]]:
        """Return the files of each room, or fail and name the rooms that have none."""
        landed, failed = {}, []
        for index, room in enumerate(rooms):
            label = room["export_label"]
            result = ti.xcom_pull(task_ids="export_room", map_indexes=index)
            if result is None:
                failed.append(label)
                log.error("%s: failed, see task %d of export_room", label, index)
            else:
                landed[label] = [file["uri"] for file in result["files"]]
                log.info("%s: %s", label, ", ".join(landed[label]))
        if failed:
            raise AirflowFailException(f"{len(failed)} of {len(rooms)} rooms failed: {', '.join(failed)}")
        return landed

    exports >> summary(rooms)
# [END giosg_bulk]

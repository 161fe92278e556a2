"""Retries by what went wrong: Airflow 3.3 asks, earlier versions have no way to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.operators.export import (
    DeleteExportOperator,
    DownloadExportOperator,
    retry_policy_or,
)
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.sensors.mews import MewsExportSensor

try:
    from airflow.sdk import RetryAction, RetryDecision

    from airflow_provider_exports.retry_policy import ExportRetryPolicy
except ImportError:
    ExportRetryPolicy = None  # type: ignore[assignment, misc]

TASKS: list[Any] = [
    lambda **more: MewsRunExportOperator(task_id="t", entity_type="Bill", **more),
    lambda **more: DownloadExportOperator(task_id="t", conn_id="c", export_id="e", destination="d", **more),
    lambda **more: DeleteExportOperator(task_id="t", conn_id="c", export_id="e", **more),
    lambda **more: MewsExportSensor(task_id="t", export_id="e", **more),
]


@pytest.mark.parametrize("make", TASKS)
def test_every_task_has_it_where_airflow_knows_it(make: Any) -> None:
    """From 3.3 on without being asked for; before, the argument does not exist and none is passed."""
    assert isinstance(getattr(make(), "retry_policy", None), ExportRetryPolicy or type(None))


def test_what_the_error_says_is_done() -> None:
    """Permanent: never again. Told when to come back: then. Anything else: as the task says."""
    if ExportRetryPolicy is None:
        assert retry_policy_or(None) == {}
        return
    decide = ExportRetryPolicy.deserialize(ExportRetryPolicy().serialize()).evaluate
    limited = errors.RateLimited("slow down.", retry_after=30.0)
    assert decide(limited, 1, 3).action is RetryAction.RETRY
    assert decide(limited, 1, 3).retry_delay == timedelta(seconds=30)
    assert decide(errors.InvalidPayload("no."), 1, 3).action is RetryAction.FAIL
    spent = errors.ExportFailed("it failed.")
    assert decide(spent, 1, 3) == RetryDecision.default()
    spent.permanent = True  # type: ignore[misc]
    assert decide(spent, 1, 3).action is RetryAction.FAIL
    assert decide(ValueError("x"), 1, 3) == RetryDecision.default()


def test_default_args_and_arguments_win() -> None:
    """A team's own policy is not replaced by ours."""
    if ExportRetryPolicy is None:
        assert retry_policy_or("one") == {"retry_policy": "one"}
        return

    class Mine(ExportRetryPolicy):
        """Another one."""

    with DAG("d", schedule=None, default_args={"retry_policy": Mine()}):
        task = MewsRunExportOperator(task_id="t", entity_type="Bill")
    assert type(task.retry_policy) is Mine
    assert type(TASKS[0](retry_policy=Mine()).retry_policy) is Mine

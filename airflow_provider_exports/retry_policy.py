"""Retries that know what went wrong, from Airflow 3.3 on; importing this fails before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_provider_exports.exceptions import ExportError

if TYPE_CHECKING:
    from airflow.sdk import Context

__all__ = ["ExportRetryPolicy"]


class ExportRetryPolicy(RetryPolicy):
    """What the operators and the sensor use unless another policy is given.

    Permanent errors are not retried, and where the vendor has said when to come back, the retry comes then.
    All else is left to the task's ``retries`` and ``retry_delay``.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Return what the error says about the next try."""
        if not isinstance(exception, ExportError):
            return RetryDecision.default()
        if exception.permanent:
            return RetryDecision.fail(str(exception))
        if exception.retry_after is None:
            return RetryDecision.default()
        return RetryDecision.retry(
            delay=timedelta(seconds=exception.retry_after),
            reason=f"the vendor asks to wait {exception.retry_after:.0f} s",
        )

    def serialize(self) -> dict[str, Any]:
        """Return what rebuilds it: nothing."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> ExportRetryPolicy:  # noqa: ARG003 - Airflow's
        """Rebuild it."""
        return cls()

"""When a request that did not succeed is sent again."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_exports.core.polling import spread
from airflow_provider_exports.core.wire import NetworkError, Request
from airflow_provider_exports.exceptions import ExportError, RateLimited, VendorUnavailable


@dataclass(frozen=True)
class RetryRule:
    """The rule for one request; durations in seconds.

    ======================  =================  =====================
    what happened           idempotent         create
    ======================  =================  =====================
    nothing was sent        again              again
    429                     again              again (the vendor did not take it)
    sent, no answer         again              never: the outcome is unknown
    408, 5xx                again              never: the outcome is unknown
    anything else           no                 no
    ======================  =================  =====================
    """

    attempts: int = 5
    """How often one request is sent at most."""
    initial: float = 1.0
    """Pause before the second attempt; doubles each time."""
    maximum: float = 30.0
    """Longest pause of our own."""
    patience: float = 60.0
    """Longest ``Retry-After`` to sit through; a longer one is handed to the caller, never shortened."""

    def delay(
        self, request: Request, attempt: int, outcome: NetworkError | ExportError, chance: float
    ) -> float | None:
        """Return the pause before attempt ``attempt + 1``, or None to give up.

        :param attempt: how often the request was sent, from 1.
        :param outcome: what the last attempt ended in.
        :param chance: a random number in [0, 1).
        """
        if attempt >= self.attempts or not self.may_repeat(request, outcome):
            return None
        pause = spread(min(self.initial * 2.0 ** (attempt - 1), self.maximum), chance, 0.5)
        asked = outcome.retry_after if isinstance(outcome, ExportError) else None
        if asked is not None:
            if asked > self.patience:
                return None
            pause = max(pause, asked)
        return pause

    @staticmethod
    def may_repeat(request: Request, outcome: NetworkError | ExportError) -> bool:
        """Return whether sending ``request`` again cannot do harm."""
        if isinstance(outcome, NetworkError):
            return request.idempotent or not outcome.sent
        if isinstance(outcome, RateLimited):
            return True
        return isinstance(outcome, VendorUnavailable) and request.idempotent


ONCE = RetryRule(attempts=1)
"""For loops that have a pace of their own."""

"""Try a task as Airflow does: again, with a store that outlives its tries, cleared, killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, BaseOperator, TaskDeferred

from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import fire


class Killed(BaseException):
    """The worker is gone: nothing of the task runs any more, no handler either."""


class Store:
    """Airflow's task state store, as far as tasks see it: JSON values under keys."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.values[key]) if key in self.values else default

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        self.values[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


class TaskInstance:
    """One task of one DAG run, over all its tries.

    :param make: returns the operator, a new object for each process that Airflow would start.
    :param lasting: whether there is a store, as from Airflow 3.3 on.
    """

    def __init__(
        self, simulator: Simulator, make: Callable[[], BaseOperator], *, lasting: bool, retries: int = 5
    ) -> None:
        self.simulator, self.make, self.retries = simulator, make, retries
        self.store = Store() if lasting else None
        self.xcoms: dict[str, Any] = {}
        self.try_number, self.max_tries = 0, retries
        self.state = "running"
        self.run_started = simulator.now()
        self.deferred: TaskDeferred | None = None
        self.operator: BaseOperator | None = None

    def context(self) -> dict[str, Any]:
        ti = SimpleNamespace(
            dag_id="d",
            run_id="r",
            task_id="t",
            map_index=-1,
            try_number=self.try_number,
            max_tries=self.max_tries,
            xcom_push=lambda key, value: self.xcoms.__setitem__(key, value),
            current_state=lambda: self.state,
            xcom_pull=lambda task_ids, key, map_indexes: self.xcoms.get(key),
        )
        found = {"ti": ti, "dag_run": SimpleNamespace(start_date=self.run_started)}
        return found if self.store is None else {**found, "task_state_store": self.store}

    def start(self) -> Any:
        """Run the next try until it ends or defers; what it raises passes, a deferral is kept."""
        self.try_number += 1
        self.deferred = None
        self.xcoms.clear()
        return self._step(lambda task: task.execute(self.context()))

    def start_waiting(self) -> None:
        """Run the next try until it waits for its export, past any turn that it needs for the create."""
        self.start()
        while self.deferred is not None and self.deferred.trigger.export_id is None:
            self.resume()

    def resume(self) -> Any:
        """Let the trigger fire, and go on on a worker."""
        deferred = self.deferred
        assert deferred is not None, "the task is not deferred"
        event = fire(deferred.trigger)
        # Not before the trigger has fired: its death is not the task's, another triggerer takes it up.
        self.deferred = None
        kwargs = {"event": event, **json.loads(json.dumps(deferred.kwargs or {}))}
        return self._step(lambda task: task.resume_execution(deferred.method_name, kwargs, self.context()))

    def end_wait(self) -> Any:
        """Let Airflow end the deferral, as it does when its own deadline has passed."""
        assert self.deferred is not None, "the task is not deferred"
        self.deferred = None
        kwargs = {"error": "Trigger timeout"}
        return self._step(lambda task: task.resume_execution("__fail__", kwargs, self.context()))

    def run(self) -> Any:
        """Run one try to its end, over all its deferrals; one that is deferred goes on."""
        result = None if self.deferred is not None else self.start()
        while self.deferred is not None:
            result = self.resume()
        return result

    def until_it_ends(self, delay: float = 300.0) -> Any:
        """Try until it succeeds or no retry is left; returns the result or the last error."""
        while True:
            try:
                return self.run()
            except AirflowFailException as error:
                return error
            except Exception as error:  # noqa: BLE001 - whatever it is, Airflow would retry it
                if self.try_number > self.max_tries:
                    return error
            self.simulator.advance(delay)

    def clear(self) -> None:
        """Do what Airflow does when somebody clears a task of a run that has ended; the store stays."""
        self.max_tries = self.try_number + self.retries
        self.run_started = self.simulator.now()
        self.deferred = None

    def _step(self, call: Callable[[Any], Any]) -> Any:
        self.operator = self.make()
        self.operator.retries = self.retries
        try:
            return call(self.operator)
        except TaskDeferred as deferred:
            self.deferred = deferred
            return None


def creates(simulator: Simulator, vendor: str) -> int:
    """Return how many exports a vendor has made."""
    return len(simulator.exports(vendor))

"""Airflow's own triggerer takes the trigger away: only a task that somebody has ended is cancelled."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.jobs.job import Job
from airflow.jobs.triggerer_job_runner import TriggerRunner, TriggerRunnerSupervisor
from airflow.models.base import Base
from airflow.models.trigger import Trigger
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import TaskStatesResult
from airflow.settings import engine
from airflow.utils.session import create_session
from sqlalchemy import delete

from airflow_provider_exports.hooks.connhex import ConnhexHook
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.triggers.export import ExportTrigger
from tests.airflow.conftest import set_connection

pytestmark = pytest.mark.filterwarnings("ignore")

TASK = SimpleNamespace(
    id="00000000-0000-4000-8000-000000000009",
    dag_id="d",
    run_id="r",
    task_id="t",
    map_index=-1,
    try_number=1,
    context_carrier=None,
)


@pytest.fixture(scope="module")
def _tables() -> Iterator[None]:
    """The tables of Airflow's database."""
    from airflow.models import import_all_models

    import_all_models()
    Base.metadata.create_all(engine)
    yield
    Base.metadata.drop_all(engine)


class Triggerers:
    """Two triggerers with rows of their own, and a trigger that the first one runs.

    :param state: what Airflow says of the task, None: it does not answer.
    """

    def __init__(self, trigger: ExportTrigger, state: str | None) -> None:
        self.trigger, self.state, self.asked = trigger, state, 0
        self.runs_on = 0.0
        trigger.task_instance = TASK  # type: ignore[assignment]
        path, kwargs = trigger.serialize()
        with create_session() as session:
            session.execute(delete(Trigger))
            session.execute(delete(Job))
            now = _now()
            jobs = [Job(job_type="TriggererJob", state="running", latest_heartbeat=now) for _ in range(2)]
            session.add_all(jobs)
            session.flush()
            self.first, self.second = (job.id for job in jobs)
            row = Trigger(classpath=path, kwargs=kwargs)
            row.triggerer_id = self.first
            session.add(row)
            session.flush()
            self.id: int = row.id

    def reassign(self) -> None:
        """Let the first one miss its heartbeat, and the second one take over what it runs."""
        with create_session() as session:
            session.get(Job, self.first).latest_heartbeat = _now() - timedelta(seconds=40)
            session.get(Trigger, self.id).triggerer_id = self.second
        assert Trigger.ids_for_triggerer(self.second) == [self.id]

    def end(self) -> None:
        """Do what Airflow does with the trigger of a task that waits no more."""
        with create_session() as session:
            session.execute(delete(Trigger))

    def run_first(self) -> None:
        """Run the trigger in the first triggerer, until that one looks at its list again."""
        supervisor = object.__new__(TriggerRunnerSupervisor)
        supervisor.running_triggers, supervisor.cancelling_triggers = {self.id}, set()
        supervisor.events, supervisor.failed_triggers = deque(), deque()
        supervisor.creating_triggers = deque()
        supervisor.update_triggers(set(Trigger.ids_for_triggerer(self.first)))
        assert supervisor.cancelling_triggers == {self.id}

        async def play() -> None:
            runner = TriggerRunner()
            runner.triggers[self.id] = {"task": None, "is_watcher": False, "name": "n", "events": 0}  # type: ignore[typeddict-item]
            task = asyncio.create_task(runner.run_trigger(self.id, self.trigger))
            runner.triggers[self.id]["task"] = task
            await asyncio.sleep(0.1)
            while not task.done():
                # With each answer, a second apart, until the trigger has ended.
                runner.to_cancel.extend(supervisor.cancelling_triggers)
                await runner.cancel_triggers()
                await asyncio.wait([task], timeout=1)
            # The triggerer itself runs on.
            await asyncio.sleep(self.runs_on)
            assert task.cancelled()
            # The task was asked for: on_kill was called.
            assert self.asked == 1

        asyncio.run(play())

    def send(self, message: Any) -> TaskStatesResult:
        """Answer as Airflow's API server."""
        self.asked += 1
        if self.state is None:
            raise RuntimeError("the API server does not answer")
        assert (message.dag_id, message.run_ids, message.task_ids) == ("d", ["r"], ["t"])
        return TaskStatesResult(task_states={"r": {"t": self.state}})


def _now() -> Any:
    from airflow._shared.timezones.timezone import utcnow

    return utcnow()


@pytest.fixture
def simulator(export_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """A vendor that cancels by deleting, in real time."""
    set_connection(monkeypatch, export_simulator, "connhex")
    return export_simulator


def triggerers(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, state: str | None) -> Triggerers:
    """Return two triggerers whose trigger waits for an export."""
    simulator.configure("connhex", outcome="never")
    item = {
        "params": {
            "channelId": "00000000-0000-4000-8000-000000000001",
            "subtopic": "events.data",
            "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp"},
            "from": 1735689600,
            "to": 1735776000,
        }
    }
    payload = {"type": "oneTime", "format": {"extension": "csv"}, "items": [item]}
    export = ConnhexHook().create_export(payload)
    trigger = ExportTrigger("connhex_default", "connhex", export.export_id, known=True, cancel_on_kill=True)
    both = Triggerers(trigger, state)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", both, raising=False)
    return both


def deletes(simulator: Simulator) -> int:
    return len(simulator.requests("connhex", "delete"))


@pytest.mark.usefixtures("_tables")
def test_reassignment_cancels_nothing(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggerer that was thought dead comes back: Airflow calls on_kill, though the task waits on."""
    both = triggerers(simulator, monkeypatch, "deferred")
    both.reassign()
    both.run_first()
    assert deletes(simulator) == 0


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_task_that_was_ended_is_cancelled_once(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Somebody has marked the task: the vendor is told to stop."""
    both = triggerers(simulator, monkeypatch, state)
    both.end()
    both.run_first()
    assert deletes(simulator) == 1


@pytest.mark.usefixtures("_tables")
@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "up_for_retry", "None"])
def test_cleared_task_cancels_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Its next try takes the export up."""
    both = triggerers(simulator, monkeypatch, state)
    both.end()
    both.run_first()
    assert deletes(simulator) == 0


@pytest.mark.usefixtures("_tables")
def test_state_that_cannot_be_read_cancels_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer means no."""
    both = triggerers(simulator, monkeypatch, None)
    both.end()
    both.run_first()
    assert deletes(simulator) == 0


@pytest.mark.usefixtures("_tables")
def test_cancel_that_takes_longer_than_a_second(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow calls on_kill off a second after it has called it: the vendor is told nevertheless, once."""
    both = triggerers(simulator, monkeypatch, "failed")
    both.runs_on = 4.0
    simulator.fail_next("connhex", "flow", fault="timeout", seconds=2)
    both.end()
    both.run_first()
    assert deletes(simulator) == 1

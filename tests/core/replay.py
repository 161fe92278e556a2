"""Run a plan without network or clock: scripted answers, virtual time, everything recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from airflow_provider_exports.core.wire import (
    NetworkError,
    Note,
    Now,
    Pause,
    Plan,
    PlanRunner,
    Request,
    Response,
)

T = TypeVar("T")
Answer = Response | NetworkError | Callable[[Request], Response]


def ok(body: Any, status: int = 200, **headers: str) -> Response:
    """Return a JSON answer."""
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Response(status, {"content-type": "application/json", **named}, json.dumps(body).encode())


class Replay:
    """Feeds ``answers`` to the requests of a plan, in order.

    ``requests``, ``pauses`` and ``notes`` hold what the plan did; ``now`` is virtual epoch seconds.
    """

    def __init__(self, answers: Iterable[Answer] = (), now: float = 1_800_000_000.0) -> None:
        self.answers = list(answers)
        self.now = now
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.notes: list[str] = []

    def run(self, plan: Plan[T]) -> T:
        """Run ``plan`` to its end."""
        runner = PlanRunner(plan)
        while (step := runner.step) is not None:
            match step:
                case Request():
                    self.requests.append(step)
                    assert self.answers, f"an unexpected request: {step}"
                    answer = self.answers.pop(0)
                    if callable(answer) and not isinstance(answer, (Response, NetworkError)):
                        answer = answer(step)
                    if isinstance(answer, NetworkError):
                        runner.throw(answer)
                    else:
                        runner.send(Response(answer.status, answer.headers, answer.body, self.now))
                case Pause(seconds):
                    self.pauses.append(seconds)
                    self.now += seconds
                    runner.send(self.now)
                case Now():
                    runner.send(self.now)
                case Note(_, message, args):
                    self.notes.append(message % args)
                    runner.send(None)
        return runner.result

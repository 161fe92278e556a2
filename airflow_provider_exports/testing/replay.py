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

__all__ = ["NOW", "Answer", "Replay", "ok"]

T = TypeVar("T")

Answer = Response | NetworkError | Callable[[Request], Response]
"""What a request gets: a response, no response, or whatever a function makes of the request."""
NOW = 1_800_000_000.0
"""When a replay starts unless told otherwise: 2027-01-15T08:00:00Z, epoch seconds."""


def ok(body: Any, status: int = 200, **headers: str) -> Response:
    """Return an answer with ``body`` as JSON.

    :param headers: response headers; underscores become dashes.
    """
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Response(status, {"content-type": "application/json", **named}, json.dumps(body).encode())


class Replay:
    """Feeds ``answers`` to the requests of a plan, in order; sends and waits for nothing.

    ::

        replay = Replay([ok({"id": "e1", "status": "done"})])
        export = replay.run(Lifecycle(vendor).check("e1"))
        assert replay.requests[0].path == "/v1/exports/e1"

    :param answers: one for each request.
    :param now: epoch seconds at which the plan starts.
    """

    def __init__(self, answers: Iterable[Answer] = (), now: float = NOW) -> None:
        self.answers = list(answers)
        """Answers that no request has taken yet."""
        self.now = now
        """Virtual time, epoch seconds; a pause moves it on."""
        self.requests: list[Request] = []
        """The requests as they were sent, signed."""
        self.pauses: list[float] = []
        """The pauses, seconds."""
        self.notes: list[str] = []
        """What a transport would have logged."""

    def run(self, plan: Plan[T]) -> T:
        """Run ``plan`` to its end and return its result; its errors pass through.

        :raises AssertionError: it sends a request for which no answer is left.
        """
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

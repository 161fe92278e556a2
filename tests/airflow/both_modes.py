"""Run an operator as Airflow does: on a worker, or deferred with all values crossing the database as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator, TaskDeferred

from airflow_provider_exports.exceptions import ExportError


def run(make: Callable[[], BaseOperator], *, events: list[dict[str, Any]] | None = None) -> Any:
    """Execute the operator that ``make`` returns and return its result.

    After each deferral the trigger is rebuilt from its serialised form and the operator is a new object, as
    in the triggerer and on the next worker. ``events`` collects what the triggers said.
    """
    step: Callable[[], Any] = lambda: make().execute({})  # noqa: E731
    while True:
        try:
            return step()
        except TaskDeferred as deferred:
            event = fire(deferred.trigger)
            if events is not None:
                events.append(event)
            kwargs = json.loads(json.dumps(deferred.kwargs or {}))
            method = deferred.method_name

            def step(method: str = method, event: Any = event, kwargs: Any = kwargs) -> Any:
                return getattr(make(), method)({}, event=event, **kwargs)


def fire(trigger: Any) -> dict[str, Any]:
    """Rebuild a trigger from its serialised form, run it, and return its one event."""
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    rebuilt = getattr(import_module(module), name)(**json.loads(json.dumps(kwargs)))

    async def first() -> list[Any]:
        return [event async for event in rebuilt.run()]

    events = asyncio.run(first())
    assert len(events) == 1
    payload: dict[str, Any] = json.loads(json.dumps(events[0].payload))
    return payload


def landed(folder: Path) -> list[str]:
    """Return the names of what has landed in a folder, without the manifests that say so.

    Nor what waits in hidden folders for another try.
    """
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    manifests = [name for name in names if name.startswith("_export")]
    assert bool(manifests) == bool(names)
    return [name for name in names if name not in manifests]


def error_of(make: Callable[[], BaseOperator]) -> ExportError:
    """Run the operator and return the export error it ends in, also when Airflow's own error wraps it."""
    with pytest.raises(Exception, match="") as caught:
        run(make)
    error = caught.value
    cause = error if isinstance(error, ExportError) else error.__cause__
    assert isinstance(cause, ExportError), f"{error!r} is no export error"
    wrapped = type(error).__name__ == "AirflowFailException"
    assert cause.permanent == wrapped, f"{cause!r} reached Airflow as {type(error).__name__}"
    return cause

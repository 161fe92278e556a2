"""Connections to the simulator, and its virtual time in the place of the clock."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.simulator import Simulator
from tests.versions import AIRFLOW

Connect = Callable[..., None]

# Before 3.3 no trigger is told that its task was ended, before 3.1 there is no place for a page.
_SINCE = {"test_on_kill.py": (3, 3), "test_exports_page.py": (3, 1)}
collect_ignore = [file for file, since in _SINCE.items() if since > AIRFLOW]


@pytest.fixture
def simulator(export_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The simulated vendors, connected as ``mews_default`` and ``giosg_default``, in virtual time."""
    from airflow.providers.common.compat.sdk import BaseSensorOperator

    from airflow_provider_exports.hooks import export as hook_module
    from airflow_provider_exports.landing import fetch, transfer
    from airflow_provider_exports.operators import export as operator_module
    from airflow_provider_exports.sensors import export as sensor_module
    from airflow_provider_exports.transports import poller as poller_module
    from airflow_provider_exports.transports.asynchronous import AsyncTransport
    from airflow_provider_exports.transports.blocking import BlockingTransport
    from airflow_provider_exports.transports.poller import Poller
    from airflow_provider_exports.triggers import export as trigger_module

    def now() -> float:
        return export_simulator.now().timestamp()

    async def asleep(seconds: float) -> None:
        export_simulator.advance(seconds)

    clock = SimpleNamespace(time=now, sleep=export_simulator.advance, monotonic=now)
    # Airflow's own sensor sleeps between two looks.
    airflow_sensor = sys.modules[BaseSensorOperator.__module__]
    for module in (hook_module, operator_module, sensor_module, trigger_module, airflow_sensor):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(fetch.Links, "clock", staticmethod(now))
    monkeypatch.setattr(transfer, "_pause", lambda _stop, seconds: export_simulator.advance(seconds))
    monkeypatch.setitem(BlockingTransport.__init__.__kwdefaults__, "clock", now)
    monkeypatch.setitem(BlockingTransport.__init__.__kwdefaults__, "sleep", export_simulator.advance)
    monkeypatch.setitem(AsyncTransport.__init__.__kwdefaults__, "clock", now)
    monkeypatch.setitem(AsyncTransport.__init__.__kwdefaults__, "sleep", asleep)
    # The time of the test before was another one.
    monkeypatch.setattr(poller_module, "_QUEUES", {})
    monkeypatch.setitem(Poller.__init__.__kwdefaults__, "clock", now)
    monkeypatch.setitem(Poller.__init__.__kwdefaults__, "sleep", asleep)
    monkeypatch.setattr(trigger_module, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": asleep}))
    for vendor in BUILT_IN:
        set_connection(monkeypatch, export_simulator, vendor)
    return export_simulator


@pytest.fixture(params=[False, True], ids=["worker", "deferred"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    """Both modes."""
    return bool(request.param)


@pytest.fixture
def connect(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Change a connection: ``connect("mews", password="x", poll_initial=5)``."""

    def change(vendor: str, **changes: Any) -> None:
        set_connection(monkeypatch, simulator, vendor, **changes)

    return change


def set_connection(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, vendor: str, **changes: Any
) -> None:
    """Set ``AIRFLOW_CONN_<VENDOR>_DEFAULT``; unknown names go into Extra."""
    fields = simulator.connection(vendor)
    extra = {**fields.pop("extra"), "max_requests": 0}
    for name, value in changes.items():
        (fields if name in ("host", "password", "conn_type", "login") else extra)[name] = value
    monkeypatch.setenv(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT", json.dumps({**fields, "extra": extra}))

"""Run plans through both transports against the simulator, in its virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import requests

from airflow_provider_exports.core import ConnectionInfo, Lifecycle, Plan, Vendor
from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.transports.asynchronous import AsyncTransport
from airflow_provider_exports.transports.blocking import BlockingTransport

T = TypeVar("T")
LOG = logging.getLogger("tests.transports")

Runner = Callable[[Simulator, Vendor, Callable[[Lifecycle], Plan[Any]]], Any]


def simulated_vendor(simulator: Simulator, name: str, **extra: Any) -> Vendor:
    """Return a vendor that talks to the simulator."""
    fields = simulator.connection(name)
    settings = {**fields["extra"], "max_requests": 0, **extra}
    return vendor_class(name)(
        ConnectionInfo(name, fields["host"], password=fields["password"], extra=settings)
    )


def run_blocking(simulator: Simulator, vendor: Vendor, make: Callable[[Lifecycle], Plan[T]]) -> T:
    """Run a plan with requests; its pauses advance the simulator's clock."""
    clock = lambda: simulator.now().timestamp()  # noqa: E731
    with requests.Session() as session:
        transport = BlockingTransport(session, vendor, LOG, clock=clock, sleep=simulator.advance)
        return transport.run(make(Lifecycle(vendor)))


def run_async(simulator: Simulator, vendor: Vendor, make: Callable[[Lifecycle], Plan[T]]) -> T:
    """Run a plan with aiohttp; its pauses advance the simulator's clock."""

    async def sleep(seconds: float) -> None:
        simulator.advance(seconds)

    async def main() -> T:
        clock = lambda: simulator.now().timestamp()  # noqa: E731
        async with AsyncTransport(vendor, LOG, clock=clock, sleep=sleep) as transport:
            return await transport.run(make(Lifecycle(vendor)))

    return asyncio.run(main())

"""Fixtures for tests that need a vendor's API.

Installed with the package as a pytest plugin; elsewhere
``pytest_plugins = ["airflow_provider_exports.testing.pytest_plugin"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow_provider_exports.simulator import Simulator


@pytest.fixture(scope="session")
def export_simulator_server() -> Iterator[Simulator]:
    """The servers behind ``export_simulator``, started once per test session."""
    # Imported here: every pytest run of an environment loads this plugin, few need the simulator.
    from airflow_provider_exports.simulator import Simulator

    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def export_simulator(export_simulator_server: Simulator) -> Simulator:
    """The simulated vendor APIs, empty and with their default switches at the start of each test."""
    export_simulator_server.reset()
    return export_simulator_server

"""A worker of its own that lands one file: ``python worker.py <url> <size> <destination>``."""

from __future__ import annotations

import sys
from pathlib import Path

import tests.conftest  # noqa: F401 - a throw-away Airflow home
from airflow_provider_exports.landing import transfer
from tests.landing.conftest import World
from tests.landing.faults import FaultServer

if __name__ == "__main__":
    url, size, destination = sys.argv[1:]
    # Each chunk is remembered, not each second one.
    transfer._SAVE_SECONDS = 0.0
    server = FaultServer()
    world = World(server, Path(destination))
    world.add(b"", size=int(size))
    world.at(url)
    world.land()

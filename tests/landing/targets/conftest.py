"""Real servers on this machine, the connections to them, and which of the tests run where."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from fsspec import AbstractFileSystem

from tests.airflow.conftest import deferrable as deferrable
from tests.airflow.conftest import simulator as simulator


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    """Start each test without the connections of the one before it, as each try of a task does."""
    forget_stores()
    yield
    forget_stores()


def forget_stores() -> None:
    """Forget the file systems that Airflow and fsspec keep for the life of a process."""
    module = next(
        module for name in ("airflow.sdk.io.store", "airflow.io.store") if (module := sys.modules.get(name))
    )
    module._STORE_CACHE.clear()
    kinds = [AbstractFileSystem]
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "memory" not in kind.__module__ and "local" not in kind.__module__:
            kind.clear_instance_cache()


def listing(uri: str) -> list[str]:
    """Return the names of all files below a URI, as a process of its own would see them."""
    forget_stores()
    path = ObjectStoragePath(uri)
    try:
        found = path.fs.find(path.path)
    except FileNotFoundError:
        return []
    return sorted(name.rpartition("/")[2] for name in found)

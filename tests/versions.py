"""Which Airflow the tests run on."""

from __future__ import annotations

from importlib.metadata import version

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])

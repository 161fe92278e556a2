"""The package's own plan runner, under the name that the tests use."""

from __future__ import annotations

from airflow_provider_exports.testing.replay import Answer, Replay, ok

__all__ = ["Answer", "Replay", "ok"]

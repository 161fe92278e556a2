"""Which of these tests run where."""

from __future__ import annotations

from pathlib import Path

from tests.versions import AIRFLOW

# All but the demo run in the newest Airflow only, and once, from the checkout: a wheel says the same of them.
_CHECKOUT = Path(__file__).parents[2] / "airflow_provider_exports"
_ALL = sorted(path.name for path in Path(__file__).parent.glob("test_*.py"))
collect_ignore = (
    [] if AIRFLOW >= (3, 3) and _CHECKOUT.is_dir() else [name for name in _ALL if name != "test_demo.py"]
)

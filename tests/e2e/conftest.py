"""Which of these tests run where."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

# Forms and killed processes are tested in the newest Airflow only, and once, from the checkout: a wheel says
# the same of them.
_AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
_CHECKOUT = Path(__file__).parents[2] / "airflow_provider_exports"
collect_ignore = [] if _AIRFLOW >= (3, 3) and _CHECKOUT.is_dir() else ["test_forms.py", "test_killed.py"]

"""Which of these tests run where."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.versions import AIRFLOW

# All but the demo run in the newest Airflow only, and once, from the checkout: a wheel says the same of them.
_CHECKOUT = Path(__file__).parents[2] / "airflow_provider_exports"
_ALL = sorted(path.name for path in Path(__file__).parent.glob("test_*.py"))
collect_ignore = (
    [] if AIRFLOW >= (3, 3) and _CHECKOUT.is_dir() else [name for name in _ALL if name != "test_demo.py"]
)


@pytest.fixture(scope="session")
def browser_programs() -> None:
    """Skip what needs a browser where there is none."""
    from demo.web_interface import PROGRAMS

    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"{' and '.join(missing)} missing; Debian: apt-get install chromium chromium-driver")

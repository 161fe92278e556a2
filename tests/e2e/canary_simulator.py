"""The simulator as a program, with the credentials and the link signature that the environment gives."""

from __future__ import annotations

import functools
import json
import os
import sys

from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator import __main__ as program

if __name__ == "__main__":
    # Words that stand nowhere else in the world, so that finding one proves a leak.
    program.Simulator = functools.partial(  # type: ignore[assignment, misc]
        Simulator,
        tokens=json.loads(os.environ["CANARY_TOKENS"]),
        link_secret=os.environ["CANARY_LINK_SECRET"],
    )
    sys.exit(program.main())

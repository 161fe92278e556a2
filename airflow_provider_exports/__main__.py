"""``python -m airflow_provider_exports``: the command line, in every Airflow."""

import sys

from airflow_provider_exports.cli.definition import main

if __name__ == "__main__":
    sys.exit(main())

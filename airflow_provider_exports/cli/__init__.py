"""The command line: ``airflow exports …`` and ``python -m airflow_provider_exports …``."""

"""Airflow provider for SaaS products that give their data out as asynchronous exports."""

__version__ = "0.1.0"

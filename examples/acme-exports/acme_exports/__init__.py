"""Exports of Acme Reports, an invented product: a vendor for airflow-provider-exports in its own package."""

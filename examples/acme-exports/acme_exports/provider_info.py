"""What Airflow is told about this package; every ``airflow`` process loads it, so it imports nothing."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the connection type ``acme`` and its form."""
    return {
        "package-name": "acme-exports",
        "name": "Acme exports",
        "description": "Exports of Acme Reports",
        "versions": ["0.1.0"],
        "connection-types": [
            {
                "connection-type": "acme",
                "hook-class-name": "acme_exports.hook.AcmeHook",
                "hook-name": "Acme",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "login"],
                    "relabeling": {"host": "API address", "password": "API key"},
                    "placeholders": {"host": "https://api.acme.example"},
                },
                "conn-fields": {
                    "workspace": {"label": "Workspace", "schema": {"type": ["string", "null"]}},
                },
            }
        ],
    }

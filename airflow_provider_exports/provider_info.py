"""What Airflow is told about this provider.

Every ``airflow`` process loads this module, so it imports nothing. Labels and defaults of the connection
forms stand here once; a test holds them against the vendors' settings.
"""

from __future__ import annotations

from typing import Any


def _text(label: str, default: str | None = None, description: str | None = None) -> dict[str, Any]:
    return _field(label, {"type": ["string", "null"]}, default, description)


def _secret(label: str, description: str | None = None) -> dict[str, Any]:
    return _field(label, {"type": ["string", "null"], "format": "password"}, None, description)


def _number(label: str, default: float, description: str | None = None) -> dict[str, Any]:
    return _field(label, {"type": ["number", "null"], "minimum": 0}, default, description)


def _flag(label: str, description: str | None = None) -> dict[str, Any]:
    return _field(label, {"type": ["boolean", "null"]}, False, description)


def _choice(label: str, options: list[str], description: str | None = None) -> dict[str, Any]:
    return _field(label, {"type": ["string", "null"], "enum": options}, options[0], description)


def _field(label: str, schema: dict[str, Any], default: Any, description: str | None) -> dict[str, Any]:
    if default is not None:
        schema = {**schema, "default": default}
    field = {"label": label, "schema": schema}
    return {**field, "description": description} if description else field


_MODULES = ("export", "giosg", "mews")

_CONNECTION_TYPES: list[dict[str, Any]] = [
    {
        "connection-type": "giosg",
        "hook-class-name": "airflow_provider_exports.hooks.giosg.GiosgHook",
        "hook-name": "giosg",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", "login"],
            "relabeling": {"host": "API address", "password": "Access token"},
            "placeholders": {
                "host": "https://service.giosg.com",
                "password": "made in giosg under Settings, Company, Access tokens",
            },
        },
        "conn-fields": {
            "auth_scheme": _choice("Token type", ["Token", "Bearer"], "Token: API token. Bearer: OAuth2."),
            "organization_id": _text("Organization id", None, "Empty: the organization of the token's user."),
            "user_id": _text("User id", None, "Empty: the token's own user."),
            "include_shared": _flag("List shared rooms", "Also rooms that another organization shares."),
            "settle_delay": _number(
                "Settling delay (seconds)", 3600.0, "How long after its end a range is exported."
            ),
            "wait_timeout": _number("Longest wait (seconds)", 3600.0),
        },
    },
    {
        "connection-type": "mews",
        "hook-class-name": "airflow_provider_exports.hooks.mews.MewsHook",
        "hook-name": "Mews",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port", "login"],
            "relabeling": {"host": "Platform address", "password": "Access token"},
            "placeholders": {
                "host": "https://api.mews.com",
                "password": "identifies the property or portfolio",
            },
        },
        "conn-fields": {
            "client_token": _secret("Client token", "Identifies your application; given by Mews."),
            "client": _text("Client", None, "Your application's name and version, as agreed with Mews."),
            "language_code": _text("Language code", None, "Language of messages; together with the culture."),
            "culture_code": _text("Culture code"),
            "conflict_interval": _number(
                "Retry when busy (seconds)", 300.0, "Mews runs one export per entity type; others wait."
            ),
            "wait_timeout": _number("Longest wait (seconds)", 86400.0),
        },
    },
]


def get_provider_info() -> dict[str, Any]:
    """Return the provider info, as ``airflow/provider_info.schema.json`` describes it."""
    modules = {
        kind: [
            {
                "integration-name": "SaaS exports",
                "python-modules": [f"airflow_provider_exports.{kind}.{name}" for name in names],
            }
        ]
        for kind, names in {
            "operators": _MODULES,
            "sensors": _MODULES,
            "hooks": _MODULES,
            "triggers": ("export",),
        }.items()
    }
    return {
        "package-name": "airflow-provider-exports",
        "name": "SaaS exports",
        "description": "Asynchronous exports of SaaS products: create once, wait cheaply, land whole.",
        "versions": ["0.1.0"],
        "integrations": [
            {
                "integration-name": "SaaS exports",
                "external-doc-url": "https://github.com/airflow-provider-exports/airflow-provider-exports",
                "tags": ["service"],
            }
        ],
        **modules,
        "connection-types": _CONNECTION_TYPES,
    }


def connection_type(name: str) -> dict[str, Any]:
    """Return what the provider info says about one connection type; empty for a plug-in's."""
    return next((entry for entry in _CONNECTION_TYPES if entry["connection-type"] == name), {})

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


_MODULES = ("export", "connhex", "giosg", "medable", "mews", "onna")

_CONNECTION_TYPES: list[dict[str, Any]] = [
    {
        "connection-type": "connhex",
        "hook-class-name": "airflow_provider_exports.hooks.connhex.ConnhexHook",
        "hook-name": "Connhex",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"host": "Instance", "login": "Username", "password": "Password"},
            "placeholders": {"host": "https://connhex.com", "login": "user@example.com"},
        },
        "conn-fields": {
            "apis_url": _text("API address", None, "Empty: https://apis.<instance>."),
            "accounts_url": _text("Login address", None, "Empty: https://accounts.<instance>."),
            "notification_medium": _choice(
                "Messages by", ["email", "telegram", "slack", "discord"], "Every export sends two messages."
            ),
            "notification_target": _text("Messages to", None, "Empty: the user of this connection."),
            "conflict_interval": _number(
                "Retry when the queue is full (seconds)", 300.0, "The number of queued exports is limited."
            ),
            "wait_timeout": _number("Longest wait (seconds)", 86400.0),
        },
    },
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
            "max_in_progress": _number("Exports in progress at once", 3, "A create waits; 0 for no limit."),
            "settle_delay": _number(
                "Settling delay (seconds)", 3600.0, "How long after its end a range is exported."
            ),
            "wait_timeout": _number("Longest wait (seconds)", 3600.0),
        },
    },
    {
        "connection-type": "medable",
        "hook-class-name": "airflow_provider_exports.hooks.medable.MedableHook",
        "hook-name": "Medable",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {
                "host": "Base URL with org code",
                "login": "API key",
                "password": "API secret, token or password",
            },
            "placeholders": {
                "host": "https://api.medable.com/my_org",
                "login": "22 letters and digits, from Settings, Apps",
                "password": "depends on the kind of credentials",
            },
        },
        "conn-fields": {
            "auth_mode": _choice(
                "Credentials",
                ["signed", "bearer", "session"],
                "signed: API key and secret. bearer: a token. session: an account's password.",
            ),
            "account_id": _text("Act as account", None, "Signed requests, where the App allows it."),
            "email": _text("E-mail address", None, "Session only."),
            "fingerprint_token": _secret(
                "Fingerprint cookie", "Session only: md.fingerprint of a verified login."
            ),
            "max_open": _number("Own exports at once", 1, "Medable runs one per org; 0 for no limit."),
            "wait_timeout": _number("Longest wait (seconds)", 86400.0),
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
    {
        "connection-type": "onna",
        "hook-class-name": "airflow_provider_exports.hooks.onna.OnnaHook",
        "hook-name": "Onna",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "port"],
            "relabeling": {"host": "Onna address", "login": "User e-mail", "password": "Password"},
            "placeholders": {
                "host": "https://enterprise.onna.com",
                "login": "exporter@example.com",
                "password": "of a service account where single sign-on is enforced",
            },
        },
        "conn-fields": {
            "account": _text("Account", None, "Name of the Onna account."),
            "container": _text(
                "Container", None, "Database that holds the account, such as rel0. Empty: the account's name."
            ),
            "workspace": _text(
                "Workspace of listed datasources", None, "Name or URL. Empty: all workspaces."
            ),
            "path_form": _choice(
                "Workspace URL in the scope",
                ["ui", "api", "given"],
                "Which form of its URL an export's scope holds.",
            ),
            "max_active": _number("Most exports at once", 2, "A create waits for room; 0 for no limit."),
            "settle_delay": _number(
                "Settling delay (seconds)", 1800.0, "How long after its end a window is exported."
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
            "triggers": ("export", "ready"),
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
        "extra-links": [
            "airflow_provider_exports.shown.ExportLink",
            "airflow_provider_exports.shown.FilesLink",
        ],
        # Read by Airflow 3.2 and newer.
        "cli": ["airflow_provider_exports.cli.definition.get_commands"],
    }


def connection_type(name: str) -> dict[str, Any]:
    """Return what the provider info says about one connection type; empty for a plug-in's."""
    return next((entry for entry in _CONNECTION_TYPES if entry["connection-type"] == name), {})

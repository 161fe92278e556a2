"""The hook behind the connection form, for *Test* and for tasks that need more than the operators."""

from __future__ import annotations

from typing import Any

from acme_exports.provider_info import get_provider_info
from airflow_provider_exports.hooks.export import ExportHook


class AcmeHook(ExportHook):
    """Create, watch and land exports of Acme."""

    conn_name_attr = "acme_conn_id"
    default_conn_name = "acme_default"
    conn_type = "acme"
    hook_name = "Acme"
    vendor_name = "acme"

    def __init__(self, acme_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(acme_conn_id, **kwargs)
        self.acme_conn_id = acme_conn_id

    # Airflow before 3.2 takes the form from the hook, not from the provider info.

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own field."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from wtforms import StringField

        return {"workspace": StringField("Workspace", widget=BS3TextFieldWidget())}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return hidden fields, labels and placeholders."""
        behaviour = get_provider_info()["connection-types"][0]["ui-field-behaviour"]
        return {name.replace("-", "_"): value for name, value in behaviour.items()}

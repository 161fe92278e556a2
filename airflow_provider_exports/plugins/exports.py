"""The page *Exports* in Airflow's web interface.

Every ``airflow`` process loads this module, so it imports nothing of the page; only the API server does that.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/exports"
"""Path of the page on the API server."""


class ExportsPlugin(AirflowPlugin):
    """The page, and its entry under *Browse*."""

    name = "exports"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The page's application."""
        try:
            from airflow_provider_exports.plugins.page import application

            return [{"app": application(), "url_prefix": PREFIX, "name": "Exports"}]
        except Exception:
            # It uses names that Airflow may move, and without this the whole API server would not start.
            logging.getLogger(__name__).exception("The page Exports cannot be shown in this Airflow.")
            return []

    @property
    def external_views(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The entry. Its address is relative, so that it holds below any ``[api] base_url``."""
        return [
            {
                "name": "Exports",
                "href": f"{PREFIX.removeprefix('/')}/",
                "destination": "nav",
                "category": "browse",
                "url_route": "exports",
            }
        ]


# Before 3.1 Airflow's interface has no place for such a page; it passes over what is no plug-in.
plugin = ExportsPlugin if hasattr(AirflowPlugin, "external_views") else None

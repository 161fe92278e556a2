"""The plug-in of the page *Exports*, in every version of Airflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.versions import AIRFLOW

LOAD = """
import json, logging, sys
from airflow import plugins_manager
plugins_manager.ensure_plugins_loaded()
loaded = [name for name in sys.modules if name.startswith("airflow_provider_exports.plugins")]
info = [plugin for plugin in plugins_manager.get_plugin_info() if plugin["name"] == "exports"]
# Airflow 3.2 has made a function of it.
errors = getattr(plugins_manager, "import_errors", None) or plugins_manager.get_import_errors()
print(json.dumps([sorted(loaded), info, errors], default=str))
"""


@pytest.mark.only_airflow(">=3.1")
def test_page_that_cannot_be_loaded_stops_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It uses names that a later Airflow may move."""
    from airflow_provider_exports.plugins.exports import ExportsPlugin

    monkeypatch.setitem(sys.modules, "airflow_provider_exports.plugins.page", None)
    assert ExportsPlugin().fastapi_apps == []


def test_plugin_is_there_where_airflow_has_a_place_for_it() -> None:
    """Airflow 3.1 and newer load it, and the page only when asked for it; older ones do without an error."""
    source = LOAD if AIRFLOW >= (3, 2) else LOAD.replace(" or plugins_manager.get_import_errors()", " or {}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    loaded, info, errors = json.loads(done.stdout.splitlines()[-1])
    assert errors == {}
    assert loaded == ["airflow_provider_exports.plugins", "airflow_provider_exports.plugins.exports"]
    if AIRFLOW < (3, 1):
        assert info == []
        return
    (plugin,) = info
    assert plugin["external_views"] == [
        {
            "name": "Exports",
            "href": "exports/",
            "destination": "nav",
            "category": "browse",
            "url_route": "exports",
        }
    ]
    assert [(app["name"], app["url_prefix"]) for app in plugin["fastapi_apps"]] == [("Exports", "/exports")]

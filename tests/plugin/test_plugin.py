"""A vendor in a package of its own works by being installed; no file of this package changes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_exports
from tests.plugin.installed import ACME, ROOT, install, python, register

PACKAGE = Path(airflow_provider_exports.__path__[0])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which only the example plug-in is installed."""
    return install(ACME, tmp_path_factory.mktemp("plugin") / "site")


def said(code: str, site: Path, cwd: Path, **environment: str) -> Any:
    """Run ``code`` where the plug-in is installed; return the JSON on its last line."""
    done = python("-c", code, site=site, cwd=cwd, path=(ROOT,), **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_package_does_not_know_the_plugin() -> None:
    """What the other tests find comes from the plug-in alone: the package has not a word of it."""
    files = [file for file in PACKAGE.rglob("*") if file.suffix in (".py", ".json")]
    assert files
    assert not [file for file in files if "acme_exports" in file.read_text("utf-8")]


FIND = """
import json
from airflow_provider_exports.core.registry import known_vendors, vendor_class
found = vendor_class("acme")
print(json.dumps([found.__module__, found.__name__, known_vendors()]))
"""


def test_vendor_is_found_by_name(site: Path, tmp_path: Path) -> None:
    """The registry knows the vendor as soon as its package is installed."""
    module, name, known = said(FIND, site, tmp_path)
    assert (module, name) == ("acme_exports.vendor", "AcmeVendor")
    assert {"acme", "giosg", "mews"} <= set(known)


FORM = """
import json
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
hook = manager.hooks["acme"]
print(json.dumps({
    "provider": "acme-exports" in manager.providers,
    "hook": [hook.hook_class_name, hook.hook_name, hook.connection_id_attribute_name],
    "labels": manager.field_behaviours["acme"]["relabeling"],
    "hidden": manager.field_behaviours["acme"]["hidden_fields"],
    "fields": [name for name in manager.connection_form_widgets if name.startswith("extra__acme__")],
}))
"""


def test_connection_form_is_discovered(site: Path, tmp_path: Path) -> None:
    """Airflow offers the plug-in's connection type with its own form."""
    form = said(FORM, site, tmp_path)
    assert form["provider"]
    assert form["hook"] == ["acme_exports.hook.AcmeHook", "Acme", "acme_conn_id"]
    assert form["labels"] == {"host": "API address", "password": "API key"}
    assert {"schema", "port", "login"} <= set(form["hidden"])
    assert form["fields"] == ["extra__acme__workspace"]


RUN = """
import json, os, sys
from datetime import datetime, timezone
try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:
    from airflow.models.dagbag import DagBag
from acme_exports.stand_in import StandIn
from tests.airflow.both_modes import run

dags, landed, deferrable = sys.argv[1], sys.argv[2], sys.argv[3] == "deferrable"

def task():
    bag = DagBag(dags)
    assert not bag.import_errors, bag.import_errors
    (found,) = bag.dags["acme_orders"].tasks
    found.render_template_fields({"ds": "2026-01-05", "task": found})
    found.deferrable = deferrable
    found.destination = landed
    return found

with StandIn() as acme:
    os.environ["AIRFLOW_CONN_ACME_DEFAULT"] = acme.connection()
    events = []
    result = run(task, events=events)
    print(json.dumps({
        "result": result,
        "events": events,
        "payloads": [export["payload"] for export in acme.exports.values()],
    }))
"""


@pytest.mark.parametrize("mode", ["blocking", "deferrable"])
def test_dag_runs_against_the_plugins_server(site: Path, tmp_path: Path, mode: str) -> None:
    """The example DAG creates one export, waits for it in either mode, and lands its file."""
    script, landed = tmp_path / "run.py", tmp_path / "landed"
    script.write_text(RUN, "utf-8")
    done = python(
        str(script),
        str(ACME / "example_dags"),
        f"file://{landed}",
        mode,
        site=site,
        cwd=tmp_path,
        path=(ROOT,),
        no_proxy="*",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    days = {"first_day": "2026-01-05", "last_day": "2026-01-05"}
    assert told["payloads"] == [{"report": "orders", "range": days}]
    assert (told["result"]["vendor"], told["result"]["state"]) == ("acme", "ready")
    assert [event["state"] for event in told["events"]] == (["ready"] if mode == "deferrable" else [])
    (file,) = told["result"]["files"]
    assert (landed / file["name"]).read_bytes() == b"order,amount\n1,10\n2,20\n"


def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    """The plug-in's test suite passes where it is installed, conformance and all."""
    module = tmp_path / "test_acme.py"
    module.write_bytes((ACME / "tests" / "test_acme.py").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(module), site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (passed,) = re.findall(r"(\d+) passed", done.stdout)
    assert int(passed) > 50


CLASH = """
import json, sys
from airflow_provider_exports.core.registry import vendor_class
try:
    vendor_class(sys.argv[1])
except RuntimeError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.parametrize(("name", "owner"), [("acme", "acme-exports"), ("mews", "airflow-provider-exports")])
def test_name_clash_names_both_packages(site: Path, tmp_path: Path, name: str, owner: str) -> None:
    """Two packages cannot share a name, and none can take a built-in one: the error tells which two."""
    other, script = tmp_path / "site", tmp_path / "clash.py"
    points = {"airflow_provider_exports.vendors": {name: "other_exports:OtherVendor"}}
    register(other, "other-exports", points)
    script.write_text(CLASH, "utf-8")
    done = python(str(script), name, site=site, cwd=tmp_path, path=(other, ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    message = json.loads(done.stdout.splitlines()[-1])
    assert owner in message
    assert "other-exports" in message

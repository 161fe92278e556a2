"""Who may import whom, what an import costs, and that nothing is forgotten."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest

import airflow_provider_exports
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.provider_info import get_provider_info
from airflow_provider_exports.simulator import Simulator

PACKAGE = Path(airflow_provider_exports.__path__[0])
ROOT = Path(__file__).parent.parent
VENDORS = sorted(BUILT_IN)


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports anywhere, also in functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


@pytest.mark.parametrize("folder", ["core", "vendors"])
def test_core_and_vendors_do_no_io(folder: str) -> None:
    """No Airflow, no HTTP library, no clock, no sleep."""
    files = list((PACKAGE / folder).rglob("*.py"))
    assert files
    for file in files:
        assert not tops(file) & {"airflow", "requests", "aiohttp", "urllib3", "time", "asyncio", "socket"}, (
            file
        )
        text = file.read_text(encoding="utf-8")
        assert ".now(" not in text, file
        assert "open(" not in text, file


def test_client_does_not_need_the_simulator() -> None:
    """Only the testing helpers import it."""
    for folder in ("core", "vendors", "transports", "hooks", "operators", "sensors", "triggers"):
        for file in (PACKAGE / folder).rglob("*.py"):
            assert not any("simulator" in name for name in imports(file)), file


PROBE = """
import json, sys
import airflow
import jsonschema
from airflow.providers.common.compat.sdk import BaseOperator, BaseHook, BaseSensorOperator, conf
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
before = set(sys.modules)
import airflow_provider_exports.operators.{vendor}, airflow_provider_exports.sensors.{vendor}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("vendor", VENDORS)
def test_operators_load_no_client_library(vendor: str) -> None:
    """Parsing a DAG loads a handful of small modules and no vendor."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE.format(vendor=vendor)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    heavy = ("aiohttp", "requests", "jsonschema", "fsspec", "boto", "airflow_provider_exports.vendors")
    assert [name for name in loaded if name.startswith(heavy)] == []
    assert len(loaded) <= 26, loaded


def test_provider_info_imports_nothing() -> None:
    """Every airflow process loads it."""
    assert imports(PACKAGE / "provider_info.py") <= {"__future__", "typing"}


def test_provider_info_is_valid_for_this_airflow() -> None:
    """Airflow's own schema accepts it; discovery would reject it otherwise."""
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(get_provider_info(), schema)


def test_version_stands_once() -> None:
    """Package and provider info tell the same version."""
    assert get_provider_info()["versions"] == [airflow_provider_exports.__version__]


def test_modules_of_the_provider_info_exist() -> None:
    """What Airflow lists can be imported, and nothing is left out."""
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        listed = {module for entry in info[kind] for module in entry["python-modules"]}
        there = {
            f"airflow_provider_exports.{kind}.{file.stem}"
            for file in (PACKAGE / kind).glob("*.py")
            if file.stem != "__init__"
        }
        assert listed == there
        for module in listed:
            import_module(module)


@pytest.mark.filterwarnings("ignore")
def test_airflow_discovers_the_provider() -> None:
    """Connection types come with their hook and form behaviour."""
    if not any(
        point.value.startswith("airflow_provider_exports")
        for point in entry_points(group="apache_airflow_provider")
    ):
        pytest.skip("the package is not installed, only importable: run `make test`")
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-provider-exports" in manager.providers
    for vendor in VENDORS:
        hook = manager.hooks[vendor]
        assert hook is not None
        assert (hook.connection_type, hook.connection_id_attribute_name) == (vendor, f"{vendor}_conn_id")
        assert manager.field_behaviours[vendor]["relabeling"]["password"]
    labels = {key for key in manager.connection_form_widgets if key.startswith("extra__mews__")}
    assert "extra__mews__client_token" in labels


@pytest.mark.parametrize("vendor", VENDORS)
def test_form_fields_are_settings_with_the_same_default(vendor: str) -> None:
    """The form cannot promise what the vendor's settings do not know."""
    entry = next(e for e in get_provider_info()["connection-types"] if e["connection-type"] == vendor)
    settings = {f.name: f.default for f in dataclasses.fields(vendor_class(vendor).settings_class)}
    for name, field in entry["conn-fields"].items():
        default = field["schema"].get("default")
        assert name in settings
        assert default is None or default == settings[name], name
    hook_module, _, hook_name = entry["hook-class-name"].rpartition(".")
    hook = getattr(import_module(hook_module), hook_name)
    assert (hook.conn_type, hook.hook_name) == (vendor, entry["hook-name"])


@pytest.mark.parametrize("vendor", VENDORS)
def test_airflow_masks_every_secret_of_the_form(vendor: str) -> None:
    """Airflow hides fields of Extra by their names alone, in its API and its edit form."""
    try:
        from airflow._shared.secrets_masker import should_hide_value_for_key
    except ImportError:  # before Airflow 3.1
        from airflow.utils.log.secrets_masker import should_hide_value_for_key

    entry = next(e for e in get_provider_info()["connection-types"] if e["connection-type"] == vendor)
    for name, field in entry["conn-fields"].items():
        assert should_hide_value_for_key(name) == (field["schema"].get("format") == "password"), name


def lacking(vendor: str) -> list[str]:
    """Return what a vendor of this package must have and has not, under the names the conventions give it."""
    title = vendor.capitalize()
    members = {
        "hook": ("hooks", f"{title}Hook"),
        "create operator": ("operators", f"{title}CreateExportOperator"),
        "run operator": ("operators", f"{title}RunExportOperator"),
        "sensor": ("sensors", f"{title}ExportSensor"),
    }
    found = {}
    for part, (kind, name) in members.items():
        with contextlib.suppress(ModuleNotFoundError):
            module = import_module(f"airflow_provider_exports.{kind}.{vendor}")
            found[part] = bool(getattr(module, name, None) and getattr(module, name).__doc__)
    for part, file in {
        "create schema": PACKAGE / "vendors" / vendor / "schemas" / "create.request.json",
        "export schema": PACKAGE / "vendors" / vendor / "schemas" / "export.response.json",
        "docs page": ROOT / "docs" / "vendors" / f"{vendor}.md",
        "tests of the vendor": ROOT / "tests" / "vendors" / f"test_{vendor}.py",
        "tests of the simulator": ROOT / "tests" / "simulator" / f"test_{vendor}_api.py",
    }.items():
        found[part] = file.is_file()
    info = get_provider_info()
    found["form"] = any(
        entry["connection-type"] == vendor and entry["conn-fields"] for entry in info["connection-types"]
    )
    found["example DAG"] = any((ROOT / "example_dags").glob(f"{vendor}_*.py"))
    found["simulator"] = vendor in Simulator().vendors
    for kind in ("hooks", "operators", "sensors"):
        reference = (ROOT / "docs" / "reference" / f"{kind}.md").read_text(encoding="utf-8")
        found[f"reference of {kind}"] = f"airflow_provider_exports.{kind}.{vendor}\n" in reference
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    found["line in the README"] = f"](docs/vendors/{vendor}.md)" in readme
    return [part for part in (*members, *found) if not found.get(part)]


@pytest.mark.parametrize("vendor", VENDORS)
def test_vendor_is_complete(vendor: str) -> None:
    """Client, form, documentation, example, simulator and tests are all there."""
    assert lacking(vendor) == []


def test_incomplete_vendor_is_noticed() -> None:
    """A vendor of which nothing exists lacks every part."""
    assert {"hook", "sensor", "form", "docs page", "example DAG", "simulator"} <= set(lacking("acme"))
    assert len(lacking("acme")) >= 16


@pytest.mark.parametrize("vendor", VENDORS)
def test_operator_parameters_are_payload_fields(vendor: str) -> None:
    """Every parameter has its place in the payload, is templated, and is the same in both operators."""
    module = import_module(f"airflow_provider_exports.operators.{vendor}")
    for name in ("CreateExportOperator", "RunExportOperator"):
        operator = getattr(module, f"{vendor.capitalize()}{name}")
        assert set(operator.payload_parameters) == set(vendor_class(vendor).payload_fields)
        assert set(operator.payload_parameters) <= set(operator.template_fields)


def test_every_test_function_is_collected() -> None:
    """A helper that looks like a test but lacks the prefix never runs; each test says what it proves."""
    for file in Path(__file__).parent.rglob("test_*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
                assert node.name.startswith("test_"), f"{file}: {node.name}"
                assert ast.get_docstring(node), f"{file}: {node.name} has no docstring"

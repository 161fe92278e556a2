"""The simulator is a second opinion: it shares nothing with the code it is there to check."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import airflow_provider_exports

PACKAGE = "airflow_provider_exports"
FOLDER = Path(airflow_provider_exports.__path__[0])
SOURCES = sorted((FOLDER / "simulator").rglob("*.py"))
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
}


def imported(source: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "." * node.level)
    return names


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.split())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_imports_are_the_simulator_aiohttp_and_the_standard_library(source: Path) -> None:
    """No module of the simulator imports anything else, in any place of its code."""
    allowed = set(sys.stdlib_module_names) | {"aiohttp"}
    for name in imported(source):
        own = name == f"{PACKAGE}.simulator" or name.startswith(f"{PACKAGE}.simulator.")
        assert own or name.partition(".")[0] in allowed, name


def test_a_running_simulator_has_loaded_no_code_of_the_provider() -> None:
    """After a start no vendor, core or hook module, no Airflow and no schema library is loaded."""
    modules = modules_after(f"from {PACKAGE}.simulator import Simulator; Simulator().start().stop()")
    ours = {name for name in modules if name.startswith(f"{PACKAGE}.")}
    assert {name for name in ours if not name.startswith(f"{PACKAGE}.simulator")} == set()
    assert not modules & {"airflow", "requests", "jsonschema"}


def test_schemas_of_the_vendors_are_not_read() -> None:
    """No source names a schema file or the resources of another package."""
    for source in SOURCES:
        text = source.read_text()
        assert "importlib" not in text
        assert ".schemas" not in text
        assert "schemas/" not in text


def test_the_plugin_is_light() -> None:
    """Loading the pytest plugin, as every pytest run does, loads neither the simulator nor aiohttp."""
    modules = modules_after(f"import {PACKAGE}.testing.pytest_plugin")
    assert f"{PACKAGE}.simulator" not in modules
    assert not modules & {"airflow", "aiohttp", "requests", "asyncio.sslproto"}


def test_the_plugin_gives_each_test_an_empty_simulator(tmp_path: Path) -> None:
    """The fixture is the same server for all tests of a run, reset before each."""
    (tmp_path / "test_it.py").write_text(
        "import json, urllib.request\n"
        "def test_first(export_simulator):\n"
        "    health = urllib.request.urlopen(export_simulator.api_origin + '/_control/health')\n"
        "    assert json.load(health)['status'] == 'ok'\n"
        "    export_simulator.configure('mews', rows=1)\n"
        "    export_simulator.advance(1e6)\n"
        "def test_second(export_simulator, export_simulator_server):\n"
        "    assert export_simulator is export_simulator_server\n"
        "    assert export_simulator.switches('mews')['rows'] == 25\n"
    )
    plugin = f"{PACKAGE}.testing.pytest_plugin"
    command = [sys.executable, "-m", "pytest", "-q", "-p", plugin, "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr

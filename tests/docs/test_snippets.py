"""What README and documentation show is run, linked and true."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import airflow
import pendulum
import pytest

from airflow_provider_exports.core import Capability, VendorSettings, lifecycle, watch
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.core.retry import RetryRule
from airflow_provider_exports.landing import archive, transfer
from airflow_provider_exports.provider_info import connection_type
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.triggers.export import MINIMUM_DELAY

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*/*.md")), ROOT / "docs" / "index.md"]
FENCE = re.compile(r"^```(\S+)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
DIRECTIVES = {"{diagram}", "{eval-rst}", "{generated}", "{toctree}", "{versions}"}
# Pages whose snippets call hooks; those of all other pages make DAGs.
HOOK_PAGES = ["docs/explanation/errors.md", "docs/how-to/connect.md", "docs/tutorial/first-export.md"]
TEST_PAGE = "docs/how-to/test-your-dag.md"
INTERVALS_PAGE, BULK_PAGE = "docs/how-to/recurring.md", "docs/how-to/bulk.md"
READY_PAGE = "docs/how-to/start-when-ready.md"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path, language: str) -> list[str]:
    return [body for kind, _, body in FENCE.findall(page.read_text("utf-8")) if kind == language]


def tables_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exports_doc_tables", ROOT / "docs" / "_ext" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLES = tables_module()
PYTHON_PAGES = [name_of(page) for page in PAGES if fences(page, "python")]
DAG_PAGES = [name for name in PYTHON_PAGES if any("DAG(" in body for body in fences(ROOT / name, "python"))]


@pytest.fixture
def simulator(export_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Both vendors as their default connections; an export is ready at the first look."""
    for vendor in export_simulator.vendors:
        export_simulator.configure(vendor, ready_after_reads=1)
        connection = export_simulator.connection(vendor)
        # Without the vendor's pace, which is kept in real time here.
        connection["extra"] = {**connection["extra"], "max_requests": 0}
        monkeypatch.setenv(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT", json.dumps(connection))
    return export_simulator


def in_folder(source: str, folder: Path) -> str:
    """Return a snippet that lands its files below ``folder``."""
    return re.sub(r"file:///(?:data|tmp)", f"file://{folder}", source)


def parsed(source: str, folder: Path) -> Any:
    """Return the one DAG that Airflow finds in ``source``."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag
    file = folder / "dags" / "documented.py"
    file.parent.mkdir()
    file.write_text(source, "utf-8")
    bag = DagBag(str(file.parent))
    assert not bag.import_errors
    (dag,) = bag.dags.values()
    return dag


def rendered(task: Any) -> Any:
    """Return ``task`` as it runs: one instance of a mapped one, templates filled in."""
    if hasattr(task, "expand_input"):
        ((parameter, values),) = task.expand_input.value.items()
        task = task.unmap({parameter: values[0]})
    return with_templates(task)


def with_templates(task: Any) -> Any:
    """Return ``task`` with its templates filled in."""
    start = datetime(2026, 1, 5, 3, tzinfo=UTC)
    context = {
        "data_interval_start": start,
        "data_interval_end": start + timedelta(days=1),
        "ds": "2026-01-05",
        "task": task,
    }
    task.render_template_fields(context)
    return task


def awake(task: Any) -> Any:
    """Return ``task`` as it is without a triggerer: it waits itself."""
    if hasattr(task, "deferrable"):
        task.deferrable = False
    return task


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_snippet_compiles(page: str) -> None:
    """Every Python snippet is valid Python."""
    for number, source in enumerate(fences(ROOT / page, "python"), start=1):
        compile(source, f"{page}, snippet {number}", "exec")


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_snippet_is_of_a_kind_that_is_checked(page: str) -> None:
    """A snippet is run (Python), typed (console), read (TOML), made by us, or included from a tested file."""
    for kind, argument, body in FENCE.findall((ROOT / page).read_text("utf-8")):
        match kind:
            case "toml":
                tomllib.loads(body)
            case "{literalinclude}":
                source = ((ROOT / page).parent / argument.strip()).resolve()
                assert source.is_file()
                assert source.relative_to(ROOT).parts[0] in ("example_dags", "examples", "tests", "demo")
            case _:
                assert kind in {"python", "console", *DIRECTIVES}, f"who checks {kind}?"


def test_every_python_snippet_is_run_somewhere() -> None:
    """A page with Python belongs to one of the groups of pages that are run below."""
    assert set(PYTHON_PAGES) <= {*HOOK_PAGES, TEST_PAGE, *DAG_PAGES}


@pytest.mark.parametrize("page", [page for page in DAG_PAGES if page not in (BULK_PAGE, READY_PAGE)])
def test_dag_snippet_runs_against_the_simulator(page: str, simulator: Simulator, tmp_path: Path) -> None:
    """A DAG of the documentation is found by Airflow, and its tasks create, wait and land."""
    from airflow_provider_exports.operators.export import RunExportOperator
    from airflow_provider_exports.sensors.export import ExportSensor

    (source,) = [body for body in fences(ROOT / page, "python") if "DAG(" in body]
    landed = tmp_path / "landed"
    dag = parsed(in_folder(source, landed), tmp_path)
    export_id = None
    for original in dag.topological_sort():
        if export_id is not None:
            original.export_id = export_id
        task = rendered(original)
        if isinstance(task, ExportSensor):
            assert task.poke({})
            continue
        result = awake(task).execute({})
        if isinstance(result, str):
            export_id = result
        elif isinstance(task, RunExportOperator) or export_id is not None:
            assert result["state"] == "ready"
            assert all(Path(file["uri"].removeprefix("file://")).is_file() for file in result["files"])
    assert list(landed.rglob("*.*"))


def test_dag_that_starts_when_an_export_is_ready(tmp_path: Path) -> None:
    """Airflow finds it, and the trigger of its watcher; before Airflow 3 there are no watchers."""
    (source,) = fences(ROOT / READY_PAGE, "python")
    try:
        from airflow.sdk import AssetWatcher
    except ImportError:
        assert airflow.__version__.startswith("2.")
        return
    asset = parsed(source, tmp_path).timetable.asset_condition.objects[0]
    (watcher,) = asset.watchers
    assert isinstance(watcher, AssetWatcher)
    path, kwargs = watcher.trigger.serialize()
    assert path.endswith("ready.ExportReadyTrigger")
    assert kwargs["vendor"] == "giosg"


def test_mapped_dag_exports_each_listed_item(simulator: Simulator, tmp_path: Path) -> None:
    """The DAG for many exports lists, maps one task over the list, and each lands its own file."""
    (source,) = [body for body in fences(ROOT / BULK_PAGE, "python") if "DAG(" in body]
    landed = tmp_path / "landed"
    dag = parsed(in_folder(source, landed), tmp_path)
    listed = dag.get_task("list_sources").python_callable()
    mapped = dag.get_task("export")
    assert mapped.upstream_task_ids == {"list_sources"}
    labels, uris = [], []
    for arguments in listed:
        task = with_templates(mapped.unmap(arguments))
        label = dag.get_template_env().from_string(mapped.partial_kwargs["map_index_template"])
        labels.append(label.render(task=task))
        uris += [file["uri"] for file in awake(task).execute({})["files"]]
    assert "Tickets" in labels
    assert len(listed) == len(set(labels)) == len(set(uris)) == len(simulator.exports("onna"))
    assert all(Path(uri.removeprefix("file://")).is_file() for uri in uris)


def test_listing_snippet_prints_what_there_is(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the page on many exports prints is what the simulated vendor has; two vendors list nothing."""
    (source,) = [body for body in fences(ROOT / BULK_PAGE, "python") if "DAG(" not in body]
    exec(source, {})
    assert "Tickets" in capsys.readouterr().out
    rows = re.findall(
        r"^\| (\w+) \| (.*?) \| `(\w+)` \|$", (ROOT / BULK_PAGE).read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == len(BUILT_IN)
    for name, gives, parameter in rows:
        cls = vendor_class(name.lower())
        assert gives.startswith("no listing") != (Capability.DATASOURCES in cls.capabilities)
        assert parameter in cls.payload_fields


def test_interval_dag_covers_march(simulator: Simulator, tmp_path: Path) -> None:
    """The backfill commands are understood, and with the DAG on the page they cover each day of a month."""
    from airflow.cli import cli_parser
    from airflow.timetables.base import TimeRestriction

    text = (ROOT / INTERVALS_PAGE).read_text("utf-8")
    (source,) = [body for body in fences(ROOT / INTERVALS_PAGE, "python") if "DAG(" in body]
    dag = parsed(in_folder(source, tmp_path), tmp_path)
    commands = {
        line.split()[2]: line.split()[2:] for line in re.findall(r"^\$ airflow .*$", text, re.MULTILINE)
    }
    assert set(commands) == {"backfill", "dags"}
    three = "backfill" in cli_parser.ALL_COMMANDS_DICT
    given = cli_parser.get_parser().parse_args(commands["backfill" if three else "dags"])
    first, last = (given.from_date, given.to_date) if three else (given.start_date, given.end_date)
    assert given.dag_id == dag.dag_id
    starts, info = [], None
    restriction = TimeRestriction(first, last, catchup=True)
    while info := dag.timetable.next_dagrun_info(
        last_automated_data_interval=info and info.data_interval, restriction=restriction
    ):
        starts.append(info.data_interval.start.in_timezone("Europe/Helsinki").to_datetime_string())
    assert starts == [f"2026-03-{day:02d} 00:00:00" for day in range(1, 32)]


def test_ledger_snippet_covers_each_date_once() -> None:
    """The templates for whole dates give each date of the zone once, also around a change of the clocks."""
    from airflow.timetables.interval import CronDataIntervalTimetable

    (source,) = [body for body in fences(ROOT / INTERVALS_PAGE, "python") if "DAG(" not in body]
    *imports, last = source.strip().split("\n\n")
    names: dict[str, Any] = {}
    exec("\n".join(imports), names)
    timetable = CronDataIntervalTimetable("0 0 * * *", timezone="Europe/London")
    dates = []
    end = pendulum.datetime(2026, 4, 2, tz="Europe/London")
    while len(dates) < 7:
        interval = timetable.infer_manual_data_interval(run_after=end)
        task = eval(last, names)
        task.render_template_fields(
            {"data_interval_start": interval.start, "data_interval_end": interval.end, "task": task}
        )
        assert task.posting_start == task.posting_end
        dates.append(task.posting_end)
        end = interval.start
    assert dates == ["2026-04-01", "2026-03-31", *(f"2026-03-{day}" for day in (30, 29, 28, 27, 26))]


def test_readme_dag_defers(simulator: Simulator, tmp_path: Path) -> None:
    """The DAG of the README gives its worker up while the vendor works."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    simulator.configure("mews", ready_after_seconds=3600.0)
    (source,) = fences(ROOT / "README.md", "python")
    (task,) = parsed(in_folder(source, tmp_path), tmp_path).tasks
    with pytest.raises(TaskDeferred) as deferred:
        rendered(task).execute({})
    (record,) = simulator.exports("mews")
    assert deferred.value.trigger.serialize()[1]["export_id"] == record.id


@pytest.mark.parametrize("page", HOOK_PAGES)
def test_hook_snippets_run_against_the_simulator(page: str, simulator: Simulator, tmp_path: Path) -> None:
    """The snippets of a page run one after the other, as a reader types them."""
    names: dict[str, Any] = {}
    for number, source in enumerate(fences(ROOT / page, "python"), start=1):
        if "DAG(" not in source:
            exec(compile(in_folder(source, tmp_path), f"{page}, snippet {number}", "exec"), names)
    if page.endswith("first-export.md"):
        assert (names["export"].state, len(names["export"].files)) == ("ready", 2)
        assert len(names["result"]["files"]) == 2
        assert len(list(tmp_path.rglob("*.jsonl"))) == 2
        assert len(list(tmp_path.rglob("*.csv"))) == 1
        assert len(simulator.requests("mews", "create")) == 1


def test_sensor_snippet_makes_a_sensor() -> None:
    """The snippet without a DAG in the page on deferrable tasks makes what it says."""
    from airflow_provider_exports.sensors.giosg import GiosgExportSensor

    page = ROOT / "docs/how-to/wait-without-a-worker.md"
    (source,) = [body for body in fences(page, "python") if "DAG(" not in body]
    # Evaluating the last expression gives the sensor itself.
    *imports, last = source.strip().split("\n\n")
    names: dict[str, Any] = {}
    exec("\n".join(imports), names)
    assert isinstance(eval(last, names), GiosgExportSensor)


def test_test_snippets_pass(tmp_path: Path) -> None:
    """The tests that a reader copies from the page on testing pass."""
    module = tmp_path / "test_documented.py"
    module.write_text("\n\n".join(fences(ROOT / TEST_PAGE, "python")), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(module)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = len(re.findall(r"^def test_", module.read_text("utf-8"), re.MULTILINE))
    assert f"{expected} passed" in done.stdout


def test_tutorial_shows_what_the_simulator_prints(simulator: Simulator) -> None:
    """The connections in the tutorial are those that the simulator hands out on its default ports."""
    text = (ROOT / "docs/tutorial/first-export.md").read_text("utf-8")
    shown = re.findall(r"AIRFLOW_CONN_(\w+)_DEFAULT='(.*)'", text)
    assert {name for name, _ in shown} == {"GIOSG", "MEWS"}
    for name, connection in shown:
        printed = simulator.connection_json(name.lower())
        assert connection == printed.replace(simulator.api_origin, "http://127.0.0.1:8765")


def test_connections_as_json_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection written as JSON in the documentation builds its vendor, and all its settings exist."""
    from airflow_provider_exports.hooks.export import ExportHook

    found = re.findall(r"AIRFLOW_CONN_(\w+)='(.*)'", (ROOT / "docs/how-to/connect.md").read_text("utf-8"))
    assert len(found) == len(BUILT_IN)
    for conn_id, connection in found:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", connection)
        vendor = ExportHook(conn_id.lower()).vendor
        values = json.loads(connection)
        assert vendor.name == values["conn_type"]
        assert set(values["extra"]) <= {field.name for field in fields(vendor.settings)}


def headings(page: Path) -> Iterator[str]:
    """Yield the anchors that the headings of a page get."""
    text = FENCE.sub("", page.read_text("utf-8"))
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [name_of(page) for page in PAGES])
def test_relative_links_lead_somewhere(page: str) -> None:
    """A relative link leads to a file of the repository, and its anchor to a heading there."""
    for link in LINK.findall(FENCE.sub("", (ROOT / page).read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_settings_tables_are_complete(vendor: str) -> None:
    """Every setting of a vendor is in exactly one of its two tables, with a meaning and its default."""
    own, shared = TABLES.settings(vendor, "own"), TABLES.settings(vendor, "shared")
    rows = [row.split(" | ") for row in [*own.splitlines()[2:], *shared.splitlines()[2:]]]
    settings = vendor_class(vendor).settings_class
    assert sorted(row[0].strip("| `") for row in rows) == sorted(field.name for field in fields(settings))
    assert all(row[-1].strip(" |") for row in rows)
    assert len(shared.splitlines()) - 2 == len(fields(VendorSettings))


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_form_defaults_are_those_of_the_settings(vendor: str) -> None:
    """A form field is a setting of the same name, and shows the default that holds without it."""
    defaults = {field.name: field.default for field in fields(vendor_class(vendor).settings_class)}
    for name, field in connection_type(vendor)["conn-fields"].items():
        assert name in defaults
        assert field["schema"].get("default", defaults[name]) == defaults[name]


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_vendor_is_documented(vendor: str) -> None:
    """A built-in vendor has a page with its fields, and its form and settings where connections are."""
    page = (ROOT / f"docs/vendors/{vendor}.md").read_text("utf-8")
    assert f"{{generated}} fields {vendor}\n" in page
    assert page.index("## Limits") < page.index("## Fields")
    connect = (ROOT / "docs/how-to/connect.md").read_text("utf-8")
    for wanted in (f"form {vendor}", f"settings {vendor} own", f"settings {vendor} shared"):
        assert f"{{generated}} {wanted}\n" in connect


def test_generated_tables_can_be_made() -> None:
    """Every table that a page asks for exists and has rows."""
    asked = [
        name.split()
        for page in PAGES
        for name in re.findall(r"^```\{generated\} (.*)$", page.read_text("utf-8"), re.MULTILINE)
    ]
    assert asked
    for arguments in asked:
        assert len(TABLES.table(*arguments).splitlines()) > 2, arguments


def test_vendor_tables_tell_the_capabilities() -> None:
    """README says *no* to a listing exactly where the vendor has none; each page has its generated table."""
    readme = (ROOT / "README.md").read_text("utf-8")
    for vendor in BUILT_IN:
        capabilities = vendor_class(vendor).capabilities
        (row,) = re.findall(rf"^\| \[{vendor_class(vendor).display_name}\].*$", readme, re.MULTILINE)
        assert (row.split(" | ")[4] != "no") == (Capability.LIST in capabilities)
        assert (row.split(" | ")[5] != "no") == (Capability.DATASOURCES in capabilities)
        page = (ROOT / f"docs/vendors/{vendor}.md").read_text("utf-8")
        assert f"```{{generated}} abilities {vendor}\n" in page


def test_numbers_in_the_text_hold() -> None:
    """Numbers that the documentation gives in prose are those in the code; change both."""
    rule, shared = RetryRule(), VendorSettings()
    mews, giosg = (vendor_class(name).settings_class() for name in ("mews", "giosg"))
    # explanation/lifecycle.md
    assert (lifecycle.LOOK_AGAIN, shared.clock_margin) == ((3.0, 10.0), 300.0)
    assert (shared.parallel_files, shared.parallel_ranges, shared.slowest_transfer) == (4, 8, 1024)
    assert (transfer.ATTEMPTS, transfer.FAST) == (4, 128 * 1024 * 1024)
    assert (archive.MOST_MEMBERS, archive.MOST_RATIO) == (100_000, 200)
    # explanation/errors.md
    assert (lifecycle.READ_AGAIN, watch.NOT_FOUND_GRACE) == ((1.0, 3.0), 30.0)
    assert (rule.initial, rule.maximum, rule.patience) == (1.0, 30.0, 60.0)
    assert (shared.retry_attempts, shared.max_poll_failures) == (5, 10)
    # how-to/wait-without-a-worker.md
    assert (MINIMUM_DELAY, shared.conflict_interval) == (10.0, 300.0)
    assert (mews.settle_delay, giosg.settle_delay) == (360.0, 3600.0)
    assert (mews.wait_timeout, giosg.wait_timeout) == (86400.0, 3600.0)
    # how-to/recurring.md, how-to/bulk.md
    connhex, medable, onna = (vendor_class(name).settings_class() for name in ("connhex", "medable", "onna"))
    assert [one.settle_delay for one in (connhex, giosg, medable, mews, onna)] == [0, 3600, 60, 360, 1800]
    assert [one.conflict_interval for one in (connhex, giosg, medable, mews, onna)] == [300, 60, 60, 300, 300]
    assert (giosg.max_in_progress, medable.max_open, onna.max_active) == (3, 1, 2)
    # how-to/secure.md, explanation/security.md
    modes = [one.file_mode for one in (connhex, giosg, medable, mews, onna)]
    assert modes == ["", "600", "600", "", "600"]
    # vendors/*.md
    assert (mews.link_lifetime, mews.max_window_days, mews.max_posting_days) == (600.0, 180.0, 180.0)
    assert (mews.poll_initial, mews.poll_factor, mews.poll_maximum) == (15.0, 2.0, 300.0)
    assert (mews.update_lag, mews.max_requests, mews.max_requests_period) == (300.0, 200, 30.0)
    assert (mews.expiry_margin, giosg.expiry_margin) == (30.0, 30.0)
    assert (giosg.max_requests, giosg.max_requests_period, giosg.max_window_days) == (4, 1.0, 31.0)
    assert (giosg.poll_initial, giosg.poll_factor, giosg.poll_maximum) == (2.0, 1.5, 30.0)

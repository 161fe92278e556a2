"""What the documentation takes from the code says what the code does."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from airflow_provider_exports import exceptions
from airflow_provider_exports.core import ExportState
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.provider_info import connection_type
from airflow_provider_exports.simulator import Simulator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def extension(name: str) -> ModuleType:
    """Return a module of ``docs/_ext``."""
    spec = importlib.util.spec_from_file_location(f"exports_doc_{name}", DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


DIAGRAMS, VERSIONS, TABLES = (extension(name) for name in ("diagrams", "versions", "tables"))


@pytest.mark.parametrize("feature", VERSIONS.FEATURES, ids=lambda feature: feature.name[:40])
def test_version_table_is_true_of_this_airflow(feature: Any) -> None:
    """What the table says of the installed version is what that version has."""
    assert VERSIONS.installed() in VERSIONS.VERSIONS
    assert feature.found() == feature.holds(VERSIONS.installed())


def test_version_table_says_what_to_do_without() -> None:
    """Each version that is tested has a column, and each feature that one lacks says what holds there."""
    head, _, *rows = VERSIONS.table().splitlines()
    noxfile = (ROOT / "noxfile.py").read_text("utf-8")
    tested = {tuple(int(part) for part in one) for one in re.findall(r'"(\d+)\.(\d+)\.\d+"', noxfile)}
    assert {one for one in tested if one >= (2, 11)} == set(VERSIONS.VERSIONS)
    assert all(f"| {major}.{minor} |" in head for major, minor in VERSIONS.VERSIONS)
    assert len(rows) == len(VERSIONS.FEATURES)
    assert all(("| no |" in row) == (not row.endswith("|  |")) for row in rows)


def test_states_picture_has_every_state() -> None:
    """Each state is drawn, is come to, and, unless it is an end, is left; no end but *ready* is left."""
    drawn = {node.text for node in ElementTree.fromstring(DIAGRAMS.states_picture()).iter() if node.text}
    changes = DIAGRAMS.transitions()
    assert {state.value for state in ExportState} <= drawn
    assert {one.after for one in changes} == set(ExportState)
    for state in ExportState:
        left = any(one.before == state for one in changes)
        assert left == (not state.finished or state is ExportState.READY)
    assert {one.after for one in changes if not one.met} == {ExportState.CANCELLED}


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_requests_picture_shows_one_export(vendor: str) -> None:
    """The picture on a vendor's page shows one create, looks that only read, and files that were landed."""
    create, wait, land = DIAGRAMS.requests_of(vendor)
    sent = [request for _, request, answer, _ in create.requests if answer == "201" or "/add" in request]
    assert len(sent) == 1 or vendor == "medable"
    assert all(request.startswith(("GET", "HEAD")) or vendor == "mews" for _, request, *_ in wait.requests)
    assert land.requests
    assert "published" in land.outcome
    ElementTree.fromstring(DIAGRAMS.requests_picture(vendor))
    page = (DOCS / f"vendors/{vendor}.md").read_text("utf-8")
    assert f"```{{diagram}} requests {vendor}\n" in page


def test_pictures_hold_no_secret() -> None:
    """No credential and no signature is in a picture, and nothing that changes with each build."""
    with Simulator() as simulator:
        secrets = [*simulator.tokens.values(), simulator.link_secret]
    for vendor in BUILT_IN:
        picture = DIAGRAMS.requests_picture(vendor)
        assert not any(secret in picture for secret in secrets)
        assert not re.search(r"[0-9a-f]{16}|127\.0\.0\.1", picture)


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_table_of_secrets_is_what_is_masked(vendor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each field that the table calls a secret is one to the vendor's client, and it has no other."""
    from airflow_provider_exports.hooks.export import ExportHook

    name = vendor_class(vendor).display_name
    (row,) = [line for line in TABLES.secrets().splitlines() if line.startswith(f"| {name} |")]
    named = re.findall(r"`(\w+)`", row.rstrip("| ").rpartition("|")[2])
    assert set(named) == {
        "password",
        *(
            field
            for field, entry in connection_type(vendor)["conn-fields"].items()
            if entry["schema"].get("format") == "password"
        ),
    }
    with Simulator() as simulator:
        connection = simulator.connection(vendor)
    extra = connection["extra"] | {"auth_mode": "session", "email": "user@example.com"}
    if vendor != "medable":
        extra = connection["extra"]
    for field in named:
        (connection if field == "password" else extra)[field] = f"made-up-{field}"
    monkeypatch.setenv("AIRFLOW_CONN_MADE_UP", json.dumps({**connection, "extra": extra}))
    assert {f"made-up-{field}" for field in named} == set(ExportHook("made_up").vendor.secrets)


def test_every_error_is_among_the_problems() -> None:
    """The page of problems has each error once, and says *final* of those that are not retried."""
    page = (DOCS / "how-to/find-your-problem.md").read_text("utf-8")
    found = re.findall(r"^\*\*`(\w+)`\*\*( \*\(final\)\*|)", page, re.MULTILINE)
    classes = [getattr(exceptions, name) for name in exceptions.__all__ if name[0].isupper()]
    assert sorted(name for name, _ in found) == sorted(cls.__name__ for cls in classes)
    assert {name for name, final in found if final} == {cls.__name__ for cls in classes if cls.permanent}


def test_retry_parameters_exist() -> None:
    """What the page on retries says to set is a parameter of the run operator, or of every task."""
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_exports.operators.export import RunExportOperator

    page = (DOCS / "how-to/retries.md").read_text("utf-8")
    known = {
        parameter
        for cls in (*RunExportOperator.__mro__, BaseOperator)
        if "__init__" in vars(cls)
        for parameter in inspect.signature(vars(cls)["__init__"]).parameters
    } | {"retry_policy"}
    table = page.partition("## What to set")[2].partition("\n## ")[0]
    named = re.findall(r"`(\w+)=", table)
    assert len(named) > 10
    assert set(named) <= known


def test_index_leads_to_every_page() -> None:
    """Who looks for something finds it from the first page: every how-to is linked there, and in a menu."""
    index = (DOCS / "index.md").read_text("utf-8")
    for folder in ("tutorial", "how-to", "vendors", "extend"):
        assert re.search(rf"^{folder}/\*$", index, re.MULTILINE), folder
    named = {page.stem for page in (DOCS / "how-to").glob("*.md") if f"(how-to/{page.name})" in index}
    assert named >= {
        "connect",
        "find-your-problem",
        "retries",
        "secure",
        "upgrade",
        "destinations",
        "recurring",
    }

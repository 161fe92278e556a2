"""The connection forms in Airflow's own web interface, used by hand in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.provider_info import connection_type
from demo.web_interface import ConnectionsPage, Field, browser, call, running_demo

pytestmark = [pytest.mark.airflow_e2e, pytest.mark.browser]

MISTYPED = "a-mistyped-secret"
# The form of each vendor holds at least the first; all differ from their defaults.
BY_HAND: dict[str, Any] = {
    "wait_timeout": 1800,
    "include_shared": True,
    "notification_medium": "slack",
    "path_form": "api",
}
ACCEPTED = {
    "connhex": "the login is accepted",
    "giosg": "the token is accepted",
    "medable": "the credentials are accepted",
    "mews": "the tokens are accepted",
    "onna": "the login is accepted for account example",
}
REFUSED = {
    "connhex": "the login is refused",
    "giosg": "the credentials are not accepted",
    "medable": "the signature is not accepted",
    "mews": "the credentials are not accepted",
    "onna": "the credentials are not accepted",
}


@dataclass
class Running:
    """The demo with its web interface, and a browser on it."""

    page: ConnectionsPage
    connections: dict[str, dict[str, Any]]

    def call(self, path: str, method: str = "GET", body: Any = None) -> dict[str, Any]:
        """Call Airflow's API about a connection."""
        return call(self.page.driver, f"connections/{path}", method, body)


@pytest.fixture(scope="module")
def running(browser_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The demo, started once."""
    home = tmp_path_factory.mktemp("forms") / "demo"
    with running_demo(home) as url, browser() as driver:
        page = ConnectionsPage(driver, url)
        page.load()
        yield Running(page, json.loads((home / "connections.json").read_text()))


@pytest.fixture
def page(running: Running) -> Iterator[ConnectionsPage]:
    """The page of the connections, without a form."""
    yield running.page
    if running.page.form_is_open:
        running.page.load()


def standard_fields(vendor: str) -> dict[str, Field]:
    """The standard fields that the provider info declares."""
    behaviour = connection_type(vendor)["ui-field-behaviour"]
    fields = {
        name: Field(
            label=behaviour["relabeling"].get(name, name.capitalize()),
            kind={"password": "password", "port": "number"}.get(name, "text"),
            value="",
            placeholder=behaviour["placeholders"].get(name, ""),
            help="",
        )
        for name in ("description", "host", "login", "password", "port", "schema")
    }
    return {name: field for name, field in fields.items() if name not in behaviour["hidden-fields"]}


def extra_fields(vendor: str) -> dict[str, Field]:
    """The vendor's own fields that the provider info declares, with their defaults."""
    return {
        name: Field(
            label=field["label"],
            kind=kind_of(field["schema"]),
            value=shown(field["schema"].get("default")),
            placeholder="",
            help=field.get("description", ""),
        )
        for name, field in connection_type(vendor)["conn-fields"].items()
    }


def kind_of(schema: dict[str, Any]) -> str:
    """What the input for a schema is."""
    if "enum" in schema:
        return "choice"
    if schema.get("format") == "password":
        return "password"
    return {"boolean": "switch", "number": "number", "string": "text"}[schema["type"][0]]


def shown(default: Any) -> str:
    """How a form shows a default."""
    if isinstance(default, bool):
        return "on" if default else ""
    if isinstance(default, float | int):
        return f"{default:.15g}"
    return default or ""


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_form_shows_what_the_provider_declares(vendor: str, page: ConnectionsPage) -> None:
    """All declared fields are there, with label, help, default and choices; secrets are dots; no other is."""
    declared = connection_type(vendor)
    form = page.add()
    form.choose_type(declared["hook-name"])
    form.open("Standard Fields")
    assert list(form.fields().items()) == list(standard_fields(vendor).items())
    form.open("Extra Fields")
    assert list(form.fields().items()) == list(extra_fields(vendor).items())
    for field in declared["conn-fields"].values():
        if "enum" in field["schema"]:
            assert form.options(field["label"]) == field["schema"]["enum"]
    form.close()


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_connection_made_by_hand_works(vendor: str, running: Running, page: ConnectionsPage) -> None:
    """What is typed is stored; Test tells a wrong secret, and after mending it that all is well."""
    declared, known = connection_type(vendor), running.connections[f"{vendor}_default"]
    standard, extra = standard_fields(vendor), extra_fields(vendor)
    name = f"{vendor}_by_hand"
    secrets = {MISTYPED, known["password"]}

    form = page.add()
    form.fill("Connection ID *", name)
    form.choose_type(declared["hook-name"])
    form.open("Standard Fields")
    for field in {"host", "login"} & standard.keys():
        form.fill(standard[field].label, known[field])
    form.fill(standard["password"].label, MISTYPED)
    form.open("Extra Fields")
    typed = {field: value for field, value in (known["extra"] | BY_HAND).items() if field in extra}
    for field, value in typed.items():
        form.fill(extra[field].label, value)
        if extra[field].kind == "password":
            secrets.add(value)
    form.save()

    stored = running.call(name)
    defaults = {field: values["schema"].get("default") for field, values in declared["conn-fields"].items()}
    masked = {field: "***" for field in typed if extra[field].kind == "password"}
    assert json.loads(stored["extra"]) == defaults | typed | masked
    assert {field: stored[field] for field in ("conn_type", "host", "login", "port", "schema")} == {
        "conn_type": vendor,
        "host": known["host"],
        "login": known.get("login"),
        "port": None,
        "schema": None,
    }

    # Without a port the button fails in this Airflow: see the last test.
    running.call(f"{name}?update_mask=port", "PATCH", {"connection_id": name, "conn_type": vendor, "port": 0})
    title, said = page.test(name)
    assert (title, said.split(":")[0]) == ("Test Connection Failed", vendor)
    assert REFUSED[vendor] in said
    assert not [secret for secret in secrets if secret in page.driver.page_source]

    form = page.edit(name)
    form.open("Standard Fields")
    again = form.fields()
    assert (again["host"].value, again["password"].value) == (known["host"], "***")
    form.fill(standard["password"].label, known["password"])
    form.save()
    title, said = page.test(name)
    assert (title, said.split(":")[0]) == (
        "Test Connection Successful",
        f"{declared['hook-name']} answers at {known['host'].split(':')[0]}",
    )
    assert known["host"] in said
    assert ACCEPTED[vendor] in said
    assert not [secret for secret in secrets if secret in page.driver.page_source]


@pytest.mark.xfail(
    raises=AssertionError,
    reason="the Test button of Airflow 3.3.1 and 3.3.2 sends port 0 for none, which is then taken for another"
    " server (apache/airflow#73298); when this passes, do without the port in the test above",
)
def test_button_works_for_a_connection_without_port(page: ConnectionsPage) -> None:
    """Test works for a connection as the form makes it."""
    assert page.test("giosg_default")[0] == "Test Connection Successful"

"""The trigger forms of the example DAGs in Airflow's own web interface, used by hand in a browser."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.params import export_params
from demo.web_interface import FIRST_SECTION, TriggerField, TriggerForm, browser, call, running_demo

pytestmark = [pytest.mark.airflow_e2e, pytest.mark.browser]

RUN_SECONDS = 150.0
ROOM = "774001f1-e223-5f83-b56f-7511f214f4e0"
# What the example leaves out of the form.
OMITTED = {"connhex": ["type", "periodicity", "period_start"]}
# What is typed, and where, for an export of each vendor.
FILLED_IN: dict[str, list[tuple[str, ...]]] = {
    "connhex": [
        ("type", "Channel", "00000000-0000-4000-8000-000000000001"),
        ("type", "Subtopic", "events.data"),
        ("type", "Targets", "urn:cpt:smartdevice:nid:AA01:temp"),
        ("open", "Window"),
        ("choose_day", "Start", "2026/01/01"),
        ("choose_day", "End", "2026/01/05"),
    ],
    "giosg": [
        ("type", "Room", ROOM),
        ("choose_day", "From", "2026/01/01"),
        ("choose_day", "Until", "2026/01/05"),
    ],
    "medable": [("type", "Object", "accounts")],
    "mews": [("type", "Entity type", "Payment")],
    "onna": [("type", "Workspace", "weekly-archive")],
}
# Section and label, a text that the vendor's rules do not allow there, and the name of the param.
REFUSED = {
    "connhex": ("Processing", "Granularity", "often", "granularity"),
    "giosg": (FIRST_SECTION, "Room", "Web shop", "room_id"),
    "medable": (FIRST_SECTION, "Object", "two words", "objects"),
    "mews": ("Scope", "Enterprises", "ours", "enterprise_ids"),
    "onna": ("More", "Id", "a/b", "unique_id"),
}


@dataclass
class Running:
    """The demo with its web interface, and a browser on it."""

    driver: Any
    url: str
    home: Path
    pictures: Path

    def form(self, vendor: str) -> TriggerForm:
        """The trigger form of a vendor's example."""
        return TriggerForm(self.driver, self.url, f"{vendor}_from_form")

    def call(self, path: str) -> dict[str, Any]:
        """Call Airflow's API."""
        return call(self.driver, path)

    def followed(self, form: TriggerForm, label: str) -> str:
        """Click an extra link of the task that is shown, and return the text of where it leads."""
        before = self.driver.window_handles
        path = f"//a[normalize-space()='{label}']"
        form.until(lambda: self.driver.find_element(By.XPATH, path)).click()
        (opened,) = form.until(lambda: [one for one in self.driver.window_handles if one not in before])
        self.driver.switch_to.window(opened)
        text: str = form.until(lambda: self.driver.find_element(By.TAG_NAME, "body").text)
        self.driver.close()
        self.driver.switch_to.window(before[0])
        return text

    def picture(self, name: str) -> None:
        """Keep what the page looks like."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))


@pytest.fixture(scope="module")
def running(browser_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The demo, started once."""
    folder = tmp_path_factory.mktemp("trigger")
    # Whoever wants to look at the pictures says where they go.
    pictures = Path(os.environ.get("SCREENSHOTS", folder / "pictures"))
    with running_demo(folder / "demo") as url, browser() as driver:
        yield Running(driver, url, folder / "demo", pictures)


def kind_of(schema: dict[str, Any]) -> str:
    """What Airflow's form makes of a field."""
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "enum" in schema:
        return "choice"
    if types[0] == "array":
        return "lines" if schema["items"].get("type") == "string" else "json"
    by_type = {"boolean": "checkbox", "integer": "number", "object": "json"}
    by_format = {"date": "date", "date-time": "moment"}
    return by_type.get(types[0], by_format.get(schema.get("format", ""), "text"))


def shown_value(param: Any) -> str:
    """What stands in a field at first."""
    if "enum" not in param.schema:
        return ""
    words = param.schema.get("values_display", {})
    return str(words.get(str(param.value), param.value))


def declared(vendor: str) -> dict[str, list[TriggerField]]:
    """The fields that the form of a vendor's example is to show, by section."""
    found: dict[str, list[TriggerField]] = {}
    for param in export_params(vendor, omit=OMITTED.get(vendor, ())).values():
        field = TriggerField(
            label=param.schema["title"],
            required="null" not in param.schema["type"],
            kind=kind_of(param.schema),
            value=shown_value(param),
            # Markdown marks, and the blanks between paragraphs, are not shown.
            help="".join(param.schema["description_md"].replace("*", "").split()),
        )
        found.setdefault(param.schema.get("section", FIRST_SECTION), []).append(field)
    return found


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_form_shows_what_the_params_say(vendor: str, running: Running) -> None:
    """All fields are there, in their sections, with label, help, default and the kind of input they need."""
    form = running.form(vendor)
    wanted = declared(vendor)
    assert form.sections() == [*wanted, "Advanced Options"]
    for number, (section, fields) in enumerate(wanted.items()):
        form.open(section)
        form.until(lambda fields=fields: len(form.fields()) == len(fields))
        assert form.fields() == fields
        running.picture(f"trigger-{vendor}-{number}")


def test_lists_show_the_words_for_their_values(running: Running) -> None:
    """What can be chosen is said in words, and so is no choice."""
    form = running.form("giosg")
    assert form.choices("Type") == ["Chat logs", "Statistics"]
    assert form.choices("File format") == ["CSV", "Excel (xlsx)", "Text (txt)"]
    form.open("Chat logs")
    assert form.choices("Conversations") == ["Only real conversations", "Only the others", "All"]


@pytest.mark.parametrize("vendor", BUILT_IN)
def test_export_is_started_from_the_form(vendor: str, running: Running) -> None:
    """A bad value is refused and named, a good one lands its files; the task waits without a worker."""
    section, label, bad, param = REFUSED[vendor]
    dag = f"dags/{vendor}_from_form"
    form = running.form(vendor)
    for action, *values in FILLED_IN[vendor]:
        getattr(form, action)(*values)
    form.open(section)
    good = dict(values for action, *values in FILLED_IN[vendor] if action == "type").get(label, "")
    form.type(label, bad)
    form.until(lambda: form.may_be_pressed)
    form.press()
    form.until(lambda: f"Invalid input for param {param}" in form.dialog.text)
    running.picture(f"trigger-{vendor}-refused")
    assert running.call(f"{dag}/dagRuns")["total_entries"] == 0

    form.type(label, good)
    form.press()
    form.until(lambda: running.call(f"{dag}/dagRuns")["total_entries"] == 1)
    (run,) = running.call(f"{dag}/dagRuns")["dag_runs"]
    page = f"{running.url}/dags/{vendor}_from_form/runs/{run['dag_run_id']}/tasks/export"
    running.driver.get(page)
    task = f"{dag}/dagRuns/{quote(run['dag_run_id'])}/taskInstances/export"
    states = [None]
    deadline = time.monotonic() + RUN_SECONDS
    while states[-1] not in ("success", "failed"):
        assert time.monotonic() < deadline, states
        if (state := running.call(task)["state"]) != states[-1]:
            states.append(state)
            if state == "deferred":
                form.until(lambda: "Deferred" in running.driver.find_element(By.TAG_NAME, "body").text)
                running.picture(f"trigger-{vendor}-deferred")
        time.sleep(0.2)
    assert "deferred" in states
    assert states[-1] == "success"
    form.until(lambda: "Success" in running.driver.find_element(By.TAG_NAME, "body").text)
    running.picture(f"trigger-{vendor}-done")
    landed = running.home / "exports" / vendor / "from-form"
    (manifest,) = landed.rglob("_export*")
    export_id = json.loads(manifest.read_text())["export_id"]
    assert all(file.stat().st_size > 0 for file in landed.rglob("*.*"))
    running.driver.get(f"{page}/details")
    assert export_id in running.followed(form, "Export")


def test_incomplete_form_cannot_be_sent(running: Running) -> None:
    """The button waits for the last field that must be filled in; what is sent is what was filled in."""
    form = running.form("giosg")
    assert not form.may_be_pressed
    form.choose_day("From", "2026/01/01")
    form.choose_day("Until", "2026/01/05")
    assert not form.may_be_pressed
    form.type("Room", ROOM)
    form.until(lambda: form.may_be_pressed)
    form.press()
    latest = "dags/giosg_from_form/dagRuns?order_by=-run_after&limit=1"
    expected = {
        "conn_id": "giosg_default",
        "room_id": ROOM,
        "type": "logs",
        "format": "csv",
        "starting_at": "2026-01-01T00:00:00.000Z",
        "ending_at": "2026-01-05T00:00:00.000Z",
        "is_real_conversation": None,
        "min_message_count": None,
    }
    form.until(lambda: [run["conf"] for run in running.call(latest)["dag_runs"]] == [expected])

"""The trigger forms of the example DAGs in Airflow's own web interface, used by hand in a browser."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.params import export_params
from demo.web_interface import PROGRAMS, browser, running_demo

pytestmark = [pytest.mark.airflow_e2e, pytest.mark.browser]

PATIENCE_SECONDS = 30.0
RUN_SECONDS = 150.0
ROOM = "774001f1-e223-5f83-b56f-7511f214f4e0"
# What the example leaves out of the form.
OMITTED = {"connhex": ["type", "periodicity", "period_start"]}
FIRST_SECTION = "Run Parameters"
# Over the API and with the session of the page.
REQUEST = """
const [path, done] = arguments;
fetch(`/api/v2/${path}`).then(answer => answer.json()).then(done);
"""
FIELDS = """
const text = (root, part) => root.querySelector(`[data-part=${part}]`)?.textContent.trim() ?? "";
const content = arguments[0].querySelector("[data-part=item-content]:not([hidden])");
return [...content.querySelectorAll("[data-scope=field][data-part=root]")].map(root => {
    const input = root.querySelector("input:not([type=hidden]), textarea");
    const kinds = {combobox: "choice", spinbutton: "number"};
    const kind = root.querySelector("[data-testid=datetime-input]") ? "moment"
        : root.querySelector(".monaco-editor, [id^=json-editor], [data-keybinding-context]") ? "json"
        : kinds[input?.role] ?? (input?.tagName === "TEXTAREA" ? "lines" : input?.type);
    return {
        label: text(root, "label").replace(/\\s*\\*$/, ""),
        required: root.querySelector("[data-part=label]").hasAttribute("data-required"),
        kind,
        // What was chosen stands beside the box for typing.
        value: kind === "choice" ? input.parentElement.parentElement.textContent
            : kind === "text" || kind === "number" ? input.value : "",
        help: text(root, "helper-text").replace(/\\s+/g, ""),
    };
});
"""


@dataclass(frozen=True)
class Field:
    """A field of a form, as it is shown; its help without blanks."""

    label: str
    required: bool
    kind: str
    value: str
    help: str


class TriggerForm:
    """The dialog that starts a DAG."""

    def __init__(self, driver: Any, url: str, dag_id: str) -> None:
        self.driver = driver
        driver.get(f"{url}/dags/{dag_id}")
        self.until(lambda: driver.find_element(By.CSS_SELECTOR, "[aria-label='Trigger Dag']")).click()
        self.dialog: WebElement = self.until(self._dialog)

    def _dialog(self) -> WebElement | None:
        # Beside it lie the closed ones of the page.
        found = self.driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")
        return next((one for one in found if FIRST_SECTION in one.text), None)

    def until(self, happened: Any) -> Any:
        """Return the first true result of ``happened``."""
        return WebDriverWait(self.driver, PATIENCE_SECONDS, 0.1, [Exception]).until(lambda _: happened())

    def sections(self) -> list[str]:
        """Return the names of the sections."""
        return [one.text for one in self.dialog.find_elements(By.CSS_SELECTOR, "[data-part=item-trigger]")]

    def open(self, section: str) -> None:
        """Open a section; the one that was open closes."""
        trigger = self.dialog.find_element(By.XPATH, f".//button[normalize-space()='{section}']")
        if trigger.get_attribute("aria-expanded") != "true":
            trigger.click()
        self.until(lambda: trigger.get_attribute("aria-expanded") == "true")
        self.until(lambda: len(self._contents()) == 1)

    def _contents(self) -> list[WebElement]:
        found = self.dialog.find_elements(By.CSS_SELECTOR, "[data-part=item-content]")
        return [one for one in found if one.is_displayed()]

    def fields(self) -> list[Field]:
        """Return the fields of the open section."""
        return [Field(**values) for values in self.driver.execute_script(FIELDS, self.dialog)]

    def choices(self, label: str) -> list[str]:
        """Return what a field lets choose from."""
        box = self._field(label).find_element(By.CSS_SELECTOR, "input[role=combobox]")
        box.send_keys(Keys.ARROW_DOWN)
        found: list[str] = self.until(self._options)
        # Leaves the choice as it was.
        box.send_keys(Keys.TAB)
        return found

    def _options(self) -> list[str]:
        # The page behind the dialog has lists as well.
        found = self.driver.find_elements(By.CSS_SELECTOR, "[role=option]")
        return [one.text for one in found if one.is_displayed()]

    def type(self, label: str, text: str) -> None:
        """Type into a field."""
        self._field(label).find_element(By.CSS_SELECTOR, "input, textarea").send_keys(
            Keys.CONTROL, "a", Keys.NULL, text, Keys.TAB
        )

    def choose_day(self, label: str, day: str) -> None:
        """Choose midnight of a day, such as ``2026/01/31``."""
        self._field(label).find_element(By.CSS_SELECTOR, "[data-testid=datetime-input]").click()
        open_one = "[data-scope=popover][data-part=content]:not([hidden]) input"
        box = self.until(lambda: self.driver.find_element(By.CSS_SELECTOR, open_one))
        box.send_keys(day, Keys.TAB)
        box.send_keys(Keys.ESCAPE)
        self.until(lambda: not self.driver.find_elements(By.CSS_SELECTOR, open_one))

    def press(self) -> None:
        """Press *Trigger*."""
        self._button().click()

    @property
    def may_be_pressed(self) -> bool:
        """Whether *Trigger* can be pressed."""
        return self._button().is_enabled()

    def _button(self) -> WebElement:
        return self.dialog.find_element(By.XPATH, ".//button[normalize-space()='Trigger']")

    def _field(self, label: str) -> WebElement:
        path = f".//label[@data-part='label' and starts-with(normalize-space(), \"{label}\")]"
        return self.dialog.find_element(By.XPATH, f"{path}/ancestor::*[@data-scope='field'][@role='group']")


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
        answer: dict[str, Any] = self.driver.execute_async_script(REQUEST, path)
        return answer

    def picture(self, name: str) -> None:
        """Keep what the page looks like."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.pictures / f"{name}.png"))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The demo, started once."""
    if missing := [program for program in PROGRAMS if not shutil.which(program)]:
        pytest.skip(f"{' and '.join(missing)} missing; Debian: apt-get install chromium chromium-driver")
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


def declared(vendor: str) -> dict[str, list[Field]]:
    """The fields that the form of a vendor's example is to show, by section."""
    found: dict[str, list[Field]] = {}
    for param in export_params(vendor, omit=OMITTED.get(vendor, ())).values():
        field = Field(
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


def test_export_is_started_from_the_form(running: Running) -> None:
    """An incomplete form cannot be sent, a bad value is refused and named, a good one lands its file."""
    runs = "dags/giosg_from_form/dagRuns"
    form = running.form("giosg")
    assert not form.may_be_pressed
    form.choose_day("From", "2026/01/01")
    form.choose_day("Until", "2026/01/05")
    assert not form.may_be_pressed
    form.type("Room", "Web shop")
    form.until(lambda: form.may_be_pressed)

    form.press()
    form.until(lambda: "Invalid input for param room_id: 'Web shop'" in form.dialog.text)
    running.picture("trigger-refused")
    assert running.call(runs)["total_entries"] == 0

    form.type("Room", ROOM)
    form.press()
    form.until(lambda: running.call(runs)["total_entries"] == 1)
    deadline = time.monotonic() + RUN_SECONDS
    while (run := running.call(runs)["dag_runs"][0])["state"] not in ("success", "failed"):
        assert time.monotonic() < deadline, run
        time.sleep(1)
    running.driver.get(f"{running.url}/dags/giosg_from_form/runs/{run['dag_run_id']}")
    form.until(lambda: "Success" in running.driver.find_element(By.TAG_NAME, "body").text)
    running.picture("trigger-done")
    assert run["state"] == "success"
    assert run["conf"] == {
        "conn_id": "giosg_default",
        "room_id": ROOM,
        "type": "logs",
        "format": "csv",
        "starting_at": "2026-01-01T00:00:00.000Z",
        "ending_at": "2026-01-05T00:00:00.000Z",
        "is_real_conversation": None,
        "min_message_count": None,
    }
    landed = running.home / "exports" / "giosg" / "from-form"
    (manifest,) = landed.rglob("_export*")
    assert json.loads(manifest.read_text())["export_id"] == manifest.parent.name
    (file,) = landed.rglob("*.csv")
    assert file.stat().st_size > 0

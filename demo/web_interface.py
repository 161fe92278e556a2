"""Airflow's forms as a user sees them: in Chromium, with the demo behind them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from demo.airflow_processes import free_port, tail

# On Debian and Ubuntu in the packages chromium and chromium-driver.
PROGRAMS = ("chromium", "chromedriver")
_START_SECONDS = 240.0
_PATIENCE_SECONDS = 30.0
_RUN_SECONDS = 240.0
# What is met while the page is being drawn.
_NOT_YET = (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)


@contextlib.contextmanager
def running_demo(home: Path) -> Iterator[str]:
    """Run ``demo/run.py --ui`` in the folder ``home``; gives the address of the web interface.

    :raises RuntimeError: it does not start.
    """
    port = free_port()
    command = [sys.executable, str(Path(__file__).with_name("run.py")), "--ui"]
    output = home.with_name(f"{home.name}.txt")
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--home", str(home), "--port", str(port)], stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while "ready: " not in output.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("\n".join(["the demo does not start", *tail(output)]))
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextlib.contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """Run a headless Chromium, always with the same language, theme and size."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--lang=en-US",
        "--blink-settings=preferredColorScheme=1",
        "--window-size=1000,2000",
        "--hide-scrollbars",
        "--no-proxy-server",
        # A container has little of it.
        "--disable-dev-shm-usage",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    # It leaves something behind in the temporary folder each time.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        environment = os.environ | {"TMPDIR": folder}
        service = webdriver.ChromeService(shutil.which("chromedriver"), env=environment)
        with webdriver.Chrome(options, service) as driver:
            yield driver


class ConnectionsPage:
    """The page *Admin > Connections*.

    :param url: address of the web interface.
    """

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def load(self) -> None:
        """Open the page, or open it anew, which closes a form."""
        self.driver.get(f"{self.url}/connections")
        self.until(lambda: self.driver.find_elements(By.CSS_SELECTOR, "[aria-label='Edit Connection']"))

    @property
    def form_is_open(self) -> bool:
        """Whether a form covers the page."""
        return bool(self.driver.find_elements(By.CSS_SELECTOR, "[role=dialog]"))

    def add(self) -> Form:
        """Open the form for a new connection."""
        self._press("//button[normalize-space()='Add Connection']")
        return Form(self)

    def edit(self, connection_id: str) -> Form:
        """Open the form of a connection."""
        self._press(f"{_row(connection_id)}//button[@aria-label='Edit Connection']")
        return Form(self)

    def test(self, connection_id: str) -> tuple[str, str]:
        """Press the Test button of a connection; returns title and text of the message that comes."""
        earlier = self._test_messages()
        self._press(f"{_row(connection_id)}//button[@aria-label='Test Connection']")
        ((_, title, text),) = self.until(lambda: self._test_messages() - earlier)
        return title, text

    def until(self, happened: Callable[[], Any]) -> Any:
        """Return the first true result of ``happened``."""
        return WebDriverWait(self.driver, _PATIENCE_SECONDS, 0.1, _NOT_YET).until(lambda _driver: happened())

    def _press(self, path: str) -> None:
        def press() -> bool:
            self.driver.find_element(By.XPATH, path).click()
            return True

        self.until(press)

    def _test_messages(self) -> set[tuple[str, str, str]]:
        found = (tuple(message) for message in self.driver.execute_script(_MESSAGES))
        # The message that a connection was saved may come only now.
        return {(name, title, text) for name, title, text in found if title.startswith("Test Connection")}


_MESSAGES = """
const text = (root, part) => root.querySelector(`[data-part=${part}]`)?.textContent.trim() ?? "";
return [...document.querySelectorAll("[data-scope=toast][data-part=root]")].map(
    root => [root.id, text(root, "title"), text(root, "description")]
);
"""


def _row(connection_id: str) -> str:
    return f"//tr[td[normalize-space()='{connection_id}']]"


@dataclass(frozen=True)
class Field:
    """A field of a form, as it is shown."""

    label: str
    #: ``text``, ``password``, ``number``, ``switch`` or ``choice``.
    kind: str
    #: What stands in it, as text; of a switch ``on`` or nothing.
    value: str
    placeholder: str
    help: str


class Form:
    """The dialog that adds or edits a connection."""

    def __init__(self, page: ConnectionsPage) -> None:
        self._page = page
        self.dialog: WebElement = page.until(
            lambda: page.driver.find_element(By.CSS_SELECTOR, "[role=dialog]")
        )

    def choose_type(self, name: str) -> None:
        """Choose the connection type of this name."""
        box = self._page.until(lambda: self._input("Connection Type *"))
        box.send_keys(name, Keys.ENTER)
        self._page.until(lambda: self.dialog.find_element(By.XPATH, _section("Extra Fields")))

    def open(self, section: str) -> None:
        """Open a section; the one that was open closes."""
        trigger = self.dialog.find_element(By.XPATH, _section(section))
        if trigger.get_attribute("aria-expanded") != "true":
            trigger.click()
        # What moves cannot be clicked.
        self._page.until(lambda: self._page.driver.execute_script(_AT_REST, self.dialog))

    def fields(self) -> dict[str, Field]:
        """Return the fields of the open section by name, in their order."""
        found = self._page.driver.execute_script(_FIELDS, self.dialog)
        return {values.pop("name"): Field(**values) for values in found}

    def options(self, label: str) -> list[str]:
        """Return what a field lets choose from."""
        box = self._input(label)
        box.send_keys(Keys.ARROW_DOWN)
        options = self._page.until(lambda: self.dialog.find_elements(By.CSS_SELECTOR, "[role=option]"))
        found = [option.text for option in options]
        # Closes the list and leaves the choice as it was.
        box.send_keys(Keys.ENTER)
        return found

    def fill(self, label: str, value: Any) -> None:
        """Type, choose or switch a value."""
        box = self._input(label)
        if isinstance(value, bool):
            if box.is_selected() != value:
                # The input itself is out of sight.
                box.find_element(By.XPATH, "./..").click()
        elif box.get_attribute("role") == "combobox":
            box.send_keys(str(value), Keys.ENTER)
        else:
            box.send_keys(Keys.CONTROL, "a")
            box.send_keys(str(value), Keys.TAB)

    def save(self) -> None:
        """Press *Save*; returns when that is done."""
        self._leave("normalize-space()='Save'")

    def close(self) -> None:
        """Close the form and save nothing."""
        self._leave("@aria-label='Close'")

    def _leave(self, button: str) -> None:
        self.dialog.find_element(By.XPATH, f".//button[{button}]").click()
        self._page.until(lambda: not self._page.form_is_open)

    def _input(self, label: str) -> WebElement:
        name = f".//label[@data-part='label' and normalize-space()=\"{label}\"]"
        field = self.dialog.find_element(By.XPATH, f"{name}/ancestor::*[@data-scope='field'][@role='group']")
        return field.find_element(By.CSS_SELECTOR, "input, textarea")


_AT_REST = """
const contents = [...arguments[0].querySelectorAll("[data-part=item-content]")].filter(one => !one.hidden);
const moving = arguments[0].getAnimations({subtree: true}).some(one => one.playState === "running");
return !moving && contents.length === 1 && contents[0].dataset.state !== "closed";
"""
_FIELDS = """
const text = (root, part) => root.querySelector(`[data-part=${part}]`)?.textContent.trim() ?? "";
const kinds = {combobox: "choice", spinbutton: "number"};
const content = arguments[0].querySelector("[data-part=item-content]:not([hidden])");
return [...content.querySelectorAll("[data-scope=field][data-part=root]")].map(root => {
    const input = root.querySelector("input, textarea");
    // Of a choice this one is for typing only; a hidden one has the name and the value.
    const named = root.querySelector("[name]");
    const kind = {checkbox: "switch", password: "password"}[input.type] ?? "text";
    return {
        name: named.name.replace(/^element_/, ""),
        label: text(root, "label"),
        kind: kinds[input.role] ?? kind,
        value: kind === "switch" ? (input.checked ? "on" : "") : named.value,
        placeholder: input.placeholder,
        help: text(root, "helper-text"),
    };
});
"""


def _section(title: str) -> str:
    return f".//button[normalize-space()='{title}']"


FIRST_SECTION = "Run Parameters"
"""Section of a trigger form whose fields name no section."""


@dataclass(frozen=True)
class TriggerField:
    """A field of a trigger form, as it is shown."""

    label: str
    required: bool
    #: ``text``, ``number``, ``lines``, ``choice``, ``checkbox``, ``date``, ``moment`` or ``json``.
    kind: str
    value: str
    #: Without blanks.
    help: str


class TriggerForm:
    """The dialog that starts a DAG, opened from the DAG's page.

    :param url: address of the web interface.
    """

    def __init__(self, driver: webdriver.Chrome, url: str, dag_id: str) -> None:
        self.driver = driver
        driver.get(f"{url}/dags/{dag_id}")
        self.until(lambda: driver.find_element(By.CSS_SELECTOR, "[aria-label='Trigger Dag']")).click()
        self.dialog: WebElement = self.until(self._dialog)

    def _dialog(self) -> WebElement | None:
        # Beside it lie the closed ones of the page.
        found = self.driver.find_elements(By.CSS_SELECTOR, "[role=dialog]")
        return next((one for one in found if FIRST_SECTION in one.text), None)

    def until(self, happened: Callable[[], Any]) -> Any:
        """Return the first true result of ``happened``."""
        return WebDriverWait(self.driver, _PATIENCE_SECONDS, 0.1, [Exception]).until(lambda _: happened())

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

    def fields(self) -> list[TriggerField]:
        """Return the fields of the open section."""
        return [TriggerField(**values) for values in self.driver.execute_script(_TRIGGER_FIELDS, self.dialog)]

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
            Keys.CONTROL, "a", Keys.NULL, text or Keys.DELETE, Keys.TAB
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


_TRIGGER_FIELDS = """
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


def call(driver: webdriver.Chrome, path: str, method: str = "GET", body: Any = None) -> dict[str, Any]:
    """Call Airflow's API with the session of the page that is open."""
    content = None if body is None else json.dumps(body)
    answer: dict[str, Any] = driver.execute_async_script(_REQUEST, path, method, content)
    return answer


def run_dag(driver: webdriver.Chrome, url: str, dag_id: str) -> None:
    """Run a DAG to its end.

    :raises RuntimeError: it fails, or takes too long.
    """
    driver.switch_to.default_content()
    driver.get(url)
    call(driver, f"dags/{dag_id}", "PATCH", {"is_paused": False})
    run = call(driver, f"dags/{dag_id}/dagRuns", "POST", {"logical_date": None})
    deadline = time.monotonic() + _RUN_SECONDS
    while (state := call(driver, f"dags/{dag_id}/dagRuns/{run['dag_run_id']}")["state"]) != "success":
        if state not in ("queued", "running") or time.monotonic() > deadline:
            raise RuntimeError(f"the run of {dag_id} is {state}")
        time.sleep(1)


_REQUEST = """
const [path, method, body, done] = arguments;
const options = {method, body, headers: {"Content-Type": "application/json"}};
fetch(`/api/v2/${path}`, options).then(answer => answer.json()).then(done);
"""


EXPORTS_FRAME = "iframe[title=Exports]"
"""Selector of the frame that holds the page of all exports."""


class ExportsPage:
    """The page *Browse > Exports*, in its frame.

    :param url: address of the web interface.
    """

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def open(self) -> None:
        """Open it by its entry under Browse, and go into its frame."""
        self.driver.switch_to.default_content()
        self.driver.get(self.url)
        self.one("//nav//button[contains(., 'Browse')] | //button[contains(., 'Browse')]").click()
        self.one("//a[normalize-space()='Exports']").click()
        self.enter()

    def enter(self) -> None:
        """Go into its frame."""
        self.driver.switch_to.default_content()
        self.driver.switch_to.frame(self.one(EXPORTS_FRAME, By.CSS_SELECTOR))
        self.one("//h1[.='Exports']")

    def one(self, where: str, by: str = By.XPATH) -> Any:
        """Return what comes to be seen there."""

        def shown(driver: webdriver.Chrome) -> Any:
            return next((one for one in driver.find_elements(by, where) if one.is_displayed()), None)

        return WebDriverWait(self.driver, 60).until(shown)

    def rows(self) -> list[str]:
        """Return the text of each row."""
        return [row.text for row in self.driver.find_elements(By.CSS_SELECTOR, "tbody tr")]

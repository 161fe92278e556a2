"""Take the pictures of Airflow's web interface that the documentation shows: ``make screenshots``.

It starts the demo with Airflow's web interface and a headless Chromium, and writes to ``docs/images``: the
connection form of each vendor, a trigger form, and the page of all exports after a run. Needs ``chromium``
and ``chromedriver``. ``shown.json`` beside them holds the fields in the pictures, so that a test can tell
when they are out of date.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from airflow_provider_exports.core.forms import form_fields
from airflow_provider_exports.provider_info import get_provider_info
from demo.web_interface import (
    PROGRAMS,
    ConnectionsPage,
    ExportsPage,
    TriggerForm,
    browser,
    run_dag,
    running_demo,
)

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def take(page: ConnectionsPage, connection_type: dict[str, Any], folder: Path) -> Path:
    """Write the picture of one form, empty, with the vendor's own fields open; returns the file."""
    name = connection_type["connection-type"]
    page.load()
    form = page.add()
    form.choose_type(connection_type["hook-name"])
    form.fill("Connection ID *", f"{name}_default")
    form.open("Extra Fields")
    file = folder / f"connection-{name}.png"
    file.write_bytes(form.dialog.screenshot_as_png)
    return file


def take_trigger_form(driver: WebDriver, url: str, file: Path) -> dict[str, Any]:
    """Write the picture of giosg's trigger form, empty; returns its fields as a test can compare them."""
    form = TriggerForm(driver, url, "giosg_from_form")
    form.until(form.fields)
    file.write_bytes(form.dialog.screenshot_as_png)
    return {name: asdict(field) for name, field in form_fields("giosg").items()}


def take_exports(driver: WebDriver, url: str, file: Path) -> None:
    """Write the picture of the page of all exports, after a run."""
    run_dag(driver, url, "giosg_rooms_bulk")
    driver.set_window_size(1400, 640)
    page = ExportsPage(driver, url)
    page.open()
    page.one("tbody tr", By.CSS_SELECTOR)
    driver.switch_to.default_content()
    file.write_bytes(driver.get_screenshot_as_png())


def main() -> int:
    """Read the command line and take the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(description="Take pictures of the web interface.")
    parser.add_argument("--url", help="web interface of a running demo (default: start one)")
    parser.add_argument("--into", type=Path, default=IMAGES, metavar="FOLDER", help="where the pictures go")
    options = parser.parse_args()
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        parser.error(f"needs {' and '.join(missing)}. On Debian: apt-get install chromium chromium-driver")
    # Selenium would ask even the driver on this machine by way of a proxy.
    os.environ |= {"NO_PROXY": "*", "no_proxy": "*"}
    options.into.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as cleanup:
        url = options.url
        if not url:
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="airflow-exports-screenshots-"))
            url = cleanup.enter_context(running_demo(Path(folder) / "demo"))
        driver = cleanup.enter_context(browser())
        page = ConnectionsPage(driver, url)
        shown = {}
        for connection_type in get_provider_info()["connection-types"]:
            print(take(page, connection_type, options.into))
            shown[connection_type["connection-type"]] = connection_type["conn-fields"]
        shown["trigger"] = take_trigger_form(driver, url, options.into / "trigger-giosg.png")
        take_exports(driver, url, options.into / "exports.png")
        (options.into / "shown.json").write_text(json.dumps(shown, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

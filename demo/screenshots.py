"""Take the pictures of the connection forms that the documentation shows: ``make screenshots``.

It starts the demo with Airflow's web interface and a headless Chromium, and writes
``docs/images/connection-<vendor>.png``. Needs ``chromium`` and ``chromedriver``. ``shown.json`` beside
them holds the fields in the pictures, so that a test can tell when they are out of date.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from airflow_provider_exports.provider_info import get_provider_info
from demo.web_interface import PROGRAMS, ConnectionsPage, browser, running_demo

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


def main() -> int:
    """Read the command line and take the pictures; returns the exit status."""
    parser = argparse.ArgumentParser(description="Take pictures of the connection forms.")
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
        page = ConnectionsPage(cleanup.enter_context(browser()), url)
        shown = {}
        for connection_type in get_provider_info()["connection-types"]:
            print(take(page, connection_type, options.into))
            shown[connection_type["connection-type"]] = connection_type["conn-fields"]
        (options.into / "shown.json").write_text(json.dumps(shown, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

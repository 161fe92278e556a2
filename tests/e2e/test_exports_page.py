"""The page *Exports* in Airflow's own web interface, in a browser, over runs of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="the tests in a browser need the dependency group browser")

from axe_core_python.selenium import Axe
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from demo.web_interface import EXPORTS_FRAME, ExportsPage, browser, run_dag, running_demo

pytestmark = [pytest.mark.airflow_e2e, pytest.mark.browser]

DAG = "giosg_rooms_bulk"
# Airflow's own switch does this.
THEME = """
const [old, now] = arguments;
document.documentElement.classList.replace(old, now);
"""


class Page(ExportsPage):
    """The page, judged for accessibility."""

    def faults(self) -> list[str]:
        """Return what axe finds, of all kinds."""
        found = Axe().run(self.driver)["violations"]
        return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


@pytest.fixture(scope="module")
def exports_page(browser_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page in a demo that has not run a DAG yet."""
    home = tmp_path_factory.mktemp("exports") / "demo"
    with running_demo(home) as url, browser() as driver:
        driver.set_window_size(1400, 1000)
        yield Page(driver, url)


@pytest.fixture(scope="module")
def with_exports(exports_page: Page) -> Page:
    """The page after a run."""
    run_dag(exports_page.driver, exports_page.url, DAG)
    return exports_page


def test_entry_opens_the_empty_page(exports_page: Page) -> None:
    """Without a run the page says why it is empty, without a fault for those who do not see it."""
    exports_page.open()
    assert "No exports in the runs of the last 30 days" in exports_page.one("main", By.CSS_SELECTOR).text
    assert exports_page.faults() == []


def test_exports_of_a_run(with_exports: Page) -> None:
    """Each room's export is a row; the filter narrows; the state of the filter is in the address."""
    with_exports.open()
    rows = with_exports.rows()
    assert len(rows) > 1
    assert all("giosg" in row and "Landed" in row and DAG in row for row in rows)
    only = with_exports.driver.find_element(By.CSS_SELECTOR, "tbody code").text
    Select(with_exports.one("select[name=vendor]", By.CSS_SELECTOR)).select_by_value("giosg")
    with_exports.one("input[name=text]", By.CSS_SELECTOR).send_keys(only)
    with_exports.one("//button[.='Show']").click()
    with_exports.one("//caption[contains(., 'of 1 exports')]")
    assert [only in row for row in with_exports.rows()] == [True]
    assert with_exports.driver.execute_script("return location.search").startswith("?vendor=giosg&")
    with_exports.one("//th/a[.='Size']").click()
    with_exports.one("//th[@aria-sort='descending'][normalize-space()='Size']")
    assert len(with_exports.rows()) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_page_can_be_used_by_everybody(theme: str, with_exports: Page, tmp_path: Path) -> None:
    """axe finds no fault, in the colours of Airflow's theme, files opened."""
    with_exports.open()
    with_exports.one("summary", By.CSS_SELECTOR).click()
    driver = with_exports.driver
    driver.switch_to.default_content()
    driver.execute_script(THEME, "light" if theme == "dark" else "dark", theme)
    with_exports.enter()
    WebDriverWait(driver, 10).until(
        lambda _driver: driver.execute_script("return document.documentElement.dataset.theme") == theme
    )
    assert with_exports.faults() == []
    driver.save_screenshot(str(tmp_path / f"exports-{theme}.png"))


def test_link_leads_out_of_the_frame_to_the_task(with_exports: Page) -> None:
    """Airflow's page of the task takes the place of all, although the frame itself may not leave."""
    with_exports.open()
    with_exports.one("tbody td a", By.CSS_SELECTOR).click()
    driver = with_exports.driver
    driver.switch_to.default_content()
    WebDriverWait(driver, 60).until(lambda _driver: f"/dags/{DAG}/runs/" in driver.current_url)
    assert "/mapped/" in driver.current_url
    assert not driver.find_elements(By.CSS_SELECTOR, EXPORTS_FRAME)
    with_exports.one("//*[contains(., 'Logs')]")

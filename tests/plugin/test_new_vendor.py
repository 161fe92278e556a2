"""The skeleton of a new vendor: complete, importable, and failing until it is filled in."""

from __future__ import annotations

import compileall
import re
from pathlib import Path

import pytest

from airflow_provider_exports.testing import new_vendor
from tests.plugin.installed import ACME, install, python


def fill_in(file: Path, old: str, new: str) -> None:
    """Replace one piece of a file of the skeleton."""
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")


def test_skeleton_installs_and_its_tests_fail_with_what_is_missing(tmp_path: Path) -> None:
    """Everything imports, the whole suite is collected, and each test says what to fill in."""
    project = new_vendor.write("blue_door", tmp_path)
    site = install(project, tmp_path / "site")
    done = python(
        "-c",
        "import blue_door_exports.hook\n"
        "from airflow_provider_exports.core.registry import vendor_class\n"
        "print(vendor_class('blue_door').display_name)",
        site=site,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1:] == ["BlueDoor"], done.stdout + done.stderr
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", site=site, cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "passed" not in done.stdout.splitlines()[-1]
    (errors,) = re.findall(r"(\d+) errors?", done.stdout.splitlines()[-1])
    assert int(errors) > 40
    for missing in ("payload", "samples", "happy_path"):
        assert f"- {missing}: " in done.stdout
    assert "- connection: " not in done.stdout


def test_filled_in_tests_ask_for_the_vendor(tmp_path: Path) -> None:
    """Once the test says what is right, the methods of the vendor say what they must do."""
    project = new_vendor.write("blue", tmp_path)
    fill_in(project / "tests" / "test_blue.py", "payload = {}", 'payload = {"report": "orders"}')
    fill_in(
        project / "tests" / "test_blue.py", "samples = ()", 'samples = (({"id": "1"}, ExportState.QUEUED),)'
    )
    fill_in(project / "tests" / "test_blue.py", "happy_path = ()", 'happy_path = (ok({"id": "1"}),)')
    fill_in(project / "blue_exports" / "vendor.py", 'host = ""', 'host = "https://api.blue.example"')
    site = install(project, tmp_path / "site")
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", site=site, cwd=project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "NotImplementedError: BlueVendor.make_auth" in done.stdout
    assert "docs_url is no https address" in done.stdout
    assert "has no 'Source: https://" in done.stdout


def test_skeleton_has_the_files_of_the_example(tmp_path: Path) -> None:
    """The skeleton and the example package have the same layout; only the example has a server and a DAG."""
    project = new_vendor.write("acme", tmp_path)
    made = {file.relative_to(project).as_posix() for file in project.rglob("*.*") if file.is_file()}
    there = {
        file.relative_to(ACME).as_posix()
        for file in ACME.rglob("*.*")
        if file.suffix in (".py", ".json", ".toml", ".md")
    }
    assert there - made == {"acme_exports/stand_in.py", "example_dags/acme_orders.py"}
    assert made <= there
    assert compileall.compile_dir(project, quiet=2)


@pytest.mark.parametrize(
    ("name", "said"), [("Acme", "lower-case"), ("mews", "already"), ("../acme", "lower-case"), ("", "name")]
)
def test_unusable_name_is_refused(name: str, said: str, tmp_path: Path) -> None:
    """A name that cannot be a connection type, or is taken, writes nothing."""
    with pytest.raises(ValueError, match=said):
        new_vendor.write(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command writes once; a second time it refuses."""
    new_vendor.main(["acme", "--into", str(tmp_path)])
    assert "acme-exports is written" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        new_vendor.main(["acme", "--into", str(tmp_path)])
    assert "exists already" in capsys.readouterr().err

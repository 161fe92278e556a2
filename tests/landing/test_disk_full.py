"""Full disks, and folders that are not ours to write to, real ones: one clear error, then another try."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Some containers allow neither: there a limit on the length of files takes the small disk's place.
OWN_MOUNTS = [["unshare", "--user", "--map-root-user", "--mount"], ["unshare", "--mount"]]
# Root may write anywhere; without this right the mode of a folder binds it like everybody else.
BOUND_BY_MODES = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []

Told = dict[str, dict[str, Any]]


def work(before: list[str], kind: str, folder: Path) -> Told:
    """Run the worker; return what it tells, by name."""
    command = [*before, sys.executable, "-m", "tests.landing.disk_worker", kind, str(folder)]
    ran = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {line["name"]: line for line in lines}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Told]:
    """How the disk was small, and what came of landing there."""
    folder = tmp_path_factory.mktemp("small")
    for before in OWN_MOUNTS:
        with contextlib.suppress(FileNotFoundError):
            mount = [*before, "mount", "-t", "tmpfs", "none", str(folder)]
            if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
                return "tmpfs", work(before, "tmpfs", folder)
    return "limit", work([], "limit", folder)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of landing under a limit on the length of files."""
    return work([], "limit", tmp_path_factory.mktemp("limited"))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of landing where the worker may not write."""
    return work(BOUND_BY_MODES, "locked", tmp_path_factory.mktemp("locked"))


def check(told: dict[str, Any], said: str) -> None:
    """One error that names export and folder, nothing to see, and a good second try."""
    assert told["error"] == "DownloadError"
    assert told["text"].startswith("files export e-1: ")
    assert told["destination"] in told["text"]
    assert said in told["text"]
    assert told["visible"] == []
    assert told["said"] == told["found"] != []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("length-unknown", "no space left"),
        ("length-known", "no space left"),
        ("manifest", "No space left"),
        ("archive", "no space left"),
    ],
)
def test_full_disk(full: tuple[str, Told], name: str, said: str) -> None:
    """Before the transfer, in the middle of it, while an archive is taken apart, at the very last write."""
    how, told = full
    check(told[name], said if how == "tmpfs" else "File too large")
    if how == "tmpfs":
        # Others need the room as well.
        assert told[name]["left"] == 0


@pytest.mark.parametrize("name", ["length-unknown", "length-known", "manifest", "archive"])
def test_limit_on_the_length_of_files(limited: Told, name: str) -> None:
    """It is no full disk, and said as what it is."""
    check(limited[name], "File too large")


@pytest.mark.parametrize("name", ["destination", "folder-below"])
def test_folder_of_somebody_else(locked: Told, name: str) -> None:
    """Where files are gathered, and where they are published."""
    check(locked[name], "Permission denied")
    assert locked[name]["left"] == 0

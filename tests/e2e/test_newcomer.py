"""From a clone to the first landed file: README's first command is what the tests of the demo run.

``bash demo/newcomer`` walks the path itself, in a fresh clone with an empty home, and downloads all packages.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_readme_begins_with_the_demo() -> None:
    """The first thing to type is the demo, the second are the tests, and nothing has to be done before."""
    readme = (ROOT / "README.md").read_text("utf-8")
    first = readme.partition("```console\n")[2].partition("```")[0]
    assert [line.split("#")[0].strip() for line in first.splitlines()] == ["$ make demo", "$ make test"]
    assert readme.index("```console") < 100


def test_demo_is_one_command() -> None:
    """``make demo`` makes its environment by itself, then runs what ``test_demo`` runs."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (needs, recipe) = re.findall(r"^demo: (.*?) ##.*\n\t(.*)$", makefile, re.MULTILINE)[0]
    assert needs == "$(call stamp,.venv)"
    assert recipe == "$(BIN)/python demo/run.py $(WITH)"


def test_path_of_a_newcomer_types_what_readme_shows() -> None:
    """The script takes its last command from README, so that both stay one, and keeps to five of them."""
    script = (ROOT / "demo/newcomer").read_text("utf-8")
    (found,) = re.findall(r"^first=\$\((sed .*)\)$", script, re.MULTILINE)
    first = subprocess.run(["bash", "-c", found], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert first == "make demo\n"
    (commands,) = re.findall(r"^commands=\((.*)\)$", script, re.MULTILINE)
    assert commands.count('"') / 2 <= int(re.findall(r"^most_commands=(\d+)$", script, re.MULTILINE)[0]) == 5
    assert "\nmost_seconds=300\n" in script

"""Every command that README and documentation show is one that exists, with the arguments that it takes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/index.md")),
    *sorted((ROOT / "docs").glob("[!_]*/*.md")),
]
CONSOLE = re.compile(r"^ *```console\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
OURS = "airflow_provider_exports"


def shown() -> list[tuple[str, str]]:
    """Return all pages with the commands that they show."""
    found = []
    for page in PAGES:
        for body in CONSOLE.findall(page.read_text("utf-8")):
            lines = [line.strip() for line in body.splitlines()]
            found += [(page.name, line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]
    return found


def parts(command: str) -> list[list[str]]:
    """Return the commands that a line of shell is made of, without the words that only join them."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in (";", "|", "&&", "||", "do", "done", "until", "while"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def extras() -> set[str]:
    """Return the extras of this package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return set(project["optional-dependencies"])


def check_make(words: list[str]) -> None:
    """A target of the Makefile; what follows are variables."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert all("=" in word or word in targets for word in words)


def check_pip(words: list[str]) -> None:
    """This package with extras that it has, or something that it needs or offers."""
    assert words.pop(0) == "install"
    for word in (one for one in words if not one.startswith("-")):
        name, _, rest = word.partition("[")
        if name == "airflow-provider-exports":
            assert not rest or set(rest.rstrip("]").split(",")) <= extras()
        else:
            assert re.split(r"[<>=\[]", word)[0] in {"universal-pathlib", "apache-airflow-providers-sftp"}


def check_python(words: list[str]) -> None:
    """A module of this package, or the standard library's ``venv``."""
    if not words or words == ["-m", "venv", "venv"]:
        return
    assert words[0] == "-m"
    if words[1].startswith("benchmarks"):  # in an environment of its own
        assert (ROOT / f"{words[1].replace('.', '/')}.py").is_file()
        return
    assert words[1].partition(".")[0] == OURS
    # Asked for help, a command does nothing; its help names the options that it has.
    done = subprocess.run(
        [sys.executable, *words, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in words if word.startswith("--"))


def check_airflow(words: list[str]) -> None:
    """A command that some supported version of Airflow has; this one parses what it has itself."""
    from airflow.cli import cli_parser

    if words[:2] == ["dags", "backfill"] and "backfill" in cli_parser.ALL_COMMANDS_DICT:
        return  # gone in Airflow 3
    if words[0] not in cli_parser.ALL_COMMANDS_DICT:
        assert words[0] in ("backfill", "exports")  # new in Airflow 3.0, and in 3.2 with this package
        return
    cli_parser.get_parser().parse_args(words)


def check_export(words: list[str]) -> None:
    """A connection as an environment variable; other tests read its value."""
    (assignment,) = words
    assert assignment.startswith(("AIRFLOW_CONN_", "AIRFLOW__"))


def nothing(words: list[str]) -> None:
    """Stands for what is the shell's own."""


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "python": check_python,
    "airflow": check_airflow,
    "export": check_export,
    ".": nothing,
    "cd": nothing,
    "git": nothing,
}


@pytest.mark.parametrize(("page", "command"), shown())
def test_command_exists(page: str, command: str) -> None:
    """A command that a page shows can be typed; one of a new kind needs a check here."""
    for program, *words in parts(command):
        CHECKS[Path(program).name if "/" in program else program](words)


def test_commands_are_found() -> None:
    """The pages with commands are read at all."""
    pages = {page for page, _ in shown()}
    assert {"README.md", "CONTRIBUTING.md", "first-export.md", "recurring.md"} <= pages

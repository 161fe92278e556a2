"""What the commands write: results to standard output, all else to standard error."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import IO, Any, Self

from airflow.utils import yaml
from rich import box
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from airflow_provider_exports.cli.definition import NOWHERE
from airflow_provider_exports.landing.fetch import Progress, in_bytes

_NO_EDGE = 10_000
"""Columns of a terminal that is none: what reads on needs whole lines."""


class NobodyReads(Exception):
    """The reader of standard output has gone, such as ``head``."""


@contextlib.contextmanager
def own_output(*, verbose: bool) -> Iterator[IO[str]]:
    """Give standard output to the caller alone, and hush Airflow unless ``verbose``.

    Some of Airflow's logs go to standard output, through streams that were opened long before: only a change
    of the descriptor keeps them out of the JSON that somebody parses.
    """
    stdout, disabled = sys.stdout, logging.root.manager.disable
    with contextlib.ExitStack() as after:
        if not verbose:
            after.callback(logging.disable, disabled)
            logging.disable(logging.CRITICAL)
            after.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        own: IO[str] = stdout
        with contextlib.suppress(OSError, ValueError):
            number = stdout.fileno()
            target = os.dup(sys.stderr.fileno()) if verbose else os.open(os.devnull, os.O_WRONLY)
            after.callback(os.close, target)
            stdout.flush()
            saved = os.dup(number)
            after.callback(os.close, saved)
            after.callback(os.dup2, saved, number)
            os.dup2(target, number)
            own = open(os.dup(saved), "w", encoding=stdout.encoding, errors=stdout.errors)  # noqa: SIM115
            after.callback(_close, own)
        after.enter_context(contextlib.redirect_stdout(sys.stderr if verbose else NOWHERE))
        yield own


def _close(stream: IO[str]) -> None:
    # What a reader that has gone did not take is still in the buffer.
    with contextlib.suppress(OSError):
        stream.close()


class Output:
    """Writes results in the form that was asked for.

    :param form: ``table`` for people, ``plain`` for ``awk``, ``json`` or ``yaml`` with everything.
    :param stream: standard output.
    """

    def __init__(self, form: str, stream: IO[str]) -> None:
        self.whole = form in ("json", "yaml")
        """Whether programs read it."""
        self._form, self._stream = form, stream

    def data(self, value: Any) -> None:
        """Write a value as JSON or YAML."""
        if self._form == "json":
            self._write(json.dumps(value, indent=2) + "\n")
        else:
            self._write(yaml.dump(value, sort_keys=False, allow_unicode=True))

    def rows(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, head: bool = True) -> None:
        """Write a table."""
        if not rows and self._form == "table":
            self.line("nothing found")
            return
        plain = self._form == "plain"
        table = Table(
            box=None if plain else box.ASCII_DOUBLE_HEAD,
            show_header=head,
            show_edge=False,
            pad_edge=False,
            padding=(0, 2, 0, 0) if plain or not head else (0, 1),
        )
        if not head:
            table.box = None
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(self._cell(value) for value in row))
        console = Console(
            file=self._stream,
            markup=False,
            highlight=False,
            emoji=False,
            width=self._width(),
            soft_wrap=False,
        )
        with console.capture() as captured:
            console.print(table)
        self._write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")

    def line(self, text: str) -> None:
        """Write a sentence."""
        self._write(f"{text}\n")

    def _cell(self, value: Any) -> str:
        if value is None:
            return "-" if self._form == "plain" else ""
        if isinstance(value, Size):
            return str(int(value)) if self._form == "plain" else in_bytes(value)
        if isinstance(value, list):
            return ("\n" if self._form == "table" else "; ").join(value)
        # Nothing may steer the terminal.
        return "".join(one if one.isprintable() else " " for one in str(value))

    def _width(self) -> int | None:
        return None if self._form == "table" and self._stream.isatty() else _NO_EDGE

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except BrokenPipeError:
            raise NobodyReads from None


class Size(int):
    """A number of bytes."""


class Lines(logging.Logger):
    """What a command tells meanwhile, on standard error, whatever Airflow's logging is set to."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__("exports", level)
        self.addHandler(_ToConsole(console))

    def isEnabledFor(self, level: int) -> bool:
        """Return whether the command tells so much."""
        return level >= self.level


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            # Through the console that shows the bar, which moves down for it.
            word = "warning: " if record.levelno == logging.WARNING else ""
            self._console.print(word + record.getMessage(), soft_wrap=True)


def error_console() -> Console:
    """Return a console on standard error that takes every text literally."""
    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


class Bar:
    """A progress bar on a terminal, which is gone at the end.

    :param console: standard error.
    """

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            BarColumn(bar_width=None),
            TextColumn("{task.fields[told]}", markup=False),
            console=console,
            expand=True,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        self._task = self._bars.add_task("", total=None, told="asking the vendor")
        return self

    def __exit__(self, *_error: object) -> None:
        self._bars.stop()

    def tell(self, far: Progress) -> None:
        """Show how far it has come."""
        self._bars.update(self._task, total=far.total, completed=far.landed, told=str(far))

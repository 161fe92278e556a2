"""What the commands are called and take.

Every ``airflow`` command of Airflow 3.2 and newer loads this module, so it imports little.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import GroupCommand

PROGRAM = "python -m airflow_provider_exports"
SUMMARY = "Look at, fetch and delete the exports of SaaS products"

INTERRUPTED = 130
"""Exit code after Ctrl-C, as in every shell."""

EXIT_CODES = """\
exit codes:
  0    done
  1    something unexpected, or 'no' to the question of delete
  2    the command line, a file that cannot be read, or the connection is wrong
  3    the payload is not valid, or the vendor refuses or cannot do it
  4    the vendor does not have the export, or not any more
  5    the credentials are not accepted, or may not do this
  6    the export is not ready, or in use: later
  7    the vendor or its file host does not answer properly: later
  8    the export failed or was cancelled at the vendor
  9    the files could not be landed
  130  interrupted
  141  nobody reads the output any more"""

_PERIOD = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class _Nowhere(io.TextIOBase):
    """Takes every text and is never closed: Airflow's loggers keep what they find as standard output."""

    def write(self, text: str) -> int:
        return len(text)


NOWHERE = _Nowhere()


@dataclass(frozen=True)
class Argument:
    """One argument of a command."""

    flags: tuple[str, ...]
    """Its name, or its options, the long one last."""
    options: dict[str, Any]
    """What ``argparse`` takes besides."""


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    """What it is called."""
    help: str
    """What it does, in one line."""
    description: str
    """What it does."""
    examples: tuple[str, ...]
    """Arguments that show how to use it."""
    arguments: tuple[Argument, ...]
    """What it takes, without what all commands take."""


def since(text: str) -> float:
    """Return a time, or a period before now such as ``7d``, as epoch seconds."""
    import time

    from airflow_provider_exports.core.times import instant

    if found := _PERIOD.fullmatch(text.strip()):
        return max(0.0, time.time() - float(found[1]) * _SECONDS[found[2]])
    try:
        return instant(text).timestamp()
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time such as 2026-01-31T12:00 nor a period such as 7d"
        ) from None


def _argument(*flags: str, **options: Any) -> Argument:
    return Argument(flags, options)


_CONNECTION = _argument(
    "conn_id", metavar="CONN_ID", help="Airflow connection; its type names the vendor, its fields say where"
)
_EXPORT = _argument("export_id", metavar="EXPORT_ID", help="the vendor's id of the export")
_FOR_ALL = (
    _argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml", "plain"),
        default="table",
        metavar="(table, json, yaml, plain)",
        help="form of the output; json and yaml hold everything (default: table)",
    ),
    _argument(
        "-v", "--verbose", action="store_true", help="tell each step and, after an error, where it came from"
    ),
)

COMMANDS = (
    Command(
        "vendors",
        "List the vendors, what their APIs offer, and their limits",
        "List the vendors, those of plug-ins as well: what their APIs offer besides create and status, and\n"
        "their limits, with the defaults of a connection.",
        ("vendors", "vendors --output json"),
        (),
    ),
    Command(
        "check",
        "Test a connection",
        "Make one cheap authenticated call and say what it proves. It creates nothing, and works also where\n"
        "the Test button of Airflow's connection form is switched off.",
        ("check mews_default",),
        (_CONNECTION,),
    ),
    Command(
        "validate",
        "Check a payload without sending it",
        "Check what a task would send to create an export, and tell every problem with its place in the\n"
        "payload. Nothing is sent. Rules that compare fields are checked once the form is right.",
        (
            "validate mews payload.json",
            "validate giosg - < payload.json",
            "validate onna payload.json --conn-id onna_default",
        ),
        (
            _argument("vendor", metavar="VENDOR", help="name of the vendor, such as mews"),
            _argument("payload", metavar="FILE", help="JSON file with the payload; - reads standard input"),
            _argument(
                "--conn-id",
                dest="payload_conn_id",
                metavar="CONN_ID",
                help="check with the settings of this connection instead of the defaults",
            ),
        ),
    ),
    Command(
        "list",
        "List exports, where the vendor's API can",
        "List the exports that the connection's user can see, newest first. Mews has no list.",
        ("list giosg_default", "list giosg_default --since 7d --output json"),
        (
            _CONNECTION,
            _argument(
                "--since",
                type=since,
                metavar="TIME",
                help="only those created since then: 2026-01-31, 2026-01-31T12:00+01:00, or a period such\n"
                "as 30m, 12h or 7d",
            ),
        ),
    ),
    Command(
        "show",
        "Show one export",
        "Show one export: its state, its times and its files, without the links.",
        ("show giosg_default 1234",),
        (_CONNECTION, _EXPORT),
    ),
    Command(
        "download",
        "Land the files of a ready export",
        "Land the files of a ready export: all of them whole, then a manifest, or nothing. What came before\n"
        "a failure or Ctrl-C is kept out of sight, and need not come again if the command is run again.",
        (
            "download giosg_default 1234 ./out",
            "download mews_default 1234 s3://aws_default@bucket/mews --layout '{export_id}/{name}'",
            "download onna_default airflow-1234 /data --unpack --as-jsonl --quiet",
        ),
        (
            _CONNECTION,
            _EXPORT,
            _argument(
                "destination",
                metavar="DESTINATION",
                help="folder, or URI of an Airflow object storage path such as s3://aws_default@bucket/prefix",
            ),
            _argument(
                "--layout",
                metavar="LAYOUT",
                help="where the files go below it, with {vendor}, {export_id}, {name}, {stem}, {suffix},\n"
                "{position} (default: {name})",
            ),
            _argument("--unpack", action="store_true", help="take zips apart and decompress gzip files"),
            _argument("--as-jsonl", action="store_true", help="land CSV files and JSON arrays as JSON Lines"),
            _argument("-q", "--quiet", action="store_true", help="no progress and no warnings, errors only"),
        ),
    ),
    Command(
        "delete",
        "Delete an export at the vendor",
        "Delete an export and its files at the vendor, where its API can; that also stops one at work.\n"
        "What has landed stays. It asks before, unless told --yes.",
        ("delete onna_default airflow-1234", "delete onna_default airflow-1234 --yes"),
        (_CONNECTION, _EXPORT, _argument("-y", "--yes", action="store_true", help="do not ask")),
    ),
)


def get_commands() -> list[GroupCommand]:
    """Return ``airflow exports …``, for Airflow 3.2 and newer, which ask each provider for its commands."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand, lazy_load_command

    run = lazy_load_command("airflow_provider_exports.cli.commands.run")
    return [
        GroupCommand(
            name="exports",
            help=SUMMARY,
            description=f"{SUMMARY}.",
            epilog=EXIT_CODES,
            subcommands=[
                ActionCommand(
                    name=command.name,
                    help=command.help,
                    func=run,
                    args=[
                        Arg(one.flags, **one.options)  # type: ignore[no-untyped-call]
                        for one in (*command.arguments, *_FOR_ALL)
                    ],
                    description=command.description,
                    epilog=_epilog(command, "airflow exports"),
                )
                for command in COMMANDS
            ],
        )
    ]


def get_parser() -> argparse.ArgumentParser:
    """Return the parser of ``python -m airflow_provider_exports …``."""
    style: Any = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"{SUMMARY}.",
        epilog=f"COMMAND --help says more about each.\n\n{EXIT_CODES}",
        formatter_class=style,
    )
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            epilog=_epilog(command, PROGRAM),
            formatter_class=style,
        )
        for argument in (*command.arguments, *_FOR_ALL):
            one.add_argument(*argument.flags, **argument.options)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = get_parser().parse_args(arguments)
    try:
        with contextlib.ExitStack() as quiet:
            # What Airflow has to say when it is imported is no output of ours.
            quiet.enter_context(contextlib.redirect_stdout(sys.stderr if options.verbose else NOWHERE))
            if not options.verbose:
                quiet.enter_context(contextlib.redirect_stderr(NOWHERE))
            from airflow_provider_exports.cli.commands import execute
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
    return execute(options)


def _epilog(command: Command, program: str) -> str:
    examples = "\n".join(f"  {program} {example}" for example in command.examples)
    return f"examples:\n{examples}\n\n{EXIT_CODES}"

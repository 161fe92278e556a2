"""What the commands do."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException, ObjectStoragePath

from airflow_provider_exports.cli.definition import INTERRUPTED
from airflow_provider_exports.cli.output import (
    Bar,
    Lines,
    NobodyReads,
    Output,
    Size,
    error_console,
    own_output,
)
from airflow_provider_exports.core.model import Export, Payload, Problem
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.registry import known_vendors, vendor_class
from airflow_provider_exports.core.vendor import Capability, ConnectionInfo, Vendor, invalid_payload
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    DownloadError,
    ExportCancelled,
    ExportConflict,
    ExportError,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportRejected,
    ExportTimedOut,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    RateLimited,
    VendorUnavailable,
    VendorUnreachable,
)
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.landing.fetch import in_bytes
from airflow_provider_exports.landing.names import LAYOUT, check_layout

_UNEXPECTED, _WRONG, _INVALID, _GONE = 1, 2, 3, 4
_NOBODY_READS = 141

_CODES: dict[type[ExportError], int] = {
    InvalidConnection: _WRONG,
    InvalidPayload: _INVALID,
    ExportRejected: _INVALID,
    ExportNotFound: _GONE,
    ExportExpired: _GONE,
    AuthenticationFailed: 5,
    PermissionDenied: 5,
    ExportTimedOut: 6,
    ExportConflict: 6,
    VendorUnavailable: 7,
    ExportFailed: 8,
    ExportCancelled: 8,
    DownloadError: 9,
}

# What an error advises is for tasks.
_ADVICE: dict[type[ExportError], str] = {
    InvalidPayload: "",
    ExportRejected: "The vendors command shows what each API offers.",
    ExportConflict: "Run the command again when the other export has ended.",
    VendorUnreachable: "Check the address in the connection, DNS, proxy and firewall.",
    RateLimited: "Run the command again after a pause.",
    VendorUnavailable: "Usually passes: run the command again.",
    ExportFailed: "A failed export does not recover: create another one.",
    ExportTimedOut: "Run the command again when it is.",
}


class Mistake(Exception):
    """The command line asks for what cannot be."""


def run(options: Namespace) -> None:
    """Run a command of ``airflow exports`` and end the process with its exit code."""
    sys.exit(execute(options))


def execute(options: Namespace) -> int:
    """Run a command and return its exit code, see :data:`~.definition.EXIT_CODES`."""
    with own_output(verbose=options.verbose) as stream:
        command = _Command(options, Output(options.output, stream))
        try:
            return command.run()
        except KeyboardInterrupt:
            then = ": the same command goes on" if options.subcommand == "download" else ""
            command.say(f"interrupted{then}")
            return INTERRUPTED
        except NobodyReads:
            return _NOBODY_READS
        except Exception as error:  # noqa: BLE001 - nobody is above, and people need no traceback
            return command.failed(error)


class _Hook(ExportHook):
    """The hook, with what it logs shown as lines of the command."""

    lines: Lines

    @property
    def log(self) -> Any:
        return self.lines


class _Command:
    def __init__(self, options: Namespace, output: Output) -> None:
        self._options, self._output = options, output
        self._console = error_console()
        self._vendor: Vendor | None = None

    def run(self) -> int:
        commands: dict[str, Callable[[], int]] = {
            "vendors": self._vendors,
            "check": self._check,
            "validate": self._validate,
            "list": self._list,
            "show": self._show,
            "download": self._download,
            "delete": self._delete,
        }
        subcommand: str = self._options.subcommand
        return commands[subcommand]()

    def say(self, text: str) -> None:
        """Write a line to standard error."""
        with contextlib.suppress(OSError):
            self._console.print(text, soft_wrap=True)

    def failed(self, error: Exception) -> int:
        """Tell an error in words and return its exit code."""
        code: int
        match error:
            case ExportError():
                code = _of(_CODES, error, _UNEXPECTED)
                text = _told(error)
            case Mistake():
                code, text = _WRONG, str(error)
            case AirflowNotFoundException():
                # That of the destination.
                code, text = _WRONG, str(error)
            case _:
                code, text = _UNEXPECTED, f"{type(error).__name__}: {self._clean(str(error))}"
        for number, line in enumerate(text.splitlines() or [text]):
            self.say(f"{'' if number else 'error: '}{self._clean(line)}")
        if self._options.verbose:
            for line in "".join(traceback.format_exception(error)).splitlines():
                indent = line[: len(line) - len(line.lstrip())]
                self.say(indent + self._clean(line))
        elif code == _UNEXPECTED:
            self.say("--verbose shows where it came from.")
        return code

    # -- commands --------------------------------------------------------------------------------------

    def _vendors(self) -> int:
        found = [_described(name) for name in known_vendors()]
        if self._output.whole:
            self._output.data(found)
        else:
            columns = ("name", "display_name", "capabilities", "limits")
            rows = [
                (one["name"], one["display_name"], ", ".join(one["capabilities"]), one["limits"])
                for one in found
            ]
            self._output.rows(columns, rows)
        return 0

    def _check(self) -> int:
        told: dict[str, Any] = {"conn_id": self._options.conn_id, "vendor": None}
        try:
            hook = self._hook()
            told["vendor"] = hook.vendor.name
            said = "its fields are well formed; the vendor offers no call to test with"
            if Capability.PING in hook.vendor.capabilities:
                said = hook.run_plan(lambda life: life.call(life.vendor.ping()))
        except ExportError as error:
            if self._output.whole:
                self._output.data({**told, "works": False, "message": self._clean(error.message)})
            raise
        said = self._clean(said)
        if self._output.whole:
            self._output.data({**told, "works": True, "message": said})
        else:
            self._output.line(f"{hook.vendor.display_name} at {hook.vendor.base_url}: {said}.")
        return 0

    def _validate(self) -> int:
        name, conn_id = self._options.vendor, self._options.payload_conn_id
        if name not in known_vendors():
            raise Mistake(f"there is no vendor {name!r}; known are {', '.join(known_vendors())}.")
        vendor = self._hook(conn_id, name).vendor if conn_id else _without_connection(name)
        advice = None
        try:
            payload = _read(self._options.payload, vendor)
            _check(vendor, payload)
            advice = vendor.advise(vendor.prepare(payload))
        except InvalidPayload as error:
            found = [{"path": path, "message": redact(text)} for path, text in error.problems]
        else:
            found = []
        if self._output.whole:
            self._output.data({"vendor": name, "valid": not found, "problems": found, "advice": advice})
        elif found:
            self._output.rows(("path", "message"), [(one["path"] or "-", one["message"]) for one in found])
        else:
            self._output.line("the payload is valid")
        if advice and not self._output.whole:
            self.say(f"warning: {self._clean(advice)}")
        if not found:
            return 0
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        self.say(f"error: {count} in the payload for {vendor.display_name}.")
        return _INVALID

    def _list(self) -> int:
        hook, since = self._hook(), self._options.since
        if since is None:
            exports = hook.list_exports()
        else:
            if Capability.LIST not in hook.vendor.capabilities:
                raise ExportRejected("the vendor's API offers no list exports.", vendor=hook.vendor.name)
            exports = hook.run_plan(lambda life: life.call(life.vendor.list_since(since)))
            # A vendor may return more; what has no time may well be newer.
            exports = [one for one in exports if not one.created_at or one.created_at.timestamp() >= since]
        if self._output.whole:
            self._output.data([self._told(one) for one in exports])
        else:
            columns = ("export_id", "state", "created_at", "expires_at", "files", "size")
            self._output.rows(columns, [_row(one) for one in exports])
        return 0

    def _show(self) -> int:
        told = self._told(self._hook().get_export(self._options.export_id))
        if self._output.whole:
            self._output.data(told)
            return 0
        files = told.pop("files")
        rows = [(name, value) for name, value in told.items()]
        rows += [("file", " ".join(_file(one))) for one in files]
        self._output.rows(("field", "value"), rows, head=False)
        return 0

    def _download(self) -> int:
        options = self._options
        layout = LAYOUT if options.layout is None else options.layout
        destination = options.destination
        if "://" not in destination:
            destination = f"file://{Path(destination).expanduser().absolute()}"
        try:
            check_layout(layout)
            ObjectStoragePath(destination)
        except ValueError as error:
            # A layout or a scheme that does not exist.
            raise Mistake(str(error)) from error
        hook = self._hook(shown=logging.INFO)
        with contextlib.ExitStack() as shown:
            if self._has_bar:
                hook.on_progress = shown.enter_context(Bar(self._console)).tell
            result = hook.download_export(
                options.export_id,
                destination,
                layout=layout,
                unpack=options.unpack,
                as_jsonl=options.as_jsonl,
            )
        if self._output.whole:
            self._output.data(result)
        else:
            self._output.rows(("uri", "size"), [(one["uri"], Size(one["size"])) for one in result["files"]])
        return 0

    def _delete(self) -> int:
        hook, export_id = self._hook(), self._options.export_id
        vendor = hook.vendor
        if not self._options.yes and Capability.DELETE in vendor.capabilities:
            if not sys.stdin.isatty():
                raise Mistake("nobody is there to be asked: add --yes to delete it.")
            at_work = "; one at work is stopped" if vendor.delete_cancels else ""
            question = f"Delete export {export_id} and its files at {vendor.display_name}{at_work}? [y/N] "
            self._console.print(question, end="", soft_wrap=True)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                self.say("not deleted")
                return _UNEXPECTED
        if not hook.delete_export(export_id):
            raise ExportNotFound(
                "it is not there, or not any more.",
                vendor=vendor.name,
                export_id=export_id,
                next_step="Nothing was deleted.",
            )
        if self._output.whole:
            self._output.data({"export_id": export_id, "vendor": vendor.name, "deleted": True})
        else:
            self._output.line(f"{vendor.name} export {export_id}: deleted")
        return 0

    # -- inside ----------------------------------------------------------------------------------------

    @property
    def _has_bar(self) -> bool:
        console = self._console
        return (
            console.is_terminal
            and not console.is_dumb_terminal
            and not self._output.whole
            and not self._options.quiet
        )

    def _hook(
        self, conn_id: str | None = None, vendor: str | None = None, *, shown: int = logging.WARNING
    ) -> _Hook:
        """Return the hook, with the vendor of the connection built.

        :param shown: level from which on lines are shown, if nothing speaks against it.
        """
        # Airflow 3.1 and newer look into the metadata database only for what calls itself a server, as
        # `airflow connections` does.
        os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
        level = shown
        if getattr(self._options, "quiet", False):
            level = logging.ERROR
        elif self._output.whole or (shown == logging.INFO and self._has_bar):
            level = logging.WARNING
        if self._options.verbose:
            level = logging.DEBUG
        hook = _Hook(conn_id or self._options.conn_id, vendor_name=vendor)
        hook.lines = Lines(self._console, level)
        try:
            self._vendor = hook.vendor
        except AirflowNotFoundException as error:
            raise Mistake(
                f"there is no connection {hook.conn_id!r}.\n"
                f"Airflow knows it neither from AIRFLOW_CONN_{hook.conn_id.upper()}, nor from a secrets "
                "backend, nor from its metadata database."
            ) from error
        return hook

    def _told(self, export: Export) -> dict[str, Any]:
        """Return the export result, with the vendor's own word for the state."""
        word = None if export.vendor_status is None else self._clean(str(export.vendor_status))
        return {**export.result(), "vendor_status": word}

    def _clean(self, text: str) -> str:
        return redact(text, self._vendor.secrets if self._vendor is not None else (), limit=2000)


def _of(table: dict[type[ExportError], Any], error: ExportError, otherwise: Any) -> Any:
    return next((table[kind] for kind in type(error).__mro__ if kind in table), otherwise)


def _told(error: ExportError) -> str:
    """Return what happened to which export, and on a second line what to do."""
    first = str(error)
    step = error.next_step or error.advice
    if step and first.endswith(step):
        first = first[: -len(step)].rstrip()
    # An export that is not ready advises sensors.
    if error.next_step is None or isinstance(error, ExportTimedOut):
        step = _of(_ADVICE, error, error.advice)
    return f"{first}\n{step}" if step else first


def _described(name: str) -> dict[str, Any]:
    try:
        cls = vendor_class(name)
        settings = cls.settings_class()
    except Exception as error:  # noqa: BLE001 - a plug-in may be broken in any way
        said = [f"cannot be loaded: {type(error).__name__}: {redact(str(error))}"]
        return {"name": name, "display_name": "", "capabilities": [], "limits": said, "docs_url": ""}
    # The name of the vendor comes first.
    text = re.sub(rf"^{re.escape(cls.display_name)}[^.]*\. ", "", (cls.__dict__.get("__doc__") or "").strip())
    limits = [text.partition("\n")[0].rstrip(".")] if text else []
    if days := getattr(settings, "max_window_days", 0):
        limits.append(f"windows of at most {days:g} days")
    if settings.settle_delay:
        limits.append(f"a window is exported {_period(settings.settle_delay)} after its end")
    if settings.link_lifetime:
        limits.append(f"a link works for {_period(settings.link_lifetime)}")
    if settings.max_requests:
        period = _period(settings.max_requests_period)
        limits.append(f"at most {settings.max_requests} requests in {period} are sent")
    return {
        "name": name,
        "display_name": cls.display_name,
        "capabilities": sorted(one.name.lower() for one in cls.capabilities),
        "limits": limits,
        "docs_url": cls.docs_url,
    }


def _period(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _without_connection(name: str) -> Vendor:
    """Return a vendor with default settings and made-up credentials: it checks payloads, nothing is sent."""
    cls = vendor_class(name)
    made_up = ConnectionInfo(
        "none",
        # Where there is no production address for all, the last part names who asks.
        host=cls.default_host or "https://vendor.invalid/example",
        login="user@example.com",
        password="none",
        extra={"account": "example", "client_token": "none"},
    )
    try:
        return cls(made_up)
    except InvalidConnection as error:
        raise Mistake(f"{name} checks payloads with a connection only: add --conn-id.") from error


def _read(name: str, vendor: Vendor) -> Payload:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise Mistake(f"{name} cannot be read: {error.strerror or type(error).__name__}.") from error
    try:
        payload = json.loads(content.decode("utf-8-sig"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise invalid_payload(vendor.name, [Problem("", f"is no JSON: {error}")]) from error
    if not isinstance(payload, dict):
        raise invalid_payload(vendor.name, [Problem("", "is no JSON object")])
    return payload


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")


def _check(vendor: Vendor, payload: Payload) -> None:
    """Check a payload as a create does, and go on to the next check after a value that cannot be read.

    :raises InvalidPayload: with every problem found.
    """
    try:
        prepared = vendor.prepare(payload)
    except InvalidPayload as unreadable:
        rest = [path.split(".") for path, _ in unreadable.problems]
        more = _found(vendor, _without(payload, rest))
        # What is missing now is told at the places above; what they lack besides shows as it is.
        as_it_is = _shape(vendor, payload)
        above = {".".join(path[:depth]) for path in rest for depth in range(len(path))}
        found = {Problem(*one) for one in unreadable.problems}
        found |= {one for one in more if one.path not in above or one in as_it_is}
        problems = sorted(found, key=lambda one: (one.path, one.message))
        raise invalid_payload(vendor.name, problems) from unreadable
    vendor.check(prepared, time.time())


def _found(vendor: Vendor, payload: Payload) -> set[Problem]:
    try:
        vendor.check(vendor.prepare(payload), time.time())
    except InvalidPayload as error:
        return {Problem(*one) for one in error.problems}
    return set()


def _shape(vendor: Vendor, payload: Payload) -> set[Problem]:
    try:
        vendor.check_shape(payload)
    except InvalidPayload as error:
        return {Problem(*one) for one in error.problems}
    return set()


def _without(value: Any, paths: list[list[str]]) -> Any:
    """Return JSON without the values at ``paths``."""
    gone = {path[0] for path in paths if len(path) == 1}

    def below(key: str) -> list[list[str]]:
        return [path[1:] for path in paths if len(path) > 1 and path[0] == key]

    if isinstance(value, dict):
        return {key: _without(item, below(key)) for key, item in value.items() if key not in gone}
    if isinstance(value, list):
        return [_without(item, below(str(number))) for number, item in enumerate(value)]
    return value


def _row(export: Export) -> list[Any]:
    told = export.result()
    sizes = [file.size for file in export.files]
    size = Size(sum(one or 0 for one in sizes)) if sizes and None not in sizes else None
    return [
        export.export_id,
        export.state.value,
        told["created_at"],
        told["expires_at"],
        len(sizes) if sizes else None,
        size,
    ]


def _file(one: dict[str, Any]) -> list[str]:
    return [one["name"]] if one["size"] is None else [one["name"], f"({in_bytes(one['size'])})"]

"""The commands, in this process against the simulator, and as a user starts them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.cli import commands
from airflow_provider_exports.cli.definition import COMMANDS, EXIT_CODES, main
from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.exceptions import ExportError, _tree
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import landed
from tests.airflow.conftest import Connect
from tests.versions import AIRFLOW

pytestmark = pytest.mark.filterwarnings("ignore")

_PROGRAM = [sys.executable, "-m", "airflow_provider_exports"]

PAYLOADS: dict[str, dict[str, Any]] = {
    "connhex": {
        "type": "oneTime",
        "format": {"extension": "csv", "filename": "run", "timezone": "utc", "template": "tabular"},
        "items": [
            {
                "filename": "temp",
                "params": {
                    "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp", "label": "temperature"},
                    "channelId": "00000000-0000-4000-8000-000000000001",
                    "subtopic": "events.data",
                    "from": 1735689600,
                    "to": 1735776000,
                    "outputFormat": "long",
                },
            }
        ],
    },
    "giosg": {"type": "logs", "format": "csv", "starting_at": "2026-06-01", "ending_at": "2026-06-02"},
    "medable": {
        "label": "visits",
        "objects": "c_visits",
        "format": "text/csv",
        "exportFiles": False,
        "zipFiles": False,
    },
    "mews": {
        "EntityType": "Payment",
        "Filters": {"UpdatedUtc": {"StartUtc": "2026-06-01T00:00:00Z", "EndUtc": "2026-06-02T00:00:00Z"}},
    },
    "onna": {"title": "visits", "workspace_url": "https://enterprise.onna.com/workspace/example/team"},
}


class Ran:
    """What a command in this process wrote and returned."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON and nothing else."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command: ``cli("show", "mews_default", export_id)``."""
    # The commands set it for good.
    monkeypatch.setenv("AIRFLOW_PROCESS_CONTEXT", "")

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = main(arguments)
        written = capsys.readouterr()
        return Ran(code, written.out, written.err)

    return run


def payload_for(simulator: Simulator, vendor: str) -> dict[str, Any]:
    payload = PAYLOADS[vendor]
    return {**payload, "room_id": simulator.rooms()[0]["id"]} if vendor == "giosg" else payload


def ready(simulator: Simulator, vendor: str) -> str:
    """Create an export that is ready at the next look; return its id."""
    simulator.configure(vendor, ready_after_reads=0)
    return ExportHook(f"{vendor}_default").create_export(payload_for(simulator, vendor)).export_id


# -- each vendor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", sorted(BUILT_IN))
def test_a_connection_is_tested(simulator: Simulator, cli: Cli, vendor: str) -> None:
    """In words for people, as JSON for programs."""
    ran = cli("check", f"{vendor}_default")
    assert (ran.code, ran.err) == (0, "")
    assert "accepted" in ran.out
    ran = cli("check", f"{vendor}_default", "--output", "json")
    assert ran.json["works"] is True
    assert (ran.json["vendor"], ran.json["conn_id"]) == (vendor, f"{vendor}_default")


@pytest.mark.parametrize("vendor", sorted(BUILT_IN))
def test_an_export_is_shown_and_landed(simulator: Simulator, cli: Cli, tmp_path: Path, vendor: str) -> None:
    """The JSON of both is the export result; no link of the vendor is in it."""
    export_id = ready(simulator, vendor)
    shown = cli("show", f"{vendor}_default", export_id, "-o", "json")
    assert shown.code == 0
    assert (shown.json["export_id"], shown.json["state"]) == (export_id, "ready")
    assert [file["uri"] for file in shown.json["files"]] == [None] * len(shown.json["files"])
    ran = cli("download", f"{vendor}_default", export_id, str(tmp_path / "out"), "-o", "json")
    assert (ran.code, ran.err) == (0, "")
    files = [Path(file["uri"].removeprefix("file://")) for file in ran.json["files"]]
    assert landed(tmp_path / "out") == sorted(file.name for file in files)
    assert [file.stat().st_size for file in files] == [file["size"] for file in ran.json["files"]]
    assert (tmp_path / "out" / f"_export-{export_id}.json").is_file()
    assert simulator.link_secret not in shown.out + ran.out


@pytest.mark.parametrize("vendor", sorted(BUILT_IN))
def test_exports_are_listed_where_the_vendor_can(simulator: Simulator, cli: Cli, vendor: str) -> None:
    """Where it cannot, that is said, and nothing is sent."""
    export_id = ready(simulator, vendor)
    before = len(simulator.requests())
    for more in ((), ("--since", "2020-01-01")):
        ran = cli("list", f"{vendor}_default", "-o", "json", *more)
        if vendor == "mews":
            assert (ran.code, ran.out) == (3, "")
            assert "offers no list exports" in ran.err
            assert len(simulator.requests()) == before
        else:
            assert ran.code == 0
            assert [one["export_id"] for one in ran.json] == [export_id]


@pytest.mark.parametrize("vendor", sorted(BUILT_IN))
def test_an_export_is_deleted_where_the_vendor_can(simulator: Simulator, cli: Cli, vendor: str) -> None:
    """A second time there is nothing to delete."""
    export_id = ready(simulator, vendor)
    ran = cli("delete", f"{vendor}_default", export_id, "--yes", "-o", "json")
    if vendor in ("giosg", "mews"):
        assert (ran.code, ran.out) == (3, "")
        return
    assert ran.json == {"export_id": export_id, "vendor": vendor, "deleted": True}
    again = cli("delete", f"{vendor}_default", export_id, "--yes")
    assert (again.code, again.out) == (4, "")
    assert export_id in again.err


@pytest.mark.parametrize("vendor", sorted(BUILT_IN))
def test_a_payload_is_checked_without_a_connection(
    simulator: Simulator, cli: Cli, tmp_path: Path, vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the operators would send passes; an unknown field is found."""
    monkeypatch.delenv(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT")
    file = tmp_path / "payload.json"
    file.write_text(json.dumps(payload_for(simulator, vendor)))
    ran = cli("validate", vendor, str(file), "-o", "json")
    assert (ran.code, ran.json["valid"], ran.json["problems"]) == (0, True, [])
    file.write_text(json.dumps({**payload_for(simulator, vendor), "nonsense": 1}))
    ran = cli("validate", vendor, str(file), "-o", "json")
    assert (ran.code, ran.json["valid"]) == (3, False)
    assert "nonsense" in json.dumps(ran.json["problems"])
    assert not simulator.requests(vendor, "create")


# -- the rest of what they do --------------------------------------------------------------------------


def test_vendors_are_listed_with_their_limits(cli: Cli) -> None:
    """Without any connection."""
    ran = cli("vendors", "-o", "json")
    assert ran.code == 0
    found = {one["name"]: one for one in ran.json}
    assert sorted(found) == sorted(BUILT_IN)
    assert "list" not in found["mews"]["capabilities"]
    assert "windows of at most 180 days" in found["mews"]["limits"]
    assert all(one["limits"] for one in found.values())
    for form in ("table", "plain", "yaml"):
        assert "a link works for 10 min" in cli("vendors", "-o", form).out


def test_a_broken_plugin_hides_no_vendor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed with what is wrong with it."""
    monkeypatch.setattr(commands, "known_vendors", lambda: ["acme", "mews"])
    broken, found = cli("vendors", "-o", "json").json
    assert broken["limits"][0].startswith("cannot be loaded: InvalidConnection")
    assert found["name"] == "mews"


def test_every_problem_of_a_payload_is_told(cli: Cli, tmp_path: Path) -> None:
    """Also those beside a value that cannot be read at all, and those of lists."""
    file = tmp_path / "payload.json"
    window = {"StartUtc": "soon", "EndUtc": "later", "Other": 1}
    file.write_text(
        json.dumps({"EntityType": 7, "Filters": {"UpdatedUtc": window}, "Scope": {"EnterpriseIds": ["x", 3]}})
    )
    ran = cli("validate", "mews", str(file), "-o", "json")
    assert ran.code == 3
    paths = [one["path"] for one in ran.json["problems"]]
    assert {
        "EntityType",
        "Filters.UpdatedUtc",
        "Filters.UpdatedUtc.StartUtc",
        "Filters.UpdatedUtc.EndUtc",
        "Scope.EnterpriseIds.1",
    } <= set(paths)
    # The two that were left out to go on are not told as missing.
    assert "required" not in ran.out
    assert "5 problems" not in ran.out
    table = cli("validate", "mews", str(file))
    assert "Scope.EnterpriseIds.1" in table.out
    assert re.fullmatch(r"error: \d+ problems in the payload for Mews\.\n", table.err)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is no JSON"),
        (b"[]", "is no JSON object"),
        (b"\xff{}", "is no JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": ' + b"[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_payload_is_said(cli: Cli, tmp_path: Path, content: bytes, said: str) -> None:
    """It is invalid, like a payload that breaks a rule."""
    file = tmp_path / "payload.json"
    file.write_bytes(content)
    ran = cli("validate", "mews", str(file), "-o", "json")
    assert ran.code == 3
    assert said in ran.json["problems"][0]["message"]


def test_a_payload_is_checked_with_the_settings_of_a_connection(
    simulator: Simulator, connect: Connect, cli: Cli, tmp_path: Path
) -> None:
    """A connection may allow what the defaults do not."""
    file = tmp_path / "payload.json"
    payload = payload_for(simulator, "giosg") | {"starting_at": "2026-01-01", "ending_at": "2026-06-01"}
    file.write_text(json.dumps(payload))
    assert cli("validate", "giosg", str(file)).code == 3
    connect("giosg", max_window_days=0)
    ran = cli("validate", "giosg", str(file), "--conn-id", "giosg_default")
    assert (ran.code, ran.out) == (0, "the payload is valid\n")
    ran = cli("validate", "giosg", str(file), "--conn-id", "mews_default")
    assert (ran.code, ran.out) == (2, "")
    assert "is of type 'mews'" in ran.err


def test_a_warning_does_not_make_a_payload_invalid(simulator: Simulator, cli: Cli, tmp_path: Path) -> None:
    """It goes to standard error."""
    file = tmp_path / "payload.json"
    file.write_text(json.dumps({"title": "all"}))
    ran = cli("validate", "onna", str(file))
    assert (ran.code, ran.out) == (0, "the payload is valid\n")
    assert ran.err.startswith("warning: ")


def test_since_leaves_out_what_is_older(simulator: Simulator, cli: Cli) -> None:
    """A time, or a period before now."""
    ready(simulator, "giosg")
    for period in ("1h", "200000w"):
        assert cli("list", "giosg_default", "--since", period, "-o", "json").json
    assert cli("list", "giosg_default", "--since", "2999-01-01", "-o", "json").json == []
    assert cli("list", "giosg_default", "--since", "2999-01-01").out == "nothing found\n"
    with pytest.raises(SystemExit) as ended:
        cli("list", "giosg_default", "--since", "now")
    assert ended.value.code == 2


def test_plain_lines_can_be_cut(simulator: Simulator, cli: Cli) -> None:
    """One line per export, none wrapped, a dash for what nobody knows."""
    export_id = ready(simulator, "giosg")
    head, line = cli("list", "giosg_default", "-o", "plain").out.splitlines()
    assert head.split() == ["export_id", "state", "created_at", "expires_at", "files", "size"]
    assert line.split()[0] == export_id
    assert line.split()[-1] == "-"


def test_layout_unpack_and_jsonl_are_passed_on(simulator: Simulator, cli: Cli, tmp_path: Path) -> None:
    """A zip of CSV files lands as JSON Lines in a folder of the export."""
    export_id = ready(simulator, "medable")
    arguments = ("--layout", "{export_id}/{name}", "--unpack", "--as-jsonl", "-o", "json")
    ran = cli("download", "medable_default", export_id, str(tmp_path), *arguments)
    assert ran.code == 0
    for file in ran.json["files"]:
        assert file["uri"].startswith(f"file://{tmp_path}/{export_id}/")
        assert file["name"].endswith(".jsonl")


def test_a_download_tells_lines_where_there_is_no_terminal(
    simulator: Simulator, cli: Cli, tmp_path: Path
) -> None:
    """On standard error; none with --quiet."""
    export_id = ready(simulator, "giosg")
    told = cli("download", "giosg_default", export_id, str(tmp_path / "a"))
    assert "1 files landed in" in told.err
    quiet = cli("download", "giosg_default", export_id, str(tmp_path / "b"), "--quiet")
    assert quiet.err == ""
    assert quiet.out.replace("/b/", "/a/") == told.out


def test_delete_asks(simulator: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only yes is yes, and where nobody can be asked nothing is deleted."""
    export_id = ready(simulator, "onna")
    ran = cli("delete", "onna_default", export_id)
    assert ran.code == 2
    assert "--yes" in ran.err

    class Terminal:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    answer = ""
    assert cli("delete", "onna_default", export_id).code == 1
    assert len(simulator.exports("onna")) == 1
    answer = "yes\n"
    ran = cli("delete", "onna_default", export_id)
    assert ran.code == 0
    assert f"Delete export {export_id} and its files at Onna" in ran.err
    assert cli("show", "onna_default", export_id).code == 4


# -- what goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "fault", "code", "said"),
    [
        ({"password": "wrong-canary"}, None, 5, "Check the credentials"),
        ({"host": "http://127.0.0.1:9"}, None, 7, "Check the address"),
        ({"host": "http://giosg.example"}, None, 2, "allow_http"),
        ({"poll_initial": "often"}, None, 2, "poll_initial"),
        ({"conn_type": "http"}, None, 2, "there is no vendor called 'http'"),
        ({}, "not_found", 4, "does not know it"),
        ({}, "unauthorized", 5, "not accepted"),
        ({}, "500", 7, "run the command again"),
        ({}, "malformed_json", 1, "please report it"),
    ],
)
def test_exit_codes(
    simulator: Simulator,
    connect: Connect,
    cli: Cli,
    changes: dict[str, Any],
    fault: str | None,
    code: int,
    said: str,
) -> None:
    """One or two lines, without a traceback and without a secret."""
    export_id = ready(simulator, "giosg")
    connect("giosg", retry_attempts=1, **changes)
    if fault:
        simulator.fail_next("giosg", "get", fault=fault, times=None)
    ran = cli("show", "giosg_default", export_id, "-o", "json")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    lines = [line for line in ran.err.splitlines() if not line.startswith("warning: ")]
    assert lines[0].startswith("error: ")
    assert len(lines) <= 3
    assert "Traceback" not in ran.err
    assert "wrong-canary" not in ran.err
    assert simulator.tokens["giosg_api_token"] not in ran.err


def test_a_connection_that_does_not_work_is_told_as_json_too(
    simulator: Simulator, connect: Connect, cli: Cli
) -> None:
    """The verdict is the output; the error line comes besides."""
    connect("giosg", password="wrong-canary")
    ran = cli("check", "giosg_default", "-o", "json")
    assert ran.code == 5
    assert (ran.json["works"], ran.json["vendor"]) == (False, "giosg")
    assert "not accepted" in ran.json["message"]
    assert "wrong-canary" not in ran.out + ran.err


def test_a_connection_that_lacks_a_field_is_told_as_json_too(
    simulator: Simulator, connect: Connect, cli: Cli
) -> None:
    """No vendor could be made of it."""
    connect("giosg", password="")
    ran = cli("check", "giosg_default", "-o", "json")
    assert ran.code == 2
    assert (ran.json["works"], ran.json["vendor"]) == (False, None)


def test_an_unknown_connection_is_named(cli: Cli) -> None:
    """With where it was looked for."""
    ran = cli("check", "no_such_connection")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no connection 'no_such_connection'" in ran.err
    assert "AIRFLOW_CONN_NO_SUCH_CONNECTION" in ran.err


@pytest.mark.parametrize(
    ("state", "code"), [("running", 6), ("failed", 8), ("expired", 4)], ids=["running", "failed", "expired"]
)
def test_what_is_not_ready_does_not_land(
    simulator: Simulator, cli: Cli, tmp_path: Path, state: str, code: int
) -> None:
    """The code says whether to come again."""
    simulator.configure("mews", ready_after_reads=None, ready_after_seconds=None, outcome="never")
    export_id = ExportHook("mews_default").create_export(PAYLOADS["mews"]).export_id
    if state != "running":
        simulator.set_state("mews", export_id, state)
    ran = cli("download", "mews_default", export_id, str(tmp_path / "out"))
    assert (ran.code, ran.out) == (code, "")
    assert export_id in ran.err
    assert "sensor" not in ran.err
    assert not (tmp_path / "out").exists()


def test_what_the_vendor_says_does_not_steer_the_terminal(
    simulator: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as control characters nor as the markup of the table's library."""
    export_id = ready(simulator, "mews")
    export = replace(ExportHook("mews_default").get_export(export_id), vendor_status="\x1b[2J[red]Success")
    monkeypatch.setattr(ExportHook, "get_export", lambda _self, _export_id: export)
    for form in ("table", "plain", "json", "yaml"):
        ran = cli("show", "mews_default", export_id, "-o", form)
        assert "\x1b" not in ran.out
        assert "[red]Success" in ran.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("/tmp", "--layout", "{nonsense}"), "nonsense"),
        (("/tmp", "--layout", "../{name}"), "no relative path"),
        (("gopher://host/path",), "gopher"),
    ],
)
def test_wrong_arguments_of_a_download(
    simulator: Simulator, cli: Cli, arguments: tuple[str, ...], said: str
) -> None:
    """A mistake of the command line is told as one."""
    ran = cli("download", "giosg_default", ready(simulator, "giosg"), *arguments)
    # Airflow before 3.2 takes every scheme for a path, until it is written to.
    assert (ran.code, ran.out) == (9 if said == "gopher" and AIRFLOW < (3, 2) else 2, "")
    assert said in ran.err


def test_a_cut_download_leaves_nothing_visible(simulator: Simulator, cli: Cli, tmp_path: Path) -> None:
    """All files or none."""
    export_id = ready(simulator, "mews")
    simulator.fail_next("mews", "file", fault="html_instead", times=None)
    ran = cli("download", "mews_default", export_id, str(tmp_path / "out"), "-o", "json")
    assert (ran.code, ran.out) == (9, "")
    assert landed(tmp_path / "out") == []


def test_a_bug_is_one_line(simulator: Simulator, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its traceback comes with --verbose, and shows no secret either."""
    secret = simulator.tokens["giosg_api_token"]

    def broken(_self: object, _export_id: str) -> None:
        raise KeyError(f"https://files.example/x?sig=canary {secret}")

    monkeypatch.setattr(ExportHook, "get_export", broken)
    ran = cli("show", "giosg_default", "1")
    assert ran.code == 1
    assert ran.err.startswith("error: KeyError: ")
    assert len(ran.err.splitlines()) == 2
    verbose = cli("show", "giosg_default", "1", "--verbose")
    assert "Traceback" in verbose.err
    assert "in broken" in verbose.err
    for text in (ran.err, verbose.err):
        assert secret not in text
        assert "canary" not in text


def test_no_secret_is_shown_whatever_is_told(simulator: Simulator, cli: Cli, tmp_path: Path) -> None:
    """Every command with every word it can say, through faults of vendor and file host."""
    said = ""
    for vendor in sorted(BUILT_IN):
        export_id = ready(simulator, vendor)
        simulator.fail_next(vendor, "file", fault="500", times=1)
        simulator.fail_next(vendor, "file", fault="stale_link", times=1)
        for number, arguments in enumerate(
            (("check",), ("list",), ("show", export_id), ("download", export_id, str(tmp_path / vendor)))
        ):
            command, *rest = arguments
            ran = cli(command, f"{vendor}_default", *rest, "--verbose")
            assert ran.code in (0, 3), (vendor, number, ran.err)
            said += ran.out + ran.err
    assert "landed in" in said
    for secret in (*simulator.tokens.values(), simulator.link_secret):
        assert secret not in said


def test_every_error_has_a_code() -> None:
    """None of our errors is *unexpected* but those that are."""
    without = {
        name
        for name, cls in _tree(ExportError).items()
        if not any(kind in commands._CODES for kind in cls.__mro__)
    }
    assert without == {"ExportError", "UnexpectedResponse", "UnknownStatus", "UnknownOutcome"}
    told = {int(code) for code in re.findall(r"^  (\d+) ", EXIT_CODES, re.MULTILINE)}
    assert set(commands._CODES.values()) < told


# -- as a user starts them -----------------------------------------------------------------------------


@pytest.fixture
def served(export_simulator: Simulator) -> Simulator:
    """The simulator in real time; what is created is ready at once."""
    for vendor in BUILT_IN:
        export_simulator.configure(vendor, ready_after_reads=0)
    return export_simulator


def environment(simulator: Simulator, **more: str) -> dict[str, str]:
    found = {f"AIRFLOW_CONN_{name.upper()}_DEFAULT": simulator.connection_json(name) for name in BUILT_IN}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **found, **more}


def created(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, vendor: str) -> str:
    monkeypatch.setenv(f"AIRFLOW_CONN_{vendor.upper()}_DEFAULT", simulator.connection_json(vendor))
    return ExportHook(f"{vendor}_default").create_export(PAYLOADS[vendor]).export_id


def test_json_is_all_that_comes_out(
    served: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also with --verbose, where Airflow writes its logs to what it holds for standard output."""
    export_id = created(served, monkeypatch, "mews")
    command = [*_PROGRAM, "download", "mews_default", export_id, str(tmp_path), "-o", "json", "--verbose"]
    done = subprocess.run(command, env=environment(served), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["export_id"] == export_id
    assert "landed in" in done.stderr


def test_a_payload_comes_from_standard_input(served: Simulator) -> None:
    """``-`` is standard input, as everywhere."""
    done = subprocess.run(
        [*_PROGRAM, "validate", "mews", "-"],
        env=environment(served),
        input=json.dumps(PAYLOADS["mews"]),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "the payload is valid\n", "")


def test_a_reader_that_goes_ends_the_command_quietly(served: Simulator) -> None:
    """As ``head`` does: 141 is what the shell says of any command then."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*_PROGRAM, "vendors"], env=environment(served), stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@contextlib.contextmanager
def on_a_terminal(
    command: list[str], env: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command on a terminal of its own; return the process and the other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_on(terminal: int, until: str | None = None) -> str:
    """Return what comes, up to a word or to the end."""
    said = ""
    # At the end of the other side a terminal is an error.
    with contextlib.suppress(OSError):
        while until is None or until not in said:
            chunk = os.read(terminal, 65536)
            if not chunk:
                break
            said += chunk.decode(errors="replace")
    return said


def test_a_terminal_shows_a_bar_and_an_interrupt_leaves_nothing_visible(
    served: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Bytes of bytes, rate, time left; after Ctrl-C the same command goes on."""
    served.configure("mews", file_bytes=4_000_000, files=1, ranges="honoured")
    served.fail_next("mews", "file", fault="slow", times=1, piece_bytes=65536, seconds=0.2)
    export_id = created(served, monkeypatch, "mews")
    command = [*_PROGRAM, "download", "mews_default", export_id, str(tmp_path / "out")]
    env = environment(served, TERM="xterm-256color", COLUMNS="100")
    env.pop("NO_COLOR", None)
    with on_a_terminal(command, env) as (process, terminal):
        said = read_on(terminal, until="s left")
        assert re.search(r"[\d.]+ [KM]?i?B of 3\.8 MiB \(\d+ %\), [\d.]+ [KM]?i?B/s, \d+ s left", said)
        assert "━" in said
        os.kill(process.pid, signal.SIGINT)
        rest = read_on(terminal)
        assert process.wait(30) == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert landed(tmp_path / "out") == []
    # Progress of a transfer that goes on begins where it stopped.
    with on_a_terminal(command, env) as (process, terminal):
        rest = read_on(terminal)
        assert process.wait(60) == 0
    assert "3.8 MiB" in rest
    (name,) = landed(tmp_path / "out")
    assert (tmp_path / "out" / name).stat().st_size == 4_000_000


@pytest.mark.airflow_e2e
def test_a_connection_of_the_metadata_database(served: Simulator, tmp_path: Path) -> None:
    """Outside of a task Airflow 3 looks into the environment only, unless told otherwise."""
    home = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
    }
    env = environment(served, **home)
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=env, check=True, capture_output=True)
    added = ["connections", "add", "from_db", "--conn-json", served.connection_json("giosg")]
    subprocess.run([*airflow, *added], env=env, check=True, capture_output=True)
    programs = [_PROGRAM]
    if AIRFLOW >= (3, 2):
        # Only there may a provider add commands.
        programs.append([*airflow, "exports"])
    for program in programs:
        check = [*program, "check", "from_db", "-o", "json"]
        done = subprocess.run(check, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["works"] is True
        done = subprocess.run([*program, "check", "not_there"], env=env, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no connection" in done.stderr


@pytest.mark.only_airflow(">=3.2")
def test_airflow_takes_the_same_commands() -> None:
    """With the same arguments, and examples of its own."""
    from airflow_provider_exports.cli.definition import get_commands

    (group,) = get_commands()
    assert group.name == "exports"
    assert [one.name for one in group.subcommands] == [one.name for one in COMMANDS]
    for one in group.subcommands:
        assert "airflow exports" in one.epilog
        assert "python -m" not in one.epilog


@pytest.mark.parametrize("command", [one.name for one in COMMANDS])
def test_help_says_everything(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Arguments, examples and exit codes; the examples can be parsed."""
    from airflow_provider_exports.cli.definition import get_parser

    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    (definition,) = (one for one in COMMANDS if one.name == command)
    for example in definition.examples:
        assert example in told
        words = example.partition("<")[0].replace("'", "").split()
        assert get_parser().parse_args(words).subcommand == command
    assert "130  interrupted" in told


def test_help_does_not_wait_for_airflow() -> None:
    """It loads nothing of Airflow, nor does `airflow` load the commands for any other command."""
    probe = (
        "import sys, airflow_provider_exports.cli.definition as d; d.get_parser().format_help();"
        "print([m for m in sys.modules if m.partition('.')[0] in ('airflow', 'rich', 'requests')])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "[]\n", time.monotonic() - started

"""Files land on an SFTP server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from sshfs import SSHFileSystem

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import DestinationTaken, DownloadError
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.hooks.giosg import GiosgHook
from airflow_provider_exports.hooks.mews import MewsHook
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import run
from tests.landing.targets.conftest import forget_stores, listing
from tests.landing.targets.sftp_server import PASSWORD, USER, SftpServer

pytestmark = pytest.mark.filterwarnings("ignore")

WRONG = "not-the-password"
LARGE = 24 * 2**20


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    """A server, connected as ``box``."""
    root = tmp_path / "remote"
    (root / "locked").mkdir(parents=True)
    running = SftpServer(root)
    connect(monkeypatch, running, PASSWORD)
    yield running
    running.stop()


def connect(monkeypatch: pytest.MonkeyPatch, server: SftpServer, password: str) -> None:
    connection = {
        "conn_type": "sftp",
        "host": "127.0.0.1",
        "port": server.port,
        "login": USER,
        "password": password,
        "extra": {"no_host_key_check": "true"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_BOX", json.dumps(connection))


def ready(simulator: Simulator, vendor: str = "mews") -> tuple[ExportHook, Export]:
    """Return an export of two files at Mews, or of one large file at giosg, that is ready."""
    hook: ExportHook
    if vendor == "mews":
        hook, payload = MewsHook(), {"EntityType": "Bill"}
    else:
        simulator.configure("giosg", file_bytes=LARGE)
        room = simulator.rooms()[0]["id"]
        window = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}
        hook, payload = GiosgHook(), {"room_id": room, "type": "logs", "format": "csv", **window}
    export = hook.create_export(payload)
    simulator.set_state(vendor, export.export_id, "ready")
    return hook, hook.get_export(export.export_id)


def downloads(simulator: Simulator, vendor: str = "mews") -> int:
    return len([r for r in simulator.requests(vendor) if r.operation == "file"])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_land_below_folders_that_were_missing(simulator: Simulator, server: SftpServer) -> None:
    """With the sizes and digests that are returned, also when read back; a second run transfers nothing."""

    def make() -> MewsRunExportOperator:
        operator = MewsRunExportOperator(
            task_id="t",
            entity_type="Payment",
            destination="sftp://box@/in/{{ ds }}/new",
            layout="{export_id}/{name}",
            deferrable=False,
        )
        operator.render_template_fields({"ds": "2026-01-02"})  # type: ignore[typeddict-item]
        return operator

    result = run(make)
    assert len(result["files"]) == 2
    for file in result["files"]:
        content = ObjectStoragePath(file["uri"]).read_bytes()
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    folder = server.root / "in/2026-01-02/new" / result["export_id"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(["_export.json", *names(result)])
    manifest = json.loads((folder / "_export.json").read_text())
    assert [(f["name"], f["sha256"]) for f in manifest["files"]] == [
        (f["name"], f["sha256"]) for f in result["files"]
    ]
    before = downloads(simulator)
    hook = MewsHook()
    again = hook.download_export(
        result["export_id"], "sftp://box@/in/2026-01-02/new", layout="{export_id}/{name}"
    )
    assert again["files"] == result["files"]
    assert downloads(simulator) == before


def names(result: dict[str, Any]) -> list[str]:
    return [file["name"] for file in result["files"]]


def test_growing_file_has_another_name(simulator: Simulator, server: SftpServer) -> None:
    """Somebody who looks during the upload sees neither the file nor the manifest."""
    hook, export = ready(simulator, "giosg")
    seen: list[dict[str, int]] = []

    def look() -> None:
        options: dict[str, Any] = {"username": USER, "password": PASSWORD, "known_hosts": None}
        other = SSHFileSystem("127.0.0.1", port=server.port, skip_instance_cache=True, **options)
        found = {Path(f["name"]).name: f["size"] for f in other.ls("/in", detail=True)}
        seen.append({name: size for name, size in found.items() if not name.endswith(".begun")})
        server.go_on()

    server.stall_after, server.on_stall = 20, lambda: threading.Thread(target=look).start()
    result = hook.land_export(export, "sftp://box@/in")
    (name,) = names(result)
    ((hidden, size),) = seen[0].items()
    assert hidden.startswith(".")
    assert 0 < size < LARGE
    assert digest(server.root / "in" / name) == result["files"][0]["sha256"]
    assert len(listing("sftp://box@/in")) == 2


def test_foreign_file_stays(simulator: Simulator, server: SftpServer) -> None:
    """A file of somebody else that has the name of ours is not replaced; nothing is fetched."""
    hook, export = ready(simulator)
    (server.root / "in").mkdir()
    theirs = server.root / "in" / "part-2"
    theirs.write_text("theirs")
    with pytest.raises(DestinationTaken, match="part-2"):
        hook.land_export(export, "sftp://box@/in", layout="part-{position}")
    assert listing("sftp://box@/in") == ["part-2"]
    assert theirs.read_text() == "theirs"
    assert downloads(simulator) == 0


def test_own_file_is_replaced(simulator: Simulator, server: SftpServer) -> None:
    """The same task lands another export in the place of the one before."""
    layout = "part-{position}{suffix}"
    for _ in range(2):
        hook, export = ready(simulator)
        result = hook.land_export(export, "sftp://box@/in", layout=layout, owner="dag/run/task/-1")
    assert [digest(server.root / "in" / name) for name in names(result)] == [
        file["sha256"] for file in result["files"]
    ]
    assert len(listing("sftp://box@/in")) == len(result["files"]) + 1


def test_forbidden_folder_is_said(simulator: Simulator, server: SftpServer) -> None:
    """Before anything is fetched; the error names the place, and what to look at."""
    hook, export = ready(simulator)
    with pytest.raises(DownloadError, match=r"/locked/in.* Permission denied") as caught:
        hook.land_export(export, "sftp://box@/locked/in")
    assert "connection" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert list((server.root / "locked").iterdir()) == []
    assert downloads(simulator) == 0


def test_server_without_the_newer_rename(simulator: Simulator, server: SftpServer) -> None:
    """A server that gives files only, no shell to copy with, has the rename of the protocol."""
    server.posix_rename = False
    hook, export = ready(simulator)
    for _ in range(2):
        result = hook.land_export(export, "sftp://box@/in", layout="part-{position}{suffix}")
        (server.root / "in" / names(result)[1]).write_text("damaged")
    assert digest(server.root / "in" / names(result)[0]) == result["files"][0]["sha256"]
    assert len(list((server.root / "in").iterdir())) == 3


def test_wrong_password_is_said(
    simulator: Simulator, server: SftpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fetched, and not as a failure of some other place without the connection."""
    connect(monkeypatch, server, WRONG)
    hook, export = ready(simulator)
    with pytest.raises(DownloadError, match=r"/in.* Permission denied") as caught:
        hook.land_export(export, "sftp://box@/in")
    assert WRONG not in str(caught.value)
    assert server.logins > 0
    assert downloads(simulator) == 0


def test_server_that_dies_leaves_nothing_visible(simulator: Simulator, server: SftpServer) -> None:
    """Another try, when it is back, lands everything and clears up."""
    hook, export = ready(simulator, "giosg")

    def die() -> None:
        server.die()
        server.go_on()

    server.stall_after, server.on_stall = 20, lambda: threading.Thread(target=die).start()
    with pytest.raises(DownloadError, match="/in"):
        hook.land_export(export, "sftp://box@/in")
    assert all(p.name.startswith(".") for p in (server.root / "in").iterdir())
    server.stall_after = None
    server.start()
    forget_stores()
    result = hook.land_export(export, "sftp://box@/in")
    assert digest(server.root / "in" / names(result)[0]) == result["files"][0]["sha256"]
    assert len(list((server.root / "in").iterdir())) == 2


def test_leftover_of_a_dead_server_goes_with_the_next_export(
    simulator: Simulator, server: SftpServer
) -> None:
    """Half a file under its hidden name, which the next export of the task does not have."""
    hook, export = ready(simulator, "giosg")

    def die() -> None:
        server.die()
        server.go_on()

    server.stall_after, server.on_stall = 20, lambda: threading.Thread(target=die).start()
    with pytest.raises(DownloadError, match="/in"):
        hook.land_export(export, "sftp://box@/in", owner="dag/run/task/-1")
    assert [p.name for p in (server.root / "in").iterdir() if p.name.endswith(".landing")]
    server.stall_after = None
    server.start()
    forget_stores()
    hook, export = ready(simulator)
    result = hook.land_export(export, "sftp://box@/in", owner="dag/run/task/-1")
    left = {p.name for p in (server.root / "in").iterdir()} - set(names(result))
    assert len(left) == 1
    assert left.pop().startswith("_export-")


class TimeIsUp(BaseException):
    """What Airflow raises in a task at its time-out."""


@pytest.fixture
def _time_out(server: SftpServer) -> Iterator[None]:
    def up(*_: object) -> None:
        server.go_on()
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, up)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_time_out")
def test_time_out_leaves_nothing_visible(simulator: Simulator, server: SftpServer) -> None:
    """Not even what was on its way."""
    hook, export = ready(simulator, "giosg")
    server.stall_after, server.on_stall = 20, lambda: os.kill(os.getpid(), signal.SIGALRM)
    with pytest.raises(TimeIsUp):
        hook.land_export(export, "sftp://box@/in")
    assert [name for name in listing("sftp://box@/in") if not name.startswith(".")] == []

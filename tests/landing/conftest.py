"""A file host with faults, a vendor with files on it, and constants that make tests small and quick."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_exports.core import ConnectionInfo
from airflow_provider_exports.core.auth import HeaderToken
from airflow_provider_exports.core.model import JSON, Export, ExportFile, ExportState
from airflow_provider_exports.core.vendor import Vendor
from airflow_provider_exports.landing import fetch, transfer
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.landing.land import land
from airflow_provider_exports.landing.names import LAYOUT
from tests.landing.faults import Content, FaultServer, Handler

SIZE = 400_000
BODY = random.Random(7).randbytes(SIZE)


class FilesVendor(Vendor):
    """A vendor of which only the files matter."""

    name = "files"
    display_name = "Files"

    def make_auth(self) -> HeaderToken:
        return HeaderToken("invented")

    def file_fault(self, last: JSON) -> str | None:
        return last.get("fault") if isinstance(last, dict) else None


class World:
    """An export on a faulty host, and what it needs to land."""

    def __init__(self, server: FaultServer, destination: Path) -> None:
        self.server, self.destination = server, destination
        self.settings: dict[str, Any] = {"request_timeout": 5, "parallel_ranges": 1}
        self.export = Export("files", "e-1", ExportState.READY)
        self.reads = 0
        self.hosts = 0
        self.uri = ""
        self.on_read: Callable[[Export], Export] = lambda export: export

    def add(self, handler: Handler | bytes = BODY, name: str = "", **details: Any) -> str:
        """Add a file; return its path at the host."""
        path = f"/{len(self.export.files)}"
        self.server.files[path] = Content(handler) if isinstance(handler, bytes) else handler
        file = ExportFile(name or f"e-1-{len(self.export.files)}.bin", self.server.url + path, **details)
        self.export = replace(self.export, files=(*self.export.files, file))
        return path

    def at(self, url: str) -> None:
        """Let the only file be somewhere else."""
        self.export = replace(self.export, files=(replace(self.export.files[0], url=url),))

    @property
    def vendor(self) -> FilesVendor:
        """The vendor with the present settings."""
        return FilesVendor(ConnectionInfo("files", host=self.server.url, extra=self.settings))

    def host(self) -> FileHost:
        """Return a new session for files."""
        self.hosts += 1
        session = requests.Session()
        session.trust_env = False
        return FileHost(session, self.vendor, dict, lambda _: None, 8)

    def read(self) -> Export:
        """Read the export again."""
        self.reads += 1
        return self.on_read(self.export)

    def land(self, *, layout: str = LAYOUT, **options: Any) -> dict[str, Any]:
        """Land it."""
        from airflow.providers.common.compat.sdk import ObjectStoragePath

        return land(
            self.vendor,
            self.export,
            ObjectStoragePath(self.uri or self.destination.as_uri()),
            self.host,
            self.read,
            logging.getLogger("tests.landing"),
            layout=layout,
            **options,
        )

    @property
    def visible(self) -> list[str]:
        """What an onlooker sees below the destination."""
        if not self.destination.exists():
            return []
        found = (path.relative_to(self.destination) for path in self.destination.rglob("*") if path.is_file())
        return sorted(str(path) for path in found if not path.parts[0].startswith("."))

    @property
    def staging(self) -> Path:
        """Where files are gathered."""
        return self.destination / ".files-e-1.landing"

    def one(self, **options: Any) -> bytes:
        """Land an export of one file and return its content."""
        landed = self.land(**options)
        content = (self.destination / landed["files"][0]["name"]).read_bytes()
        check_digest(landed["files"][0], content)
        return content


def check_digest(said: dict[str, Any], content: bytes) -> None:
    """Compare what the result says of a file with the file."""
    import hashlib

    assert (said["size"], said["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """The file host."""
    host = FaultServer()
    yield host
    host.close()


@pytest.fixture
def world(server: FaultServer, tmp_path: Path) -> World:
    """An export without files as yet."""
    return World(server, tmp_path / "there")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made; and small constants."""
    made: list[float] = []

    def pause(stop: threading.Event, seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(transfer, "_pause", pause)
    monkeypatch.setattr(transfer, "CHUNK", 8 * 1024)
    monkeypatch.setattr(transfer, "SPLIT", 32 * 1024)
    monkeypatch.setattr(transfer, "PROGRESS", 1024)
    monkeypatch.setattr(fetch, "_TICK", 0.02)
    return made

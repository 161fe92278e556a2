"""A worker of its own whose disk is small, or not its to write on: ``disk_worker KIND FOLDER``.

It lands several exports that cannot be landed, then lands each again where nothing is in the way any more.
What came of each is a line of JSON.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tests.conftest  # noqa: F401 - a throw-away Airflow home
from airflow_provider_exports.exceptions import ExportError
from tests.landing.conftest import World
from tests.landing.faults import Content, FaultServer, Handler

MIB = 2**20
ROOM = 2 * MIB


class Tmpfs:
    """A file system with an end: what does not fit meets ENOSPC."""

    def __init__(self, folder: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "none", str(folder)], check=True)
        self._folder, self._ballast = folder, folder / "ballast"

    def leave(self, room: int) -> None:
        """Fill it up to ``room`` bytes."""
        facts = os.statvfs(self._folder)
        self._ballast.write_bytes(bytes(facts.f_bavail * facts.f_frsize - room))

    def free(self) -> None:
        """Make room."""
        self._ballast.unlink()


class Limit:
    """A limit on the length of files: what does not fit meets EFBIG. It needs no rights."""

    def __init__(self, folder: Path) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def leave(self, room: int) -> None:
        """Let no file have ``room`` bytes."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (room - 1, self._before[1]))

    def free(self) -> None:
        """Let files be as long as before."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


def attempt(name: str, world: World, make_way: Callable[[], None], **options: Any) -> None:
    """Land twice, and report."""
    told: dict[str, Any] = {"name": name, "destination": str(world.destination), "error": None}
    try:
        world.land(**options)
    except ExportError as error:
        told |= {"error": type(error).__name__, "text": str(error)}
    told["visible"] = world.visible
    told["left"] = sum(path.stat().st_size for path in world.destination.rglob("*") if path.is_file())
    make_way()
    landed = world.land(**options)["files"]
    told["said"] = [file["sha256"] for file in landed]
    content = [Path(file["uri"].removeprefix("file://")).read_bytes() for file in landed]
    told["found"] = [hashlib.sha256(one).hexdigest() for one in content]
    sys.stdout.write(f"{json.dumps(told)}\n")


def fill_disk(disk: Tmpfs | Limit, folder: Path, server: FaultServer) -> None:
    """Land what does not fit."""
    large = Content(os.urandom(ROOM + MIB))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("inside.csv", b"a,b\n" * (len(large.body) // 4))

    def unannounced(handler: Handler) -> Handler:
        return lambda asked: handler(asked).but(chunked=True, pace=(65536, 0.0))

    for name, handler, options in (
        ("length-unknown", unannounced(large), {}),
        ("length-known", large, {}),
        ("manifest", Content(large.body[:ROOM]), {}),
        ("archive", Content(archive.getvalue()), {"unpack": True}),
    ):
        world = World(server, folder / name / "there")
        world.add(handler, **({"name": "a.zip", "format": "zip"} if options else {}))
        disk.leave(ROOM)
        attempt(name, world, disk.free, **options)


def be_locked_out(folder: Path, server: FaultServer) -> None:
    """Land where this user may not write."""
    for name, locked, options in (
        ("destination", "", {}),
        ("folder-below", "there/files", {"layout": "{vendor}/{export_id}/{name}"}),
    ):
        world = World(server, folder / name / "there")
        world.add(os.urandom(MIB))
        place = folder / name / locked
        place.mkdir(parents=True)
        place.chmod(0o555)
        attempt(name, world, lambda place=place: place.chmod(0o755), **options)  # type: ignore[misc]


if __name__ == "__main__":
    kind, where = sys.argv[1], Path(sys.argv[2])
    host = FaultServer()
    if kind == "locked":
        be_locked_out(where, host)
    else:
        fill_disk({"tmpfs": Tmpfs, "limit": Limit}[kind](where), where, host)
    host.close()

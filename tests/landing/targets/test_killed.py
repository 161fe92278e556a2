"""A worker that is killed while it uploads: nothing is to be seen, and the next try lands all of it."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.landing.conftest import World
from tests.landing.conftest import server as host
from tests.landing.targets.conftest import listing
from tests.landing.targets.s3_server import S3Server
from tests.landing.targets.sftp_server import PASSWORD, SftpServer
from tests.landing.targets.test_sftp import connect

pytestmark = pytest.mark.filterwarnings("ignore")

__all__ = ["host"]

SIZE = 20 * 2**20
# tests.conftest takes all connections away, so this one is named again after it.
WORKER = """
import os, signal, sys
from pathlib import Path
name, connection, uri, size = sys.argv[1:]
import tests.conftest
os.environ[name] = connection
import botocore.httpsession
from tests.landing.conftest import World
from tests.landing.faults import FaultServer
from tests.landing.targets.test_killed import content
send = botocore.httpsession.URLLib3Session.send
def watched(self, request):
    if "partNumber=2&" in f"{request.url}&":
        os.kill(os.getpid(), signal.SIGKILL)
    return send(self, request)
botocore.httpsession.URLLib3Session.send = watched
world = World(FaultServer(), Path("unused"))
world.add(content(int(size)))
world.uri = uri
world.land()
"""


def content(size: int) -> bytes:
    """Return the same bytes in each process."""
    return random.Random(size).randbytes(size)


def worker(name: str, uri: str, tmp_path: Path) -> subprocess.Popen[bytes]:
    """Start one that lands the file at ``uri``."""
    command = [sys.executable, "-c", WORKER, name, os.environ[name], uri, str(SIZE)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen(
        command, cwd=Path(__file__).parents[3], env=environment, stdout=subprocess.DEVNULL
    )


def land_again(world: World, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Land the same from here; return the file's name."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world.add(content(SIZE))
    world.uri = uri
    (said,) = world.land()["files"]
    assert said["sha256"] == hashlib.sha256(content(SIZE)).hexdigest()
    return str(said["name"])


@pytest.fixture
def world(host: object, tmp_path: Path) -> World:
    """The same export, in this process."""
    return World(host, tmp_path / "unused")  # type: ignore[arg-type]


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A store with an empty bucket, connected as ``store``."""
    running = S3Server()
    monkeypatch.setenv("AIRFLOW_CONN_STORE", running.connection())
    running.client.create_bucket(Bucket="bucket")
    yield running
    running.die()


def test_killed_while_it_uploads_to_s3(
    world: World, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two parts of the file."""
    uri = "s3://store@bucket/in"
    assert worker("AIRFLOW_CONN_STORE", uri, tmp_path).wait(60) == -9
    assert len(s3.uploads("bucket")) == 1
    assert [key for key in s3.keys("bucket") if not key.startswith("in/.")] == []
    name = land_again(world, uri, tmp_path, monkeypatch)
    stored = s3.client.get_object(Bucket="bucket", Key=f"in/{name}")["Body"].read()
    assert stored == content(SIZE)
    assert len(s3.keys("bucket")) == 2


@pytest.fixture
def sftp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SftpServer]:
    """A server, connected as ``box``."""
    (tmp_path / "remote").mkdir()
    running = SftpServer(tmp_path / "remote")
    connect(monkeypatch, running, PASSWORD)
    yield running
    running.stop()


def test_killed_while_it_uploads_by_sftp(
    world: World, sftp: SftpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way is hidden, and makes way for the next try."""
    uri = "sftp://box@/in"
    reached = threading.Event()
    sftp.stall_after, sftp.on_stall = 20, reached.set
    running = worker("AIRFLOW_CONN_BOX", uri, tmp_path)
    try:
        assert reached.wait(60)
    finally:
        running.kill()
        running.wait(10)
        sftp.go_on()
    assert listing(uri) != []
    assert [name for name in listing(uri) if not name.startswith(".")] == []
    sftp.stall_after = None
    name = land_again(world, uri, tmp_path, monkeypatch)
    assert (tmp_path / "remote/in" / name).read_bytes() == content(SIZE)
    assert len(listing(uri)) == 2

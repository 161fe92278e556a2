"""Files land in an S3 store."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.common.compat.sdk import ObjectStoragePath
from botocore.httpsession import URLLib3Session
from botocore.paginate import PageIterator
from s3fs import S3FileSystem

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import DestinationTaken, DownloadError
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.hooks.giosg import GiosgHook
from airflow_provider_exports.hooks.mews import MewsHook
from airflow_provider_exports.landing.target import StoreTarget
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import run
from tests.landing.conftest import World
from tests.landing.conftest import server as host
from tests.landing.faults import FaultServer
from tests.landing.targets.conftest import forget_stores
from tests.landing.targets.s3_server import LOGIN, S3Server

pytestmark = pytest.mark.filterwarnings("ignore")

__all__ = ["host"]

WRONG = "not-the-secret-of-it"
MIB = 2**20
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def running() -> Iterator[S3Server]:
    """One server for all tests that let it live."""
    server = S3Server()
    yield server
    server.die()


@pytest.fixture
def server(running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, connected as ``store``."""
    monkeypatch.setenv("AIRFLOW_CONN_STORE", running.connection())
    return running


@pytest.fixture
def bucket(server: S3Server) -> str:
    """An empty bucket."""
    name = f"landing-{next(_numbers)}"
    server.client.create_bucket(Bucket=name)
    return name


Sent = list[tuple[str, str]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Method and path of what Amazon's client sends."""
    seen: Sent = []
    before_sending(monkeypatch, lambda request: seen.append((request.method, request.url)))
    return seen


def before_sending(monkeypatch: pytest.MonkeyPatch, do: Callable[[Any], object]) -> None:
    send = URLLib3Session.send

    def watched(self: URLLib3Session, request: Any) -> Any:
        do(request)
        return send(self, request)

    monkeypatch.setattr(URLLib3Session, "send", watched)


def at_part(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], object]) -> None:
    """Do something when part ``number`` of a file is about to be sent."""
    before_sending(
        monkeypatch, lambda request: do() if f"partNumber={number}&" in f"{request.url}&" else None
    )


def ready(simulator: Simulator, size: int | None = None) -> tuple[ExportHook, Export]:
    """Return an export of two files at Mews, or of one of a given size at giosg, that is ready."""
    hook: ExportHook
    if size is None:
        hook, payload = MewsHook(), {"EntityType": "Bill"}
    else:
        simulator.configure("giosg", file_bytes=size)
        room = simulator.rooms()[0]["id"]
        window = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}
        hook, payload = GiosgHook(), {"room_id": room, "type": "logs", "format": "csv", **window}
    export = hook.create_export(payload)
    simulator.set_state(export.vendor, export.export_id, "ready")
    return hook, hook.get_export(export.export_id)


def downloads(simulator: Simulator) -> int:
    return len([r for r in simulator.requests() if r.operation == "file"])


def check(result: dict[str, Any]) -> None:
    """Read the files back as a user does."""
    for file in result["files"]:
        digest, size = hashlib.sha256(), 0
        with ObjectStoragePath(file["uri"]).open("rb") as content:
            while chunk := content.read(8 * MIB):
                digest.update(chunk)
                size += len(chunk)
        assert (file["size"], file["sha256"]) == (size, digest.hexdigest())


def test_files_land_the_manifest_last(
    simulator: Simulator, server: S3Server, bucket: str, sent: Sent, deferrable: bool
) -> None:
    """Below a templated prefix, with the sizes and digests that are returned; a second run moves nothing."""

    def make() -> MewsRunExportOperator:
        operator = MewsRunExportOperator(
            task_id="t",
            entity_type="Payment",
            destination=f"s3://store@{bucket}/exports/{{{{ ds }}}}",
            layout="{export_id}/{name}",
            deferrable=deferrable,
        )
        operator.render_template_fields({"ds": "2026-01-02"})  # type: ignore[typeddict-item]
        return operator

    result = run(make)
    check(result)
    folder = f"exports/2026-01-02/{result['export_id']}"
    expected = [f"{folder}/{name}" for name in [*(f["name"] for f in result["files"]), "_export.json"]]
    put = [url.partition(f"/{bucket}/")[2] for method, url in sent if method == "PUT"]
    assert (put[0], put[-1]) == (f"{folder}/._export.json.begun", expected[-1])
    assert sorted(put[1:-1]) == sorted(expected[:-1])
    assert server.keys(bucket) == sorted(expected)
    sent.clear()
    before = downloads(simulator)
    destination = f"s3://store@{bucket}/exports/2026-01-02"
    again = MewsHook().download_export(result["export_id"], destination, layout="{export_id}/{name}")
    assert again["files"] == result["files"]
    assert downloads(simulator) == before
    assert [method for method, _ in sent if method != "GET"] == []


def test_large_file_goes_in_parts(simulator: Simulator, server: S3Server, bucket: str, sent: Sent) -> None:
    """Nothing but the file and its manifest is there afterwards."""
    hook, export = ready(simulator, 101 * MIB)
    result = hook.land_export(export, f"s3://store@{bucket}/large")
    assert len([url for _, url in sent if "partNumber=" in url]) > 1
    assert result["files"][0]["size"] == 101 * MIB
    check(result)
    assert len(server.keys(bucket)) == 2
    assert server.uploads(bucket) == []


class TimeIsUp(BaseException):
    """What Airflow raises in a task at its time-out."""


def test_time_out_leaves_nothing(
    simulator: Simulator, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No object, also not later, and no parts that cost money."""
    hook, export = ready(simulator, 40 * MIB)
    raised = threading.Event()

    def up(*_: object) -> None:
        raised.set()
        raise TimeIsUp

    def late() -> None:
        os.kill(os.getpid(), signal.SIGALRM)
        assert raised.wait(10)

    at_part(monkeypatch, 2, late)
    before = signal.signal(signal.SIGALRM, up)
    try:
        with pytest.raises(TimeIsUp):
            hook.land_export(export, f"s3://store@{bucket}/in")
    finally:
        signal.signal(signal.SIGALRM, before)
    assert server.keys(bucket) == []
    assert server.uploads(bucket) == []


def test_broken_upload_leaves_nothing(
    simulator: Simulator, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that breaks at one part; the next try lands all of it."""
    hook, export = ready(simulator, 40 * MIB)

    def broken() -> None:
        raise ConnectionResetError("broken")

    with monkeypatch.context() as patch:
        at_part(patch, 4, broken)
        with pytest.raises(DownloadError, match=bucket):
            hook.land_export(export, f"s3://store@{bucket}/in")
    assert server.keys(bucket) == []
    assert server.uploads(bucket) == []
    check(hook.land_export(export, f"s3://store@{bucket}/in"))


def test_second_file_that_fails_takes_the_first_along(
    simulator: Simulator, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever looks for files without a manifest sees none of an export that is not whole."""
    hook, export = ready(simulator)
    seen: list[list[str]] = []
    deadline = time.monotonic() + 10

    def second(request: Any) -> None:
        if request.method != "PUT" or not request.url.endswith("-2.jsonl"):
            return
        while not (keys := [key for key in server.keys(bucket) if not key.startswith("in/.")]):
            assert time.monotonic() < deadline
        seen.append(keys)
        raise ConnectionResetError("broken")

    before_sending(monkeypatch, second)
    with pytest.raises(DownloadError):
        hook.land_export(export, f"s3://store@{bucket}/in")
    assert len(seen[0]) == 1
    assert server.keys(bucket) == []


COUNT = 20


@pytest.fixture
def many(host: FaultServer, bucket: str, tmp_path: Path) -> World:
    """An export of many small files for the bucket."""
    world = World(host, tmp_path / "unused")
    for number in range(COUNT):
        world.add(b"%d" % number * 1000)
    world.uri = f"s3://store@{bucket}/in"
    return world


def test_small_files_go_at_once(
    many: World, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the connections of one client; and nobody is asked for the size of each."""
    made: list[S3Hook] = []
    asked: list[str] = []
    make, info = S3Hook.get_conn, S3FileSystem.info

    def watched_make(hook: S3Hook) -> Any:
        made.append(hook)
        return make(hook)

    def watched_info(self: S3FileSystem, path: str, **options: Any) -> Any:
        asked.append(path)
        return info(self, path, **options)

    monkeypatch.setattr(S3Hook, "get_conn", watched_make)
    monkeypatch.setattr(S3FileSystem, "info", watched_info)
    together = threading.Barrier(4)

    def wait(request: Any) -> None:
        if request.method == "PUT" and request.url.endswith(".bin"):
            together.wait(10)

    before_sending(monkeypatch, wait)
    result = many.land()
    assert len(made) == 1
    assert asked == []
    check(result)
    assert len(server.keys(bucket)) == COUNT + 1


def test_upload_that_was_swallowed(
    many: World, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store says yes, and has less than was sent: that is no landing."""
    listed = StoreTarget._listed

    def shorter(self: StoreTarget, names: Collection[str]) -> dict[str, int | None]:
        for key in server.keys(bucket):
            if key.endswith("-7.bin"):
                server.client.put_object(Bucket=bucket, Key=key, Body=b"less")
        return listed(self, names)

    monkeypatch.setattr(StoreTarget, "_listed", shorter)
    with pytest.raises(DownloadError, match=r"e-1-7\.bin has another size there"):
        many.land()
    assert server.keys(bucket) == []


@pytest.mark.parametrize("pages", [0, 1])
def test_listing_that_lags_behind(
    many: World, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    """Some stores do not list at once what they have, and some folders are long: what counts is the file."""
    listed: dict[str, int | None] = dict.fromkeys(f"e-1-{number}.bin" for number in range(COUNT * pages))
    monkeypatch.setattr(StoreTarget, "_listed", lambda *_: listed)
    check(many.land())
    assert len(server.keys(bucket)) == COUNT + 1


@pytest.mark.parametrize("theirs", [0, 60])
def test_listing_of_a_long_folder(
    many: World, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, theirs: int
) -> None:
    """It is not read to its end where it takes longer than to ask; a file of somebody is found either way."""
    for number in range(theirs):
        server.client.put_object(Bucket=bucket, Key=f"in/0-{number}.bin", Body=b"")
    server.client.put_object(Bucket=bucket, Key="in/7.bin", Body=b"theirs")
    paginate, pages = PageIterator._make_request, []

    def small(self: PageIterator, options: dict[str, Any]) -> Any:
        pages.append(options)
        return paginate(self, options | {"MaxKeys": 3})

    monkeypatch.setattr(PageIterator, "_make_request", small)
    with pytest.raises(DestinationTaken, match=r"7\.bin"):
        many.land(layout="{position}{suffix}")
    assert len(pages) == (COUNT // 2 if theirs else 1)


def test_time_out_among_many(
    many: World, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on its way then is taken back, too."""
    raised, lock, left = threading.Event(), threading.Lock(), [6]

    def up(*_: object) -> None:
        raised.set()
        raise TimeIsUp

    def late(request: Any) -> None:
        if request.method != "PUT" or not request.url.endswith(".bin"):
            return
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            os.kill(os.getpid(), signal.SIGALRM)
        if left[0] <= 0:
            assert raised.wait(10)

    before_sending(monkeypatch, late)
    before = signal.signal(signal.SIGALRM, up)
    try:
        with pytest.raises(TimeIsUp):
            many.land()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert server.keys(bucket) == []


def test_server_that_dies_is_said(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """And another try lands all of it when the server is back."""
    server = S3Server()
    monkeypatch.setenv("AIRFLOW_CONN_STORE", server.connection())
    server.client.create_bucket(Bucket="mortal")
    hook, export = ready(simulator, 40 * MIB)
    with monkeypatch.context() as patch:
        at_part(patch, 3, server.die)
        with pytest.raises(DownloadError, match="mortal/in") as caught:
            hook.land_export(export, "s3://store@mortal/in")
    assert caught.value.next_step
    server = S3Server(server.port)
    try:
        server.client.create_bucket(Bucket="mortal")
        forget_stores()
        check(hook.land_export(export, "s3://store@mortal/in"))
    finally:
        server.die()


def test_missing_bucket_is_said(simulator: Simulator, server: S3Server) -> None:
    """Before anything is fetched; the error names it, and what to look at."""
    hook, export = ready(simulator)
    with pytest.raises(DownloadError, match=r"not-there/in.*does not exist") as caught:
        hook.land_export(export, "s3://store@not-there/in")
    assert "connection" in str(caught.value)
    assert downloads(simulator) == 0


def test_wrong_credentials_are_said(
    simulator: Simulator, server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is fetched, and without the credentials."""
    monkeypatch.setenv("AIRFLOW_CONN_STORE", server.connection(WRONG))
    hook, export = ready(simulator)
    server.check_credentials(True)
    try:
        with pytest.raises(DownloadError, match=f"{bucket}/in") as caught:
            hook.land_export(export, f"s3://store@{bucket}/in")
    finally:
        server.check_credentials(False)
    assert "credentials" in str(caught.value)
    assert WRONG not in str(caught.value)
    assert LOGIN not in str(caught.value)
    assert downloads(simulator) == 0
    assert server.keys(bucket) == []


def test_file_that_was_deleted_lands_again(simulator: Simulator, server: S3Server, bucket: str) -> None:
    """Also when a listing from before the deletion is still remembered in the process."""
    hook, export = ready(simulator)
    destination = f"s3://store@{bucket}/in"
    result = hook.land_export(export, destination)
    assert len(list(ObjectStoragePath(destination).iterdir())) == 3
    key = f"in/{result['files'][0]['name']}"
    server.client.delete_object(Bucket=bucket, Key=key)
    check(hook.land_export(export, destination))
    assert key in server.keys(bucket)

"""Whatever the file host does: the file is complete and equal, or there is one clear error and no file."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_exports.core.model import Export
from airflow_provider_exports.exceptions import (
    DownloadError,
    DownloadIncomplete,
    ExportError,
    ExportExpired,
    LinkExpired,
    NotTheFile,
    RateLimited,
    UnsafeLink,
    VendorUnavailable,
)
from airflow_provider_exports.landing import fetch, transfer
from airflow_provider_exports.landing.host import Body
from airflow_provider_exports.landing.transfer import ATTEMPTS, Part
from tests.landing.conftest import BODY, SIZE, World, check_digest
from tests.landing.faults import Answer, Asked, Content, Handler, gzipped

TENTHS = [SIZE * tenth // 10 for tenth in range(1, 10)]
GOOD = Content(BODY)
PLAIN = Content(BODY, etag=None, ranges=False)


def always(handler: Handler, **changes: Any) -> Handler:
    """Change every answer."""
    return lambda asked: handler(asked).but(**changes)


def once(handler: Handler, **changes: Any) -> Handler:
    """Change the first answer only."""
    return lambda asked: handler(asked).but(**changes) if asked.number == 0 else handler(asked)


def refuse(handler: Handler, numbers: range, status: int, **headers: str) -> Handler:
    """Answer some requests with a status."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda asked: Answer(b"no", status, said) if asked.number in numbers else handler(asked)


def fails(world: World, error: type[ExportError], match: str | None = None) -> ExportError:
    """Land; expect an error, and nothing to see."""
    with pytest.raises(error, match=match) as caught:
        world.land()
    assert (caught.value.vendor, caught.value.export_id) == ("files", "e-1")
    assert world.server.url not in str(caught.value)
    assert world.visible == []
    return caught.value


# -- what works ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "handler",
    [
        GOOD,
        PLAIN,
        Content(BODY, etag='W/"v1"'),
        Content(BODY, etag=None),
        always(PLAIN, chunked=True),
        always(PLAIN, length=False),
        always(GOOD, pace=(10_000, 0.001)),
    ],
    ids=["all", "plain", "weak", "no-etag", "chunked", "until-close", "in-pieces"],
)
def test_every_way_to_send_a_file(world: World, handler: Handler) -> None:
    """One request, and the file is there."""
    path = world.add(handler)
    assert world.one() == BODY
    assert len(world.server.of(path)) == 1


def test_empty_file(world: World) -> None:
    """It is a file."""
    world.add(b"", size=0)
    assert world.one() == b""


def test_empty_chunked_file(world: World) -> None:
    """It is a file as well."""
    world.add(always(Content(b"", etag=None), chunked=True))
    assert world.one() == b""


def test_five_thousand_small_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They come over a handful of connections, under their own names."""
    monkeypatch.setattr(fetch, "_TICK", 0.25)
    world.settings["parallel_files"] = 2
    for number in range(5000):
        world.add(b"%d" % number)
    landed = world.land()
    assert [file["size"] for file in landed["files"]] == [len(str(number)) for number in range(5000)]
    assert (world.destination / "e-1-4321.bin").read_bytes() == b"4321"
    assert len(world.visible) == 5001
    assert world.server.connections <= 2


def test_nothing_is_kept_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand files leave neither threads nor descriptors behind."""
    monkeypatch.setattr(fetch, "_TICK", 0.25)
    world.add(b"warm up")
    world.land()
    world.export = replace(world.export, export_id="e-2", files=())
    for number in range(1000):
        world.add(b"%d" % number, f"e-2-{number}.bin")
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    connections = world.server.connections
    world.land()
    for peer in world.server._peers[connections:]:
        # The server's own ends, and threads, are in this process as well.
        world.server._hang_up(peer)
    for thread in threading.enumerate():
        if "_serve" in thread.name:
            thread.join(5)
    assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


# -- cut -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("cut", TENTHS)
def test_cut_with_ranges_goes_on_where_it_was(world: World, cut: int, reset: bool) -> None:
    """About one file is moved in all."""
    path = world.add(once(GOOD, cut=cut, reset=reset))
    assert world.one() == BODY
    assert len(world.server.of(path)) == 2
    # What the system had not handed over yet when the reset came is lost.
    assert world.server.sent == SIZE or (reset and world.server.sent <= SIZE + cut)


@pytest.mark.parametrize("cut", TENTHS)
def test_cut_without_ranges_starts_over(world: World, cut: int) -> None:
    """Nothing tells whether the rest would be of the same file."""
    path = world.add(once(PLAIN, cut=cut))
    assert world.one() == BODY
    assert [asked.range for asked in world.server.of(path)] == [None, None]
    assert world.server.sent == SIZE + cut


def test_cut_at_every_tenth(world: World) -> None:
    """Progress is what counts: nine cuts are more than ``ATTEMPTS``."""
    path = world.add(always(GOOD, cut=SIZE // 10))
    assert world.one() == BODY
    assert len(world.server.of(path)) == 10
    assert world.server.sent == SIZE


@pytest.mark.parametrize("cut", [0, 1, TENTHS[4], SIZE - 1])
def test_always_cut_without_ranges_ends(world: World, cut: int) -> None:
    """It is tried ``ATTEMPTS`` times."""
    path = world.add(always(PLAIN, cut=cut))
    fails(world, DownloadIncomplete)
    assert len(world.server.of(path)) == ATTEMPTS


def test_always_cut_at_once_ends(world: World) -> None:
    """Also where the host serves parts: a few bytes are no progress."""
    path = world.add(always(GOOD, cut=10))
    fails(world, DownloadIncomplete)
    assert len(world.server.of(path)) == ATTEMPTS


@pytest.mark.parametrize(
    "broken", [{"cut": SIZE // 2}, {"cut": SIZE // 2, "reset": True}, {"last_chunk": False}]
)
@pytest.mark.parametrize("etag", ['"v1"', None])
def test_cut_chunked_body(world: World, broken: dict[str, Any], etag: str | None) -> None:
    """Inside of a chunk, and before the last one."""
    world.add(once(always(Content(BODY, etag, ranges=etag is not None), chunked=True), **broken))
    assert world.one() == BODY


def test_cut_body_without_length_is_seen_by_its_announced_size(world: World) -> None:
    """By nothing else can it be seen."""
    world.add(once(always(PLAIN, length=False), cut=SIZE // 3), size=SIZE)
    assert world.one() == BODY


def test_cut_body_without_length_never_lands(world: World) -> None:
    """If it is cut every time."""
    world.add(always(PLAIN, length=False, cut=SIZE // 3), size=SIZE)
    fails(world, DownloadIncomplete, "announced")


# -- slow and silent -----------------------------------------------------------------------------------------


def test_silence(world: World) -> None:
    """The rest is asked for again."""
    world.settings["request_timeout"] = 0.2
    world.add(once(GOOD, silent_at=TENTHS[3], pace=(50_000, 0)))
    assert world.one() == BODY
    assert world.server.sent == SIZE


def test_trickle(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is never silent, but it is dead."""
    monkeypatch.setattr(transfer, "_STALL_SECONDS", 0.1)
    path = world.add(once(GOOD, pace=(1, 0.01)))
    assert world.one() == BODY
    assert len(world.server.of(path)) == 2


def test_trickle_after_a_good_beginning(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came in the first second does not make up for hours of nothing."""
    monkeypatch.setattr(transfer, "_STALL_SECONDS", 0.1)
    world.settings["slowest_transfer"] = 10_000

    # 399,000 bytes at once, then a hundred per second.
    path = world.add(once(GOOD, fast=SIZE - 1000, pace=(1, 0.01)))
    assert world.one() == BODY
    assert len(world.server.of(path)) == 2


def test_trickle_of_a_signature_is_no_other_file(world: World) -> None:
    """The first byte of a PDF arrives alone."""
    body = b"%PDF-1.7" + BODY[:100] + b"%%EOF"
    world.add(always(Content(body), pace=(1, 0.001)), format="pdf")
    assert world.one() == body


# -- parts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def parallel(world: World) -> World:
    """Where several connections may share a file."""
    world.settings["parallel_ranges"] = 8
    return world


def shared(handler: Handler, **first: Any) -> Handler:
    """Serve the whole file slowly, parts fast."""
    return lambda asked: (
        handler(asked).but(**({"pace": (8192, 0.01)} | first)) if asked.range is None else handler(asked)
    )


@pytest.mark.parametrize("run", range(8))
def test_helpers_share_a_file(parallel: World, run: int) -> None:
    """Many connections, each byte about once, and the digest of the whole in order."""
    path = parallel.add(lambda asked: GOOD(asked).but(pace=(4096, 0.002)))
    assert parallel.one() == BODY
    assert len(parallel.server.of(path)) > 2
    assert parallel.server.of(path)[1].headers["if-range"] == '"v1"'


def test_writer_that_overtakes_its_end(parallel: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper takes over bytes that the first one is just writing; the digest is of the whole file."""
    monkeypatch.setattr(transfer, "CHUNK", 256 * 1024)
    monkeypatch.setattr(Body, "read", lambda body, most: body._answer.raw.read(most))
    write, helped = os.pwrite, threading.Event()

    def slow(descriptor: int, data: memoryview, at: int) -> int:
        if at:
            helped.set()
        else:
            # It holds more than the half that it will have to do.
            assert len(data) > SIZE // 2
            assert helped.wait(10)
        return write(descriptor, data, at)

    monkeypatch.setattr(transfer.os, "pwrite", slow)
    parallel.add(GOOD)
    assert parallel.one() == BODY


def test_helper_dies(parallel: World) -> None:
    """The first connection takes up what it leaves."""
    path = parallel.add(shared(lambda asked: GOOD(asked).but(cut=20_000 if asked.number == 1 else None)))
    assert parallel.one() == BODY
    assert len(parallel.server.of(path)) > 2


def test_fast_host_has_one_connection(parallel: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More would only cost."""
    monkeypatch.setattr(transfer, "FAST", 1)
    path = parallel.add(lambda asked: GOOD(asked).but(pace=(4096, 0.002)))
    assert parallel.one() == BODY
    assert len(parallel.server.of(path)) == 1


def test_parts_are_handed_out_from_the_front(parallel: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the hash, which goes in order, is not left behind."""
    monkeypatch.setattr(transfer, "_BLOCK_SECONDS", 0.0)
    parallel.settings["parallel_ranges"] = 2
    path = parallel.add(lambda asked: GOOD(asked).but(pace=(4096, 0.002)))
    assert parallel.one() == BODY
    begins = [asked.range[0] for asked in parallel.server.of(path) if asked.range is not None]
    # Requests of two connections may arrive in the other order than they were made.
    assert all(first < later for at, first in enumerate(begins) for later in begins[at + 2 :])
    assert len(begins) > 3


def test_refused_part_is_fetched_with_the_answer_that_is_open(parallel: World) -> None:
    """The first connection waits for the refusal: the host would refuse it a part of its own as well."""
    asked_for_a_part = threading.Event()

    def host(asked: Asked) -> Answer:
        if asked.range is None:
            return GOOD(asked).but(pace=(8192, 0.004))
        asked_for_a_part.set()
        # Meanwhile the first connection comes to the end of what it was left.
        time.sleep(0.1)
        return Answer(b"", 416)

    path = parallel.add(host)
    assert parallel.one() == BODY
    assert asked_for_a_part.is_set()
    assert len([asked for asked in parallel.server.of(path) if asked.range is None]) == 1


def test_first_connection_dies(parallel: World) -> None:
    """While helpers are at work."""
    parallel.add(shared(GOOD, cut=60_000))
    assert parallel.one() == BODY


def test_first_connection_ends_first(parallel: World) -> None:
    """It goes on with what is left."""
    parallel.add(lambda asked: GOOD(asked).but(pace=(4096, 0.004 if asked.range is None else 0.008)))
    assert parallel.one() == BODY


def test_first_part_starts_anew_beside_helpers(parallel: World) -> None:
    """Its host forgets the tag: parts of two files are never mixed."""
    other = bytes(reversed(BODY))
    gate = threading.Event()

    def host(asked: Asked) -> Answer:
        if asked.range is not None:
            gate.set()
            return GOOD(asked).but(pace=(4096, 0.005))
        if asked.number == 0:
            return GOOD(asked).but(gate=gate, cut=0)
        return Content(other, etag=None)(asked)

    parallel.add(host)
    assert parallel.one() in (BODY, other)


@pytest.mark.parametrize("answers", ["whole", "wrong", "refused"])
def test_host_that_promised_ranges(parallel: World, answers: str) -> None:
    """It sends the whole file, another part or 416: the helper goes, the first connection goes on."""

    def host(asked: Asked) -> Answer:
        if asked.range is None:
            return GOOD(asked).but(pace=(8192, 0.004))
        if answers == "whole":
            return Answer(BODY, headers={"ETag": '"v1"'})
        if answers == "refused":
            return Answer(b"", 416)
        return GOOD(asked).but(headers={"Content-Range": f"bytes 5-{SIZE - 1}/{SIZE}", "ETag": '"v1"'})

    path = parallel.add(host)
    assert parallel.one() == BODY
    assert len([asked for asked in parallel.server.of(path) if asked.range is None]) == 1
    assert len(parallel.server.of(path)) <= 9


@pytest.mark.parametrize("answers", ["whole", "wrong", "refused"])
def test_host_that_promised_ranges_cannot_resume(world: World, answers: str) -> None:
    """After a cut the file starts over."""

    def host(asked: Asked) -> Answer:
        if asked.range is None:
            return GOOD(asked).but(cut=TENTHS[2] if asked.number == 0 else None)
        if answers == "whole":
            return Answer(BODY, headers={"ETag": '"v1"'})
        if answers == "refused":
            return Answer(b"", 416)
        return GOOD(asked).but(headers={"Content-Range": f"bytes 5-{SIZE - 1}/{SIZE}", "ETag": '"v1"'})

    world.add(host)
    assert world.one() == BODY


def test_host_without_room_for_helpers_is_not_pestered(parallel: World) -> None:
    """It asks for fewer requests, and for a pause: it is not asked again with each look."""

    def host(asked: Asked) -> Answer:
        if asked.range is None:
            return GOOD(asked).but(pace=(8192, 0.01))
        return Answer(b"", 429, {"Retry-After": "60"})

    path = parallel.add(host)
    assert parallel.one() == BODY
    assert len(parallel.server.of(path)) <= 1 + parallel.vendor.settings.parallel_ranges


def test_another_version_in_the_middle(world: World) -> None:
    """Bytes of two versions are never mixed."""
    new = Content(bytes(reversed(BODY)), '"v2"')
    world.add(lambda asked: GOOD(asked).but(cut=TENTHS[4]) if asked.number == 0 else new(asked))
    assert world.one() == new.body


def test_another_version_while_helpers_work(parallel: World) -> None:
    """Whoever is first to see it stops the others."""
    new = Content(bytes(reversed(BODY)), '"v2"')

    def host(asked: Asked) -> Answer:
        now = GOOD if asked.number < 3 else new
        return now(asked).but(pace=(4096, 0.003), cut=100_000 if asked.number == 0 else None)

    parallel.add(host)
    assert parallel.one() == new.body


def test_another_version_every_time_ends(world: World) -> None:
    """It has an end."""
    world.add(lambda asked: Content(BODY, f'"{asked.number}"')(asked).but(cut=TENTHS[4]))
    fails(world, DownloadError)


def test_same_length_without_tag_is_no_proof(world: World) -> None:
    """A host without strong tags starts over, whatever it says of ranges."""
    path = world.add(once(Content(BODY, 'W/"v1"'), cut=TENTHS[4]))
    assert world.one() == BODY
    assert all(asked.range is None for asked in world.server.of(path))


def test_overlapping_parts_have_no_hole() -> None:
    """The frontier is the first byte that is missing."""
    one = transfer.Transfer.__new__(transfer.Transfer)
    one._changed = threading.Condition(threading.RLock())
    one._parts = [Part(0, 60, 50), Part(50, 50, 50), Part(50, 70, 100)]
    assert one.frontier() == 70
    one._parts = [Part(0, 50, 50), Part(60, 100, 100)]
    assert one.frontier() == 50


# -- answers that are no file --------------------------------------------------------------------------------


def test_gzip_unasked(world: World) -> None:
    """A cut in it would not be seen."""
    world.add(lambda asked: gzipped(GOOD(asked)))
    fails(world, DownloadError, "gzip")


@pytest.mark.parametrize("said", [SIZE - 1, SIZE + 1])
@pytest.mark.parametrize("handler", [GOOD, always(PLAIN, chunked=True)])
def test_another_size_than_the_vendor_announced(world: World, said: int, handler: Handler) -> None:
    """One of the two is wrong."""
    path = world.add(handler, size=said)
    fails(world, DownloadIncomplete, f"announced {said}")
    assert len(world.server.of(path)) == ATTEMPTS


def test_another_md5_than_the_vendor_announced(world: World) -> None:
    """All bytes came, but not these."""
    world.add(GOOD, md5="0" * 32)
    fails(world, DownloadIncomplete, "MD5")


@pytest.mark.parametrize("size", [None, SIZE])
def test_page_with_status_200(world: World, size: int | None) -> None:
    """It is never the file, whatever its length."""
    path = world.add(b"  <!DOCTYPE html><title>Sign in</title>", size=size, format="csv")
    fails(world, NotTheFile, "HTML")
    assert len(world.server.of(path)) == 1


@pytest.mark.parametrize("status", [416, 206])
def test_part_that_nobody_asked_for(world: World, status: int) -> None:
    """An answer to a range, without one."""
    headers = {"Content-Range": f"bytes 5-9/{SIZE}"} if status == 206 else {}
    world.add(lambda asked: Answer(b"", status, headers))
    fails(world, DownloadError)


# -- links ---------------------------------------------------------------------------------------------------


def fresh_link(world: World, path: str) -> None:
    """Give out a new address with each look at the export."""

    def read(export: Export) -> Export:
        url = f"{world.server.url}{path}?link={world.reads}"
        return replace(export, files=(replace(export.files[0], url=url),))

    world.on_read = read


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_dead_link_at_the_first_byte(world: World, status: int) -> None:
    """A fresh one works."""
    path = world.add(refuse(GOOD, range(1), status))
    fresh_link(world, path)
    assert world.one() == BODY
    assert world.reads == 1


def test_dead_link_half_way(world: World, pauses: list[float]) -> None:
    """The fresh one goes on where the other was."""
    path = world.add(once(refuse(GOOD, range(1, 2), 403), cut=TENTHS[5]))
    fresh_link(world, path)
    assert world.one() == BODY
    assert world.reads == 1
    assert world.server.sent == SIZE


def test_links_that_are_dead_for_good(world: World) -> None:
    """It is tried ``ATTEMPTS`` times."""
    path = world.add(refuse(GOOD, range(100), 403))
    fails(world, LinkExpired)
    assert len(world.server.of(path)) == ATTEMPTS


def test_export_that_expires_meanwhile(world: World) -> None:
    """The vendor's word is the clearer error."""
    path = world.add(once(refuse(GOOD, range(1, 100), 403), cut=TENTHS[5]))

    def gone(export: Export) -> Export:
        raise ExportExpired("its files are gone.", vendor="files", export_id="e-1")

    world.on_read = gone
    fails(world, ExportExpired)
    assert len(world.server.of(path)) == 2


def test_export_that_changes_meanwhile(world: World) -> None:
    """Files of two exports are never mixed."""
    world.add(refuse(GOOD, range(1), 403))
    world.on_read = lambda export: replace(export, files=(replace(export.files[0], name="other"),))
    fails(world, DownloadIncomplete, "list of files")


@pytest.mark.parametrize(("status", "error"), [(429, RateLimited), (503, VendorUnavailable)])
def test_retry_after_is_kept(
    world: World, pauses: list[float], status: int, error: type[ExportError]
) -> None:
    """Where it is bearable."""
    world.add(refuse(GOOD, range(2), status, Retry_After="17"))
    assert world.one() == BODY
    assert pauses == [17, 17]


@pytest.mark.parametrize("asked", ["86400", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_tomorrow(world: World, pauses: list[float], asked: str) -> None:
    """Waiting so long is the scheduler's business."""
    path = world.add(refuse(GOOD, range(9), 429, Retry_After=asked))
    assert fails(world, RateLimited).retry_after is not None
    assert (len(world.server.of(path)), pauses) == (1, [])


def test_faults_that_last(world: World, pauses: list[float]) -> None:
    """They are waited for, longer each time, and not for ever."""
    world.add(refuse(GOOD, range(9), 503))
    fails(world, VendorUnavailable, "503")
    assert pauses == [2, 4, 8]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_lead_to_the_file(world: World, status: int) -> None:
    """Also several, also with a part."""
    world.add(lambda _: Answer(b"", status, {"Location": "a?x=1"}))
    world.server.files["/a"] = lambda _: Answer(b"", status, {"Location": f"{world.server.url}/b"})
    world.server.files["/b"] = once(GOOD, cut=TENTHS[3])
    assert world.one() == BODY


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("/0", UnsafeLink),
        ("ftp://127.0.0.1/x", UnsafeLink),
        ("file:///etc/hostname", UnsafeLink),
        ("http://files.example/x", UnsafeLink),
        ("http://[::1", UnsafeLink),
        ("//[", UnsafeLink),
        ("http://127.0.0.1:99999/", UnsafeLink),
        ("https://" + "a" * 70 + ".example/", VendorUnavailable),
        ("https://127.0.0.1:1/", VendorUnavailable),
        ("http://", UnsafeLink),
    ],
)
def test_redirects_that_lead_nowhere(world: World, location: str, error: type[ExportError]) -> None:
    """Each is one clear error."""
    world.add(lambda _: Answer(b"", 302, {"Location": location}))
    fails(world, error)


def test_redirect_without_a_place(world: World) -> None:
    """Is an odd status."""
    world.add(lambda _: Answer(b"", 302))
    fails(world, DownloadError, "302")


# -- several files -------------------------------------------------------------------------------------------


def test_one_bad_file_stops_the_others(world: World) -> None:
    """Nothing of the good ones is to be seen."""
    for _ in range(20):
        world.add(GOOD)
    world.add(lambda _: Answer(b"", 418))
    fails(world, DownloadError, "418")


@pytest.mark.parametrize("before", ["head", "body"])
def test_error_wakes_those_who_wait_for_a_silent_host(world: World, before: str) -> None:
    """The task ends with it, not with the silence, whether that is before an answer or within one."""
    world.settings["request_timeout"] = 600
    silent = threading.Event()

    def mute(asked: Asked) -> Answer:
        silent.set()
        if before == "head":
            over.wait(60)
        return GOOD(asked).but(silent_at=100_000, pace=(50_000, 0))

    def wrong(_: Asked) -> Answer:
        silent.wait(60)
        return Answer(b"", 418)

    over = threading.Event()
    world.add(mute)
    world.add(wrong)
    caught: list[BaseException] = []

    def land() -> None:
        try:
            world.land()
        except DownloadError as error:
            caught.append(error)

    task = threading.Thread(target=land, daemon=True)
    task.start()
    task.join(20)
    over.set()
    assert not task.is_alive()
    assert "418" in str(caught[0])


@pytest.fixture
def raw(world: World) -> Iterator[Callable[[Callable[[socket.socket], None]], None]]:
    """A host that speaks no proper HTTP: what it is given talks to each connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer(talk: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer, contextlib.suppress(OSError):
                peer.recv(65536)
                talk(peer)

    def start(talk: Callable[[socket.socket], None]) -> None:
        threading.Thread(target=answer, args=(talk,), daemon=True).start()
        world.add(GOOD)
        world.at(f"http://127.0.0.1:{listener.getsockname()[1]}/x")

    yield start
    listener.close()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nConte"]
)
def test_cut_within_the_headers_is_no_empty_file(world: World, raw: Any, head: bytes) -> None:
    """Python's client takes what has come for all headers, and the rest for an empty body."""
    raw(lambda peer: peer.sendall(head))
    fails(world, DownloadIncomplete, "without a byte or a length")


def test_headers_byte_by_byte(world: World, raw: Any) -> None:
    """Each byte comes in time, the answer never."""
    world.settings["request_timeout"] = 0.3
    over = threading.Event()

    def trickle(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
        while not over.wait(0.05):
            peer.sendall(b"a")

    raw(trickle)
    try:
        fails(world, DownloadIncomplete, "without a byte")
    finally:
        over.set()


def test_progress_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Bytes, share, rate and time left."""
    monkeypatch.setattr(fetch, "_TELL_SECONDS", 0.0)
    world.add(always(GOOD, pace=(65536, 0.02)))
    world.add(always(PLAIN, pace=(65536, 0.02), chunked=True))
    with caplog.at_level(20):
        world.land()
    assert "files export e-1: 0 of 2 files" in caplog.text


def test_digests_are_of_each_file(world: World) -> None:
    """They are not mixed up when files come at once."""
    bodies = [os.urandom(number * 7000) for number in range(30)]
    for body in bodies:
        world.add(body)
    for said, body in zip(world.land()["files"], bodies, strict=True):
        check_digest(said, body)

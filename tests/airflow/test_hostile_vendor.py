"""A vendor that means harm: each of its answers ends in one typed error, soon, and nothing leaks or lands."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.core import ConnectionInfo, ExportFile, Lifecycle, Plan, Request
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.landing import transfer
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.transports import asynchronous, blocking
from airflow_provider_exports.transports.asynchronous import AsyncTransport
from airflow_provider_exports.transports.blocking import BlockingTransport
from airflow_provider_exports.vendors.mews.vendor import MewsVendor
from tests.airflow.both_modes import landed

pytestmark = pytest.mark.filterwarnings("ignore")

T = TypeVar("T")
MB = 1024 * 1024
ACCESS, CLIENT = "access-sesame", "client-sesame"
LINK = "signed-sesame"
SECRETS = (ACCESS, CLIENT, LINK)
LOG = logging.getLogger("tests.hostile")

Send = Callable[[bytes], None]
Act = Callable[[str, Send], None]
"""Answers one request, of this path, with raw bytes."""


class Hostile:
    """One origin that answers with whatever bytes it likes; each answer ends its connection.

    :param act: what it does, by path.
    """

    def __init__(self, act: Act | None = None) -> None:
        self.act: Act = act or (lambda _path, send: send(answer({})))
        self.asked: list[bytes] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self.origin = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._server, *self._peers):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                self._peers.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            got = b""
            while b"\r\n\r\n" not in got:
                if not (more := peer.recv(65536)):
                    return
                got += more
            head, _, body = got.partition(b"\r\n\r\n")
            length = next(
                (int(x.split(b":")[1]) for x in head.lower().split(b"\r\n") if x[:15] == b"content-length:"),
                0,
            )
            while len(body) < length:
                body += peer.recv(65536)
            self.asked.append(head + b"\r\n\r\n" + body)
            self.act(head.split()[1].decode(), peer.sendall)
            peer.shutdown(socket.SHUT_WR)
            # A reset in the place of an end would take back what has been sent.
            while peer.recv(65536):
                pass


def answer(body: Any, status: str = "200 OK", kind: str = "application/json", *more: str) -> bytes:
    """Return a whole HTTP answer; ``body`` as JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(raw)}", *more]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + raw


@pytest.fixture
def api() -> Iterator[Hostile]:
    """Where the connection leads."""
    server = Hostile()
    yield server
    server.close()


@pytest.fixture
def elsewhere() -> Iterator[Hostile]:
    """Another origin, which nobody has been told of."""
    server = Hostile()
    yield server
    server.close()


def vendor(api: Hostile, **extra: Any) -> MewsVendor:
    settings = {"client_token": CLIENT, "max_requests": 0, "request_timeout": 5, **extra}
    return MewsVendor(ConnectionInfo("c", api.origin, password=ACCESS, extra=settings))


def run_blocking(client: MewsVendor, make: Callable[[Lifecycle], Plan[T]]) -> T:
    transport = BlockingTransport(requests.Session(), client, LOG, sleep=lambda _: None)
    return transport.run(make(Lifecycle(client)))


def run_async(client: MewsVendor, make: Callable[[Lifecycle], Plan[T]]) -> T:
    async def no_sleep(_seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> T:
        async with AsyncTransport(client, LOG, sleep=no_sleep) as transport:
            return await transport.run(make(Lifecycle(client)))

    return asyncio.run(run())


@pytest.fixture(params=[run_blocking, run_async], ids=["blocking", "asynchronous"])
def run(request: pytest.FixtureRequest) -> Any:
    """Each answer meets both transports."""
    return request.param


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no answer last longer than this test can wait."""
    for module in (blocking, asynchronous):
        monkeypatch.setattr(module, "LONGEST_ANSWER", 0.5)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that is logged, at whatever level, shows a secret or lasts for pages."""
    caplog.set_level(logging.DEBUG)
    yield
    for record in caplog.records:
        said = record.getMessage()
        assert not any(secret in said for secret in SECRETS), said[:500]
        assert len(said) < 5000 or not record.name.startswith(("tests", "airflow_provider")), said[:200]


def error_of(call: Callable[[], Any]) -> errors.ExportError:
    """Return the export error that a call ends in, within bounded memory and with a text one can show."""
    tracemalloc.start()
    try:
        with pytest.raises(errors.ExportError) as caught:
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * blocking.MAX_BODY, f"{peak / MB:.0f} MiB"
    error = caught.value
    text = str(error)
    assert not any(secret in text + repr(error.to_event()) for secret in SECRETS), text[:500]
    assert len(text) < 2000
    assert text.isprintable(), repr(text[:500])
    json.dumps(error.to_event(), allow_nan=False).encode()
    return error


# -- answers of the API --------------------------------------------------------------------------------


def endless(head: bytes, piece: bytes) -> Act:
    """Send ``piece`` again and again until nobody listens."""

    def act(_path: str, send: Send) -> None:
        send(head)
        while True:
            send(piece)

    return act


def dripping(head: bytes, piece: bytes = b" ") -> Act:
    """Send ``piece`` ever so slowly, but never be silent for as long as a connection's own limit."""

    def act(_path: str, send: Send) -> None:
        send(head)
        pause = threading.Event()
        while not pause.wait(0.05):
            send(piece)

    return act


def always(raw: bytes) -> Act:
    """Give the same answer to everything."""
    return lambda _path, send: send(raw)


def bomb() -> bytes:
    """Return gzip that never ends, a thousand times smaller than what comes out of it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(bytes(16 * MB)) + packer.flush(zlib.Z_FULL_FLUSH)


def more_bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(16 * MB)) + packer.flush(zlib.Z_FULL_FLUSH)


def said(status: Any, **more: Any) -> dict[str, Any]:
    """Return what Mews answers about one export."""
    export = {"Id": "e1", "Status": status, "CreatedUtc": "2026-01-01T00:00:00Z", "Files": None, **more}
    return {"Exports": [export]}


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
DOWN, ODD, NO = errors.VendorUnavailable, errors.UnexpectedResponse, errors.ExportRejected
# What a refusal of an id means at Mews.
GONE = errors.ExportNotFound

ANSWERS: dict[str, tuple[Act, type[errors.ExportError]]] = {
    "headers without end": (endless(HEAD, b"X-Filler: " + b"a" * 1000 + b"\r\n"), DOWN),
    "header without end": (endless(HEAD + b"X-Filler: ", b"a" * 65536), DOWN),
    "status line without end": (endless(b"HTTP/1.1 200 ", b"a" * 65536), DOWN),
    "status line that drips": (dripping(b"HTTP/1.1 200 ", b"a"), DOWN),
    "headers that drip": (dripping(HEAD, b"X-a: b\r\n"), DOWN),
    "continue, for ever": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), DOWN),
    "continue, now and then": (dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), DOWN),
    "body without end": (endless(HEAD + b"\r\n", b" " * 65536), DOWN),
    "chunks without end": (endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"), DOWN),
    "trailers without end": (endless(CHUNKED + b"1\r\n{\r\n0\r\n", b"X-a: b\r\n" * 1000), DOWN),
    "body that drips": (dripping(HEAD + b"Content-Length: 1000000\r\n\r\n"), DOWN),
    "body of no length that drips": (dripping(HEAD + b"\r\n"), DOWN),
    "chunks that drip": (dripping(CHUNKED, b"1\r\n \r\n"), DOWN),
    "chunk size that drips": (dripping(CHUNKED, b"0"), DOWN),
    "chunk size that is none": (always(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"), DOWN),
    "fault that drips": (dripping(HEAD.replace(b"200 OK", b"500 No") + b"\r\n"), DOWN),
    "redirect with a body without end": (
        endless(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Type: text/html\r\n\r\n", b" " * 65536),
        DOWN,
    ),
    "redirect that drips": (dripping(b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n"), DOWN),
    "redirect to itself": (always(answer({}, "302 Found", "text/html", "Location: /")), NO),
    "redirect to no address": (always(answer({}, "302 Found", "text/html", "Location: http://[")), NO),
    "redirect in no encoding": (always(answer({}, "302 Found", "text/html", "Location: /\xff\xfe")), NO),
    "gzip bomb": (
        lambda _path, send: (
            send(HEAD + b"Content-Encoding: gzip\r\n\r\n" + bomb()),
            endless(b"", more_bomb())("", send),
        )[1],
        DOWN,
    ),
    "no gzip": (
        always(answer(b"nothing packed", "200 OK", "application/json", "Content-Encoding: gzip")),
        DOWN,
    ),
    "gzip that ends early": (
        always(
            answer(gzip.compress(b'{"Exports": []}' * 1000)[:40], "200 OK", "a/b", "Content-Encoding: gzip")
        ),
        errors.ExportError,
    ),
    "nested without end": (always(answer(b"[" * MB)), ODD),
    "nested objects": (always(answer(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)), ODD),
    "no UTF-8": (always(answer(b'{"Exports": "\xff\xfe\xfa"}')), ODD),
    "number of many digits": (always(answer(b'{"Exports": [' + b"9" * 100_000 + b"]}")), ODD),
    "infinite numbers": (always(answer(b'{"Exports": [Infinity, -Infinity, NaN, 1e999]}')), ODD),
    "nothing": (always(b""), DOWN),
    "no HTTP": (always(b"SSH-2.0-OpenSSH_9.2\r\n"), DOWN),
    "odd status": (always(answer({}, "999 Whatever")), DOWN),
    "another protocol": (always(answer({}, "101 Switching Protocols")), errors.ExportError),
    "two lengths": (
        always(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
        errors.ExportError,
    ),
    "length of many digits": (
        always(HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
        errors.ExportError,
    ),
    "content type that tells": (always(answer(b"x", "200 OK", f"x/{ACCESS} http://a/?b={LINK}")), ODD),
    "content type in no encoding": (always(answer(b"x", "200 OK", "a/\xff\xfe\x85" + "b" * 4000)), ODD),
    "echo in a refusal": (
        always(answer({"Message": f"{ACCESS} {CLIENT} http://u:{ACCESS}@h/?s={LINK}"}, "400 Bad")),
        GONE,
    ),
    "long refusal": (always(answer({"Message": "a." * 5 * MB}, "400 Bad")), GONE),
    "refusal with odd characters": (always(answer({"Message": "a\u202e\r\n\x00\ud800b"}, "400 Bad")), GONE),
    "status word of a megabyte": (always(answer(said("a." * MB))), errors.UnknownStatus),
    "status word that tells": (always(answer(said(f"http://h/?{LINK} {ACCESS}"))), errors.UnknownStatus),
    "status that is none": (always(answer(said({"a": [1]}))), ODD),
    "time that is none": (always(answer(said("Success", ExpiresUtc="\x00" * MB))), ODD),
    "retry after ever": (always(answer({}, "429 No", "text/plain", "Retry-After: inf")), errors.RateLimited),
    "retry after many digits": (
        always(answer({}, "429 No", "text/plain", "Retry-After: " + "9" * 8000)),
        errors.RateLimited,
    ),
    "retry after a year 0": (
        always(answer({}, "429 No", "text/plain", "Retry-After: Mon, 01 Jan 0000 00:00:00 -0000")),
        errors.RateLimited,
    ),
    "cookies of others": (
        always(
            answer(
                {}, "400 No", "text/plain", "Set-Cookie: a=b; Domain=bank.example", "Set-Cookie: \xff=;;=\x01"
            )
        ),
        GONE,
    ),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_hostile_answer_is_one_error(api: Hostile, run: Any, what: str) -> None:
    """Through both transports, soon, in bounded memory."""
    api.act, error = ANSWERS[what]
    found = error_of(
        lambda: run(
            vendor(api, retry_attempts=1, unknown_status="fail"),
            lambda life: life.call(life.vendor.get("e1")),
        )
    )
    assert isinstance(found, error), repr(found)
    assert found.vendor == "mews"


def telling() -> Any:
    """Send credentials wherever there is a place for them."""
    headers = dict.fromkeys(("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization"), ACCESS)
    yield Request("PUT", "/x", json={"token": ACCESS}, params={"token": ACCESS}, headers=headers)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["create", "get", "any"])
def test_nothing_follows_a_redirect(
    api: Hostile, elsewhere: Hostile, run: Any, status: int, operation: str
) -> None:
    """Mews has its tokens in the body, others in headers: the other origin gets no request at all."""
    api.act = always(answer({}, f"{status} Go", "text/plain", f"Location: {elsewhere.origin}/x"))
    calls: dict[str, Callable[[Lifecycle], Any]] = {
        "create": lambda life: life.submit({"EntityType": "Payment"}),
        "get": lambda life: life.check("e1"),
        "any": lambda life: life.call(telling()),
    }
    assert type(error_of(lambda: run(vendor(api), calls[operation]))) is NO
    assert len(api.asked) == 1
    # All of them were there to be carried on, and the one that Mews adds.
    assert operation != "any" or api.asked[0].count(ACCESS.encode()) == 7
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "http://{elsewhere}\\@{api}/x",
        "http://{elsewhere}\\.{api}/x",
        "http://{elsewhere}\t@{api}/x",
        "http://{api}@{elsewhere}/x",
        "http://{elsewhere}/@{api}",
        "@{elsewhere}/x",
        "http://{api}:99999999/",
        "http://[{api}/",
        "http:///{api}/",
    ],
)
def test_address_that_two_clients_read_differently_gets_no_credentials(
    api: Hostile, elsewhere: Hostile, run: Any, path: str
) -> None:
    """A link to a next page, say: where it leads must not depend on who reads it."""
    hosts = {"api": api.origin.partition("://")[2], "elsewhere": elsewhere.origin.partition("://")[2]}

    def flow() -> Any:
        yield Request("GET", path.format(**hosts), headers={"Authorization": ACCESS})

    assert type(error_of(lambda: run(vendor(api), lambda life: life.call(flow())))) is errors.UnsafeLink
    assert api.asked == elsewhere.asked == []


def test_netrc_signs_nothing(api: Hostile, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry for every host is for other programs."""
    (tmp_path / "netrc").write_text(f"default login someone password {LINK}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    api.act = always(answer({}, "400 No"))
    error_of(lambda: run(vendor(api), lambda life: life.check("e1")))
    assert len(api.asked) == 1
    assert b"authorization" not in api.asked[0].lower()


def test_foreign_cookie_is_not_kept(api: Hostile, elsewhere: Hostile, run: Any) -> None:
    """One for a whole domain or for another host comes back to nobody."""
    more = (
        "Set-Cookie: a=1; Domain=example.com",
        "Set-Cookie: c=3; Domain=com",
    )
    api.act = always(answer({}, "500 No", "text/plain", *more))
    error_of(lambda: run(vendor(api, retry_attempts=3), lambda life: life.check("e1")))
    assert len(api.asked) > 1
    sent = [line for asked in api.asked for line in asked.split(b"\r\n") if b"ookie" in line]
    assert sent == []


# -- links and files -----------------------------------------------------------------------------------


@pytest.fixture
def hook(api: Hostile, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ExportHook]:
    """Return a hook for a connection to the hostile API."""

    def connect(**extra: Any) -> ExportHook:
        settings = {
            "client_token": CLIENT,
            "max_requests": 0,
            "request_timeout": 2,
            "retry_attempts": 1,
            **extra,
        }
        fields = {"conn_type": "mews", "host": api.origin, "password": ACCESS, "extra": settings}
        monkeypatch.setenv("AIRFLOW_CONN_HOSTILE", json.dumps(fields))
        return ExportHook("hostile")

    return connect


def offering(url: str, serve: Act | None = None, size: int = 3) -> Act:
    """Be Mews, with one file at ``url``; what is no API call is for ``serve``."""

    def act(path: str, send: Send) -> None:
        if path.startswith("/api/"):
            file = {"Url": url, "SizeInBytes": size}
            send(answer(said("Success", ExpiresUtc="2099-01-01T00:00:00Z", Files=[file])))
        elif serve is not None:
            serve(path, send)

    return act


METADATA = [
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[fe80::a9fe:a9fe]",
]


@pytest.mark.parametrize(
    "link",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "data:text/plain,abc",
        "//127.0.0.1/x",
        "/etc/passwd",
        "http://[",
        "http://",
        "https://files.example\\@127.0.0.1/x",
        "https://files.example\r\nX: y/",
        *(f"http://{host}/latest/meta-data" for host in METADATA),
        *(f"https://{host}/latest/meta-data" for host in METADATA),
    ],
)
@pytest.mark.parametrize("way", ["link", "redirect"])
def test_unsafe_link(
    api: Hostile, hook: Callable[..., ExportHook], tmp_path: Path, link: str, way: str
) -> None:
    """In the export itself or behind a redirect: it is not followed, and nothing lands."""
    if way == "link" or not link.isprintable() or link.startswith("/") or link == "http://":
        # The rest is not to be had in a header, or leads to where it comes from.
        api.act = offering(link)
    else:
        api.act = offering(
            f"{api.origin}/f?{LINK}", always(answer(b"", "302 Go", "a/b", f"Location: {link}"))
        )
    found = error_of(lambda: hook().download_export("e1", tmp_path.as_uri()))
    assert type(found) in (errors.UnsafeLink, errors.UnexpectedResponse), repr(found)
    assert list(tmp_path.iterdir()) == []


def file_answers() -> dict[str, tuple[bytes, Act]]:
    """What a file host may do: bytes to begin with, and how it goes on."""
    quiet: Act = lambda _path, _send: None  # noqa: E731
    many = b"9" * 5000
    found = b"HTTP/1.1 302 Found\r\nLocation: /y\r\n"
    return {
        "headers without end": (HEAD, endless(b"", b"X-a: " + b"b" * 1000 + b"\r\n")),
        "header without end": (HEAD + b"X-a: ", endless(b"", b"a" * 65536)),
        "headers that drip": (HEAD, dripping(b"", b"X-a: b\r\n")),
        "continue, now and then": (b"", dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
        "redirect that drips": (found + b"\r\n", dripping(b"")),
        "large redirect": (found + b"\r\n", lambda _p, send: [send(bytes(MB)) for _ in range(300)]),
        "redirect to itself": (found + b"Content-Length: 0\r\n\r\n", quiet),
        "file without end": (CHUNKED, dripping(b"", b"10000\r\n" + b"{}\n" * 21845 + b"\n\r\n")),
        "file of no length without end": (HEAD + b"\r\n", dripping(b"", b"{}\n" * 21845)),
        "gzip that was not asked for": (HEAD + b"Content-Encoding: gzip\r\n\r\n", quiet),
        "length of many digits": (HEAD + b"Content-Length: " + many + b"\r\n\r\nabc", quiet),
        "range of many digits": (
            b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-" + many + b"/" + many + b"\r\n\r\nabc",
            quiet,
        ),
        "length that is negative": (HEAD + b"Content-Length: -1\r\n\r\nabcd", quiet),
        "two lengths": (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", quiet),
        "nothing": (b"", quiet),
        "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", quiet),
        "page": (answer(b"<!DOCTYPE html><html>", "200 OK", "text/html"), quiet),
        "page in another place": (answer(b"x", "999 Odd", "text/html"), quiet),
    }


FILES = file_answers()


@pytest.mark.parametrize("what", FILES)
def test_hostile_file_is_one_error(
    api: Hostile,
    hook: Callable[..., ExportHook],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """Soon, in bounded memory; nothing is to be seen at the destination."""
    monkeypatch.setattr(transfer, "_pause", lambda _stop, _seconds: None)
    begin, go_on = FILES[what]

    def serve(path: str, send: Send) -> None:
        send(begin)
        go_on(path, send)

    api.act = offering(f"{api.origin}/f?{LINK}", serve)
    ended: list[Any] = []

    def land() -> None:
        try:
            ended.append(error_of(lambda: hook(request_timeout=0.3).download_export("e1", tmp_path.as_uri())))
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            ended.append(error)

    # Of its own, so that one that never ends is noticed.
    thread = threading.Thread(target=land, daemon=True)
    thread.start()
    thread.join(30)
    stuck = thread.is_alive()
    api.close()
    thread.join(30)
    assert not stuck, "it does not end"
    assert isinstance(ended[0], errors.ExportError), repr(ended[0])[:500]
    assert landed(tmp_path) == []


@pytest.mark.parametrize(
    "header",
    [
        'attachment; filename="../../etc/cron.d/x"',
        "attachment; filename*=UTF-8''%2e%2e%2fx",
        'attachment; filename="a\u00ad\x85b"',
        'attachment; filename="x\x01\x7f.csv"',
    ],
)
def test_name_that_a_host_gives_is_not_used(
    api: Hostile, hook: Callable[..., ExportHook], tmp_path: Path, header: str
) -> None:
    """Files are called by us."""
    raw = answer({"a": 1}, "200 OK", "text/csv", f"Content-Disposition: {header}")
    api.act = offering(f"{api.origin}/f?{LINK}", always(raw), size=8)
    result = hook().download_export("e1", tmp_path.as_uri())
    (file,) = result["files"]
    assert landed(tmp_path) == [file["name"]]
    assert file["name"].startswith("e1")
    assert file["name"].isascii()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_for_files_stay_at_home(api: Hostile, elsewhere: Hostile, status: int) -> None:
    """Where a vendor's files need them: not behind a redirect, nor where it only looks like home."""
    own = dict.fromkeys(("Authorization", "Cookie", "X-Api-Key"), ACCESS)
    host = FileHost(requests.Session(), vendor(api), lambda: own, lambda _: None, 1)
    api.act = always(answer(b"", f"{status} Go", "a/b", f"Location: {elsewhere.origin}/f"))
    elsewhere.act = always(answer(b"abc"))
    home, other = (one.origin.partition("://")[2] for one in (api, elsewhere))
    host.open(ExportFile("f", f"{api.origin}/f", authenticated=True)).close()
    for link in (f"http://{other}\\@{home}/f", f"http://{home}\\.{other}/f"):
        with pytest.raises(errors.UnsafeLink):
            host.open(ExportFile("f", link, authenticated=True))
    host.close()
    assert len(api.asked) == len(elsewhere.asked) == 1
    assert api.asked[0].count(ACCESS.encode()) == 3
    assert ACCESS.encode() not in elsewhere.asked[0]

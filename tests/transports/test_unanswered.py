"""What reached the vendor is never sent again: broken TLS streams, and proxies that hang up."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from airflow_provider_exports.core import ConnectionInfo, Lifecycle
from airflow_provider_exports.exceptions import UnknownOutcome, VendorUnreachable
from airflow_provider_exports.transports.asynchronous import AsyncTransport
from airflow_provider_exports.transports.blocking import BlockingTransport
from airflow_provider_exports.vendors.mews import MewsVendor
from tests.transports.test_tls import authority

__all__ = ["authority"]
LOG = logging.getLogger("tests.transports")


@contextmanager
def server(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Handle each connection in its own thread; yields the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def handled(peer: socket.socket) -> None:
        try:
            handle(peer)
        finally:
            peer.close()

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handled, args=(peer,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def read_request(peer: socket.socket) -> bytes:
    """Return one whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        (int(h.split(b":")[1]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length")), 0
    )
    while len(body) < length:
        body += peer.recv(65536)
    return head


@pytest.fixture(params=["blocking", "asynchronous"])
def create(request: pytest.FixtureRequest) -> Callable[[MewsVendor], None]:
    """Create one export through each transport, without real pauses."""

    def blocking(vendor: MewsVendor) -> None:
        with requests.Session() as session:
            proxy = vendor.settings.proxy
            session.proxies = {"http": proxy, "https": proxy} if proxy else {}
            BlockingTransport(session, vendor, LOG, sleep=lambda _: None).run(submit(vendor))

    def asynchronous(vendor: MewsVendor) -> None:
        async def main() -> None:
            async with AsyncTransport(vendor, LOG, sleep=lambda _: asyncio.sleep(0)) as transport:
                await transport.run(submit(vendor))

        asyncio.run(main())

    return blocking if request.param == "blocking" else asynchronous


def submit(vendor: MewsVendor) -> Any:
    return Lifecycle(vendor).submit({"EntityType": "Payment"})


def mews(host: str, **extra: Any) -> MewsVendor:
    return MewsVendor(ConnectionInfo("m", host, password="p", extra={"client_token": "c", **extra}))


def tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


def test_tls_stream_that_breaks_after_the_request(
    create: Callable[[MewsVendor], None], authority: Path
) -> None:
    """Plain bytes in the encrypted stream are a TLS error, but the create has arrived."""
    seen: list[bytes] = []

    def handle(peer: socket.socket) -> None:
        secured = tls(authority).wrap_socket(peer, server_side=True)
        seen.append(read_request(secured))
        os.write(secured.fileno(), b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        secured.close()

    with server(handle) as port, pytest.raises(UnknownOutcome):
        create(mews(f"https://127.0.0.1:{port}", verify=str(authority)))
    assert len(seen) == 1


def test_proxy_that_hangs_up_after_the_request(create: Callable[[MewsVendor], None]) -> None:
    """The library calls it a proxy error, but the proxy may have handed the create on."""
    seen: list[bytes] = []

    def handle(peer: socket.socket) -> None:
        seen.append(read_request(peer))

    with server(handle) as port, pytest.raises(UnknownOutcome):
        create(mews("http://mews.invalid", allow_http=True, proxy=f"http://127.0.0.1:{port}"))
    assert len(seen) == 1


def test_tunnel_that_breaks_after_the_request(create: Callable[[MewsVendor], None], authority: Path) -> None:
    """The same through a CONNECT tunnel."""
    seen: list[bytes] = []

    def handle(peer: socket.socket) -> None:
        assert read_request(peer).startswith(b"CONNECT")
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        secured = tls(authority).wrap_socket(peer, server_side=True)
        seen.append(read_request(secured))
        secured.close()

    with server(handle) as port, pytest.raises(UnknownOutcome):
        create(mews("https://127.0.0.1", verify=str(authority), proxy=f"http://127.0.0.1:{port}"))
    assert len(seen) == 1


def test_proxy_that_refuses_the_tunnel(create: Callable[[MewsVendor], None]) -> None:
    """Nothing has been sent to the vendor, and that is said."""

    def handle(peer: socket.socket) -> None:
        read_request(peer)
        peer.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

    with server(handle) as port, pytest.raises(VendorUnreachable):
        create(mews("https://mews.invalid", proxy=f"http://127.0.0.1:{port}", retry_attempts=1))


def test_proxy_that_is_not_there(create: Callable[[MewsVendor], None]) -> None:
    """A refused connection to the proxy is as safe as one to the vendor."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(VendorUnreachable):
        create(mews("https://mews.invalid", proxy=proxy, retry_attempts=1))

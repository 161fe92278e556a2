"""A file host that goes wrong in every way that a test asks for, on plain sockets."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

gzip_of = partial(gzip.compress, mtime=0)
"""Makes the same gzip file of the same bytes at any time: parameters of tests are part of their names."""


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    headers: dict[str, str]
    number: int
    """How many came for this path before it."""

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First byte and the one after the last."""
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return found and (int(found[1]), int(found[2]) + 1 if found[2] else None)


@dataclass(frozen=True)
class Answer:
    """What to send."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Bytes of the body after which the connection ends."""
    reset: bool = False
    """Whether it ends with RST in the place of FIN."""
    length: bool = True
    chunked: bool = False
    last_chunk: bool = True
    fast: int = 0
    """Bytes that are sent at once, before the pace begins."""
    pace: tuple[int, float] = (1 << 30, 0.0)
    """Bytes at a time, seconds between."""
    silent_at: int | None = None
    """Byte at which it falls silent."""
    gate: threading.Event | None = None
    """To be waited for after the headers."""

    def but(self, **changes: Any) -> Answer:
        """Return a copy with ``changes``."""
        return replace(self, **changes)


Handler = Callable[[Asked], Answer]


@dataclass(frozen=True)
class Content:
    """A file that is served well; the fields make it a simpler host."""

    body: bytes
    etag: str | None = '"v1"'
    ranges: bool = True

    def __call__(self, asked: Asked) -> Answer:
        headers = {"Content-Type": "application/octet-stream"}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.ranges:
            headers["Accept-Ranges"] = "bytes"
        fits = asked.headers.get("if-range") in (None, self.etag)
        if asked.range is None or not self.ranges or not fits:
            return Answer(self.body, headers=headers)
        start, stop = asked.range
        if start >= len(self.body):
            return Answer(b"", 416, headers)
        stop = len(self.body) if stop is None else min(stop, len(self.body))
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
        return Answer(self.body[start:stop], 206, headers)


def gzipped(answer: Answer) -> Answer:
    """Return the answer in an encoding that nobody asked for."""
    return answer.but(body=gzip_of(answer.body), headers={**answer.headers, "Content-Encoding": "gzip"})


class FaultServer:
    """Serves on 127.0.0.1, a thread for each connection; :meth:`close` stops it."""

    def __init__(self) -> None:
        self.files: dict[str, Handler] = {}
        """What answers for a path."""
        self.asked: list[Asked] = []
        self.connections = 0
        self.sent = 0
        """Bytes of bodies of status 200 and 206."""
        self._numbers: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._peers: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop it, and hang up on everybody."""
        self._stopped.set()
        if self._thread.is_alive():
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for peer in self._peers:
            self._hang_up(peer)

    def of(self, path: str) -> list[Asked]:
        """Return the requests for a path."""
        return [asked for asked in self.asked if asked.path == path]

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._peers.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            stream = peer.makefile("rb")
            while (asked := self._read(stream)) is not None and self._answer(
                peer, self.files[asked.path](asked)
            ):
                pass
        except OSError:
            pass
        finally:
            self._hang_up(peer)

    def _hang_up(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            # Else the reader's copy keeps the connection open.
            peer.shutdown(socket.SHUT_RDWR)
        peer.close()

    def _read(self, stream: Any) -> Asked | None:
        first = stream.readline().split()
        if len(first) < 2:
            return None
        headers: dict[str, str] = {}
        while line := stream.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        path = first[1].decode().partition("?")[0]
        with self._lock:
            asked = Asked(path, headers, self._numbers[path])
            self._numbers[path] += 1
            self.asked.append(asked)
        return asked

    def _answer(self, peer: socket.socket, answer: Answer) -> bool:
        """Send it; return whether the connection goes on."""
        headers = dict(answer.headers)
        if answer.chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif answer.length:
            headers.setdefault("Content-Length", str(len(answer.body)))
        else:
            headers["Connection"] = "close"
        lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        size, seconds = answer.pace
        cut = len(answer.body) if answer.cut is None else min(answer.cut, len(answer.body))
        body = memoryview(answer.body)
        if not answer.chunked and size > cut and answer.silent_at is None and answer.gate is None:
            peer.sendall(head + bytes(body[:cut]))
            self._count(answer, cut)
        else:
            peer.sendall(head)
            if answer.gate is not None:
                answer.gate.wait(30)
            peer.sendall(body[: answer.fast])
            self._count(answer, at := answer.fast)
            while at < cut and not self._stopped.is_set():
                piece = body[at : min(cut, at + min(size, 65536))]
                if answer.silent_at is not None and at >= answer.silent_at:
                    self._stopped.wait(30)
                    return False
                peer.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
                at += len(piece)
                self._count(answer, len(piece))
                if seconds:
                    time.sleep(seconds)
        if cut < len(answer.body) or not answer.last_chunk:
            if answer.chunked and cut < len(answer.body):
                # Within a chunk, which was announced longer.
                peer.sendall(b"ff\r\nhalf")
            if answer.reset:
                # What is sent with no linger may be lost on the way: let it arrive.
                time.sleep(0.01)
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(peer.detach())
            return False
        if answer.chunked:
            peer.sendall(b"0\r\n\r\n")
        return answer.chunked or answer.length

    def _count(self, answer: Answer, count: int) -> None:
        if answer.status in (200, 206):
            with self._lock:
                self.sent += count

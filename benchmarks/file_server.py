"""File host of the benchmarks, on the loopback address: nginx where it is installed, else one of ours.

``/fast/NAME`` is a file as quick as it goes, ``/slow/NAME`` the same with a limit for each connection. Both
know ranges and strong entity tags. Ours is an S3 store as well, with as much of that API as an upload in
parts needs; of what is put it keeps the size alone. To start ours by itself:
``python -m benchmarks.file_server FOLDER RATE``; the first line printed is the port.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from benchmarks.process import listening

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_SLICES = 20
"""How often in a second a limited connection may send."""
_CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {home}/pid;
error_log {home}/error.log;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000;
    default_type application/octet-stream;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /fast/ {{ alias {folder}/; }}
        location /slow/ {{ alias {folder}/; limit_rate {rate}; }}
    }}
}}
"""


@contextlib.contextmanager
def file_host(folder: Path, rate: int) -> Iterator[tuple[str, str]]:
    """Serve the files of a folder from a process of its own; yield the base URL and what serves them.

    :param rate: bytes per second of a limited connection.
    """
    # Debian puts it where only root looks.
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        with ours(folder, rate) as url:
            yield url, "the Python server of benchmarks/file_server.py"
        return
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    with tempfile.TemporaryDirectory() as home:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        # Its workers would become somebody who may not read a temporary folder.
        user = "user root;" if os.geteuid() == 0 else ""
        text = _CONFIGURATION.format(home=home, folder=folder, port=port, rate=rate, user=user)
        Path(home, "nginx.conf").write_text(text)
        command = [program, "-p", home, "-c", f"{home}/nginx.conf", "-e", f"{home}/error.log"]
        process = subprocess.Popen(command)
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}", version.strip().rpartition(" ")[2]
        finally:
            process.terminate()
            process.wait(timeout=10)


@contextlib.contextmanager
def ours(folder: Path, rate: int) -> Iterator[str]:
    """Run this module in a process of its own and yield its base URL."""
    with listening("benchmarks.file_server", str(folder), str(rate)) as url:
        yield url


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("nginx does not start")


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends files with sendfile, so that the server takes little of the machine; swallows what is put."""

    protocol_version = "HTTP/1.1"
    # Head and body of an answer go in two pieces: without this each waits 40 ms for the client's receipt.
    disable_nagle_algorithm = True
    folder: Path
    rate: int
    sizes: ClassVar[dict[str, int]] = {}
    """Bytes of each object that was put, by path."""
    parts: ClassVar[dict[str, dict[str, int]]] = defaultdict(dict)
    """Bytes of each part by number, of each upload that has not ended."""

    def do_GET(self) -> None:
        """Send a file, or the part of it that was asked for; list a bucket, see ListObjectsV2."""
        path, asked = self._asked()
        if "list-type" in asked:
            self._list(path, asked.get("prefix", ""))
            return
        speed, _, name = self.path.lstrip("/").partition("/")
        path = self.folder / Path(name).name
        if not path.is_file():
            self._document(404, "Error", "<Code>NoSuchKey</Code>")
            return
        with path.open("rb") as stream:
            facts = os.fstat(stream.fileno())
            etag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
            asked = _RANGE.fullmatch(self.headers.get("Range", ""))
            begin, end, status = 0, facts.st_size, 200
            if asked and self.headers.get("If-Range", etag) == etag:
                begin, end = int(asked[1]), min(end, int(asked[2] or end - 1) + 1)
                status = 206
            headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
            if begin >= end > 0:
                self._answer(416, {"Content-Range": f"bytes */{facts.st_size}"})
                return
            if status == 206:
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{facts.st_size}"
            self._answer(status, headers, end - begin)
            # A client may hang up when another connection has brought the rest.
            with contextlib.suppress(ConnectionError):
                self._send(stream.fileno(), begin, end, self.rate if speed == "slow" else 0)

    def do_HEAD(self) -> None:
        """Say how long an object is, see the S3 API's HeadObject."""
        size = self.sizes.get(urlsplit(self.path).path)
        if size is None:
            self._answer(404)
            return
        self._answer(200, {"ETag": '"0"', "Last-Modified": self.date_time_string()}, size)

    def do_PUT(self) -> None:
        """Take an object, or a part of one, see PutObject and UploadPart."""
        path, asked = self._asked()
        size = self._swallow()
        if "uploadId" in asked:
            self.parts[asked["uploadId"]][asked["partNumber"]] = size
        else:
            self.sizes[path] = size
        self._answer(200, {"ETag": '"0"'})

    def do_POST(self) -> None:
        """Begin or end an upload in parts, see CreateMultipartUpload and CompleteMultipartUpload."""
        path, asked = self._asked()
        self._swallow()
        if "uploadId" in asked:
            self.sizes[path] = sum(self.parts.pop(asked["uploadId"]).values())
            kind, inner = "CompleteMultipartUploadResult", "<ETag>&quot;0&quot;</ETag>"
        else:
            kind, inner = "InitiateMultipartUploadResult", f"<UploadId>{secrets.token_hex(8)}</UploadId>"
        self._document(200, kind, f"<Bucket>bench</Bucket><Key>file</Key>{inner}")

    def do_DELETE(self) -> None:
        """Forget an object, or the parts of one."""
        path, asked = self._asked()
        (self.parts if "uploadId" in asked else self.sizes).pop(asked.get("uploadId", path), None)
        self._answer(204)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _answer(self, status: int, headers: dict[str, str] | None = None, length: int = 0) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, descriptor: int, begin: int, end: int, rate: int) -> None:
        started, first = time.monotonic(), begin
        most = rate // _SLICES or 2 * 1024 * 1024
        while begin < end:
            begin += os.sendfile(self.connection.fileno(), descriptor, begin, min(most, end - begin))
            if rate:
                time.sleep(max(0.0, (begin - first) / rate - (time.monotonic() - started)))

    def _asked(self) -> tuple[str, dict[str, str]]:
        """Return the path and the query."""
        url = urlsplit(self.path)
        return url.path, {name: one for name, (one, *_) in parse_qs(url.query, True).items()}

    def _list(self, bucket: str, prefix: str) -> None:
        start = f"{bucket.rstrip('/')}/"
        found = [
            f"<Contents><Key>{path[len(start) :]}</Key><Size>{size}</Size><ETag>0</ETag></Contents>"
            for path, size in sorted(self.sizes.items())
            if path.startswith(f"{start}{prefix}")
        ]
        said = f"<KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
        self._document(200, "ListBucketResult", said + "".join(found))

    def _document(self, status: int, kind: str, inner: str) -> None:
        body = f"<{kind}>{inner}</{kind}>".encode()
        self._answer(status, {"Content-Type": "application/xml"}, len(body))
        self.wfile.write(body)

    def _swallow(self) -> int:
        """Read the body away; return how long it was."""
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            size = left = int(self.headers.get("Content-Length", 0))
            while left > 0 and (chunk := self.rfile.read(min(left, 1024 * 1024))):
                left -= len(chunk)
            # Of a body with its checksum behind it the header tells what is the object's.
            return int(self.headers.get("X-Amz-Decoded-Content-Length", size - left))
        total = 0
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            self.rfile.read(size + 2)
            total += size
        while self.rfile.readline().strip():
            pass
        return int(self.headers.get("X-Amz-Decoded-Content-Length", total))


class Server(http.server.ThreadingHTTPServer):
    """One thread for each connection."""

    request_queue_size = 128


def main() -> None:
    """Serve until terminated."""
    Handler.folder, Handler.rate = Path(sys.argv[1]), int(sys.argv[2])
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()

"""A server that stands in for Acme's API: ``python -m acme_exports.stand_in``.

It follows https://docs.acme.example/exports: each look moves an export one step on.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "made-up-acme-key"
WORKSPACE = "made-up-workspace"
STEPS = ("waiting", "working", "done")
ROWS = b"order,amount\n1,10\n2,20\n"


class StandIn(ThreadingHTTPServer):
    """The API on a port of this machine.

    :param port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.exports: dict[str, dict[str, Any]] = {}

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def connection(self) -> str:
        """Return an Airflow connection to it, as JSON."""
        extra = {"workspace": WORKSPACE, "poll_initial": 0.1}
        return json.dumps({"conn_type": "acme", "host": self.url, "password": KEY, "extra": extra})

    def __enter__(self) -> StandIn:
        Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refused():
            return
        export_id = f"acme-{len(self.server.exports) + 1}"
        self.server.exports[export_id] = {"payload": payload, "looks": 0}
        self.answer(201, {"id": export_id, "status": STEPS[0]})

    def do_GET(self) -> None:
        if self.path.startswith("/files/"):
            self.send(200, "text/csv", ROWS)
            return
        if self.refused():
            return
        export_id = self.path.rpartition("/")[2]
        if export_id == "exports":
            self.answer(200, list(self.server.exports))
        elif export_id not in self.server.exports:
            self.answer(404, {"message": "There is no such export."})
        else:
            export = self.server.exports[export_id]
            export["looks"] += 1
            status = STEPS[min(export["looks"], len(STEPS) - 1)]
            files = [{"link": f"{self.server.url}/files/{export_id}?sig=made-up", "bytes": len(ROWS)}]
            self.answer(
                200, {"id": export_id, "status": status, "files": files if status == "done" else None}
            )

    def refused(self) -> bool:
        """Answer a request without the right key or workspace; return whether that was so."""
        if self.headers["X-Acme-Key"] != KEY:
            self.answer(401, {"message": "This key is not known."})
        elif not self.path.startswith(f"/v1/workspaces/{WORKSPACE}/exports"):
            self.answer(403, {"message": "This key may not use that workspace."})
        else:
            return False
        return True

    def answer(self, status: int, body: Any) -> None:
        self.send(status, "application/json", json.dumps(body).encode())

    def send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = StandIn(port=8766)
    print(f"export AIRFLOW_CONN_ACME_DEFAULT='{server.connection()}'", flush=True)  # noqa: T201
    server.serve_forever()

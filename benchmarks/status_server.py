"""Loopback server with the status APIs of five vendors: ``python -m benchmarks.status_server SECONDS``.

The first part of a path names the account, as a base URL of its own. An export's id ends in the moment at
which it is ready: milliseconds after ``POST /-/start``, twelve hexadecimal digits. What is asked for is
counted by account and operation (``/-/counts``), together with how many exports the answers told of.

It answers in the shapes that ``airflow_provider_exports.vendors`` read; the sources are named there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from benchmarks.server import serve

GIOSG_PAGE = 25
"""Rows of a page, as the vendor's collections once documented."""
ROWS_TOLD = "exports told"
"""What the counter of exports in answers is called."""


class Account:
    """The exports of one account, and how its API behaves.

    :param behaviour: ``good``, ``hang``, an HTTP status, or ``slow:<seconds>``.
    """

    def __init__(self, behaviour: str = "good") -> None:
        self.behaviour = behaviour
        self.ids: list[str] = []
        self.counts: Counter[str] = Counter()


class Server:
    """Answers for all accounts."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._started = time.time()
        self._created = datetime.fromtimestamp(self._started - 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    async def control(self, request: web.Request) -> web.Response:
        """Take accounts with their exports, start the clock, tell the counts."""
        match request.path:
            case "/-/accounts":
                for name, (behaviour, ids) in (await request.json()).items():
                    self._accounts[name] = Account(behaviour)
                    self._accounts[name].ids = ids
            case "/-/start":
                self._started = time.time()
            case "/-/counts":
                return web.json_response({name: account.counts for name, account in self._accounts.items()})
        return web.Response()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request to a vendor's API."""
        _, name, path = request.path.split("/", 2)
        account = self._accounts[name]
        body = await request.json() if request.can_read_body else None
        behaviour, _, seconds = account.behaviour.partition(":")
        if behaviour == "slow":
            await asyncio.sleep(float(seconds))
        elif behaviour == "hang":
            account.counts["hung"] += 1
            await asyncio.sleep(3600)
        elif behaviour != "good":
            account.counts["refused"] += 1
            return web.Response(status=int(behaviour))
        operation, answer = self._answer(account, request, path, body)
        account.counts[operation] += 1
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    def _answer(self, account: Account, request: web.Request, path: str, body: Any) -> tuple[str, Any]:
        last = path.rpartition("/")[2]
        query = request.query
        if path.endswith("exports/getAll"):
            return "batch", {"Exports": self._told(account, body["ExportIds"], self._mews)}
        if path.endswith("/reportexports"):
            page = int(query.get("page", "1"))
            first = (page - 1) * GIOSG_PAGE
            rows = self._told(account, account.ids[first : first + GIOSG_PAGE], self._giosg)
            more = first + GIOSG_PAGE < len(account.ids)
            return "list", {"results": rows, "next": f"{request.path}?page={page + 1}" if more else None}
        if "/reportexports/" in path:
            return "single", self._told(account, [last], self._giosg)[0]
        if path == "v2/exports":
            first, size = int(query["skip"]), int(query["limit"])
            rows = self._told(account, account.ids[first : first + size], self._medable)
            return "list", {"object": "list", "data": rows, "hasMore": first + size < len(account.ids)}
        if path.startswith("v2/exports/"):
            if path.endswith("/dataFile/content"):
                return "link", {"object": "facet", "url": "https://files.example/export"}
            return "single", self._told(account, [last], self._medable)[0]
        if path.endswith("/@data"):
            first = int(query.get("cursor", "0"))
            rows = self._told(account, account.ids[first : first + 100], self._onna)
            following = first + 100
            return "list", {
                "updates": rows,
                "cursor": str(following) if following < len(account.ids) else None,
            }
        if path.endswith("/@oauthgetcode"):
            return "login", {"auth_code": "benchmark"}
        if path.endswith("get_auth_token"):
            return "login", web.Response(text=_token())
        if path.endswith("/status") and path.startswith("exports/"):
            export_id = path.split("/")[1]
            account.counts[ROWS_TOLD] += 1
            return "single", {"status": "done" if self._ready(export_id) else "inProgress", "type": "oneTime"}
        if path == "exports" and request.method == "GET":
            first, size = int(query["page"]) * int(query["pageSize"]), int(query["pageSize"])
            rows = [
                {"id": one, "type": "oneTime", "format": {"extension": "csv"}, "createdAt": self._created}
                for one in account.ids[first : first + size]
            ]
            return "list", {"results": rows, "total": len(account.ids)}
        if path.endswith("/login/api"):
            return "login", {"ui": {"action": f"{request.url.path.removesuffix('/api')}"}}
        if path.endswith("/self-service/login"):
            return "login", {"session_token": "benchmark"}
        if last == "job":
            return "single", web.Response(status=404)
        if path.startswith("jobs/"):
            account.counts[ROWS_TOLD] += 1
            job = {"jobId": int(last), "status": "running", "jobType": "sync", "connectionId": "bench"}
            return "single", job | {"startTime": self._created}
        if request.method == "HEAD" or "/@" in path:
            return "other read", web.Response()
        if request.method == "GET":
            return "single", self._told(account, [last], self._onna)[0]
        # Nothing that only waits has any business here.
        return f"{request.method} {path}", web.Response(status=400)

    def _told(self, account: Account, ids: list[str], shape: Any) -> list[Any]:
        account.counts[ROWS_TOLD] += len(ids)
        return [shape(export_id, self._ready(export_id)) for export_id in ids]

    def _ready(self, export_id: str) -> bool:
        return time.time() >= self._started + int(export_id[-12:], 16) / 1000

    def _mews(self, export_id: str, ready: bool) -> dict[str, Any]:
        files = [{"Url": "https://files.example/export", "SizeInBytes": 1}]
        return {
            "Id": export_id,
            "Status": "Success" if ready else "Processing",
            "EntityType": "Reservation",
            "Files": files if ready else None,
            "ExpiresUtc": "2100-01-01T00:00:00Z",
            "Scope": None,
            "Filters": None,
        }

    def _giosg(self, export_id: str, ready: bool) -> dict[str, Any]:
        return {
            "id": export_id,
            "room_id": "11111111-1111-4111-8111-111111111111",
            "type": "logs",
            "format": "csv",
            "starting_at": "2026-01-01T00:00:00.000Z",
            "ending_at": "2026-01-02T00:00:00.000Z",
            "is_real_conversation": None,
            "min_message_count": None,
            "created_at": self._created,
            "completed_at": self._created if ready else None,
            "expires_at": "2100-01-01T00:00:00Z" if ready else None,
            "is_failed": False if ready else None,
            "url": "https://files.example/export" if ready else None,
        }

    def _medable(self, export_id: str, ready: bool) -> dict[str, Any]:
        return {
            "_id": export_id,
            "object": "export",
            "state": "ready" if ready else "running",
            "created": self._created,
            "label": "benchmark",
            "description": "benchmark",
            "format": "csv",
            "objects": ["c_benchmark"],
        }

    def _onna(self, export_id: str, ready: bool) -> dict[str, Any]:
        file = {"filename": "export.zip", "content_type": "application/zip", "size": 1, "extension": "zip"}
        return {
            "@id": f"https://onna.example/api/bench/bench/bench@bench.example/{export_id}",
            "@name": export_id,
            "@type": "Export",
            "@uid": export_id,
            "title": "benchmark",
            "creation_date": self._created,
            "status": "done" if ready else "processing",
            "file": file if ready else None,
        }


def _token() -> str:
    """Return a token in three parts that says when it ends."""
    parts = ({"alg": "none"}, {"iat": int(time.time()), "exp": int(time.time()) + 86400})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


async def main(seconds: float) -> None:
    """Serve for ``seconds`` on a free port of this machine; the first line printed is the port."""
    server = Server()
    application = web.Application(client_max_size=64 * 2**20)
    application.router.add_route("*", "/-/{path:.*}", server.control)
    application.router.add_route("*", "/{path:.*}", server.handle)
    await serve(application, seconds)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))

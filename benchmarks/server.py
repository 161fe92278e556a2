"""Loopback server of the benchmarks: ``python -m benchmarks.server ANSWER DELAY SECONDS``.

ANSWER is ``ready`` (whatever is asked about is done, in the shape of the API that was asked), an HTTP status
(429 comes with ``Retry-After: 30``) or ``malformed`` (200 with half a JSON document).
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from aiohttp import web

LISTED = 50
"""Exports in a list."""


class Server:
    """Answers every request in one way and counts them.

    :param answer: see the module.
    :param delay: seconds before each answer.
    """

    def __init__(self, answer: str, delay: float) -> None:
        self._answer = answer
        self._delay = delay
        self._requests = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        if request.path == "/-/requests":
            return web.Response(text=str(self._requests))
        self._requests += 1
        body = await request.read()
        await asyncio.sleep(self._delay)
        match self._answer:
            case "ready":
                ids = (await request.json()).get("ExportIds", []) if body else []
                return web.json_response(ready(request.path, ids))
            case "malformed":
                return web.Response(text='{"Exports": [{"Id": "', content_type="application/json")
            case status:
                headers = {"Retry-After": "30"} if status == "429" else {}
                return web.Response(status=int(status), headers=headers)


def ready(path: str, export_ids: list[str]) -> dict[str, object]:
    """Return what the API that ``path`` belongs to says about a job that is done."""
    if path.endswith("/exports/getAll"):
        # https://docs.mews.com/connector-api/operations/exports
        files = [{"Url": "https://files.example/export", "SizeInBytes": 1}]
        return {
            "Exports": [
                {
                    "Id": export_id,
                    "Status": "Success",
                    "EntityType": "Reservation",
                    "Files": files,
                    "ExpiresUtc": "2100-01-01T00:00:00Z",
                    "Scope": None,
                    "Filters": None,
                }
                for export_id in export_ids
            ]
        }
    if path.endswith("/reportexports"):
        return {"results": [report_export(export_id(number)) for number in range(1, LISTED + 1)]}
    if "/reportexports/" in path:
        return report_export(path.rpartition("/")[2])
    # https://reference.airbyte.com/reference/getjob; a plain HTTP trigger is content with it as well.
    return {
        "jobId": 1,
        "status": "succeeded",
        "jobType": "sync",
        "startTime": "2026-01-01T00:00:00Z",
        "connectionId": "bench",
    }


def report_export(one: str) -> dict[str, object]:
    """Return what giosg says about an export that is done."""
    # https://docs.giosg.com/api_reference/giosg_live/giosg_http_api/exports
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": one,
        "created_at": now,
        "completed_at": now,
        "expires_at": "2100-01-01T00:00:00Z",
        "is_failed": False,
        "url": "https://files.example/export",
        "format": "csv",
    }


def export_id(number: int) -> str:
    """Return the id of one of the exports that are listed."""
    return f"11111111-1111-4111-8111-{number:012d}"


async def main(answer: str, delay: float, seconds: float) -> None:
    """Serve for ``seconds`` on a free port of this machine; the first line printed is the port."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", Server(answer, delay).handle)
    await serve(application, seconds)


async def serve(application: web.Application, seconds: float) -> None:
    """Serve an application as :func:`main` says."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.sleep(seconds)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))

"""Puts an answer on the wire, with the faults that only the wire can have."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime

from aiohttp import web

from airflow_provider_exports.simulator.apis.base import Answer
from airflow_provider_exports.simulator.clock import http_date
from airflow_provider_exports.simulator.content import FileContent

__all__ = ["deliver"]

_MOST_BUFFERED_BYTES = 1024**2


async def deliver(request: web.BaseRequest, answer: Answer, now: datetime) -> web.StreamResponse:
    """Send an answer, or fail to in the way it says; ``now`` becomes the Date header."""
    if answer.hold:
        await asyncio.sleep(answer.hold)
    headers = {"Date": http_date(now), "Content-Type": answer.content_type, **answer.headers}
    if answer.dropped:
        _hang_up(request)
        return web.Response()
    if answer.file is not None and request.method != "HEAD":
        return await _deliver_file(request, answer, answer.file, headers)
    body = answer.text if answer.text is not None else json.dumps(answer.payload, ensure_ascii=False)
    raw = body.encode()
    if answer.halved:
        raw = raw[: len(raw) // 2]
    response = web.Response(status=answer.status, reason=answer.reason, body=raw, headers=headers)
    for cookie in answer.cookies:
        response.headers.add("Set-Cookie", cookie)
    return response


async def _deliver_file(
    request: web.BaseRequest, answer: Answer, file: FileContent, headers: dict[str, str]
) -> web.StreamResponse:
    start, stop = answer.span or (0, file.size)
    sent_until = stop if answer.cut_at is None else min(stop, start + answer.cut_at)
    pieces = _pieces(file, start, sent_until, answer.piece_bytes)
    if answer.framing == "close":
        return await _deliver_unframed(request, answer, pieces, headers)
    response = web.StreamResponse(status=answer.status, headers=headers)
    if answer.framing == "length":
        response.content_length = stop - start
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    for piece in pieces:
        if answer.pace:
            await asyncio.sleep(answer.pace)
        await response.write(piece)
    if answer.stall:
        await asyncio.sleep(answer.stall)
    if answer.cut_at is not None:
        _hang_up(request)
        return response
    await response.write_eof()
    return response


async def _deliver_unframed(
    request: web.BaseRequest, answer: Answer, pieces: Iterator[bytes], headers: dict[str, str]
) -> web.StreamResponse:
    """A body that ends with its connection; aiohttp would frame it, so the socket is written directly."""
    transport = request.transport
    if transport is not None:
        lines = [f"HTTP/1.1 {answer.status} OK", *(f"{name}: {value}" for name, value in headers.items())]
        transport.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        for piece in pieces:
            # asyncio offers no event for a drained transport outside of its own protocols.
            while transport.get_write_buffer_size() > _MOST_BUFFERED_BYTES:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            if transport.is_closing():
                break
            transport.write(piece)
    _hang_up(request)
    return web.Response()


def _pieces(file: FileContent, start: int, stop: int, size: int | None) -> Iterator[bytes]:
    for chunk in file.chunks(start, stop):
        for offset in range(0, len(chunk), size or len(chunk)):
            yield chunk[offset : offset + (size or len(chunk))]


def _hang_up(request: web.BaseRequest) -> None:
    # close, not abort: what has been written must arrive before the connection ends.
    if request.transport is not None:
        request.transport.close()

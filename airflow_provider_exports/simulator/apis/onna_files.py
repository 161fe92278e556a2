"""Downloads as the framework of the Onna API serves them."""

import hashlib
from typing import Any

from airflow_provider_exports.simulator.apis.base import Answer, Call
from airflow_provider_exports.simulator.content import FileContent

__all__ = ["checksum", "download", "headed"]

_MOST_HASHED_BYTES = 64 * 1024**2


def download(call: Call, content: FileContent, filename: str, *, ranges: bool, range_status: int) -> Answer:
    """A file, or the part of it that a Range header asks for, strictly read."""
    disposition = call.query.get("disposition", "attachment")
    answer = Answer(content_type="application/zip", file=content)
    answer.headers |= {
        "Content-Disposition": f'{disposition}; filename="{filename}"',
        "Accept-Ranges": "bytes" if ranges else "none",
    }
    wanted = call.headers.get("Range")
    if wanted is None or not ranges or call.method == "HEAD":
        return answer
    first, _, last = wanted.rpartition("bytes=")[2].partition("-")
    try:
        span = int(first), int(last) + 1 if last else content.size
    except ValueError:
        return _unsatisfiable(wanted, "rangeNotParsable", content.size)
    if not 0 <= span[0] < span[1] <= content.size:
        return _unsatisfiable(wanted, "invalidRange", content.size)
    answer.status, answer.span = range_status, span
    answer.headers["Content-Range"] = f"bytes {span[0]}-{span[1] - 1}/{content.size}"
    return answer


def headed(call: Call, answer: Answer) -> Answer:
    """The same without the file if the request is a HEAD."""
    if call.method == "HEAD" and answer.file is not None:
        answer.headers["Content-Length"] = str(answer.file.size)
        answer.file, answer.text = None, ""
    return answer


def checksum(content: FileContent, form: str) -> str | None:
    """The md5 of a file JSON in one of the forms it can have; none for files that are too big to hash."""
    if form == "null" or content.size > _MOST_HASHED_BYTES:
        return None
    if form == "empty":
        return ""
    digest = hashlib.md5()
    for piece in content.chunks():
        digest.update(piece)
    return digest.hexdigest() if form == "sent" else digest.hexdigest()[::-1]


def _unsatisfiable(wanted: str, reason: str, size: int) -> Answer:
    payload: dict[str, Any] = {"reason": reason, "range": wanted}
    return Answer(416, payload=payload, headers={"Content-Range": f"bytes */{size}"})

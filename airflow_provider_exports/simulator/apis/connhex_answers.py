"""The shapes of Connhex answers that no page shows: errors in four forms, a status in five."""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any

from airflow_provider_exports.simulator.apis.base import Answer
from airflow_provider_exports.simulator.apis.connhex_switches import ConnhexSwitches
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["error", "shown_time", "status", "status_without_word", "word"]

WORDS = {
    "pending": "notProcessed",
    "processing": "inProgress",
    "ready": "done",
    "failed": "failed",
    "expired": "expired",
}


def error(form: str, status: int, message: str | list[str]) -> Answer:
    """An error body: of NestJS, JSON:API or Ory, or plain text; several messages come from validation."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Error"
    messages = [message] if isinstance(message, str) else message
    text = "; ".join(messages)
    match form:
        case "text":
            return Answer(status, text=f"{text}\n", content_type="text/plain; charset=utf-8")
        case "jsonapi":
            errors = [{"status": str(status), "title": phrase, "detail": one} for one in messages]
            return Answer(status, payload={"errors": errors}, content_type="application/vnd.api+json")
        case "ory":
            return Answer(status, payload={"error": {"code": status, "status": phrase, "message": text}})
        case _:
            return Answer(status, payload={"statusCode": status, "message": message, "error": phrase})


def word(state: str, case: str) -> str:
    """The status word of a state, as on the wire or as the enum of the documentation names it."""
    name = WORDS[state]
    return name if case == "camel" else name[0].upper() + name[1:]


def status(words: Sequence[str], jobs: Sequence[ExportRecord], switches: ConnhexSwitches) -> Any:
    """What carries the status words, the newest job first.

    Before the first job of a recurring export there is one word, that of the export in the queue.
    """
    match switches.status_form:
        case "string":
            return words[0]
        case "exportStatus":
            return {"exportStatus": words[0]}
        case "list":
            return [{"status": name} for name, _ in zip(words, jobs, strict=False)]
        case "jobs":
            return {"jobs": [_job(one, name, switches) for name, one in zip(words, jobs, strict=False)]}
        case _:
            return {"status": words[0]}


def _job(job: ExportRecord, name: str, switches: ConnhexSwitches) -> dict[str, Any]:
    """A job has a status, the fate of its message, and the time of its start."""
    start: str | int | None = shown_time(job.created_at)
    if switches.job_start == "seconds":
        start = int(job.created_at.timestamp())
    if switches.waiting_job_start == "null" and job.state == "pending":
        start = None
    told = {} if switches.job_start == "missing" else {"startedAt": start}
    message = job.notes.get("notification", "notSent")
    return {"id": job.id, "status": name, "notificationStatus": message, **told}


def status_without_word(form: str) -> Any:
    """The same carriers without what they carry."""
    empty: dict[str, Any] = {"string": None, "list": [{}], "jobs": {"jobs": [{}]}}
    return empty.get(form, {})


def shown_time(moment: datetime) -> str:
    """A time as the exporter writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

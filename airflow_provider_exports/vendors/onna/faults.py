"""What Onna's refusals mean.

Sources: https://developers.onna.com/overview/response-codes.html for the codes,
https://github.com/plone/guillotina for the bodies, and https://github.com/onna/guillotina_oauth.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_exports.core.model import JSON
from airflow_provider_exports.core.wire import Request, Response
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportRejected,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    VendorUnavailable,
)


class NotAllowed(AuthenticationFailed):
    """A 401 to a token: it is dead, or a right is missing. Only a second one to a new token tells."""


def missing_right(error: NotAllowed) -> PermissionDenied:
    """Return what a 401 means to a token that has only just been issued."""
    return PermissionDenied(
        f"the login is good, but {error.message}",
        export_id=error.export_id,
        http_status=error.http_status,
        next_step=(
            "Onna answers 401 for a missing right as well: check the user's role and the address, "
            "container and account. Changes take up to two minutes to count."
        ),
    )


def meaning(
    refused: ExportError, request: Request, response: Response, *, said: str, token_is_dead: bool
) -> ExportError:
    """Return Onna's own meaning of a refusal, else ``refused``.

    :param refused: what the status usually means.
    :param said: the readable part of the body, redacted.
    :param token_is_dead: whether the answer is the one to a token past its end.
    """
    status = response.status
    details: dict[str, Any] = {"export_id": request.export_id, "http_status": status}
    if request.signed and (status == 401 or token_is_dead):
        # Existence is never told to a caller who may not look: 401 stands for 403 as well.
        return NotAllowed(
            f"{request.operation} is not allowed (HTTP {status})."
            + (f' The vendor says: "{said}"' if said else ""),
            **details,
        )
    if status == 409 and says_nothing(response):
        # A write conflict in the database; nothing was written. With a body it is another refusal.
        return RateLimited(
            f"{request.operation}: the vendor's database is busy (HTTP 409).",
            next_step="Nothing was written; let the task retry.",
            **details,
        )
    if status == 424:
        return VendorUnavailable(refused.message, retry_after=response.retry_after, **details)
    if status in (404, 410) and isinstance(refused, ExportRejected):
        refused.next_step = (
            "Check address, container, account and user of the connection. The vendor has announced "
            "the end of this API: it may be gone."
        )
    return refused


def is_duplicate(response: Response) -> bool:
    """Return whether a create was refused since its id exists."""
    if response.status != 409:
        return False
    try:
        body = response.json()
    except UnexpectedResponse:
        return False
    return isinstance(body, dict) and body.get("reason") == "conflictId"


def says_nothing(response: Response) -> bool:
    """Return whether the body is empty, or an empty object."""
    return response.body.strip() in (b"", b"{}")


def words(body: JSON) -> str:
    """Return what an error body says."""
    if not isinstance(body, dict):
        return body if isinstance(body, str) else ""
    inner = body.get("error")
    found = [
        str(value)
        for value in (
            body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner),
            body.get("details"),
            body.get("reason"),
        )
        if value
    ]
    errors = body.get("deserialization_errors")
    for entry in errors if isinstance(errors, list) else ():
        if isinstance(entry, dict):
            found.append(f"{entry.get('field')}: {entry.get('message')}")
    return "; ".join(dict.fromkeys(found))

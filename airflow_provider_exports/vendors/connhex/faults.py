"""What a refusal of Connhex means, and what it says; no page shows its form."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_provider_exports.core.model import JSON
from airflow_provider_exports.core.wire import Request, Response
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    ExportRejected,
    PermissionDenied,
)

# https://connhex.com/docs/api/exporter/create-request: what a 400 says to a caller without a session.
_NO_IDENTITY = b"missing user identity"
# In the order of the vendor's own SDK:
# https://github.com/compiuta-origin/connhex-tools packages/connhex-sdk/src/connhex/errors.py
_REQUEST_IDS = ("x-request-id", "x-correlation-id", "request-id")
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def named(refused: ExportError, request: Request, response: Response, said: str) -> ExportError:
    """Return the error for a refused request, where it means something else than at other vendors.

    :param refused: what it usually means.
    :param said: the readable part of the answer.
    """
    status = response.status
    if request.operation == "login" and isinstance(refused, (ExportRejected, PermissionDenied)):
        return AuthenticationFailed(
            f"the login is refused (HTTP {status}). {said}".strip(), http_status=status
        )
    if status == 400 and _NO_IDENTITY in response.body.lower():
        return AuthenticationFailed(
            f"{request.operation}: the session is not accepted (HTTP 400). {said}",
            export_id=request.export_id,
            http_status=status,
        )
    if isinstance(refused, PermissionDenied) and request.operation == "status":
        # Rights on a new export follow its creation by an event: https://connhex.com/docs/exporter/requests
        return ExportNotFound(
            f"the vendor does not show it to this user (HTTP 403). {said}".strip(),
            export_id=request.export_id,
            http_status=status,
            next_step="Check the id, and that the user may exporter:exports:get.",
        )
    return refused


def words(body: JSON) -> str:
    """Return what an error body says, in any of the forms of the vendor's other services and its login."""
    if not isinstance(body, dict):
        return body if isinstance(body, str) else ""
    for holder, listed, key in (
        (body, "errors", "detail"),
        (body.get("ui"), "messages", "text"),
    ):
        entries = holder.get(listed) if isinstance(holder, dict) else None
        if isinstance(entries, list) and entries and isinstance(entries[0], dict) and entries[0].get(key):
            return str(entries[0][key])
    error, message = body.get("error"), body.get("message")
    if isinstance(error, dict) and error.get("message"):
        return str(error["message"])
    if isinstance(message, list):
        return "; ".join(str(line) for line in message)
    return str(message or error or "")


def request_id(headers: Mapping[str, str]) -> str:
    """Return by which id the vendor finds a request in its logs; empty where it is not told."""
    given = next((headers[name] for name in _REQUEST_IDS if headers.get(name)), "")
    return given if _SAFE_ID.fullmatch(given) else ""

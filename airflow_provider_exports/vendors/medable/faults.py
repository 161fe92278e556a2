"""Medable's faults: what went wrong stands in the body, whatever the status is.

Source: https://docs.medable.com/cortex-api/faults and its fault reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from airflow_provider_exports.core.model import JSON
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.wire import Request, Response
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    VendorUnavailable,
)

_APP = "Have an administrator of the org check the App of this API key (Settings, Apps)."
_LOCATION = (
    "Two-factor login: put the account's address on the org's login verification bypass list, store the "
    "md.fingerprint cookie of a verified login in the connection, or use signed requests."
)


class Meaning(NamedTuple):
    """What a fault means to the reader."""

    error: type[ExportError]
    said: str
    next_step: str | None = None


_RIGHTS = Meaning(PermissionDenied, "is forbidden")
_BUSY = Meaning(RateLimited, "came while the org is too busy")
_LATER = Meaning(VendorUnavailable, "met a fault at the vendor")
_REFUSED = Meaning(ExportRejected, "was refused")
_CREDENTIALS = Meaning(AuthenticationFailed, "the credentials are not accepted")
_SESSION = Meaning(AuthenticationFailed, "the session is over")
_NEW_LOCATION = Meaning(AuthenticationFailed, "a verification code is asked for", _LOCATION)
_SIGNATURE = Meaning(
    AuthenticationFailed, "the signature is not accepted", "Check API key and API secret in the connection."
)
_APP_RIGHTS = Meaning(PermissionDenied, "the App may not do this", _APP)
_APP_UNKNOWN = Meaning(AuthenticationFailed, "the App is not accepted", "Check the API key. " + _APP)
_EXPIRED = Meaning(
    AuthenticationFailed,
    "the credential has expired",
    "Have an administrator of the org issue a new token, or a permanent one, or renew the App.",
)
_ADDRESS = Meaning(
    InvalidConnection,
    "the address is not known to the vendor",
    "Check host and org code in the connection: https://api.medable.com/<org>.",
)

# An entry holds for the whole errCode without "cortex.", or for its family.
_FAULTS: Mapping[str, Meaning] = {
    "success.newLocation": _NEW_LOCATION,
    "accessDenied": _RIGHTS,
    "accessDenied.invalidRequestSignature": _SIGNATURE,
    "accessDenied.notLoggedIn": _SESSION,
    "accessDenied.sessionExpired": _SESSION,
    "accessDenied.loggedInElsewhere": _SESSION,
    "accessDenied.csrfTokenMismatch": _SESSION,
    "accessDenied.invalidCredentials": _CREDENTIALS,
    "accessDenied.accountLocked": _CREDENTIALS,
    "accessDenied.passwordExpired": _CREDENTIALS,
    "accessDenied.noCredentialsSupplied": _CREDENTIALS,
    "accessDenied.unverifiedLocation": _NEW_LOCATION,
    "accessDenied.invalidJwt": _CREDENTIALS,
    "accessDenied.invalidJwtApp": _CREDENTIALS,
    "accessDenied.app": _APP_UNKNOWN,
    "accessDenied.appDisabled": _APP_RIGHTS,
    "accessDenied.appReadOnly": _APP_RIGHTS,
    "accessDenied.appSuspended": _APP_RIGHTS,
    # Not a fault of the server, after which a create may exist or a wait gives up: it is refused for a while.
    "accessDenied.maintenance": Meaning(RateLimited, "came during maintenance of the org"),
    "accessDenied.inUse": Meaning(
        ExportConflict, "was refused: it is in use", "Delete it after it has ended."
    ),
    "accessDenied.notDeletable": Meaning(
        ExportConflict, "was refused: it cannot be deleted now", "Delete it after it has ended."
    ),
    "invalidArgument": _REFUSED,
    "invalidArgument.invalidApiVersion": _ADDRESS,
    "invalidArgument.staleRequestSignature": Meaning(
        AuthenticationFailed, "the signature's time is not accepted", "Check this machine's clock."
    ),
    "notFound.app": _APP_UNKNOWN,
    "notFound.env": _ADDRESS,
    "notFound.org": _ADDRESS,
    "notFound.file": Meaning(UnexpectedResponse, "found no archive"),
    "notFound.facet": Meaning(UnexpectedResponse, "found no archive"),
    "notFound.property": Meaning(UnexpectedResponse, "found no archive"),
    "timeout": Meaning(VendorUnavailable, "took the vendor too long"),
    # Another export is never in the way of a create: the org has a queue.
    "conflict": _REFUSED,
    # 410 is about credentials, never about an export.
    "expired": _EXPIRED,
    "tooLarge": Meaning(ExportRejected, "was refused: it is too large", "Shorten where and paths."),
    "throttled": Meaning(RateLimited, "came too soon after others"),
    "tooBusy": _BUSY,
    "error": _LATER,
    # The org's file storage cannot give out addresses.
    "notImplemented": _REFUSED,
    "accepted": Meaning(UnexpectedResponse, "is not done yet"),
}

# Releases before the current fault registry send no errCode.
_BY_CODE: Mapping[str, str] = {
    "kNewLocation": "success.newLocation",
    "kUnverifiedLocation": "accessDenied.unverifiedLocation",
    "kMediaNotReady": "accepted.mediaNotReady",
    "kStreamMediaError": "error.facet",
    "kInvalidRequestSignature": "accessDenied.invalidRequestSignature",
    "kStaleRequestSignature": "invalidArgument.staleRequestSignature",
    "kNotLoggedIn": "accessDenied.notLoggedIn",
    "kSessionExpired": "accessDenied.sessionExpired",
    "kLoggedInElsewhere": "accessDenied.loggedInElsewhere",
    "kCSRFTokenMismatch": "accessDenied.csrfTokenMismatch",
    "kInvalidCredentials": "accessDenied.invalidCredentials",
    "kAccountLocked": "accessDenied.accountLocked",
    "kPasswordExpired": "accessDenied.passwordExpired",
    "kNoCredentialsSupplied": "accessDenied.noCredentialsSupplied",
    "kMaintenance": "accessDenied.maintenance",
    "kNotDeletable": "accessDenied.notDeletable",
    "kAccessDenied": "accessDenied.unspecified",
    "kOrgControlInvalidOrg": "notFound.env",
    "kNotFound": "notFound.unspecified",
    "kTimeout": "timeout.unspecified",
    "kTokenExpired": "expired.jwt",
    "kExpired": "expired.unspecified",
    "kRequestTooLarge": "tooLarge.unspecified",
    "kThrottled": "throttled.unspecified",
    "kTooBusy": "tooBusy.unspecified",
    "kError": "error.unspecified",
    "kNotImplemented": "notImplemented.pointerUrl",
}

LOG_IN_AGAIN = {
    "accessDenied.notLoggedIn",
    "accessDenied.sessionExpired",
    "accessDenied.loggedInElsewhere",
    "accessDenied.csrfTokenMismatch",
}
"""The vendor's own client logs in again on these and on no others; more would lock the account."""

_VERBS = ("is ", "was ", "came ", "met ", "took ", "found ")


def fault_in(response: Response) -> dict[str, Any] | None:
    """Return the fault in an answer, whatever its status: two come with 200 and 202."""
    try:
        body = response.json()
    except UnexpectedResponse:
        return None
    return body if isinstance(body, dict) and body.get("object") == "fault" else None


def code_of(fault: Mapping[str, Any]) -> str:
    """Return family and detail of a fault; classified by the parent, never by its children."""
    code = fault.get("errCode")
    if isinstance(code, str) and code:
        return code.removeprefix("cortex.")
    return _BY_CODE.get(str(fault.get("code")), "")


def meaning_of(code: str, export_id: str | None) -> Meaning | None:
    """Return what a code means, None if it is not the vendor's own.

    :param export_id: the export that the request is about, if it is about one.
    """
    meaning = _FAULTS.get(code) or _FAULTS.get(code.partition(".")[0])
    if meaning is None and code.startswith("notFound.") and export_id:
        return Meaning(ExportNotFound, "the vendor does not know it")
    return meaning


def error_of(
    meaning: Meaning, fault: Mapping[str, Any], request: Request, response: Response, secrets: Iterable[str]
) -> ExportError:
    """Return the error of a request that ended in a fault, in the vendor's words as far as it has any."""
    name = request.operation or f"{request.method} {request.path}"
    shown = redact(str(fault.get("errCode") or fault.get("code") or "no code"), secrets, limit=80)
    said = redact(words(fault), secrets)
    separator = " " if meaning.said.startswith(_VERBS) else ": "
    return meaning.error(
        f"{name}{separator}{meaning.said} ({shown}, HTTP {response.status})."
        + (f' The vendor says: "{said}"' if said else ""),
        export_id=request.export_id,
        http_status=response.status,
        retry_after=response.retry_after,
        next_step=meaning.next_step,
    )


def words(body: JSON) -> str:
    """Return what a fault and its children say."""
    if not isinstance(body, dict):
        return ""
    said = [str(body[key]) for key in ("message", "reason") if body.get(key)]
    children = body.get("faults")
    for child in children if isinstance(children, list) else []:
        if isinstance(child, dict):
            where = child.get("path") or child.get("code")
            said.append(f"{where}: {words(child) or child.get('code')}")
    return "; ".join(said)

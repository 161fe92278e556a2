"""Medable's fault documents: what goes wrong is told in the body, whatever the status is.

Source: https://docs.medable.com/cortex-api/faults (read 2026-08).
"""

from typing import Any

__all__ = ["REGISTRY", "STATUS_CODES", "Denied", "child", "document"]

#: Status and older code of each fault that matters for exports.
REGISTRY: dict[str, tuple[int, str]] = {
    "cortex.success.newLocation": (200, "kNewLocation"),
    "cortex.accepted.mediaNotReady": (202, "kMediaNotReady"),
    "cortex.invalidArgument.unspecified": (400, "kInvalidArgument"),
    "cortex.invalidArgument.validation": (400, "kValidationError"),
    "cortex.invalidArgument.required": (400, "kRequired"),
    "cortex.invalidArgument.enumValue": (400, "kEnumValue"),
    "cortex.invalidArgument.object": (400, "kInvalidObject"),
    "cortex.invalidArgument.query": (400, "kInvalidArgument"),
    "cortex.invalidArgument.invalidJSON": (400, "kInvalidArgument"),
    "cortex.invalidArgument.invalidObjectId": (400, "kInvalidArgument"),
    "cortex.invalidArgument.invalidApiVersion": (400, "kInvalidArgument"),
    "cortex.invalidArgument.staleRequestSignature": (400, "kStaleRequestSignature"),
    "cortex.invalidArgument.envDisabled": (400, "kOrgDisabled"),
    "cortex.invalidArgument.callbackFormat": (400, "kCallbackFormat"),
    "cortex.accessDenied.unspecified": (403, "kAccessDenied"),
    "cortex.accessDenied.invalidRequestSignature": (403, "kInvalidRequestSignature"),
    "cortex.accessDenied.notLoggedIn": (403, "kNotLoggedIn"),
    "cortex.accessDenied.sessionExpired": (403, "kSessionExpired"),
    "cortex.accessDenied.loggedInElsewhere": (403, "kLoggedInElsewhere"),
    "cortex.accessDenied.csrfTokenMismatch": (403, "kCSRFTokenMismatch"),
    "cortex.accessDenied.invalidCredentials": (403, "kInvalidCredentials"),
    "cortex.accessDenied.accountLocked": (403, "kAccountLocked"),
    "cortex.accessDenied.passwordExpired": (403, "kPasswordExpired"),
    "cortex.accessDenied.noCredentialsSupplied": (403, "kNoCredentialsSupplied"),
    "cortex.accessDenied.unverifiedLocation": (403, "kUnverifiedLocation"),
    "cortex.accessDenied.invalidJwt": (403, "kInvalidCredentials"),
    "cortex.accessDenied.invalidJwtApp": (403, "kInvalidCredentials"),
    "cortex.accessDenied.scope": (403, "kAccessDenied"),
    "cortex.accessDenied.instanceCreate": (403, "kAccessDenied"),
    "cortex.accessDenied.instanceRead": (403, "kAccessDenied"),
    "cortex.accessDenied.instanceDelete": (403, "kAccessDenied"),
    "cortex.accessDenied.role": (403, "kAccessDenied"),
    "cortex.accessDenied.principal": (403, "kAccessDenied"),
    "cortex.accessDenied.route": (403, "kAccessDenied"),
    "cortex.accessDenied.policy": (403, "kAccessDenied"),
    "cortex.accessDenied.privateFacet": (403, "kAccessDenied"),
    "cortex.accessDenied.app": (403, "kAccessDenied"),
    "cortex.accessDenied.appDisabled": (403, "kAccessDenied"),
    "cortex.accessDenied.appReadOnly": (403, "kAccessDenied"),
    "cortex.accessDenied.appSuspended": (403, "kAccessDenied"),
    "cortex.accessDenied.inUse": (403, "kAccessDenied"),
    "cortex.accessDenied.notDeletable": (403, "kNotDeletable"),
    "cortex.accessDenied.maintenance": (403, "kMaintenance"),
    "cortex.notFound.unspecified": (404, "kNotFound"),
    "cortex.notFound.env": (404, "kOrgControlInvalidOrg"),
    "cortex.notFound.org": (404, "kNotFound"),
    "cortex.notFound.app": (404, "kNotFound"),
    "cortex.notFound.route": (404, "kNotFound"),
    "cortex.notFound.instance": (404, "kNotFound"),
    "cortex.notFound.file": (404, "kNotFound"),
    "cortex.notFound.facet": (404, "kNotFound"),
    "cortex.notFound.property": (404, "kNotFound"),
    "cortex.notFound.callback": (404, "kCallbackNotFound"),
    "cortex.timeout.unspecified": (408, "kTimeout"),
    "cortex.timeout.dbQuery": (408, "kTimeout"),
    "cortex.conflict.unspecified": (409, "kConflict"),
    "cortex.expired.unspecified": (410, "kExpired"),
    "cortex.expired.jwt": (410, "kTokenExpired"),
    "cortex.expired.app": (410, "kExpired"),
    "cortex.tooLarge.unspecified": (413, "kRequestTooLarge"),
    "cortex.throttled.unspecified": (429, "kThrottled"),
    "cortex.throttled.policy": (429, "kThrottled"),
    "cortex.throttled.stalledCursor": (429, "kThrottled"),
    "cortex.tooBusy.unspecified": (429, "kTooBusy"),
    "cortex.tooBusy.sandbox": (429, "kTooBusy"),
    "cortex.error.unspecified": (500, "kError"),
    "cortex.error.db": (500, "kError"),
    "cortex.error.aborted": (500, "kCancelled"),
    "cortex.error.facet": (500, "kScriptError"),
    "cortex.notImplemented.pointerUrl": (501, "kNotImplemented"),
}
#: What a bare status is called.
STATUS_CODES = {
    400: "cortex.invalidArgument.unspecified",
    401: "cortex.accessDenied.notLoggedIn",
    403: "cortex.accessDenied.unspecified",
    404: "cortex.notFound.unspecified",
    408: "cortex.timeout.unspecified",
    409: "cortex.conflict.unspecified",
    410: "cortex.expired.unspecified",
    413: "cortex.tooLarge.unspecified",
    429: "cortex.throttled.unspecified",
}
_MESSAGES = {
    "success": "The request succeeded, but something is left to do.",
    "accepted": "The request was accepted, but the result is not ready.",
    "invalidArgument": "An argument is invalid.",
    "accessDenied": "Access denied.",
    "notFound": "Not found.",
    "timeout": "The operation took too long.",
    "conflict": "The request conflicts with another one.",
    "expired": "Expired.",
    "tooLarge": "The request is too large.",
    "throttled": "The request was throttled.",
    "tooBusy": "The server is too busy.",
    "error": "An error occurred.",
    "notImplemented": "Not implemented.",
}
_NAMES = {"cortex.success.newLocation": "location", "cortex.invalidArgument.validation": "validation"}
#: Codes of the releases without errCode, where they differ.
_OLDER_CODES = {"cortex.error.facet": "kStreamMediaError"}
_OLDER_STATUSES = {"cortex.accessDenied.invalidRequestSignature": 400}


class Denied(Exception):
    """Ends an operation with a fault; ``cookies`` go out with it."""

    def __init__(
        self,
        err_code: str,
        reason: str = "",
        *,
        path: str | None = None,
        children: tuple[dict[str, Any], ...] = (),
        cookies: tuple[str, ...] = (),
    ) -> None:
        super().__init__(err_code)
        self.err_code, self.reason, self.path = err_code, reason, path
        self.children, self.cookies = children, cookies


def document(
    err_code: str,
    reason: str = "",
    *,
    path: str | None = None,
    children: tuple[dict[str, Any], ...] = (),
    older: bool = False,
    status: int | None = None,
) -> dict[str, Any]:
    """A fault as it stands in a body; ``older`` ones know no errCode."""
    registered, code = REGISTRY[err_code]
    fault: dict[str, Any] = {
        "object": "fault",
        "name": _NAMES.get(err_code, "error"),
        "code": _OLDER_CODES.get(err_code, code) if older else code,
        "errCode": err_code,
        "status": status or (_OLDER_STATUSES.get(err_code, registered) if older else registered),
        "message": _MESSAGES[err_code.split(".")[1]],
        "reason": reason,
        "path": path,
        "faults": [dict(one) for one in children] or None,
    }
    if older:
        del fault["errCode"]
        for one in fault["faults"] or ():
            one.pop("errCode", None)
    return {name: value for name, value in fault.items() if value not in (None, "")}


def child(err_code: str, name: str, reason: str, status: int) -> dict[str, Any]:
    """The fault of one property of an export, for inside of a validation fault."""
    return document(err_code, reason, path=f"export.{name}", status=status) | {"name": "validation"}

"""Error bodies of the framework that Onna's API is built on."""

import uuid
from typing import Any

__all__ = [
    "bad_id",
    "bad_json",
    "duplicate_id",
    "field_errors",
    "general",
    "not_allowed",
    "nothing_here",
    "precondition",
    "required",
    "unknown_type",
]

Body = dict[str, Any]


def general(status: int, message: str | None = None) -> Body:
    """The body for a status that says no more than itself."""
    match status:
        case 401:
            return {
                "reason": message or "You are not authorized to access content",
                "content": "/",
                "auth": "Anonymous User",
            }
        case 404:
            return nothing_here()
        case 412:
            return precondition("preconditionFailed", message or "The preconditions are not met")
        case 424:
            return {"reason": "oauthServerFailure", "message": message or "Not possible to get the user"}
        case 500:
            eid = uuid.uuid4().hex
            text = f"Error on execution of view {eid}"
            return {"message": text, "reason": "unknownError", "details": "Unknown error", "eid": eid}
        case _:
            return {} if message is None else {"message": message}


def nothing_here() -> Body:
    """404 for an object or a view that does not exist."""
    return {"reason": "object and/or route not found"}


def duplicate_id(name: str) -> Body:
    """409 for an id that the folder has already."""
    return {
        "reason": "conflictId",
        "details": "This ID already exists",
        "type": "ConflictId",
        "message": f"Conflict ID {name}",
        "eid": uuid.uuid4().hex,
    }


def required(name: str) -> Body:
    """412 for a parameter that is not there."""
    message = f"{name} is required"
    return {
        "error": {"type": "RequiredParam", "message": message},
        "reason": "requiredParamMissing",
        "details": message,
        "type": "RequiredParam",
    }


def bad_id(name: object) -> Body:
    """412 for an id that cannot be one."""
    message = f"Invalid id: {name}"
    return {
        "error": {"type": "PreconditionFailed", "message": message},
        "reason": "invalidId",
        "details": message,
        "type": "PreconditionFailed",
    }


def unknown_type(name: object) -> Body:
    """412 for an ``@type`` that does not exist."""
    message = f"Type {name} does not exist"
    return _typed("deserializationError", "DeserializationError", message)


def not_allowed(name: str) -> Body:
    """412 for an ``@type`` that this folder does not take."""
    return precondition("notAllowed", f"Type {name} is not allowed here")


def field_errors(errors: dict[str, str]) -> Body:
    """412 for fields of a wrong form."""
    found = [{"field": name, "message": message} for name, message in errors.items()]
    body = _typed("deserializationError", "DeserializationError", "Fields could not be read")
    return body | {"deserialization_errors": found}


def bad_json() -> Body:
    """412 for a body that is not a JSON object."""
    return {
        "reason": "jsonDecodeError",
        "details": "The body is not a JSON object",
        "type": "PreconditionFailed",
    }


def precondition(reason: str, message: str) -> Body:
    """412 of any other kind."""
    return _typed(reason, "PreconditionFailed", message)


def _typed(reason: str, kind: str, message: str) -> Body:
    return {"reason": reason, "details": message, "type": kind, "message": message}

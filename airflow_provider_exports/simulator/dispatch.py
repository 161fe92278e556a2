"""From a call to an answer: vendor, operation, fault, log. No network in here."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import unquote

from airflow_provider_exports.simulator.apis.base import Answer, Call, Handler, Refused, VendorApi, World
from airflow_provider_exports.simulator.scenario import Fault
from airflow_provider_exports.simulator.store import RequestRecord

__all__ = ["answer_call"]

Origin = Literal["api", "files"]

_LOGIN_PAGE = "<!DOCTYPE html>\n<html><title>Sign in</title><body>Please sign in.</body></html>\n"


def answer_call(
    world: World,
    apis: Mapping[str, VendorApi],
    origin: Origin,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    raw_body: bytes,
) -> Answer:
    """The answer to one request, logged. The caller holds the world's lock."""
    vendor, _, rest = path.removeprefix("/").partition("/")
    call = Call(method, f"/{rest}", query, headers, raw_body, _parsed(raw_body))
    at = world.clock.now()
    api = apis.get(vendor)
    if api is None:
        answer, operation = Answer(404, payload={"error": "no such vendor here"}), None
    else:
        operation, handler = _route(api, origin, call)
        call.fault = None if operation is None else world.faults.take(vendor, operation)
        answer = _disturbed(world, api, call, operation or "", handler, path)
        if origin == "api":
            api.finish_headers(answer)
    credentials = _credentials(world, api, call)
    if api is not None and origin == "files" and credentials and api.switches.reject_file_credentials:
        answer = Answer(400, text="No credentials here, please.\n", content_type="text/plain")
    status = None if answer.dropped else answer.status
    fault = None if call.fault is None else call.fault.name
    world.store.requests.append(
        RequestRecord(
            vendor=vendor,
            origin=origin,
            method=method,
            path=path,
            query=query,
            status=status,
            operation=operation,
            headers=headers,
            body=call.body,
            raw_body=raw_body,
            at=at,
            credentials=credentials,
            fault=fault,
        )
    )
    return answer


def _route(api: VendorApi, origin: Origin, call: Call) -> tuple[str | None, Handler]:
    if origin == "api":
        return api.route(call)
    if call.path.startswith("/redirected/"):
        return "redirected", api.redirected
    return api.route_file(call)


def _disturbed(
    world: World, api: VendorApi, call: Call, operation: str, handler: Handler, path: str
) -> Answer:
    fault = call.fault
    if fault is None:
        return _handled(handler, call)
    early = _instead(world, api, fault, operation, path)
    if early is not None:
        return early
    answer = _handled(handler, call)
    if fault.name == "lost_response":
        return Answer(dropped=True)
    if fault.name.removesuffix("_after") in api.own_faults:
        return api.own_fault(fault.name.removesuffix("_after"))
    if fault.status is not None:
        return _status(api, fault, fault.status)
    if fault.name == "timeout":
        return replace(answer, hold=float(fault.options.get("seconds", 30)))
    if operation == "file":
        return _disturbed_file(fault, answer)
    if answer.status < 400:
        _distort(api, fault, operation, answer)
    return answer


def _handled(handler: Handler, call: Call) -> Answer:
    try:
        return handler(call)
    except Refused as refused:
        return refused.answer


def _instead(world: World, api: VendorApi, fault: Fault, operation: str, path: str) -> Answer | None:
    """The answer of a fault that keeps the operation from happening."""
    match fault.name:
        case "reset":
            return Answer(dropped=True)
        case "html" | "html_instead":
            return Answer(text=_LOGIN_PAGE, content_type="text/html")
        case "json_error_instead":
            return Answer(payload={"error": "The file could not be read."})
        case "not_found" | "unauthorized" | "forbidden":
            status = {"not_found": 404, "unauthorized": 401, "forbidden": 403}[fault.name]
            return _file_error(status) if operation == "file" else api.error(status)
        case "stale_link":
            return _file_error(403)
        case "redirect_307":
            vendor, _, rest = path.removeprefix("/").partition("/")
            target = f"{world.files_origin}/{vendor}/redirected/{rest}"
            return Answer(307, text="", headers={"Location": target})
        case "redirect":
            return Answer(302, text="", headers={"Location": str(fault.options["location"])})
        case _:
            pass
    if fault.name in api.own_faults:
        return api.own_fault(fault.name)
    if fault.status is not None and not fault.happens_after:
        return _file_error(fault.status) if operation == "file" else _status(api, fault, fault.status)
    return None


def _status(api: VendorApi, fault: Fault, status: int) -> Answer:
    if status == 429:
        form = fault.options.get("retry_after", "seconds")
        return api.too_many(form, float(fault.options.get("seconds", 2)))
    return api.error(status)


def _file_error(status: int) -> Answer:
    return Answer(status, text=f"Error {status}\n", content_type="text/plain")


def _disturbed_file(fault: Fault, answer: Answer) -> Answer:
    if answer.file is None:
        return answer
    start, stop = answer.span or (0, answer.file.size)
    half = int(fault.options.get("at_byte", (stop - start) // 2))
    match fault.name:
        case "truncated":
            return replace(answer, cut_at=half)
        case "truncated_chunked":
            return replace(answer, cut_at=half, framing="chunked")
        case "truncated_no_length":
            return replace(answer, cut_at=half, framing="close")
        case "size_mismatch":
            return replace(answer, span=(start, max(start, stop - 1)))
        case "slow":
            pace, piece = fault.options.get("seconds", 0.05), fault.options.get("piece_bytes", 1024)
            return replace(answer, pace=float(pace), piece_bytes=int(piece))
        case "stall":
            return replace(answer, cut_at=half, stall=float(fault.options.get("seconds", 30)))
        case _:
            return answer


def _distort(api: VendorApi, fault: Fault, operation: str, answer: Answer) -> None:
    if fault.name == "malformed_json":
        answer.halved = True
    if not isinstance(answer.payload, dict):
        return
    # Rooms and users are no exports, but a field can be missing there too.
    subjects = api.exports_in(answer.payload) if operation in ("create", "get", "list") else [answer.payload]
    for subject in subjects:
        match fault.name:
            case "missing_field":
                subject.pop(str(fault.options.get("field", api.critical_fields.get(operation, "id"))), None)
            case "unknown_status":
                api.make_unknown_status(subject)
            case "size_mismatch":
                api.enlarge_sizes(subject)
            case _:
                pass


def _parsed(raw_body: bytes) -> object:
    try:
        return json.loads(raw_body) if raw_body else None
    except ValueError:
        return None


def _credentials(world: World, api: VendorApi | None, call: Call) -> tuple[str, ...]:
    """Where in a request there are credentials, known ones or what looks like some."""
    secrets = set(world.tokens.values())
    always = {"authorization", "cookie", "proxy-authorization", *(api.credential_headers if api else ())}
    places = [
        f"header {name}"
        for name, value in call.headers.items()
        if name.lower() in always or _holds(value, secrets)
    ]
    places += [f"query {name}" for name, value in call.query.items() if _holds(value, secrets)]
    body = call.raw_body.decode("utf-8", "replace")
    if _holds(body, secrets) or _holds(unquote(body), secrets):
        places.append("body")
    return tuple(places)


def _holds(text: str, secrets: set[str]) -> bool:
    return any(secret in text for secret in secrets)

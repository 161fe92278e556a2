"""The simulator's controls over HTTP, for tests that live in another process."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from airflow_provider_exports.simulator.store import ExportRecord, RequestRecord

if TYPE_CHECKING:
    from airflow_provider_exports.simulator.app import Simulator

__all__ = ["control"]


async def control(simulator: "Simulator", request: web.BaseRequest) -> web.Response:
    """Answer a request under ``/_control/``; a mistake in it gives 400 and says what was wrong."""
    route = (request.method, request.path.removeprefix("/_control/"))
    if route not in _ROUTES:
        known = [f"{method} /_control/{name}" for method, name in _ROUTES]
        return web.json_response({"error": "no such control", "there_are": known}, status=404)
    try:
        values = await request.json() if request.body_exists else {}
        if not isinstance(values, dict):
            raise ValueError("the body must be a JSON object")
        return web.json_response(_ROUTES[route](simulator, values | dict(request.query)))
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response({"error": str(error)}, status=400)


def _health(simulator: "Simulator", _values: dict[str, Any]) -> Any:
    return {"status": "ok", "vendors": simulator.vendors, "now": simulator.now().isoformat()}


def _configure(simulator: "Simulator", values: dict[str, Any]) -> Any:
    vendor = values.pop("vendor")
    simulator.configure(vendor, **values.pop("switches", values))
    return simulator.switches(vendor)


def _fail_next(simulator: "Simulator", values: dict[str, Any]) -> Any:
    simulator.fail_next(values.pop("vendor"), values.pop("operation"), **values)
    return {}


def _clear_faults(simulator: "Simulator", values: dict[str, Any]) -> Any:
    simulator.clear_faults(values.get("vendor"))
    return {}


def _advance(simulator: "Simulator", values: dict[str, Any]) -> Any:
    simulator.advance(float(values["seconds"]))
    return {"now": simulator.now().isoformat()}


def _requests(simulator: "Simulator", values: dict[str, Any]) -> Any:
    return [_request_json(one) for one in simulator.requests(values.get("vendor"), values.get("operation"))]


def _leaks(simulator: "Simulator", values: dict[str, Any]) -> Any:
    return [_request_json(one) for one in simulator.leaks(values.get("vendor"))]


def _exports(simulator: "Simulator", values: dict[str, Any]) -> Any:
    wanted = values.get("export_id")
    found = simulator.exports(values["vendor"])
    return [_export_json(record) for record in found if wanted in (None, record.id, record.name)]


def _notifications(simulator: "Simulator", values: dict[str, Any]) -> Any:
    messages = simulator.notifications(values["vendor"])
    return [{name: _plain(value) for name, value in message.items()} for message in messages]


def _set_state(simulator: "Simulator", values: dict[str, Any]) -> Any:
    simulator.set_state(values["vendor"], values["export_id"], values["state"])
    return {}


def _add_room(simulator: "Simulator", values: dict[str, Any]) -> Any:
    return {"room_id": simulator.add_room(values.pop("name"), **values)}


def _add_foreign_export(simulator: "Simulator", values: dict[str, Any]) -> Any:
    return {"export_id": simulator.medable.add_foreign_export(**values)}


def _reset(simulator: "Simulator", _values: dict[str, Any]) -> Any:
    simulator.reset()
    return {}


def _connections(simulator: "Simulator", _values: dict[str, Any]) -> Any:
    return {vendor: simulator.connection(vendor) for vendor in simulator.vendors}


_Control = Callable[["Simulator", dict[str, Any]], Any]
_ROUTES: dict[tuple[str, str], _Control] = {
    ("GET", "health"): _health,
    ("GET", "connections"): _connections,
    ("GET", "requests"): _requests,
    ("GET", "leaks"): _leaks,
    ("GET", "exports"): _exports,
    ("GET", "notifications"): _notifications,
    ("POST", "configure"): _configure,
    ("POST", "fail-next"): _fail_next,
    ("POST", "clear-faults"): _clear_faults,
    ("POST", "advance"): _advance,
    ("POST", "set-state"): _set_state,
    ("POST", "add-room"): _add_room,
    ("POST", "add-foreign-export"): _add_foreign_export,
    ("POST", "reset"): _reset,
}


def _request_json(request: RequestRecord) -> dict[str, Any]:
    return {
        "vendor": request.vendor,
        "origin": request.origin,
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "status": request.status,
        "operation": request.operation,
        "headers": dict(request.headers),
        "body": request.body,
        "at": request.at.isoformat(),
        "credentials": request.credentials,
        "fault": request.fault,
    }


def _export_json(record: ExportRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state,
        "request": {name: _plain(value) for name, value in record.request.items()},
        "reads": record.reads,
        "created_at": _plain(record.created_at),
        "finished_at": _plain(record.finished_at),
        "expires_at": _plain(record.expires_at),
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value

"""The application behind the page *Exports*: one page, whole as it leaves the server, and two static files.

Only the API server loads this module. Airflow does not guard the applications of plug-ins: who calls, and
what they may read, is asked here, of Airflow's own auth manager.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException

from airflow_provider_exports.landing.fetch import in_bytes
from airflow_provider_exports.plugins.records import (
    EXPORT_LINK,
    FILES_LINK,
    MOST,
    STATES,
    ExportRow,
    TaskOfExport,
    plain,
    read_exports,
    read_links,
)

__all__ = ["application"]

PAGE_SIZE = 50
PERIODS = {"7": "7 days", "30": "30 days", "90": "90 days", "all": "all runs"}
DEFAULT_PERIOD = "30"
COLUMNS = {
    "export": "Export",
    "dag": "DAG and task",
    "state": "State",
    "created": "Created",
    "expires": "Expires",
    "files": "Files",
    "size": "Size",
}
"""Column and its heading; all can be sorted by."""
_NEWEST = "-created"
_ASSETS = Path(__file__).with_name("assets")
_LONGEST = 200
HEADERS = {
    # Nothing from elsewhere, nothing inline; Airflow's own interface may frame it, nobody else.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
# What a task has returned is what Airflow shows under these two.
_ENTITIES = (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)


@cache
def application() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Exports", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def add_headers(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await go_on(request)
        response.headers.update(HEADERS)
        return response

    @app.exception_handler(HTTPException)
    async def refuse(_request: Request, error: HTTPException) -> Response:
        content = _render("refused.html", status=error.status_code)
        return HTMLResponse(content, error.status_code, headers=error.headers)

    @app.get("/", response_class=HTMLResponse)
    def exports(request: Request, user: GetUserDep, session: SessionDep) -> Response:
        now = datetime.now(UTC)
        asked = Asked.read(request.query_params)
        rows, more = _readable_exports(session, user, asked.since(now), now)
        view = _view(asked, rows, more, now)
        links = read_links(session, view["rows"])
        content = _render("exports.html", **view, links=links)
        return HTMLResponse(content, headers={"Cache-Control": "no-store"})

    app.mount("/static", StaticFiles(directory=_ASSETS / "static"))
    return app


def _readable_exports(
    session: Session, user: Any, since: datetime | None, now: datetime
) -> tuple[list[ExportRow], bool]:
    manager = get_auth_manager()
    readable = manager.get_authorized_dag_ids(user=user, method="GET")
    if not readable:
        return [], False
    rows, more = read_exports(session, readable, since=since, now=now)
    shown = _with_readable_results(session, user, {row.dag_id for row in rows})
    return [row for row in rows if row.dag_id in shown], more


def _with_readable_results(session: Session, user: Any, dag_ids: Collection[str]) -> set[str]:
    """Return the DAGs of which the user may read task instances and XComs as well."""
    manager = get_auth_manager()
    # Before Airflow 3.2 a DAG has no team.
    team_names = getattr(DagModel, "get_dag_id_to_team_name_mapping", None)
    teams = team_names(list(dag_ids), session=session) if team_names else {}
    wanted: dict[str, list[IsAuthorizedDagRequest]] = {
        dag_id: [
            {
                "method": "GET",
                "access_entity": entity,
                "details": DagDetails(id=dag_id, team_name=teams.get(dag_id)),
            }
            for entity in _ENTITIES
        ]
        for dag_id in dag_ids
    }
    # An auth manager may ask a server of its own: mostly one question is enough.
    if manager.batch_is_authorized_dag([one for each in wanted.values() for one in each], user=user):
        return set(dag_ids)
    return {dag_id for dag_id, each in wanted.items() if manager.batch_is_authorized_dag(each, user=user)}


@dataclass(frozen=True)
class Asked:
    """What the address asks for; what it cannot mean counts as not asked."""

    vendor: str = ""
    state: str = ""
    dag: str = ""
    text: str = ""
    period: str = DEFAULT_PERIOD
    sort: str = _NEWEST
    page: int = 1

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Asked:
        """Read the parameters of the address."""
        period, sort, page = query.get("period", ""), query.get("sort", ""), query.get("page", "")
        return cls(
            vendor=query.get("vendor", ""),
            state=query.get("state", ""),
            dag=query.get("dag", ""),
            text=query.get("text", "").strip(),
            period=period if period in PERIODS else DEFAULT_PERIOD,
            sort=sort if sort.removeprefix("-") in COLUMNS else _NEWEST,
            page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 7 else 1,
        )

    def since(self, now: datetime) -> datetime | None:
        """Return the start of the period."""
        return None if self.period == "all" else now - timedelta(days=int(self.period))

    def matches(self, row: ExportRow) -> bool:
        """Return whether an export is asked for."""
        if self.vendor not in ("", row.vendor) or self.state not in ("", row.state):
            return False
        if self.dag not in ("", row.dag_id):
            return False
        texts = (row.export_id, row.vendor, row.dag_id, row.run_id, row.task.task_id, row.landed_by.task_id)
        return not self.text or any(self.text.casefold() in text.casefold() for text in texts if text)

    def sort_key(self, row: ExportRow) -> Any:
        """Return what the column of the order holds, None where it is unknown."""
        return {
            "export": (row.vendor or "", row.export_id or ""),
            "dag": (row.dag_id, row.run_id, row.task.task_id, row.task.map_index),
            "state": STATES[row.state],
            "created": row.created,
            "expires": row.expires,
            "files": row.files,
            "size": row.size,
        }[self.sort.removeprefix("-")]

    def sorted(self, rows: list[ExportRow]) -> list[ExportRow]:
        """Return the exports in the order; those of which it is unknown come last, either way."""
        known = [row for row in rows if self.sort_key(row) is not None]
        unknown = [row for row in rows if self.sort_key(row) is None]
        return sorted(known, key=self.sort_key, reverse=self.sort.startswith("-")) + unknown

    def address(self, **changes: Any) -> str:
        """Return the relative address that asks for the same, but for some changes."""
        defaults = vars(Asked())
        values = {name: value for name, value in (vars(self) | changes).items() if value != defaults[name]}
        return f"?{urlencode(values)}"


def _view(asked: Asked, rows: list[ExportRow], more: bool, now: datetime) -> dict[str, Any]:
    matching = asked.sorted([row for row in rows if asked.matches(row)])
    pages = max(1, -(-len(matching) // PAGE_SIZE))
    page = min(asked.page, pages)
    first = (page - 1) * PAGE_SIZE
    return {
        "asked": asked,
        "now": now,
        "total": len(matching),
        "first": first + 1,
        "rows": matching[first : first + PAGE_SIZE],
        "page": page,
        "pages": pages,
        "any": bool(rows),
        "most": MOST if more else None,
        "export_link": EXPORT_LINK,
        "files_link": FILES_LINK,
        "columns": COLUMNS,
        "periods": PERIODS,
        "states": STATES,
        "vendors": _options({row.vendor for row in rows if row.vendor}, asked.vendor),
        "dags": _options({row.dag_id for row in rows}, asked.dag),
    }


def _options(found: set[str], asked: str) -> dict[str, str]:
    return {value: value for value in sorted(found | {asked}) if value}


def _render(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(**values)


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "text": _text,
        "ago": _ago,
        "left": _left,
        "bytes": in_bytes,
        "task_address": _task,
    }
    return environment


def _text(value: str) -> str:
    """Return a text of others as it may be shown, and not without end."""
    return plain(value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…")


def _task(row: ExportRow, task: TaskOfExport) -> str:
    """Return the relative address of a task instance in Airflow's interface."""
    parts = [quote(part, safe="") for part in (row.dag_id, row.run_id, task.task_id)]
    mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
    return f"../dags/{parts[0]}/runs/{parts[1]}/tasks/{parts[2]}{mapped}"


def _ago(moment: datetime, now: datetime) -> str:
    # A vendor's clock may be ahead.
    return f"{_duration(now - moment)} ago" if now - moment >= timedelta(minutes=1) else "just now"


def _left(moment: datetime, now: datetime) -> str:
    return f"in {_duration(moment - now)}" if moment > now else f"{_duration(now - moment)} ago"


def _duration(duration: timedelta) -> str:
    minutes = int(duration.total_seconds() // 60)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days >= 10:
        return f"{days} d"
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min"

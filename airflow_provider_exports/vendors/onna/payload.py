"""Onna's payload: the settings of an export out of template, settings and parameters, and its rules.

Source: https://developers.onna.com/tutorials/customize-export/create-exports.html and the script it links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_exports.core import times
from airflow_provider_exports.core.model import Content, Payload, Problem, fingerprint
from airflow_provider_exports.core.vendor import invalid_payload
from airflow_provider_exports.vendors.onna import query
from airflow_provider_exports.vendors.onna.settings import OnnaSettings
from airflow_provider_exports.vendors.onna.settings_template import default_settings

# Parameter to setting, for those that need no more than a place.
_SWITCHES = {
    "include_family": "include_family",
    "single_messages": "slack_as_single_message",
    "exclude_nist": "exclude_nist",
    "dedupe_parents": "dedupe_parents",
    "prefer_pdf": "prefer_pdf",
}
_DATE = len("2026-01-31")
_SCOPE = ("workspace_url", "datasource_uid", "type_name", "modified_after", "modified_before")
SHORTHANDS = ("template", *_SCOPE, *_SWITCHES, "message_context_days", "load_file_format")
"""Fields of a payload that are ours: they are written into the vendor's settings."""


def prepared(payload: Payload, settings: OnnaSettings, user: str, base_url: str, api: str) -> Payload:
    """Return the payload as it is sent.

    :param user: who creates the export.
    :param base_url: address of the API without path.
    :param api: path of the account below it.
    :raises InvalidPayload: a value cannot be read, or is given twice.
    """
    given = {name: value for name, value in payload.items() if value is not None}
    short = {name: given.pop(name) for name in SHORTHANDS if name in given}
    problems: list[Problem] = []
    own = _one_settings(given.get("settings"), "settings", problems)
    template = short.pop("template", None)
    if isinstance(template, Mapping) and "settings" in template:
        template = template["settings"]
    captured = _one_settings(template, "template", problems)
    made: dict[str, Any] = {**default_settings(), **captured, **own}
    for name in short:
        place = "scope_query" if name in _SCOPE else _SWITCHES.get(name, name)
        place = "loadFileFormat" if name == "load_file_format" else place
        if place in own:
            problems.append(Problem(f"settings.0.{place}", f"is given by {name} and by settings at once"))
    _write_switches(short, made)
    if "workspace_url" in short:
        short["workspace_url"] = _workspace_url(str(short["workspace_url"]), settings, base_url, api)
    _write_scope(short, made, problems, days=settings.time_form == "date")
    if problems:
        raise invalid_payload("onna", problems)
    title = given.get("title") or own.get("name")
    made["created_by"] = own.get("created_by") or user
    made.pop("name", None)
    name = given.get("id") or settings.id_prefix + fingerprint({"title": title, "settings": made})[:20]
    # Page and script disagree on what must equal what: one text for all three suits both.
    title = title or name
    return {
        **{key: value for key, value in given.items() if key not in ("settings", "id", "title")},
        "@type": given.get("@type", "Export"),
        "id": name,
        "title": title,
        "settings": [{"name": title, **made}],
    }


def window(payload: Payload) -> tuple[datetime | None, datetime | None]:
    """Return start (included) and end (excluded) of ``date_modified``; None where none can be read."""
    found = query.operands(payload["settings"][0]["scope_query"], query.MODIFIED)

    def moment(operator: str) -> datetime | None:
        try:
            return times.instant(found[operator]) if operator in found else None
        except ValueError:
            return None

    start = moment(">")
    if start is not None:
        start += query.DAY if len(str(found[">"])) == _DATE else query.TICK
    return start, moment("<")


def content(payload: Payload) -> Content:
    """Return the workspaces and datasources by the paths of their URLs, and the window."""
    scope = payload["settings"][0]["scope_query"]
    subjects = []
    for field in (query.PATH, query.DATASOURCE):
        for operand in query.operands(scope, field).values():
            for one in operand if isinstance(operand, list) else [operand]:
                subjects.append(str(one).partition("://")[2].partition("/")[2] or str(one))
    return Content(tuple(subjects), *window(payload))


def scope_problems(payload: Payload, now: float, *, allow_future: bool) -> Iterator[Problem]:
    """Yield what is wrong with the scope of a prepared payload."""
    path = "settings.0.scope_query"
    scope = payload["settings"][0]["scope_query"]
    if not scope or query.conditions(scope) is None:
        yield Problem(path, "must hold its conditions under advanced")
        return
    start, end = window(payload)
    if start is not None and end is not None and end <= start:
        hint = ""
        if len(str(query.operands(scope, query.MODIFIED)["<"])) == _DATE:
            hint = ". Where whole days are sent (time_form) they are days of UTC: use a timetable in UTC"
        elif end == start:
            hint = ". On Airflow 3 a plain cron has intervals of no length: use CronDataIntervalTimetable"
        yield Problem(path, f"has a window whose end is not later than its start{hint}")
    elif end is not None and end.timestamp() > now and not allow_future:
        yield Problem(path, "has a window that ends in the future")


def is_unlimited(payload: Payload) -> bool:
    """Return whether neither a workspace nor a datasource limits the export."""
    settings = payload["settings"][0]
    scope = settings["scope_query"]
    return not settings["scope_uuid"] and not any(
        query.operands(scope, field) for field in (query.PATH, query.DATASOURCE)
    )


def _write_switches(short: Mapping[str, Any], made: dict[str, Any]) -> None:
    for name, key in _SWITCHES.items():
        if name in short:
            word = str(short[name]).strip().lower()
            made[key] = {"true": True, "false": False}.get(word, short[name])
    if "message_context_days" in short:
        days = str(short["message_context_days"]).strip()
        made["message_context_days"] = int(days) if days.isdecimal() else short["message_context_days"]
    if "load_file_format" in short:
        layout = made["loadFileFormat"]
        word = short["load_file_format"]
        made["loadFileFormat"] = {
            **(layout if isinstance(layout, dict) else {}),
            "format": {"selected": True, "viewValue": word, "value": word},
        }


def _write_scope(
    short: Mapping[str, Any], made: dict[str, Any], problems: list[Problem], *, days: bool
) -> None:
    wanted: list[query.Condition] = []
    for name, write in (
        ("modified_after", query.modified_from),
        ("modified_before", query.modified_before),
    ):
        if name in short:
            try:
                wanted.append(write(times.instant(short[name]), days=days))
            except ValueError as error:
                problems.append(Problem(name, f"is no time: {error}"))
    if "workspace_url" in short:
        wanted.append(query.below(short["workspace_url"]))
    if "datasource_uid" in short:
        uids = short["datasource_uid"]
        wanted.append(query.of_datasources([uids] if isinstance(uids, str) else uids))
    if "type_name" in short:
        wanted.append(query.of_type(short["type_name"]))
    if wanted:
        narrowed = query.narrowed(made["scope_query"], wanted)
        if narrowed is None:
            problems.append(Problem("scope_query", "has a form into which no condition can be added"))
        else:
            made["scope_query"] = narrowed


def _workspace_url(given: str, settings: OnnaSettings, base_url: str, api: str) -> str:
    """Return the URL of a workspace in the form that ``path_form`` names."""
    account = api.rpartition("/")[2]
    forms = {"api": f"{api}/workspaces/", "ui": f"/{account}/user/workspaces/"}
    wanted = forms.get(settings.path_form)
    if wanted is None:
        return given
    for form in forms.values():
        base, found, rest = given.partition(form)
        if found:
            return base + wanted + rest
    return given if "/" in given else f"{base_url}{wanted}{given}"


def _one_settings(value: Any, name: str, problems: list[Problem]) -> dict[str, Any]:
    """Return the one settings object of a payload or template, which may stand in a list."""
    if value is None:
        return {}
    one = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(one, Mapping):
        return dict(one)
    problems.append(Problem(name, "must be one object, or a list of one"))
    return {}

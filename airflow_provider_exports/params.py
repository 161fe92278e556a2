"""Airflow's trigger form for an export: params from a vendor's schema, and the payload from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import Param
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_exports.core.forms import FormField, form_fields
from airflow_provider_exports.core.model import JSON, Payload

__all__ = ["export_params", "export_payload"]

# Under this name the form lets choose the connection.
_CONNECTION = "conn_id"
# Where nothing is chosen from a list, the form of Airflow 2 sends this text in the place of null.
_NOTHING = None if AIRFLOW_V_3_0_PLUS else "None"
_YES_NO = {"true": True, "false": False}
# Of a vendor's schema, what describes one value without regard to others.
_KEYWORDS = (
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "properties",
    "required",
    "additionalProperties",
    "minProperties",
)
# Every Airflow checks whether a date exists, but not every one a time.
_DAY = (
    "20[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))|20(?:[02468][048]|[13579][26])-02-29"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,6})?)?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-4]):?[0-5][0-9])?"
_FORMATS = {"date": "^20[0-9]{2}-[0-9]{2}-[0-9]{2}$", "date-time": f"^(?:{_DAY})T{_CLOCK}{_ZONE}$"}


def export_params(
    vendor: str,
    *,
    conn_ids: Sequence[str] | None = None,
    omit: Collection[str] = (),
    defaults: Mapping[str, Any] | None = None,
) -> dict[str, Param]:
    """Return the fields of a trigger form for an export of ``vendor``, for ``DAG(params=…)``.

    They are called like the parameters of the vendor's operators, and the first one is ``conn_id``. What may
    be left empty takes null, and has it as default.

    :param vendor: name of the vendor, such as ``giosg``.
    :param conn_ids: connections to choose from, at first the first one; None for the vendor's default one.
    :param omit: fields that the form does not show, because the DAG fills them in itself.
    :param defaults: what stands in a field at first, by the names of the fields; None for nothing. One that
        is no value of its field is Airflow's ``ParamValidationError``.
    :raises ValueError: a name is of no field of this form.
    """
    fields = form_fields(vendor)
    given = dict(defaults or {})
    if unknown := {*omit, *given} - fields.keys():
        known = ", ".join(fields)
        raise ValueError(f"the form of {vendor} has no {', '.join(sorted(unknown))}; it has {known}.")
    connections = list(conn_ids or [f"{vendor}_default"])
    params = {
        _CONNECTION: Param(
            connections[0],
            title="Connection",
            description_md="Where and as whom to export.",
            type="string",
            enum=connections,
        )
    }
    for name, field in fields.items():
        if name not in omit:
            params[name] = _param(field, given.get(name, field.default))
            if given.get(name) is not None:
                params[name].resolve()
    return params


def export_payload(vendor: str, params: Mapping[str, Any]) -> Payload:
    """Return what was filled into a form of :func:`export_params` as a payload; what is empty is left out.

    Nothing is checked here: the operator does that before it sends anything, and tells all problems at once.

    :param params: params of the run; those of other fields are not looked at.
    """
    payload: Payload = {}
    for name, field in form_fields(vendor).items():
        value = _filled_in(field, params[name]) if name in params else None
        if value is not None:
            *parents, key = field.place
            inner = payload
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[key] = value
    return payload


def _param(field: FormField, default: Any) -> Param:
    """Return a field as Airflow has it."""
    kind = _kind(field)
    if choices := _choices(field):
        default = str(default).lower() if isinstance(default, bool) else default
        default = _NOTHING if default is None and not field.required else default
        kind["enum"] = choices if field.required else [*choices, _NOTHING]
        words = {str(choice): (field.values or {}).get(str(choice), str(choice)) for choice in choices}
        kind["values_display"] = words if field.required else {**words, "None": field.nothing}
    elif field.examples:
        kind["examples"] = list(field.examples)
    if _is_switch(field):
        default = bool(default)
    if field.section is not None:
        kind["section"] = field.section
    # What must be filled in and is not yet has no default, rather than null.
    first = () if default is None and field.required else (default,)
    return Param(*first, title=field.title, description_md=field.help, **kind)


def _kind(field: FormField) -> dict[str, Any]:
    """Return the JSON Schema of what stands in a field."""
    types, kind = field.types, {name: field.schema[name] for name in _KEYWORDS if name in field.schema}
    if _choices(field):
        types, kind = ["string"] if types == ["boolean"] else types, {}
    elif types == ["string"]:
        kind.setdefault("pattern", _FORMATS.get(kind.get("format", "")))
        kind["pattern"] = _whole(kind["pattern"])
        if field.required:
            kind.setdefault("minLength", 1)
    elif _is_lines(field):
        items = {name: value for name, value in field.items.items() if name in _KEYWORDS}
        items["pattern"] = _whole(items.get("pattern"))
        # An empty line is left out of the payload.
        kind["items"] = {"type": "string", "anyOf": [{"maxLength": 0}, _without_nulls(items)]}
        kind["minItems"] = kind.get("minItems") if field.required else None
    elif "array" in types or "object" in types:
        kind["$defs"] = field.definitions or None
    kind["type"] = types[0] if field.required and len(types) == 1 else types
    if not field.required:
        kind["type"] = [*types, "null"]
    return _without_nulls(kind)


def _choices(field: FormField) -> list[Any]:
    """Return what can be chosen; nothing where it is typed or switched."""
    if field.types == ["boolean"]:
        # A switch cannot be left as it is.
        return [] if _is_switch(field) else list(_YES_NO)
    return list(field.schema.get("enum", ()))


def _is_switch(field: FormField) -> bool:
    return field.required and field.types == ["boolean"]


def _is_lines(field: FormField) -> bool:
    """Return whether it is a list of texts, which is typed one per line."""
    return field.types == ["array"] and field.items.get("type") == "string"


def _filled_in(field: FormField, value: Any) -> JSON:
    """Return what stands in a field as it goes into the payload; None for nothing."""
    if field.types == ["boolean"] and isinstance(value, str):
        value = _YES_NO.get(value, value)
    if _is_lines(field) and isinstance(value, list):
        value = [line for line in value if line != ""]
    nothing = _NOTHING if _choices(field) else None
    return None if value in (None, nothing, "", [], {}) else value


def _whole(pattern: str | None) -> str | None:
    """Return a pattern whose end is the end of the text to Python as well, and not a last line end."""
    if pattern and pattern.endswith("$") and not pattern.endswith(r"\$"):
        return rf"{pattern}(?!\n)"
    return pattern


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}

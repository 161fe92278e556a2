"""Which exports Medable creates, and the faults in which it refuses the others."""

import re
from typing import Any

from airflow_provider_exports.simulator.apis import medable_queries
from airflow_provider_exports.simulator.apis.medable_auth import ROLES
from airflow_provider_exports.simulator.apis.medable_faults import Denied, child
from airflow_provider_exports.simulator.apis.medable_records import OBJECTS, has_property
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches

__all__ = ["OBJECT_ID", "checked"]

FORMATS = ("application/x-ndjson", "application/json", "text/csv")
OBJECT_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE | re.ASCII)
_STRINGS = ("label", "description", "objects", "format", "where", "afterScript", "principal", "prefix")
_FLAGS = ("exportFiles", "zipFiles")
_LISTS = ("paths", "include", "expand")


def checked(payload: dict[str, Any], switches: MedableSwitches) -> tuple[dict[str, Any], bool]:
    """The export's own properties, and whether the job will end in error; a fault if it cannot be."""
    faults = [*_types(payload), *_unknown(payload, switches)]

    def fault(err_code: str, name: str, reason: str) -> None:
        if not any(one[1] == name for one in faults):
            faults.append((f"cortex.invalidArgument.{err_code}", name, reason))

    fields = {"format": switches.format_default} | dict.fromkeys(_FLAGS, False)
    fields |= {name: value for name, value in payload.items() if name in (*_STRINGS, *_FLAGS, *_LISTS)}
    if fields["format"] not in FORMATS:
        fault("enumValue", "format", f"Must be one of: {', '.join(FORMATS)}")
    if not fields.get("objects") and switches.objects_required:
        fault("required", "objects", "Must be present.")
    elif fields.get("objects") not in OBJECTS and not any(one[1] == "objects" for one in faults):
        if switches.unknown_object == "object":
            raise Denied("cortex.invalidArgument.object", f"There are no {fields.get('objects')}.")
        fault("enumValue", "objects", "Must be the plural name of an object.")
    if "principal" in fields and fields["principal"] not in ROLES:
        fault("unspecified", "principal", "Must be the id of an account.")
    if not faults and _unknown_paths(fields) and switches.unknown_paths == "reject":
        fault("unspecified", "paths", f"Unknown: {', '.join(_unknown_paths(fields))}")
    if "prefix" in fields and switches.prefix == "reject":
        fault("unspecified", "prefix", "There is no such list.")
    if faults:
        code = f"cortex.invalidArgument.{switches.validation_code}"
        children = tuple(child(*one, switches.child_fault_status) for one in faults)
        raise Denied(code, "The export is not valid.", path="export", children=children)
    return fields, _will_fail(fields, switches)


def _types(payload: dict[str, Any]) -> list[tuple[str, str, str]]:
    def wrong(name: str, value: Any) -> str | None:
        if name in _STRINGS and not isinstance(value, str):
            return "Must be a string."
        if name in _FLAGS and not isinstance(value, bool):
            return "Must be a boolean."
        if name in _LISTS and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            return "Must be a list of strings."
        if name == "principal" and not OBJECT_ID.fullmatch(str(value)):
            return "Must be an ObjectId."
        return None

    reasons = {name: wrong(name, value) for name, value in payload.items()}
    return [("cortex.invalidArgument.unspecified", name, text) for name, text in reasons.items() if text]


def _unknown(payload: dict[str, Any], switches: MedableSwitches) -> list[tuple[str, str, str]]:
    if switches.unknown_fields == "ignore":
        return []
    strange = payload.keys() - {*_STRINGS, *_FLAGS, *_LISTS}
    reason = "Is not a property that can be set."
    return [("cortex.invalidArgument.unspecified", name, reason) for name in sorted(strange)]


def _unknown_paths(fields: dict[str, Any]) -> list[str]:
    named = [path for name in _LISTS for path in fields.get(name, ())]
    return [path for path in named if not has_property(fields["objects"], path)]


def _will_fail(fields: dict[str, Any], switches: MedableSwitches) -> bool:
    if "where" in fields:
        try:
            medable_queries.compiled(medable_queries.parsed(fields["where"]))
        except Denied:
            if switches.bad_where == "reject":
                raise
            return True
    if "prefix" in fields and switches.prefix == "error":
        return True
    if fields.get("objects") not in OBJECTS:
        return True
    return switches.unknown_paths == "error" and bool(_unknown_paths(fields))

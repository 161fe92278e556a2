"""Invented records of a study per source object, as an export selects them; nobody in them exists."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_exports.simulator.apis import medable_queries
from airflow_provider_exports.simulator.apis.medable_auth import (
    ADMIN_EMAIL,
    ADMIN_ID,
    COLLEAGUE_ID,
    MEMBER_ID,
)

__all__ = ["OBJECTS", "attachments", "has_property", "records", "utc"]

STANDARD = ("_id", "object", "created", "updated", "creator", "owner", "access", "favorite", "shared")
#: Own properties of the source objects; those with a question mark are optional.
OBJECTS: dict[str, tuple[str, ...]] = {
    "accounts": ("email", "name", "state", "c_language?"),
    "c_patients": ("c_number", "c_enrolled", "c_site?", "c_consent"),
    "c_visits": ("c_status", "c_week", "c_patient", "c_note", "c_report", "c_device_log?"),
}
#: References, and the plural name of what they point to.
_REFERENCES = {"creator": "accounts", "owner": "accounts", "c_patient": "c_patients"}
_FILES = ("c_consent", "c_report")
_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_NOTES = (
    "Visit went well",
    "Größe und Gewicht: unverändert",
    'Said "fine", left early',
    "Line one\nline two",
)


def records(request: dict[str, Any], rows: int) -> list[dict[str, Any]]:
    """The records of one export: filtered, expanded and cut to its properties."""
    plural, paths = request["objects"], request.get("paths") or []
    included, expanded = request.get("include") or [], request.get("expand") or []
    fits = medable_queries.compiled(medable_queries.parsed(request.get("where") or "{}"))
    optional = {name.rstrip("?") for name in OBJECTS[plural] if name.endswith("?")}
    found = []
    for number in range(rows):
        if request.get("principal") == MEMBER_ID and number % 2:
            continue  # this account has no access to it
        record = _record(plural, number)
        if not fits(record):
            continue
        for name in expanded:
            if name in record and name in _REFERENCES:
                record[name] |= _record(_REFERENCES[name], number)
        hidden = optional - {name.partition(".")[0] for name in [*paths, *included]}
        record = {name: value for name, value in record.items() if name not in hidden}
        found.append(medable_queries.selected(record, [*paths, *included] if paths else []))
    return found


def attachments(request: dict[str, Any], chosen: list[dict[str, Any]]) -> dict[str, bytes]:
    """The contents of the file properties of these records, by path."""
    files = {}
    for number, record in enumerate(chosen):
        for name in _FILES:
            if name in record:
                folder = record.get("_id", f"{number:06d}")
                path = f"{request['objects']}/{folder}/{name}/{record[name]['filename']}"
                files[path] = f"Invented content of {path}\n".encode()
    return files


def has_property(plural: str, path: str) -> bool:
    """Whether a path begins with a property of the object; inside of a property anything is believed."""
    name = path.partition(".")[0]
    return name in STANDARD or name in {one.rstrip("?") for one in OBJECTS.get(plural, ())}


def utc(moment: datetime) -> str:
    """A moment as Medable writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _record(plural: str, number: int) -> dict[str, Any]:
    source = random.Random(f"{plural}|{number}")
    created = _EPOCH + timedelta(days=number, seconds=source.randrange(86_400))
    name = plural.removesuffix("s")
    creator = (ADMIN_ID, COLLEAGUE_ID)[number % 2]
    reference = {"_id": creator, "object": "account", "path": f"/accounts/{creator}"}
    record: dict[str, Any] = {
        "_id": _object_id(plural, number, created),
        "object": name,
        "created": utc(created),
        "updated": utc(created + timedelta(hours=source.randrange(1, 500))),
        "creator": reference,
        "owner": dict(reference),
        "access": 8,
        "favorite": False,
        "shared": False,
    }
    match plural:
        case "accounts":
            record |= {
                "email": ADMIN_EMAIL if number == 0 else f"person{number}@example.com",
                "name": {"first": f"Given {number}", "last": "Invented"},
                "state": "verified",
                "c_language": source.choice(("en", "fi", "de")),
            }
        case "c_patients":
            record |= {
                "c_number": f"SIM-{number:04d}",
                "c_enrolled": source.random() < 0.8,
                "c_site": source.choice(("Site A", "Site B")),
                "c_consent": _file("consent.txt"),
            }
        case _:
            patient = number // 4
            patient_id = _object_id("c_patients", patient, _EPOCH + timedelta(days=patient))
            record |= {
                "c_status": source.choice(("planned", "done", "missed")),
                "c_week": number // 7,
                "c_patient": {
                    "_id": patient_id,
                    "object": "c_patient",
                    "path": f"/c_patients/{patient_id}",
                },
                "c_note": source.choice(_NOTES),
                "c_report": _file("report.txt"),
                "c_device_log": "invented",
            }
    return record


def _file(name: str) -> dict[str, Any]:
    return {"filename": name, "mime": "text/plain", "state": 2}


def _object_id(plural: str, number: int, created: datetime) -> str:
    return f"{int(created.timestamp()):08x}{sorted(OBJECTS).index(plural):010x}{number:06x}"

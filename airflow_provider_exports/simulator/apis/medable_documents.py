"""What Medable shows of exports, their files and accounts."""

from typing import Any

from airflow_provider_exports.simulator.apis import medable_faults
from airflow_provider_exports.simulator.apis.medable_auth import ADMIN_EMAIL, ADMIN_ID
from airflow_provider_exports.simulator.apis.medable_records import utc
from airflow_provider_exports.simulator.store import ExportRecord

__all__ = ["STATES", "account", "export", "facet", "result"]

STATES = {"pending": "pending", "processing": "running", "ready": "ready", "failed": "error"}


def result(data: Any) -> dict[str, Any]:
    """The envelope of what is no object."""
    return {"object": "result", "data": data}


def export(record: ExportRecord) -> dict[str, Any]:
    """An export without its file."""
    creator = _reference(record.notes["creator"])
    return {
        "_id": record.id,
        "object": "export",
        "state": STATES[record.state],
        **record.request,
        "created": utc(record.created_at),
        "updated": utc(record.finished_at or record.created_at),
        "creator": creator,
        "owner": dict(creator),
        "access": 8,
        "favorite": False,
        "shared": False,
    }


def facet(record: ExportRecord, state: int, **file: Any) -> dict[str, Any]:
    """The content facet of an export's file; ``file``: size, ETag, url, as far as there are any."""
    shown = {
        "object": "facet",
        "name": "content",
        "state": state,
        "mime": "application/zip",
        "creator": record.notes["creator"],
        "location": 4,
        "filename": filename(record),
        "path": f"/exports/{record.id}/dataFile/content",
        **file,
    }
    if state in (3, 4):
        shown["fault"] = medable_faults.document("cortex.error.facet", "The archive could not be stored.")
    return shown


def filename(record: ExportRecord) -> str:
    """Name of the archive."""
    return f"export-{record.id}.zip"


def account(role: str, secret: str) -> dict[str, Any]:
    """The account behind the session, with the key that the vendor shows along."""
    return {
        "_id": ADMIN_ID,
        "object": "account",
        "email": ADMIN_EMAIL,
        "name": {"first": "Export", "last": "Bot"},
        "roles": [role] if role == "administrator" else [],
        "inherited_roles": [],
        "state": "verified",
        "locked": False,
        "key": {"secret": secret},
    }


def _reference(account_id: str) -> dict[str, Any]:
    return {"_id": account_id, "object": "account", "path": f"/accounts/{account_id}"}

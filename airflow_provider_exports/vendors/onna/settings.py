"""What a connection to Onna may set, and the status words; all that its vendor does not publish is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_exports.core.model import ExportState
from airflow_provider_exports.core.vendor import VendorSettings
from airflow_provider_exports.exceptions import InvalidConnection

# None of the words is published for exports; a few are for datasources.
STATES: Mapping[str, ExportState] = {
    **dict.fromkeys(("created", "draft", "new"), ExportState.QUEUED),
    **dict.fromkeys(
        ("pending", "queued", "scheduled", "syncing", "processing", "running", "in_progress", "resuming"),
        ExportState.RUNNING,
    ),
    **dict.fromkeys(
        ("ready", "synced", "done", "finished", "complete", "completed", "success", "exported"),
        ExportState.READY,
    ),
    **dict.fromkeys(("error", "failed", "failure"), ExportState.FAILED),
    "expired": ExportState.EXPIRED,
    **dict.fromkeys(("cancelled", "canceled", "aborted"), ExportState.CANCELLED),
}


@dataclass(frozen=True, kw_only=True)
class OnnaSettings(VendorSettings):
    """Onna's own settings in the connection's Extra; durations are seconds.

    The vendor publishes neither limits nor the names of state and file: all such defaults here are ours.
    """

    account: str = ""
    """Name of the Onna account (required)."""
    container: str = ""
    """Database that holds the account, such as ``rel0``; empty takes the account's name."""
    client_id: str = "canonical"
    """Client of the login; the vendor has only this one."""
    token_margin: float = 600.0
    """How long before its end a token is replaced."""
    id_prefix: str = "airflow-"
    """What the ids of exports begin with when the task names none."""
    run_title: str = "title"
    """What starts an export besides its URL: ``title`` by the vendor's page, ``name`` by its script."""
    path_form: str = "ui"
    """URL of a workspace in the scope: ``ui`` for that of the user interface, ``api`` for that of the API, or
    ``given`` to leave it as it is."""
    time_form: str = "instant"
    """Bounds of the window: ``instant``, or ``date`` for whole days like the vendor's example."""
    status_fields: str = "status, export_status, sync_status, state"
    """Where an export's status word may stand, first match wins."""
    status_map: str = ""
    """More status words or other meanings, such as ``packed=ready, broken=failed``."""
    error_fields: str = "error, exception"
    """Where an export's error may stand."""
    file_fields: str = "file, export_file, files"
    """Where an export's files may hang."""
    check_files: bool = True
    """Ask for the head of each file of a ready export: a missing one is the only known sign of expiry."""
    workspace: str = ""
    """Name or URL of the workspace whose datasources are listed; empty for all."""
    datasource_types: str = ""
    """Types of datasources to list, comma separated; empty asks the vendor which are enabled."""
    max_active: int = 2
    """Most exports of the user that run at once; a create waits for room. 0 for no limit of ours."""
    allow_future: bool = False
    """Permit a window that has not ended yet."""
    # https://developers.onna.com/tutorials/datasources/ds-sync-status-types.html: 20 to 30 minutes.
    settle_delay: float = 1800.0
    max_requests: int = 2
    max_requests_period: float = 1.0
    poll_initial: float = 30.0
    # Workplace conversations are personal data.
    file_mode: str = "600"

    def check_choices(self) -> None:
        """Refuse a value that is none of those a setting has.

        :raises InvalidConnection: names the setting.
        """
        for name, allowed in (
            ("run_title", ("title", "name")),
            ("path_form", ("ui", "api", "given")),
            ("time_form", ("instant", "date")),
        ):
            if getattr(self, name) not in allowed:
                raise InvalidConnection(f"the setting {name!r} must be one of {', '.join(allowed)}.")

    def words(self) -> dict[str, ExportState]:
        """Return the status words with their meanings, those of ``status_map`` first.

        :raises InvalidConnection: ``status_map`` cannot be read.
        """
        found = dict(STATES)
        for entry in items(self.status_map):
            word, _, state = (part.strip().lower() for part in entry.partition("="))
            if not word or state not in list(ExportState):
                said = "the setting 'status_map' reads like 'packed=ready, broken=failed'."
                raise InvalidConnection(said, next_step=f"The states are {', '.join(ExportState)}.")
            found[word] = ExportState(state)
        return found


def items(setting: str) -> list[str]:
    """Return the parts of a setting that holds a list, such as ``"file, files"``."""
    return [item.strip() for item in setting.split(",") if item.strip()]

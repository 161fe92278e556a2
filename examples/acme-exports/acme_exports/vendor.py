"""Everything that is known about Acme exports.

Source of the vendor facts: https://docs.acme.example/exports (read in October 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from airflow_provider_exports.core import (
    Capability,
    Expiry,
    Export,
    ExportFile,
    ExportState,
    Flow,
    HeaderToken,
    Payload,
    Problem,
    Request,
    Vendor,
    VendorSettings,
    times,
)
from airflow_provider_exports.core.model import JSON, file_stem
from airflow_provider_exports.core.vendor import invalid_payload
from airflow_provider_exports.exceptions import InvalidConnection


# [START settings]
@dataclass(frozen=True, kw_only=True)
class AcmeSettings(VendorSettings):
    """Acme's own settings in the connection's Extra, and its own pace; durations are seconds."""

    workspace: str = ""
    """Workspace whose reports are exported (required)."""
    poll_initial: float = 5.0
    poll_maximum: float = 60.0


# [END settings]


# [START vendor]
class AcmeVendor(Vendor):
    """Acme. One report and one range of days per export; no listing, no delete."""

    name = "acme"
    display_name = "Acme"
    docs_url = "https://docs.acme.example/exports"
    default_host = "https://api.acme.example"
    settings_class = AcmeSettings
    capabilities = frozenset({Capability.PING})
    expiry = Expiry.TOLD
    states: ClassVar[Mapping[str, ExportState]] = {
        "waiting": ExportState.QUEUED,
        "working": ExportState.RUNNING,
        "done": ExportState.READY,
        "broken": ExportState.FAILED,
        "gone": ExportState.EXPIRED,
    }
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "report": ("report",),
        "first_day": ("range", "first_day"),
        "last_day": ("range", "last_day"),
    }

    settings: AcmeSettings

    def make_auth(self) -> HeaderToken:
        if not self.connection.password:
            raise InvalidConnection(f"connection {self.connection.conn_id!r} has no API key.")
        if not self.settings.workspace:
            raise InvalidConnection(f"connection {self.connection.conn_id!r} has no workspace.")
        return HeaderToken(self.connection.password, scheme="", header="X-Acme-Key")

    def create(self, payload: Payload) -> Flow[Export]:
        response = yield Request(
            "POST", self._exports(), json=payload, idempotent=False, operation="create export"
        )
        return self.read(response.json(), response.server_time)

    def get(self, export_id: str) -> Flow[Export]:
        path = f"{self._exports()}/{quote(export_id, safe='')}"
        response = yield Request("GET", path, operation="read export", export_id=export_id)
        return self.read(response.json(), response.server_time)

    def ping(self) -> Flow[str]:
        yield Request("GET", self._exports(), operation="list exports")
        return f"the key may use exports of workspace {self.settings.workspace}"

    def parse(self, raw: JSON, now: float) -> Export:
        word = raw["status"]
        state = self.states.get(word)
        expires_at = times.reported(raw.get("expires_at"), "expires_at")
        if (
            state is ExportState.READY
            and expires_at is not None
            and expires_at.timestamp() - self.settings.expiry_margin <= now
        ):
            state = ExportState.EXPIRED
        files: tuple[ExportFile, ...] = ()
        if state is ExportState.READY:
            files = tuple(
                ExportFile(f"{file_stem(raw['id'])}-{number}.csv", file["link"], file["bytes"], format="csv")
                for number, file in enumerate(raw.get("files") or (), start=1)
            )
        return Export(
            vendor=self.name,
            export_id=raw["id"],
            # A word of tomorrow most likely means that it is not done yet; the deadline bounds the guess.
            state=state or ExportState.RUNNING,
            vendor_status=word,
            documented=state is not None,
            created_at=times.reported(raw.get("created_at"), "created_at"),
            expires_at=expires_at,
            files=files,
        )

    def _exports(self) -> str:
        return f"/v1/workspaces/{quote(self.settings.workspace, safe='')}/exports"

    # [END vendor]

    # [START rules]
    def prepare(self, payload: Payload) -> Payload:
        days = payload.get("range")
        if not isinstance(days, dict):
            return payload
        try:
            return {**payload, "range": {name: str(times.calendar_date(day)) for name, day in days.items()}}
        except ValueError as error:
            raise invalid_payload(self.name, [Problem("range", f"is no range of days: {error}")]) from None

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        if payload["range"]["last_day"] < payload["range"]["first_day"]:
            yield Problem("range", "ends before it starts (both days are included)")

    # [END rules]

    # [START error-words]
    def error_words(self, body: JSON) -> str:
        return str(body.get("message") or "") if isinstance(body, dict) else ""

    # [END error-words]

"""Everything that is known about Mews exports.

Source of the vendor facts, where no other is named: https://docs.mews.com/connector-api/operations/exports
(read in August 2026). Everything is POST with the credentials in the JSON body.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, ClassVar, cast

from airflow_provider_exports import __version__
from airflow_provider_exports.core import times
from airflow_provider_exports.core.auth import BodyFields
from airflow_provider_exports.core.model import (
    JSON,
    Content,
    Datasource,
    Export,
    ExportFile,
    ExportState,
    Payload,
    Problem,
    file_stem,
)
from airflow_provider_exports.core.vendor import (
    ROWS_AT_ONCE,
    Capability,
    Expiry,
    Vendor,
    VendorSettings,
    invalid_payload,
)
from airflow_provider_exports.core.wire import Flow, Request, Response, breath
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    PermissionDenied,
    UnexpectedResponse,
    VendorUnavailable,
)

ENTITY_TYPES = (
    "OrderItem",
    "Payment",
    "Reservation",
    "Customer",
    "Company",
    "Bill",
    "AvailabilityAdjustment",
    "AvailabilityBlock",
    "ResourceBlock",
    "LedgerEntry",
)
"""Entity types documented in August 2026; the vendor adds to them, so others are sent with a warning."""

# Isolating one bad id among 1000 takes ten refusals.
_MOST_REFUSALS = 50

# Nothing but an id may get into an error.
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")

# Pings with an id that no export has: the answer proves the tokens and the right to the operation.
_NO_EXPORT = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True, kw_only=True)
class MewsSettings(VendorSettings):
    """Mews's own settings in the connection's Extra; durations are seconds."""

    client_token: str = field(default="", repr=False)
    """Token of the client application (required)."""
    client: str = f"airflow-provider-exports {__version__}"
    """Application name and version, sent with every request."""
    language_code: str = ""
    """Language of the vendor's texts; given together with ``culture_code`` or not at all."""
    culture_code: str = ""
    """Culture of the vendor's texts."""
    # 200 requests per access token in 30 s: https://docs.mews.com/connector-api/guidelines/environments
    max_requests: int = 200
    max_requests_period: float = 30.0
    # The window may end 5 minutes ago at the latest; one more for clocks that differ.
    settle_delay: float = 360.0
    # https://docs.mews.com/connector-api/operations/exports: 10 minutes after the response.
    link_lifetime: float = 600.0
    update_lag: float = 300.0
    """How long ago a window of ``UpdatedUtc`` must have ended."""
    max_window_days: float = 180.0
    """Longest window of ``UpdatedUtc``, days."""
    max_posting_days: float = 180.0
    """Longest range of posting dates, days; the vendor documents none, 0 for no limit."""
    busy_statuses: tuple[int, ...] = (400, 403, 409)
    """Answers to a create that may mean *an export of this type is active*. Only 400 is documented."""
    busy_pattern: str = r"(?i)\b(pending|processing|in progress|already)\b"
    """What the vendor's message matches then; the text is not documented."""


class MewsVendor(Vendor):
    """Mews. One active export per entity type; a second one is rejected. No list, cancel or delete."""

    name = "mews"
    display_name = "Mews"
    docs_url = "https://docs.mews.com/connector-api/operations/exports"
    default_host = "https://api.mews.com"
    settings_class = MewsSettings
    capabilities = frozenset({Capability.GET_MANY, Capability.DATASOURCES, Capability.PING})
    expiry = Expiry.TOLD
    # "Only one active export per entity type", and a refusal does not name it.
    one_at_a_time = True
    states: ClassVar[Mapping[str, ExportState]] = {
        "Pending": ExportState.QUEUED,
        "Processing": ExportState.RUNNING,
        "Success": ExportState.READY,
        "Failed": ExportState.FAILED,
        "Expired": ExportState.EXPIRED,
    }
    payload_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "entity_type": ("EntityType",),
        "enterprise_ids": ("Scope", "EnterpriseIds"),
        "chain_ids": ("Scope", "ChainIds"),
        "start_utc": ("Filters", "UpdatedUtc", "StartUtc"),
        "end_utc": ("Filters", "UpdatedUtc", "EndUtc"),
        "posting_start": ("Filters", "LedgerEntryFilters", "Posting", "Start"),
        "posting_end": ("Filters", "LedgerEntryFilters", "Posting", "End"),
    }
    max_batch = 1000

    auth: BodyFields
    settings: MewsSettings

    def make_auth(self) -> BodyFields:
        settings = self.settings
        for label, value in (
            ("client token", settings.client_token),
            ("access token", self.connection.password),
        ):
            if not value:
                raise InvalidConnection(f"connection {self.connection.conn_id!r} has no {label}.")
        if bool(settings.language_code) != bool(settings.culture_code):
            raise InvalidConnection("language_code and culture_code go together: set both or neither.")
        try:
            self._busy = re.compile(settings.busy_pattern)
        except re.error as error:
            raise InvalidConnection(
                f"the setting 'busy_pattern' is no regular expression: {error}."
            ) from None
        fields = {
            "ClientToken": settings.client_token,
            "AccessToken": self.connection.password,
            "Client": settings.client,
        }
        if settings.language_code:
            fields |= {"LanguageCode": settings.language_code, "CultureCode": settings.culture_code}
        return BodyFields(fields, public=frozenset({"Client", "LanguageCode", "CultureCode"}))

    def create(self, payload: Payload) -> Flow[Export]:
        response = yield Request(
            "POST", _path("add"), json=payload, idempotent=False, operation="exports/add"
        )
        return self.read(_member(response, "Export"), response.server_time)

    def get(self, export_id: str) -> Flow[Export]:
        try:
            found = yield from self._get_all([export_id])
        except ExportRejected as error:
            # How unknown ids are answered is not documented: left out, or a 400 of the "Invalid" family.
            if error.http_status != 400:
                raise
            raise ExportNotFound(
                f"the vendor does not know it: {error.message}", export_id=export_id
            ) from error
        if export_id.lower() not in found:
            raise ExportNotFound(
                "the vendor's answer leaves it out: it does not exist, or was made with other credentials.",
                export_id=export_id,
            )
        return found[export_id.lower()]

    def get_many(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
        found: dict[str, Export] = {}
        batches = [export_ids]
        refusals = 0
        while batches:
            batch = batches.pop(0)
            try:
                found |= yield from self._get_all(batch)
            except (ExportRejected, VendorUnavailable) as error:
                refusals += 1
                # One unknown id may spoil the whole batch: halve it until the bad one is alone. But if all
                # are refused, it is not about ids. 408 and 413 ask for fewer ids:
                # https://docs.mews.com/connector-api/guidelines/responses
                too_much = error.http_status in (408, 413) and len(batch) > 1
                if not (too_much or error.http_status == 400) or refusals > _MOST_REFUSALS:
                    raise
                middle = len(batch) // 2
                batches[:0] = [half for half in (batch[:middle], batch[middle:]) if half and half != batch]
        return {wanted: found[wanted.lower()] for wanted in export_ids if wanted.lower() in found}

    def list_datasources(self) -> Flow[list[Datasource]]:
        yield from ()
        return [Datasource(entity_type, entity_type) for entity_type in ENTITY_TYPES]

    def ping(self) -> Flow[str]:
        try:
            yield replace(self._get_all_request([_NO_EXPORT]), export_id=None)
        except ExportRejected as error:
            # 400 for the unknown id: what stands before it was read and is good.
            about_us = any(f"Invalid {name}" in error.message for name in self.auth.fields)
            if error.http_status != 400 or about_us:
                raise
        return "the tokens are accepted and may use the export operations"

    def parse(self, raw: JSON, now: float) -> Export:
        word = raw["Status"]
        state = self.states.get(word)
        expires_at = times.reported(raw.get("ExpiresUtc"), "ExpiresUtc")
        if (
            state is ExportState.READY
            and expires_at
            and expires_at.timestamp() - self.settings.expiry_margin <= now
        ):
            state = ExportState.EXPIRED
        files: tuple[ExportFile, ...] = ()
        if state is ExportState.READY:
            # No files is a valid result: no rows.
            files = tuple(
                ExportFile(
                    f"{file_stem(raw['Id'])}-{number}.jsonl",
                    entry["Url"],
                    # The page of 2023 calls it a number.
                    int(entry["SizeInBytes"]),
                    format="jsonl",
                )
                for number, entry in enumerate(raw.get("Files") or (), start=1)
            )
        return Export(
            vendor=self.name,
            export_id=raw["Id"],
            # A word of tomorrow most likely means that it is not done yet; the deadline bounds the guess.
            state=state or ExportState.RUNNING,
            vendor_status=word,
            documented=state is not None,
            expires_at=expires_at,
            files=files,
            parameters={key: raw.get(key) for key in ("EntityType", "Scope", "Filters")},
        )

    def prepare(self, payload: Payload) -> Payload:
        prepared: Payload = {key: value for key, value in payload.items() if value is not None}
        problems: list[Problem] = []

        def convert(place: tuple[str, ...], read: Any, write: Any) -> None:
            *parents, key = place
            inner: Any = prepared
            for parent in parents:
                if not isinstance(inner.get(parent), dict):
                    return
                inner[parent] = inner = dict(inner[parent])
            if inner.get(key) is not None:
                try:
                    inner[key] = write(read(inner[key]))
                except ValueError as error:
                    problems.append(Problem(".".join(place), f"is no time or date: {error}"))

        for name in ("StartUtc", "EndUtc"):
            convert(("Filters", "UpdatedUtc", name), times.instant, times.seconds)
        for name in ("Start", "End"):
            convert(("Filters", "LedgerEntryFilters", "Posting", name), times.calendar_date, str)
        if problems:
            raise invalid_payload(self.name, problems)
        return prepared

    def rules(self, payload: Payload, now: float) -> Iterable[Problem]:
        filters = payload.get("Filters") or {}
        updated = filters.get("UpdatedUtc")
        if updated:
            path = "Filters.UpdatedUtc"
            start, end = times.instant(updated["StartUtc"]), times.instant(updated["EndUtc"])
            if end == start:
                # StartUtc equal to EndUtc means "updated at exactly that instant":
                # https://github.com/MewsSystems/open-api-docs/blob/main/connector-api/operations/_objects.md
                yield Problem(
                    path,
                    "is empty (StartUtc equals EndUtc). On Airflow 3 a plain cron schedule has "
                    "intervals of no length: use CronDataIntervalTimetable",
                )
            elif end < start:
                yield Problem(path, "ends before it starts")
            elif end - start > timedelta(days=self.settings.max_window_days):
                yield Problem(path, f"is longer than {self.settings.max_window_days:g} days")
            if end.timestamp() > now - self.settings.update_lag:
                yield Problem(path, f"must have ended at least {self.settings.update_lag:g} s ago")
        ledger = filters.get("LedgerEntryFilters")
        if ledger:
            path = "Filters.LedgerEntryFilters.Posting"
            try:
                first, last = (times.calendar_date(ledger["Posting"][name]) for name in ("Start", "End"))
            except ValueError as error:
                yield Problem(path, f"is no range of dates: {error}")
                return
            if last < first:
                yield Problem(path, "ends before it starts (both dates are included)")
            elif 0 < self.settings.max_posting_days <= (last - first).days:
                yield Problem(path, f"is longer than {self.settings.max_posting_days:g} days")

    def content(self, payload: Payload) -> Content:
        updated = (payload.get("Filters") or {}).get("UpdatedUtc") or {}
        start, end = (
            times.instant(updated[key]) if updated.get(key) else None for key in ("StartUtc", "EndUtc")
        )
        return Content((payload["EntityType"],), start, end)

    def settled_at(self, payload: Payload) -> float | None:
        end = self.content(payload).end
        return None if end is None else end.timestamp() + self.settings.settle_delay

    def advise(self, payload: Payload) -> str | None:
        entity_type = payload["EntityType"]
        if entity_type in ENTITY_TYPES:
            return None
        close = get_close_matches(entity_type, ENTITY_TYPES, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        return f"the entity type {entity_type} is not among those documented in August 2026{meant}"

    def queue(self, payload: Payload) -> str | None:
        return str(payload.get("EntityType"))

    def is_conflict(self, request: Request, response: Response) -> bool:
        if response.status == 409:
            return True
        # "Rejected" while one is Pending or Processing; 400 by
        # https://docs.mews.com/connector-api/use-cases/data-export, which a bad field answers as well.
        text = self.error_text(response)
        return (
            response.status in self.settings.busy_statuses
            and not text.startswith("Invalid")
            and self._busy.search(text) is not None
        )

    def error(self, request: Request, response: Response) -> ExportError | None:
        # The API answers 404 for an address and 410 for an operation, never for an export.
        refused = super().error(replace(request, export_id=None), response)
        # https://docs.mews.com/connector-api/guidelines/responses: these codes have more than one meaning.
        if isinstance(refused, AuthenticationFailed):
            refused.next_step = (
                "Check both tokens and the environment in the connection, and that Mews has granted the "
                "application the restricted export operations."
            )
        elif isinstance(refused, PermissionDenied):
            refused.next_step = "The vendor's message says which of its rules forbids it; ask Mews if not."
        elif isinstance(refused, ExportRejected) and response.status == 404:
            refused.next_step = (
                "Check the platform address in the connection: Mews knows no such operation there."
            )
        elif isinstance(refused, ExportRejected) and response.status == 410:
            refused.next_step = (
                "Mews has discontinued this operation: look for a newer version of the provider."
            )
        request_id = response.headers.get("request-id", "")
        if refused is not None and _REQUEST_ID.fullmatch(request_id):
            refused.message += f" (Request-Id {request_id})"
        return refused

    def error_words(self, body: JSON) -> str:
        # https://docs.mews.com/connector-api/guidelines/responses
        return str(body.get("Message") or "") if isinstance(body, dict) else ""

    def _get_all_request(self, export_ids: list[str]) -> Request:
        only = export_ids[0] if len(export_ids) == 1 else None
        return Request(
            "POST",
            _path("getAll"),
            json={"ExportIds": export_ids},
            operation="exports/getAll",
            export_id=only,
        )

    def _get_all(self, export_ids: list[str]) -> Flow[dict[str, Export]]:
        response = yield self._get_all_request(export_ids)
        exports = _member(response, "Exports")
        if not isinstance(exports, list):
            raise UnexpectedResponse("exports/getAll answers without a list of exports.")
        found = {}
        for number, raw in enumerate(exports, start=1):
            if number % ROWS_AT_ONCE == 0:
                yield from breath()
            export = self.read(raw, response.server_time)
            # By id, never by position: nothing promises the order.
            found[export.export_id.lower()] = export
        return found


def _path(action: str) -> str:
    return f"/api/connector/v1/exports/{action}"


def _member(response: Response, name: str) -> Any:
    body = response.json()
    if not isinstance(body, dict) or name not in body:
        raise UnexpectedResponse(f"the answer has no {name!r}.", http_status=response.status)
    return cast(Any, body[name])

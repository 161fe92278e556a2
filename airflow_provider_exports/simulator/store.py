"""What the simulated vendors remember: exports, download links and the requests they saw."""

import itertools
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from airflow_provider_exports.simulator.content import FileContent

__all__ = ["ExportRecord", "Link", "RequestRecord", "State", "Store"]

State = Literal["pending", "processing", "ready", "failed", "expired"]


@dataclass
class ExportRecord:
    """One export as the vendor knows it."""

    id: str
    vendor: str
    #: Who may see it, in the vendor's terms (an access token, a user id).
    owner: str = field(repr=False)
    #: The create request without credentials.
    request: dict[str, Any]
    created_at: datetime
    #: Position in the order of creation, over all vendors.
    serial: int
    state: State = "pending"
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    #: How often a client has looked.
    reads: int = 0
    #: What a fault has decided about this export; None: the switches decide.
    fate: Literal["failed", "never"] | None = None
    #: Set by hand to an unfinished state: neither reads nor age move it on.
    held: bool = False
    #: The vendor's own notes.
    notes: dict[str, Any] = field(default_factory=dict, repr=False)
    files: list[FileContent] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The id by which its owner calls it: one of the owner's choice where the vendor allows that."""
        return str(self.notes.get("name", self.id))


@dataclass(frozen=True)
class Link:
    """A signed address of one file."""

    vendor: str
    export_id: str
    index: int
    path: str
    issued_at: datetime


@dataclass(frozen=True)
class RequestRecord:
    """One request as it arrived. Secrets are kept as sent; ``repr`` leaves them out."""

    vendor: str
    origin: Literal["api", "files"]
    method: str
    path: str
    query: Mapping[str, str] = field(repr=False)
    #: Status of the answer; None if the connection was dropped without one.
    status: int | None
    #: create, get, list, rooms, me, file, redirected; None for an address that does not exist.
    operation: str | None
    headers: Mapping[str, str] = field(repr=False)
    #: The parsed JSON body; None if there was none or it was not JSON.
    body: Any = field(repr=False)
    raw_body: bytes = field(repr=False)
    #: Virtual time of arrival.
    at: datetime
    #: Places of this request that held a credential, such as ``header Authorization``.
    credentials: tuple[str, ...] = ()
    #: Name of the fault that answered, if any.
    fault: str | None = None


class Store:
    """Exports, links and requests of all vendors; the caller holds the simulator's lock."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._serials = itertools.count(1)
        self._exports: dict[str, dict[str, ExportRecord]] = {}
        self.links: dict[str, Link] = {}
        self.requests: list[RequestRecord] = []

    def add(
        self, vendor: str, owner: str, request: dict[str, Any], at: datetime, export_id: str | None = None
    ) -> ExportRecord:
        """A new pending export; None: with a UUID as id."""
        record = ExportRecord(
            id=export_id or str(uuid.uuid4()),
            vendor=vendor,
            owner=owner,
            request=request,
            created_at=at,
            serial=next(self._serials),
        )
        self._exports.setdefault(vendor, {})[record.id] = record
        return record

    def find(self, vendor: str, export_id: str) -> ExportRecord | None:
        """The export with this id."""
        return self._exports.get(vendor, {}).get(export_id)

    def of(self, vendor: str) -> Iterator[ExportRecord]:
        """All exports of a vendor, oldest first."""
        return iter(list(self._exports.get(vendor, {}).values()))

    def drop(self, record: ExportRecord) -> None:
        """Forget one export."""
        self._exports[record.vendor].pop(record.id, None)

    def sign(self, secret: str, link: Link) -> str:
        """Register a link and return its signature, a new one each time."""
        signature = f"{secret}-{next(self._serials):08d}"
        self.links[signature] = link
        return signature

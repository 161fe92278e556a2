"""Invented records for Mews files: same export, same bytes; nobody in them exists."""

import random
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow_provider_exports.simulator.content import FileContent, json_lines, padded_lines

__all__ = ["file_content"]

_SPACE = uuid.UUID("8d1a4f52-6f0e-4f2b-9a53-0c2b5a1de001")


def file_content(
    request: dict[str, Any], index: int, rows: int, size: int | None, created_at: datetime
) -> FileContent:
    """One file of an export: ``rows`` records, or exactly ``size`` bytes of them."""
    numbers = range(index * rows, index * rows + rows)
    records = [_record(request, number, created_at) for number in numbers or range(1)]
    if size is None:
        return FileContent(head=json_lines(records))
    return padded_lines(b"", [json_lines([record]) for record in records], size)


def _record(request: dict[str, Any], number: int, created_at: datetime) -> dict[str, Any]:
    entity_type = request["EntityType"]
    filters = request.get("Filters") or {}
    seed = f"{entity_type}|{filters}|{number}"
    # Seeded by what was asked for, not by the export's id: asking twice gives the same data.
    source = random.Random(seed)
    updated, posting = filters.get("UpdatedUtc"), (filters.get("LedgerEntryFilters") or {}).get("Posting")
    if updated is not None:
        start, end = (datetime.fromisoformat(updated[name]) for name in ("StartUtc", "EndUtc"))
    else:
        end = datetime(created_at.year, created_at.month, 1, tzinfo=UTC)
        start = end - timedelta(days=90)
    # Half-open window: never its end, unless start and end are the same instant.
    moment = start + (end - start) * source.random() * 0.999
    scope = request.get("Scope") or {}
    places = scope.get("EnterpriseIds") or scope.get("ChainIds") or [_id("enterprise", "1")]
    common = {
        "Id": _id(entity_type, seed),
        "ChainId" if scope.get("ChainIds") else "EnterpriseId": places[number % len(places)],
        "CreatedUtc": _utc(moment - timedelta(hours=source.randrange(1, 500))),
        "UpdatedUtc": _utc(moment),
    }
    if entity_type == "LedgerEntry":
        return _ledger_entry(common, source, posting)
    return common | _FIELDS[entity_type](source, number, moment)


def _order_item(source: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    units = source.randrange(1, 4)
    unit_amount, amount = _amount(source, 1), _amount(source, units)
    return {
        "AccountId": _id("account", str(source.randrange(500))),
        "AccountType": source.choice(("Customer", "Company")),
        "ServiceId": _id("service", str(source.randrange(4))),
        "ServiceOrderId": _id("order", str(source.randrange(2000))),
        "Notes": None,
        "BillId": _id("bill", str(source.randrange(900))),
        "AccountingCategoryId": _id("category", str(source.randrange(12))),
        "BillingName": source.choice(("Night", "Breakfast", "Parking", "City tax", "Käse & Brot")),
        "ExternalIdentifier": f"POS-{number:06d}",
        "UnitCount": units,
        "UnitAmount": unit_amount,
        "Amount": amount,
        "OriginalAmount": amount,
        "RevenueType": source.choice(("Service", "Product", "Additional")),
        "CreatorProfileId": _id("profile", "1"),
        "UpdaterProfileId": _id("profile", "2"),
        "ConsumedUtc": _utc(moment),
        "CanceledUtc": None,
        "ClosedUtc": _utc(moment),
        "StartUtc": _utc(moment - timedelta(days=1)),
        "ClaimedUtc": None,
        "AccountingState": source.choice(("Open", "Closed", "Inactive", "Canceled")),
        "Type": source.choice(("SpaceOrder", "ProductOrder", "CustomItem", "CityTax", "Deposit")),
        "Options": {"CanceledWithReservation": False},
        "Data": None,
        "TaxExemptionReason": None,
        "TaxExemptionLegalReference": None,
    }


def _ledger_entry(
    common: dict[str, Any], source: random.Random, posting: dict[str, str] | None
) -> dict[str, Any]:
    bounds = posting or {"Start": "2026-01-01", "End": "2026-01-01"}
    first, last = date.fromisoformat(bounds["Start"]), date.fromisoformat(bounds["End"])
    ledger = source.choice(("Revenue", "Tax", "Payment", "Deposit", "Guest", "City", "NonRevenue"))
    value = round(source.uniform(1, 400), 2)
    posted = first + timedelta(days=source.randint(0, (last - first).days))
    return {
        "Id": common["Id"],
        "EnterpriseId": common["EnterpriseId"],
        "AccountId": _id("account", str(source.randrange(500))),
        "TransactionId": None,
        "BillId": _id("bill", str(source.randrange(900))),
        "AccountingCategoryId": _id("category", str(source.randrange(12))),
        "AccountingItemId": _id("item", str(source.randrange(5000))),
        "AccountingItemType": source.choice(("OrderItem", "OutletItem", "Invoice", "Payment", "DepositItem")),
        "LedgerType": ledger,
        "LedgerEntryType": source.choice(("Debit", "Credit")),
        "PostingDate": posted.isoformat(),
        "Value": value,
        "NetBaseValue": round(value / 0.2, 2) if ledger == "Tax" else None,
        "TaxRateCode": "XX-20" if ledger == "Tax" else None,
        "CreatedUtc": f"{posted.isoformat()}T{source.randrange(24):02d}:15:00Z",
    }


def _reservation(source: random.Random, number: int, moment: datetime) -> dict[str, Any]:
    return {
        "ServiceId": _id("service", str(source.randrange(4))),
        "AccountId": _id("account", str(source.randrange(500))),
        "Number": str(10000 + number),
        "State": source.choice(("Confirmed", "Started", "Processed", "Canceled")),
        "ScheduledStartUtc": _utc(moment + timedelta(days=3)),
        "ScheduledEndUtc": _utc(moment + timedelta(days=5)),
        "PersonCounts": [{"AgeCategoryId": _id("age", "adult"), "Count": source.randrange(1, 4)}],
    }


def _money(source: random.Random, number: int, _moment: datetime) -> dict[str, Any]:
    return {
        "AccountId": _id("account", str(source.randrange(500))),
        "BillId": _id("bill", str(source.randrange(900))),
        "Amount": _amount(source, 1),
        "State": source.choice(("Charged", "Pending", "Canceled")),
        "Number": str(70000 + number),
    }


def _party(source: random.Random, number: int, _moment: datetime) -> dict[str, Any]:
    name = f"Invented party {number + 1:05d}"
    return {"Name": name, "Number": str(number + 1), "IsActive": source.random() < 0.9}


def _block(source: random.Random, _number: int, moment: datetime) -> dict[str, Any]:
    return {
        "ServiceId": _id("service", str(source.randrange(4))),
        "ResourceCategoryId": _id("resource", str(source.randrange(9))),
        "StartUtc": _utc(moment),
        "EndUtc": _utc(moment + timedelta(days=source.randrange(1, 6))),
        "IsActive": source.random() < 0.9,
    }


# Only order item and ledger entry are described field by field; the others have the look of their kind.
_FIELDS: dict[str, Callable[[random.Random, int, datetime], dict[str, Any]]] = {
    "OrderItem": _order_item,
    "Payment": _money,
    "Bill": _money,
    "Reservation": _reservation,
    "Customer": _party,
    "Company": _party,
    "AvailabilityAdjustment": _block,
    "AvailabilityBlock": _block,
    "ResourceBlock": _block,
}


def _amount(source: random.Random, units: int) -> dict[str, Any]:
    net = round(source.uniform(5, 250) * units, 2)
    tax = round(net * 0.2, 2)
    return {
        "Currency": "EUR",
        "NetValue": net,
        "GrossValue": round(net + tax, 2),
        "TaxValues": [{"Code": "XX-20", "Value": tax}],
        "Breakdown": {"Items": [{"TaxRateCode": "XX-20", "NetValue": net, "TaxValue": tax}]},
    }


def _id(kind: str, key: str) -> str:
    return str(uuid.uuid5(_SPACE, f"{kind}|{key}"))


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

"""The public conformance suite, applied to the vendors of this package; each is one small class."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from airflow_provider_exports.core import (
    BodyFields,
    Capability,
    ConnectionInfo,
    Expiry,
    Export,
    ExportFile,
    ExportState,
    Flow,
    Links,
    Payload,
    Problem,
    Request,
    Response,
    Signing,
)
from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.exceptions import (
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    UnexpectedResponse,
    VendorUnavailable,
)
from airflow_provider_exports.testing.conformance import VendorConformance
from airflow_provider_exports.testing.replay import ok
from airflow_provider_exports.vendors.giosg import GiosgVendor
from airflow_provider_exports.vendors.medable import MedableVendor
from airflow_provider_exports.vendors.mews import MewsVendor


def mews(status: str, **fields: Any) -> dict[str, Any]:
    """An export in the shape of the Mews page."""
    export_id = "f327f6d7-a0c8-43ff-b62a-b09700cd8de9"
    return {
        "Id": export_id,
        "Status": status,
        "EntityType": "Payment",
        "Files": [],
        "ExpiresUtc": None,
        **fields,
    }


MEWS_READY = mews(
    "Success",
    Files=[
        {"Url": "https://files.example/one.jsonl?sig=made-up", "SizeInBytes": 7},
        {"Url": "https://files.example/two.jsonl?sig=made-up", "SizeInBytes": 9},
    ],
    ExpiresUtc="2027-02-01T00:00:00Z",
)


MEWS_PAYLOAD = {
    "EntityType": "Payment",
    "Filters": {"UpdatedUtc": {"StartUtc": "2027-01-01T00:00:00Z", "EndUtc": "2027-01-02T00:00:00Z"}},
}


class TestMews(VendorConformance):
    """Mews: credentials in the body, one status word."""

    vendor_class = MewsVendor
    connection = ConnectionInfo(
        "mews_default", password="made-up-access", extra={"client_token": "made-up-client"}
    )
    payload = MEWS_PAYLOAD
    samples = (
        (mews("Pending"), ExportState.QUEUED),
        (mews("Processing"), ExportState.RUNNING),
        (MEWS_READY, ExportState.READY),
        ({**MEWS_READY, "ExpiresUtc": "2027-01-15T08:00:10Z"}, ExportState.EXPIRED),
        (mews("Failed"), ExportState.FAILED),
        (mews("Expired"), ExportState.EXPIRED),
    )
    happy_path = (
        ok({"Export": mews("Pending")}),
        ok({"Exports": [mews("Processing")]}),
        ok({"Exports": [MEWS_READY]}),
    )
    # The API answers 404 for an address, never for an export.
    get_errors = MappingProxyType({404: ExportRejected})


def medable(state: str, **fields: Any) -> dict[str, Any]:
    """An export instance of Cortex."""
    return {
        "_id": "6b49d200" + "0" * 16,
        "object": "export",
        "state": state,
        "created": "2027-01-15T08:00:00.010Z",
        **fields,
    }


MEDABLE_FACET = {
    "object": "facet",
    "name": "content",
    "state": 2,
    "size": 7,
    "url": "https://files.example/one.zip?sig=made-up",
}

MEDABLE_PAYLOAD = {
    "label": "visits",
    "objects": "c_visits",
    "format": "text/csv",
    "exportFiles": False,
    "zipFiles": False,
}


class TestMedable(VendorConformance):
    """Medable: signed requests, faults by body, a second request for the file."""

    vendor_class = MedableVendor
    connection = ConnectionInfo(
        "medable_default",
        host="https://api.medable.com/my_org",
        login="A" * 22,
        password="B" * 64,
        extra={"max_open": 0},
    )
    payload = MEDABLE_PAYLOAD
    samples = (
        (medable("pending"), ExportState.QUEUED),
        (medable("running"), ExportState.RUNNING),
        (medable("error"), ExportState.FAILED),
        (medable("ready", dataFile=MEDABLE_FACET), ExportState.READY),
    )
    happy_path = (ok(medable("pending")), ok(medable("ready")), ok(MEDABLE_FACET))
    # A 404 without a fault document is not the vendor's.
    get_errors = MappingProxyType({404: UnexpectedResponse})


GIOSG_PAYLOAD = {
    "room_id": "9926bdfa-56e0-11e5-b98c-6c4008c08dfe",
    "type": "logs",
    "format": "csv",
    "starting_at": "2027-01-01T00:00:00.000Z",
    "ending_at": "2027-01-08T00:00:00.000Z",
}


def giosg(**fields: Any) -> dict[str, Any]:
    """A resource in the shape of the giosg page; without fields it is in progress."""
    return {
        "id": "9926bdfa-56e0-11e5-b98c-6c4008c08d00",
        **GIOSG_PAYLOAD,
        "created_at": "2027-01-15T07:59:00.000Z",
        "completed_at": None,
        "expires_at": None,
        "is_failed": None,
        "url": None,
        **fields,
    }


GIOSG_READY = giosg(
    completed_at="2027-01-15T07:59:30.000Z",
    is_failed=False,
    expires_at="2027-01-16T00:00:00.000Z",
    url="https://service.giosg.com/files/made-up.csv",
)


class TestGiosg(VendorConformance):
    """giosg: a token in a header, no status word."""

    vendor_class = GiosgVendor
    connection = ConnectionInfo(
        "giosg_default", password="made-up-token", extra={"organization_id": "org", "user_id": "user"}
    )
    payload = GIOSG_PAYLOAD
    samples = (
        (giosg(), ExportState.RUNNING),
        (GIOSG_READY, ExportState.READY),
        ({**GIOSG_READY, "expires_at": "2027-01-15T08:00:10.000Z"}, ExportState.EXPIRED),
        (giosg(completed_at="2027-01-15T07:59:30.000Z", is_failed=True), ExportState.FAILED),
    )
    happy_path = (
        # What is in progress is counted before the create.
        ok({"next": None, "previous": None, "results": []}),
        ok(giosg(), 201),
        ok(giosg()),
        ok(GIOSG_READY),
    )
    # Whether another user's export is answered with 403 or 404 is not published.
    get_errors = MappingProxyType({403: ExportNotFound})


def test_every_vendor_is_held_to_the_suite() -> None:
    """Each vendor of this package has one class in this folder, and there is none for any other."""
    modules = [
        import_module(f"tests.vendors.{file.stem}") for file in Path(__file__).parent.glob("test_*.py")
    ]
    held = [
        one.vendor_class.name
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, VendorConformance) and one is not VendorConformance
    ]
    assert sorted(held) == sorted(BUILT_IN)


class Unsigned(BodyFields):
    """Adds nothing."""

    def sign(self, request: Request, signing: Signing) -> Request:
        return request


def created_twice(self: MewsVendor, payload: Payload) -> Flow[Export]:
    """Create without saying that it must not be repeated."""
    response = yield Request("POST", "/api/connector/v1/exports/add", json=payload, operation="create")
    return self.read(response.json()["Export"], response.server_time)


def read_without_schema(self: MewsVendor, raw: Any, now: float) -> Export:
    """Trust the vendor's answer."""
    return self.parse(raw, now)


def read_without_id(self: MewsVendor, raw: Any, now: float) -> Export:
    """Make up an id."""
    return self.parse({"Id": "none", **raw}, now)


def parsed(**changes: Any) -> Any:
    """Return a ``parse`` that gets something wrong."""

    def parse(self: MewsVendor, raw: Any, now: float) -> Export:
        export = MewsVendor.parse(self, raw, now)
        return replace(
            export, **{name: made(raw) if callable(made) else made for name, made in changes.items()}
        )

    return parse


def one_file(raw: Any) -> tuple[ExportFile, ...]:
    """Return a file that is called what the vendor's id says."""
    return (ExportFile(raw["Id"], "https://files.example/one"),)


def quoting(self: MewsVendor, request: Request, response: Response) -> ExportError | None:
    """Quote a refusal with all that is in it."""
    return None if response.status < 300 else ExportRejected(response.body.decode())


MISTAKES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("name_is_a_connection_type", (), {"name": "Mews Ltd"}),
    ("people_can_read_about_it", (), {"docs_url": ""}),
    ("declared_capabilities_are_the_overridden_methods", (), {"capabilities": frozenset()}),
    ("declared_capabilities_are_the_overridden_methods", (), {"capabilities": frozenset(Capability)}),
    ("schema_is_valid_and_says_its_source", ("create.request.json",), {"__module__": __name__}),
    ("schema_refuses_a_payload_of_the_wrong_shape", (), {"__module__": __name__}),
    ("payload_is_valid", (), {"prepare": lambda self, payload: payload.clear() or payload}),
    ("payload_is_valid", (), {"rules": lambda self, payload, now: [Problem("", "never")]}),
    ("payload_fields_round_trip", (), {"payload_fields": {"one": ("A",), "two": ("A",)}}),
    ("payload_can_be_given_as_parameters", (), {"compose": classmethod(lambda cls, *given: {})}),
    ("settings_have_defaults_and_a_meaning", (), {"settings_class": object}),
    ("missing_secret_is_an_invalid_connection", (), {"make_auth": lambda self: BodyFields({})}),
    ("plain_http_is_refused", (), {"checked_url": lambda self, url, what: url}),
    ("secrets_are_declared", (), {"secrets": ()}),
    ("signing_adds_credentials", (), {"make_auth": lambda self: Unsigned({})}),
    ("reprs_hide_secrets", (), {"__repr__": lambda self: self.connection.password}),
    ("credentials_stay_at_the_api", (), {"api_urls": ("https://elsewhere.example", "http://plain.example")}),
    ("file_hosts_are_hosts", (), {"file_hosts": frozenset({"https://files.example"})}),
    ("happy_path_ends_ready", (), {"parse": parsed(state=ExportState.QUEUED)}),
    ("nothing_told_on_the_way_is_secret", (), {"advise": lambda self, payload: self.connection.password}),
    ("create_is_never_repeated", (), {"create": created_twice}),
    ("refused_create_has_its_own_error", (409, ExportConflict), {"error": quoting}),
    ("refused_create_has_its_own_error", (400, ExportRejected), {"error": quoting}),
    ("refused_look_has_its_own_error", (503, VendorUnavailable), {"error": quoting}),
    ("answer_that_makes_no_sense_is_a_typed_error", (b"{}",), {"create": created_twice}),
    ("declared_facts_hold", (), {"expiry": Expiry.UNKNOWN}),
    ("declared_facts_hold", (), {"parse": parsed(expires_at=None)}),
    ("declared_facts_hold", (), {"links": Links.AUTHENTICATED}),
    ("declared_facts_hold", (), {"delete_cancels": True}),
    ("samples_have_their_states", (), {"parse": parsed(state=ExportState.READY)}),
    ("every_status_word_is_sampled", (), {"states": {**MewsVendor.states, "Stuck": ExportState.FAILED}}),
    ("only_ready_exports_have_files", (), {"parse": parsed(files=one_file)}),
    ("only_ready_exports_have_files", (), {"parse": parsed(files=())}),
    ("times_are_aware", (), {"parse": parsed(created_at=datetime(2027, 1, 1))}),  # noqa: DTZ001
    ("unknown_status_does_not_succeed", (), {"parse": parsed(state=ExportState.READY)}),
    ("unknown_status_does_not_succeed", (), {"parse": parsed(documented=True)}),
    ("missing_id_is_an_unexpected_response", (), {"read": read_without_id}),
    ("damaged_samples_are_read_or_refused_by_name", (), {"read": read_without_schema}),
    (
        "exports_show_no_link",
        (),
        {"parse": parsed(vendor_status="https://files.example/one", files=one_file)},
    ),
    ("file_names_are_safe", (), {"parse": parsed(files=one_file)}),
]


@pytest.mark.parametrize(
    ("test", "arguments", "mistake"), MISTAKES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_suite_catches(test: str, arguments: tuple[Any, ...], mistake: dict[str, Any]) -> None:
    """Each test of the suite fails for a vendor that makes the mistake which it is there for."""
    broken = type("BrokenVendor", (MewsVendor,), {"__module__": MewsVendor.__module__, **mistake})
    suite = type("Broken", (TestMews,), {"vendor_class": broken})()
    with pytest.raises((AssertionError, ExportError, pytest.fail.Exception)):
        getattr(suite, f"test_{test}")(*arguments)


def test_every_test_of_the_suite_is_shown_to_catch_something() -> None:
    """No test of the suite is without a mistake that it catches."""
    tests = {name.removeprefix("test_") for name in vars(VendorConformance) if name.startswith("test_")}
    assert {test for test, _, _ in MISTAKES} == tests

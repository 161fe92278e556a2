"""Mews without network: what is sent, and what each documented answer means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core import ConnectionInfo, ExportState, Lifecycle, Request, Response
from airflow_provider_exports.core.schemas import CREATE_REQUEST
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    VendorUnavailable,
)
from airflow_provider_exports.vendors.mews import MewsVendor
from airflow_provider_exports.vendors.mews.vendor import ENTITY_TYPES
from tests.core.replay import Replay, ok

EXPORT_ID = "f327f6d7-a0c8-43ff-b62a-b09700cd8de9"
UUID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
SAMPLES = Path(__file__).parent / "samples"
EXAMPLES = json.loads((SAMPLES / "mews-examples.json").read_text())
EXAMPLES_NOW = 1_698_200_000.0  # 2023-10-25T02:13:20Z, when the first export of the examples was ready


def vendor(**extra: Any) -> MewsVendor:
    return MewsVendor(
        ConnectionInfo("mews_default", password="access", extra={"client_token": "client", **extra})
    )


def life(**extra: Any) -> Lifecycle:
    return Lifecycle(vendor(**extra), chance=lambda: 0.5)


def export(status: str = "Pending", **fields: Any) -> dict[str, Any]:
    """The shape of the vendor's page: seed fields only, without Scope and Filters."""
    raw = {"Id": EXPORT_ID, "Status": status, "EntityType": "OrderItem", "Files": [], "ExpiresUtc": None}
    return {**raw, **fields}


def found(*exports: dict[str, Any]) -> Response:
    return ok({"Exports": list(exports)})


def message(status: int, text: str) -> Response:
    return ok({"Message": text, "RequestId": UUID}, status)


def problems(payload: dict[str, Any], **extra: Any) -> str:
    mews = vendor(**extra)
    with pytest.raises(InvalidPayload) as caught:
        mews.check(mews.prepare(payload), NOW)
    return str(caught.value)


def window(start: str, end: str) -> dict[str, Any]:
    return {"EntityType": "Payment", "Filters": {"UpdatedUtc": {"StartUtc": start, "EndUtc": end}}}


def documented() -> Lifecycle:
    """The client of the vendor's examples."""
    extra = {"client_token": "made-up-client-token", "client": "Sample Client 1.0.0"}
    return Lifecycle(
        MewsVendor(ConnectionInfo("mews_default", password="made-up-access-token", extra=extra)),
        chance=lambda: 0.5,
    )


@pytest.mark.parametrize(
    ("example", "parameters"),
    [
        (
            "add",
            {
                "entity_type": "Reservation",
                "enterprise_ids": ["3fa85f64-5717-4562-b3fc-2c963f66afa6"],
                "start_utc": "2020-11-04 01:00:00+01:00",
                "end_utc": "2020-11-05",
            },
        ),
        ("first add", {"entity_type": "OrderItem"}),
    ],
)
def test_create_is_the_vendors_example(example: str, parameters: dict[str, Any]) -> None:
    """Path, headers and body are those of the documentation, and so is what we read of the answer."""
    sample, mews = EXAMPLES[example], documented()
    replay = Replay([ok(sample["response"])])
    created = replay.run(mews.submit(mews.vendor.prepare(MewsVendor.compose(parameters, None))))
    assert replay.requests == [
        Request(
            "POST",
            "/api/connector/v1/exports/add",
            json=sample["request"],
            idempotent=False,
            operation="exports/add",
        )
    ]
    assert (created.export_id, created.state) == (sample["response"]["Export"]["Id"], ExportState.QUEUED)
    assert not any(secret in repr(replay.requests) for secret in mews.vendor.secrets)


@pytest.mark.parametrize("example", ["getAll", "first getAll"])
def test_lookup_is_the_vendors_example(example: str) -> None:
    """One request for four exports; each has the state, expiry and files that the documentation shows."""
    sample, mews = EXAMPLES[example], documented()
    ids = sample["request"]["ExportIds"]
    replay = Replay([ok(sample["response"])], now=EXAMPLES_NOW)
    seen = replay.run(mews.check_many(ids))
    assert replay.requests == [
        Request(
            "POST", "/api/connector/v1/exports/getAll", json=sample["request"], operation="exports/getAll"
        )
    ]
    assert [seen[one].state for one in ids] == [
        ExportState.READY,
        ExportState.QUEUED,
        ExportState.RUNNING,
        ExportState.EXPIRED,
    ]
    assert [file.size for file in seen[ids[0]].files] == [1215279, 1398362]
    assert [file.url for file in seen[ids[0]].files] == [
        entry["Url"] for entry in sample["response"]["Exports"][0]["Files"]
    ]
    assert [str(seen[one].expires_at) for one in ids] == [
        "2023-10-26 11:42:28+00:00",
        "None",
        "None",
        "2023-10-24 14:12:30+00:00",
    ]


def test_look_at_one_export_is_one_lookup() -> None:
    """The same request with one id."""
    mews = documented()
    replay = Replay([found(export())])
    replay.run(mews.check(EXPORT_ID))
    body = {**EXAMPLES["getAll"]["request"], "ExportIds": [EXPORT_ID]}
    assert replay.requests == [
        Request(
            "POST",
            "/api/connector/v1/exports/getAll",
            json=body,
            operation="exports/getAll",
            export_id=EXPORT_ID,
        )
    ]


@pytest.mark.parametrize(
    ("raw", "state", "files"),
    [
        (export("Pending"), ExportState.QUEUED, 0),
        (export("Processing"), ExportState.RUNNING, 0),
        (
            export(
                "Success",
                Files=[
                    {"Url": "https://files.example/1.jsonl?sig=x", "SizeInBytes": 3},
                    {"Url": "https://files.example/2.jsonl?sig=y", "SizeInBytes": 2**33},
                ],
                ExpiresUtc="2027-01-22T08:00:00Z",
            ),
            ExportState.READY,
            2,
        ),
        (export("Success", ExpiresUtc="2027-01-22T08:00:00.1234567Z"), ExportState.READY, 0),
        (export("Success", ExpiresUtc="2027-01-15T07:59:59Z"), ExportState.EXPIRED, 0),
        (export("Failed"), ExportState.FAILED, 0),
        (export("Expired", ExpiresUtc="2027-01-01T00:00:00Z", Scope=None, New=1), ExportState.EXPIRED, 0),
    ],
)
def test_states_of_the_vendor(raw: dict[str, Any], state: ExportState, files: int) -> None:
    """Each documented status has its common state; unknown fields are ignored."""
    seen = Replay([found(raw)], now=NOW).run(life().check(EXPORT_ID))
    assert (seen.state, len(seen.files)) == (state, files)
    assert [file.name for file in seen.files] == [f"{EXPORT_ID}-{n}.jsonl" for n in range(1, files + 1)]
    assert not any(file.authenticated for file in seen.files)


def test_hostile_id_cannot_leave_the_target() -> None:
    """Names are made from the id, and an id is only text from outside."""
    files = [{"Url": "https://files.example/1", "SizeInBytes": 3}]
    raw = export("Success", Id="../../etc/x", Files=files, ExpiresUtc="2027-01-22T08:00:00Z")
    seen = vendor().parse(raw, NOW)
    assert seen.files[0].name == "_etc_x-1.jsonl"


def test_unknown_status_waits_or_fails_as_the_connection_says() -> None:
    """The default takes it for running; ``fail`` raises at once."""
    seen = Replay([found(export("Archiving"))]).run(life().check(EXPORT_ID))
    assert (seen.state, seen.documented) == (ExportState.RUNNING, False)
    with pytest.raises(UnknownStatus, match="Archiving"):
        Replay([found(export("Archiving"))] * 3).run(life(unknown_status="fail").check(EXPORT_ID))


@pytest.mark.parametrize(
    "answer",
    [
        ok({}),
        ok([]),
        ok({"Exports": None}),
        found({"Status": "Success"}),
        found(export("Success", Files=[{"Url": "https://x.example"}])),
        found(export("Success", Files=None)),
        found({name: value for name, value in export("Success").items() if name != "Files"}),
        found(export("Success", ExpiresUtc="soon")),
    ],
)
def test_drifted_answers_are_named(answer: Response) -> None:
    """What we need and do not get is an error, never success."""
    with pytest.raises(UnexpectedResponse):
        Replay([answer] * 3).run(life().check(EXPORT_ID))


@pytest.mark.parametrize("answer", [found(), message(400, "Invalid ExportIds.")])
def test_unknown_id_is_not_found(answer: Response) -> None:
    """An id left out, and a 400 about it, mean the same."""
    with pytest.raises(ExportNotFound, match=EXPORT_ID):
        Replay([answer]).run(life().check(EXPORT_ID))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (message(400, "An export of this entity type is already in progress."), ExportConflict),
        (message(403, "Another export is Processing."), ExportConflict),
        (message(409, "Conflict."), ExportConflict),
        (message(400, "Invalid EntityType: already unknown."), ExportRejected),
        (message(400, "Something else."), ExportRejected),
        (message(403, "The operation is not allowed."), PermissionDenied),
        (message(401, "Invalid access token."), AuthenticationFailed),
        (message(413, "Too large."), ExportRejected),
        (Response(502, {}, b"<html>"), UnknownOutcome),
        (ok({"Export": {"Id": EXPORT_ID}}), UnknownOutcome),
    ],
)
def test_refused_creates(answer: Response, error: type[Exception]) -> None:
    """Busy, bad request, permission and lost answers are told apart."""
    replay = Replay([answer])
    with pytest.raises(error):
        replay.run(life().submit({"EntityType": "Payment"}))
    assert len(replay.requests) == 1


def test_busy_classification_is_configurable() -> None:
    """Statuses and text of the busy answer are not documented, so a connection can say them."""
    answer = message(422, "Belegt.")
    with pytest.raises(ExportConflict):
        Replay([answer]).run(life(busy_statuses="422", busy_pattern="Belegt").submit({"EntityType": "Bill"}))
    with pytest.raises(InvalidConnection, match="busy_pattern"):
        vendor(busy_pattern="(")


def test_lookup_takes_a_thousand_ids_and_isolates_a_bad_one() -> None:
    """2,001 ids are three requests; a 400 is halved until the bad id is alone, and the rest are read."""
    ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(2001)]
    replay = Replay([found(*(export(Id=i) for i in ids[start : start + 1000])) for start in (0, 1000, 2000)])
    assert len(replay.run(life().check_many(ids))) == 2001
    assert [len(request.json["ExportIds"]) for request in replay.requests] == [1000, 1000, 1]

    def picky(request: Any) -> Response:
        wanted = request.json["ExportIds"]
        return (
            message(400, "Invalid ExportIds.") if ids[3] in wanted else found(*(export(Id=i) for i in wanted))
        )

    halving = Replay([picky] * 20)
    assert list(halving.run(life().check_many(ids[:8]))) == [*ids[:3], *ids[4:8]]
    assert len(halving.requests) == 7


@pytest.mark.parametrize(("status", "attempts"), [(408, 5), (413, 1)])
def test_lookup_that_is_too_much_asks_for_fewer_ids(status: int, attempts: int) -> None:
    """408 and 413 mean that the batch is too large; when one id is too much, it is not about the batch."""
    ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(8)]

    def slow(request: Any) -> Response:
        wanted = request.json["ExportIds"]
        return message(status, "Too much.") if len(wanted) > 2 else found(*(export(Id=i) for i in wanted))

    replay = Replay([slow] * 40)
    assert list(replay.run(life().check_many(ids))) == ids
    assert len(replay.requests) == 3 * attempts + 4
    with pytest.raises((ExportRejected, VendorUnavailable), match=str(status)):
        Replay([message(status, "Too much.")] * 40).run(life().check_many(ids))


def test_refusal_that_is_not_about_ids_is_not_halved_for_ever() -> None:
    """When everything is refused, fifty refusals are enough to know."""
    ids = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(1000)]
    replay = Replay([message(400, "Invalid JSON.")] * 60)
    with pytest.raises(ExportRejected):
        replay.run(life().check_many(ids))
    assert len(replay.requests) == 51


@pytest.mark.parametrize(
    ("status", "said"), [(404, "Check the platform address"), (410, "has discontinued this operation")]
)
def test_wrong_address_is_said(status: int, said: str) -> None:
    """The API answers 404 for an address and 410 for an operation, never for an export."""
    refused = message(status, "Resource not found.")
    mews = life()
    for plan in (
        mews.submit({"EntityType": "Bill"}),
        mews.check(EXPORT_ID),
        mews.check_many([EXPORT_ID, UUID]),
        mews.call(mews.vendor.ping()),
    ):
        with pytest.raises(ExportRejected, match=said) as caught:
            Replay([refused]).run(plan)
        assert f"(HTTP {status})" in str(caught.value)
        assert "does not know it" not in str(caught.value)


def test_refusals_name_the_vendors_request() -> None:
    """Each answer has a Request-Id, which the vendor's support asks for; nothing else is taken for one."""
    body = {"Message": "Invalid EntityType.", "RequestId": UUID}
    with pytest.raises(ExportRejected, match=f"Request-Id {UUID}"):
        Replay([ok(body, 400, request_id=UUID)]).run(life().submit({"EntityType": "Bill"}))
    with pytest.raises(ExportRejected) as caught:
        Replay([ok(body, 400, request_id="<b>anything</b>")]).run(life().submit({"EntityType": "Bill"}))
    assert "anything" not in str(caught.value)


def test_sizes_may_be_written_with_a_fraction() -> None:
    """The page of 2023 calls SizeInBytes a number; bytes are whole."""
    files = [{"Url": "https://files.example/1", "SizeInBytes": 3.0}]
    raw = export("Success", Files=files, ExpiresUtc="2027-01-22T08:00:00Z")
    size = Replay([found(raw)], now=NOW).run(life().check(EXPORT_ID)).files[0].size
    assert (size, type(size)) == (3, int)


def test_ids_are_matched_by_value_not_by_position() -> None:
    """The answer may come in any order and another spelling."""
    other = export(Id=UUID)
    seen = Replay([found(other, export(Id=EXPORT_ID.upper()))]).run(life().check(EXPORT_ID))
    assert seen.export_id == EXPORT_ID.upper()


def test_ping_accepts_the_400_for_its_made_up_id() -> None:
    """Credentials are read before ids, so a 400 proves them; a 401 does not."""
    for answer in (found(), message(400, "Invalid ExportIds.")):
        plan = life()
        assert "accepted" in Replay([answer]).run(plan.call(plan.vendor.ping()))
    plan = life()
    with pytest.raises(AuthenticationFailed):
        Replay([message(401, "Invalid token.")]).run(plan.call(plan.vendor.ping()))
    plan = life(language_code="xx-XX", culture_code="en-GB")
    with pytest.raises(ExportRejected, match="Invalid LanguageCode"):
        Replay([message(400, "Invalid LanguageCode.")]).run(plan.call(plan.vendor.ping()))


def test_datasources_are_the_entity_types() -> None:
    """Listing them costs no request."""
    plan = life()
    assert [d.id for d in Replay().run(plan.call(plan.vendor.list_datasources()))] == list(ENTITY_TYPES)


def valid_payloads() -> Iterator[dict[str, Any]]:
    yield {"EntityType": "OrderItem"}
    yield {"EntityType": "TomorrowsType"}
    yield {"EntityType": "Company", "Scope": {"ChainIds": [UUID], "EnterpriseIds": None}}
    yield {"EntityType": "Bill", "Scope": {"EnterpriseIds": [UUID] * 1000}, "Filters": None}
    yield window("2026-07-19T00:00:00Z", "2027-01-15T00:00:00Z")
    yield {
        "EntityType": "LedgerEntry",
        "Filters": {"LedgerEntryFilters": {"Posting": {"Start": "2026-12-01", "End": "2026-12-01"}}},
    }


@pytest.mark.parametrize("payload", list(valid_payloads()))
def test_valid_payloads(payload: dict[str, Any]) -> None:
    """What the vendor documents passes."""
    mews = vendor()
    mews.check(mews.prepare(payload), NOW)


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "EntityType"),
        ({"EntityType": "order item"}, "vendor's spelling"),
        ({"EntityType": "Bill", "Typo": 1}, "Typo"),
        ({"EntityType": "Bill", "Scope": {"EnterpriseIds": []}}, "Scope.EnterpriseIds"),
        ({"EntityType": "Bill", "Scope": {"EnterpriseIds": ["x"]}}, "Scope.EnterpriseIds.0: must be a UUID"),
        ({"EntityType": "Bill", "Scope": {"EnterpriseIds": [UUID] * 1001}}, "Scope.EnterpriseIds"),
        ({"EntityType": "LedgerEntry"}, "posting_start and posting_end"),
        ({"EntityType": "LedgerEntry", "Filters": None}, "posting_start and posting_end"),
        ({"EntityType": "LedgerEntry", "Filters": {"LedgerEntryFilters": None}}, "posting_start"),
        (
            {
                "EntityType": "LedgerEntry",
                "Filters": {
                    "LedgerEntryFilters": {"Posting": {"Start": "2026-01-01", "End": "2026-01-02"}},
                    "UpdatedUtc": {"StartUtc": "2026-01-01", "EndUtc": "2026-01-02"},
                },
            },
            "never updated",
        ),
        (
            {
                "EntityType": "Bill",
                "Filters": {"LedgerEntryFilters": {"Posting": {"Start": "2026-01-01", "End": "2026-01-02"}}},
            },
            "LedgerEntry only",
        ),
        (
            {
                "EntityType": "LedgerEntry",
                "Filters": {"LedgerEntryFilters": {"Posting": {"Start": "2026-01-02", "End": "2026-01-01"}}},
            },
            "ends before it starts",
        ),
        (
            {
                "EntityType": "LedgerEntry",
                "Filters": {"LedgerEntryFilters": {"Posting": {"Start": "2026-01-01", "End": "2026-06-30"}}},
            },
            "longer than 180 days",
        ),
        ({"EntityType": "Bill", "Filters": {"UpdatedUtc": {"StartUtc": "2026-01-01"}}}, "EndUtc"),
        (window("2026-12-01", "2026-12-01"), "CronDataIntervalTimetable"),
        (window("2026-12-02", "2026-12-01"), "ends before it starts"),
        (window("2026-07-18T23:59:59Z", "2027-01-15T00:00:00Z"), "longer than 180 days"),
        (window("2027-01-15T00:00:00Z", "2027-01-15T07:55:01Z"), "at least 300 s ago"),
        (window("yesterday", "2026-12-01"), "is no time or date"),
    ],
)
def test_invalid_payloads(payload: dict[str, Any], said: str) -> None:
    """Each rule is told in words, with the path of the field."""
    assert said in problems(payload)


def test_day_that_no_calendar_has_is_told() -> None:
    """Also in a payload that was not prepared: the schema knows the form of a date only."""
    posting = {"Start": "2026-02-30", "End": "2026-03-01"}
    payload = {"EntityType": "LedgerEntry", "Filters": {"LedgerEntryFilters": {"Posting": posting}}}
    assert "is no time or date" in problems(payload)
    with pytest.raises(InvalidPayload, match="is no range of dates"):
        vendor().check(payload, NOW)


def test_missing_entity_type_is_not_taken_for_a_ledger_entry() -> None:
    """Only what is wrong is told."""
    assert "LedgerEntry" not in problems({})


def test_window_borders_are_exact() -> None:
    """Exactly 180 days, ending exactly five minutes ago, is allowed."""
    vendor().check(window("2026-07-19T07:55:00Z", "2027-01-15T07:55:00Z"), NOW)


def test_unknown_entity_type_is_sent_with_a_hint() -> None:
    """The list is open; a near miss is pointed out."""
    replay = Replay([ok({"Export": export()})])
    replay.run(life().submit({"EntityType": "OrderItems"}))
    assert "did you mean OrderItem?" in replay.notes[0]


def test_settling_covers_the_vendors_five_minutes() -> None:
    """A window that has just ended may be exported six minutes later by default."""
    payload = window("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z")
    settled = vendor().settled_at(payload)
    assert settled == 1796169600 + 360
    vendor().check(payload, settled)
    assert vendor().settled_at({"EntityType": "Bill"}) is None


@pytest.mark.parametrize(
    ("password", "extra", "said"),
    [
        ("", {"client_token": "c"}, "access token"),
        ("a", {}, "client token"),
        ("a", {"client_token": "c", "language_code": "en-US"}, "go together"),
    ],
)
def test_incomplete_connections(password: str, extra: dict[str, Any], said: str) -> None:
    """What is missing is named before any request."""
    with pytest.raises(InvalidConnection, match=said):
        MewsVendor(ConnectionInfo("m", password=password, extra=extra))


def test_language_goes_with_every_request() -> None:
    """Messages are localised; both codes are sent or none."""
    replay = Replay([found(export())])
    replay.run(life(language_code="en-US", culture_code="en-GB").check(EXPORT_ID))
    assert (replay.requests[0].json["LanguageCode"], replay.requests[0].json["CultureCode"]) == (
        "en-US",
        "en-GB",
    )


def test_schema_agrees_with_the_vendors_own_definition(openapi: dict[str, Any]) -> None:
    """Names, required fields and limits are those of the vendor's OpenAPI definition."""
    import airflow_provider_exports.vendors.mews as package
    from airflow_provider_exports.core import schemas

    ours = schemas.load(Path(package.__path__[0]) / "schemas", CREATE_REQUEST)
    assert ours is not None
    theirs = openapi["ExportAddParameters"]
    assert set(ours["properties"]) == set(theirs["properties"])
    assert set(ours["properties"]["EntityType"]["examples"]) == set(openapi["ExportEntityTypeEnum"])
    assert set(ENTITY_TYPES) == set(openapi["ExportEntityTypeEnum"])
    ids = ours["$defs"]["ids"]
    assert (ids["minItems"], ids["maxItems"]) == (openapi["min_ids"], openapi["max_ids"])
    assert set(vendor().states) == set(openapi["ExportStatusEnum"])


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    """The part of the vendor's definition that bears on us; source: its published OpenAPI document."""
    sample = json.loads((SAMPLES / "mews-openapi-extract.json").read_text())
    assert isinstance(sample, dict)
    return sample

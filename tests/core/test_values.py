"""Small values: errors, redaction, paces, times, settings, composing payloads."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone

import pendulum
import pytest

from airflow_provider_exports import exceptions
from airflow_provider_exports.core import ConnectionInfo, Export, ExportFile, ExportState, PollRule, times
from airflow_provider_exports.core.polling import RateBudget
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.registry import known_vendors, vendor_class
from airflow_provider_exports.core.vendor import VendorSettings
from airflow_provider_exports.core.wire import Response, origin, resolve
from airflow_provider_exports.exceptions import (
    ExportError,
    ExportFailed,
    InvalidConnection,
    InvalidPayload,
    UnsafeLink,
    error_from_event,
)
from airflow_provider_exports.vendors.giosg import GiosgVendor
from airflow_provider_exports.vendors.mews import MewsVendor


def all_errors() -> list[type[ExportError]]:
    found: list[type[ExportError]] = []
    todo = [ExportError]
    while todo:
        found.append(todo.pop())
        # A vendor may have an error of its own that never leaves its flows.
        todo += [c for c in found[-1].__subclasses__() if c.__module__ == exceptions.__name__]
    return found


@pytest.mark.parametrize("error_class", all_errors())
def test_every_error_survives_event_and_pickle(error_class: type[ExportError]) -> None:
    """Class, text and details cross the database and a process border unchanged."""
    error = error_class("it broke.", vendor="mews", export_id="e1", http_status=429, retry_after=3.5)
    for other in (error_from_event(error.to_event()), pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is error_class
        assert str(other) == str(error)
        assert other.to_event() == error.to_event()
    assert str(error).startswith("mews export e1: it broke.")
    assert error_class.__name__ in exceptions.__doc__


def test_every_error_is_exported() -> None:
    """__all__ names the whole tree."""
    assert {error.__name__ for error in all_errors()} | {"error_from_event"} == set(exceptions.__all__)


def test_every_leaf_says_what_to_do() -> None:
    """A message without a next step helps nobody."""
    silent = {"ExportError", "ExportCancelled"}
    assert {error.__name__ for error in all_errors() if not error.advice} == silent


def test_invalid_payload_keeps_its_problems_across_the_event() -> None:
    """Problems are part of the event."""
    error = InvalidPayload("bad.", problems=[("a.b", "is missing")])
    assert error_from_event(error.to_event()).problems == (("a.b", "is missing"),)  # type: ignore[attr-defined]


def test_error_of_another_version_still_is_an_error() -> None:
    """A class this version does not know, or a field it does not know, fails the task all the same."""
    error = error_from_event({"type": "ExportMelted", "message": "too warm.", "colour": "red"})
    assert type(error) is ExportError
    assert "ExportMelted: too warm." in str(error)
    assert isinstance(error_from_event({"type": "ExportFailed", "message": "x", "new": 1}), ExportFailed)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("token abc123 refused", "token *** refused"),
        ("GET https://h.example/a/b?sig=1&x=2 failed", "GET https://h.example/a/b?*** failed"),
        ("https://user:pw@h.example/", "https://***@h.example/"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("x" * 400, "x" * 299 + "…"),
    ],
)
def test_redact(text: str, clean: str) -> None:
    """Secrets, queries, user info and control characters go."""
    assert redact(text, ["abc123", ""]) == clean


def test_poll_rule_grows_to_its_maximum_with_bounded_jitter() -> None:
    """However long the wait, the interval stays within the maximum and its jitter."""
    rule = PollRule(15, 2, 300, jitter=0.1)
    assert [rule.interval(n, 0.5) for n in range(6)] == [15, 30, 60, 120, 240, 300]
    assert rule.interval(10_000, 0.999) <= 330
    assert rule.interval(10_000, 0.0) >= 270
    assert PollRule.every(7).interval(3, 0.5) == 7


def test_rate_budget_spaces_requests_over_the_window() -> None:
    """Two per ten seconds means the third waits for the first to leave the window, and a little longer."""
    budget = RateBudget(2, 10)
    assert [budget.reserve(now) for now in (0, 1, 2, 3)] == [0, 0, 8.5, 8.5]


def test_no_rate_budget_means_no_wait() -> None:
    """0 is no limit; and a clock that was set back costs one window at most."""
    assert [RateBudget(0, 30).reserve(now) for now in (0, 0, 0)] == [0, 0, 0]
    budget = RateBudget(1, 10)
    budget.reserve(10_000)
    assert budget.reserve(0) <= 10.5


@pytest.mark.parametrize("rule", [PollRule(0, 0, 0), PollRule.every(-5), PollRule(15, 0, 300)])
def test_no_rule_makes_a_hot_loop(rule: PollRule) -> None:
    """An interval is a second at least."""
    assert min(rule.interval(n, 0.0) for n in range(5)) >= 1


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T00:00:00Z",
        "2026-03-01 00:00:00+00:00",
        "2026-03-01T02:00:00+02:00",
        "2026-03-01",
        datetime(2026, 3, 1),  # noqa: DTZ001 - users pass naive times, which count as UTC
        datetime(2026, 3, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        pendulum.datetime(2026, 3, 1, 1, tz="Europe/Helsinki").add(hours=1),
    ],
)
def test_instant_reads_what_templates_and_users_write(value: object) -> None:
    """Every way of writing one moment gives the same plain UTC datetime."""
    moment = times.instant(value)
    assert moment == datetime(2026, 3, 1, tzinfo=UTC)
    assert type(moment) is datetime


@pytest.mark.parametrize(
    "value", ["tomorrow", "", 5, None, "PT5M", "12:30", "3:", "PT/P5D", "now", "0001-01-01T00:00:00+05:00"]
)
def test_instant_refuses_what_is_no_time(value: object) -> None:
    """Anything else is a ValueError, never a guess."""
    with pytest.raises(ValueError):
        times.instant(value)


def test_dates_and_formats() -> None:
    """Dates are taken in UTC; times are written in the vendors' forms."""
    assert times.calendar_date("2026-03-01") == date(2026, 3, 1)
    assert times.calendar_date(date(2026, 3, 1)) == date(2026, 3, 1)
    assert str(times.calendar_date("2026-03-01T01:00:00+02:00")) == "2026-02-28"
    moment = datetime(2026, 3, 1, 4, 5, 6, 789999, tzinfo=UTC)
    assert times.seconds(moment) == "2026-03-01T04:05:06Z"
    assert times.milliseconds(moment) == "2026-03-01T04:05:06.789Z"


def test_settings_read_form_values() -> None:
    """Text from old forms, prefixed keys, empty fields and numbers are all read."""
    settings = VendorSettings.from_extra(
        {
            "request_timeout": "12.5",
            "extra__mews__retry_attempts": 3,
            "allow_http": "true",
            "wait_timeout": "",
            "stale_link_statuses": "403, 410",
            "unrelated": object(),
        },
        "mews",
    )
    assert (settings.request_timeout, settings.retry_attempts, settings.allow_http) == (12.5, 3, True)
    assert settings.wait_timeout == VendorSettings.wait_timeout
    assert settings.stale_link_statuses == (403, 410)


@pytest.mark.parametrize(
    "extra",
    [
        {"request_timeout": "soon"},
        {"wait_timeout": "inf"},
        {"poll_initial": "nan"},
        {"allow_http": "maybe"},
        {"retry_attempts": -1},
    ],
)
def test_unreadable_setting_is_named(extra: dict[str, object]) -> None:
    """The error says which setting is wrong."""
    with pytest.raises(InvalidConnection, match=next(iter(extra))):
        VendorSettings.from_extra(extra, "mews")


def connection(**fields: object) -> ConnectionInfo:
    return ConnectionInfo("c", password="p", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://service.giosg.com"),
        ({"host": "giosg.example"}, "https://giosg.example"),
        ({"host": "giosg.example/"}, "https://giosg.example"),
        ({"host": "https://[::1]:8443/x"}, "https://[::1]:8443/x"),
        ({"host": "giosg.example", "port": 8443}, "https://giosg.example:8443"),
        ({"host": "https://giosg.example/base/"}, "https://giosg.example/base"),
        ({"host": "http://127.0.0.1:9/giosg"}, "http://127.0.0.1:9/giosg"),
        ({"host": "127.0.0.1", "schema": "http", "port": 9}, "http://127.0.0.1:9"),
    ],
)
def test_base_url(fields: dict[str, object], url: str) -> None:
    """Host, schema and port of a connection make the base URL; https unless said otherwise."""
    assert GiosgVendor(connection(**fields)).base_url == url


@pytest.mark.parametrize(
    "host",
    [
        "ftp://x.example",
        "https://user:pw@x.example",
        "https://x.example/?a=b",
        "http://x.example",
        "https://",
        "me:pw@x.example",
        "*.example",
        "a..b.example",
        "x" * 70 + ".example",
    ],
)
def test_unsafe_base_url_is_refused(host: str) -> None:
    """No credentials over plain http to another machine, none in the URL, no other schemes."""
    with pytest.raises(InvalidConnection) as caught:
        GiosgVendor(connection(host=host))
    assert "pw" not in str(caught.value)


def test_allow_http_permits_plain_http() -> None:
    """Only the connection itself can permit it."""
    assert (
        GiosgVendor(connection(host="http://x.example", extra={"allow_http": True})).base_url
        == "http://x.example"
    )


def test_compose_merges_parameters_into_the_payload() -> None:
    """Parameters take their place beside what payload= says, without touching the caller's dict."""
    given = {"Scope": {"ChainIds": ["c"]}}
    merged = MewsVendor.compose({"entity_type": "Company", "enterprise_ids": ["e"], "start_utc": None}, given)
    assert merged == {"EntityType": "Company", "Scope": {"ChainIds": ["c"], "EnterpriseIds": ["e"]}}
    assert given == {"Scope": {"ChainIds": ["c"]}}


def test_the_same_field_twice_is_an_error() -> None:
    """Nobody can know which one was meant."""
    with pytest.raises(InvalidPayload, match="given by entity_type= and by payload="):
        MewsVendor.compose({"entity_type": "Company"}, {"EntityType": "Bill"})


def test_registry_knows_the_built_in_vendors() -> None:
    """Names lead to classes; an unknown name lists the known ones."""
    assert vendor_class("mews") is MewsVendor
    assert {"giosg", "mews"} <= set(known_vendors())
    with pytest.raises(InvalidConnection, match="known are connhex, giosg, medable, mews, onna"):
        vendor_class("acme")


def test_response_reads_retry_after_and_server_time() -> None:
    """Seconds and HTTP dates are read; the server's clock counts, not ours."""
    date_header = "Thu, 01 Jan 2026 00:00:10 GMT"
    response = Response(429, {"retry-after": "Thu, 01 Jan 2026 00:01:10 GMT", "date": date_header}, b"", 5.0)
    assert response.retry_after == 60
    assert response.server_time == datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC).timestamp()
    assert Response(429, {"retry-after": "7"}).retry_after == 7
    assert Response(429, {"retry-after": "soon"}).retry_after is None
    assert Response(200, {"date": "yesterday"}, b"", 5.0).server_time == 5.0


def test_requests_stay_on_their_origin() -> None:
    """An absolute path is followed on the same scheme, host and port only."""
    base = "https://api.example/v1"
    assert resolve([base], "/x") == "https://api.example/v1/x"
    assert resolve([base], "https://API.example:443/y") == "https://API.example:443/y"
    assert origin("http://h") == ("http", "h", 80)
    for other in ("http://api.example/y", "https://api.example:8443/y", "https://evil.example/y"):
        with pytest.raises(UnsafeLink):
            resolve([base], other)


def test_export_result_holds_no_link() -> None:
    """The JSON that goes to XCom, and every repr, keep links out."""
    file = ExportFile("e1-1.jsonl", "https://files.example/x?sig=SECRET", 3)
    export = Export(
        "mews", "e1", ExportState.READY, files=(file,), expires_at=datetime(2026, 1, 8, tzinfo=UTC)
    )
    assert export.result() == {
        "export_id": "e1",
        "vendor": "mews",
        "state": "ready",
        "created_at": None,
        "expires_at": "2026-01-08T00:00:00Z",
        "files": [{"uri": None, "name": "e1-1.jsonl", "size": 3, "sha256": None}],
    }
    assert "SECRET" not in repr(export)

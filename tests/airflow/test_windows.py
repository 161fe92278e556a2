"""Windows of scheduled exports: no gap and no double between two runs, also when the clocks change.

What a window means is read here as the vendor's documentation says it, not with the code of the client.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pendulum
import pytest
from airflow.providers.common.compat.sdk import DAG
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable, DeltaDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable
from jinja2 import UndefinedError

from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.core.vendor import ConnectionInfo, Vendor
from airflow_provider_exports.exceptions import InvalidPayload
from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.operators.onna import OnnaRunExportOperator
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import run
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")

CHANGE_DAY = datetime(2026, 3, 29, tzinfo=UTC)
START, END = "{{ data_interval_start }}", "{{ data_interval_end }}"
ROOM = "774001f1-e223-5f83-b56f-7511f214f4e0"


class Window(NamedTuple):
    """A window of time; the end is not part of it."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Case:
    """A vendor: an operator with templates, and how the vendor reads its window."""

    operator: Any
    arguments: dict[str, Any]
    window: Callable[[dict[str, Any]], Window]
    connection: dict[str, Any] = field(default_factory=dict)

    def vendor(self, **settings: Any) -> Vendor:
        """The vendor as the task's connection makes it."""
        fields = {"password": "s3same", **self.connection}
        extra = {**fields.pop("extra", {}), **settings}
        return vendor_class(self.operator.vendor_name)(ConnectionInfo("c", extra=extra, **fields))

    def task(self, interval: Window, **changes: Any) -> Any:
        """The task of one run, its templates rendered as Airflow does."""
        with DAG("windows", schedule=None, start_date=datetime(2025, 1, 1, tzinfo=UTC)):
            task = self.operator(task_id="export", **{**self.arguments, **changes})
        start, end = (pendulum.instance(moment) for moment in interval)
        task.render_template_fields(
            {
                "data_interval_start": start,
                "data_interval_end": end,
                "ds": start.strftime("%Y-%m-%d"),
                "task": task,
            }
        )
        return task

    def payload(self, interval: Window, vendor: Vendor | None = None, **changes: Any) -> dict[str, Any]:
        """What the task of one run sends, after all checks."""
        task, vendor = self.task(interval, **changes), vendor or self.vendor()
        parameters = {name: getattr(task, name) for name in task.payload_parameters}
        payload = vendor.prepare(vendor.compose(parameters, task.payload))
        vendor.check(payload, interval.end.timestamp() + 86400)
        return payload


def in_utc(text: str, form: str) -> datetime:
    """A time in exactly this form, which says that it is UTC."""
    return datetime.strptime(text, form).replace(tzinfo=UTC)


def mews_window(payload: dict[str, Any]) -> Window:
    """Start included, end excluded.

    https://github.com/MewsSystems/open-api-docs/blob/main/connector-api/operations/_objects.md
    """
    updated = payload["Filters"]["UpdatedUtc"]
    return Window(*(in_utc(updated[name], "%Y-%m-%dT%H:%M:%SZ") for name in ("StartUtc", "EndUtc")))


def giosg_window(payload: dict[str, Any]) -> Window:
    """Start inclusive, end exclusive.

    https://docs.giosg.com/api_reference/giosg_live/giosg_http_api/exports
    """
    return Window(*(in_utc(payload[name], "%Y-%m-%dT%H:%M:%S.%fZ") for name in ("starting_at", "ending_at")))


def connhex_window(payload: dict[str, Any]) -> Window:
    """Unix seconds; whether the end is included is not published. Here it is not."""
    (item,) = payload["items"]
    bounds = [item["params"][name] for name in ("from", "to")]
    assert all(type(bound) is int for bound in bounds)
    return Window(*(datetime.fromtimestamp(bound, UTC) for bound in bounds))


def onna_window(payload: dict[str, Any]) -> Window:
    """Strictly after one bound and strictly before the other, which are read to the microsecond."""
    after, before = onna_bounds(payload)
    return Window(datetime.fromisoformat(after) + timedelta(microseconds=1), datetime.fromisoformat(before))


def onna_bounds(payload: dict[str, Any]) -> tuple[str, str]:
    conditions = payload["settings"][0]["scope_query"]["advanced"]["and"]
    found = {
        operator: operands[1]
        for condition in conditions
        for operator, operands in condition.items()
        if operands[0] == {"var": "date_modified"}
    }
    assert set(found) == {">", "<"}
    return found[">"], found["<"]


def medable_window(payload: dict[str, Any]) -> Window:
    """``$gte`` includes its operand and ``$lt`` excludes it; the filter is sent as text."""
    bounds = json.loads(payload["where"])["updated"]
    assert set(bounds) == {"$gte", "$lt"}
    return Window(*(in_utc(bounds[name], "%Y-%m-%dT%H:%M:%S.%fZ") for name in ("$gte", "$lt")))


CASES = {
    "mews": Case(
        MewsRunExportOperator,
        {"entity_type": "Payment", "start_utc": START, "end_utc": END},
        mews_window,
        {"extra": {"client_token": "client"}},
    ),
    "giosg": Case(
        GiosgRunExportOperator,
        {"room_id": ROOM, "type": "logs", "format": "csv", "starting_at": START, "ending_at": END},
        giosg_window,
    ),
    "connhex": Case(
        ConnhexRunExportOperator,
        {
            "extension": "csv",
            "channel_id": "00000000-0000-4000-8000-000000000001",
            "subtopic": "events.data",
            "targets": ["urn:cpt:smartdevice:nid:AA01:temp"],
            "from_time": START,
            "to_time": END,
        },
        connhex_window,
        {"login": "ada@example.com"},
    ),
    "onna": Case(
        OnnaRunExportOperator,
        {"title": "Export", "workspace_url": "weekly-archive-T3mWzs"}
        | {"modified_after": START, "modified_before": END},
        onna_window,
        {"login": "ada@example.com", "extra": {"account": "ACME"}},
    ),
    "medable": Case(
        MedableRunExportOperator,
        {"objects": "c_visits", "where": {"updated": {"$gte": START, "$lt": END}}},
        medable_window,
        {"login": "key", "host": "https://api.example.com/my_org"},
    ),
}

# The day after whose start the clocks change, and the hours that it has.
CHANGES = {
    ("UTC", "spring"): (date(2026, 3, 29), 24),
    ("Europe/Helsinki", "spring"): (date(2026, 3, 29), 23),
    ("Europe/Helsinki", "autumn"): (date(2025, 10, 26), 25),
    ("Europe/London", "spring"): (date(2026, 3, 29), 23),
    ("Europe/London", "autumn"): (date(2025, 10, 26), 25),
    ("America/New_York", "spring"): (date(2026, 3, 8), 23),
    ("America/New_York", "autumn"): (date(2025, 11, 2), 25),
}


def intervals(timetable: Any, first: datetime, last: datetime) -> list[Window]:
    """The data intervals that Airflow schedules one after the other, the last one starting at ``last``."""
    restriction = TimeRestriction(pendulum.instance(first), pendulum.instance(last), catchup=True)
    found, interval = [], None
    while info := timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction):
        interval = info.data_interval
        # In UTC, as a run has them, and plain: pendulum's differences cannot be divided.
        plain = (datetime.fromisoformat(moment.isoformat()) for moment in interval)
        found.append(Window(*(moment.astimezone(UTC) for moment in plain)))
    return found


def week(zone: str, season: str, cron: str = "0 0 * * *", around: int = 3) -> list[Window]:
    """The intervals of so many days on both sides of a change, by a cron timetable in that zone."""
    changed, _ = CHANGES[zone, season]
    first = pendulum.datetime(changed.year, changed.month, changed.day, tz=zone).subtract(days=around)
    last = first.add(days=2 * around + 1, seconds=-1)
    return intervals(CronDataIntervalTimetable(cron, timezone=zone), first, last)


def lengths(windows: Sequence[Window]) -> Counter[float]:
    """How many windows there are of each length, hours."""
    return Counter((window.end - window.start) / timedelta(hours=1) for window in windows)


SCHEDULES: dict[str, list[Window]] = {}
for _zone, _season in CHANGES:
    SCHEDULES[f"daily {_zone} {_season}"] = week(_zone, _season)
for _zone, _season in (("Europe/Helsinki", "spring"), ("America/New_York", "autumn")):
    SCHEDULES[f"hourly {_zone} {_season}"] = week(_zone, _season, "0 * * * *", around=1)
# Times that one day of the year does not have, or has twice.
SCHEDULES["at a time that is left out"] = week("Europe/Helsinki", "spring", "30 3 * * *")
SCHEDULES["at a time that comes twice"] = week("America/New_York", "autumn", "30 1 * * *")
_SUNDAY = pendulum.datetime(2026, 3, 29, tz="Europe/Helsinki")
SCHEDULES["every day by delta"] = intervals(
    DeltaDataIntervalTimetable(timedelta(days=1)), _SUNDAY.subtract(days=3), _SUNDAY.add(days=4)
)
SCHEDULES["every 7 hours by delta"] = intervals(
    DeltaDataIntervalTimetable(timedelta(hours=7)), _SUNDAY.subtract(days=2), _SUNDAY.add(days=2)
)


@pytest.mark.parametrize(("zone", "season"), CHANGES)
def test_airflow_makes_whole_days(zone: str, season: str) -> None:
    """What the tests below stand on: a day in a zone is as long as it is there, an hour is an hour."""
    _, hours = CHANGES[zone, season]
    assert lengths(week(zone, season)) == Counter({24: 6}) + Counter({hours: 1})
    assert set(lengths(week(zone, season, "0 * * * *"))) == {1}
    assert len(week(zone, season, "0 * * * *")) == 6 * 24 + hours


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", CASES)
def test_windows_touch(name: str, schedule: str) -> None:
    """In the vendor's own terms the windows are the intervals: each ends where the next one starts."""
    case, planned = CASES[name], SCHEDULES[schedule]
    vendor = case.vendor()
    windows = [case.window(case.payload(interval, vendor)) for interval in planned]
    assert windows == planned
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert lengths(windows) == lengths(planned)


@pytest.mark.parametrize("name", CASES)
def test_windows_with_fractions_of_a_second_touch(name: str) -> None:
    """A vendor that takes whole seconds or milliseconds gets both ends of a window cut in the same way."""
    case = CASES[name]
    start = pendulum.datetime(2026, 3, 26, 1, 2, 3, 456789)
    planned = intervals(DeltaDataIntervalTimetable(timedelta(days=1)), start, start.add(days=7))
    windows = [case.window(case.payload(interval)) for interval in planned]
    assert all(before.end == after.start for before, after in pairwise(windows))
    assert all(
        timedelta() <= interval.start - window.start < timedelta(seconds=1)
        for interval, window in zip(planned, windows, strict=True)
    )


@pytest.mark.parametrize("name", CASES)
def test_repeated_run_sends_the_same_bytes(name: str) -> None:
    """A second try, a cleared task or a backfill of an interval is recognised as the same export.

    Also when the run holds the same instants in another zone, as one that was started with a date may.
    """
    case = CASES[name]
    seen = set()
    for interval in week("Europe/Helsinki", "spring"):
        local = Window(*(pendulum.instance(moment).in_timezone("Europe/Helsinki") for moment in interval))
        payloads = [json.dumps(case.payload(one)) for one in (interval, interval, local)]
        assert len(set(payloads)) == 1
        seen.add(payloads[0])
    assert len(seen) == 7


@pytest.mark.parametrize("name", CASES)
def test_window_is_left_to_settle(name: str) -> None:
    """What is written late is waited for: no window is exported before its end and the ``settle_delay``."""
    case = CASES[name]
    vendor = case.vendor(settle_delay=1234)
    for interval in week("Europe/Helsinki", "autumn"):
        assert vendor.settled_at(case.payload(interval, vendor)) == interval.end.timestamp() + 1234


@pytest.mark.parametrize("name", CASES)
def test_interval_without_length_is_refused(name: str) -> None:
    """What Airflow 3 makes of a plain cron text: the error says what to write in its place."""
    midnight = pendulum.datetime(2026, 3, 29)
    (planned,) = intervals(CronTriggerTimetable("@daily", timezone="UTC"), midnight, midnight)
    assert planned.start == planned.end == midnight
    with pytest.raises(InvalidPayload, match="CronDataIntervalTimetable"):
        CASES[name].payload(planned)


@pytest.mark.parametrize("name", CASES)
def test_run_without_interval_fails(name: str) -> None:
    """Airflow 3 starts a run without a date when asked to: nothing is exported rather than everything."""
    with DAG("by_hand", schedule=None, start_date=datetime(2025, 1, 1, tzinfo=UTC)):
        task = CASES[name].operator(task_id="export", **CASES[name].arguments)
    with pytest.raises(UndefinedError, match="data_interval_start"):
        task.render_template_fields({"task": task})


# Mews's ledger entries have posting dates in the place of a window, and both are included.
LOCAL_DATES = {
    "posting_start": "{{ data_interval_start.in_timezone('ZONE') | ds }}",
    "posting_end": "{{ data_interval_end.in_timezone('ZONE').subtract(days=1) | ds }}",
}
UTC_DATES = dict.fromkeys(LOCAL_DATES, "{{ data_interval_start | ds }}")


def posting_dates(planned: Sequence[Window], templates: dict[str, str], zone: str = "UTC") -> Counter[str]:
    """How often each posting date is exported."""
    found: Counter[str] = Counter()
    arguments: dict[str, Any] = {name: text.replace("ZONE", zone) for name, text in templates.items()}
    for interval in planned:
        payload = CASES["mews"].payload(
            interval, entity_type="LedgerEntry", start_utc=None, end_utc=None, **arguments
        )
        posting = payload["Filters"]["LedgerEntryFilters"]["Posting"]
        first, last = (date.fromisoformat(posting[name]) for name in ("Start", "End"))
        found.update(str(first + timedelta(days=n)) for n in range((last - first).days + 1))
    return found


@pytest.mark.parametrize("cron", ["0 0 * * *", "0 0 * * 1"], ids=["daily", "weekly"])
@pytest.mark.parametrize(("zone", "season"), CHANGES)
def test_posting_dates_come_once(zone: str, season: str, cron: str) -> None:
    """Each date of four weeks is in one export, also where a day has 23 or 25 hours."""
    changed, _ = CHANGES[zone, season]
    middle = pendulum.datetime(changed.year, changed.month, changed.day, tz=zone)
    timetable = CronDataIntervalTimetable(cron, timezone=zone)
    planned = intervals(timetable, middle.subtract(days=14), middle.add(days=7))
    first, end = (pendulum.instance(planned[n][n]).in_timezone(zone).date() for n in (0, -1))
    expected = [str(first + timedelta(days=n)) for n in range((end - first).days)]
    assert len(expected) >= 20
    assert posting_dates(planned, LOCAL_DATES, zone) == Counter(expected)


def test_posting_dates_in_utc_are_not_those_of_the_zone() -> None:
    """Why the templates above name the zone: a local midnight is in summer on the day before in UTC."""
    assert posting_dates(week("Europe/London", "spring"), UTC_DATES)["2026-03-29"] == 2
    assert "2025-10-26" not in posting_dates(week("Europe/London", "autumn"), UTC_DATES)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Helsinki", "America/New_York"])
def test_onna_whole_days_leave_no_gap(zone: str) -> None:
    """With ``time_form`` set to ``date``: exact if a date is its whole day, a day too much if midnight."""
    case = CASES["onna"]
    vendor = case.vendor(time_form="date")
    bounds = [onna_bounds(case.payload(interval, vendor)) for interval in week(zone, "spring")]
    days = [(date.fromisoformat(after), date.fromisoformat(before)) for after, before in bounds]
    assert all(before == after + timedelta(days=2) for after, before in days)
    assert all(left[1] == right[0] + timedelta(days=1) for left, right in pairwise(days))


# -- end to end: the rows that come out of the simulated vendors


Rows = Counter[tuple[str, ...]]


def csv_rows(content: bytes) -> Rows:
    _, *rows = csv.reader(io.StringIO(content.decode()))
    return Counter(map(tuple, rows))


def onna_rows(content: bytes) -> Rows:
    archive = zipfile.ZipFile(io.BytesIO(content))
    (table,) = [name for name in archive.namelist() if name.endswith(".csv")]
    rows = csv.DictReader(io.StringIO(archive.read(table).decode()))
    # The control numbers count anew in each export.
    return Counter((row["resource_name"], row["date_modified"]) for row in rows)


def medable_rows(content: bytes) -> Rows:
    archive = zipfile.ZipFile(io.BytesIO(content))
    (name,) = archive.namelist()
    records = map(json.loads, archive.read(name).splitlines())
    return Counter((record["_id"], record["updated"]) for record in records)


def mews_rows(content: bytes) -> Rows:
    return Counter((record["Id"], record["UpdatedUtc"]) for record in map(json.loads, content.splitlines()))


# Where the rows of a file are, and which of a row's fields says when it was.
FILES: dict[str, tuple[Callable[[bytes], Rows], int]] = {
    "mews": (mews_rows, 1),
    "giosg": (csv_rows, 1),
    "connhex": (csv_rows, 0),
    "onna": (onna_rows, 1),
    "medable": (medable_rows, 1),
}


@pytest.fixture
def exported(simulator: Simulator, tmp_path: Path) -> Callable[..., Rows]:
    """Export a window from the simulated vendor and return the rows that landed."""
    for vendor in CASES:
        simulator.configure(vendor, ready_after_seconds=0)
    # One record a day since 2025.
    simulator.configure("medable", rows=500)
    room = simulator.rooms()[0]["id"]

    def export(name: str, interval: Window) -> Rows:
        changes = {"room_id": room} if name == "giosg" else {}
        task = CASES[name].task(interval, destination=tmp_path.as_uri(), deferrable=False, **changes)
        rows, _ = FILES[name]
        files = run(lambda: task)["files"]
        return sum((rows(Path(urlsplit(file["uri"]).path).read_bytes()) for file in files), Counter())

    return export


@pytest.mark.parametrize(("zone", "season"), [("Europe/Helsinki", "spring"), ("America/New_York", "autumn")])
@pytest.mark.parametrize("name", sorted(set(FILES) - {"mews"}))
def test_days_give_the_rows_of_the_week(
    name: str, zone: str, season: str, exported: Callable[..., Rows]
) -> None:
    """Seven daily exports hold each row of one export over the week, and each once."""
    days = week(zone, season)
    whole = exported(name, Window(days[0].start, days[-1].end))
    parts = [exported(name, day) for day in days]
    assert sum(parts, Counter()) == whole
    assert len(whole) >= 5
    assert sum(1 for part in parts if part) >= 3


@pytest.mark.parametrize("name", sorted(set(FILES) - {"mews"}))
def test_row_at_a_border_comes_once(name: str, exported: Callable[..., Rows]) -> None:
    """Windows cut exactly at the times of rows: each such row is in the window that starts with it."""
    days = week("Europe/Helsinki", "autumn")
    outer = Window(days[0].start, days[-1].end)
    whole = exported(name, outer)
    _, place = FILES[name]
    times = sorted({datetime.fromisoformat(row[place]) for row in whole})
    borders = [outer.start, *times[1 :: max(1, len(times) // 4)], outer.end]
    assert len(borders) >= 5
    parts = [exported(name, Window(*border)) for border in pairwise(borders)]
    assert sum(parts, Counter()) == whole
    for border, part in zip(borders[1:-1], parts[1:], strict=True):
        assert border in {datetime.fromisoformat(row[place]) for row in part}


def test_mews_windows_hold_each_record_once(simulator: Simulator, exported: Callable[..., Rows]) -> None:
    """The windows that arrived at Mews, read as its documentation does, hold each record of a week once.

    The simulated Mews makes up its records anew for each window, so their own rows cannot be compared.
    """
    simulator.configure("mews", rows=100)
    days = week("Europe/Helsinki", "spring")
    whole = exported("mews", Window(days[0].start, days[-1].end))
    for day in days:
        exported("mews", day)
    _, *windows = [mews_window(request.body) for request in simulator.requests("mews", "create")]
    assert len(windows) == 7
    moments = [datetime.fromisoformat(updated) for _, updated in whole]
    assert len(moments) == 200
    for moment in (*moments, *(window.start for window in windows)):
        assert sum(window.start <= moment < window.end for window in windows) == 1


def test_giosg_overlap_brings_chats_across_a_border(
    connect: Connect, simulator: Simulator, exported: Callable[..., Rows]
) -> None:
    """Should giosg take chats that lie in the range as a whole, ``overlap`` finds those across a border."""
    simulator.configure("giosg", membership="both")
    days = week("Europe/Helsinki", "spring", "0 */2 * * *", around=1)[:20]
    outer = Window(days[0].start, days[-1].end)
    whole = set(exported("giosg", outer))
    assert set().union(*(exported("giosg", day) for day in days)) < whole
    connect("giosg", overlap=5400)
    parts: Rows = sum((exported("giosg", day) for day in days), Counter())
    assert set(parts) == set(exported("giosg", outer))
    assert set(parts) >= whole
    assert max(parts.values()) > 1
    assert len({row[0] for row in parts}) == len(parts)


def test_giosg_overlap_does_not_hide_an_interval_without_length() -> None:
    """With overlap, a plain cron text on Airflow 3 must be refused too, not export the overlap alone."""
    case = CASES["giosg"]
    with pytest.raises(InvalidPayload, match="CronDataIntervalTimetable"):
        case.payload(Window(CHANGE_DAY, CHANGE_DAY), case.vendor(overlap=3600))


def test_giosg_overlap_does_not_hide_a_range_that_ends_before_it_starts() -> None:
    """The same for a range that is the wrong way round by less than the overlap."""
    case = CASES["giosg"]
    with pytest.raises(InvalidPayload, match="later than starting_at"):
        case.payload(Window(CHANGE_DAY, CHANGE_DAY - timedelta(minutes=30)), case.vendor(overlap=3600))


def test_giosg_takes_a_month_with_an_extra_hour() -> None:
    """October has 31 days and an hour where the clocks go back; our own limit of 31 days must allow it."""
    monthly = CronDataIntervalTimetable("0 0 1 * *", timezone="Europe/Helsinki")
    october = pendulum.datetime(2025, 10, 1, tz="Europe/Helsinki")
    (interval,) = intervals(monthly, october, october)
    assert interval.end - interval.start == timedelta(days=31, hours=1)
    CASES["giosg"].payload(interval)


def test_onna_whole_days_need_a_timetable_in_utc() -> None:
    """In London the day of the spring change lies within one date of UTC; the error names the way out."""
    vendor = CASES["onna"].vendor(time_form="date")
    (short,) = (one for one in week("Europe/London", "spring") if one.end - one.start < timedelta(days=1))
    with pytest.raises(InvalidPayload, match="use a timetable in UTC"):
        CASES["onna"].payload(short, vendor)


@pytest.mark.parametrize("name", CASES)
def test_clock_a_second_behind_waits(name: str, simulator: Simulator) -> None:
    """A worker whose clock is a second behind the scheduler's waits for the end."""
    end = simulator.now() + timedelta(seconds=1)
    changes = {"room_id": simulator.rooms()[0]["id"]} if name == "giosg" else {}
    task = CASES[name].task(Window(end - timedelta(hours=1), end), deferrable=False, **changes)
    assert run(lambda: task)["state"] == "ready"

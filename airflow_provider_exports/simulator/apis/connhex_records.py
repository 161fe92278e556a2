"""An invented past of measured values, and the files made of it; no device in it exists."""

import math
import random
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_exports.simulator import documents
from airflow_provider_exports.simulator.apis.connhex_documents import Row, csv_line, pdf
from airflow_provider_exports.simulator.apis.connhex_periods import Duration
from airflow_provider_exports.simulator.apis.connhex_rules import is_channel_data
from airflow_provider_exports.simulator.content import FileContent, padded_lines

__all__ = ["file_content", "file_name"]

DEFAULT_COLUMNS = ("time", "name", "value")
_GRID = 300
_MOST_SAMPLES = 20_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
_STEP_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNSAFE = re.compile(r"[^A-Za-z0-9 ._()-]")
_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "avg": statistics.fmean,
    "max": max,
    "min": min,
    "sum": math.fsum,
    "stddev": statistics.pstdev,
    "variance": statistics.pvariance,
}

Sample = tuple[datetime, float]


def file_name(request: dict[str, Any], notes: dict[str, Any], export_id: str) -> str:
    """Name of the one file of an export, of letters that are safe in a header."""
    wanted, extension = request["format"].get("filename"), request["format"]["extension"]
    if _packed(request, notes):
        return f"{_safe(wanted or export_id)}.zip"
    named = request["items"][0].get("filename") if request["items"] else None
    return f"{_safe(named or wanted or export_id)}.{extension}"


def file_content(request: dict[str, Any], notes: dict[str, Any], run_at: datetime) -> FileContent:
    """The one file of an export; the same request at the same time gives the same bytes."""
    if not _packed(request, notes):
        item = request["items"][0] if request["items"] else {"params": {}}
        return _item_file(request, notes, item, run_at, notes["bytes"])
    files: dict[str, bytes] = {}
    for number, item in enumerate(request["items"], 1):
        stem, extension = _safe(item.get("filename") or f"item-{number}"), request["format"]["extension"]
        name = f"{stem}.{extension}"
        if name in files:
            name = f"{stem}-{number}.{extension}"
        files[name] = _item_file(request, notes, item, run_at, None).read()
    return FileContent(head=documents.archive(files))


def _packed(request: dict[str, Any], notes: dict[str, Any]) -> bool:
    return len(request["items"]) > 1 and notes["packing"] == "zip"


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip(" .") or "export"


def _item_file(
    request: dict[str, Any], notes: dict[str, Any], item: dict[str, Any], run_at: datetime, size: int | None
) -> FileContent:
    header, rows = _table(request["format"], notes, item["params"], run_at)
    extension = request["format"]["extension"]
    if extension == "pdf":
        return FileContent(head=pdf([header, *rows]))
    if extension != "csv":
        return FileContent(head=documents.workbook([header, *rows]))
    spreadsheet = notes["csv_dialect"] == "spreadsheet"
    end, mark = ("\r\n", b"\xef\xbb\xbf") if spreadsheet else ("\n", b"")
    delimiter = request["format"].get("csvDelimiter") or ","
    head = mark + csv_line(header, delimiter, end)
    lines = [csv_line(row, delimiter, end) for row in rows]
    if size is None:
        return FileContent(head=head + b"".join(lines))
    return padded_lines(head, lines or [b"\n"], size)


def _table(
    form: dict[str, Any], notes: dict[str, Any], params: dict[str, Any], run_at: datetime
) -> tuple[Row, list[Row]]:
    """Header and rows. What ``template`` does is not documented; it does nothing here."""
    columns = form.get("columns") or []
    if not is_channel_data(params):
        return _resources(columns, notes)
    series = [
        (urn, label, _series(params, urn, notes, run_at))
        for urn, label in zip(*_targets(params["target"]), strict=True)
    ]
    zone = form.get("timezone", "utc")

    def shown(moment: datetime) -> str:
        return _local(moment, zone)

    if params.get("outputFormat") == "wide":
        return _wide(columns, series, shown)
    named = [(column["id"], column["label"]) for column in columns] or [(one, one) for one in DEFAULT_COLUMNS]
    cells: dict[str, Callable[[str, str, Sample], str]] = {
        "time": lambda _urn, _label, sample: shown(sample[0]),
        "created": lambda _urn, _label, sample: shown(sample[0] + timedelta(seconds=1)),
        "name": lambda _urn, label, _sample: label,
        "value": lambda _urn, _label, sample: _number(sample[1]),
        "publisher": lambda urn, _label, _sample: ":".join(urn.split(":")[:-1]),
        "channel": lambda _urn, _label, _sample: params["channelId"],
        "unit": lambda _urn, _label, _sample: "Cel",
    }
    rows: list[Row] = [
        [cells[name](urn, label, sample) if name in cells else "" for name, _title in named]
        for urn, label, samples in series
        for sample in samples
    ]
    return [title for _name, title in named], rows


def _wide(
    columns: list[dict[str, str]],
    series: list[tuple[str, str, list[Sample]]],
    shown: Callable[[datetime], str],
) -> tuple[Row, list[Row]]:
    """The time and one column per target, in the order of the columns that name them, then the others."""
    titles = {column["id"]: column["label"] for column in columns}
    by_urn = {urn: dict(samples) for urn, _label, samples in series}
    heads = {urn: titles.get(urn, titles.get(label, label)) for urn, label, _samples in series}
    places = {name: number for number, name in enumerate(titles)}
    last = len(places)
    order = sorted(series, key=lambda one: places.get(one[0], places.get(one[1], last)))
    moments = sorted({moment for samples in by_urn.values() for moment in samples})
    rows: list[Row] = []
    for moment in moments:
        values = [by_urn[urn].get(moment) for urn, _label, _samples in order]
        rows.append([shown(moment), *("" if value is None else _number(value) for value in values)])
    return [titles.get("time", "time"), *(heads[urn] for urn, _label, _samples in order)], rows


def _resources(columns: list[dict[str, str]], notes: dict[str, Any]) -> tuple[Row, list[Row]]:
    """Ten invented resources; nothing is known of what can be asked about them."""
    named = [(column["id"], column["label"]) for column in columns] or [("thing.id", "thing.id")]
    count = 10 if notes["rows"] is None else notes["rows"]
    rows: list[Row] = [[f"{name} {number + 1}" for name, _title in named] for number in range(count)]
    return [title for _name, title in named], rows


def _targets(target: dict[str, str]) -> tuple[Sequence[str], Sequence[str]]:
    # A target named twice is one series.
    urns = list(dict.fromkeys(urn.strip() for urn in target["value"].split(",")))
    labels = [label.strip() for label in target.get("label", "").split(",")]
    return urns, labels if len(labels) == len(urns) and all(labels) else urns


def _series(params: dict[str, Any], urn: str, notes: dict[str, Any], run_at: datetime) -> list[Sample]:
    start, end = _window(params, notes, run_at)
    samples = list(_samples(f"{params['channelId']}|{params['subtopic']}|{urn}", start, end, notes["rows"]))
    if "decimation" in params:
        samples = _decimated(samples, **params["decimation"])
    if params.get("transform") == "delta":
        samples = [(after[0], after[1] - before[1]) for before, after in pairwise(samples)]
    return samples


def _window(params: dict[str, Any], notes: dict[str, Any], run_at: datetime) -> tuple[datetime, datetime]:
    """Half-open; a period ends with the run, and without any bound it is the day before the run."""
    fixed = "from" in params or "to" in params
    if "period" in params and not (fixed and notes["range_policy"] == "fixed"):
        period = Duration.parse(params["period"], "loose")
        try:
            return max(_EARLIEST, period.after(run_at, -1)), run_at
        except OverflowError:
            return _EARLIEST, run_at
    end = _moment(params["to"]) if "to" in params else run_at
    start = _moment(params["from"]) if "from" in params else end - timedelta(days=1)
    return start, end


def _moment(seconds: float) -> datetime:
    try:
        return min(_LATEST, max(_EARLIEST, _EPOCH + timedelta(seconds=seconds)))
    except OverflowError:
        return _EARLIEST


def _samples(source: str, start: datetime, end: datetime, rows: int | None) -> Iterator[Sample]:
    """One sample per grid point, so that neighbouring ranges neither share nor lose one."""
    if rows is not None:
        step = max(timedelta(), end - start) / max(rows, 1)
        yield from ((start + step * n, _value(source, n)) for n in range(rows))
        return
    grid = timedelta(seconds=_GRID)
    first, stop = -((_EPOCH - start) // grid), -((_EPOCH - end) // grid)
    # A long range is sampled less often, not cut off.
    stride = max(1, -((first - stop) // _MOST_SAMPLES))
    for number in range(-(-first // stride) * stride, stop, stride):
        yield _EPOCH + grid * number, _value(source, number)


def _value(source: str, number: int) -> float:
    wave = math.sin(number * 2 * math.pi * _GRID / 86400)
    return round(20 + 5 * wave + random.Random(f"{source}|{number}").uniform(-1, 1), 2)


def _decimated(samples: list[Sample], ds: str, dsf: str) -> list[Sample]:
    """One value per step, at its beginning; steps lie on the calendar in UTC."""
    buckets: dict[datetime, list[float]] = {}
    for moment, value in samples:
        buckets.setdefault(_step_of(moment, int(ds[:-1]), ds[-1]), []).append(value)
    return [(moment, round(_AGGREGATES[dsf](values), 6)) for moment, values in buckets.items()]


def _step_of(moment: datetime, count: int, unit: str) -> datetime:
    if unit in _STEP_SECONDS:
        try:
            step = timedelta(seconds=count * _STEP_SECONDS[unit])
            return _EPOCH + (moment - _EPOCH) // step * step
        except OverflowError:
            return _EARLIEST
    months = min(count, 1000) * (12 if unit == "y" else 1)
    index = (moment.year * 12 + moment.month - 1) // months * months
    return datetime(max(1, index // 12), index % 12 + 1, 1, tzinfo=UTC)


def _local(moment: datetime, zone: str) -> str:
    if zone.lower() == "utc":
        return moment.isoformat().replace("+00:00", "Z")
    try:
        return moment.astimezone(ZoneInfo(zone)).isoformat()
    except (LookupError, OSError, OverflowError, ValueError):
        # A switch lets any word pass as a time zone.
        return moment.isoformat().replace("+00:00", "Z")


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")

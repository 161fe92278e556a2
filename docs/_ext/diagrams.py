"""Pictures that the documentation takes from the code, as SVG, and the same in words.

They are drawn from what happens: the hooks of this package work against the simulated vendors while the
documentation is built, and what they meet and send is the picture. Needs no Sphinx and no network.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_provider_exports.core import ExportState
from airflow_provider_exports.core.registry import BUILT_IN, vendor_class
from airflow_provider_exports.exceptions import ExportNotFound
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.simulator import Simulator

__all__ = [
    "Step",
    "Transition",
    "picture",
    "requests_of",
    "requests_picture",
    "states_picture",
    "transitions",
    "transitions_table",
    "words",
]

CREATED = "create"
"""What comes before the first state."""

PAYLOADS: dict[str, dict[str, Any]] = {
    "connhex": {
        "type": "oneTime",
        "format": {"extension": "csv"},
        "items": [
            {
                "params": {
                    "channelId": "00000000-0000-4000-8000-000000000001",
                    "subtopic": "events.data",
                    "target": {"value": "urn:cpt:smartdevice:nid:AA01:temp"},
                    "from": 1767225600,
                    "to": 1767312000,
                }
            }
        ],
    },
    "giosg": {
        "room_id": "774001f1-e223-5f83-b56f-7511f214f4e0",
        "type": "logs",
        "format": "csv",
        "starting_at": "2026-01-01T00:00:00Z",
        "ending_at": "2026-01-02T00:00:00Z",
    },
    "medable": {"objects": "c_visits"},
    "mews": {"EntityType": "Bill"},
    "onna": {
        "title": "week",
        "workspace_url": "weekly-archive",
        "modified_after": "2026-01-01",
        "modified_before": "2026-01-08",
    },
}
"""A small export of each vendor."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{20,24}")


def picture(name: str, *arguments: str) -> str:
    """Return the picture that the documentation calls ``name``, as SVG."""
    return {"states": states_picture, "requests": requests_picture}[name](*arguments)


def words(name: str, *_arguments: str) -> str:
    """Return what stands below the picture, as Markdown: what is hard to read from it."""
    return transitions_table() if name == "states" else ""


@dataclass(frozen=True)
class Transition:
    """One change of state that was met."""

    before: str
    """State before it, or :data:`CREATED`."""
    after: ExportState
    vendors: tuple[str, ...]
    """Display names of the vendors at which it was met; in words only, where ``met`` is false."""
    met: bool = True
    """False for a state that a vendor has a word for, but that no simulated one comes to by itself."""


@dataclass(frozen=True)
class Step:
    """What a task sends in one part of its work."""

    title: str
    outcome: str
    """What the part ends with."""
    requests: Sequence[tuple[str, str, str, int]] = field(default_factory=tuple)
    """Where it goes (``api`` or ``files``), request, answer, and how often in a row."""


@contextmanager
def _connected(simulator: Simulator, vendor: str) -> Iterator[ExportHook]:
    """Yield a hook for the simulated vendor."""
    name = f"AIRFLOW_CONN_DIAGRAM_{vendor.upper()}"
    connection = simulator.connection(vendor)
    # Nobody is to wait here.
    connection["extra"] = {**connection["extra"], "max_requests": 0}
    os.environ[name] = json.dumps(connection)
    try:
        yield ExportHook(f"diagram_{vendor}")
    finally:
        del os.environ[name]


@cache
def transitions() -> tuple[Transition, ...]:
    """Return all changes of state that exports of the simulated vendors go through, as the hooks see them."""
    met: dict[tuple[str, ExportState], list[str]] = {}
    with Simulator() as simulator:
        for vendor in BUILT_IN:
            display = vendor_class(vendor).display_name
            for outcome in ("success", "failed"):
                simulator.reset()
                simulator.configure(vendor, ready_after_reads=4, outcome=outcome)
                with _connected(simulator, vendor) as hook:
                    for pair in _life(hook, simulator):
                        names = met.setdefault(pair, [])
                        if display not in names:
                            names.append(display)
    found = [Transition(before, after, tuple(names)) for (before, after), names in met.items()]
    reached = {one.after for one in found}
    last = [state for state in ExportState if not state.finished][-1]
    for state in ExportState:
        words = [vendor_class(name) for name in BUILT_IN if state in vendor_class(name).states.values()]
        if state not in reached:
            found.append(Transition(last, state, tuple(cls.display_name for cls in words), met=False))
    order = [CREATED, *ExportState]
    return tuple(sorted(found, key=lambda one: (order.index(one.before), order.index(one.after))))


def _life(hook: ExportHook, simulator: Simulator) -> Iterator[tuple[str, ExportState]]:
    """Yield the changes of state of one export, from its create to the end of its files."""
    vendor = hook.vendor.name
    export = hook.create_export(PAYLOADS[vendor])
    yield CREATED, export.state
    for _ in range(50):
        if export.state in (ExportState.FAILED, ExportState.EXPIRED):
            return
        if export.state is ExportState.READY:
            (record,) = simulator.exports(vendor)
            simulator.set_state(vendor, record.id, "expired")
        before = export.state
        try:
            export = hook.get_export(export.export_id)
        except ExportNotFound:
            # To a task an export that was there and is gone has expired: core.watch.vanished.
            export = replace(export, state=ExportState.EXPIRED)
        if export.state is not before:
            yield before, export.state
    raise AssertionError(f"an export of {vendor} does not end")


def transitions_table() -> str:
    """The changes of state in words, as Markdown."""
    everywhere = len(BUILT_IN)
    rows = []
    for one in transitions():
        where = "all" if len(one.vendors) == everywhere else ", ".join(one.vendors)
        before = "a create" if one.before == CREATED else f"`{one.before}`"
        rows.append(f"| {before} | `{one.after.value}` | {where if one.met else f'where {where} says so'} |")
    return "\n".join(["| from | to | at |", "| --- | --- | --- |", *rows])


_WIDTH, _HEIGHT, _ACROSS, _DOWN = 112, 36, 168, 84


def states_picture() -> str:
    """The life of an export: every state, and every change of state that was met."""
    places = _places()
    parts = []
    for one in transitions():
        kind = "met" if one.met else "said"
        parts.append(f'<path class="{kind}" marker-end="url(#exports-tip)" d="{_arrow(places, one)}"/>')
    for name, (x, y) in places.items():
        if name == CREATED:
            parts.append(f'<circle class="start" cx="{x + _WIDTH - 6}" cy="{y + _HEIGHT / 2}" r="6"/>')
            parts.append(_text(x + _WIDTH - 20, y + _HEIGHT / 2, name, "small", "end"))
            continue
        state = ExportState(name)
        kind = "good" if state is ExportState.READY else "end" if state.finished else "open"
        parts.append(
            f'<rect class="{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="8"/>'
            + _text(x + _WIDTH / 2, y + _HEIGHT / 2, state.value, "", "middle")
        )
    width = max(x for x, _ in places.values()) + _WIDTH + 8
    height = max(y for _, y in places.values()) + _HEIGHT + 16
    told = "; ".join(f"{one.before} to {one.after.value}" for one in transitions())
    return _svg("The life of an export", f"Changes of state: {told}.", width, height, parts)


def _places() -> dict[str, tuple[float, float]]:
    """Return the upper left corner of each state: to the right of all that it can come from."""
    column = {CREATED: 0}
    for _ in ExportState:
        for one in transitions():
            column[one.after] = max(column.get(one.after, 0), column.get(one.before, 0) + 1)
    places = {}
    for number in sorted(set(column.values())):
        names = [name for name in (CREATED, *ExportState) if column.get(name) == number]
        # The one that others come from stands on the line, the ends below it.
        names.sort(key=lambda name: not any(one.before == name for one in transitions()))
        for row, name in enumerate(names):
            places[name] = (8 + number * _ACROSS - (_ACROSS / 4 if number else 0), 40 + row * _DOWN)
    return places


def _arrow(places: Mapping[str, tuple[float, float]], one: Transition) -> str:
    (x1, y1), (x2, y2) = places[one.before], places[one.after]
    x1, y1, y2 = x1 + _WIDTH, y1 + _HEIGHT / 2, y2 + _HEIGHT / 2
    if x2 - x1 > _ACROSS and y1 == y2:
        # Over a state that is left out.
        middle = y1 - _HEIGHT * 1.4
        top = y2 - _HEIGHT / 2 - 3
        return f"M{x1},{y1} C{x1 + 30},{middle} {x2 + 20},{middle} {x2 + _WIDTH / 2},{top}"
    return f"M{x1},{y1} C{x1 + 30},{y1} {x2 - 40},{y2} {x2 - 3},{y2}"


@cache
def requests_of(vendor: str) -> tuple[Step, ...]:
    """Return what one export costs in requests, from its create to its files, as the simulator saw them."""
    steps = []
    with Simulator() as simulator, TemporaryDirectory() as folder, _connected(simulator, vendor) as hook:
        simulator.configure(vendor, ready_after_reads=1)

        def step(title: str, outcome: str) -> None:
            seen = [
                (record.origin, f"{record.method} {_short(record.path, vendor)}", f"{record.status}")
                for record in simulator.requests(vendor)[sum(counts) :]
            ]
            counts.append(len(seen))
            grouped = tuple((*request, len(list(same))) for request, same in groupby(seen))
            steps.append(Step(title, outcome, grouped))

        counts: list[int] = []
        export = hook.create_export(PAYLOADS[vendor])
        step("create", f"{export.state.value}, with an id")
        export = hook.wait_for_export(export.export_id, timeout=60.0)
        step("wait, each look", f"{export.state.value} at last")
        result = hook.download_export(export.export_id, Path(folder).as_uri())
        many = len(result["files"])
        step("land", f"{many} {'file' if many == 1 else 'files'}, checked and published")
    return tuple(steps)


def _short(path: str, vendor: str) -> str:
    return _ID.sub("…", path.removeprefix(f"/{vendor}"))


def requests_picture(vendor: str) -> str:
    """What one export costs in requests: arrows from a task to the API and the file host, in their order."""
    name = vendor_class(vendor).display_name
    lanes = {"task": 20.0, "api": 500.0}
    if any(request[0] == "files" for step in requests_of(vendor) for request in step.requests):
        lanes["files"] = 680.0
    titles = {"task": "task", "api": f"{name}'s API", "files": "file host"}
    parts, told, y = [], [], 48.0
    for step in requests_of(vendor):
        parts.append(_text(32, y + 8, step.title, "title", "start"))
        y += 38
        for where, request, answer, times in step.requests:
            again = f", {times} times" if times > 1 else ""
            parts.append(_text(32, y - 9, f"{request} → {answer}{again}", "small", "start"))
            parts.append(
                f'<path class="met" marker-end="url(#exports-tip)" d="M20,{y} H{lanes[where] - 4}"/>'
            )
            told.append(f"{step.title}: {request}{again}")
            y += 32
        parts.append(_text(32, y - 8, step.outcome, "outcome", "start"))
        y += 22
    heads = []
    for lane, x in lanes.items():
        anchor = "start" if lane == "task" else "middle"
        heads.append(_text(x if lane != "task" else 8, 16, titles[lane], "title", anchor))
        heads.append(f'<path class="lane" d="M{x},28 V{y}"/>')
    width = max(lanes.values()) + 64
    return _svg(f"The requests of one {name} export", "; ".join(told), width, y + 4, heads + parts)


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> str:
    return (
        f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}" '
        f'dominant-baseline="middle">{html.escape(text)}</text>'
    )


_STYLE = """
.exports-diagram { max-width: 100%; height: auto; font: 14px sans-serif; }
.exports-diagram text { fill: var(--color-foreground-primary, #111); }
.exports-diagram .small { font: 13px monospace; }
.exports-diagram .title { font-weight: bold; }
.exports-diagram .outcome { font-style: italic; font-size: 13px; }
.exports-diagram path { fill: none; stroke: var(--color-foreground-secondary, #555); stroke-width: 1.5; }
.exports-diagram .said { stroke-dasharray: 5 4; }
.exports-diagram .lane { stroke-width: 1; stroke-dasharray: 2 4; }
.exports-diagram .start, .exports-diagram .tip { stroke: none; }
.exports-diagram .start, .exports-diagram .tip { fill: var(--color-foreground-secondary, #555); }
.exports-diagram rect { fill: none; stroke: var(--color-foreground-secondary, #555); stroke-width: 1.5; }
.exports-diagram .good { stroke: #2a8a4a; stroke-width: 3; }
.exports-diagram .end { stroke-dasharray: 5 4; }
"""


def _svg(title: str, told: str, width: float, height: float, parts: Sequence[str]) -> str:
    tip = (
        '<defs><marker id="exports-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 z"/></marker></defs>'
    )
    return (
        f'<svg class="exports-diagram" role="img" aria-label="{html.escape(f"{title}. {told}")}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" xmlns="http://www.w3.org/2000/svg">'
        f"<style>{_STYLE}</style>{tip}{''.join(parts)}</svg>"
    )

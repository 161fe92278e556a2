"""One export per task instance, whatever dies and whenever; the documentation shows the same table."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_provider_exports.core.registry import BUILT_IN
from airflow_provider_exports.durable import TaskMemory
from airflow_provider_exports.exceptions import InvalidConnection
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.landing.host import Body, FileHost
from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator
from airflow_provider_exports.operators.export import RunExportOperator
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.operators.onna import OnnaRunExportOperator
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.transports.asynchronous import AsyncTransport
from airflow_provider_exports.transports.blocking import BlockingTransport
from airflow_provider_exports.triggers.export import MINIMUM_DELAY, ExportTrigger
from tests.airflow.both_modes import fire
from tests.airflow.tries import Killed, Store, TaskInstance

pytestmark = pytest.mark.filterwarnings("ignore")

ROOT = Path(__file__).parents[2]


def crashes_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "exports_doc_crashes", ROOT / "docs" / "_ext" / "crashes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what is expected ------------------------------------------------------------------------------------

POINTS = {
    "before the create": "before the create is sent",
    "create sent": "the vendor has the create, its answer is not read",
    "create answered": "the create is answered, nothing is written down",
    "written down": "the id is written down",
    "waiting": "in the middle of the wait: the worker, or the triggerer",
    "event fired": "the wait is over, the worker that goes on dies at once",
    "resumed": "at the first request after the wait",
    "half a file": "half of a file is fetched",
    "all files": "all files are published, Airflow does not know yet",
}
"""Where something dies."""
DEFERRED_ONLY = frozenset({"event fired", "resumed"})
"""What does not exist while a worker waits."""


@dataclass(frozen=True)
class Cell:
    """One kind of death."""

    vendor: str
    point: str
    lasting: bool
    deferrable: bool

    @property
    def exports(self) -> int:
        """How many exports the vendor makes in all."""
        if self.vendor != "mews" or self.point == "before the create":
            return 1
        if self.point == "waiting" and self.deferrable:
            # The trigger knows the id, and a task that is deferred goes on with its try.
            return 1
        # Mews has no list, no idempotency key and no cancel: an id that nobody has written down is lost. One
        # export per entity type is active at a time, so the second waits for the end of the first.
        known = self.lasting and self.point not in ("create sent", "create answered")
        return 1 if known else 2

    def __str__(self) -> str:
        airflow, mode = "3.3" if self.lasting else "before 3.3", "deferred" if self.deferrable else "worker"
        return f"{self.vendor}, {self.point}, {airflow}, {mode}"


CELLS = [
    Cell(vendor, point, lasting, deferrable)
    for vendor in BUILT_IN
    for point in POINTS
    for lasting in (True, False)
    for deferrable in (True, False)
    if deferrable or point not in DEFERRED_ONLY
]

# -- who dies --------------------------------------------------------------------------------------------


class Machine:
    """The process of a task or of the triggerer: once it is dead, nothing it does has an effect.

    A handler that runs on the way out (``finally``) would not run after a SIGKILL, so what it writes, sends
    and removes is lost.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.dead = False
        for name in ("unlink", "rmdir", "rename", "replace", "link", "symlink", "truncate", "ftruncate"):
            self._silence(patch, os, name)
        for name in ("set", "delete"):
            self._silence(patch, Store, name)
        self.before(patch, BlockingTransport, "_exchange", lambda *_: None)
        self.before(patch, FileHost, "open", lambda *_: None)

    def die(self, *_: Any) -> None:
        """Be gone from here on."""
        self.dead = True
        raise Killed

    def _silence(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)
        patch.setattr(owner, name, lambda *a, **k: None if self.dead else real(*a, **k))

    def before(self, patch: pytest.MonkeyPatch, owner: type, name: str, look: Callable[..., Any]) -> None:
        """Call ``look`` with the method's arguments before the method; the dead call nothing."""
        real = getattr(owner, name)

        def method(this: Any, *arguments: Any, **named: Any) -> Any:
            if self.dead:
                raise Killed
            look(*arguments, *named.items())
            return real(this, *arguments, **named)

        patch.setattr(owner, name, method)

    def after(self, patch: pytest.MonkeyPatch, owner: type, name: str, look: Callable[..., Any]) -> None:
        """Call ``look`` with the method's arguments after the method."""
        real = getattr(owner, name)

        def method(this: Any, *arguments: Any, **named: Any) -> Any:
            result = real(this, *arguments, **named)
            look(*arguments, *named.items())
            return result

        patch.setattr(owner, name, method)


def is_create(request: Any, *_: Any) -> bool:
    return request.operation in ("create", "exports/add")


def writes_id(*changes: Any) -> bool:
    return any(name == "export_id" for name, _ in changes)


def kill(task: TaskInstance, cell: Cell, machine: Machine, patch: pytest.MonkeyPatch) -> None:
    """Run the first try until something dies at the point of the cell."""

    def when(happens: Callable[..., bool]) -> Callable[..., None]:
        return lambda *arguments: machine.die() if happens(*arguments) else None

    match cell.point:
        case "before the create":
            machine.before(patch, BlockingTransport, "_exchange", when(is_create))
        case "create sent":
            machine.after(patch, BlockingTransport, "_exchange", when(is_create))
        case "create answered":
            machine.before(patch, TaskMemory, "note", when(writes_id))
        case "written down":
            machine.after(patch, TaskMemory, "note", when(writes_id))
        case "waiting" if cell.deferrable:
            task.start()

            async def stop(*_: Any) -> None:
                # The triggerer's event loop stands still at its first look.
                machine.dead = True
                asyncio.get_running_loop().stop()
                await asyncio.Event().wait()

            patch.setattr(AsyncTransport, "_exchange", stop)
            with pytest.raises(RuntimeError, match="stopped before Future completed"):
                task.resume()
            return
        case "waiting":
            # At the second look.
            looks = iter((False, True))
            machine.after(
                patch,
                TaskMemory,
                "note",
                lambda *_: machine.before(
                    patch, BlockingTransport, "_exchange", when(lambda *_: next(looks))
                ),
            )
        case "event fired":
            task.start()
            assert task.deferred is not None
            assert "error" not in fire(task.deferred.trigger)
            task.deferred = None
            return
        case "resumed":
            task.start()
            machine.before(patch, BlockingTransport, "_exchange", machine.die)
        case "half a file":
            read, begun = Body.read, iter(range(1000))

            def half(body: Body, most: int) -> bytes:
                if next(begun):
                    machine.die()
                chunk = read(body, most)
                return chunk[: len(chunk) // 2]

            patch.setattr(Body, "read", half)
        case "all files":
            machine.after(patch, ExportHook, "land_export", machine.die)
    with pytest.raises(Killed):
        task.run()
    # Airflow starts another try, whatever this one was waiting for.
    task.deferred = None


# -- the tasks -------------------------------------------------------------------------------------------


def make(simulator: Simulator, cell: Cell, destination: str) -> Callable[[], RunExportOperator]:
    """Return what makes the task's operator."""
    common: dict[str, Any] = {"task_id": "t", "deferrable": cell.deferrable, "destination": destination}
    match cell.vendor:
        case "mews":
            return lambda: MewsRunExportOperator(entity_type="Payment", **common)
        case "giosg":
            window = {"starting_at": "2026-01-01", "ending_at": "2026-01-08"}
            room = simulator.rooms()[0]["id"]
            return lambda: GiosgRunExportOperator(room_id=room, type="logs", format="csv", **window, **common)
        case "onna":
            window = {"modified_after": "2026-01-05", "modified_before": "2026-01-12"}
            return lambda: OnnaRunExportOperator(
                title="Weekly", workspace_url="weekly-archive-T3mWzs", **window, **common
            )
        case "connhex":
            return lambda: ConnhexRunExportOperator(
                extension="csv",
                channel_id="00000000-0000-4000-8000-000000000001",
                subtopic="events.data",
                targets=["urn:cpt:smartdevice:nid:AA01:temp"],
                from_time="2025-01-01",
                to_time="2025-01-02",
                **common,
            )
        case _:
            return lambda: MedableRunExportOperator(objects="c_visits", format="text/csv", **common)


def digests(contents: Iterator[bytes]) -> list[str]:
    return sorted(hashlib.sha256(content).hexdigest() for content in contents)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_one_export(
    simulator: Simulator,
    cell: Cell,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    """Something dies, later tries end the task: the files of one export are there, and no other was made."""
    # Long enough to be still at work when the next try comes.
    simulator.configure(cell.vendor, ready_after_seconds=1000)
    task = TaskInstance(simulator, make(simulator, cell, tmp_path.as_uri()), lasting=cell.lasting)
    with monkeypatch.context() as patch:
        machine = Machine(patch)
        kill(task, cell, machine, patch)
        # The dead leave behind what a SIGKILL leaves.
        assert any(tmp_path.iterdir()) == (cell.point in ("half a file", "all files"))
    simulator.advance(300)

    result = task.until_it_ends()
    assert isinstance(result, dict), repr(result)
    exports = simulator.exports(cell.vendor)
    record_property("cell", (*vars(cell).values(), len(exports)))
    assert len(exports) == cell.exports
    # Never two at work at once.
    for one, another in pairwise(exports):
        assert one.finished_at is not None
        assert one.finished_at <= another.created_at
    # One try per death: no retry is spent on anything else.
    assert task.try_number == (1 if cell.point == "waiting" and cell.deferrable else 2)

    made = exports[-1]
    assert result["export_id"] in (made.id, made.name)
    assert made.files
    landed = [tmp_path / file["name"] for file in result["files"]]
    assert digests(path.read_bytes() for path in landed) == digests(file.read() for file in made.files)
    assert digests(path.read_bytes() for path in landed) == sorted(file["sha256"] for file in result["files"])
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("_export")}
    assert {name for name in left if not name.startswith(".")} == {path.name for path in landed}
    if cell.vendor == "onna":
        # A create starts nothing there, and what a second start does is not published.
        assert len(simulator.requests("onna", "start")) == 1
    if len(exports) == 1:
        # Nothing half done either.
        assert left == {path.name for path in landed}


def test_export_without_status_word_is_started_once(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Onna shows no sign of work, but the task has written down that it was started."""
    simulator.configure("onna", status_field=None, ready_after_seconds=1000)
    cell = Cell("onna", "written down", lasting=True, deferrable=False)
    task = TaskInstance(simulator, make(simulator, cell, tmp_path.as_uri()), lasting=True)
    with monkeypatch.context() as patch:
        kill(task, cell, Machine(patch), patch)
    assert isinstance(task.until_it_ends(), dict)
    assert len(simulator.requests("onna", "start")) == 1


def test_trigger_that_cannot_begin_does_not_fire_at_once(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow loses tasks whose trigger fires before it has finished to defer them, also with an error."""
    monkeypatch.setattr(ExportHook, "aget_vendor", _broken)
    begun = simulator.now()
    assert "error" in fire(ExportTrigger("mews_default", "mews", "export-1"))
    assert (simulator.now() - begun).total_seconds() >= MINIMUM_DELAY


async def _broken(_hook: ExportHook) -> Any:
    raise InvalidConnection("the connection was changed meanwhile.")


def test_page_shows_this_table() -> None:
    """The documentation says what the tests above prove; ``python docs/_ext/crashes.py`` writes it."""
    crashes = crashes_module()
    page = crashes.PAGE.read_text("utf-8")
    tables = crashes.render([(*vars(cell).values(), cell.exports) for cell in CELLS], POINTS)
    assert crashes.written(page, tables) == page

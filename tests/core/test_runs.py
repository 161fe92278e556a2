"""Exports that the vendor repeats: one is created, and each run is told from the one before."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_exports.core import (
    Capability,
    Export,
    ExportState,
    Flow,
    NetworkError,
    Payload,
    Request,
)
from airflow_provider_exports.exceptions import (
    ExportConflict,
    ExportFailed,
    ExportRejected,
    ExportTimedOut,
    InvalidPayload,
    RunMissed,
)
from tests.core.replay import Replay, ok
from tests.core.test_lifecycle import AcmeVendor, life

PATIENCE = 600.0


class RepeatingVendor(AcmeVendor):
    """Repeats exports, and may tell when the newest run started."""

    capabilities = AcmeVendor.capabilities | {Capability.RECURRENCE}

    def repeats(self, payload: Payload) -> bool:
        return True

    def parse(self, raw: Any, now: float) -> Export:
        from dataclasses import replace

        started = raw.get("started")
        return replace(
            super().parse(raw, now),
            run_started_at=None if started is None else datetime.fromtimestamp(started, UTC),
        )


def shown(state: str, started: float | None = None) -> Any:
    return ok({"id": "e1", "state": state, "started": started})


def watched(replay: Replay, due: float, next_due: float | None = None) -> Export:
    over = life(RepeatingVendor, run_patience=PATIENCE)
    return replay.run(over.wait("e1", run=over.watch_run(due, next_due)))


def test_nothing_is_asked_before_the_run_is_due() -> None:
    """The wait for a run of tomorrow costs one pause."""
    replay = Replay([shown("queued"), shown("ready")])
    due = replay.now + 5000
    assert watched(replay, due).state is ExportState.READY
    assert replay.pauses[0] == 5000


def test_start_of_a_run_tells_it_from_the_one_before() -> None:
    """Ready, but started before the run was due: that is the file of the last time."""
    replay = Replay()
    due = replay.now
    replay.answers = [shown("ready", due - 86400), shown("ready", due - 86400), shown("ready", due)]
    assert watched(replay, due).run_started_at == datetime.fromtimestamp(due, UTC)
    assert len(replay.requests) == 3


def test_failure_of_the_run_before_is_not_this_ones() -> None:
    """A run that failed yesterday does not fail the wait for today's."""
    replay = Replay()
    due = replay.now
    replay.answers = [shown("failed", due - 86400), shown("running", due + 5), shown("ready", due + 5)]
    assert watched(replay, due).state is ExportState.READY


def test_failure_of_the_run_is() -> None:
    """Today's failure is the wait's."""
    replay = Replay()
    replay.answers = [shown("failed", replay.now)]
    with pytest.raises(ExportFailed):
        watched(replay, replay.now)


def test_run_that_was_seen_at_work_needs_no_start_time() -> None:
    """A vendor that tells no times still tells when it works."""
    replay = Replay([shown("ready"), shown("running"), shown("ready")])
    due = replay.now
    watched(replay, due)
    assert len(replay.requests) == 3
    assert replay.now < due + PATIENCE


def test_run_that_was_never_seen_at_work_counts_after_a_while() -> None:
    """A run shorter than the pace of the looks is not waited for in vain, and not taken too early."""
    replay = Replay([shown("ready")] * 50)
    due = replay.now
    watched(replay, due)
    assert due + PATIENCE <= replay.now < due + PATIENCE + 400


@pytest.mark.parametrize("told", [True, False])
def test_run_that_was_replaced_is_expired(told: bool) -> None:
    """The newest run is not taken for the one that was asked for."""
    replay = Replay()
    due, next_due = replay.now - 90000, replay.now - 3600
    replay.answers = [shown("ready", next_due if told else None)]
    with pytest.raises(RunMissed, match="made way for the next one") as caught:
        watched(replay, due, next_due)
    assert caught.value.export_id == "e1"
    assert caught.value.permanent


def test_run_that_is_late_but_still_the_newest_is_taken() -> None:
    """The next run is due, but the vendor says that it has not started."""
    replay = Replay()
    due, next_due = replay.now - 90000, replay.now - 3600
    replay.answers = [shown("ready", due + 10)]
    assert watched(replay, due, next_due).state is ExportState.READY


def test_previous_run_that_is_late_is_not_taken() -> None:
    """At work when the run is due: that may be the one before, and its end is not the end of this one."""
    replay = Replay([shown("running"), shown("ready"), shown("running"), shown("ready")])
    due = replay.now
    watched(replay, due)
    assert len(replay.requests) == 4


def test_run_that_waits_for_its_turn_has_begun() -> None:
    """A queued export is not the run before, which had ended or was at work."""
    replay = Replay([shown("queued"), shown("ready")])
    watched(replay, replay.now)
    assert len(replay.requests) == 2


def test_guess_is_told() -> None:
    """Where nothing but time speaks for a run, the log says so."""
    replay = Replay([shown("ready")] * 50)
    watched(replay, replay.now)
    assert "does not tell when a run started" in replay.notes[-1]


def test_run_may_start_a_little_early() -> None:
    """Clocks differ: a second before it was due is this run, and not the next one a day later."""
    replay = Replay()
    due = replay.now
    replay.answers = [shown("ready", due - 1)]
    watched(replay, due, due + 86400)
    late = Replay([shown("ready", due + 86400 - 1)], now=due + 86400 - 1)
    with pytest.raises(RunMissed):
        watched(late, due, due + 86400)


def test_patience_ends_within_a_short_period() -> None:
    """With runs every five minutes the guess comes before the next run does."""
    replay = Replay([shown("ready")] * 20)
    due = replay.now
    watched(replay, due, due + 300)
    assert replay.now < due + 300


def test_deadline_holds_before_the_run_is_due() -> None:
    """A wait of an hour for a run of next month ends after the hour, and asks for nothing."""
    replay = Replay()
    over = life(RepeatingVendor)
    begun = replay.now
    with pytest.raises(ExportTimedOut):
        replay.run(over.wait("e1", deadline=begun + 3600, run=over.watch_run(begun + 30 * 86400, None)))
    assert replay.now == begun + 3600
    assert replay.requests == []


def test_export_that_appears_while_there_is_no_room_is_used() -> None:
    """Another task has made it during the pause: it is looked for again before the next create."""
    replay = Replay([ok([]), ok({}, 409), ok([{"id": "theirs"}])])
    deadline = replay.now + 1000
    plan = life().submit({"what": 1}, reuse_existing=True, conflict_deadline=deadline)
    assert replay.run(plan).export_id == "theirs"
    assert [request.method for request in replay.requests] == ["GET", "POST", "GET"]


def test_unanswered_create_is_looked_for_after_a_pause_as_well() -> None:
    """Not answered, not in the lagging list, then no room: the first create may show up meanwhile."""
    lost = NetworkError("the connection broke", sent=True)
    replay = Replay([lost, ok([]), ok([]), ok({}, 409), ok([{"id": "mine"}])])
    plan = life().submit({"what": 1}, conflict_deadline=replay.now + 1000)
    assert replay.run(plan).export_id == "mine"
    assert [request.method for request in replay.requests] == ["POST", "GET", "GET", "POST", "GET"]


def test_unanswered_create_is_remembered_over_a_deferral() -> None:
    """A task that waits for room in the triggerer knows afterwards that it has asked before."""
    lost = NetworkError("the connection broke", sent=True)
    replay = Replay([lost, ok([]), ok([]), ok({}, 409)])
    started = replay.now
    with pytest.raises(ExportConflict) as caught:
        replay.run(life().submit({"what": 1}))
    assert caught.value.unanswered_at == started
    later = Replay([ok([{"id": "mine"}])])
    plan = life().submit({"what": 1}, unanswered_at=caught.value.unanswered_at)
    assert later.run(plan).export_id == "mine"


def test_vendor_that_repeats_nothing_has_no_runs() -> None:
    """Said at once, rather than waited for."""
    with pytest.raises(ExportRejected, match="does not repeat"):
        life().watch_run(1.0, None)
    assert life().watch_run(None, None) is None


def test_existing_export_is_used_again() -> None:
    """One look, no create; the newest is taken."""
    replay = Replay([ok([{"id": "new"}, {"id": "old"}])])
    assert replay.run(life().submit({"what": 1}, reuse_existing=True)).export_id == "new"
    assert [request.method for request in replay.requests] == ["GET"]


class StartingVendor(AcmeVendor):
    """Creates and starts in two requests."""

    capabilities = frozenset({Capability.FIND, Capability.START})

    def start(self, export: Export, payload: Payload) -> Flow[Export]:
        response = yield Request("POST", f"/exports/{export.export_id}/start", operation="start")
        return self.parse(response.json(), response.server_time)


@pytest.mark.parametrize(("state", "starts"), [("queued", 1), ("ready", 0)])
def test_existing_export_that_was_never_started_is(state: str, starts: int) -> None:
    """A process that died between create and start leaves an export that nobody else would start."""
    replay = Replay([ok([{"id": "e1", "state": state}]), ok({"id": "e1", "state": "running"})])
    replay.run(life(StartingVendor).submit({"what": 1}, reuse_existing=True))
    assert [request.method for request in replay.requests] == ["GET"] + ["POST"] * starts


def test_without_an_existing_export_one_is_created() -> None:
    """The first time there is none."""
    replay = Replay([ok([]), ok({"id": "e1"})])
    assert replay.run(life().submit({"what": 1}, reuse_existing=True)).export_id == "e1"
    assert [request.method for request in replay.requests] == ["GET", "POST"]


def test_wrong_payload_looks_for_nothing() -> None:
    """A payload that breaks a rule never reaches the network."""
    replay = Replay()
    with pytest.raises(InvalidPayload):
        replay.run(life().submit({}, reuse_existing=True))
    assert replay.requests == []

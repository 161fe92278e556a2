"""The plans, without network or clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from airflow_provider_exports.core import (
    Capability,
    ConnectionInfo,
    Export,
    ExportState,
    Flow,
    HeaderToken,
    Lifecycle,
    NetworkError,
    Payload,
    PollRule,
    Problem,
    Request,
    Response,
    Vendor,
)
from airflow_provider_exports.core.watch import expires_soon
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportCancelled,
    ExportConflict,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportTimedOut,
    InvalidPayload,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    VendorUnavailable,
    VendorUnreachable,
)
from tests.core.replay import Replay, ok

REFUSED = NetworkError("connection refused", sent=False)
BROKEN = NetworkError("the connection broke", sent=True)


class AcmeVendor(Vendor):
    """The smallest vendor, plus a search."""

    name = "acme"
    display_name = "Acme"
    default_host = "https://api.acme.example"
    capabilities = frozenset({Capability.FIND})

    def make_auth(self) -> HeaderToken:
        return HeaderToken(self.connection.password)

    def create(self, payload: Payload) -> Flow[Export]:
        response = yield Request("POST", "/exports", json=payload, idempotent=False, operation="create")
        return self.parse(response.json(), response.server_time)

    def get(self, export_id: str) -> Flow[Export]:
        response = yield Request("GET", f"/exports/{export_id}", operation="get", export_id=export_id)
        return self.parse(response.json(), response.server_time)

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        response = yield Request("GET", "/exports", operation="list")
        return [self.parse(raw, response.server_time) for raw in response.json()]

    def rules(self, payload: Payload, now: float) -> list[Problem]:
        return [] if payload else [Problem("what", "is missing")]

    def parse(self, raw: Any, now: float) -> Export:
        if not isinstance(raw, dict) or "id" not in raw:
            raise UnexpectedResponse("the answer has no id.")
        word = raw.get("state", "running")
        known = word in {state.value for state in ExportState}
        return Export(
            "acme", raw["id"], ExportState(word) if known else ExportState.RUNNING, word, documented=known
        )


class TokenVendor(AcmeVendor):
    """Logs in first."""

    capabilities = frozenset({Capability.LOGIN})

    def login(self) -> Flow[str]:
        response = yield Request("POST", "/login", signed=False, operation="login")
        return str(response.json()["token"])


class BlindVendor(AcmeVendor):
    """Cannot search."""

    capabilities: ClassVar[frozenset[Capability]] = frozenset()


def life(vendor: type[Vendor] = AcmeVendor, **extra: Any) -> Lifecycle:
    return Lifecycle(
        vendor(ConnectionInfo("acme_default", password="s3same", extra=extra)), chance=lambda: 0.5
    )


def exported(state: str = "running") -> Response:
    return ok({"id": "e1", "state": state})


def test_create_is_sent_once_and_signed() -> None:
    """A created export costs one request, and that carries the credentials."""
    replay = Replay([exported()])
    export = replay.run(life().submit({"what": 1}))
    assert export.export_id == "e1"
    assert [(r.method, r.headers["Authorization"]) for r in replay.requests] == [("POST", "Bearer s3same")]


def test_invalid_payload_sends_nothing() -> None:
    """A payload that breaks a rule never reaches the network."""
    replay = Replay()
    with pytest.raises(InvalidPayload, match="what: is missing") as caught:
        replay.run(life().submit({}))
    assert replay.requests == []
    assert caught.value.problems == (("what", "is missing"),)


@pytest.mark.parametrize("failure", [REFUSED, ok({}, 429)])
def test_create_is_repeated_when_the_vendor_did_not_take_it(failure: Any) -> None:
    """Refused connections and 429 leave nothing behind, so the create goes out again."""
    replay = Replay([failure, exported()])
    assert replay.run(life().submit({"what": 1})).export_id == "e1"
    assert len(replay.pauses) == 1


@pytest.mark.parametrize("failure", [BROKEN, ok({}, 500), ok({}, 408), Response(200, {}, b"<html>")])
def test_unanswered_create_is_adopted_not_repeated(failure: Any) -> None:
    """A create whose answer was lost is looked for, and what is found is adopted."""
    replay = Replay([failure, ok([{"id": "e9"}])])
    assert replay.run(life().submit({"what": 1})).export_id == "e9"
    assert [request.method for request in replay.requests] == ["POST", "GET"]


def test_unanswered_create_is_repeated_only_after_two_empty_looks() -> None:
    """Lists lag behind: one empty look proves nothing."""
    replay = Replay([BROKEN, ok([]), ok([]), exported()])
    assert replay.run(life().submit({"what": 1})).export_id == "e1"
    assert [request.method for request in replay.requests] == ["POST", "GET", "GET", "POST"]


def test_unanswered_create_without_search_is_an_unknown_outcome() -> None:
    """Where nobody can look, nothing is sent a second time."""
    replay = Replay([BROKEN])
    with pytest.raises(UnknownOutcome, match="acme: create was sent and not answered"):
        replay.run(life(BlindVendor).submit({"what": 1}))
    assert len(replay.requests) == 1


def test_conflict_waits_until_the_deadline() -> None:
    """A busy vendor is asked again at the connection's interval, never past the deadline."""
    busy = ok({}, 409)
    replay = Replay([busy, busy, exported()])
    deadline = replay.now + 1000
    assert replay.run(life().submit({"what": 1}, conflict_deadline=deadline)).export_id == "e1"
    assert replay.pauses == [300.0, 300.0]
    late = Replay([busy, busy])
    with pytest.raises(ExportConflict):
        late.run(life().submit({"what": 1}, conflict_deadline=late.now + 500))


def test_conflict_without_deadline_fails_at_once() -> None:
    """on_conflict='fail' is one request."""
    replay = Replay([ok({}, 409)])
    with pytest.raises(ExportConflict):
        replay.run(life().submit({"what": 1}))
    assert replay.pauses == []


def test_wait_follows_the_pace_and_tells_each_state_once() -> None:
    """Intervals grow up to the maximum; a state that stays is noted once."""
    replay = Replay([exported("queued"), exported(), exported(), exported(), exported("ready")])
    poll = PollRule(10, 2, 30, jitter=0)
    assert replay.run(life().wait("e1", poll=poll, first_delay=5)).state is ExportState.READY
    assert replay.pauses == [5, 10, 20, 30, 30]
    assert len(replay.notes) == 3


@pytest.mark.parametrize(
    ("word", "error"), [("failed", ExportFailed), ("expired", ExportExpired), ("cancelled", ExportCancelled)]
)
def test_wait_ends_in_the_error_of_the_state(word: str, error: type[Exception]) -> None:
    """An export that ended otherwise is not waited for."""
    with pytest.raises(error, match="acme export e1"):
        Replay([exported(word)]).run(life().wait("e1"))


def test_wait_for_expiry_goes_on_while_ready() -> None:
    """Other target states than ready are waited for as well."""
    replay = Replay([exported("ready"), exported("expired")])
    export = replay.run(life().wait("e1", until={ExportState.EXPIRED}))
    assert export.state is ExportState.EXPIRED


def test_deadline_is_absolute_and_kept_to_the_second() -> None:
    """The last pause is cut to the deadline, and the error names the last state."""
    replay = Replay([exported()] * 3)
    deadline = replay.now + 25
    with pytest.raises(ExportTimedOut, match=r"still running after 25 s") as caught:
        replay.run(life().wait("e1", deadline=deadline, poll=PollRule.every(20)))
    assert replay.now == deadline
    assert caught.value.export_id == "e1"


def test_unknown_status_waits_and_is_named_at_the_deadline() -> None:
    """A status word of tomorrow neither succeeds nor fails at once."""
    replay = Replay([exported("thawing")] * 2)
    with pytest.raises(UnknownStatus, match="'thawing'"):
        replay.run(life().wait("e1", deadline=replay.now + 15, poll=PollRule.every(15)))
    assert "thawing" in replay.notes[0]


def test_wait_survives_faults_but_not_too_many_in_a_row() -> None:
    """One good look resets the count of failed ones."""
    fault = ok({}, 503)
    replay = Replay([fault, BROKEN, exported(), Response(200, {}, b"{"), exported("ready")])
    assert replay.run(life(max_poll_failures=3).wait("e1")).state is ExportState.READY
    with pytest.raises(VendorUnavailable):
        Replay([fault] * 3).run(life(max_poll_failures=3).wait("e1"))
    with pytest.raises(VendorUnreachable):
        Replay([REFUSED] * 3).run(life(max_poll_failures=3).wait("e1"))


def test_wait_honours_retry_after_and_does_not_count_it_as_failure() -> None:
    """429 slows the wait down for as long as it asks; only the deadline ends it."""
    slow = ok({}, 429, retry_after="120")
    replay = Replay([slow] * 5 + [exported("ready")])
    assert replay.run(life(max_poll_failures=2).wait("e1")).state is ExportState.READY
    assert min(replay.pauses) >= 120


def test_wait_stops_at_once_on_credentials() -> None:
    """A 401 does not heal by asking again."""
    replay = Replay([ok({}, 401)])
    with pytest.raises(AuthenticationFailed):
        replay.run(life().wait("e1"))


def test_not_found_is_tolerated_only_right_after_the_start() -> None:
    """Vendors may show a new export a little late; later a missing one is an error."""
    missing = ok({}, 404)
    assert Replay([missing, exported("ready")]).run(life().wait("e1")).state is ExportState.READY
    with pytest.raises(ExportNotFound):
        Replay([missing] * 9).run(life().wait("e1"))


def test_get_is_repeated_with_growing_pauses() -> None:
    """A read is repeated on faults, up to the connection's number of attempts."""
    replay = Replay([ok({}, 503), BROKEN, REFUSED, exported("ready")])
    assert replay.run(life().check("e1")).state is ExportState.READY
    assert replay.pauses == sorted(replay.pauses)
    with pytest.raises(VendorUnavailable):
        Replay([ok({}, 503)] * 2).run(life(retry_attempts=2).check("e1"))


def test_retry_after_is_never_shortened() -> None:
    """A pause longer than our patience goes to the caller instead of being cut."""
    replay = Replay([ok({}, 429, retry_after="20"), exported()])
    replay.run(life().check("e1"))
    assert replay.pauses[0] >= 20
    with pytest.raises(RateLimited) as caught:
        Replay([ok({}, 429, retry_after="3600")]).run(life().check("e1"))
    assert caught.value.retry_after == 3600


def test_malformed_answer_is_read_again_then_reported() -> None:
    """A proxy's page instead of JSON is given three chances."""
    page = Response(200, {"content-type": "text/html"}, b"<html>")
    assert Replay([page, exported("ready")]).run(life().check("e1")).state is ExportState.READY
    replay = Replay([page] * 3)
    with pytest.raises(UnexpectedResponse, match="acme export e1: the answer with status 200"):
        replay.run(life().check("e1"))


def test_token_is_fetched_once_and_renewed_once_after_401() -> None:
    """A login vendor logs in before the first call, and again when the token has died."""
    plan = life(TokenVendor)
    replay = Replay([ok({"token": "t1"}), exported(), exported()])
    replay.run(plan.check("e1"))
    replay.run(plan.check("e1"))
    assert [r.path for r in replay.requests] == ["/login", "/exports/e1", "/exports/e1"]
    renewed = Replay([ok({}, 401), ok({"token": "t2"}), exported()])
    renewed.run(plan.check("e1"))
    assert renewed.requests[-1].headers["Authorization"] == "Bearer t2"
    with pytest.raises(AuthenticationFailed):
        Replay([ok({}, 401), ok({"token": "t3"}), ok({}, 401)]).run(plan.check("e1"))


def test_check_many_leaves_out_the_unknown() -> None:
    """Without a batch call ids are read one by one, and missing ones are absent."""
    replay = Replay([exported(), ok({}, 404)])
    assert list(replay.run(life().check_many(["e1", "e2"]))) == ["e1"]


def test_secrets_stay_out_of_notes_and_errors() -> None:
    """What a vendor or a library echoes back is cleaned before anyone reads it."""
    echo = Response(400, {}, json.dumps("bad token s3same at https://x.example/f?sig=abc").encode())
    with pytest.raises(Exception, match=r"bad token \*\*\* at https://x.example/f\?\*\*\*"):
        Replay([echo]).run(life().check("e1"))
    replay = Replay([NetworkError("s3same refused", sent=False), exported()])
    replay.run(life().check("e1"))
    assert "s3same" not in "".join(replay.notes)
    assert "s3same" not in repr(replay.requests)


def test_search_that_fails_does_not_hide_the_unknown_outcome() -> None:
    """One outage often hits both calls; the create stays what it is: unknown."""
    replay = Replay([BROKEN, *[ok({}, 503)] * 5])
    with pytest.raises(UnknownOutcome, match="Looking for it failed as well"):
        replay.run(life().submit({"what": 1}))
    assert [request.method for request in replay.requests].count("POST") == 1


def test_second_unanswered_create_is_looked_for_too() -> None:
    """The first left nothing, the second did: it is adopted."""
    replay = Replay([ok({}, 500), ok([]), ok([]), BROKEN, ok([{"id": "e2"}])])
    assert replay.run(life().submit({"what": 1})).export_id == "e2"
    assert [request.method for request in replay.requests].count("POST") == 2


def test_create_answered_with_201_is_never_repeated() -> None:
    """The vendor says that it exists; that we cannot read more is no reason for a second one."""
    replay = Replay([ok({"no": "id"}, 201), ok([]), ok([])])
    with pytest.raises(UnknownOutcome) as caught:
        replay.run(life().submit({"what": 1}))
    assert caught.value.created
    assert [request.method for request in replay.requests].count("POST") == 1


def test_conflicts_are_not_asked_about_in_a_loop() -> None:
    """An interval of zero in the connection does not make a loop of creates."""
    replay = Replay([ok({}, 409)] * 9)
    with pytest.raises(ExportConflict):
        replay.run(life(conflict_interval=0).submit({"what": 1}, conflict_deadline=replay.now + 45))
    assert len(replay.requests) <= 5


class TwoStepVendor(AcmeVendor):
    """Creating does not start; deletes; its token says when it dies."""

    capabilities = frozenset({Capability.LOGIN, Capability.START, Capability.DELETE})

    def login(self) -> Flow[str]:
        response = yield Request("POST", "/login", signed=False, operation="login")
        return str(response.json()["token"])

    def token_expires_at(self, token: str) -> float | None:
        return float(token.partition("@")[2] or "inf")

    def renewed_token(self, token: str, response: Response) -> str:
        return response.headers.get("x-token", token)

    def start(self, export: Export, payload: Payload) -> Flow[Export]:
        yield Request("POST", "/start", json={"id": export.export_id, **payload}, operation="start")
        return (yield from self.get(export.export_id))

    def delete(self, export_id: str) -> Flow[None]:
        yield Request("DELETE", f"/exports/{export_id}", operation="delete", export_id=export_id)


def test_created_export_is_started() -> None:
    """Where creating and starting are two calls, submit makes both."""
    replay = Replay([ok({"token": "t1"}), exported("queued"), ok({}), exported("running")])
    assert replay.run(life(TwoStepVendor).submit({"what": 1})).state is ExportState.RUNNING
    assert [request.path for request in replay.requests] == ["/login", "/exports", "/start", "/exports/e1"]


def test_token_is_renewed_before_it_dies_and_with_each_answer() -> None:
    """No request is sent with a token that has expired, and a new one in an answer takes its place."""
    plan = life(TwoStepVendor)
    replay = Replay([ok({"token": "t1@1800000100"}), exported(), exported()])
    replay.run(plan.check("e1"))
    replay.now += 200
    replay.answers = [ok({"token": "t2"}), ok({"id": "e1"}, x_token="t3"), exported()]
    replay.run(plan.check("e1"))
    replay.run(plan.check("e1"))
    sent = [request.headers.get("Authorization") for request in replay.requests]
    assert sent == [None, "Bearer t1@1800000100", None, "Bearer t2", "Bearer t3"]


def test_delete_of_what_is_gone_is_no_error() -> None:
    """Deleting twice ends in the same state."""
    plan = life(TwoStepVendor)
    assert Replay([ok({"token": "t"}), ok(None, 204)]).run(plan.delete("e1")) is True
    assert Replay([ok({}, 404)]).run(plan.delete("e1")) is False


def test_adopted_export_may_not_be_visible_yet() -> None:
    """A new one comes into view a little late; an old one that is gone has expired."""
    missing = ok({}, 404)
    replay = Replay([missing, exported()])
    assert replay.run(life().adopt("e1", since=replay.now)).export_id == "e1"
    assert replay.pauses
    old = Replay([missing])
    with pytest.raises(ExportExpired, match="does not show it any more"):
        old.run(life().adopt("e1", since=old.now - 3600))


def test_what_has_been_seen_and_vanishes_has_expired() -> None:
    """Not a wrong id: it was there."""
    missing = ok({}, 404)
    with pytest.raises(ExportExpired):
        Replay([exported(), *[missing] * 9]).run(life().wait("e1"))
    with pytest.raises(ExportExpired):
        Replay([missing] * 9).run(life().wait("e1", known=True))


def test_cancel_deletes_only_where_that_stops_it() -> None:
    """Elsewhere nothing is sent, and the note says that the vendor goes on."""

    class Stoppable(TwoStepVendor):
        delete_cancels = True

    replay = Replay([ok({"token": "t"}), exported(), ok(None, 204)])
    assert replay.run(life(Stoppable).cancel("e1")) is True
    assert replay.requests[-1].operation == "delete"
    ready = Replay([ok({"token": "t"}), exported("ready")])
    assert ready.run(life(Stoppable).cancel("e1")) is False
    for vendor in (TwoStepVendor, BlindVendor):
        silent = Replay([])
        assert silent.run(life(vendor).cancel("e1")) is False
        assert silent.requests == []
        assert any("goes on" in note for note in silent.notes)


def test_unanswered_create_of_an_earlier_try_is_looked_for_first() -> None:
    """It is adopted if it is there; where nobody can look, the log says that this may be a second one."""
    replay = Replay([ok([{"id": "e7"}])])
    plan = life().submit({"what": 1}, unanswered_at=replay.now - 600)
    assert replay.run(plan).export_id == "e7"
    assert [request.operation for request in replay.requests] == ["list"]
    blind = Replay([exported()])
    blind.run(life(BlindVendor).submit({"what": 1}, unanswered_at=blind.now - 600))
    assert any("this one is a second" in note for note in blind.notes)


@pytest.mark.parametrize(("left", "said"), [(0.3, False), (0.2, True)])
def test_files_that_go_soon_are_warned_of(left: float, said: bool) -> None:
    """When less than a quarter of their life is left."""
    moment = 1_800_000_000.0
    now = datetime.fromtimestamp(moment, UTC)
    day = timedelta(days=1)
    export = Export(
        "acme", "e1", ExportState.READY, created_at=now - day * (1 - left), expires_at=now + day * left
    )
    assert bool(expires_soon(export, moment)) is said

"""Whatever a vendor answers, and whenever a worker dies: one export, all of its files, and no secret told."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.core import (
    Capability,
    ConnectionInfo,
    Export,
    ExportFile,
    ExportState,
    Flow,
    HeaderToken,
    Lifecycle,
    NetworkError,
    Payload,
    Plan,
    Request,
    Response,
    Vendor,
)
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.wire import Note, Now, Pause, PlanRunner, origin, resolve
from airflow_provider_exports.hooks import export as hook_module
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.operators import export as operator_module
from airflow_provider_exports.operators.export import RunExportOperator
from tests.airflow.tries import Killed, TaskInstance
from tests.core.replay import Replay
from tests.vendors import test_conformance, test_connhex, test_onna

pytestmark = pytest.mark.filterwarnings("ignore")

settings.register_profile("same each time", deadline=None, derandomize=True)
settings.register_profile("each time others", deadline=None)
settings.load_profile("same each time" if os.environ.get("CI") else "each time others")

SECRET, LOGIN = "token-sesame", "password-sesame"
BEGIN = 1_800_000_000.0
TIMEOUT = 3600.0
# Beside the wait for the export: requests that are sent again, and looks for one that was not answered.
BESIDE = 1200.0


# -- a vendor in memory --------------------------------------------------------------------------------


class ModelVendor(Vendor):
    """Creates, starts, finds and logs in, in the plainest way."""

    name = "model"
    display_name = "Model"
    default_host = "https://api.model.example"
    capabilities = frozenset({Capability.FIND, Capability.START, Capability.LOGIN})

    def make_auth(self) -> HeaderToken:
        return HeaderToken(None)

    def check_shape(self, payload: Payload) -> None:
        pass

    def _problems(self, schema: str, value: Any) -> list[Any]:
        return []

    @property
    def secrets(self) -> tuple[str, ...]:
        return (SECRET, LOGIN)

    def login(self) -> Flow[str]:
        response = yield Request("POST", "/login", signed=False, operation="login")
        return str(_object(response)["token"])

    def create(self, payload: Payload) -> Flow[Export]:
        response = yield Request("POST", "/exports", json=payload, idempotent=False, operation="create")
        return self.read(response.json(), response.server_time)

    def start(self, export: Export, payload: Payload) -> Flow[Export]:
        path = f"/exports/{export.export_id}/start"
        response = yield Request("PUT", path, operation="start", export_id=export.export_id)
        return self.read(response.json(), response.server_time)

    def get(self, export_id: str) -> Flow[Export]:
        response = yield Request("GET", f"/exports/{export_id}", operation="get", export_id=export_id)
        return self.read(response.json(), response.server_time)

    def find(self, payload: Payload, since: float) -> Flow[list[Export]]:
        response = yield Request("GET", "/exports", params={"since": str(since)}, operation="find")
        found = [self.read(raw, response.server_time) for raw in _object(response)["exports"]]
        return [one for one in found if one.state not in (ExportState.FAILED, ExportState.EXPIRED)]

    def parse(self, raw: Any, now: float) -> Export:
        try:
            word, export_id = str(raw["state"]), str(raw["id"])
        except (KeyError, TypeError):
            raise errors.UnexpectedResponse("the answer has no id or no state.") from None
        known = word in {state.value for state in ExportState}
        state = ExportState(word) if known else ExportState.RUNNING
        files = (ExportFile(f"{export_id}.csv", "https://files.model.example/?sesame"),)
        return Export(
            "model",
            export_id,
            state,
            word,
            documented=known,
            files=files if state is ExportState.READY else (),
        )

    def error_words(self, body: Any) -> str:
        return str(body)


def _object(response: Response) -> dict[str, Any]:
    body = response.json()
    if not isinstance(body, dict) or not {"token", "exports"} & body.keys():
        raise errors.UnexpectedResponse("the answer is none of ours.")
    return body


@dataclass
class Made:
    """An export at the model vendor."""

    export_id: str
    created_at: float
    started_at: float | None = None
    unseen: bool = False
    """Whether the plan that made it ended before it could say so."""

    @property
    def content(self) -> bytes:
        return self.export_id.encode()


FAULTS = [
    "refused",
    "reset",
    "lost",
    "500",
    "500 after",
    "429",
    "429 long",
    "429 inf",
    "401",
    "403",
    "409",
    "404",
    "302",
    "page",
    "page after",
    "cut after",
    "no id",
    "odd word",
]


@dataclass
class World:
    """The model vendor and the time; the ``simulator`` of a task instance."""

    faults: list[str]
    """What the next requests meet; empty text: nothing. After the last one all is well."""
    ends: list[str] = field(default_factory=lambda: ["ready"])
    """How each export ends; the last word for all others."""
    lasts: float = 100.0
    """Seconds from start to end of an export."""
    kills: frozenset[int] = frozenset()
    """Steps of plans, counted over all, at which the worker dies."""
    jumps: dict[int, float] = field(default_factory=dict)
    """How much our clock is moved at a step, while the vendor's goes on."""
    now_true: float = BEGIN
    skew: float = 0.0
    steps: int = 0
    made: list[Made] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_true + self.skew, UTC)

    def advance(self, seconds: float) -> None:
        assert 0 <= seconds < 1e6, f"a pause of {seconds} s"
        self.now_true += seconds

    def state(self, one: Made) -> str:
        if one.started_at is None:
            return "queued"
        if self.now_true < one.started_at + self.lasts:
            return "running"
        return self.ends[min(self.made.index(one), len(self.ends) - 1)]

    def run(self, plan: Plan[Any]) -> Any:
        """Be the transport."""
        before = len(self.made)
        try:
            return self._run(plan)
        except BaseException:
            for one in self.made[before:]:
                one.unseen = True
            raise

    def _run(self, plan: Plan[Any]) -> Any:
        runner = PlanRunner(plan)
        while (step := runner.step) is not None:
            self.steps += 1
            assert self.steps < 20_000, "it does not end"
            self.skew += self.jumps.get(self.steps, 0.0)
            if self.steps in self.kills:
                raise Killed
            match step:
                case Request():
                    try:
                        reply = self.answer(step)
                    except NetworkError as error:
                        runner.throw(error)
                    else:
                        runner.send(reply)
                    if self.steps + 1 in self.kills:
                        self.steps += 1
                        raise Killed
                case Pause(seconds):
                    self.advance(seconds)
                    runner.send(self.now().timestamp())
                case Now():
                    runner.send(self.now().timestamp())
                case Note(_, message, args):
                    self.said.append(message % args)
                    runner.send(None)
        return runner.result

    def answer(self, request: Request) -> Response:
        fault = self.faults.pop(0) if self.faults else ""
        if request.operation == "get":
            self.looks.append(self.now_true)
        match fault:
            case "refused":
                raise NetworkError("connection refused", sent=False)
            case "reset":
                raise NetworkError("the connection broke", sent=True)
            case "500":
                return self._reply(500, {"error": f"no {SECRET}"})
            case "429" | "429 long" | "429 inf":
                asked = {"429": "20", "429 long": "86400", "429 inf": "inf"}[fault]
                return self._reply(429, {}, **{"retry-after": asked})
            case "409 at once":
                return self._reply(409, {}, **{"retry-after": "0.1"})
            case "401" | "403" | "404" | "409" | "302":
                return self._reply(int(fault), {"error": f"{LOGIN} at https://u:{LOGIN}@x/?s={SECRET}"})
            case "page":
                return Response(200, {"content-type": "text/html"}, b"<html>", self.now().timestamp())
        done = self._do(request)
        match fault:
            case "lost":
                raise NetworkError("the connection broke", sent=True)
            case "500 after":
                return self._reply(500, {"error": SECRET})
            case "page after":
                return Response(200, {}, b"<html>", self.now().timestamp())
            case "cut after":
                return Response(done.status, done.headers, done.body[: len(done.body) // 2], done.received_at)
            case "no id":
                return self._reply(done.status, {})
            case "odd word" if done.status == 200 and b'"state"' in done.body:
                body = json.loads(done.body)
                return self._reply(200, {**body, "state": "tomorrow"})
        return done

    def _do(self, request: Request) -> Response:
        match request.operation:
            case "login":
                return self._reply(200, {"token": SECRET})
            case "create":
                self.made.append(Made(f"e{len(self.made)}", self.now_true))
                return self._show(self.made[-1])
            case "find":
                since = float(request.params["since"])
                found = [one for one in self.made[::-1] if one.created_at >= since]
                return self._reply(200, {"exports": [json.loads(self._show(one).body) for one in found]})
        one = next((one for one in self.made if one.export_id == request.export_id), None)
        if one is None:
            return self._reply(404, {})
        if request.operation == "start" and one.started_at is None:
            one.started_at = self.now_true
        return self._show(one)

    def _show(self, one: Made) -> Response:
        return self._reply(200, {"id": one.export_id, "state": self.state(one)})

    def _reply(self, status: int, body: Any, **headers: str) -> Response:
        return Response(status, headers, json.dumps(body).encode(), self.now().timestamp())


class ModelHook(ExportHook):
    """The hook, with the model vendor behind it and a file host that may cut files."""

    def __init__(self, world: World, bad_files: list[bool]) -> None:
        super().__init__("model")
        self.world, self.bad_files = world, bad_files
        self.vendor = ModelVendor(ConnectionInfo("model", extra={"wait_timeout": TIMEOUT}))
        self.lifecycle = Lifecycle(self.vendor, chance=lambda: 0.5)

    @property
    def _transport(self) -> Any:
        return self.world

    def land_export(self, export: Export, destination: str, **_: Any) -> dict[str, Any]:
        (one,) = [one for one in self.world.made if one.export_id == export.export_id]
        assert self.world.state(one) == "ready"
        if self.bad_files and self.bad_files.pop(0):
            raise errors.DownloadIncomplete("the transfer broke off.")
        digest = hashlib.sha256(one.content).hexdigest()
        file = {"uri": destination, "name": "f", "size": len(one.content), "sha256": digest}
        return export.result([file])


class Timed(TaskInstance):
    """Remembers how long its tries took, by the vendor's clock."""

    longest = 0.0

    def run(self) -> Any:
        began = self.simulator.now_true  # type: ignore[attr-defined]
        try:
            return super().run()
        finally:
            took = self.simulator.now_true - began  # type: ignore[attr-defined]
            self.longest = max(self.longest, took)


@pytest.fixture(scope="module")
def patched() -> Iterator[Callable[[World], None]]:
    """Let operator and hook live in a world's time."""
    with pytest.MonkeyPatch.context() as patch:

        def into(world: World) -> None:
            clock = SimpleNamespace(time=lambda: world.now().timestamp(), sleep=world.advance)
            for module in (hook_module, operator_module):
                patch.setattr(module, "time", clock)

        yield into


def play(
    patched: Callable[[World], None], world: World, bad_files: list[bool], *, lasting: bool, retries: int
) -> tuple[Any, Timed]:
    """Try a task until it ends, a new worker for each one that dies."""
    patched(world)

    def make() -> RunExportOperator:
        task = RunExportOperator(
            task_id="t", conn_id="model", payload={"a": 1}, destination="file:///x", deferrable=False
        )
        task.hook = ModelHook(world, bad_files)
        return task

    task = Timed(world, make, lasting=lasting, retries=retries)  # type: ignore[arg-type]
    while True:
        try:
            return task.until_it_ends(), task
        except Killed:
            if task.try_number > retries:
                return None, task
            world.advance(300)


def told(world: World, task: Timed, result: Any) -> str:
    """Return all that anybody could read afterwards."""
    values = task.store.values if task.store else {}
    cause = getattr(result, "__cause__", None)
    return "\n".join([*world.said, repr(result), str(result), str(cause), repr(values), repr(task.xcoms)])


ANY_FAULTS = st.lists(st.sampled_from(["", "", "", *FAULTS]), max_size=30)
KILLS = st.frozensets(st.integers(1, 80), max_size=4)
JUMPS = st.dictionaries(st.integers(1, 80), st.floats(-60, 60), max_size=3)
SLOW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=500)


@SLOW
@given(
    faults=ANY_FAULTS,
    kills=KILLS,
    jumps=JUMPS,
    ends=st.lists(st.sampled_from(["ready", "ready", "failed", "expired"]), min_size=1, max_size=3),
    lasts=st.sampled_from([0.0, 20.0, 500.0, 3000.0, 1e9]),
    bad_files=st.lists(st.booleans(), max_size=4),
    lasting=st.booleans(),
)
def test_task_makes_one_export(
    patched: Callable[[World], None],
    faults: list[str],
    kills: frozenset[int],
    jumps: dict[int, float],
    ends: list[str],
    lasts: float,
    bad_files: list[bool],
    lasting: bool,
) -> None:
    """Over faults, deaths and clocks that jump: at most one more than failed; and only whole files count."""
    world = World(list(faults), ends, lasts, kills, jumps)
    result, task = play(patched, world, list(bad_files), lasting=lasting, retries=4)
    spent = sum(end != "ready" for end in ends)
    # What fails before anybody knows its id cannot be told from what was never made.
    unseen = sum(one.unseen and world.state(one) in ("failed", "expired") for one in world.made)
    if lasting or not spent:
        assert len(world.made) <= 1 + min(spent, 1) + unseen
    else:
        # Nobody knows what an earlier try has spent: each may make one, and another in its place.
        assert len(world.made) <= 2 * task.try_number
    if isinstance(result, dict):
        (one,) = [one for one in world.made if one.export_id == result["export_id"]]
        assert world.state(one) == result["state"] == "ready"
        assert [file["sha256"] for file in result["files"]] == [hashlib.sha256(one.content).hexdigest()]
    elif result is not None:
        cause = result.__cause__ if isinstance(result, AirflowFailException) else result
        assert isinstance(cause, errors.ExportError), repr(result)
    # Each export may be waited for, and a conflict before it.
    slack = sum(map(abs, jumps.values()))
    assert task.longest <= (1 + len(world.made) + faults.count("409")) * TIMEOUT + BESIDE + slack
    assert not any(secret in told(world, task, result) for secret in (SECRET, LOGIN, "u:", "?s="))


@SLOW
@given(
    faults=ANY_FAULTS,
    jumps=JUMPS,
    deadline=st.floats(0, 5000),
    lasts=st.sampled_from([0.0, 100.0, 1e9]),
    delay=st.floats(0, 100),
)
def test_wait_ends_at_its_deadline(
    faults: list[str], jumps: dict[int, float], deadline: float, lasts: float, delay: float
) -> None:
    """By our clock, whatever the vendor answers, and also when it is set."""
    world = World(list(faults), lasts=lasts, jumps=jumps)
    world.made.append(Made("e0", BEGIN - 60, BEGIN))
    life = Lifecycle(ModelVendor(ConnectionInfo("model")), chance=lambda: 0.5)
    # Its login is a request of its own kind: here the token is at hand, and good.
    life._token = SECRET
    world.faults = [fault for fault in world.faults if fault != "401"]
    with contextlib.suppress(errors.ExportError):
        world.run(life.wait("e0", deadline=BEGIN + deadline, first_delay=delay, known=True))
    slack = sum(map(abs, jumps.values()))
    assert world.now_true <= BEGIN + deadline + slack + 1e-3


@settings(max_examples=300)
@given(faults=ANY_FAULTS, reuse=st.booleans(), unanswered=st.booleans(), first=st.booleans())
def test_submit_creates_once(faults: list[str], reuse: bool, unanswered: bool, first: bool) -> None:
    """Whether or not an earlier create has made something: there is one afterwards, at most."""
    world = World(list(faults))
    if first and (reuse or unanswered):
        world.made.append(Made("e0", BEGIN - 10))
    life = Lifecycle(ModelVendor(ConnectionInfo("model")), chance=lambda: 0.5)
    at = BEGIN - 20 if unanswered else None
    plan = life.submit({"a": 1}, conflict_deadline=BEGIN + 600, reuse_existing=reuse, unanswered_at=at)
    with contextlib.suppress(errors.ExportError):
        export = world.run(plan)
        assert [one.export_id for one in world.made] == [export.export_id]
    assert len(world.made) <= 1
    assert world.now_true <= BEGIN + 600 + BESIDE


def test_login_within_a_look_ends_at_the_deadline() -> None:
    """A vendor that asks for time at the login does not get more than the wait has."""
    world = World(["429"] * 10)
    world.made.append(Made("e0", BEGIN - 60, BEGIN))
    life = Lifecycle(ModelVendor(ConnectionInfo("model")), chance=lambda: 0.5)
    with pytest.raises(errors.ExportError):
        world.run(life.wait("e0", deadline=BEGIN + 5, known=True))
    assert world.now_true <= BEGIN + 5 + 1e-3


def test_conflict_does_not_make_a_hot_loop() -> None:
    """A vendor that is busy and says to come back at once is asked now and then all the same."""
    world = World(["", *["409 at once"] * 10_000])
    life = Lifecycle(ModelVendor(ConnectionInfo("model")), chance=lambda: 0.5)
    with pytest.raises(errors.ExportConflict):
        world.run(life.submit({"a": 1}, conflict_deadline=BEGIN + 600))
    assert 10_000 - len(world.faults) < 100


# -- the answers of the real vendors, with something odd in them ---------------------------------------

VENDORS = [
    test_connhex.TestConnhexConformance,
    test_conformance.TestGiosg,
    test_conformance.TestMedable,
    test_conformance.TestMews,
    test_onna.TestOnnaConformance,
]
ODD = [
    None,
    True,
    0,
    -1,
    2**70,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../etc/passwd",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01",
    "http://[",
    "file:///etc/passwd",
    "https://a.example\\@b.example/",
    [],
    [[]],
    {},
    {"a": {"b": [1]}},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value inside of JSON, and to itself."""
    yield path
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from places(inner, (*path, key))


def with_odd(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    """Return a copy of JSON with another value in one place."""
    if not path:
        return odd
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_odd(value[path[0]], path[1:], odd)
    return copy


ODD_TEXTS = ["a\r\nSet-Cookie: b\x00\u202ec", "\ud800", "9" * 5000, "y." * 50_000]


def answers_of(kind: Any) -> list[Response]:
    """Return what a vendor's documentation has as the answers to one export."""
    return [one for one in kind.happy_path if isinstance(one, Response)]


def texts_of(kind: Any, position: int, path: tuple[Any, ...], odd: Any) -> list[str]:
    """Create an export and wait for it, with an odd value in one answer; return all that can be read."""
    answers = answers_of(kind)
    one = answers[position]
    changed = json.dumps(with_odd(json.loads(one.body), path, odd)).encode()
    answers[position] = Response(one.status, one.headers, changed)
    replay = Replay([*answers, *answers[-1:] * 300], kind.now)
    life = Lifecycle(kind.vendor_class(kind.connection), chance=lambda: 0.5)

    def plan() -> Plan[Export]:
        export = yield from life.submit(life.vendor.prepare(kind.payload))
        return (yield from life.wait(export.export_id, deadline=kind.now + 3600))

    try:
        shown = json.dumps(replay.run(plan()).result(), allow_nan=False)
    except errors.ExportError as error:
        shown = str(error)
        json.dumps(error.to_event(), allow_nan=False)
    texts = [shown, *replay.notes]
    # An odd token may be a single letter, which is in every text.
    secrets = [secret for secret in life.vendor.secrets if len(secret) >= 6 and secret not in ODD]
    assert not any(secret in text for secret in secrets for text in texts)
    return texts


def in_json(kind: Any) -> list[tuple[int, tuple[Any, ...]]]:
    """Return each place in the JSON of a vendor's answers."""
    found = []
    for position, one in enumerate(answers_of(kind)):
        with contextlib.suppress(ValueError):
            found += [(position, path) for path in places(json.loads(one.body))]
    return found


@settings(max_examples=400)
@given(kind=st.sampled_from(VENDORS), data=st.data())
def test_odd_value_in_an_answer_is_an_export_or_an_error(kind: Any, data: st.DataObject) -> None:
    """Wherever it stands, from the create to the last look: no other exception, and a text one can show."""
    position, path = data.draw(st.sampled_from(in_json(kind)))
    for text in texts_of(kind, position, path, data.draw(st.sampled_from(ODD))):
        assert text.isprintable(), repr(text[:300])
        assert len(text) < 3000


@pytest.mark.parametrize("kind", VENDORS)
def test_odd_text_in_an_answer_is_not_shown_as_it_is(kind: Any) -> None:
    """Neither a line of its own in a log nor a megabyte in an error."""
    for position, path in in_json(kind):
        for odd in ODD_TEXTS:
            for text in texts_of(kind, position, path, odd):
                assert text.isprintable(), repr(text[:300])
                assert len(text) < 3000


# -- texts and addresses -------------------------------------------------------------------------------


@example(secrets=["abc", "abcdef"], before="", after="")
@given(
    secrets=st.lists(st.text("abc/@ é", min_size=3, max_size=8).filter(str.strip), min_size=1, max_size=3),
    before=st.text(max_size=50),
    after=st.text(max_size=50),
)
def test_no_secret_is_left(secrets: list[str], before: str, after: str) -> None:
    """Nor the rest of one that holds another, nor what an address would make of it."""
    for secret in secrets:
        for form in (secret, quote(secret, safe="")):
            rest = redact(f"{before}|{form}|{after}", secrets, limit=10_000).split("|")
            assert len(rest) < 3 or form not in rest[1]


@pytest.mark.parametrize("text", ["a." * 500_000, "a://" * 250_000, "://@" * 250_000, "?#" * 500_000])
def test_megabytes_are_redacted_at_once(text: str) -> None:
    """A vendor writes as much as it likes."""
    assert len(redact(text)) <= 300


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://u:p@ss@h.example/x", "at https://***@h.example/x"),
        ("at https://h.example/x?sig=1#2 now", "at https://h.example/x?*** now"),
        ("at https://h.example/x#token", "at https://h.example/x?***"),
        (
            "at a-scheme-of-more-than-thirty-letters://h/?sig=1",
            "at a-scheme-of-more-than-thirty-letters://h/?***",
        ),
        ("mail to a@b.example?", "mail to a@b.example?"),
    ],
)
def test_addresses_are_shown_without_what_opens_them(text: str, shown: str) -> None:
    """Whatever the scheme, and however odd the password."""
    assert redact(text) == shown


@given(
    value=st.text(max_size=40) | st.from_regex(r"(Mon|Thu), \d\d? \w{3} \d{1,5} \d\d:\d\d:\d\d [+-]?\w{3,12}")
)
@example(value="inf")
@example(value="-inf")
@example(value="nan")
@example(value="9" * 5000)
@example(value="Mon, 01 Jan 0001 00:00:00 +2359")
def test_any_retry_after_is_seconds_or_none(value: str) -> None:
    """A number that can be waited for and written as JSON."""
    asked = Response(429, {"retry-after": value, "date": value}, received_at=BEGIN).retry_after
    assert asked is None or 0 <= asked < 1e300
    json.dumps(asked, allow_nan=False)


def test_half_a_character_is_no_text() -> None:
    """Whole ones stay, as escapes or not."""
    body = rb'{"\ud800": ["\ud83d\ude00", "\udc00x", "' + "é😀".encode() + rb'"]}'
    assert Response(200, {}, body).json() == {"?": ["😀", "?x", "é😀"]}


def test_date_without_zone_is_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of wherever the worker stands."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        response = Response(200, {"date": "Thu, 01 Jan 2026 00:00:00 -0000"})
        assert response.server_time == datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    finally:
        monkeypatch.undo()
        time.tzset()


@given(
    st.text("ab./:@\\?#[]%\t\n 0189", max_size=20),
    st.sampled_from(["https://", "https:/", "//", "http://", "", "https://api.example"]),
    st.sampled_from(["", "@api.example", "\\@api.example/", "api.example", "/api.example"]),
)
def test_no_client_goes_elsewhere_than_resolve_says(middle: str, begin: str, end: str) -> None:
    """What is taken for the API's own origin is where the HTTP library goes."""
    try:
        url = resolve(["https://api.example"], begin + middle + end)
    except errors.UnsafeLink:
        return
    try:
        prepared = requests.Request("GET", url).prepare().url
    except requests.RequestException:
        return
    going = parse_url(prepared)
    assert (going.scheme, going.host, going.port or 443) == ("https", "api.example", 443)
    assert origin(prepared) == ("https", "api.example", 443)

"""Virtual time, switches, faults, the request log and the controls, over both vendors."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.apis import VENDORS
from airflow_provider_exports.simulator.clock import Clock
from airflow_provider_exports.simulator.scenario import FAULTS, FILE_FAULTS


class Client:
    """Create, look and download for either vendor, without any code of the provider."""

    def __init__(self, simulator: Simulator, vendor: str) -> None:
        self.simulator, self.vendor = simulator, vendor
        self.connection = simulator.connection(vendor)
        self.host = self.connection["host"]
        if vendor == "giosg":
            self.headers = {"Authorization": f"Token {self.connection['password']}"}
            me = requests.get(f"{self.host}/api/v5/users/me", headers=self.headers, timeout=10).json()
            self.exports = f"{self.host}/api/v5/orgs/{me['organization_id']}/users/{me['id']}/reportexports"

    def mews(self, action: str, **fields: Any) -> requests.Response:
        body = {
            "ClientToken": self.connection["extra"]["client_token"],
            "AccessToken": self.connection["password"],
            "Client": "Test 1.0.0",
        }
        url = f"{self.host}/api/connector/v1/exports/{action}"
        return requests.post(url, json=body | fields, timeout=5, allow_redirects=False)

    def create(self) -> requests.Response:
        if self.vendor == "mews":
            return self.mews("add", EntityType="OrderItem")
        payload = {
            "starting_at": "2026-01-01T00:00:00.000Z",
            "ending_at": "2026-01-02T00:00:00.000Z",
            "room_id": self.simulator.rooms()[0]["id"],
            "type": "logs",
            "format": "csv",
        }
        return requests.post(
            self.exports, json=payload, headers=self.headers, timeout=5, allow_redirects=False
        )

    def get(self, export_id: str) -> requests.Response:
        if self.vendor == "mews":
            return self.mews("getAll", ExportIds=[export_id])
        url = f"{self.exports}/{export_id}"
        return requests.get(url, headers=self.headers, timeout=5, allow_redirects=False)

    def created(self) -> str:
        answer = self.create().json()
        return str(answer["Export"]["Id"] if self.vendor == "mews" else answer["id"])

    def looked(self, export_id: str) -> dict[str, Any]:
        answer = self.get(export_id).json()
        return dict(answer["Exports"][0] if self.vendor == "mews" else answer)

    def link(self) -> str:
        export_id = self.created()
        self.simulator.set_state(self.vendor, export_id, "ready")
        export = self.looked(export_id)
        return str(export["Files"][0]["Url"] if self.vendor == "mews" else export["url"])

    def download(self, url: str) -> requests.Response:
        headers = self.headers if url.startswith(self.host) else {}
        return requests.get(url, headers=headers, timeout=5, allow_redirects=False)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(params=["mews", "giosg"])
def client(sim: Simulator, request: pytest.FixtureRequest) -> Client:
    return Client(sim, request.param)


# Time


def test_time_passes_at_its_speed() -> None:
    """At speed 0 time stands still; advance moves it, and changing the speed does not."""
    clock = Clock(speed=0)
    start = clock.now()
    assert clock.now() == start
    clock.advance(90.5)
    assert clock.now() == start + timedelta(seconds=90.5)
    clock.speed = 1_000_000
    assert start + timedelta(seconds=90) < clock.now() < start + timedelta(days=365)


def test_time_does_not_go_backwards() -> None:
    """A negative step or speed is refused."""
    clock = Clock()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    with pytest.raises(ValueError, match="negative"):
        clock.speed = -1


def test_answers_carry_the_virtual_date(client: Client) -> None:
    """The Date header of API and file answers is the virtual time."""
    url = client.link()
    client.simulator.advance(100)
    for response in (client.create(), client.download(url)):
        shown = parsedate_to_datetime(response.headers["Date"])
        assert abs(shown - client.simulator.now()) < timedelta(seconds=3)
    assert client.simulator.now() - datetime.now(UTC) > timedelta(seconds=90)


@pytest.mark.parametrize("reads", [0, 1, 2, 5])
def test_ready_after_so_many_reads(client: Client, reads: int) -> None:
    """The n-th read finishes an export; 0 is the same as 1 for who reads, but needs no read."""
    client.simulator.configure(client.vendor, ready_after_reads=reads)
    export_id = client.created()
    states = []
    for _ in range(reads):
        states.append(client.simulator.exports(client.vendor)[0].state)
        client.looked(export_id)
    assert "ready" not in states
    assert client.simulator.exports(client.vendor)[0].state == "ready"


def test_ready_after_so_many_seconds(client: Client) -> None:
    """Age alone finishes an export, dated to the moment it was due, however often it is read before."""
    client.simulator.configure(client.vendor, ready_after_seconds=3600)
    export_id = client.created()
    for _ in range(5):
        client.looked(export_id)
    (before,) = client.simulator.exports(client.vendor)
    client.simulator.advance(5000)
    (after,) = client.simulator.exports(client.vendor)
    assert (before.state, after.state) == ("processing", "ready")
    assert after.finished_at == before.created_at + timedelta(seconds=3600)


def test_an_export_that_never_ends(client: Client) -> None:
    """With the outcome never, neither reads nor age finish an export."""
    client.simulator.configure(client.vendor, outcome="never", ready_after_reads=1)
    export_id = client.created()
    client.simulator.advance(10 * 86400)
    client.looked(export_id)
    assert client.simulator.exports(client.vendor)[0].state == "processing"


def test_a_new_export_can_be_invisible_for_a_while(client: Client) -> None:
    """With visible_after_seconds a read right after the create does not find the export."""
    client.simulator.configure(client.vendor, visible_after_seconds=30)
    export_id = client.created()
    early = client.get(export_id)
    assert early.json()["Exports"] == [] if client.vendor == "mews" else early.status_code == 404
    client.simulator.advance(30)
    assert client.looked(export_id)


def test_states_set_by_hand(client: Client) -> None:
    """An unfinished state set by hand stays, and a state can also go backwards."""
    export_id = client.created()
    for state in ("ready", "processing", "failed", "pending", "expired"):
        client.simulator.set_state(client.vendor, export_id, state)
        client.simulator.advance(3600)
        client.looked(export_id)
        assert client.simulator.exports(client.vendor)[0].state == state
    with pytest.raises(KeyError):
        client.simulator.set_state(client.vendor, "unknown", "ready")
    with pytest.raises(ValueError, match="no state"):
        client.simulator.set_state(client.vendor, export_id, "done")  # type: ignore[arg-type]


# Switches


@pytest.mark.parametrize(
    "switches", [{"bussy_status": 400}, {"busy_status": 418}, {"rows": "many"}, {"exports_permission": 1}]
)
def test_unknown_switches_and_values_are_refused(sim: Simulator, switches: dict[str, Any]) -> None:
    """A misspelled switch or a value it cannot have is an error and changes nothing."""
    before = sim.switches("mews")
    with pytest.raises(ValueError, match="switch"):
        sim.configure("mews", **({"rows": 7} | switches))
    assert sim.switches("mews") == before


def test_unknown_vendors_are_refused(sim: Simulator) -> None:
    """A vendor that is not simulated is an error everywhere."""
    calls: list[Callable[[], object]] = [
        lambda: sim.configure("other"),
        lambda: sim.base_url("other"),
        lambda: sim.connection("other"),
        lambda: sim.exports("other"),
        lambda: sim.fail_next("other", "create", fault="reset"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="no vendor"):
            call()
    assert requests.get(f"{sim.api_origin}/other/x", timeout=5).status_code == 404


# Faults of the API


def test_a_lost_response_leaves_an_export_behind(client: Client) -> None:
    """The connection ends without an answer although the export exists."""
    client.simulator.fail_next(client.vendor, "create", fault="lost_response")
    with pytest.raises(requests.ConnectionError):
        client.create()
    assert len(client.simulator.exports(client.vendor)) == 1
    (create,) = client.simulator.requests(client.vendor, "create")
    assert (create.status, create.fault) == (None, "lost_response")


def test_a_reset_leaves_nothing_behind(client: Client) -> None:
    """The connection ends before anything was created."""
    client.simulator.fail_next(client.vendor, "create", fault="reset")
    with pytest.raises(requests.ConnectionError):
        client.create()
    assert client.simulator.exports(client.vendor) == []


@pytest.mark.parametrize(
    ("fault", "status", "exports"),
    [
        ("500", 500, 0),
        ("503", 503, 0),
        ("500_after", 500, 1),
        ("408_after", 408, 1),
        ("404", 404, 0),
        ("not_found", 404, 0),
        ("unauthorized", 401, 0),
        ("forbidden", 403, 0),
    ],
)
def test_error_answers(client: Client, fault: str, status: int, exports: int) -> None:
    """A named status or error comes before or after the create, in the vendor's words."""
    client.simulator.fail_next(client.vendor, "create", fault=fault)
    response = client.create()
    assert response.status_code == status
    assert set(response.json()) == ({"Message", "RequestId"} if client.vendor == "mews" else {"detail"})
    assert len(client.simulator.exports(client.vendor)) == exports


def test_forms_of_too_many_requests(client: Client) -> None:
    """429 carries Retry-After in seconds, as a date, as the number given, or not at all."""

    def retry_after(**options: Any) -> str | None:
        client.simulator.fail_next(client.vendor, "create", fault="429", **options)
        response = client.create()
        assert response.status_code == 429
        return response.headers.get("Retry-After")

    assert retry_after() == "2"
    assert retry_after(retry_after=3600) == "3600"
    assert retry_after(retry_after="missing") is None
    moment = parsedate_to_datetime(retry_after(retry_after="date", seconds=60) or "")
    assert timedelta(seconds=55) < moment - client.simulator.now() <= timedelta(seconds=61)
    assert client.simulator.exports(client.vendor) == []


def test_an_answer_can_be_held_back(client: Client) -> None:
    """A held answer makes the client give up although the export exists; stopping does not wait for it."""
    client.simulator.fail_next(client.vendor, "create", fault="timeout", seconds=30)
    created = threading.Event()

    def call() -> None:
        with pytest.raises(requests.ConnectionError):
            client.create()
        created.set()

    thread = threading.Thread(target=call)
    thread.start()
    while not client.simulator.exports(client.vendor):
        assert not created.is_set()
    client.simulator.stop()
    thread.join(timeout=5)
    assert created.is_set()


def test_answers_that_are_no_json(client: Client) -> None:
    """Cut JSON and an HTML page come with status 200 or 201 and cannot be parsed."""
    export_id = client.created()
    for fault in ("malformed_json", "html"):
        client.simulator.fail_next(client.vendor, "get", fault=fault)
        response = client.get(export_id)
        assert response.status_code == 200
        with pytest.raises(requests.JSONDecodeError):
            response.json()


def test_unknown_status(client: Client) -> None:
    """The export is in a state that is not in the documentation, for one answer."""
    export_id = client.created()
    client.simulator.fail_next(client.vendor, "get", fault="unknown_status")
    strange = client.looked(export_id)
    if client.vendor == "mews":
        assert strange["Status"] not in {"Pending", "Processing", "Success", "Failed", "Expired"}
        assert client.looked(export_id)["Status"] == "Success"
    else:
        assert strange["completed_at"]
        assert [strange[name] for name in ("is_failed", "expires_at", "url")] == [None] * 3
        assert client.looked(export_id)["url"]


def test_missing_fields(client: Client) -> None:
    """A field is missing from an answer: the one needed most, or the one named."""
    needed, named = ("Status", "Files") if client.vendor == "mews" else ("completed_at", "url")
    export_id = client.created()
    client.simulator.fail_next(client.vendor, "get", fault="missing_field")
    assert needed not in client.looked(export_id)
    client.simulator.fail_next(client.vendor, "get", fault="missing_field", field=named)
    assert named not in client.looked(export_id)


def test_redirect_to_another_origin(client: Client) -> None:
    """A 307 points to the files origin, and credentials that follow it there are recorded."""
    client.simulator.fail_next(client.vendor, "create", fault="redirect_307")
    response = client.create()
    assert response.status_code == 307
    target = response.headers["Location"]
    assert target.startswith(client.simulator.files_origin)
    assert client.simulator.exports(client.vendor) == []
    requests.post(target, json={}, timeout=5)
    assert client.simulator.leaks() == []
    sent = response.request
    requests.post(target, data=sent.body, headers=dict(sent.headers), timeout=5)
    (leak,) = client.simulator.leaks(client.vendor)
    assert leak.operation == "redirected"
    assert leak.credentials == (("body",) if client.vendor == "mews" else ("header Authorization",))


@pytest.mark.parametrize("fate", ["job_failed", "job_never"])
def test_the_fate_of_one_export(client: Client, fate: str) -> None:
    """One export fails or never ends, and the next one does not."""
    client.simulator.configure(client.vendor, ready_after_reads=0)
    client.simulator.fail_next(client.vendor, "create", fault=fate)
    first = client.created()
    state = client.simulator.exports(client.vendor)[0].state
    assert state == ("failed" if fate == "job_failed" else "pending")
    client.simulator.set_state(client.vendor, first, "failed")
    client.created()
    assert client.simulator.exports(client.vendor)[1].state == "ready"


def test_how_often_and_when_a_fault_happens(client: Client) -> None:
    """A fault waits for undisturbed calls, happens so many times, in the order of queueing, then no more."""
    export_id = client.created()
    client.simulator.fail_next(client.vendor, "get", fault="503", after=1, times=2)
    client.simulator.fail_next(client.vendor, "get", fault="unauthorized")
    assert [client.get(export_id).status_code for _ in range(5)] == [200, 503, 503, 401, 200]


def test_a_constant_fault(client: Client) -> None:
    """Without a number of times a fault happens until the faults are cleared, and only to its operation."""
    client.simulator.fail_next(client.vendor, "get", fault="500", times=None)
    export_id = client.created()
    assert [client.get(export_id).status_code for _ in range(4)] == [500] * 4
    client.simulator.clear_faults(client.vendor)
    assert client.get(export_id).status_code == 200


@pytest.mark.parametrize(
    ("operation", "options"),
    [
        ("create", {"fault": "no such fault"}),
        ("create", {"fault": "stale_link"}),
        ("file", {"fault": "lost_response"}),
        ("delete", {"fault": "500"}),
        ("list", {"fault": "500"}),
        ("create", {"fault": "429", "retry_afterr": 3}),
        ("create", {"fault": "500", "times": 0}),
    ],
)
def test_impossible_faults_are_refused(sim: Simulator, operation: str, options: dict[str, Any]) -> None:
    """A fault, operation, option or count that does not exist is an error at once."""
    with pytest.raises(ValueError, match=r"fault|operation"):
        sim.fail_next("mews", operation, **options)


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_every_documented_fault_disturbs_a_call(client: Client, fault: str) -> None:
    """Each named fault can be queued, is used up by one call and is noted in the log."""
    client.simulator.fail_next(client.vendor, "create", fault=fault, seconds=0)
    try:
        client.create()
    except requests.ConnectionError:
        assert fault in ("lost_response", "reset")
    (create,) = client.simulator.requests(client.vendor, "create")
    assert create.fault == fault


def test_faults_of_me_rooms_and_list(sim: Simulator) -> None:
    """The other giosg operations can be disturbed as well."""
    client = Client(sim, "giosg")
    rooms = f"{client.exports.partition('/users/')[0]}/rooms"
    for operation, url in (
        ("me", f"{client.host}/api/v5/users/me"),
        ("rooms", rooms),
        ("list", client.exports),
    ):
        sim.fail_next(
            "giosg", operation, fault="missing_field", field="next" if operation == "rooms" else "id"
        )
        sim.fail_next("giosg", operation, fault="502")
        answers = [requests.get(url, headers=client.headers, timeout=5) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 502, 200]
        missing = "next" if operation == "rooms" else "id"
        assert operation == "list" or missing not in answers[0].json()


# Faults of files


@pytest.mark.parametrize("fault", ["truncated", "truncated_chunked", "reset"])
def test_broken_transfers_that_a_client_can_see(client: Client, fault: str) -> None:
    """A cut against the announced length, a cut chunk and a reset raise in the client."""
    url = client.link()
    client.simulator.fail_next(client.vendor, "file", fault=fault)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        client.download(url)
    assert client.download(url).status_code == 200


def test_a_cut_that_a_client_cannot_see(client: Client) -> None:
    """Without any length a cut file looks complete."""
    url = client.link()
    whole = client.download(url).content
    client.simulator.fail_next(client.vendor, "file", fault="truncated_no_length", at_byte=100)
    response = client.download(url)
    assert response.status_code == 200
    assert "Content-Length" not in response.headers
    assert response.content == whole[:100]


def test_a_file_that_is_one_byte_short(client: Client) -> None:
    """A complete answer, consistent in itself, lacks the last byte."""
    url = client.link()
    whole = client.download(url).content
    client.simulator.fail_next(client.vendor, "file", fault="size_mismatch")
    assert client.download(url).content == whole[:-1]


@pytest.mark.parametrize(
    ("fault", "status", "start"),
    [
        ("stale_link", 403, b""),
        ("html_instead", 200, b"<!DOCTYPE html>"),
        ("json_error_instead", 200, b'{"error"'),
        ("not_found", 404, b""),
        ("503", 503, b""),
    ],
)
def test_other_answers_instead_of_a_file(client: Client, fault: str, status: int, start: bytes) -> None:
    """An error, a page or JSON comes instead of the file."""
    url = client.link()
    client.simulator.fail_next(client.vendor, "file", fault=fault)
    response = client.download(url)
    assert response.status_code == status
    assert response.content.startswith(start)


def test_a_file_can_redirect_anywhere(client: Client) -> None:
    """The redirect fault sends the client to the given place."""
    url = client.link()
    client.simulator.fail_next(client.vendor, "file", fault="redirect", location="http://169.254.169.254/")
    response = client.download(url)
    assert (response.status_code, response.headers["Location"]) == (302, "http://169.254.169.254/")


def test_slow_and_stalling_files(client: Client) -> None:
    """A slow file arrives whole in pieces; a stalling one ends after its silence."""
    url = client.link()
    whole = client.download(url).content
    client.simulator.fail_next(client.vendor, "file", fault="slow", seconds=0.0001, piece_bytes=200)
    assert client.download(url).content == whole
    client.simulator.fail_next(client.vendor, "file", fault="stall", seconds=0.01)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.download(url)


@pytest.mark.parametrize("fault", sorted(FILE_FAULTS))
def test_every_documented_file_fault_disturbs_a_download(client: Client, fault: str) -> None:
    """Each named file fault can be queued, is used up by one download and is noted in the log."""
    url = client.link()
    client.simulator.fail_next(client.vendor, "file", fault=fault, seconds=0, location="/elsewhere")
    try:
        client.download(url)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        assert fault in ("truncated", "truncated_chunked", "reset", "stall")
    (file,) = client.simulator.requests(client.vendor, "file")
    assert file.fault == fault


# Log and secrets


def test_the_log_keeps_requests_as_sent_and_shows_no_secret(client: Client) -> None:
    """A record has body, headers and query with their secrets, while its repr has none of them."""
    url = client.link()
    client.download(url)
    records = client.simulator.requests(client.vendor)
    create = next(record for record in records if record.operation == "create")
    assert create.body["EntityType" if client.vendor == "mews" else "type"]
    assert create.method == "POST"
    assert create.credentials == (("body",) if client.vendor == "mews" else ("header Authorization",))
    secrets = [*client.simulator.tokens.values(), client.simulator.link_secret]
    kept = "".join(f"{one.raw_body!r}{dict(one.headers)}{dict(one.query)}" for one in records)
    assert client.connection["password"] in kept
    assert (client.simulator.link_secret in kept) == (client.vendor == "mews")
    shown = repr(records) + repr(client.simulator.exports(client.vendor))
    assert not [secret for secret in secrets if secret in shown]


def test_planted_secrets() -> None:
    """Tokens and the mark of link signatures can be chosen, and the default tokens then mean nothing."""
    tokens = {"mews_access_token": "canary-access", "giosg_api_token": "canary-api"}
    with Simulator(tokens=tokens, link_secret="canary-link") as sim:
        assert sim.connection("mews")["password"] == "canary-access"
        assert sim.connection("giosg")["password"] == "canary-api"
        assert "canary-link" in Client(sim, "mews").link()
    with pytest.raises(ValueError, match="no tokens"):
        Simulator(tokens={"mews_token": "x"})


def test_the_servers_log_nothing_of_a_request(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """No signature and no token reaches the log of the process that runs the simulator."""
    caplog.set_level("DEBUG")
    caplog.handler.setLevel("DEBUG")
    client.download(client.link())
    own = [record for record in caplog.records if not record.name.startswith(("urllib3", "requests"))]
    assert not [record for record in own if "simulated-" in record.getMessage()]


# The object


def test_reset_forgets_everything(client: Client) -> None:
    """After a reset there is no export, request, fault, switch, room or passed time of before."""
    simulator = client.simulator
    url = client.link()
    simulator.advance(1e6)
    simulator.configure(client.vendor, outcome="failed")
    simulator.fail_next(client.vendor, "create", fault="500")
    simulator.add_room("Another")
    simulator.reset()
    assert (simulator.exports(client.vendor), simulator.requests()) == ([], [])
    assert len(simulator.rooms()) == 4
    assert abs(simulator.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert simulator.switches(client.vendor)["outcome"] == "success"
    assert client.create().ok
    assert client.download(url).status_code in (403, 404)


def test_a_taken_port_is_an_error(sim: Simulator) -> None:
    """Starting on a port in use raises, and leaves nothing running."""
    before = sum(thread.name == "simulator" for thread in threading.enumerate())
    other = Simulator(port=int(sim.api_origin.rpartition(":")[2]))
    with pytest.raises(OSError, match="address already in use"):
        other.start()
    other.stop()
    assert sum(thread.name == "simulator" for thread in threading.enumerate()) == before


def test_stopped_servers_do_not_answer() -> None:
    """After stop both ports are closed, and the simulator can be started again."""
    sim = Simulator()
    with sim:
        origins = [sim.api_origin, sim.files_origin]
        with pytest.raises(RuntimeError):
            sim.start()
    for origin in origins:
        with pytest.raises(requests.ConnectionError):
            requests.get(origin, timeout=5)
    with sim:
        assert requests.get(f"{sim.api_origin}/_control/health", timeout=5).ok


def test_every_vendor_has_a_complete_connection(sim: Simulator) -> None:
    """Each simulated vendor names a connection with the four fields, its host being its base URL."""
    assert sim.vendors == tuple(VENDORS)
    for vendor in sim.vendors:
        connection = sim.connection(vendor)
        assert set(connection) - {"login"} == {"conn_type", "host", "password", "extra"}
        assert connection["conn_type"] == vendor
        assert connection["host"] == sim.base_url(vendor)
        assert connection["password"] in sim.tokens.values()


# Controls over HTTP


def test_controls_over_http(client: Client) -> None:
    """Another process can configure, disturb, advance, look and reset as a test in this one can."""
    base, vendor = f"{client.simulator.api_origin}/_control", client.vendor

    def post(name: str, /, **values: Any) -> Any:
        response = requests.post(f"{base}/{name}", json=values, timeout=5)
        assert response.status_code == 200, response.text
        return response.json()

    def get(name: str, /, **query: str) -> Any:
        return requests.get(f"{base}/{name}", params=query, timeout=5).json()

    assert get("health")["status"] == "ok"
    assert get("connections")[vendor] == client.connection
    assert post("configure", vendor=vendor, switches={"ready_after_seconds": 50})["ready_after_reads"] is None
    post("fail-next", vendor=vendor, operation="create", fault="503", times=1)
    post("fail-next", vendor=vendor, operation="create", fault="500", times=None)
    assert client.create().status_code == 503
    post("clear-faults")
    export_id = client.created()
    before = datetime.fromisoformat(get("health")["now"])
    assert datetime.fromisoformat(post("advance", seconds=50)["now"]) - before >= timedelta(seconds=50)
    (export,) = get("exports", vendor=vendor)
    assert (export["id"], export["state"]) == (export_id, "ready")
    post("set-state", vendor=vendor, export_id=export_id, state="failed")
    assert get("exports", vendor=vendor)[0]["state"] == "failed"
    assert get("requests", vendor=vendor, operation="create")[0]["status"] == 503
    assert get("leaks") == []
    assert post("add-room", name="Another")["room_id"]
    post("reset")
    assert get("exports", vendor=vendor) == get("requests") == []


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("configure", {"vendor": "mews", "switches": {"nothing": 1}}, 400),
        ("configure", {}, 400),
        ("advance", {"seconds": "soon"}, 400),
        ("fail-next", {"vendor": "mews", "operation": "create"}, 400),
        ("set-state", {"vendor": "mews", "export_id": "x", "state": "ready"}, 400),
        ("explode", {}, 404),
        ("advance", ["x"], 400),
    ],
)
def test_mistakes_in_controls(sim: Simulator, name: str, values: object, status: int) -> None:
    """A control that cannot be carried out says what was wrong."""
    response = requests.post(f"{sim.api_origin}/_control/{name}", json=values, timeout=5)
    assert response.status_code == status
    assert response.json()["error"]

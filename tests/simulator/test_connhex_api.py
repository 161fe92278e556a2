"""The simulated Connhex exporter against what the vendor's documentation says."""

import copy
import csv
import io
import uuid
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
import requests

from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.apis.connhex import OTHER_USERNAME
from airflow_provider_exports.simulator.apis.connhex_periods import Duration, Schedule

URN = "urn:cpt:smartdevice:nid:AA01"
START = 1735689600  # 2025-01-01T00:00:00Z
DAY = 86400
MESSAGES = [
    {"policy": "onSuccess", "medium": "email", "title": "Delivered", "text": "It is ready."},
    {"policy": "onFailure", "medium": "slack", "title": "Failed", "text": "It is not.", "target": "#ops"},
]
ITEM = {
    "filename": "temp",
    "params": {
        "target": {"value": f"{URN}:temp", "label": "temperature"},
        "channelId": "00000000-0000-4000-8000-000000000001",
        "subtopic": "events.data",
        "from": START,
        "to": START + DAY,
        "outputFormat": "long",
    },
}
BODY = {
    "type": "oneTime",
    "format": {"extension": "csv", "filename": "run-7f3a"},
    "items": [ITEM],
    "notification": {"messages": MESSAGES},
}
RECURRING = {"type": "recurring", "periodicity": "P1D", "items.0.params.period": "P1D"}


def changed(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A deep copy with values at dotted paths; ``...`` takes a value away."""
    made = copy.deepcopy(body)
    for path, value in changes.items():
        place: Any = made
        *parents, last = path.split(".")
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        key = int(last) if isinstance(place, list) else last
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return made


def shown_after(text: str, **delta: float) -> str:
    """A time in an answer, so much later."""
    later = datetime.fromisoformat(text) + timedelta(**delta)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Connhex:
    """A plain client, without any code of the provider."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.fields = simulator.connection("connhex")
        self.apis, self.accounts = self.fields["extra"]["apis_url"], self.fields["extra"]["accounts_url"]
        self.exports = f"{self.apis}/exports"
        self.session = requests.Session()
        self.log_in()

    def flow(self) -> dict[str, Any]:
        return requests.get(f"{self.accounts}/auth/self-service/login/api", timeout=10).json()

    def submit(self, action: str, **changes: Any) -> requests.Response:
        form = {
            "method": "password",
            "identifier": self.fields["login"],
            "password": self.fields["password"],
        }
        return requests.post(action, json=form | changes, timeout=10)

    def log_in(self, **changes: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.submit(self.flow()["ui"]["action"], **changes).json()
        self.session.headers["Authorization"] = f"Bearer {answer['session_token']}"
        return answer

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        return self.session.request(method, url, timeout=10, allow_redirects=False, **options)

    def create(self, **changes: Any) -> requests.Response:
        return self.call("POST", self.exports, json=changed(BODY, **changes))

    def created(self, **changes: Any) -> dict[str, Any]:
        response = self.create(**changes)
        assert response.status_code == 201, response.text
        return response.json()

    def status(self, export_id: str) -> requests.Response:
        return self.call("GET", f"{self.exports}/{export_id}/status")

    def word(self, export_id: str) -> str:
        response = self.status(export_id)
        assert response.status_code == 200, response.text
        return str(response.json()["status"])

    def download(self, export_id: str) -> requests.Response:
        return self.call("GET", f"{self.exports}/{export_id}/download")

    def delete(self, export_id: str) -> requests.Response:
        return self.call("DELETE", f"{self.exports}/{export_id}")

    def ready(self, **changes: Any) -> str:
        export_id = str(self.created(**changes)["id"])
        self.simulator.set_state("connhex", export_id, "ready")
        return export_id

    def file(self, **changes: Any) -> bytes:
        response = self.download(self.ready(**changes))
        assert response.status_code == 200, response.text
        return response.content

    def rows(self, delimiter: str = ",", **changes: Any) -> list[list[str]]:
        return list(csv.reader(io.StringIO(self.file(**changes).decode()), delimiter=delimiter))


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        # Neither the queue nor the end of a token is what most tests are about.
        simulator.configure("connhex", max_queued=None, token_ttl_seconds=1e9)
        yield simulator


@pytest.fixture
def connhex(sim: Simulator) -> Connhex:
    return Connhex(sim)


# Login


def test_a_login_takes_two_steps(sim: Simulator, connhex: Connhex) -> None:
    """The first call names where to send the form, with the flow's id; the second gives the token."""
    sim.reset()
    flow = connhex.flow()
    action = f"{connhex.accounts}/auth/self-service/login?flow={flow['id']}"
    assert flow["ui"]["action"] == action
    answer = connhex.submit(action).json()
    assert answer["session_token"].startswith("ory_st_")
    session = answer["session"]
    assert session["identity"]["traits"]["email"] == connhex.fields["login"]
    left = datetime.fromisoformat(session["expires_at"]) - sim.now()
    assert timedelta(hours=23) < left <= timedelta(hours=24)


@pytest.mark.parametrize("switch", ["full", "no_expiry", "missing"])
def test_what_a_login_tells_about_its_session(sim: Simulator, connhex: Connhex, switch: str) -> None:
    """The session and its end can be missing beside the token."""
    sim.configure("connhex", login_session=switch)
    answer = connhex.log_in()
    assert ("session" in answer) == (switch != "missing")
    assert ("expires_at" in answer.get("session", {})) == (switch == "full")


@pytest.mark.parametrize(
    "form",
    [{"password": "wrong"}, {"identifier": "nobody@example.com"}, {"identifier": None}, {"method": "code"}],
)
def test_a_failed_login_says_why(sim: Simulator, connhex: Connhex, form: dict[str, Any]) -> None:
    """A form that does not fit is 400 with a text in ui.messages, and the flow can be used again."""
    flow = connhex.flow()
    response = connhex.submit(flow["ui"]["action"], **form)
    assert response.status_code == 400
    answer = response.json()
    assert answer["ui"]["messages"][0]["text"]
    assert "session_token" not in answer
    assert connhex.submit(answer["ui"]["action"]).status_code == 200
    sim.configure("connhex", login_failed_status=401)
    assert connhex.submit(flow["ui"]["action"], password="wrong").status_code == 401


def test_flows_end(sim: Simulator, connhex: Connhex) -> None:
    """A flow that is too old is gone, one that never was is not found, both in Ory's words."""
    action = connhex.flow()["ui"]["action"]
    sim.advance(3600)
    expired = connhex.submit(action)
    assert expired.status_code == 410
    assert expired.json()["error"]["id"] == "self_service_flow_expired"
    unknown = connhex.submit(f"{action.partition('=')[0]}={uuid.uuid4()}")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, 404)


def test_a_form_can_point_elsewhere(sim: Simulator, connhex: Connhex) -> None:
    """The address of the form can be relative, or on an origin where no password may go."""
    sim.configure("connhex", login_action="relative")
    action = connhex.flow()["ui"]["action"]
    assert connhex.submit(f"{sim.api_origin}{action}").status_code == 200
    sim.configure("connhex", login_action="foreign")
    action = connhex.flow()["ui"]["action"]
    assert action.startswith(sim.files_origin)
    assert connhex.submit(action).status_code == 404
    assert sim.leaks("connhex")[0].credentials == ("body",)


def test_whoami(connhex: Connhex) -> None:
    """A valid token shows its user, and can be turned into a JWT that is a bearer token too."""
    url = f"{connhex.accounts}/auth/sessions/whoami"
    assert connhex.call("GET", url).json()["identity"]["traits"]["email"] == connhex.fields["login"]
    assert requests.get(url, timeout=10).status_code == 401
    tokenized = connhex.call("GET", f"{url}?tokenize_as=jwt_template").json()["tokenized"]
    connhex.session.headers["Authorization"] = f"Bearer {tokenized}"
    assert connhex.create().status_code == 201
    assert connhex.call("GET", f"{url}?tokenize_as=other").status_code == 400


def test_sessions_end(sim: Simulator, connhex: Connhex) -> None:
    """A token is refused from its end on, and a new login helps."""
    sim.configure("connhex", token_ttl_seconds=600)
    connhex.log_in()
    sim.advance(590)
    assert connhex.create().status_code == 201
    sim.advance(10)
    assert connhex.create().status_code == 401
    assert connhex.call("GET", f"{connhex.accounts}/auth/sessions/whoami").status_code == 401
    connhex.log_in()
    assert connhex.create().status_code == 201


def test_sessions_can_be_revoked(sim: Simulator, connhex: Connhex) -> None:
    """A new generation ends all sessions before it, and a token can be good for so many calls only."""
    sim.configure("connhex", session_generation=2)
    assert connhex.create().status_code == 401
    connhex.log_in()
    sim.configure("connhex", calls_per_session=2)
    assert [connhex.create().status_code for _ in range(3)] == [201, 201, 401]
    connhex.log_in()
    assert connhex.create().status_code == 201


def test_a_reset_ends_sessions(sim: Simulator, connhex: Connhex) -> None:
    """After a reset no token of before is valid, and no new one is the same."""
    before = connhex.session.headers["Authorization"]
    sim.reset()
    assert connhex.create().status_code == 401
    assert f"Bearer {connhex.log_in()['session_token']}" != before


def test_sessions_can_be_extended(sim: Simulator, connhex: Connhex) -> None:
    """Extending gives a session its whole life again; too early it is refused, and unknown ids are 404."""
    sim.configure("connhex", token_ttl_seconds=1000)
    session_id = connhex.log_in()["session"]["id"]
    url = f"{connhex.apis}/iam/sessions/{session_id}/extend"
    sim.advance(900)
    response = connhex.call("PATCH", url)
    assert response.status_code == 200
    assert datetime.fromisoformat(response.json()["expires_at"]) - sim.now() > timedelta(seconds=990)
    sim.advance(900)
    assert connhex.create().status_code == 201
    sim.configure("connhex", earliest_extend_seconds=50)
    assert connhex.call("PATCH", url).status_code == 400
    assert connhex.call("PATCH", url.replace(session_id, str(uuid.uuid4()))).status_code == 404
    assert requests.patch(url, timeout=10).status_code == 400


# Access


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ""),
        ("GET", ""),
        ("GET", "/some-id/status"),
        ("GET", "/some-id/download"),
        ("DELETE", "/some-id"),
    ],
)
def test_calls_without_identity(sim: Simulator, connhex: Connhex, method: str, path: str) -> None:
    """Without a token each operation is 400 and says so, or 401 by switch; a bad token is 401."""
    url = f"{connhex.exports}{path}"
    response = requests.request(method, url, json=BODY, timeout=10)
    assert (response.status_code, response.json()["message"]) == (400, "Missing user identity id")
    for header in ("Bearer wrong", "wrong", f"Token {sim.tokens['connhex_bearer_token']}"):
        response = requests.request(method, url, headers={"Authorization": header}, timeout=10)
        assert response.status_code == 401
    sim.configure("connhex", missing_identity_status=401, bad_token_status=400)
    assert requests.request(method, url, json=BODY, timeout=10).status_code == 401
    response = requests.request(method, url, headers={"Authorization": "Bearer wrong"}, timeout=10)
    assert (response.status_code, response.json()["message"]) == (400, "Missing user identity id")


def test_a_token_from_elsewhere(sim: Simulator, connhex: Connhex) -> None:
    """A bearer token that no login gave works as well, for the same user."""
    export_id = connhex.created()["id"]
    connhex.session.headers["Authorization"] = f"Bearer {sim.tokens['connhex_bearer_token']}"
    assert connhex.status(export_id).status_code == 200


@pytest.mark.parametrize("action", ["create", "get", "download", "delete", "list"])
def test_permissions(sim: Simulator, connhex: Connhex, action: str) -> None:
    """Each action has a permission of its own; without it the operation is 403 and nothing happens."""
    export_id = connhex.ready()
    everything = ("create", "get", "download", "delete", "list")
    sim.configure("connhex", permissions=[name for name in everything if name != action])
    statuses = {
        "create": connhex.create().status_code,
        "get": connhex.status(export_id).status_code,
        "download": connhex.download(export_id).status_code,
        "list": connhex.call("GET", connhex.exports).status_code,
        "delete": connhex.delete(export_id).status_code,
    }
    assert [name for name, status in statuses.items() if status == 403] == [action]


def test_the_channel_must_be_readable(sim: Simulator, connhex: Connhex) -> None:
    """Without access to the channel a create for channel data is 403."""
    sim.configure("connhex", channel_access=False)
    assert connhex.create().status_code == 403
    assert connhex.create(**{"items.0.params": {"type": "thing"}}).status_code == 201


@pytest.mark.parametrize("status", [403, 404])
def test_rights_on_a_new_export_come_late(sim: Simulator, connhex: Connhex, status: int) -> None:
    """With a lag, everything about a new export is refused for a while."""
    sim.configure("connhex", rights_lag_seconds=10, rights_lag_status=status)
    export_id = connhex.created()["id"]
    for call in (connhex.status, connhex.download, connhex.delete):
        assert call(export_id).status_code == status
    sim.advance(10)
    assert connhex.status(export_id).status_code == 200


@pytest.mark.parametrize("status", [404, 403])
def test_exports_of_others(sim: Simulator, connhex: Connhex, status: int) -> None:
    """What belongs to another user is as unknown as what does not exist."""
    sim.configure("connhex", unknown_export_status=status)
    export_id = connhex.created()["id"]
    connhex.log_in(identifier=OTHER_USERNAME, password=sim.tokens["connhex_other_password"])
    for wanted in (export_id, str(uuid.uuid4())):
        for call in (connhex.status, connhex.download, connhex.delete):
            assert call(wanted).status_code == status
    assert connhex.call("GET", connhex.exports).json() == {"results": [], "total": 0}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/{id}"),
        ("PATCH", "/{id}"),
        ("PUT", "/{id}"),
        ("POST", "/{id}/retry"),
        ("GET", "/{id}/jobs"),
        ("DELETE", ""),
        ("POST", "/"),
    ],
)
def test_other_operations_do_not_exist(connhex: Connhex, method: str, path: str) -> None:
    """No page tells of reading, changing, repeating or cancelling an export, nor of its jobs."""
    path = path.format(id=connhex.created()["id"])
    assert connhex.call(method, f"{connhex.exports}{path}").status_code == 404


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("nest", "application/json"),
        ("jsonapi", "application/vnd.api+json"),
        ("ory", "application/json"),
        ("text", "text/plain"),
    ],
)
def test_the_form_of_errors_can_be_changed(
    sim: Simulator, connhex: Connhex, form: str, content_type: str
) -> None:
    """Error bodies are undocumented: four forms, all of which carry the text."""
    sim.configure("connhex", error_format=form)
    response = requests.get(connhex.exports, timeout=10)
    assert response.headers["Content-Type"].startswith(content_type)
    texts = {
        "nest": lambda: response.json()["message"],
        "jsonapi": lambda: response.json()["errors"][0]["detail"],
        "ory": lambda: response.json()["error"]["message"],
        "text": lambda: response.text.strip(),
    }
    assert texts[form]() == "Missing user identity id"


def test_every_answer_names_its_request(connhex: Connhex) -> None:
    """Good and bad answers carry a request id of their own."""
    answers = [connhex.create(), connhex.create(type=...), connhex.download("unknown")]
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


# Create


def test_a_create_echoes_the_request(connhex: Connhex) -> None:
    """The answer is the request and four fields more; of status, files or sizes it says nothing."""
    export = connhex.created()
    more = {name: export.pop(name) for name in ("id", "createdAt", "updatedAt", "deletedAt")}
    assert export == BODY
    assert datetime.strptime(more["createdAt"], "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo == UTC
    assert more["updatedAt"] == more["createdAt"]
    assert more["deletedAt"] is None


def test_defaults_can_be_echoed(sim: Simulator, connhex: Connhex) -> None:
    """With the switches an answer shows defaults, and leaves deletedAt out."""
    sim.configure("connhex", echo_defaults=True, deleted_at="missing", missing_output_format="long")
    export = connhex.created(**{"items.0.params.outputFormat": ...})
    assert export["format"] == BODY["format"] | {"timezone": "utc", "template": "tabular"}
    assert "deletedAt" not in export
    assert export["periodStart"] == int(datetime.fromisoformat(export["createdAt"]).timestamp())


FULL = {
    "format.columns": [{"id": "time", "label": "Time"}, {"id": "value", "label": "Value"}],
    "format.timezone": "Europe/Rome",
    "format.template": "expanded",
    "format.csvDelimiter": ";",
    "items.0.params.decimation": {"ds": "15m", "dsf": "avg"},
    "items.0.params.transform": "delta",
    "items.0.params.period": "P1Y6M4DT12H30M5S",
    "periodicity": "P1Y6M4DT12H30M5S",
    "periodStart": START,
    "type": "recurring",
}


def test_all_documented_fields_are_taken(sim: Simulator, connhex: Connhex) -> None:
    """A request with every field of the reference is taken as it is, also by the strictest rules."""
    sim.configure("connhex", unknown_fields="reject", channel_id="uuid", column_ids="known")
    export = connhex.created(**FULL)
    assert {name: export[name] for name in BODY} == {
        name: value for name, value in changed(BODY, **FULL).items() if name in BODY
    }


@pytest.mark.parametrize(
    "path",
    [
        "type",
        "format",
        "format.extension",
        "items",
        "items.0.params",
        "items.0.params.target",
        "items.0.params.target.value",
        "items.0.params.subtopic",
        "items.0.params.outputFormat",
        "notification",
        "notification.messages",
        "notification.messages.0.policy",
        "notification.messages.0.medium",
        "notification.messages.0.title",
        "notification.messages.0.text",
    ],
)
@pytest.mark.parametrize("value", [..., None, 7])
def test_required_fields_of_a_create(connhex: Connhex, path: str, value: object) -> None:
    """A required field that is missing or of the wrong type is 400 with its path in the body."""
    response = connhex.create(**{path: value})
    assert response.status_code == 400
    assert any(path in message for message in response.json()["message"])
    assert connhex.simulator.exports("connhex") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", "onetime"),
        ("format.extension", "xls"),
        ("format.extension", "json"),
        ("format.filename", 7),
        ("format.columns", {}),
        ("format.columns", [7]),
        ("format.columns", [{"id": "time"}]),
        ("format.columns", [{"label": "Time"}]),
        ("format.columns", [{"id": "time", "label": 7}]),
        ("format.timezone", "Europe/Nowhere"),
        ("format.timezone", "../UTC"),
        ("format.template", "wide"),
        ("format.csvDelimiter", 7),
        ("items", []),
        ("items", {}),
        ("items", ["x"]),
        ("items.0.filename", 7),
        ("items.0.params.channelId", 7),
        ("items.0.params.channelId", ""),
        ("items.0.params.target", f"{URN}:temp"),
        ("items.0.params.target.value", f"{URN}:a,,{URN}:b"),
        ("items.0.params.target.label", "a,b"),
        ("items.0.params.from", "2025-01-01T00:00:00Z"),
        ("items.0.params.from", True),
        ("items.0.params.to", START),
        ("items.0.params.period", "1d"),
        ("items.0.params.period", "P"),
        ("items.0.params.period", "P1DT"),
        ("items.0.params.period", "P1W"),
        ("items.0.params.period", "PT0.5H"),
        ("items.0.params.period", "-P1D"),
        ("items.0.params.period", "P" + "9" * 30 + "D"),
        ("items.0.params.decimation", "15m"),
        ("items.0.params.decimation", {"ds": "15m"}),
        ("items.0.params.decimation", {"dsf": "avg"}),
        ("items.0.params.decimation", {"ds": {"value": 15}, "dsf": "avg"}),
        ("items.0.params.decimation", {"ds": "0m", "dsf": "avg"}),
        ("items.0.params.decimation", {"ds": "1.5m", "dsf": "avg"}),
        ("items.0.params.decimation", {"ds": "15", "dsf": "avg"}),
        ("items.0.params.decimation", {"ds": "15m", "dsf": "median"}),
        ("items.0.params.transform", "sum"),
        ("items.0.params.outputFormat", "narrow"),
        ("items.0.params.outputFormat", "wide"),
        ("periodicity", "monthly"),
        ("periodicity", "PT0S"),
        ("periodStart", "2025-01-01"),
        ("notification.messages.0.medium", "sms"),
        ("notification.messages.0.policy", "always"),
        ("notification.messages.0.policy", "onFailure"),
        ("notification.messages.0.target", 7),
        ("notification.messages.1", ...),
        ("notification.messages", []),
        ("notification.messages", [*MESSAGES, MESSAGES[0]]),
    ],
)
def test_wrong_values_of_a_create(connhex: Connhex, path: str, value: object) -> None:
    """Values outside of the reference's lists, types and rules are 400 with a list of texts."""
    response = connhex.create(**{path: value})
    assert response.status_code == 400
    assert response.json()["message"]
    assert connhex.simulator.exports("connhex") == []


def test_a_recurring_export_needs_a_periodicity(sim: Simulator, connhex: Connhex) -> None:
    """Without periodicity a recurring export is refused, unless switched."""
    assert connhex.create(type="recurring").status_code == 400
    sim.configure("connhex", recurring_without_periodicity="accept")
    assert connhex.create(type="recurring").status_code == 201


def test_parameters_of_resources_are_opaque(sim: Simulator, connhex: Connhex) -> None:
    """Parameters without channelId are taken as they are, and their columns have a form of their own."""
    params = {"type": "thing", "filter": {"a": [1, None]}}
    assert connhex.created(**{"items.0.params": params})["items"][0]["params"] == params
    columns = {"format.columns": [{"id": "time", "label": "Time"}]}
    assert connhex.create(**{"items.0.params": params}, **columns).status_code == 400
    columns = {"format.columns": [{"id": "thing.name", "label": "Name"}]}
    assert connhex.rows(**{"items.0.params": params}, **columns)[0] == ["Name"]
    sim.configure("connhex", resource_items="reject")
    assert connhex.create(**{"items.0.params": params}).status_code == 400


@pytest.mark.parametrize(
    ("switches", "changes"),
    [
        ({"duration_rule": "loose"}, {"items.0.params.period": "P1W"}),
        ({"duration_rule": "loose"}, {"items.0.params.period": "PT0.5H"}),
        ({"empty_items": "accept"}, {"items": []}),
        ({"missing_output_format": "long"}, {"items.0.params.outputFormat": ...}),
        ({"wide_without_columns": "accept"}, {"items.0.params.outputFormat": "wide"}),
        ({"label_count": "accept"}, {"items.0.params.target.label": "a,b"}),
        ({"timezone_names": "any"}, {"format.timezone": "nowhere"}),
        ({"backward_range": "accept"}, {"items.0.params.to": START}),
        ({"notification_required": False}, {"notification": ...}),
        ({"messages_rule": "any"}, {"notification.messages.1": ...}),
        ({"null_fields": "absent"}, {"periodicity": None}),
    ],
)
def test_lenient_switches_of_a_create(
    sim: Simulator, connhex: Connhex, switches: dict[str, Any], changes: dict[str, Any]
) -> None:
    """What is assumed about a create can be turned the lenient way, and then gives a file."""
    assert connhex.create(**changes).status_code == 400
    sim.configure("connhex", **switches)
    assert connhex.file(**changes)


@pytest.mark.parametrize(
    ("switches", "changes"),
    [
        ({"unknown_fields": "reject"}, {"name": "x"}),
        ({"unknown_fields": "reject"}, {"items.0.params.limit": 7}),
        ({"channel_id": "uuid"}, {"items.0.params.channelId": "x"}),
        ({"column_ids": "known"}, {"format.columns": [{"id": "x", "label": "X"}]}),
        ({"range_required": True}, {"items.0.params.from": ..., "items.0.params.to": ...}),
        ({"range_policy": "reject"}, {"items.0.params.period": "P1D"}),
    ],
)
def test_strict_switches_of_a_create(
    sim: Simulator, connhex: Connhex, switches: dict[str, Any], changes: dict[str, Any]
) -> None:
    """What is assumed about a create can be turned the strict way; 422 is another way to refuse."""
    assert connhex.create(**changes).status_code == 201
    sim.configure("connhex", validation_status=422, **switches)
    assert connhex.create(**changes).status_code == 422


def test_unknown_fields_are_not_echoed(connhex: Connhex) -> None:
    """A field that the schema does not have is dropped."""
    export = connhex.created(**{"name": "x", "items.0.params.limit": 7})
    assert "name" not in export
    assert "limit" not in export["items"][0]["params"]


def test_older_versions_of_the_schema(sim: Simulator, connhex: Connhex) -> None:
    """Version 1.1.0 wants columns and time zone and knows xls; later fields came one after the other."""
    old = {"items.0.params.outputFormat": ..., "format.filename": ...}
    sim.configure("connhex", api_version="2025-01", unknown_fields="reject")
    assert connhex.create().status_code == 400
    del_target = {"notification.messages.1.target": ...}
    assert connhex.create(**old, **del_target).status_code == 201
    sim.configure("connhex", api_version="1.1.0")
    assert connhex.create(**old, **del_target).status_code == 400
    columns = [{"id": "time", "label": "Time"}]
    changes = old | del_target | {"format.columns": columns, "format.timezone": "utc"}
    assert connhex.create(**changes).status_code == 201
    assert connhex.create(**changes, **{"format.extension": "xls"}).status_code == 201
    assert connhex.create(**changes, **{"format.extension": "pdf"}).status_code == 400


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("{", "application/json"),
        ("[]", "application/json"),
        ("NaN", "application/json"),
        ("{}", "text/plain"),
    ],
)
def test_bodies_that_are_no_json_object(connhex: Connhex, body: str, kind: str) -> None:
    """Broken JSON, JSON that is no object and a body not declared as JSON are 400."""
    response = connhex.call("POST", connhex.exports, data=body, headers={"Content-Type": kind})
    assert response.status_code == 400


def test_a_repeated_create_makes_another_export(connhex: Connhex) -> None:
    """There is no idempotency: the same body gives another id."""
    assert connhex.created()["id"] != connhex.created()["id"]


# Queue


def test_the_queue_is_full_after_five(sim: Simulator, connhex: Connhex) -> None:
    """The sixth waiting export is 429 without Retry-After, until one leaves the queue."""
    sim.reset()
    connhex.log_in()
    ids = [connhex.created()["id"] for _ in range(5)]
    refused = connhex.create()
    assert refused.status_code == 429
    assert refused.json()["message"] == "Maximum number of queued exports reached"
    assert "Retry-After" not in refused.headers
    assert len(sim.exports("connhex")) == 5
    sim.set_state("connhex", ids[0], "processing")
    assert connhex.create().status_code == 201
    assert connhex.create().status_code == 429
    connhex.delete(ids[1])
    assert connhex.create().status_code == 201


def test_what_the_queue_counts(sim: Simulator, connhex: Connhex) -> None:
    """By switch running exports count too, other users' as well, and 429 says when to come back."""
    sim.configure("connhex", max_queued=1, queue_counts_running=True, retry_after="seconds")
    export_id = connhex.created()["id"]
    sim.set_state("connhex", export_id, "processing")
    assert connhex.create().headers["Retry-After"] == "60"
    connhex.log_in(identifier=OTHER_USERNAME, password=sim.tokens["connhex_other_password"])
    sim.configure("connhex", queue_scope="installation")
    assert connhex.create().status_code == 429
    sim.configure("connhex", queue_scope="identity")
    assert connhex.create().status_code == 201


# Status


def test_life_of_an_export(sim: Simulator, connhex: Connhex) -> None:
    """Not processed, in progress, done, and after seven days expired, its file gone."""
    sim.configure("connhex", ready_after_reads=4)
    export_id = connhex.created()["id"]
    words = [connhex.word(export_id) for _ in range(5)]
    assert words == ["notProcessed", "inProgress", "inProgress", "done", "done"]
    assert connhex.download(export_id).status_code == 200
    sim.advance(7 * DAY)
    assert connhex.word(export_id) == "expired"
    assert connhex.download(export_id).status_code == 404


def test_reads_move_an_export_on(connhex: Connhex) -> None:
    """By default the second look finds an export done."""
    export_id = connhex.created()["id"]
    assert [connhex.word(export_id) for _ in range(2)] == ["inProgress", "done"]


def test_a_failed_export(sim: Simulator, connhex: Connhex) -> None:
    """A failed export has a status and no reason."""
    sim.configure("connhex", outcome="failed", ready_after_reads=1)
    assert connhex.status(connhex.created()["id"]).json() == {"status": "failed"}


def test_exports_can_come_late_and_be_forgotten(sim: Simulator, connhex: Connhex) -> None:
    """A new export can be unknown for a while, and an expired one after a while; recurring ones stay."""
    sim.configure("connhex", visible_after_seconds=30, ready_after_reads=0, dropped_after_seconds=100)
    ids = [connhex.created()["id"], connhex.created(**RECURRING)["id"]]
    assert [connhex.status(one).status_code for one in ids] == [404, 404]
    sim.advance(30)
    assert [connhex.word(one) for one in ids] == ["done", "done"]
    sim.advance(8 * DAY)
    assert [connhex.status(one).status_code for one in ids] == [404, 200]


def test_retention_can_count_from_the_start(sim: Simulator, connhex: Connhex) -> None:
    """The policy can look at the age of the export instead of the age of its file."""
    sim.configure("connhex", ready_after_seconds=60, file_life_seconds=100, retention_from="start")
    export_id = connhex.created()["id"]
    sim.advance(90)
    assert connhex.word(export_id) == "done"
    sim.advance(10)
    assert connhex.word(export_id) == "expired"


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("status", {"status": "done"}),
        ("exportStatus", {"exportStatus": "done"}),
        ("string", "done"),
        ("list", [{"status": "done"}]),
    ],
)
def test_carriers_of_the_status(sim: Simulator, connhex: Connhex, form: str, shown: object) -> None:
    """The body of a status is undocumented: several carriers of the same word, or none by a fault."""
    sim.configure("connhex", status_form=form)
    export_id = connhex.ready()
    assert connhex.status(export_id).json() == shown
    sim.fail_next("connhex", "get", fault="unknown_status")
    assert "archived" in connhex.status(export_id).text
    sim.fail_next("connhex", "get", fault="missing_field")
    assert connhex.status(export_id).json() in ({}, None, [{}])
    sim.configure("connhex", status_case="pascal")
    assert "Done" in connhex.status(export_id).text


def test_a_status_can_show_jobs(sim: Simulator, connhex: Connhex) -> None:
    """A job has a status, the fate of its message, and the time of its start."""
    sim.configure("connhex", status_form="jobs")
    (job,) = connhex.status(connhex.ready()).json()["jobs"]
    assert (job["status"], job["notificationStatus"]) == ("done", "sent")
    assert datetime.fromisoformat(job["startedAt"]) <= sim.now()


@pytest.mark.parametrize(("scope", "by_request", "by_job"), [("job", 404, 200), ("both", 200, 200)])
def test_ids_of_jobs(sim: Simulator, connhex: Connhex, scope: str, by_request: int, by_job: int) -> None:
    """By switch the id of status and download is that of a job; delete keeps the export's."""
    export_id = connhex.ready()
    sim.configure("connhex", status_form="jobs")
    job_id = connhex.status(export_id).json()["jobs"][0]["id"]
    assert connhex.status(job_id).status_code == 404
    sim.configure("connhex", id_scope=scope)
    assert connhex.status(export_id).status_code == by_request
    assert connhex.status(job_id).status_code == connhex.download(job_id).status_code == by_job
    assert connhex.delete(job_id).status_code == 404
    assert connhex.delete(export_id).status_code == 204


# Delete


def test_a_deleted_export_is_gone(connhex: Connhex) -> None:
    """A delete answers 204 without a body, and after it everything is 404."""
    export_id = connhex.ready()
    response = connhex.delete(export_id)
    assert (response.status_code, response.content) == (204, b"")
    for call in (connhex.delete, connhex.status, connhex.download):
        assert call(export_id).status_code == 404
    assert connhex.call("GET", connhex.exports).json()["total"] == 0


def test_a_delete_can_leave_traces(sim: Simulator, connhex: Connhex) -> None:
    """By switch a deleted export keeps status and file, is marked, and does not end any more."""
    sim.configure("connhex", delete_semantics="stopped", ready_after_seconds=60)
    export_id, running = connhex.ready(), connhex.created()["id"]
    for one in (export_id, running):
        assert [connhex.delete(one).status_code for _ in range(2)] == [204, 404]
    sim.advance(100)
    assert (connhex.word(export_id), connhex.word(running)) == ("done", "notProcessed")
    assert connhex.download(export_id).status_code == 200
    assert connhex.call("GET", connhex.exports).json()["results"][0]["deletedAt"]


# List


def test_pages_of_a_list(sim: Simulator, connhex: Connhex) -> None:
    """Pages count from 0 and have a total; the order is that of creation, or the reverse."""
    ids = []
    for _ in range(5):
        ids.append(connhex.created()["id"])
        sim.advance(1)

    def page(**query: object) -> list[str]:
        answer = connhex.call("GET", connhex.exports, params=query).json()
        assert answer["total"] == 5
        return [export["id"] for export in answer["results"]]

    assert page() == ids
    assert page(page=0, pageSize=2, sort="createdAt:desc") == [ids[4], ids[3]]
    assert page(page=2, pageSize=2, sort="createdAt:desc") == [ids[0]]
    assert page(page=9) == []
    sim.configure("connhex", page_size=3)
    assert page(page=1) == ids[3:]


def test_a_list_shows_what_a_create_showed(sim: Simulator, connhex: Connhex) -> None:
    """An export in a list is the answer to its create; a status comes by switch only."""
    export = connhex.created()
    assert connhex.call("GET", connhex.exports).json()["results"] == [export]
    sim.configure("connhex", list_status=True)
    shown = connhex.call("GET", connhex.exports).json()["results"]
    assert shown == [export | {"status": "notProcessed"}]


@pytest.mark.parametrize("query", [{"page": -1}, {"pageSize": 0}, {"page": "x"}, {"sort": "name:desc"}])
def test_wrong_pages(connhex: Connhex, query: dict[str, Any]) -> None:
    """A page, size or order that does not exist is 400."""
    assert connhex.call("GET", connhex.exports, params=query).status_code == 400


def test_other_forms_of_a_list(sim: Simulator, connhex: Connhex) -> None:
    """A list can be a bare array, or not exist at all."""
    export = connhex.created()
    sim.configure("connhex", list_form="bare")
    assert connhex.call("GET", connhex.exports).json() == [export]
    sim.configure("connhex", list_form="absent")
    assert connhex.call("GET", connhex.exports).status_code == 404


# Recurring


def test_a_recurring_export_runs_again(sim: Simulator, connhex: Connhex) -> None:
    """A new job starts with each period, the status is that of the newest, and each has its own file."""
    sim.configure("connhex", ready_after_seconds=60)
    export_id = connhex.created(**RECURRING)["id"]
    files = []
    for _ in range(3):
        assert connhex.word(export_id) == "inProgress"
        assert connhex.download(export_id).status_code == 404
        sim.advance(60)
        assert connhex.word(export_id) == "done"
        files.append(connhex.download(export_id).content)
        sim.advance(DAY - 60)
    assert len(set(files)) == 3
    connhex.delete(export_id)
    sim.advance(10 * DAY)
    assert len(sim.notifications("connhex")) == 3


def test_jobs_of_a_time_that_passed_at_once(sim: Simulator, connhex: Connhex) -> None:
    """Nobody has to look for jobs to run; all of them can be shown, the newest first."""
    sim.configure("connhex", status_form="jobs", jobs_shown="all")
    export_id = connhex.created(**RECURRING)["id"]
    sim.advance(3 * DAY + 10)
    jobs = connhex.status(export_id).json()["jobs"]
    assert [job["status"] for job in jobs] == ["inProgress", "done", "done", "done"]
    starts = [datetime.fromisoformat(job["startedAt"]) for job in jobs]
    assert [after - before for after, before in pairwise(starts)] == [timedelta(days=1)] * 3
    sim.configure("connhex", id_scope="both")
    assert connhex.download(jobs[-1]["id"]).status_code == 200


def test_each_run_begins_in_the_queue(sim: Simulator, connhex: Connhex) -> None:
    """With each period a new job is not processed, whatever became of the one before, and has no file yet."""
    sim.configure("connhex", ready_after_reads=4, file_life_seconds=3600)
    export_id = connhex.created(**RECURRING)["id"]
    for _ in range(2):
        assert connhex.word(export_id) == "notProcessed"
        assert connhex.download(export_id).status_code == 404
        assert [connhex.word(export_id) for _ in range(3)] == ["inProgress", "inProgress", "done"]
        sim.advance(3600)
        assert connhex.word(export_id) == "expired"
        sim.advance(DAY - 3600)
    sim.set_state("connhex", export_id, "failed")
    sim.advance(DAY)
    assert connhex.word(export_id) == "notProcessed"


@pytest.mark.parametrize("form", ["status", "exportStatus", "string", "list", "jobs"])
def test_a_status_is_that_of_the_newest_run(sim: Simulator, connhex: Connhex, form: str) -> None:
    """By default also where jobs are shown; and before the first run there is none to show."""
    sim.configure("connhex", status_form=form, ready_after_seconds=60)
    start = int((sim.now() + timedelta(hours=1)).timestamp())
    export_id = connhex.created(periodStart=start, **RECURRING)["id"]
    before = connhex.status(export_id).json()
    assert before == {"list": [], "jobs": {"jobs": []}}.get(form, before)
    assert ("notProcessed" in str(before)) == (form not in ("list", "jobs"))
    sim.advance(3600)
    sim.set_state("connhex", export_id, "failed")
    sim.advance(DAY)
    text = connhex.status(export_id).text
    assert ("inProgress" in text, "failed" in text) == (True, False)
    if form in ("list", "jobs"):
        sim.configure("connhex", jobs_shown="all")
        shown = connhex.status(export_id).json()
        jobs = shown["jobs"] if form == "jobs" else shown
        assert [job["status"] for job in jobs] == ["inProgress", "failed"]


def test_starts_of_jobs_can_be_hidden(sim: Simulator, connhex: Connhex) -> None:
    """A job's start is a text, a number of seconds, or not told; one that waits may have none."""
    sim.configure("connhex", status_form="jobs", jobs_shown="all", ready_after_reads=3)
    export_id = connhex.created(**RECURRING)["id"]

    def starts() -> list[Any]:
        return [job.get("startedAt", "hidden") for job in connhex.status(export_id).json()["jobs"]]

    (text,) = starts()
    sim.configure("connhex", job_start="seconds")
    assert starts() == [int(datetime.fromisoformat(text).timestamp())]
    sim.configure("connhex", job_start="missing")
    assert starts() == ["hidden"]
    sim.configure("connhex", job_start="iso", waiting_job_start="null")
    sim.advance(DAY)
    assert starts() == [None, text]
    assert starts()[0] == shown_after(text, days=1)


def test_months_of_a_recurring_export_follow_the_calendar(sim: Simulator, connhex: Connhex) -> None:
    """Its runs start on the last day of short months, and on the 31st again after them."""
    sim.configure("connhex", status_form="jobs", jobs_shown="all")
    # The next 31st of January, whose February has 28 or 29 days.
    first = datetime(sim.now().year + 1, 1, 31, 6, tzinfo=UTC)
    changes = RECURRING | {"periodicity": "P1M", "periodStart": int(first.timestamp())}
    export_id = connhex.created(**changes)["id"]
    sim.advance((first.replace(month=5) - sim.now()).total_seconds())
    jobs = connhex.status(export_id).json()["jobs"]
    starts = [datetime.fromisoformat(job["startedAt"]) for job in jobs]
    february = (datetime(first.year, 3, 1, 6, tzinfo=UTC) - timedelta(days=1)).day
    assert [(start.month, start.day) for start in starts] == [
        (5, 31),
        (4, 30),
        (3, 31),
        (2, february),
        (1, 31),
    ]
    assert {(start.hour, start.minute) for start in starts} == {(6, 0)}


def test_a_recurrence_can_begin_later(sim: Simulator, connhex: Connhex) -> None:
    """Before periodStart nothing runs, and what waits for it is not in the queue."""
    sim.configure("connhex", ready_after_reads=0, max_queued=1)
    start = int((sim.now() + timedelta(hours=1)).timestamp())
    export_id = connhex.created(periodStart=start, **RECURRING)["id"]
    assert connhex.word(export_id) == "notProcessed"
    assert connhex.create().status_code == 201
    sim.advance(3600)
    assert connhex.word(export_id) == "done"


@pytest.mark.parametrize(("switch", "first"), [("at_once", "done"), ("next", "notProcessed")])
def test_a_recurrence_that_began_before(sim: Simulator, connhex: Connhex, switch: str, first: str) -> None:
    """With a periodStart in the past the first job starts at once or with the next period, then in step."""
    sim.configure("connhex", ready_after_reads=0, past_period_start=switch)
    connhex.created(periodStart=-100_000_000_000, **RECURRING | {"periodicity": "P9999Y"})
    start = int((sim.now() - timedelta(hours=25)).timestamp())
    export_id = connhex.created(periodStart=start, **RECURRING)["id"]
    assert connhex.word(export_id) == first
    sim.advance(23 * 3600)
    assert connhex.word(export_id) == "done"
    mine = [one for one in sim.notifications("connhex") if one["export_id"] == export_id]
    assert len(mine) == (2 if switch == "at_once" else 1)


@pytest.mark.parametrize(
    ("months", "days"),
    [("clamp", ["01-31", "02-28", "03-31", "04-30"]), ("overflow", ["01-31", "03-03", "03-31", "05-01"])],
)
def test_months_are_counted_from_the_first_period(months: str, days: list[str]) -> None:
    """A month after the 31st is the end of a short month, or overflows; the 31st comes back."""
    origin = datetime(2025, 1, 31, tzinfo=UTC)
    schedule = Schedule(origin, origin, Duration.parse("P1M"), months=months)
    starts = schedule.starts(None, datetime(2025, 5, 2, tzinfo=UTC), 100)
    assert [f"{start:%m-%d}" for start in starts] == days


def test_short_periods_and_long_times(sim: Simulator, connhex: Connhex) -> None:
    """Of years of seconds only the last jobs are made, at no cost."""
    sim.configure("connhex", ready_after_reads=0)
    export_id = connhex.created(**RECURRING | {"periodicity": "PT1S"})["id"]
    sim.advance(5 * 365 * DAY)
    assert connhex.word(export_id) == "done"
    assert 50 < len(sim.notifications("connhex")) <= 101


def test_the_next_run_of_a_failed_one(sim: Simulator, connhex: Connhex) -> None:
    """A job that failed does not keep the next one from running."""
    export_id = connhex.created(**RECURRING)["id"]
    sim.set_state("connhex", export_id, "failed")
    assert connhex.word(export_id) == "failed"
    sim.advance(DAY)
    assert [connhex.word(export_id) for _ in range(2)] == ["inProgress", "done"]


# Notifications


def test_a_message_for_each_end(sim: Simulator, connhex: Connhex) -> None:
    """Success and failure send their own message once, to the user unless a target is named."""
    first, second = connhex.ready(), connhex.created()["id"]
    sim.set_state("connhex", second, "failed")
    connhex.word(first)
    success, failure = sim.notifications("connhex")
    assert (success["export_id"], success["policy"], success["medium"]) == (first, "onSuccess", "email")
    assert success["target"] == connhex.fields["login"]
    assert (failure["export_id"], failure["policy"], failure["target"]) == (second, "onFailure", "#ops")
    assert failure["text"] == MESSAGES[1]["text"]
    listed = requests.get(f"{sim.api_origin}/_control/notifications", {"vendor": "connhex"}, timeout=10)
    assert [one["export_id"] for one in listed.json()] == [first, second]
    sim.reset()
    assert sim.notifications("connhex") == []


def test_messages_can_get_lost(sim: Simulator, connhex: Connhex) -> None:
    """By switch no message arrives, and the job says so."""
    sim.configure("connhex", notification_delivery="lost", status_form="jobs")
    assert connhex.status(connhex.ready()).json()["jobs"][0]["notificationStatus"] == "failed"
    assert sim.notifications("connhex") == []


# Files


def test_the_file_itself(connhex: Connhex) -> None:
    """One item comes as a plain file with type, length and the item's name."""
    response = connhex.download(connhex.ready())
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="temp.csv"'
    assert int(response.headers["Content-Length"]) == len(response.content)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "temp.csv"),
        ({"items.0.filename": ...}, "run-7f3a.csv"),
        ({"items.0.filename": ..., "format.filename": ...}, "{id}.csv"),
        ({"items.0.filename": '../a"b\r\nX: y/ü'}, "_a_b__X_ y__.csv"),
        ({"items": [ITEM, ITEM]}, "run-7f3a.zip"),
    ],
)
def test_names_of_files(connhex: Connhex, changes: dict[str, Any], name: str) -> None:
    """The name is the item's, the request's or the id, of harmless letters."""
    export_id = connhex.ready(**changes)
    shown = connhex.download(export_id).headers["Content-Disposition"]
    assert shown == f'attachment; filename="{name.format(id=export_id)}"'


def test_headers_of_files_can_be_changed(sim: Simulator, connhex: Connhex) -> None:
    """The name can be missing or hostile, the type unspecific, the length unknown."""
    export_id = connhex.ready()
    sim.configure("connhex", disposition_name="../../etc/passwd", media_type="octet_stream")
    headers = connhex.download(export_id).headers
    assert headers["Content-Disposition"] == 'attachment; filename="../../etc/passwd"'
    assert headers["Content-Type"] == "application/octet-stream"
    sim.configure("connhex", content_disposition=False, transfer="chunked")
    headers = connhex.download(export_id).headers
    assert {"Content-Disposition", "Content-Length"} & set(headers) == set()


@pytest.mark.parametrize("mode", ["redirect", "url", "downloadUrl"])
def test_files_on_another_origin(sim: Simulator, connhex: Connhex, mode: str) -> None:
    """A download can lead to a signed address elsewhere, where no token may follow."""
    plain = connhex.file()
    sim.configure("connhex", download_mode=mode)
    response = connhex.download(connhex.ready())
    if mode == "redirect":
        assert response.status_code == 302
        url = response.headers["Location"]
    else:
        url = response.json()[mode]
    assert url.startswith(sim.files_origin)
    assert requests.get(url, timeout=10).content == plain
    assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
    assert sim.leaks() == []
    connhex.call("GET", url)
    assert sim.leaks("connhex")[0].credentials == ("header Authorization",)
    sim.configure("connhex", link_seconds=60)
    sim.advance(61)
    assert requests.get(url, timeout=10).status_code == 403


def test_a_session_token_in_an_address_is_a_leak(sim: Simulator, connhex: Connhex) -> None:
    """Tokens that a login gave are recognised wherever they are sent."""
    token = connhex.log_in()["session_token"]
    requests.get(f"{sim.files_origin}/connhex/files/x?token={token}", timeout=10)
    assert sim.leaks("connhex")[0].credentials == ("query token",)


@pytest.mark.parametrize(
    ("state", "switch", "status"),
    [
        ("pending", "not_ready_status", 409),
        ("processing", "not_ready_status", 400),
        ("failed", "failed_status", 410),
        ("expired", "expired_status", 410),
    ],
)
def test_downloads_without_a_file(
    sim: Simulator, connhex: Connhex, state: Any, switch: str, status: int
) -> None:
    """Before the end, after a failure and after expiry a download is 404, or what the switch says."""
    export_id = connhex.created()["id"]
    sim.set_state("connhex", export_id, state)
    assert connhex.download(export_id).status_code == 404
    sim.configure("connhex", **{switch: status})
    assert connhex.download(export_id).status_code == status


def test_several_items_are_an_archive(sim: Simulator, connhex: Connhex) -> None:
    """Several items come as a zip with one file each, or by switch only the first one comes."""
    other = changed(ITEM, **{"filename": "other", "params.target.value": f"{URN}:other"})
    items = {"items": [ITEM, other, ITEM, changed(ITEM, filename=...)]}
    single = connhex.file()
    response = connhex.download(connhex.ready(**items))
    assert response.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["temp.csv", "other.csv", "temp-3.csv", "item-4.csv"]
        assert archive.read("temp.csv") == single != archive.read("other.csv")
    sim.configure("connhex", multi_item_packing="first")
    assert connhex.file(**items) == single


def test_a_workbook_is_a_real_one(connhex: Connhex) -> None:
    """An xlsx file is a zip archive with a workbook and one row per line of the csv file."""
    content = connhex.file(**{"format.extension": "xlsx"})
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))
        assert "[Content_Types].xml" in book.namelist()
        assert book.read("xl/worksheets/sheet1.xml").count(b"<row>") == len(connhex.rows())


def test_a_pdf_is_one(connhex: Connhex) -> None:
    """A pdf file has its marks at both ends, and its table of objects is where it says."""
    content = connhex.file(**{"format.extension": "pdf", "items.0.params.target.label": "a(b\\ü"})
    assert content.startswith(b"%PDF-1.4\n")
    assert content.endswith(b"%%EOF\n")
    table = int(content.split(b"startxref\n")[1].split()[0])
    assert content[table:].startswith(b"xref\n")
    for number, line in enumerate(content[table:].splitlines()[3:8], 1):
        assert content[int(line.split()[0]) :].startswith(b"%d 0 obj" % number)


def test_the_long_format(connhex: Connhex) -> None:
    """One row per sample and target, with the label in place of the name."""
    two = {"items.0.params.target": {"value": f"{URN}:a,{URN}:b", "label": "A,B"}}
    header, *rows = connhex.rows(**two)
    assert header == ["time", "name", "value"]
    assert rows[0][0] == "2025-01-01T00:00:00Z"
    assert {row[1] for row in rows} == {"A", "B"}
    assert len(rows) == 2 * DAY // 300
    unlabelled = connhex.rows(**{"items.0.params.target.label": ...})
    assert unlabelled[1][1] == f"{URN}:temp"


def test_columns_and_delimiter(connhex: Connhex) -> None:
    """Columns choose, order and name what is exported; quotes protect the delimiter."""
    columns = [{"id": "value", "label": "The; value"}, {"id": "channel", "label": 'The "channel"'}]
    header, first, *_ = connhex.rows(";", **{"format.columns": columns, "format.csvDelimiter": ";"})
    assert header == ["The; value", 'The "channel"']
    assert first[1] == ITEM["params"]["channelId"]  # type: ignore[index]
    assert float(first[0])


def test_the_wide_format(connhex: Connhex) -> None:
    """One row per time and one column per target, in the order of the columns."""
    changes = {
        "items.0.params.target": {"value": f"{URN}:a,{URN}:b,{URN}:c", "label": "A,B,C"},
        "items.0.params.outputFormat": "wide",
        "format.columns": [
            {"id": "time", "label": "When"},
            {"id": f"{URN}:b", "label": "Second"},
            {"id": "A", "label": "First"},
        ],
    }
    header, *rows = connhex.rows(**changes)
    assert header == ["When", "Second", "First", "C"]
    assert len(rows) == DAY // 300
    long = connhex.rows(**{"items.0.params.target": {"value": f"{URN}:b"}})
    assert [row[1] for row in rows] == [row[2] for row in long[1:]]


def test_time_zones(connhex: Connhex) -> None:
    """Times are shown in the wanted time zone."""
    assert connhex.rows(**{"format.timezone": "Europe/Rome"})[1][0] == "2025-01-01T01:00:00+01:00"


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("avg", lambda values: sum(values) / len(values)),
        ("max", max),
        ("min", min),
        ("sum", sum),
        ("variance", lambda values: sum((one - sum(values) / 12) ** 2 for one in values) / 12),
    ],
)
def test_decimation(connhex: Connhex, function: str, expected: Any) -> None:
    """One value per step, made of the values in it, at its beginning."""
    raw = [float(row[2]) for row in connhex.rows()[1:]]
    rows = connhex.rows(**{"items.0.params.decimation": {"ds": "1h", "dsf": function}})[1:]
    assert [row[0][11:19] for row in rows] == [f"{hour:02d}:00:00" for hour in range(24)]
    assert float(rows[1][2]) == pytest.approx(expected(raw[12:24]), abs=1e-5)


@pytest.mark.parametrize(("step", "count"), [("1d", 59), ("1w", 10), ("1M", 2), ("1y", 1), ("999999999s", 1)])
def test_steps_of_decimation(connhex: Connhex, step: str, count: int) -> None:
    """Steps are fixed times or calendar units."""
    changes = {"items.0.params.decimation": {"ds": step, "dsf": "stddev"}}
    rows = connhex.rows(**changes, **{"items.0.params.to": START + 59 * DAY})
    assert len(rows) - 1 == count


def test_delta(connhex: Connhex) -> None:
    """A delta is the difference of consecutive values, so there is one less."""
    raw = [float(row[2]) for row in connhex.rows()[1:]]
    delta = [float(row[2]) for row in connhex.rows(**{"items.0.params.transform": "delta"})[1:]]
    assert delta == pytest.approx([after - before for before, after in pairwise(raw)])


def test_ranges_that_share_a_border_neither_overlap_nor_leave_a_gap(connhex: Connhex) -> None:
    """Two halves of a range have the samples of the whole, each once."""
    border = START + 12345
    whole = connhex.rows()
    first = connhex.rows(**{"items.0.params.to": border})
    second = connhex.rows(**{"items.0.params.from": border})
    assert first + second[1:] == whole


def test_a_period_ends_with_the_job(sim: Simulator, connhex: Connhex) -> None:
    """A period is the time before the job; beside fixed bounds it wins, or loses by switch."""
    changes = {"items.0.params.period": "PT1H"}
    (*_, last) = connhex.rows(**changes)
    age = sim.now() - datetime.fromisoformat(last[0])
    assert timedelta() <= age <= timedelta(minutes=6)
    sim.configure("connhex", range_policy="fixed")
    assert connhex.rows(**changes) == connhex.rows()


@pytest.mark.parametrize(
    "changes",
    [
        {"items.0.params.from": ...},
        {"items.0.params.to": ...},
        {"items.0.params.from": ..., "items.0.params.to": ...},
        {"items.0.params.from": -200_000_000_000},
        {"items.0.params.period": "P9999Y"},
        {"items.0.params.to": 253402300799.5, "items.0.params.from": 0.25},
    ],
)
def test_open_and_odd_ranges(connhex: Connhex, changes: dict[str, Any]) -> None:
    """A range with no or far bounds gives a file, of a size that is bearable."""
    if changes.get("items.0.params.to") == 253402300799.5:
        assert connhex.create(**changes).status_code == 400
        changes = changes | {"items.0.params.to": 253402300799}
    assert 100 < len(connhex.rows(**changes)) <= 20_002


def test_an_empty_export_is_a_header(sim: Simulator, connhex: Connhex) -> None:
    """Without samples there is the header only, in every format."""
    sim.configure("connhex", rows=0)
    assert connhex.rows() == [["time", "name", "value"]]
    assert connhex.file(**{"format.extension": "xlsx"}).startswith(b"PK")
    sim.configure("connhex", rows=7)
    assert len(connhex.rows()) == 8


def test_dialects_of_csv(sim: Simulator, connhex: Connhex) -> None:
    """By switch a csv file has a byte order mark and carriage returns."""
    assert b"\r" not in connhex.file()
    sim.configure("connhex", csv_dialect="spreadsheet")
    content = connhex.file()
    assert content.startswith(b"\xef\xbb\xbftime")
    assert content.count(b"\r\n") == content.count(b"\n")


@pytest.mark.parametrize("size", [0, 10, 5_000, 2_000_003])
def test_files_of_a_wanted_size(sim: Simulator, connhex: Connhex, size: int) -> None:
    """With file_bytes a csv file has exactly that size."""
    sim.configure("connhex", file_bytes=size)
    assert len(connhex.file()) == size


# Faults


def test_faults_of_every_operation(sim: Simulator, connhex: Connhex) -> None:
    """Each operation can be disturbed, the two of the login in the words of the identity server."""
    sim.configure("connhex", download_mode="redirect")
    export_id = connhex.ready()
    session_id = connhex.log_in()["session"]["id"]
    calls = {
        "flow": lambda: requests.get(f"{connhex.accounts}/auth/self-service/login/api", timeout=10),
        "login": lambda: connhex.submit(action),
        "whoami": lambda: connhex.call("GET", f"{connhex.accounts}/auth/sessions/whoami"),
        "extend": lambda: connhex.call("PATCH", f"{connhex.apis}/iam/sessions/{session_id}/extend"),
        "create": connhex.create,
        "get": lambda: connhex.status(export_id),
        "list": lambda: connhex.call("GET", connhex.exports),
        "download": lambda: connhex.download(export_id),
        "delete": lambda: connhex.delete(export_id),
    }
    action = connhex.flow()["ui"]["action"]
    for operation, call in calls.items():
        sim.fail_next("connhex", operation, fault="503")
        refused = call()
        assert refused.status_code == 503
        on_accounts = operation in ("flow", "login", "whoami")
        assert ("statusCode" in refused.json()) != on_accounts
        assert call().status_code in (200, 201, 204, 302)


@pytest.mark.parametrize(
    ("operation", "field"),
    [("flow", "ui"), ("login", "session_token"), ("create", "id"), ("download", "url"), ("list", "id")],
)
def test_missing_fields(sim: Simulator, connhex: Connhex, operation: str, field: str) -> None:
    """The field that a client needs most is missing from an answer."""
    sim.configure("connhex", download_mode="url")
    export_id, action = connhex.ready(), connhex.flow()["ui"]["action"]
    sim.fail_next("connhex", operation, fault="missing_field")
    answer = {
        "flow": connhex.flow,
        "login": lambda: connhex.submit(action).json(),
        "create": lambda: connhex.create().json(),
        "download": lambda: connhex.download(export_id).json(),
        "list": lambda: connhex.call("GET", connhex.exports).json()["results"][0],
    }[operation]()
    assert field not in answer


def test_a_lost_answer_to_a_create(sim: Simulator, connhex: Connhex) -> None:
    """The answer is lost and the export exists; only a list can find it, by an echoed file name."""
    sim.fail_next("connhex", "create", fault="lost_response")
    with pytest.raises(requests.ConnectionError):
        connhex.create(**{"format.filename": "run-0815"})
    (found,) = connhex.call("GET", connhex.exports).json()["results"]
    assert found["format"]["filename"] == "run-0815"


@pytest.mark.parametrize(("fault", "word"), [("job_failed", "failed"), ("job_never", "inProgress")])
def test_the_fate_of_one_export(sim: Simulator, connhex: Connhex, fault: str, word: str) -> None:
    """One export fails or never ends, and the next one does not."""
    sim.fail_next("connhex", "create", fault=fault)
    first, second = connhex.created()["id"], connhex.created()["id"]
    for export_id in (first, second):
        connhex.word(export_id)
    assert [connhex.word(first), connhex.word(second)] == [word, "done"]


def test_too_many_requests(sim: Simulator, connhex: Connhex) -> None:
    """No request rate is documented; with a limit, or by a fault, any operation is 429."""
    sim.configure("connhex", rate_limit=1)
    export_id = connhex.created()["id"]
    assert connhex.status(export_id).status_code == 429
    sim.configure("connhex", rate_limit=None)
    sim.fail_next("connhex", "create", fault="429", retry_after=7)
    refused = connhex.create()
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "7")


def test_a_broken_download(sim: Simulator, connhex: Connhex) -> None:
    """A cut file is noticed by its length, and comes whole the next time, or in part if asked for."""
    export_id = connhex.ready()
    whole = connhex.download(export_id).content
    sim.fail_next("connhex", "file", fault="truncated")
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        connhex.download(export_id)
    assert connhex.download(export_id).content == whole
    sim.configure("connhex", ranges="honoured")
    url = f"{connhex.exports}/{export_id}/download"
    part = connhex.call("GET", url, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.content) == (206, whole[100:])


def test_no_secret_is_shown(sim: Simulator, connhex: Connhex) -> None:
    """Records of requests and exports keep what they need and show no token or password."""
    token = connhex.log_in()["session_token"]
    connhex.ready()
    shown = repr(sim.requests("connhex")) + repr(sim.exports("connhex")) + repr(sim.notifications("connhex"))
    assert not [secret for secret in (token, *sim.tokens.values()) if secret in shown]

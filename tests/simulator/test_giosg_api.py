"""The simulated giosg API against what the vendor's documentation says."""

import csv
import io
import re
import uuid
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

import pytest
import requests

from airflow_provider_exports.simulator import Simulator

FIELDS = {
    "id",
    "starting_at",
    "ending_at",
    "room_id",
    "type",
    "format",
    "is_real_conversation",
    "min_message_count",
    "created_at",
    "created_by_user_id",
    "updated_at",
    "completed_at",
    "expires_at",
    "is_failed",
    "url",
}

ROOM_FIELDS = {
    "id",
    "organization_id",
    "organization",
    "domain",
    "name",
    "display_name",
    "is_shared",
    "language_code",
    "created_at",
    "updated_at",
    "updated_by_user_id",
    "updated_by_user",
    "is_online",
    "is_humans_online",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Giosg:
    """A plain client, without any code of the provider."""

    def __init__(self, simulator: Simulator) -> None:
        connection = simulator.connection("giosg")
        self.simulator = simulator
        self.base = f"{connection['host']}/api/v5"
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Token {connection['password']}"
        me = self.get(f"{self.base}/users/me").json()
        self.user, self.organization = me["id"], me["organization_id"]
        self.exports = f"{self.base}/orgs/{self.organization}/users/{self.user}/reportexports"
        self.room = simulator.rooms()[0]["id"]

    def get(self, url: str) -> requests.Response:
        return self.session.get(url, timeout=10, allow_redirects=False)

    def payload(self, **changes: Any) -> dict[str, Any]:
        fields = {
            "starting_at": "2026-01-01T00:00:00.000Z",
            "ending_at": "2026-02-01T00:00:00.000Z",
            "room_id": self.room,
            "type": "logs",
            "format": "csv",
        }
        return {name: value for name, value in (fields | changes).items() if value is not ...}

    def create(self, **changes: Any) -> requests.Response:
        return self.session.post(self.exports, json=self.payload(**changes), timeout=10)

    def created(self, **changes: Any) -> dict[str, Any]:
        response = self.create(**changes)
        assert response.status_code == 201, response.text
        return response.json()

    def look(self, export_id: str) -> dict[str, Any]:
        response = self.get(f"{self.exports}/{export_id}")
        assert response.status_code == 200, response.text
        return response.json()

    def ready(self, **changes: Any) -> dict[str, Any]:
        export_id = self.created(**changes)["id"]
        self.simulator.set_state("giosg", export_id, "ready")
        return self.look(export_id)

    def rows(self, **changes: Any) -> list[list[str]]:
        text = self.get(self.ready(**changes)["url"]).content.decode()
        return list(csv.reader(io.StringIO(text)))[1:]

    def all_pages(self, url: str) -> list[dict[str, Any]]:
        found = []
        following: str | None = url
        while following:
            page = self.get(urljoin(url, following)).json()
            found += page["results"]
            following = page.get("next") or page.get("next_page_url")
        return found


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def giosg(sim: Simulator) -> Giosg:
    return Giosg(sim)


# Access


@pytest.mark.parametrize("scheme", ["", "Bearer ", "token ", "Basic "])
def test_the_api_token_needs_its_scheme_word(sim: Simulator, giosg: Giosg, scheme: str) -> None:
    """The API token counts after the word Token only; anything else is 401 and names the scheme."""
    headers = {"Authorization": scheme + sim.tokens["giosg_api_token"]}
    response = requests.get(giosg.exports, headers=headers, timeout=10)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Token"


def test_an_oauth_token_is_a_bearer_token(sim: Simulator, giosg: Giosg) -> None:
    """The OAuth2 token counts after the word Bearer only."""
    for scheme, status in (("Bearer", 200), ("Token", 401)):
        headers = {"Authorization": f"{scheme} {sim.tokens['giosg_oauth_token']}"}
        assert requests.get(giosg.exports, headers=headers, timeout=10).status_code == status


@pytest.mark.parametrize("path", ["/users/me", "/orgs/x/users/y/reportexports", "/orgs/x/rooms"])
def test_no_token_is_401(giosg: Giosg, path: str) -> None:
    """Without a token, also with one in the query, everything is 401."""
    assert requests.get(giosg.base + path, timeout=10).status_code == 401
    token = giosg.simulator.tokens["giosg_api_token"]
    assert requests.get(giosg.base + path, params={"token": token}, timeout=10).status_code == 401


def test_organization_and_user_of_the_path(sim: Simulator, giosg: Giosg) -> None:
    """A foreign organization is 403, an unknown user 404, the literal me 404 unless switched on."""

    def status(organization: str, user: str) -> int:
        return giosg.get(f"{giosg.base}/orgs/{organization}/users/{user}/reportexports").status_code

    assert status(giosg.organization, giosg.user) == 200
    assert status(str(uuid.uuid4()), giosg.user) == 403
    assert status(giosg.organization, str(uuid.uuid4())) == 404
    assert status(giosg.organization, "me") == 404
    sim.configure("giosg", me_in_path=True, unknown_organization_status=404)
    assert status(giosg.organization, "me") == 200
    assert status(str(uuid.uuid4()), giosg.user) == 404


@pytest.mark.parametrize(
    "access", ["no_subscription", "no_organization_access", "no_settings_permission", "no_user_access"]
)
def test_missing_access_is_403(sim: Simulator, giosg: Giosg, access: str) -> None:
    """Each documented lack of access answers 403 on exports, while the token itself stays good."""
    sim.configure("giosg", access=access)
    assert giosg.create().status_code == 403
    assert giosg.get(giosg.exports).status_code == 403
    assert giosg.get(f"{giosg.base}/users/me").status_code == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_other_methods_are_405(giosg: Giosg, method: str) -> None:
    """Exports can be created, read and listed only."""
    export_id = giosg.created()["id"]
    for url in (giosg.exports, f"{giosg.exports}/{export_id}"):
        response = giosg.session.request(method, url, timeout=10)
        assert response.status_code == 405
        assert "GET" in response.headers["Allow"]


def test_paths_have_no_trailing_slash(giosg: Giosg) -> None:
    """A trailing slash makes another address, which does not exist."""
    assert giosg.get(f"{giosg.exports}/").status_code == 404
    assert giosg.session.post(f"{giosg.exports}/", json=giosg.payload(), timeout=10).status_code == 404


def test_format_in_the_query_is_the_form_of_the_response(giosg: Giosg) -> None:
    """The query parameter format takes json only; the file format does not belong there."""
    assert giosg.get(f"{giosg.exports}?format=json").status_code == 200
    assert giosg.get(f"{giosg.exports}?format=csv").status_code == 404


@pytest.mark.parametrize(
    ("form", "content_type"),
    [("drf", "application/json"), ("text", "text/plain"), ("html", "text/html"), ("empty", "text/plain")],
)
def test_the_form_of_errors_can_be_changed(
    sim: Simulator, giosg: Giosg, form: str, content_type: str
) -> None:
    """Error bodies are undocumented: JSON, text, HTML or nothing."""
    sim.configure("giosg", error_format=form)
    response = giosg.create(room_id=...)
    assert response.status_code == 400
    assert response.headers["Content-Type"].startswith(content_type)
    assert bool(response.content) == (form != "empty")


def test_rate_limit_is_off_until_switched_on(sim: Simulator, giosg: Giosg) -> None:
    """No limit is documented; with one, the request above it gets 429 in the chosen form."""
    assert {giosg.get(giosg.exports).status_code for _ in range(50)} == {200}
    sim.configure("giosg", rate_limit=1, retry_after="missing")
    sim.advance(60)
    assert giosg.get(giosg.exports).status_code == 200
    refused = giosg.get(giosg.exports)
    assert refused.status_code == 429
    assert "Retry-After" not in refused.headers


# Create


@pytest.mark.parametrize(
    ("kind", "form", "status"),
    [
        ("logs", "csv", 201),
        ("logs", "xlsx", 201),
        ("logs", "txt", 201),
        ("stats", "csv", 201),
        ("stats", "xlsx", 201),
        ("stats", "txt", 400),
        ("logs", "pdf", 400),
        ("chats", "csv", 400),
    ],
)
def test_types_and_formats(giosg: Giosg, kind: str, form: str, status: int) -> None:
    """All documented pairs of type and format are taken, and no other."""
    assert giosg.create(type=kind, format=form).status_code == status


def test_the_example_of_a_create(giosg: Giosg) -> None:
    """All fields of a create come back as they were sent, beside those that the vendor adds."""
    payload = {
        "starting_at": "2026-01-01T00:00:00.000Z",
        "ending_at": "2026-02-01T00:00:00.000Z",
        "room_id": giosg.room,
        "type": "logs",
        "format": "csv",
        "is_real_conversation": True,
        "min_message_count": 2,
    }
    response = giosg.session.post(giosg.exports, json=payload, timeout=10)
    assert response.status_code == 201
    export = response.json()
    assert export == {
        **payload,
        "id": export["id"],
        "created_at": export["created_at"],
        "created_by_user_id": giosg.user,
        "updated_at": export["created_at"],
        "completed_at": None,
        "expires_at": None,
        "is_failed": None,
        "url": None,
    }
    assert uuid.UUID(export["id"])
    assert TIME.fullmatch(export["created_at"])


def test_the_resource_in_each_state(sim: Simulator, giosg: Giosg) -> None:
    """The null rules of the four fields that tell the state, in the collection as in the resource."""
    shapes = {
        "processing": (False, False, None, False),
        "ready": (True, True, False, True),
        "failed": (True, False, True, False),
        "expired": (True, True, False, False),
    }
    for state, expected in shapes.items():
        export_id = giosg.created()["id"]
        sim.set_state("giosg", export_id, "ready" if state == "expired" else state)
        if state == "expired":
            sim.set_state("giosg", export_id, state)
        export = giosg.look(export_id)
        assert giosg.all_pages(giosg.exports)[0] == export
        assert (
            export["completed_at"] is not None,
            export["expires_at"] is not None,
            export["is_failed"],
            export["url"] is not None,
        ) == expected, state
        times = [export[name] for name in ("created_at", "updated_at", "completed_at", "expires_at")]
        assert all(TIME.fullmatch(time) for time in times if time is not None)


def test_a_new_export_is_incomplete(giosg: Giosg) -> None:
    """A create answers the resource with its documented fields, the four of the result null."""
    export = giosg.created(is_real_conversation=True, min_message_count=2)
    assert set(export) == FIELDS
    assert export["created_by_user_id"] == giosg.user
    assert export["created_at"] == export["updated_at"]
    assert (export["is_real_conversation"], export["min_message_count"]) == (True, 2)
    assert export["starting_at"] == "2026-01-01T00:00:00.000Z"
    assert [export[name] for name in ("completed_at", "expires_at", "is_failed", "url")] == [None] * 4


def test_defaults_of_the_optional_fields(giosg: Giosg) -> None:
    """Omitted filters come back as no filter and at least 0 messages."""
    export = giosg.created()
    assert (export["is_real_conversation"], export["min_message_count"]) == (None, 0)


@pytest.mark.parametrize("field", ["starting_at", "ending_at", "room_id", "type", "format"])
@pytest.mark.parametrize("value", [..., None, 7, "x"])
def test_required_fields_of_a_create(giosg: Giosg, field: str, value: object) -> None:
    """A required field that is missing or wrong is 400 with that field's name in the body."""
    response = giosg.create(**{field: value})
    assert response.status_code == 400
    assert field in response.json()
    assert giosg.simulator.exports("giosg") == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("is_real_conversation", "true"),
        ("is_real_conversation", 1),
        ("min_message_count", -1),
        ("min_message_count", 1.5),
        ("min_message_count", "2"),
        ("min_message_count", True),
        ("min_message_count", None),
        ("ending_at", "2026-01-01T00:00:00.000Z"),
        ("ending_at", "2025-01-01T00:00:00.000Z"),
    ],
)
def test_wrong_values_of_a_create(giosg: Giosg, field: str, value: object) -> None:
    """Filters of the wrong kind and a range that is empty or backwards are 400."""
    response = giosg.create(**{field: value})
    assert response.status_code == 400
    assert field in response.json()


@pytest.mark.parametrize(
    ("body", "kind"), [("{", "application/json"), ("[]", "application/json"), ("{}", "")]
)
def test_bodies_that_are_no_json_object(giosg: Giosg, body: str, kind: str) -> None:
    """Broken JSON, JSON that is no object and a body not declared as JSON are 400."""
    headers = {"Content-Type": kind}
    assert giosg.session.post(giosg.exports, data=body, headers=headers, timeout=10).status_code == 400


def test_lenient_switches_of_a_create(sim: Simulator, giosg: Giosg) -> None:
    """What the documentation leaves open about a create can be turned the other way."""
    future = {"ending_at": "2200-01-01T00:00:00.000Z"}
    assert giosg.create(**future).status_code == 201
    assert giosg.create(starting_at="2026-01-01").status_code == 201
    assert giosg.create(unknown_field=1).status_code == 201
    sim.configure(
        "giosg",
        future_end="reject",
        datetime_input="strict",
        null_min_message_count="zero",
        content_type_status=415,
        max_window_days=31,
    )
    assert giosg.create(**future).status_code == 400
    assert giosg.create(starting_at="2026-01-01").status_code == 400
    assert giosg.created(min_message_count=None)["min_message_count"] == 0
    assert giosg.create(ending_at="2026-02-01T00:00:01.000Z").status_code == 400
    assert giosg.session.post(giosg.exports, data="{}", timeout=10).status_code == 415


@pytest.mark.parametrize(
    ("mode", "shape", "status", "shown"),
    [
        ("reject", "defaults", 400, None),
        ("ignore", "defaults", 201, {"is_real_conversation": None, "min_message_count": 0}),
        ("null", "defaults", 201, {"is_real_conversation": None, "min_message_count": None}),
        ("ignore", "null", 201, {"is_real_conversation": None, "min_message_count": None}),
        ("ignore", "absent", 201, {}),
    ],
)
def test_fields_for_logs_with_stats(
    sim: Simulator, giosg: Giosg, mode: str, shape: str, status: int, shown: dict[str, object] | None
) -> None:
    """The fields for logs only are refused, ignored or stored as null for stats, and shown accordingly."""
    sim.configure("giosg", logs_fields_with_stats=mode, stats_shape=shape)
    response = giosg.create(type="stats", min_message_count=3, is_real_conversation=True)
    assert response.status_code == status
    if shown is not None:
        names = ("is_real_conversation", "min_message_count")
        assert {name: value for name, value in response.json().items() if name in names} == shown


def test_rooms_of_a_create(sim: Simulator, giosg: Giosg) -> None:
    """Unknown and deleted rooms are 400, shared ones are taken; the switches change that."""
    shared = next(room["id"] for room in sim.rooms() if room["is_shared"])
    deleted = sim.add_room("Closed down", deleted=True)
    assert giosg.create(room_id=str(uuid.uuid4())).status_code == 400
    assert giosg.create(room_id=deleted).status_code == 400
    assert giosg.create(room_id=shared).status_code == 201
    sim.configure("giosg", unknown_room_status=404, shared_room="403")
    assert giosg.create(room_id=str(uuid.uuid4())).status_code == 404
    assert giosg.create(room_id=shared).status_code == 403


def test_the_same_create_twice(sim: Simulator, giosg: Giosg) -> None:
    """A repeated create makes another export, gives the first one, or is a conflict."""
    first = giosg.created()["id"]
    second = giosg.created()["id"]
    assert first != second
    sim.configure("giosg", duplicate_create="same")
    assert giosg.created(starting_at="2026-01-01T00:00:00Z")["id"] == second
    assert giosg.created(format="txt")["id"] not in (first, second)
    sim.configure("giosg", duplicate_create="conflict")
    assert giosg.create().status_code == 409


@pytest.mark.parametrize("status", [400, 429])
def test_a_limit_of_exports_in_progress(sim: Simulator, giosg: Giosg, status: int) -> None:
    """Above the limit a create is refused, until an export has ended."""
    sim.configure("giosg", max_in_progress=1, max_in_progress_status=status, outcome="never")
    export_id = giosg.created()["id"]
    assert giosg.create().status_code == status
    sim.set_state("giosg", export_id, "failed")
    assert giosg.create().status_code == 201


# Read


def test_life_of_an_export(sim: Simulator, giosg: Giosg) -> None:
    """Incomplete until the second read, then ready for 24 hours, then expired with its url gone."""
    sim.configure("giosg", ready_after_reads=2)
    export_id = giosg.created()["id"]
    assert giosg.look(export_id)["completed_at"] is None
    ready = giosg.look(export_id)
    assert ready["is_failed"] is False
    assert ready["url"].startswith(f"{sim.api_origin}/")
    left = datetime.fromisoformat(ready["expires_at"]) - sim.now()
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
    sim.advance(86400)
    expired = giosg.look(export_id)
    assert expired["url"] is None
    assert expired["is_failed"] is False
    assert expired["expires_at"] == ready["expires_at"]
    assert expired["updated_at"] > ready["updated_at"] > ready["created_at"]
    assert giosg.get(ready["url"]).status_code == 403


def test_an_export_is_ready_after_a_second_of_virtual_time(sim: Simulator, giosg: Giosg) -> None:
    """By default age alone makes an export ready, too."""
    export_id = giosg.created()["id"]
    sim.advance(1)
    assert giosg.look(export_id)["url"]


def test_a_failed_export_is_completed(sim: Simulator, giosg: Giosg) -> None:
    """A failed export is completed, failed, and has neither url nor expiry."""
    sim.configure("giosg", outcome="failed", ready_after_reads=1)
    export = giosg.look(giosg.created()["id"])
    assert export["completed_at"]
    assert (export["is_failed"], export["expires_at"], export["url"]) == (True, None, None)


def test_the_slip_of_the_documentation(sim: Simulator, giosg: Giosg) -> None:
    """Taken at its word, the page's is_failed is the string failed on success, and true on failure."""
    sim.configure("giosg", is_failed_slip=True)
    assert giosg.ready()["is_failed"] == "failed"
    export_id = giosg.created()["id"]
    sim.set_state("giosg", export_id, "failed")
    assert giosg.look(export_id)["is_failed"] is True


def test_expires_at_can_be_missing(sim: Simulator, giosg: Giosg) -> None:
    """With the switch there is no key expires_at, as in an older draft of the page."""
    sim.configure("giosg", expires_at_field="missing")
    assert set(giosg.ready()) == FIELDS - {"expires_at"}


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("milliseconds", "2026-01-01T00:00:00.000Z"),
        ("microseconds", "2026-01-01T00:00:00.000000Z"),
        ("seconds", "2026-01-01T00:00:00Z"),
        ("no_zone", "2026-01-01T00:00:00.000"),
    ],
)
def test_forms_of_times(sim: Simulator, giosg: Giosg, form: str, shown: str) -> None:
    """Times come back in the form that the switch says."""
    sim.configure("giosg", datetime_output=form)
    assert giosg.created()["starting_at"] == shown


@pytest.mark.parametrize("status", [404, 403])
def test_unknown_exports(sim: Simulator, giosg: Giosg, status: int) -> None:
    """An id that does not exist is 404, or 403 by switch."""
    sim.configure("giosg", unknown_export_status=status)
    assert giosg.get(f"{giosg.exports}/{uuid.uuid4()}").status_code == status


def test_rows_can_be_dropped_after_expiry(sim: Simulator, giosg: Giosg) -> None:
    """Expired exports stay in the list unless a switch forgets them."""
    giosg.ready()
    sim.advance(365 * 86400)
    assert len(giosg.all_pages(giosg.exports)) == 1
    sim.configure("giosg", dropped_after_seconds=60)
    assert giosg.all_pages(giosg.exports) == []


# Collections


@pytest.mark.parametrize("envelope", ["cursor", "numbers"])
@pytest.mark.parametrize("page_size", [1, 2, 50])
def test_the_list_is_newest_first(sim: Simulator, giosg: Giosg, envelope: str, page_size: int) -> None:
    """All exports come back newest first, with all fields, over pages of any size and form."""
    sim.configure("giosg", envelope=envelope, page_size=page_size)
    ids = [giosg.created()["id"] for _ in range(5)]
    found = giosg.all_pages(giosg.exports)
    assert [export["id"] for export in found] == ids[::-1]
    assert all(set(export) == FIELDS for export in found)


def test_cursor_pages(sim: Simulator, giosg: Giosg) -> None:
    """Next and previous are absolute, and new exports at the head do not shift what follows."""
    sim.configure("giosg", page_size=2)
    ids = [giosg.created()["id"] for _ in range(4)]
    first = giosg.get(giosg.exports).json()
    assert set(first) == {"next", "previous", "results"}
    assert first["previous"] is None
    assert first["next"].startswith(f"{giosg.exports}?cursor=")
    giosg.created()
    second = giosg.get(first["next"]).json()
    assert [export["id"] for export in second["results"]] == [ids[1], ids[0]]
    assert second["next"] is None
    assert giosg.get(second["previous"]).json()["results"][-1]["id"] == ids[2]
    assert giosg.get(f"{giosg.exports}?cursor=nonsense").status_code == 404


def test_an_empty_page_is_not_the_end(sim: Simulator, giosg: Giosg) -> None:
    """With the switch the first page is empty and names a next one that is not."""
    sim.configure("giosg", empty_first_page=True)
    export_id = giosg.created()["id"]
    assert giosg.get(giosg.exports).json()["results"] == []
    assert [export["id"] for export in giosg.all_pages(giosg.exports)] == [export_id]


def test_forms_of_next(sim: Simulator, giosg: Giosg) -> None:
    """Next can be relative, or point to another origin where no token may follow."""
    sim.configure("giosg", page_size=1, next_url="relative")
    assert len(giosg.all_pages(f"{giosg.base}/orgs/{giosg.organization}/rooms")) == 4
    sim.configure("giosg", next_url="foreign")
    following = giosg.get(f"{giosg.base}/orgs/{giosg.organization}/rooms").json()["next"]
    assert following.startswith(sim.files_origin)
    giosg.get(following)
    assert sim.leaks("giosg")[0].credentials == ("header Authorization",)


def test_rooms(sim: Simulator, giosg: Giosg) -> None:
    """There are four rooms, one of them shared and without timestamps; deleted ones are hidden."""
    url = f"{giosg.base}/orgs/{giosg.organization}/rooms"
    rooms = giosg.all_pages(url)
    assert [room["name"] for room in rooms] == ["Web shop", "Support", "Booking", "Partner help desk"]
    (shared,) = (room for room in rooms if room["is_shared"])
    assert set(rooms[0]) == ROOM_FIELDS
    assert shared["organization_id"] != giosg.organization
    assert "created_at" not in shared
    sim.add_room("Closed down", deleted=True)
    assert len(giosg.all_pages(url)) == 4
    assert len(giosg.all_pages(f"{url}?include_deleted=true")) == 5


@pytest.mark.parametrize(
    ("switch", "statuses"),
    [("orgs", [200, 404, 404]), ("users", [404, 200, 404]), ("root", [404, 404, 200]), ("all", [200] * 3)],
)
def test_where_rooms_are(sim: Simulator, giosg: Giosg, switch: str, statuses: list[int]) -> None:
    """The address of the rooms is undocumented, hence a switch."""
    sim.configure("giosg", rooms_path=switch)
    paths = [f"/orgs/{giosg.organization}/rooms", f"/users/{giosg.user}/rooms", "/rooms"]
    assert [giosg.get(giosg.base + path).status_code for path in paths] == statuses


# Files


def test_the_file_needs_the_token_on_the_same_host(sim: Simulator, giosg: Giosg) -> None:
    """By default the file is on the API's host, with length and name, and needs the token."""
    url = giosg.ready()["url"]
    assert requests.get(url, timeout=10).status_code == 401
    response = giosg.get(url)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["Content-Disposition"].endswith('.csv"')
    assert int(response.headers["Content-Length"]) == len(response.content)
    assert sim.leaks() == []


def test_a_signed_file_is_on_another_origin(sim: Simulator, giosg: Giosg) -> None:
    """A signed address works without token, not without signature, and records a token that arrives."""
    sim.configure("giosg", file_url="signed")
    url = giosg.ready()["url"]
    assert url.startswith(f"{sim.files_origin}/")
    assert requests.get(url, timeout=10).status_code == 200
    assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
    assert sim.leaks() == []
    giosg.get(url)
    assert len(sim.leaks("giosg")) == 1


def test_a_file_can_be_behind_a_redirect(sim: Simulator, giosg: Giosg) -> None:
    """The address on the API's host needs the token and leads to a signed one elsewhere."""
    sim.configure("giosg", file_url="redirect")
    url = giosg.ready()["url"]
    assert requests.get(url, timeout=10).status_code == 401
    response = giosg.get(url)
    assert response.status_code == 302
    target = response.headers["Location"]
    assert target.startswith(sim.files_origin)
    assert requests.get(target, timeout=10).status_code == 200


@pytest.mark.parametrize("mode", ["same_host", "signed"])
def test_addresses_can_change(sim: Simulator, giosg: Giosg, mode: str) -> None:
    """An address stays the same from read to read, or is new each time and still works."""
    sim.configure("giosg", file_url=mode)
    export = giosg.ready()
    assert giosg.look(export["id"])["url"] == export["url"]
    sim.configure("giosg", url_changes=True)
    new = giosg.look(export["id"])["url"]
    assert new != giosg.look(export["id"])["url"]
    assert giosg.get(new).status_code == 200


def test_a_signed_address_can_have_a_short_life(sim: Simulator, giosg: Giosg) -> None:
    """With link_seconds an address dies before its file, and a new read gives a new one."""
    sim.configure("giosg", file_url="signed", link_seconds=60, gone_status=410)
    export = giosg.ready()
    sim.advance(61)
    assert requests.get(export["url"], timeout=10).status_code == 410
    assert requests.get(giosg.look(export["id"])["url"], timeout=10).status_code == 200


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("mode", ["same_host", "signed", "redirect"])
def test_files_after_expiry(sim: Simulator, giosg: Giosg, mode: str, status: int) -> None:
    """After expiry the address answers as the switch says, wherever it is."""
    sim.configure("giosg", file_url=mode, gone_status=status)
    export = giosg.ready()
    sim.set_state("giosg", export["id"], "expired")
    assert giosg.get(export["url"]).status_code == status


def test_files_can_come_without_length(sim: Simulator, giosg: Giosg) -> None:
    """With the switch a file is sent in chunks, complete but without its length."""
    sim.configure("giosg", transfer="chunked", content_disposition=False)
    response = giosg.get(giosg.ready()["url"])
    assert "Content-Length" not in response.headers
    assert "Content-Disposition" not in response.headers
    assert response.content.endswith(b"\n")


def test_a_workbook_is_a_real_one(giosg: Giosg) -> None:
    """An xlsx file is a zip archive with a workbook, a sheet, and one row per chat below the header."""
    logs = giosg.rows()
    response = giosg.get(giosg.ready(format="xlsx")["url"])
    assert response.content.startswith(b"PK\x03\x04")
    with zipfile.ZipFile(io.BytesIO(response.content)) as book:
        assert book.testzip() is None
        for name in book.namelist():
            ElementTree.fromstring(book.read(name))
        assert "xl/workbook.xml" in book.namelist()
        assert book.read("xl/worksheets/sheet1.xml").count(b"<row>") == len(logs) + 1


def test_windows_that_share_a_border_neither_overlap_nor_leave_a_gap(giosg: Giosg) -> None:
    """Two halves of a range have the chats of the whole, each once."""
    whole = giosg.rows()
    first = giosg.rows(ending_at="2026-01-12T13:14:15.000Z")
    second = giosg.rows(starting_at="2026-01-12T13:14:15.000Z")
    assert len(whole) > 100
    assert first + second == whole


def test_filters_for_logs(giosg: Giosg) -> None:
    """Real and other conversations add up to all, and the message count is a lower bound."""
    whole = giosg.rows()
    real, other = giosg.rows(is_real_conversation=True), giosg.rows(is_real_conversation=False)
    assert sorted(real + other) == sorted(whole)
    long = giosg.rows(min_message_count=8)
    assert long == [row for row in whole if int(row[3]) + int(row[4]) >= 8]
    assert 0 < len(long) < len(whole)


def test_which_time_of_a_chat_decides(sim: Simulator, giosg: Giosg) -> None:
    """A chat over the border of two ranges is in the first, the second, or, as in the old API, in none."""
    border = next(row[2] for row in giosg.rows() if row[1] < row[2])
    before, after = {"ending_at": border}, {"starting_at": border}
    found = {}
    for membership in ("start", "end", "both"):
        sim.configure("giosg", membership=membership)
        ids = [{row[0] for row in giosg.rows(**half) if row[2] == border} for half in (before, after)]
        found[membership] = [bool(half) for half in ids]
    assert found == {"start": [True, False], "end": [False, True], "both": [False, False]}


def test_stats_have_one_row_per_day(giosg: Giosg) -> None:
    """Statistics of January have 31 rows."""
    assert len(giosg.rows(type="stats")) == 31


@pytest.mark.parametrize(("mode", "size"), [("header", None), ("zero_bytes", 0)])
def test_an_empty_result(sim: Simulator, giosg: Giosg, mode: str, size: int | None) -> None:
    """A result without rows is a header row or no byte at all."""
    sim.configure("giosg", rows=0, empty_result=mode)
    body = giosg.get(giosg.ready()["url"]).content
    assert body.count(b"\n") == (1 if size is None else 0)


def test_an_empty_result_can_fail(sim: Simulator, giosg: Giosg) -> None:
    """With the switch an export without rows fails, and one with rows does not."""
    sim.configure("giosg", empty_result="failed", ready_after_reads=1)
    full = giosg.created()["id"]
    sim.configure("giosg", rows=0)
    empty = giosg.created()["id"]
    assert giosg.look(full)["is_failed"] is False
    assert giosg.look(empty)["is_failed"] is True


@pytest.mark.parametrize("size", [0, 10, 5_000, 2_000_003])
def test_files_of_a_wanted_size(sim: Simulator, giosg: Giosg, size: int) -> None:
    """With file_bytes a csv or txt file has exactly that size."""
    sim.configure("giosg", file_bytes=size)
    assert len(giosg.get(giosg.ready()["url"]).content) == size
    assert len(giosg.get(giosg.ready(format="txt")["url"]).content) == size

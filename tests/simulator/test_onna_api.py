"""The simulated Onna API against what the vendor's documentation and its framework say."""

import base64
import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.apis.onna_access import COLLEAGUE


def options(**values: Any) -> dict[str, Any]:
    return {name: {"selected": False, "viewValue": str(one), "value": one} for name, one in values.items()}


def columns(*names: str, selected: bool = True) -> list[dict[str, Any]]:
    return [{"selected": selected, "viewValue": name, "value": name} for name in names]


#: What every mention of an object has.
SUMMARY = ("@id", "@name", "@type", "@uid")

#: The vendor's complete example with fewer columns.
SETTINGS: dict[str, Any] = {
    "name": "Weekly",
    "created_by": "exporter@example.com",
    "exportType": "advanced",
    "scope_uuid": None,
    "scope_query": {
        "advanced": {
            "and": [
                {">": [{"var": "date_modified"}, "2026-01-01"]},
                {"<": [{"var": "date_modified"}, "2026-01-08"]},
                {"text_contains": [{"var": "type_name"}, "Resource"]},
            ]
        }
    },
    "exclude_nist": True,
    "include_family": True,
    "dedupe_parents": False,
    "prefer_pdf": False,
    "message_context_days": 0,
    "slack_as_single_message": True,
    "use_original_filename": False,
    "meta": {
        "onna.canonical.behaviors.metadata.IMetadata": columns("author", "date_modified", "md5", "extension"),
        "onna.canonical.behaviors.origin.IOrigin": columns("origin", "origin_targeted_users"),
        "onna.canonical.content.resources.jira.IJira": columns("thread_id"),
        "onna.canonical.content.resources.workplace.IWorkplace": columns("thread_id"),
        "onna.canonical.content.resource.IResource": columns("title", selected=False),
    },
    "formattedMeta": [
        {
            "label": "Conversation",
            "children": [
                {
                    "label": "Related users",
                    "value": "onna.canonical.behaviors.related_users.IRelatedUsers|related_users",
                    "isSelected": True,
                    "isHidden": True,
                }
            ],
        }
    ],
    "documentNumbering": options(
        fieldName="ControlNumber", prefix="CN", startNumber=1, digits=8, groupIdentifierField="GroupID"
    ),
    "volumeNumbering": options(prefix="VOL", startNumber=1, digits=3, maxSize=2000),
    "subdirectoryNumbering": options(
        includeNatives=False,
        exportTextSeparately=False,
        textFileEncoding="utf-8",
        nativeFolderName="NATIVE",
        textFolderName="TEXT",
        startNumber=1,
        digits=3,
        maxFilesPerFolder=500,
    ),
    "loadFileFormat": options(
        format="csv",
        encoding="utf-8",
        columnCharacter=44,
        quoteCharacter=34,
        newLineCharacter=10,
        multivalueCharacter=59,
        nestedCharacter=92,
    ),
}


def with_query(*conditions: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return SETTINGS | {"scope_query": {"advanced": {"and": list(conditions)}}} | changes


class Onna:
    """A plain client, without any code of the provider."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.connection = simulator.connection("onna")
        self.host, self.user = self.connection["host"], self.connection["login"]
        extra = self.connection["extra"]
        self.account = extra["account"]
        self.api = f"{self.host}/api/{extra['container']}/{self.account}"
        self.folder = f"{self.api}/{self.user}"
        self.headers = {"Authorization": f"Bearer {self.token()}"}

    def code(self) -> str:
        query = {"client_id": "canonical", "scope": self.account}
        return str(requests.get(f"{self.api}/@oauthgetcode", params=query, timeout=10).json()["auth_code"])

    def fields(self, **changes: Any) -> dict[str, Any]:
        known = {
            "grant_type": "user",
            "code": self.code(),
            "username": self.user,
            "password": self.connection["password"],
            "scopes": [self.account],
            "client_id": "canonical",
        }
        return {name: value for name, value in (known | changes).items() if value is not ...}

    def login(self, **changes: Any) -> requests.Response:
        body = json.dumps(self.fields(**changes))
        return requests.post(f"{self.host}/auth/oauth/get_auth_token", data=body, timeout=10)

    def token(self) -> str:
        response = self.login()
        assert response.status_code == 200, response.text
        return response.text

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        options = {"headers": self.headers, "timeout": 10, "allow_redirects": False} | options
        return requests.request(method, url if "://" in url else f"{self.api}{url}", **options)

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.call("GET", url, **options)

    def create(self, name: Any = "weekly", **changes: Any) -> requests.Response:
        body = {"@type": "Export", "id": name, "title": "Weekly", "settings": [SETTINGS]} | changes
        body = {field: value for field, value in body.items() if value is not ...}
        return self.call("POST", self.folder, json=body)

    def created(self, name: Any = "weekly", **changes: Any) -> str:
        response = self.create(name, **changes)
        assert response.status_code == 201, response.text
        return str(response.json()["@id"])

    def start(self, url: str, title: Any = "Weekly") -> requests.Response:
        return self.call("POST", "/@multiFileExport", json={"title": title, "resource_url": url})

    def started(self, name: str = "weekly", **changes: Any) -> str:
        url = self.created(name, **changes)
        response = self.start(url, changes.get("title", "Weekly"))
        assert response.status_code == 200, response.text
        return url

    def look(self, url: str) -> dict[str, Any]:
        response = self.get(url)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def finished(self, name: str = "weekly", **changes: Any) -> str:
        url = self.started(name, **changes)
        self.simulator.advance(60)
        return url

    def archive(self, url: str, field: str = "file") -> zipfile.ZipFile:
        response = self.get(f"{url}/@download/{field}")
        assert response.status_code == 200, response.text
        return zipfile.ZipFile(io.BytesIO(response.content))

    def rows(self, url: str) -> list[dict[str, str]]:
        text = self.archive(url).read("VOL001/Weekly.csv").decode()
        return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def onna(sim: Simulator) -> Onna:
    return Onna(sim)


def claims(token: str) -> dict[str, Any]:
    raw = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))))


# Login


def test_the_token_is_bare_text_that_knows_its_end(sim: Simulator, onna: Onna) -> None:
    """The second step answers a JWT without quotes, with the published claims and a life of seven days."""
    response = onna.login()
    assert response.headers["Content-Type"].startswith("text/plain")
    assert response.text.count(".") == 2
    known = claims(response.text)
    assert set(known) == {"iat", "exp", "token", "login", "name", "superuser", "aid", "sub", "av", "gt"}
    assert known["exp"] - known["iat"] == 604_800
    assert known["login"] == known["sub"] == onna.user
    assert abs(known["iat"] - sim.now().timestamp()) < 5


@pytest.mark.parametrize("form", ["json", "bare json", "text", "form", "doubled slashes", "string scope"])
def test_forms_of_a_login(onna: Onna, form: str) -> None:
    """JSON with any or no Content-Type, form fields, one scope as a string and doubled slashes are taken."""
    fields = onna.fields(scopes=onna.account if form in ("form", "string scope") else [onna.account])
    path = "//auth/oauth//get_auth_token" if form == "doubled slashes" else "/auth/oauth/get_auth_token"
    headers = {"json": {"Content-Type": "application/json"}, "text": {"Content-Type": "text/plain"}}
    data = fields if form == "form" else json.dumps(fields)
    response = requests.post(f"{onna.host}{path}", data=data, headers=headers.get(form), timeout=10)
    assert response.status_code == 200, response.text
    assert claims(response.text)["login"] == onna.user


def test_a_code_works_once_and_for_two_minutes(sim: Simulator, onna: Onna) -> None:
    """A used or old code is refused with 400, also if the password was wrong the first time."""
    code = onna.code()
    assert onna.login(code=code, password="simulated wrong password").status_code == 401
    assert onna.login(code=code).status_code == 400
    young, old = onna.code(), onna.code()
    sim.advance(119)
    assert onna.login(code=young).status_code == 200
    sim.advance(1)
    assert onna.login(code=old).reason == "Invalid Auth code"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"grant_type": ...}, 400, "grant_type is missing"),
        ({"code": ...}, 400, "code is missing"),
        ({"scopes": []}, 400, "scopes is missing"),
        ({"client_id": "other"}, 400, "Invalid Client ID"),
        ({"grant_type": "password"}, 400, "Invalid grant_type"),
        ({"code": "00ff"}, 400, "Invalid Auth code"),
        ({"scopes": ["other"]}, 400, "Invalid scope"),
        ({"username": "nobody@example.com"}, 401, "Password/Username does not match"),
        ({"password": "simulated wrong password"}, 401, "Password/Username does not match"),
    ],
)
def test_refused_logins(onna: Onna, changes: dict[str, Any], status: int, reason: str) -> None:
    """What is wrong with a login is told in the status line, not in JSON."""
    response = onna.login(**changes)
    assert (response.status_code, response.reason) == (status, reason)
    with pytest.raises(requests.JSONDecodeError):
        response.json()


def test_a_code_can_be_null(sim: Simulator, onna: Onna) -> None:
    """A refusing login server shows as status 200 with a null code, as does a wrong client or scope."""
    url = f"{onna.api}/@oauthgetcode"
    good = {"client_id": "canonical", "scope": onna.account}
    for query in ({}, good | {"client_id": "other"}, good | {"scope": "other"}):
        response = requests.get(url, params=query, timeout=10)
        assert (response.status_code, response.json()) == (200, {"auth_code": None})
    assert int(requests.post(url, json=good, timeout=10).json()["auth_code"], 16)
    sim.configure("onna", auth_code="null")
    assert requests.get(url, params=good, timeout=10).json() == {"auth_code": None}


def test_a_user_of_single_sign_on_has_no_password(sim: Simulator, onna: Onna) -> None:
    """With the switch a right password is 401."""
    sim.configure("onna", password_login=False)
    assert onna.login().status_code == 401


def test_who_am_i(onna: Onna) -> None:
    """Both calls that check a token answer JSON about the account, to a token only."""
    for method, url in (
        ("POST", f"{onna.host}/auth/oauth/me?scope={onna.account}"),
        ("GET", f"{onna.api}/@statusAccount"),
    ):
        assert onna.call(method, url).json()["login"] == onna.user
        assert onna.call(method, url, headers={}).status_code == 401


@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer x.y.z", "Basic {token}", "Bearer {token}x", "ä"])
def test_strangers_are_told_nothing(onna: Onna, header: str | None) -> None:
    """Without a readable token everything below the account is 401, whether it exists or not."""
    url = onna.created()
    sent = (header or "").format(token=onna.headers["Authorization"].split()[1]).encode()
    headers = {} if header is None else {"Authorization": sent}
    for address in (url, f"{onna.folder}/nothing", f"{onna.api}/@data", f"{onna.api}/nothing/at/all"):
        response = onna.get(address, headers=headers)
        assert response.status_code == 401
        assert response.json()["auth"] == "Anonymous User"


def test_addresses_that_do_not_exist(onna: Onna) -> None:
    """An unknown account is 404 to anybody, an unknown object or view to users."""
    for url in (f"{onna.host}/api/other/{onna.account}/@data", f"{onna.host}/api/rel0/other/@data"):
        assert onna.get(url, headers={}).status_code == 404
    for url in (f"{onna.folder}/nothing", f"{onna.api}/@nothing", f"{onna.api}/nobody@example.com"):
        response = onna.get(url)
        assert (response.status_code, response.json()) == (404, {"reason": "object and/or route not found"})


def test_the_folder_of_a_colleague_is_closed(onna: Onna) -> None:
    """Somebody else's folder is 401, never 403, also for what is not in it."""
    for url in (f"{onna.api}/{COLLEAGUE}", f"{onna.api}/{COLLEAGUE}/nothing"):
        assert onna.get(url).status_code == 401


@pytest.mark.parametrize(
    ("form", "status", "text"), [("401", 401, None), ("500_empty", 500, ""), ("500_braces", 500, "{}")]
)
def test_a_token_past_its_end(sim: Simulator, onna: Onna, form: str, status: int, text: str | None) -> None:
    """An old token is 401, or the bare 500 that a framework of that age makes of it."""
    sim.configure("onna", expired_token=form)
    sim.advance(7 * 86_400 - 60)
    assert onna.get("/@data").status_code == 200
    sim.advance(60)
    response = onna.get("/@data")
    assert response.status_code == status
    assert text is None or response.text == text
    onna.headers = {"Authorization": f"Bearer {onna.token()}"}
    assert onna.get("/@data").status_code == 200


@pytest.mark.parametrize(
    ("access", "create", "get", "reason"),
    [
        ("granted", 201, 200, None),
        ("no_add", 401, 200, "unauthorized"),
        ("no_view", 201, 401, None),
        ("no_access", 401, 401, "You are not authorized to access content"),
    ],
)
def test_missing_permissions(
    sim: Simulator, onna: Onna, access: str, create: int, get: int, reason: str | None
) -> None:
    """What a user may not do is 401 with a reason."""
    url = onna.created("first")
    sim.configure("onna", access=access)
    response = onna.create("second")
    assert (response.status_code, onna.get(url).status_code) == (create, get)
    assert response.json().get("reason") == reason


@pytest.mark.parametrize("status", [404, 410])
def test_the_api_can_be_retired(sim: Simulator, onna: Onna, status: int) -> None:
    """One day every route answers 404 or 410."""
    sim.configure("onna", retired=str(status))
    login = onna.call("POST", f"{onna.host}/auth/oauth/get_auth_token", json={})
    assert {onna.get("/@data").status_code, login.status_code} == {status}


def test_errors_of_the_framework(sim: Simulator, onna: Onna) -> None:
    """Faults named by a status come in the framework's words."""

    def body(fault: str) -> Any:
        sim.fail_next("onna", "create", fault=fault)
        response = onna.create(fault)
        assert response.status_code == int(fault)
        return response.json()

    assert body("424")["reason"] == "oauthServerFailure"
    assert body("409") == {}
    assert set(body("500")) == {"message", "reason", "details", "eid"}
    assert body("412")["type"] == "PreconditionFailed"
    assert body("503") == {}
    sim.configure("onna", bare_conflict="empty")
    sim.fail_next("onna", "create", fault="409")
    assert onna.create().text == ""
    assert sim.exports("onna") == []


def test_rate_limit(sim: Simulator, onna: Onna) -> None:
    """No limit is documented; one that is set answers 429 with Retry-After."""
    sim.configure("onna", rate_limit=1)
    assert onna.get("/@data").status_code == 200
    assert int(onna.get("/@data").headers["Retry-After"]) > 0


# Create


def test_a_create_answers_the_summary(sim: Simulator, onna: Onna) -> None:
    """201 with the four fields of the vendor's example and the address as Location; nothing runs yet."""
    response = onna.create("weekly-2026-01-05")
    assert response.status_code == 201
    export = response.json()
    assert set(export) == {"@id", "@name", "@type", "@uid"}
    assert export["@id"] == response.headers["Location"] == f"{onna.folder}/weekly-2026-01-05"
    assert (export["@name"], export["@type"]) == ("weekly-2026-01-05", "Export")
    sim.advance(86_400)
    for _ in range(5):
        assert onna.look(export["@id"])["status"] == "created"


def test_an_id_is_made_where_none_is_sent(onna: Onna) -> None:
    """Two creates without id, as the vendor's script sends them, are two exports."""
    assert onna.created(...) != onna.created(...)


def test_an_id_is_taken_once(onna: Onna) -> None:
    """A second create with the id is 409 with conflictId, changes nothing, and the object can be read."""
    url = onna.created()
    again = onna.create(title="Other")
    assert again.status_code == 409
    assert set(again.json()) == {"reason", "details", "type", "message", "eid"}
    assert again.json()["reason"] == "conflictId"
    assert onna.look(url)["title"] == "Weekly"
    assert onna.call("DELETE", url).status_code == 200
    assert onna.create().status_code == 201


@pytest.mark.parametrize("name", ["a", "A-1._@$^()+= ", "exporter@example.com", "2026"])
def test_ids_that_are_taken(onna: Onna, name: str) -> None:
    """Letters, digits and a few signs make an id, and the address it gets can be read."""
    assert onna.look(onna.created(name))["@name"] == name


@pytest.mark.parametrize("name", ["", "_a", "@a", ".", "..", "a/b", "ä", "a:b", "a\n", 7, ["a"]])
def test_ids_that_are_refused(onna: Onna, name: Any) -> None:
    """Other ids are 412 with invalidId."""
    response = onna.create(name)
    assert (response.status_code, response.json()["reason"]) == (412, "invalidId")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"@type": ...}, "requiredParamMissing"),
        ({"@type": "Nothing"}, "deserializationError"),
        ({"@type": ["Export"]}, "deserializationError"),
        ({"@type": "Workspace"}, "notAllowed"),
        ({"title": 7}, "deserializationError"),
        ({"settings": {}}, "deserializationError"),
        ({"settings": ...}, "deserializationError"),
        ({"title": ...}, "deserializationError"),
    ],
)
def test_creates_that_are_refused(sim: Simulator, onna: Onna, changes: dict[str, Any], reason: str) -> None:
    """A wrong type and fields that are missing or of a wrong form are 412 and create nothing."""
    response = onna.create(**changes)
    assert (response.status_code, response.json()["reason"]) == (412, reason)
    assert sim.exports("onna") == []


def test_field_errors_name_the_field(onna: Onna) -> None:
    """412 for a field lists it among the deserialization errors."""
    errors = onna.create(title=7).json()["deserialization_errors"]
    assert [error["field"] for error in errors] == ["title"]


@pytest.mark.parametrize("body", ["", "{", "[]", "7"])
def test_bodies_that_are_no_object(onna: Onna, body: str) -> None:
    """A body that is not a JSON object is 412."""
    response = onna.call("POST", onna.folder, data=body)
    assert (response.status_code, response.json()["reason"]) == (412, "jsonDecodeError")


@pytest.mark.parametrize("missing", ["title", "settings"])
def test_missing_fields_can_fail_late(sim: Simulator, onna: Onna, missing: str) -> None:
    """With the switch a create without title or settings is taken, and the export ends in an error."""
    sim.configure("onna", missing_field="late_failure")
    url = onna.created(**{missing: ...})
    assert onna.start(url, "weekly").status_code == 200
    sim.advance(60)
    assert onna.look(url)["status"] == "error"


# Start and life


def test_a_started_export_goes_from_word_to_word(sim: Simulator, onna: Onna) -> None:
    """Created, pending, processing, done; looks count from the start, and the file comes with the end."""
    sim.configure("onna", ready_after_reads=4)
    url = onna.created()
    seen = [onna.look(url)["status"] for _ in range(6)]
    assert onna.start(url).json() == {}
    for _ in range(4):
        export = onna.look(url)
        assert (export["file"] is None) == (export["status"] != "done")
        seen.append(export["status"])
    assert seen == ["created"] * 6 + ["pending", "processing", "processing", "done"]


def test_an_export_ages_from_its_start(sim: Simulator, onna: Onna) -> None:
    """The time before the start does not count, and the end is dated to when it was due."""
    sim.configure("onna", ready_after_seconds=100)
    url = onna.created()
    sim.advance(1000)
    assert onna.start(url).status_code == 200
    sim.advance(99)
    assert onna.look(url)["status"] == "processing"
    sim.advance(1000)
    export = onna.look(url)
    created, ended = (datetime.fromisoformat(export[f"{one}_date"]) for one in ("creation", "modification"))
    assert export["status"] == "done"
    assert timedelta(seconds=1100) <= ended - created < timedelta(seconds=1110)


def test_words_and_fields_can_be_changed(sim: Simulator, onna: Onna) -> None:
    """The undocumented name and words of the state, and the names of file and error, are switches."""
    names = {"status_field": "state", "file_field": "export_file", "error_field": "message"}
    sim.configure("onna", **names, ready_word="finished", failed_word="failed", expired_word="expired")
    export = onna.look(onna.finished())
    assert (export["state"], export["export_file"]["extension"]) == ("finished", "zip")
    assert "status" not in export
    assert "file" not in export
    failed = onna.look(onna.finished("other", settings=[{}]))
    assert (failed["state"], failed["message"]) == ("failed", "settings[0] has no name")
    sim.set_state("onna", "weekly", "expired")
    export = onna.look(f"{onna.folder}/weekly")
    assert (export["state"], export["export_file"]) == ("expired", None)


def test_there_may_be_no_state_at_all(sim: Simulator, onna: Onna) -> None:
    """Without a status field the file alone tells that an export is ready."""
    sim.configure("onna", status_field=None, error_field=None)
    export = onna.look(onna.finished())
    assert "status" not in export
    assert export["file"]["size"] > 0
    assert "error" not in onna.look(onna.finished("other", settings=[{}]))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_settings_without_a_key_fail_late(sim: Simulator, onna: Onna, name: str) -> None:
    """An export whose settings lack a documented key is created and started, and ends in an error."""
    url = onna.started(settings=[{key: value for key, value in SETTINGS.items() if key != name}])
    assert onna.look(url)["status"] in ("pending", "processing")
    sim.advance(60)
    export = onna.look(url)
    assert (export["status"], export["error"], export["file"]) == (
        "error",
        f"settings[0] has no {name}",
        None,
    )
    assert onna.get(f"{url}/@download/file").status_code == 404


@pytest.mark.parametrize(
    ("block", "name"),
    [
        (block, name)
        for block in ("documentNumbering", "volumeNumbering", "subdirectoryNumbering", "loadFileFormat")
        for name in SETTINGS[block]
    ],
)
def test_layout_without_an_option_fails_late(sim: Simulator, onna: Onna, block: str, name: str) -> None:
    """The options of the four layout blocks are needed too, unless the switch says otherwise."""
    rest = {key: value for key, value in SETTINGS[block].items() if key != name}
    changes = {"settings": [SETTINGS | {block: rest}]}
    assert onna.look(onna.finished(**changes))["error"] == f"settings[0].{block} has no {name}"
    sim.configure("onna", required_settings="top_level")
    assert onna.look(onna.finished("other", **changes))["status"] == "done"


@pytest.mark.parametrize("settings", [[], [SETTINGS, SETTINGS], ["x"], [SETTINGS | {"scope_query": {}}]])
def test_settings_of_a_wrong_shape_fail_late(onna: Onna, settings: list[Any]) -> None:
    """Anything but a list of one object with a query is taken and fails."""
    assert onna.look(onna.finished(settings=settings))["status"] == "error"


def test_settings_need_not_be_complete(sim: Simulator, onna: Onna) -> None:
    """With the switches incomplete settings succeed, or are refused by the create."""
    sim.configure("onna", required_settings="none")
    assert onna.look(onna.finished(settings=[{}]))["status"] == "done"
    sim.configure("onna", required_settings="all", incomplete_settings="412")
    assert onna.create("other", settings=[{}]).status_code == 412
    assert onna.create("other").status_code == 201


@pytest.mark.parametrize("missing", ["title", "resource_url"])
def test_required_fields_of_a_start(onna: Onna, missing: str) -> None:
    """A start without one of its two fields is 412."""
    body = {"title": "Weekly", "resource_url": onna.created()}
    del body[missing]
    response = onna.call("POST", "/@multiFileExport", json=body)
    assert (response.status_code, response.json()["reason"]) == (412, "requiredParamMissing")


def test_a_start_names_an_export(sim: Simulator, onna: Onna) -> None:
    """Any address but the id of an export is 404, also the same path at another host, unless switched."""
    url = onna.created()
    foreign = url.replace(onna.host, "https://enterprise.example.com")
    for wrong in (f"{onna.folder}/nothing", onna.folder, "weekly", f"{onna.api}/{COLLEAGUE}/weekly", foreign):
        assert onna.start(wrong).status_code == 404, wrong
    sim.configure("onna", resource_url_match="path")
    assert onna.start(foreign).status_code == 200


def test_ids_may_begin_elsewhere(sim: Simulator, onna: Onna) -> None:
    """Behind a proxy the server sees another address than the client, and wants its own one back."""
    sim.configure("onna", id_base="http://inner.example:8080")
    url = onna.created()
    assert url == f"http://inner.example:8080/api/rel0/{onna.account}/{onna.user}/weekly"
    assert onna.start(f"{onna.folder}/weekly").status_code == 404
    assert onna.start(url).status_code == 200
    assert onna.look(f"{onna.folder}/weekly")["@id"] == url


@pytest.mark.parametrize(
    ("rule", "statuses"),
    [
        ("either", [200, 200, 412]),
        ("title", [200, 412, 412]),
        ("name", [412, 200, 412]),
        ("any", [200, 200, 200]),
    ],
)
def test_the_title_of_a_start(sim: Simulator, onna: Onna, rule: str, statuses: list[int]) -> None:
    """The page wants the title, the vendor's script sends the name; which one counts is a switch."""
    sim.configure("onna", title_rule=rule)
    url = onna.created()
    assert [onna.start(url, title).status_code for title in ("Weekly", "weekly", "Other")] == statuses


@pytest.mark.parametrize(("form", "text"), [("object", "{}"), ("empty", ""), ("text", "OK")])
def test_the_body_of_a_start(sim: Simulator, onna: Onna, form: str, text: str) -> None:
    """The undocumented body of the 200 is a switch."""
    sim.configure("onna", start_body=form)
    assert onna.start(onna.created()).text == text


@pytest.mark.parametrize(
    ("rerun", "status", "running", "done"),
    [
        ("noop", 200, "processing", "done"),
        ("restart", 200, "processing", "processing"),
        ("error412", 412, "", ""),
    ],
)
def test_a_second_start(sim: Simulator, onna: Onna, rerun: str, status: int, running: str, done: str) -> None:
    """A start while running or ready does nothing, starts over, or is 412."""
    sim.configure("onna", rerun=rerun, ready_after_seconds=100)
    for name, age, state in (("first", 60, running), ("second", 200, done)):
        url = onna.started(name)
        sim.advance(age)
        assert onna.start(url).status_code == status
        assert status == 412 or onna.look(url)["status"] == state


def test_a_start_after_a_failure_runs_again(sim: Simulator, onna: Onna) -> None:
    """A failed export whose settings have been repaired succeeds when it is started again."""
    url = onna.finished(settings=[{}])
    assert onna.call("PATCH", url, json={"settings": [SETTINGS]}).status_code == 204
    assert onna.look(url)["status"] == "error"
    assert onna.start(url).status_code == 200
    sim.advance(60)
    assert onna.look(url)["status"] == "done"


@pytest.mark.parametrize("operation", ["create", "start"])
@pytest.mark.parametrize(("fault", "status"), [("job_failed", "error"), ("job_never", "processing")])
def test_the_fate_of_one_export(sim: Simulator, onna: Onna, operation: str, fault: str, status: str) -> None:
    """One export fails or never ends, and the next one does not."""
    sim.fail_next("onna", operation, fault=fault)
    assert onna.look(onna.finished())["status"] == status
    assert onna.look(onna.finished("other"))["status"] == "done"


def test_a_lost_answer_to_a_start(sim: Simulator, onna: Onna) -> None:
    """The connection ends without an answer although the job runs."""
    url = onna.created()
    sim.fail_next("onna", "start", fault="lost_response")
    with pytest.raises(requests.ConnectionError):
        onna.start(url)
    sim.advance(60)
    assert onna.look(url)["status"] == "done"


def test_states_can_be_set_by_any_name(sim: Simulator, onna: Onna) -> None:
    """A test can name an export by address, name, uid or the simulator's own id, also before its start."""
    export = onna.create().json()
    ids = [export["@id"], export["@name"], export["@uid"], sim.exports("onna")[0].id]
    for state, word in (("processing", "processing"), ("ready", "done"), ("failed", "error")):
        for one in ids:
            sim.set_state("onna", one, state)  # type: ignore[arg-type]
            assert onna.look(export["@id"])["status"] == word
    with pytest.raises(KeyError):
        sim.set_state("onna", "nothing", "ready")


def test_an_unknown_word(sim: Simulator, onna: Onna) -> None:
    """The fault puts a word into one answer that no list has; another takes the word away."""
    url = onna.finished()
    sim.fail_next("onna", "get", fault="unknown_status")
    sim.fail_next("onna", "get", fault="missing_field")
    assert onna.look(url)["status"] == "archiving"
    assert "status" not in onna.look(url)
    assert onna.look(url)["status"] == "done"


def test_a_mail_tells_that_an_export_is_ready(sim: Simulator, onna: Onna) -> None:
    """The vendor's one documented signal: a message to the creator, when ready and not before."""
    url = onna.started()
    onna.finished("other", settings=[{}])
    (message,) = sim.notifications("onna")
    assert (message["to"], message["export"], message["title"]) == (onna.user, url, "Weekly")


# One object


def test_the_full_object(onna: Onna) -> None:
    """A read shows the framework's frame, the times in ISO form, and title and settings as sent."""
    export = onna.look(onna.created())
    frame = {"@id", "@type", "@name", "@uid", "@static_behaviors", "parent", "is_folderish"}
    assert set(export) - frame == {
        "creation_date",
        "modification_date",
        "title",
        "settings",
        "status",
        "file",
    }
    assert export["settings"] == [SETTINGS]
    assert export["parent"] == {name: onna.look(onna.folder)[name] for name in SUMMARY}
    created = datetime.fromisoformat(export["creation_date"])
    assert abs(created - datetime.now(UTC)) < timedelta(seconds=10)


def test_fields_can_be_included_and_omitted(onna: Onna) -> None:
    """include and omit cut a read down; what begins with @ stays."""
    url = onna.created()
    assert "settings" not in onna.get(url, params={"omit": "settings,parent"}).json()
    some = onna.get(url, params={"include": "status,title"}).json()
    assert {name for name in some if not name.startswith("@")} == {"status", "title"}
    assert some["@id"] == url


def test_a_deleted_export_is_gone(sim: Simulator, onna: Onna) -> None:
    """DELETE answers 200 without body, or 204, at any time; then the object is 404 and listed as deleted."""
    url = onna.started()
    uid = onna.look(url)["@uid"]
    response = onna.call("DELETE", url)
    assert (response.status_code, response.text) == (200, "")
    assert {onna.call(method, url).status_code for method in ("GET", "DELETE", "PATCH")} == {404}
    assert onna.start(url).status_code == 404
    assert onna.get("/@data?types=Export").json()["deleted"] == [uid]
    sim.configure("onna", delete_status=204)
    assert onna.call("DELETE", onna.created()).status_code == 204


def test_a_change_answers_nothing(onna: Onna) -> None:
    """PATCH is 204; wrong forms are 412."""
    url = onna.created()
    assert onna.call("PATCH", url, json={"title": "Other", "nothing": 1}).status_code == 204
    assert onna.look(url)["title"] == "Other"
    assert onna.call("PATCH", url, json={"settings": "x"}).status_code == 412


def test_a_copy_has_not_run(onna: Onna) -> None:
    """@duplicate answers the full object of a new export with the same settings; its id must be free."""
    url = onna.finished()
    response = onna.call("POST", f"{url}/@duplicate", json={"new_id": "copy"})
    assert response.status_code == 200
    assert response.json()["status"] == "created"
    assert onna.look(f"{onna.folder}/copy")["settings"] == [SETTINGS]
    assert onna.call("POST", f"{url}/@duplicate", json={"new_id": "copy"}).status_code == 409
    assert onna.call("POST", f"{url}/@duplicate", json={}).status_code == 200


@pytest.mark.parametrize("form", ["hex", "pipe"])
def test_a_uid_leads_to_its_object(sim: Simulator, onna: Onna, form: str) -> None:
    """@resolveuid redirects to the object; a uid can hold a vertical bar."""
    sim.configure("onna", uid_form=form)
    export = onna.create().json()
    assert ("|" in export["@uid"]) == (form == "pipe")
    response = onna.get(f"/@resolveuid/{requests.utils.quote(export['@uid'], safe='')}")
    assert (response.status_code, response.headers["Location"]) == (301, export["@id"])
    assert onna.get("/@resolveuid/nothing").status_code == 404


def test_a_new_export_can_be_invisible_for_a_while(sim: Simulator, onna: Onna) -> None:
    """With visible_after_seconds reads and lists miss a new export, but its id is taken."""
    sim.configure("onna", visible_after_seconds=30)
    url = onna.created()
    assert onna.get(url).status_code == 404
    assert onna.get("/@data?types=Export").json()["updates"] == []
    assert onna.create().status_code == 409
    sim.advance(30)
    assert onna.look(url)["status"] == "created"


# Lists


def test_the_list_of_exports(onna: Onna) -> None:
    """@data lists exports with title, uid and date, and says how many there are."""
    urls = [onna.created(f"number-{number}") for number in range(3)]
    listed = onna.get("/@data", params={"types": "Export"}).json()
    assert set(listed) == {"updates", "total", "deleted", "cursor"}
    assert [one["@id"] for one in listed["updates"]] == urls
    assert (listed["total"], listed["cursor"]) == (3, None)
    assert all({"title", "@uid", "creation_date"} <= set(one) for one in listed["updates"])


@pytest.mark.parametrize(
    ("form", "fields"), [("minimal", {"title", "@uid", "creation_date"}), ("full", None), ("summary", None)]
)
def test_entries_of_the_list(sim: Simulator, onna: Onna, form: str, fields: set[str] | None) -> None:
    """How much an entry has is a switch; only a full one shows the state, and counts as a look."""
    sim.configure("onna", list_entries=form, ready_after_reads=2)
    onna.started()
    for _ in range(2):
        (entry,) = onna.get("/@data?types=Export").json()["updates"]
    assert fields is None or set(entry) == fields
    assert entry.get("status") == ("done" if form == "full" else None)
    assert sim.exports("onna")[0].reads == (2 if form == "full" else 0)


def test_pages_of_the_list(sim: Simulator, onna: Onna) -> None:
    """A cursor leads from page to page, also if something is deleted on the way; a wrong one is 412."""
    sim.configure("onna", page_size=2)
    urls = [onna.created(f"number-{number}") for number in range(5)]
    seen, cursor = [], None
    while True:
        query = {"types": "Export"} | ({} if cursor is None else {"cursor": cursor})
        page = onna.get("/@data", params=query).json()
        seen += [one["@id"] for one in page["updates"]]
        if cursor is None:
            onna.call("DELETE", urls[0])
        cursor = page["cursor"]
        if cursor is None:
            break
    assert seen == urls
    assert onna.get("/@data?types=Export&cursor=nothing").status_code == 412


def test_types_of_the_list(onna: Onna) -> None:
    """@data knows workspaces and every type of datasource, and answers other types with nothing."""
    workspaces = onna.get("/@data?types=Workspace").json()["updates"]
    assert {one["@type"] for one in workspaces} == {"Workspace"}
    types = onna.get("/@enabledDSTypes").json()
    assert len(types) == 24
    found = [one for kind in types for one in onna.get(f"/@data?types={kind}").json()["updates"]]
    # Which workspace a datasource belongs to is said by its address only.
    members = [[one for one in found if one["@id"].startswith(f"{each['@id']}/")] for each in workspaces]
    assert sorted(map(len, members)) == [2, 2]
    assert onna.get("/@data?types=Nothing").json()["updates"] == []


def test_a_big_folder_hides_its_items(sim: Simulator, onna: Onna) -> None:
    """Up to 20 children are listed; of more only the number, unless full objects are asked for."""
    for number in range(20):
        onna.created(f"number-{number}")
    small = onna.get(onna.folder).json()
    assert (small["length"], len(small["items"])) == (20, 20)
    assert set(small["items"][0]) == {"@id", "@name", "@type", "@uid"}
    onna.created("one-more")
    big = onna.get(onna.folder).json()
    assert (big["length"], big["items"]) == (21, [])
    full = onna.get(onna.folder, params={"fullobjects": "true"}).json()["items"]
    assert len(full) == 21
    assert {one["status"] for one in full} == {"created"}
    sim.configure("onna", folder_items=30)
    assert len(onna.get(onna.folder).json()["items"]) == 21


@pytest.mark.parametrize("shape", ["list", "items", "member"])
def test_forms_of_the_workspaces(sim: Simulator, onna: Onna, shape: str) -> None:
    """The undocumented form of @workspaces is a switch; each workspace has both of its addresses."""
    sim.configure("onna", workspaces_shape=shape)
    answer = onna.get("/@workspaces").json()
    workspaces = answer if shape == "list" else answer[shape]
    for workspace in workspaces:
        slug = workspace["@name"]
        assert workspace["@id"] == f"{onna.api}/workspaces/{slug}"
        assert workspace["url"] == f"{onna.host}/{onna.account}/user/workspaces/{slug}"
        assert onna.look(workspace["@id"])["@uid"] == workspace["@uid"]


def test_a_workspace_can_be_added(onna: Onna) -> None:
    """POST to the workspaces answers the summary; a taken id is 409."""
    body = {"@type": "Workspace", "id": "hold", "title": "Hold"}
    response = onna.call("POST", "/workspaces", json=body)
    assert (response.status_code, response.json()["@id"]) == (201, f"{onna.api}/workspaces/hold")
    assert onna.call("POST", "/workspaces", json=body).status_code == 409
    assert onna.call("POST", "/workspaces", json=body | {"@type": "Export"}).status_code == 412
    assert onna.call("POST", "/workspaces", json=body | {"id": "_x"}).status_code == 412
    assert len(onna.get("/@workspaces").json()) == 3


def test_the_state_of_a_datasource(sim: Simulator, onna: Onna) -> None:
    """A datasource shows its documented states."""
    (source,) = onna.get("/@data?types=JiraDatasource").json()["updates"]
    shown = onna.look(source["@id"])
    assert (shown["sync_status"], shown["type_sync"]) == ("synced", "auto")
    workspace = onna.look(shown["parent"]["@id"])
    assert shown["parent"] == {name: workspace[name] for name in SUMMARY}
    assert set(workspace["parent"]) == set(SUMMARY)
    sim.configure("onna", sync_status="syncing")
    assert onna.look(source["@id"])["sync_status"] == "syncing"
    assert onna.get(f"{source['@id']}/nothing").status_code == 404


# Search


def test_a_search_finds_exports(sim: Simulator, onna: Onna) -> None:
    """@frontsearch answers hits under member, unless the index does not know exports."""
    body = {"advanced": {"and": [{"in": [{"var": "type_name"}, ["Export"]]}]}, "from": 0, "size": 50}
    url = onna.created()
    (hit,) = onna.call("POST", "/@frontsearch", json=body).json()["member"]
    assert (hit["@id"], hit["title"]) == (url, "Weekly")
    sim.configure("onna", exports_indexed=False)
    assert onna.call("POST", "/@frontsearch", json=body).json()["member"] == []


def test_a_search_sorts_and_cuts(onna: Onna) -> None:
    """from, size, includes and sort work as in the vendor's scripts; @uid comes with every hit."""
    body = {
        "advanced": {"and": [{"in": [{"var": "type_name"}, ["Workspace"]]}]},
        "size": 1,
        "includes": ["title"],
        "sort": {"field": "title.keyword", "direction": "desc"},
    }
    (first,) = onna.call("POST", "/@frontsearch", json=body).json()["member"]
    (second,) = onna.call("POST", "/@frontsearch", json=body | {"from": 1}).json()["member"]
    assert [first["title"], second["title"]] == ["Weekly archive", "Matter 2041"]
    assert {name for name in first if not name.startswith("@")} == {"title"}
    assert first["@uid"]


def test_a_search_below_a_datasource(onna: Onna) -> None:
    """In the context of a workspace or a datasource only what is below it is found."""
    (source,) = onna.get("/@data?types=JiraDatasource").json()["updates"]
    workspace = source["@id"].rpartition("/")[0]
    body = {"advanced": SETTINGS["scope_query"]["advanced"], "size": 500}
    sizes = []
    for context in (onna.api, workspace, source["@id"]):
        hits = onna.call("POST", f"{context}/@frontsearch", json=body).json()["member"]
        assert all(hit["@id"].startswith(f"{context}/") for hit in hits)
        sizes.append(len(hits))
    assert sizes[0] > sizes[1] > sizes[2] > 0


@pytest.mark.parametrize(
    "advanced",
    [
        {"or": []},
        {"and": {}},
        {"and": ["x"]},
        {">": [{"var": "date_modified"}, "yesterday"]},
        {"in": [{"var": "type_name"}, "Export"]},
        {"text_contains": ["type_name", "Export"]},
        "x",
    ],
)
def test_queries_that_cannot_be_read(onna: Onna, advanced: Any) -> None:
    """A search for something else than a condition is 412, an export of it fails."""
    assert onna.call("POST", "/@frontsearch", json={"advanced": advanced}).status_code == 412
    url = onna.finished(settings=[SETTINGS | {"scope_query": {"advanced": advanced}}])
    assert onna.look(url)["status"] == "error"


# Files


def test_the_file_is_announced_and_served(onna: Onna) -> None:
    """The file JSON has name, type, size, extension and md5, and the download is just that."""
    url = onna.finished()
    file = onna.look(url)["file"]
    assert set(file) == {"filename", "content_type", "size", "extension", "md5"}
    response = onna.get(f"{url}/@download/file")
    assert response.headers["Content-Type"] == file["content_type"] == "application/zip"
    assert int(response.headers["Content-Length"]) == len(response.content) == file["size"]
    assert hashlib.md5(response.content).hexdigest() == file["md5"]
    assert response.headers["Content-Disposition"] == 'attachment; filename="weekly.zip"'
    assert response.headers["Accept-Ranges"] == "none"


def test_a_head_shows_the_size(onna: Onna) -> None:
    """HEAD answers the headers of the download without its body."""
    url = onna.finished()
    response = onna.call("HEAD", f"{url}/@download/file")
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["Content-Length"]) == onna.look(url)["file"]["size"]


def test_names_of_a_download(onna: Onna) -> None:
    """The disposition can be asked for, and the last part of the address of a single file is its name."""
    url = onna.finished()
    response = onna.get(f"{url}/@download/file/mine.zip", params={"disposition": "inline"})
    assert response.headers["Content-Disposition"] == 'inline; filename="mine.zip"'


@pytest.mark.parametrize("state", ["pending", "processing", "failed"])
def test_no_file_yet(sim: Simulator, onna: Onna, state: Any) -> None:
    """A download of an export that is not ready, or of another field, is 404 with a reason."""
    url = onna.started()
    sim.set_state("onna", url, state)
    response = onna.get(f"{url}/@download/file")
    assert (response.status_code, response.json()) == (404, {"reason": "File does not exist"})
    response = onna.get(f"{url}/@download/nothing")
    assert (response.status_code, response.json()) == (404, {"reason": "No valid name"})
    assert onna.get(f"{url}/@download/file", headers={}).status_code == 401


@pytest.mark.parametrize("status", [404, 410])
def test_files_expire_and_objects_stay(sim: Simulator, onna: Onna, status: int) -> None:
    """After 30 days the download is gone, while the object still shows its file."""
    sim.configure("onna", gone_status=status)
    url = onna.finished()
    sim.advance(29 * 86_400)
    onna.headers = {"Authorization": f"Bearer {onna.token()}"}
    assert onna.get(f"{url}/@download/file").status_code == 200
    sim.advance(86_400)
    assert onna.get(f"{url}/@download/file").status_code == status
    export = onna.look(url)
    assert export["status"] == "done"
    assert export["file"]["size"] > 0


def test_part_of_a_file(sim: Simulator, onna: Onna) -> None:
    """Range is ignored unless the storage supports it; then 206, or 200 in some versions."""
    address = f"{onna.finished()}/@download/file"
    wanted = {**onna.headers, "Range": "bytes=5-14"}
    whole = onna.get(address, headers=wanted)
    assert whole.status_code == 200
    for status in (206, 200):
        sim.configure("onna", ranges="honoured", range_status=status)
        part = onna.get(address, headers=wanted)
        assert (part.status_code, part.content) == (status, whole.content[5:15])
        assert part.headers["Content-Range"] == f"bytes 5-14/{len(whole.content)}"
        assert part.headers["Accept-Ranges"] == "bytes"
    rest = onna.get(address, headers=onna.headers | {"Range": "bytes=5-"})
    assert rest.content == whole.content[5:]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("bytes=x-", "rangeNotParsable"),
        ("bytes=-5", "rangeNotParsable"),
        ("bytes=9-5", "invalidRange"),
        ("bytes=0-99999999", "invalidRange"),
        ("bytes=99999999-", "invalidRange"),
    ],
)
def test_ranges_that_cannot_be_served(sim: Simulator, onna: Onna, wanted: str, reason: str) -> None:
    """A range the framework does not like is 416 with the size, where others would serve what they have."""
    sim.configure("onna", ranges="honoured")
    url = onna.finished()
    response = onna.get(f"{url}/@download/file", headers=onna.headers | {"Range": wanted})
    assert (response.status_code, response.json()["reason"]) == (416, reason)
    assert response.headers["Content-Range"] == f"bytes */{onna.look(url)['file']['size']}"


@pytest.mark.parametrize(("form", "md5"), [("null", None), ("empty", ""), ("wrong", "other")])
def test_checksums_can_be_useless(sim: Simulator, onna: Onna, form: str, md5: str | None) -> None:
    """The md5 can be null, empty or wrong."""
    sim.configure("onna", md5=form)
    url = onna.finished()
    shown = onna.look(url)["file"]["md5"]
    digest = hashlib.md5(onna.get(f"{url}/@download/file").content).hexdigest()
    assert shown == md5 if form != "wrong" else shown not in (None, "", digest)


def test_announced_sizes_can_be_wrong(sim: Simulator, onna: Onna) -> None:
    """With the switch, or for one answer by a fault, the announced size is one byte too large."""
    url = onna.finished()
    size = onna.look(url)["file"]["size"]
    sim.fail_next("onna", "get", fault="size_mismatch")
    assert onna.look(url)["file"]["size"] == size + 1
    sim.configure("onna", size_mismatch=True)
    assert onna.look(url)["file"]["size"] == size + 1
    assert len(onna.get(f"{url}/@download/file").content) == size


def test_several_volumes(sim: Simulator, onna: Onna) -> None:
    """Several files hang in one field by volume; each is downloaded by its key, none without."""
    sim.configure("onna", volumes=2)
    url = onna.finished()
    files = onna.look(url)["files"]
    assert list(files) == ["VOL001", "VOL002"]
    numbers = []
    for volume, file in files.items():
        archive = onna.archive(url, f"files/{volume}")
        assert file["filename"] == f"weekly-{volume}.zip"
        text = archive.read(f"{volume}/Weekly.csv").decode()
        numbers += [row["ControlNumber"] for row in csv.DictReader(io.StringIO(text))]
    assert numbers == [f"CN{number:08d}" for number in range(1, len(numbers) + 1)]
    assert onna.get(f"{url}/@download/files").status_code == 404
    assert onna.get(f"{url}/@download/files/VOL003").status_code == 404


@pytest.mark.parametrize("size", [0, 10, 12_345, 3_000_001])
def test_files_of_a_wanted_size(sim: Simulator, onna: Onna, size: int) -> None:
    """With file_bytes the archive has exactly that size, and is a ZIP file if it is not too small for one."""
    sim.configure("onna", file_bytes=size)
    url = onna.finished()
    body = onna.get(f"{url}/@download/file").content
    assert len(body) == onna.look(url)["file"]["size"] == size
    if size > 10_000:
        assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None


def test_signed_downloads(sim: Simulator, onna: Onna) -> None:
    """In this mode a download redirects to another origin, which wants the signature and no bearer."""
    sim.configure("onna", download="signed", reject_file_credentials=True)
    url = onna.finished()
    response = onna.get(f"{url}/@download/file")
    assert response.status_code == 302
    target = response.headers["Location"]
    assert target.startswith(f"{sim.files_origin}/")
    body = requests.get(target, timeout=10).content
    assert hashlib.md5(body).hexdigest() == onna.look(url)["file"]["md5"]
    assert int(requests.head(target, timeout=10).headers["Content-Length"]) == len(body)
    assert sim.leaks() == []
    assert requests.get(target, headers=onna.headers, timeout=10).status_code == 400
    assert [leak.credentials for leak in sim.leaks("onna")] == [("header Authorization",)]
    for wrong in (target.partition("?")[0], target.replace("/1.zip", "/2.zip"), f"{target}x"):
        assert requests.get(wrong, timeout=10).status_code == 403
    assert requests.get(f"{sim.files_origin}/onna/nothing", timeout=10).status_code == 404


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_signature_grows_old(sim: Simulator, onna: Onna, status: int) -> None:
    """A signed address works for ten minutes; what it answers then is a switch."""
    sim.configure("onna", download="signed", stale_status=status)
    target = onna.get(f"{onna.finished()}/@download/file").headers["Location"]
    sim.advance(599)
    assert requests.get(target, timeout=10).status_code == 200
    sim.advance(1)
    assert requests.get(target, timeout=10).status_code == status


@pytest.mark.parametrize(("fault", "status"), [("not_found", 404), ("stale_link", 403), ("503", 503)])
def test_faults_of_a_download(sim: Simulator, onna: Onna, fault: str, status: int) -> None:
    """A download can be disturbed by name."""
    url = onna.finished()
    sim.fail_next("onna", "file", fault=fault)
    assert onna.get(f"{url}/@download/file").status_code == status
    assert onna.get(f"{url}/@download/file").status_code == 200


# Content


def test_a_load_file_has_the_selected_columns(onna: Onna) -> None:
    """Number and group come first, then the selected columns, with the interface where a name is twice."""
    rows = onna.rows(onna.finished())
    assert list(rows[0]) == [
        "ControlNumber",
        "GroupID",
        "author",
        "date_modified",
        "md5",
        "extension",
        "origin",
        "origin_targeted_users",
        "IJira.thread_id",
        "IWorkplace.thread_id",
    ]
    assert all(";" in row["origin_targeted_users"] for row in rows)
    assert [row["ControlNumber"] for row in rows] == [f"CN{n:08d}" for n in range(1, len(rows) + 1)]


@pytest.mark.parametrize(("source", "fields"), [("formattedMeta", 1), ("both", 9), ("meta", 8)])
def test_the_block_that_decides_about_columns(sim: Simulator, onna: Onna, source: str, fields: int) -> None:
    """Which of the two blocks counts is a switch."""
    sim.configure("onna", columns_from=source)
    assert len(onna.rows(onna.finished())[0]) == fields + 2


def test_rows_lie_in_the_window(onna: Onna) -> None:
    """Both bounds are strict and days begin at midnight UTC; neighbouring windows share nothing."""
    seen: list[str] = []
    for first, last in (("2026-01-01", "2026-01-08"), ("2026-01-08", "2026-01-15T00:00:00Z")):
        bounds = [{">": [{"var": "date_modified"}, first]}, {"<": [{"var": "date_modified"}, last]}]
        rows = onna.rows(onna.finished(first, settings=[with_query(*bounds)]))
        moments = [datetime.fromisoformat(row["date_modified"]) for row in rows]
        start = datetime.fromisoformat(first).replace(tzinfo=UTC)
        assert all(start < moment < start + timedelta(days=7) for moment in moments)
        assert moments == sorted(moments)
        assert len({(moment, row["origin"]) for moment, row in zip(moments, rows, strict=True)}) == 28
        seen += [
            row["date_modified"] + row["origin"] for row in rows if row["GroupID"] == row["ControlNumber"]
        ]
    assert len(seen) == len(set(seen)) == 56


def test_families_stay_together(onna: Onna) -> None:
    """Attachments have the number of their parent as group; without family only what matches is exported."""
    only = {"in": [{"var": "type_name"}, ["FileResource"]]}
    window = SETTINGS["scope_query"]["advanced"]["and"][:2]
    with_parents = onna.rows(onna.finished("a", settings=[with_query(*window, only)]))
    alone = onna.rows(onna.finished("b", settings=[with_query(*window, only, include_family=False)]))
    assert len(with_parents) == 2 * len(alone) > 0
    assert [row["extension"] == "txt" for row in with_parents[:4]] == [False, True, False, True]
    for parent, child in zip(with_parents[::2], with_parents[1::2], strict=True):
        assert parent["ControlNumber"] == parent["GroupID"] == child["GroupID"] != child["ControlNumber"]


@pytest.mark.parametrize(
    ("form", "found"), [("either", [True, True]), ("ui", [True, False]), ("api", [False, True])]
)
def test_the_address_in_a_path_condition(sim: Simulator, onna: Onna, form: str, found: list[bool]) -> None:
    """Whether a path condition wants the address a person sees or that of the API is a switch."""
    sim.configure("onna", path_form=form)
    workspace = onna.get("/@workspaces").json()[0]
    window = SETTINGS["scope_query"]["advanced"]["and"][:2]
    for number, (address, some) in enumerate(zip((workspace["url"], workspace["@id"]), found, strict=True)):
        condition = {"text_contains": [{"var": "path"}, address]}
        rows = onna.rows(onna.finished(f"number-{number}", settings=[with_query(*window, condition)]))
        assert bool(rows) == some
        assert {row["origin"] for row in rows} <= {"Slack of the company", "Shared mailbox"}


def test_one_datasource(onna: Onna) -> None:
    """A condition on the uid of the datasource, or the scope uid, exports this one only."""
    (source,) = onna.get("/@data?types=JiraDatasource").json()["updates"]
    window = SETTINGS["scope_query"]["advanced"]["and"][:2]
    condition = {"in": [{"var": "parent_datasource.uuid"}, [source["@uid"]]]}
    other = {"and_not": [{"in": [{"var": "parent_datasource.uuid"}, [source["@uid"]]]}]}
    by_query = onna.rows(onna.finished("a", settings=[with_query(*window, condition)]))
    by_scope = onna.rows(onna.finished("b", settings=[with_query(*window, scope_uuid=source["@uid"])]))
    rest = onna.rows(onna.finished("c", settings=[with_query(*window, other)]))
    assert {row["origin"] for row in by_query} == {"Tickets"}
    assert by_scope == by_query
    assert "Tickets" not in {row["origin"] for row in rest}


def test_the_same_settings_give_the_same_bytes(sim: Simulator, onna: Onna) -> None:
    """Two exports of a closed window are equal, also a week later."""
    first = onna.get(f"{onna.finished('a')}/@download/file").content
    sim.advance(6 * 86_400)
    assert onna.get(f"{onna.finished('b')}/@download/file").content == first


def test_layout_follows_the_options(onna: Onna) -> None:
    """Folders, numbers, characters and encodings of an archive are those of the settings."""
    changes = {
        "documentNumbering": options(
            fieldName="No", prefix="X", startNumber=5, digits=3, groupIdentifierField="Of"
        ),
        "volumeNumbering": options(prefix="BOX", startNumber=7, digits=2, maxSize=2000),
        "subdirectoryNumbering": SETTINGS["subdirectoryNumbering"]
        | options(includeNatives=True, exportTextSeparately=True, nativeFolderName="N", maxFilesPerFolder=10),
        "loadFileFormat": SETTINGS["loadFileFormat"]
        | options(encoding="utf-16", columnCharacter=20, quoteCharacter=254, multivalueCharacter=124),
    }
    archive = onna.archive(onna.finished(settings=[SETTINGS | changes]))
    names = archive.namelist()
    assert names[:3] == ["BOX07/Weekly.csv", names[1], "BOX07/TEXT/001/X005.txt"]
    assert names[1].startswith("BOX07/N/001/X005.")
    assert names[-1].startswith(f"BOX07/TEXT/{(len(names) // 2 - 1) // 10 + 1:03d}/")
    text = archive.read(names[0]).decode("utf-16")
    rows = list(csv.DictReader(io.StringIO(text), delimiter=chr(20), quotechar=chr(254)))
    assert (rows[0]["No"], rows[0]["Of"]) == ("X005", "X005")
    assert "|" in rows[0]["origin_targeted_users"]
    assert {f"BOX07/{row['NativePath']}" for row in rows} <= set(names)
    assert archive.read(f"BOX07/{rows[0]['TextPath']}").decode("utf-8")


@pytest.mark.parametrize("code", [-1, 0x110000, 10, "x"])
def test_impossible_characters_are_not_used(onna: Onna, code: Any) -> None:
    """A column character that cannot be one leaves a load file that can still be read."""
    changes = {"loadFileFormat": SETTINGS["loadFileFormat"] | options(columnCharacter=code, encoding="none")}
    assert onna.rows(onna.finished(settings=[SETTINGS | changes]))[0]["ControlNumber"] == "CN00000001"


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_so_many_rows(sim: Simulator, onna: Onna, rows: int) -> None:
    """With the switch an export has so many rows, whatever its query says."""
    sim.configure("onna", rows=rows)
    assert len(onna.rows(onna.finished())) == rows


@pytest.mark.parametrize(
    ("form", "status", "file"),
    [("archive", "done", True), ("no_file", "done", False), ("failed", "error", False)],
)
def test_nothing_to_export(sim: Simulator, onna: Onna, form: str, status: str, file: bool) -> None:
    """An empty result is an archive with a header, an export without file, or a failed one."""
    sim.configure("onna", empty_result=form)
    never = {"in": [{"var": "author"}, ["nobody@example.com"]]}
    url = onna.finished(settings=[with_query(*SETTINGS["scope_query"]["advanced"]["and"][:2], never)])
    export = onna.look(url)
    assert (export["status"], export["file"] is not None) == (status, file)
    assert onna.get(f"{url}/@download/file").status_code == (200 if file else 404)

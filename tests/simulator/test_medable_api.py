"""The simulated Medable Cortex API against what the vendor's documentation says."""

import base64
import csv
import hashlib
import hmac
import io
import itertools
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.apis import medable_auth, medable_faults

ADMIN = "5f0000000000000000000001"
MEMBER = "5f0000000000000000000003"
BODY = {
    "label": "nightly c_visits",
    "objects": "c_visits",
    "format": "application/x-ndjson",
    "exportFiles": False,
    "zipFiles": False,
}
WEEK = 7 * 86400
JSON = {"Accept": "application/json"}


class Medable:
    """A plain client with one of the three kinds of credentials, without any code of the provider."""

    _nonces = itertools.count(1)

    def __init__(self, simulator: Simulator, mode: Any = "signed") -> None:
        self.simulator, self.mode = simulator, mode
        self.connection = simulator.medable.connection_for(mode)
        self.base = f"{self.connection['host']}/v2"
        self.http = requests.Session()
        self.csrf: str | None = None
        if mode == "session":
            self.login()

    def headers(self, method: str, path: str) -> dict[str, str]:
        key = self.connection["login"]
        match self.mode:
            case "signed":
                timestamp = str(int(self.simulator.now().timestamp() * 1000))
                text = f"{path};{method};{timestamp}"
                secret = f"{key}{self.connection['password']}".encode()
                return {
                    "Medable-Client-Key": key,
                    "Medable-Client-Signature": hmac.new(secret, text.encode(), hashlib.sha256).hexdigest(),
                    "Medable-Client-Timestamp": timestamp,
                    "Medable-Client-Nonce": f"{next(self._nonces):016d}",
                }
            case "bearer":
                return {"Authorization": f"Bearer {self.connection['password']}"}
            case _:
                return {"Medable-Client-Key": key} | ({"Medable-Csrf-Token": self.csrf} if self.csrf else {})

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = self.headers(method, path) | options.pop("headers", {})
        headers = {name: value for name, value in headers.items() if value is not None}
        response = self.http.request(
            method, self.base + path, headers=headers, timeout=10, allow_redirects=False, **options
        )
        self.csrf = response.headers.get("Medable-Csrf-Token", self.csrf)
        return response

    def login(self, **body: Any) -> requests.Response:
        credentials = {"email": self.connection["extra"]["email"], "password": self.connection["password"]}
        return self.call("POST", "/accounts/login", json=credentials | body)

    def create(self, **changes: Any) -> requests.Response:
        body = {name: value for name, value in (BODY | changes).items() if value is not ...}
        return self.call("POST", "/exports", json=body)

    def created(self, **changes: Any) -> str:
        response = self.create(**changes)
        assert response.status_code == 200, response.text
        return str(response.json()["_id"])

    def get(self, export_id: str, path: str = "", **options: Any) -> requests.Response:
        return self.call("GET", f"/exports/{export_id}{path}", **options)

    def state(self, export_id: str) -> str:
        return str(self.get(export_id).json()["state"])

    def listed(self, **query: Any) -> list[dict[str, Any]]:
        response = self.call("GET", "/exports", params=query)
        assert response.status_code == 200, response.text
        assert response.json()["object"] == "list"
        return list(response.json()["data"])

    def delete(self, export_id: str) -> requests.Response:
        return self.call("DELETE", f"/exports/{export_id}")

    def ready(self, **changes: Any) -> str:
        export_id = self.created(**changes)
        self.simulator.set_state("medable", export_id, "ready")
        return export_id

    def facet(self, export_id: str) -> dict[str, Any]:
        response = self.get(export_id, "/dataFile/content", headers=JSON)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def archive(self, **changes: Any) -> zipfile.ZipFile:
        response = requests.get(self.facet(self.ready(**changes))["url"], timeout=10)
        assert response.status_code == 200, response.text
        return zipfile.ZipFile(io.BytesIO(response.content))

    def lines(self, **changes: Any) -> list[dict[str, Any]]:
        with self.archive(**changes) as archive:
            return [json.loads(line) for line in archive.read("c_visits.ndjson").splitlines()]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def medable(sim: Simulator) -> Medable:
    return Medable(sim)


def assert_fault(response: requests.Response, status: int, err_code: str) -> dict[str, Any]:
    fault: dict[str, Any] = response.json()
    assert (response.status_code, fault["object"], fault["errCode"]) == (status, "fault", err_code)
    assert fault["status"] == status
    assert fault["code"] == medable_faults.REGISTRY[err_code][1]
    return fault


# Addresses


@pytest.mark.parametrize(
    ("path", "status", "err_code"),
    [
        ("/nowhere/v2/exports", 404, "cortex.notFound.env"),
        ("/simulated/v1/exports", 400, "cortex.invalidArgument.invalidApiVersion"),
        ("/simulated/v2/export", 404, "cortex.notFound.route"),
        ("/simulated/v2/exports/", 404, "cortex.notFound.route"),
        ("/simulated", 404, "cortex.notFound.route"),
    ],
)
def test_wrong_addresses(sim: Simulator, path: str, status: int, err_code: str) -> None:
    """An unknown org, version or address is a fault of its own, whatever the credentials."""
    assert_fault(requests.get(f"{sim.api_origin}/medable{path}", timeout=10), status, err_code)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_exports_cannot_be_changed(medable: Medable, method: str) -> None:
    """There is no address that changes an export."""
    response = medable.call(method, f"/exports/{medable.created()}", json={"label": "x"})
    assert_fault(response, 404, "cortex.notFound.route")


def test_the_base_url_ends_with_the_org(sim: Simulator) -> None:
    """The host of the connection is the address up to the org code; its credentials look made up."""
    connection = sim.connection("medable")
    assert connection["host"] == sim.base_url("medable") == f"{sim.api_origin}/medable/simulated"
    assert (connection["conn_type"], connection["extra"]) == ("medable", {"auth_mode": "signed"})
    assert (connection["login"], connection["password"]) == ("M" * 22, "S" * 64)
    assert json.loads(sim.connection_json("medable")) == connection


@pytest.mark.parametrize("form", ["milliseconds", "http_date", "missing"])
def test_every_answer_tells_the_time(sim: Simulator, form: str) -> None:
    """Good and bad answers carry the virtual time, in the form of the switch."""
    medable = Medable(sim)
    sim.configure("medable", server_time=form)
    sim.advance(1e6)
    for response in (medable.create(), medable.get("x")):
        shown = response.headers.get("Medable-Server-Time")
        if form == "milliseconds":
            assert abs(int(shown or 0) / 1000 - sim.now().timestamp()) < 3
        else:
            assert (shown or "").endswith("GMT") == (form == "http_date")


# Signed requests


@pytest.mark.parametrize(
    ("method", "command", "expected"),
    [
        ("POST", "/exports", "0895ce1e0f7a2290f82161a67ea93d008e8a1a72b7517d16928899f39519941a"),
        (
            "GET",
            "/exports/5516ee1b34d8d934281699e3",
            "8834169368b01226b5e8743445702834b34ad4bd46664e6d44e56fa8974f721f",
        ),
    ],
)
def test_signature_vectors(method: str, command: str, expected: str) -> None:
    """The simulator signs as the two computed examples do."""
    assert medable_auth.signature("A" * 22, "B" * 64, command, method, "1700000000000") == expected


def test_the_vectors_open_the_door() -> None:
    """A request with the signature of an example is accepted by an App with its key and secret."""
    tokens = {"medable_api_key": "A" * 22, "medable_api_secret": "B" * 64}
    with Simulator(tokens=tokens) as sim:
        sim.configure("medable", skew_ms=None)
        headers = {
            "medable-client-key": "A" * 22,
            "medable-client-signature": "0895ce1e0f7a2290f82161a67ea93d008e8a1a72b7517d16928899f39519941a",
            "medable-client-timestamp": "1700000000000",
            "medable-client-nonce": "a1b2c3d4e5f6a7b8",
        }
        url = f"{sim.base_url('medable')}/v2/exports"
        assert requests.post(url, json=BODY, headers=headers, timeout=10).status_code == 200
        again = requests.post(url, json=BODY, headers=headers, timeout=10)
        assert_fault(again, 403, "cortex.accessDenied.invalidRequestSignature")


@pytest.mark.parametrize(
    "headers",
    [
        {"Medable-Client-Signature": "0" * 64},
        {"Medable-Client-Timestamp": None},
        {"Medable-Client-Timestamp": "soon"},
        {"Medable-Client-Nonce": None},
        {"Medable-Client-Nonce": "a" * 15},
        {"Medable-Client-Nonce": "-" * 16},
        {"Medable-Client-Key": "N" * 22},
    ],
)
def test_bad_signatures(sim: Simulator, medable: Medable, headers: dict[str, Any]) -> None:
    """A wrong signature, time, nonce or key is 403, or 400 in an older release without errCode."""
    response = medable.call("GET", "/exports", headers=headers)
    assert_fault(response, 403, "cortex.accessDenied.invalidRequestSignature")
    sim.configure("medable", older_release=True)
    older = medable.call("GET", "/exports", headers=headers)
    assert (older.status_code, older.json()["code"]) == (400, "kInvalidRequestSignature")
    assert "errCode" not in older.json()


def test_the_query_is_not_signed_but_method_and_path_are(medable: Medable) -> None:
    """A signature holds for any query string, and for one method and path only."""
    headers = medable.headers("GET", "/exports")
    assert medable.call("GET", "/exports", params={"limit": "1"}, headers=headers).status_code == 200
    for method, path in (("DELETE", f"/exports/{'0' * 24}"), ("POST", "/exports")):
        headers = medable.headers("GET", "/exports")
        response = medable.call(method, path, headers=headers)
        assert_fault(response, 403, "cortex.accessDenied.invalidRequestSignature")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_stale_signatures(sim: Simulator, medable: Medable, minutes: int) -> None:
    """A time more than five minutes off is stale, within virtual time, unless the switch allows it."""
    moment = sim.now() + timedelta(minutes=minutes)
    timestamp = str(medable_auth.milliseconds(moment))
    key, secret = medable.connection["login"], medable.connection["password"]
    signed = medable_auth.signature(key, secret, "/exports", "GET", timestamp)
    headers = {"Medable-Client-Timestamp": timestamp, "Medable-Client-Signature": signed}
    response = medable.call("GET", "/exports", headers=headers)
    assert_fault(response, 400, "cortex.invalidArgument.staleRequestSignature")
    sim.configure("medable", skew_ms=600_000)
    assert medable.call("GET", "/exports", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "err_code"),
    [
        ("invalid", 403, "cortex.accessDenied.invalidRequestSignature"),
        ("stale", 400, "cortex.invalidArgument.staleRequestSignature"),
    ],
)
def test_a_nonce_is_good_for_one_request(
    sim: Simulator, medable: Medable, kind: str, status: int, err_code: str
) -> None:
    """The same nonce again is refused, with another path as well."""
    sim.configure("medable", replayed_nonce=kind)
    nonce = {"Medable-Client-Nonce": "abcdefghijklmnop"}
    assert medable.call("GET", "/exports", headers=nonce).status_code == 200
    assert_fault(medable.call("GET", "/exports", headers=nonce), status, err_code)
    sim.advance(3600)
    assert medable.call("GET", "/exports", headers=nonce).status_code == 200


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("key", [None, "Z" * 22])
def test_unknown_client_keys(sim: Simulator, medable: Medable, status: int, key: str | None) -> None:
    """A missing or unknown client key is a fault about the App."""
    sim.configure("medable", unknown_key_status=status)
    kind = "accessDenied" if status == 403 else "notFound"
    response = medable.call("GET", "/exports", headers={"Medable-Client-Key": key})
    assert_fault(response, status, f"cortex.{kind}.app")


def test_acting_as_another_account(sim: Simulator, medable: Medable) -> None:
    """An App acts as another account only if it may, and then with the rights of that account."""
    headers = {"Medable-Client-Account": MEMBER}
    response = medable.call("GET", "/exports", headers=headers)
    assert_fault(response, 403, "cortex.accessDenied.principal")
    sim.configure("medable", principal_override=True)
    response = medable.call("GET", "/exports", headers=headers)
    assert_fault(response, 403, "cortex.accessDenied.instanceRead")
    assert medable.call("GET", "/exports", headers={"Medable-Client-Account": ADMIN}).status_code == 200


# Rights and settings


@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
@pytest.mark.parametrize("principal", ["member", "anonymous"])
def test_exports_need_an_administrator(sim: Simulator, mode: str, principal: str) -> None:
    """Without administrator rights all operations are refused, by all credentials alike."""
    medable = Medable(sim, mode)
    export_id = medable.ready()
    sim.configure("medable", principal=principal)
    assert_fault(medable.create(), 403, "cortex.accessDenied.instanceCreate")
    assert_fault(medable.get(export_id), 403, "cortex.accessDenied.instanceRead")
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.instanceRead")
    assert_fault(medable.delete(export_id), 403, "cortex.accessDenied.instanceDelete")
    assert_fault(medable.get(export_id, "/dataFile/content"), 403, "cortex.accessDenied.role")


def test_only_the_archive_may_need_an_administrator(sim: Simulator, medable: Medable) -> None:
    """With the other reading of the documentation a member can do all but download."""
    sim.configure("medable", principal="member", administrator_for="download")
    export_id = medable.ready()
    assert medable.get(export_id).status_code == 200
    assert_fault(medable.get(export_id, "/dataFile/content"), 403, "cortex.accessDenied.role")
    assert medable.delete(export_id).status_code == 200


@pytest.mark.parametrize(
    ("switches", "status", "err_code"),
    [
        ({"org_state": "disabled"}, 400, "cortex.invalidArgument.envDisabled"),
        ({"org_state": "maintenance"}, 403, "cortex.accessDenied.maintenance"),
        ({"app_state": "disabled"}, 403, "cortex.accessDenied.appDisabled"),
        ({"app_state": "suspended"}, 403, "cortex.accessDenied.appSuspended"),
        ({"app_state": "expired"}, 410, "cortex.expired.app"),
    ],
)
@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
def test_settings_of_org_and_app(
    sim: Simulator, mode: str, switches: dict[str, Any], status: int, err_code: str
) -> None:
    """A disabled org or App is a fault for every call."""
    medable = Medable(sim, mode)
    sim.configure("medable", **switches)
    assert_fault(medable.call("GET", "/exports"), status, err_code)


def test_a_read_only_app(sim: Simulator, medable: Medable) -> None:
    """A read-only App can look, but neither create nor delete."""
    export_id = medable.created()
    sim.configure("medable", app_state="read_only")
    assert medable.get(export_id).status_code == 200
    assert_fault(medable.create(), 403, "cortex.accessDenied.appReadOnly")
    assert_fault(medable.delete(export_id), 403, "cortex.accessDenied.appReadOnly")


# Bearer tokens


def test_a_token_needs_no_key(sim: Simulator) -> None:
    """A token is enough alone and takes the key of its own App along."""
    medable = Medable(sim, "bearer")
    assert medable.create().status_code == 200
    for key, status in (("M" * 22, 200), ("N" * 22, 403)):
        response = medable.call("GET", "/exports", headers={"Medable-Client-Key": key})
        assert response.status_code == status
    assert response.json()["errCode"] == "cortex.accessDenied.invalidJwtApp"


def test_tokens_expire_and_are_revoked(sim: Simulator) -> None:
    """A token past its own exp is 410, a revoked or unknown one 403, and a permanent one lasts."""
    medable = Medable(sim, "bearer")
    token = sim.medable.issue_token(900)
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert abs(claims["exp"] - sim.now().timestamp() - 900) < 3
    medable.connection["password"] = token
    assert medable.call("GET", "/exports").status_code == 200
    sim.advance(900)
    fault = assert_fault(medable.call("GET", "/exports"), 410, "cortex.expired.jwt")
    assert fault["code"] == "kTokenExpired"
    medable.connection["password"] = lasting = sim.medable.issue_token(None)
    sim.advance(1e8)
    assert medable.call("GET", "/exports").status_code == 200
    sim.medable.revoke_token(lasting)
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.invalidJwt")
    medable.connection["password"] = "not.a.token"
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.invalidJwt")


def test_the_scope_of_a_token(sim: Simulator) -> None:
    """A token for reading cannot create or delete."""
    medable = Medable(sim, "bearer")
    export_id = medable.created()
    medable.connection["password"] = sim.medable.issue_token(read_only=True)
    assert medable.get(export_id).status_code == 200
    assert_fault(medable.create(), 403, "cortex.accessDenied.scope")
    assert_fault(medable.delete(export_id), 403, "cortex.accessDenied.scope")


# Sessions


def test_a_login(sim: Simulator) -> None:
    """A login answers with the account, two cookies with their paths, and a CSRF token."""
    medable = Medable(sim, "session")
    response = medable.login()
    assert response.json()["object"] == "account"
    fields = {"_id", "object", "email", "roles", "inherited_roles", "state", "locked"}
    assert response.json().keys() >= fields
    assert response.json()["key"]["secret"] == sim.tokens["medable_account_secret"]
    paths = {cookie.name: cookie.path for cookie in medable.http.cookies}
    assert paths == {"md.sid": "/medable/simulated", "md.fingerprint": "/"}
    assert response.headers["Medable-Csrf-Token"]
    assert medable.create().status_code == 200


def test_a_login_by_form(sim: Simulator) -> None:
    """The form-urlencoded body is accepted as well."""
    medable = Medable(sim, "session")
    body = {"email": medable.connection["extra"]["email"], "password": medable.connection["password"]}
    assert medable.call("POST", "/accounts/login", data=body).status_code == 200


def test_csrf_tokens_chain(sim: Simulator) -> None:
    """Each answer brings a new token, also a fault, and the one before is worth nothing."""
    medable = Medable(sim, "session")
    first = medable.csrf
    assert_fault(medable.get("0" * 24), 404, "cortex.notFound.instance")
    assert medable.csrf != first
    response = medable.call("GET", "/exports", headers={"Medable-Csrf-Token": first})
    assert_fault(response, 403, "cortex.accessDenied.csrfTokenMismatch")
    response = medable.call("GET", "/exports", headers={"Medable-Csrf-Token": None})
    assert_fault(response, 403, "cortex.accessDenied.csrfTokenMismatch")
    assert medable.call("GET", "/exports").status_code == 200


def test_csrf_switches(sim: Simulator) -> None:
    """The token can be the same for the whole session, or not exist."""
    sim.configure("medable", csrf_rotation="login")
    medable = Medable(sim, "session")
    first = medable.csrf
    medable.created()
    assert medable.csrf == first
    sim.configure("medable", csrf=False)
    medable = Medable(sim, "session")
    medable.created()
    assert medable.csrf is None


def test_a_session_ends_without_use(sim: Simulator) -> None:
    """Requests keep a session alive, fifteen idle minutes end it, and a new login helps."""
    medable = Medable(sim, "session")
    for _ in range(3):
        sim.advance(800)
        assert medable.call("GET", "/exports").status_code == 200
    sim.advance(900)
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.sessionExpired")
    medable.csrf = None
    medable.login()
    assert medable.call("GET", "/exports").status_code == 200


@pytest.mark.parametrize("why", ["sessionExpired", "loggedInElsewhere", "notLoggedIn"])
def test_sessions_can_be_ended(sim: Simulator, why: Any) -> None:
    """All sessions end with the fault that the test chooses."""
    medable = Medable(sim, "session")
    sim.medable.end_sessions(why)
    assert_fault(medable.call("GET", "/exports"), 403, f"cortex.accessDenied.{why}")


def test_logins_elsewhere(sim: Simulator) -> None:
    """A second login ends the first one only if simultaneous logins are off."""
    first, _second = Medable(sim, "session"), Medable(sim, "session")
    assert first.call("GET", "/exports").status_code == 200
    sim.configure("medable", simultaneous_logins=False)
    Medable(sim, "session")
    assert_fault(first.call("GET", "/exports"), 403, "cortex.accessDenied.loggedInElsewhere")


def test_a_session_belongs_to_one_org(sim: Simulator) -> None:
    """The cookie is sent to its own org only, and another org does not know it."""
    medable = Medable(sim, "session")
    sid = medable.http.cookies["md.sid"]
    medable.base = medable.base.replace("/simulated/", "/simulated_two/")
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.notLoggedIn")
    response = medable.call("GET", "/exports", headers={"Cookie": f"md.sid={sid}"})
    assert_fault(response, 403, "cortex.accessDenied.notLoggedIn")


@pytest.mark.parametrize(
    ("switches", "body", "err_code"),
    [
        ({}, {"password": "wrong"}, "cortex.accessDenied.invalidCredentials"),
        ({}, {"password": None}, "cortex.accessDenied.noCredentialsSupplied"),
        ({"account_state": "locked"}, {}, "cortex.accessDenied.accountLocked"),
        ({"account_state": "password_expired"}, {}, "cortex.accessDenied.passwordExpired"),
    ],
)
def test_refused_logins(sim: Simulator, switches: dict[str, Any], body: Any, err_code: str) -> None:
    """Wrong, missing, locked and expired credentials are 403 with a code of their own."""
    medable = Medable(sim, "session")
    sim.configure("medable", **switches)
    assert_fault(medable.login(**body), 403, err_code)


def test_too_many_wrong_passwords_lock_the_account(sim: Simulator) -> None:
    """After five wrong passwords the right one does not help either."""
    medable = Medable(sim, "session")
    for _ in range(5):
        medable.login(password="wrong")
    assert_fault(medable.login(), 403, "cortex.accessDenied.accountLocked")


def test_an_app_for_signatures_has_no_sessions(sim: Simulator) -> None:
    """A login with the key of the signed App is refused."""
    medable = Medable(sim, "session")
    medable.connection["login"] = "M" * 22
    assert_fault(medable.login(), 403, "cortex.accessDenied.app")


def test_an_unseen_location_is_a_fault_with_status_200(sim: Simulator) -> None:
    """A login from an unseen device is a fault although it is 200, until the code of the message is sent."""
    sim.configure("medable", verification_bypass=False)
    medable = Medable(sim, "session")
    fault = assert_fault(medable.login(), 200, "cortex.success.newLocation")
    assert (fault["code"], fault["name"]) == ("kNewLocation", "location")
    assert_fault(medable.call("GET", "/exports"), 403, "cortex.accessDenied.notLoggedIn")
    for code, status, err_code in (
        ("12", 400, "cortex.invalidArgument.callbackFormat"),
        ("000000", 404, "cortex.notFound.callback"),
    ):
        assert_fault(medable.login(location={"verificationToken": code}), status, err_code)
    location = {"verificationToken": medable_auth.VERIFICATION_CODE, "locationName": "test"}
    assert medable.login(location=location).json()["object"] == "account"
    assert medable.call("GET", "/exports").status_code == 200
    assert medable.login().json()["object"] == "account"
    medable.http.cookies.clear()
    assert_fault(medable.login(), 200, "cortex.success.newLocation")
    assert medable.login(location=location | {"singleUse": True}).json()["object"] == "account"
    assert_fault(medable.login(), 200, "cortex.success.newLocation")
    sim.configure("medable", location_fault="unverifiedLocation")
    assert_fault(medable.login(), 403, "cortex.accessDenied.unverifiedLocation")


@pytest.mark.parametrize("envelope", [False, True])
def test_status_and_logout(sim: Simulator, envelope: bool) -> None:
    """The status tells whether the session is good, and why not after the logout."""
    sim.configure("medable", status_envelope=envelope)
    medable = Medable(sim, "session")

    def status() -> dict[str, Any]:
        payload = medable.call("GET", "/accounts/status").json()
        assert (payload.get("object") == "result") == envelope
        return dict(payload["data"] if envelope else payload)

    assert (status()["loggedin"], status()["account"]["_id"]) == (True, ADMIN)
    response = medable.call("POST", "/accounts/me/logout")
    assert response.json() == {"object": "result", "data": True}
    assert status()["loggedin"] is False
    assert status()["fault"]["code"] == "kNotLoggedIn"


def test_basic_authentication_is_off(sim: Simulator) -> None:
    """Email and password with each request work only if switched on."""
    email, password = medable_auth.ADMIN_EMAIL, sim.tokens["medable_password"]
    url, headers = f"{sim.base_url('medable')}/v2/exports", {"Medable-Client-Key": "N" * 22}
    response = requests.get(url, auth=(email, password), headers=headers, timeout=10)
    assert_fault(response, 403, "cortex.accessDenied.notLoggedIn")
    sim.configure("medable", basic_auth=True)
    assert requests.get(url, auth=(email, password), headers=headers, timeout=10).status_code == 200
    response = requests.get(url, auth=(email, "x"), headers=headers, timeout=10)
    assert_fault(response, 403, "cortex.accessDenied.invalidCredentials")


# Create


def test_a_new_export(sim: Simulator, medable: Medable) -> None:
    """A create answers 200 with the whole instance, pending, its id carrying the second of its creation."""
    where = '{"c_week":{"$gte":1}}'
    response = medable.create(where=where, paths=["_id"], description="x", afterScript="return 1")
    export = response.json()
    assert response.status_code == 200
    assert (export["object"], export["state"], "dataFile" in export) == ("export", "pending", False)
    assert {name: export[name] for name in BODY} == BODY
    assert (export["where"], export["paths"]) == (where, ["_id"])
    assert export["creator"] == {"_id": ADMIN, "object": "account", "path": f"/accounts/{ADMIN}"}
    assert len(export["_id"]) == 24
    assert abs(int(export["_id"][:8], 16) - sim.now().timestamp()) < 3
    created = datetime.fromisoformat(export["created"])
    assert (created.tzinfo, export["created"][-1], len(export["created"])) == (UTC, "Z", 24)


def test_the_documented_create(medable: Medable) -> None:
    """The request of the vendor's example is answered with all fields of its answer."""
    body = {
        "label": "nightly c_visits",
        "objects": "c_visits",
        "format": "text/csv",
        "exportFiles": False,
        "zipFiles": False,
        "where": '{"created":{"$gte":"2025-01-01T00:00:00.000Z"}}',
        "paths": ["_id", "c_status"],
    }
    export = medable.call("POST", "/exports", json=body).json()
    assert export | body | {"object": "export", "state": "pending"} == export
    assert export.keys() >= {"_id", "created", "creator"}
    listed = medable.call("GET", "/exports").json()
    assert listed.keys() == {"object", "data", "hasMore"}
    assert (listed["object"], listed["hasMore"], len(listed["data"])) == ("list", False, 1)


def test_defaults_of_a_create(sim: Simulator, medable: Medable) -> None:
    """Only the source object is needed; the rest has defaults."""
    export = medable.create(label=..., format=..., exportFiles=..., zipFiles=...).json()
    assert (export["format"], export["exportFiles"], export["zipFiles"]) == (BODY["format"], False, False)
    assert "label" not in export
    sim.configure("medable", format_default="text/csv", objects_required=False)
    export = medable.create(format=..., objects=...)
    assert_fault(export, 400, "cortex.invalidArgument.object")


@pytest.mark.parametrize("form", ["instance", "result", "empty"])
def test_forms_of_the_answer_to_a_create(sim: Simulator, medable: Medable, form: str) -> None:
    """The instance can be bare, wrapped or missing, with 200 or 201."""
    sim.configure("medable", create_body=form, create_status=201)
    response = medable.create()
    assert response.status_code == 201
    (record,) = sim.exports("medable")
    match form:
        case "empty":
            assert response.content == b""
        case "result":
            assert response.json()["data"]["_id"] == record.id
        case _:
            assert response.json()["_id"] == record.id


def test_labels_need_not_be_unique(medable: Medable) -> None:
    """The same create again is another export."""
    assert medable.created() != medable.created()


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"objects": ...}, "export.objects", "kRequired"),
        ({"format": "text/plain"}, "export.format", "kEnumValue"),
        ({"exportFiles": "yes"}, "export.exportFiles", "kInvalidArgument"),
        ({"paths": "_id"}, "export.paths", "kInvalidArgument"),
        ({"include": [1]}, "export.include", "kInvalidArgument"),
        ({"label": None}, "export.label", "kInvalidArgument"),
        ({"where": {"c_week": 1}}, "export.where", "kInvalidArgument"),
        ({"principal": "me"}, "export.principal", "kInvalidArgument"),
        ({"principal": "0" * 24}, "export.principal", "kInvalidArgument"),
        ({"state": "ready"}, "export.state", "kInvalidArgument"),
        ({"compression": "none"}, "export.compression", "kInvalidArgument"),
    ],
)
def test_validation_faults(
    sim: Simulator, medable: Medable, changes: dict[str, Any], path: str, code: str
) -> None:
    """Each property that is not right is a child fault with its path, and nothing is created."""
    fault = assert_fault(medable.create(**changes), 400, "cortex.invalidArgument.validation")
    (inner,) = fault["faults"]
    assert (inner["object"], inner["path"], inner["code"]) == ("fault", path, code)
    assert inner["reason"]
    assert sim.exports("medable") == []


def test_several_validation_faults(sim: Simulator, medable: Medable) -> None:
    """All wrong properties are told at once; a child may say 500, and older ones know no errCode."""
    sim.configure("medable", child_fault_status=500, validation_code="unspecified")
    response = medable.create(objects=..., format="xml", zipFiles=1)
    fault = assert_fault(response, 400, "cortex.invalidArgument.unspecified")
    assert {one["path"] for one in fault["faults"]} == {"export.objects", "export.format", "export.zipFiles"}
    assert {one["status"] for one in fault["faults"]} == {500}
    sim.configure("medable", older_release=True)
    older = medable.create(format="xml").json()
    assert "errCode" not in older
    assert "errCode" not in older["faults"][0]


def test_unknown_properties_can_be_ignored(sim: Simulator, medable: Medable) -> None:
    """With the switch, properties that nobody knows and read-only ones have no effect."""
    sim.configure("medable", unknown_fields="ignore")
    export = medable.create(compression="none", state="ready").json()
    assert (export["state"], "compression" in export) == ("pending", False)


def test_an_unknown_source_object(sim: Simulator, medable: Medable) -> None:
    """A plural name that the org does not have is a fault of its own, or a validation fault."""
    assert_fault(medable.create(objects="c_nothing"), 400, "cortex.invalidArgument.object")
    sim.configure("medable", unknown_object="validation")
    assert_fault(medable.create(objects="c_nothing"), 400, "cortex.invalidArgument.validation")


@pytest.mark.parametrize(
    ("where", "err_code"),
    [
        ("{", "cortex.invalidArgument.invalidJSON"),
        ("[]", "cortex.invalidArgument.query"),
        ('{"c_week":{"$near":1}}', "cortex.invalidArgument.query"),
        ('{"$and":{}}', "cortex.invalidArgument.query"),
        ('{"c_note":{"$regex":"("}}', "cortex.invalidArgument.query"),
    ],
)
def test_filters_that_cannot_be_read(sim: Simulator, medable: Medable, where: str, err_code: str) -> None:
    """A bad filter is refused at once, or makes the job fail."""
    assert_fault(medable.create(where=where), 400, err_code)
    sim.configure("medable", bad_where="error", ready_after_reads=1)
    assert medable.state(medable.created(where=where)) == "error"


@pytest.mark.parametrize("changes", [{"paths": ["c_nothing"]}, {"prefix": "c_lists"}])
def test_unknown_paths_and_prefixes(sim: Simulator, medable: Medable, changes: dict[str, Any]) -> None:
    """What an object does not have is refused, makes the job fail, or does not matter."""
    sim.configure("medable", ready_after_reads=1, unknown_paths="error", prefix="error")
    assert medable.state(medable.created(**changes)) == "error"
    sim.configure("medable", unknown_paths="ignore", prefix="accept")
    assert medable.state(medable.created(**changes)) == "ready"
    sim.configure("medable", unknown_paths="reject", prefix="reject")
    assert_fault(medable.create(**changes), 400, "cortex.invalidArgument.validation")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_only_json_objects_are_read(medable: Medable, body: bytes) -> None:
    """A body that is no JSON object is a fault, and so is one that is not declared as JSON."""
    headers = {"Content-Type": "application/json"}
    response = medable.call("POST", "/exports", data=body, headers=headers)
    assert_fault(response, 400, "cortex.invalidArgument.invalidJSON")
    response = medable.call("POST", "/exports", data=json.dumps(BODY))
    assert_fault(response, 400, "cortex.invalidArgument.invalidJSON")


def test_bodies_have_a_limit(medable: Medable) -> None:
    """More than 1024 KB are too large, told by a fault as everything."""
    assert medable.create(description="x" * 1_048_000).status_code == 200
    assert_fault(medable.create(description="x" * 1_048_576), 413, "cortex.tooLarge.unspecified")


# Read and list


def test_unknown_exports(sim: Simulator, medable: Medable) -> None:
    """An id of the wrong form is 400, an unknown one 404, and so is one of another org."""
    export_id = medable.created()
    assert_fault(medable.get("17"), 400, "cortex.invalidArgument.invalidObjectId")
    assert_fault(medable.get("0" * 24), 404, "cortex.notFound.instance")
    medable.base = medable.base.replace("/simulated/", "/simulated_two/")
    assert_fault(medable.get(export_id), 404, "cortex.notFound.instance")


def test_single_properties(sim: Simulator, medable: Medable) -> None:
    """One property comes in a result; one that exports do not have is 404."""
    export_id = medable.created()
    assert medable.get(export_id, "/state").json() == {"object": "result", "data": "running"}
    assert medable.get(export_id, "/label").json()["data"] == BODY["label"]
    assert medable.get(export_id, "/where").json()["data"] is None
    assert_fault(medable.get(export_id, "/progress"), 404, "cortex.notFound.property")


def test_selected_properties(medable: Medable) -> None:
    """Repeated paths choose properties, of one export and of those of a list; expand shows an account."""
    export_id = medable.created()
    query = {"paths[]": ["label", "creator._id"]}
    expected = {"_id": export_id, "object": "export", "label": BODY["label"], "creator": {"_id": ADMIN}}
    assert medable.get(export_id, params=query).json() == expected
    assert medable.listed(**query) == [expected]
    export = medable.get(export_id, params={"expand[]": "owner"}).json()
    assert export["owner"]["email"]


def test_lists(sim: Simulator, medable: Medable) -> None:
    """A list has the newest first, a page of it knows whether there is more."""
    ids = [medable.created(label=f"{n}") for n in range(5)]
    assert [one["_id"] for one in medable.listed()] == ids[::-1]
    response = medable.call("GET", "/exports", params={"limit": "2", "skip": "2"}).json()
    assert ([one["_id"] for one in response["data"]], response["hasMore"]) == ([ids[2], ids[1]], True)
    response = medable.call("GET", "/exports", params={"limit": "3", "skip": "2"}).json()
    assert response["hasMore"] is False
    sim.configure("medable", default_limit=1)
    assert len(medable.listed()) == 1


def test_order_and_filters_of_a_list(sim: Simulator, medable: Medable) -> None:
    """Where, sort, skip and limit apply in this order."""
    sim.configure("medable", outcome="never")
    ids = [medable.created(label=label) for label in ("b", "a", "B", "c")]

    def found(**query: Any) -> str:
        return "".join(one["label"] for one in medable.listed(**query))

    assert found(sort="label") == "Babc"
    assert found(sort='{"label":-1}') == "cbaB"
    assert found(sort='{"format":1,"_id":1}') == "baBc"
    assert found(where=json.dumps({"_id": {"$gt": ids[1]}}), sort='{"_id":1}') == "Bc"
    assert found(where='{"label":{"$regex":"/^b/i"}}', sort='{"_id":1}') == "bB"
    assert found(where='{"label":{"$in":["a","c"]}}', skip=1) == "a"
    assert found(where='{"$or":[{"label":"a"},{"label":{"$nin":["b","a","B"]}}]}') == "ca"
    assert found(where='{"state":{"$in":["pending","running"]}}', limit=1) == "c"
    assert found(where='{"creator":"%s"}' % ADMIN, limit=1) == "c"  # noqa: UP031
    sim.advance(60)
    later = (sim.now() - timedelta(seconds=30)).isoformat()
    assert found(where=json.dumps({"created": {"$gte": later}})) == ""
    assert found(where=json.dumps({"created": {"$lt": later}}), limit=1) == "c"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "all"},
        {"skip": "-1"},
        {"where": "state"},
        {"where": '{"state":{"$is":1}}'},
        {"sort": '{"label":2}'},
        {"sort": "{"},
    ],
)
def test_queries_that_cannot_be_read(medable: Medable, query: dict[str, str]) -> None:
    """A bad argument of a list is 400."""
    response = medable.call("GET", "/exports", params=query)
    assert response.status_code == 400
    assert response.json()["errCode"].startswith("cortex.invalidArgument.")


def test_properties_that_are_not_indexed(sim: Simulator, medable: Medable) -> None:
    """Where and sort refuse the properties that the switch names."""
    sim.configure("medable", unindexed=["label", "state"])
    for query in ({"where": '{"$and":[{"state":"ready"}]}'}, {"sort": "label"}):
        response = medable.call("GET", "/exports", params=query)
        assert_fault(response, 400, "cortex.invalidArgument.query")


# Delete


@pytest.mark.parametrize("state", ["pending", "ready", "failed"])
@pytest.mark.parametrize("answer", ["result", "204"])
def test_deleted_exports_are_gone(sim: Simulator, medable: Medable, state: Any, answer: str) -> None:
    """A deleted export is 404 from then on, a second delete too, and its link is dead."""
    sim.configure("medable", delete_answer=answer)
    export_id = medable.ready()
    url = medable.facet(export_id)["url"]
    sim.set_state("medable", export_id, state)
    response = medable.delete(export_id)
    if answer == "204":
        assert (response.status_code, response.content) == (204, b"")
    else:
        assert (response.status_code, response.json()) == (200, {"object": "result", "data": True})
    for again in (medable.get(export_id), medable.delete(export_id), medable.get(export_id, "/dataFile")):
        assert_fault(again, 404, "cortex.notFound.instance")
    assert requests.get(url, timeout=10).status_code == 403
    assert medable.listed() == []


def test_running_exports_can_resist(sim: Simulator, medable: Medable) -> None:
    """A running export is stopped by its delete, or in use."""
    sim.configure("medable", delete_running="deny")
    export_id = medable.created()
    assert medable.state(export_id) == "running"
    assert_fault(medable.delete(export_id), 403, "cortex.accessDenied.inUse")
    sim.configure("medable", delete_running="allow")
    assert medable.delete(export_id).status_code == 200


# The queue


def test_states_of_an_export(sim: Simulator, medable: Medable) -> None:
    """An export is pending, running, then ready with its file."""
    export_id = medable.created()
    assert [medable.state(export_id) for _ in range(2)] == ["running", "ready"]
    export = medable.get(export_id).json()
    assert (export["dataFile"]["state"], export["dataFile"]["facets"][0]["name"]) == (2, "content")
    assert export["dataFile"]["url"].startswith(sim.files_origin)
    assert "url" not in medable.listed()[0]["dataFile"]


def test_exports_run_one_at_a_time(sim: Simulator, medable: Medable) -> None:
    """Exports of an org run one after the other in the order of creation, whatever is looked at."""
    sim.configure("medable", ready_after_seconds=100)
    first, second, third = (medable.created() for _ in range(3))
    other = Medable(sim)
    other.base = other.base.replace("/simulated/", "/simulated_two/")
    elsewhere = other.created()

    def states() -> str:
        return " ".join(medable.state(one) for one in (first, second, third))

    assert medable.state(third) == "pending"
    sim.advance(10)
    assert states() == "running pending pending"
    assert other.state(elsewhere) == "running"
    sim.advance(100)
    assert states() == "ready running pending"
    sim.advance(1000)
    assert states() == "ready ready ready"
    one, two, three, _ = sim.exports("medable")
    assert two.finished_at == one.created_at + timedelta(seconds=200)
    assert three.finished_at == one.created_at + timedelta(seconds=300)


def test_reads_move_the_first_of_the_queue(sim: Simulator, medable: Medable) -> None:
    """Looks at a later export bring the running one forward."""
    sim.configure("medable", ready_after_reads=2)
    first, second = medable.created(), medable.created()
    assert [medable.state(second) for _ in range(4)] == ["pending", "pending", "running", "ready"]
    assert medable.state(first) == "ready"


@pytest.mark.parametrize("end", ["delete", "failed"])
def test_the_next_one_starts_when_the_worker_is_free(sim: Simulator, medable: Medable, end: str) -> None:
    """A deleted or failed export makes room for the next, which needs its full time."""
    sim.configure("medable", ready_after_seconds=100)
    first, second = medable.created(), medable.created()
    sim.advance(50)
    assert medable.state(first) == "running"
    if end == "delete":
        medable.delete(first)
    else:
        sim.set_state("medable", first, "failed")
    sim.advance(90)
    assert medable.state(second) == "running"
    sim.advance(10)
    assert medable.state(second) == "ready"


def test_a_held_export_blocks_the_queue(sim: Simulator, medable: Medable) -> None:
    """An export held in an unfinished state keeps all that come after it waiting."""
    first, second = medable.created(), medable.created()
    sim.set_state("medable", first, "processing")
    sim.advance(1e5)
    assert (medable.state(first), medable.state(second)) == ("running", "pending")
    sim.set_state("medable", first, "ready")
    sim.advance(60)
    assert medable.state(second) == "ready"


def test_exports_of_others_come_first(sim: Simulator, medable: Medable) -> None:
    """What others have put into the queue delays ours and stands in the list."""
    sim.configure("medable", ready_after_seconds=10)
    foreign = [sim.medable.add_foreign_export(seconds=3600, label=f"urgent {n}") for n in range(2)]
    ours = medable.created()
    for _ in range(5):
        assert medable.state(ours) == "pending"
    sim.advance(3600)
    waiting = medable.listed(where='{"state":{"$in":["pending","running"]}}', sort='{"_id":1}')
    assert [one["_id"] for one in waiting] == [foreign[1], ours]
    assert waiting[0]["creator"]["_id"] != ADMIN
    sim.advance(3600)
    assert medable.state(ours) == "running"
    sim.advance(10)
    assert medable.state(ours) == "ready"
    with pytest.raises(ValueError, match="no org"):
        sim.medable.add_foreign_export(org="nowhere")


def test_foreign_exports_over_http(sim: Simulator, medable: Medable) -> None:
    """Another process can fill the queue as well."""
    control = f"{sim.api_origin}/_control/add-foreign-export"
    export_id = requests.post(control, json={"seconds": 5}, timeout=10).json()["export_id"]
    assert medable.state(export_id) == "running"


@pytest.mark.parametrize("way", ["outcome", "job_failed"])
def test_failed_exports(sim: Simulator, medable: Medable, way: str) -> None:
    """A failed export says error and nothing more, and has no file."""
    if way == "outcome":
        sim.configure("medable", outcome="failed")
    else:
        sim.fail_next("medable", "create", fault="job_failed")
    export_id = medable.created()
    sim.advance(60)
    export = medable.get(export_id).json()
    assert (export["state"], "dataFile" in export) == ("error", False)
    for path in ("/dataFile", "/dataFile/content"):
        assert_fault(medable.get(export_id, path), 404, "cortex.notFound.file")


# Retention


@pytest.mark.parametrize("start", ["ready", "created"])
def test_seven_days(sim: Simulator, medable: Medable, start: str) -> None:
    """Seven days after it was ready, or created, an export is gone with its file."""
    sim.configure("medable", retention_from=start, ready_after_seconds=3600)
    export_id = medable.created()
    sim.advance(3600)
    assert medable.state(export_id) == "ready"
    sim.advance(WEEK - 3700)
    url = medable.facet(export_id)["url"]
    assert requests.get(url, timeout=10).status_code == 200
    sim.advance(110)
    assert medable.get(export_id).status_code == (404 if start == "created" else 200)
    sim.advance(3600)
    assert_fault(medable.get(export_id), 404, "cortex.notFound.instance")
    assert requests.get(url, timeout=10).status_code == 403
    assert medable.listed() == []
    assert [record.state for record in sim.exports("medable")] == ["expired"]


@pytest.mark.parametrize("errors_expire", [True, False])
def test_the_end_of_failed_exports(sim: Simulator, medable: Medable, errors_expire: bool) -> None:
    """Failed exports are removed as well, or stay."""
    sim.configure("medable", errors_expire=errors_expire, outcome="failed")
    export_id = medable.created()
    sim.advance(WEEK - 1)
    assert medable.state(export_id) == "error"
    sim.advance(100)
    assert medable.get(export_id).status_code == (404 if errors_expire else 200)


def test_the_storage_quota(sim: Simulator, medable: Medable) -> None:
    """Without storage a job fails, or a create is refused, until an archive is deleted."""
    sim.configure("medable", ready_after_reads=1, storage_quota_bytes=5000, file_bytes=3000)
    first, second = medable.created(), medable.created()
    assert (medable.state(first), medable.state(second)) == ("ready", "error")
    sim.configure("medable", storage_quota_bytes=3000, quota_exceeded="create")
    assert_fault(medable.create(), 403, "cortex.accessDenied.unspecified")
    medable.delete(first)
    assert medable.state(medable.created()) == "ready"


# The file


def test_the_facet(sim: Simulator, medable: Medable) -> None:
    """With a JSON Accept header the facet comes with size, ETag and an address on the file host."""
    export_id = medable.ready()
    facet = medable.facet(export_id)
    assert facet.keys() == {
        "object",
        "name",
        "state",
        "mime",
        "size",
        "ETag",
        "creator",
        "location",
        "filename",
        "path",
        "url",
    }
    assert (facet["object"], facet["name"], facet["state"]) == ("facet", "content", 2)
    assert (facet["mime"], facet["path"]) == ("application/zip", f"/exports/{export_id}/dataFile/content")
    file = requests.get(facet["url"], timeout=10)
    assert file.status_code == 200
    assert len(file.content) == facet["size"] == int(file.headers["Content-Length"])
    assert file.headers["Content-Type"] == "application/zip"
    assert file.headers["ETag"].strip('"') == facet["ETag"] == hashlib.md5(file.content).hexdigest()
    info = medable.get(export_id, "/dataFile").json()
    assert (info["size"], [one["name"] for one in info["facets"]]) == (facet["size"], ["content"])
    sim.configure("medable", etag="multipart")
    assert medable.facet(export_id)["ETag"].endswith("-2")
    assert_fault(medable.get(export_id, "/dataFile/thumb"), 404, "cortex.notFound.facet")


@pytest.mark.parametrize(
    ("style", "accept", "status"),
    [
        ("accept", "application/json", 200),
        ("accept", "application/json; charset=utf-8", 200),
        ("accept", "*/*", 302),
        ("accept", "text/html, application/json", 302),
        ("json", "*/*", 200),
        ("redirect", "application/json", 302),
    ],
)
def test_json_or_redirect(sim: Simulator, medable: Medable, style: str, accept: str, status: int) -> None:
    """The beginning of the Accept header decides between facet and redirect, unless the switch does."""
    sim.configure("medable", download_style=style)
    export_id = medable.ready()
    response = medable.get(export_id, "/dataFile/content", headers={"Accept": accept})
    assert response.status_code == status
    if status == 302:
        assert response.headers["Location"].startswith(sim.files_origin)
        assert requests.get(response.headers["Location"], timeout=10).content[:2] == b"PK"


@pytest.mark.parametrize("accept", ["application/json", "*/*"])
def test_a_file_that_is_not_ready(sim: Simulator, medable: Medable, accept: str) -> None:
    """Before the end the file is a fault with status 202, or 404 by the switch."""
    sim.configure("medable", outcome="never")
    export_id, headers = medable.created(), {"Accept": accept}
    response = medable.get(export_id, "/dataFile/content", headers=headers)
    fault = assert_fault(response, 202, "cortex.accepted.mediaNotReady")
    assert fault["code"] == "kMediaNotReady"
    facet = medable.get(export_id, "/dataFile").json()
    assert (facet["state"], "url" in facet, "size" in facet) == (0, False, False)
    sim.configure("medable", before_ready_status=404)
    response = medable.get(export_id, "/dataFile/content", headers=headers)
    assert_fault(response, 404, "cortex.notFound.file")


@pytest.mark.parametrize("state", [0, 1])
def test_the_facet_lags_behind(sim: Simulator, medable: Medable, state: int) -> None:
    """A ready export can have a file that is still being processed."""
    sim.configure("medable", facet_lag_seconds=30, facet_lag_state=state)
    export_id = medable.ready()
    export = medable.get(export_id).json()
    assert (export["state"], export["dataFile"]["state"]) == ("ready", state)
    assert "url" not in export["dataFile"]
    response = medable.get(export_id, "/dataFile/content", headers=JSON)
    assert_fault(response, 202, "cortex.accepted.mediaNotReady")
    sim.advance(30)
    assert medable.facet(export_id)["state"] == 2


@pytest.mark.parametrize(("outcome", "state"), [("error", 3), ("dead", 4)])
def test_facets_that_fail(sim: Simulator, medable: Medable, outcome: str, state: int) -> None:
    """A file can be lost although its export is ready; its facet has the fault."""
    sim.configure("medable", facet_outcome=outcome)
    export_id = medable.ready()
    file = medable.get(export_id).json()["dataFile"]
    assert (file["state"], file["fault"]["object"]) == (state, "fault")
    response = medable.get(export_id, "/dataFile/content", headers=JSON)
    assert_fault(response, 500, "cortex.error.facet")
    sim.configure("medable", older_release=True)
    older = medable.get(export_id, "/dataFile/content", headers=JSON)
    assert older.json()["code"] == "kStreamMediaError"


def test_exports_need_not_show_their_file(sim: Simulator, medable: Medable) -> None:
    """Without dataFile in the export its address still works."""
    sim.configure("medable", data_file="missing")
    export_id = medable.ready()
    assert "dataFile" not in medable.get(export_id).json()
    assert medable.facet(export_id)["url"]


def test_private_facets(sim: Simulator, medable: Medable) -> None:
    """A private file is for its creator only."""
    sim.configure("medable", private_facet=True)
    assert medable.facet(medable.ready())["private"] is True
    foreign = sim.medable.add_foreign_export()
    sim.set_state("medable", foreign, "ready")
    response = medable.get(foreign, "/dataFile/content", headers=JSON)
    assert_fault(response, 403, "cortex.accessDenied.privateFacet")


def test_file_addresses_live_for_minutes(sim: Simulator, medable: Medable) -> None:
    """An address is dead after five minutes, and each request brings a new one."""
    export_id = medable.ready()
    first = medable.facet(export_id)["url"]
    sim.advance(290)
    second = medable.facet(export_id)["url"]
    assert first != second
    assert requests.get(first, timeout=10).status_code == 200
    sim.advance(10)
    assert requests.get(first, timeout=10).status_code == 403
    assert requests.get(second, timeout=10).status_code == 200
    assert requests.get(second.partition("?")[0], timeout=10).status_code == 403


def test_ranges_of_a_file(sim: Simulator, medable: Medable) -> None:
    """The file host sends parts, of the same file only, unless switched off."""
    facet = medable.facet(medable.ready())
    url, tag = facet["url"], f'"{facet["ETag"]}"'
    whole = requests.get(url, timeout=10)
    assert whole.headers["Accept-Ranges"] == "bytes"
    part = requests.get(url, headers={"Range": "bytes=10-", "If-Range": tag}, timeout=10)
    assert (part.status_code, part.content) == (206, whole.content[10:])
    other = requests.get(url, headers={"Range": "bytes=10-", "If-Range": '"other"'}, timeout=10)
    assert (other.status_code, other.content) == (200, whole.content)
    sim.configure("medable", ranges="ignored")
    assert requests.get(url, headers={"Range": "bytes=10-"}, timeout=10).status_code == 200


@pytest.mark.parametrize("mode", ["signed", "bearer", "session"])
def test_credentials_on_the_file_host_are_leaks(sim: Simulator, mode: str) -> None:
    """Each header with credentials that arrives on the files origin is noted."""
    medable = Medable(sim, mode)
    facet = medable.facet(medable.ready())
    requests.get(facet["url"], timeout=10)
    assert sim.leaks() == []
    headers = medable.headers("GET", "/exports")
    requests.get(facet["url"], headers=headers, timeout=10)
    (leak,) = sim.leaks("medable")
    secret = {name for name in headers if not name.endswith(("Timestamp", "Nonce"))}
    assert set(leak.credentials) == {f"header {name}" for name in secret}


# Archives


def test_an_ndjson_archive(sim: Simulator, medable: Medable) -> None:
    """The archive holds one file with a line per record, without optional properties."""
    records = medable.lines()
    assert len(records) == 25
    assert {record["object"] for record in records} == {"c_visit"}
    assert "c_device_log" not in records[0]
    assert medable.lines() == records


def test_the_same_export_has_the_same_bytes(medable: Medable) -> None:
    """Two exports with the same request differ in nothing but their names."""
    assert medable.facet(medable.ready())["ETag"] == medable.facet(medable.ready())["ETag"]


def test_selections(medable: Medable) -> None:
    """Filter, paths, include and expand have the effect that their names say."""
    where = '{"c_week":{"$gte":1,"$lt":2}}'
    records = medable.lines(where=where, paths=["_id", "c_week", "creator._id"])
    assert [record["c_week"] for record in records] == [1] * 7
    assert all(set(record) == {"_id", "c_week", "creator"} for record in records)
    assert set(records[0]["creator"]) == {"_id"}
    assert "c_device_log" in medable.lines(include=["c_device_log"])[0]
    expanded = medable.lines(expand=["c_patient"])[0]["c_patient"]
    assert expanded["c_number"].startswith("SIM-")
    recent = medable.lines(where='{"created":{"$gte":"2025-01-20T00:00:00.000Z"}}')
    assert 0 < len(recent) < 25
    assert len(medable.lines(principal=MEMBER)) == 13


def test_a_csv_archive(medable: Medable) -> None:
    """CSV has a header row, dots for parts of properties, and lines that end with CR LF."""
    with medable.archive(format="text/csv") as archive:
        text = archive.read("c_visits.csv").decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 25
    assert rows[0]["creator._id"] == ADMIN
    assert {row["favorite"] for row in rows} == {"false"}
    assert text.partition("\n")[0].endswith("\r")


@pytest.mark.parametrize("form", ["array", "list"])
def test_a_json_archive(sim: Simulator, medable: Medable, form: str) -> None:
    """JSON is an array, or a list document by the switch."""
    sim.configure("medable", json_form=form, rows=3)
    with medable.archive(format="application/json") as archive:
        content = json.loads(archive.read("c_visits.json"))
    assert len(content if form == "array" else content["data"]) == 3


@pytest.mark.parametrize("zipped", [False, True])
def test_files_in_an_archive(sim: Simulator, medable: Medable, zipped: bool) -> None:
    """With exportFiles the contents of files come along, in a folder or in an inner archive."""
    sim.configure("medable", rows=3)
    with medable.archive(exportFiles=True, zipFiles=zipped) as archive:
        names = archive.namelist()
        if zipped:
            assert names == ["c_visits.ndjson", "files.zip"]
            with zipfile.ZipFile(io.BytesIO(archive.read("files.zip"))) as inner:
                names = [f"files/{name}" for name in inner.namelist()]
                assert inner.testzip() is None
        files = [name for name in names if name.startswith("files/")]
        assert len(files) == 3
        assert files[0].endswith("/c_report/report.txt")
    with medable.archive(zipFiles=True) as archive:
        assert archive.namelist() == ["c_visits.ndjson"]


@pytest.mark.parametrize("kind", ["application/x-ndjson", "text/csv"])
def test_an_archive_without_records(sim: Simulator, medable: Medable, kind: str) -> None:
    """No record still makes a ready export, with an empty data file."""
    with medable.archive(where='{"c_week":-1}', format=kind) as archive:
        (entry,) = archive.infolist()
        assert entry.file_size == 0


def test_layouts(sim: Simulator, medable: Medable) -> None:
    """The data can lie in a folder or in two files."""
    sim.configure("medable", layout="folder")
    assert medable.archive().namelist() == ["nightly-c_visits/c_visits.ndjson"]
    sim.configure("medable", layout="split")
    assert medable.archive().namelist() == ["c_visits-1.ndjson", "c_visits-2.ndjson"]


def test_a_final_fault(sim: Simulator, medable: Medable) -> None:
    """NDJSON can end with the line of a fault, as streams of the vendor do."""
    sim.configure("medable", final_fault=True)
    *records, last = medable.lines()
    assert (len(records), last["object"], last["errCode"]) == (25, "fault", "cortex.error.db")


def test_bad_archives(sim: Simulator, medable: Medable) -> None:
    """An archive can hold a path that leads outside, wrong checksums, or be none."""
    sim.configure("medable", archive="traversal")
    assert "../../outside.txt" in medable.archive().namelist()
    sim.configure("medable", archive="bad_crc")
    assert medable.archive().testzip() == "c_visits.ndjson"
    sim.configure("medable", archive="not_a_zip")
    with pytest.raises(zipfile.BadZipFile):
        medable.archive()


@pytest.mark.parametrize("size", [0, 100, 1000, 3_000_000])
def test_archives_of_a_given_size(sim: Simulator, medable: Medable, size: int) -> None:
    """An archive has exactly the size that was asked for, and is a good one if that is possible."""
    sim.configure("medable", file_bytes=size)
    facet = medable.facet(medable.ready())
    content = requests.get(facet["url"], timeout=10).content
    assert facet["size"] == len(content) == size
    if size >= 1000:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            records = [
                json.loads(line) for line in archive.read("c_visits.ndjson").split(b"\n") if line.strip()
            ]
        assert records[0]["_id"] == "0" * 24


# Faults


@pytest.mark.parametrize("err_code", sorted(medable_faults.REGISTRY))
def test_every_fault_of_the_registry(sim: Simulator, medable: Medable, err_code: str) -> None:
    """Each documented fault can be queued by its errCode, for once, whatever its status is."""
    export_id = medable.created()
    sim.fail_next("medable", "get", fault=err_code)
    assert_fault(medable.get(export_id), medable_faults.REGISTRY[err_code][0], err_code)
    assert medable.get(export_id).json()["object"] == "export"


def test_a_fault_with_a_success_status(sim: Simulator, medable: Medable) -> None:
    """A create can fail although its status is 202, and can have happened although its answer is a fault."""
    sim.fail_next("medable", "create", fault="cortex.accepted.mediaNotReady")
    assert medable.create().status_code == 202
    assert sim.exports("medable") == []
    sim.fail_next("medable", "create", fault="cortex.error.db_after")
    assert_fault(medable.create(), 500, "cortex.error.db")
    assert len(sim.exports("medable")) == 1


def test_faults_that_do_not_exist(sim: Simulator) -> None:
    """An errCode outside of the registry is refused, and so are Medable's for files or other vendors."""
    for vendor, operation, fault in (
        ("medable", "get", "cortex.error.nothing"),
        ("medable", "file", "cortex.error.db"),
        ("mews", "get", "cortex.error.db"),
        ("medable", "rooms", "500"),
    ):
        with pytest.raises(ValueError, match=r"fault|operation"):
            sim.fail_next(vendor, operation, fault=fault)


def test_faults_of_every_operation(sim: Simulator) -> None:
    """Each operation can be disturbed by name, also a login and a delete."""
    medable = Medable(sim, "session")
    export_id = medable.ready()
    calls = {
        "login": lambda: medable.login(),
        "status": lambda: medable.call("GET", "/accounts/status"),
        "create": lambda: medable.create(),
        "get": lambda: medable.get(export_id),
        "list": lambda: medable.call("GET", "/exports"),
        "property": lambda: medable.get(export_id, "/state"),
        "facet": lambda: medable.get(export_id, "/dataFile"),
        "content": lambda: medable.get(export_id, "/dataFile/content", headers=JSON),
        "delete": lambda: medable.delete(export_id),
        "logout": lambda: medable.call("POST", "/accounts/me/logout"),
    }
    for operation, call in calls.items():
        sim.fail_next("medable", operation, fault="503")
        assert call().json()["object"] == "fault"
        assert sim.requests("medable", operation)[-1].fault == "503"
        assert call().status_code == 200


def test_policies_and_gateways(sim: Simulator, medable: Medable) -> None:
    """A policy has a code of its own, and a gateway's errors need not be faults."""
    sim.fail_next("medable", "list", fault="policy")
    response = medable.call("GET", "/exports")
    assert (response.status_code, response.json()["code"]) == (403, "c_simulated_policy")
    sim.fail_next("medable", "list", fault="401")
    assert medable.call("GET", "/exports").json()["object"] == "fault"
    sim.configure("medable", gateway_errors="html")
    for status in (401, 502, 503, 504):
        sim.fail_next("medable", "list", fault=str(status))
        response = medable.call("GET", "/exports")
        assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html")


# Status, errCode without "cortex." and older code, as the vendor's registry has them.
REGISTERED = """
    202 accepted.mediaNotReady kMediaNotReady
    200 success.newLocation kNewLocation
    400 invalidArgument.validation kValidationError
    400 invalidArgument.required kRequired
    400 invalidArgument.enumValue kEnumValue
    400 invalidArgument.object kInvalidObject
    400 invalidArgument.query kInvalidArgument
    400 invalidArgument.invalidObjectId kInvalidArgument
    400 invalidArgument.staleRequestSignature kStaleRequestSignature
    400 invalidArgument.envDisabled kOrgDisabled
    403 accessDenied.invalidRequestSignature kInvalidRequestSignature
    403 accessDenied.notLoggedIn kNotLoggedIn
    403 accessDenied.sessionExpired kSessionExpired
    403 accessDenied.loggedInElsewhere kLoggedInElsewhere
    403 accessDenied.csrfTokenMismatch kCSRFTokenMismatch
    403 accessDenied.invalidCredentials kInvalidCredentials
    403 accessDenied.accountLocked kAccountLocked
    403 accessDenied.passwordExpired kPasswordExpired
    403 accessDenied.noCredentialsSupplied kNoCredentialsSupplied
    403 accessDenied.unverifiedLocation kUnverifiedLocation
    403 accessDenied.invalidJwt kInvalidCredentials
    403 accessDenied.invalidJwtApp kInvalidCredentials
    403 accessDenied.scope kAccessDenied
    403 accessDenied.instanceCreate kAccessDenied
    403 accessDenied.instanceRead kAccessDenied
    403 accessDenied.instanceDelete kAccessDenied
    403 accessDenied.role kAccessDenied
    403 accessDenied.principal kAccessDenied
    403 accessDenied.route kAccessDenied
    403 accessDenied.policy kAccessDenied
    403 accessDenied.unspecified kAccessDenied
    403 accessDenied.app kAccessDenied
    403 accessDenied.appDisabled kAccessDenied
    403 accessDenied.appReadOnly kAccessDenied
    403 accessDenied.appSuspended kAccessDenied
    403 accessDenied.inUse kAccessDenied
    403 accessDenied.notDeletable kNotDeletable
    403 accessDenied.maintenance kMaintenance
    404 notFound.env kOrgControlInvalidOrg
    404 notFound.org kNotFound
    404 notFound.instance kNotFound
    404 notFound.unspecified kNotFound
    404 notFound.file kNotFound
    404 notFound.facet kNotFound
    404 notFound.property kNotFound
    408 timeout.dbQuery kTimeout
    408 timeout.unspecified kTimeout
    410 expired.jwt kTokenExpired
    410 expired.app kExpired
    410 expired.unspecified kExpired
    413 tooLarge.unspecified kRequestTooLarge
    429 throttled.policy kThrottled
    429 throttled.unspecified kThrottled
    429 throttled.stalledCursor kThrottled
    429 tooBusy.unspecified kTooBusy
    429 tooBusy.sandbox kTooBusy
    500 error.unspecified kError
    500 error.db kError
    500 error.aborted kCancelled
    500 error.facet kScriptError
    501 notImplemented.pointerUrl kNotImplemented
"""


def test_every_registered_fault_can_be_queued(sim: Simulator, medable: Medable) -> None:
    """Each comes with the status and the codes of the registry."""
    for line in REGISTERED.split("\n")[1:-1]:
        status, err_code, code = line.split()
        sim.fail_next("medable", "list", fault=f"cortex.{err_code}")
        response = medable.call("GET", "/exports")
        fault = response.json()
        assert (response.status_code, fault["object"], fault["status"]) == (int(status), "fault", int(status))
        assert (fault["errCode"], fault["code"]) == (f"cortex.{err_code}", code)


def test_distorted_answers(sim: Simulator, medable: Medable) -> None:
    """Unknown states, missing fields and wrong sizes appear wherever there are such things."""
    export_id = medable.ready()
    sim.fail_next("medable", "get", fault="unknown_status")
    assert medable.state(export_id) == "archiving"
    sim.fail_next("medable", "property", fault="unknown_status")
    assert medable.get(export_id, "/state").json()["data"] == "archiving"
    sim.fail_next("medable", "content", fault="unknown_status")
    assert medable.facet(export_id)["state"] == 7
    sim.fail_next("medable", "content", fault="missing_field")
    assert "url" not in medable.facet(export_id)
    sim.fail_next("medable", "list", fault="missing_field")
    assert "_id" not in medable.listed()[0]
    right = medable.facet(export_id)["size"]
    sim.fail_next("medable", "content", fault="size_mismatch")
    assert medable.facet(export_id)["size"] == right + 1
    sim.fail_next("medable", "get", fault="size_mismatch")
    file = medable.get(export_id).json()["dataFile"]
    assert (file["size"], file["facets"][0]["size"]) == (right + 1, right + 1)


def test_rate_limits(sim: Simulator, medable: Medable) -> None:
    """Above a limit there is 429 without Retry-After, until the window has passed."""
    sim.configure("medable", rate_limit=2, rate_window_seconds=10)
    answers = [medable.call("GET", "/exports") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert_fault(answers[-1], 429, "cortex.throttled.unspecified")
    assert "Retry-After" not in answers[-1].headers
    sim.advance(10)
    assert medable.call("GET", "/exports").status_code == 200


def test_reset_forgets_sessions_tokens_and_queue(sim: Simulator) -> None:
    """After a reset sessions and issued tokens are unknown, and the worker is free."""
    session, token = Medable(sim, "session"), Medable(sim, "bearer")
    token.connection["password"] = sim.medable.issue_token(None)
    sim.medable.add_foreign_export(seconds=1e6)
    sim.reset()
    assert_fault(session.call("GET", "/exports"), 403, "cortex.accessDenied.notLoggedIn")
    assert_fault(token.call("GET", "/exports"), 403, "cortex.accessDenied.invalidJwt")
    signed = Medable(sim)
    assert signed.state(signed.created()) == "running"

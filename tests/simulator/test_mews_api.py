"""The simulated Mews API against what the vendor's documentation says."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests

from airflow_provider_exports.simulator import Simulator

ENTITY_TYPES = [
    "OrderItem",
    "Payment",
    "Reservation",
    "Customer",
    "Company",
    "Bill",
    "AvailabilityAdjustment",
    "AvailabilityBlock",
    "ResourceBlock",
    "LedgerEntry",
]
ENTERPRISE = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
OTHER_ENTERPRISE = "4d0201db-36f5-428b-8d11-4f0a65e960cc"
POSTING = {"LedgerEntryFilters": {"Posting": {"Start": "2026-01-01", "End": "2026-01-03"}}}


class Mews:
    """A plain client, without any code of the provider."""

    def __init__(self, simulator: Simulator) -> None:
        connection = simulator.connection("mews")
        self.simulator = simulator
        self.base = f"{connection['host']}/api/connector/v1/exports"
        self.credentials = {
            "ClientToken": connection["extra"]["client_token"],
            "AccessToken": connection["password"],
            "Client": "Test 1.0.0",
        }

    def post(self, action: str, **fields: Any) -> requests.Response:
        body = {name: value for name, value in (self.credentials | fields).items() if value is not ...}
        return requests.post(f"{self.base}/{action}", json=body, timeout=10)

    def add(self, entity_type: str = "OrderItem", **fields: Any) -> requests.Response:
        return self.post("add", EntityType=entity_type, **fields)

    def created(self, entity_type: str = "OrderItem", **fields: Any) -> dict[str, Any]:
        response = self.add(entity_type, **fields)
        assert response.status_code == 200, response.text
        return response.json()["Export"]

    def get_all(self, *ids: str) -> list[dict[str, Any]]:
        response = self.post("getAll", ExportIds=list(ids))
        assert response.status_code == 200, response.text
        return response.json()["Exports"]

    def look(self, export_id: str) -> dict[str, Any]:
        (export,) = self.get_all(export_id)
        return export

    def ready(self, entity_type: str = "OrderItem", **fields: Any) -> dict[str, Any]:
        export_id = self.created(entity_type, **fields)["Id"]
        self.simulator.set_state("mews", export_id, "ready")
        return self.look(export_id)


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def mews(sim: Simulator) -> Mews:
    return Mews(sim)


def utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def window(sim: Simulator, *, days: float = 1, ago: timedelta = timedelta(minutes=10)) -> dict[str, Any]:
    end = sim.now() - ago
    return {"UpdatedUtc": {"StartUtc": utc(end - timedelta(days=days)), "EndUtc": utc(end)}}


# Addresses and credentials


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/connector/v1/exports/getAll"),
        ("PUT", "/api/connector/v1/exports/add"),
        ("POST", "/api/connector/v1/exports/getall"),
        ("POST", "/api/connector/v1/exports/getAll/"),
        ("POST", "/api/connector/v1/exports"),
        ("POST", "/api/connector/v1/exports/cancel"),
    ],
)
def test_a_wrong_method_or_address_is_404(sim: Simulator, method: str, path: str) -> None:
    """Another method or an address that is not exactly right is answered with 404 and an error body."""
    response = requests.request(method, sim.base_url("mews") + path, json={}, timeout=10)
    assert response.status_code == 404
    assert set(response.json()) == {"Message", "RequestId"}


def test_every_answer_names_its_request(mews: Mews) -> None:
    """Good and bad answers carry a Request-Id header, and a bad one repeats it in its body."""
    good, bad = mews.add(), mews.add("Nothing")
    assert uuid.UUID(good.headers["Request-Id"])
    assert bad.headers["Request-Id"] == bad.json()["RequestId"]


@pytest.mark.parametrize("body", ['{"a": 1,}', "{'a': 1}", "", "[]", '{"a": NaN}', "\ufeff{}"])
def test_only_strict_json_objects_are_read(mews: Mews, body: str) -> None:
    """A body that is not a strict JSON object is answered with 400."""
    response = requests.post(
        f"{mews.base}/add", data=body.encode(), headers={"Content-Type": "application/json"}, timeout=10
    )
    assert response.status_code == 400
    assert response.json()["Message"] == "Invalid JSON."


def test_the_content_type_must_be_json(mews: Mews) -> None:
    """A body that is not declared as JSON is answered with 400."""
    body = json.dumps(mews.credentials | {"EntityType": "Bill"})
    assert requests.post(f"{mews.base}/add", data=body, timeout=10).status_code == 400


@pytest.mark.parametrize("field", ["ClientToken", "AccessToken", "Client", "EntityType"])
@pytest.mark.parametrize("value", [..., None, "", 7])
def test_required_fields_of_a_create(mews: Mews, field: str, value: object) -> None:
    """A create without one of its four required fields is answered with 400 and creates nothing."""
    response = mews.post("add", **({"EntityType": "Bill"} | {field: value}))
    assert response.status_code == 400
    assert field in response.json()["Message"]
    assert mews.simulator.exports("mews") == []


@pytest.mark.parametrize("field", ["ClientToken", "AccessToken"])
def test_wrong_tokens_are_401(mews: Mews, field: str) -> None:
    """An unknown client or access token is answered with 401."""
    assert mews.add(**{field: "something else"}).status_code == 401


def test_tokens_in_headers_do_not_count(mews: Mews) -> None:
    """Credentials are read from the body only."""
    headers = {"Authorization": f"Bearer {mews.credentials['AccessToken']}"}
    body = {"EntityType": "Bill", "Client": "Test 1.0.0"}
    assert requests.post(f"{mews.base}/add", json=body, headers=headers, timeout=10).status_code == 400


def test_a_missing_permission_is_401(sim: Simulator, mews: Mews) -> None:
    """Without the permission for these restricted operations both answer 401."""
    sim.configure("mews", exports_permission=False)
    assert mews.add().status_code == 401
    assert mews.post("getAll", ExportIds=[str(uuid.uuid4())]).status_code == 401


def test_language_and_culture_go_together(mews: Mews) -> None:
    """The two language fields are taken together, and one alone is refused."""
    assert mews.add(LanguageCode="en-US").status_code == 400
    assert mews.add(LanguageCode="en-US", CultureCode="en-US").status_code == 200


def test_unknown_fields(sim: Simulator, mews: Mews) -> None:
    """An undocumented request field is ignored unless the switch says to refuse it."""
    assert mews.add("Bill", Priority=1).status_code == 200
    sim.configure("mews", unknown_fields="reject")
    assert mews.add("Payment", Priority=1).status_code == 400


def test_rate_limit(sim: Simulator, mews: Mews) -> None:
    """Above the limit of requests per token in 30 s comes 429 with Retry-After, and later requests work."""
    sim.configure("mews", rate_limit=2)
    ids = [str(uuid.uuid4())]
    assert [mews.post("getAll", ExportIds=ids).status_code for _ in range(3)] == [200, 200, 429]
    wait = int(mews.post("getAll", ExportIds=ids).headers["Retry-After"])
    assert 0 < wait <= 30
    sim.advance(wait)
    assert mews.post("getAll", ExportIds=ids).status_code == 200


# Create


def test_the_example_of_a_create(mews: Mews) -> None:
    """The example of the vendor's definition is answered as the definition shows, but for the id."""
    window = {"StartUtc": "2020-11-04T00:00:00Z", "EndUtc": "2020-11-05T00:00:00Z"}
    response = mews.post(
        "add",
        Client="Sample Client 1.0.0",
        EntityType="Reservation",
        Scope={"EnterpriseIds": [ENTERPRISE]},
        Filters={"UpdatedUtc": window},
    )
    assert response.status_code == 200
    answer = response.json()
    export_id = answer["Export"]["Id"]
    assert answer == {
        "Export": {
            "Id": export_id,
            "Status": "Pending",
            "EntityType": "Reservation",
            "Scope": {"EnterpriseIds": [ENTERPRISE], "ChainIds": None},
            "Files": [],
            "ExpiresUtc": None,
            "Filters": {"UpdatedUtc": window, "LedgerEntryFilters": None},
        }
    }


def test_the_example_of_a_lookup(sim: Simulator, mews: Mews) -> None:
    """Four exports as the vendor's definition shows them: one in each state, with its scope and filters."""
    posting = {"LedgerEntryFilters": {"Posting": {"Start": "2024-01-01", "End": "2024-01-31"}}}
    window = {"StartUtc": "2020-11-04T00:00:00Z", "EndUtc": "2020-11-05T00:00:00Z"}
    ready = mews.ready("OrderItem", Filters={"UpdatedUtc": window})
    pending = mews.created("LedgerEntry", Scope={"EnterpriseIds": [ENTERPRISE]}, Filters=posting)
    running = mews.created("Company", Scope={"ChainIds": [ENTERPRISE]})
    expired = mews.ready("Payment", Scope={"EnterpriseIds": [ENTERPRISE]})
    sim.set_state("mews", pending["Id"], "pending")
    sim.set_state("mews", running["Id"], "processing")
    sim.set_state("mews", expired["Id"], "expired")
    first, second, third, fourth = mews.get_all(*(one["Id"] for one in (ready, pending, running, expired)))
    assert [set(entry) for entry in first["Files"]] == [{"Url", "SizeInBytes"}] * 2
    assert [entry["Url"].partition("?")[0].rpartition("/")[2] for entry in first["Files"]] == [
        f"{ready['Id']}-1.jsonl",
        f"{ready['Id']}-2.jsonl",
    ]
    assert first == {
        "Id": ready["Id"],
        "Status": "Success",
        "EntityType": "OrderItem",
        "Scope": {"EnterpriseIds": [ENTERPRISE, OTHER_ENTERPRISE], "ChainIds": None},
        "Files": first["Files"],
        "ExpiresUtc": first["ExpiresUtc"],
        "Filters": {"UpdatedUtc": window, "LedgerEntryFilters": None},
    }
    assert second == {
        "Id": pending["Id"],
        "Status": "Pending",
        "EntityType": "LedgerEntry",
        "Scope": {"EnterpriseIds": [ENTERPRISE], "ChainIds": None},
        "Files": [],
        "ExpiresUtc": None,
        "Filters": {"UpdatedUtc": None, **posting},
    }
    assert third == {
        "Id": running["Id"],
        "Status": "Processing",
        "EntityType": "Company",
        "Scope": {"EnterpriseIds": None, "ChainIds": [ENTERPRISE]},
        "Files": [],
        "ExpiresUtc": None,
        "Filters": None,
    }
    assert fourth == {
        "Id": expired["Id"],
        "Status": "Expired",
        "EntityType": "Payment",
        "Scope": {"EnterpriseIds": [ENTERPRISE], "ChainIds": None},
        "Files": [],
        "ExpiresUtc": fourth["ExpiresUtc"],
        "Filters": None,
    }
    now = sim.now()
    assert datetime.fromisoformat(first["ExpiresUtc"]) > now >= datetime.fromisoformat(fourth["ExpiresUtc"])


@pytest.mark.parametrize("entity_type", ENTITY_TYPES)
def test_each_documented_entity_type_can_be_exported(mews: Mews, entity_type: str) -> None:
    """A create for each documented entity type answers a pending export without files and expiry."""
    filters = POSTING if entity_type == "LedgerEntry" else None
    export = mews.created(entity_type, Filters=filters)
    assert uuid.UUID(export["Id"])
    assert (export["Status"], export["EntityType"]) == ("Pending", entity_type)
    assert export["Files"] == []
    assert export["ExpiresUtc"] is None


def test_the_seed_example_can_be_sent_as_it_is(sim: Simulator, mews: Mews) -> None:
    """The vendor's oldest example of a create, without scope and filters, is answered in its old shape."""
    sim.configure("mews", seed_era=True)
    assert set(mews.created()) == {"Id", "Status", "EntityType", "Files", "ExpiresUtc"}
    assert set(mews.add("Nothing").json()) == {"Message"}


def test_entity_types_are_exact(mews: Mews) -> None:
    """An entity type is matched with its case, as an enum."""
    assert mews.add("orderItem").status_code == 400


def test_the_answer_repeats_scope_and_filters(sim: Simulator, mews: Mews) -> None:
    """The export shows the scope with one list filled and the other null, and the filters as sent."""
    filters = window(sim)
    export = mews.created("Reservation", Scope={"EnterpriseIds": [ENTERPRISE]}, Filters=filters)
    assert export["Scope"] == {"EnterpriseIds": [ENTERPRISE], "ChainIds": None}
    assert export["Filters"] == filters | {"LedgerEntryFilters": None}
    assert mews.look(export["Id"])["Filters"] == export["Filters"]


@pytest.mark.parametrize(
    ("entity_type", "scope"),
    [
        ("OrderItem", "all"),
        ("OrderItem", {"EnterpriseIds": []}),
        ("OrderItem", {"EnterpriseIds": ["not a uuid"]}),
        ("OrderItem", {"EnterpriseIds": [ENTERPRISE] * 1001}),
        ("OrderItem", {"EnterpriseIds": ENTERPRISE}),
        ("OrderItem", {"ChainIds": [ENTERPRISE]}),
        ("Company", {"EnterpriseIds": [ENTERPRISE]}),
        ("OrderItem", {"EnterpriseIds": ["00000000-0000-0000-0000-000000000000"]}),
    ],
)
def test_bad_scopes_are_refused(mews: Mews, entity_type: str, scope: object) -> None:
    """Sizes, ids, the list for the entity type and the reach of the token are checked."""
    assert mews.add(entity_type, Scope=scope).status_code == 400


@pytest.mark.parametrize("scope", [None, {}, {"EnterpriseIds": None, "ChainIds": None}])
def test_an_empty_scope_means_everything(mews: Mews, scope: object) -> None:
    """No scope, in any of its forms, is everything the token reaches."""
    assert len(mews.created(Scope=scope)["Scope"]["EnterpriseIds"]) == 2


def test_a_scope_has_up_to_1000_ids(sim: Simulator, mews: Mews) -> None:
    """A thousand ids are taken when the reach of the token is not checked."""
    sim.configure("mews", foreign_scope="accept")
    assert mews.add(Scope={"EnterpriseIds": [str(uuid.uuid4()) for _ in range(1000)]}).status_code == 200


def test_update_windows(sim: Simulator, mews: Mews) -> None:
    """A window of up to 180 days that ended at least 5 minutes ago is taken, also an empty one."""
    assert mews.add("Bill", Filters=window(sim, days=180)).status_code == 200
    assert mews.add("Payment", Filters=window(sim, days=0)).status_code == 200
    assert mews.add("OrderItem", Filters={"UpdatedUtc": None}).status_code == 200


def test_bad_update_windows_are_refused(sim: Simulator, mews: Mews) -> None:
    """Too long, too fresh, backwards, half open, not in UTC or no time at all: 400."""
    good = window(sim)["UpdatedUtc"]
    bad: list[Any] = [
        window(sim, days=180.001)["UpdatedUtc"],
        window(sim, ago=timedelta(minutes=4))["UpdatedUtc"],
        {"StartUtc": good["EndUtc"], "EndUtc": good["StartUtc"]},
        {"StartUtc": good["StartUtc"]},
        {"StartUtc": None, "EndUtc": None},
        {"StartUtc": good["StartUtc"].replace("Z", "+02:00"), "EndUtc": good["EndUtc"]},
        {"StartUtc": "2026-02-30T00:00:00Z", "EndUtc": good["EndUtc"]},
        "yesterday",
    ]
    for updated in bad:
        assert mews.add("Bill", Filters={"UpdatedUtc": updated}).status_code == 400, updated


def test_ledger_entries_need_their_filter_and_only_they(sim: Simulator, mews: Mews) -> None:
    """The posting filter is required for ledger entries and refused for everything else."""
    assert mews.add("LedgerEntry").status_code == 400
    assert mews.add("LedgerEntry", Filters=window(sim)).status_code == 400
    assert mews.add("LedgerEntry", Filters=POSTING | window(sim)).status_code == 400
    assert mews.add("OrderItem", Filters=POSTING).status_code == 400
    for posting in (None, {"Start": "2026-01-02"}, {"Start": "2026-01-02", "End": "2026-01-01"}):
        assert (
            mews.add("LedgerEntry", Filters={"LedgerEntryFilters": {"Posting": posting}}).status_code == 400
        )
    assert mews.add("LedgerEntry", Filters=POSTING).status_code == 200


def test_one_active_export_per_entity_type(sim: Simulator, mews: Mews) -> None:
    """A second create for the type is 400 without the id of the first, until that one has ended."""
    first = mews.created()["Id"]
    refused = mews.add(Filters=window(sim))
    assert refused.status_code == 400
    assert refused.json()["Message"] == "An export of this entity type is already in progress."
    assert first not in refused.text
    assert mews.add("Payment").status_code == 200
    for state in ("ready", "failed", "expired"):
        sim.set_state("mews", sim.exports("mews")[-1].id, "failed")
        sim.set_state("mews", first, state)
        first = mews.created()["Id"]


@pytest.mark.parametrize("status", [400, 403, 409])
def test_the_busy_answer_can_be_changed(sim: Simulator, mews: Mews, status: int) -> None:
    """Status and text of the busy answer are switches."""
    sim.configure("mews", busy_status=status, busy_message="Warten Sie bitte.")
    mews.created()
    refused = mews.add()
    assert (refused.status_code, refused.json()["Message"]) == (status, "Warten Sie bitte.")


@pytest.mark.parametrize(
    ("unit", "same_client", "other_client"),
    [("token", 200, 200), ("client", 400, 200), ("enterprise", 400, 400)],
)
def test_the_unit_of_exclusivity(
    sim: Simulator, mews: Mews, unit: str, same_client: int, other_client: int
) -> None:
    """Whether another token of the same enterprise is blocked too is a switch."""
    sim.configure("mews", exclusive_per=unit)
    mews.created()
    token = {"AccessToken": sim.tokens["mews_other_access_token"]}
    client = {"ClientToken": sim.tokens["mews_other_client_token"]}
    assert mews.add(**token, **client).status_code == other_client
    assert mews.add("Bill").status_code == 200
    assert mews.add("Bill", **token).status_code == same_client


# Look up


@pytest.mark.parametrize("ids", [..., None, [], ["x"], "one", [7], [str(uuid.uuid4())] * 1001])
def test_bad_id_lists_are_refused(mews: Mews, ids: object) -> None:
    """A lookup takes 1 to 1000 UUIDs and nothing else."""
    assert mews.post("getAll", ExportIds=ids).status_code == 400


def test_a_thousand_ids_in_one_lookup(mews: Mews) -> None:
    """A lookup of 1000 ids answers those that exist."""
    export_id = mews.created()["Id"]
    ids = [str(uuid.uuid4()) for _ in range(999)]
    assert [one["Id"] for one in mews.get_all(*ids, export_id)] == [export_id]


def test_unknown_ids(sim: Simulator, mews: Mews) -> None:
    """An unknown id is left out of the answer, or refused if the switch says so."""
    assert mews.get_all(str(uuid.uuid4())) == []
    sim.configure("mews", unknown_id="400")
    assert mews.post("getAll", ExportIds=[str(uuid.uuid4())]).status_code == 400


def test_what_one_token_sees_of_another(sim: Simulator, mews: Mews) -> None:
    """An export of another access token is unknown unless the switch says otherwise."""
    export_id = mews.created()["Id"]
    mews.credentials["AccessToken"] = sim.tokens["mews_other_access_token"]
    assert mews.get_all(export_id) == []
    sim.configure("mews", visible_across_tokens=True)
    assert len(mews.get_all(export_id)) == 1


def test_life_of_an_export(sim: Simulator, mews: Mews) -> None:
    """Pending, processing, success for seven days, expired with its old expiry, forgotten after 30 more."""
    sim.configure("mews", ready_after_seconds=100)
    export_id = mews.created()["Id"]
    assert sim.exports("mews")[0].state == "pending"
    sim.advance(50)
    assert mews.look(export_id)["Status"] == "Processing"
    sim.advance(50)
    export = mews.look(export_id)
    assert export["Status"] == "Success"
    assert len(export["Files"]) == 2
    expiry = datetime.fromisoformat(export["ExpiresUtc"])
    assert abs(expiry - sim.now() - timedelta(days=7)) < timedelta(seconds=5)
    sim.advance(7 * 86400)
    expired = mews.look(export_id)
    assert (expired["Status"], expired["Files"]) == ("Expired", [])
    assert expired["ExpiresUtc"] == export["ExpiresUtc"]
    sim.advance(30 * 86400)
    assert mews.get_all(export_id) == []


def test_a_failed_export_says_no_more_than_that(sim: Simulator, mews: Mews) -> None:
    """A failed export has no files, no expiry and no reason."""
    sim.configure("mews", outcome="failed", ready_after_reads=1)
    export = mews.look(mews.created()["Id"])
    assert (export["Status"], export["Files"], export["ExpiresUtc"]) == ("Failed", [], None)


# Files


def test_files_are_json_lines_of_the_announced_size(mews: Mews) -> None:
    """Each file has the announced size and holds one JSON object with an id of its own per line."""
    ids = set()
    for entry in mews.ready()["Files"]:
        response = requests.get(entry["Url"], timeout=10)
        assert response.status_code == 200
        assert int(response.headers["Content-Length"]) == len(response.content) == entry["SizeInBytes"]
        records = [json.loads(line) for line in response.content.decode().splitlines()]
        assert len(records) == 25
        ids |= {record["Id"] for record in records}
    assert len(ids) == 50


def test_the_same_request_gives_the_same_data(mews: Mews) -> None:
    """Two exports of the same thing have the same bytes."""
    first, second = (
        [requests.get(entry["Url"], timeout=10).content for entry in mews.ready()["Files"]] for _ in range(2)
    )
    assert first == second


def test_records_lie_in_the_window(sim: Simulator, mews: Mews) -> None:
    """Records were updated within the half-open window, ledger entries posted between both dates."""
    filters = window(sim)
    start, end = (datetime.fromisoformat(filters["UpdatedUtc"][name]) for name in ("StartUtc", "EndUtc"))
    for entry in mews.ready("Reservation", Filters=filters)["Files"]:
        for line in requests.get(entry["Url"], timeout=10).text.splitlines():
            assert start <= datetime.fromisoformat(json.loads(line)["UpdatedUtc"]) < end
    for entry in mews.ready("LedgerEntry", Filters=POSTING)["Files"]:
        for line in requests.get(entry["Url"], timeout=10).text.splitlines():
            record = json.loads(line)
            assert date(2026, 1, 1) <= date.fromisoformat(record["PostingDate"]) <= date(2026, 1, 3)
            assert "UpdatedUtc" not in record


def test_links_are_new_each_time_and_good_for_ten_minutes(sim: Simulator, mews: Mews) -> None:
    """Every lookup signs anew; a link works for 600 s, then not, while a new one does."""
    export = mews.ready()
    old = export["Files"][0]["Url"]
    assert old.startswith(f"{sim.files_origin}/")
    assert not old.startswith(sim.api_origin)
    sim.advance(590)
    assert requests.get(old, timeout=10).status_code == 200
    sim.advance(10)
    assert requests.get(old, timeout=10).status_code == 403
    new = mews.look(export["Id"])["Files"][0]["Url"]
    assert new != old
    assert new.partition("?")[0] == old.partition("?")[0]
    assert requests.get(new, timeout=10).status_code == 200


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_the_answer_to_an_old_link_can_be_changed(sim: Simulator, mews: Mews, status: int) -> None:
    """The undocumented answer to an old link is a switch."""
    sim.configure("mews", stale_status=status)
    url = mews.ready()["Files"][0]["Url"]
    sim.advance(601)
    assert requests.get(url, timeout=10).status_code == status


def test_a_signature_is_for_its_file_only(mews: Mews) -> None:
    """No signature, a made-up one or that of another file opens nothing."""
    first, second = (entry["Url"] for entry in mews.ready()["Files"])
    path, signature = first.partition("?")[0], second.partition("?")[2]
    for url in (path, f"{path}?signature=guess", f"{path}?{signature}"):
        assert requests.get(url, timeout=10).status_code == 403
    assert requests.post(first, timeout=10).status_code == 405


def test_an_expired_export_has_no_files_at_its_links(sim: Simulator, mews: Mews) -> None:
    """A link dies with its export even before its ten minutes are over."""
    export = mews.ready()
    sim.set_state("mews", export["Id"], "expired")
    assert requests.get(export["Files"][0]["Url"], timeout=10).status_code == 403


def test_credentials_at_the_file_host_are_recorded(sim: Simulator, mews: Mews) -> None:
    """A clean download leaves no leak; header, cookie and body credentials are each flagged."""
    url = mews.ready()["Files"][0]["Url"]
    requests.get(url, timeout=10)
    assert sim.leaks() == []
    requests.get(url, headers={"Authorization": "Bearer x"}, timeout=10)
    requests.get(url, cookies={"session": "x"}, timeout=10)
    requests.get(url, json=mews.credentials, timeout=10)
    assert [leak.credentials for leak in sim.leaks("mews")] == [
        ("header Authorization",),
        ("header Cookie",),
        ("body",),
    ]


def test_credentials_at_the_file_host_can_be_refused(sim: Simulator, mews: Mews) -> None:
    """With the switch the file host answers 400 to a request that carries credentials."""
    sim.configure("mews", reject_file_credentials=True)
    url = mews.ready()["Files"][0]["Url"]
    assert requests.get(url, headers={"Authorization": "Bearer x"}, timeout=10).status_code == 400
    assert requests.get(url, timeout=10).status_code == 200


@pytest.mark.parametrize(("form", "sizes"), [("none", []), ("zero_byte", [0])])
def test_an_export_without_records(sim: Simulator, mews: Mews, form: str, sizes: list[int]) -> None:
    """An empty export is a success without files, or with one of zero bytes."""
    sim.configure("mews", rows=0, empty_files=form)
    export = mews.ready()
    assert export["Status"] == "Success"
    assert [entry["SizeInBytes"] for entry in export["Files"]] == sizes
    assert [len(requests.get(entry["Url"], timeout=10).content) for entry in export["Files"]] == sizes


@pytest.mark.parametrize("size", [0, 1, 100, 12_345, 3_000_001])
def test_files_of_a_wanted_size(sim: Simulator, mews: Mews, size: int) -> None:
    """With file_bytes each file has exactly that size and is still JSON Lines."""
    sim.configure("mews", file_bytes=size, files=1)
    (entry,) = mews.ready()["Files"]
    body = requests.get(entry["Url"], timeout=10).content
    assert len(body) == entry["SizeInBytes"] == size
    for line in body.decode().splitlines()[-20:]:
        if line.strip():
            json.loads(line)


def test_announced_sizes_can_be_wrong(sim: Simulator, mews: Mews) -> None:
    """With size_mismatch each announced size is one byte too large."""
    sim.configure("mews", size_mismatch=True)
    for entry in mews.ready()["Files"]:
        assert len(requests.get(entry["Url"], timeout=10).content) == entry["SizeInBytes"] - 1


def test_part_of_a_file(sim: Simulator, mews: Mews) -> None:
    """Range is ignored unless the switch says otherwise; then 206, and 416 past the end."""
    sim.configure("mews", files=1)
    (entry,) = mews.ready()["Files"]
    whole = requests.get(entry["Url"], headers={"Range": "bytes=5-"}, timeout=10)
    assert (whole.status_code, len(whole.content)) == (200, entry["SizeInBytes"])
    sim.configure("mews", ranges="honoured")
    part = requests.get(entry["Url"], headers={"Range": "bytes=5-14"}, timeout=10)
    assert (part.status_code, part.content) == (206, whole.content[5:15])
    assert part.headers["Content-Range"] == f"bytes 5-14/{entry['SizeInBytes']}"
    stale = {"Range": "bytes=5-", "If-Range": '"another"'}
    assert requests.get(entry["Url"], headers=stale, timeout=10).status_code == 200
    past = {"Range": f"bytes={entry['SizeInBytes']}-"}
    assert requests.get(entry["Url"], headers=past, timeout=10).status_code == 416

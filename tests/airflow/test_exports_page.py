"""The page *Exports* in Airflow's own API server, over Airflow's own tables."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.api_fastapi import app as server
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.settings import engine
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import delete, event, insert

from airflow_provider_exports.durable import VERSION, Record
from airflow_provider_exports.plugins import page, records
from airflow_provider_exports.plugins.records import EXPORT_LINK, FILES_LINK

pytestmark = pytest.mark.filterwarnings("ignore")

NOW = datetime.now(UTC).replace(microsecond=0)
READABLE = {"alice": {"rooms", "hotel"}, "bob": {"rooms"}, "carol": {"rooms", "hotel"}, "dave": set[str]()}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Users(SimpleAuthManager):
    """Users who may read some DAGs. Carol may read no XComs of ``hotel``."""

    def init(self) -> None:
        """Make no passwords."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Look it up."""
        dag_id = details.id if details else None
        if user.username == "carol" and access_entity == DagAccessEntity.XCOM and dag_id == "hotel":
            return False
        return method == "GET" and dag_id in READABLE[user.username]


@pytest.fixture(scope="module")
def airflow() -> Iterator[TestClient]:
    """Airflow's API server with its tables."""
    from airflow.models import import_all_models

    import_all_models()
    Base.metadata.create_all(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", f"{__name__}.Users")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x" * 64)
        server.purge_cached_app()
        with TestClient(server.create_app(apps="core"), follow_redirects=False) as client:
            yield client
        server.purge_cached_app()
    Base.metadata.drop_all(engine)


Get = Callable[..., str]


@pytest.fixture
def get(airflow: TestClient) -> Get:
    """Get the page as a user: ``get("alice", "?vendor=mews")``."""

    def as_user(username: str, query: str = "") -> str:
        answer = airflow.get(f"/exports/{query}", headers=token(username))
        assert answer.status_code == 200, answer.text
        return answer.text

    return as_user


def token(username: str) -> dict[str, str]:
    user = SimpleAuthManagerUser(username=username, role="viewer")
    return {"Authorization": f"Bearer {server.get_auth_manager().generate_jwt(user)}"}


class Deployment:
    """What Airflow has on record."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], int] = {}
        with create_session() as session:
            for model in (*STORED, XComModel, TaskInstance, DagRun, DagModel, DagBundleModel):
                session.execute(delete(model))
            session.add(DagBundleModel(name="files"))
            session.flush()
            for dag_id in ("rooms", "hotel"):
                session.add(DagModel(dag_id=dag_id, bundle_name="files", fileloc="/dags/one.py"))

    def run(self, dag_id: str, run_id: str, ago: timedelta = timedelta(0)) -> int:
        """Add a run, once."""
        if (dag_id, run_id) not in self._runs:
            with create_session() as session:
                run = DagRun(dag_id=dag_id, run_id=run_id, run_type="manual", run_after=NOW - ago)
                run.bundle_version = None
                session.add(run)
                session.flush()
                self._runs[dag_id, run_id] = run.id
        return self._runs[dag_id, run_id]

    def task(
        self,
        task_id: str = "export",
        *,
        dag_id: str = "rooms",
        run_id: str = "r1",
        map_index: int = -1,
        operator: str = "RunExportOperator",
        state: str | None = "success",
        ago: timedelta = timedelta(0),
        record: Record | None = None,
        **xcoms: Any,
    ) -> None:
        """Add a task instance with its XComs, and its record where Airflow keeps one."""
        dag_run_id = self.run(dag_id, run_id, ago)
        names = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        with create_session() as session:
            session.execute(
                insert(TaskInstance).values(
                    **names,
                    state=state,
                    operator=operator,
                    pool="default_pool",
                    pool_slots=1,
                    max_tries=0,
                    try_number=1,
                )
            )
            for key, value in xcoms.items():
                session.execute(
                    insert(XComModel).values(
                        **names, dag_run_id=dag_run_id, key=key, value=value, timestamp=NOW
                    )
                )
            for model in STORED if record is not None else ():
                session.execute(
                    insert(model).values(
                        **names,
                        dag_run_id=dag_run_id,
                        key="export",
                        value=json.dumps({"version": VERSION, **asdict(record)}),
                        updated_at=NOW,
                    )
                )


# Airflow's table of the task state stores, where it has one.
STORED = [model for model in [vars(records)["TaskStateStoreModel"]] if model is not None]


@pytest.fixture
def deployment(airflow: TestClient) -> Deployment:
    """An Airflow without exports."""
    return Deployment()


def result(export_id: str = "e-1", vendor: str = "mews", **changes: Any) -> dict[str, Any]:
    """Return an export result whose files have landed."""
    return {
        "export_id": export_id,
        "vendor": vendor,
        "state": "ready",
        "created_at": "2026-01-02T03:04:05Z",
        "expires_at": None,
        "files": [{"uri": "file:///data/one.csv", "name": "one.csv", "size": 1500, "sha256": "0" * 64}],
    } | changes


def table(text: str) -> list[list[str]]:
    """Return the words of each cell of each export."""
    body = re.search("<tbody>(.*)</tbody>", text, re.DOTALL)
    rows = re.findall("<tr>(.*?)</tr>", body[1], re.DOTALL) if body else []
    cells = [re.findall("<t[hd][ >](.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    plain = [[html.unescape(re.sub("<[^>]*>", " ", f"<{cell}")) for cell in row] for row in cells]
    return [[" ".join(cell.split()) for cell in row] for row in plain]


def column(text: str, number: int) -> list[str]:
    return [row[number] for row in table(text)]


def test_landed_export(deployment: Deployment, get: Get) -> None:
    """All that the result tells is shown: files, bytes, where they lie, and the way to the task."""
    deployment.task(map_index=3, return_value=result(), export_id="e-1")
    text = get("alice")
    (row,) = table(text)
    assert row[:3] == ["mews e-1", "rooms export [3] r1", "Landed"]
    assert row[3].startswith("2026-01-02 03:04 ")
    assert row[4] == "unknown"
    assert row[5].startswith("1 file of export e-1 file:///data/one.csv")
    assert row[6] == "1.5 KiB"
    assert 'href="../dags/rooms/runs/r1/tasks/export/mapped/3"' in text
    assert 'href="../dags/rooms/runs/r1/tasks/export/mapped/3/xcom"' in text
    assert "1 to 1 of 1 exports" in text


def test_absurd_size_is_unknown(deployment: Deployment, get: Get) -> None:
    """Whoever may write an XCom could else break the page for all who may read the DAG."""
    told = result()
    told["files"][0]["size"] = 10**400
    deployment.task(return_value=told, export_id="e-1")
    (row,) = table(get("alice"))
    assert row[6] == "unknown"


def test_links_that_the_tasks_have_stored(deployment: Deployment, get: Get) -> None:
    """The way to the vendor's page and to the folder, where there is one; only to the web."""
    folder = "https://console.example.com/bucket?a=1&b=2"
    links = {EXPORT_LINK: "https://vendor.example.com/e-1", FILES_LINK: folder}
    deployment.task("land", return_value=result(), **links)
    deployment.task("sly", return_value=result("e-2"), **dict.fromkeys(links, "javascript:alert(1)"))
    text = get("alice")
    assert re.findall('href="([^"]*)" target="_blank" rel="noopener noreferrer"', text) == [
        "https://vendor.example.com/e-1",
        html.escape(folder),
    ]
    assert "javascript" not in text


@pytest.mark.parametrize(
    ("state", "records_of_it", "shown"),
    [
        ("deferred", {"export_id": "e-1"}, "Waiting"),
        ("up_for_retry", {"export_id": "e-1"}, "Waiting"),
        ("failed", {"export_id": "e-1"}, "Task failed"),
        ("skipped", {"export_id": "e-1"}, "Task skipped"),
        ("removed", {"export_id": "e-1"}, "Unknown"),
        ("success", {"return_value": result(files=[])}, "Ready"),
        ("success", {"return_value": result(files=[], expires_at="2026-01-03T00:00:00Z")}, "Expired"),
        ("success", {"return_value": result(files=[], expires_at="2999-01-03T00:00:00Z")}, "Ready"),
        ("success", {"return_value": result(files=[], state="vanished")}, "Unknown"),
        # JSON as text: what an XCom was before Airflow 3, and is where a test or plug-in sets it.
        ("success", {"return_value": json.dumps(result())}, "Landed"),
    ],
)
def test_state(
    state: str, records_of_it: dict[str, Any], shown: str, deployment: Deployment, get: Get
) -> None:
    """The state is what the result says, else what Airflow's state of the task means for the export."""
    deployment.task(state=state, **records_of_it)
    assert column(get("alice"), 2) == [shown]


@pytest.mark.parametrize(("operator", "vendor"), [("MewsCreateExportOperator", "mews"), ("Own", None)])
def test_created_export_is_known_by_what_the_task_returned(
    operator: str, vendor: str | None, deployment: Deployment, get: Get
) -> None:
    """The id that a create operator returns is an export; a text of another task is nothing."""
    deployment.task(operator=operator, return_value="12345")
    assert [row[:3] for row in table(get("alice"))] == (
        [["mews 12345", "rooms export r1", "Created"]] if vendor else []
    )


def test_nothing_else_counts_as_an_export(deployment: Deployment, get: Get) -> None:
    """Neither tasks of others with a like-named XCom, nor deletes, nor what has not begun."""
    deployment.task("theirs", operator="BigQueryOperator", export_id="x")
    deployment.task("passed_on", operator="_PythonDecoratedOperator", return_value=result())
    deployment.task("delete", operator="DeleteExportOperator", return_value=True)
    deployment.task("later", state=None)
    deployment.task("list", return_value=[result()])
    deployment.task("half", return_value={"export_id": "e-1", "vendor": 5})
    assert table(get("alice")) == []


@pytest.mark.parametrize("operator", ["Own", "_PythonDecoratedOperator"])
def test_operator_of_another_name_is_known_by_its_marks(
    operator: str, deployment: Deployment, get: Get
) -> None:
    """A subclass may have any name: it pushes the id and returns a result."""
    deployment.task(operator=operator, export_id="e-1", return_value=result())
    assert column(get("alice"), 0) == ["mews e-1"]


def test_one_row_for_create_and_download(deployment: Deployment, get: Get) -> None:
    """What one task creates and another one lands is one export; of another run it is another row."""
    deployment.task("create", operator="CreateExportOperator", return_value="e-1")
    deployment.task("land", operator="DownloadExportOperator", return_value=result())
    deployment.task("failed", operator="DownloadExportOperator", state="failed")
    deployment.task("land", run_id="r2", operator="DownloadExportOperator", return_value=result())
    deployment.task("other", operator="OnnaCreateExportOperator", return_value="e-1")
    text = get("alice", "?sort=dag")
    assert [row[:3] for row in table(text)] == [
        ["mews e-1", "rooms create r1", "Landed"],
        ["onna e-1", "rooms other r1", "Created"],
        ["mews e-1", "rooms land r2", "Landed"],
    ]
    assert 'href="../dags/rooms/runs/r1/tasks/land/xcom"' in text


@pytest.mark.parametrize(
    ("changes", "state", "shown"),
    [
        ({}, "deferred", [["giosg e-7", "rooms export r1", "Waiting"]]),
        ({"export_id": None}, "running", [["giosg no id yet", "rooms export r1", "Creating"]]),
        ({"export_id": None}, "failed", [["giosg no id yet", "rooms export r1", "Task failed"]]),
        ({"done": True}, "success", [["giosg e-7", "rooms export r1", "Created"]]),
        ({"nothing": True, "export_id": None}, "up_for_retry", []),
    ],
)
def test_record_of_the_task(
    changes: dict[str, Any], state: str, shown: list[list[str]], deployment: Deployment, get: Get
) -> None:
    """The task state store, where Airflow has one, tells of an export before and without any XCom."""
    values: dict[str, Any] = {
        "vendor": "giosg",
        "conn_id": "c",
        "fingerprint": "f",
        "generation": 0,
        "since": NOW.timestamp(),
        "export_id": "e-7",
    }
    deployment.task(operator="Own", state=state, record=Record(**values | changes))
    rows = table(get("alice"))
    assert [row[:3] for row in rows] == (shown if STORED else [])
    assert all(row[3].startswith(NOW.strftime("%Y-%m-%d %H:%M")) for row in rows)


def test_each_sees_only_what_they_may_read(deployment: Deployment, get: Get) -> None:
    """Not a word of another DAG is on the page: no row, no choice in a filter, no number."""
    deployment.task(return_value=result("in-rooms"))
    deployment.task("night", dag_id="hotel", run_id="h1", return_value=result("in-hotel", vendor="onna"))
    assert sorted(column(get("alice"), 0)) == ["mews in-rooms", "onna in-hotel"]
    for username in ("bob", "carol"):
        for query in ("", "?dag=nothing", "?text=in-", "?period=all&sort=dag", "?dag_id=rooms"):
            text = get(username, query)
            assert not re.search("hotel|night|h1<|onna", text), (username, query)
        assert column(get(username), 0) == ["mews in-rooms"]
        assert "of 1 exports" in get(username)
    # What was asked for stands in the filter, and says nothing of what there is.
    assert table(get("bob", "?dag=hotel")) == []
    assert get("bob", "?dag=hotel") == get("bob", "?dag=motel").replace("motel", "hotel")
    assert "No exports in the runs" in get("dave")


def test_nobody_sees_anything_without_signing_in(airflow: TestClient, deployment: Deployment) -> None:
    """Without a token, or with a wrong one, there is a way to sign in and nothing else."""
    deployment.task(return_value=result())
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "_token=wrong"}):
        answer = airflow.get("/exports/", headers=headers)
        assert answer.status_code in (401, 403)
        assert "Sign in" in answer.text
        assert "e-1" not in answer.text
    cookie = token("alice")["Authorization"].removeprefix("Bearer ")
    assert "e-1" in airflow.get("/exports/", headers={"Cookie": f"_token={cookie}"}).text


@pytest.mark.parametrize("path", ["/exports/", "/exports/static/page.css", "/exports/static/page.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_page_is_read_only(method: str, path: str, airflow: TestClient, deployment: Deployment) -> None:
    """Only GET is answered."""
    assert airflow.request(method, path, headers=token("alice")).status_code == 405


def test_get_changes_nothing(deployment: Deployment, get: Get) -> None:
    """The page sends nothing but SELECTs, five at most, however many exports there are."""
    for number in range(120):
        deployment.task(map_index=number, return_value=result(f"e-{number}"))
    statements: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        get("alice", "?page=2")
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert {statement.split()[0] for statement in statements} == {"SELECT"}
    assert len([one for one in statements if "revoked_token" not in one]) <= 5


def test_every_answer_carries_the_policy(airflow: TestClient, deployment: Deployment) -> None:
    """Nothing comes from elsewhere or runs inline, and only Airflow itself may frame the page."""
    deployment.task(return_value=result())
    for path in ("/exports/", "/exports/static/page.css", "/exports/static/page.js", "/exports/none"):
        for headers in (token("alice"), {}):
            policy = airflow.get(path, headers=headers).headers["Content-Security-Policy"].split("; ")
            assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'self'"} <= set(policy)
            assert "unsafe" not in " ".join(policy)
    text = airflow.get("/exports/", headers=token("alice")).text
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=|https?://", text)


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "\u202egnp.exe\u2066\x00\x1b[31m\ud800", "{{ 7 * 7 }}{% raw %}", "j" * 5000]
)
def test_texts_of_others_are_texts(hostile: str, deployment: Deployment, get: Get) -> None:
    """Whatever a vendor says is shown as it is: no markup, no changed direction, not without end."""
    value = result(hostile, vendor=hostile, expires_at=hostile, created_at=hostile, state=hostile)
    value["files"] = [{"uri": f"javascript:{hostile}", "name": hostile, "size": hostile, "sha256": hostile}]
    deployment.task(return_value=value)
    text = get("alice")
    assert len(table(text)) == 1
    assert text.count("<script") == 1
    assert "<img" not in text
    assert not re.search("href=.?javascript", text)
    assert not re.search("[\u202e\u2066\x00\x1b]", text)
    assert "49" not in column(text, 0)[0]
    assert max(len(cell) for cell in table(text)[0]) < 1000


def test_hostile_address(deployment: Deployment, get: Get) -> None:
    """What the address says is text as well, and what it cannot mean is not asked."""
    deployment.task(return_value=result())
    text = get(
        "alice", "?vendor=%3Cscript%3E&text=%22%3E%3Cscript%3E&dag=%FF%00&state=%3Cb%3E&sort=x&page=-1"
    )
    assert text.count("<script") == 1
    assert "No export matches" in text
    for query in ("?page=99999999999", "?page=%D9%A3", "?page=1e9", "?sort=--size", "?period=-5", "?page="):
        assert column(get("alice", query), 0) == ["mews e-1"], query


def test_filters_and_order(deployment: Deployment, get: Get) -> None:
    """Each filter narrows, each column orders, and the unknown comes last either way."""
    many = result("e-2", vendor="onna", files=result()["files"] * 2, expires_at="2999-01-01T00:00:00Z")
    deployment.task("a", return_value=result("e-1", created_at="2026-01-01T00:00:00Z"))
    deployment.task("b", return_value=many)
    deployment.task("c", dag_id="hotel", run_id="h1", state="deferred", export_id="e-3")

    def ids(query: str) -> list[str]:
        return [cell.split()[-1] for cell in column(get("alice", query), 0)]

    assert ids("?vendor=onna") == ["e-2"]
    assert ids("?state=waiting") == ["e-3"]
    assert ids("?dag=hotel") == ["e-3"]
    assert ids("?text=H1") == ids("?text=E-3") == ["e-3"]
    assert ids("?vendor=onna&dag=hotel") == []
    assert ids("") == ["e-3", "e-2", "e-1"]
    assert ids("?sort=created") == ["e-1", "e-2", "e-3"]
    assert ids("?sort=-size") == ["e-2", "e-1", "e-3"]
    assert ids("?sort=size") == ["e-1", "e-2", "e-3"]
    assert ids("?sort=files")[-1] == ids("?sort=-files")[-1] == "e-3"
    assert ids("?sort=expires")[0] == ids("?sort=-expires")[0] == "e-2"
    assert ids("?sort=export")[1:] == ["e-1", "e-2"]
    assert ids("?sort=state")[-1] == "e-3"
    text = get("alice", "?vendor=onna&sort=-size")
    assert '<option value="onna" selected>' in text
    assert 'aria-sort="descending"' in text
    assert 'href="?vendor=onna&amp;sort=size"' in text


def test_pages(deployment: Deployment, get: Get) -> None:
    """Fifty to a page; the way to the others keeps filter and order."""
    for number in range(120):
        deployment.task(map_index=number, return_value=result(f"e-{number:03}"))
    pages = [column(get("alice", f"?sort=export&vendor=mews&page={page}"), 0) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert [one for page in pages for one in page] == [f"mews e-{number:03}" for number in range(120)]
    assert pages[2] == column(get("alice", "?sort=export&page=7"), 0)
    text = get("alice", "?sort=export&vendor=mews&page=2")
    assert 'href="?vendor=mews&amp;sort=export&amp;page=3"' in text
    assert 'href="?vendor=mews&amp;sort=export"' in text


def test_period(deployment: Deployment, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of the last thirty days, or of another period; the newest ones if there are too many."""
    for days in (1, 20, 60, 400):
        deployment.task(run_id=f"r{days}", ago=timedelta(days=days), return_value=result(f"e-{days}"))
    shown = {
        period: len(table(get("alice", f"?period={period}"))) for period in ("7", "30", "90", "all", "0")
    }
    assert shown == {"7": 1, "30": 2, "90": 3, "all": 4, "0": 2}
    monkeypatch.setattr(records, "MOST", 3)
    monkeypatch.setattr(page, "MOST", 3)
    text = get("alice", "?period=all&sort=dag")
    assert column(text, 0) == ["mews e-1", "mews e-20", "mews e-60"]
    assert "Only the 3 newest" in text


def test_empty_page_says_why(deployment: Deployment, get: Get) -> None:
    """Nothing there and nothing found are two things."""
    assert "No exports in the runs of the last 30 days" in get("alice")
    assert "No exports in any run" in get("alice", "?period=all")
    deployment.task(return_value=result())
    assert "No export matches" in get("alice", "?vendor=onna")

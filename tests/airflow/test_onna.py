"""Onna against the simulator, on a worker and deferred, with the same outcome."""

from __future__ import annotations

import hashlib
import io
import socket
import zipfile
from collections import Counter, deque
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, TaskDeferred

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.hooks.onna import OnnaHook
from airflow_provider_exports.operators.export import DeleteExportOperator, DownloadExportOperator
from airflow_provider_exports.operators.onna import OnnaCreateExportOperator, OnnaRunExportOperator
from airflow_provider_exports.sensors.onna import OnnaExportSensor
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, fire, landed, run
from tests.airflow.conftest import Connect

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("simulator")]


def onna(deferrable: bool, **changes: Any) -> Any:
    arguments = {
        "task_id": "t",
        # Another export in the place of a failed one is not what these tests are about.
        "max_recreations": 0,
        "title": "Weekly",
        "workspace_url": "weekly-archive-T3mWzs",
        "modified_after": "2026-01-05",
        "modified_before": "2026-01-12",
        "deferrable": deferrable,
        **changes,
    }
    return lambda: OnnaRunExportOperator(**arguments)


def sent(simulator: Simulator, operation: str) -> list[Any]:
    return simulator.requests("onna", operation)


def test_archive_lands_whole(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """One create, one start, a wait, and the archive with the size and hash that are returned."""
    simulator.configure("onna", ready_after_seconds=200)
    events: list[dict[str, Any]] = []
    result = run(onna(deferrable, destination=tmp_path.as_uri()), events=events)
    assert len(sent(simulator, "create")) == len(sent(simulator, "start")) == 1
    # A turn among those that may run at once, then the export.
    assert [event["state"] for event in events] == ([None, "ready"] if deferrable else [])
    (file,) = result["files"]
    content = (tmp_path / file["name"]).read_bytes()
    assert file["name"] == f"{result['export_id']}.zip"
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert "VOL001/Weekly.csv" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert simulator.leaks("onna") == []
    for secret in (*simulator.tokens.values(), simulator.link_secret):
        assert secret not in repr((result, events))


OUTCOMES = [
    # what happens at the vendor, and the class of the error
    ("wrong payload", errors.InvalidPayload),
    ("wrong credentials", errors.AuthenticationFailed),
    ("no code", errors.AuthenticationFailed),
    ("missing right", errors.PermissionDenied),
    ("right lost during the wait", errors.PermissionDenied),
    ("forbidden", errors.PermissionDenied),
    ("wrong container", errors.ExportRejected),
    ("nobody there", errors.VendorUnreachable),
    ("create down", errors.UnknownOutcome),
    ("create cut off", errors.UnknownOutcome),
    ("late failure", errors.ExportFailed),
    ("failed", errors.ExportFailed),
    ("expired", errors.ExportExpired),
    ("unknown status", errors.UnknownStatus),
    ("html", errors.UnexpectedResponse),
    ("missing field", errors.UnexpectedResponse),
    ("never ready", errors.ExportTimedOut),
    ("deleted", errors.ExportExpired),
    ("expired during the download", errors.ExportExpired),
    ("expired half-way through a file", errors.ExportExpired),
    ("page instead of file", errors.NotTheFile),
    ("size mismatch", errors.DownloadIncomplete),
    ("retired", errors.ExportRejected),
]


@pytest.mark.parametrize(("case", "error"), OUTCOMES, ids=[case for case, _ in OUTCOMES])
def test_each_failure_has_its_own_error(
    simulator: Simulator,
    connect: Connect,
    deferrable: bool,
    case: str,
    error: type[errors.ExportError],
    tmp_path: Path,
) -> None:
    """Class, vendor and next step are the same in both modes, and nothing is left behind."""
    changes: dict[str, Any] = {"destination": tmp_path.as_uri()}
    # A deferred task looks once more when it comes back; each look asks for the head of the file.
    heads = 1 + deferrable
    match case:
        case "wrong payload":
            changes["modified_before"] = "2026-01-05"
        case "wrong credentials":
            connect("onna", password="wrong")
        case "no code":
            simulator.configure("onna", auth_code="null")
        case "missing right":
            simulator.fail_next("onna", "create", fault="unauthorized", times=None)
        case "right lost during the wait":
            simulator.fail_next("onna", "get", fault="unauthorized", times=None, after=1)
        case "forbidden":
            # Not Onna's own word, but that of what may stand before it.
            simulator.fail_next("onna", "create", fault="forbidden")
        case "wrong container":
            connect("onna", container="elsewhere")
        case "nobody there":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                connect("onna", host=f"http://127.0.0.1:{unused.getsockname()[1]}")
        case "create down":
            simulator.fail_next("onna", "create", fault="503", times=None)
        case "create cut off":
            simulator.fail_next("onna", "create", fault="reset", times=None)
        case "late failure":
            changes["payload"] = {"settings": {"loadFileFormat": {}}}
        case "failed":
            simulator.configure("onna", outcome="failed", ready_after_seconds=100)
        case "expired":
            simulator.configure("onna", file_life_seconds=20, ready_after_seconds=100)
            connect("onna", poll_initial=300, poll_factor=1)
        case "unknown status":
            simulator.fail_next("onna", "get", fault="unknown_status", times=None)
        case "html":
            simulator.fail_next("onna", "get", fault="html", times=None)
        case "missing field":
            simulator.fail_next("onna", "get", fault="missing_field", field="@id", times=None)
        case "never ready":
            simulator.configure("onna", outcome="never")
            changes["timeout"] = 3600
        case "deleted":
            simulator.configure("onna", outcome="never", visible_after_seconds=1e9)
        case "expired during the download":
            simulator.fail_next("onna", "file", fault="404", times=None, after=heads)
        case "expired half-way through a file":
            simulator.fail_next("onna", "file", fault="truncated", after=heads)
            simulator.fail_next("onna", "file", fault="404", times=None)
        case "page instead of file":
            simulator.fail_next("onna", "file", fault="html_instead", times=None)
        case "size mismatch":
            simulator.configure("onna", size_mismatch=True)
        case "retired":
            simulator.configure("onna", retired="404")
    caught = error_of(onna(deferrable, **changes))
    assert type(caught) is error, caught
    assert caught.vendor == "onna"
    assert caught.next_step or caught.advice
    exports = simulator.exports("onna")
    assert len(exports) <= 1
    if exports:
        assert str(caught.export_id).startswith("airflow-")
        assert str(caught.export_id) in str(caught)
    assert landed(tmp_path) == []
    assert simulator.leaks("onna") == []
    assert not any(secret in str(caught) for secret in (*simulator.tokens.values(), simulator.link_secret))


def test_missing_status_is_no_end(simulator: Simulator, deferrable: bool) -> None:
    """Then the file tells that it is ready; an object without its own address makes no sense."""
    simulator.fail_next("onna", "get", fault="missing_field", times=2)
    assert run(onna(deferrable))["state"] == "ready"


def test_token_that_dies_during_a_wait_is_replaced(simulator: Simulator, deferrable: bool) -> None:
    """Before its end, by its own ``exp``: no look is refused."""
    simulator.configure("onna", token_seconds=900, ready_after_seconds=4000)
    run(onna(deferrable))
    assert len(sent(simulator, "login")) > 2
    assert not [request for request in sent(simulator, "get") if request.status != 200]


def test_token_that_is_revoked_during_a_wait_is_replaced(simulator: Simulator, deferrable: bool) -> None:
    """Long before its end: the 401 to one look leads to a new login, and the wait goes on."""
    simulator.configure("onna", ready_after_seconds=4000)
    simulator.fail_next("onna", "get", fault="unauthorized", after=2)
    assert run(onna(deferrable))["state"] == "ready"
    # Triggerer and worker, for the turn and for the export, log in for themselves.
    assert len(sent(simulator, "login")) == 1 + (4 if deferrable else 1)
    assert [request.status for request in sent(simulator, "get")].count(401) == 1


def test_export_that_nobody_knows(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """Look, wait and download name the id; a delete has nothing to do."""
    unknown: dict[str, Any] = {"task_id": "t", "export_id": "no-such"}
    here = {**unknown, "conn_id": "onna_default"}
    sensor = lambda: OnnaExportSensor(**unknown, deferrable=deferrable, poke_interval=60)  # noqa: E731
    download = lambda: DownloadExportOperator(**here, destination=tmp_path.as_uri())  # noqa: E731
    for make in (sensor, download):
        caught = error_of(make)
        assert (type(caught), caught.export_id) == (errors.ExportNotFound, "no-such")
    with pytest.raises(errors.ExportNotFound, match="onna export no-such"):
        OnnaHook().get_export("no-such")
    assert run(lambda: DeleteExportOperator(**here)) is False
    assert landed(tmp_path) == []


def test_export_that_expires_before_its_download(simulator: Simulator, tmp_path: Path) -> None:
    """The object is still there and says that it is done; its archive is not."""
    export_id = run(onna(False))["export_id"]
    simulator.advance(31 * 86400)
    caught = error_of(
        lambda: DownloadExportOperator(
            task_id="t", conn_id="onna_default", export_id=export_id, destination=tmp_path.as_uri()
        )
    )
    assert (type(caught), caught.export_id) == (errors.ExportExpired, export_id)
    assert landed(tmp_path) == []


@pytest.mark.parametrize(
    "fault",
    ["lost_response", "malformed_json", "html", "missing_field", "500", "500_after", "503_after", "reset"],
)
def test_unanswered_create_is_adopted(simulator: Simulator, deferrable: bool, fault: str) -> None:
    """It is looked for by its id, sent again only if nothing is there, and started once: one export."""
    simulator.fail_next("onna", "create", fault=fault)
    result = run(onna(deferrable))
    assert result["export_id"].startswith("airflow-")
    assert len(simulator.exports("onna")) == len(sent(simulator, "start")) == 1


def test_retry_adopts_what_the_last_try_made(simulator: Simulator, deferrable: bool) -> None:
    """The same occurrence has the same id: a conflict means that it exists, and it is started once."""
    first = run(onna(deferrable))
    second = run(onna(deferrable))
    assert first["export_id"] == second["export_id"]
    assert len(sent(simulator, "start")) == 1
    other = run(onna(deferrable, title="Again"))
    assert other["export_id"] != first["export_id"]


def test_process_that_died_before_the_start_goes_on(simulator: Simulator, deferrable: bool) -> None:
    """An export that was created and never started is adopted and started."""
    hook = OnnaHook()
    payload = OnnaCreateExportOperator(task_id="t", title="Weekly")._prepared()
    created = hook.run_plan(lambda life: life.call(life.vendor.create(payload)))
    assert sent(simulator, "start") == []
    changes = dict.fromkeys(("workspace_url", "modified_after", "modified_before"))
    assert run(onna(deferrable, **changes))["export_id"] == created.export_id
    assert len(sent(simulator, "start")) == 1


def test_lost_start_is_not_sent_twice(simulator: Simulator, deferrable: bool) -> None:
    """The object shows signs of work, so the start has arrived."""
    simulator.fail_next("onna", "start", fault="lost_response")
    run(onna(deferrable))
    assert len(sent(simulator, "start")) == 1


def test_failed_occurrence_gets_a_numbered_id(simulator: Simulator, deferrable: bool) -> None:
    """A retry after a failure makes a new export beside the failed one."""
    simulator.configure("onna", outcome="failed")
    failed = error_of(onna(deferrable))
    simulator.configure("onna", outcome="success")
    result = run(onna(deferrable))
    assert result["export_id"] == f"{failed.export_id}-2"
    assert run(onna(deferrable))["export_id"] == result["export_id"]


def test_busy_database_is_tried_again(simulator: Simulator, deferrable: bool) -> None:
    """A bare 409 is no duplicate."""
    simulator.fail_next("onna", "create", fault="409", times=2)
    result = run(onna(deferrable))
    assert result["state"] == "ready"
    assert len(simulator.exports("onna")) == 1


def test_cap_is_waited_for(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """No more exports run at once than ``max_active``; the next one waits."""
    connect("onna", max_active=1)
    simulator.configure("onna", ready_after_seconds=700)
    run(lambda: OnnaCreateExportOperator(task_id="t", title="First"))
    events: list[dict[str, Any]] = []
    run(onna(deferrable), events=events)
    assert len(simulator.exports("onna")) == 2
    if deferrable:
        # The list of the folder tells when it ends; no try is in vain.
        assert [event["state"] for event in events] == [None, "ready"]
        assert len(sent(simulator, "create")) == 2


def test_mapped_exports_wait_for_room_without_a_worker(
    simulator: Simulator, connect: Connect, tmp_path: Path
) -> None:
    """Five datasources at once: two run, three wait deferred, and the one that fails stops no other."""
    connect("onna", max_active=2)
    simulator.configure("onna", ready_after_seconds=700)
    simulator.fail_next("onna", "start", fault="job_failed", after=1)
    sources = [f"uid-{number}" for number in range(5)]
    with DAG("bulk", schedule=None):
        mapped = OnnaRunExportOperator.partial(
            task_id="t", title="Bulk", destination=tmp_path.as_uri(), deferrable=True, max_recreations=0
        ).expand(datasource_uid=sources)
    steps: deque[tuple[str, TaskDeferred | None]] = deque((uid, None) for uid in sources)
    ends: dict[str, Any] = {}
    waits: Counter[str] = Counter()
    most = 0
    while steps:
        uid, deferred = steps.popleft()
        try:
            ends[uid] = went_on(mapped.unmap({"datasource_uid": uid}), deferred)["state"]
        except TaskDeferred as again:
            # Whatever it waits for: the worker is free, and the next one has its turn.
            waits[uid] += again.trigger.export_id is None
            steps.append((uid, again))
        except AirflowFailException as error:
            ends[uid] = type(error.__cause__)
        states = [export.state for export in simulator.exports("onna")]
        most = max(most, states.count("pending") + states.count("processing"))
    failed = [uid for uid in sources if ends[uid] != "ready"]
    assert failed == ["uid-1"]
    assert ends["uid-1"] is errors.ExportFailed
    assert len(landed(tmp_path)) == len(simulator.exports("onna")) - len(failed) == 4
    assert most == 2
    assert [waits[uid] for uid in sources] == [1, 1, 1, 1, 1]


def went_on(task: Any, deferred: TaskDeferred | None) -> Any:
    """Execute a task, or let its trigger fire and resume it."""
    if deferred is None:
        return task.execute({})
    event = fire(deferred.trigger)
    return getattr(task, deferred.method_name)({}, event=event, **(deferred.kwargs or {}))


@pytest.mark.parametrize("download", ["direct", "signed"])
@pytest.mark.parametrize("volumes", [1, 2])
def test_files_wherever_they_are(
    simulator: Simulator, deferrable: bool, download: str, volumes: int, tmp_path: Path
) -> None:
    """The token goes to the API's own origin only; an archive may come in volumes."""
    simulator.configure("onna", download=download, volumes=volumes)
    result = run(onna(deferrable, destination=tmp_path.as_uri()))
    assert len(result["files"]) == len(landed(tmp_path)) >= 1
    assert simulator.leaks("onna") == []


def test_vendor_without_status_field(simulator: Simulator, deferrable: bool) -> None:
    """Then the file tells that it is ready."""
    simulator.configure("onna", status_field=None, error_field=None, ready_after_seconds=100)
    assert run(onna(deferrable))["state"] == "ready"
    assert len(sent(simulator, "start")) == 1


def test_server_that_thinks_it_has_another_address(simulator: Simulator, deferrable: bool) -> None:
    """Its own string starts the export, our address reads and fetches it."""
    simulator.configure("onna", id_base="http://inner.example:8080")
    assert run(onna(deferrable))["state"] == "ready"


def test_window_that_has_just_ended_is_left_to_settle(simulator: Simulator, deferrable: bool) -> None:
    """Sources are synced every 20 to 30 minutes, so the create waits for that."""
    end = simulator.now().replace(microsecond=0) - timedelta(seconds=5)
    run(onna(deferrable, modified_after=end - timedelta(days=7), modified_before=end))
    (create,) = sent(simulator, "create")
    assert (create.at - end).total_seconds() >= 1800


def test_list_datasources_sensor_and_delete(simulator: Simulator, connect: Connect) -> None:
    """The hook lists exports and datasources; a sensor waits; an operator deletes, once."""
    export_id = run(lambda: OnnaCreateExportOperator(task_id="t", title="First"))
    assert OnnaExportSensor(task_id="s", export_id=export_id, poke_interval=60).execute({}) is not False
    hook = OnnaHook()
    assert [export.export_id for export in hook.list_exports()] == [export_id]
    assert hook.get_exports([export_id, "no-such"]).keys() == {export_id}
    assert hook.test_connection()[0]
    names = {one.name for one in hook.list_datasources()}
    connect("onna", workspace="weekly-archive-T3mWzs", datasource_types="SlackEDatasource")
    assert [one.name for one in OnnaHook().list_datasources()] == ["Slack of the support"]
    assert len(names) > 1
    assert run(lambda: DeleteExportOperator(task_id="t", conn_id="onna_default", export_id=export_id)) is True
    assert (
        run(lambda: DeleteExportOperator(task_id="t", conn_id="onna_default", export_id=export_id)) is False
    )

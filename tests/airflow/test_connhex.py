"""Connhex against the simulator, on a worker and deferred: every way an export can end."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.operators.connhex import ConnhexCreateExportOperator, ConnhexRunExportOperator
from airflow_provider_exports.operators.export import DeleteExportOperator, DownloadExportOperator
from airflow_provider_exports.sensors.connhex import ConnhexExportSensor
from airflow_provider_exports.simulator import Simulator
from tests.airflow.both_modes import error_of, landed, run
from tests.airflow.conftest import Connect

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("simulator")]

URN = "urn:cpt:smartdevice:nid:AA01:temp"
CHANNEL = "00000000-0000-4000-8000-000000000001"
WINDOW = {"from_time": "2025-01-01", "to_time": "2025-01-02"}


def connhex(deferrable: bool = False, **changes: Any) -> Any:
    arguments = {
        "task_id": "t",
        # Another export in the place of a failed one is not what these tests are about.
        "max_recreations": 0,
        "extension": "csv",
        "channel_id": CHANNEL,
        "subtopic": "events.data",
        "targets": [URN],
        "labels": ["temperature"],
        **WINDOW,
        "deferrable": deferrable,
        **changes,
    }
    return lambda: ConnhexRunExportOperator(**arguments)


def created(**changes: Any) -> Any:
    arguments = {
        "task_id": "c",
        "extension": "csv",
        "channel_id": CHANNEL,
        "subtopic": "events.data",
        "targets": [URN],
        **WINDOW,
        **changes,
    }
    return run(lambda: ConnhexCreateExportOperator(**arguments))


def calls(simulator: Simulator, operation: str) -> int:
    return len(simulator.requests("connhex", operation))


def test_csv_lands_whole(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """One login per process, one create, a wait, and the file under the name of its format."""
    simulator.configure("connhex", ready_after_seconds=200)
    events: list[dict[str, Any]] = []
    result = run(connhex(deferrable, destination=tmp_path.as_uri()), events=events)
    assert calls(simulator, "create") == 1
    assert calls(simulator, "login") == (3 if deferrable else 1)
    assert len(events) == int(deferrable)
    assert (result["vendor"], result["state"]) == ("connhex", "ready")
    (file,) = result["files"]
    assert file["name"] == f"{result['export_id']}.csv"
    content = (tmp_path / file["name"]).read_bytes()
    assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert content.startswith(b"time,name,value\n")
    secrets = [simulator.connection("connhex")["password"], "ory_st_"]
    assert not any(secret in repr((result, events)) for secret in secrets)
    assert simulator.leaks() == []
    body = simulator.exports("connhex")[0].request
    assert body["type"] == "oneTime"
    assert body["items"][0]["params"]["from"] == 1735689600
    assert [message["policy"] for message in body["notification"]["messages"]] == ["onSuccess", "onFailure"]


def test_several_items_land_as_an_archive(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """More than one item comes as one zip."""
    items = [
        {
            "filename": name,
            "params": {
                "target": {"value": URN},
                "channelId": CHANNEL,
                "subtopic": "events.data",
                "from": "2025-01-01",
                "to": "2025-01-02",
            },
        }
        for name in ("one", "two")
    ]
    destination = tmp_path.as_uri()
    make = lambda: ConnhexRunExportOperator(  # noqa: E731
        task_id="t", extension="csv", items=items, destination=destination, deferrable=deferrable
    )
    (file,) = run(make)["files"]
    assert file["name"].endswith(".zip")
    archive = zipfile.ZipFile(io.BytesIO((tmp_path / file["name"]).read_bytes()))
    assert sorted(archive.namelist()) == ["one.csv", "two.csv"]


def test_file_without_a_list_is_landed_as_bin(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """The status answer does not tell the format; a user who may not list still gets the file."""
    simulator.configure("connhex", permissions=("create", "get", "download"), ready_after_seconds=200)
    (file,) = run(connhex(deferrable, destination=tmp_path.as_uri()))["files"]
    # The worker that created it remembers what it asked for.
    assert file["name"].endswith(".bin" if deferrable else ".csv")
    assert (tmp_path / file["name"]).read_bytes().startswith(b"time,name,value\n")


@pytest.mark.parametrize("mode", ["redirect", "url", "downloadUrl"])
def test_files_wherever_they_are(
    simulator: Simulator, connect: Connect, deferrable: bool, mode: str, tmp_path: Path
) -> None:
    """A redirect or a link to another host is followed without the session token."""
    simulator.configure("connhex", download_mode=mode, reject_file_credentials=True)
    connect("connhex", download_mode="stream" if mode == "redirect" else "link")
    result = run(connhex(deferrable, destination=tmp_path.as_uri()))
    assert (tmp_path / result["files"][0]["name"]).read_bytes().startswith(b"time,name,value\n")
    assert simulator.leaks() == []


OUTCOMES = [
    # what happens at the vendor, and the class of the error
    ("wrong payload", errors.InvalidPayload),
    ("same field twice", errors.InvalidPayload),
    ("refused payload", errors.ExportRejected),
    ("wrong credentials", errors.AuthenticationFailed),
    ("login page instead of the flow", errors.UnexpectedResponse),
    ("login without token", errors.UnexpectedResponse),
    ("forbidden", errors.PermissionDenied),
    ("queue full", errors.ExportConflict),
    ("failed", errors.ExportFailed),
    ("expired", errors.ExportExpired),
    ("expired before the download", errors.ExportExpired),
    ("expired during the download", errors.ExportExpired),
    ("refused download", errors.LinkExpired),
    ("unknown status", errors.UnknownStatus),
    ("missing field", errors.UnexpectedResponse),
    ("html", errors.UnexpectedResponse),
    ("html create", errors.UnknownOutcome),
    ("expired session", errors.AuthenticationFailed),
    ("lost create", errors.UnknownOutcome),
    ("lost create and no list", errors.UnknownOutcome),
    ("never ready", errors.ExportTimedOut),
    ("gone", errors.ExportExpired),
    ("never allowed", errors.ExportExpired),
    ("truncated file", errors.DownloadIncomplete),
    ("page instead of file", errors.NotTheFile),
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
    """Class, vendor, id and next step are the same in both modes, and nothing is left behind."""
    changes: dict[str, Any] = {"destination": tmp_path.as_uri()}
    fail = simulator.fail_next
    match case:
        case "wrong payload":
            changes["extension"] = "xls"
        case "same field twice":
            changes["payload"] = {"format": {"extension": "csv"}}
        case "refused payload":
            simulator.configure("connhex", api_version="1.1.0", unknown_fields="reject")
        case "wrong credentials":
            connect("connhex", password="wrong")
        case "login page instead of the flow":
            fail("connhex", "flow", fault="html", times=None)
        case "login without token":
            fail("connhex", "login", fault="missing_field", times=None)
        case "forbidden":
            simulator.configure("connhex", permissions=("get", "download", "delete", "list"))
        case "queue full":
            simulator.configure("connhex", max_queued=1, outcome="never")
            created()
            changes["on_conflict"] = "fail"
        case "failed":
            simulator.configure("connhex", outcome="failed", ready_after_seconds=100)
        case "expired":
            simulator.configure("connhex", file_life_seconds=0.001, ready_after_seconds=100)
            connect("connhex", poll_initial=90, poll_factor=1, poll_maximum=90)
        case "expired before the download":
            # Ready at the second look, and soon gone while the vendor is unwell.
            simulator.configure("connhex", file_life_seconds=1, ready_after_reads=2)
            fail("connhex", "get", fault="503", after=2)
            fail("connhex", "file", fault="503")
        case "expired during the download":
            simulator.configure("connhex", file_life_seconds=3, ready_after_reads=2)
            fail("connhex", "file", fault="truncated")
            fail("connhex", "file", fault="503", times=None)
        case "refused download":
            simulator.configure("connhex", permissions=("create", "get", "list"))
        case "unknown status":
            fail("connhex", "get", fault="unknown_status", times=None)
        case "missing field":
            fail("connhex", "get", fault="missing_field", times=None)
        case "html":
            fail("connhex", "get", fault="html", times=None)
        case "expired session":
            simulator.configure("connhex", ready_after_seconds=300)
            fail("connhex", "get", fault="401", after=2, times=None)
        case "html create":
            fail("connhex", "create", fault="html")
            simulator.configure("connhex", permissions=("create", "get", "download"))
        case "lost create":
            fail("connhex", "create", fault="lost_response")
            simulator.configure("connhex", list_form="absent")
        case "lost create and no list":
            fail("connhex", "create", fault="lost_response")
            connect("connhex", has_list=False)
        case "never ready":
            simulator.configure("connhex", outcome="never")
            changes["timeout"] = 3600
        case "gone":
            simulator.configure("connhex", outcome="never", visible_after_seconds=1e9)
        case "never allowed":
            simulator.configure("connhex", permissions=("create", "download", "list"))
        case "truncated file":
            fail("connhex", "file", fault="truncated", times=None)
        case "page instead of file":
            fail("connhex", "file", fault="html_instead", times=None)
    caught = error_of(connhex(deferrable, **changes))
    assert type(caught) is error, caught
    assert caught.vendor == "connhex"
    assert caught.next_step or caught.advice
    exports = simulator.exports("connhex")
    if exports and error not in (errors.ExportConflict, errors.UnknownOutcome):
        assert caught.export_id == exports[-1].id
        assert exports[-1].id in str(caught)
    assert landed(tmp_path) == []
    assert calls(simulator, "create") <= 2
    assert len(exports) <= 1
    assert simulator.leaks() == []
    assert simulator.connection("connhex")["password"] not in str(caught)


def test_wrong_credentials_are_tried_once(simulator: Simulator, connect: Connect, deferrable: bool) -> None:
    """A refused login is not repeated, which might lock the account, and quotes the vendor."""
    connect("connhex", password="wrong")
    assert "credentials" in str(error_of(connhex(deferrable)))
    assert calls(simulator, "login") == 1


@pytest.mark.parametrize("known", ["full", "missing", "no_expiry"])
def test_token_that_expires_in_the_middle_of_a_wait_is_replaced(
    simulator: Simulator, deferrable: bool, known: str
) -> None:
    """By its announced end, or after a refusal where none is announced: one create, one more login."""
    simulator.configure("connhex", token_ttl_seconds=120, ready_after_seconds=300, login_session=known)
    assert run(connhex(deferrable))["state"] == "ready"
    assert calls(simulator, "create") == 1
    refused = [r for r in simulator.requests("connhex") if r.status == 401]
    assert bool(refused) == (known != "full")


def test_missing_identity_is_a_lost_session(simulator: Simulator, deferrable: bool) -> None:
    """A 400 of that text means one more login, then the same call; what stays refused is an error."""
    simulator.configure(
        "connhex",
        token_ttl_seconds=120,
        ready_after_seconds=300,
        login_session="missing",
        bad_token_status=400,
    )
    assert run(connhex(deferrable))["state"] == "ready"
    assert [r for r in simulator.requests("connhex") if r.status == 400]


@pytest.mark.parametrize("status", [403, 404])
def test_rights_that_come_after_the_export_are_waited_for(
    simulator: Simulator, deferrable: bool, status: int
) -> None:
    """Rights on a new id apply a few seconds late."""
    simulator.configure("connhex", rights_lag_seconds=8.0, rights_lag_status=status)
    result = run(connhex(deferrable))
    assert [export.id for export in simulator.exports("connhex")] == [result["export_id"]]


def test_full_queue_is_waited_for_without_hammering(simulator: Simulator, deferrable: bool) -> None:
    """429 on a create is no rate: the next try comes after minutes, in the triggerer when deferrable."""
    simulator.configure("connhex", max_queued=1, ready_after_seconds=700, queue_counts_running=True)
    first = created()
    result = run(connhex(deferrable))
    assert result["export_id"] != first
    creates = simulator.requests("connhex", "create")
    assert [r.status for r in creates].count(429) <= 3
    pauses = [(after.at - before.at).total_seconds() for before, after in pairwise(creates[1:])]
    assert len(pauses) == 3
    assert min(pauses) >= 270


def test_full_queue_obeys_retry_after(simulator: Simulator, deferrable: bool) -> None:
    """Where the vendor says how long, that holds."""
    simulator.configure("connhex", max_queued=1, ready_after_seconds=700, retry_after="seconds")
    created()
    run(connhex(deferrable))
    assert [r.status for r in simulator.requests("connhex", "create")][-1] == 201


def test_full_queue_beyond_the_timeout_is_a_conflict(simulator: Simulator, deferrable: bool) -> None:
    """Waiting for room ends with the task's timeout."""
    simulator.configure("connhex", max_queued=1, outcome="never", queue_counts_running=True)
    created()
    assert type(error_of(connhex(deferrable, timeout=1000))) is errors.ExportConflict


@pytest.mark.parametrize("fault", ["lost_response", "500_after", "html", "reset", "503"])
@pytest.mark.parametrize("fingerprint", [True, False])
def test_unanswered_create_is_adopted(
    simulator: Simulator, connect: Connect, deferrable: bool, fault: str, fingerprint: bool
) -> None:
    """The lost answer is found in the list by fingerprint, or by what was asked for: one export.

    Where nothing was made the list tells that as well, and the create is repeated.
    """
    connect("connhex", fingerprint=fingerprint)
    simulator.fail_next("connhex", "create", fault=fault)
    result = run(connhex(deferrable))
    assert [export.id for export in simulator.exports("connhex")] == [result["export_id"]]


@pytest.mark.parametrize("form", ["status", "string", "exportStatus", "list", "jobs"])
def test_status_in_every_assumed_form(simulator: Simulator, deferrable: bool, form: str) -> None:
    """The body of the status answer is not published."""
    simulator.configure("connhex", status_form=form, ready_after_seconds=200)
    assert run(connhex(deferrable))["state"] == "ready"


def test_create_wait_download_delete_as_four_tasks(simulator: Simulator, tmp_path: Path) -> None:
    """The steps also work one by one; a second delete says that it was gone."""
    simulator.configure("connhex", ready_after_seconds=200)
    export_id = created()
    assert export_id == simulator.exports("connhex")[0].id
    run(lambda: ConnhexExportSensor(task_id="s", export_id=export_id, deferrable=True))
    details = {"task_id": "x", "conn_id": "connhex_default", "export_id": export_id}
    done = run(lambda: DownloadExportOperator(destination=tmp_path.as_uri(), **details))
    assert done["files"][0]["name"] == f"{export_id}.csv"
    assert run(lambda: DeleteExportOperator(**details)) is True
    assert run(lambda: DeleteExportOperator(**details)) is False


def test_forbidden_delete_is_not_taken_for_gone(simulator: Simulator) -> None:
    """Without the right nothing was deleted."""
    export_id = created()
    simulator.configure("connhex", permissions=("create", "get"))
    details = {"task_id": "x", "conn_id": "connhex_default", "export_id": export_id}
    assert type(error_of(lambda: DeleteExportOperator(**details))) is errors.PermissionDenied


def test_unknown_id_is_not_found(simulator: Simulator, deferrable: bool, tmp_path: Path) -> None:
    """An id that was never given out: to look at, to wait for, to download and to delete."""
    from airflow_provider_exports.hooks.connhex import ConnhexHook

    hook, details = ConnhexHook(), {"task_id": "x", "conn_id": "connhex_default", "export_id": "nope"}
    with pytest.raises(errors.ExportNotFound, match="nope"):
        hook.get_export("nope")
    if deferrable:
        waiting = lambda: ConnhexExportSensor(task_id="s", export_id="nope", deferrable=True)  # noqa: E731
        assert type(error_of(waiting)) is errors.ExportNotFound
    else:
        with pytest.raises(errors.ExportNotFound):
            hook.wait_for_export("nope")
    download = lambda: DownloadExportOperator(destination=tmp_path.as_uri(), **details)  # noqa: E731
    assert type(error_of(download)) is errors.ExportNotFound
    assert run(lambda: DeleteExportOperator(**details)) is False


def test_recurring_export_is_created_once_and_deleted(simulator: Simulator) -> None:
    """The vendor repeats it; deleting it ends that."""
    export_id = created(
        type="recurring", periodicity="P1D", period="P1D", from_time=None, to_time=None, success_text="Here."
    )
    body = simulator.exports("connhex")[0].request
    assert (body["type"], body["periodicity"]) == ("recurring", "P1D")
    assert body["notification"]["messages"][0]["text"] == "Here."
    details = {"task_id": "x", "conn_id": "connhex_default", "export_id": export_id}
    assert run(lambda: DeleteExportOperator(**details)) is True


def test_connection_is_tested_with_whoami(simulator: Simulator, connect: Connect) -> None:
    """It proves the login, and says whose it is."""
    from airflow_provider_exports.hooks.connhex import ConnhexHook

    good, said = ConnhexHook().test_connection()
    assert good
    assert simulator.connection("connhex")["login"] in said
    connect("connhex", password="wrong")
    bad, said = ConnhexHook().test_connection()
    assert not bad
    assert "AuthenticationFailed" not in said
    assert "refused" in said


def test_listed_exports_have_their_state(simulator: Simulator) -> None:
    """The list tells what was asked for, the status of each what became of it."""
    from airflow_provider_exports.hooks.connhex import ConnhexHook

    simulator.configure("connhex", ready_after_seconds=200)
    first = created()
    simulator.set_state("connhex", first, "ready")
    second = created(targets=["urn:cpt:smartdevice:nid:AA01:onoff"])
    listed = {export.export_id: export for export in ConnhexHook().list_exports()}
    assert [str(listed[first].state), listed[second].state.finished] == ["ready", False]
    assert all(export.created_at is not None for export in listed.values())
    assert listed[first].files[0].name == f"{first}.csv"


def test_export_that_expires_before_its_download(simulator: Simulator, tmp_path: Path) -> None:
    """A refused download asks for the status, which decides."""
    from airflow_provider_exports.hooks.connhex import ConnhexHook

    export_id = created()
    simulator.set_state("connhex", export_id, "ready")
    hook = ConnhexHook()
    export = hook.get_export(export_id)
    simulator.set_state("connhex", export_id, "expired")
    with pytest.raises(errors.ExportExpired):
        hook.land_export(export, tmp_path.as_uri())
    assert landed(tmp_path) == []


REPEATED = {"type": "recurring", "periodicity": "P1D", "period": "P1D", "from_time": None, "to_time": None}
DAY = 86400


@pytest.mark.parametrize("shown", ["newest", "all"])
@pytest.mark.parametrize("start", ["iso", "seconds", "missing"])
def test_each_run_of_a_recurring_export_is_landed(
    simulator: Simulator, shown: str, start: str, tmp_path: Path
) -> None:
    """State, start and file are those of the newest run, whatever became of the ones before."""
    from airflow_provider_exports.hooks.connhex import ConnhexHook

    simulator.configure("connhex", status_form="jobs", jobs_shown=shown, job_start=start)
    simulator.configure("connhex", ready_after_seconds=600, file_life_seconds=DAY / 2)
    export_id = created(**REPEATED)
    hook, contents, starts = ConnhexHook(), [], []
    for number in range(3):
        assert str(hook.get_export(export_id).state) in ("queued", "running")
        simulator.advance(600)
        export = ConnhexHook().get_export(export_id)
        starts.append(export.run_started_at)
        if shown == "all" and start == "missing" and number:
            # Which of two runs that have ended is the newest is told by nothing: no success by guessing.
            assert str(export.state) == "expired"
            return
        (file,) = hook.land_export(export, (tmp_path / str(number)).as_uri())["files"]
        contents.append((tmp_path / str(number) / file["name"]).read_bytes())
        simulator.advance(DAY - 600)
    assert len(set(contents)) == 3
    if start == "missing":
        assert starts == [None] * 3
    else:
        assert [after - before for before, after in pairwise(starts)] == [timedelta(days=1)] * 2


@pytest.mark.parametrize("state", ["processing", "ready", "failed", "expired"])
@pytest.mark.parametrize("fingerprint", [True, False])
def test_recurring_export_is_used_again_until_it_is_deleted(
    simulator: Simulator, connect: Connect, state: Any, fingerprint: bool
) -> None:
    """It goes on, whatever became of its newest run; another one would run beside it for ever."""
    connect("connhex", fingerprint=fingerprint)
    simulator.configure("connhex", status_form="jobs", jobs_shown="all")
    export_id = created(**REPEATED)
    simulator.advance(3 * DAY)
    simulator.set_state("connhex", export_id, state)
    assert created(**REPEATED, reuse_existing=True) == export_id
    assert created(**{**REPEATED, "periodicity": "P7D"}, reuse_existing=True) != export_id
    assert run(lambda: DeleteExportOperator(task_id="x", conn_id="connhex_default", export_id=export_id))
    assert created(**REPEATED, reuse_existing=True) != export_id


def test_failed_one_time_export_is_not_used_again(simulator: Simulator) -> None:
    """Nothing will become of it any more."""
    export_id = created()
    assert created(reuse_existing=True) == export_id
    simulator.set_state("connhex", export_id, "failed")
    assert created(reuse_existing=True) != export_id

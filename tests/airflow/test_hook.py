"""The hook as an HttpHook, and what its sessions carry where."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_exports.core import ExportState
from airflow_provider_exports.exceptions import (
    DownloadError,
    DownloadIncomplete,
    ExportRejected,
    NotTheFile,
    RateLimited,
    UnsafeLink,
    VendorUnavailable,
)
from airflow_provider_exports.hooks.export import ExportHook
from airflow_provider_exports.hooks.giosg import GiosgHook
from airflow_provider_exports.hooks.mews import MewsHook
from airflow_provider_exports.simulator import Simulator
from tests.airflow.conftest import Connect

pytestmark = pytest.mark.filterwarnings("ignore")

NOBODY = "00000000-0000-4000-8000-000000000000"


def test_constructor_reads_nothing() -> None:
    """A hook for a connection that does not exist can be made: it is read on first use."""
    assert MewsHook("no_such_connection").conn_id == "no_such_connection"


def test_any_other_path_is_signed_by_the_vendor(simulator: Simulator, connect: Connect) -> None:
    """hook.run adds the vendor's credentials, and nothing of the connection's Extra becomes a header."""
    connect("giosg", x_private="must-stay-here")
    response = GiosgHook().run("/api/v5/users/me")
    assert response.json()["organization_id"]
    headers = simulator.requests("giosg")[-1].headers
    assert headers["Authorization"] == f"Token {simulator.tokens['giosg_api_token']}"
    assert "must-stay-here" not in str(dict(headers))
    connect("mews", x_private="must-stay-here")
    MewsHook().run("/api/connector/v1/exports/getAll", json={"ExportIds": [NOBODY]})
    record = simulator.requests("mews")[-1]
    assert record.body["AccessToken"] == simulator.tokens["mews_access_token"]
    for secret in ("must-stay-here", *simulator.tokens.values()):
        assert secret not in str(dict(record.headers))


def test_redirect_of_a_signed_request_is_not_followed(simulator: Simulator) -> None:
    """On 307 the body, and with it Mews's tokens, would be sent to wherever it points."""
    simulator.fail_next("mews", "get", fault="redirect_307")
    response = MewsHook().run(
        "/api/connector/v1/exports/getAll",
        json={"ExportIds": [NOBODY]},
        extra_options={"check_response": False},
    )
    assert response.status_code == 307
    assert simulator.leaks() == []


def test_body_credentials_need_json(simulator: Simulator) -> None:
    """A form body has no place for Mews's tokens; that is said instead of sending it unsigned."""
    with pytest.raises(ValueError, match="json="):
        MewsHook().run("/api/connector/v1/exports/getAll", data={"a": "b"})


def test_netrc_never_signs(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ~/.netrc entry neither replaces the token nor adds itself to a signed link."""
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    simulator.configure("giosg", file_url="signed")
    land(simulator, tmp_path / "out")
    sent = [record.headers.get("Authorization", "") for record in simulator.requests()]
    assert not any(value.startswith("Basic") for value in sent)
    assert simulator.leaks() == []


@pytest.mark.parametrize("vendor", ["mews", "giosg"])
def test_connection_test_succeeds(simulator: Simulator, vendor: str) -> None:
    """One authenticated call, and words that say what it proves."""
    worked, said = ExportHook(f"{vendor}_default").test_connection()
    assert worked
    assert "accepted" in said
    assert len(simulator.requests()) == 1


@pytest.mark.parametrize(
    ("vendor", "changes", "said"),
    [
        ("mews", {"password": "wrong"}, "Check both tokens"),
        ("mews", {"client_token": ""}, "no client token"),
        ("giosg", {"password": "wrong"}, "Check the credentials"),
        ("giosg", {"host": "http://giosg.example"}, "allow_http"),
        ("giosg", {"host": "http://127.0.0.1:9"}, "refused"),
        ("giosg", {"conn_type": "mews"}, "no client token"),
    ],
)
def test_connection_test_says_what_is_wrong(
    simulator: Simulator, connect: Connect, vendor: str, changes: dict[str, Any], said: str
) -> None:
    """Words a person can act on, without a secret in them."""
    connect(vendor, retry_attempts=1, **changes)
    worked, text = ExportHook(f"{vendor}_default").test_connection()
    assert not worked
    assert said in text
    assert "wrong" not in text


def test_missing_listing_is_said(simulator: Simulator) -> None:
    """Mews has no listing of exports."""
    with pytest.raises(ExportRejected, match="no list exports"):
        MewsHook().list_exports()


def test_reading_many(simulator: Simulator) -> None:
    """Two Mews exports are one request; the vendor's listing and rooms are plain values."""
    mews = MewsHook()
    ids = [mews.create_export({"EntityType": kind}).export_id for kind in ("Bill", "Payment")]
    before = len(simulator.requests("mews"))
    assert set(mews.get_exports([*ids, NOBODY])) == set(ids)
    assert len(simulator.requests("mews")) == before + 1
    giosg = GiosgHook()
    rooms = giosg.list_datasources()
    export = giosg.create_export(giosg_payload(rooms[0].id))
    assert [found.export_id for found in giosg.list_exports()] == [export.export_id]


def giosg_payload(room_id: str, file_format: str = "csv") -> dict[str, Any]:
    return {
        "room_id": room_id,
        "type": "logs",
        "format": file_format,
        "starting_at": "2026-01-01",
        "ending_at": "2026-01-08",
    }


def land(simulator: Simulator, target: Path, file_format: str = "csv") -> dict[str, Any]:
    """Create, await and land one giosg export."""
    hook = GiosgHook()
    export = hook.create_export(giosg_payload(simulator.rooms()[0]["id"], file_format))
    simulator.set_state("giosg", export.export_id, "ready")
    return hook.download_export(export.export_id, target.as_uri())


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "txt"])
def test_every_format_lands(simulator: Simulator, tmp_path: Path, file_format: str) -> None:
    """The folder is made when it is not there, and the name ends in the format."""
    result = land(simulator, tmp_path / "a" / "b", file_format)
    assert result["files"][0]["uri"].endswith(f".{file_format}")


def test_memory_store(simulator: Simulator) -> None:
    """Any object store that Airflow knows is a destination."""
    from fsspec.implementations.memory import MemoryFileSystem

    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    attach(protocol="memory", fs=MemoryFileSystem())
    hook = MewsHook()
    export = hook.create_export({"EntityType": "Bill"})
    simulator.set_state("mews", export.export_id, "ready")
    result = hook.download_export(export.export_id, "memory://exports/bill")
    for file in result["files"]:
        assert len(ObjectStoragePath(file["uri"]).read_bytes()) == file["size"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("truncated", DownloadIncomplete),
        ("truncated_chunked", DownloadIncomplete),
        ("html_instead", NotTheFile),
        ("json_error_instead", NotTheFile),
    ],
)
def test_bad_file_leaves_nothing_behind(
    simulator: Simulator, tmp_path: Path, fault: str, error: type[DownloadError]
) -> None:
    """Neither a partial file nor a staging folder is left, and an earlier file stays as it was."""
    earlier = tmp_path / "earlier.csv"
    earlier.write_text("kept")
    simulator.fail_next("giosg", "file", fault=fault, times=None)
    with pytest.raises(error, match="giosg export"):
        land(simulator, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier.csv"]


def test_nothing_is_published_before_all_files_are_whole(simulator: Simulator, tmp_path: Path) -> None:
    """The first of two files is good, the second never is: neither appears."""
    hook = MewsHook()
    export = hook.create_export({"EntityType": "Bill"})
    simulator.set_state("mews", export.export_id, "ready")
    simulator.fail_next("mews", "file", fault="truncated", times=None, after=1)
    with pytest.raises(DownloadIncomplete):
        hook.download_export(export.export_id, tmp_path.as_uri())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://files.example/x", "ftp://127.0.0.1/x"])
def test_unsafe_redirects_are_not_followed(simulator: Simulator, tmp_path: Path, location: str) -> None:
    """No other scheme, and no plain http to another machine."""
    simulator.fail_next("giosg", "file", fault="redirect", times=None, location=location)
    with pytest.raises(UnsafeLink):
        land(simulator, tmp_path)


def test_endless_redirects_end(simulator: Simulator, tmp_path: Path) -> None:
    """A redirect to itself is given up."""
    simulator.fail_next("giosg", "file", fault="redirect", times=None, location="")
    with pytest.raises(UnsafeLink, match="redirects"):
        land(simulator, tmp_path)


def test_full_disk_is_said(simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the place and nothing is left there."""
    import errno

    from airflow_provider_exports.landing import transfer

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(transfer.os, "pwrite", full)
    with pytest.raises(DownloadError, match="no space left"):
        land(simulator, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links_are_renewed_before_they_die(simulator: Simulator, connect: Connect, tmp_path: Path) -> None:
    """Mews links live ten minutes: the second file of a slow download gets a new one."""
    from airflow_provider_exports.landing.transfer import Transfer

    connect("mews", parallel_files=1)
    hook = MewsHook()
    export = hook.create_export({"EntityType": "Bill"})
    simulator.set_state("mews", export.export_id, "ready")
    fetch = Transfer.run

    def slow(self: Transfer) -> Any:
        done = fetch(self)
        simulator.advance(9.5 * 60)
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transfer, "run", slow)
        hook.download_export(export.export_id, tmp_path.as_uri())
    files = [r for r in simulator.requests("mews") if r.operation == "file"]
    assert [r.status for r in files] == [200, 200]
    assert len([r for r in simulator.requests("mews") if r.operation == "get"]) == 2


def test_wait_blocks_until_ready(simulator: Simulator) -> None:
    """The hook's own wait follows a fixed interval when one is given."""
    hook = MewsHook()
    simulator.configure("mews", ready_after_seconds=100)
    export = hook.create_export({"EntityType": "Bill"})
    assert hook.wait_for_export(export.export_id, poll_interval=30).state is ExportState.READY
    assert len([r for r in simulator.requests("mews") if r.operation == "get"]) <= 6


def test_unwritable_destination_is_said(simulator: Simulator, tmp_path: Path) -> None:
    """A file in the place of the folder ends in an error that names the destination."""
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(DownloadError, match="taken cannot be written to"):
        land(simulator, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "kept"


def test_links_are_kept_out_of_the_logs(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """urllib3 logs path and query without the host, also of a link that a redirect led to."""
    from airflow_provider_exports.hooks import export as module

    masked: list[str] = []
    monkeypatch.setattr(module, "mask_secret", masked.append)
    caplog.set_level(logging.DEBUG)
    for place in ("signed", "redirect"):
        simulator.configure("giosg", file_url=place)
        masked.clear()
        land(simulator, tmp_path)
        request = [r for r in simulator.requests("giosg") if r.origin == "files"][-1]
        query = "&".join(f"{k}={v}" for k, v in request.query.items())
        assert query in masked
        assert request.path in caplog.text
        assert query not in caplog.text


def test_thousands_of_links_are_not_each_hidden_from_airflow(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its masker looks for all texts anew with each further one, which takes hours with thousands."""
    from airflow_provider_exports.hooks import export as module

    masked: list[str] = []
    monkeypatch.setattr(module, "mask_secret", masked.append)
    simulator.configure("mews", files=150)
    hook = MewsHook()
    export = hook.create_export({"EntityType": "Bill"})
    simulator.set_state("mews", export.export_id, "ready")
    result = hook.download_export(export.export_id, tmp_path.as_uri())
    assert len(result["files"]) == 150
    assert len([text for text in masked if "sig" in text]) <= 100


@pytest.mark.parametrize("target", ["127.0.0.1:9", "files.invalid"])
def test_link_stays_out_of_the_error_chain(simulator: Simulator, tmp_path: Path, target: str) -> None:
    """A file host that cannot be reached behind a redirect: no text of the traceback shows the link."""
    import traceback

    location = f"https://{target}/o?X-Signature=CANARY"
    simulator.fail_next("giosg", "file", fault="redirect", times=None, location=location)
    with pytest.raises(VendorUnavailable) as caught:
        land(simulator, tmp_path)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_busy_file_host_is_given_the_time_it_asks_for(simulator: Simulator, tmp_path: Path) -> None:
    """Retry-After of a file host is honoured within our patience and handed on beyond it."""
    simulator.fail_next("giosg", "file", fault="503", times=2)
    before = simulator.now()
    land(simulator, tmp_path)
    assert (simulator.now() - before).total_seconds() >= 6
    simulator.fail_next("giosg", "file", fault="429", times=None)
    with pytest.raises((RateLimited, VendorUnavailable)):
        land(simulator, tmp_path)


def test_public_vendor_cannot_lead_to_this_machine() -> None:
    """Plain http to the loopback address is for an API that is there itself."""
    import requests as library

    from airflow_provider_exports.core import ConnectionInfo
    from airflow_provider_exports.core.model import ExportFile
    from airflow_provider_exports.landing.host import FileHost
    from airflow_provider_exports.vendors.giosg import GiosgVendor

    vendor = GiosgVendor(ConnectionInfo("g", password="p"))
    host = FileHost(library.Session(), vendor, dict, mask=lambda _: None, connections=1)
    with pytest.raises(UnsafeLink, match=r"127\.0\.0\.1"):
        host.open(ExportFile("a.csv", "http://127.0.0.1:9/metadata"))


@pytest.mark.parametrize(
    ("header", "said"), [("Content-Encoding: gzip", "was not asked for"), ("Content-Length: abc", None)]
)
def test_odd_file_headers(simulator: Simulator, tmp_path: Path, header: str, said: str | None) -> None:
    """An encoding that was not asked for is refused; a length that is none counts as absent."""
    answer = f"HTTP/1.1 200 OK\r\n{header}\r\nConnection: close\r\n\r\nid,text\n".encode()
    with listening(answer) as (port, _):
        simulator.fail_next(
            "giosg", "file", fault="redirect", times=None, location=f"http://127.0.0.1:{port}/x"
        )
        if said:
            with pytest.raises(DownloadError, match=said):
                land(simulator, tmp_path)
        else:
            assert land(simulator, tmp_path)["files"][0]["size"] == 8


def test_proxy_of_the_connection_is_used(connect: Connect) -> None:
    """API calls go to the proxy that the connection names."""
    body = b'{"Exports": []}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with listening(answer) as (port, seen):
        connect("mews", host="http://mews.invalid", allow_http=True, proxy=f"http://127.0.0.1:{port}")
        assert MewsHook().test_connection()[0]
    assert seen[0].startswith(b"POST http://mews.invalid/api/connector/v1/exports/getAll ")


def test_personal_data_is_for_the_owner_only(simulator: Simulator, tmp_path: Path, connect: Connect) -> None:
    """Chats land with mode 600 unless the connection says otherwise."""
    name = land(simulator, tmp_path)["files"][0]["name"]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    connect("giosg", file_mode="640")
    name = land(simulator, tmp_path)["files"][0]["name"]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o640


def test_files_are_published_by_a_rename(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader of the target never sees a file grow, and the manifest comes last."""
    renamed: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (renamed.append(str(b)), replace(a, b)))
    name = land(simulator, tmp_path)["files"][0]["name"]
    assert renamed == [str(tmp_path / name), str(tmp_path / f"_export-{Path(name).stem}.json")]


def test_unusable_settings_are_told(simulator: Simulator, connect: Connect) -> None:
    """A missing bundle of authorities is a mistake in the connection, not a broken network."""
    connect("mews", verify="/no/such/bundle.pem")
    worked, said = MewsHook().test_connection()
    assert (worked, "does not exist" in said) == (False, True)
    connect("mews", file_mode="rw")
    worked, said = MewsHook().test_connection()
    assert (worked, "no octal number" in said) == (False, True)


@contextlib.contextmanager
def listening(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives one answer to everybody and keeps what it was sent."""
    seen: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                seen.append(peer.recv(65536))
                peer.sendall(answer)
                peer.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], seen
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)

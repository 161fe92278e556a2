"""Acme: the conformance suite, what is particular to Acme, and one export from the stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest
from acme_exports.provider_info import get_provider_info
from acme_exports.stand_in import ROWS, StandIn
from acme_exports.vendor import AcmeVendor

from airflow_provider_exports.core import ConnectionInfo, ExportState
from airflow_provider_exports.exceptions import AuthenticationFailed, InvalidConnection, InvalidPayload
from airflow_provider_exports.testing.conformance import VendorConformance
from airflow_provider_exports.testing.replay import NOW, ok

# [START conformance]
DONE = {
    "id": "acme-1",
    "status": "done",
    "created_at": "2027-01-15T07:00:00Z",
    "expires_at": "2027-01-16T07:00:00Z",
    "files": [{"link": "https://files.acme.example/acme-1?sig=made-up", "bytes": 23}],
}
PAYLOAD = {"report": "orders", "range": {"first_day": "2027-01-14", "last_day": "2027-01-14"}}


class TestAcme(VendorConformance):
    """Acme keeps the contract."""

    vendor_class = AcmeVendor
    connection = ConnectionInfo("acme_default", password="made-up-key", extra={"workspace": "north"})
    payload = PAYLOAD
    samples = (
        ({"id": "acme-1", "status": "waiting"}, ExportState.QUEUED),
        ({"id": "acme-1", "status": "working", "files": None}, ExportState.RUNNING),
        (DONE, ExportState.READY),
        ({**DONE, "expires_at": "2027-01-15T08:00:00Z"}, ExportState.EXPIRED),
        ({"id": "acme-1", "status": "broken"}, ExportState.FAILED),
        ({"id": "acme-1", "status": "gone", "files": []}, ExportState.EXPIRED),
    )
    happy_path = (
        ok({"id": "acme-1", "status": "waiting"}, 201),
        ok({"id": "acme-1", "status": "working"}),
        ok(DONE),
    )
    # [END conformance]

    def test_create_sends_the_documented_request(self) -> None:
        """Path, key and body are those of Acme's documentation."""
        create = self.happy()[0].requests[0]
        assert (create.method, create.path) == ("POST", "/v1/workspaces/north/exports")
        assert create.headers == {"X-Acme-Key": "made-up-key"}
        assert create.json == PAYLOAD

    def test_days_may_be_times(self) -> None:
        """Airflow's templates render times; Acme wants days."""
        days = {"first_day": "2027-01-14 00:00:00+00:00", "last_day": "2027-01-14T23:00:00Z"}
        assert self.vendor().prepare({"report": "orders", "range": days}) == PAYLOAD

    @pytest.mark.parametrize("last_day", ["2027-01-13", "soon"])
    def test_wrong_days_are_refused(self, last_day: str) -> None:
        """A range that ends before it starts, or a text that is no day, is never sent."""
        vendor = self.vendor()
        days = {"first_day": "2027-01-14", "last_day": last_day}
        with pytest.raises(InvalidPayload, match="range"):
            vendor.check(vendor.prepare({"report": "orders", "range": days}), NOW)

    def test_workspace_is_required(self) -> None:
        """The path needs it."""
        with pytest.raises(InvalidConnection, match="workspace"):
            self.vendor(workspace="")


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, as connection ``acme_default``."""
    with StandIn() as stand_in:
        monkeypatch.setenv("AIRFLOW_CONN_ACME_DEFAULT", stand_in.connection())
        yield stand_in


def test_form_asks_for_what_the_vendor_reads() -> None:
    """Each field of the form is one of the vendor's settings."""
    (entry,) = get_provider_info()["connection-types"]
    assert entry["connection-type"] == AcmeVendor.name
    assert all(hasattr(AcmeVendor.settings_class(), name) for name in entry["conn-fields"])


def test_export_is_landed(acme: StandIn, tmp_path: Path) -> None:
    """The hook creates an export, waits for it and lands its file."""
    from acme_exports.hook import AcmeHook

    hook = AcmeHook()
    export = hook.create_export(PAYLOAD)
    hook.wait_for_export(export.export_id)
    (file,) = hook.download_export(export.export_id, f"file://{tmp_path}")["files"]
    assert (tmp_path / file["name"]).read_bytes() == ROWS
    assert acme.exports[export.export_id]["payload"] == PAYLOAD


def test_connection_test_tells_a_wrong_key(acme: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """*Test* in the connection form makes a call, and says what is wrong."""
    from acme_exports.hook import AcmeHook

    assert AcmeHook().test_connection()[0]
    wrong = acme.connection().replace("made-up-acme-key", "another-key")
    monkeypatch.setenv("AIRFLOW_CONN_ACME_DEFAULT", wrong)
    works, said = AcmeHook().test_connection()
    assert not works
    assert "This key is not known." in said
    with pytest.raises(AuthenticationFailed):
        AcmeHook().create_export(PAYLOAD)

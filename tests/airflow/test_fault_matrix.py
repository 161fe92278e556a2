"""Each named fault of the simulator, at each vendor, on a worker and deferred: never a wrong success."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_exports import exceptions as errors
from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.core.vendor import Capability
from airflow_provider_exports.operators.connhex import ConnhexRunExportOperator
from airflow_provider_exports.operators.giosg import GiosgRunExportOperator
from airflow_provider_exports.operators.medable import MedableRunExportOperator
from airflow_provider_exports.operators.mews import MewsRunExportOperator
from airflow_provider_exports.operators.onna import OnnaRunExportOperator
from airflow_provider_exports.simulator import Simulator
from airflow_provider_exports.simulator.scenario import FAULTS, FILE_FAULTS
from tests.airflow.both_modes import landed
from tests.airflow.conftest import Connect
from tests.airflow.tries import TaskInstance

pytestmark = pytest.mark.filterwarnings("ignore")

Outcome = type[errors.ExportError] | None
VENDORS = ("connhex", "giosg", "medable", "mews", "onna")
WAIT = 3600.0
RETRY_DELAY = 300.0
# What a try may need beside its two waits, for a conflict and for the export: to look again when it comes
# back from the triggerer, and to fetch the files.
BESIDE = 1800.0
# How many seconds of real time an answer may take where a fault is about that. Elsewhere it may take long, as
# it does on a machine with much to do.
PATIENCE = 0.3

OK: Outcome = None
NO, AUTH, RIGHT = errors.ExportRejected, errors.AuthenticationFailed, errors.PermissionDenied
GONE, EXPIRED, FAILED, LATE = (
    errors.ExportNotFound,
    errors.ExportExpired,
    errors.ExportFailed,
    errors.ExportTimedOut,
)
DOWN, BUSY, LIMIT = errors.VendorUnavailable, errors.ExportConflict, errors.RateLimited
ODD, WHICH, OPEN = errors.UnexpectedResponse, errors.UnknownStatus, errors.UnknownOutcome
SHORT, DEAD, PAGE, UNSAFE = (
    errors.DownloadIncomplete,
    errors.LinkExpired,
    errors.NotTheFile,
    errors.UnsafeLink,
)

# Form of Retry-After, and how long it asks for.
LIMITS: dict[str, dict[str, Any]] = {
    "429 in seconds": {"retry_after": "seconds", "seconds": 20},
    "429 as a date": {"retry_after": "date", "seconds": 20},
    "429 without": {"retry_after": "missing"},
    "429 in words": {"retry_after": "soon"},
    "429 for ever": {"retry_after": "inf"},
    "429 for hours": {"retry_after": "seconds", "seconds": 7200},
}
OPTIONS: dict[str, dict[str, Any]] = {
    **LIMITS,
    "timeout": {"seconds": 2 * PATIENCE},
    "stall": {"seconds": 2 * PATIENCE},
    "slow": {"seconds": 0.001, "piece_bytes": 65536},
    "redirect": {"location": "http://169.254.169.254/latest"},
}

# What a fault that happens once ends in, after the task's retries, and where a vendor differs; None: success.
# A vendor with a login tries a refused token once more, with a new one.
ONCE: dict[str, dict[str, Outcome | dict[str, Outcome]]] = {
    "create": {
        **dict.fromkeys(("reset", "lost_response", "timeout", "malformed_json", "html"), OK),
        **dict.fromkeys(("missing_field", "unknown_status", "size_mismatch"), OK),
        **dict.fromkeys(("500", "500_after", "502", "503", "503_after"), OK),
        **dict.fromkeys(LIMITS, OK),
        "redirect_307": NO,
        "unauthorized": {"": AUTH, "connhex": OK, "onna": OK},
        "forbidden": RIGHT,
        "not_found": NO,
        "job_failed": OK,
        "job_never": LATE,
    },
    "get": {
        **dict.fromkeys(("reset", "lost_response", "timeout", "malformed_json", "html"), OK),
        **dict.fromkeys(("missing_field", "unknown_status", "size_mismatch"), OK),
        **dict.fromkeys(("500", "502", "503"), OK),
        **dict.fromkeys(LIMITS, OK),
        "redirect_307": NO,
        "unauthorized": {"": AUTH, "connhex": OK, "onna": OK},
        # Some vendors say so of what cannot be seen yet.
        "forbidden": {"": RIGHT, "connhex": OK, "giosg": OK},
        # Mews answers a read of what it does not know in another way.
        "not_found": {"": OK, "mews": NO},
    },
    "file": {
        **dict.fromkeys(("reset", "timeout", "truncated", "truncated_chunked", "size_mismatch"), OK),
        **dict.fromkeys(("truncated_no_length", "stale_link", "slow", "stall"), OK),
        **dict.fromkeys(("html_instead", "json_error_instead", "unauthorized", "forbidden"), OK),
        **dict.fromkeys(("500", "502", "503"), OK),
        **dict.fromkeys(LIMITS, OK),
        # Onna's files are on its API, where this means that they are gone.
        "not_found": {"": OK, "onna": EXPIRED},
        # Onna is asked first whether the file is there, and may say so by a redirect.
        "redirect": {"": UNSAFE, "onna": OK},
    },
    "login": {
        **dict.fromkeys(("reset", "timeout", "malformed_json", "html", "500", "503"), OK),
        "unauthorized": AUTH,
        "forbidden": {"": RIGHT, "connhex": AUTH},
        "redirect_307": {"": NO, "connhex": AUTH},
    },
    "start": {
        **dict.fromkeys(("reset", "lost_response", "timeout", "malformed_json", "500", "503"), OK),
        "redirect_307": NO,
        "forbidden": RIGHT,
        "not_found": GONE,
    },
}

# The same for faults that last.
ALWAYS: dict[str, dict[str, Outcome | dict[str, Outcome]]] = {
    "create": {
        **dict.fromkeys(("reset", "500", "html"), OPEN),
        "lost_response": {"": OK, "mews": OPEN},
        "429 for hours": {"": LIMIT, "connhex": BUSY},
        "429 for ever": {"": LIMIT, "connhex": BUSY},
        "job_failed": FAILED,
    },
    "get": {
        **dict.fromkeys(("reset", "503"), DOWN),
        **dict.fromkeys(("malformed_json", "html"), ODD),
        "unknown_status": {"": WHICH, "giosg": ODD},
        **dict.fromkeys(("429 in seconds", "429 for ever", "429 for hours"), LIMIT),
        # Where the vendor tells sizes.
        "size_mismatch": {"": OK, "mews": SHORT, "onna": SHORT},
    },
    "file": {
        **dict.fromkeys(("reset", "503"), DOWN),
        **dict.fromkeys(("truncated", "truncated_chunked", "stall"), SHORT),
        "truncated_no_length": SHORT,
        "size_mismatch": SHORT,
        "html_instead": PAGE,
        "json_error_instead": {"": PAGE, "mews": SHORT},
        "stale_link": DEAD,
        "429 for ever": LIMIT,
    },
}


# Who tells no size of a file: where neither its format nor HTTP tells its end, a piece looks whole. It lands
# with a warning, and the manifest says that it is not verified.
TELLS_NO_SIZE = ("connhex", "giosg")


def cells(times: int | None, table: dict[str, dict[str, Outcome | dict[str, Outcome]]]) -> list[Any]:
    """Return each vendor with each fault that its operations can meet."""
    found = []
    for vendor in VENDORS:
        offered = Simulator()._api(vendor).operations
        for operation, faults in table.items():
            if operation not in offered or (operation == "login" and vendor == "medable"):
                # The default connection of Medable signs, without a login.
                continue
            for fault, outcome in faults.items():
                ends = outcome.get(vendor, outcome[""]) if isinstance(outcome, dict) else outcome
                untold = operation == "file" and vendor in TELLS_NO_SIZE
                if untold and fault in ("size_mismatch", "truncated_no_length"):
                    continue
                name = f"{vendor} {operation} {fault}{'' if times else ', always'}"
                found.append(pytest.param(vendor, operation, fault, times, ends, id=name))
    return found


CELLS = [*cells(1, ONCE), *cells(None, ALWAYS)]


def exporting(simulator: Simulator, vendor: str, **common: Any) -> Callable[[], BaseOperator]:
    """Return what makes the run operator of a vendor."""
    kinds: dict[str, tuple[type[BaseOperator], dict[str, Any]]] = {
        "connhex": (
            ConnhexRunExportOperator,
            {
                "extension": "csv",
                "channel_id": "00000000-0000-4000-8000-000000000001",
                "subtopic": "events.data",
                "targets": ["urn:cpt:smartdevice:nid:AA01:temp"],
                "labels": ["temperature"],
                "from_time": "2025-01-01",
                "to_time": "2025-01-02",
            },
        ),
        "giosg": (
            GiosgRunExportOperator,
            {
                "room_id": simulator.rooms()[0]["id"],
                "type": "logs",
                "format": "csv",
                "starting_at": "2026-01-01",
                "ending_at": "2026-01-08",
            },
        ),
        "medable": (MedableRunExportOperator, {"objects": "c_visits", "format": "text/csv"}),
        "mews": (MewsRunExportOperator, {"entity_type": "Payment"}),
        "onna": (
            OnnaRunExportOperator,
            {
                "title": "Weekly",
                "workspace_url": "weekly-archive-T3mWzs",
                "modified_after": "2026-01-05",
                "modified_before": "2026-01-12",
            },
        ),
    }
    kind, own = kinds[vendor]
    return lambda: kind(task_id="t", **own, **common)


def test_matrix_is_wide() -> None:
    """At least 25 faults for each vendor, of all that the simulator has a name for."""
    told = Counter(cell.values[0] for cell in cells(1, ONCE))
    assert min(told[vendor] for vendor in VENDORS) >= 25
    used = {fault for faults in ONCE.values() for fault in faults}
    assert set(FAULTS) | set(FILE_FAULTS) <= used


class Timed(TaskInstance):
    """Remembers how long its tries took."""

    longest = 0.0

    def run(self) -> Any:
        began = self.simulator.now()
        try:
            return super().run()
        finally:
            self.longest = max(self.longest, (self.simulator.now() - began).total_seconds())


@pytest.mark.parametrize(("vendor", "operation", "fault", "times", "ends"), CELLS)
def test_fault(
    simulator: Simulator,
    connect: Connect,
    deferrable: bool,
    vendor: str,
    operation: str,
    fault: str,
    times: int | None,
    ends: Outcome,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The documented end, one export, in time, and all of its files or none."""
    if fault in ("timeout", "stall"):
        connect(vendor, request_timeout=PATIENCE)
    simulator.configure(vendor, ready_after_seconds=200)
    simulator.fail_next(
        vendor, operation, fault=fault.partition(" ")[0], times=times, **OPTIONS.get(fault, {})
    )
    common = {"deferrable": deferrable, "destination": tmp_path.as_uri(), "timeout": WAIT}
    task = Timed(simulator, exporting(simulator, vendor, **common), lasting=True, retries=2)
    result = task.until_it_ends(RETRY_DELAY)

    assert any(request.fault for request in simulator.requests(vendor)), "the fault did not happen"
    if ends is None:
        check_files(simulator, vendor, result, tmp_path)
    else:
        assert isinstance(result, Exception), "a success"
        error = result if isinstance(result, errors.ExportError) else result.__cause__
        assert type(error) is ends, repr(result)
        assert landed(tmp_path) == []

    assert len(simulator.exports(vendor)) <= most_exports(vendor, operation, fault, task.try_number)
    assert task.longest <= 2 * WAIT + BESIDE
    assert simulator.leaks() == []
    shown = "\n".join([str(result), *(r.getMessage() for r in caplog.records)])
    assert not any(secret in shown for secret in (*simulator.tokens.values(), simulator.link_secret))


def check_files(simulator: Simulator, vendor: str, result: Any, folder: Path) -> None:
    """Compare the result and what has landed with what the vendor made, byte by byte."""
    assert isinstance(result, dict), repr(result)
    (export,) = [one for one in simulator.exports(vendor) if one.name == result["export_id"]]
    made = [file.read() for file in export.files or []]
    assert made
    assert landed(folder) == sorted(file["name"] for file in result["files"])
    for file, content in zip(result["files"], made, strict=True):
        assert (folder / file["name"]).read_bytes() == content
        assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def most_exports(vendor: str, operation: str, fault: str, tries: int) -> int:
    """Return how many exports there may be: one, unless the first cannot be found again, or has failed."""
    if operation == "create" and fault == "job_failed":
        return 2
    if Capability.FIND not in vendor_class(vendor).capabilities and operation == "create":
        return tries
    return 1

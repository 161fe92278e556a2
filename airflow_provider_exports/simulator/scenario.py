"""What a test can bend: the switches of a vendor, and faults by name."""

import dataclasses
import re
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

__all__ = ["FAULTS", "FILE_FAULTS", "Fault", "Faults", "Switches"]

#: Faults of an API operation. Any status may also be named directly: ``"500"`` answers before the
#: operation happens, ``"500_after"`` when it already has.
FAULTS = {
    "lost_response": "the operation happens, then the connection is dropped without an answer",
    "reset": "the connection is dropped before anything happens",
    "timeout": "the answer is held back for `seconds` of real time (default 30)",
    "malformed_json": "the answer is cut in the middle of its JSON",
    "html": "an HTML page with status 200 instead of JSON",
    "unknown_status": "the export is in a state the vendor's documentation does not know",
    "missing_field": "`field` is missing from the answer (default: the one a client needs most)",
    "not_found": "404 in the vendor's words",
    "unauthorized": "401 in the vendor's words",
    "forbidden": "403 in the vendor's words",
    "redirect_307": "redirect to the files origin, with method and body kept",
    "size_mismatch": "the announced size of each file is one byte too large",
    "job_failed": "the create succeeds, but this export will fail",
    "job_never": "the create succeeds, but this export never ends",
}

#: Faults of a file download.
FILE_FAULTS = {
    "reset": "the connection is dropped before the first byte",
    "timeout": "the answer is held back for `seconds` of real time (default 30)",
    "truncated": "full Content-Length, but the connection ends after `at_byte` (default: half)",
    "truncated_chunked": "chunked transfer that ends without its last chunk",
    "truncated_no_length": "no length at all, and the connection ends early",
    "size_mismatch": "a complete answer that is one byte shorter than the announced size",
    "stale_link": "403, as for a link that is too old",
    "html_instead": "an HTML login page with status 200",
    "json_error_instead": "a JSON error with status 200",
    "slow": "each piece of `piece_bytes` (default 1024) waits for `seconds` of real time (default 0.05)",
    "stall": "half of the file, then silence for `seconds` of real time (default 30)",
    "not_found": "404",
    "unauthorized": "401",
    "forbidden": "403",
    "redirect": "302 to `location`",
}

_STATUS = re.compile(r"[45]\d\d(_after)?")
_OPTIONS = {"retry_after", "seconds", "field", "at_byte", "piece_bytes", "location"}


@dataclass
class Switches:
    """Settings every vendor has; a vendor's own class changes defaults and adds its own."""

    #: An unfinished export is finished by its n-th read; 0: at once; None: reads do not count.
    ready_after_reads: int | None = 2
    #: An unfinished export is finished at this age in virtual seconds; None: age does not count.
    ready_after_seconds: float | None = 60.0
    #: How exports end.
    outcome: Literal["success", "failed", "never"] = "success"
    #: A new export cannot be seen by reads before this age in virtual seconds.
    visible_after_seconds: float = 0.0
    #: Life of the files after success, in virtual seconds.
    file_life_seconds: float = 86400.0
    #: An export is forgotten so long after it failed or expired; None: never.
    dropped_after_seconds: float | None = None
    #: Requests per token in a sliding window of virtual time; None: no limit.
    rate_limit: int | None = None
    rate_window_seconds: float = 30.0
    #: Form of the Retry-After header that goes with 429.
    retry_after: Literal["seconds", "date", "missing"] = "seconds"
    #: Serve files of exactly this many bytes, made while they are sent.
    file_bytes: int | None = None
    #: What the file host does with a Range header.
    ranges: Literal["ignored", "honoured"] = "ignored"
    #: Whether files are sent with their length.
    transfer: Literal["length", "chunked"] = "length"
    #: Answer 400 to a request on the files origin that carries credentials, as object stores do.
    reject_file_credentials: bool = False

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """A copy with these settings, or ValueError for a name or value that does not exist."""
        hints = get_type_hints(type(self))
        changes = dict(changes)
        for name, value in changes.items():
            if name not in hints:
                raise ValueError(f"no switch {name!r}; there are: {', '.join(sorted(hints))}")
            if isinstance(value, list):
                changes[name] = value = tuple(value)
            if not _fits(value, hints[name]):
                raise ValueError(f"switch {name!r} cannot be {value!r}; it is {hints[name]}")
        # Asking for one way to get ready means that way only, else the other default would come first.
        ways = {"ready_after_reads", "ready_after_seconds"}
        named = ways & changes.keys()
        if len(named) == 1:
            changes[(ways - named).pop()] = None
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Fault:
    """One queued fault: what happens, how often, and after how many undisturbed calls."""

    name: str
    times: int | None = 1
    after: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int | None:
        """The HTTP status if the fault is named by one."""
        return int(self.name[:3]) if _STATUS.fullmatch(self.name) else None

    @property
    def happens_after(self) -> bool:
        """Whether the operation takes place although the caller sees a failure."""
        return self.name.endswith("_after") or self.name == "lost_response"


class Faults:
    """The queued faults of all vendors; the oldest one that is due wins."""

    def __init__(self) -> None:
        self._queues: dict[tuple[str, str], list[Fault]] = {}

    def add(self, vendor: str, operation: str, fault: Fault, own: Collection[str] = ()) -> None:
        """Queue a fault, which may be the vendor's own one, except for files.

        :raises ValueError: for a fault, option or count that does not exist.
        """
        known = FILE_FAULTS if operation == "file" else FAULTS
        theirs = operation != "file" and fault.name.removesuffix("_after") in own
        if fault.name not in known and fault.status is None and not theirs:
            raise ValueError(f"no fault {fault.name!r} for {operation}; there are: {', '.join(known)}")
        if fault.options.keys() - _OPTIONS:
            raise ValueError(f"no fault option {sorted(fault.options.keys() - _OPTIONS)}")
        if fault.times is not None and fault.times < 1:
            raise ValueError("a fault happens at least once; None means every time")
        self._queues.setdefault((vendor, operation), []).append(fault)

    def take(self, vendor: str, operation: str) -> Fault | None:
        """The fault for this call, if one is due; counts the call."""
        queue = self._queues.get((vendor, operation))
        if not queue:
            return None
        fault = queue[0]
        if fault.after > 0:
            queue[0] = dataclasses.replace(fault, after=fault.after - 1)
            return None
        if fault.times is not None:
            if fault.times > 1:
                queue[0] = dataclasses.replace(fault, times=fault.times - 1)
            else:
                queue.pop(0)
        return fault

    def clear(self, vendor: str | None = None) -> None:
        """Forget the faults of one vendor, or all."""
        for key in [key for key in self._queues if vendor in (None, key[0])]:
            del self._queues[key]


def _fits(value: object, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(hint))
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)

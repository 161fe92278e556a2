"""Every error of this package, named by what the reader can do about it.

::

    ExportError
    ├── InvalidConnection        fix the connection               permanent
    ├── InvalidPayload           fix the payload                  permanent
    ├── ExportRejected           the vendor refuses the request   permanent
    ├── AuthenticationFailed     fix the credentials              permanent
    ├── PermissionDenied         ask the vendor for the right     permanent
    ├── ExportConflict           wait: another export is active
    ├── VendorUnavailable        wait: the vendor does not answer properly
    │   ├── VendorUnreachable    nothing was sent: network, DNS, TLS, refused
    │   └── RateLimited          too many requests, see retry_after
    ├── UnknownOutcome           look: a create was sent and never answered
    ├── UnexpectedResponse       the answer cannot be understood
    │   └── UnknownStatus        a status word that is not documented
    ├── ExportNotFound           the vendor does not know this id permanent
    ├── ExportFailed             the vendor gave up on the export
    ├── ExportExpired            the files are gone
    │   └── RunMissed            the next run has taken its place permanent
    ├── ExportCancelled          somebody stopped it              permanent
    ├── ExportTimedOut           our own deadline has passed
    └── DownloadError            the files could not be landed
        ├── DownloadIncomplete   fewer or more bytes than announced
        ├── LinkExpired          the link died, a fresh one did too
        ├── NotTheFile           an error page instead of the file
        ├── DestinationTaken     something else lies there            permanent
        └── UnsafeLink           the link leads where we must not go  permanent

Permanent errors reach Airflow as ``AirflowFailException`` (no retry helps); the others pass, so that
``retries`` and, from Airflow 3.3, ``retry_policy`` decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

__all__ = [
    "AuthenticationFailed",
    "DestinationTaken",
    "DownloadError",
    "DownloadIncomplete",
    "ExportCancelled",
    "ExportConflict",
    "ExportError",
    "ExportExpired",
    "ExportFailed",
    "ExportNotFound",
    "ExportRejected",
    "ExportTimedOut",
    "InvalidConnection",
    "InvalidPayload",
    "LinkExpired",
    "NotTheFile",
    "PermissionDenied",
    "RateLimited",
    "RunMissed",
    "UnexpectedResponse",
    "UnknownOutcome",
    "UnknownStatus",
    "UnsafeLink",
    "VendorUnavailable",
    "VendorUnreachable",
    "error_from_event",
]


class ExportError(Exception):
    """Something about an export went wrong; ``str()`` says what, to which export, and what to do.

    :param message: what happened, one sentence, no secret and no link in it.
    :param vendor: vendor name, such as ``mews``; filled in by the lifecycle when it is not given.
    :param export_id: the vendor's id of the export, when there is one.
    :param http_status: status code of the answer that told us, when there was one.
    :param retry_after: seconds the vendor asks us to wait.
    :param next_step: what the reader can do, in place of the class's own advice.
    """

    permanent: ClassVar[bool] = False
    advice: ClassVar[str] = ""

    unanswered_at: float | None = None
    """When an earlier create of the same payload got no answer, epoch seconds: it may yet show up."""

    def __init__(
        self,
        message: str,
        *,
        vendor: str | None = None,
        export_id: str | None = None,
        http_status: int | None = None,
        retry_after: float | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.vendor = vendor
        self.export_id = export_id
        self.http_status = http_status
        self.retry_after = retry_after
        self.next_step = next_step

    def __str__(self) -> str:
        subject = " ".join(
            part for part in (self.vendor, self.export_id and f"export {self.export_id}") if part
        )
        text = f"{subject}: {self.message}" if subject else self.message
        step = self.next_step or self.advice
        return f"{text} {step}" if step else text

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception.__reduce__ would call the class with str(self) and lose every keyword.
        return error_from_event, (self.to_event(),)

    def to_event(self) -> dict[str, Any]:
        """Return the JSON form that a trigger event carries: class name, message, ids and numbers."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "vendor": self.vendor,
            "export_id": self.export_id,
            "http_status": self.http_status,
            "retry_after": self.retry_after,
            "next_step": self.next_step,
        }


class InvalidConnection(ExportError):
    """The Airflow connection lacks a field or holds an unusable one."""

    permanent = True
    advice = "Correct the connection under Admin > Connections."


class InvalidPayload(ExportError):
    """The payload breaks the vendor's rules; nothing was sent.

    ``problems`` holds every violation as ``(path, message)``, path in the vendor's field names.
    """

    permanent = True
    advice = "Correct the task's parameters; nothing was sent to the vendor."

    def __init__(self, message: str, *, problems: Sequence[tuple[str, str]] = (), **details: Any) -> None:
        super().__init__(message, **details)
        self.problems = tuple((path, text) for path, text in problems)

    def to_event(self) -> dict[str, Any]:
        return {**super().to_event(), "problems": [list(problem) for problem in self.problems]}


class ExportRejected(ExportError):
    """The vendor understood the request and refused it."""

    permanent = True
    advice = "Compare the task's parameters with the vendor's documentation."


class AuthenticationFailed(ExportError):
    """The vendor does not accept the credentials."""

    permanent = True
    advice = "Check the credentials in the connection."


class PermissionDenied(ExportError):
    """The credentials are good but not allowed to do this."""

    permanent = True
    advice = "Have the missing right or subscription granted at the vendor."


class ExportConflict(ExportError):
    """The vendor runs another export that excludes this one; this one was not created."""

    advice = "Wait until the other export has ended, or let the task wait with on_conflict='wait'."


class VendorUnavailable(ExportError):
    """The vendor answers with a server error or does not answer in time."""

    advice = "Usually passes; let the task retry."


class VendorUnreachable(VendorUnavailable):
    """No connection to the vendor could be made; nothing was sent."""

    advice = "Check the address in the connection, DNS, proxy and firewall; then let the task retry."


class RateLimited(VendorUnavailable):
    """The vendor asks for fewer requests; ``retry_after`` says for how long, when the vendor did."""

    advice = "Let the task retry after the pause, or run fewer exports at once on this connection."


class UnknownOutcome(ExportError):
    """A create was sent and not answered properly: the export may or may not exist.

    ``created`` says that it does: the vendor said so, in an answer that cannot be read further.
    """

    advice = "A retry looks for it before it creates again, where the vendor's API can tell."

    def __init__(self, message: str, *, created: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.created = created

    def to_event(self) -> dict[str, Any]:
        return {**super().to_event(), "created": self.created}


class UnexpectedResponse(ExportError):
    """The answer is not what the vendor documents (no JSON, a field missing, another type)."""

    advice = "If it stays so, the vendor's API may have changed: please report it."


class UnknownStatus(UnexpectedResponse):
    """The vendor reports a status word that its documentation does not know."""


class ExportNotFound(ExportError):
    """The vendor does not know an export with this id under these credentials."""

    permanent = True
    advice = "Check the id and that the connection is the one that created the export."


class ExportFailed(ExportError):
    """The export ended in the vendor's failed state."""

    advice = "A failed export does not recover; clear the task to have another one created."


class ExportExpired(ExportError):
    """The export's files are no longer available at the vendor."""

    advice = "Create the export again, and download it sooner after it is ready."


class RunMissed(ExportExpired):
    """The run that was asked for has made way for the next one: vendors keep the newest only."""

    permanent = True
    advice = "Export that window once more, as a one-time export."


class ExportCancelled(ExportError):
    """The export was cancelled at the vendor."""

    permanent = True


class ExportTimedOut(ExportError):
    """The export was not ready before the task's own deadline; it may still become ready."""

    advice = "The vendor goes on with it; raise the timeout, or fetch it later by its id."


class DownloadError(ExportError):
    """The files of a ready export could not be landed; no incomplete file was left behind."""

    advice = "The export stays at the vendor until it expires: the download operator fetches it by its id."


class DownloadIncomplete(DownloadError):
    """The number of bytes received is not the number announced."""


class LinkExpired(DownloadError):
    """The file host refused the link, and a freshly fetched one as well."""


class NotTheFile(DownloadError):
    """The file host sent something that cannot be the file, such as an HTML page."""


class DestinationTaken(DownloadError):
    """What would be written already lies at the destination, and is not ours to replace."""

    permanent = True
    advice = "Name another destination, or have {export_id} or the data interval in it."


class UnsafeLink(DownloadError):
    """A link or redirect leads to an address that must not be followed."""

    permanent = True
    advice = "Nothing was fetched; ask the vendor, or allow the address in the connection."


def error_from_event(event: dict[str, Any]) -> ExportError:
    """Rebuild the error that :meth:`ExportError.to_event` described.

    A type that this version does not know (the event crossed an upgrade) becomes a plain
    :class:`ExportError`, so that the task still fails.
    """
    details = dict(event)
    type_name = details.pop("type", None)
    error_class = _BY_NAME.get(type_name) if isinstance(type_name, str) else None
    if error_class is None:
        error_class = ExportError
        details["message"] = f"{type_name}: {details.get('message')}"
    known = {"message", "vendor", "export_id", "http_status", "retry_after", "next_step"}
    if issubclass(error_class, InvalidPayload):
        known.add("problems")
    if issubclass(error_class, UnknownOutcome):
        known.add("created")
    return error_class(**{key: value for key, value in details.items() if key in known})


def _tree(root: type[ExportError]) -> dict[str, type[ExportError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


_BY_NAME = _tree(ExportError)

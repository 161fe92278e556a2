"""The life of an export as plans: everything that waits, retries, renews or adopts, written once.

Plans do no I/O; a transport runs them, blocking on a worker or asynchronously in the triggerer. Both modes
therefore behave alike.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Callable, Collection
from typing import TypeVar, assert_never

from airflow_provider_exports.core.auth import Signing
from airflow_provider_exports.core.model import Export, ExportState, Payload
from airflow_provider_exports.core.polling import PollRule, spread
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.retry import ONCE, RetryRule
from airflow_provider_exports.core.runs import RunWatch
from airflow_provider_exports.core.vendor import Capability, Vendor, unknown_status
from airflow_provider_exports.core.wire import (
    Flow,
    NetworkError,
    Now,
    Pause,
    Plan,
    Request,
    Response,
    info,
    warning,
)
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportCancelled,
    ExportConflict,
    ExportError,
    ExportExpired,
    ExportFailed,
    ExportNotFound,
    ExportRejected,
    ExportTimedOut,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    VendorUnavailable,
    VendorUnreachable,
)

T = TypeVar("T")

NOT_FOUND_GRACE = 30.0
"""Seconds at the start of a wait during which *not found* may only mean *not yet visible*."""
READ_AGAIN = (1.0, 3.0)
"""Seconds before an export whose answer made no sense is read again: a half-written row, a proxy's page."""
SHORTEST_CONFLICT_PAUSE = 10.0
"""Seconds between two creates at least, whatever the connection says."""
LOOK_AGAIN = (3.0, 10.0)
"""Seconds before each look for an export whose create was not answered: lists may lag behind."""


class Lifecycle:
    """Plans over one vendor.

    :param vendor: whose exports.
    :param chance: source of random numbers in [0, 1) for jitter.
    :param nonce: source of one-time words for signatures.
    """

    def __init__(
        self,
        vendor: Vendor,
        chance: Callable[[], float] = random.random,
        nonce: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self.vendor = vendor
        self.retry = RetryRule(attempts=max(1, vendor.settings.retry_attempts))
        self._chance = chance
        self._nonce = nonce
        self._token: str | None = None

    @property
    def token(self) -> str | None:
        """What the vendor's login returned last; None before, or for a vendor without login."""
        return self._token

    def renew_token(self, response: Response) -> None:
        """Take the token that an answer hands out, for vendors that renew it so."""
        if self._token is not None:
            self._token = self.vendor.renewed_token(self._token, response)

    # -- plans for the outside -------------------------------------------------------------------------

    def call(self, flow: Flow[T], *, retry: RetryRule | None = None) -> Plan[T]:
        """Run a vendor's flow: sign, send, repeat what may be repeated, name every error.

        :raises ExportError: named by what the vendor answered; :class:`UnknownOutcome` when a create was
            sent and its answer did not come or cannot be read.
        """
        sent = created = False
        request: Request | None = None
        try:
            request = next(flow)
            while True:
                try:
                    response = yield from self._send(request, retry or self.retry)
                except ExportError as error:
                    request = flow.throw(error)
                else:
                    sent = sent or not request.idempotent
                    created = created or (not request.idempotent and response.status == 201)
                    request = flow.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except UnexpectedResponse as error:
            if not sent:
                raise self._about(error, request) from None
            said = f"the create was answered, but the answer cannot be read: {error.message}"
            raise self._about(UnknownOutcome(said, created=created), request) from error
        except ExportError as error:
            raise self._about(error, request) from error.__cause__

    def submit(
        self,
        payload: Payload,
        *,
        conflict_deadline: float | None = None,
        reuse_existing: bool = False,
        unanswered_at: float | None = None,
    ) -> Plan[Export]:
        """Check the payload, then create the export; nothing is sent for a payload that breaks a rule.

        A create that was not answered is looked for where the vendor allows that, and only then repeated.

        :param payload: as :meth:`Vendor.prepare` returned it.
        :param conflict_deadline: epoch seconds until which to wait while the vendor is busy with an export
            that excludes this one; None raises :class:`ExportConflict` at once.
        :param reuse_existing: take a usable export of exactly this payload, where there is one.
        :param unanswered_at: when an earlier create of this payload got no answer, epoch seconds: what it may
            have made is looked for first.
        :raises InvalidPayload: with every problem.
        """
        started: float = yield Now()
        self.vendor.check(payload, started)
        advice = self.vendor.advise(payload)
        if advice:
            yield warning("%s: %s", self.vendor.name, advice)
        while True:
            since = 0.0 if reuse_existing else unanswered_at
            try:
                # Again after each pause: somebody else may have made it meanwhile, or a list has caught up.
                existing = [] if since is None else (yield from self._look(payload, since))
                if existing:
                    export = yield from self._newest(existing, "exists, none is created")
                else:
                    export = yield from self._create(payload, started)
            except ExportConflict as conflict:
                now: float = yield Now()
                unanswered_at = conflict.unanswered_at or unanswered_at
                conflict.unanswered_at = unanswered_at
                pause = self.conflict_pause(conflict)
                if conflict_deadline is None or now + pause > conflict_deadline:
                    raise
                yield info("%s: another export is active, next try in %.0f s", self.vendor.name, pause)
                yield Pause(pause)
            else:
                if Capability.START in self.vendor.capabilities and not export.state.finished:
                    export = yield from self.call(self.vendor.start(export, payload))
                if not existing:
                    yield info("%s export %s: created, %s", export.vendor, export.export_id, _word(export))
                return export

    def check(self, export_id: str, *, retry: RetryRule | None = None) -> Plan[Export]:
        """Read one export, with fresh links when it is ready.

        :raises ExportNotFound: the vendor does not know it.
        """
        for pause in READ_AGAIN if retry is None else ():
            try:
                return (yield from self.call(self.vendor.get(export_id)))
            except UnexpectedResponse as error:
                yield warning("%s", error)
                yield Pause(pause)
        return (yield from self.call(self.vendor.get(export_id), retry=retry))

    def check_many(self, export_ids: list[str]) -> Plan[dict[str, Export]]:
        """Read many exports in as few requests as the vendor allows; ids it does not know are absent."""
        found: dict[str, Export] = {}
        size = self.vendor.max_batch
        if Capability.GET_MANY in self.vendor.capabilities:
            for start in range(0, len(export_ids), size):
                found |= yield from self.call(self.vendor.get_many(export_ids[start : start + size]))
            return found
        for export_id in export_ids:
            with contextlib.suppress(ExportNotFound):
                found[export_id] = yield from self.check(export_id)
        return found

    def authenticate(self) -> Plan[None]:
        """Log in where the vendor needs that and no token is at hand."""
        yield from self._sign(Request("GET", "/"))

    def delete(self, export_id: str) -> Plan[bool]:
        """Delete an export at the vendor; returns False if it was gone already."""
        try:
            yield from self.call(self.vendor.delete(export_id))
        except ExportNotFound:
            return False
        yield info("%s export %s: deleted", self.vendor.name, export_id)
        return True

    def wait(
        self,
        export_id: str,
        *,
        until: Collection[ExportState] = (ExportState.READY,),
        deadline: float | None = None,
        poll: PollRule | None = None,
        first_delay: float = 0.0,
        run: RunWatch | None = None,
    ) -> Plan[Export]:
        """Look at the export until it is in one of the states ``until``.

        :param deadline: epoch seconds, None for never; absolute, so that a restart does not extend it.
        :param poll: the pace; None takes the connection's.
        :param first_delay: seconds before the first look.
        :param run: the run to wait for, of an export that the vendor repeats; no look before it is due.
        :raises ExportFailed, ExportExpired, ExportCancelled: it ended in another state than asked for.
        :raises ExportTimedOut: the deadline passed; :class:`UnknownStatus` when its status was unknown then.
        :raises VendorUnavailable, UnexpectedResponse: too many looks in a row failed.
        """
        settings = self.vendor.settings
        poll = poll or settings.poll
        started = now = yield Now()
        first_delay = max(first_delay, run.due - now if run else 0.0)
        if first_delay > 0:
            now = yield Pause(first_delay if deadline is None else min(first_delay, max(0.0, deadline - now)))
        if run is not None and now < run.due:
            raise self._timed_out(export_id, None, now - started)
        looks = failures = 0
        seen: Export | None = None
        while True:
            asked = 0.0
            try:
                export = yield from self.check(export_id, retry=ONCE)
            except (VendorUnavailable, UnexpectedResponse) as error:
                # Being told to slow down is an answer, not a failure; the deadline bounds it.
                failures += not isinstance(error, RateLimited)
                if failures >= settings.max_poll_failures:
                    raise
                asked = error.retry_after or 0.0
                yield warning("%s (look %d, failed in a row: %d)", error, looks + 1, failures)
            except ExportNotFound:
                if now - started > NOT_FOUND_GRACE:
                    raise
                yield info("%s export %s: not visible yet", self.vendor.name, export_id)
            else:
                failures = 0
                if seen is None or (seen.state, seen.vendor_status) != (export.state, export.vendor_status):
                    yield from self._tell(export)
                seen = export
                if run is None or run.shown_by(export, now):
                    if run is not None and run.guessed and export.state.finished:
                        yield warning("%s", run.guess(export))
                    if reached(export.state, until):
                        return export
                    if export.state is not ExportState.READY:
                        raise_if_ended(export)
            now = yield Now()
            if deadline is not None and now >= deadline:
                raise self._timed_out(export_id, seen, now - started)
            pause = max(poll.interval(looks, self._chance()), asked)
            looks += 1
            now = yield Pause(pause if deadline is None else min(pause, max(0.0, deadline - now)))

    def watch_run(self, due: float | None, next_due: float | None) -> RunWatch | None:
        """Return what tells one run of an export that the vendor repeats from the others; None without it.

        :param due: start of the run, epoch seconds; None for the newest, whichever it is.
        :param next_due: start of the run after it; None if none follows.
        :raises ExportRejected: the vendor does not repeat exports.
        """
        if due is None:
            return None
        if Capability.RECURRENCE not in self.vendor.capabilities:
            raise ExportRejected("the vendor does not repeat exports.", vendor=self.vendor.name)
        settings = self.vendor.settings
        return RunWatch(due, next_due, settings.run_patience, settings.clock_margin)

    def conflict_pause(self, conflict: ExportConflict) -> float:
        """Return the seconds before the next try at a create that met a conflict."""
        interval = max(self.vendor.settings.conflict_interval, SHORTEST_CONFLICT_PAUSE)
        return conflict.retry_after or spread(interval, self._chance())

    # -- inside ----------------------------------------------------------------------------------------

    def _create(self, payload: Payload, started: float) -> Plan[Export]:
        again = True
        while True:
            try:
                return (yield from self.call(self.vendor.create(payload)))
            except UnknownOutcome as unknown:
                if Capability.FIND not in self.vendor.capabilities:
                    raise
                yield warning("%s", unknown)
                try:
                    found = yield from self._find(payload, started)
                except ExportError as error:
                    unknown.message += f" Looking for it failed as well: {error.message}"
                    raise unknown from error
                if found is not None:
                    return found
                if unknown.created or not again:
                    raise
            except ExportConflict as conflict:
                conflict.unanswered_at = None if again else started
                raise
            again = False
            yield info("%s: the unanswered create left nothing behind; creating again", self.vendor.name)

    def _find(self, payload: Payload, started: float) -> Plan[Export | None]:
        for pause in LOOK_AGAIN:
            yield Pause(pause)
            if found := (yield from self._look(payload, started)):
                return (yield from self._newest(found, "found and adopted"))
        return None

    def _look(self, payload: Payload, since: float) -> Plan[list[Export]]:
        since = max(0.0, since - self.vendor.settings.clock_margin)
        return (yield from self.call(self.vendor.find(payload, since)))

    def _newest(self, found: list[Export], said: str) -> Plan[Export]:
        yield info("%s export %s: %s", self.vendor.name, found[0].export_id, said)
        if len(found) > 1:
            others = ", ".join(export.export_id for export in found[1:])
            yield warning("%s: exports of the same payload also exist: %s", self.vendor.name, others)
        return found[0]

    def _send(self, request: Request, retry: RetryRule) -> Plan[Response]:
        """Send one request of a flow until it is answered or the rule gives up."""
        attempt = 0
        renewed = False
        while True:
            attempt += 1
            outcome: NetworkError | ExportError
            try:
                signed = yield from self._sign(request)
                response: Response = yield signed
            except NetworkError as error:
                outcome = error
            else:
                if request.signed:
                    self.renew_token(response)
                refused = self.vendor.error(request, response)
                if refused is None:
                    return response
                if isinstance(refused, AuthenticationFailed) and self._token is not None and not renewed:
                    # A token may die between two calls; one new one is worth a try, two are an attack.
                    self._token, renewed = None, True
                    attempt -= 1
                    continue
                outcome = refused
            pause = retry.delay(request, attempt, outcome, self._chance())
            if pause is None:
                raise self._given_up(request, outcome)
            yield warning(
                "%s: %s; attempt %d of %d in %.1f s",
                self.vendor.name,
                self._said(outcome),
                attempt + 1,
                retry.attempts,
                pause,
            )
            yield Pause(pause)

    def _sign(self, request: Request) -> Plan[Request]:
        if not request.signed:
            return request
        now: float = yield Now()
        if Capability.LOGIN in self.vendor.capabilities:
            expires_at = self.vendor.token_expires_at(self._token) if self._token is not None else None
            if self._token is None or (expires_at is not None and now >= expires_at):
                # Forgotten first: a refused login must not look like a refused token, which is tried again.
                self._token = None
                self._token = yield from self.call(self.vendor.login())
        return self.vendor.auth.sign(request, self.signing(now))

    def signing(self, now: float) -> Signing:
        """Return what signs a request that is sent now."""
        return Signing(self._token, now, self._nonce())

    def _given_up(self, request: Request, outcome: NetworkError | ExportError) -> ExportError:
        name = request.operation or f"{request.method} {request.path}"
        unanswered = isinstance(outcome, NetworkError) or (
            isinstance(outcome, VendorUnavailable) and not isinstance(outcome, RateLimited)
        )
        if not request.idempotent and unanswered and getattr(outcome, "sent", True):
            status = outcome.http_status if isinstance(outcome, ExportError) else None
            return UnknownOutcome(
                f"{name} was sent and not answered properly ({self._said(outcome)}).", http_status=status
            )
        if isinstance(outcome, ExportError):
            return outcome
        if outcome.sent:
            return VendorUnavailable(f"{name} was not answered: {self._said(outcome)}.")
        return VendorUnreachable(f"{name} could not be sent: {self._said(outcome)}.")

    def _said(self, outcome: NetworkError | ExportError) -> str:
        text = outcome.message if isinstance(outcome, ExportError) else str(outcome)
        return redact(text, self.vendor.secrets).rstrip(".")

    def _about(self, error: ExportError, request: Request | None) -> ExportError:
        error.vendor = error.vendor or self.vendor.name
        error.export_id = error.export_id or (request.export_id if request else None)
        return error

    def _tell(self, export: Export) -> Plan[None]:
        if export.documented:
            yield info("%s export %s: %s", export.vendor, export.export_id, _word(export))
        else:
            yield warning("%s", unknown_status(export))

    def _timed_out(self, export_id: str, seen: Export | None, waited: float) -> ExportError:
        if seen is not None and not seen.documented:
            return unknown_status(seen)
        state = f"still {seen.state}" if seen else "never seen"
        return ExportTimedOut(f"{state} after {waited:.0f} s.", vendor=self.vendor.name, export_id=export_id)


def reached(state: ExportState, until: Collection[ExportState]) -> bool:
    """Return whether ``state`` is one of ``until``; a quick export passes unfinished ones unseen."""
    return state in until or (state is ExportState.READY and not any(wanted.finished for wanted in until))


def raise_unless_ready(export: Export) -> None:
    """Raise why the export has no files to fetch.

    :raises ExportFailed, ExportExpired, ExportCancelled: it never will have.
    :raises ExportTimedOut: it has none yet.
    """
    raise_if_ended(export)
    if export.state is not ExportState.READY:
        raise ExportTimedOut(
            f"it is {export.state}, not ready yet.",
            vendor=export.vendor,
            export_id=export.export_id,
            next_step="Wait for it first, with an export sensor or with the run operator.",
        )


def raise_if_ended(export: Export) -> None:
    """Raise the error of a finished state other than READY.

    :raises ExportFailed, ExportExpired, ExportCancelled: the state's own.
    """
    word = f" (status {export.vendor_status})" if export.vendor_status else ""
    match export.state:
        case ExportState.FAILED:
            error: ExportError = ExportFailed(f"the vendor reports that it failed{word}.")
        case ExportState.EXPIRED:
            since = f" since {export.expires_at:%Y-%m-%dT%H:%M:%SZ}" if export.expires_at else ""
            error = ExportExpired(f"its files are gone{since}{word}.")
        case ExportState.CANCELLED:
            error = ExportCancelled(f"it was cancelled at the vendor{word}.")
        case ExportState.QUEUED | ExportState.RUNNING | ExportState.READY:
            return
        case _:
            assert_never(export.state)
    error.vendor, error.export_id = export.vendor, export.export_id
    raise error


def _word(export: Export) -> str:
    return export.vendor_status or export.state.value

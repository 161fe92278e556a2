"""The life of an export as plans: everything that waits, retries, renews or adopts, written once.

Plans do no I/O; a transport runs them, blocking on a worker or asynchronously in the triggerer. Both modes
therefore behave alike.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from airflow_provider_exports.core.auth import Signing
from airflow_provider_exports.core.model import Export, ExportState, Payload
from airflow_provider_exports.core.polling import PollRule, spread
from airflow_provider_exports.core.redact import redact
from airflow_provider_exports.core.retry import ONCE, RetryRule
from airflow_provider_exports.core.runs import RunWatch
from airflow_provider_exports.core.vendor import Capability, Vendor
from airflow_provider_exports.core.watch import NOT_FOUND_GRACE, Watch, vanished, word
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
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    VendorUnavailable,
    VendorUnreachable,
)

T = TypeVar("T")

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
                if isinstance(request, Pause):
                    request = flow.send((yield request))
                    continue
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
        if unanswered_at is not None and Capability.FIND not in self.vendor.capabilities:
            yield warning(
                "%s: an earlier create may have made an export that the vendor's API cannot find again; "
                "if it did, this one is a second.",
                self.vendor.name,
            )
            unanswered_at = None
        if unanswered_at is not None and started - unanswered_at < NOT_FOUND_GRACE:
            yield Pause(LOOK_AGAIN[0])
        while True:
            since = 0.0 if reuse_existing else unanswered_at
            try:
                # Again after each pause: somebody else may have made it meanwhile, or a list has caught up.
                existing = [] if since is None else (yield from self.find(payload, since))
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
                    yield info(
                        "%s export %s: created, %s",
                        export.vendor,
                        export.export_id,
                        word(export, self.vendor.secrets),
                    )
                return export

    def find(self, payload: Payload, since: float) -> Plan[list[Export]]:
        """Return usable exports of exactly this payload, the one to use first.

        :param since: epoch seconds of an earlier create, by our clock; 0 for exports of any age.
        """
        since = max(0.0, since - self.vendor.settings.clock_margin)
        return (yield from self.call(self.vendor.find(payload, since)))

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

    def adopt(self, export_id: str, since: float) -> Plan[Export]:
        """Read an export that was created, and started, by an earlier try.

        :param since: from when on it was created, epoch seconds: a new one may not be visible yet.
        :raises ExportExpired: the vendor does not have it any more.
        """
        while True:
            try:
                export = yield from self.check(export_id)
            except ExportNotFound as error:
                now: float = yield Now()
                if now - since > NOT_FOUND_GRACE:
                    raise vanished(error) from None
                yield Pause(READ_AGAIN[-1])
            else:
                return export

    def cancel(self, export_id: str) -> Plan[bool]:
        """Stop an export that nobody wants any more; returns False where it goes on, or has ended before.

        Cancelling is deleting, and one that is ready may yet be wanted.
        """
        name = self.vendor.name
        if not self.vendor.delete_cancels or Capability.DELETE not in self.vendor.capabilities:
            yield warning("%s export %s: goes on; the vendor's API cannot cancel it", name, export_id)
            return False
        with contextlib.suppress(ExportNotFound):
            if (yield from self.check(export_id)).state.finished:
                yield info("%s export %s: has ended, there is nothing to cancel", name, export_id)
                return False
        if (yield from self.delete(export_id)):
            yield info("%s export %s: cancelled", name, export_id)
        return True

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
        known: bool = False,
    ) -> Plan[Export]:
        """Look at the export until it is in one of the states ``until``.

        :param deadline: epoch seconds, None for never; absolute, so that a restart does not extend it.
        :param poll: the pace; None takes the connection's.
        :param first_delay: seconds before the first look.
        :param run: the run to wait for, of an export that the vendor repeats; no look before it is due.
        :param known: whether it has been seen before, so that *not found* means that it is gone.
        :raises ExportFailed, ExportExpired, ExportCancelled: it ended in another state than asked for.
        :raises ExportTimedOut: the deadline passed; :class:`UnknownStatus` when its status was unknown then.
        :raises VendorUnavailable, UnexpectedResponse: too many looks in a row failed.
        """
        watch = self.watch(
            export_id,
            (yield Now()),
            until=until,
            deadline=deadline,
            poll=poll,
            first_delay=first_delay,
            run=run,
            known=known,
        )
        while True:
            now: float = yield Now()
            if not watch.is_due(now):
                now = yield Pause(watch.next_look - now)
                continue
            try:
                export = yield from self.check(export_id, retry=ONCE)
            except ExportError as error:
                watch.failed(error, now)
                over = False
            else:
                over = watch.saw(export, now)
            yield from watch.notes
            watch.notes.clear()
            if over:
                return export
            watch.plan((yield Now()))

    def watch(self, export_id: str, now: float, **details: Any) -> Watch:
        """Begin a wait; ``details`` are those of :class:`~airflow_provider_exports.core.watch.Watch`."""
        return Watch(self.vendor, export_id, now, chance=self._chance, **details)

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

    @property
    def conflict_interval(self) -> float:
        """Seconds between two tries at a create that meets conflicts, or two looks for room."""
        return max(self.vendor.settings.conflict_interval, SHORTEST_CONFLICT_PAUSE)

    def conflict_pause(self, conflict: ExportConflict) -> float:
        """Return the seconds before the next try at a create that met a conflict."""
        if conflict.retry_after is not None:
            return max(conflict.retry_after, SHORTEST_CONFLICT_PAUSE)
        return spread(self.conflict_interval, self._chance())

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
            except ExportError as error:
                error.unanswered_at = None if again else started
                raise
            again = False
            yield info("%s: the unanswered create left nothing behind; creating again", self.vendor.name)

    def _find(self, payload: Payload, started: float) -> Plan[Export | None]:
        for pause in LOOK_AGAIN:
            yield Pause(pause)
            if found := (yield from self.find(payload, started)):
                return (yield from self._newest(found, "found and adopted"))
        return None

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
                signed = yield from self._sign(request, retry)
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

    def _sign(self, request: Request, retry: RetryRule | None = None) -> Plan[Request]:
        if not request.signed:
            return request
        now: float = yield Now()
        if Capability.LOGIN in self.vendor.capabilities:
            expires_at = self.vendor.token_expires_at(self._token) if self._token is not None else None
            if self._token is None or (expires_at is not None and now >= expires_at):
                # Forgotten first: a refused login must not look like a refused token, which is tried again.
                self._token = None
                self._token = yield from self.call(self.vendor.login(), retry=retry)
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
        # Texts of answers are quoted in more places than one can think of.
        error.message = redact(error.message, self.vendor.secrets, limit=2000)
        error.vendor = error.vendor or self.vendor.name
        error.export_id = error.export_id or (request.export_id if request else None)
        return error

"""The contract of a vendor as a test suite: subclass it, say what yours is, and run pytest."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar
from urllib.parse import urlsplit

import jsonschema
import pytest

from airflow_provider_exports.core import schemas
from airflow_provider_exports.core.auth import Signing
from airflow_provider_exports.core.lifecycle import Lifecycle
from airflow_provider_exports.core.model import JSON, Export, ExportState, Payload
from airflow_provider_exports.core.vendor import (
    Capability,
    ConnectionInfo,
    Expiry,
    Links,
    Vendor,
    VendorSettings,
)
from airflow_provider_exports.core.wire import NetworkError, Plan, Request, Response, origin, resolve
from airflow_provider_exports.exceptions import (
    AuthenticationFailed,
    ExportConflict,
    ExportError,
    ExportNotFound,
    ExportRejected,
    InvalidConnection,
    InvalidPayload,
    PermissionDenied,
    RateLimited,
    UnexpectedResponse,
    UnknownOutcome,
    UnknownStatus,
    VendorUnavailable,
)
from airflow_provider_exports.testing.replay import NOW, Answer, Replay

__all__ = ["VendorConformance"]

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_HOSTILE_ID = "../../etc/passwd :*?"
_UNKNOWN_WORD = "AWordOfTomorrow"
# An answer never needs more tries than this, whatever the connection says.
_TRIES = 50
_REQUIRED = {
    "vendor_class": "your subclass of Vendor",
    "connection": "a ConnectionInfo with every credential your vendor needs",
    "payload": "one valid payload, in the vendor's field names",
    "samples": "pairs of an export object from the vendor's documentation and its ExportState",
    "happy_path": "the answers to every request from the create to the look that finds the export ready",
}


class VendorConformance:
    """What must hold for every vendor.

    ::

        class TestAcme(VendorConformance):
            vendor_class = AcmeVendor
            connection = ConnectionInfo("acme_default", password="made-up-secret")
            payload = {"report": "orders"}
            samples = [({"id": "e1", "status": "waiting"}, ExportState.QUEUED), …]
            happy_path = [ok({"id": "e1", "status": "waiting"}, 201), ok({"id": "e1", "status": "done", …})]

    No network and no clock: the answers are scripted, time is virtual. What is particular to the vendor
    (its payload rules, its dates, its requests field by field) still needs tests of its own.
    """

    vendor_class: ClassVar[type[Vendor]]
    """The vendor."""
    connection: ClassVar[ConnectionInfo]
    """A connection with made-up credentials of at least six characters each."""
    payload: ClassVar[Payload]
    """A valid payload."""
    samples: ClassVar[Sequence[tuple[JSON, ExportState]]]
    """Export objects as the vendor sends them, with the state each means at ``now``; one at least is ready
    and has files. Take them from the vendor's documentation. Every status word must be among them."""
    happy_path: ClassVar[Sequence[Answer]]
    """Answers to all requests of one export: login where there is one, create, start where there is one,
    then looks until it is ready."""
    now: ClassVar[float] = NOW
    """The vendor's time at which samples and happy path hold, epoch seconds."""
    create_errors: ClassVar[Mapping[int, type[ExportError]]] = {}
    """Status codes to errors where the answer to a create means something else than usual."""
    get_errors: ClassVar[Mapping[int, type[ExportError]]] = {}
    """Status codes to errors where the answer to a look means something else than usual."""

    @pytest.fixture(autouse=True)
    def _is_filled_in(self) -> None:
        missing = [f"- {name}: {what}" for name, what in _REQUIRED.items() if not getattr(self, name, None)]
        if missing:
            pytest.fail("\n".join([f"{type(self).__name__} does not say yet:", *missing]), pytrace=False)

    # -- what it is called -----------------------------------------------------------------------------

    def test_name_is_a_connection_type(self) -> None:
        """The name is lower case, so that it can be a connection type and a part of an environment."""
        assert _NAME.fullmatch(self.vendor_class.name), f"{self.vendor_class.name!r} is no connection type"

    def test_people_can_read_about_it(self) -> None:
        """It has a name for people and a link to the vendor's own documentation."""
        assert self.vendor_class.display_name.strip(), "display_name is empty"
        assert self.vendor_class.docs_url.startswith("https://"), "docs_url is no https address"

    def test_declared_capabilities_are_the_overridden_methods(self) -> None:
        """Neither promised and missing, nor built and unreachable."""
        built = {
            capability
            for capability in Capability
            if getattr(self.vendor_class, capability.value) is not getattr(Vendor, capability.value)
        }
        declared = self.vendor_class.capabilities
        assert declared - built == set(), "declared in capabilities, but the method is not overridden"
        assert built - declared == set(), "the method is overridden, but not declared in capabilities"

    # -- schemas and payload ---------------------------------------------------------------------------

    @pytest.mark.parametrize("name", [schemas.CREATE_REQUEST, schemas.EXPORT_RESPONSE])
    def test_schema_is_valid_and_says_its_source(self, name: str) -> None:
        """A schema that is missing or broken would let everything through."""
        schema = schemas.load(self.vendor_class._schema_folder(), name)
        assert schema is not None, f"there is no schemas/{name} beside the vendor's module"
        jsonschema.Draft202012Validator.check_schema(schema)
        assert str(schema.get("$schema")).endswith("2020-12/schema"), f"{name} does not say its $schema"
        comment = str(schema.get("$comment"))
        assert "Source: https://" in comment, f"the $comment of {name} has no 'Source: https://…'"

    def test_payload_is_valid(self) -> None:
        """The payload passes schema and rules, and preparing it leaves the task's own dict alone."""
        given = copy.deepcopy(self.payload)
        vendor = self.vendor()
        prepared = vendor.prepare(given)
        assert given == self.payload, "prepare() changes the payload that it is given"
        vendor.check(prepared, self.now)
        json.dumps(prepared)

    def test_schema_refuses_a_payload_of_the_wrong_shape(self) -> None:
        """The create schema demands something: a text is no payload."""
        with pytest.raises(InvalidPayload):
            self.vendor().check_shape("no object")  # type: ignore[arg-type]

    def test_payload_fields_round_trip(self) -> None:
        """Each parameter of an operator ends up in its own place, and nowhere else."""
        places = self.vendor_class.payload_fields
        values = {parameter: f"value of {parameter}" for parameter in places}
        composed = self.vendor_class.compose(values, None)
        for parameter, place in places.items():
            assert _at(composed, place) == values[parameter], f"{parameter} is not at {'.'.join(place)}"
        assert len(list(_leaves(composed))) == len(places), "two parameters share a place in the payload"

    def test_payload_can_be_given_as_parameters(self) -> None:
        """What the payload and ``payload_fields`` share can be given either way, not both."""
        places = self.vendor_class.payload_fields
        given = {parameter: _at(self.payload, place) for parameter, place in places.items()}
        given = {parameter: value for parameter, value in given.items() if value is not None}
        rest = copy.deepcopy(self.payload)
        for parameter in given:
            _remove(rest, places[parameter])
        assert self.vendor_class.compose(given, rest) == self.payload
        for parameter, value in given.items():
            with pytest.raises(InvalidPayload, match=parameter):
                self.vendor_class.compose({parameter: value}, self.payload)

    # -- connection and credentials --------------------------------------------------------------------

    def test_settings_have_defaults_and_a_meaning(self) -> None:
        """A connection without Extra has every setting, and one that cannot be read is an error."""
        settings = self.vendor_class.settings_class
        assert issubclass(settings, VendorSettings)
        assert settings() == settings.from_extra({name.name: None for name in fields(settings)}, "any")
        with pytest.raises(InvalidConnection, match="poll_initial"):
            self.vendor(poll_initial="soon")

    def test_missing_secret_is_an_invalid_connection(self) -> None:
        """A connection without its password or key is refused before anything is sent."""
        with pytest.raises(InvalidConnection):
            self.vendor_class(replace(self.connection, login="", password="", extra={}))

    def test_plain_http_is_refused(self) -> None:
        """Credentials do not go over plain http to another machine."""
        with pytest.raises(InvalidConnection):
            self.vendor_class(replace(self.connection, host="http://elsewhere.example", schema="", port=None))

    def test_secrets_are_declared(self) -> None:
        """The vendor knows its secrets, so that logs and errors can be cleared of them."""
        secrets = self.vendor().secrets
        assert secrets, "the vendor declares no secrets"
        assert all(len(secret) >= 6 for secret in secrets), "choose longer secrets: these hide nothing"

    def test_signing_adds_credentials(self) -> None:
        """A signed request differs from the plain one; the plain one is left as it was."""
        vendor = self.vendor()
        plain = Request("POST", "/path", json={"field": 1})
        signed = vendor.auth.sign(plain, self.signing())
        assert plain == Request("POST", "/path", json={"field": 1}), "sign() changes the request it is given"
        assert signed != plain, "sign() adds nothing"
        assert (signed.method, signed.path) == (plain.method, plain.path)
        assert signed.idempotent == plain.idempotent

    def test_reprs_hide_secrets(self) -> None:
        """Nothing that can end up in a traceback shows a secret."""
        vendor = self.vendor()
        signed = vendor.auth.sign(Request("POST", "/path", json={}), self.signing())
        for thing in (vendor, vendor.auth, vendor.settings, vendor.connection, signed, self.signing()):
            self.assert_no_secret(repr(thing), f"the repr of {type(thing).__name__}")

    def test_credentials_stay_at_the_api(self) -> None:
        """Every signed request goes to an origin of ``api_urls``, and none of them is plain http."""
        replay, _, _ = self.happy()
        vendor = self.vendor()
        for url in vendor.api_urls:
            assert origin(url)[0] == "https" or origin(self.connection.host)[0] == "http", (
                f"{url} is no https"
            )
        for request in replay.requests:
            assert origin(resolve(vendor.api_urls, request.path)) in map(origin, vendor.api_urls)

    def test_file_hosts_are_hosts(self) -> None:
        """Hosts that may see the credentials are named as hosts; by default none but the API's own."""
        for host in self.vendor().file_hosts:
            assert host == host.lower(), f"{host!r} is not lower case"
            assert urlsplit(f"//{host}").netloc == host, f"{host!r} is no host"

    # -- create and get --------------------------------------------------------------------------------

    def test_happy_path_ends_ready(self) -> None:
        """The scripted answers lead from a payload to a ready export, each used once."""
        replay, created, ready = self.happy()
        assert ready.state is ExportState.READY
        assert (ready.export_id, ready.vendor) == (created.export_id, self.vendor_class.name)
        assert replay.answers == [], f"{len(replay.answers)} answers of the happy path were not asked for"
        json.dumps([request.json for request in replay.requests])
        assert all(request.operation for request in replay.requests), "a request has no operation (its name)"

    def test_nothing_told_on_the_way_is_secret(self) -> None:
        """Log lines hold neither a credential nor a download link."""
        replay, _, ready = self.happy()
        told = "\n".join([*replay.notes, *map(repr, replay.requests)])
        self.assert_no_secret(told, "the log")
        assert not any(file.url in told for file in ready.files), "the log shows a download link"

    def test_create_is_never_repeated(self) -> None:
        """Exactly one request of the create is not idempotent, and it is sent once when nobody answers."""
        life = self.life()
        create = life.call(life.vendor.create(life.vendor.prepare(copy.deepcopy(self.payload))))
        replay, _ = self._answered(create, lambda _request: False, self.refusal(500))
        creates = [request for request in replay.requests if not request.idempotent]
        assert len(creates) == 1, f"{len(creates)} requests of the create say idempotent=False, not one"
        replay, error = self.refused_create(NetworkError("the connection broke", sent=True))
        assert isinstance(error, UnknownOutcome), f"{error!r} is no UnknownOutcome"
        assert len([request for request in replay.requests if not request.idempotent]) == 1

    @pytest.mark.parametrize(
        ("status", "usual"),
        [
            (400, ExportRejected),
            (401, AuthenticationFailed),
            (403, PermissionDenied),
            (404, ExportRejected),
            (409, ExportConflict),
            (422, ExportRejected),
            (429, RateLimited),
            (500, UnknownOutcome),
            (503, UnknownOutcome),
        ],
    )
    def test_refused_create_has_its_own_error(self, status: int, usual: type[ExportError]) -> None:
        """Each status code of a refused create means what it usually does, or what the vendor documents."""
        _, error = self.refused_create(self.refusal(status))
        expected = self.create_errors.get(status, usual)
        assert type(error) is expected, f"HTTP {status} to a create is {error!r}, not {expected.__name__}"
        self.assert_no_secret(f"{error} {error!r} {error.to_event()}", "the error")

    @pytest.mark.parametrize(
        ("status", "usual"),
        [
            (401, AuthenticationFailed),
            (403, PermissionDenied),
            (404, ExportNotFound),
            (429, RateLimited),
            (500, VendorUnavailable),
            (502, VendorUnavailable),
            (503, VendorUnavailable),
        ],
    )
    def test_refused_look_has_its_own_error(self, status: int, usual: type[ExportError]) -> None:
        """Each status code of a refused look means what it usually does, or what the vendor documents."""
        error = self.refused_look(self.refusal(status))
        expected = self.get_errors.get(status, usual)
        assert type(error) is expected, f"HTTP {status} to a look is {error!r}, not {expected.__name__}"
        self.assert_no_secret(f"{error} {error!r} {error.to_event()}", "the error")

    @pytest.mark.parametrize(
        "body", [b"", b"<html>Maintenance</html>", b'{"id": ', b"null", b"7", b'"text"', b"[]", b"[7]", b"{}"]
    )
    def test_answer_that_makes_no_sense_is_a_typed_error(self, body: bytes) -> None:
        """A proxy's page or an empty object neither succeeds nor ends in a KeyError.

        A look may read a bare word or an empty list as not finished yet: the wait's deadline bounds that.
        """
        answer = Response(200, {"content-type": "application/json"}, body)
        look = self.look(answer)
        goes_on = isinstance(look, Export) and not look.state.finished and body in (b'"text"', b"[]")
        assert goes_on or isinstance(look, UnexpectedResponse), f"a look answered with {body!r} is {look!r}"
        _, create = self.refused_create(answer)
        assert isinstance(create, UnknownOutcome), f"a create answered with {body!r} is {create!r}"

    def test_declared_facts_hold(self) -> None:
        """What the vendor declares about expiry, links and deleting is what its exports show."""
        vendor = self.vendor_class
        ready = [export for export in map(self.read, (raw for raw, _ in self.samples)) if export.files]
        told = [export.expires_at is not None for export in ready]
        if vendor.expiry is Expiry.UNKNOWN:
            assert not any(told), "expiry is UNKNOWN, but an export tells when its files go"
        else:
            assert any(told), "no ready sample tells when its files go; expiry says that they do"
        opened = {file.authenticated for export in ready for file in export.files}
        assert opened == {vendor.links is Links.AUTHENTICATED}, "links does not fit the files of the samples"
        deletes = Capability.DELETE in vendor.capabilities
        assert deletes or not vendor.delete_cancels, "delete_cancels, but the vendor cannot delete"

    # -- what an answer means --------------------------------------------------------------------------

    def test_samples_have_their_states(self) -> None:
        """Each documented export object is read as the state it stands for."""
        for raw, state in self.samples:
            export = self.read(raw)
            assert export.state is state, f"{raw} is read as {export.state}, not {state}"
            assert export.vendor == self.vendor_class.name
            assert export.export_id
            assert export.documented, f"{raw} is said to have an undocumented status"

    def test_every_status_word_is_sampled(self) -> None:
        """No documented word is left without a sample."""
        seen = {self.read(raw).vendor_status for raw, _ in self.samples}
        missing = set(self.vendor_class.states) - seen
        assert not missing, f"no sample has the status {', '.join(sorted(missing))}"

    def test_only_ready_exports_have_files(self) -> None:
        """Files can be fetched when the export is ready, and only then."""
        exports = [self.read(raw) for raw, _ in self.samples]
        assert any(export.files for export in exports), "no sample is ready and has files"
        for export in exports:
            assert not export.files or export.state is ExportState.READY, f"{export!r} has files"

    def test_times_are_aware(self) -> None:
        """Times in an export have a time zone."""
        for raw, _ in self.samples:
            export = self.read(raw)
            for moment in (export.created_at, export.expires_at):
                assert moment is None or moment.tzinfo is not None, f"{export!r} has a time without a zone"

    def test_unknown_status_does_not_succeed(self) -> None:
        """A status word of tomorrow is never taken for success, and fails where the connection says so."""
        for raw, _ in self.samples:
            word = self.read(raw).vendor_status
            if word is None:
                assert not self.vendor_class.states, "an export does not tell its vendor_status"
                continue
            strange = _replaced(raw, word, _UNKNOWN_WORD)
            export = self.read(strange)
            assert not export.state.finished, f"the unknown status of {strange} is read as {export.state}"
            assert not export.documented, f"the unknown status of {strange} counts as documented"
            with pytest.raises(UnknownStatus):
                self.read(strange, unknown_status="fail")

    def test_missing_id_is_an_unexpected_response(self) -> None:
        """An export object without its id is refused."""
        for raw, _ in self.samples:
            nameless = _without(raw, self.read(raw).export_id)
            with pytest.raises(UnexpectedResponse):
                self.read(nameless)

    def test_damaged_samples_are_read_or_refused_by_name(self) -> None:
        """A field that is missing, null or of another type is no KeyError or TypeError."""
        for raw, _ in self.samples:
            for damaged in _damaged(raw):
                try:
                    self.read(damaged)
                except UnexpectedResponse:
                    pass
                except Exception as error:  # noqa: BLE001 - the point is that there is none
                    pytest.fail(f"reading {damaged} raises {error!r}, not UnexpectedResponse")

    def test_exports_show_no_link(self) -> None:
        """Neither ``repr`` nor the result that goes into XCom holds a download link."""
        for raw, _ in self.samples:
            export = self.read(raw)
            shown = f"{export!r} {json.dumps(export.result())}"
            assert not any(file.url in shown for file in export.files), "a download link is shown"

    def test_file_names_are_safe(self) -> None:
        """Names of files are ours: plain, different from each other, and no path, whatever the id is."""
        for raw, _ in self.samples:
            export_id = self.read(raw).export_id
            for candidate in (raw, _replaced(raw, export_id, _HOSTILE_ID)):
                try:
                    names = [file.name for file in self.read(candidate).files]
                except UnexpectedResponse:
                    assert candidate is not raw
                    continue
                assert len(names) == len(set(names)), f"two files are called the same: {names}"
                for name in names:
                    assert _FILE_NAME.fullmatch(name), f"{name!r} is no safe file name; see file_stem()"

    # -- to override or to use -------------------------------------------------------------------------

    def vendor(self, **extra: Any) -> Vendor:
        """Return the vendor on the connection, with ``extra`` added to its Extra."""
        return self.vendor_class(replace(self.connection, extra={**self.connection.extra, **extra}))

    def life(self) -> Lifecycle:
        """Return the plans over the vendor, without chance."""
        return Lifecycle(self.vendor(), chance=lambda: 0.5, nonce=lambda: "0123456789abcdef")

    def signing(self) -> Signing:
        """Return what signs a request in these tests."""
        return Signing("made-up-token-of-a-login", self.now, "0123456789abcdef")

    def read(self, raw: JSON, **extra: Any) -> Export:
        """Return an export object of an answer as the vendor reads it."""
        return self.vendor(**extra).read(copy.deepcopy(raw), self.now)

    def refusal(self, status: int) -> Response:
        """Return the answer with a status code; it quotes the credentials, as some vendors do."""
        said = f"refused for {' '.join(self.vendor().secrets)}"
        body = dict.fromkeys(("message", "Message", "detail", "error", "reason", "title"), said)
        return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())

    def assert_no_secret(self, text: str, where: str) -> None:
        """Fail when ``text`` holds one of the vendor's secrets."""
        assert not any(secret in text for secret in self.vendor().secrets), f"{where} shows a secret"

    def happy(self) -> tuple[Replay, Export, Export]:
        """Run the happy path; return the replay, the export as created and as ready."""
        life, replay = self.life(), Replay(self.happy_path, self.now)
        created = replay.run(life.submit(life.vendor.prepare(copy.deepcopy(self.payload))))
        return replay, created, replay.run(life.wait(created.export_id))

    def refused_create(self, answer: Answer) -> tuple[Replay, ExportError]:
        """Run a create that gets ``answer``; return the replay and the error."""
        life = self.life()
        replay, seen = self._answered(
            life.call(life.vendor.create(life.vendor.prepare(copy.deepcopy(self.payload)))),
            lambda request: not request.idempotent,
            answer,
        )
        if isinstance(seen, Export):
            pytest.fail(f"answered with {answer!r}, yet there is a result: {seen!r}")
        return replay, seen

    def refused_look(self, answer: Answer) -> ExportError:
        """Run a look whose last request gets ``answer``; return the error."""
        seen = self.look(answer)
        if isinstance(seen, Export):
            pytest.fail(f"answered with {answer!r}, yet there is a result: {seen!r}")
        return seen

    def look(self, answer: Answer) -> Export | ExportError:
        """Run a look whose last request gets ``answer``; return the export as it was read, or the error."""
        replay, created, _ = self.happy()
        look = replay.requests[-1]
        life = self.life()
        _, seen = self._answered(
            life.call(life.vendor.get(created.export_id)), lambda request: _same(request, look), answer
        )
        return seen

    def _answered(
        self, plan: Plan[Export], wanted: Any, answer: Answer
    ) -> tuple[Replay, Export | ExportError]:
        """Run ``plan``; what is ``wanted`` gets ``answer``, the rest (a login) what the happy path gave."""
        happy = self.happy()[0].requests
        replay = Replay(now=self.now)

        def respond(request: Request) -> Any:
            if wanted(request):
                given = answer
            else:
                pairs = zip(self.happy_path, happy, strict=True)
                known = [reply for reply, before in pairs if _same(before, request)]
                assert known, f"the happy path has no answer to {request}"
                given = known[0]
            return given(request) if callable(given) else given

        replay.answers = [respond] * _TRIES
        try:
            return replay, replay.run(plan)
        except ExportError as error:
            return replay, error


def _same(one: Request, other: Request) -> bool:
    return (one.method, one.path) == (other.method, other.path)


def _at(value: Any, place: Sequence[str]) -> Any:
    for key in place:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _remove(value: dict[str, Any], place: Sequence[str]) -> None:
    """Take away what is at ``place``, and the objects around it that are left empty."""
    key, *rest = place
    if rest:
        _remove(value[key], rest)
    if not rest or not value[key]:
        del value[key]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value


def _replaced(value: Any, old: Any, new: Any) -> Any:
    """Return ``value`` with ``new`` wherever ``old`` stands."""
    if isinstance(value, dict):
        return {key: _replaced(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, old, new) for inner in value]
    return new if value == old else value


def _without(value: Any, text: str) -> Any:
    """Return ``value`` without the fields that hold ``text``; ids may be numbers."""
    if isinstance(value, dict):
        return {key: _without(inner, text) for key, inner in value.items() if str(inner) != text}
    return value


def _damaged(raw: Any) -> Iterator[Any]:
    """Yield ``raw`` with one field after the other left out or replaced by something of another type."""
    yield from (None, [], "text", 7)
    if not isinstance(raw, dict):
        return
    for key, inner in raw.items():
        yield {name: value for name, value in raw.items() if name != key}
        for other in (None, True, 7, "text", [], ["text"], {}, {"text": None}):
            yield {**raw, key: other}
        if isinstance(inner, dict):
            for damaged in _damaged(inner):
                yield {**raw, key: damaged}
        elif isinstance(inner, list) and inner:
            for damaged in _damaged(inner[0]):
                yield {**raw, key: [damaged, *inner[1:]]}

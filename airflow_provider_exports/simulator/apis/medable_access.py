"""The addresses, credentials, errors and accounts of the Medable API, around its exports."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from airflow_provider_exports.simulator.apis import medable_auth, medable_documents, medable_faults
from airflow_provider_exports.simulator.apis.base import Answer, Call, Handler, VendorApi
from airflow_provider_exports.simulator.apis.medable_auth import Auth, Principal, Session
from airflow_provider_exports.simulator.apis.medable_faults import Denied
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches
from airflow_provider_exports.simulator.clock import http_date

__all__ = ["ORGS", "Access", "Operation"]

#: Codes of two orgs, each with a queue of its own; the connection leads to the first.
ORGS = ("simulated", "simulated_two")
_API_KEY = "M" * 22

Operation = Callable[[Call, re.Match[str]], Answer]


class Access(VendorApi):
    """What every call goes through, and the calls that are about accounts."""

    token_defaults: ClassVar[dict[str, str]] = {
        "medable_api_key": _API_KEY,
        "medable_api_secret": "S" * 64,
        "medable_token": medable_auth.token(_API_KEY, jti="simulated-permanent"),
        # Apps are either for signatures or for sessions, so a login needs a key of its own.
        "medable_session_key": "N" * 22,
        "medable_password": "simulated-medable-password",
        "medable_account_secret": "simulated-medable-account-secret",
    }
    #: Any fault of the registry can be queued by its errCode; ``policy`` is one that an org has made itself.
    own_faults: ClassVar[dict[str, str]] = {
        **{code: f"{status} {older}" for code, (status, older) in medable_faults.REGISTRY.items()},
        "policy": "403 with a code that the registry does not know",
    }
    credential_headers = ("medable-client-key", "medable-client-signature", "medable-csrf-token")
    switches: MedableSwitches

    def reset(self) -> None:
        """Also no session, no issued token and no seen nonce."""
        super().reset()
        self._auth = Auth(self.tokens)
        self._csrf: str | None = None

    # Addresses and credentials

    def base_url(self) -> str:
        """Up to the org code; the version is the client's part."""
        return f"{self.world.api_origin}/medable/{ORGS[0]}"

    def connection(self) -> dict[str, Any]:
        """For signed requests: API key as login, API secret as password."""
        return self.connection_for("signed")

    def connection_for(self, mode: Literal["signed", "bearer", "session"]) -> dict[str, Any]:
        """For one of the three kinds of credentials; ``auth_mode`` in the extra names it.

        :param mode: ``signed``: API key and secret; ``bearer``: API key and token; ``session``: API key of
            the session App and the account's password, with ``email`` in the extra.
        """
        tokens = self.tokens
        login, password, extra = {
            "signed": (tokens["medable_api_key"], tokens["medable_api_secret"], {}),
            "bearer": (tokens["medable_api_key"], tokens["medable_token"], {}),
            "session": (
                tokens["medable_session_key"],
                tokens["medable_password"],
                {"email": medable_auth.ADMIN_EMAIL},
            ),
        }[mode]
        return {
            "conn_type": "medable",
            "host": self.base_url(),
            "login": login,
            "password": password,
            "extra": {"auth_mode": mode} | extra,
        }

    def issue_token(self, seconds: float | None = 900, *, read_only: bool = False) -> str:
        """A further bearer token that lives so many virtual seconds; None: for ever."""
        with self.world.lock:
            return self._auth.issue_token(self.now(), seconds, read_only=read_only)

    def revoke_token(self, token: str) -> None:
        """Make a bearer token invalid. :raises KeyError: for one that never was valid."""
        with self.world.lock:
            self._auth.revoke_token(token)

    def end_sessions(
        self, why: Literal["sessionExpired", "loggedInElsewhere", "notLoggedIn"] = "sessionExpired"
    ) -> None:
        """End all sessions, with the fault that their next request gets."""
        with self.world.lock:
            self._auth.end_sessions(why)

    # Errors

    def error(self, status: int, message: str | None = None) -> Answer:
        """A fault document, or a gateway's page for a status that Medable itself does not use."""
        if self.switches.gateway_errors == "html" and status in (401, 502, 503, 504):
            return Answer(status, text=f"<html>Error {status}</html>\n", content_type="text/html")
        code = medable_faults.STATUS_CODES.get(status, "cortex.error.unspecified")
        older = self.switches.older_release
        return Answer(
            status, payload=medable_faults.document(code, message or "", older=older, status=status)
        )

    def own_fault(self, name: str) -> Answer:
        """Any fault of the registry, or one of an org's policy."""
        if name == "policy":
            fault = {"object": "fault", "name": "policy", "code": "c_simulated_policy", "status": 403}
            return Answer(403, payload=fault | {"message": "Denied by the policy of the org."})
        return self._denied(Denied(name))

    def _denied(self, denied: Denied) -> Answer:
        fault = medable_faults.document(
            denied.err_code,
            denied.reason,
            path=denied.path,
            children=denied.children,
            older=self.switches.older_release,
        )
        return Answer(fault["status"], payload=fault, cookies=denied.cookies)

    def finish_headers(self, answer: Answer) -> None:
        """The server's clock, and the next CSRF token after a call of a session."""
        form, now = self.switches.server_time, self.now()
        if form == "milliseconds":
            answer.headers["Medable-Server-Time"] = str(medable_auth.milliseconds(now))
        elif form == "http_date":
            answer.headers["Medable-Server-Time"] = http_date(now)
        if self._csrf is not None:
            answer.headers["Medable-Csrf-Token"] = self._csrf
        self._csrf = None

    def _checked(
        self, address: re.Match[str] | None, match: re.Match[str] | None, operation: Operation | None
    ) -> Handler:
        def handler(call: Call) -> Answer:
            try:
                if address is None:
                    raise Denied("cortex.notFound.route")
                if address["org"] not in ORGS:
                    raise Denied("cortex.notFound.env", "There is no such org.")
                if address["version"] != "v2":
                    raise Denied("cortex.invalidArgument.invalidApiVersion", "The version is v2.")
                if self.switches.org_state == "disabled":
                    raise Denied("cortex.invalidArgument.envDisabled")
                if self.switches.org_state == "maintenance":
                    raise Denied("cortex.accessDenied.maintenance")
                if match is None or operation is None:
                    raise Denied("cortex.notFound.route")
                return operation(call, match)
            except Denied as denied:
                return self._denied(denied)

        return handler

    def _org(self, call: Call) -> str:
        return call.path.split("/")[1]

    def _authenticated(self, call: Call) -> tuple[Principal, Session | None]:
        org = self._org(call)
        command = re.sub("/+", "/", call.path.partition("/v2")[2]).rstrip("/")
        who, session = self._auth.principal(call, org, command, self.switches, self.now())
        if session is not None and self.switches.csrf:
            self._csrf = session.csrf
        self.throttle(who.account_id)
        return who, session

    def _permitted(
        self, call: Call, denial: str, *, writes: bool = False, archive: bool = False
    ) -> Principal:
        """Who calls, if they may; ``denial`` is the fault's name if not."""
        who, _ = self._authenticated(call)
        if writes and self.switches.app_state == "read_only":
            raise Denied("cortex.accessDenied.appReadOnly")
        if writes and who.read_only:
            raise Denied("cortex.accessDenied.scope", "The token's scope does not cover this.")
        enough = {"administrator"}
        if self.switches.administrator_for == "download" and not archive:
            enough.add("member")
        if who.role not in enough:
            raise Denied(f"cortex.accessDenied.{denial}", "This needs an administrator.")
        return who

    # Accounts

    def _login(self, call: Call, _match: re.Match[str]) -> Answer:
        session, cookies = self._auth.login(call, self._org(call), self.switches, self.now())
        if self.switches.csrf:
            self._csrf = session.csrf
        return Answer(payload=self._account(), cookies=cookies)

    def _account(self) -> dict[str, Any]:
        secret = self.tokens["medable_account_secret"]
        return medable_documents.account(self.switches.principal, secret)

    def _status(self, call: Call, _match: re.Match[str]) -> Answer:
        try:
            self._authenticated(call)
            status: dict[str, Any] = {"loggedin": True, "account": self._account()}
        except Denied as denied:
            status = {"loggedin": False, "fault": self._denied(denied).payload}
        return Answer(payload=medable_documents.result(status) if self.switches.status_envelope else status)

    def _logout(self, call: Call, _match: re.Match[str]) -> Answer:
        _, session = self._authenticated(call)
        if session is not None:
            self._auth.logout(session)
            self._csrf = None
        return Answer(payload=medable_documents.result(True))

"""Who may do what in the Onna API: login, tokens, permissions and the words of a refusal."""

from typing import Any

from airflow_provider_exports.simulator.apis import onna_errors
from airflow_provider_exports.simulator.apis.base import Answer, Call, Refused, VendorApi
from airflow_provider_exports.simulator.apis.onna_login import Codes, claims_of, login_fields, new_token
from airflow_provider_exports.simulator.apis.onna_places import ACCOUNT, USER
from airflow_provider_exports.simulator.apis.onna_switches import OnnaSwitches

__all__ = ["COLLEAGUE", "OnnaAccess"]

#: Another user of the account, whose folder is closed.
COLLEAGUE = "colleague@example.com"

_CLIENT_ID = "canonical"


class OnnaAccess(VendorApi):
    """The part of the API that knows users; a mistake in a login is told in the status line."""

    switches: OnnaSwitches

    def reset(self) -> None:
        """Also forget the auth codes; tokens hold their own truth."""
        super().reset()
        self._codes = Codes()

    # Refusals

    def error(self, status: int, message: str | None = None) -> Answer:
        """The error bodies of the framework."""
        if status == 409 and self.switches.bare_conflict == "empty":
            return Answer(status, text="")
        return Answer(status, payload=onna_errors.general(status, message))

    def refused(self, status: int, body: dict[str, Any]) -> Refused:
        """An error with this body, to be raised."""
        return Refused(Answer(status, payload=body))

    def json_object(self, call: Call) -> dict[str, Any]:
        """The body of a request, an object whatever its Content-Type says."""
        if not isinstance(call.body, dict):
            raise self.refused(412, onna_errors.bad_json())
        return call.body

    # Tokens

    def authenticated(self, call: Call, *, view: bool = False) -> str:
        """The user who calls; who is none or may not is refused before anything is looked up."""
        header = call.headers.get("Authorization")
        claims = claims_of(header, self.now())
        if claims == "expired" and self.switches.expired_token != "401":
            if self.switches.expired_token == "500_empty":
                raise Refused(Answer(500, text=""))
            raise Refused(Answer(500, payload={}))
        if isinstance(claims, str):
            raise self._denied(call, "access content", "Anonymous User")
        self.throttle(header or "")
        if self.switches.access == "no_access":
            raise self._denied(call, "access content", claims["login"])
        if view and self.switches.access == "no_view":
            raise self._denied(call, "view", claims["login"])
        return str(claims["login"])

    def adding(self, call: Call) -> None:
        """Refuse who may not add content."""
        user = self.authenticated(call)
        if self.switches.access == "no_add":
            message = f"{user} may not add content"
            body = {"reason": "unauthorized", "details": message, "type": "Unauthorized", "message": message}
            raise self.refused(401, body)

    def in_folder_of(self, call: Call, user: str, *, view: bool = False) -> None:
        """Refuse everybody at a colleague's folder, also for what is not in it."""
        caller = self.authenticated(call, view=view)
        if user == COLLEAGUE:
            raise self._denied(call, "access content", caller)
        if user != USER:
            raise Refused(self.error(404))

    def _denied(self, call: Call, what: str, who: str) -> Refused:
        reason = f"You are not authorized to {what}"
        return self.refused(401, {"reason": reason, "content": call.path, "auth": who})

    # Login

    def auth_code(self, call: Call) -> Answer:
        """A code for anybody; null where the login server would have refused."""
        sent = dict(call.query) | (call.body if isinstance(call.body, dict) else {})
        known = sent.get("client_id") == _CLIENT_ID and sent.get("scope") == ACCOUNT
        if not known or self.switches.auth_code == "null":
            return Answer(payload={"auth_code": None})
        return Answer(payload={"auth_code": self._codes.issue(self.now())})

    def auth_token(self, call: Call) -> Answer:
        """The token itself, without quotes, for a fresh code and the right password."""
        sent = login_fields(call)
        for name in ("grant_type", "client_id", "code", "scopes", "username", "password"):
            if not sent.get(name):
                return _bad_login(400, f"{name} is missing")
        if sent["grant_type"] != "user":
            return _bad_login(400, "Invalid grant_type")
        if sent["client_id"] != _CLIENT_ID:
            return _bad_login(400, "Invalid Client ID")
        if not self._codes.use(sent["code"], self.now(), self.switches.code_seconds):
            return _bad_login(400, "Invalid Auth code")
        scopes = sent["scopes"] if isinstance(sent["scopes"], list) else [sent["scopes"]]
        if ACCOUNT not in scopes:
            return _bad_login(400, "Invalid scope")
        right = (USER, self.tokens["onna_password"])
        if not self.switches.password_login or (sent["username"], sent["password"]) != right:
            return _bad_login(401, "Password/Username does not match")
        token = new_token(USER, ACCOUNT, self.now(), self.switches.token_seconds)
        return Answer(text=token, content_type="text/plain")

    def account_information(self, call: Call) -> Answer:
        """Who the caller is; the vendor does not show what it answers."""
        user = self.authenticated(call)
        if call.query.get("scope", ACCOUNT) != ACCOUNT:
            raise Refused(self.error(404))
        return Answer(payload={"login": user, "name": "Simulated user", "account": ACCOUNT, "active": True})


def _bad_login(status: int, reason: str) -> Answer:
    return Answer(status, text=f"{status}: {reason}", content_type="text/plain", reason=reason)

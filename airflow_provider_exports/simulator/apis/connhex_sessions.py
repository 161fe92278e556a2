"""Login flows and sessions as the identity server behind Connhex, Ory Kratos, keeps and shows them.

Source: https://connhex.com/docs/quickstart/token-authentication (read 2026-08).
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

__all__ = ["Flow", "Session", "Sessions"]

WRONG_CREDENTIALS = (
    4000006,
    "The provided credentials are invalid, check for spelling mistakes in your password or username.",
)
NO_STRATEGY = (
    4010002,
    "Could not find any strategy to log you in with. Did you fill out the form correctly?",
)
_SPACE = uuid.UUID("6b0d5a0e-90a7-4a1e-b7a6-0c2b5a1de002")


@dataclass(frozen=True)
class Flow:
    """One form to log in with."""

    id: str
    issued_at: datetime
    expires_at: datetime

    def shown(self, action: str, message: tuple[int, str] | None = None) -> dict[str, Any]:
        """The flow as its answers have it; ``message`` is what went wrong with the form."""
        form: dict[str, Any] = {"action": action, "method": "POST", "nodes": _NODES}
        if message is not None:
            form["messages"] = [{"id": message[0], "text": message[1], "type": "error"}]
        return {
            "id": self.id,
            "type": "api",
            "issued_at": shown_time(self.issued_at),
            "expires_at": shown_time(self.expires_at),
            "request_url": action.partition("?")[0] + "/api",
            "ui": form,
            "refresh": False,
            "requested_aal": "aal1",
        }


@dataclass
class Session:
    """One login."""

    id: str
    token: str = field(repr=False)
    user: str
    issued_at: datetime
    expires_at: datetime
    generation: int
    calls: int = 0

    def shown(self) -> dict[str, Any]:
        """The session as its answers have it, without the token."""
        return {
            "id": self.id,
            "active": True,
            "expires_at": shown_time(self.expires_at),
            "authenticated_at": shown_time(self.issued_at),
            "authenticator_assurance_level": "aal1",
            "authentication_methods": [{"method": "password", "completed_at": shown_time(self.issued_at)}],
            "issued_at": shown_time(self.issued_at),
            "identity": {
                "id": str(uuid.uuid5(_SPACE, self.user)),
                "schema_id": "default",
                "state": "active",
                "traits": {"email": self.user},
            },
        }


class Sessions:
    """All flows and sessions.

    :param word: what each session token begins with, so that a leak can be searched for.
    """

    def __init__(self, word: str) -> None:
        self._word = word
        self._flows: dict[str, Flow] = {}
        self._sessions: dict[str, Session] = {}

    def start(self, now: datetime, life: float) -> Flow:
        """A new flow."""
        flow = Flow(str(uuid.uuid4()), now, now + timedelta(seconds=life))
        self._flows[flow.id] = flow
        return flow

    def flow(self, flow_id: str) -> Flow | None:
        """The flow with this id, alive or not."""
        return self._flows.get(flow_id)

    def log_in(self, user: str, now: datetime, life: float, generation: int) -> Session:
        """A new session. Its token was never given before, also not by another simulator."""
        token = f"{self._word}-{uuid.uuid4().hex[:12]}"
        expires_at = now + timedelta(seconds=life)
        session = Session(str(uuid.uuid4()), token, user, now, expires_at, generation)
        self._sessions[token] = session
        return session

    def by_token(self, token: str, now: datetime, generation: int) -> Session | None:
        """The session of a token, or of the JWT made from one, if it is still alive."""
        session = self._sessions.get(token.removeprefix("simulated.").removesuffix(".jwt"))
        if session is None or session.expires_at <= now or session.generation != generation:
            return None
        return session

    def by_id(self, session_id: str) -> Session | None:
        """The session with this id, alive or not."""
        return next((one for one in self._sessions.values() if one.id == session_id), None)


def shown_time(moment: datetime) -> str:
    """A time as the identity server writes it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _node(name: str, kind: str, value: str | None = None) -> dict[str, Any]:
    attributes = {"name": name, "type": kind, "required": True, "disabled": False, "node_type": "input"}
    if value is not None:
        attributes["value"] = value
    return {"type": "input", "group": "password", "attributes": attributes, "messages": [], "meta": {}}


_NODES = [_node("identifier", "text"), _node("password", "password"), _node("method", "submit", "password")]

"""The two steps of an Onna login: a code that works once, then a token that carries its own end."""

import base64
import hashlib
import hmac
import json
import uuid
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import parse_qsl

from airflow_provider_exports.simulator.apis.base import Call

__all__ = ["Codes", "claims_of", "login_fields", "new_token"]

_KEY = b"simulated-onna-signing-key"


class Codes:
    """The auth codes that wait for their one use."""

    def __init__(self) -> None:
        self._issued: dict[str, datetime] = {}

    def issue(self, now: datetime) -> str:
        """A new code."""
        code = uuid.uuid4().hex
        self._issued[code] = now
        return code

    def use(self, code: object, now: datetime, life_seconds: float) -> bool:
        """Whether the code is good; it is not after this."""
        issued_at = self._issued.pop(code, None) if isinstance(code, str) else None
        return issued_at is not None and now < issued_at + timedelta(seconds=life_seconds)


def login_fields(call: Call) -> dict[str, Any]:
    """The fields of a login, whatever its Content-Type says: a JSON object or a form."""
    if isinstance(call.body, dict):
        return call.body
    return dict(parse_qsl(call.raw_body.decode("utf-8", "replace")))


def new_token(user: str, account: str, now: datetime, life_seconds: float) -> str:
    """A token for this user, with the claims of the vendor's published example."""
    issued_at = int(now.timestamp())
    claims = {
        "iat": issued_at,
        "exp": issued_at + int(life_seconds),
        "token": uuid.uuid4().hex,
        "login": user,
        "name": "Simulated user",
        "superuser": False,
        "aid": hashlib.md5(account.encode()).hexdigest(),
        "sub": user,
        "av": 1,
        "gt": "authorization_code",
    }
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_signature(signed)}"


def claims_of(authorization: str | None, now: datetime) -> dict[str, Any] | Literal["anonymous", "expired"]:
    """Who calls, by the Authorization header; whoever has no readable token is anonymous."""
    scheme, _, token = (authorization or "").partition(" ")
    signed, _, signature = token.strip().rpartition(".")
    if scheme.lower() != "bearer" or not hmac.compare_digest(
        _signature(signed).encode(), signature.encode("utf-8", "replace")
    ):
        return "anonymous"
    raw = signed.partition(".")[2]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4)))
    return claims if now.timestamp() < claims["exp"] else "expired"


def _part(values: dict[str, Any]) -> str:
    return _encoded(json.dumps(values, separators=(",", ":")).encode())


def _signature(signed: str) -> str:
    return _encoded(hmac.new(_KEY, signed.encode("utf-8", "replace"), hashlib.sha256).digest())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")

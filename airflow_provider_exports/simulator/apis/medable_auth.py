"""Who calls Medable: signed requests, bearer tokens and sessions with cookies and CSRF tokens.

Source: https://docs.medable.com/getting-started/cortex-user-guide/authentication (read 2026-08).
"""

import base64
import binascii
import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.cookies import CookieError, SimpleCookie
from typing import Any, Literal, NoReturn
from urllib.parse import parse_qsl

from airflow_provider_exports.simulator.apis.base import Call
from airflow_provider_exports.simulator.apis.medable_faults import Denied
from airflow_provider_exports.simulator.apis.medable_switches import MedableSwitches

__all__ = ["Auth", "Principal", "Session", "milliseconds", "signature", "token"]

ADMIN_ID = "5f0000000000000000000001"
ADMIN_EMAIL = "export.bot@example.com"
#: Another administrator of the same org; foreign exports are hers.
COLLEAGUE_ID = "5f0000000000000000000002"
#: An account without any role; sees half of the records.
MEMBER_ID = "5f0000000000000000000003"
ANONYMOUS_ID = "000000000000000000000001"
ROLES: dict[str, Literal["administrator", "member", "anonymous"]] = {
    ADMIN_ID: "administrator",
    COLLEAGUE_ID: "administrator",
    MEMBER_ID: "member",
    ANONYMOUS_ID: "anonymous",
}
#: What the text message to an unseen location says.
VERIFICATION_CODE = "314159"

_NONCE = re.compile(r"[a-z\d]{16}", re.IGNORECASE | re.ASCII)
_CODE = re.compile(r"\d{6}", re.ASCII)
_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Principal:
    """On whose behalf a call is made."""

    account_id: str
    mode: Literal["signature", "token", "session", "basic"]
    role: Literal["administrator", "member", "anonymous"]
    #: Whether the token allows reading only.
    read_only: bool = False


@dataclass
class Session:
    """A login and the CSRF token that its next request must bring."""

    id: str
    org: str
    used_at: datetime
    csrf: str
    #: Why it is over.
    ended: Literal["", "sessionExpired", "loggedInElsewhere", "notLoggedIn"] = ""


@dataclass
class _Token:
    expires_at: datetime | None
    read_only: bool = False
    revoked: bool = False


def milliseconds(moment: datetime) -> int:
    """Unix time as ``Medable-Server-Time`` and ``Medable-Client-Timestamp`` have it."""
    return int(moment.timestamp() * 1000)


def signature(key: str, secret: str, command: str, method: str, timestamp: str) -> str:
    """HMAC-SHA256 over ``command;METHOD;timestamp``, its key being API key and secret in one."""
    text = f"{command};{method.upper()};{timestamp}"
    return hmac.new(f"{key}{secret}".encode(), text.encode(), hashlib.sha256).hexdigest()


def token(key: str, **claims: Any) -> str:
    """Something in the form of a JWT that nobody signed."""
    parts = (
        json.dumps({"alg": "RS256", "typ": "JWT"}),
        json.dumps({"iss": key, "sub": ADMIN_ID} | claims),
        "simulated signature",
    )
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


class Auth:
    """The three kinds of credentials of one simulated Medable; all orgs have the same Apps and accounts."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._key, self._secret = tokens["medable_api_key"], tokens["medable_api_secret"]
        self._session_key, self._password = tokens["medable_session_key"], tokens["medable_password"]
        self._numbers = itertools.count(1)
        self._nonces: dict[str, datetime] = {}
        self._tokens = {tokens["medable_token"]: _Token(None)}
        self._sessions: dict[str, Session] = {}
        self._devices: set[str] = set()
        self._wrong_passwords = 0

    # What the org's administrator does

    def issue_token(self, now: datetime, seconds: float | None, *, read_only: bool) -> str:
        """A further bearer token; None: a permanent one."""
        claims: dict[str, Any] = {"jti": f"simulated-{next(self._numbers)}"}
        expires_at = None if seconds is None else now + timedelta(seconds=seconds)
        if expires_at is not None:
            claims |= {"iat": int(now.timestamp()), "exp": int(expires_at.timestamp())}
        text = token(self._key, **claims)
        self._tokens[text] = _Token(expires_at, read_only)
        return text

    def revoke_token(self, text: str) -> None:
        """The token is known no more. :raises KeyError: if it never was."""
        self._tokens[text].revoked = True

    def end_sessions(self, why: Literal["sessionExpired", "loggedInElsewhere", "notLoggedIn"]) -> None:
        """All sessions are over."""
        for session in self._sessions.values():
            session.ended = session.ended or why

    # Each call

    def principal(
        self, call: Call, org: str, command: str, switches: MedableSwitches, now: datetime
    ) -> tuple[Principal, Session | None]:
        """Who calls, and the session if the call belongs to one; a fault without valid credentials."""
        kind, _, value = call.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._by_token(call, value.strip(), switches, now), None
        key = self._app(call, switches)
        if "Medable-Client-Signature" in call.headers:
            return self._by_signature(call, key, command, switches, now), None
        if kind.lower() == "basic" and switches.basic_auth:
            return self._by_password(value, switches), None
        session = self._session(call, org, switches, now)
        return Principal(ADMIN_ID, "session", switches.principal), session

    def _app(self, call: Call, switches: MedableSwitches) -> str:
        key = call.headers.get("Medable-Client-Key", "")
        if key not in (self._key, self._session_key):
            kind = "accessDenied" if switches.unknown_key_status == 403 else "notFound"
            raise Denied(f"cortex.{kind}.app", "The client key is missing or unknown.")
        self._check_state(switches)
        return key

    def _check_state(self, switches: MedableSwitches) -> None:
        match switches.app_state:
            case "disabled":
                raise Denied("cortex.accessDenied.appDisabled")
            case "suspended":
                raise Denied("cortex.accessDenied.appSuspended")
            case "expired":
                raise Denied("cortex.expired.app")
            case _:
                pass

    def _by_token(self, call: Call, text: str, switches: MedableSwitches, now: datetime) -> Principal:
        known = self._tokens.get(text)
        if known is None or known.revoked:
            raise Denied("cortex.accessDenied.invalidJwt", "The token is not valid.")
        if "Medable-Client-Key" in call.headers and self._app(call, switches) != self._key:
            raise Denied("cortex.accessDenied.invalidJwtApp", "The token belongs to another App.")
        self._check_state(switches)
        if known.expires_at is not None and known.expires_at <= now:
            raise Denied("cortex.expired.jwt", "The token has expired.")
        return Principal(ADMIN_ID, "token", switches.principal, known.read_only)

    def _by_signature(
        self, call: Call, key: str, command: str, switches: MedableSwitches, now: datetime
    ) -> Principal:
        def invalid(reason: str) -> NoReturn:
            raise Denied("cortex.accessDenied.invalidRequestSignature", reason)

        timestamp = call.headers.get("Medable-Client-Timestamp", "")
        nonce = call.headers.get("Medable-Client-Nonce", "")
        if not (timestamp.isascii() and timestamp.isdigit()):
            invalid("The timestamp must be in milliseconds.")
        if not _NONCE.fullmatch(nonce):
            invalid("The nonce must be 16 letters and digits.")
        skew = switches.skew_ms
        if skew is not None and abs(int(timestamp) - milliseconds(now)) > skew:
            raise Denied("cortex.invalidArgument.staleRequestSignature", "The timestamp is out of range.")
        right = signature(self._key, self._secret, command, call.method, timestamp)
        if key != self._key or not hmac.compare_digest(
            right.encode(), call.headers["Medable-Client-Signature"].encode()
        ):
            invalid("The signature does not match.")
        self._nonces = {one: until for one, until in self._nonces.items() if until > now}
        if nonce in self._nonces:
            if switches.replayed_nonce == "stale":
                raise Denied("cortex.invalidArgument.staleRequestSignature", "The nonce was used before.")
            invalid("The nonce was used before.")
        self._nonces[nonce] = now + timedelta(milliseconds=2 * (skew or 300_000))
        account = call.headers.get("Medable-Client-Account")
        if account is None:
            return Principal(ADMIN_ID, "signature", switches.principal)
        if not switches.principal_override or account not in ROLES:
            raise Denied("cortex.accessDenied.principal", "The App may not act as this account.")
        return Principal(account, "signature", ROLES[account])

    def _by_password(self, value: str, switches: MedableSwitches) -> Principal:
        try:
            email, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            email = password = ""
        self._check_password(email, password, switches)
        return Principal(ADMIN_ID, "basic", switches.principal)

    def _check_password(self, email: object, password: object, switches: MedableSwitches) -> None:
        most = switches.lockout_after
        if switches.account_state == "locked" or (most is not None and self._wrong_passwords >= most):
            raise Denied("cortex.accessDenied.accountLocked")
        if (email, password) != (ADMIN_EMAIL, self._password):
            self._wrong_passwords += 1
            raise Denied("cortex.accessDenied.invalidCredentials", "Unknown email or password.")
        if switches.account_state == "password_expired":
            raise Denied("cortex.accessDenied.passwordExpired")
        self._wrong_passwords = 0

    # Sessions

    def _session(self, call: Call, org: str, switches: MedableSwitches, now: datetime) -> Session:
        session = self._sessions.get(_cookies(call).get("md.sid", ""))
        if session is None or session.org != org:
            raise Denied("cortex.accessDenied.notLoggedIn")
        if session.used_at + timedelta(seconds=switches.session_seconds) <= now:
            session.ended = session.ended or "sessionExpired"
        if session.ended:
            raise Denied(f"cortex.accessDenied.{session.ended}")
        if switches.csrf:
            if call.headers.get("Medable-Csrf-Token") != session.csrf:
                raise Denied("cortex.accessDenied.csrfTokenMismatch")
            if switches.csrf_rotation == "every":
                session.csrf = self._new("csrf")
        session.used_at = now
        return session

    def login(
        self, call: Call, org: str, switches: MedableSwitches, now: datetime
    ) -> tuple[Session, tuple[str, ...]]:
        """A new session and the cookies that stand for it and for the device."""
        if self._app(call, switches) != self._session_key:
            raise Denied("cortex.accessDenied.app", "This App has no sessions.")
        body = _login_body(call)
        if not body.get("email") or not body.get("password"):
            raise Denied("cortex.accessDenied.noCredentialsSupplied")
        self._check_password(body["email"], body["password"], switches)
        device = _cookies(call).get("md.fingerprint") or self._new("device")
        # The vendor sets this path: the device is the same one for all orgs.
        device_cookie = f"md.fingerprint={device}; Path=/; Max-Age=31536000; HttpOnly"
        if not switches.verification_bypass and device not in self._devices:
            self._verify(body.get("location"), device, device_cookie, switches)
        if not switches.simultaneous_logins:
            self.end_sessions("loggedInElsewhere")
        session = Session(self._new("session"), org, now, self._new("csrf"))
        self._sessions[session.id] = session
        return session, (f"md.sid={session.id}; Path=/medable/{org}; HttpOnly", device_cookie)

    def logout(self, session: Session) -> None:
        """The session is over, and nobody remembers it."""
        del self._sessions[session.id]

    def _verify(self, location: Any, device: str, cookie: str, switches: MedableSwitches) -> None:
        code = location.get("verificationToken") if isinstance(location, dict) else None
        if code is None:
            kind = "success" if switches.location_fault == "newLocation" else "accessDenied"
            reason = "A verification code has been sent."
            raise Denied(f"cortex.{kind}.{switches.location_fault}", reason, cookies=(cookie,))
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise Denied("cortex.invalidArgument.callbackFormat", cookies=(cookie,))
        if code != VERIFICATION_CODE:
            raise Denied("cortex.notFound.callback", cookies=(cookie,))
        if not location.get("singleUse"):
            self._devices.add(device)

    def _new(self, what: str) -> str:
        return f"simulated-{what}-{next(self._numbers):06d}"


def _cookies(call: Call) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(call.headers.get("Cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in jar.items()}


def _login_body(call: Call) -> dict[str, Any]:
    kind = call.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _FORM:
        return dict(parse_qsl(call.raw_body.decode("utf-8", "replace")))
    if kind == _JSON and isinstance(call.body, dict):
        return call.body
    raise Denied("cortex.invalidArgument.invalidJSON", "The body must be a JSON object or a form.")

"""The three kinds of credentials that Cortex takes: signed requests, bearer tokens, sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_exports.core.auth import Signing
from airflow_provider_exports.core.wire import Request, Response

CLIENT_KEY = "Medable-Client-Key"
CSRF_TOKEN = "Medable-Csrf-Token"

# Several Set-Cookie headers may have been joined by commas; those inside of dates are no borders.
_NEXT_COOKIE = re.compile(r"[,\n](?=\s*[^;,=\s]+=)")


@dataclass
class ServerClock:
    """How far the vendor's clock is from ours, as learnt from its answers."""

    offset: float = 0.0
    """Seconds to add to our time."""
    corrected: bool = False
    """Whether ``offset`` has changed since this was last set to False."""


@dataclass(frozen=True)
class SignedRequests:
    """A signature in the headers of each request; the recommended way for machines.

    https://docs.medable.com/getting-started/cortex-user-guide/authentication and the vendor's own client,
    https://github.com/Medable/mdctl (commit 3f84f155).
    """

    key: str
    """API key."""
    secret: str = field(repr=False)
    """API secret."""
    base_url: str
    """Base URL; what comes after it is signed."""
    account_id: str = ""
    """Account to act as, where the App allows that; empty for the App's own principal."""
    clock: ServerClock = field(default_factory=ServerClock)
    """The vendor's clock."""

    def sign(self, request: Request, signing: Signing) -> Request:
        timestamp = str(int((signing.now + self.clock.offset) * 1000))
        headers = {
            **request.headers,
            CLIENT_KEY: self.key,
            "Medable-Client-Signature": self.signature(request.method, request.path, timestamp),
            "Medable-Client-Timestamp": timestamp,
            "Medable-Client-Nonce": signing.nonce,
        }
        if self.account_id:
            headers["Medable-Client-Account"] = self.account_id
        return replace(request, headers=headers)

    def signature(self, method: str, path: str, timestamp: str) -> str:
        """Return the signature of a request; body, query and nonce are not part of what is signed.

        :param path: below the base URL, or an absolute URL below it.
        :param timestamp: epoch milliseconds, the same as in the header.
        """
        # Of an absolute URL only the path is compared: its host may be written in another way.
        below = path.partition("?")[0]
        if "://" in below:
            below = urlsplit(below).path.removeprefix(urlsplit(self.base_url).path)
        command = "/" + "/".join(part for part in below.split("/") if part)
        message = f"{command};{method.upper()};{timestamp}"
        return hmac.new((self.key + self.secret).encode(), message.encode(), hashlib.sha256).hexdigest()

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        return {}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.secret,)


@dataclass(frozen=True)
class BearerToken:
    """A JSON Web Token that the org's administrator has handed over.

    https://docs.medable.com/getting-started/cortex-user-guide/authentication
    """

    token: str = field(repr=False)
    """The token."""
    key: str = ""
    """API key; empty takes the token's issuer, and none if it names none."""

    def sign(self, request: Request, signing: Signing) -> Request:
        headers = {**request.headers, "Authorization": f"Bearer {self.token}"}
        key = self.key or issuer(self.token)
        return replace(request, headers={**headers, CLIENT_KEY: key} if key else headers)

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        return {}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.token,)


@dataclass(frozen=True)
class Session:
    """The cookies and the CSRF token of a login, kept as JSON in the lifecycle's token.

    https://docs.medable.com/getting-started/cortex-user-guide/making-requests
    """

    key: str
    """API key of an App of the session type."""
    password: str = field(repr=False)
    """The account's password."""
    fingerprint: str = field(default="", repr=False)
    """Cookie of a location that has been verified; empty for none."""

    def sign(self, request: Request, signing: Signing) -> Request:
        return replace(request, headers={**request.headers, **self.headers(signing.token)})

    def headers(self, token: str | None) -> dict[str, str]:
        """Return what a request carries before (None) or after a login."""
        kept = self._kept(token)
        headers = {CLIENT_KEY: self.key}
        if kept["cookies"]:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in kept["cookies"].items())
        if kept["csrf"]:
            headers[CSRF_TOKEN] = kept["csrf"]
        return headers

    def after(self, token: str | None, response: Response) -> str:
        """Return the token with what an answer has set anew: each may bring another CSRF token."""
        kept = self._kept(token)
        kept["cookies"] |= cookies(response.headers.get("set-cookie", ""))
        kept["csrf"] = response.headers.get(CSRF_TOKEN.lower()) or kept["csrf"]
        return json.dumps(kept)

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        return {}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.password, self.fingerprint)

    def _kept(self, token: str | None) -> dict[str, Any]:
        """Return ``cookies`` and ``csrf`` of a login; before one, the cookie of a verified location."""
        known = {"md.fingerprint": self.fingerprint} if self.fingerprint else {}
        kept: dict[str, Any] = json.loads(token) if token else {"cookies": known, "csrf": ""}
        return kept


def cookies(header: str) -> dict[str, str]:
    """Return name and value of each cookie in ``Set-Cookie``; all are for the base URL and below."""
    pairs = (part.partition(";")[0].partition("=") for part in _NEXT_COOKIE.split(header) if part.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}


def issuer(token: str) -> str:
    """Return the API key that a JSON Web Token names as its issuer, unverified; empty if it names none."""
    try:
        claims = token.split(".")[1]
        named = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))).get("iss")
    except (AttributeError, IndexError, ValueError):
        return ""
    return named if isinstance(named, str) and named.isprintable() else ""

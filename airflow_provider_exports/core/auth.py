"""Ready-made ways to sign a request. Each is pure: a request in, a signed request out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from airflow_provider_exports.core.wire import Request


@dataclass(frozen=True)
class Signing:
    """What a signature may depend on besides the request."""

    token: str | None = field(default=None, repr=False)
    """What the vendor's ``login`` flow returned last."""
    now: float = 0.0
    """Epoch seconds."""
    nonce: str = ""
    """Sixteen hexadecimal characters, new for each request."""


class Auth(Protocol):
    """What a vendor's ``auth`` must offer."""

    def sign(self, request: Request, signing: Signing) -> Request:
        """Return ``request`` with credentials."""

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        """Return headers for a file on the API's own origin; empty when files never need credentials."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never appear in a log."""


@dataclass(frozen=True)
class HeaderToken:
    """Token in a request header, such as ``Authorization: Token …``."""

    token: str = field(repr=False)
    """The secret; empty for a vendor whose ``login`` returns one."""
    scheme: str = "Bearer"
    """Word before the token; empty for none."""
    header: str = "Authorization"
    """Header name."""

    def sign(self, request: Request, signing: Signing) -> Request:
        return replace(request, headers={**request.headers, **self.download_headers(signing.token)})

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        return {self.header: f"{self.scheme} {token or self.token}".strip()}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.token,)


@dataclass(frozen=True)
class BodyFields:
    """Credentials as fields of the JSON body of every request."""

    fields: Mapping[str, str] = field(repr=False)
    """Body fields to add."""
    public: frozenset[str] = frozenset()
    """Names of the fields that are no secrets."""

    def sign(self, request: Request, signing: Signing) -> Request:
        body = {} if request.json is None else request.json
        return replace(request, json={**self.fields, **body})

    def download_headers(self, token: str | None) -> Mapping[str, str]:
        return {}

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(value for name, value in self.fields.items() if name not in self.public)

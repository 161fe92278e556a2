"""Take secrets out of text that a vendor or a library wrote before it reaches a log or an error."""

from __future__ import annotations

import re
from collections.abc import Iterable

_MASK = "***"
_QUERY = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>?#]*)[?#][^\s\"'<>]*")
_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s\"'<>/@]*@")


def redact(text: str, secrets: Iterable[str] = (), *, limit: int = 300) -> str:
    """Return ``text`` on one line, without the given secrets, URL queries or user info.

    Every query goes, not only known signature parameters: each store names its own. Cut at ``limit``
    characters.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    text = _USERINFO.sub(rf"\1{_MASK}@", _QUERY.sub(rf"\1?{_MASK}", text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

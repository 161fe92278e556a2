"""Take secrets out of text that a vendor or a library wrote before it reaches a log or an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

_MASK = "***"
_QUERY = re.compile(r"(://[^\s\"'<>?#]*)[?#][^\s\"'<>]*")
_USERINFO = re.compile(r"(://)[^\s\"'<>/]*@")
# A vendor may send megabytes, of which little is shown; to look for addresses in all of it would take hours.
_LOOKED_AT = 4096


def redact(text: str, secrets: Iterable[str] = (), *, limit: int = 300) -> str:
    """Return ``text`` on one line, without the given secrets, URL queries or user info.

    Every query goes, not only known signature parameters: each store names its own. Cut at ``limit``
    characters.
    """
    # The longest first: of one that holds another, the rest would stay.
    for secret in sorted(secrets, key=len, reverse=True):
        for form in (secret, quote(secret, safe="")):
            if form:
                text = text.replace(form, _MASK)
    text = text[: max(_LOOKED_AT, 4 * limit)]
    text = _USERINFO.sub(rf"\1{_MASK}@", _QUERY.sub(rf"\1?{_MASK}", text))
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

"""Switches of the Mews API; the defaults are what its documentation makes most likely."""

from dataclasses import dataclass
from typing import Literal

from airflow_provider_exports.simulator.scenario import Switches

__all__ = ["MewsSwitches"]


@dataclass
class MewsSwitches(Switches):
    """What the vendor's pages on exports leave open, one switch each."""

    file_life_seconds: float = 7 * 86400.0
    dropped_after_seconds: float | None = 30 * 86400.0
    rate_limit: int | None = 200
    #: Answer to a create while an export of the same entity type is active, and its text.
    busy_status: Literal[400, 403, 409] = 400
    busy_message: str = "An export of this entity type is already in progress."
    #: What "the same" is measured by: one access token, the token's enterprises, or the client application.
    exclusive_per: Literal["token", "enterprise", "client"] = "token"
    #: Whether an export can be looked up with another access token.
    visible_across_tokens: bool = False
    #: What a lookup does with ids it does not know.
    unknown_id: Literal["omit", "400"] = "omit"
    #: Whether the client has the permission that these restricted operations need; 401 without.
    exports_permission: bool = True
    #: Answers as before 2025-08: no Scope, no Filters, and none of them read.
    seed_era: bool = False
    #: Fields of a request that are not documented.
    unknown_fields: Literal["ignore", "reject"] = "ignore"
    #: A scope list that does not apply to the entity type, or ids outside the token's scope.
    foreign_scope: Literal["reject", "accept"] = "reject"
    #: Files per export and records per file.
    files: int = 2
    rows: int = 25
    #: Files of an export without records: none at all, or one of zero bytes.
    empty_files: Literal["none", "zero_byte"] = "none"
    #: Announce each file one byte too large.
    size_mismatch: bool = False
    #: Life of a link after the answer that held it, and the answer to a link that is too old.
    link_seconds: float = 600.0
    stale_status: Literal[400, 401, 403, 404, 410] = 403

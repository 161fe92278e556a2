"""Switches of the giosg API; the defaults are what its documentation makes most likely."""

from dataclasses import dataclass
from typing import Literal

from airflow_provider_exports.simulator.scenario import Switches

__all__ = ["GiosgSwitches"]


@dataclass
class GiosgSwitches(Switches):
    """What the vendor's page on exports leaves open, one switch each."""

    ready_after_reads: int | None = 2
    ready_after_seconds: float | None = 1.0
    #: Form of error bodies; the page shows none.
    error_format: Literal["drf", "text", "html", "empty"] = "drf"
    #: What the calling user is allowed to do; anything else answers 403 on exports and rooms.
    access: Literal[
        "granted", "no_subscription", "no_organization_access", "no_settings_permission", "no_user_access"
    ] = "granted"
    #: A create like one that is in progress or ready: another export, the same one, or 409.
    duplicate_create: Literal["new", "same", "conflict"] = "new"
    #: Exports in progress per user, and the answer above that.
    max_in_progress: int | None = None
    max_in_progress_status: Literal[400, 429] = 429
    max_window_days: float | None = None
    future_end: Literal["accept", "reject"] = "accept"
    #: Datetime forms a create takes: any ISO 8601 (no zone means UTC), or only the documented one.
    datetime_input: Literal["iso", "strict"] = "iso"
    datetime_output: Literal["milliseconds", "microseconds", "seconds", "no_zone"] = "milliseconds"
    unknown_room_status: Literal[400, 403, 404] = 400
    shared_room: Literal["accept", "403"] = "accept"
    #: Fields that exist for logs only, in a create for stats; null: stored and shown as null.
    logs_fields_with_stats: Literal["reject", "ignore", "null"] = "reject"
    #: How a stats export shows these fields.
    stats_shape: Literal["defaults", "null", "absent"] = "defaults"
    null_min_message_count: Literal["reject", "zero"] = "reject"
    content_type_status: Literal[400, 415] = 400
    unknown_export_status: Literal[404, 403] = 404
    unknown_organization_status: Literal[403, 404] = 403
    #: Whether the literal ``me`` works as user id in an export path.
    me_in_path: bool = False
    #: The page says that is_failed is "failed" on success; True takes it at its word.
    is_failed_slip: bool = False
    #: Leave the key expires_at out, as an older draft of the page did.
    expires_at_field: Literal["sent", "missing"] = "sent"
    #: Where files are: on the API's host with its token, on another origin with a signature, or the first
    #: redirecting to the second.
    file_url: Literal["same_host", "signed", "redirect"] = "same_host"
    #: A new address in each answer.
    url_changes: bool = False
    #: Life of a signed address; None: as long as the file.
    link_seconds: float | None = None
    #: Answer of a file address after expiry.
    gone_status: Literal[403, 404, 410] = 403
    content_disposition: bool = True
    page_size: int = 50
    #: The first page of a collection is empty although there are more.
    empty_first_page: bool = False
    #: Cursor pages, or the page numbers of an older draft.
    envelope: Literal["cursor", "numbers"] = "cursor"
    #: Form of ``next``; foreign: on the files origin, where no token may follow.
    next_url: Literal["absolute", "relative", "foreign"] = "absolute"
    rooms_path: Literal["orgs", "users", "root", "all"] = "orgs"
    #: Rows per file; None: as many as the invented past of the room has in the time range.
    rows: int | None = None
    #: The time of a chat that decides whether it lies in the range.
    membership: Literal["start", "end", "both"] = "start"
    #: A result without rows: a header row, no byte at all, or a failed export.
    empty_result: Literal["header", "zero_bytes", "failed"] = "header"

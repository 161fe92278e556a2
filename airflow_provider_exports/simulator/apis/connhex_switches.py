"""Switches of the Connhex exporter; the defaults are what its documentation makes most likely."""

from dataclasses import dataclass
from typing import Literal

from airflow_provider_exports.simulator.scenario import Switches

__all__ = ["ConnhexSwitches"]


@dataclass
class ConnhexSwitches(Switches):
    """What the vendor's pages on the exporter and on its login leave open, one switch each."""

    # The documents name no time; a job is of low priority.
    ready_after_seconds: float | None = 60.0
    file_life_seconds: float = 7 * 86400.0
    #: No Retry-After header is documented for the full queue.
    retry_after: Literal["seconds", "date", "missing"] = "missing"

    # Login

    #: Life of a login flow and of a session token, the latter counted from its login.
    flow_seconds: float = 3600.0
    token_ttl_seconds: float = 86400.0
    #: Answer to a wrong password.
    login_failed_status: Literal[400, 401] = 400
    #: Where the form of a flow is to be sent; foreign: to the files origin, where no password may go.
    login_action: Literal["absolute", "relative", "foreign"] = "absolute"
    #: What a login tells about its session beside the token.
    login_session: Literal["full", "no_expiry", "missing"] = "full"
    #: Sessions of an earlier generation are revoked.
    session_generation: int = 1
    #: A session token is refused after so many calls; None: calls do not count.
    calls_per_session: int | None = None
    #: A session can be extended only so long before its end; None: at any time.
    earliest_extend_seconds: float | None = None
    #: Answer of the exporter to a call without a token, and to one whose token is not valid (any more).
    missing_identity_status: Literal[400, 401] = 400
    bad_token_status: Literal[401, 400] = 401

    # Authorization

    #: Actions that the calling user may take; 403 for the others.
    permissions: tuple[Literal["create", "get", "download", "delete", "list"], ...] = (
        "create",
        "get",
        "download",
        "delete",
        "list",
    )
    #: Rights on a new export apply so long after its create; what calls find until then.
    rights_lag_seconds: float = 0.0
    rights_lag_status: Literal[403, 404] = 403
    #: Whether the user may read the exported channels; 403 on create without.
    channel_access: bool = True
    #: Answer for an id that does not exist or belongs to another user.
    unknown_export_status: Literal[404, 403] = 404

    # Errors

    #: Form of error bodies of the exporter.
    error_format: Literal["nest", "jsonapi", "ory", "text"] = "nest"
    validation_status: Literal[400, 422] = 400

    # Create

    #: The published schema that requests are checked against; 2025-01 has no number of its own.
    api_version: Literal["1.1.0", "2025-01", "1.3.7"] = "1.3.7"
    #: Fields that the schema does not have, and null for a field that may be left out.
    unknown_fields: Literal["ignore", "reject"] = "ignore"
    null_fields: Literal["reject", "absent"] = "reject"
    #: Which texts pass as ISO 8601 duration; loose: also weeks and fractions.
    duration_rule: Literal["strict", "loose"] = "strict"
    recurring_without_periodicity: Literal["reject", "accept"] = "reject"
    empty_items: Literal["reject", "accept"] = "reject"
    #: Parameters without channelId, taken for the undocumented kind.
    resource_items: Literal["accept", "reject"] = "accept"
    #: outputFormat is said to be required and to have a default; long: the default fills it in.
    missing_output_format: Literal["reject", "long"] = "reject"
    wide_without_columns: Literal["reject", "accept"] = "reject"
    label_count: Literal["reject", "accept"] = "reject"
    channel_id: Literal["any", "uuid"] = "any"
    #: Column ids of channel data: any, or only the published ones.
    column_ids: Literal["any", "known"] = "any"
    timezone_names: Literal["iana", "any"] = "iana"
    #: A time range that ends before it begins; and whether there must be a range at all.
    backward_range: Literal["reject", "accept"] = "reject"
    range_required: bool = False
    #: Which one counts if an item has both a period and fixed bounds.
    range_policy: Literal["period", "fixed", "reject"] = "period"
    #: A notification is required by the schema and optional by the concept page.
    notification_required: bool = True
    messages_rule: Literal["exactly_two", "any"] = "exactly_two"
    #: Show defaults of the schema in fields that the request left out.
    echo_defaults: bool = False
    #: deletedAt of an export that lives; the schema has it as a required time.
    deleted_at: Literal["null", "missing"] = "null"

    # Queue

    #: Exports in the queue, and the answer to a create above that: 429; None: no limit.
    max_queued: int | None = 5
    queue_scope: Literal["identity", "installation"] = "identity"
    queue_counts_running: bool = False

    # Status, list and delete

    #: What carries the status word.
    status_form: Literal["status", "exportStatus", "string", "list", "jobs"] = "status"
    status_case: Literal["camel", "pascal"] = "camel"
    #: Jobs of a recurring export in the forms list and jobs; the newest comes first.
    jobs_shown: Literal["newest", "all"] = "newest"
    #: Start of a job in the form jobs: as text, in Unix seconds, or not told; and that of one that waits.
    job_start: Literal["iso", "seconds", "missing"] = "iso"
    waiting_job_start: Literal["due", "null"] = "due"
    #: What the id of status and download means.
    id_scope: Literal["request", "job", "both"] = "request"
    list_form: Literal["paged", "bare", "absent"] = "paged"
    page_size: int = 100
    #: A list shows the status of each export.
    list_status: bool = False
    #: stopped: a deleted export makes no further job, but status and file stay.
    delete_semantics: Literal["removed", "stopped"] = "removed"

    # Jobs

    #: First job of a recurring export whose periodStart is past: at once, or when the next period begins.
    past_period_start: Literal["at_once", "next"] = "at_once"
    #: A month after the 31st: the last day of a shorter month, or as many days into the one after.
    month_arithmetic: Literal["clamp", "overflow"] = "clamp"
    #: The moment that the life of a file is counted from.
    retention_from: Literal["finish", "start"] = "finish"
    #: Whether the messages of a job arrive.
    notification_delivery: Literal["sent", "lost"] = "sent"

    # Files

    #: The file itself, a redirect to the files origin, or JSON with its address there.
    download_mode: Literal["stream", "redirect", "url", "downloadUrl"] = "stream"
    multi_item_packing: Literal["zip", "first"] = "zip"
    not_ready_status: Literal[400, 404, 409] = 404
    failed_status: Literal[400, 404, 409, 410] = 404
    expired_status: Literal[400, 404, 410] = 404
    #: Life of an address on the files origin; None: as long as the file.
    link_seconds: float | None = None
    content_disposition: bool = True
    #: File name sent instead of the right one, as it stands.
    disposition_name: str | None = None
    media_type: Literal["by_extension", "octet_stream"] = "by_extension"
    #: Samples per target; None: as many as its invented past has in the time range.
    rows: int | None = None
    #: Line feeds only, or what spreadsheets like: a byte order mark and carriage returns.
    csv_dialect: Literal["plain", "spreadsheet"] = "plain"

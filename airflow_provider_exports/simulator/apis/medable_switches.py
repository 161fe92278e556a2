"""Switches of the Medable API; the defaults are what its documentation makes most likely."""

from dataclasses import dataclass
from typing import Literal

from airflow_provider_exports.simulator.scenario import Switches

__all__ = ["MedableSwitches"]


@dataclass
class MedableSwitches(Switches):
    """What the vendor's pages on exports leave open, one switch each.

    Reads and seconds until an export is ready count from the moment it is first in its org's queue;
    ``file_life_seconds`` is the retention after which the vendor removes an export.
    """

    file_life_seconds: float = 7 * 86400.0
    retry_after: Literal["seconds", "date", "missing"] = "missing"
    ranges: Literal["ignored", "honoured"] = "honoured"

    # The org, its App and the account

    #: Disabled answers 400 to everything, maintenance 403.
    org_state: Literal["enabled", "disabled", "maintenance"] = "enabled"
    #: Read-only Apps can neither create nor delete; expired ones answer 410.
    app_state: Literal["enabled", "disabled", "suspended", "read_only", "expired"] = "enabled"
    #: Fault for a client key that is missing or unknown.
    unknown_key_status: Literal[403, 404] = 403
    #: What the account behind the credentials is; a fresh signed App acts as the anonymous one.
    principal: Literal["administrator", "member", "anonymous"] = "administrator"
    #: What needs an administrator: everything, or only the archive, as the documentation says for sure.
    administrator_for: Literal["all", "download"] = "all"
    #: Whether the App may act as another account (``Medable-Client-Account``).
    principal_override: bool = False
    #: As before the current fault registry: no errCode, 400 for a bad signature, older codes.
    older_release: bool = False
    #: Form of 401, 502, 503 and 504, which are not the vendor's own: a fault, or a gateway's page.
    gateway_errors: Literal["fault", "html"] = "fault"
    server_time: Literal["milliseconds", "http_date", "missing"] = "milliseconds"

    # Signed requests

    #: Most difference between a signature's time and the virtual time, also the memory for nonces; None: any.
    skew_ms: int | None = 300_000
    #: Fault for a nonce that came before.
    replayed_nonce: Literal["invalid", "stale"] = "invalid"

    # Sessions

    #: A session ends after so many seconds without a request.
    session_seconds: float = 900.0
    csrf: bool = True
    #: A new CSRF token with each answer, or one per login.
    csrf_rotation: Literal["every", "login"] = "every"
    #: Off: a login ends the sessions that the account has.
    simultaneous_logins: bool = True
    #: Whether the account may log in from unseen locations without a verification code.
    verification_bypass: bool = True
    #: Fault for an unseen location: the one with status 200, or its sibling with 403.
    location_fault: Literal["newLocation", "unverifiedLocation"] = "newLocation"
    account_state: Literal["active", "locked", "password_expired"] = "active"
    #: So many wrong passwords lock the account; None: never.
    lockout_after: int | None = 5
    #: Wrap the answer of accounts/status into a result.
    status_envelope: bool = False
    basic_auth: bool = False

    # Create, list, delete

    create_status: Literal[200, 201] = 200
    create_body: Literal["instance", "result", "empty"] = "instance"
    #: Properties of a create that are not documented or read-only.
    unknown_fields: Literal["reject", "ignore"] = "reject"
    objects_required: bool = True
    format_default: Literal["application/x-ndjson", "application/json", "text/csv"] = "application/x-ndjson"
    #: Fault for a source object that does not exist.
    unknown_object: Literal["object", "validation"] = "object"
    #: Names in paths, include and expand that the source object does not have.
    unknown_paths: Literal["error", "reject", "ignore"] = "error"
    #: A prefix for an object without such a list.
    prefix: Literal["accept", "reject", "error"] = "accept"
    #: A filter that cannot be read.
    bad_where: Literal["reject", "error"] = "reject"
    #: Status inside the child faults of a validation fault, whose own is 400 always.
    child_fault_status: Literal[400, 500] = 400
    validation_code: Literal["validation", "unspecified"] = "validation"
    max_body_bytes: int = 1024 * 1024
    default_limit: int = 100
    #: Properties that where and sort of a list refuse.
    unindexed: tuple[str, ...] = ()
    delete_running: Literal["allow", "deny"] = "allow"
    delete_answer: Literal["result", "204"] = "result"

    # Life cycle

    #: The worker takes the next job so long after it is free.
    pending_seconds: float = 1.0
    #: Where the retention starts.
    retention_from: Literal["ready", "created"] = "ready"
    #: Whether failed exports are removed as well.
    errors_expire: bool = True
    #: Room for the archives of an org, and what happens without any: the job fails, or the create does.
    storage_quota_bytes: int | None = None
    quota_exceeded: Literal["error", "create"] = "error"

    # Files

    #: The facet's state stays behind the export's for so long, pending (0) or processing (1).
    facet_lag_seconds: float = 0.0
    facet_lag_state: Literal[0, 1] = 1
    #: The facet's state in the end: ready (2), error (3) or dead (4).
    facet_outcome: Literal["ready", "error", "dead"] = "ready"
    #: Answer for the file of an export that is pending or running.
    before_ready_status: Literal[202, 404] = 202
    #: Whether an export shows its file, or only the address of the file does.
    data_file: Literal["shown", "missing"] = "shown"
    #: What decides between JSON and redirect: the Accept header, or nothing.
    download_style: Literal["accept", "json", "redirect"] = "accept"
    #: Whether only the creator can read a file.
    private_facet: bool = False
    #: Form of the ETag; that of a multipart upload is no MD5.
    etag: Literal["md5", "multipart"] = "md5"
    #: Life of a file address in seconds.
    url_seconds: float = 300.0

    # Archives

    rows: int = 25
    #: One data file at the root, in a folder, or split into two.
    layout: Literal["root", "folder", "split"] = "root"
    #: An array, or a list document as the API sends it.
    json_form: Literal["array", "list"] = "array"
    #: End NDJSON with the line of a fault.
    final_fault: bool = False
    #: What is wrong with the archive.
    archive: Literal["good", "traversal", "bad_crc", "not_a_zip"] = "good"

"""Switches of the Onna API; the defaults are what its documentation makes most likely."""

from dataclasses import dataclass
from typing import Literal

from airflow_provider_exports.simulator.scenario import Switches

__all__ = ["OnnaSwitches"]


@dataclass
class OnnaSwitches(Switches):
    """What the vendor's pages on exports leave open, one switch each."""

    #: No retention is documented.
    file_life_seconds: float = 30 * 86400.0
    #: A refusing login server shows as status 200 with a null code.
    auth_code: Literal["issued", "null"] = "issued"
    #: Life of an auth code; it works once.
    code_seconds: float = 120.0
    #: Life of a token, by its claims ``iat`` and ``exp``.
    token_seconds: float = 7 * 86400.0
    #: Whether the user may log in with a password; a user of single sign-on may not.
    password_login: bool = True
    #: Answer to a token past its ``exp``; a framework of that age may lose the 401 and answer 500.
    expired_token: Literal["401", "500_empty", "500_braces"] = "401"
    #: What the user may do; what is missing answers 401, never 403.
    access: Literal["granted", "no_access", "no_view", "no_add"] = "granted"
    #: The legacy API is to be switched off one day; its routes then answer this.
    retired: Literal["no", "404", "410"] = "no"
    #: Body of the 409 of a database write conflict (the fault ``409``).
    bare_conflict: Literal["braces", "empty"] = "braces"
    #: Beginning of every ``@id``; None: the address of this API.
    id_base: str | None = None
    #: Form of ``@uid``; the framework also makes ids with a vertical bar.
    uid_form: Literal["hex", "pipe"] = "hex"
    #: A create without title or settings.
    missing_field: Literal["412", "late_failure"] = "412"
    #: Keys that ``settings[0]`` must have: with or without the options of its four layout blocks.
    required_settings: Literal["all", "top_level", "none"] = "all"
    #: What becomes of an export whose settings lack one.
    incomplete_settings: Literal["late_failure", "412"] = "late_failure"
    #: The ``title`` of a start must be the title or the ``@name`` of the export.
    title_rule: Literal["either", "title", "name", "any"] = "either"
    #: Whether ``resource_url`` must be the ``@id`` itself or may begin with another host.
    resource_url_match: Literal["exact", "path"] = "exact"
    start_body: Literal["object", "empty", "text"] = "object"
    #: A second start. noop: nothing while running or ready, a restart after a failure.
    rerun: Literal["noop", "restart", "error412"] = "noop"
    #: Name of the field with the state word; None: there is none.
    status_field: str | None = "status"
    created_word: str = "created"
    pending_word: str = "pending"
    processing_word: str = "processing"
    ready_word: str = "done"
    failed_word: str = "error"
    #: None: the word and the file of an export stay what they were; only the download is gone.
    expired_word: str | None = None
    #: Name of the field with the reason of a failure; None: there is none.
    error_field: str | None = "error"
    #: Files per export; more than one hang in a field of several files, by the name of their volume.
    volumes: int = 1
    #: Name of the field with the file; None: ``file``, or ``files`` for several.
    file_field: str | None = None
    #: Checksum in the file JSON; never sent for files above 64 MiB.
    md5: Literal["sent", "null", "empty", "wrong"] = "sent"
    #: Announce each file one byte too large.
    size_mismatch: bool = False
    #: Where a download is answered: here with the bearer, or by redirect to another origin with a signature.
    download: Literal["direct", "signed"] = "direct"
    #: Life of a signed address, and the answer to one that is too old.
    link_seconds: float = 600.0
    stale_status: Literal[400, 401, 403, 404, 410] = 403
    #: Answer of a download after expiry.
    gone_status: Literal[404, 410] = 404
    #: Status of a part of a file; some versions of the framework say 200 although they send a part.
    range_status: Literal[206, 200] = 206
    delete_status: Literal[200, 204] = 200
    #: Entries of ``@data``. minimal: title, uid and date, all that is documented, of datasources.
    list_entries: Literal["summary", "minimal", "full"] = "summary"
    page_size: int = 50
    #: A folder with more children than this shows none, unless ``fullobjects`` is asked for.
    folder_items: int = 20
    workspaces_shape: Literal["list", "items", "member"] = "list"
    #: Whether the search knows exports.
    exports_indexed: bool = True
    #: State of all datasources.
    sync_status: Literal[
        "pending",
        "created",
        "syncing",
        "synced",
        "error",
        "failed",
        "paused",
        "resuming",
        "invited",
    ] = "synced"
    #: Form of the address that a ``path`` condition is compared with.
    path_form: Literal["either", "ui", "api"] = "either"
    #: The block of the settings that decides about columns.
    columns_from: Literal["meta", "formattedMeta", "both"] = "meta"
    #: Rows of the load files, whatever the query says; None: what the invented past has for the query.
    rows: int | None = None
    #: A result without rows: load files with a header only, an export without file, or a failed one.
    empty_result: Literal["archive", "no_file", "failed"] = "archive"

"""What a connection to Connhex can set."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_exports.core.vendor import VendorSettings


@dataclass(frozen=True, kw_only=True)
class ConnhexSettings(VendorSettings):
    """Connhex's own settings in the connection's Extra; durations are seconds.

    The vendor publishes no limits, paces or lifetimes: all defaults here are ours.
    """

    apis_url: str = ""
    """Base URL of the REST APIs; empty for ``https://apis.<host>``."""
    accounts_url: str = ""
    """Base URL of the login; empty for ``https://accounts.<host>``."""
    notification_medium: str = "email"
    """Medium of messages for which a task gives none: ``email``, ``telegram``, ``slack``, ``discord``."""
    notification_target: str = ""
    """Recipient of those messages; empty for the connection's own user."""
    fingerprint: bool = True
    """Whether ``format.filename`` gets a short fingerprint of the payload, by which an unanswered create is
    found again. Without it type, format and items are compared."""
    send_output_format: bool = True
    """Whether ``outputFormat`` is sent; servers older than 1.3 do not know it."""
    allow_future: bool = False
    """Permit a window that has not ended yet."""
    has_list: bool = True
    """Whether the server has a list of exports; only its title is published."""
    list_path: str = "/exports"
    """Path of that list."""
    status_field: str = "status"
    """Field of the status answer that holds the word."""
    download_mode: str = "stream"
    """What a download answers: ``stream`` for the file itself or a redirect to it, ``link`` for JSON with its
    address."""
    multi_item_packing: str = "zip"
    """How the file of several items is named: ``zip``, or ``plain`` for the extension of the format."""
    # Full queue: short pauses only add load.
    conflict_interval: float = 300.0
    # Exports are made at low priority, without a time limit: https://connhex.com/docs/exporter/intro
    poll_initial: float = 5.0
    poll_factor: float = 1.5
    poll_maximum: float = 60.0

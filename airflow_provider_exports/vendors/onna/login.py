"""Onna's login: a code that works once, then a token that says its own end.

Source: https://developers.onna.com/get-started/authentication.html.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from airflow_provider_exports.core.vendor import ConnectionInfo
from airflow_provider_exports.core.wire import Flow, Request
from airflow_provider_exports.exceptions import AuthenticationFailed, ExportRejected, UnexpectedResponse
from airflow_provider_exports.vendors.onna.settings import OnnaSettings

_JWT = re.compile(r"[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]*")


def log_in(connection: ConnectionInfo, settings: OnnaSettings, api: str) -> Flow[str]:
    """Return a token.

    :param api: path of the account.
    :raises AuthenticationFailed: user, password, account or client is wrong.
    """
    try:
        return (yield from _two_steps(connection, settings, api))
    except ExportRejected as error:
        if error.http_status != 400:
            raise
    # A code is good for one try and two minutes: an answer that was lost has used it up.
    try:
        return (yield from _two_steps(connection, settings, api))
    except ExportRejected as error:
        raise AuthenticationFailed(
            error.message, http_status=error.http_status, next_step="Check account and client_id."
        ) from None


def claims(token: str) -> dict[str, Any]:
    """Return what a token says about itself; empty when it cannot be read. Not verified: it is ours."""
    try:
        part = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _two_steps(connection: ConnectionInfo, settings: OnnaSettings, api: str) -> Flow[str]:
    account, client_id = settings.account, settings.client_id
    response = yield Request(
        "GET",
        f"{api}/@oauthgetcode",
        params={"client_id": client_id, "scope": account},
        operation="@oauthgetcode",
        signed=False,
    )
    body = response.json()
    code = body.get("auth_code", "") if isinstance(body, dict) else ""
    if code is None:
        raise AuthenticationFailed(
            "the vendor gives no code for a login.", next_step="Check account and client_id."
        )
    if not code or not isinstance(code, str):
        raise UnexpectedResponse("@oauthgetcode answers without auth_code.")
    response = yield Request(
        "POST",
        "/auth/oauth/get_auth_token",
        json={
            "grant_type": "user",
            "code": code,
            "username": connection.login,
            "password": connection.password,
            "scopes": [account],
            "client_id": client_id,
        },
        headers={"Accept": "application/json"},
        operation="get_auth_token",
        signed=False,
    )
    # The whole body is the token.
    token = response.body.decode("ascii", "replace").strip()
    if not _JWT.fullmatch(token):
        raise UnexpectedResponse("get_auth_token answers with something that is no token.")
    return token

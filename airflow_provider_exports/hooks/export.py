"""The hook behind all vendors: reads the connection, builds the vendor, runs its plans."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import requests
import requests.auth
import requests.utils
from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import ObjectStoragePath, mask_secret
from airflow.providers.http.hooks.http import HttpHook

from airflow_provider_exports.core.lifecycle import Lifecycle
from airflow_provider_exports.core.model import Datasource, Export, Payload
from airflow_provider_exports.core.polling import PollRule
from airflow_provider_exports.core.registry import vendor_class
from airflow_provider_exports.core.vendor import Capability, ConnectionInfo, Vendor
from airflow_provider_exports.core.watch import expires_soon, raise_unless_ready
from airflow_provider_exports.core.wire import Plan, Request, Response, origin
from airflow_provider_exports.exceptions import (
    ExportError,
    ExportRejected,
    ExportTimedOut,
    InvalidConnection,
)
from airflow_provider_exports.landing.fetch import Progress
from airflow_provider_exports.landing.host import FileHost
from airflow_provider_exports.landing.land import land
from airflow_provider_exports.landing.names import LAYOUT
from airflow_provider_exports.provider_info import connection_type
from airflow_provider_exports.transports.blocking import BlockingTransport, unsigned

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

T = TypeVar("T")


class ExportHook(HttpHook):
    """Create, watch and land exports of the vendor that the connection's type names.

    It is an ``HttpHook``: ``hook.run("/some/path", …)`` calls any other path of the vendor's API with the
    vendor's own authentication. Unlike there, unknown keys of the connection's Extra never become request
    headers, and redirects are not followed.

    :param conn_id: Airflow connection; its type is the vendor's name. Read on first use, never at parse time.
    :param vendor_name: vendor that the connection must be of; None takes any.
    :param method: HTTP method of ``hook.run``.

    The methods for exports raise :class:`~airflow_provider_exports.exceptions.ExportError` subclasses.
    """

    conn_name_attr = "conn_id"
    default_conn_name = "exports_default"
    conn_type = "exports"
    hook_name = "Exports"
    vendor_name: ClassVar[str | None] = None

    on_progress: Callable[[Progress], object] | None = None
    """Called ten times a second while files are transferred, with how far it has come."""

    def __init__(
        self, conn_id: str = default_conn_name, *, vendor_name: str | None = None, method: str = "POST"
    ) -> None:
        super().__init__(method=method, http_conn_id=conn_id)
        self.conn_id = conn_id
        self.expected_vendor = vendor_name or self.vendor_name

    # -- exports ---------------------------------------------------------------------------------------

    def create_export(
        self, payload: Payload, *, conflict_deadline: float | None = None, reuse_existing: bool = False
    ) -> Export:
        """Check the payload, create the export, and return it as the vendor answered.

        :param payload: in the vendor's field names, without credentials; times as ISO 8601 text, datetime or
            pendulum.
        :param conflict_deadline: epoch seconds until which to wait while the vendor is busy with an export
            that excludes this one; None raises at once.
        :param reuse_existing: take an export of exactly this payload, where there is one that has not failed,
            expired or been deleted.
        :raises InvalidPayload: with every problem; nothing was sent.
        :raises ExportConflict: the vendor is busy.
        :raises UnknownOutcome: it may exist, but nobody knows.
        """
        return self.create_prepared(
            self.vendor.prepare(payload), conflict_deadline=conflict_deadline, reuse_existing=reuse_existing
        )

    def create_prepared(
        self,
        payload: Payload,
        *,
        conflict_deadline: float | None = None,
        reuse_existing: bool = False,
        unanswered_at: float | None = None,
    ) -> Export:
        """Do what :meth:`create_export` does, for a payload that ``vendor.prepare`` has returned.

        :param unanswered_at: when an earlier create of this payload got no answer, epoch seconds.
        """
        if reuse_existing:
            self._require(Capability.FIND)
        return self.run_plan(
            lambda life: life.submit(
                payload,
                conflict_deadline=conflict_deadline,
                reuse_existing=reuse_existing,
                unanswered_at=unanswered_at,
            )
        )

    def adopt_export(self, export_id: str, since: float) -> Export:
        """Return an export that was created, and started, by an earlier try.

        :param since: from when on it was created, epoch seconds.
        :raises ExportExpired: the vendor does not have it any more.
        """
        return self.run_plan(lambda life: life.adopt(export_id, since))

    def cancel_export(self, export_id: str) -> bool:
        """Stop an export that nobody wants any more; returns False where it goes on, or has ended before."""
        return self.run_plan(lambda life: life.cancel(export_id))

    def find_exports(self, payload: Payload) -> list[Export]:
        """Return exports of exactly this payload that have not failed, expired or been deleted, newest first.

        :raises ExportRejected: the vendor's API has no way to find them.
        """
        self._require(Capability.FIND)
        prepared = self.vendor.prepare(payload)
        self.vendor.check_shape(prepared)
        return self.run_plan(lambda life: life.call(life.vendor.find(prepared, 0.0)))

    def get_export(self, export_id: str) -> Export:
        """Return one export, with fresh download links when it is ready.

        :raises ExportNotFound: the vendor does not know it.
        """
        return self.run_plan(lambda life: life.check(export_id))

    def get_exports(self, export_ids: list[str]) -> dict[str, Export]:
        """Return many exports by id, in as few requests as the vendor allows; unknown ids are absent."""
        return self.run_plan(lambda life: life.check_many(export_ids))

    def list_exports(self) -> list[Export]:
        """Return the exports the credentials can see, newest first.

        :raises ExportRejected: the vendor's API has no listing.
        """
        self._require(Capability.LIST)
        return self.run_plan(lambda life: life.call(life.vendor.list_exports()))

    def list_datasources(self) -> list[Datasource]:
        """Return what exports can be made of: rooms, entity types …

        :raises ExportRejected: the vendor's API has no listing.
        """
        self._require(Capability.DATASOURCES)
        return self.run_plan(lambda life: life.call(life.vendor.list_datasources()))

    def delete_export(self, export_id: str) -> bool:
        """Delete an export and its files at the vendor; returns False if it was gone already.

        :raises ExportRejected: the vendor's API cannot delete.
        """
        self._require(Capability.DELETE)
        return self.run_plan(lambda life: life.delete(export_id))

    def wait_for_export(
        self,
        export_id: str,
        *,
        timeout: float | None = None,
        poll_interval: float | None = None,
        known: bool = False,
    ) -> Export:
        """Block until the export is ready and return it.

        :param timeout: seconds; None takes the connection's ``wait_timeout``.
        :param poll_interval: fixed seconds between looks; None takes the connection's growing pace.
        :param known: whether it is known to have existed: then *not found* means that it has expired.
        :raises ExportFailed, ExportExpired, ExportCancelled: it ended otherwise.
        :raises ExportTimedOut: it was not ready in time.
        """
        deadline = time.time() + (self.vendor.settings.wait_timeout if timeout is None else timeout)
        poll = None if poll_interval is None else PollRule.every(poll_interval)
        return self.run_plan(lambda life: life.wait(export_id, deadline=deadline, poll=poll, known=known))

    def download_export(
        self,
        export_id: str,
        destination: str,
        *,
        layout: str = LAYOUT,
        unpack: bool = False,
        as_jsonl: bool = False,
        owner: str | None = None,
        run_due: float | None = None,
        next_run_due: float | None = None,
    ) -> dict[str, Any]:
        """Land all files of a ready export below ``destination`` and return the *export result*.

        The files appear under their names only after every one of them has arrived whole, and a manifest
        beside them comes last. An export that has landed there before is not transferred again.

        :param destination: any URI of an Airflow object storage path, such as ``s3://conn@bucket/prefix`` or
            ``file:///data``.
        :param layout: where the files go below it, such as ``{vendor}/{export_id}/{name}``; the last part may
            also hold ``{stem}``, ``{suffix}`` and ``{position}``.
        :param unpack: take zips apart, each into a folder of its own name, and decompress gzip files.
        :param as_jsonl: land CSV files and JSON arrays as JSON Lines; with ``unpack`` those in zips as well.
        :param owner: names who lands: what the same owner landed there for another export is replaced.
        :param run_due: of an export that the vendor repeats, when the wanted run was due, epoch seconds.
        :param next_run_due: when the run after it is due.
        :return: see :meth:`Export.result`.
        :raises RunMissed: the next run has taken its place.
        :raises ExportFailed, ExportExpired, ExportCancelled: it is not ready and never will be.
        :raises ExportTimedOut: it is not ready yet.
        :raises DestinationTaken: something else lies there.
        :raises DownloadError: the files could not be landed; no incomplete one is left behind.
        """
        run = self.lifecycle.watch_run(run_due, next_run_due)
        export = self.get_export(export_id)
        for note in expires_soon(export, time.time()):
            self.log.warning(note.message, *note.args)
        if run is not None:
            # Nothing is waited for here: a run of which nothing tells the start has been waited for before.
            run.patience = 0.0
            if not run.shown_by(export, time.time()):
                raise ExportTimedOut(
                    "the run has not begun yet.",
                    vendor=export.vendor,
                    export_id=export_id,
                    next_step="Wait for it first, with an export sensor.",
                )
        return self.land_export(
            export, destination, layout=layout, unpack=unpack, as_jsonl=as_jsonl, owner=owner
        )

    def land_export(
        self,
        export: Export,
        destination: str,
        *,
        layout: str = LAYOUT,
        unpack: bool = False,
        as_jsonl: bool = False,
        owner: str | None = None,
        payload: Payload | None = None,
    ) -> dict[str, Any]:
        """Land an export that has just been read; see :meth:`download_export`.

        :param payload: what was asked for, where it is known; it goes into the manifest.
        """
        raise_unless_ready(export)
        vendor = self.vendor

        def read() -> Export:
            again = self.get_export(export.export_id)
            raise_unless_ready(again)
            return again

        def make_host() -> FileHost:
            return FileHost(
                self._bare_session(),
                vendor,
                lambda: vendor.auth.download_headers(self.lifecycle.token),
                mask_secret,
                max(vendor.settings.parallel_files, vendor.settings.parallel_ranges),
            )

        return land(
            vendor,
            export,
            ObjectStoragePath(destination),
            make_host,
            read,
            self.log,
            layout=layout,
            unpack=unpack,
            as_jsonl=as_jsonl,
            owner=owner,
            payload=payload,
            tell=self.on_progress,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Make one cheap authenticated call; return whether it worked and what that proves."""
        try:
            if Capability.PING not in self.vendor.capabilities:
                return (
                    True,
                    f"{self.vendor.display_name} offers no call to test with; the fields are well formed.",
                )
            said = self.run_plan(lambda life: life.call(life.vendor.ping()))
        except ExportError as error:
            return False, str(error)
        return True, f"{self.vendor.display_name} answers at {self.vendor.base_url}: {said}."

    # -- plans -----------------------------------------------------------------------------------------

    @cached_property
    def vendor(self) -> Vendor:
        """The vendor, built from the connection on first use."""
        connection = self.get_connection(self.http_conn_id)
        return self._build_vendor(connection, connection.extra_dejson)

    def run_plan(self, make: Callable[[Lifecycle], Plan[T]]) -> T:
        """Run the plan that ``make`` returns, blocking."""
        return self._transport.run(make(self.lifecycle))

    async def arun_plan(self, make: Callable[[Lifecycle], Plan[T]]) -> T:
        """Run the plan that ``make`` returns on the event loop; reads the connection without blocking it."""
        from airflow_provider_exports.transports.asynchronous import AsyncTransport

        async with AsyncTransport(await self.aget_vendor(), self.log) as transport:
            return await transport.run(make(self.lifecycle))

    async def aget_vendor(self) -> Vendor:
        """Return the vendor, built from the connection on first use without blocking the event loop."""
        if "vendor" not in self.__dict__:
            connection = await get_async_connection(self.http_conn_id)
            self.vendor = self._build_vendor(connection, await get_async_extra_dejson(connection))
        return self.vendor

    # -- the HTTP provider's hook ----------------------------------------------------------------------

    def get_conn(
        self, headers: dict[Any, Any] | None = None, extra_options: dict[str, Any] | None = None
    ) -> requests.Session:
        """Return a session with the vendor's authentication, for ``hook.run`` and your own requests."""
        session = self._bare_session()
        self.run_plan(lambda life: life.authenticate())
        session.auth = _SignedByVendor(self.lifecycle)
        session.hooks["response"].append(self._renew_token)
        session.headers.update(headers or {})
        settings = self.vendor.settings
        self.merged_extra = {
            "timeout": settings.request_timeout,
            # The tokens may stand in headers or body: neither may follow a redirect.
            "allow_redirects": False,
            **(extra_options or {}),
        }
        for name in {"cert", "proxies", "stream", "verify"} & self.merged_extra.keys():
            setattr(session, name, self.merged_extra[name])
        return session

    def _renew_token(self, answer: requests.Response, **_options: Any) -> None:
        # Some vendors hand out a new token with each answer, and take no other one then.
        if self.lifecycle.token is not None and origin(answer.url) == origin(self.vendor.base_url):
            headers = {name.lower(): value for name, value in answer.headers.items()}
            self.lifecycle.renew_token(Response(answer.status_code, headers))

    def _set_base_url(self, connection: Connection) -> None:
        self.base_url = self.vendor.base_url
        self._base_url_initialized = True

    def _bare_session(self) -> requests.Session:
        """Return the provider's session without what it made of login and Extra."""
        session: requests.Session = super().get_conn()
        session.headers = requests.utils.default_headers()  # type: ignore[assignment]
        session.headers["User-Agent"] = "airflow-provider-exports"
        session.auth = unsigned
        proxy = self.vendor.settings.proxy
        session.proxies = {"http": proxy, "https": proxy} if proxy else {}
        session.verify = self.vendor.settings.tls_verify
        session.cert = None
        session.stream = False
        session.trust_env = True
        return session

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Airflow before 3.2 looks for these two in the class itself, never in what it inherits from.
        for name in ("get_connection_form_widgets", "get_ui_field_behaviour"):
            if name not in cls.__dict__:
                setattr(cls, name, classmethod(getattr(ExportHook, name).__func__))

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for Airflow before 3.2, which does not read them from the provider info."""
        # Both come with Airflow 2 and its FAB provider only.
        from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found,unused-ignore]
            BS3PasswordFieldWidget,
            BS3TextFieldWidget,
        )
        from wtforms import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
            BooleanField,
            PasswordField,
            StringField,
        )

        widgets: dict[str, Any] = {}
        for name, field in connection_type(cls.conn_type).get("conn-fields", {}).items():
            schema, label = field["schema"], field["label"]
            if "boolean" in schema["type"]:
                widgets[name] = BooleanField(label, default=schema.get("default", False))
            elif schema.get("format") == "password":
                widgets[name] = PasswordField(label, widget=BS3PasswordFieldWidget())
            else:
                widgets[name] = StringField(label, widget=BS3TextFieldWidget())
        return widgets

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return hidden fields, labels and placeholders for Airflow before 3.2."""
        behaviour = connection_type(cls.conn_type).get("ui-field-behaviour", {})
        return {
            "hidden_fields": behaviour.get("hidden-fields", []),
            "relabeling": behaviour.get("relabeling", {}),
            "placeholders": behaviour.get("placeholders", {}),
        }

    # -- inside ----------------------------------------------------------------------------------------

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """The plans over the vendor."""
        return Lifecycle(self.vendor)

    @cached_property
    def _transport(self) -> BlockingTransport:
        return BlockingTransport(self._bare_session(), self.vendor, self.log)

    def _build_vendor(self, connection: Connection, extra: dict[str, Any]) -> Vendor:
        conn_type = connection.conn_type
        if self.expected_vendor not in (None, conn_type):
            raise InvalidConnection(
                f"connection {self.conn_id!r} is of type {conn_type!r}, not {self.expected_vendor!r}.",
                vendor=self.expected_vendor,
            )
        info = ConnectionInfo(
            conn_id=self.conn_id,
            host=connection.host or "",
            schema=connection.schema or "",
            port=connection.port,
            login=connection.login or "",
            password=connection.password or "",
            extra=extra,
        )
        try:
            vendor = vendor_class(conn_type)(info)
            authorities = vendor.settings.tls_verify
            if isinstance(authorities, str) and not os.path.exists(authorities):
                raise InvalidConnection("the setting 'verify' names a file or folder that does not exist.")
            return vendor
        except InvalidConnection as error:
            error.vendor = error.vendor or conn_type
            raise

    def _require(self, capability: Capability) -> None:
        if capability not in self.vendor.capabilities:
            raise ExportRejected(
                f"the vendor's API offers no {capability.value.replace('_', ' ')}.", vendor=self.vendor.name
            )


class _SignedByVendor(requests.auth.AuthBase):
    """Signs what a user sends through ``hook.run``; never for another origin."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        vendor = self._lifecycle.vendor
        url = prepared.url or ""
        if origin(url) != origin(vendor.base_url):
            return prepared
        is_json = "json" in prepared.headers.get("Content-Type", "")
        body = json.loads(prepared.body) if prepared.body and is_json else None
        if isinstance(body, list):
            raise ValueError(f"{vendor.display_name} takes objects as JSON bodies, not lists.")
        unsigned_request = Request(prepared.method or "GET", url, json=body)
        signed = vendor.auth.sign(unsigned_request, self._lifecycle.signing(time.time()))
        prepared.headers.update(signed.headers)
        if signed.json != body:
            if prepared.body and not is_json:
                raise ValueError(
                    f"{vendor.display_name} keeps its credentials in the body: send it with json=…"
                )
            prepared.prepare_body(None, None, json=signed.json)
        return prepared

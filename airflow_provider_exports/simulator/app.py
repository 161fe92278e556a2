"""The simulator as a Python object: two local servers in a thread, and what a test does with them."""

import asyncio
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, get_args

from aiohttp import web

from airflow_provider_exports.simulator.apis import VENDORS
from airflow_provider_exports.simulator.apis.base import VendorApi, World
from airflow_provider_exports.simulator.apis.giosg import GiosgApi
from airflow_provider_exports.simulator.apis.medable import MedableApi
from airflow_provider_exports.simulator.clock import Clock
from airflow_provider_exports.simulator.control import control
from airflow_provider_exports.simulator.delivery import deliver
from airflow_provider_exports.simulator.dispatch import answer_call
from airflow_provider_exports.simulator.scenario import Fault
from airflow_provider_exports.simulator.store import ExportRecord, RequestRecord, State

__all__ = ["Simulator"]


class Simulator:
    """The APIs of the vendors on this machine, with virtual time, switches, faults and a request log.

    All methods may be called from any thread, at any time between ``start`` and ``stop``.

    :param port: port of the APIs, one path prefix per vendor; 0 takes any free one.
    :param files_port: port of the file host, an origin of its own; 0 takes any free one.
    :param speed: virtual seconds per real second.
    :param host: address to listen on.
    :param public_host: name of this host in addresses handed out; None: ``host``, or the loopback
        address if that means all interfaces.
    :param tokens: credentials to accept instead of the default ones, by name; see ``tokens``.
    :param link_secret: part of the signature of each download link, so that a leak can be searched for.
    """

    def __init__(
        self,
        port: int = 0,
        files_port: int = 0,
        speed: float = 1.0,
        *,
        host: str = "127.0.0.1",
        public_host: str | None = None,
        tokens: Mapping[str, str] | None = None,
        link_secret: str = "simulated-link-signature",
    ) -> None:
        known = {name: value for api in VENDORS.values() for name, value in api.token_defaults.items()}
        if unknown := (tokens or {}).keys() - known.keys():
            raise ValueError(f"no tokens {sorted(unknown)}; there are: {', '.join(sorted(known))}")
        self._world = World(Clock(speed), known | dict(tokens or {}), link_secret)
        self._apis: dict[str, VendorApi] = {name: api(self._world) for name, api in VENDORS.items()}
        self._ports = (port, files_port)
        self._host = host
        name = public_host or ("127.0.0.1" if host in ("0.0.0.0", "::", "") else host)
        self._public_host = f"[{name}]" if ":" in name else name
        self._runners: list[web.ServerRunner] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Server

    def start(self) -> Self:
        """Listen; returns when requests are answered. :raises OSError: if a port is taken."""
        if self._thread is not None:
            raise RuntimeError("the simulator is running already")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="simulator", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close both ports and every connection; does nothing if not running."""
        if self._thread is None or self._loop is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._thread = self._loop = None

    async def _listen(self) -> None:
        origins = []
        for port, handler in zip(self._ports, (self._answer_api, self._answer_files), strict=True):
            # No access log: it would hold the signatures that leak tests search the log for.
            server = web.Server(handler, access_log=None)
            # A held answer must not hold up the end.
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            self._runners.append(runner)
            await runner.setup()
            await web.TCPSite(runner, self._host, port).start()
            origins.append(f"http://{self._public_host}:{runner.addresses[0][1]}")
        self._world.api_origin, self._world.files_origin = origins

    async def _close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    async def _answer_api(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/_control/"):
            return await control(self, request)
        return await self._answer(request, "api")

    async def _answer_files(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._answer(request, "files")

    async def _answer(self, request: web.BaseRequest, origin: Literal["api", "files"]) -> web.StreamResponse:
        # Not read(): above its limit aiohttp would answer in its own words.
        body = await request.content.read()
        query, headers = request.query, request.headers.copy()
        with self._world.lock:
            answer = answer_call(
                self._world, self._apis, origin, request.method, request.path, query, headers, body
            )
        return await deliver(request, answer, self._world.clock.now())

    # Addresses and credentials

    @property
    def vendors(self) -> tuple[str, ...]:
        """Names of the simulated vendors."""
        return tuple(self._apis)

    @property
    def api_origin(self) -> str:
        """Origin of all APIs."""
        return self._world.api_origin

    @property
    def files_origin(self) -> str:
        """Origin of the file host."""
        return self._world.files_origin

    @property
    def tokens(self) -> dict[str, str]:
        """All accepted credentials by name."""
        return dict(self._world.tokens)

    @property
    def link_secret(self) -> str:
        """What the signature of each download link contains."""
        return self._world.link_secret

    def base_url(self, vendor: str) -> str:
        """Where a vendor's API is; what its documentation calls the platform address or the origin."""
        return self._api(vendor).base_url()

    def connection(self, vendor: str) -> dict[str, Any]:
        """Fields of an Airflow connection: conn_type, host, password, extra; login where a vendor has one."""
        return self._api(vendor).connection()

    def connection_json(self, vendor: str) -> str:
        """The connection as JSON for an ``AIRFLOW_CONN_…`` variable."""
        return json.dumps(self.connection(vendor))

    # Scenario

    def configure(self, vendor: str, /, **switches: Any) -> None:
        """Set switches of a vendor. :raises ValueError: for one that does not exist."""
        with self._world.lock:
            api = self._api(vendor)
            api.switches = api.switches.changed(switches)

    def switches(self, vendor: str) -> dict[str, Any]:
        """All switches of a vendor and their values."""
        return dict(vars(self._api(vendor).switches))

    def fail_next(
        self,
        vendor: str,
        operation: str,
        /,
        *,
        fault: str,
        times: int | None = 1,
        after: int = 0,
        **options: Any,
    ) -> None:
        """Queue a fault for the next calls of an operation.

        :param operation: create, get, file and whatever else the vendor's ``operations`` name.
        :param fault: a name from ``scenario.FAULTS`` or ``FILE_FAULTS``, a status such as ``"503"``, or one
            that only this vendor has, such as an errCode of Medable.
        :param times: how often; None: until ``clear_faults`` or ``reset``.
        :param after: undisturbed calls before the first time.
        :param options: ``retry_after`` ("seconds", "date", "missing" or a number), ``seconds``, ``field``,
            ``at_byte``, ``piece_bytes``, ``location``.
        :raises ValueError: for an operation, fault or option that does not exist.
        """
        if operation not in self._api(vendor).operations:
            # A fault that can never happen would make a test pass for the wrong reason.
            known = ", ".join(self._api(vendor).operations)
            raise ValueError(f"{vendor} has no operation {operation!r}; there are: {known}")
        with self._world.lock:
            own = self._api(vendor).own_faults
            self._world.faults.add(vendor, operation, Fault(fault, times, after, options), own)

    def clear_faults(self, vendor: str | None = None) -> None:
        """Forget the queued faults of a vendor, or of all."""
        with self._world.lock:
            self._world.faults.clear(vendor)

    def now(self) -> datetime:
        """The virtual time."""
        return self._world.clock.now()

    def advance(self, seconds: float) -> None:
        """Let so many virtual seconds pass at once."""
        self._world.clock.advance(seconds)

    @property
    def speed(self) -> float:
        """Virtual seconds per real second."""
        return self._world.clock.speed

    @speed.setter
    def speed(self, value: float) -> None:
        self._world.clock.speed = value

    def set_state(self, vendor: str, export_id: str, state: State) -> None:
        """Put an export into a state; an unfinished one stays there until set again.

        :raises KeyError: if there is no such export.
        """
        if state not in get_args(State):
            raise ValueError(f"no state {state!r}; there are: {', '.join(get_args(State))}")
        with self._world.lock:
            record = self._api(vendor).find(export_id)
            if record is None:
                raise KeyError(f"{vendor} has no export {export_id}")
            self._api(vendor).set_state(record, state)

    def add_room(
        self, name: str, *, is_shared: bool = False, deleted: bool = False, room_id: str | None = None
    ) -> str:
        """A further giosg room; returns its id."""
        with self._world.lock:
            return self._giosg.add_room(name, is_shared=is_shared, deleted=deleted, room_id=room_id)

    def rooms(self) -> list[dict[str, Any]]:
        """The giosg rooms: id, name, is_shared and more."""
        with self._world.lock:
            return [dict(room) for room in self._giosg.rooms]

    def reset(self) -> None:
        """Forget exports, links, requests, faults and switches, and go back to the real time."""
        with self._world.lock:
            self._world.store.clear()
            self._world.faults.clear()
            self._world.clock.reset()
            for api in self._apis.values():
                api.reset()

    # What happened

    def requests(self, vendor: str | None = None, operation: str | None = None) -> list[RequestRecord]:
        """The requests that arrived, oldest first, with every secret as it was sent."""
        with self._world.lock:
            return [
                request
                for request in self._world.store.requests
                if vendor in (None, request.vendor) and operation in (None, request.operation)
            ]

    def leaks(self, vendor: str | None = None) -> list[RequestRecord]:
        """The requests that brought credentials to the files origin."""
        return [one for one in self.requests(vendor) if one.origin == "files" and one.credentials]

    def exports(self, vendor: str) -> list[ExportRecord]:
        """Copies of a vendor's exports, oldest first, as they are by now."""
        with self._world.lock:
            api = self._api(vendor)
            return [replace(record) for record in self._world.store.of(vendor) if api.settle(record)]

    def notifications(self, vendor: str) -> list[dict[str, Any]]:
        """The messages that a vendor has sent to people about exports, oldest first."""
        with self._world.lock:
            return self._api(vendor).notifications()

    @property
    def medable(self) -> MedableApi:
        """What only this vendor has: foreign exports in its queue, bearer tokens, sessions, connections."""
        api = self._apis["medable"]
        assert isinstance(api, MedableApi)
        return api

    def _api(self, vendor: str) -> VendorApi:
        if vendor not in self._apis:
            raise ValueError(f"no vendor {vendor!r}; there are: {', '.join(self._apis)}")
        return self._apis[vendor]

    @property
    def _giosg(self) -> GiosgApi:
        api = self._apis["giosg"]
        assert isinstance(api, GiosgApi)
        return api

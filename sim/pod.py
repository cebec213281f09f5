"""One live simulated pod: a data port, a control port, and a life that can be ended and begun again.

`stop` is the death of a process: both ports refuse, open connections are reset, the KV cache is gone. `start` brings it
back on the same ports, cold. The control port serves `/fault` also while the data port refuses:

    GET /fault       the fault in force, and the control port's address
    POST /fault      {"kind": "slow", "factor": 4}, see `sim.faults`; {"kind": null} clears
    DELETE /fault    clears

The data port serves the same, for convenience.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from sim import faults
from sim.api import Api, Handler
from sim.dialects import DIALECTS
from sim.engine import DEMO, Engine, Profile
from sim.faults import BadFaultError, Fault, FaultBox
from sim.kv_publisher import KvPorts, KvPublisher, KvTeller
from sim.listener import Listener

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Largest request body: a prompt of a million tokens with room to spare."""

KEEP_ALIVE_S = 5.0
"""Idle connections are closed after this time, as uvicorn's default does for real engines."""

_FAULT_PATH = "/fault"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """What a pod is. Raises ValueError without a model."""

    name: str
    models: tuple[str, ...]
    """Names it serves; the first one labels its metrics."""

    zone: str = ""
    profile: Profile = DEMO
    host: str = "127.0.0.1"
    port: int = 0
    """Data port; 0: the OS chooses one at the first start."""

    control_port: int = 0

    dialect: str = ""
    """Whose pages about load it has, one of `sim.dialects`; empty: those of the profile's engine."""

    kv: KvPorts | None = None
    """Where it tells what it has cached; None: nowhere."""

    def __post_init__(self) -> None:
        """Refuse a pod that serves nothing, or speaks as nobody does."""
        if self.dialect and self.dialect not in DIALECTS:
            raise ValueError(f"{self.dialect!r} is not one of {', '.join(DIALECTS)}")
        if not self.models:
            raise ValueError(f"pod {self.name!r} serves no model")


class Pod:
    """A pod on the running loop; also an async context manager."""

    # What changes: `_api` (None while stopped), the fault, the listeners' state. Single writer: the pod's own loop.
    def __init__(self, spec: PodSpec) -> None:
        """Describe a pod; nothing listens before `start`."""
        self.spec = spec
        self._data = Listener(spec.host, spec.port)
        self._control = Listener(spec.host, spec.control_port)
        self._faults = FaultBox()
        self._rng = random.Random(spec.name)  # the same pod has the same luck in every run
        self._api: Api | None = None
        self.kv = None if spec.kv is None else KvPublisher(spec.kv)
        """Its publisher of cache events, which knows its ports."""

    def __repr__(self) -> str:
        """Say name and address."""
        return f"<Pod {self.spec.name} at {self.address}>"

    @property
    def address(self) -> str:
        """`host:port` of the APIs; known after the first start."""
        return self._data.address

    @property
    def control_address(self) -> str:
        """`host:port` of the fault control; known after the first start."""
        return self._control.address

    @property
    def is_running(self) -> bool:
        """Whether the process is alive, whatever its faults are."""
        return self._api is not None

    @property
    def fault(self) -> Fault | None:
        """The fault in force."""
        return self._faults.current

    @property
    def engine(self) -> Engine:
        """The engine of the running process. Raises RuntimeError while the pod is stopped."""
        if self._api is None:
            raise RuntimeError(f"pod {self.spec.name!r} is not running")
        return self._api.driver.engine

    async def start(self) -> None:
        """Begin a new process on the pod's ports; does nothing while one runs. Raises OSError when a port is taken."""
        if self._api is not None:
            return
        spec = self.spec
        self._faults.set(None)
        dialect = spec.dialect or spec.profile.engine
        teller = None if self.kv is None else KvTeller(self.kv, spec.profile, time.time)
        self._api = Api(spec.name, spec.models, spec.profile, self._faults, self._rng, time.time(), dialect, teller)
        try:
            if self.kv is not None:
                self.kv.start()
            await self._control.open(_server(self._serve_control))
            await self._data.open(_server(self._serve_data))
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the process abruptly: connections are reset, the engine's state is gone. The ports stay reserved."""
        if self._api is None:
            return
        self._api.close()
        if self.kv is not None:
            self.kv.stop()
        await self._data.end()
        await self._control.end()
        self._api = None

    async def close(self) -> None:
        """Stop for good and give the ports back."""
        await self.stop()
        self._data.release()
        self._control.release()

    async def __aenter__(self) -> "Pod":
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def set_fault(self, fault: Mapping[str, Any] | Fault | None) -> None:
        """Have this fault (and no other) from now on; None clears. Raises BadFaultError, RuntimeError while stopped."""
        if isinstance(fault, Mapping):
            fault = faults.parse(msgspec.json.encode(fault))
        await self._apply(None if fault is None else faults.checked(fault))

    async def _apply(self, fault: Fault | None, spare: object | None = None) -> None:
        if self._api is None:
            raise RuntimeError(f"pod {self.spec.name!r} is not running")
        self._faults.set(fault)
        self._api.driver.set_slowdown(fault.factor if fault is not None and fault.kind == "slow" else 1.0)
        if fault is not None and fault.kind == "refuse":
            self._data.close(spare)
        elif not self._data.is_open:
            await self._data.open(_server(self._serve_data))

    async def _serve_data(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == _FAULT_PATH:
            return await self._serve_fault(request)
        if self._api is None:
            raise ConnectionResetError("the pod has been stopped")
        return await self._api.handle(request)

    async def _serve_control(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == _FAULT_PATH:
            return await self._serve_fault(request)
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _serve_fault(self, request: web.BaseRequest) -> web.StreamResponse:
        """Read or set the fault; a request on the data port still gets its answer when it sets `refuse`."""
        try:
            if request.method == "POST":
                await self._apply(faults.parse(await request.read()), request.protocol)
            elif request.method == "DELETE":
                await self._apply(None)
            elif request.method != "GET":
                return web.json_response({"detail": "Method Not Allowed"}, status=405)
        except BadFaultError as error:
            return web.json_response({"detail": str(error)}, status=400)
        shown = None if self.fault is None else msgspec.to_builtins(self.fault)
        response = web.json_response({"fault": shown, "address": self.address, "control": self.control_address})
        if not self._data.is_open:
            response.force_close()
        return response


def _server(handler: Handler) -> web.Server:
    """An aiohttp server whose handlers are cancelled when the client leaves, and which takes long prompts."""
    loop = asyncio.get_running_loop()

    def request_of(
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: Any,
        writer: Any,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES)

    return web.Server(
        handler,
        request_factory=request_of,
        handler_cancellation=True,
        keepalive_timeout=KEEP_ALIVE_S,
        access_log=None,
    )

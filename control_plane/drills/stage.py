"""The drill's own ground: a simulated pod for each endpoint of the policy, kvpilot, and a real Envoy.

Every process is ended at the exit, whatever happened, and dies with this one.
"""

import asyncio
import re
import signal
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from control_plane.compile import bootstrap
from control_plane.drills.ground import FaultError, fault_of
from control_plane.drills.model import POD_FAULTS, Drill, Step
from control_plane.drills.reading import Place, chosen
from control_plane.drills.target import ASK, tell
from control_plane.drills.worker import NotStartedError, Worker
from control_plane.policy.model import Policy
from control_plane.sidecar.envoy_process import EnvoyProcess
from ext_proc.core.address import SocketAddress, parse_address

HOST = "127.0.0.1"

BROKEN = "\n  this is no policy: [\n"
"""What is written behind a policy to break it."""

STARTING = 4
"""Pods that are started at once: each takes a core for most of a second."""

DRAIN_TIMEOUT_S = 120.0
"""For one pod of a rolling restart; a policy that waits longer for its streams is drained with a shorter bound."""

POLL_S = 0.1

STUTTER_RUN_S = 0.1
"""What a stuttering process runs between two pauses: enough to answer what has come meanwhile."""

_FAILED = (NotStartedError, aiohttp.ClientError, TimeoutError, OSError)
"""What doing a step may end with: a process that does not come up, or an admin server that does not answer."""


class Stage:
    """`async with Stage(…) as stage`. Mutable: its processes, and what pods were told."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        drill: Drill,
        policy: Policy,
        text: str,
        places: tuple[Place, ...],
        directory: Path,
        template: str,
    ) -> None:
        """`text` is that of `policy`; `template` that of `envoy/bootstrap.yaml`."""
        self._session = session
        self._drill, self._places, self._directory = drill, places, directory
        declared = [place.address for place in places]
        listeners = [str(listener.address) for listener in policy.listeners]
        unspelt = [address for address in (*declared, *listeners) if with_addresses(text, {address: ""}) == text]
        if unspelt:
            # Its own port would be used: somebody else's.
            raise NotStartedError(f"write {unspelt[0]} in the policy as it is written here")
        # Held to the end: a process that was killed finds its port free again.
        self._held = [_reserved() for _ in range(len(declared) + len(listeners) + 4)]
        ports = [int(held.getsockname()[1]) for held in self._held]
        self._actual = dict(zip([*declared, *listeners], (f"{HOST}:{port}" for port in ports), strict=False))
        self._declared = {self._actual[address]: address for address in declared}
        self._listen = self._actual[listeners[0]]
        xds, ext_proc, picker_admin, other_admin = (f"{HOST}:{port}" for port in ports[-4:])
        self._admin, self._other_admin = picker_admin, other_admin
        self._policy_path = directory / "policy.yaml"
        self._text = with_addresses(text, self._actual)
        names = _models(policy)
        self._pods = {address: self._pod(address, names) for address in declared}
        common = ("run", str(self._policy_path), "--no-envoy", "--xds", xds, "--ext-proc", ext_proc)
        zone = ("--zone", drill.envoy_zone) if drill.envoy_zone else ()
        self._kvpilots = {
            name: self._kvpilot(name, (*common, *zone, *more), admin)
            for name, more, admin in (
                (("picker", ("--roles", "picker"), picker_admin), ("controlPlane", ("--roles", "xds"), other_admin))
                if drill.apart
                else (("kvpilot", (), picker_admin),)
            )
        }
        self._envoy = EnvoyProcess(
            directory / "envoy",
            bootstrap(
                bootstrap_template=template,
                xds=parse_address(xds),
                node_id="drill",
                node_cluster="drill",
                region="",
                zone=drill.envoy_zone,
                ads="delta",
                admin=SocketAddress(HOST, 0),
            ),
            disposable=True,
        )
        self._controls: dict[str, str] = {}
        self._on: set[str] = set()
        self._stuttering: dict[str, asyncio.Task[None]] = {}

    def _pod(self, address: str, models: tuple[str, ...]) -> Worker:
        actual = self._actual[address]
        port = actual.rpartition(":")[2]
        words: tuple[str, ...] = ("pods", "--base-port", port, "--profile", self._drill.profile)
        words += tuple(word for model in models for word in ("--model", model))

        async def is_up() -> bool:
            try:
                found = await self._get(f"http://{actual}/fault")
            except (aiohttp.ClientError, TimeoutError):
                return False
            self._controls[address] = f"http://{found['control']}/fault"
            return True

        return Worker(words, self._directory / f"pod-{port}.log", is_up)

    def _kvpilot(self, name: str, words: tuple[str, ...], admin: str) -> Worker:
        async def is_up() -> bool:
            try:
                async with self._session.get(f"http://{admin}/readyz", timeout=ASK) as answer:
                    return answer.status == 200
            except (aiohttp.ClientError, TimeoutError):
                return False

        state = str(self._directory / f"state-{name}")
        return Worker((*words, "--admin", admin, "--state-dir", state), self._directory / f"{name}.log", is_up)

    async def _get(self, url: str) -> Any:
        async with self._session.get(url, timeout=ASK) as answer:
            answer.raise_for_status()
            return await answer.json()

    async def __aenter__(self) -> Self:
        """Everything is up and connected. Raises `NotStartedError`, or what a missing Envoy raises."""
        try:
            self._policy_path.write_text(self._text)
            room = asyncio.Semaphore(STARTING)

            async def start(worker: Worker) -> None:
                async with room:
                    await worker.start()

            async with asyncio.TaskGroup() as group:
                for worker in (*self._pods.values(), *self._kvpilots.values()):
                    group.create_task(start(worker))
            self._envoy.start()
            await self._envoy.wait_ready()
        except ExceptionGroup as failed:
            await self._close()
            raise failed.exceptions[0] from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all processes."""
        await self._close()

    async def _close(self) -> None:
        for name in tuple(self._stuttering):
            await self._still(name)
        await self._envoy.stop()
        await asyncio.gather(*(worker.stop() for worker in self._kvpilots.values()))
        await asyncio.gather(*(worker.kill() for worker in self._pods.values()))
        for held in self._held:
            held.close()

    @property
    def url(self) -> str:
        """The first listener."""
        return f"http://{self._listen}"

    @property
    def admin(self) -> str:
        """The picker's."""
        return f"http://{self._admin}"

    @property
    def envoy_admin(self) -> str:
        """Envoy's admin server, as a URL."""
        return f"http://{self._envoy.admin_address()}"

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of Envoy and of kvpilot's processes, by their names in a drill."""
        return {"envoy": self._envoy.pid, **{name: worker.pid for name, worker in self._kvpilots.items()}}

    def edit(self, old: str, new: str) -> None:
        """Edits the policy, as an operator would: its text has `new` for `old` from now on."""
        self._text = self._text.replace(old, new)
        self._policy_path.write_text(self._text)

    def declared(self, address: str) -> str:
        """A pod's address in the policy as written."""
        return self._declared.get(address, "")

    # --- steps --------------------------------------------------------------------------------------------------------

    async def begin(self, step: Step) -> None:
        """Breaks what the step says; raises `FaultError`."""
        self._on.add(step.name)
        try:
            await self._begin(step)
        except _FAILED as error:
            raise FaultError(f"{type(error).__name__}: {error}") from error

    async def _begin(self, step: Step) -> None:
        if step.fault in POD_FAULTS:
            for place in chosen(step, self._places):
                await tell(self._session, self._controls[place.address], fault_of(step))
        elif step.fault == "breakPolicy":
            self._policy_path.write_text(self._text + BROKEN)
        elif step.fault == "rollingRestart":
            for place in chosen(step, self._places):
                await self._replace(place)
        elif step.fault == "restart":
            pause_s = (step.for_s or 0.0) / step.count
            loop = asyncio.get_running_loop()
            begun = loop.time()
            for number in range(step.count):
                await asyncio.sleep(begun + number * pause_s - loop.time())
                for worker in self._workers(step):
                    await worker.stop()
                    await worker.start()
        elif step.fault == "kill":
            await asyncio.gather(*(worker.kill() for worker in self._workers(step)))
        elif step.fault == "stutter":
            self._stuttering[step.name] = asyncio.create_task(self._stutter(step), name=step.name)
        else:
            for worker in self._workers(step):
                worker.signal(signal.SIGSTOP)

    async def end(self, step: Step) -> None:
        """Mends it; raises `FaultError`."""
        if step.name not in self._on:
            return
        self._on.discard(step.name)
        try:
            if step.fault in POD_FAULTS:
                for place in chosen(step, self._places):
                    await tell(self._session, self._controls[place.address], None)
            elif step.fault == "breakPolicy":
                self._policy_path.write_text(self._text)
            elif step.fault == "kill":
                await asyncio.gather(*(worker.start() for worker in self._workers(step)))
            elif step.fault in ("freeze", "stutter"):
                await self._still(step.name)
                for worker in self._workers(step):
                    worker.signal(signal.SIGCONT)
        except _FAILED as error:
            raise FaultError(f"{type(error).__name__}: {error}") from error

    async def _stutter(self, step: Step) -> None:
        while True:
            for number, pause_s in ((signal.SIGSTOP, step.pause_s), (signal.SIGCONT, STUTTER_RUN_S)):
                for worker in self._workers(step):
                    worker.signal(number)
                await asyncio.sleep(pause_s)

    async def _still(self, name: str) -> None:
        if (task := self._stuttering.pop(name, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _workers(self, step: Step) -> list[Worker]:
        if step.process:
            return [self._kvpilots[step.process]]
        return [self._pods[place.address] for place in chosen(step, self._places)]

    async def _replace(self, place: Place) -> None:
        """Drains one pod, restarts it and puts it back."""
        actual = self._actual[place.address]
        order = {"endpoints": [f"{place.pool}/{actual}"]}
        await self._order("/drain", order)
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not any(
                    row["address"] == actual and row["state"] == "drained"
                    for row in (await self._get(f"{self.admin}/drains"))["drains"]
                ):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise FaultError(f"{place.address} was not drained within {DRAIN_TIMEOUT_S:g} s") from None
        await self._pods[place.address].stop()
        await self._pods[place.address].start()
        await self._order("/undrain", order)

    async def _order(self, path: str, order: dict[str, list[str]]) -> None:
        try:
            async with self._session.post(f"{self.admin}{path}", json=order, timeout=ASK) as answer:
                if answer.status >= 300:
                    raise FaultError(f"{path} answered {answer.status}: {(await answer.text())[:200]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FaultError(f"{path}: {type(error).__name__}: {error}") from error


def with_addresses(text: str, addresses: dict[str, str]) -> str:
    """The text with each address replaced by another one, all at once and only where it stands as a whole."""
    if not addresses:
        return text
    longest_first = sorted(addresses, key=len, reverse=True)
    pattern = "|".join(re.escape(address) for address in longest_first)
    return re.sub(rf"(?<![\w.:\]])(?:{pattern})(?![\w.])", lambda found: addresses[found[0]], text)


def _models(policy: Policy) -> tuple[str, ...]:
    """Every name that any pod may be asked for: what a pool serves is then the policy's business alone."""
    found = [name for model in policy.models for name in (model.name, *model.aliases)]
    return tuple(dict.fromkeys(found))


def _reserved() -> socket.socket:
    """A port that nobody else gets while this is open; a server with SO_REUSEADDR, as all here, can listen on it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((HOST, 0))
    return held

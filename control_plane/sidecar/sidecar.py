"""The sidecar as a whole: starts, reloads and stops the two loops, the admin server and, if wanted, an Envoy."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.admin.server import AdminServer
from control_plane.compile import AdsVariant, Services, bootstrap
from control_plane.fleet.model import Fleet, static_fleet
from control_plane.policy import Diagnostic, Document, format_text, load_bytes
from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError
from control_plane.sidecar.picker_settings import picker_settings, without_additions
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.sidecar.watch import watch
from control_plane.xds.server import XdsServer
from ext_proc.core.address import SocketAddress, parse_address
from ext_proc.core.picker import Picker
from ext_proc.core.settings import PickerSettings
from ext_proc.service import PickerService
from ext_proc.transport.interface import BindError
from protos.messages import load as load_messages

log = logging.getLogger("kvpilot")

STOP_GRACE_S = 1.0
"""How long open exchanges get to be answered when the sidecar stops; with Envoy's own end the whole stays under 3 s."""
SYNC_TIMEOUT_S = 5.0
"""How long an edit's additions wait for Envoy's ACK before the picker may name them anyway: an Envoy that is gone or
refuses must not hold back the picks for another one, and naming an endpoint that Envoy does not know costs nothing but
that pick (Envoy takes the next one)."""
SYNC_POLL_S = 0.02
ENVOY_POLL_S = 0.5
"""How soon the end of our own Envoy is noticed; a look costs a system call."""


class PolicyInvalidError(Exception):
    """The policy has errors at the start, when there is no last good one; carries the diagnostics."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        """`diagnostics` are all findings of the check."""
        super().__init__("\n".join(format_text(diagnostic) for diagnostic in diagnostics))
        self.diagnostics = diagnostics


class PolicyUnreadableError(Exception):
    """The policy file cannot be read at the start."""


def start_errors() -> tuple[type[Exception], ...]:
    """What `Sidecar.start` raises for reasons that an operator can mend: their text is the whole message."""
    return PolicyInvalidError, PolicyUnreadableError, BindError, EnvoyUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoyOptions:
    """How the Envoy that we start ourselves is run."""

    directory: Path
    """Takes its bootstrap, log and process id."""
    template: str
    """The text of `envoy/bootstrap.yaml`."""
    ads: AdsVariant = "delta"
    admin: str = "127.0.0.1:0"
    node_id: str = "kvpilot"
    disposable: bool = False
    """Dies with this process instead of outliving it (a demo's Envoy)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarOptions:
    """What `kvpilot run` takes from its command line."""

    policy: Path
    xds: str = "127.0.0.1:18000"
    ext_proc: str = "127.0.0.1:9002"
    admin: str = "127.0.0.1:9909"
    roles: frozenset[str] = frozenset({"xds", "picker"})
    region: str = ""
    """Where the Envoy stands that this picker serves: its locality failover is the picker's, too."""
    zone: str = ""
    envoy: EnvoyOptions | None = None
    """None, or without the role `xds`: the Envoy is somebody else's."""


@dataclass(slots=True)
class PolicyState:
    """The last edit's fate, for status and metrics. Mutable: written by the sidecar on each edit."""

    version: str
    """Version of the policy that is served, whatever became of the last edit."""
    state: str = "applied"
    """`applied` or `rejected`: what became of the last edit."""
    diagnostics: tuple[Diagnostic, ...] = ()
    error: str = ""
    """Why an edit without errors of its own could not be compiled."""
    reloads_applied: int = 0
    reloads_rejected: int = 0


@dataclass(slots=True)
class Sidecar:
    """Mutable: everything that runs, written by `start` and `stop`; `_changed` swaps policy and settings."""

    options: SidecarOptions
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
    state: PolicyState = field(default_factory=lambda: PolicyState(version=""))
    xds_address: str = ""
    ext_proc_address: str = ""
    admin_address: str = ""
    picker: PickerService | None = None
    xds: XdsServer | None = None
    envoy: EnvoyProcess | None = None
    slow_loop: SlowLoop | None = None
    _settings: PickerSettings | None = None
    """What the picker is under now: while additions wait for Envoy's ACK, without them."""
    _admit_additions: asyncio.Task[None] | None = None
    _watcher: asyncio.Task[None] | None = None
    _admin: AdminServer | None = None

    async def start(self) -> None:
        """Starts everything; on any failure what had started is stopped again.

        Raises one of `start_errors` for what an operator can mend.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        try:
            content = self.options.policy.read_bytes()
        except OSError as error:
            raise PolicyUnreadableError(f"{self.options.policy}: {error.strerror}") from error
        document, diagnostics = self._read(content)
        if document is None:
            raise PolicyInvalidError(diagnostics)
        self.state = PolicyState(version=document.version, diagnostics=diagnostics)
        fleet = static_fleet(document.policy)
        if "picker" in self.options.roles:
            await self._start_picker(document, fleet)
        if "xds" in self.options.roles:
            await self._start_xds(document, fleet)
        self._admin = AdminServer(self)
        self.admin_address = await self._admin.start(self.options.admin)
        self._watcher = asyncio.create_task(watch(self.options.policy, content, self._changed), name="policy watch")
        if self.options.envoy is not None and "xds" in self.options.roles:
            self._start_envoy(self.options.envoy, [listener.address for listener in document.policy.listeners])

    async def _start_picker(self, document: Document, fleet: Fleet) -> None:
        self._settings = self._picker_settings(document, fleet)
        picker = Picker(self._settings, wall_offset_s=self.wall_clock() - self.clock())
        self.picker = PickerService(picker, load_messages(), self.clock, self.rng)
        (self.ext_proc_address,) = await self.picker.start([self.options.ext_proc])

    def _picker_settings(self, document: Document, fleet: Fleet) -> PickerSettings:
        place = self.options
        return picker_settings(document.policy, fleet, document.version, place.region, place.zone)

    async def _start_xds(self, document: Document, fleet: Fleet) -> None:
        services = Services(ext_proc=parse_address(self.ext_proc_address or self.options.ext_proc))
        self.slow_loop = SlowLoop(load_messages(), services, document, fleet)
        self.xds = XdsServer(
            load_messages(),
            self.slow_loop.snapshot_for,
            self.clock,
            left_out=self.slow_loop.left_out_for,
            places=self.slow_loop.places,
        )
        (self.xds_address,) = await self.xds.start([self.options.xds])

    def _start_envoy(self, options: EnvoyOptions, listens: Sequence[SocketAddress]) -> None:
        admin = parse_address(options.admin)
        assert isinstance(admin, SocketAddress)  # the command line offers no other
        self.envoy = EnvoyProcess(
            options.directory,
            bootstrap(
                bootstrap_template=options.template,
                xds=parse_address(self.xds_address or self.options.xds),
                node_id=options.node_id,
                node_cluster="kvpilot",
                region=self.options.region,
                zone=self.options.zone,
                ads=options.ads,
                admin=admin,
            ),
            disposable=options.disposable,
        )
        try:
            self.envoy.start(listens)
        except BindError:
            raise
        except OSError as error:
            raise EnvoyUnavailableError(f"cannot start envoy in {options.directory}: {error}") from error

    def _read(self, content: bytes) -> tuple[Document | None, tuple[Diagnostic, ...]]:
        result = load_bytes(content, str(self.options.policy))
        return result.document, result.diagnostics

    async def _changed(self, content: bytes) -> None:
        """An edit of the policy file: checked, compiled and pushed, or said to be broken while the last good stays."""
        diagnostics: tuple[Diagnostic, ...] = ()
        try:
            document, diagnostics = self._read(content)
            if document is None:
                self._reject(diagnostics, "")
                return
            fleet = static_fleet(document.policy)
            settings = self._picker_settings(document, fleet)
            proposal = self.slow_loop.propose(document, fleet) if self.slow_loop else None
        except Exception as error:  # whatever the compiler trips over, traffic goes on under the last good policy
            log.exception("%s: this policy cannot be compiled", self.options.policy)
            self._reject(diagnostics, f"{type(error).__name__}: {error}")
            return
        self.state.version, self.state.state, self.state.error = document.version, "applied", ""
        self.state.diagnostics = diagnostics
        self.state.reloads_applied += 1
        log.info("policy %s applied", document.version)
        await self._switch(settings, proposal is not None)
        if proposal is not None and self.slow_loop is not None and self.xds is not None:
            self.slow_loop.apply(proposal)
            self.xds.publish()

    def _reject(self, diagnostics: tuple[Diagnostic, ...], error: str) -> None:
        self.state.state, self.state.diagnostics, self.state.error = "rejected", diagnostics, error
        self.state.reloads_rejected += 1
        for diagnostic in diagnostics:
            log.error("%s", format_text(diagnostic))
        log.error("the edit changes nothing: still serving policy %s", self.state.version)

    async def _switch(self, settings: PickerSettings, is_pushed: bool) -> None:
        """Removals leave the picker before the push, additions enter it when Envoy has ACKed them."""
        if self.picker is None:
            return
        await _cancelled(self._admit_additions)
        if self._settings is None or not is_pushed:
            self._pick_under(settings)
            return
        self._pick_under(without_additions(self._settings, settings))
        self._admit_additions = asyncio.create_task(self._admit(settings), name="admit additions")

    async def _admit(self, settings: PickerSettings) -> None:
        deadline = self.clock() + SYNC_TIMEOUT_S
        await asyncio.sleep(SYNC_POLL_S)
        while not self._is_synced() and self.clock() < deadline:
            await asyncio.sleep(SYNC_POLL_S)
        self._pick_under(settings)

    def _pick_under(self, settings: PickerSettings) -> None:
        assert self.picker is not None
        self._settings = settings
        self.picker.apply_settings(settings)

    def _is_synced(self) -> bool:
        assert self.xds is not None
        return all(
            kind["state"] in ("SYNCED", "ERROR", "NOT_SENT")
            for envoy in self.xds.status()
            if envoy["connected"]
            for kind in envoy["types"].values()
        )

    async def envoy_ended(self) -> None:
        """Returns when the Envoy that we started has ended by itself; never without one."""
        while self.envoy is None or self.envoy.is_running():
            await asyncio.sleep(ENVOY_POLL_S)

    async def stop(self) -> None:
        """Stops everything that runs; harmless when called twice or after half a start.

        The picker goes first (it says NOT_SERVING, answers who waits and closes who is answered), then all the rest at
        once: each waits for its own peers, and one after the other they could exceed the 3 s that a stop may take.
        """
        await _cancelled(self._watcher)
        await _cancelled(self._admit_additions)
        if self.picker is not None:
            await self.picker.stop(STOP_GRACE_S)
        running = (self.envoy, self.xds, self._admin)
        await asyncio.gather(*(part.stop() for part in running if part is not None))


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""The sidecar as a whole: starts and stops the two loops, what feeds them, the admin server and, if wanted, an Envoy.

What an edit does is in `edits`, what Envoys are served in `slow_loop`, what the picker may name in `picker_lane`, what
discovery found in `endpoints_lane`; here they are put together.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from control_plane.admin.server import AdminServer
from control_plane.compile import Services
from control_plane.compile.localities import Locality
from control_plane.compile.materials import Materials
from control_plane.fleet.merge import Found, pool_endpoints
from control_plane.fleet.mirror import Mirror
from control_plane.fleet.model import Fleet
from control_plane.fleet.resolver import SystemResolver
from control_plane.fleet.shifts import Shifts
from control_plane.fleet.sources import FleetSources
from control_plane.fleet.weights import Weights
from control_plane.policy import format_text
from control_plane.policy.model import Policy
from control_plane.sidecar.certificates import POLL_S, CertificateError, CertificateFiles, server_credentials
from control_plane.sidecar.drain_lane import DrainLane, load_drains
from control_plane.sidecar.edits import Edits
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.sidecar.envoy_process import EnvoyProcess, EnvoyUnavailableError
from control_plane.sidecar.fixed_ports import EXT_PROC, LOAD_REPORTS, PORT_OF_ROLE, XDS, tls_of
from control_plane.sidecar.health_lane import HealthLane
from control_plane.sidecar.history import History
from control_plane.sidecar.kept_sessions import KeptSessions
from control_plane.sidecar.kept_weights import KeptWeights
from control_plane.sidecar.last_found import LastFound
from control_plane.sidecar.notice_lane import NoticeLane
from control_plane.sidecar.notice_sources import Targets, watch
from control_plane.sidecar.options import EnvoyOptions, SidecarOptions
from control_plane.sidecar.own_envoy import envoy_of, listens_of, start_envoy
from control_plane.sidecar.parting import part
from control_plane.sidecar.parts import Parts
from control_plane.sidecar.picker_lane import PickerLane, settings_of
from control_plane.sidecar.pod_contexts import PodContexts
from control_plane.sidecar.policy_source import PolicySource
from control_plane.sidecar.policy_state import FROM_LAST_GOOD, PolicyState
from control_plane.sidecar.rejections import restore
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.sidecar.start import Beginning, PolicyInvalidError, PolicyUnreadableError, begin
from control_plane.sidecar.tokenizer_files import TokenizerFiles
from control_plane.sidecar.weights_lane import WeightsLane
from control_plane.sidecar.zone_lane import ZoneLane
from control_plane.xds.load_stats_server import LoadStatsService
from control_plane.xds.server import XdsServer
from ext_proc.core.address import parse_address
from ext_proc.core.picker import Picker
from ext_proc.core.settings import PickerSettings
from ext_proc.service import PickerService
from ext_proc.transport.interface import BindError
from protos.messages import load as load_messages

log = logging.getLogger("kvpilot")

STOP_GRACE_S = 1.0
"""How long open exchanges get to be answered when the sidecar stops; with Envoy's own end the whole stays under 3 s."""
ENVOY_POLL_S = 0.5
"""How soon the end of our own Envoy is noticed; a look costs a system call."""
FIRST_ANSWERS_S = 2.0
"""How long the start waits for first answers of DNS and files: an Envoy that is up already should not be told of empty
pools, and a name server that is down must not keep the others from starting."""
ROLLOUT_POLL_S = 0.1
"""How often a rollout in stages is looked at: its waits are seconds."""


def start_errors() -> tuple[type[Exception], ...]:
    """What `Sidecar.start` raises for reasons that an operator can mend: their text is the whole message."""
    return PolicyInvalidError, PolicyUnreadableError, CertificateError, BindError, EnvoyUnavailableError


@dataclass(slots=True)
class Sidecar:
    """Mutable: everything that runs, written by `start` and `stop`."""

    options: SidecarOptions
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    rng: random.Random = field(default_factory=random.Random)
    state: PolicyState = field(default_factory=lambda: PolicyState(version=""))
    xds_address: str = ""
    ext_proc_address: str = ""
    admin_address: str = ""
    load_reports_address: str = ""
    picker: PickerService | None = None
    xds: XdsServer | None = None
    envoy: EnvoyProcess | None = None
    slow_loop: SlowLoop | None = None
    edits: Edits | None = None
    sources: FleetSources | None = None
    certificates: CertificateFiles | None = None
    tokenizers: TokenizerFiles | None = None
    drains: DrainLane | None = None
    health: HealthLane | None = None
    """None without a picker: then nothing is found out here."""
    weights: WeightsLane | None = None
    zones: ZoneLane | None = None
    notices: NoticeLane | None = None
    is_parting: bool = False
    """The end has begun: whoever sends requests here should stop that."""
    _endpoints: EndpointsLane | None = None
    _mirror: Mirror = field(default_factory=Mirror)
    _weights: Weights = field(default_factory=Weights)
    _shifts: Shifts = field(default_factory=Shifts)
    _load_stats: LoadStatsService | None = None
    _first_fleet: Fleet = field(default_factory=lambda: Fleet(pools={}))
    _lane: PickerLane | None = None
    _last_found: LastFound | None = None
    _sessions: KeptSessions | None = None
    _kept_weights: KeptWeights | None = None
    _settings: PickerSettings | None = None
    """What the picker began with."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _elsewhere: set[asyncio.Task[None]] = field(default_factory=set)
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
        source = PolicySource(self.options.policy)
        history = History(self.options.state_dir / "history" if self.options.state_dir else None)
        messages = load_messages()
        first = await asyncio.to_thread(begin, source, history, messages)
        if first.document is None:
            if first.error:
                raise PolicyUnreadableError(first.error)
            raise PolicyInvalidError(first.diagnostics)
        self.state = first.state
        _log_beginning(first, self.options.policy)
        await self._start_feeds(source, first.document.policy)
        if "picker" in self.options.roles:
            await self._start_picker(first, source.base)
        if "xds" in self.options.roles:
            await self._start_xds(first, history)
        self._start_edits(first, source, history)
        self._admin = AdminServer(self)
        self.admin_address = await self._admin.start(self.options.admin)
        assert self.edits is not None, "made above"
        self._run(source.watch(first.files, self.edits.changed, self.edits.lost), "policy watch")
        await self.edits.begin(first.files, first.newer)
        self._run(self._look_for_files(self.edits), "files that an edit waits for")
        await self._start_notices()
        if self.options.envoy is not None and "xds" in self.options.roles:
            self._start_envoy(self.options.envoy, first.document.policy)

    async def _start_feeds(self, source: PolicySource, policy: Policy) -> None:
        self.certificates = CertificateFiles(source.base, self._materials_changed)
        self.certificates.start(policy)
        resolver = SystemResolver(self.options.dns)
        self._last_found = LastFound(self.options.state_dir / "endpoints.json" if self.options.state_dir else None)
        remembered = await asyncio.to_thread(self._last_found.load)
        self.sources = FleetSources(
            source.base, self._fleet_changed, self.clock, self.rng, resolver, remembered=remembered
        )
        await self.sources.start(policy, FIRST_ANSWERS_S)
        kept = self.options.state_dir / "drains.json" if self.options.state_dir else None
        drains = await asyncio.to_thread(load_drains, kept)
        learned = self.options.state_dir / "weights.json" if self.options.state_dir else None
        self._kept_weights = KeptWeights(learned, self._weights, self.clock, self.wall_clock)
        await asyncio.to_thread(self._kept_weights.restore, policy)
        self._endpoints = EndpointsLane(
            self.sources,
            self.state,
            self._endpoints_ready,
            drains,
            self._mirror,
            weights=self._weights,
            shifts=self._shifts,
        )
        self.drains = DrainLane(drains, self._endpoints, self._newest_policy, kept, self.clock, self.wall_clock)
        before = Fleet(pools={pool.name: pool_endpoints(pool, remembered) for pool in policy.pools})
        self._first_fleet = self._endpoints.begin(before, policy.safety.max_removed_percent)
        self._run(self._last_found.follow(self._found), "last found")
        self._run(self._kept_weights.follow(), "kept weights")

    async def _start_notices(self) -> None:
        assert self.certificates is not None, "started before"
        self.notices = NoticeLane(
            policy=self._newest_policy,
            target=Targets(self.certificates).of,
            resolver=SystemResolver(self.options.dns),
            kept=self.options.state_dir / "notices.json" if self.options.state_dir else None,
            clock=self.clock,
            wall_clock=self.wall_clock,
            rng=random.Random(),
        )
        watch(self.notices, self)
        await self.notices.start()
        self._run(self.notices.follow(), "notices")

    def _newest_policy(self) -> Policy:
        assert self.edits is not None, "nobody asks before the start is over"
        return self.edits.document.policy

    def _found(self) -> Found | None:
        """What a restart should know; nothing new while it is doubtful."""
        return self.sources.found if self.sources is not None and not self.state.fleet_error else None

    async def _start_picker(self, first: Beginning, base: Path) -> None:
        assert first.document is not None and self.sources is not None and self.certificates is not None  # noqa: PT018
        settings = settings_of(first.document, self._first_fleet, self.options.region, self.options.zone)
        self._settings = settings
        state = self.options.state_dir
        self._sessions = KeptSessions(state / "sessions.json" if state else None, self.clock, self.wall_clock)
        await asyncio.to_thread(self._sessions.load)
        picker = Picker(
            settings,
            wall_offset_s=self.wall_clock() - self.clock(),
            shadow_rng=random.Random(),
            session_key=self._sessions.key,
            own_clock=self.clock,
        )
        self._sessions.restore(picker.sessions)
        pods = PodContexts(self.certificates)
        self.picker = PickerService(
            picker,
            load_messages(),
            self.clock,
            self.rng,
            pod_tls=pods.of,
            pod_token=pods.token_of,
            gpu_token=pods.gpu_token_of,
        )
        certificates = self.certificates
        self.tokenizers = TokenizerFiles(base, lambda: certificates.policy, self.picker.set_models)
        await self.tokenizers.start()
        credentials = self._credentials(first.document.policy, EXT_PROC)
        (self.ext_proc_address,) = await self.picker.start([self.options.ext_proc], credentials)
        if self.options.load_reports:
            credentials = self._credentials(first.document.policy, LOAD_REPORTS)
            (self.load_reports_address,) = await self.picker.intake.listen_for_reports(
                [self.options.load_reports], credentials
            )
        self._run(self._sessions.follow(), "sessions")

    def _credentials(self, policy: Policy, port: str) -> grpc.ServerCredentials | None:
        assert self.certificates is not None, "started before the ports"
        tls = tls_of(policy, port)
        return server_credentials(tls, self.certificates, lambda newest: tls_of(newest, port)) if tls else None

    async def _start_xds(self, first: Beginning, history: History) -> None:
        assert first.document is not None and self.sources is not None and self.certificates is not None  # noqa: PT018
        services = Services(ext_proc=parse_address(self.ext_proc_address or self.options.ext_proc))
        materials = self.certificates.materials
        loop = SlowLoop(load_messages(), services, first.document, self._first_fleet, materials)
        self.slow_loop = loop
        restore(loop.quarantine, history.rejections)
        if first.accepted is not None:
            found = self.sources.fleet_for(first.accepted.policy)
            loop.restore(loop.prepare(first.accepted, self._endpoints.shown(found) if self._endpoints else found)())
        self._load_stats = LoadStatsService(load_messages(), self.clock)
        self.xds = XdsServer(
            load_messages(),
            loop.offers.snapshot_for,
            self.clock,
            left_out=loop.offers.left_out_for,
            places=loop.versions.places,
            observer=loop.answers,
            rng=self.rng,
            identifier=loop.offers.identifier_for,
            objection=loop.offers.objection,
            load_stats=self._load_stats,
        )
        loop.offers.remember = self.xds.remember
        credentials = self._credentials(first.document.policy, XDS)
        (self.xds_address,) = await self.xds.start([self.options.xds], credentials)

    def _start_edits(self, first: Beginning, source: PolicySource, history: History) -> None:
        assert first.document is not None and self.sources is not None and self.certificates is not None  # noqa: PT018
        assert self._endpoints is not None, "made with the sources"
        if self.picker is not None and self._settings is not None:
            streams = self.slow_loop.streams if self.slow_loop else None
            self._lane = PickerLane(self.picker, self._settings, self.clock, streams)
        parts = Parts(
            source=source,
            sources=self.sources,
            certificates=self.certificates,
            history=history,
            messages=load_messages(),
            clock=self.clock,
            wall_clock=self.wall_clock,
            publish=self.xds.publish if self.xds else _nobody,
            region=self.options.region,
            zone=self.options.zone,
            opened=first.document.policy.control_plane,
            ports=frozenset(self._ports()),
            slow_loop=self.slow_loop,
            picker=self._lane,
        )
        self.edits = Edits(parts, first.document, self.state, self._endpoints)
        if self.slow_loop is not None:
            self.slow_loop.changed = self.edits.moved
            self.slow_loop.answers.accepted = self.edits.accepted
            self.slow_loop.versions.delegate = self._do_elsewhere
            self._run(self._roll_out(self.slow_loop), "rollout")
        self._endpoints.attach(self.slow_loop, self._first_fleet)
        assert self.drains is not None, "made with the sources"
        self.drains.attach(self.picker, self._lane, self.slow_loop)
        self._run(self.drains.follow(), "drains")
        if self.picker is not None:
            told = self._endpoints if self.slow_loop is not None else None
            self.health = HealthLane(self._mirror, self.picker.survey, told, self._newest_policy, self.clock)
            self._run(self.health.follow(), "health")
        self.weights = WeightsLane(
            self._weights, self._endpoints, self._newest_policy, self.clock, self.picker, self._load_stats
        )
        self.weights.attach()
        self._run(self.weights.follow(), "weights")
        self.zones = ZoneLane(
            self._shifts,
            self._endpoints,
            self._newest_policy,
            self.clock,
            Locality(self.options.region, self.options.zone),
            None if self.picker is None else self.picker.survey,
            self.slow_loop,
        )
        self._run(self.zones.follow(), "zones")

    def _ports(self) -> Iterator[str]:
        """Those that this process has."""
        yield from (PORT_OF_ROLE[role] for role in self.options.roles)
        if self.load_reports_address:
            yield LOAD_REPORTS

    def _run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    async def _look_for_files(self, edits: Edits) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await edits.look_for_files()

    async def _roll_out(self, loop: SlowLoop) -> None:
        while True:
            await asyncio.sleep(ROLLOUT_POLL_S)
            loop.tick(self.clock())

    def _do_elsewhere(self, job: Callable[[], Callable[[], None]]) -> None:
        async def done() -> None:
            install = await asyncio.to_thread(job)
            install()
            assert self.edits is not None, "there is no delegate before"
            self.edits.moved()

        task = asyncio.create_task(done(), name="build for a new kind of Envoy")
        self._elsewhere.add(task)
        task.add_done_callback(self._elsewhere.discard)

    def _fleet_changed(self, pools: frozenset[str]) -> None:
        if self._endpoints is not None:  # else what was found is taken at the start
            self._endpoints.changed(pools)

    def _endpoints_ready(self, pools: frozenset[str]) -> None:
        if self.edits is not None:
            self.edits.endpoints_changed(pools)

    def _materials_changed(self, materials: Materials) -> None:
        if self.slow_loop is not None and self.edits is not None:
            self._do_elsewhere(self.slow_loop.updates.prepare_materials(materials))

    def _start_envoy(self, own: EnvoyOptions, first: Policy) -> None:
        """`first` is the policy that it will have first."""
        assert self.edits is not None, "made before"
        xds = self.xds_address or self.options.xds
        self.envoy = envoy_of(self.options, own, xds, self.edits.document.policy, self.certificates)
        start_envoy(self.envoy, own, listens_of(self.options, own, first))

    async def envoy_ended(self) -> None:
        """Returns when the Envoy that we started has ended by itself; never without one."""
        while self.envoy is None or self.envoy.is_running():
            await asyncio.sleep(ENVOY_POLL_S)

    async def part(self, limit_s: float) -> None:
        """Before a stop: is not ready any more, and lets our own Envoy serve to the end, for so long at most.

        Without an Envoy of ours nothing needs that: requests go on without us.
        """
        self.is_parting = True
        if limit_s > 0 and self.envoy is not None and self.envoy.is_running():
            log.info("no longer ready; requests may end for %g s", limit_s)
            if not await part(self.envoy, limit_s, self.clock):
                log.warning("requests still run, and the time is over")

    async def stop(self) -> None:
        """Stops everything that runs; harmless when called twice or after half a start.

        The picker goes first (it says NOT_SERVING, answers who waits and closes who is answered), then all the rest at
        once: each waits for its own peers, and one after the other they could exceed the 3 s that a stop may take.
        """
        tasks = [*self._tasks, *self._elsewhere]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._last_found is not None:
            self._last_found.save(self._found())
        if self._kept_weights is not None:
            self._kept_weights.save()
        feeds = (self.sources, self.certificates, self.tokenizers)
        for lane in (*feeds, self._endpoints, self._lane, self.edits, self.drains, self.notices):
            if lane is not None:
                await lane.stop()
        if self.picker is not None:
            await self.picker.stop(STOP_GRACE_S)
        if self._sessions is not None:
            await self._sessions.stop()
        running = (self.envoy, self.xds, self._admin)
        await asyncio.gather(*(part.stop() for part in running if part is not None))


def _nobody() -> None:
    """Without a control plane nobody is told."""


def _log_beginning(first: Beginning, policy: Path) -> None:
    """A start with the file as it should be says nothing but its warnings; one with an older policy says why."""
    for diagnostic in first.state.diagnostics:
        log.log(logging.WARNING if diagnostic.severity == "warning" else logging.ERROR, "%s", format_text(diagnostic))
    if first.state.source == FROM_LAST_GOOD:
        why = first.state.error or "it has errors"
        log.error("%s is not served: %s; serving the last good policy %s", policy, why, first.state.version)

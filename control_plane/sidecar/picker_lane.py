"""The picker's side of every change: what it may name, and from when on.

Mutable state is in `Handover` and `KnownRoutes`; here are the task that looks whether Envoys have answered, and the
numbers of what was published.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

from control_plane.compile import cluster_name
from control_plane.fleet.model import Fleet
from control_plane.policy import Document
from control_plane.sidecar.handover import Handover
from control_plane.sidecar.known_routes import KnownRoutes
from control_plane.sidecar.picker_settings import picker_settings
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.xds.kinds import ENDPOINTS, ROUTES
from ext_proc.core.settings import PickerSettings
from ext_proc.service import PickerService

SYNC_POLL_S = 0.02
"""How soon an Envoy's ACK admits what it was about; a look costs some microseconds per pool that waits."""

MAX_REMEMBERED = 4_096
"""Assignments whose number is known: those of the pools that wait, for seconds."""


class PickerLane:
    """Mutable: the handover, the known routes, the numbers of published assignments, the task that waits; on one event
    loop."""

    def __init__(
        self,
        picker: PickerService,
        settings: PickerSettings,
        clock: Callable[[], float],
        streams: Streams | None,
    ) -> None:
        """`streams` are those of the Envoys that are served from here; None: somebody else serves them, and nobody is
        waited for."""
        self._picker = picker
        self._clock = clock
        self._streams = streams
        self._handover = Handover(settings)
        self._routes = KnownRoutes(settings)
        self._numbers: dict[tuple[str, str], int] = {}
        self._waiting: asyncio.Task[None] | None = None

    @property
    def wanted(self) -> PickerSettings:
        """The settings that are to be in the end."""
        return self._handover.wanted

    def want(self, settings: PickerSettings) -> None:
        """Other settings: removals count now, additions when Envoys have them. To be called right before `publish`."""
        if self._streams is None:
            self._apply(self._handover.at_once(settings))
        else:
            now = self._clock()
            self._routes.want(settings, now)
            self._apply(self._handover.want(settings, now))

    def withhold(self, pool: str, addresses: Collection[str]) -> None:
        """These are named no more from this moment on; `want` comes when it is known what else changes."""
        self._apply(self._handover.withhold(pool, addresses))

    def published(self) -> None:
        """What was wanted has been pushed."""
        if self._streams is None or not self._is_waiting:
            return
        for stream in self._streams:
            self._remember(stream)
        while len(self._numbers) > MAX_REMEMBERED:
            del self._numbers[next(iter(self._numbers))]
        if self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._admit(), name="admit additions")

    async def stop(self) -> None:
        """Ends the waiting."""
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)

    def _remember(self, stream: LiveStream) -> None:
        resources = stream.offered.resources(ENDPOINTS) if stream.offered else {}
        for pool in self._handover.waiting_pools:
            resource = resources.get(cluster_name(pool))
            if resource is not None:
                self._numbers.setdefault((resource.name, resource.version), self._handover.number)

    async def _admit(self) -> None:
        while self._is_waiting:
            await asyncio.sleep(SYNC_POLL_S)
            now, before = self._clock(), self._handover.current
            settings = self._handover.advance(self._is_taken, now)
            if self._routes.advance(self._are_routes_taken, now) or settings is not before:
                self._apply(settings)

    @property
    def _is_waiting(self) -> bool:
        return self._handover.is_waiting or self._routes.is_waiting

    def _are_routes_taken(self) -> bool:
        version = self._handover.wanted.version
        return all(
            stream.version == version and stream.has_all() and not stream.refused.get(ROUTES)
            for stream in self._streams or ()
        )

    def _is_taken(self, pool: str, number: int) -> bool:
        return all(self._has_answered(stream, cluster_name(pool), number) for stream in self._streams or ())

    def _has_answered(self, stream: LiveStream, name: str, number: int) -> bool:
        wanted = stream.offered.resources(ENDPOINTS).get(name) if stream.offered else None
        held = stream.held.get(ENDPOINTS, {})
        refused = stream.refused.get(ENDPOINTS, {})
        if wanted is None or name in refused or not held:
            return True  # it has no such pool, has said no, or is only just starting
        version = held.get(name, "")
        return version == wanted.version or self._numbers.get((name, version), 0) >= number

    def _apply(self, settings: PickerSettings) -> None:
        led_to = None if self._streams is None else self._routes.known
        self._picker.apply_settings(replace(settings, led_to=led_to))


def settings_of(document: Document, fleet: Fleet, region: str, zone: str) -> PickerSettings:
    """The picker's settings for one policy and fleet, for an Envoy that stands there."""
    return picker_settings(document.policy, fleet, document.version, region, zone)


def with_fleet(
    settings: PickerSettings, document: Document, fleet: Fleet, pools: frozenset[str], region: str, zone: str
) -> PickerSettings:
    """`settings` with the endpoints of some pools made anew: a change of one endpoint costs one pool."""
    policy = document.policy
    some = replace(policy, pools=tuple(pool for pool in policy.pools if pool.name in pools))
    made = {pool.name: pool for pool in picker_settings(some, fleet, document.version, region, zone).pools}
    return replace(settings, pools=tuple(made.get(pool.name, pool) for pool in settings.pools))

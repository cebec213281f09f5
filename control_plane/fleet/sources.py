"""All sources of a policy, followed; and the fleet that comes of them.

    sources = FleetSources(policy_file.parent, changed, time.monotonic, random.Random())
    await sources.start(policy, wait_s=5.0)          # at the start
    await sources.prepare(new_policy, wait_s=2.0)    # before an edit: its new sources get a moment to answer
    sources.apply(new_policy)                        # the edit itself; unchanged sources keep what they found
    sources.fleet                                    # what there is now

The rules, for every kind of source: a failure keeps the last endpoints; changes are gathered for a moment
(`debounce.py`); a source that two pools name is asked once; a pool that an edit moves to sources which have not
answered yet keeps the endpoints it had, rather than being empty. What a source itself must do is in `interface.py`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.fleet.debounce import Debounce
from control_plane.fleet.dns import NameSource, ServiceSource
from control_plane.fleet.files import FileSource
from control_plane.fleet.interface import Sleep, Source
from control_plane.fleet.merge import Found, SourceKey, is_waiting, pool_endpoints, source_key, sources_of
from control_plane.fleet.model import Endpoint, Fleet
from control_plane.fleet.resolver import Resolver, SystemResolver
from control_plane.fleet.targets import Target
from control_plane.policy.discovery import Discovered, DnsEndpoints, SrvEndpoints
from control_plane.policy.model import Policy, Pool

log = logging.getLogger("kvpilot")

RESTART_S = 5.0
"""Until a source that broke (an error of ours, not of what it asks) is followed again."""

Clock = Callable[[], float]


@dataclass(slots=True)
class _Followed:
    """One source and what it told. Mutable: all but the first two; written by the source through `found` and `failed`,
    and `task` by FleetSources."""

    key: SourceKey
    clock: Clock
    changed: Callable[[SourceKey], None]
    targets: tuple[Target, ...] | None = None
    """None until something was found."""
    is_remembered: bool = False
    """Whether it was found by an earlier process, and has not been told since."""
    found_at: float = 0.0
    error: str = ""
    is_failing: bool = False
    has_told: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def found(self, targets: tuple[Target, ...], note: str = "") -> None:
        """`interface.Report.found`."""
        if self.is_failing:
            log.info("discovery: %s %s answers again", *self.key[:2])
        is_new = targets is not self.targets and targets != self.targets
        self.targets, self.found_at, self.error, self.is_failing = targets, self.clock(), note, False
        self.is_remembered = False
        self.has_told.set()
        if is_new:
            self.changed(self.key)

    def failed(self, error: str) -> None:
        """`interface.Report.failed`."""
        if not self.is_failing or error != self.error:
            kept = "no endpoints yet" if self.targets is None else f"keeping {len(self.targets)} endpoints"
            log.warning("discovery: %s %s: %s (%s)", *self.key[:2], error, kept)
        self.error, self.is_failing = error, True
        self.has_told.set()

    @property
    def state(self) -> str:
        """`pending`: has not told anything. `fresh`. `stale`: failing, the last endpoints are in use. `failed`: failing
        since the start, there is none."""
        if self.is_failing:
            return "failed" if self.targets is None else "stale"
        return "pending" if self.targets is None or self.is_remembered else "fresh"


class FleetSources:
    """Mutable: the policy (`apply`), what is followed (`apply`, `prepare`, `stop`), the pools' endpoints (`apply` and
    the sources' reports), what is still to be told (the reports and `_tell`). All on one event loop."""

    def __init__(
        self,
        base: Path,
        changed: Callable[[frozenset[str]], None],
        clock: Clock,
        rng: random.Random,
        resolver: Resolver | None = None,
        sleep: Sleep = asyncio.sleep,
        remembered: Found | None = None,
    ) -> None:
        """`base` is where relative paths start; `changed` is told, gathered, the pools whose endpoints are others now.

        `sleep` waits for a number of seconds of `clock`. What is `remembered` of a source counts until it has told.
        """
        self._base = base
        self._changed = changed
        self._clock = clock
        self._rng = rng
        self._resolver = resolver or SystemResolver()
        self._sleep = sleep
        self._remembered = dict(remembered or {})
        self._policy: Policy | None = None
        self._followed: dict[SourceKey, _Followed] = {}
        self._pools: dict[str, tuple[Endpoint, ...]] = {}
        self._debounce = Debounce()
        self._telling: asyncio.Task[None] | None = None
        self._ended: set[asyncio.Task[None]] = set()

    @property
    def fleet(self) -> Fleet:
        """What there is now, under the applied policy."""
        return Fleet(pools=dict(self._pools))

    @property
    def found(self) -> Found:
        """What each source found last."""
        return {key: source.targets for key, source in self._followed.items() if source.targets is not None}

    async def start(self, policy: Policy, wait_s: float) -> None:
        """Follows the sources of the first policy; returns when each has told something, or after `wait_s`."""
        await self.prepare(policy, wait_s)
        self.apply(policy)

    async def prepare(self, policy: Policy, wait_s: float) -> None:
        """Follows what `policy` names in addition, and waits `wait_s` at most for first answers.

        Nothing changes for the applied policy. What is followed for a policy that is then not applied ends with the
        next `apply`.
        """
        wanted = sources_of(policy)
        self._follow(wanted)
        waiting = [self._followed[key] for key in wanted if not self._followed[key].has_told.is_set()]
        if waiting:
            tasks = [asyncio.ensure_future(source.has_told.wait()) for source in waiting]
            await asyncio.wait(tasks, timeout=wait_s)
            await _cancelled(tasks)

    def fleet_for(self, policy: Policy) -> Fleet:
        """The fleet as it would be if `policy` were applied now."""
        return Fleet(pools={pool.name: self._endpoints(pool) for pool in policy.pools})

    def apply(self, policy: Policy) -> None:
        """Makes `policy` the one whose fleet is served. Does not tell `changed`: who applies knows."""
        self._policy = policy
        wanted = sources_of(policy)
        self._follow(wanted)
        for key in [key for key in self._followed if key not in wanted]:
            self._end(self._followed.pop(key))
        self._pools = {pool.name: self._endpoints(pool) for pool in policy.pools}

    def status(self) -> list[dict[str, object]]:
        """One entry for each source of each pool, in the order of the policy; `age_s` is since its last good answer."""
        policy = self._policy
        return [self._entry(pool, item) for pool in (policy.pools if policy else ()) for item in pool.discovered]

    async def stop(self) -> None:
        """Ends everything; harmless when called twice."""
        tasks = [source.task for source in self._followed.values() if source.task is not None]
        self._followed.clear()
        telling = [self._telling] if self._telling is not None else []
        await _cancelled([*tasks, *telling, *self._ended])

    def _follow(self, wanted: Mapping[SourceKey, Discovered]) -> None:
        for key, item in wanted.items():
            if key not in self._followed:
                followed = _Followed(key, self._clock, self._source_changed)
                followed.targets = self._remembered.pop(key, None)
                followed.is_remembered = followed.targets is not None
                followed.task = asyncio.create_task(
                    self._run(self._source(item), followed), name=f"discovery {key[0]} {key[1]}"
                )
                self._followed[key] = followed

    def _source(self, item: Discovered) -> Source:
        if isinstance(item, DnsEndpoints):
            return NameSource(item, self._resolver, self._rng, self._sleep)
        if isinstance(item, SrvEndpoints):
            return ServiceSource(item, self._resolver, self._rng, self._sleep)
        return FileSource(self._base / item.file, item.file, item.allow_empty, self._sleep)

    async def _run(self, source: Source, followed: _Followed) -> None:
        while True:
            try:
                await source.follow(followed)
            except Exception as error:  # one broken source must not end the others, nor itself for ever
                log.exception("discovery: %s %s broke", *followed.key[:2])
                followed.failed(f"{type(error).__name__}: {error}")
            await self._sleep(RESTART_S)

    def _end(self, followed: _Followed) -> None:
        if followed.task is not None:
            followed.task.cancel()
            self._ended.add(followed.task)
            followed.task.add_done_callback(self._ended.discard)

    def _endpoints(self, pool: Pool) -> tuple[Endpoint, ...]:
        """The pool's endpoints; those it had, where it would have none only because a source has not found any yet."""
        found = self.found
        endpoints = pool_endpoints(pool, found)
        if not endpoints and is_waiting(pool, found):
            return self._pools.get(pool.name, ())
        return endpoints

    def _source_changed(self, key: SourceKey) -> None:
        if self._policy is None:
            return
        touched = []
        for pool in self._pools_with(key, self._policy.pools):
            endpoints = self._endpoints(pool)
            if endpoints != self._pools.get(pool.name):
                self._pools[pool.name] = endpoints
                touched.append(pool.name)
        if touched:
            self._debounce.touch(frozenset(touched), self._clock())
            if self._telling is None or self._telling.done():
                self._telling = asyncio.create_task(self._tell(), name="discovery changes")

    def _pools_with(self, key: SourceKey, pools: Iterable[Pool]) -> list[Pool]:
        return [pool for pool in pools if any(source_key(item) == key for item in pool.discovered)]

    async def _tell(self) -> None:
        while (due := self._debounce.due()) is not None:
            now = self._clock()
            if now < due:
                await self._sleep(due - now)
                continue
            try:
                self._changed(self._debounce.take())
            except Exception:  # the next change must still be told
                log.exception("discovery: a change of endpoints could not be applied")

    def _entry(self, pool: Pool, item: Discovered) -> dict[str, object]:
        source = self._followed.get(source_key(item))
        targets = source.targets if source else None
        return {
            "pool": pool.name,
            "kind": item.KIND,
            "target": item.target,
            "state": source.state if source else "pending",
            "age_s": (
                None
                if source is None or targets is None or source.is_remembered
                else round(max(0.0, self._clock() - source.found_at), 3)
            ),
            "error": source.error if source else "",
            "endpoints": len(targets or ()),
        }


async def _cancelled(tasks: Iterable[asyncio.Future[object] | asyncio.Task[None] | asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

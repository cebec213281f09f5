"""Drains on a running sidecar: who is told of them, when, and what is kept for a restart.

A drain holds from the event that brought it: the picker lets go in the same turn of the loop, whatever the size of the
fleet; Envoys are told next; and it is written to the disk before whoever asked has an answer. What follows from time
passing (nothing runs there any more, the deadline) is looked for while there is anybody to look for.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from control_plane.compile import cluster_name
from control_plane.fleet.drains import (
    Drain,
    DrainRefusedError,
    Drains,
    Key,
    as_json,
    elsewhere,
    emptied,
    restored,
    targets,
)
from control_plane.fleet.model import Health
from control_plane.policy.model import Policy
from control_plane.sidecar import kept_files
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.sidecar.picker_lane import PickerLane
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.xds.kinds import ENDPOINTS
from ext_proc.core.announcements import Announced
from ext_proc.service import PickerService

log = logging.getLogger("kvpilot")

LOOK_S = 0.1
"""How soon it is seen that nothing runs any more; a look costs some microseconds for each endpoint that drains."""

REST_S = 5.0
"""The same when nobody is left to wait for: only forgetting is due."""

UNHEARD_S = 5.0
"""After a restart the picker's own account is empty though Envoy's streams go on: for so long the engine's own number
is waited for, and Envoys. Scrapes come every second from an engine that is idle, and Envoys within one."""

MAX_NAMED = 8
"""Endpoints that a warning names."""

ONE_REQUEST = 0.5
"""Numbers of others' requests fade when they are not told again; from here on it is one."""


def load_drains(path: Path | None) -> Drains:
    """What an earlier process kept; nothing where that is damaged. Blocks."""
    try:
        return restored(kept_files.read(path) if path is not None else None)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        log.warning("%s: not as expected (%s)", path, error)
        return Drains()


class DrainLane:
    """Mutable: the drains, and what of them is on the disk; on one event loop."""

    def __init__(
        self,
        drains: Drains,
        endpoints: EndpointsLane,
        policy: Callable[[], Policy],
        path: Path | None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        """`drains` are those that `endpoints` shows; None as `path`: nothing outlives a restart."""
        self._drains = drains
        self._endpoints = endpoints
        self._policy = policy
        self._file = None if path is None else kept_files.KeptFile(path, "drains")
        self._clock = clock
        self._wall_clock = wall_clock
        self._began = clock()
        self._old = frozenset(drain.key for drain in drains)
        self._writing: asyncio.Task[None] | None = None
        self._kept = as_json(drains)
        self._wake = asyncio.Event()
        self._picker: PickerService | None = None
        self._lane: PickerLane | None = None
        self._slow_loop: SlowLoop | None = None

    def attach(self, picker: PickerService | None, lane: PickerLane | None, slow_loop: SlowLoop | None) -> None:
        """Who is to be told, where they are of this process."""
        self._picker, self._lane, self._slow_loop = picker, lane, slow_loop
        if picker is not None:
            picker.announced = self.announced
            for announced in picker.announcements:
                self.announced(announced)

    @property
    def error(self) -> str:
        """Why drains are not kept for a restart; empty if they are."""
        return "" if self._file is None else self._file.error

    async def drain(
        self, words: Sequence[str], timeout_s: float | None = None, *, force: bool = False
    ) -> list[dict[str, Any]]:
        """Begins to drain what `POOL/ADDRESS` or `POOL` mean; gives rows as `rows` does.

        Without `timeout_s` it lasts as long as the pool's policy says. Raises DrainRefusedError for words that mean
        nobody, and, unless forced, where a pool would have nobody left.
        """
        fleet = self._endpoints.fleet
        keys = targets(words, self._listed(), "endpoint that is served")
        empty = () if force else emptied(fleet, keys, self._is_serving)
        if empty:
            raise DrainRefusedError(
                f"nobody would be left to serve {' and '.join(empty)}; `--force` drains them all the same"
            )
        now = self._wall_clock()
        changed: set[str] = set()
        for pool in dict.fromkeys(pool for pool, _ in keys):
            own = [key for key in keys if key[0] == pool]
            limit_s = self._timeout_s(pool) if timeout_s is None else timeout_s
            changed |= self._drains.begin(own, now, now + limit_s)
            if self._lane is not None:
                self._lane.withhold(pool, [address for _, address in own])
        log.info("draining %s", ", ".join("/".join(key) for key in keys))
        self._restated(frozenset(changed))
        await self._keep()
        return self.rows(keys)

    def warning(self, keys: Sequence[Key]) -> str:
        """What whoever drains `keys` should know; empty for nothing."""
        unkept = f"not kept for a restart of kvpilot: {self.error}" if self.error else ""
        others = elsewhere(self._drains, self._listed(), keys)
        shared = f"still served as {', '.join('/'.join(key) for key in others[:MAX_NAMED])}" if others else ""
        more = f" and {len(others) - MAX_NAMED} more" if len(others) > MAX_NAMED else ""
        return "; ".join(filter(None, (shared + more, unkept)))

    async def undrain(self, words: Sequence[str]) -> list[Key]:
        """Ends the drains that `POOL/ADDRESS` or `POOL` mean; gives whose. Raises DrainRefusedError."""
        keys = targets(words, [drain.key for drain in self._drains], "endpoint that drains")
        log.info("no longer draining %s", ", ".join("/".join(key) for key in keys))
        self._restated(self._drains.end(keys))
        await self._keep()
        return list(keys)

    def announced(self, announced: Announced) -> None:
        """An engine said of itself that it wants nothing new, or that it does again."""
        if not self._drains.announce(announced.address, announced.reason):
            return
        log.info("%s says: %s", announced.address, announced.reason or "requests are welcome again")
        pools = frozenset(pool for pool, address in self._listed() if address == announced.address)
        for pool in pools if announced.reason and self._lane is not None else ():
            assert self._lane is not None, "asked above"
            self._lane.withhold(pool, [announced.address])
        self._restated(pools)

    def rows(self, keys: Iterable[Key] | None = None) -> list[dict[str, Any]]:
        """JSON values about operators' drains, of all endpoints or of these."""
        wanted = None if keys is None else frozenset(keys)
        return [self._row(drain) for drain in self._drains if wanted is None or drain.key in wanted]

    def status(self) -> list[dict[str, Any]]:
        """The same, and below them the pods that drain by their own word."""
        told = self._drains.announced
        listed = self._listed() if told else ()
        own = [
            {"pool": pool, "address": address, "state": "draining", "by": "pod", "why": told[address]}
            for pool, address in listed
            if address in told and self._drains.get((pool, address)) is None
        ]
        return [*self.rows(), *own]

    async def follow(self) -> None:
        """Looks what time has brought, until cancelled."""
        while True:
            is_waiting = any(drain.stage is not Health.DRAINED for drain in self._drains)
            try:
                async with asyncio.timeout(LOOK_S if is_waiting else REST_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if len(self._drains) or self._drains.announced:
                try:
                    await self._look()
                except Exception:  # the next look must still come
                    log.exception("drains could not be looked after")

    async def _look(self) -> None:
        before = as_json(self._drains)
        changed = self._drains.look(self._wall_clock(), self._listed(), self._running, self._is_confirmed)
        if changed:
            self._restated(changed)
        if before != as_json(self._drains):
            await self._keep()

    def _restated(self, pools: frozenset[str]) -> None:
        self._wake.set()
        self._endpoints.restated(pools)

    def _listed(self) -> list[Key]:
        return [(pool, each.address) for pool, has in self._endpoints.fleet.pools.items() for each in has]

    def _timeout_s(self, pool: str) -> float:
        return next((each.drain_timeout_s for each in self._policy().pools if each.name == pool), 0.0)

    def _is_serving(self, key: Key) -> bool:
        """Whether the picker would name it; without a picker nobody knows better than discovery."""
        return self._picker is None or self._picker.survey.is_sound(key[1], self._clock())

    def _running(self, key: Key) -> int | None:
        """Requests that run at an endpoint, as far as that is known."""
        if self._picker is None:
            return None
        load = self._picker.survey.load(key[1], self._clock())
        if load is None:
            return 0
        own, foreign, scrape_age_s = load
        if key in self._old and self._is_young and scrape_age_s is None:
            return None
        return own + (max(1, round(foreign)) if foreign >= ONE_REQUEST else 0)

    def _row(self, drain: Drain) -> dict[str, Any]:
        return {
            "pool": drain.pool,
            "address": drain.address,
            "state": drain.stage.value,
            "by": "operator",
            "running": self._running(drain.key),
            "since": drain.since,
            "deadline": drain.deadline,
            "is_over": self._wall_clock() >= drain.deadline,
        }

    def _is_confirmed(self, key: Key) -> bool:
        """Whether every Envoy has been told what the pool has now, and has answered."""
        if self._slow_loop is None:
            return True
        streams = self._slow_loop.streams
        if key in self._old and not len(streams) and self._is_young:
            return False  # Envoys are about to come back
        return not self._endpoints.is_making and streams.have_taken(ENDPOINTS, cluster_name(key[0]))

    @property
    def _is_young(self) -> bool:
        return self._clock() - self._began < UNHEARD_S

    async def stop(self) -> None:
        """Ends when what is to be kept is kept."""
        await self._keep()

    async def _keep(self) -> None:
        """Returns when everything of now is on the disk, or the disk has refused it."""
        if self._file is None:
            return
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(self._file), name="keep drains")
        # Whoever is cancelled meanwhile must not leave a half-written file to the next writer.
        await asyncio.shield(self._writing)

    async def _write(self, file: kept_files.KeptFile) -> None:
        """Writes until there is nothing new.

        What an earlier process kept is nothing new: a start that fails must not touch the file of another process.
        """
        tried = self._kept
        while (now := as_json(self._drains)) != tried:
            if await asyncio.to_thread(file.write, kept_files.encoded(now)):
                self._kept = now
            tried = now

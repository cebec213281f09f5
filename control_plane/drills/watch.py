"""Looks at the picker while a drill runs, as an operator would: its decisions, and what it thinks of the pods."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp

from control_plane.drills.facts import Decided, State
from control_plane.drills.ground import Ground

POLL_S = 0.1
"""Between two looks at the pods' states; what is seen is up to so much older."""

DECISIONS_POLL_S = 0.4
"""The same for decisions, of which there are many: to list them costs the picker some milliseconds."""

ASK = aiohttp.ClientTimeout(total=1.0)
"""A picker that is frozen answers nothing, and the next look must not wait for it."""

KEPT_S = 6.0
"""Decisions of the last seconds are looked at again, until what came of them is known."""

LEAST = 32
MOST = 2_048
"""Decisions at one look: what the picker keeps."""

_FULL = 503

_UNREADABLE = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError)


class Watch:
    """Mutable: what was seen; the loop is the only writer."""

    def __init__(self, session: aiohttp.ClientSession, ground: Ground, rate: int) -> None:
        """`rate` is that of the load: how many decisions there are to look at."""
        self._session, self._ground = session, ground
        self._limit = min(MOST, max(LEAST, round(rate * KEPT_S)))
        self._found: dict[str, dict[str, Any]] = {}
        self._known: dict[str, float] = {}
        self._health: dict[str, str] = {}
        self.states: list[State] = []
        self._earlier: frozenset[str] | None = None
        self._notices: dict[str, str] = {}

    async def look(self, begin: float, is_cut: Callable[[str], bool]) -> None:
        """Looks until it is cancelled. `is_cut` says of a decision whether its client saw the answer break off."""

        async def states() -> None:
            while True:
                await self.look_at_states(begin)
                await asyncio.sleep(POLL_S)

        async def decisions() -> None:
            while True:
                await self.look_at_decisions(begin, is_cut)
                await asyncio.sleep(DECISIONS_POLL_S)

        await asyncio.gather(states(), decisions())

    async def look_at_decisions(self, begin: float, is_cut: Callable[[str], bool]) -> None:
        """One look at the latest decisions; a picker that does not answer is one that says nothing."""
        with suppress(*_UNREADABLE):
            decisions = await self._get(f"/decisions?limit={self._limit}")
            now = time.monotonic() - begin
            for one in decisions["decisions"]:
                self._found[one["id"]] = {key: one[key] for key in ("id", "time", "endpoints", "outcome")}
                if one["id"] not in self._known and failed(one, is_cut(one["id"])):
                    self._known[one["id"]] = now

    async def look_at_states(self, begin: float) -> None:
        """One look at what it thinks of the pods, and tells operators."""
        with suppress(*_UNREADABLE):
            status = await self._get("/status")
            now = time.monotonic() - begin
            for pool in status["pools"].values():
                for endpoint in pool["endpoints"]:
                    self._note(now, endpoint["address"], str(endpoint["health"]))
            self._hear(status["notices"].get("open", []))

    def _hear(self, notices: list[dict[str, Any]]) -> None:
        if self._earlier is None:
            self._earlier = frozenset(str(one["id"]) for one in notices)
        self._notices.update({str(one["id"]): str(one["kind"]) for one in notices if one["id"] not in self._earlier})

    @property
    def notices(self) -> Counter[str] | None:
        """How many troubles were told of since the first look, by kind; None without any look."""
        return None if self._earlier is None else Counter(self._notices.values())

    def _note(self, now: float, address: str, health: str) -> None:
        pod = self._ground.declared(address)
        if pod and self._health.get(pod) != health:
            self._health[pod] = health
            self.states.append(State(at_s=now, pod=pod, health=health))

    async def _get(self, path: str) -> Any:
        async with self._session.get(f"{self._ground.admin}{path}", timeout=ASK) as answer:
            answer.raise_for_status()
            return await answer.json()

    def served(self, decision: str) -> str:
        """Who served the request of this decision, as far as the picker knows; not every listener tells its clients."""
        found = self._found.get(decision)
        return self._ground.declared(found["outcome"]["served"] or "") if found else ""

    def decided(self, begin_wall: float, is_cut: Callable[[str], bool]) -> list[Decided]:
        """All decisions that were seen; `begin_wall` is the Unix time of the drill's begin."""
        declared = self._ground.declared
        return [
            Decided(
                at_s=float(one["time"]) - begin_wall,
                named=tuple(declared(address) for address in one["endpoints"]),
                failed=tuple(declared(address) for address in failed(one, is_cut(one["id"]))),
                known_s=self._known.get(one["id"]),
            )
            for one in self._found.values()
        ]


def failed(decision: dict[str, Any], is_cut: bool) -> list[str]:
    """Which of the named endpoints are known to have failed this request: those before the one that served it, and
    that one, too, when the answer is an error or broke off there. 503 is none: an engine that is full says that."""
    outcome = decision["outcome"]
    named: list[str] = decision["endpoints"]
    served, status = outcome["served"], outcome["status"]
    is_error = status is not None and status >= 500 and status != _FULL
    last = [served] if served and (is_error or (is_cut and status is not None)) else []
    before = named[: named.index(served)] if served in named else named
    return [*before[: max(0, int(outcome["attempts"]) - 1)], *last]

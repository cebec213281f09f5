"""Engines with places for LoRA adapters, in virtual time, around the real picker: what loading an adapter costs.

Each engine computes one prompt after the other, and answers side by side. An adapter that is not loaded is loaded
first, which holds up the engine, in the place of the one that was used longest ago; while all places have adapters
with requests, the request waits, and those behind it with it, as in vLLM's first-come-first-served line.
"""

import random
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from ext_proc.core.decision import Named
from ext_proc.core.events import FirstToken, RequestEnded, Scraped
from ext_proc.core.picker import Picker, Wanted
from ext_proc.core.settings import ChargeSettings, EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.view import Request

SCRAPE_S = 0.2
TOKEN_S = 50e-6
ANSWER_S = 2.0


@dataclass
class _Job:
    number: int
    decision: str
    adapter: str
    tokens: int
    at: float


@dataclass
class _Engine:
    """Mutable: everything."""

    places: int
    load_s: float
    line: "deque[_Job]" = field(default_factory=deque)
    loaded: "OrderedDict[str, int]" = field(default_factory=OrderedDict)  # adapter → its requests
    is_busy: bool = False
    loads: int = 0

    def room(self, adapter: str) -> bool:
        """Whether the adapter has or gets a place; the place is then taken."""
        if adapter not in self.loaded:
            idle = next((name for name, users in self.loaded.items() if not users), None)
            if len(self.loaded) >= self.places:
                if idle is None:
                    return False
                del self.loaded[idle]
            self.loaded[adapter] = 0
            self.loads += 1
        self.loaded.move_to_end(adapter)
        return True


@dataclass(frozen=True)
class Played:
    """Seconds to the first token of each request, and how many adapters were loaded."""

    ttft_s: tuple[float, ...]
    loads: int

    @property
    def mean_ms(self) -> float:
        """Mean time to the first token."""
        return 1e3 * sum(self.ttft_s) / len(self.ttft_s)


def play(
    charges: ChargeSettings,
    *,
    seed: int,
    requests: int = 600,
    engines: int = 4,
    places: int = 4,
    adapters: int = 24,
    rate: float = 12.0,
    load_s: float = 0.3,
    strategy: str = "kv-aware",
) -> Played:
    """Poisson arrivals of prompts that have nothing in common, for adapters of which some are asked for more often."""
    rng, chance, order = random.Random(seed), random.Random(seed + 1), count()
    names = [f"10.0.0.{n}:80" for n in range(engines)]
    fleet = {name: _Engine(places, load_s) for name in names}
    pool = PoolSettings(
        name="p",
        cluster="p",
        strategy=strategy,
        endpoints=tuple(EndpointSettings(address=name) for name in names),
        charges=charges,
    )
    picker = Picker(PickerSettings(version="1", pools=(pool,)))
    heap: list[tuple[float, int, str, object]] = []

    def plan(at: float, kind: str, what: object) -> None:
        heappush(heap, (at, next(order), kind, what))

    at = 0.0
    weights = [1 / (n + 1) for n in range(adapters)]
    for number in range(requests):
        at += chance.expovariate(rate)
        adapter = f"lora-{chance.choices(range(adapters), weights)[0]}"
        plan(at, "arrive", _Job(number, "", adapter, chance.randrange(200, 2_000), at))
    for scrape in range(int(at / SCRAPE_S) + 1):
        plan(scrape * SCRAPE_S, "scrape", None)
    ttft: dict[int, float] = {}

    def start(name: str, now: float) -> None:
        engine = fleet[name]
        if engine.is_busy or not engine.line:
            return
        job, before = engine.line[0], engine.loads
        if not engine.room(job.adapter):
            return
        engine.line.popleft()
        engine.loaded[job.adapter] += 1
        engine.is_busy = True
        plan(now + TOKEN_S * job.tokens + (engine.loads - before) * load_s, "first", (name, job))

    while heap:
        now, _, kind, what = heappop(heap)
        if kind == "arrive":
            assert isinstance(what, _Job)
            job = what
            wanted = Wanted(
                model=job.adapter,
                tokens=job.tokens,
                blocks=(job.number + 1,),
                timeout_s=600,
                request=Request(model=job.adapter, tokens=job.tokens),
            )
            answer = picker.place("p", wanted, now, rng)
            assert isinstance(answer, Named)
            job.decision = answer.decision_id
            fleet[answer.endpoints[0]].line.append(job)
            start(answer.endpoints[0], now)
        elif kind == "scrape":
            for name, engine in fleet.items():
                picker.apply(_scraped(name, engine, now))
        elif kind == "first":
            name, job = what  # type: ignore[misc]
            ttft[job.number] = now - job.at
            fleet[name].is_busy = False
            picker.apply(FirstToken(decision_id=job.decision, address=name, at=now, ttft_ms=1e3 * (now - job.at)))
            plan(now + ANSWER_S, "end", (name, job))
            start(name, now)
        else:
            name, job = what  # type: ignore[misc]
            fleet[name].loaded[job.adapter] -= 1
            picker.apply(
                RequestEnded(
                    decision_id=job.decision,
                    at=now,
                    status=200,
                    served=name,
                    ttft_ms=1e3 * ttft[job.number],
                    duration_ms=1e3 * (now - job.at),
                    completion_tokens=100,
                )
            )
            start(name, now)
    return Played(tuple(ttft[number] for number in range(requests)), sum(engine.loads for engine in fleet.values()))


def _scraped(name: str, engine: _Engine, now: float) -> Scraped:
    running = tuple(sorted(adapter for adapter, users in engine.loaded.items() if users))
    return Scraped(
        address=name,
        at=now,
        running=sum(engine.loaded.values()),
        waiting=len(engine.line),
        max_loras=engine.places,
        running_loras=running,
        waiting_loras=tuple(sorted({job.adapter for job in engine.line})),
    )

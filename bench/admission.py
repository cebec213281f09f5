"""What waiting at the picker is worth against waiting at the engines: `python -m bench.admission` prints a table and,
last, the same as JSON.

In virtual time, with the production picker (`kv-aware`) over simulated engines: people in conversations, and batch jobs
that come in bursts. The load is a share of what the engines do when none of them ever waits. First tokens count from
the arrival, the wait at the picker included; events reach the picker at once, metrics once a second.
"""

import argparse
import json
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table

from ext_proc.core.blocks import BLOCK_BYTES, BLOCK_TOKENS, block_hashes
from ext_proc.core.decision import Named, Waiting
from ext_proc.core.events import FirstToken, RequestEnded, Scraped
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import AdmissionSettings, EndpointSettings, PickerSettings, PoolSettings, PrioritySettings
from sim import events as seen
from sim.engine import Engine
from sim.profile import DEMO, Profile

PODS = 8
CONVERSATIONS = 60
DEFAULT_SECONDS = 240.0
WARM_UP_S = 30.0
SCRAPE_S = 1.0

PEOPLE_TOKENS = (200, 600)
BATCH_TOKENS = (600, 2_000)
ANSWER_TOKENS = (60, 240)
BURST = 120
BURST_EVERY_S = 20.0
"""A batch job sends that many at once, so often."""

NO_LIMIT = "none"
PROFILE = DEMO.with_block_size(BLOCK_TOKENS)
FOUR_HOURS = 14_400.0

PRIORITIES = tuple(PrioritySettings(name=name, max_wait_s=FOUR_HOURS) for name in ("people", "batch"))
ONE_PRIORITY = (PrioritySettings(name="batch", max_wait_s=FOUR_HOURS),)
LIMITS: dict[str, AdmissionSettings | None] = {
    NO_LIMIT: None,
    **{f"maxInFlight {most}": AdmissionSettings(max_in_flight=most) for most in (8, 16, 32)},
    **{
        f"maxPrefillTokens {most:,}": AdmissionSettings(max_prefill_tokens=most)
        for most in (1_000, 2_000, 4_000, 8_000)
    },
    "maxPrefillTokens 4,000, one priority": AdmissionSettings(max_prefill_tokens=4_000, priorities=ONE_PRIORITY),
    "maxPrefillTokens 4,000, headroom 0": AdmissionSettings(max_prefill_tokens=4_000, headroom=0.0),
    "maxKvUsage 90 %": AdmissionSettings(max_kv_usage=0.9),
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request."""

    at: float
    priority: str
    text: str
    answer_tokens: int


@dataclass(slots=True)
class Seen:
    """What became of requests, by priority. Mutable."""

    ttft_s: dict[str, list[float]] = field(default_factory=lambda: {"people": [], "batch": []})
    prompt_tokens: int = 0
    cached_tokens: int = 0
    ended_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: first tokens in seconds, the share of the prompts that came from caches."""

    load: float
    limit: str
    people_mean: float
    people_p99: float
    batch_mean: float
    all_mean: float
    cached: float
    drained_s: float


def main() -> None:
    """Measures and prints."""
    words = argparse.ArgumentParser(description="Requests that wait at the picker, against those that wait at engines.")
    words.add_argument("--load", type=float, nargs="*", default=[0.6, 0.9, 1.2], help="of what the engines can do")
    words.add_argument("--seconds", type=float, default=DEFAULT_SECONDS, help="virtual time of arrivals")
    words.add_argument("--seed", type=int, default=1)
    arguments = words.parse_args()
    rows = [
        measured(load, name, limit, arguments.seconds, arguments.seed)
        for load in arguments.load
        for name, limit in LIMITS.items()
    ]
    titles = ("load", "limit", "people", "people p99", "batch", "all", "cached", "drained")
    table = Table(*titles, box=None, title="first token in s, from the arrival")
    for row in rows:
        numbers = (row.people_mean, row.people_p99, row.batch_mean, row.all_mean)
        shown = (*(f"{number:.2f}" for number in numbers), f"{row.cached:.0%}", f"{row.drained_s:.0f} s")
        table.add_row(f"{row.load:.0%}", row.limit, *shown)
    Console().print(table)
    values = [{name: getattr(row, name) for name in row.__slots__} for row in rows]
    print(json.dumps({"benchmark": "admission", "pods": PODS, "rows": values}))


def measured(load: float, name: str, limit: AdmissionSettings | None, seconds: float, seed: int) -> Row:
    """One run."""
    found = Replay(limit, seed).run(arrivals(load, seconds, seed))
    people, batch = found.ttft_s["people"], found.ttft_s["batch"]
    return Row(
        load=load,
        limit=name,
        people_mean=round(statistics.fmean(people), 4),
        people_p99=round(statistics.quantiles(people, n=100)[98], 4),
        batch_mean=round(statistics.fmean(batch), 4),
        all_mean=round(statistics.fmean([*people, *batch]), 4),
        cached=round(found.cached_tokens / found.prompt_tokens, 4),
        drained_s=round(found.ended_at - seconds, 1),
    )


def arrivals(load: float, seconds: float, seed: int) -> list[Arrival]:
    """People at random times, each in one of some conversations; batch jobs all at once."""
    rng = random.Random(seed)
    rate = load * PODS * _pod_rate(PROFILE)
    talks = [_words(rng, 800) for _ in range(CONVERSATIONS)]
    found = []
    at = 0.0
    while (at := at + rng.expovariate(max(0.1, rate - BURST / BURST_EVERY_S))) < seconds:
        number = rng.randrange(CONVERSATIONS)
        talks[number] += _words(rng, rng.randint(*PEOPLE_TOKENS))
        if len(talks[number]) > 6_000 * 4:
            talks[number] = _words(rng, 800)
        found.append(Arrival(at, "people", talks[number], rng.randint(*ANSWER_TOKENS)))
    for burst in range(int(seconds / BURST_EVERY_S)):
        at = burst * BURST_EVERY_S
        found += [
            Arrival(at, "batch", _words(rng, rng.randint(*BATCH_TOKENS)), rng.randint(*ANSWER_TOKENS))
            for _ in range(BURST)
        ]
    return sorted(found, key=lambda each: each.at)


def _pod_rate(profile: Profile) -> float:
    """Requests a second of this mixture that one engine ends, all its places taken, measured once."""
    rng = random.Random(7)
    engine = Engine(profile, tokens=False)
    at = 0.0
    for n in range(400):
        # About two thirds of what people send is cached.
        tokens = rng.randint(400, 1_400)
        engine.submit(seen.Request(str(n), (), tokens, rng.randint(*ANSWER_TOKENS)), 0.0)
    while (change := engine.next_change_at()) is not None:
        at = change
        engine.advance(at)
    return 400 / at


def _words(rng: random.Random, tokens: int) -> str:
    return rng.randbytes(2 * tokens).hex()


class Replay:
    """One run. Mutable: the picker, the engines, what is on its way."""

    def __init__(self, limit: AdmissionSettings | None, seed: int) -> None:
        addresses = [f"10.0.0.{n + 1}:8000" for n in range(PODS)]
        door = None
        if limit is not None:
            priorities = limit.priorities if limit.priorities == ONE_PRIORITY else PRIORITIES
            door = replace(limit, priorities=priorities, max_waiting=100_000, max_waiting_tokens=1_000_000_000)
        endpoints = tuple(EndpointSettings(address=address) for address in addresses)
        pool = PoolSettings(name="p", cluster="p", endpoints=endpoints, admission=door, request_timeout_s=FOUR_HOURS)
        self._picker = Picker(PickerSettings(version="bench", pools=(pool,)))
        self._engines = {address: Engine(PROFILE, tokens=False) for address in addresses}
        self._rng = random.Random(seed)
        self._waiting: dict[int, Arrival] = {}
        self._running: dict[str, Arrival] = {}
        self._seen = Seen()

    def run(self, requests: list[Arrival]) -> Seen:
        """All of them, to the end of the last."""
        queue = iter(requests)
        following = next(queue, None)
        scrape_at = 0.0
        while following is not None or self._running or self._waiting:
            changes = [change for engine in self._engines.values() if (change := engine.next_change_at()) is not None]
            now = min([*changes, *([] if following is None else [following.at]), scrape_at])
            self._advance(now)
            if scrape_at <= now:
                self._scrape(now)
                scrape_at += SCRAPE_S
            while following is not None and following.at <= now:
                self._arrive(following, now)
                following = next(queue, None)
            for released in self._picker.released(now, self._rng):
                assert isinstance(released.answer, Named)
                self._send(released.answer, self._waiting.pop(released.ticket), now)
        return self._seen

    def _arrive(self, request: Arrival, now: float) -> None:
        body = json.dumps({"model": "m", "prompt": request.text, "max_tokens": request.answer_tokens}).encode()
        facts = RequestFacts(body=body, path="/v1/completions", cluster="p", headers={"x-priority": request.priority})
        answer = self._picker.ask(facts, now, self._rng)
        if isinstance(answer, Waiting):
            self._waiting[answer.ticket] = request
        else:
            assert isinstance(answer, Named), answer
            self._send(answer, request, now)

    def _send(self, named: Named, request: Arrival, now: float) -> None:
        data = request.text.encode()
        blocks = block_hashes(data[: len(data) // BLOCK_BYTES * BLOCK_BYTES], "m")
        tokens = len(data) // 4
        self._running[named.decision_id] = request
        wanted = seen.Request(named.decision_id, blocks, tokens, request.answer_tokens)
        self._engines[named.endpoints[0]].submit(wanted, now)

    def _advance(self, now: float) -> None:
        for address, engine in self._engines.items():
            for event in engine.advance(now):
                self._learn(address, event)

    def _learn(self, address: str, event: seen.Event) -> None:
        match event:
            case seen.FirstToken():
                request = self._running[event.id]
                ttft_s = event.at - request.at
                if request.at >= WARM_UP_S:
                    self._seen.ttft_s[request.priority].append(ttft_s)
                told = FirstToken(decision_id=event.id, address=address, at=event.at, ttft_ms=ttft_s * 1e3)
                self._picker.apply(told)
            case seen.Finished():
                del self._running[event.id]
                self._seen.prompt_tokens += event.usage.prompt_tokens
                self._seen.cached_tokens += event.usage.cached_tokens
                self._seen.ended_at = event.at
                self._picker.apply(RequestEnded(decision_id=event.id, at=event.at, status=200, served=address))
            case _:
                pass

    def _scrape(self, now: float) -> None:
        for scraped in self._scraped(now):
            self._picker.apply(scraped)

    def _scraped(self, now: float) -> Iterator[Scraped]:
        for address, engine in self._engines.items():
            gauges = engine.gauges()
            yield Scraped(
                address=address,
                at=now,
                running=gauges.running,
                waiting=gauges.waiting,
                kv_usage=gauges.kv_usage,
                kv_tokens=PROFILE.kv_tokens,
            )


if __name__ == "__main__":
    main()

"""Small traces, routers that do as they are told, and engines whose times can be computed by hand."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ext_proc.core.events import Event
from sim.profile import Profile
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.fleet import run
from sim.virtual.outcome import RunResult
from sim.virtual.router import Context, Factory, Kind, RoutedRequest
from sim.virtual.setup import Setup

BLOCK = 100

# 10,000 tokens a second and 10 ms for a step: 1,000 tokens take 100 ms and the step's own 10.
PLAIN = Profile(
    block_size=BLOCK,
    kv_blocks=100,
    max_batch=8,
    token_budget=5_000,
    prefill_tokens_per_s=10_000,
    step_base_ms=10,
    step_per_request_ms=0,
)


def slower(profile: Profile) -> Profile:
    """The same engine with half the pace of prompts."""
    return replace(profile, prefill_tokens_per_s=profile.prefill_tokens_per_s / 2)


def request(at_s: float, blocks: int = 10, output: int = 1, first_id: int = 0) -> TraceRequest:
    """A prompt of whole blocks, numbered from `first_id`."""
    ids = tuple(range(first_id, first_id + blocks))
    return TraceRequest(at_s, ids, max(1, blocks * BLOCK), output)


def trace(*requests: TraceRequest) -> Trace:
    """A trace in blocks of 100 tokens."""
    return Trace("t", BLOCK, requests)


def many(count: int, every_s: float = 0.05) -> Trace:
    """Requests of a few conversations, drawn with whole numbers only: the same on any machine."""
    rng = random.Random(7)
    made = []
    for number in range(count):
        start = 1_000 * rng.randrange(8)
        made.append(request(round(number * every_s, 6), rng.randrange(1, 20), rng.randrange(1, 30), start))
    return trace(*made)


@dataclass
class Told:
    """A router that names pods as it is told, and remembers what it heard before which pick."""

    context: Context
    picks: list[list[int]]
    name: str = "told"
    kind: Kind = "reference"
    heard: list[Event] = field(default_factory=list)
    before: list[list[Event]] = field(default_factory=list)
    asked: list[RoutedRequest] = field(default_factory=list)

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """The next of `picks`, the last one again and again; pods are numbered from 0."""
        self.before.append(list(self.heard))
        pods = self.picks[min(len(self.asked), len(self.picks) - 1)]
        self.asked.append(request)
        return [self.context.addresses[pod] for pod in pods]

    def observe(self, event: Event) -> None:
        """Remembers it."""
        self.heard.append(event)


class Telling:
    """A factory of such routers that keeps what it made."""

    def __init__(self, *picks: Sequence[int]) -> None:
        self.picks = [list(pick) for pick in picks]
        self.made: list[Told] = []

    def __call__(self, context: Context) -> Told:
        self.made.append(Told(context, self.picks))
        return self.made[-1]


def setup(factory: Factory, **changes: object) -> Setup:
    """Two engines of `PLAIN`, no network, no scrapes."""
    values: dict[str, object] = {
        "profile": PLAIN,
        "engines": 2,
        "network_s": 0.0,
        "scrape_s": float("inf"),
        "factory": factory,
        **changes,
    }
    return Setup(**values)  # type: ignore[arg-type]


def played(replayed: Trace, *picks: Sequence[int], **changes: object) -> tuple[RunResult, list[Told]]:
    """A run with routers that are told what to pick; the result, and the routers."""
    telling = Telling(*picks)
    return run(replayed, setup(telling, **changes), 1), telling.made

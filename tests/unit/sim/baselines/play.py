"""A rule on a table: endpoints A, B and C, blocks of 100 tokens, and hand-made loads, matches and scrapes."""

import random

from ext_proc.core.events import FirstToken, RequestEnded, Scraped
from sim.baselines import registry
from sim.baselines.rule import Key, Option, Rule
from sim.engine import Engine
from sim.profile import Profile
from sim.virtual.router import Context, RoutedRequest

A, B, C = ADDRESSES = ("10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")
SIZE = 100

# 1,000 tokens a second and next to no time for a step, so that seconds can be read off tokens.
PROFILE = Profile(
    block_size=SIZE,
    kv_blocks=1_000,
    max_batch=64,
    token_budget=100_000,
    prefill_tokens_per_s=1_000.0,
    step_base_ms=0.001,
    step_per_request_ms=0.0,
)


class Play:
    """One rule, its clock and its chance."""

    def __init__(
        self, name: str, addresses: tuple[str, ...] = ADDRESSES, seed: int = 1, *, kv_events: bool = False
    ) -> None:
        """Build it cold."""
        self.engines = {address: Engine(PROFILE) for address in addresses}
        self.context = Context(
            addresses=addresses, profile=PROFILE, block_tokens=SIZE, engines=self.engines, kv_events=kv_events
        )
        router = registry[name](self.context)
        assert isinstance(router, Rule)
        self.rule = router
        self.rng = random.Random(seed)
        self.now = 0.0
        self.count = 0

    def request(self, *blocks: int, tokens: int = 0, session: str = "") -> RoutedRequest:
        """A prompt of these blocks; `tokens` is its length where it has a partial block."""
        self.count += 1
        length = tokens or max(1, len(blocks) * SIZE)
        return RoutedRequest(f"r{self.count}", blocks, SIZE, length, session=session)

    def ask(self, *blocks: int, tokens: int = 0, session: str = "") -> str:
        """The endpoint that the rule takes."""
        return self.rule.pick(self.request(*blocks, tokens=tokens, session=session), self.now, self.rng)[0]

    def best(self, *blocks: int, session: str = "") -> set[str]:
        """The endpoints that the rule might take, more than one in a tie; nothing is remembered."""
        keys = self.keys(*blocks, session=session)
        least = min(keys.values())
        return {address for address, key in keys.items() if key == least}

    def keys(self, *blocks: int, tokens: int = 0, session: str = "") -> dict[str, Key]:
        """What the rule makes of each endpoint; nothing is remembered."""
        request = self.request(*blocks, tokens=tokens, session=session)
        options = self.rule._options(request, self.now)
        keys = self.rule.keys(request, options, self.now, self.rng)
        return {option.address: key for option, key in zip(options, keys, strict=True)}

    def put(self, address: str, *blocks: int, uncached: int = 0, session: str = "", begun: bool = False) -> str:
        """Let the rule believe that it sent a prompt there, of which `uncached` tokens were missing; returns its id."""
        request = self.request(*blocks, session=session, tokens=max(1, uncached, len(blocks) * SIZE))
        option = Option(address, 0.0, uncached or request.prompt_tokens, self.rule.in_flight.at(address), None)
        took = self.rule.prefill_s(request, option)
        self.rule.in_flight.start(request, address, option.uncached, self.now, took)
        if self.rule.prefixes is not None:
            self.rule.prefixes.insert(address, blocks, self.now, request.id)
        self.rule.took(request, option, self.now)
        if begun:
            self.first(request.id, address)
        return request.id

    def hold(self, address: str, *blocks: int) -> None:
        """Let the rule believe that these blocks were sent there once."""
        assert self.rule.prefixes is not None
        self.rule.prefixes.insert(address, blocks, self.now)

    def first(self, name: str, address: str) -> None:
        """The first token of a request."""
        self.rule.observe(FirstToken(decision_id=name, address=address, at=self.now, ttft_ms=1.0))

    def end(self, name: str) -> None:
        """The end of a request."""
        self.rule.observe(RequestEnded(decision_id=name, at=self.now, status=200))

    def scrape(self, address: str, *, waiting: int = 0, kv: float = 0.0) -> None:
        """The numbers of an endpoint."""
        self.rule.observe(Scraped(address=address, at=self.now, running=0, waiting=waiting, kv_usage=kv))

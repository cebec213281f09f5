"""What all rules have in common: they look at each endpoint, give it a key, and take the least.

A rule's own file says only how the key is made. Ties are broken at random unless the rule says otherwise; the endpoints
that were not taken follow in the order of their keys, for retries.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

from ext_proc.core.events import Event, Scraped
from sim.baselines.precise import ToldPrefixes
from sim.baselines.state import Index, InFlight, Load, Prefixes, Reachable, Scrapes
from sim.virtual.router import Context, Kind, RoutedRequest

Key = tuple[float, ...]
"""Compared from left to right; less is better."""


class Option(NamedTuple):
    """One endpoint at the moment of a pick, as this router sees it."""

    address: str

    cached: float
    """Share of the prompt, 0 to 1, that the router believes to be there."""

    uncached: int
    """Tokens of the prompt that it believes to be missing there, at least one."""

    load: Load
    """What this router has in flight there."""

    scrape: Scraped | None
    """The endpoint's last numbers, however old."""


class Rule:
    """A router that takes the least key.

    Mutable: its account, its index, its scrapes; the replay is the only caller.
    """

    name = ""
    kind: Kind = "published"

    def __init__(self, context: Context, prefixes: Index | None = None) -> None:
        """Start without any knowledge. `prefixes` is the rule's index, where it has one."""
        self.context = context
        self.prefixes = prefixes
        self.in_flight = InFlight(context.addresses)
        self.scrapes = Scrapes()
        self.reachable = Reachable(context.addresses)

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """One key per option: the rule itself."""
        raise NotImplementedError

    def prefill_s(self, request: RoutedRequest, option: Option) -> float:
        """How long this rule expects the prefill of a request to take there, if it cares."""
        return 0.0

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """Lets a rule remember more about its pick than the account and the index do."""

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """Name all endpoints, best first, and account for the best."""
        options = self._options(request, now)
        if not options:
            return []
        keys = self.keys(request, options, now, rng)
        order = list(range(len(options)))
        rng.shuffle(order)
        order.sort(key=keys.__getitem__)
        best = options[order[0]]
        self.in_flight.start(request, best.address, best.uncached, now, self.prefill_s(request, best))
        if self.prefixes is not None:
            self.prefixes.insert(best.address, request.blocks, now, request.id)
        self.took(request, best, now)
        return [options[position].address for position in order]

    def observe(self, event: Event) -> None:
        """Learn from one event. An endpoint that went away has lost what it held."""
        self.in_flight.observe(event)
        self.scrapes.observe(event)
        gone = self.reachable.observe(event)
        if self.prefixes is not None:
            self.prefixes.observe(event)
            if gone is not None:
                self.prefixes.forget(gone)

    def _options(self, request: RoutedRequest, now: float) -> list[Option]:
        held = self.prefixes.match(request.blocks, now) if self.prefixes is not None else {}
        load_at, last = self.in_flight.at, self.scrapes.last
        nothing = request.uncached(0)
        options = []
        for address in self.reachable.usable(now):
            cached, uncached = 0.0, nothing
            if address in held:
                uncached = request.uncached(held[address])
                cached = min(1.0, held[address] * request.block_tokens / request.prompt_tokens)
            options.append(Option(address, cached, uncached, load_at(address), last(address)))
        return options


def engine_memory(context: Context) -> int:
    """Blocks of the trace that fit into one engine's KV memory: the capacity of an index that knows it."""
    return max(1, context.profile.kv_tokens // context.block_tokens)


def engine_index(context: Context, predicted_s: float | None = None) -> Index:
    """An index of what the engines say, where they do; else of own picks, as large as one engine's memory.

    `predicted_s` is that of `ToldPrefixes`.
    """
    if context.kv_events:
        return ToldPrefixes(context.addresses, predicted_s=predicted_s)
    return Prefixes(context.addresses, engine_memory(context))

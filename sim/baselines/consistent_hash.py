"""Consistent hash of the prompt's first blocks, plain and with bounded loads.

Source: Karger et al. (1997) for the ring; Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads"
(2018) for the bound; SMG's policy `prefix_hash` for both over the first `prefix-token-count` tokens with
`prefix-hash-load-factor`. A prompt without a whole block is known by its session, or else by itself.
"""

import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import xxhash

from sim.baselines.rule import Key, Option, Rule
from sim.virtual.router import Context, RoutedRequest

PREFIX_TOKENS = 1_024
"""SMG hashes 256 tokens by default, where all who share a system prompt meet on one endpoint. This is the best of 256
to 4,096 for both rules on the Mooncake conversation trace."""

LOAD_FACTOR = 1.25

POINTS = 160
"""Points of each endpoint on the ring, so that their shares differ by about 8 % (1/√160), as libketama has it."""


class Ring:
    """Endpoints in a fixed order for each key. Built once, never changed."""

    def __init__(self, addresses: Iterable[str]) -> None:
        """Place every endpoint."""
        points = sorted((_place(f"{a}#{n}"), a) for a in addresses for n in range(POINTS))
        self._places = [place for place, _ in points]
        self._owners = [owner for _, owner in points]

    def order(self, key: str) -> list[str]:
        """All endpoints, from the owner of a key on."""
        start = bisect_right(self._places, _place(key))
        return list(dict.fromkeys(self._owners[start:] + self._owners[:start]))


class ConsistentHash(Rule):
    """The owner of the first blocks."""

    name = "consistent-hash"

    def __init__(self, context: Context) -> None:
        """Build the ring."""
        super().__init__(context)
        self._ring = Ring(context.addresses)

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(over the bound?, place on the ring)."""
        places = {address: place for place, address in enumerate(self._ring.order(_key(request)))}
        bound = self.bound(options)
        return [(float(option.load.requests > bound), places[option.address]) for option in options]

    def bound(self, options: Sequence[Option]) -> float:
        """Above how many own requests in flight an endpoint is passed over."""
        return float("inf")


class BoundedHash(ConsistentHash):
    """The owner of the first blocks, or the next one that has at most `LOAD_FACTOR` × the average load."""

    name = "bounded-hash"

    def bound(self, options: Sequence[Option]) -> float:
        """Of the average over the endpoints that may be named."""
        return LOAD_FACTOR * sum(option.load.requests for option in options) / len(options)


def _key(request: RoutedRequest) -> str:
    first = request.blocks[: max(1, PREFIX_TOKENS // request.block_tokens)]
    return ",".join(map(str, first)) or request.session or request.id


def _place(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode())

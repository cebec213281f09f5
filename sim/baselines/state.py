"""What routers of other systems remember: what they sent, which prefixes they sent where, what the last scrape said.

Each rule builds only what its system really has. Everything here learns from the same events as the production picker
(`ext_proc.core.events`) and from nothing else.
"""

from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    FirstToken,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    StreamEnded,
)
from sim.virtual.router import RoutedRequest

# Envoy's response flags for an endpoint that could not be reached or went away: UF connection failure, UC connection
# termination, UR remote reset.
_UNREACHABLE = frozenset({"UF", "UC", "UR"})

# Without a scrape, an endpoint is tried again after this time: the period of a readiness probe (Kubernetes' default).
PROBE_S = 10.0


@dataclass(slots=True)
class Load:
    """What one router has in flight at one endpoint. Mutable: `InFlight` is the only writer."""

    requests: int = 0

    queued_tokens: int = 0
    """Tokens that the router believes uncached, of the requests without a first token."""

    queued_s: float = 0.0
    """Their prefill times, where the rule estimates any."""

    blocks: Counter[int] = field(default_factory=Counter)
    """Prompt blocks of the requests in flight, with the number of requests that hold each."""

    partial_tokens: int = 0
    """Prompt tokens of the requests in flight behind their last whole block."""

    def new_blocks(self, blocks: Sequence[int]) -> int:
        """How many of a prompt's blocks no request in flight holds.

        Those in flight hold whole prompts, so what they share with this one is a run from its start.
        """
        if not blocks or blocks[0] not in self.blocks:
            return len(blocks)
        return len(blocks) - bisect_left(range(len(blocks)), True, key=lambda i: blocks[i] not in self.blocks)


@dataclass(slots=True)
class _Sent:
    address: str
    uncached: int
    request: RoutedRequest
    at: float
    prefill_s: float
    has_begun: bool = False


class InFlight:
    """A router's own account of its requests.

    Mutable: the loads by address and the open requests; `start` and `observe` are the writers.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._loads = {address: Load() for address in addresses}
        self._sent: dict[str, _Sent] = {}

    def __len__(self) -> int:
        """Requests in flight."""
        return len(self._sent)

    def at(self, address: str) -> Load:
        """What is in flight at one endpoint."""
        return self._loads[address]

    def address_of(self, request_id: str) -> str | None:
        """Where a request runs; None when it is not in flight."""
        sent = self._sent.get(request_id)
        return None if sent is None else sent.address

    def start(self, request: RoutedRequest, address: str, uncached: int, now: float, prefill_s: float = 0.0) -> None:
        """Accounts for a pick; `prefill_s` is how long the rule expects its prefill to take."""
        sent = _Sent(address, uncached, request, now, prefill_s)
        self._sent[request.id] = sent
        self._count(sent, +1)

    def observe(self, event: Event) -> None:
        """Accounts for what became of a request; what is not in flight changes nothing."""
        match event:
            case AttemptStarted():
                self._move(event.decision_id, event.address, event.at)
            case FirstToken():
                self._move(event.decision_id, event.address, event.at)
                self._begin(event.decision_id)
            case RequestEnded() | StreamEnded(closed_by_us=False):
                self._end(event.decision_id)
            case _:
                pass

    def _move(self, request_id: str, address: str, at: float) -> None:
        sent = self._sent.get(request_id)
        if sent is None or sent.address == address or address not in self._loads or at < sent.at:
            return
        self._count(sent, -1)
        sent.address, sent.at = address, at
        if not sent.has_begun:
            sent.uncached = sent.request.prompt_tokens  # a second choice; what it holds is not known
        self._count(sent, +1)

    def _begin(self, request_id: str) -> None:
        sent = self._sent.get(request_id)
        if sent is not None and not sent.has_begun:
            self._count(sent, -1)
            sent.has_begun = True
            self._count(sent, +1)

    def _end(self, request_id: str) -> None:
        sent = self._sent.pop(request_id, None)
        if sent is not None:
            self._count(sent, -1)

    def _count(self, sent: _Sent, sign: int) -> None:
        load, request = self._loads[sent.address], sent.request
        load.requests += sign
        if not sent.has_begun:
            load.queued_tokens += sign * sent.uncached
            # Sums of floats leave dust; an empty queue is empty.
            load.queued_s = load.queued_s + sign * sent.prefill_s if load.queued_tokens else 0.0
        load.partial_tokens += sign * (request.prompt_tokens - len(request.blocks) * request.block_tokens)
        if sign > 0:
            load.blocks.update(request.blocks)
            return
        for block in request.blocks:
            load.blocks[block] -= 1
            if not load.blocks[block]:
                del load.blocks[block]


class Index:
    """Which endpoint holds which prompt blocks: what all indices have in common.

    Mutable: block → bitmask of endpoints; the subclass is the writer.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        """Start empty."""
        self._bits = {address: 1 << index for index, address in enumerate(addresses)}
        self._masks: dict[int, int] = {}

    def match(self, blocks: Sequence[int], now: float) -> dict[str, int]:
        """How many blocks of a prompt each endpoint holds, in a run from the first; those without any are left out."""
        runs: dict[int, int] = {}  # bitmask of endpoints → the last block that all of them hold, from 1
        mask = -1
        for depth, block in enumerate(blocks, start=1):
            mask &= self._masks.get(block, 0)
            if not mask:
                break
            runs[mask] = depth
        holders = next(iter(runs), 0)  # of the first block; of a large fleet most hold nothing
        deepest = list(reversed(runs.items()))
        return {
            address: next(depth for mask, depth in deepest if mask & bit)
            for address, bit in self._bits.items()
            if holders & bit
        }

    def insert(self, address: str, blocks: Sequence[int], now: float, request_id: str = "") -> None:
        """Notes that an endpoint was sent a prompt."""
        raise NotImplementedError

    def forget(self, address: str) -> None:
        """An endpoint seems to have gone."""
        raise NotImplementedError

    def observe(self, event: Event) -> None:
        """Learns from one event, where the index is one that does."""

    def _add(self, address: str, block: int) -> None:
        self._masks[block] = self._masks.get(block, 0) | self._bits[address]

    def _remove(self, address: str, block: int) -> None:
        mask = self._masks[block] & ~self._bits[address]
        if mask:
            self._masks[block] = mask
        else:
            del self._masks[block]


class Prefixes(Index):
    """Which endpoint was sent which prompt blocks: an approximate index, filled by a router's own picks.

    Mutable beside the base: an LRU of blocks per endpoint; `insert` and `forget` are the writers. `capacity_blocks`
    bounds each endpoint; `ttl_s` None: nothing ages.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        capacity_blocks: int,
        *,
        ttl_s: float | None = None,
    ) -> None:
        """Start empty."""
        super().__init__(addresses)
        self._held: dict[str, OrderedDict[int, float]] = {address: OrderedDict() for address in addresses}
        self._capacity = max(1, capacity_blocks)
        self._ttl_s = ttl_s

    def size(self, address: str) -> int:
        """Blocks that one endpoint is believed to hold."""
        return len(self._held[address])

    def match(self, blocks: Sequence[int], now: float) -> dict[str, int]:
        """As `Index.match`, of what has not aged."""
        if self._ttl_s is not None:
            self._expire(now - self._ttl_s)
        return super().match(blocks, now)

    def insert(self, address: str, blocks: Sequence[int], now: float, request_id: str = "") -> None:
        """Notes that an endpoint was sent a prompt, and makes room for it."""
        held, bit, masks = self._held[address], self._bits[address], self._masks
        blocks = blocks[: self._capacity]
        for block in reversed(blocks):  # the head is used last, and so goes last
            if block in held:
                held.move_to_end(block)
            else:
                masks[block] = masks.get(block, 0) | bit
            held[block] = now
        while len(held) > self._capacity:
            self._drop(address)

    def forget(self, address: str) -> None:
        """Drops all that an endpoint was believed to hold."""
        while self._held[address]:
            self._drop(address)

    def _expire(self, before: float) -> None:
        for address, held in self._held.items():
            while held and next(iter(held.values())) <= before:
                self._drop(address)

    def _drop(self, address: str) -> None:
        block, _ = self._held[address].popitem(last=False)
        self._remove(address, block)


class Scrapes:
    """The last scrape of each endpoint, which stays until the next one. Mutable: `observe` is the writer."""

    def __init__(self) -> None:
        self._last: dict[str, Scraped] = {}

    def last(self, address: str) -> Scraped | None:
        """An endpoint's last numbers; None before the first ones. `now - .at` is their age in seconds."""
        return self._last.get(address)

    def observe(self, event: Event) -> None:
        """Keeps a scrape unless a later one is known."""
        if isinstance(event, Scraped):
            known = self._last.get(event.address)
            if known is None or event.at >= known.at:
                self._last[event.address] = event


class Reachable:
    """Who may be named, as readiness probes and connection errors tell the proxies that these rules live in.

    An endpoint is out from a failed connection or a failed scrape until the next scrape that succeeds, or for
    `PROBE_S` without any. Mutable: `observe` is the writer.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._out: dict[str, float | None] = dict.fromkeys(addresses)

    def usable(self, now: float) -> list[str]:
        """The endpoints that may be named; all of them when none seems to be there."""
        usable = [address for address, since in self._out.items() if since is None or now - since >= PROBE_S]
        return usable or list(self._out)

    def observe(self, event: Event) -> str | None:
        """Learns from one event; returns the address that has just gone out."""
        match event:
            case AttemptEnded() if not _UNREACHABLE.isdisjoint(event.flags):
                return self._leave(event.address, event.at)
            case ScrapeFailed():
                return self._leave(event.address, event.at)
            case Scraped():
                since = self._out.get(event.address)
                if since is not None and event.at > since:
                    self._out[event.address] = None
            case _:
                pass
        return None

    def _leave(self, address: str, at: float) -> str | None:
        if address not in self._out:
            return None
        was_in = self._out[address] is None
        self._out[address] = at
        return address if was_in else None

"""What routers know of prefixes where engines tell them: an index filled by KV-cache events, precise but late.

Between a pick and the engine's own word for it, requests of the same prompt would scatter. So real systems add what
they predict: own picks count as held for a while (llm-d: speculative entries; Dynamo: a side index; AIBrix writes them
into the index itself).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from ext_proc.core.events import (
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    FirstToken,
    RequestEnded,
    StreamEnded,
)
from sim.baselines.state import Index


@dataclass(frozen=True, slots=True)
class _Predicted:
    address: str
    blocks: tuple[int, ...]
    until: float


class ToldPrefixes(Index):
    """Blocks that engines told of, and those of own picks.

    `predicted_s` is how long a pick counts as held: None until its first token or its end is known, infinite as if the
    engine had told it. What was told stays while an endpoint cannot be reached: it says itself when that is gone.

    Mutable beside the base: the told blocks and the number of predictions of each block by endpoint, and the
    predictions by request, oldest first.
    """

    def __init__(self, addresses: Sequence[str], *, predicted_s: float | None = None) -> None:
        """Start empty."""
        super().__init__(addresses)
        self._predicted_s = predicted_s
        self._told: dict[str, set[int]] = {address: set() for address in addresses}
        self._hoped: dict[str, Counter[int]] = {address: Counter() for address in addresses}
        self._open: dict[str, _Predicted] = {}

    def told(self, address: str) -> frozenset[int]:
        """Blocks that one endpoint has told of and not taken back."""
        return frozenset(self._told[address])

    def match(self, blocks: Sequence[int], now: float) -> dict[str, int]:
        """As `Index.match`, of what was told and what is predicted at `now`."""
        if self._predicted_s is not None:
            self._expire(now)
        return super().match(blocks, now)

    def insert(self, address: str, blocks: Sequence[int], now: float, request_id: str = "") -> None:
        """Predicts that an endpoint will hold a prompt."""
        if self._predicted_s == inf:
            self._store(address, blocks)
            return
        self._end(request_id)
        self._open[request_id] = _Predicted(address, tuple(blocks), now + (self._predicted_s or 0.0))
        hoped = self._hoped[address]
        for block in blocks:
            hoped[block] += 1
            self._add(address, block)

    def forget(self, address: str) -> None:
        """Predicts nothing any more of an endpoint that cannot be reached."""
        for request_id in [name for name, predicted in self._open.items() if predicted.address == address]:
            self._end(request_id)

    def observe(self, event: Event) -> None:
        """Learns what engines tell, and which predictions are over."""
        match event:
            case BlocksStored():
                self._store(event.address, event.blocks)
            case BlocksRemoved():
                self._take_back(event.address, event.blocks)
            case CacheCleared():
                self._take_back(event.address, tuple(self._told[event.address]))
            case FirstToken() | RequestEnded() | StreamEnded(closed_by_us=False) if self._predicted_s is None:
                self._end(event.decision_id)
            case _:
                pass

    def _store(self, address: str, blocks: Sequence[int]) -> None:
        self._told[address].update(blocks)
        for block in blocks:
            self._add(address, block)

    def _take_back(self, address: str, blocks: Sequence[int]) -> None:
        told, hoped = self._told[address], self._hoped[address]
        for block in blocks:
            if block in told:
                told.discard(block)
                if block not in hoped:
                    self._remove(address, block)

    def _expire(self, now: float) -> None:
        """Ends the predictions whose time is over; all last equally long, so the oldest ends first."""
        while self._open:
            request_id, predicted = next(iter(self._open.items()))
            if predicted.until > now:
                return
            self._end(request_id)

    def _end(self, request_id: str) -> None:
        predicted = self._open.pop(request_id, None)
        if predicted is None:
            return
        told, hoped = self._told[predicted.address], self._hoped[predicted.address]
        for block in predicted.blocks:
            hoped[block] -= 1
            if not hoped[block]:
                del hoped[block]
                if block not in told:
                    self._remove(predicted.address, block)

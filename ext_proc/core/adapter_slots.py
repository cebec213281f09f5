"""Which LoRA adapters each engine has in its memory, as far as it can be known: mirrored, for the cost of loading one.

Engines show which adapters have requests (vLLM: `vllm:lora_requests_info`), not which are loaded: one that nobody asks
for stays until its place is wanted. So each endpoint's adapters are kept here in the order of their last use, as many
as the engine has places for (`max_lora`), as vLLM itself keeps them. A pick counts as use at once.

A place is *taken* while its adapter has requests. When all are, a request for another one waits until one is free.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable

import numpy as np

from ext_proc.core.slots import BoolArray, IntArray

# Adapters of an engine that does not say how many places it has, and the most that are kept of one that says more.
USUAL_PLACES = 8
MOST_PLACES = 256

# Names of adapters that are remembered to be such; one that was forgotten is charged nothing until it is seen again.
MOST_NAMES = 10_000


class _Engine:
    """One endpoint. Mutable: its owner is the only writer."""

    __slots__ = ("is_told", "loaded", "noted", "places", "taken")

    def __init__(self, noted: frozenset[str] = frozenset()) -> None:
        self.loaded: OrderedDict[str, None] = OrderedDict()
        self.noted = noted
        """What of it is in the tables by name."""
        self.taken: set[str] = set()
        self.places = USUAL_PLACES
        self.is_told = False
        """Whether it has said how many places it has."""

    @property
    def is_full(self) -> bool:
        """Whether all places are taken."""
        return self.is_told and len(self.taken) >= self.places

    def use(self, name: str) -> None:
        """An adapter is wanted: what was used longest ago goes if there is no place left."""
        self.loaded[name] = None
        self.loaded.move_to_end(name)
        self.drop_oldest()

    def drop_oldest(self) -> None:
        """Keeps as many as there are places."""
        while len(self.loaded) > self.places:
            self.loaded.popitem(last=False)


class AdapterSlots:
    """Adapters by slot.

    Mutable: the engines that have been heard of, the names, and two tables made of the engines, so that a pick looks at
    those that matter alone; `scraped`, `picked` and `reset` are the writers.
    """

    def __init__(self) -> None:
        self._engines: dict[int, _Engine] = {}
        self._names: OrderedDict[str, None] = OrderedDict()
        self._holders: dict[str, set[int]] = {}
        self._full: set[int] = set()

    def __contains__(self, name: str) -> bool:
        """Whether it is known to be an adapter."""
        return name in self._names

    def scraped(self, slot: int, names: Iterable[str], places: int | None) -> None:
        """The adapters that have requests on an engine now, and how many it has places for."""
        engine = self._engine(slot)
        if places:
            engine.places, engine.is_told = min(places, MOST_PLACES), True
            engine.drop_oldest()
        engine.taken = set(sorted(names)[:MOST_PLACES])
        for name in sorted(engine.taken):
            self._know(name)
            engine.use(name)
        self._note(slot, engine)

    def picked(self, slot: int, name: str) -> None:
        """A request was given to an endpoint; names that are no adapters are nothing to it."""
        if name in self._names:
            engine = self._engine(slot)
            engine.use(name)
            if len(engine.taken) < MOST_PLACES:
                engine.taken.add(name)
            self._note(slot, engine)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint: it left, or its process ended."""
        engine = self._engines.pop(slot, None)
        if engine is not None:
            self._note(slot, _Engine(noted=engine.noted))

    def missing(self, name: str, slots: IntArray, capacity: int) -> tuple[BoolArray, BoolArray] | None:
        """Which of `slots`, all of them below `capacity`, lack an adapter, and which of those have no place for it.

        None where that makes no difference: for what is no adapter, and where all of them are in the same state. An
        endpoint that never told anything lacks it: engines show their adapters from the first request for one on.
        """
        if name not in self._names:
            return None
        lacks = ~_members(self._holders.get(name, ()), capacity)[slots]
        full = lacks & _members(self._full, capacity)[slots]
        if lacks.all() == lacks.any() and full.all() == full.any():
            return None
        return lacks, full

    def _engine(self, slot: int) -> _Engine:
        engine = self._engines.get(slot)
        if engine is None:
            engine = self._engines[slot] = _Engine()
        return engine

    def _note(self, slot: int, engine: _Engine) -> None:
        """Brings the tables up to date with an engine."""
        loaded = frozenset(engine.loaded)
        for name in engine.noted - loaded:
            self._holders[name].discard(slot)
            if not self._holders[name]:
                del self._holders[name]
        for name in loaded - engine.noted:
            self._holders.setdefault(name, set()).add(slot)
        engine.noted = loaded
        (self._full.add if engine.is_full else self._full.discard)(slot)

    def _know(self, name: str) -> None:
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > MOST_NAMES:
            self._names.popitem(last=False)


def _members(slots: Collection[int], capacity: int) -> BoolArray:
    members = np.zeros(capacity, dtype=np.bool_)
    members[list(slots)] = True
    return members

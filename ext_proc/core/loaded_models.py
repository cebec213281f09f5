"""Which models engines say they have loaded, adapters among them, and since when that is known.

Two tell of it: the engine's own list (`/v1/models`), and whoever reports its load. An endpoint of which nobody told is
unknown, which is not the same as having none.
"""

import math

import numpy as np

from ext_proc.core.slots import BoolArray

MAX_NAMES = 1_024
"""Names of one endpoint that are kept: far more models and adapters than an engine has loaded."""

_NEVER = -math.inf


class LoadedModels:
    """Names of models by slot, as requests have them.

    Mutable: the names, the time of each list, the slots of each name; `told` and `reset` are the writers.
    """

    def __init__(self) -> None:
        self._slots: dict[str, set[int]] = {}
        self._names: dict[int, frozenset[str]] = {}
        self._at: dict[int, float] = {}

    def told(self, slot: int, names: frozenset[str], at: float) -> None:
        """These are all that the endpoint had loaded at that time; an older list than the known one says nothing.

        Of more than `MAX_NAMES` names the first ones in the alphabet are kept.
        """
        if at < self._at.get(slot, _NEVER):
            return
        if len(names) > MAX_NAMES:
            names = frozenset(sorted(names)[:MAX_NAMES])
        self._at[slot] = at
        before = self._names.get(slot, frozenset())
        self._names[slot] = names
        for name in before - names:
            self._slots[name].discard(slot)
            if not self._slots[name]:
                del self._slots[name]
        for name in names - before:
            self._slots.setdefault(name, set()).add(slot)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        if slot in self._at:
            self.told(slot, frozenset(), math.inf)
            del self._names[slot], self._at[slot]

    def names(self, slot: int) -> frozenset[str] | None:
        """What an endpoint has loaded; None where nobody told."""
        return self._names.get(slot)

    def at(self, slot: int) -> float | None:
        """When it was told; None where nobody did."""
        return self._at.get(slot)

    def members(self, name: str, capacity: int) -> BoolArray:
        """Which slots have it."""
        members = np.zeros(capacity, dtype=np.bool_)
        members[list(self._slots.get(name, ()))] = True
        return members

    def known(self, capacity: int) -> BoolArray:
        """Of which slots anything is known."""
        known = np.zeros(capacity, dtype=np.bool_)
        known[list(self._at)] = True
        return known

"""Which LoRA adapters engines have loaded, as their metrics name them."""

import numpy as np

from ext_proc.core.slots import BoolArray


class Adapters:
    """LoRA adapters by endpoint, as the engines' metrics name them.

    Mutable: the slots of each adapter; `scraped` and `reset` are the writers.
    """

    def __init__(self) -> None:
        self._slots: dict[str, set[int]] = {}
        self._names: dict[int, frozenset[str]] = {}

    def scraped(self, slot: int, names: frozenset[str]) -> None:
        """The adapters that an engine has now."""
        before = self._names.get(slot, frozenset())
        if names == before:
            return
        for name in before - names:
            self._slots[name].discard(slot)
            if not self._slots[name]:
                del self._slots[name]
        for name in names - before:
            self._slots.setdefault(name, set()).add(slot)
        self._names[slot] = names

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self.scraped(slot, frozenset())
        self._names.pop(slot, None)

    def members(self, name: str, capacity: int) -> BoolArray:
        """Which slots have it."""
        members = np.zeros(capacity, dtype=np.bool_)
        members[list(self._slots.get(name, ()))] = True
        return members

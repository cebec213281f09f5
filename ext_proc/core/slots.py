"""Small stable numbers for endpoint addresses, so that everything known per endpoint fits into arrays and bitmasks.

A slot belongs to an address, not to a pool or a policy: it outlives every reload. It is given to another address only
after `free`, which the caller does once nothing about the old one is left.
"""

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xxhash

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Arrays start this long and double; a multiple of eight, so that a bitmask of slots is a whole number of bytes.
INITIAL_CAPACITY = 64


def grown(old: npt.NDArray[_Scalar], capacity: int, fill: Any) -> npt.NDArray[_Scalar]:
    """A copy of `old` with `capacity` places, new ones holding `fill`."""
    new = np.full(capacity, fill, dtype=old.dtype)
    new[: len(old)] = old
    return new


def middle(values: FloatArray) -> float:
    """The median, of two middle ones the upper; numpy's own takes several times as long. Raises for no values."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


class Slots:
    """Address ↔ slot.

    Mutable: the two tables, the free list and the hashes; the picker is the only writer.
    """

    def __init__(self) -> None:
        self._slot_of: dict[str, int] = {}
        self._address_of: dict[int, str] = {}
        self._free: list[int] = []
        self.capacity = INITIAL_CAPACITY
        self.hashes: HashArray = np.zeros(INITIAL_CAPACITY, dtype=np.uint64)
        """A hash of each slot's address, which is the same in every process: for strategies that hash."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def get(self, address: str) -> int | None:
        """The slot of a known address."""
        return self._slot_of.get(address)

    def address(self, slot: int) -> str:
        """The address of a slot in use; raises KeyError for another one."""
        return self._address_of[slot]

    def addresses(self) -> dict[int, str]:
        """The addresses of all slots in use, a copy."""
        return dict(self._address_of)

    def acquire(self, address: str) -> int:
        """The slot of an address, a new one if it has none. `capacity` doubles when all are in use."""
        slot = self._slot_of.get(address)
        if slot is not None:
            return slot
        slot = self._free.pop() if self._free else len(self._slot_of)
        while slot >= self.capacity:
            self.capacity *= 2
        if self.capacity > len(self.hashes):
            self.hashes = grown(self.hashes, self.capacity, 0)
        self.hashes[slot] = xxhash.xxh3_64_intdigest(address.encode())
        self._slot_of[address] = slot
        self._address_of[slot] = address
        return slot

    def free(self, slot: int) -> None:
        """Gives a slot back; raises KeyError if it is not in use."""
        del self._slot_of[self._address_of.pop(slot)]
        self._free.append(slot)

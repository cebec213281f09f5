"""Counts of tries that only grow."""

import numpy as np

from ext_proc.core.tries import Tries

ALL = np.arange(3)


def test_counts() -> None:
    """Those of some slots together; a slot that is somebody else's begins anew."""
    tries = Tries(2)
    tries.grow(3)
    for slot, is_error in ((0, False), (0, True), (2, False)):
        tries.ended(slot, is_error=is_error)
    assert tries.of(ALL) == (3, 1)
    assert tries.of(ALL[1:]) == (1, 0)
    tries.reset(0)
    assert tries.of(ALL) == (1, 0)
    assert tries.of(ALL[:0]) == (0, 0)

"""Recent prefill: it adds up, time takes it away, and it is forgotten with its endpoint."""

import math

import numpy as np
import pytest

from ext_proc.core.prefills import MEMORY_S, Prefills

SLOTS = np.array([3, 2])


def recent_ms(prefills: Prefills, now: float) -> list[float]:
    """Of the slot that gets prompts and of one that gets none."""
    return [float(each) for each in prefills.recent_ms(SLOTS, now)]


def test_prefill_adds_up_and_time_takes_it_away() -> None:
    """Each prompt by its own age."""
    prefills = Prefills(8)
    prefills.enter(3, 10.0, work_ms=40)
    assert recent_ms(prefills, 10.0) == [40, 0]
    assert recent_ms(prefills, 10.0 + MEMORY_S) == pytest.approx([40 / math.e, 0])
    prefills.enter(3, 10.0 + MEMORY_S, work_ms=30)
    assert recent_ms(prefills, 10.0 + 2 * MEMORY_S) == pytest.approx([40 / math.e**2 + 30 / math.e, 0])


def test_prefill_at_a_steady_pace_is_the_share_of_the_time() -> None:
    """Whoever prefills for a quarter of the time has a quarter of the time constant."""
    prefills = Prefills(8)
    for n in range(1_000):
        prefills.enter(3, n * MEMORY_S / 100, work_ms=2.5 * MEMORY_S)
    assert recent_ms(prefills, 10 * MEMORY_S)[0] == pytest.approx(250 * MEMORY_S, rel=0.01)


def test_what_is_told_late_counts_from_its_own_time() -> None:
    """A retry's record comes after later picks: the order in which they are told makes no difference."""
    early, late = Prefills(8), Prefills(8)
    for prefills, times in ((early, (1.0, 1.5)), (late, (1.5, 1.0))):
        for at in times:
            prefills.enter(3, at, work_ms=100 * at)
    assert recent_ms(late, 2.0) == pytest.approx(recent_ms(early, 2.0))


def test_a_clock_that_is_behind_adds_nothing() -> None:
    """What was entered a moment ahead of the asker's clock counts in full, and no more."""
    prefills = Prefills(8)
    prefills.enter(3, 10.0, work_ms=40)
    assert recent_ms(prefills, 9.0) == [40, 0]


def test_grows_and_forgets() -> None:
    """What is there stays, new slots have nothing, and an endpoint that left leaves nothing."""
    prefills = Prefills(4)
    prefills.enter(3, 10.0, work_ms=40)
    prefills.grow(16)
    prefills.enter(9, 10.0, work_ms=20)
    assert prefills.recent_ms(np.array([3, 9, 15]), 10.0).tolist() == [40, 20, 0]
    prefills.reset(3)
    assert prefills.recent_ms(np.array([3, 9]), 10.0).tolist() == [0, 20]
    prefills.enter(3, 5.0, work_ms=10)  # whose clock is another one
    assert prefills.recent_ms(np.array([3]), 5.0).tolist() == [10]

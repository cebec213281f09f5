"""KV memory: scraped, corrected by own picks, and out of date."""

import math

import numpy as np
import pytest

from ext_proc.core.gauges import FRESH_S, HALF_LIFE_S
from ext_proc.core.memory import USUAL_KV_TOKENS, Memory

SLOTS = np.arange(3)
NONE = np.zeros(3, dtype=np.int64)


def test_nobody_reports() -> None:
    """All are taken to be of the usual size, and to hold what was sent there."""
    usage, free = Memory(3).estimated(SLOTS, np.array([0, USUAL_KV_TOKENS // 2, 10 * USUAL_KV_TOKENS]), 0.0)
    assert usage.tolist() == [0.0, 0.5, 1.0]
    assert free.tolist() == [USUAL_KV_TOKENS, USUAL_KV_TOKENS / 2, 0]


def test_what_is_free_is_counted_in_tokens() -> None:
    """A large engine that is half full has more room than a small one that is nearly empty."""
    memory = Memory(3)
    memory.scraped(0, 0.0, usage=0.5, kv_tokens=400_000, own_tokens=0)
    memory.scraped(1, 0.0, usage=0.1, kv_tokens=100_000, own_tokens=0)
    memory.scraped(2, 0.0, usage=0.1, kv_tokens=None, own_tokens=0)
    usage, free = memory.estimated(SLOTS, NONE, 0.0)
    assert usage.tolist() == [0.5, 0.1, 0.1]
    assert free.tolist() == [200_000, 90_000, 360_000]  # a size that nobody told is the (upper) median of those told


def test_own_picks_since_the_scrape_count() -> None:
    """And own ends, too."""
    memory = Memory(1)
    memory.scraped(0, 0.0, usage=0.5, kv_tokens=1_000, own_tokens=100)
    assert memory.estimated(SLOTS[:1], np.array([300]), 0.0)[0].tolist() == [pytest.approx(0.7)]
    assert memory.estimated(SLOTS[:1], np.array([0]), 0.0)[0].tolist() == [pytest.approx(0.4)]


def test_an_old_number_gives_way_to_what_is_usual() -> None:
    """Nobody keeps an attractive number, nor an ugly one."""
    memory = Memory(3)
    for slot, usage in enumerate((0.0, 0.6, 0.6)):
        memory.scraped(slot, 0.0, usage=usage, kv_tokens=1_000, own_tokens=0)
    later = FRESH_S + 20 * HALF_LIFE_S
    for slot in (1, 2):
        memory.scraped(slot, later, usage=0.6, kv_tokens=1_000, own_tokens=0)
    assert memory.estimated(SLOTS, NONE, 0.0)[0].tolist() == [0.0, 0.6, 0.6]
    assert memory.estimated(SLOTS, NONE, later)[0].tolist() == [pytest.approx(0.6, abs=1e-3), 0.6, 0.6]


def test_an_endpoint_that_never_reports_is_as_the_others_are() -> None:
    """It would look empty, and take everything."""
    memory = Memory(3)
    memory.scraped(0, 0.0, usage=0.8, kv_tokens=1_000, own_tokens=0)
    memory.scraped(1, 0.0, usage=0.4, kv_tokens=1_000, own_tokens=0)
    assert memory.estimated(SLOTS, NONE, 0.0)[0].tolist() == [0.8, 0.4, pytest.approx(0.8)]


@pytest.mark.parametrize(("told", "taken"), [(1.7, 1.0), (-3.0, 0.0), (math.nan, 0.0), (None, 0.0)])
def test_numbers_that_cannot_be(told: float | None, taken: float) -> None:
    """They are brought into range, or not taken at all."""
    memory = Memory(1)
    memory.scraped(0, 0.0, usage=told, kv_tokens=100, own_tokens=0)
    assert memory.estimated(SLOTS[:1], NONE[:1], 0.0)[0].tolist() == [taken]


def test_an_endpoint_that_leaves_is_forgotten() -> None:
    """Growing keeps the others."""
    memory = Memory(1)
    memory.scraped(0, 0.0, usage=0.9, kv_tokens=100, own_tokens=50)
    memory.grow(3)
    assert memory.estimated(SLOTS, NONE + 50, 0.0)[0][0] == pytest.approx(0.9)
    memory.reset(0)
    assert memory.estimated(SLOTS, NONE, 0.0)[0].tolist() == [0.0] * 3


def test_usage_as_it_was_told() -> None:
    """The mean of those that told lately; nobody is guessed."""
    memory = Memory(3)
    assert memory.told_usage(SLOTS, 0.0) is None
    memory.scraped(0, 0.0, usage=0.5, kv_tokens=400_000, own_tokens=0)
    memory.scraped(1, 60.0, usage=0.9, kv_tokens=None, own_tokens=0)
    assert memory.told_usage(SLOTS[:1], 0.0) == 0.5
    assert memory.told_usage(SLOTS, 60.0) == 0.9


def test_what_is_held_is_known_while_it_is_fresh() -> None:
    """And only of an engine that has told its size as well, now or before."""
    memory = Memory(2)
    memory.scraped(0, 0.0, usage=0.5, kv_tokens=None, own_tokens=0)
    assert memory.held(0, 0.0) is None
    memory.scraped(0, 1.0, usage=None, kv_tokens=1_000, own_tokens=0)
    memory.scraped(0, 2.0, usage=0.25, kv_tokens=None, own_tokens=0)
    assert memory.held(0, 2.0) == 250
    assert memory.held(0, 2.0 + FRESH_S) == 250
    assert memory.held(0, 2.1 + FRESH_S) is None
    memory.scraped(1, 2.0, usage=math.nan, kv_tokens=1_000, own_tokens=0)
    assert memory.held(1, 2.0) is None

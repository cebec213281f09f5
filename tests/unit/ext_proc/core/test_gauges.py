"""Scraped numbers: corrected by own picks, and worth less with age."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.gauges import FRESH_S, HALF_LIFE_S, Gauges


def estimated(gauges: Gauges, in_flight: int, now: float, slot: int = 0) -> tuple[float, float]:
    """Waiting and running on one slot."""
    waiting, running = gauges.estimated(np.array([slot]), np.array([in_flight]), now)
    return float(waiting[0]), float(running[0])


def foreign(gauges: Gauges, now: float, slot: int = 0) -> tuple[float, float]:
    """The others' waiting and running on one slot."""
    waiting, running = gauges.foreign(np.array([slot]), now)
    return float(waiting[0]), float(running[0])


def knows_foreign(gauges: Gauges) -> bool:
    """Whether any load of others is known."""
    return gauges.has_foreign


def test_own_picks_since_the_scrape_wait() -> None:
    """A scrape of 2 waiting and 8 running; three picks later, 5 wait."""
    gauges = Gauges(8)
    gauges.scraped(0, 10.0, running=8, waiting=2, in_flight=4, decoding=4)
    assert estimated(gauges, 4, 10.0) == (2, 8)
    assert estimated(gauges, 7, 10.5) == (5, 8)


def test_own_ends_since_the_scrape_make_room() -> None:
    """Ended requests let waiting ones run, and only then the running ones become fewer."""
    gauges = Gauges(8)
    gauges.scraped(0, 10.0, running=8, waiting=2, in_flight=10, decoding=8)
    assert estimated(gauges, 9, 10.0) == (1, 8)
    assert estimated(gauges, 5, 10.0) == (0, 5)
    assert estimated(gauges, 0, 10.0) == (0, 0)


def test_an_old_scrape_gives_way_to_the_own_account() -> None:
    """Full weight while fresh, half of it after a half-life, nothing in the end; never scraped is nothing at once."""
    gauges = Gauges(8)
    gauges.scraped(0, 0.0, running=6, waiting=8, in_flight=2, decoding=2)
    assert estimated(gauges, 2, FRESH_S) == (8, 6)
    assert estimated(gauges, 2, FRESH_S + HALF_LIFE_S) == pytest.approx((5, 3))
    assert estimated(gauges, 2, 10_000.0) == pytest.approx((2, 0))
    assert estimated(gauges, 3, 0.0, slot=1) == (3, 0)


def test_foreign_is_what_we_did_not_send() -> None:
    """Beyond the own requests in flight; those that have no first token explain waiting ones first."""
    gauges = Gauges(8)
    assert not knows_foreign(gauges)
    gauges.scraped(0, 0.0, running=5, waiting=0, in_flight=5, decoding=3)
    assert foreign(gauges, 0.0) == (0, 0)
    assert not knows_foreign(gauges)
    gauges.scraped(0, 0.0, running=8, waiting=4, in_flight=5, decoding=3)
    assert foreign(gauges, 0.0) == (2, 5)
    assert knows_foreign(gauges)
    assert foreign(gauges, FRESH_S + 2 * HALF_LIFE_S) == pytest.approx((0.5, 1.25))
    assert foreign(gauges, 0.0, slot=1) == (0, 0)


def test_reset_forgets() -> None:
    """Age and numbers are gone."""
    gauges = Gauges(8)
    assert gauges.age_s(0, 5.0) is None
    gauges.scraped(0, 3.0, running=5, waiting=1, in_flight=0, decoding=0)
    assert gauges.age_s(0, 5.0) == 2.0
    gauges.reset(0)
    assert gauges.age_s(0, 5.0) is None
    assert foreign(gauges, 3.0) == (0, 0)
    assert estimated(gauges, 0, 3.0) == (0, 0)


def test_grows() -> None:
    """New slots were never scraped, old numbers stay."""
    gauges = Gauges(8)
    gauges.scraped(7, 0.0, running=5, waiting=1, in_flight=0, decoding=0)
    gauges.grow(16)
    gauges.grow(8)
    assert estimated(gauges, 0, 0.0, slot=7) == (1, 5)
    assert estimated(gauges, 0, 0.0, slot=15) == (0, 0)


_COUNT = st.integers(0, 1_000)


@given(_COUNT, _COUNT, _COUNT, _COUNT, _COUNT, st.floats(0, 1e4))
def test_estimates_are_never_negative(
    running: int, waiting: int, then: int, decoding: int, in_flight: int, age: float
) -> None:
    """Whatever was scraped and sent, at whatever age."""
    gauges = Gauges(8)
    gauges.scraped(0, 0.0, running=running, waiting=waiting, in_flight=then, decoding=min(decoding, then))
    assert min(estimated(gauges, in_flight, age)) >= 0
    assert min(foreign(gauges, age)) >= 0
    assert sum(foreign(gauges, 0.0)) == max(0, running + waiting - then)

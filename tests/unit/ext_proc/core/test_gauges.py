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
    """The others' waiting and running on one slot, asked for in both ways."""
    waiting, running = gauges.foreign(np.array([slot]), now)
    assert gauges.foreign_at(slot, now) == pytest.approx((waiting[0], running[0]))
    return float(waiting[0]), float(running[0])


def knows_foreign(gauges: Gauges) -> bool:
    """Whether any load of others is known."""
    return gauges.has_foreign


def test_own_picks_since_the_scrape_wait() -> None:
    """A scrape of 2 waiting and 8 running; three picks later, 5 wait."""
    gauges = Gauges(8)
    gauges.told(0, 10.0, running=8, waiting=2, in_flight=4, decoding=4)
    assert estimated(gauges, 4, 10.0) == (2, 8)
    assert estimated(gauges, 7, 10.5) == (5, 8)


def test_own_ends_since_the_scrape_make_room() -> None:
    """Ended requests let waiting ones run, and only then the running ones become fewer."""
    gauges = Gauges(8)
    gauges.told(0, 10.0, running=8, waiting=2, in_flight=10, decoding=8)
    assert estimated(gauges, 9, 10.0) == (1, 8)
    assert estimated(gauges, 5, 10.0) == (0, 5)
    assert estimated(gauges, 0, 10.0) == (0, 0)


def test_an_old_scrape_gives_way_to_the_own_account() -> None:
    """Full weight while fresh, half of it after a half-life, nothing in the end; never scraped is nothing at once."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, running=6, waiting=8, in_flight=2, decoding=2)
    assert estimated(gauges, 2, FRESH_S) == (8, 6)
    assert estimated(gauges, 2, FRESH_S + HALF_LIFE_S) == pytest.approx((5, 3))
    assert estimated(gauges, 2, 10_000.0) == pytest.approx((2, 0))
    assert estimated(gauges, 3, 0.0, slot=1) == (3, 0)


def test_foreign_is_what_we_did_not_send() -> None:
    """Beyond the own requests in flight; those that have no first token explain waiting ones first."""
    gauges = Gauges(8)
    assert not knows_foreign(gauges)
    gauges.told(0, 0.0, running=5, waiting=0, in_flight=5, decoding=3)
    assert foreign(gauges, 0.0) == (0, 0)
    assert not knows_foreign(gauges)
    gauges.told(0, 0.0, running=8, waiting=4, in_flight=5, decoding=3)
    assert foreign(gauges, 0.0) == (2, 5)
    assert knows_foreign(gauges)
    assert foreign(gauges, FRESH_S + 2 * HALF_LIFE_S) == pytest.approx((0.5, 1.25))
    assert foreign(gauges, 0.0, slot=1) == (0, 0)


def test_what_was_told_of_others_last_does_not_age() -> None:
    """`foreign` forgets it."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, running=6, waiting=3, in_flight=2, decoding=1)
    assert gauges.foreign_told(0) == (2, 5)
    assert foreign(gauges, FRESH_S + HALF_LIFE_S) == (1, 2.5)
    assert gauges.foreign_told(0) == (2, 5)


def test_reset_forgets() -> None:
    """The numbers are gone."""
    gauges = Gauges(8)
    gauges.told(0, 3.0, running=5, waiting=1, in_flight=0, decoding=0)
    gauges.reset(0)
    assert foreign(gauges, 3.0) == (0, 0)
    assert estimated(gauges, 0, 3.0) == (0, 0)


def test_grows() -> None:
    """New slots were never scraped, old numbers stay."""
    gauges = Gauges(8)
    gauges.told(7, 0.0, running=5, waiting=1, in_flight=0, decoding=0)
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
    gauges.told(0, 0.0, running=running, waiting=waiting, in_flight=then, decoding=min(decoding, then))
    assert min(estimated(gauges, in_flight, age)) >= 0
    assert min(foreign(gauges, age)) >= 0
    assert sum(foreign(gauges, 0.0)) == max(0, running + waiting - then)


def test_freshness_is_that_of_the_source() -> None:
    """Who is heard every 4 s is believed for 8 s; then it fades as for others."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, running=6, waiting=8, in_flight=2, decoding=2, fresh_s=8.0)
    assert estimated(gauges, 2, 8.0) == (8, 6)
    assert foreign(gauges, 8.0) == (8, 4)
    assert estimated(gauges, 2, 8.0 + HALF_LIFE_S) == pytest.approx((5, 3))


def test_numbers_that_come_alone() -> None:
    """The other one stays as it was told, corrected by own picks and ends since, and keeps its own age."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, running=8, waiting=2, in_flight=4, decoding=4, fresh_s=4.0)
    gauges.told(0, 2.0, waiting=7, in_flight=1, decoding=1)  # three own ends: two made room, one left the batch
    assert estimated(gauges, 1, 2.0) == (7, 7)
    assert estimated(gauges, 1, 4.0 + HALF_LIFE_S)[1] == pytest.approx(3.5)
    gauges.told(0, 2.5, running=9, in_flight=1, decoding=1)
    assert estimated(gauges, 1, 2.5) == (7, 9)
    assert foreign(gauges, 2.5) == (7, 8)


def test_only_waiting_is_ever_told() -> None:
    """Whatever runs is taken to be the own; so is what waits, where only running requests are told."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, waiting=5, in_flight=4, decoding=4)
    assert (estimated(gauges, 4, 0.0), foreign(gauges, 0.0)) == ((5, 0), (5, 0))
    gauges.told(1, 0.0, running=6, in_flight=4, decoding=3)
    assert (estimated(gauges, 4, 0.0, slot=1), foreign(gauges, 0.0, slot=1)) == ((0, 6), (0, 3))


def test_one_endpoint_apart_changes_no_other() -> None:
    """Slots whose numbers come together are estimated the same beside one whose do not."""
    gauges = Gauges(8)
    gauges.told(0, 0.0, running=6, waiting=8, in_flight=2, decoding=2)
    before = [(estimated(gauges, 5, now), foreign(gauges, now)) for now in (0.0, 2.0, 9.0)]
    gauges.told(1, 1.0, waiting=3, in_flight=0, decoding=0)
    assert [(estimated(gauges, 5, now), foreign(gauges, now)) for now in (0.0, 2.0, 9.0)] == before


_WORDS = st.tuples(st.floats(0, 20), st.none() | st.integers(0, 50), st.none() | st.integers(0, 50), st.integers(0, 50))


@given(st.lists(_WORDS, max_size=10), st.integers(0, 100), st.floats(0, 40))
def test_nothing_is_ever_negative(words: list[tuple[float, int | None, int | None, int]], own: int, now: float) -> None:
    """Whatever was told in whatever order, and what is told now counts at once."""
    gauges = Gauges(8)
    for at, running, waiting, in_flight in sorted(words, key=lambda word: word[0]):
        gauges.told(0, at, running=running, waiting=waiting, in_flight=in_flight, decoding=in_flight // 2)
        found = estimated(gauges, in_flight, at)
        assert waiting is None or found[0] == waiting
        assert running is None or found[1] == running
    assert min(*estimated(gauges, own, now), *foreign(gauges, now)) >= 0


def test_queues_as_they_were_told() -> None:
    """Own picks since then are not in them; old numbers fade, and nobody is nothing."""
    gauges = Gauges(8)
    slots = np.array([0, 1, 2])
    assert gauges.queues(slots, 0.0) is None
    gauges.told(0, 10.0, running=8, waiting=2, in_flight=0, decoding=0)
    gauges.told(1, 10.0, running=1, waiting=1, in_flight=0, decoding=0)
    assert gauges.queues(slots, 10.0) == (3, 9)
    assert gauges.queues(slots, 10.0 + FRESH_S + HALF_LIFE_S) == (1.5, 4.5)

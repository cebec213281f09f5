"""SGLang's `least_load`."""

import pytest

from tests.unit.sim.baselines.play import A, B, C, Play


def test_the_expected_wait() -> None:
    """(1,024 per waiting request + tokens since the poll) / 2,000 + 0.15 × k / (1 − k) seconds."""
    play = Play("sglang-least-load")
    play.scrape(A, waiting=2)
    play.scrape(B, kv=0.9)
    play.scrape(C, waiting=9, kv=0.5)
    keys = play.keys(1)
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([1.024, 1.35, 4.758])
    assert play.ask(*range(10)) == A
    assert play.keys(1)[A][0] == pytest.approx(1.524)
    assert play.best(1) == {B}


def test_without_polls_it_is_least_requests() -> None:
    """Tokens would pile up for ever then."""
    play = Play("sglang-least-load")
    play.put(A)
    play.end(play.put(B, *range(50)))
    assert play.best(1) == {B, C}


def test_a_poll_takes_back_what_was_sent() -> None:
    """The tokens since the last poll start from 0 at the next one, and full memory ends the barrier."""
    play = Play("sglang-least-load")
    play.scrape(B)
    play.put(A, *range(50))
    assert play.keys(1)[A][0] == pytest.approx(2.5)
    play.scrape(A, kv=1.0)
    assert play.keys(1)[A][0] == pytest.approx(0.15 * 999)

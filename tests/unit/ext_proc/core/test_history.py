"""What a pool has learned from its picks."""

import pytest

from ext_proc.core.events import Picked
from ext_proc.core.history import EVERYBODY, START_GAP_S, START_MEAN_TOKENS, History


def learned(*picks: tuple[float, int, tuple[int, ...]]) -> History:
    """A history of picks, each with its time, its uncached tokens and its blocks."""
    history = History()
    for number, (at, tokens, blocks) in enumerate(picks):
        history.learn(
            Picked(
                decision_id=str(number),
                at=at,
                address="10.0.0.1:8000",
                uncached_tokens=tokens,
                prompt_tokens=tokens,
                max_age_s=1.0,
                pool="p",
                blocks=blocks,
            )
        )
    return history


def test_it_starts_with_a_guess() -> None:
    """Nothing was seen, and nothing is anybody's."""
    history = History()
    assert (history.turn, history.mean_uncached, history.gap_s) == (0, START_MEAN_TOKENS, START_GAP_S)
    assert not history.is_everybodys((1, 2))
    assert history.as_dict() == {"uncached_tokens": 1_000, "gap_ms": 1_000}


def test_means_follow_what_comes() -> None:
    """Half a thousand picks outweigh whatever was before."""
    before = [(float(n), 4_000, ()) for n in range(100)]
    history = learned(*before, *((100 + 0.1 * n, 50, ()) for n in range(500)))
    assert history.turn == 600
    assert history.mean_uncached == pytest.approx(50, rel=0.01)
    assert history.gap_s == pytest.approx(0.1, rel=0.01)


def test_the_first_gaps_count_alike() -> None:
    """The start does not linger for fifty requests; a clock that goes back is no gap."""
    assert learned((10.0, 1, ())).gap_s == START_GAP_S
    assert learned((10.0, 1, ()), (10.2, 1, ())).gap_s == pytest.approx((START_GAP_S + 0.2) / 2)
    assert learned((10.0, 1, ()), (9.0, 1, ())).gap_s == pytest.approx(START_GAP_S / 2)


@pytest.mark.parametrize(("others", "is_everybodys"), [(0, True), (10, True), (4, False), (2, False)])
def test_a_beginning_of_nearly_all(others: int, is_everybodys: bool) -> None:
    """One prompt of ten may begin otherwise, one of four may not; a prompt without blocks begins like nobody."""
    openings = [2 if others and n % others == others - 1 else 1 for n in range(400)]
    history = learned(*((float(n), 1, (first, 1_000 + n)) for n, first in enumerate(openings)))
    assert history.is_everybodys((1, 7)) is is_everybodys
    assert not history.is_everybodys((2, 7))
    assert not history.is_everybodys(())
    assert (history.opening_share >= EVERYBODY) is is_everybodys


def test_another_beginning_takes_over() -> None:
    """A new system prompt is everybody's as soon as nearly all of the latest prompts have it."""
    picks = [(float(n), 1, (1 if n < 200 else 2,)) for n in range(400)]
    assert learned(*picks).is_everybodys((2,))
    assert not learned(*picks).is_everybodys((1,))


def test_short_prompts_say_nothing_about_beginnings() -> None:
    """Those without a whole block neither strengthen nor weaken what the others begin with."""
    picks = [(float(n), 1, (1,) if n % 2 else ()) for n in range(200)]
    assert learned(*picks).is_everybodys((1,))

"""Learning how fast endpoints are: θ is found, slow ones are told apart, and nothing becomes negative."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.speed import ENOUGH, GUESS, MOST_FACTOR, SETTLED, SURPRISES, Speed


def taught(rows: int, *, slow: float = 1.0, scale: float = 1.0, noise: float = 0.1) -> Speed:
    """Four endpoints, the last one `slow` times slower, whose first tokens follow a known θ with some noise."""
    rng = random.Random(7)
    speed = Speed(8)
    for n in range(rows):
        uncached, cached = rng.randrange(1, 4_000), rng.randrange(0, 8_000)
        requests, held = rng.randrange(0, 60), rng.randrange(0, 200_000)
        ms = 12 + 0.03 * uncached + 1e-6 * uncached * (cached + uncached / 2) + 0.05 * requests + 8e-5 * held
        ms *= scale * (slow if n % 4 == 3 else 1.0) * rng.uniform(1 - noise, 1 + noise)
        tokens = cached + uncached
        speed.learn(n % 4, ms, wait_ms=0, uncached=uncached, tokens=tokens, requests=requests, held=held)
    return speed


@pytest.mark.parametrize("scale", [1.0, 0.1, 100.0])
def test_finds_what_first_tokens_follow(scale: float) -> None:
    """Each coefficient on engines of any speed, from a GPU to a server without one."""
    speed = taught(600, scale=scale)
    assert speed.is_learned
    assert speed.token_ms / scale == pytest.approx(0.03, rel=0.05)
    assert speed.pair_ms / scale == pytest.approx(1e-6, rel=0.2)
    assert speed.held_ms / scale == pytest.approx(8e-5, rel=0.1)
    assert speed.base_ms / scale == pytest.approx(12, rel=0.2)
    assert speed.factor[:4] == pytest.approx(1, abs=0.05)


def test_guesses_until_enough_is_known() -> None:
    """The first rows change nothing by themselves; they count all the same."""
    assert not taught(ENOUGH - 1).is_learned
    assert taught(ENOUGH).is_learned
    assert Speed(8).base_ms == GUESS[0]


def test_a_slow_endpoint_has_a_factor() -> None:
    """Three times slower than the usual one, less what is not believed."""
    speed = taught(1_000, slow=3.0)
    assert 2.0 < speed.factor[3] < 3.2
    assert speed.factor[:3] == pytest.approx(1, abs=0.1)
    assert speed.factor[5] == 1.0
    speed.reset(3)
    assert speed.factor[3] == 1.0


def test_a_request_that_waited_teaches_nothing() -> None:
    """Its time is not its own."""
    speed = taught(2 * SETTLED)
    before = speed.as_dict(), speed.factor.tolist()
    for _ in range(200):
        speed.learn(2, 4_000, wait_ms=1_000, uncached=100, tokens=100, requests=0, held=0)
    assert (speed.as_dict(), speed.factor.tolist()) == before


_FINITE = st.floats(0, 1e7)


@given(
    st.lists(
        st.tuples(st.integers(0, 7), _FINITE, st.sampled_from([0.0, 50.0]), st.integers(1, 10**6), st.integers(0, 300)),
        max_size=200,
    )
)
def test_nothing_that_is_told_makes_time_negative(rows: list[tuple[int, float, float, int, int]]) -> None:
    """Not even contradictions: coefficients are finite and not negative, factors within their bounds."""
    speed = Speed(8)
    for slot, ms, wait, tokens, requests in rows:
        speed.learn(slot, ms, wait_ms=wait, uncached=tokens, tokens=tokens, requests=requests, held=requests * 100)
    coefficients = [speed.base_ms, speed.token_ms, speed.pair_ms, speed.request_ms, speed.held_ms]
    assert min(coefficients) >= 0
    assert np.isfinite(coefficients).all()
    assert speed.factor.min() >= 1 / MOST_FACTOR - 1e-9
    assert speed.factor.max() <= MOST_FACTOR + 1e-9


def test_an_endpoint_that_becomes_another_one_is_noticed_at_once() -> None:
    """Ten times slower from one moment on: believed after three first tokens; and three to believe that it is over."""
    speed = taught(600)
    usual_ms = 12 + 0.03 * 1_000 + 1e-6 * 1_000 * 500
    for n in range(SURPRISES):
        assert speed.factor[1] == pytest.approx(1.0, abs=0.3), n
        speed.learn(1, 10 * usual_ms, wait_ms=0, uncached=1_000, tokens=1_000, requests=0, held=0)
    assert speed.factor[1] == pytest.approx(MOST_FACTOR, rel=0.1)
    assert speed.factor[0] == pytest.approx(1.0, abs=0.1)
    for _ in range(SURPRISES + 1):
        speed.learn(1, usual_ms / 1.1, wait_ms=0, uncached=1_000, tokens=1_000, requests=0, held=0)
    assert speed.factor[1] == pytest.approx(1.0, abs=0.3)


def test_two_surprises_and_a_usual_one_are_noise() -> None:
    """It stays what it was, but for the little that each request says."""
    speed = taught(600)
    for factor in (10, 10, 1, 10, 10, 1):
        speed.learn(1, factor * 42.5, wait_ms=0, uncached=1_000, tokens=1_000, requests=0, held=0)
    assert speed.factor[1] < 1.3

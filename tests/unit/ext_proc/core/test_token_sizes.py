"""Tokens of a prompt by its bytes: learned from what engines counted, and from nothing that cannot be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_TOKENS, tokens_in
from ext_proc.core.token_sizes import ENOUGH, MAX_MODELS, TokenSizes, block_tokens_of


def taught(
    rate: float, overhead: float = 0.0, *, reports: int = 100, least: int = 100, most: int = 40_000, noise: float = 0.0
) -> TokenSizes:
    """Prompts of all lengths, at `rate` bytes a token, to which a template adds something."""
    rng, sizes = random.Random(1), TokenSizes()
    for _ in range(reports):
        size = round(least * (most / least) ** rng.random())
        exact = overhead + size / rate
        sizes.learn("m", size, max(1, round(exact * (1 + noise * (2 * rng.random() - 1)))))
    return sizes


@pytest.mark.parametrize(("rate", "overhead"), [(4.5, 0), (3.1, 12), (2.2, 150), (1.4, 30), (6.0, 400)])
def test_rate_and_overhead_are_found(rate: float, overhead: float) -> None:
    """Short prompts and long ones are within 5 %, whatever the tokenizer and the template."""
    sizes = taught(rate, overhead, noise=0.1)
    for size in (200, 2_000, 20_000, 200_000):
        exact = overhead + size / rate
        assert sizes.tokens("m", size) == pytest.approx(exact, rel=0.05, abs=3)


def test_until_enough_is_known_the_usual_holds() -> None:
    """Seven reports are not believed, the eighth is; and of other models nothing is known."""
    sizes = taught(2.0, reports=ENOUGH - 1)
    assert (sizes.tokens("m", 4_000), sizes.as_dict()) == (tokens_in(4_000), {})
    sizes.learn("m", 4_000, 2_000)
    assert sizes.tokens("m", 4_000) > 1_500
    assert sizes.tokens("other", 4_000) == tokens_in(4_000)
    assert sizes.as_dict()["m"]["reports"] == ENOUGH


@pytest.mark.parametrize("absurd", [0, 1, 10**9, 250, 10_000 + 1_025])
def test_what_no_tokenizer_makes_teaches_nothing(absurd: int) -> None:
    """10,000 bytes are not 250 tokens, nor more than bytes."""
    sizes = taught(4.0, noise=0.1)
    before = sizes.tokens("m", 10_000)
    sizes.learn("m", 10_000, absurd)
    assert sizes.tokens("m", 10_000) == before


@pytest.mark.parametrize(("size", "tokens"), [(10_000, 6_250), (10_000, 650), (1_000_000, 62_500), (100, 7)])
def test_one_strange_report_is_one_of_many(size: int, tokens: int) -> None:
    """A prompt with two and a half times the usual tokens, or a quarter of them, moves the next ones by 3 % at most."""
    sizes = taught(4.0, noise=0.1)
    before = sizes.tokens("m", 10_000)
    sizes.learn("m", size, tokens)
    assert sizes.tokens("m", 10_000) == pytest.approx(before, rel=0.03)


def test_it_forgets() -> None:
    """Two hundred Chinese prompts after a hundred English ones: what is believed is Chinese."""
    for before, after in ((4, 2), (2, 8)):
        sizes = taught(before)
        for size in range(1_000, 21_000, 100):
            sizes.learn("m", size, size // after)
        assert sizes.tokens("m", 10_000) == pytest.approx(10_000 / after, rel=0.1)


def test_models_are_bounded() -> None:
    """The one that was told of longest ago goes."""
    sizes = TokenSizes()
    for n in range(MAX_MODELS + 5):
        sizes.learn("kept", 400, 100)
        sizes.learn(f"m{n}", 400, 100)
    assert len(sizes) == MAX_MODELS
    for _ in range(ENOUGH):
        sizes.learn("m0", 400, 100)
    assert set(sizes.as_dict()) == {"kept", "m0"}


@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(-5, 10**8)), max_size=60), st.integers(0, 10**9))
def test_whatever_is_told(reports: list[tuple[int, int]], size: int) -> None:
    """A length is at least one token, grows with the bytes, and is one that a tokenizer can make."""
    sizes = TokenSizes()
    for bytes_, tokens in reports:
        sizes.learn("m", bytes_, tokens)
    found = sizes.tokens("m", size)
    assert 1 <= found <= size + 1_025
    assert found >= size // 16
    assert sizes.tokens("m", size + 1_000) >= found


def test_tokens_of_a_block() -> None:
    """As many as usual while nothing else is known; else the prompt's own, spread over its bytes."""
    assert block_tokens_of(tokens_in(10_001), 10_001) == BLOCK_TOKENS
    assert block_tokens_of(5_000, 10_000) == 128
    assert block_tokens_of(3, 0) > 0

"""Prompts from blocks: equal ids are equal text, and lengths are the trace's."""

import pytest

from sim import tokens
from sim.sending.prompts import PROBE_WORDS, Prompts, Sizing, sizing, words
from sim.traces.trace import TraceRequest

BLOCK = 16


def asked(*blocks: int, tokens: int = 100) -> TraceRequest:
    """A request with these blocks."""
    return TraceRequest(0.0, blocks, tokens, 5)


def shared(one: str, other: str) -> int:
    """Characters at the beginning that are equal."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@pytest.mark.parametrize("per_word", [1.0, 1.37, 4.0])
def test_prompts_share_text_as_far_as_their_blocks_are_equal(per_word: float) -> None:
    """To the word at the end of the last equal block, whatever an endpoint makes of a word; not one block further."""
    prompts = Prompts(BLOCK, "salt", Sizing(per_word))
    one = prompts.text(0, asked(7, 8, 9))
    other = prompts.text(1, asked(7, 8, 10))
    equal = round(2 * BLOCK / per_word) * tokens.CHARS_PER_TOKEN
    assert equal <= shared(one, other) < equal + BLOCK
    assert prompts.text(0, asked(7, 8, 9)) == one


def test_what_lies_behind_the_blocks_is_its_own() -> None:
    """Two requests with the same blocks part where the blocks end, even if all else is equal."""
    prompts = Prompts(BLOCK, "salt")
    one, other = prompts.text(0, asked(1, 2)), prompts.text(1, asked(1, 2))
    equal = 2 * BLOCK * tokens.CHARS_PER_TOKEN
    assert equal <= shared(one, other) < equal + BLOCK


def test_another_salt_shares_nothing() -> None:
    """So that a run does not find the caches of an earlier one."""
    one, other = (Prompts(BLOCK, salt).text(0, asked(1, 2)) for salt in ("a", "b"))
    assert shared(one, other) < BLOCK


@pytest.mark.parametrize(("per_word", "overhead"), [(1.0, 0), (1.0, 8), (1.37, 11), (4.0, 30), (0.25, 0)])
@pytest.mark.parametrize("length", [48, 100, 5_000])
def test_lengths_are_the_traces(per_word: float, overhead: int, length: int) -> None:
    """Words times their tokens, and what is around them, are the prompt's tokens to a word; never less than blocks."""
    prompts = Prompts(BLOCK, "salt", Sizing(per_word, overhead, is_measured=True))
    text = prompts.text(3, asked(1, 2, 3, tokens=length))
    count = len(text) // tokens.CHARS_PER_TOKEN
    blocks = 3 * BLOCK
    assert count * per_word + overhead == pytest.approx(max(length, blocks + overhead), abs=per_word)


def test_a_prompt_is_never_empty() -> None:
    """One word at least, also where the template alone is longer than the trace's prompt."""
    assert Prompts(BLOCK, "salt", Sizing(1.0, 50)).text(0, asked(tokens=3))


def test_simulated_pods_count_a_token_a_word() -> None:
    """The texts are in whole tokens for them."""
    assert tokens.count(tokens.encode([words("x", 1_000)])) == 1_000


def test_sizes_are_learned_from_two_probes() -> None:
    """The slope is the tokens of a word, the rest is around them."""
    few, many = PROBE_WORDS
    assert sizing([(few, few * 3 // 2 + 12), (many, many * 3 // 2 + 12)]) == Sizing(1.5, 12, is_measured=True)


@pytest.mark.parametrize("told", [(0, 0), (500, 100), (10, 10), (64, 512 * 64), (0, 448)])
def test_numbers_of_no_tokenizer_count_as_unknown(told: tuple[int, int]) -> None:
    """No usage at all, fewer tokens for more words, too many for a word, less than nothing around them."""
    assert sizing(list(zip(PROBE_WORDS, told, strict=True))) == Sizing()


def test_probes_begin_like_nothing_else() -> None:
    """Neither like each other nor like a prompt."""
    prompts = Prompts(BLOCK, "salt")
    texts = [*map(prompts.probe, PROBE_WORDS), prompts.text(0, asked(1, 2)), prompts.text(1, asked(3))]
    assert all(shared(a, b) < BLOCK for n, a in enumerate(texts) for b in texts[:n])

"""Tokens, chains and answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import tokens

texts = st.lists(st.text(max_size=40), max_size=6)


@pytest.mark.parametrize(("segments", "expected"), [([], 0), ([""], 0), (["abcd"], 1), (["abcde"], 2), (["a", "b"], 2)])
def test_four_characters_make_a_token_and_segments_start_anew(segments: list[str], expected: int) -> None:
    """Each segment takes its own, rounded-up number of tokens."""
    assert tokens.count(tokens.encode(segments)) == expected


@given(texts, texts, texts)
def test_equal_beginnings_have_equal_blocks(head: list[str], left: list[str], right: list[str]) -> None:
    """Two prompts share the hashes of every block that lies in their common beginning."""
    common = tokens.count(tokens.encode(head)) // 2
    one = tokens.chain("m", tokens.encode(head + left), 2)
    other = tokens.chain("m", tokens.encode(head + right), 2)
    assert one[:common] == other[:common]


def test_a_change_reaches_all_later_blocks() -> None:
    """Hashes are chained: the same block after another beginning is another block."""
    one = tokens.chain("m", tokens.encode(["abcd", "same", "tail"]), 1)
    other = tokens.chain("m", tokens.encode(["abcX", "same", "tail"]), 1)
    assert not set(one) & set(other)


def test_models_share_nothing() -> None:
    """The model's name starts the chain."""
    prompt = tokens.encode(["the same prompt for two models"])
    assert not set(tokens.chain("m", prompt, 2)) & set(tokens.chain("n", prompt, 2))


def test_only_full_blocks_have_hashes() -> None:
    """The rest of a prompt that fills no block is nobody else's."""
    assert len(tokens.chain("m", tokens.encode(["x" * 4 * 33]), 16)) == 2


def test_odd_text_is_text() -> None:
    """Lone surrogates and characters beyond 16 bits count like all others."""
    assert tokens.count(tokens.encode(["\ud800\U0001f600xy"])) == 1


def test_token_ids_are_tokens() -> None:
    """One id is one token, never equal to text, and must fit into 64 bits."""
    assert tokens.count(tokens.encode_ids([1, 2, 2**64 - 1])) == 3
    assert tokens.encode_ids([97]) != tokens.encode(["a"])
    for bad in (-1, 2**64):
        with pytest.raises(ValueError, match="token ids"):
            tokens.encode_ids([bad])


@given(st.text(max_size=40), st.integers(1, 50))
def test_an_answer_has_as_many_tokens_as_it_should(prompt: str, length: int) -> None:
    """Word by word or as the next prompt's segment, an answer of n words is n tokens, and it is always the same."""
    encoded = tokens.encode([prompt])
    words = tokens.answer("m", encoded, length)
    assert len(words) == tokens.count(tokens.encode(["".join(words)])) == length
    assert words == tokens.answer("m", encoded, length)


def test_answers_differ() -> None:
    """Other prompts and other models get other answers."""
    answers = {
        tuple(tokens.answer(model, tokens.encode([prompt]), 8)) for model in ("m", "n") for prompt in ("p", "q", "r")
    }
    assert len(answers) == 6

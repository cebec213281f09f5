"""Prompts from pieces: blocks are shared exactly as far as the content is the same."""

from hypothesis import given
from hypothesis import strategies as st

from sim.traces.texts import Prompt, Texts

Pieces = list[tuple[int, int]]

PIECES = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 25)), max_size=6)


def put_together(texts: Texts, pieces: Pieces) -> Prompt:
    """A prompt of (text, tokens) pieces."""
    prompt = Prompt()
    for text, tokens in pieces:
        prompt = texts.add(prompt, text, tokens)
    return prompt


def content(pieces: Pieces) -> list[tuple[int, int]]:
    """The same prompt token by token: (text, position in it)."""
    return [(text, position) for text, tokens in pieces for position in range(tokens)]


def test_blocks_are_whole_ones() -> None:
    """430 tokens have six whole blocks of 64 and 46 tokens behind them."""
    prompt = put_together(Texts(64), [(1, 400), (2, 30)])
    assert (len(prompt.blocks), prompt.rest, prompt.tokens) == (6, ((1, 384, 16), (2, 0, 30)), 430)


def test_texts_are_new() -> None:
    """No text is given out twice."""
    texts = Texts(8)
    assert len({texts.new() for _ in range(10)}) == 10


@given(PIECES, PIECES)
def test_shared_blocks_are_shared_content(first: Pieces, second: Pieces) -> None:
    """Two prompts have as many equal ids as they have whole blocks of the same content from the start."""
    texts = Texts(8)
    one, two = put_together(texts, first), put_together(texts, second)
    same = 0
    for left, right in zip(content(first), content(second), strict=False):
        if left != right:
            break
        same += 1
    assert len(one.blocks) == len(content(first)) // 8
    assert len(set(one.blocks)) == len(one.blocks)
    assert one.blocks[: same // 8] == two.blocks[: same // 8]
    assert not set(one.blocks[same // 8 :]) & set(two.blocks[same // 8 :])

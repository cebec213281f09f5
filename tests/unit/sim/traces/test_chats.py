"""Conversations: prefixes that grow, and a rate that rises and falls."""

import random
from itertools import islice, pairwise

import pytest

from sim.traces.chats import Chat, Diurnal
from sim.traces.texts import Texts


def test_each_turn_sends_all_before_it() -> None:
    """A prompt begins with the prompt and the answer of the turn before; conversations share the system prompt only."""
    chat = Chat(turns=6, system_tokens=130)
    texts = Texts(64)
    sessions = list(islice(chat.sessions(random.Random(1), texts), 50))
    for session in sessions:
        for earlier, later in pairwise(session):
            known = earlier.prompt.blocks + earlier.answer_blocks
            assert later.prompt.blocks[: len(known)] == known
            assert later.offset_s - earlier.offset_s >= earlier.output_tokens * chat.token_s
    seen = [{block for turn in session for block in turn.prompt.blocks} for session in sessions]
    system = seen[0] & seen[1]
    assert len(system) == 130 // 64
    assert all(left & right <= system for left, right in pairwise(seen))


def test_a_conversation_ends_before_the_context_does() -> None:
    """Prompt and answer never exceed the context; the first turn is always sent."""
    chat = Chat(turns=100, context_tokens=2_000, question_sigma=0.2)
    sessions = list(islice(chat.sessions(random.Random(2), Texts(64)), 30))
    assert all(turn.prompt.tokens + turn.output_tokens <= 2_000 for session in sessions for turn in session[1:])
    assert min(len(session) for session in sessions) >= 1


def test_diurnal_follows_the_sine() -> None:
    """Over many periods the first half of each has (1 + 2d/π) / (1 − 2d/π) as many starts as the second one."""
    starts = list(islice(Diurnal(period_s=100, depth=0.5).starts(random.Random(3), 10.0), 40_000))
    day = sum(at % 100 < 50 for at in starts)
    assert day / (len(starts) - day) == pytest.approx((1 + 1 / 3.14159) / (1 - 1 / 3.14159), rel=0.05)
    assert len(starts) / starts[-1] == pytest.approx(10.0, rel=0.03)

"""The draws that all loads are made of."""

import random
from itertools import islice

import pytest

from sim.traces.chats import Chat
from sim.traces.load import LONGEST_MEDIANS, Load, Popularity, asked, geometric, length, seconds
from sim.traces.texts import Prompt, Texts

DRAWS = 20_000


def test_length_has_its_median_and_its_bounds() -> None:
    """Half are below the median, none is below 1 or above the limit."""
    rng = random.Random(1)
    drawn = sorted(length(rng, 100, 1.0) for _ in range(DRAWS))
    assert drawn[DRAWS // 2] == pytest.approx(100, rel=0.05)
    assert drawn[0] >= 1
    assert drawn[-1] == 100 * LONGEST_MEDIANS
    assert {length(rng, 100, 0.0) for _ in range(10)} == {100}


def test_no_time_is_no_time() -> None:
    """A median of 0 s means at once."""
    assert seconds(random.Random(1), 0.0, 1.0) == 0.0


@pytest.mark.parametrize("mean", [1, 2, 7])
def test_geometric_has_its_mean(mean: int) -> None:
    """Counts begin at 1 and have the wanted mean."""
    rng = random.Random(2)
    drawn = [geometric(rng, mean) for _ in range(DRAWS)]
    assert min(drawn) == 1
    assert sum(drawn) / DRAWS == pytest.approx(mean, rel=0.03)


def test_popularity_follows_zipf() -> None:
    """With exponent 1 the first is twice as frequent as the second; with 0 all are equal."""
    rng = random.Random(3)
    for exponent, ratio in ((1.0, 2.0), (0.0, 1.0)):
        popularity = Popularity(10, exponent)
        drawn = [popularity.draw(rng) for _ in range(DRAWS)]
        assert set(drawn) == set(range(10))
        assert drawn.count(0) / drawn.count(1) == pytest.approx(ratio, rel=0.1)


def test_asked_knows_the_blocks_of_the_answer() -> None:
    """A prompt of 10 tokens and an answer of 8 complete the blocks 2 and 3 of 6 tokens."""
    texts = Texts(6)
    turn, after = asked(texts, texts.add(Prompt(), texts.new(), 10), 8, 1.5, "me")
    assert (len(turn.prompt.blocks), len(turn.answer_blocks), turn.output_tokens) == (1, 2, 8)
    assert turn.prompt.blocks + turn.answer_blocks == after.blocks
    assert (turn.offset_s, turn.tenant, turn.stream) == (1.5, "me", True)


def test_sessions_start_at_their_rate() -> None:
    """A plain load starts sessions one by one, independently, at the mean rate."""
    starts = list(islice(Chat().starts(random.Random(4), 5.0), DRAWS))
    assert starts == sorted(starts)
    assert DRAWS / starts[-1] == pytest.approx(5.0, rel=0.03)


def test_bounds_are_held() -> None:
    """A parameter out of its bounds is named."""
    with pytest.raises(ValueError, match="turns must be between 1 and 1000, not 0"):
        Chat(turns=0)
    with pytest.raises(ValueError, match="think_s must be between"):
        Chat(think_s=float("nan"))


def test_a_load_must_say_what_it_is() -> None:
    """The base class makes nothing."""
    with pytest.raises(NotImplementedError):
        Load().sessions(random.Random(1), Texts(8))

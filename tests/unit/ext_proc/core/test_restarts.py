"""New processes, by counters that began anew."""

import pytest

from ext_proc.core.events import Scraped
from ext_proc.core.restarts import Restarts


def scraped(at: float, prompt: int | None = None, generation: int | None = None) -> Scraped:
    """A scrape with these counters."""
    return Scraped(address="a", at=at, running=0, waiting=0, prompt_tokens=prompt, generation_tokens=generation)


@pytest.mark.parametrize(
    ("counters", "found"),
    [
        ([(5, 5), (6, 5), (6, 6)], [False, False, False]),
        ([(5, 5), (0, 0), (1, 1), (2, 2)], [False, False, True, False]),
        ([(5, 5), (9, 1), (9, 2)], [False, False, True]),
        ([(5, None), (4, None), (4, None)], [False, False, True]),
        ([(5, 5), (4, 4), (4, 4), (2, 4), (3, 4)], [False, False, True, False, True]),
        ([(None, None), (4, None)], [False, False]),
        ([(5, 5), (None, 6), (4, 7), (4, 7)], [False, False, False, True]),
        ([(5, 5), (None, None), (4, 4), (None, None), (4, 4)], [False, False, False, False, True]),
    ],
)
def test_counters_that_go_back(counters: list[tuple[int | None, int | None]], found: list[bool]) -> None:
    """Either one does, even when it was missing from a page in between; but only once it has done so twice in a row."""
    it = Restarts()
    assert [it.is_new(0, scraped(float(at), *each)) for at, each in enumerate(counters)] == found


def test_a_rank_that_is_missing_once() -> None:
    """The sum of the others is less; with it back the process is the same, however often that happens."""
    it = Restarts()
    pages = [(100, 40), (50, 20), (104, 44), (53, 22), (106, 46)]
    assert [it.is_new(0, scraped(float(at), *each)) for at, each in enumerate(pages)] == [False] * 5


def test_scrapes_that_were_overtaken_say_nothing() -> None:
    """What is older than the last one is of the same process."""
    it = Restarts()
    assert not it.is_new(0, scraped(2.0, 5))
    assert not it.is_new(0, scraped(1.0, 4))
    assert not it.is_new(0, scraped(3.0, 5))


def test_slots_are_apart() -> None:
    """And one that changed hands begins anew."""
    it = Restarts()
    it.is_new(0, scraped(1.0, 5))
    assert not it.is_new(1, scraped(2.0, 4))
    it.reset(0)
    assert not it.is_new(0, scraped(2.0, 4))

"""What was believed cached against what was found: verdicts, what follows from them, and the way back."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import RequestEnded, Scraped
from ext_proc.core.judge import BAD, GOOD, LONG_WINDOW, STALE_WINDOWS, WINDOW, Verdict
from ext_proc.core.truth import MAX_NEWS, Truth

A, B = "10.0.0.1:8000", "10.0.0.2:8000"
PROMPT = 1_000
BELIEVED = 800


class Pool:
    """Requests of 1,000 tokens, of which 800 are believed cached. Mutable: the truth, and the engines' counters."""

    def __init__(self) -> None:
        self.truth = Truth("p")
        self.truth.keep({A, B})
        self.counters = {A: [0, 0, 0], B: [0, 0, 0]}

    def answer(
        self, found: int | None, times: int = WINDOW, *, at: Iterable[str] = (A,), believed: int = BELIEVED, **how: Any
    ) -> None:
        """Answers that tell so much, from each endpoint in turn."""
        for _ in range(times):
            for address in at:
                event = RequestEnded(
                    decision_id="d", at=0, status=200, served=address, prompt_tokens=PROMPT, cached_tokens=found
                )
                self.truth.ended(event, believed, PROMPT, PROMPT, **how)

    def count(self, address: str = A, *, prompts: int = 0, queries: int | None = None, hits: int = 0) -> None:
        """The engine's counters go up; it looked up all prompts unless it is said otherwise."""
        counters = self.counters[address]
        for n, more in enumerate((prompts, prompts if queries is None else queries, hits)):
            counters[n] += more
        prompt_tokens, looked_up, found = counters
        self.truth.scraped(
            Scraped(
                address=address,
                at=0,
                running=0,
                waiting=0,
                prompt_tokens=prompt_tokens,
                prefix_queries=looked_up,
                prefix_hits=found,
            )
        )

    def trust(self) -> list[float] | None:
        """Of both endpoints."""
        found = self.truth.trust((A, B))
        return None if found is None else np.round(found, 3).tolist()

    @property
    def verdict(self) -> str:
        """That of the pool."""
        return str(self.truth.as_dict()["verdict"])


def test_right_predictions_change_nothing() -> None:
    """Whatever is lost to the rounding of engines' blocks."""
    pool = Pool()
    assert (pool.verdict, pool.trust()) == ("unknown", None)
    pool.answer(BELIEVED - 64, 10 * WINDOW)
    assert (pool.verdict, pool.trust()) == ("fine", None)
    assert [(each.pool, each.endpoint, each.verdict) for each in pool.truth.take_news()] == [
        ("p", A, Verdict.FINE),
        ("p", "", Verdict.FINE),
    ]
    assert pool.truth.take_news() == []


def test_caching_is_off() -> None:
    """One window, and nothing counts as cached; one window of hits, and all of it does again."""
    pool = Pool()
    pool.answer(0, WINDOW - 1)
    assert pool.trust() is None
    pool.answer(0, 1)
    assert (pool.verdict, pool.trust()) == ("over", [0.0, 0.0])
    why = pool.truth.as_dict()["why"]
    assert why.startswith("engines find 0% of what is believed cached, by answers: prefix caching is off")
    pool.answer(BELIEVED)
    assert (pool.verdict, pool.trust()) == ("fine", None)


def test_part_of_it_is_found() -> None:
    """It counts for the share that is found, each window anew; to be trusted again takes more than to stay so."""
    pool = Pool()
    pool.answer(round(0.6 * BELIEVED))
    assert (pool.verdict, pool.trust()) == ("fine", None)
    pool.answer(round(0.4 * BELIEVED))
    assert (pool.verdict, pool.trust()) == ("over", [0.4, 0.4])
    pool.answer(round(0.6 * BELIEVED))
    assert (pool.verdict, pool.trust()) == ("over", [0.6, 0.6])
    pool.answer(round(0.75 * BELIEVED))
    assert (pool.verdict, pool.trust()) == ("fine", None)


def test_each_endpoint_for_itself() -> None:
    """One of two caches nothing: the pool is halfway, they are not."""
    pool = Pool()
    for _ in range(WINDOW):
        pool.answer(BELIEVED, 1, at=[A])
        pool.answer(0, 1, at=[B])
    assert pool.trust() == [1.0, 0.0]
    assert list(pool.truth.as_dict()["endpoints"]) == [B]
    pool.truth.keep({A})
    assert pool.truth.as_dict()["endpoints"] == {}


def test_more_is_found_than_believed() -> None:
    """Told, and nothing follows."""
    pool = Pool()
    pool.answer(600, LONG_WINDOW, believed=0)
    assert (pool.verdict, pool.trust()) == ("under", None)
    pool.answer(600, LONG_WINDOW, believed=500)
    assert pool.verdict == "fine"


def test_prompts_that_are_new() -> None:
    """Where nothing is believed and nothing found there is nothing to say."""
    pool = Pool()
    pool.answer(0, 3 * LONG_WINDOW, believed=0)
    pool.answer(0, 3 * LONG_WINDOW, believed=100)
    assert (pool.verdict, pool.trust()) == ("unknown", None)


def test_nobody_tells() -> None:
    """Without `cached_tokens` and counters it cannot be told, whatever is believed."""
    pool = Pool()
    pool.answer(None, LONG_WINDOW)
    assert (pool.verdict, pool.trust()) == ("untold", None)
    assert pool.truth.as_dict()["why"] == "0 of 128 answers told what was found in the cache"


def test_nobody_tells_any_more() -> None:
    """What was found wrong stays so for a while, not for ever."""
    pool = Pool()
    pool.truth.ended(RequestEnded(decision_id="d", at=0, status=200, served=A), BELIEVED, PROMPT, None)
    pool.answer(0, WINDOW)
    for _ in range(STALE_WINDOWS - 1):
        for _ in range(LONG_WINDOW):
            pool.truth.ended(RequestEnded(decision_id="d", at=0, status=200, served=A), BELIEVED, PROMPT, None)
        assert (pool.verdict, pool.trust()) == ("over", [0.0, 0.0])
    for _ in range(LONG_WINDOW):
        pool.truth.ended(RequestEnded(decision_id="d", at=0, status=200, served=A), BELIEVED, PROMPT, None)
    assert (pool.verdict, pool.trust()) == ("untold", None)


def test_a_zero_that_is_left_out() -> None:
    """vLLM leaves `cached_tokens` out when it is 0: where an endpoint tells at all, nothing told is nothing found."""
    pool = Pool()
    pool.answer(BELIEVED, WINDOW)
    pool.answer(None, WINDOW)
    assert (pool.verdict, pool.trust()) == ("over", [0.0, 0.0])


def test_kinds_that_never_tell() -> None:
    """Embeddings have `usage` and no `cached_tokens`, whatever chats say."""
    pool = Pool()
    pool.answer(BELIEVED, WINDOW, kind="chat")
    pool.answer(None, LONG_WINDOW, kind="embedding")
    assert (pool.verdict, pool.trust()) == ("untold", None)


@pytest.mark.parametrize(("long", "short"), [(0, BELIEVED), (500_000, 0)])
def test_neither_one_long_prompt_nor_many_short_ones(long: int, short: int) -> None:
    """What was evicted of a prompt of half a million tokens says little about the others, nor do these about it."""
    pool = Pool()
    for n in range(WINDOW):
        is_long = n == 7
        event = RequestEnded(decision_id="d", at=0, status=200, served=A, cached_tokens=long if is_long else short)
        pool.truth.ended(event, 500_000 if is_long else BELIEVED, 600_000 if is_long else PROMPT, None)
    assert (pool.verdict, pool.trust()) == ("fine", None)


def test_counters_stand_in() -> None:
    """Answers say nothing; the engine's counters say that half of what is believed is found, then all of it."""
    pool = Pool()
    pool.count()
    for share in (0.3, 1.0):
        for _ in range(WINDOW):
            pool.answer(None, 1)
            pool.count(prompts=PROMPT, hits=round(share * BELIEVED))
        expected = ("over", [0.3, 0.3]) if share < BAD else ("fine", None)
        assert (pool.verdict, pool.trust()) == expected
        assert "by the engines' counters" in pool.truth.as_dict()["why"]


def test_an_engine_that_looks_nothing_up() -> None:
    """vLLM without prefix caching computes prompts, and its counter of lookups stands still."""
    pool = Pool()
    pool.count()
    for _ in range(WINDOW + 1):
        pool.answer(None, 1)
        pool.count(prompts=PROMPT, queries=0)
    assert (pool.verdict, pool.trust()) == ("over", [0.0, 0.0])


@pytest.mark.parametrize("others", [0, 5 * PROMPT])
def test_counters_that_are_not_about_us(others: int) -> None:
    """Counters that stand still, or count mostly others, refute nothing."""
    pool = Pool()
    pool.count()
    for _ in range(LONG_WINDOW):
        pool.answer(None, 1)
        pool.count(prompts=others)
    assert (pool.verdict, pool.trust()) == ("untold", None)


def test_counters_of_a_new_process() -> None:
    """They begin anew; the step back is no news about anything."""
    pool = Pool()
    pool.count(prompts=50 * PROMPT, hits=50 * PROMPT)
    for n in range(2 * WINDOW):
        if n == 5:
            pool.counters[A] = [0, 0, 0]
        pool.answer(None, 1)
        pool.count(prompts=PROMPT, hits=BELIEVED)
    assert pool.verdict == "fine"


def test_a_pool_that_is_only_watched() -> None:
    """The verdict is told, and nothing follows."""
    pool = Pool()
    pool.truth.is_acting = False
    pool.answer(0, WINDOW)
    assert (pool.verdict, pool.trust()) == ("over", None)
    assert pool.truth.as_dict()["is_acting"] is False


def test_estimates_are_put_in_proportion() -> None:
    """A prompt taken for twice its length is believed cached for twice too much; that is no fault of the index."""
    pool = Pool()
    for _ in range(WINDOW):
        event = RequestEnded(decision_id="d", at=0, status=200, served=A, prompt_tokens=PROMPT, cached_tokens=BELIEVED)
        pool.truth.ended(event, 2 * BELIEVED, 2 * PROMPT, PROMPT)
    assert pool.truth.as_dict()["found_share"] == 1.0


@pytest.mark.parametrize(
    ("believed", "found", "times", "verdict"), [(0, 700, LONG_WINDOW, "under"), (BELIEVED, 0, WINDOW, "over")]
)
def test_events_that_do_not_match(believed: int, found: int, times: int, verdict: str) -> None:
    """An endpoint that tells of its blocks is not listened to first; then what is still wrong is discounted."""
    pool = Pool()
    pool.answer(found, times, believed=believed, is_precise=True)
    assert (pool.truth.as_dict()["endpoints"][A]["verdict"], pool.trust()) == (verdict, None)
    assert not pool.truth.hears(A)
    assert pool.truth.hears(B)
    assert pool.truth.take_deafened() == [A]
    assert pool.truth.take_deafened() == []
    assert "KV events are ignored" in pool.truth.as_dict()["endpoints"][A]["why"]
    pool.answer(0, LONG_WINDOW)
    assert (pool.verdict, pool.trust()) == ("over", [0.0, 0.0])
    pool.truth.cleared(A)
    assert pool.truth.hears(A)
    pool.truth.keep({B})
    assert pool.truth.as_dict()["events_ignored"] == []


@given(
    st.lists(st.tuples(st.sampled_from((A, B)), st.integers(0, 5_000), st.none() | st.integers(0, 5_000)), max_size=300)
)
def test_whatever_comes(answers: list[tuple[str, int, int | None]]) -> None:
    """Trust is a share, below 1 only where predictions were found wrong, and news are bounded."""
    pool = Pool()
    for address, believed, found in answers:
        pool.answer(found, 1, at=[address], believed=believed)
        trust = pool.truth.trust((A, B))
        if trust is not None:
            assert (trust >= 0).all()
            assert (trust <= 1).all()
            judged = pool.truth.as_dict()
            wrong = {judged["verdict"], *(each["verdict"] for each in judged["endpoints"].values())}
            assert "over" in wrong
    assert len(pool.truth.take_news()) <= MAX_NEWS


@given(st.lists(st.floats(GOOD, 1), min_size=1, max_size=100))
def test_good_shares_are_never_doubted(shares: list[float]) -> None:
    """Every window of a pool that finds most of what is believed leaves it alone."""
    pool = Pool()
    for share in shares:
        pool.answer(round(share * BELIEVED + 0.5), 3)
        assert pool.trust() is None

"""One judge: windows, and the hysteresis between them. What follows for pools and endpoints is in `test_truth.py`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.judge import BAD, GOOD, NOTHING, WINDOW, Judge, Verdict

PROMPT, BELIEVED = 10_000, 8_000


def window(judge: Judge, found: int) -> None:
    """One window of answers that find so much."""
    ends = [judge.ended(BELIEVED, PROMPT, found) for _ in range(WINDOW)]
    assert ends == [False] * (WINDOW - 1) + [True]


@given(st.lists(st.integers(0, BELIEVED), max_size=12))
def test_it_follows_the_shares(found: list[int]) -> None:
    """Wrong below one bound, right above another, as before in between; what it trusts is the last window's share."""
    judge, is_wrong = Judge(), False
    for n, tokens in enumerate(found):
        window(judge, tokens)
        share = tokens / BELIEVED
        is_wrong = share < BAD or (is_wrong and share < GOOD)
        assert judge.windows == n + 1
        assert judge.verdict is (Verdict.OVER if is_wrong else Verdict.FINE)
        trust = 1.0 if not is_wrong else share if share >= NOTHING else 0.0
        assert judge.trust == pytest.approx(trust)


def test_it_begins_anew() -> None:
    """Half a window of another kind of belief is forgotten, and so is the discount; the verdict is the last one."""
    judge = Judge()
    window(judge, 0)
    for _ in range(WINDOW // 2):
        judge.ended(BELIEVED, PROMPT, 0)
    judge.begin_anew()
    assert (judge.verdict, judge.trust) == (Verdict.OVER, 1.0)
    window(judge, BELIEVED)
    assert (judge.verdict, judge.trust) == (Verdict.FINE, 1.0)

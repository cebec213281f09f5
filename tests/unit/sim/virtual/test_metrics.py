"""The numbers of a report, by hand."""

import pytest

from sim.virtual.metrics import CHAT, Slo, Spread, slo_of, spread, summary
from tests.unit.sim.virtual.outcomes import outcome, result


def test_quantiles_are_values_that_occurred() -> None:
    """⌈p·n⌉ of the ordered values; a single one is all of them."""
    assert spread([n / 1e3 for n in range(100, 0, -1)]) == Spread(50.5, 50.0, 90.0, 99.0)
    assert spread([0.0015]) == Spread(1.5, 1.5, 1.5, 1.5)
    assert spread([]) == Spread(None, None, None, None)


def test_a_run_in_numbers() -> None:
    """One good request, one too slow, one cut in the middle, one shed."""
    found = summary(
        result(
            outcome(0.0, ttft_s=0.5, e2e_s=1.0),
            outcome(1.0, ttft_s=3.0, e2e_s=9.0, cached_tokens=0),
            outcome(2.0, ttft_s=1.0, e2e_s=None, status="failed"),
            outcome(4.0, ttft_s=None, e2e_s=None, status="shed"),
            computed=(300, 100),
        ),
        CHAT,
    )
    assert (found.requests, found.failed, found.shed) == (4, 1, 1)
    assert found.ttft_ms == Spread(1500.0, 1000.0, 3000.0, 3000.0)
    assert found.tpot_ms == Spread(325.0, 50.0, 600.0, 600.0)
    assert found.e2e_ms.mean == 5000.0
    assert found.cached_share == pytest.approx(1_000 / 3_000, abs=1e-4)
    assert (found.good_share, found.goodput, found.imbalance) == (0.25, 0.25, 1.5)
    assert found.as_dict()["ttft_ms"] == {"mean": 1500.0, "p50": 1000.0, "p90": 3000.0, "p99": 3000.0}


def test_clients_that_leave_are_counted_apart() -> None:
    """Who leaves in mid-answer has had a first token in time or not; who gives up has waited in vain."""
    found = summary(
        result(
            outcome(0.0, ttft_s=0.5, e2e_s=None, status="aborted"),
            outcome(1.0, ttft_s=3.0, e2e_s=None, status="aborted"),
            outcome(2.0, ttft_s=None, e2e_s=None, status="aborted"),
            outcome(4.0, ttft_s=0.5, e2e_s=0.6),
        ),
        CHAT,
    )
    assert (found.requests, found.failed, found.shed, found.aborted) == (4, 0, 0, 3)
    assert (found.good_share, found.ttft_ms.p99, found.e2e_ms.mean) == (0.5, 3000.0, 600.0)
    assert found.as_dict()["aborted"] == 3


def test_an_empty_run_has_numbers_too() -> None:
    """No request, no division by nothing."""
    found = summary(result(computed=(0, 0)), CHAT)
    assert (found.requests, found.goodput, found.cached_share, found.imbalance) == (0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "slo"),
    [
        ("", Slo(2.0, 0.05)),
        ("ttft=500ms", Slo(0.5, 0.05)),
        ("tpot=30ms,ttft=1.5s", Slo(1.5, 0.03)),
    ],
)
def test_slos_are_read(text: str, slo: Slo) -> None:
    """What is not named has its default."""
    assert slo_of(text) == slo


@pytest.mark.parametrize("text", ["ttft", "ttft=2", "ttft=2m", "e2e=2s", "ttft=-1s", "ttft=0s", "ttft=2s;tpot=1s"])
def test_wrong_slos_are_refused(text: str) -> None:
    """With the way in which they are written."""
    with pytest.raises(ValueError, match="written ttft=2s,tpot=50ms"):
        slo_of(text)


def test_an_answer_of_one_token_has_only_a_first() -> None:
    """Such a request is good when its first token is in time."""
    assert CHAT.holds(outcome(ttft_s=2.0, e2e_s=2.0, output_tokens=1))
    assert not CHAT.holds(outcome(ttft_s=2.1, e2e_s=2.1, output_tokens=1))
    assert not CHAT.holds(outcome(ttft_s=0.1, e2e_s=1.0, output_tokens=11))

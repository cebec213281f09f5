"""Answers as outcomes of a replay."""

from dataclasses import replace

import pytest

from sim.sending.outcomes import (
    MOST_REASON_CHARACTERS,
    MOST_REASONS,
    Answered,
    lateness,
    numbers,
    reason,
    reasons,
    result,
    sending,
)
from sim.virtual.metrics import CHAT, Slo
from tests.unit.sim.sending.runs import GOOD, run

CUT = Answered(status=200, ttft_s=0.2, e2e_s=0.4, prompt_tokens=0, error="ClientPayloadError: cut")
REFUSED = Answered(status=429, ttft_s=0.1, e2e_s=0.1, error="too many")
NONE = Answered(error="ClientConnectorError: refused", e2e_s=0.1)


def test_outcomes_by_what_clients_saw() -> None:
    """In full is ok, 429 is shed, all else failed; times only where something came, and the request's own words."""
    found = result(run(GOOD, CUT, REFUSED, NONE)).outcomes
    assert [outcome.status for outcome in found] == ["ok", "failed", "shed", "failed"]
    assert [outcome.ttft_s for outcome in found] == [0.5, 0.2, None, None]
    assert [outcome.e2e_s for outcome in found] == [1.5, None, None, None]
    assert [outcome.at_s for outcome in found] == [0.0, 1.0, 2.0, 3.0]
    first = found[0]
    assert (first.address, first.cached_tokens, first.output_tokens, first.tpot_s) == ("a", 40, 11, 0.1)
    assert (first.session, first.model) == ("s0", "m")
    assert found[1].prompt_tokens == 100, "the trace's where the endpoint told none"


def test_numbers_are_those_of_a_virtual_run() -> None:
    """By the same names, from the same summary."""
    values = numbers(run(GOOD, replace(GOOD, ttft_s=1.5, pod="b", cached_tokens=0), NONE), CHAT)
    assert values["ttft_ms"]["mean"] == 1_000
    assert (values["requests"], values["failed"]) == (3, 1)
    assert values["cached_share"] == 0.2
    assert values["imbalance"] == pytest.approx(2 * 100 / 160)


def test_what_the_endpoint_does_not_tell_is_null() -> None:
    """No cached tokens, no pods: a share of zero would be a lie."""
    values = numbers(run(replace(GOOD, cached_tokens=None, pod="")), CHAT)
    assert (values["cached_share"], values["imbalance"]) == (None, None)
    assert numbers(run(replace(GOOD, cached_tokens=0)), CHAT)["cached_share"] == 0


def test_pods_are_those_that_answers_name() -> None:
    """With what each of them computed."""
    pods = result(run(GOOD, replace(GOOD, pod="b"), GOOD, NONE)).pods
    assert [(pod.address, pod.served, pod.computed_tokens) for pod in pods] == [("a", 2, 120), ("b", 1, 60)]


@pytest.mark.parametrize(
    ("values", "is_open"),
    [
        ({}, True),
        ({"late_s": 0.04}, True),
        ({"late_s": 0.06}, False),
        ({"waited": 1}, False),
        ({"max_rate": 0.5}, False),
    ],
)
def test_open_loop_is_only_what_kept_its_times(values: dict[str, float], is_open: bool) -> None:
    """Late, held back or waiting for a place: the load was not the trace's."""
    assert sending(run(GOOD, GOOD, GOOD, **values))["is_open_loop"] is is_open  # type: ignore[arg-type]


def test_how_it_was_sent() -> None:
    """What was planned, sent, answered and given up."""
    told = sending(run(GOOD, CUT, unfinished=3, is_interrupted=True, late_s=0.002))
    assert (told["planned"], told["sent"], told["answered"], told["unfinished"]) == (5, 5, 1, 3)
    assert told["late_ms"] == {"mean": 2.0, "p99": 2.0, "most": 2.0}
    assert told["is_interrupted"]
    assert told["prompt_tokens_share"] == 1.0


def test_empty_answers_are_counted_apart() -> None:
    """They are no failures, and they have no time to a first token."""
    found = run(GOOD, replace(GOOD, ttft_s=None))
    assert (sending(found)["answered"], sending(found)["empty"]) == (2, 1)
    values = numbers(found, Slo(tpot_s=0.2))
    assert (values["failed"], values["ttft_ms"]["mean"], values["good_share"]) == (0, 500.0, 0.5)


def test_nothing_was_sent() -> None:
    """Zeros and nulls, no exception."""
    empty = run(unfinished=2)
    assert lateness(empty)["most"] == 0.0
    assert numbers(empty, CHAT)["requests"] == 0
    assert sending(empty)["prompt_tokens_share"] is None


def test_reasons_are_counted_and_bounded() -> None:
    """The most frequent first, few of them, none longer than a line; the status where there was one."""
    other = [replace(NONE, error=f"error {n} " + "x" * 500) for n in range(MOST_REASONS + 3)]
    found = reasons(run(GOOD, REFUSED, REFUSED, *other, replace(NONE, error="")))
    assert next(iter(found.items())) == ("HTTP 429: too many", 2)
    assert len(found) == MOST_REASONS + 1
    assert found["(others)"] == 5
    assert max(map(len, found)) <= MOST_REASON_CHARACTERS
    assert "the answer broke off" in reasons(run(CUT, replace(CUT, error="")))
    assert sum(found.values()) == MOST_REASONS + 6


def test_an_endpoints_words_do_not_steer_the_terminal() -> None:
    """Escape sequences and line breaks are blanks."""
    assert reason(replace(NONE, error="a\x1b[2Jb\r\n\tc\x9bd")) == "a [2Jb c d"

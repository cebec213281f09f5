"""What answers teach, and which of them do."""

from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.events import RequestEnded, Scraped
from ext_proc.core.judge import WINDOW
from ext_proc.core.learned import Learned
from ext_proc.core.record import Candidates, Predicted, Record, Shape
from ext_proc.core.settings import EndpointSettings, PoolSettings

PODS = tuple(EndpointSettings(address=f"10.0.0.{n}:8000") for n in (1, 2))
A, B = (pod.address for pod in PODS)
POOL = PoolSettings(name="p", cluster="c", endpoints=PODS)
SHAPE = Shape(kind="chat", engine_model="m", tokens=1_000, size=4_000)
RECORD = Record(
    id="d",
    time=0,
    at=0,
    model="m",
    pool="p",
    strategy="kv-aware",
    endpoints=(A, B),
    reason="",
    candidates=Candidates((), (), {}),
    request=SHAPE,
    predicted=Predicted(800, held_tokens=800),
)
ENDED = RequestEnded(decision_id="d", at=1, status=200, served=A, prompt_tokens=2_000, cached_tokens=0)


def taught(event: RequestEnded = ENDED, record: Record = RECORD, pool: PoolSettings = POOL) -> Learned:
    """After a window of such requests."""
    learned = Learned()
    learned.want((pool,))
    for _ in range(WINDOW):
        assert learned.ended(event, record) == []
    return learned


def test_an_answer_teaches() -> None:
    """How long the prompt was, and that nothing of it was cached."""
    learned = taught()
    assert learned.sizes.tokens("m", 4_000) == pytest.approx(2_000, rel=0.05)
    assert learned.truth("p").judge.trust == 0.0
    assert learned.status("p")["verdict"] == "over"
    assert {change.endpoint for change in learned.take_news()} == {"", A}


@pytest.mark.parametrize(
    "changes",
    [{"served": B}, {"served": ""}, {"attempts": 2}, {"aborted": True}, {"status": 500}, {"status": 404}],
)
def test_answers_that_teach_nothing(changes: dict[str, Any]) -> None:
    """Of another endpoint than the first that was named, after retries, or none."""
    learned = taught(replace(ENDED, **changes))
    assert (learned.sizes.as_dict(), learned.status("p")["windows"]) == ({}, 0)


def test_lengths_that_are_none() -> None:
    """Anthropic's `input_tokens` leave out what was cached; a prompt in tokens has no bytes to compare them to."""
    for shape in (replace(SHAPE, kind="messages"), replace(SHAPE, size=0)):
        learned = taught(record=replace(RECORD, request=shape))
        assert learned.sizes.as_dict() == {}
        assert learned.status("p")["verdict"] == "over"


@pytest.mark.parametrize("counted", [10**12, 100])
def test_lengths_that_cannot_be(counted: int) -> None:
    """An engine that counts a thousand million times as much, or a tenth, is not held against anything."""
    learned = taught(replace(ENDED, prompt_tokens=counted))
    assert learned.status("p")["windows"] == 0


def test_strategies_that_believe_nothing() -> None:
    """Who does not look at prompts cannot be wrong about them; lengths are learned all the same."""
    learned = taught(record=replace(RECORD, predicted=Predicted()))
    assert (len(learned.sizes), learned.status("p")["windows"]) == (1, 0)


def test_pools_that_go_and_stay() -> None:
    """What is known of a pool outlives settings, and goes with it; a pool may ask not to be acted upon."""
    learned = taught()
    learned.want((replace(POOL, distrusts=False),))
    assert learned.truth("p").trust((A,)) is None
    learned.want((POOL,))
    assert learned.truth("p").trust((A,)) is not None
    learned.want(())
    with pytest.raises(KeyError):
        learned.truth("p")
    learned.want((POOL,))
    assert learned.status("p")["verdict"] == "unknown"
    learned.want(())
    assert learned.ended(ENDED, RECORD) == []


def test_counters_of_an_engine_in_two_pools() -> None:
    """They are no pool's own, and refute neither."""
    learned = Learned()
    learned.want((POOL, replace(POOL, name="q", cluster="d")))
    for n in range(2 * WINDOW):
        learned.ended(replace(ENDED, cached_tokens=None), RECORD)
        prompts = 1_000 * n
        learned.scraped(
            Scraped(address=A, at=0, running=0, waiting=0, prompt_tokens=prompts, prefix_queries=prompts, prefix_hits=0)
        )
    assert learned.status("p")["verdict"] == "unknown"


def test_who_is_listened_to() -> None:
    """An endpoint whose events match nothing is not, until its cache is empty."""
    learned = Learned()
    learned.want((POOL,))
    deaf = [each for _ in range(WINDOW) for each in learned.ended(ENDED, RECORD, is_precise=True)]
    assert deaf == [A]
    assert (learned.hears(A), learned.hears(B), learned.hears("10.0.0.9:1")) == (False, True, True)
    learned.cleared(A)
    assert learned.hears(A)

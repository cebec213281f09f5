"""The replay, by playbooks whose times can be computed by hand, and by what must hold for any of them."""

from dataclasses import replace
from math import inf

import pytest

from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    FirstToken,
    RequestEnded,
    Scraped,
    ScrapeFailed,
)
from sim.baselines import registry
from sim.virtual.faults import fault
from sim.virtual.fleet import run
from sim.virtual.production import ProductionFactory
from tests.unit.sim.virtual.fleets import PLAIN, many, played, request, setup, trace


def test_a_lone_request_takes_its_prefill_and_its_steps() -> None:
    """1,000 tokens: 100 ms + 10 ms a step; two more tokens 10 ms each; then the network, there and back."""
    result, _ = played(trace(request(0.0, output=3)), [0], network_s=0.002)
    (outcome,) = result.outcomes
    assert outcome.status == "ok"
    assert outcome.ttft_s == pytest.approx(0.110 + 0.004)
    assert outcome.e2e_s == pytest.approx(0.130 + 0.004)
    assert outcome.tpot_s == pytest.approx(0.010)
    assert (result.pods[0].served, result.pods[0].computed_tokens, result.pods[1].served) == (1, 1_000, 0)


def test_the_cache_is_the_engines_own() -> None:
    """The same prompt again is cached where it was, but for its last block, and not elsewhere."""
    result, _ = played(trace(request(0), request(1), request(2)), [0], [0], [1])
    assert [outcome.cached_tokens for outcome in result.outcomes] == [0, 900, 0]


def test_an_answer_is_found_by_the_next_turn() -> None:
    """Blocks that an answer completes are cached like those of a prompt."""
    first = replace(request(0, blocks=2, output=150), answer_blocks=(2,))
    result, _ = played(trace(first, request(9, blocks=4)), [0])
    assert result.outcomes[1].cached_tokens == 300


def test_requests_without_names_are_shed() -> None:
    """A router that names nobody ends the request at once."""
    result, _ = played(trace(request(0)), [])
    assert (result.outcomes[0].status, result.outcomes[0].ttft_s) == ("shed", None)


def test_what_fits_into_no_engine_fails_once() -> None:
    """An engine refuses a prompt that is longer than its memory, and nobody else is tried."""
    result, routers = played(trace(request(0, blocks=101), request(1)), [0, 1])
    assert [(o.status, o.attempts) for o in result.outcomes] == [("failed", 1), ("ok", 1)]
    assert routers[0].before[1] == [RequestEnded(decision_id="r0", at=0.0, status=400, attempts=1)]


def test_first_tokens_are_known_at_the_next_report() -> None:
    """A first token after 110 ms is told 250 ms after the arrival, at the earliest; an end when it comes."""
    replayed = trace(request(0, output=41), request(0.24), request(0.26), request(2))
    _, (router,) = played(replayed, [0], [1])
    assert router.before[1] == []
    (first,) = router.before[2]
    assert isinstance(first, FirstToken)
    assert (first.decision_id, first.address) == ("r0", router.context.addresses[0])
    assert [first.at, first.ttft_ms] == pytest.approx([0.11, 110])
    (ended,) = (event for event in router.before[3] if isinstance(event, RequestEnded) and event.decision_id == "r0")
    assert [ended.at, ended.duration_ms] == pytest.approx([0.51, 510])
    assert (ended.status, ended.served) == (200, first.address)
    assert (ended.prompt_tokens, ended.cached_tokens, ended.completion_tokens) == (1_000, 0, 41)


def test_first_tokens_can_be_withheld() -> None:
    """Without reports routers hear of ends only."""
    _, (router,) = played(trace(request(0), request(2)), [0], report_s=None)
    assert [type(event) for event in router.before[1]] == [RequestEnded]


def test_scrapes_show_the_engine_as_it_was() -> None:
    """Every interval, with its delay: a running request shows after its first step, and the memory with its size."""
    replayed = trace(request(0, blocks=20, output=100), request(1))
    _, (router,) = played(replayed, [0], scrape_s=0.1, scrape_jitter=0, scrape_delay_s=0.02)
    scrapes = [event for event in router.before[1] if isinstance(event, Scraped)]
    busy = [scrape for scrape in scrapes if scrape.address == router.context.addresses[0]]
    assert {len(busy), len(scrapes) - len(busy)} <= {9, 10}
    assert {scrape.running for scrape in busy if scrape.at > 0.3} == {1}
    assert all(scrape.at <= 0.98 for scrape in scrapes)
    assert {(scrape.block_size, scrape.kv_tokens) for scrape in scrapes} == {(100, 10_000)}


def test_a_crash_moves_what_has_not_begun_and_breaks_what_has() -> None:
    """Before the first token the next name is tried; after it the answer is cut."""
    begun, waiting = request(0, output=100), request(0.45, blocks=20, first_id=50)
    result, (router,) = played(trace(begun, waiting, request(3)), [0, 1], faults=(fault("crash:1@0.5"),))
    first, second, third = result.outcomes
    assert (first.status, first.attempts, first.e2e_s) == ("failed", 1, None)
    assert first.ttft_s == pytest.approx(0.11)
    assert (second.status, second.attempts, second.address) == ("ok", 2, router.context.addresses[1])
    assert second.ttft_s == pytest.approx(0.05 + 0.21)
    assert (third.status, third.attempts) == ("ok", 2)
    attempts = [event for event in router.before[2] if isinstance(event, AttemptStarted | AttemptEnded)]
    down, up = router.context.addresses
    assert AttemptEnded(decision_id="r0", address=down, at=0.5, status=200, flags=("UC",)) in attempts
    assert AttemptEnded(decision_id="r1", address=down, at=0.5, status=0, flags=("UC",)) in attempts
    assert AttemptStarted(decision_id="r1", address=up, at=0.5) in attempts


def test_nobody_listens_where_a_process_ended() -> None:
    """A later try is refused, and fails when no other name is left; scrapes fail too."""
    replayed = trace(request(0), request(1), request(2))
    result, (router,) = played(replayed, [0], scrape_s=0.2, faults=(fault("crash:1@0.5"),))
    assert [outcome.status for outcome in result.outcomes] == ["ok", "failed", "failed"]
    refused = [event for event in router.before[2] if isinstance(event, AttemptEnded)]
    assert [(event.flags, event.status) for event in refused] == [(("UF",), 0)]
    assert "refused" in refused[0].failure
    assert {e.address for e in router.before[2] if isinstance(e, ScrapeFailed)} == {router.context.addresses[0]}


def test_a_restarted_pod_is_cold() -> None:
    """It serves again, and has forgotten everything."""
    replayed = trace(request(0), request(1), request(2.5))
    result, _ = played(replayed, [0], faults=(fault("restart:1@1.5..2"),))
    assert [(o.status, o.cached_tokens) for o in result.outcomes] == [("ok", 0), ("ok", 900), ("ok", 0)]


def test_a_hung_pod_goes_on_where_it_was() -> None:
    """What it takes meanwhile waits; what it was doing takes that much longer."""
    replayed = trace(request(0), request(0.5, first_id=50))
    result, _ = played(replayed, [0], faults=(fault("hang:1@0.05..2"),))
    first, second = result.outcomes
    assert first.ttft_s == pytest.approx(1.95 + 0.11)
    assert second.ttft_s == pytest.approx(1.5 + 0.06 + 0.11)


def test_a_try_that_takes_too_long_goes_elsewhere() -> None:
    """With a limit on the first byte a hung pod costs that limit, and what it had begun stays in its cache."""
    replayed = trace(request(0), request(9))
    result, (router,) = played(replayed, [0, 1], faults=(fault("hang:1@0.05..5"),), first_byte_s=1.0)
    first = result.outcomes[0]
    assert (first.status, first.attempts) == ("ok", 2)
    assert first.ttft_s == pytest.approx(1.11)
    ended = [event for event in router.before[1] if isinstance(event, AttemptEnded)]
    assert [(event.flags, event.at) for event in ended] == [(("UT",), 1.0)]
    assert (result.outcomes[1].address, result.outcomes[1].cached_tokens) == (router.context.addresses[0], 900)
    assert [pod.served for pod in result.pods] == [1, 1]


def test_a_slow_pod_is_slow_while_it_lasts() -> None:
    """Steps that begin in that time take three times as long."""
    replayed = trace(request(0), request(2, first_id=50), request(4, first_id=70))
    result, _ = played(replayed, [0], faults=(fault("slow:1:3@1..3"),))
    assert [outcome.ttft_s for outcome in result.outcomes] == pytest.approx([0.11, 0.33, 0.11])


def test_a_full_queue_is_left_for_the_next_name() -> None:
    """An engine that refuses for its queue answers 503, which is no failure of the request."""
    full = replace(PLAIN, max_batch=1, max_waiting=1)
    result, (router,) = played(trace(request(0), request(0.01), request(0.02), request(1)), [0, 1], profile=full)
    assert [outcome.attempts for outcome in result.outcomes] == [1, 1, 2, 1]
    assert [event.status for event in router.before[3] if isinstance(event, AttemptEnded)] == [503]


def test_routers_share_requests_and_nothing_else() -> None:
    """In turn, each hears of its own requests only."""
    replayed = trace(*(request(float(n)) for n in range(6)))
    _, routers = played(replayed, [0], routers=2, spread="in-turn")
    assert [[asked.id for asked in router.asked] for router in routers] == [["r0", "r2", "r4"], ["r1", "r3", "r5"]]
    assert {event.decision_id for event in routers[1].heard if isinstance(event, RequestEnded)} == {"r1", "r3"}


def test_routers_may_be_wrong_about_lengths() -> None:
    """An estimate changes what routers see, and not what engines do."""
    result, (router,) = played(trace(request(0)), [0], estimate=1.3)
    assert router.asked[0].prompt_tokens == 1_300
    assert result.outcomes[0].ttft_s == pytest.approx(0.11)


def test_models_share_no_cache() -> None:
    """Equal ids of different models are different blocks."""
    replayed = trace(request(0), replace(request(1), model="b"), replace(request(2), model="b"))
    result, (router,) = played(replayed, [0])
    assert [outcome.cached_tokens for outcome in result.outcomes] == [0, 0, 900]
    assert router.asked[0].blocks != router.asked[1].blocks == router.asked[2].blocks


def test_looking_changes_nothing() -> None:
    """Engines are advanced by scrapes; for a router that ignores them the result is the same without any."""
    replayed = many(200)
    factory = registry["random"]
    often, never = (run(replayed, setup(factory, scrape_s=every), 3) for every in (0.03, inf))
    assert often.outcomes == never.outcomes


@pytest.mark.parametrize("factory", [ProductionFactory("kv-aware"), registry["unified"]], ids=["kv-aware", "unified"])
def test_runs_repeat(factory: ProductionFactory) -> None:
    """One seed, one result, whatever goes wrong; another seed, another chance."""
    faults = (fault("slow:2:2"), fault("restart:3@2..3"), fault("hang:1@4..5"))
    arranged = setup(factory, engines=4, routers=2, scrape_s=0.2, faults=faults, first_byte_s=3.0)
    replayed = many(150)
    result = run(replayed, arranged, 5)
    assert result == run(replayed, arranged, 5)
    assert result.outcomes != run(replayed, arranged, 6).outcomes
    assert {outcome.status for outcome in result.outcomes} <= {"ok", "failed"}


def test_nothing_is_lost() -> None:
    """Every request has an outcome, every first token a pod, and nobody caches more than there is to share."""
    replayed = many(300)
    result = run(replayed, setup(ProductionFactory("kv-aware"), scrape_s=0.2), 1)
    assert len(result.outcomes) == len(replayed)
    assert all(outcome.status == "ok" for outcome in result.outcomes)
    assert sum(pod.served for pod in result.pods) == len(replayed)
    cached = sum(outcome.cached_tokens for outcome in result.outcomes)
    assert sum(pod.computed_tokens for pod in result.pods) == replayed.prompt_tokens - cached
    assert 0 < cached / replayed.prompt_tokens <= replayed.sharing_rate

"""The replay, by playbooks whose times can be computed by hand, and by what must hold for any of them."""

import random
from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest

from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    FirstToken,
    Picked,
    RequestEnded,
    Scraped,
    ScrapeFailed,
)
from sim.baselines import registry
from sim.baselines.lmetric import Lmetric
from sim.baselines.precise import ToldPrefixes
from sim.engine import Engine
from sim.profile import Profile
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.faults import Fault, fault
from sim.virtual.fleet import run
from sim.virtual.production import ProductionFactory
from sim.virtual.router import Context, RoutedRequest
from sim.virtual.setup import Setup
from tests.unit.sim.virtual.fleets import PLAIN, Told, many, played, request, setup, slower, trace


def test_a_lone_request_takes_its_prefill_and_its_steps() -> None:
    """1,000 tokens: 100 ms + 10 ms a step; two more tokens 10 ms each; then the network, there and back."""
    result, _ = played(trace(request(0.0, output=3)), [0], network_s=0.002)
    (outcome,) = result.outcomes
    assert outcome.status == "ok"
    assert outcome.ttft_s == pytest.approx(0.110 + 0.004)
    assert outcome.e2e_s == pytest.approx(0.130 + 0.004)
    assert outcome.tpot_s == pytest.approx(0.010)
    assert (result.pods[0].served, result.pods[0].computed_tokens, result.pods[1].served) == (1, 1_000, 0)


def test_requests_share_steps_as_computed_by_hand() -> None:
    """Chunks of a prompt share the budget of 100 tokens a step with decodes and with the next prompt.

    Steps from 0.5 ms on, 1 ms a token, 10 ms each and 1 ms a request: 100 of the first prompt (to 111.5); its other 50
    and 50 of the second (to 223.5: a first token); a decode and the second's 70 (to 305.5); two decodes (to 317.5).
    """
    profile = Profile(
        block_size=10, kv_blocks=30, max_batch=4, token_budget=100, prefill_tokens_per_s=1_000, step_base_ms=10,
        step_per_request_ms=1,
    )  # fmt: skip
    both = Trace("t", 10, (TraceRequest(0.0, (), 150, 3), TraceRequest(0.05, (), 120, 2)))
    result, _ = played(both, [0], profile=profile, network_s=0.0005)
    found = [(o.ttft_s, o.e2e_s) for o in result.outcomes]
    assert found == [pytest.approx((0.224, 0.318)), pytest.approx((0.256, 0.268))]


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


def test_a_failing_pod_fails_where_the_first_token_would_be() -> None:
    """All work for the prompt is lost, the next name serves; afterwards, and elsewhere, nothing fails."""
    replayed = trace(request(0), request(9, first_id=50))
    result, (router,) = played(replayed, [0, 1], faults=(fault("fail:1:1@0..5"),))
    first, second = result.outcomes
    assert (first.status, first.attempts, first.address) == ("ok", 2, router.context.addresses[1])
    assert first.ttft_s == pytest.approx(0.11 + 0.11)
    ended = [event for event in router.before[1] if isinstance(event, AttemptEnded)]
    assert [(event.status, event.flags) for event in ended] == [(500, ())]
    assert ended[0].at == pytest.approx(0.11)
    assert (second.attempts, second.address) == (1, router.context.addresses[0])


def test_a_share_of_requests_fails() -> None:
    """About as many as it says, and each request fails as a chance of its own has it."""
    result, _ = played(trace(*(request(n) for n in range(200))), [0], [0], faults=(fault("fail:1:0.3"),))
    assert 40 < sum(outcome.status == "failed" for outcome in result.outcomes) < 80


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


def test_another_zone_is_further_away() -> None:
    """Engines and routers stand in their zones in turn; a router whose zone nobody knows is near to all."""
    zones = {"zones": ("a", "b"), "zone_s": 0.05, "network_s": 0.01}
    replayed = trace(request(0), request(1, first_id=50), request(2, first_id=70), request(3, first_id=90))
    result, routers = played(replayed, [0], routers=2, spread="in-turn", router_zones=("a", "b"), **zones)
    assert [router.context.zone for router in routers] == ["a", "b"]
    assert list(routers[0].context.zones.values()) == ["a", "b"]
    assert [o.ttft_s for o in result.outcomes] == pytest.approx([0.13, 0.23, 0.13, 0.23])
    result, _ = played(replayed, [0], [1], **zones)
    assert [o.ttft_s for o in result.outcomes] == pytest.approx([0.13] * 4)


def test_the_picker_stays_in_its_zone_while_it_can() -> None:
    """All of the engines are near to one of two routers, which leaves them when they are gone."""
    replayed = many(60)
    arranged = setup(
        ProductionFactory("least-request"), engines=4, routers=2, spread="in-turn", zones=("a", "b"), scrape_s=0.2,
        router_zones=("a", "b"), faults=(fault("crash:1@1.5"), fault("crash:3@1.5")),
    )  # fmt: skip
    outcomes = run(replayed, arranged, 1).outcomes
    first, second = ({o.address for o in outcomes[n:28:2]} for n in (0, 1))
    assert (first, second) == ({arranged.addresses[0], arranged.addresses[2]}, set(arranged.addresses[1::2]))
    assert {o.address for o in outcomes[50:]} == set(arranged.addresses[1::2])
    assert {o.status for o in outcomes[50:]} == {"ok"}


def test_engines_with_slots() -> None:
    """Two slots of 5,000 tokens keep a prompt each and share nothing; their metrics tell of slots, not of blocks."""
    slots = replace(PLAIN, engine="llamacpp", max_batch=2)
    replayed = trace(request(0, output=9), request(0.01), request(1), request(2, blocks=50))
    result, (router,) = played(replayed, [0], profile=slots, scrape_s=0.1)
    assert [o.cached_tokens for o in result.outcomes] == [0, 0, 999, 0]
    assert [o.status for o in result.outcomes] == ["ok", "ok", "ok", "failed"]
    scrapes = {(e.kv_tokens, e.block_size, e.max_running) for e in router.before[3] if isinstance(e, Scraped)}
    assert scrapes == {(10_000, None, 2)}


def test_a_client_gives_up_before_its_first_token() -> None:
    """What is not with it by then is lost; the engine goes on to the next one when its step has ended."""
    replayed = trace(request(0, blocks=40, output=9), request(0.2, first_id=50), request(2))
    result, (router,) = played(replayed, [0], profile=replace(PLAIN, max_batch=1), give_up_s=0.42, network_s=0.01)
    assert [(o.status, o.ttft_s is None, o.attempts) for o in result.outcomes] == [
        ("aborted", True, 1),  # its first token is on its way: 0.01 there, 0.41 computed, 0.01 back
        ("ok", False, 1),
        ("ok", False, 1),
    ]
    (ended,) = (e for e in router.before[2] if isinstance(e, RequestEnded) and e.decision_id == "r0")
    assert (ended.aborted, ended.at, ended.served, ended.flags) == (True, 0.42, "", ("DC",))
    replayed = trace(request(0, blocks=40), request(0.25, first_id=50))
    result, _ = played(replayed, [0], profile=replace(PLAIN, max_batch=1), give_up_s=0.3)
    assert [outcome.status for outcome in result.outcomes] == ["aborted", "ok"]
    assert result.outcomes[1].ttft_s == pytest.approx(0.16 + 0.11)  # the step in flight ends first


def test_a_client_that_left_is_tried_nowhere() -> None:
    """It goes away while its first try is failing; one that has failed already stays failed."""
    refused = {"faults": (fault("crash:1@0"),), "network_s": 0.1}
    result, (router,) = played(trace(request(0), request(9)), [0, 1], give_up_s=0.15, **refused)
    assert (result.outcomes[0].status, result.outcomes[0].attempts) == ("aborted", 1)
    assert not any(isinstance(event, AttemptStarted) for event in router.before[1])
    result, _ = played(trace(request(0)), [0], give_up_s=0.3, **refused)
    assert result.outcomes[0].status == "failed"


def test_clients_leave_in_the_middle_of_their_answers() -> None:
    """Some time after the first token, before the answer could be complete; the engine stops with them."""
    result, (router,) = played(trace(request(0, output=100), request(5)), [0], abort_share=1.0)
    first = result.outcomes[0]
    assert (first.status, first.e2e_s) == ("aborted", None)
    assert first.ttft_s == pytest.approx(0.11)
    (ended,) = (e for e in router.before[1] if isinstance(e, RequestEnded))
    assert (ended.aborted, ended.status, ended.served) == (True, 200, router.context.addresses[0])
    assert 0.11 < ended.at < 0.11 + 100 * 0.01
    assert ended.duration_ms == pytest.approx(ended.at * 1e3)


def test_who_leaves_is_no_matter_of_the_rule() -> None:
    """The same clients on fast and on slow pods; what they read is a chance of its own."""
    replayed = many(100)
    runs = [
        run(replayed, setup(registry["plain-random"], profile=p, abort_share=0.3), 1) for p in (PLAIN, slower(PLAIN))
    ]
    gone = [[number for number, o in enumerate(r.outcomes) if o.status == "aborted"] for r in runs]
    assert gone[0] == gone[1]
    assert 20 < len(gone[0]) < 40
    whole = run(replayed, setup(registry["plain-random"]), 1)
    assert [o.address for o in whole.outcomes] == [o.address for o in runs[0].outcomes]


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
    factory = registry["plain-random"]
    often, never = (run(replayed, setup(factory, scrape_s=every), 3) for every in (0.03, inf))
    assert often.outcomes == never.outcomes


@pytest.mark.parametrize("factory", [ProductionFactory("kv-aware"), registry["unified"]], ids=["kv-aware", "unified"])
def test_runs_repeat(factory: ProductionFactory) -> None:
    """One seed, one result, whatever goes wrong; another seed, another chance."""
    faults = (fault("slow:2:2"), fault("restart:3@2..3"), fault("hang:1@4..5"))
    leaving = {"give_up_s": 2.0, "abort_share": 0.2}
    arranged = setup(factory, engines=4, routers=2, scrape_s=0.2, faults=faults, first_byte_s=3.0, **leaving)
    replayed = many(150)
    result = run(replayed, arranged, 5)
    assert result == run(replayed, arranged, 5)
    assert result.outcomes != run(replayed, arranged, 6).outcomes
    assert {"ok", "aborted"} <= {outcome.status for outcome in result.outcomes} <= {"ok", "failed", "aborted"}


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


# --- what engines and routers tell ------------------------------------------------------------------------------------


def cache_events_of(router: Told) -> list[BlocksStored | BlocksRemoved | CacheCleared]:
    """What it heard of prefix caches."""
    return [e for e in router.heard if isinstance(e, BlocksStored | BlocksRemoved | CacheCleared)]


def test_engines_tell_all_routers_what_they_cache() -> None:
    """At the end of the step, known after the delay; an answer's blocks follow those of its prompt."""
    # The last token's own KV is never computed: 200 tokens more are stored.
    first = replace(request(0, blocks=2, output=201), answer_blocks=(77, 78))
    replayed = trace(first, request(0.031, blocks=1, first_id=500), request(4, blocks=1), request(9))
    told = {"kv_events": True, "kv_event_delay_s": 0.005}
    _, routers = played(replayed, [0], [1], routers=2, spread="in-turn", **told)
    a, b = routers[0].context.addresses
    stored = BlocksStored(address=a, at=0.03, blocks=(0, 1), parent=None)
    assert stored not in routers[1].before[0]
    assert stored in routers[0].before[1]
    assert stored in routers[1].before[1]
    heard = [(event.blocks, event.parent) for event in routers[1].before[1] if isinstance(event, BlocksStored)]
    assert heard == [((0, 1), None), ((500,), None), ((77,), 1), ((78,), 77), ((0,), None)]
    assert {event.address for event in cache_events_of(routers[1])} == {a, b}
    assert routers[0].context.kv_events


def test_engines_tell_nothing_unless_asked() -> None:
    """As most deployments are."""
    _, (router,) = played(many(50), [0])
    assert cache_events_of(router) == []
    assert not router.context.kv_events


def test_a_restarted_pod_says_that_its_cache_is_gone_and_a_crashed_one_nothing() -> None:
    """So whoever crashed is believed to hold what it told, until it is back."""
    replayed = trace(request(0), request(2), request(8))
    faults = (fault("restart:1@3..5"), fault("crash:2@4"))
    _, (router,) = played(replayed, [0], [1], [0], kv_events=True, faults=faults)
    a, b = router.context.addresses
    assert [(event.address, type(event)) for event in cache_events_of(router)] == [
        (a, BlocksStored),
        (b, BlocksStored),
        (a, CacheCleared),
    ]
    assert cache_events_of(router)[-1].at == 5.0


class _Watched(Lmetric):
    """A rule that compares what it was told with the idle engines whenever it is asked."""

    def __init__(self, context: Context, known: set[int], looks: list[int]) -> None:
        super().__init__(context)
        self.known, self.looks = known, looks

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        assert isinstance(self.prefixes, ToldPrefixes)
        for address, engine in self.context.engines.items():
            assert isinstance(engine, Engine)
            if engine.unfinished == 0:  # a step in flight is told at its end
                told = self.prefixes.told(address)
                assert told == {block for block in self.known if engine.cache.match([block], 1)}
                self.looks.append(len(told))
        return super().pick(request, now, rng)


@pytest.mark.parametrize("faults", [(), (fault("restart:2@3..4"), fault("hang:1@5..6"))], ids=["calm", "faults"])
def test_what_routers_were_told_is_what_engines_hold(faults: tuple[Fault, ...]) -> None:
    """Without a delay the index of each router is each idle engine's cache; here memory is short."""
    replayed = many(200, every_s=0.2)
    known = {block for asked in replayed.requests for block in asked.blocks}
    looks: list[int] = []
    arranged = setup(
        lambda context: _Watched(context, known, looks),
        routers=2,
        kv_events=True,
        kv_event_delay_s=0.0,
        faults=faults,
    )
    run(replayed, arranged, 1)
    assert len(looks) > 50
    assert max(looks) > 90


class _Sharing(Told):
    """As `Told`, and it tells others of its picks."""

    def last_picked(self) -> Picked | None:
        asked = self.asked[-1]
        pods = self.picks[min(len(self.asked) - 1, len(self.picks) - 1)]
        if not pods:
            return None
        return Picked(
            decision_id=asked.id,
            at=0.0,
            address=self.context.addresses[pods[0]],
            uncached_tokens=1,
            prompt_tokens=asked.prompt_tokens,
            max_age_s=9.0,
        )


def shared(exchange_s: float | None, made: type[Told] = _Sharing) -> list[Told]:
    """Two routers that take turns with six requests, a second apart, half a second each."""
    routers: list[Told] = []

    def factory(context: Context) -> Told:
        routers.append(made(context, [[0]]))
        return routers[-1]

    replayed = trace(*(request(float(n), blocks=40, first_id=100 * n) for n in range(6)))
    run(replayed, setup(factory, routers=2, spread="in-turn", exchange_s=exchange_s), 1)
    return routers


def heard_before(router: Told, pick: int) -> list[tuple[str, str]]:
    """What it knew of requests before one of its picks."""
    return [
        (type(event).__name__, event.decision_id)
        for event in router.before[pick]
        if isinstance(event, Picked | FirstToken | RequestEnded)
    ]


def test_routers_that_exchange_know_each_others_requests() -> None:
    """Picks, first tokens and ends, each once and in order, and no router its own picks."""
    first, second = shared(0.1)
    assert [kind for kind, who in heard_before(second, 1) if who == "r0"] == ["Picked", "RequestEnded", "FirstToken"]
    assert {who for kind, who in heard_before(first, 2) if kind == "Picked"} == {"r1", "r3"}
    assert first.context.exchanges


def test_an_exchange_takes_its_time() -> None:
    """With 1.5 s a pick is known to the other router at its second request after it, not at the next."""
    _, second = shared(1.5)
    assert heard_before(second, 0) == []
    assert {who for _, who in heard_before(second, 1)} >= {"r0", "r1"}
    assert "r2" not in {who for _, who in heard_before(second, 1)}


@pytest.mark.parametrize(("exchange_s", "made"), [(None, _Sharing), (0.0, Told)], ids=["not asked", "cannot"])
def test_routers_that_do_not_exchange_hear_of_their_own_only(exchange_s: float | None, made: type[Told]) -> None:
    """Neither when nobody wants it nor when the rule has no such thing."""
    for number, router in enumerate(shared(exchange_s, made)):
        whose = {event.decision_id for event in router.heard if isinstance(event, FirstToken | RequestEnded)}
        assert whose <= {f"r{n}" for n in range(number, 6, 2)}
        assert not any(isinstance(event, Picked) for event in router.heard)


@pytest.mark.parametrize("name", ["kv-aware", "dynamo", "epp-sticky", "aibrix-prefix-cache"])
def test_told_runs_repeat(name: str) -> None:
    """One seed, one result, also with events from everywhere."""
    factory = ProductionFactory(name) if name == "kv-aware" else registry[name]
    arranged: Setup = setup(
        factory, engines=4, routers=3, scrape_s=0.2, faults=(fault("restart:3@2..3"),), kv_events=True, exchange_s=0.02
    )
    replayed = many(150)
    assert run(replayed, arranged, 5) == run(replayed, arranged, 5)

"""Playbooks of the engine model, and what holds for every order of events."""

import random
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import (
    DEMO,
    Engine,
    Event,
    Finished,
    FirstToken,
    Gauges,
    Profile,
    Request,
    RequestTooLongError,
    Token,
    Usage,
)
from sim.events import CacheEvent, Removed, Stored
from tests.unit.sim import eager

# Round numbers: a step lasts 10 ms plus 1 ms per uncached prompt token; blocks of 4 tokens.
SMALL = Profile(
    block_size=4,
    kv_blocks=16,
    max_batch=4,
    token_budget=32,
    prefill_tokens_per_s=1000.0,
    step_base_ms=10.0,
    step_per_request_ms=0.0,
)


def small(**numbers: Any) -> Profile:
    """SMALL with other numbers."""
    fields = {name: getattr(SMALL, name) for name in Profile.__dataclass_fields__}
    return Profile(**{**fields, **numbers})


def request(name: str, prompt: int, output: int = 1, chain: str = "a", size: int = 4) -> Request:
    """A request whose block hashes are those of every longer prompt of the same chain, the answer's blocks included."""
    blocks = tuple(hash((chain, index)) for index in range((prompt + output) // size))
    return Request(name, blocks, prompt, output)


def drain(engine: Engine) -> list[Event]:
    """Step by step to the end of all work."""
    events: list[Event] = []
    while (at := engine.next_event_at()) is not None:
        events += engine.advance(at)
    return events


def test_one_request_from_prompt_to_end() -> None:
    """A prefill of 20 tokens takes 10 + 20 ms, each further token 10 ms; all memory is released."""
    engine = Engine(SMALL)
    engine.submit(request("r", prompt=20, output=3), now=1.0)
    assert drain(engine) == [
        FirstToken("r", 1.03, 0),
        Token("r", 1.04, 1),
        Token("r", 1.05, 1),
        Finished("r", 1.05, Usage(20, 0, 3)),
    ]
    assert engine.unfinished == 0
    assert engine.cache.used == 0
    assert engine.next_event_at() is None


def test_the_demo_profile_is_as_slow_as_it_says() -> None:
    """2,000 cold tokens take about 400 ms to the first token, and a decode step about 8 ms."""
    engine = Engine(DEMO)
    engine.submit(Request("r", (), 2_000, 2), now=0.0)
    first, second = [event.at for event in drain(engine)][:2]
    assert 0.38 < first < 0.45
    assert 0.007 < second - first < 0.009


def test_a_repeated_prompt_hits_all_but_its_last_block() -> None:
    """At least the last token is computed, so a full hit computes its last block again."""
    engine = Engine(SMALL)
    engine.submit(request("cold", 16), now=0.0)
    drain(engine)
    engine.submit(request("warm", 16), now=1.0)
    assert drain(engine)[0] == FirstToken("warm", 1.014, 12)


def test_without_prefix_caching_nothing_is_kept() -> None:
    """The same prompt is computed again, nothing is looked up, and nothing stays in memory."""
    engine = Engine(small(prefix_caching=False))
    for name, at in (("a", 1.0), ("b", 2.0)):
        engine.submit(request(name, prompt=20, output=3), now=at)
        assert FirstToken(name, at + 0.03, 0) in drain(engine)
    gauges = engine.gauges()
    assert (gauges.prompt_tokens, gauges.prefix_queries, gauges.prefix_hits) == (40, 0, 0)
    assert engine.cache.free == engine.cache.capacity


def test_hits_grow_with_a_conversation() -> None:
    """Each turn finds the prompt and the answer of the turn before."""
    engine = Engine(SMALL)
    cached = []
    for turn, (prompt, output) in enumerate([(8, 5), (16, 5), (24, 5)]):
        engine.submit(request(f"turn-{turn}", prompt, output), now=float(turn))
        cached.append(drain(engine)[0])
    # Of 8 + 5 tokens 12 are stored (the last one is never computed): 3 blocks; of 16 + 5: 5 blocks.
    assert [event.cached_tokens for event in cached if isinstance(event, FirstToken)] == [0, 12, 20]


def test_blocks_without_hashes_are_never_found() -> None:
    """A request that names no blocks leaves nothing behind."""
    engine = Engine(SMALL)
    engine.submit(Request("r", (), 16, 1), now=0.0)
    drain(engine)
    assert (engine.cache.idle, engine.cache.free) == (0, 16)


def test_a_prompt_over_the_budget_is_computed_in_chunks() -> None:
    """Of 40 tokens 32 come in the first step, 8 in the second; only then there is a token."""
    engine = Engine(SMALL)
    engine.submit(request("r", 40), now=0.0)
    assert engine.advance(0.042) == []
    assert engine.advance(0.060) == [FirstToken("r", 0.060, 0), Finished("r", 0.060, Usage(40, 0, 1))]


def test_decodes_share_steps_with_a_prefill() -> None:
    """A long prompt delays the running stream by its chunk, and decodes are served before it."""
    engine = Engine(SMALL)
    engine.submit(request("stream", 4, 4, chain="s"), now=0.0)
    engine.advance(0.014)
    engine.submit(request("long", 40), now=0.015)
    assert engine.advance(0.024) == [Token("stream", 0.024, 1)]
    # The next step holds 1 decode and 31 prefill tokens: 41 ms; the one after it 1 decode and 9.
    assert engine.advance(0.065) == [Token("stream", 0.065, 1)]
    assert [type(event) for event in engine.advance(0.084)] == [Token, Finished, FirstToken, Finished]


def test_a_full_batch_queues() -> None:
    """No more than max_batch run; the others wait and are served in order."""
    engine = Engine(small(max_batch=2, kv_blocks=64))
    for index in range(4):
        engine.submit(request(str(index), 4, 2, chain=str(index)), now=0.0)
    assert engine.waiting == 3
    engine.advance(0.014)
    assert engine.waiting == 2
    engine.advance(0.028)
    assert (engine.gauges().running, engine.gauges().waiting) == (1, 2)
    ends = [event.id for event in drain(engine) if isinstance(event, Finished)]
    assert ends == ["1", "2", "3"]


def test_a_request_that_comes_during_a_step_waits_for_its_end() -> None:
    """A step is never changed once it has begun."""
    engine = Engine(SMALL)
    engine.submit(request("first", 20, chain="x"), now=0.0)
    engine.submit(request("second", 4, chain="y"), now=0.001)
    at = {event.id: event.at for event in drain(engine) if isinstance(event, FirstToken)}
    assert at == {"first": 0.03, "second": 0.044}


def test_gauges_change_only_at_the_end_of_a_step() -> None:
    """A request is invisible until the step in flight has ended, like in the engine's own metrics."""
    engine = Engine(SMALL)
    engine.submit(request("r", 20, 2), now=0.0)
    assert engine.gauges() == Gauges()
    engine.advance(0.03)
    shown = engine.gauges()
    assert (shown.running, shown.waiting, shown.kv_usage) == (1, 0, 5 / 16)
    engine.advance(0.04)
    assert engine.gauges() == Gauges(
        prompt_tokens=20, generation_tokens=2, prefix_queries=20, finished=1, steps=2, kv_usage=0.0
    )


def test_memory_bounds_admission() -> None:
    """A request whose first chunk does not fit waits until a running one has ended."""
    engine = Engine(small(token_budget=64))
    engine.submit(request("big", 60, 4, chain="b"), now=0.0)
    engine.submit(request("next", 28, 1, chain="n"), now=0.0)
    engine.advance(0.070)
    engine.advance(0.080)
    assert (engine.gauges().running, engine.gauges().waiting) == (1, 1)
    order = [(type(event), event.id) for event in drain(engine) if not isinstance(event, Token)]
    assert order == [(Finished, "big"), (FirstToken, "next"), (Finished, "next")]


def test_a_shared_prefix_is_stored_once() -> None:
    """Running requests with one prompt hold its blocks together; two copies would not fit here."""
    engine = Engine(small(kv_blocks=10))
    engine.submit(request("one", 32, 3), now=0.0)
    engine.advance(0.042)
    engine.submit(request("two", 32, 2), now=0.042)
    engine.advance(0.052)
    # 8 blocks of the prompt (7 shared, the last computed twice), and one for the answer of the first.
    assert (engine.cache.shared, engine.cache.used) == (8, 10)
    assert {event.id for event in drain(engine) if isinstance(event, Finished)} == {"one", "two"}


def test_running_requests_take_memory_from_the_cache() -> None:
    """The least recently used prefix makes room, its tail first."""
    engine = Engine(SMALL)
    engine.submit(request("old", 32, chain="old"), now=0.0)
    drain(engine)
    engine.submit(request("new", 47, chain="new"), now=1.0)
    drain(engine)
    kept = engine.cached_tokens(request("old", 32, chain="old").blocks, 32)
    assert kept == 4 * 4


def test_a_decode_without_memory_preempts_the_newest() -> None:
    """The newest gives its blocks back and starts over later; nobody loses a token."""
    engine = Engine(small(kv_blocks=8))
    engine.submit(request("older", 12, 12, chain="o"), now=0.0)
    engine.advance(0.022)
    engine.submit(request("newer", 12, 12, chain="n"), now=0.022)
    events = drain(engine)
    assert engine.gauges().preemptions > 0
    assert [event.id for event in events if isinstance(event, Finished)] == ["older", "newer"]
    assert sum(event.n for event in events if isinstance(event, Token) and event.id == "newer") == 11
    assert sum(isinstance(event, FirstToken) and event.id == "newer" for event in events) == 1


def test_what_can_never_fit_is_refused() -> None:
    """A prompt and answer beyond the whole memory would wait for ever."""
    engine = Engine(SMALL)
    with pytest.raises(RequestTooLongError, match="60 \\+ 5 tokens, 64 fit"):
        engine.submit(request("r", 60, 5), now=0.0)
    assert engine.unfinished == 0


def test_bad_calls_are_refused() -> None:
    """An id in use, a clock that skips the end of a step, and an impossible slowdown are errors."""
    engine = Engine(SMALL)
    engine.submit(request("r", 4), now=0.0)
    with pytest.raises(ValueError, match="in use"):
        engine.submit(request("r", 4), now=0.0)
    with pytest.raises(ValueError, match="advance"):
        engine.submit(request("s", 4), now=5.0)
    with pytest.raises(ValueError, match="advance"):
        engine.abort("r", now=5.0)
    with pytest.raises(ValueError, match="positive"):
        engine.set_slowdown(0.0)


def test_aborts_free_everything() -> None:
    """A running and a waiting request vanish without another event, and their memory comes back."""
    engine = Engine(small(max_batch=1))
    engine.submit(request("running", 8, 50, chain="r"), now=0.0)
    engine.submit(request("waiting", 8, 50, chain="w"), now=0.0)
    engine.advance(0.018)
    assert engine.abort("waiting", now=0.02)
    assert engine.abort("running", now=0.02)
    assert drain(engine) == []
    assert repr(engine) == "<Engine running=0 waiting=0 <BlockCache free=14 idle=2 shared=0 private=0>>"
    assert engine.gauges().aborted == 2
    assert not engine.abort("running", now=0.03)


def test_an_id_can_be_used_again_after_an_abort() -> None:
    """The aborted request that still fills the step in flight is not taken for its successor."""
    engine = Engine(SMALL)
    engine.submit(request("r", 8, 50), now=0.0)
    engine.abort("r", now=0.001)
    engine.submit(request("r", 4, 1, chain="other"), now=0.002)
    assert [type(event) for event in drain(engine)] == [FirstToken, Finished]
    assert engine.cache.used == 0


def test_a_slowdown_stretches_later_steps() -> None:
    """The step in flight keeps its length; those after it take `factor` times as long."""
    engine = Engine(SMALL)
    engine.submit(request("r", 20, 2), now=0.0)
    engine.set_slowdown(4.0)
    assert [event.at for event in drain(engine)] == [0.03, 0.07, 0.07]


def test_a_prompt_is_admitted_when_all_of_it_fits() -> None:
    """The second prompt's first chunk would fit beside the first request, the whole of it would not: it waits."""
    engine = Engine(small(token_budget=16))
    engine.submit(request("first", 30, 9, chain="f"), now=0.0)
    engine.submit(request("second", 40, 1, chain="s"), now=0.0)
    order = [(type(event), event.id) for event in drain(engine) if not isinstance(event, Token)]
    assert order == [(FirstToken, "first"), (Finished, "first"), (FirstToken, "second"), (Finished, "second")]
    assert engine.gauges().preemptions == 0


def test_long_prompts_pay_for_attention() -> None:
    """Tokens 0 to 19 attend to 210 tokens in all, themselves included: 210 x 50 us on top of 30 ms."""
    engine = Engine(small(attention_ns_per_pair=50_000.0))
    engine.submit(request("r", 20), now=0.0)
    assert drain(engine)[0].at == pytest.approx(0.030 + 0.0105)


def test_chunks_attend_to_the_chunks_before() -> None:
    """In two chunks a prompt pays for as many pairs of tokens as in one, and one more step."""
    engine = Engine(small(attention_ns_per_pair=50_000.0))
    engine.submit(request("r", 40), now=0.0)
    assert drain(engine)[0].at == pytest.approx(2 * 0.010 + 0.040 + 820 * 50e-6)
    assert engine.profile.prefill_s(40) == pytest.approx(drain_first(engine, request("again", 40, chain="b")))


def drain_first(engine: Engine, late: Request) -> float:
    """Seconds to the first token of a request that an idle engine gets."""
    engine.submit(late, now=10.0)
    return drain(engine)[0].at - 10.0


def test_long_contexts_make_decodes_slower() -> None:
    """A token that looks at 21 and then 22 others costs 1 ms for each of them."""
    engine = Engine(small(kv_read_ns_per_token=1_000_000.0))
    engine.submit(request("r", 20, 3), now=0.0)
    assert [event.at for event in drain(engine)][:3] == pytest.approx([0.030, 0.030 + 0.031, 0.030 + 0.031 + 0.032])


Arrival = tuple[int, int, int, int, bool]
arrivals = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 7, 30, 120]),  # ms since the arrival before
        st.integers(1, 24),  # prompt tokens
        st.sampled_from([1, 2, 13, 20]),  # output tokens
        st.integers(0, 2),  # chain
        st.sampled_from([False, False, True]),  # aborted 25 ms later
    ),
    min_size=1,
    max_size=12,
)
profiles = st.builds(
    small,
    kv_blocks=st.sampled_from([11, 12, 16, 64]),  # 11 blocks of 4 tokens hold just one longest request
    max_batch=st.sampled_from([1, 2, 4]),
    token_budget=st.sampled_from([4, 16, 64]),
    block_size=st.sampled_from([4, 5]),
    step_per_request_ms=st.sampled_from([0.0, 0.37]),
    kv_read_ns_per_token=st.sampled_from([0.0, 1_300.0, 900_000.0]),
    attention_ns_per_pair=st.sampled_from([0.0, 77.7]),
)


def schedule(plan: list[Arrival], size: int) -> list[tuple[float, Request | str]]:
    """The calls of a plan in the order of time: a request to submit or an id to abort."""
    calls: list[tuple[float, Request | str]] = []
    now = 0
    for index, (gap, prompt, output, chain, is_aborted) in enumerate(plan):
        now += gap
        calls.append((now / 1000, request(str(index), prompt, output, f"{chain}", size)))
        if is_aborted:
            calls.append(((now + 25) / 1000, str(index)))
    return sorted(calls, key=lambda call: call[0])


def run(
    profile: Profile, calls: list[tuple[float, Request | str]], *, single_steps: bool
) -> tuple[Engine, list[Event]]:
    """Play the calls, taking the time between them step by step or in one leap; check the books after each step."""
    engine = Engine(profile)
    events: list[Event] = []

    def pass_time(until: float) -> None:
        while single_steps and (at := engine.next_event_at()) is not None and at <= until:
            events.extend(engine.advance(at))
            check(engine)
        events.extend(engine.advance(until))
        check(engine)

    for at, call in calls:
        pass_time(at)
        if isinstance(call, Request):
            engine.submit(call, at)
        else:
            engine.abort(call, at)
    pass_time(1e6)
    return engine, events


def check(engine: Engine) -> None:
    """Blocks are conserved and the gauges agree with each other."""
    cache, gauges = engine.cache, engine.gauges()
    assert cache.free >= 0
    assert cache.free + cache.idle + cache.used == engine.profile.kv_blocks
    assert 0 <= gauges.kv_usage <= 1
    assert gauges.running <= engine.profile.max_batch
    assert gauges.prefix_hits <= gauges.prefix_queries
    assert gauges.cached_tokens <= gauges.prompt_tokens <= gauges.prefix_queries


@given(profiles, arrivals)
def test_every_request_ends_exactly_once(profile: Profile, plan: list[Arrival]) -> None:
    """Each request gets all its tokens and one end, or was aborted and gets no end; nothing stays in memory."""
    calls = schedule(plan, profile.block_size)
    engine, events = run(profile, calls, single_steps=True)
    submitted = {call.id: call for _, call in calls if isinstance(call, Request)}
    finished = [event for event in events if isinstance(event, Finished)]
    assert len({event.id for event in finished}) == len(finished)
    assert len(finished) + engine.gauges().aborted == len(submitted)
    for event in finished:
        tokens = sum(other.n for other in events if isinstance(other, Token) and other.id == event.id)
        firsts = sum(isinstance(other, FirstToken) and other.id == event.id for other in events)
        assert firsts == 1
        assert 1 + tokens == event.usage.output_tokens == submitted[event.id].output_tokens
        assert event.usage.cached_tokens < event.usage.prompt_tokens
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert engine.unfinished == engine.waiting == engine.cache.used == 0
    assert (engine.gauges().running, engine.gauges().waiting, engine.gauges().kv_usage) == (0, 0, 0.0)


def assert_leaps_change_nothing(profile: Profile, calls: list[tuple[float, Request | str]]) -> None:
    """Play the calls both ways and compare times, totals and cache contents."""
    slow, single = run(profile, calls, single_steps=True)
    fast, leapt = run(profile, calls, single_steps=False)

    def ends(events: list[Event]) -> list[Event]:
        return [event for event in events if not isinstance(event, Token)]

    def totals(events: list[Event]) -> dict[str, int]:
        counts: dict[str, int] = {}
        for event in events:
            if isinstance(event, Token):
                counts[event.id] = counts.get(event.id, 0) + event.n
        return counts

    assert ends(leapt) == ends(single)
    assert totals(leapt) == totals(single)
    assert fast.gauges() == slow.gauges()
    assert list(fast.cache._idle) == list(slow.cache._idle)


@given(profiles, arrivals)
def test_a_leap_ends_where_single_steps_end(profile: Profile, plan: list[Arrival]) -> None:
    """One long advance gives the same times, totals and cache contents as many short ones."""
    assert_leaps_change_nothing(profile, schedule(plan, profile.block_size))


def test_a_leap_stops_before_a_preemption() -> None:
    """Two long answers that outgrow the memory together take the same course in leaps."""
    plan = [(0, 12, 20, 0, False), (0, 12, 20, 1, False)]
    profile = small(kv_blocks=11)
    calls = schedule(plan, profile.block_size)
    assert run(profile, calls, single_steps=True)[0].gauges().preemptions > 0
    assert_leaps_change_nothing(profile, calls)


def test_a_leap_fills_blocks_in_the_order_of_steps() -> None:
    """Of two requests with one continuation, the one that is ahead owns the shared block, also within a leap."""
    ahead = Request("ahead", (1, 2, 3, 4, 5), 6, 14)
    behind = Request("behind", (1, 2, 3, 4, 5), 5, 15)
    engines = []
    for single_steps in (True, False):
        engine = Engine(SMALL)
        engine.submit(behind, 0.0)
        engine.submit(ahead, 0.0)
        while single_steps and (at := engine.next_event_at()) is not None and at <= 0.15:
            engine.advance(at)
        engine.advance(0.15)
        engines.append([sequence.hold for sequence in engine._running])
    assert engines[0] == engines[1]
    assert any(hold.copies for hold in engines[0])


def told_by(
    profile: Profile, calls: list[tuple[float, Request | str]], *, single_steps: bool
) -> tuple[Engine, list[CacheEvent]]:
    """Play the calls with an engine that tells of its cache."""
    engine = Engine(profile, tokens=False, cache_events=True)
    for at, call in [*calls, (1e6, "nobody")]:
        while single_steps and (ends := engine.next_event_at()) is not None and ends <= at:
            engine.advance(ends)
        engine.advance(at)
        if isinstance(call, Request):
            engine.submit(call, at)
        else:
            engine.abort(call, at)
    return engine, engine.take_cache_events()


def replayed(held: set[int], events: list[CacheEvent]) -> set[int]:
    """What is cached after the events. Nothing is stored that was there, nothing removed that was not."""
    for event in events:
        if isinstance(event, Stored):
            assert held.isdisjoint(event.blocks)
            held |= set(event.blocks)
        else:
            assert held >= set(event.blocks)
            held -= set(event.blocks)
    return held


def findable(engine: Engine, calls: list[tuple[float, Request | str]]) -> set[int]:
    """Every block of the requests that the engine's cache can find."""
    known = {block for _, call in calls if isinstance(call, Request) for block in call.blocks}
    return {block for block in known if engine.cache.match([block], 1)}


@given(profiles, arrivals)
def test_cache_events_replay_to_the_cache(profile: Profile, plan: list[Arrival]) -> None:
    """At the start of every step and at the end the events so far give exactly the blocks that can be found."""
    calls = schedule(plan, profile.block_size)
    engine = Engine(profile, tokens=False, cache_events=True)
    held: set[int] = set()
    for at, call in [*calls, (1e6, "nobody")]:
        while (ends := engine.next_event_at()) is not None and ends <= at:
            before = findable(engine, calls)
            engine.advance(ends)
            events = engine.take_cache_events()
            assert {event.at for event in events} <= {ends}
            held = replayed(held, events)
            # What the step in flight took was told at its end; since then only copies may have come back.
            assert before <= held
        if isinstance(call, Request):
            engine.submit(call, at)
        else:
            engine.abort(call, at)
    assert held == findable(engine, calls)


@given(profiles, arrivals)
def test_a_leap_tells_what_single_steps_tell(profile: Profile, plan: list[Arrival]) -> None:
    """The same changes at the same times in the same events."""
    calls = schedule(plan, profile.block_size)
    _, single = told_by(profile, calls, single_steps=True)
    engine, leapt = told_by(profile, calls, single_steps=False)
    assert leapt == single
    assert [event.at for event in leapt] == sorted(event.at for event in leapt)
    assert engine.take_cache_events() == []


@given(profiles, arrivals)
def test_telling_changes_nothing_else(profile: Profile, plan: list[Arrival]) -> None:
    """An engine that tells does what the others do, and those tell nothing."""
    calls = schedule(plan, profile.block_size)
    telling, _ = told_by(profile, calls, single_steps=False)
    quiet, _ = run(profile, calls, single_steps=False)
    assert telling.gauges() == quiet.gauges()
    assert list(telling.cache._idle) == list(quiet.cache._idle)
    assert quiet.take_cache_events() == []


def test_cache_events_are_those_of_full_blocks() -> None:
    """Full prompt blocks come with the end of their step, an answer's when it fills one, evictions with their cause."""
    engine = Engine(small(kv_blocks=4), cache_events=True)
    engine.submit(request("r", 9, 4), now=0.0)
    one, two, three = request("r", 9, 4).blocks
    engine.advance(0.0)
    assert engine.take_cache_events() == []
    engine.advance(1.0)
    assert engine.take_cache_events() == [Stored(0.019, (one, two), None), Stored(0.049, (three,), two)]
    engine.submit(request("other", 12, 1, chain="b"), now=1.0)
    engine.advance(2.0)
    other = request("other", 12, 1, chain="b").blocks
    assert engine.take_cache_events() == [Removed(1.022, (three, two)), Stored(1.022, other, None)]


def test_a_leap_takes_many_steps_at_once() -> None:
    """A long decode that nobody disturbs comes as few events, which is what makes virtual time fast."""
    engine = Engine(small(kv_blocks=1000))
    engine.submit(request("r", 4, 1000), now=0.0)
    events = engine.advance(1e3)
    assert len(events) < 10
    assert engine.gauges().steps == 1000


@given(profiles, arrivals)
def test_the_engine_does_what_the_plain_rules_say(profile: Profile, plan: list[Arrival]) -> None:
    """First tokens, hits, ends, their times and what stays in the cache are those of a scheduler without short cuts."""
    calls = [(at, call) for at, call in schedule(plan, profile.block_size) if isinstance(call, Request)]
    engine, events = run(profile, list(calls), single_steps=False)
    told, cache = eager.play(profile, [(round(at * 1e9), call) for at, call in calls])
    seen = [
        (f"first {event.cached_tokens}" if isinstance(event, FirstToken) else "end", round(event.at * 1e9), event.id)
        for event in events
        if not isinstance(event, Token)
    ]
    assert seen == told
    assert list(engine.cache._idle) == list(cache._idle)


@given(profiles, arrivals)
def test_without_tokens_nothing_else_changes(profile: Profile, plan: list[Arrival]) -> None:
    """Leaving the tokens out, and sleeping until the next change, gives the same first tokens, ends and totals."""
    calls = schedule(plan, profile.block_size)
    engine, events = run(profile, calls, single_steps=True)
    quiet = Engine(profile, tokens=False)
    seen: list[Event] = []

    def pass_time(until: float) -> None:
        while (at := quiet.next_change_at()) is not None and at <= until:
            news = quiet.advance(at)
            # Nothing came before the time that was promised.
            assert all(event.at == at for event in news)
            seen.extend(news)
        seen.extend(quiet.advance(until))

    for at, call in calls:
        pass_time(at)
        if isinstance(call, Request):
            quiet.submit(call, at)
        else:
            quiet.abort(call, at)
    pass_time(1e6)
    assert seen == [event for event in events if not isinstance(event, Token)]
    assert quiet.gauges() == engine.gauges()
    assert list(quiet.cache._idle) == list(engine.cache._idle)


def poisson(rate: float, count: int, seed: int) -> list[float]:
    """Times of arrival with independent exponential gaps."""
    rng = random.Random(seed)
    now, times = 0.0, []
    for _ in range(count):
        now += rng.expovariate(rate)
        times.append(now)
    return times


def serve(engine: Engine, times: list[float], prompt: int, output: int) -> tuple[dict[str, float], dict[str, float]]:
    """Submits equal requests without hashes at these times; when each had its first token and its end."""
    firsts: dict[str, float] = {}
    ends: dict[str, float] = {}

    def note(events: list[Event]) -> None:
        for event in events:
            if isinstance(event, FirstToken):
                firsts[event.id] = event.at
            elif isinstance(event, Finished):
                ends[event.id] = event.at

    for index, at in enumerate(times):
        note(engine.advance(at))
        engine.submit(Request(str(index), (), prompt, output), at)
    note(engine.advance(times[-1] + 1e6))
    return firsts, ends


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_a_batch_of_one_is_an_m_d_1_queue(load: float) -> None:
    """With one request at a time and Poisson arrivals the mean wait is load / (2 (1 - load)) services (M/D/1)."""
    engine = Engine(small(max_batch=1, token_budget=16, kv_blocks=1000), tokens=False)
    service = engine.profile.step_s(1, 16)
    times = poisson(load / service, 40_000, seed=1)
    firsts, _ = serve(engine, times, prompt=16, output=1)
    waits = [firsts[str(index)] - at - service for index, at in enumerate(times)]
    expected = load / (2 * (1 - load)) * service
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.05)
    # An arrival that finds the queue empty (with probability 1 - load) does not wait at all.
    assert sum(wait < 1e-6 for wait in waits) / len(waits) == pytest.approx(1 - load, abs=0.02)


def test_littles_law_holds_for_running_and_waiting() -> None:
    """Sampled gauges: mean number of requests in the engine = rate x mean time in it, with batches and chunks too."""
    engine = Engine(small(max_batch=8, token_budget=64, kv_blocks=1000), tokens=False)
    count, output = 4_000, 10
    times = poisson(16.0, count, seed=2)
    inside: list[int] = []
    ends: dict[str, float] = {}
    samples = iter([0.01 * tick for tick in range(1, round(times[-1] / 0.01))])
    sample = next(samples)
    for index, at in enumerate(times):
        while sample < at:
            ends.update({event.id: event.at for event in engine.advance(sample) if isinstance(event, Finished)})
            inside.append(engine.unfinished)
            sample = next(samples, float("inf"))
        ends.update({event.id: event.at for event in engine.advance(at) if isinstance(event, Finished)})
        engine.submit(Request(str(index), (), 24, output), at)
    ends.update({event.id: event.at for event in engine.advance(1e6) if isinstance(event, Finished)})
    assert max(inside) > 8, "the load never made a queue"
    spent = sum(ends[str(index)] - at for index, at in enumerate(times)) / count
    assert sum(inside) / len(inside) == pytest.approx(count / times[-1] * spent, rel=0.02)


def test_long_replays_take_few_steps_of_ours() -> None:
    """Between two events of 40 requests that decode 2,000 tokens each, the engine is asked only some times."""
    engine = Engine(small(max_batch=40, token_budget=512, kv_blocks=100_000, block_size=16), tokens=False)
    for index in range(40):
        engine.submit(Request(str(index), (), 500 + index, 2_000), now=0.0)
    asked = 0
    while (at := engine.next_change_at()) is not None:
        engine.advance(at)
        asked += 1
    assert engine.gauges().steps > 2_000
    assert asked < 150


def test_a_queue_that_lacks_memory_does_not_slow_virtual_time() -> None:
    """Until a block is needed or gets full, a waiting request that did not fit has no better chance: no need to ask."""
    engine = Engine(small(max_batch=4, token_budget=512, block_size=512, kv_blocks=4), tokens=False)
    engine.submit(Request("runs", (), 500, 1_000), now=0.0)
    engine.submit(Request("waits", (), 1_200, 1), now=0.0)
    asked = 0
    while (at := engine.next_change_at()) is not None:
        engine.advance(at)
        asked += 1
    assert engine.gauges().steps >= 1_000
    assert asked < 20


def test_twelve_thousand_requests_on_eight_engines_take_seconds() -> None:
    """Chats of up to 30 turns with scrapes every 200 ms, some hours of virtual time: well below 10 s of ours."""
    profile = Profile(block_size=512, kv_blocks=800, max_batch=256, token_budget=8192, prefill_tokens_per_s=30_000.0)
    engines = [Engine(profile, tokens=False) for _ in range(8)]
    rng = random.Random(3)
    turns = [0] * 400
    now, scraped, first_tokens = 0.0, 0.0, 0
    began = time.process_time()
    for index in range(12_000):
        now += rng.expovariate(4.0)
        while scraped < now:
            scraped += 0.2
            for engine in engines:
                first_tokens += sum(isinstance(event, FirstToken) for event in engine.advance(scraped))
        chat = rng.randrange(len(turns))
        turns[chat] += 1
        prompt, output = 1_000 * (1 + turns[chat] % 30), rng.randrange(50, 600)
        blocks = tuple(hash((chat, turns[chat] // 30, block)) for block in range(prompt // 512))
        engine = engines[chat % 8]
        first_tokens += sum(isinstance(event, FirstToken) for event in engine.advance(max(now, scraped)))
        engine.submit(Request(str(index), blocks, prompt, output), max(now, scraped))
    for engine in engines:
        first_tokens += sum(isinstance(event, FirstToken) for event in engine.advance(1e6))
    assert first_tokens == 12_000
    assert sum(engine.gauges().prefix_hits for engine in engines) > 0
    assert time.process_time() - began < 10

"""Playbooks of the engine model, and what holds for every order of events."""

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


def test_a_leap_takes_many_steps_at_once() -> None:
    """A long decode that nobody disturbs comes as few events, which is what makes virtual time fast."""
    engine = Engine(small(kv_blocks=1000))
    engine.submit(request("r", 4, 1000), now=0.0)
    events = engine.advance(1e3)
    assert len(events) < 10
    assert engine.gauges().steps == 1000

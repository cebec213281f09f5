"""Slots that keep their last prompt: which one a request gets, what it finds there, and when its tokens come."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import Event, Finished, FirstToken, Profile, Request, RequestTooLongError, Token, Usage
from sim.slots import SlotEngine

# A step lasts 10 ms plus 1 ms per prompt token; two slots of 100 tokens, found to the token.
SMALL = Profile(
    block_size=1,
    kv_blocks=200,
    max_batch=2,
    token_budget=32,
    prefill_tokens_per_s=1000.0,
    step_base_ms=10.0,
    step_per_request_ms=0.0,
)


def request(name: str, *parts: tuple[str, int], output: int = 1) -> Request:
    """A prompt of parts: (what, how many tokens). Equal beginnings have equal blocks; the answer's are unknown."""
    blocks, head = [], 0
    for what, count in parts:
        for index in range(count):
            head = hash((head, what, index))
            blocks.append(head)
    return Request(name, tuple(blocks), len(blocks), output)


def drain(engine: SlotEngine) -> list[Event]:
    """Step by step to the end of all work."""
    events: list[Event] = []
    while (at := engine.next_event_at()) is not None:
        events += engine.advance(at)
    return events


class Client:
    """One request after the other."""

    def __init__(self, engine: SlotEngine) -> None:
        self.engine = engine
        self.now = 0.0

    def cached(self, *parts: tuple[str, int]) -> int:
        """Tokens that a request finds, as foretold."""
        asked = request(f"at {self.now}", *parts)
        foretold = self.engine.cached_tokens(asked.blocks, asked.prompt_tokens)
        self.engine.submit(asked, self.now)
        events = drain(self.engine)
        self.now = events[-1].at + 1
        first = events[0]
        assert isinstance(first, FirstToken)
        assert first.cached_tokens == foretold
        return first.cached_tokens


def test_one_request_from_prompt_to_end() -> None:
    """A prefill of 20 tokens takes 10 + 20 ms, each further token 10 ms."""
    engine = SlotEngine(SMALL)
    engine.submit(request("r", ("a", 20), output=3), now=1.0)
    assert drain(engine) == [
        FirstToken("r", 1.03, 0),
        Token("r", 1.04, 1),
        Token("r", 1.05, 1),
        Finished("r", 1.05, Usage(20, 0, 3)),
    ]
    assert engine.unfinished == 0
    assert (engine.gauges().finished, engine.gauges().running, engine.gauges().steps) == (1, 0, 3)


def test_a_slot_keeps_its_last_prompt() -> None:
    """The same prompt is found but for its last token; a longer one finds all of the shorter."""
    client = Client(SlotEngine(SMALL))
    assert client.cached(("a", 40)) == 0
    assert client.cached(("a", 40)) == 39
    assert client.cached(("a", 40), ("b", 20)) == 40


def test_a_similar_slot_is_taken_even_if_it_was_used_last() -> None:
    """More than a tenth of the prompt in common is enough, and the rest of the slot is lost."""
    client = Client(SlotEngine(SMALL))
    client.cached(("a", 40))
    assert client.cached(("a", 10), ("b", 30)) == 10
    assert client.cached(("a", 40)) == 10


def test_little_in_common_takes_the_oldest_slot() -> None:
    """With a tenth or less in common the least recently used slot is taken, and what it has of it is used."""
    client = Client(SlotEngine(SMALL))
    client.cached(("a", 40))
    client.cached(("b", 40))
    assert client.cached(("a", 4), ("c", 36)) == 4
    assert client.cached(("b", 40)) == 39


def test_slots_share_nothing() -> None:
    """Two requests with one prompt at the same time: the second computes it again in its own slot."""
    engine = SlotEngine(SMALL)
    engine.submit(request("one", ("a", 30), output=20), now=0.0)
    engine.submit(request("two", ("a", 30), output=20), now=0.0)
    firsts = [event for event in drain(engine) if isinstance(event, FirstToken)]
    assert firsts == [FirstToken("one", 0.04, 0), FirstToken("two", 0.04 + 0.04, 0)]


def test_prompts_share_what_the_answers_leave_of_a_step() -> None:
    """A budget of 32 gives an answering slot one token and a prompt 31; 40 tokens are 31 and 9."""
    engine = SlotEngine(SMALL)
    engine.submit(request("stream", ("a", 4), output=9), now=0.0)
    engine.advance(0.014)
    engine.submit(request("long", ("b", 40)), now=0.020)
    events = engine.advance(0.024 + 0.041 + 0.019)
    assert [event.at for event in events] == pytest.approx([0.024, 0.065, 0.084, 0.084, 0.084])
    assert FirstToken("long", 0.084, 0) in events


def test_who_finds_no_slot_waits() -> None:
    """Two run, the third begins when the first slot is free, in the order of arrival."""
    engine = SlotEngine(SMALL)
    for name in "xyz":
        engine.submit(request(name, (name, 4), output=3), now=0.0)
    assert engine.waiting == 2
    engine.advance(0.014)
    assert (engine.waiting, engine.gauges().waiting) == (1, 2)
    assert [event.id for event in drain(engine) if isinstance(event, Finished)] == ["x", "y", "z"]


def test_prompts_come_back_from_main_memory() -> None:
    """Without it a third conversation costs the first one its cache; with it all three stay."""
    found = {}
    for ram_tokens in (0, 10_000):
        client = Client(SlotEngine(replace(SMALL, ram_tokens=ram_tokens)))
        for turn in (20, 40):
            for who in "abc":
                found[ram_tokens, turn, who] = client.cached((who, turn))
    assert [found[0, 40, who] for who in "abc"] == [0, 0, 0]
    assert [found[10_000, 40, who] for who in "abc"] == [20, 20, 20]


def test_main_memory_is_bounded() -> None:
    """The oldest prompts go; the last one stays however long it is."""
    client = Client(SlotEngine(replace(SMALL, max_batch=1, ram_tokens=70)))
    for who in "abcd":
        client.cached((who, 30))
    assert [client.cached((who, 30)) for who in "bd"] == [29, 29]
    assert client.cached(("a", 30)) == 0


def test_an_abort_frees_the_slot_and_keeps_what_was_computed() -> None:
    """A waiting request vanishes, a running one's slot is free at the end of the step, with its tokens."""
    engine = SlotEngine(replace(SMALL, max_batch=1))
    engine.submit(request("runs", ("a", 20), output=50), now=0.0)
    engine.submit(request("waits", ("b", 20)), now=0.0)
    engine.advance(0.03)
    assert engine.abort("waits", now=0.03)
    assert engine.abort("runs", now=0.03)
    assert not engine.abort("runs", now=0.03)
    assert drain(engine) == []
    assert (engine.gauges().aborted, engine.gauges().running, engine.unfinished) == (2, 0, 0)
    assert engine.cached_tokens(request("again", ("a", 30)).blocks, 30) == 20


def test_the_backlog_is_what_is_left_of_prompts() -> None:
    """What waits in full, what has begun without what is computed, what answers not at all."""
    engine = SlotEngine(replace(SMALL, max_batch=1, token_budget=30))
    engine.submit(Request("a", (), 50, 5), 0.0)
    engine.submit(Request("b", (), 40, 5), 0.0)
    assert ("a" in engine, "b" in engine, "c" in engine) == (True, True, False)
    assert engine.backlog_tokens == 90
    engine.advance(engine.next_event_at() or 0.0)
    assert engine.backlog_tokens == 60
    engine.advance(engine.next_event_at() or 0.0)
    assert engine.backlog_tokens == 40
    assert engine.take_cache_events() == []


def test_bad_calls_are_refused() -> None:
    """More than a slot holds, an id in use, a clock that skips the end of a step, an impossible slowdown."""
    engine = SlotEngine(SMALL)
    with pytest.raises(RequestTooLongError, match="101 tokens, 100 fit"):
        engine.submit(request("r", ("a", 100)), now=0.0)
    engine.submit(request("r", ("a", 50)), now=0.0)
    with pytest.raises(ValueError, match="in use"):
        engine.submit(request("r", ("a", 50)), now=0.0)
    with pytest.raises(ValueError, match="advance"):
        engine.submit(request("s", ("a", 50)), now=5.0)
    with pytest.raises(ValueError, match="positive"):
        engine.set_slowdown(-1.0)


plans = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 7, 30, 120]),  # ms since the arrival before
        st.integers(1, 40),  # prompt tokens
        st.sampled_from([1, 2, 13, 20]),  # output tokens
        st.sampled_from("abc"),  # what it begins with
        st.booleans(),  # aborted 25 ms later
    ),
    min_size=1,
    max_size=10,
)
profiles = st.builds(
    replace,
    st.just(SMALL),
    max_batch=st.sampled_from([1, 2, 3]),
    kv_read_ns_per_token=st.sampled_from([0.0, 900_000.0]),
    token_budget=st.sampled_from([8, 64]),
)


@given(profiles, plans, st.sampled_from([0, 50]))
def test_a_leap_ends_where_single_steps_end(
    profile: Profile, plan: list[tuple[int, int, int, str, bool]], ram_tokens: int
) -> None:
    """Long advances, short ones, and sleeping until the next change give the same events, totals and slots."""
    calls: list[tuple[int, Request | str]] = []
    now = 0
    for index, (gap, prompt, output, who, is_aborted) in enumerate(plan):
        now += gap
        calls.append((now, request(str(index), (who, prompt), output=output)))
        if is_aborted:
            calls.append((now + 25, str(index)))
    outcomes = []
    for way in ("steps", "leaps", "changes"):
        engine = SlotEngine(replace(profile, ram_tokens=ram_tokens), tokens=False)
        events: list[Event] = []
        for at_ms, call in [*sorted(calls, key=lambda entry: entry[0]), (10**9, "nobody")]:
            at = at_ms / 1000
            ask = {"steps": engine.next_event_at, "leaps": lambda: None, "changes": engine.next_change_at}[way]
            while (then := ask()) is not None and then <= at:
                events += engine.advance(then)
            events += engine.advance(at)
            if isinstance(call, Request):
                engine.submit(call, at)
            else:
                engine.abort(call, at)
        kept = [(slot.kept, slot.used) for slot in engine._slots]
        outcomes.append((events, engine.gauges(), kept))
        assert engine.unfinished == 0
    assert outcomes[0] == outcomes[1] == outcomes[2]

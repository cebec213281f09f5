"""The oracle, and what it reads off an engine."""

import random
from dataclasses import replace

import pytest

from sim.baselines.oracle import Oracle
from sim.baselines.rule import Option
from sim.baselines.state import Load
from sim.engine import Engine, Request
from sim.virtual.router import Context, RoutedRequest
from tests.unit.sim.baselines.play import ADDRESSES, PROFILE, A, B, C, Play


def warmed(play: Play, address: str, *blocks: int) -> None:
    """Let an engine compute a prompt and finish; the rule is told nothing."""
    engine = play.engines[address]
    engine.submit(Request(f"warm{address}", blocks, len(blocks) * 100, 1), play.now)
    while (at := engine.next_event_at()) is not None:
        engine.advance(at)
        play.now = max(play.now, at)


def advanced(play: Play) -> None:
    """Bring all engines to the clock, as a replay does before each pick."""
    for engine in play.engines.values():
        engine.advance(play.now)


def test_sees_what_an_engine_holds() -> None:
    """Whoever sent it there: 500 uncached tokens take half a second, 100 a tenth."""
    play = Play("oracle")
    warmed(play, B, 1, 2, 3, 4)
    advanced(play)
    keys = play.keys(1, 2, 3, 4, 5)
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([0.5, 0.1, 0.5], abs=1e-4)


def test_sees_the_backlog_and_the_speed() -> None:
    """What an engine still has to compute stands before the request, and a slow engine is slow at all of it."""
    play = Play("oracle")
    play.engines[A].submit(Request("x", (), 300, 5), play.now)
    play.engines[B].set_slowdown(4.0)
    keys = play.keys(1)
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([0.4, 0.4, 0.1], abs=1e-4)


def test_sees_what_decodes() -> None:
    """A decoding request of 500 tokens costs each step 500 × 100 µs, here in two: the one in flight and the prefill."""
    profile = replace(PROFILE, kv_read_ns_per_token=100_000.0)
    engine = Engine(profile)
    oracle = Oracle(Context((A,), profile, 100, engines={A: engine}))
    request = RoutedRequest("r", (9,), 100, 100)
    option = Option(A, 0.0, 100, Load(), None)
    idle = oracle.keys(request, [option], 0.0, random.Random(1))[0][0]
    engine.submit(Request("x", (1, 2, 3, 4, 5), 500, 50), 0.0)
    at = engine.next_event_at()
    assert at is not None
    engine.advance(at)
    assert oracle.keys(request, [option], at, random.Random(1))[0][0] - idle == pytest.approx(2 * 0.05)


def test_sees_its_own_picks_on_the_wire() -> None:
    """A burst is spread although no engine has got any of it yet; what has arrived is not counted twice."""
    play = Play("oracle")
    assert sorted(play.ask(n) for n in range(3)) == sorted(ADDRESSES)
    play.engines[A].submit(Request(next(iter(_on_the_wire_to(play, A))), (0,), 100, 5), play.now)
    keys = play.keys(9)
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([0.2, 0.2, 0.2], abs=1e-4)
    for number in range(1, 4):
        play.end(f"r{number}")
    assert [play.keys(9)[address][0] for address in (B, C)] == pytest.approx([0.1, 0.1], abs=1e-4)


def _on_the_wire_to(play: Play, address: str) -> list[str]:
    return [name for name in ("r1", "r2", "r3") if play.rule.in_flight.address_of(name) == address]


def test_what_an_engine_tells() -> None:
    """Backlog, membership and slowdown, from submission to the end."""
    engine = Engine(PROFILE)
    assert ("a" in engine, engine.backlog_tokens, engine.slowdown) == (False, 0, 1.0)
    engine.submit(Request("a", (1, 2), 250, 3), 0.0)
    engine.submit(Request("b", (1, 2, 3), 300, 3), 0.0)
    assert ("a" in engine, "b" in engine) == (True, True)
    assert engine.backlog_tokens == 250 + 100, "a block can be shared from the moment that it is being computed"
    at = engine.next_event_at()
    assert at is not None
    engine.advance(at)
    assert engine.backlog_tokens == 100, "a decodes, b is being computed"
    engine.abort("b", at)
    assert ("b" in engine, engine.backlog_tokens) == (False, 0)
    engine.set_slowdown(2.0)
    assert engine.slowdown == 2.0
    while (at := engine.next_event_at()) is not None:
        engine.advance(at)
    assert ("a" in engine, engine.backlog_tokens) == (False, 0)

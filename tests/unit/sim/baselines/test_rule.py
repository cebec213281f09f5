"""What holds for every rule."""

import random

import pytest

from ext_proc.core.events import AttemptEnded, BlocksStored, Scraped
from sim.baselines import registry
from sim.baselines.precise import ToldPrefixes
from sim.baselines.rule import Rule, engine_memory
from sim.baselines.state import Load
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.fleet import run
from sim.virtual.outcome import Outcome
from sim.virtual.router import Exchanging, RoutedRequest
from sim.virtual.setup import Setup
from tests.unit.sim.baselines.play import ADDRESSES, PROFILE, SIZE, A, B, C, Play

NAMES = tuple(registry)
REFERENCES = {"oracle"}
TOLD = {"unified", "epp-sticky", "lmetric", "dynamo", "mooncake", "aibrix-prefix-cache", "epp-weighted"}
"""Rules whose index is that of the engines where these tell of it."""

SYNCHRONISED = {"dynamo"}
"""Rules whose system tells its other replicas of requests."""


def trace(count: int = 60, seed: int = 3) -> Trace:
    """Ten conversations that take turns, each turn two blocks longer than the one before."""
    rng = random.Random(seed)
    lengths = [0] * 10
    requests = []
    for number in range(count):
        who = rng.randrange(10)
        lengths[who] += 2
        blocks = (0, *(1_000 * (who + 1) + n for n in range(lengths[who])))
        requests.append(
            TraceRequest(number * 0.2, blocks, len(blocks) * SIZE + rng.randrange(SIZE), 5, session=f"s{who}")
        )
    return Trace("turns", SIZE, tuple(requests))


def played(name: str, seed: int = 1) -> tuple[Outcome, ...]:
    """What became of the trace under a rule."""
    return run(trace(), Setup(factory=registry[name], profile=PROFILE, engines=3), seed).outcomes


@pytest.mark.parametrize("name", NAMES)
def test_name_and_kind(name: str) -> None:
    """The registry's name is the rule's own, and only what looks into engines is a reference."""
    rule = Play(name).rule
    assert (rule.name, rule.kind) == (name, "reference" if name in REFERENCES else "published")


@pytest.mark.parametrize("name", NAMES)
def test_picks_known_endpoints_and_repeats_itself(name: str) -> None:
    """All endpoints are named once each; the same seed gives the same picks."""

    def picks(seed: int) -> list[list[str]]:
        play = Play(name, seed=seed)
        return [list(play.rule.pick(play.request(n % 4, 10 + n), 0.1 * n, play.rng)) for n in range(40)]

    first = picks(7)
    assert all(sorted(names) == sorted(ADDRESSES) for names in first)
    assert first == picks(7)


@pytest.mark.parametrize("name", NAMES)
def test_replays_a_trace(name: str) -> None:
    """Every request is answered, twice with the same numbers."""
    outcomes = played(name)
    assert {outcome.status for outcome in outcomes} == {"ok"}
    assert outcomes == played(name)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_behind(name: str) -> None:
    """When all requests have ended, the account is empty."""
    play = Play(name)
    ids = []
    for number in range(20):
        request = play.request(number % 3, 10 + number)
        play.rule.pick(request, 0.0, play.rng)
        ids.append(request.id)
    for number, name_ in enumerate(ids):
        if number % 2:
            play.first(name_, A)
        play.end(name_)
    assert all(play.rule.in_flight.at(address) == Load() for address in ADDRESSES)


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_endpoint_is_left_out_and_forgotten(name: str) -> None:
    """After a refused connection it is not named, and what it held counts for nothing, until it is scraped again."""
    play = Play(name)
    if play.rule.prefixes is not None:
        play.hold(A, 1, 2, 3)
    play.rule.observe(AttemptEnded(decision_id="r", address=A, at=1.0, status=0, flags=("UF",)))
    request = play.request(1, 2, 3)
    assert sorted(play.rule.pick(request, 1.0, play.rng)) == [B, C]
    play.rule.observe(Scraped(address=A, at=2.0, running=0, waiting=0))
    assert sorted(play.rule.pick(play.request(9), 2.0, play.rng)) == [A, B, C]
    if play.rule.prefixes is not None:
        assert A not in play.rule.prefixes.match((1, 2, 3), 2.0)


@pytest.mark.parametrize("name", NAMES)
def test_short_prompts_are_routed(name: str) -> None:
    """A prompt without a whole block is one like any other, and a router without endpoints names none."""
    play = Play(name)
    assert play.ask(tokens=1) in ADDRESSES
    assert Play(name, addresses=()).rule.pick(play.request(1), 0.0, play.rng) == []


def test_a_cached_prompt_still_costs_a_token() -> None:
    """What is cached entirely leaves one token to compute, and a wrong estimate of the length breaks nothing."""
    play = Play("mooncake")
    play.hold(A, 1, 2)
    options = {o.address: o for o in play.rule._options(RoutedRequest("r", (1, 2), SIZE, 150), 0.0)}
    assert (options[A].uncached, options[A].cached, options[B].uncached, options[B].cached) == (1, 1.0, 150, 0.0)


def test_engine_memory_is_in_blocks_of_the_trace() -> None:
    """100,000 tokens are 1,000 blocks of 100."""
    assert engine_memory(Play("lmetric").context) == PROFILE.kv_tokens // SIZE


@pytest.mark.parametrize("name", NAMES)
def test_who_listens_to_engines_and_to_replicas(name: str) -> None:
    """Documented in docs/baselines.md, and only where engines tell."""
    assert isinstance(Play(name, kv_events=True).rule.prefixes, ToldPrefixes) is (name in TOLD)
    assert not isinstance(Play(name).rule.prefixes, ToldPrefixes)
    assert isinstance(Play(name).rule, Exchanging) is (name in SYNCHRONISED)


@pytest.mark.parametrize("name", sorted(TOLD))
def test_a_told_index_is_used(name: str) -> None:
    """The endpoint that says it holds the prompt is taken, which nobody sent there through this router."""
    play = Play(name, kv_events=True)
    play.rule.observe(BlocksStored(address=B, at=0.0, blocks=(1, 2, 3, 4)))
    for address in ADDRESSES:  # requests elsewhere, so that products are not 0
        play.put(address, 50, begun=True)
    assert play.best(1, 2, 3, 4) == {B}


def test_a_rule_must_say_something() -> None:
    """The base has no rule of its own."""
    play = Play("plain-random")
    with pytest.raises(NotImplementedError):
        Rule(play.context).pick(play.request(1), 0.0, play.rng)

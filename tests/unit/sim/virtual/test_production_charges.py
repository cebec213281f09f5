"""What each charge of `kv-aware` is good for, in virtual time; docs/strategies.md has the same over longer runs."""

from dataclasses import replace
from functools import cache

from ext_proc.core.settings import ChargeSettings, EndpointSettings, PoolSettings
from sim.hardware import named
from sim.traces.generate import generate
from sim.traces.trace import Trace
from sim.virtual.faults import Fault, fault
from sim.virtual.fleet import run
from sim.virtual.outcome import RunResult
from sim.virtual.production import BARE, ProductionFactory
from sim.virtual.setup import Setup
from sim.virtual.study import rate_for

ENGINES = 8
PLAIN = Setup(factory=ProductionFactory("kv-aware"), profile=named("h100-8b"), engines=ENGINES)
NOTHING = ChargeSettings(failure_ms=0, adapter_load_ms=0)


@cache
def chats(requests: int, load: float, seed: int = 1) -> Trace:
    """Conversations, at a pace that is this load of the fleet."""
    made = generate("chat", seed, requests=requests)
    return made.faster(rate_for(made, PLAIN, load))


def played(trace: Trace, pool: PoolSettings, base: Setup = PLAIN, *, faults: tuple[Fault, ...] = ()) -> RunResult:
    """One run of `kv-aware` with the settings of a pool."""
    return run(trace, replace(base, factory=ProductionFactory("kv-aware", pool), faults=faults), 1)


def charging(charges: ChargeSettings) -> PoolSettings:
    """A pool of which nothing else is said."""
    return replace(BARE, charges=charges)


def mean_ms(result: RunResult) -> float:
    """Mean time to the first token of those that came so far."""
    found = [outcome.ttft_s for outcome in result.outcomes if outcome.ttft_s is not None]
    return 1e3 * sum(found) / len(found)


def failed_tries(result: RunResult) -> int:
    """Tries that another had to follow."""
    return sum(outcome.attempts - 1 for outcome in result.outcomes)


def test_routers_that_share_nothing_keep_sessions_together() -> None:
    """Each of four knows a quarter of what is cached; by the session they find the same endpoint all the same."""
    several = replace(PLAIN, routers=4)
    alone = played(chats(600, 0.7), charging(NOTHING), several)
    together = played(chats(600, 0.7), charging(replace(NOTHING, session_ms=500)), several)
    assert mean_ms(together) < 0.75 * mean_ms(alone)
    cached = [sum(outcome.cached_tokens for outcome in result.outcomes) for result in (alone, together)]
    assert cached[1] > 1.2 * cached[0]


def test_a_lone_router_needs_no_session() -> None:
    """It knows where each prefix is: a bound costs a little then, if anything, and there is none by default."""
    without = played(chats(600, 0.7), charging(NOTHING))
    with_one = played(chats(600, 0.7), charging(replace(NOTHING, session_ms=500)))
    assert 0.97 < mean_ms(with_one) / mean_ms(without) < 1.25


def test_an_endpoint_that_fails_now_and_then_gets_less() -> None:
    """Too seldom in a row to be ejected: fewer requests meet it, and first tokens come as soon."""
    faults = (fault("fail:1:0.1"),)
    traces = [chats(1_500, 0.5, seed) for seed in (1, 2, 3)]
    without = [played(trace, charging(NOTHING), faults=faults) for trace in traces]
    charged = [played(trace, charging(ChargeSettings()), faults=faults) for trace in traces]
    assert sum(map(failed_tries, charged)) < 0.75 * sum(map(failed_tries, without))
    assert sum(map(mean_ms, charged)) < 1.02 * sum(map(mean_ms, without))


def test_an_endpoint_that_restarts_is_used_again() -> None:
    """The answers that its end broke off are not held against the new process: it has its share within seconds."""
    faults = (fault("restart:1@2..3"),)
    result = played(chats(1_000, 0.7), charging(ChargeSettings()), faults=faults)
    later = [outcome.address for outcome in result.outcomes if outcome.at_s > 6]
    assert len(later) > 300
    assert later.count(PLAIN.addresses[0]) > 0.5 * len(later) / ENGINES


def test_failures_that_all_have_alike_move_nobody() -> None:
    """At 3 % everywhere chance alone would look like good and bad endpoints."""
    faults = tuple(fault(f"fail:{pod}:0.03") for pod in range(1, ENGINES + 1))
    without = played(chats(600, 0.7), charging(NOTHING), faults=faults)
    charged = played(chats(600, 0.7), charging(ChargeSettings()), faults=faults)
    assert mean_ms(charged) < 1.02 * mean_ms(without)


def test_a_charge_for_the_way_keeps_requests_near() -> None:
    """Zones that are 20 ms apart: charged with the way there and back fewer cross, and first tokens come sooner."""
    zoned = replace(PLAIN, zones=("a", "b"), router_zones=("a",), zone_s=0.02)

    def pool(far_ms: float) -> PoolSettings:
        endpoints = (
            EndpointSettings(address=f"e{n}", zone="ab"[n % 2], far_ms=far_ms * (n % 2)) for n in range(ENGINES)
        )
        return replace(BARE, endpoints=tuple(endpoints))

    def crossing(result: RunResult) -> int:
        return sum(outcome.address in zoned.addresses[1::2] for outcome in result.outcomes)

    free, charged = (played(chats(600, 0.7), pool(far_ms), zoned) for far_ms in (0.0, 40.0))
    assert mean_ms(charged) < mean_ms(free)
    assert crossing(charged) < 0.95 * crossing(free)

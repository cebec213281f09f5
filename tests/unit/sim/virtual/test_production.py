"""The production picker behind the replay's interface."""

import random

import pytest

from ext_proc.core.events import FirstToken, RequestEnded, Scraped
from ext_proc.core.settings import EndpointSettings, PoolSettings
from ext_proc.core.strategies.table import STRATEGIES
from sim.profile import DEMO
from sim.virtual.production import Production, ProductionFactory
from sim.virtual.router import Context, RoutedRequest

CONTEXT = Context(addresses=("10.0.0.1:8000", "10.0.0.2:8000"), profile=DEMO, block_tokens=512)


def asked(number: int, first: int = 0) -> RoutedRequest:
    """A prompt of four blocks."""
    return RoutedRequest(f"r{number}", tuple(range(first, first + 4)), 512, 2_100)


def router(strategy: str = "kv-aware") -> Production:
    """One picker over two endpoints."""
    return ProductionFactory(strategy)(CONTEXT)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_names_known_endpoints(strategy: str) -> None:
    """All names are of the fleet, each once, and the kind says whose rule it is."""
    made = router(strategy)
    names = made.pick(asked(1), 0.0, random.Random(1))
    assert sorted(names) == sorted(CONTEXT.addresses)
    assert (made.name, made.kind) == (strategy, "product")


def test_a_conversation_stays_where_its_cache_is() -> None:
    """The same prompt goes where it was sent, another one to the other pod."""
    made, rng = router(), random.Random(1)
    first = made.pick(asked(1), 0.0, rng)[0]
    made.observe(RequestEnded(decision_id="r1", at=1.0, status=200, served=first))
    assert made.pick(asked(2), 2.0, rng)[0] == first
    assert made.pick(asked(3, first=50), 2.1, rng)[0] != first


def test_the_picker_hears_of_its_own_requests() -> None:
    """Events reach the picker under its own decision ids; those of strangers change nothing."""
    made, rng = router(), random.Random(1)
    first = made.pick(asked(1), 0.0, rng)[0]
    (record,) = made.picker.decisions.latest(9)
    made.observe(FirstToken(decision_id="r1", address=first, at=0.4, ttft_ms=400.0))
    made.observe(FirstToken(decision_id="r9", address=first, at=0.4, ttft_ms=400.0))
    made.observe(Scraped(address=first, at=0.5, running=1, waiting=0))
    assert record.outcome.ttft_ms == 400.0
    (endpoint,) = (e for e in made.picker.status(0.5)["replay"]["endpoints"] if e["address"] == first)
    assert (endpoint["decoding"], endpoint["queued_tokens"], endpoint["scrape_age_s"]) == (1, 0, 0.0)
    made.observe(RequestEnded(decision_id="r1", at=1.0, status=200, served=first))
    made.observe(RequestEnded(decision_id="r1", at=1.0, status=200, served=first))
    assert made.picker.open_reservations == 0


def test_lost_requests_are_given_up() -> None:
    """A reservation past its age ends at a later pick, as in the sidecar."""
    made, rng = router(), random.Random(1)
    made.pick(asked(1), 0.0, rng)
    made.pick(asked(2), 700.0, rng)
    assert made.picker.open_reservations == 1


def test_a_pool_lends_its_settings() -> None:
    """With as many endpoints as engines, zones, priorities and availability are the pool's; the addresses are not."""
    near = EndpointSettings(address="p:1", zone="a")
    far = EndpointSettings(address="p:2", zone="b", priority=1)
    pool = PoolSettings(name="chat", cluster="pool/chat", strategy="round-robin", endpoints=(near, far))
    made = ProductionFactory("kv-aware", pool)(CONTEXT)
    (found,) = made.picker.settings.pools
    assert (found.name, found.strategy) == ("chat", "kv-aware")
    assert [(e.address, e.zone, e.priority) for e in found.endpoints] == [
        ("10.0.0.1:8000", "a", 0),
        ("10.0.0.2:8000", "b", 1),
    ]
    rng = random.Random(1)
    assert {made.pick(asked(n), n / 10, rng)[0] for n in range(9)} == {"10.0.0.1:8000"}


def test_a_pool_of_another_size_lends_what_fits() -> None:
    """With another number of engines, endpoints are the fleet's own."""
    pool = PoolSettings(name="chat", cluster="pool/chat", endpoints=(EndpointSettings(address="p:1"),))
    made = ProductionFactory("kv-aware", pool)(CONTEXT)
    assert len(made.pick(asked(1), 0.0, random.Random(1))) == 2


def test_nobody_available_names_nobody() -> None:
    """The picker's refusal is an empty list."""
    away = tuple(EndpointSettings(address=f"p:{n}", available=False) for n in range(2))
    pool = PoolSettings(name="chat", cluster="pool/chat", endpoints=away)
    assert list(ProductionFactory("kv-aware", pool)(CONTEXT).pick(asked(1), 0.0, random.Random(1))) == []


def test_unknown_strategies_are_refused() -> None:
    """Before anything is played."""
    with pytest.raises(ValueError, match="no-such"):
        ProductionFactory("no-such")

"""The production picker behind the replay's interface."""

import random
from dataclasses import replace

import pytest

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.events import (
    AttemptStarted,
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    FirstToken,
    Picked,
    RequestEnded,
    Scraped,
)
from ext_proc.core.settings import EndpointSettings, PoolSettings
from ext_proc.core.strategies.queue_depth import Parameters as DepthParameters
from ext_proc.core.strategies.queue_depth import QueueDepth
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.table import STRATEGIES
from sim.profile import DEMO
from sim.virtual.ids import picker_blocks
from sim.virtual.production import BARE, Production, ProductionFactory
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
    (endpoint,) = (e for e in made.picker.survey.pools(0.5)["replay"]["endpoints"] if e["address"] == first)
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


def test_cache_events_come_in_the_pickers_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an engine tells of the trace's blocks, the picker hears of the blocks that it asks for itself."""
    made = router()
    heard: list[Event] = []
    monkeypatch.setattr(made.picker, "apply", heard.append)
    address = CONTEXT.addresses[0]
    made.observe(BlocksStored(address=address, at=1.0, blocks=(0, 1), parent=None))
    made.observe(BlocksStored(address=address, at=2.0, blocks=(2,), parent=1))
    made.observe(BlocksRemoved(address=address, at=3.0, blocks=(2,)))
    made.observe(CacheCleared(address=address, at=4.0))
    blocks = picker_blocks(1, (0, 1, 2), 512, 1_536, BLOCK_TOKENS)
    assert heard == [
        BlocksStored(address=address, at=1.0, blocks=blocks[:16], parent=None),
        BlocksStored(address=address, at=2.0, blocks=blocks[16:], parent=blocks[15]),
        BlocksRemoved(address=address, at=3.0, blocks=blocks[16:]),
        CacheCleared(address=address, at=4.0),
    ]


def test_strategies_without_prompts_are_spared_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would look them up."""
    made = router("least-request")
    heard: list[Event] = []
    monkeypatch.setattr(made.picker, "apply", heard.append)
    made.observe(BlocksStored(address=CONTEXT.addresses[0], at=1.0, blocks=(0, 1)))
    made.observe(BlocksRemoved(address=CONTEXT.addresses[0], at=1.0, blocks=(0, 1)))
    assert heard == []


def pair(strategy: str = "kv-aware") -> tuple[Production, Production]:
    """Two pickers that exchange."""
    factory = ProductionFactory(strategy)
    context = replace(CONTEXT, exchanges=True)
    return factory(context), factory(context)


def test_pickers_that_exchange_act_as_one() -> None:
    """A peer's request counts like an own one until it ends, wherever it was tried, and its prompt is remembered."""
    one, two = pair()
    address = one.pick(asked(1), 0.0, random.Random(1))[0]
    picked = one.last_picked()
    assert picked is not None
    assert (picked.decision_id, picked.address, picked.prompt_tokens) == ("r1", address, 2_100)
    two.observe(picked)
    assert one.picker.survey.pools(0.5)["replay"]["endpoints"] == two.picker.survey.pools(0.5)["replay"]["endpoints"]
    assert two.pick(asked(2, first=50), 0.5, random.Random(1))[0] != address
    for event in (
        AttemptStarted(decision_id="r1", address=CONTEXT.addresses[1], at=0.6),
        FirstToken(decision_id="r1", address=CONTEXT.addresses[1], at=0.7, ttft_ms=700.0),
        RequestEnded(decision_id="r2", at=0.8, status=200, served=CONTEXT.addresses[1]),
        RequestEnded(decision_id="r1", at=0.9, status=200, served=CONTEXT.addresses[1]),
    ):
        two.observe(event)
    assert two.picker.open_reservations == 0
    assert two.pick(asked(3), 1.0, random.Random(1))[0] in CONTEXT.addresses


def test_ends_of_prompts_belong_to_one_request_each() -> None:
    """What lies behind the trace's last whole block is of no other request, of a peer's neither."""
    one, two = pair()
    one.pick(asked(1), 0.0, random.Random(1))
    two.pick(asked(2), 0.0, random.Random(1))
    first, second = one.last_picked(), two.last_picked()
    assert first is not None
    assert second is not None
    assert first.blocks[:32] == second.blocks[:32]
    assert set(first.blocks[32:]).isdisjoint(second.blocks[32:])


def test_a_refusal_is_no_pick() -> None:
    """After a peer's pick, an own refusal tells nothing; and nothing is told where nothing is exchanged."""
    away = tuple(EndpointSettings(address=f"p:{n}", available=False) for n in range(2))
    pool = PoolSettings(name="chat", cluster="pool/chat", endpoints=away)
    made = ProductionFactory("kv-aware", pool)(replace(CONTEXT, exchanges=True))
    made.observe(
        Picked(decision_id="r7", at=0.0, address=CONTEXT.addresses[0], uncached_tokens=1, prompt_tokens=1, max_age_s=9)
    )
    assert not made.pick(asked(1), 0.0, random.Random(1))
    assert made.last_picked() is None
    alone = router()
    alone.pick(asked(1), 0.0, random.Random(1))
    assert alone.last_picked() is None


def test_unknown_strategies_are_refused() -> None:
    """Before anything is played."""
    with pytest.raises(ValueError, match="no-such"):
        ProductionFactory("no-such")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"session": Parameters(header="x-user")},
        {"session": Parameters(cookie="c")},
        {"session": Parameters(use_user=True)},
    ],
)
def test_sessions_of_a_trace_stand_for_whatever_names_them(parameters: dict[str, Parameters]) -> None:
    """A trace has no headers, cookies or users; requests without a session have none."""
    made, rng = ProductionFactory("session", replace(BARE, parameters=parameters))(CONTEXT), random.Random(1)
    homes: dict[int, set[str]] = {}
    for number in range(40):
        request = replace(asked(number), session=f"s{number % 8}")
        served = made.pick(request, number / 10, rng)[0]
        made.observe(RequestEnded(decision_id=request.id, at=number / 10, status=200, served=served))
        homes.setdefault(number % 8, set()).add(served)
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) == 2
    made.pick(asked(99), 9.0, rng)
    assert made.picker.decisions.latest(1)[0].reason.startswith("no session")


def test_a_strategy_of_the_users_is_played() -> None:
    """Under its name, made with the policy's parameters."""
    pool = replace(BARE, strategy="acme.own", own=lambda parameters: QueueDepth(parameters["depth"]), parameters={
        "acme.own": {"depth": DepthParameters(maximum_depth=1)}
    })  # fmt: skip
    made = ProductionFactory("acme.own", pool)(CONTEXT)
    assert made.name == "acme.own"
    for address in CONTEXT.addresses:
        made.observe(Scraped(address=address, at=0.0, running=1, waiting=2))
    made.pick(asked(1), 0.0, random.Random(1))
    assert "all queues full" in made.picker.decisions.latest(1)[0].reason
    with pytest.raises(ValueError, match="unknown strategy"):
        ProductionFactory("acme.own", BARE)

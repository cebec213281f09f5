"""Which pool is asked for a pick, when, and for what: the pick itself is a stand-in here."""

import json
import random
from typing import Any

from ext_proc.core.decision import Level, Named, Rejected, Waiting
from ext_proc.core.fleet import Fleet
from ext_proc.core.pool import Pool, deciders, prepared
from ext_proc.core.reception import Reception
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import (
    AdmissionSettings,
    DegradationSettings,
    EndpointSettings,
    PickerSettings,
    PoolSettings,
    PrioritySettings,
    WaySettings,
)
from ext_proc.core.token_sizes import TokenSizes
from ext_proc.core.wanted import Asking

WAY = WaySettings(cluster="pool/small", pool="small", model="small")
ONE_AT_A_TIME = AdmissionSettings(
    max_in_flight=1, headroom=0.0, priorities=(PrioritySettings(name="any", max_wait_s=30.0),)
)


def pool(name: str, *addresses: str, **more: Any) -> PoolSettings:
    """A pool of these."""
    endpoints = tuple(EndpointSettings(address=address) for address in addresses)
    return PoolSettings(name=name, cluster=f"pool/{name}", strategy="round-robin", endpoints=endpoints, **more)


def facts(model: str = "big") -> RequestFacts:
    """A completion."""
    body = json.dumps({"model": model, "prompt": "hello"}).encode()
    return RequestFacts(body=body, path="/v1/completions", cluster=f"pool/{model}")


class Desk:
    """A reception, and the picks that it asks for. Mutable: those, the clock, what first tokens are said to take."""

    def __init__(self, *pools: PoolSettings, degradation: DegradationSettings | None = None) -> None:
        self.fleet = Fleet()
        self.now = 100.0
        self.first_token_ms: dict[str, float] = {}
        self.picks: list[tuple[str, Level | None, float]] = []
        """(pool, label, seconds waited) of each."""
        self.expected: list[str] = []
        """Pools of which it was asked when a first token would come."""
        self.reception = Reception(self.fleet, TokenSizes(), self.pick, self.expect)
        self.fleet.want({each.address for pool in pools for each in pool.endpoints})
        settings = PickerSettings(
            version="v",
            pools=pools,
            models={"big": "big", "small": "small"},
            degradations={} if degradation is None else {"big": degradation},
        )
        made = [prepared(each, deciders(each, None, has_shadows=False), self.fleet.slots) for each in pools]
        self.reception.apply_settings(settings, {each.settings.cluster: each for each in made})

    def pick(self, pool: Pool, asking: Asking, now: float, rng: random.Random, waited_s: float) -> Named:
        """Names the first of the pool."""
        label = None if asking.degraded is None else asking.degraded.level
        self.picks.append((pool.settings.name, label, waited_s))
        slot = int(pool.levels.slots[0])
        self.fleet.ledger.in_flight[slot] += 1
        named = (self.fleet.slots.address(slot),)
        return Named(decision_id=f"{len(self.picks)}", endpoints=named, degraded=asking.degraded)

    def expect(self, pool: Pool, asking: Asking, now: float, rng: random.Random) -> float | None:
        """As it was said."""
        self.expected.append(pool.settings.name)
        return self.first_token_ms.get(pool.settings.name)

    def ask(self, request: RequestFacts | None = None) -> Any:
        """One question."""
        return self.reception.ask(request or facts(), self.now, random.Random(1))

    def released(self) -> list[Any]:
        """Who has an answer now."""
        return [each.answer for each in self.reception.released(self.now, random.Random(1))]


def test_straight_to_the_pool() -> None:
    """Where nothing lies in between the pool of the route is asked at once, and nobody asks about first tokens."""
    desk = Desk(pool("big", "10.0.0.1:80"), pool("small", "10.0.1.1:80"))
    assert isinstance(desk.ask(), Named)
    assert isinstance(desk.ask(facts("small")), Named)
    assert desk.picks == [("big", None, 0.0), ("small", None, 0.0)]
    assert desk.expected == []


def test_no_pick_without_a_place_or_a_request() -> None:
    """An empty pool and a body that is no request are answered without a pick."""
    desk = Desk(pool("big"))
    assert desk.ask().status == 503
    assert desk.ask(RequestFacts(body=b"{", path="/v1/completions", cluster="pool/big")).status == 400
    assert desk.picks == []


def test_led_elsewhere() -> None:
    """A model that degrades goes to the first pool of its ways that has somebody, labelled; of an empty pool it is not
    asked when its first token would come."""
    ways = DegradationSettings(ways=(WAY,), slo_ms=500.0)
    desk = Desk(pool("big"), pool("small", "10.0.1.1:80"), degradation=ways)
    assert isinstance(desk.ask(), Named)
    assert desk.picks == [("small", Level.MODEL, 0.0)]
    assert desk.expected == ["small"]
    assert [each["model"] for each in desk.reception.degraded()] == ["big"]
    desk.reception.look(desk.now + 60.0)
    assert len(desk.reception.degraded()) == 1, "an empty pool is no recovery"


def test_too_slow() -> None:
    """Whose first token would come too late elsewhere gets it where it comes in time."""
    ways = DegradationSettings(ways=(WAY,), slo_ms=500.0)
    desk = Desk(pool("big", "10.0.0.1:80"), pool("small", "10.0.1.1:80"), degradation=ways)
    desk.first_token_ms = {"big": 400.0, "small": 100.0}
    desk.ask()
    desk.first_token_ms["big"] = 600.0
    desk.ask()
    assert desk.picks == [("big", None, 0.0), ("small", Level.MODEL, 0.0)]


def test_a_wait() -> None:
    """Who has to wait is picked for when a place is free, and the pick is told how long that took, in seconds."""
    desk = Desk(pool("big", "10.0.0.1:80", admission=ONE_AT_A_TIME))
    desk.ask()
    assert isinstance(desk.ask(), Waiting)
    assert desk.reception.waiting == 1
    desk.now += 2.0
    assert desk.released() == []
    desk.fleet.ledger.in_flight[:] = 0
    assert [type(each) for each in desk.released()] == [Named]
    assert desk.picks[1:] == [("big", None, 2.0)]
    assert desk.reception.waiting == 0


def test_a_wait_in_vain() -> None:
    """Who could not be let in is refused; where its model degrades the refusal says so."""
    for degradation, label in ((None, None), (DegradationSettings(), Level.REFUSED)):
        desk = Desk(pool("big", "10.0.0.1:80", admission=ONE_AT_A_TIME), degradation=degradation)
        desk.ask()
        assert isinstance(desk.ask(), Waiting)
        desk.now += 31.0
        (refused,) = desk.released()
        assert isinstance(refused, Rejected)
        assert (None if refused.degraded is None else refused.degraded.level) == label
        assert len(desk.picks) == 1

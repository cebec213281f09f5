"""How regions and zones are as a whole."""

from typing import Any

import pytest

from ext_proc.core.areas import Area, areas
from ext_proc.core.events import AttemptEnded, LoadReported, RequestEnded, Scraped
from ext_proc.core.fleet import Fleet
from ext_proc.core.gauges import FRESH_S
from ext_proc.core.pool import Pool, deciders, prepared
from ext_proc.core.settings import AdmissionSettings, EndpointSettings, PoolSettings

NOW = 100.0


def endpoint(number: int, zone: str = "za", state: str = "", region: str = "") -> EndpointSettings:
    """`10.0.0.N:80`; with a state it cannot be named."""
    return EndpointSettings(
        address=f"10.0.0.{number}:80", region=region, zone=zone, available=not state, state=state, priority=number
    )


class Bench:
    """One pool and what is known of it."""

    def __init__(self, *endpoints: EndpointSettings, **pool: Any) -> None:
        self.fleet = Fleet()
        self.fleet.want({each.address for each in endpoints})
        settings = PoolSettings(name="p", cluster="c", strategy="round-robin", endpoints=endpoints, **pool)
        self.pool: Pool = prepared(settings, deciders(settings, None, has_shadows=False), self.fleet.slots)

    def tell(self, *events: Any) -> None:
        """It happened."""
        for event in events:
            self.fleet.apply(event, None)

    def refused(self, number: int) -> None:
        """A try failed at once."""
        self.tell(AttemptEnded(decision_id="d", address=f"10.0.0.{number}:80", at=NOW, status=503, flags=("UF",)))

    def area(self, zone: str = "za", now: float = NOW) -> Area:
        """That zone."""
        return next(area for area in areas(self.pool, self.fleet, now) if area.zone == zone)


def test_who_counts() -> None:
    """Who is known to be down counts and cannot be used; who drains does not count; a region is a place of its own."""
    bench = Bench(
        endpoint(1), endpoint(2, state="unhealthy"), endpoint(3, state="draining"), endpoint(4, region="r"), endpoint(5)
    )
    found = areas(bench.pool, bench.fleet, NOW)
    assert {(area.region, area.zone): (area.total, area.usable, area.healthy) for area in found} == {
        ("", "za"): (3, 2, 2),
        ("r", "za"): (1, 1, 1),
    }
    assert areas(Bench(endpoint(1, state="removed")).pool, Fleet(), NOW) == []
    down = Bench(endpoint(1, state="unhealthy")).area()
    assert (down.total, down.usable, down.load, down.tries) == (1, 0, None, 0)


def test_ejected_ones_cannot_be_used() -> None:
    """Nor those that are half open; in panic all can."""
    bench = Bench(endpoint(1), endpoint(2), endpoint(3, "zb"))
    bench.refused(1)
    assert (bench.area().usable, bench.area().healthy, bench.area().total) == (1, 1, 2)
    bench.refused(2)
    assert bench.area().usable == 0
    assert bench.area(now=NOW + 5).usable == 0
    bench.refused(3)
    assert (bench.area().usable, bench.area("zb").usable) == (2, 1)


def test_degraded_ones_are_not_healthy() -> None:
    """They can be used all the same."""
    bench = Bench(endpoint(1), endpoint(2), endpoint(3, "zb"))
    bench.fleet.health.found(bench.fleet.slots.acquire("10.0.0.1:80"), is_down=False, is_degraded=True)
    assert (bench.area().usable, bench.area().healthy) == (2, 1)


def test_tries_and_failures() -> None:
    """Of all its endpoints together."""
    bench = Bench(endpoint(1), endpoint(2), endpoint(3, "zb"))
    bench.refused(1)
    bench.tell(RequestEnded(decision_id="d", at=NOW, status=200, served="10.0.0.2:80", attempts=1))
    assert (bench.area().tries, bench.area().failures) == (2, 1)
    assert bench.area("zb").tries == 0


@pytest.mark.parametrize(
    ("numbers", "load"),
    [
        ({"running": 4, "waiting": 0}, 0.0),
        ({"running": 4, "waiting": 2}, 1.5),
        ({"running": 0, "waiting": 2}, 2.0),
        ({"running": 4, "waiting": 1, "kv_usage": 0.9}, 1.25),
        ({"running": 4, "waiting": 0, "kv_usage": 0.9}, 0.9),
        ({}, None),
    ],
)
def test_how_full_a_place_is(numbers: dict[str, Any], load: float | None) -> None:
    """By who waits beside those who run, and by memory; nobody is full of whom nothing is known."""
    bench = Bench(endpoint(1), endpoint(2))
    if numbers:
        bench.tell(Scraped(address="10.0.0.1:80", at=NOW, **numbers))
    assert bench.area().load == load


def test_old_numbers_do_not_count() -> None:
    """They fade; of memory nothing is left at once."""
    bench = Bench(endpoint(1))
    bench.tell(Scraped(address="10.0.0.1:80", at=NOW, running=4, waiting=4, kv_usage=0.9))
    assert (bench.area().load, bench.area(now=NOW + FRESH_S + 60).load) == (2.0, 0.0)


def test_who_is_out_does_not_fill_a_place() -> None:
    """A pod that hangs with a long queue is not what the others are."""
    bench = Bench(endpoint(1), endpoint(2), endpoint(3))
    bench.tell(Scraped(address="10.0.0.1:80", at=NOW, running=1, waiting=50))
    bench.tell(LoadReported(address="10.0.0.2:80", at=NOW, source="report", running=4, waiting=0))
    assert bench.area().load == 11.0
    bench.refused(1)
    assert bench.area().load == 0.0


def test_limits_of_admission_count() -> None:
    """The mean endpoint's part of them, which may be more than all where the pool has room elsewhere."""
    bench = Bench(endpoint(1), endpoint(2), admission=AdmissionSettings(max_in_flight=4, max_prefill_tokens=1_000))
    bench.fleet.ledger.in_flight[bench.fleet.slots.acquire("10.0.0.1:80")] = 6
    assert bench.area().load == 0.75
    bench.fleet.ledger.queued_tokens[bench.fleet.slots.acquire("10.0.0.2:80")] = 3_000
    assert bench.area().load == 1.5

"""What is asked of picker and discovery, for whom, by which rules, and who is told."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from control_plane.compile.localities import Locality
from control_plane.fleet.model import Endpoint, Fleet, Health
from control_plane.fleet.shifts import Shifts
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar.zone_lane import ZoneLane
from ext_proc.core.areas import Area

SHIFT = "shift: {step: 50, every: 1s, stableFor: 2s, offlineAfter: 0s}"


def policy(setting: str) -> Policy:
    """Two pools, the first with this setting."""
    text = f"""
kvpilot: v1
listeners: [{{name: l, address: 127.0.0.1:8080}}]
models: [{{name: m, pool: p}}, {{name: n, pool: q}}]
pools:
  p:
    endpoints: [{{address: 10.0.0.1:80, zone: za}}, {{address: 10.0.0.2:80, zone: zb}}]
    trafficPolicy: {{loadBalancer: {{localityLbSetting: {{{setting}}}}}}}
  q: {{endpoints: [{{address: 10.0.0.3:80}}]}}
"""
    loaded = load(text, "policy.yaml")
    assert loaded.document is not None, loaded.diagnostics
    return loaded.document.policy


class Bench:
    """A lane over a picker and Envoys that say what the test wants. Mutable: the time, what is said, who was told."""

    def __init__(self, setting: str = f"enabled: true, {SHIFT}", *, zone: str = "za", has_picker: bool = True) -> None:
        self.now = 0.0
        self.found: list[Area] = [area("za"), area("zb"), area("zc", total=0, usable=0)]
        self.asked: list[str] = []
        self.told: list[set[str]] = []
        self.fleet = Fleet(pools={})
        self.streams: list[Any] = []
        self.policy = policy(setting)
        self.shifts = Shifts()
        me: Any = self
        self.lane = ZoneLane(
            self.shifts, me, lambda: self.policy, lambda: self.now, Locality("", zone), me if has_picker else None, me
        )

    def areas(self, pool: str, now: float) -> list[Area]:
        """As the picker's."""
        self.asked.append(pool)
        return self.found

    def restated(self, pools: frozenset[str]) -> None:
        """As the endpoints lane's."""
        self.told.append(set(pools))

    def look(self, now: float, **usable: int) -> list[tuple[str, str, str, int]]:
        """A look at that time; gives (from, place, state, share) of all rows."""
        self.now = now
        self.found = [area(zone, usable=count) for zone, count in {"za": 2, "zb": 2, **usable}.items()]
        self.lane.look()
        return [(row["from"], row["place"], row["state"], row["share"]) for row in self.lane.status()]


def area(zone: str, *, total: int = 2, usable: int = 2) -> Area:
    """A zone of two."""
    return Area(region="", zone=zone, total=total, usable=usable, healthy=usable)


def test_a_zone_goes_dark_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    """Told at once, then each step; the log has each state, and so have the counts."""
    bench = Bench()
    with caplog.at_level(logging.INFO, "kvpilot"):
        assert bench.look(0.0) == [("za", "za", "active", 100), ("za", "*", "active", 0)]
        assert bench.told == []
        assert bench.look(1.0, za=0) == [("za", "za", "offline", 0), ("za", "*", "active", 100)]
        assert bench.told == [{"p"}]
        for quarter in range(1, 20):
            rows = bench.look(1.0 + quarter / 4)
    assert rows == [("za", "za", "active", 100), ("za", "*", "active", 0)]
    assert bench.told == [{"p"}, {"p"}, {"p"}]
    assert bench.lane.pushes == 3
    assert bench.lane.changes == {("p", "za", "offline"): 1, ("p", "za", "failover"): 1, ("p", "za", "active"): 1}
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("WARNING", "pool p, from za: za is offline, was active: none of 2 endpoints can be used"),
        (
            "WARNING",
            "pool p, from za: za is failover, was offline: it is ready again; 100 % of its requests still go elsewhere",
        ),
        ("INFO", "pool p, from za: za is active, was failover"),
    ]


@pytest.mark.parametrize(
    "setting",
    ["enabled: false", "enabled: true, shift: off", "enabled: true, distribute: [{from: '*', to: {'*': 100}}]"],
)
def test_pools_that_do_not_shift(setting: str) -> None:
    """Nobody is asked anything."""
    bench = Bench(setting)
    assert bench.look(0.0, za=0) == []
    assert (bench.asked, bench.told) == ([], [])


def test_a_shift_that_a_policy_ends() -> None:
    """All is as without it, at once; who was told of shares is told of none."""
    bench = Bench()
    bench.look(0.0)
    bench.look(1.0, za=0)
    bench.policy = policy("enabled: true, shift: off")
    assert bench.look(1.25, za=0) == []
    assert bench.told == [{"p"}, {"p"}]
    assert bench.shifts.is_idle


def test_a_policy_that_changes_the_rules() -> None:
    """What is under way goes on under the new ones."""
    bench = Bench()
    bench.look(0.0)
    bench.look(1.0, za=0)
    bench.policy = policy("enabled: true, shift: {step: 100, every: 1s, stableFor: 1s}")
    bench.look(1.25)
    assert bench.look(2.0)[0] == ("za", "za", "failover", 0)
    assert bench.look(3.25)[0] == ("za", "za", "active", 100)


def test_envoys_elsewhere_have_their_own() -> None:
    """Those that are connected, each place once; an Envoy that does not say where it is has no nearest place."""
    bench = Bench()
    variants = [SimpleNamespace(region="", zone=zone) for zone in ("zb", "zb", "")]
    bench.streams = [SimpleNamespace(variant=variant) for variant in (*variants, None)]
    bench.look(0.0)
    assert bench.look(1.0, za=0) == [
        ("za", "za", "offline", 0),
        ("za", "*", "active", 100),
        ("zb", "zb", "active", 100),
        ("zb", "*", "offline", 0),
    ]
    assert bench.asked == ["p", "p"]
    assert Bench(zone="").look(0.0) == []


def test_localities_that_are_one_place() -> None:
    """Their numbers are added up; how full they are, is the mean of those who can be used."""
    bench = Bench(zone="zd")
    bench.found = [
        Area(region="", zone="za", total=3, usable=1, healthy=1, load=0.6, tries=5, failures=1),
        Area(region="", zone="zb", total=3, usable=3, healthy=2, load=0.2, tries=2, failures=1),
        Area(region="", zone="zc", total=1, usable=0, healthy=0),
    ]
    bench.lane.look()
    (row,) = bench.lane.status()
    assert (row["place"], row["endpoints"], row["healthy"], row["load"]) == ("*", 7, 3, 0.3)


def test_without_a_picker_it_is_discovery_that_knows() -> None:
    """Who drains does not count."""
    bench = Bench(has_picker=False)

    def found(*healths: Health) -> Fleet:
        near = [Endpoint(pool="p", address=f"10.0.0.{n}:80", zone="za", health=each) for n, each in enumerate(healths)]
        return Fleet(pools={"p": (*near, Endpoint(pool="p", address="10.0.1.1:80", zone="zb"))})

    bench.fleet = found(Health.HEALTHY, Health.DRAINING, Health.DEGRADED)
    assert bench.look(0.0) == [("za", "za", "active", 100), ("za", "*", "active", 0)]
    assert [(row["endpoints"], row["healthy"]) for row in bench.lane.status()] == [(2, 1), (1, 1)]
    bench.fleet = found(Health.UNHEALTHY, Health.UNHEALTHY)
    assert bench.look(1.0) == [("za", "za", "offline", 0), ("za", "*", "active", 100)]
    assert bench.asked == []
    bench.fleet = found(Health.DRAINED)
    assert bench.look(2.0) == [("za", "za", "offline", 0), ("za", "*", "active", 100)]


async def test_a_look_that_fails_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and the next one comes."""
    import asyncio

    bench = Bench()
    broken: Any = lambda pool: 1 / 0  # noqa: E731
    bench.areas = broken  # type: ignore[method-assign]
    task = asyncio.create_task(bench.lane.follow())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "zones could not be looked at" in caplog.text

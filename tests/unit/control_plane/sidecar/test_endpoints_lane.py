"""Which results of discovery are served: pool by pool, what takes too much away waits for somebody who insists."""

from collections.abc import Mapping, Sequence
from typing import Any

from control_plane.fleet.drains import Drains
from control_plane.fleet.model import Endpoint, Fleet, Health
from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import PICKER, WeightRule, Weights
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.sidecar.policy_state import PolicyState

A, B = [f"10.0.0.{n}:1" for n in range(1, 9)], [f"10.0.1.{n}:1" for n in range(1, 9)]


def fleet(pools: Mapping[str, Sequence[str]]) -> Fleet:
    """Addresses by pool."""
    return Fleet(
        pools={pool: tuple(Endpoint(pool=pool, address=one) for one in addresses) for pool, addresses in pools.items()}
    )


class Bench:
    """A lane over sources that say what the test wants. Mutable: what they found, what was told."""

    def __init__(self, **before: Sequence[str]) -> None:
        self.drains = Drains()
        self.weights = Weights()
        self.fleet = fleet(before)
        self.state = PolicyState(version="v")
        self.told: list[set[str]] = []
        sources: Any = self
        self.lane = EndpointsLane(
            sources, self.state, lambda pools: self.told.append(set(pools)), self.drains, weights=self.weights
        )
        self.lane.reset(self.fleet, 50)

    def found(self, **pools: Sequence[str]) -> None:
        """A result of discovery."""
        before, self.fleet = self.fleet, fleet(pools)
        changed = {name for name in pools if self.fleet.pools[name] != before.pools.get(name)}
        self.lane.changed(frozenset(changed))

    def served(self) -> dict[str, list[str]]:
        """Addresses by pool."""
        return {pool: [one.address for one in endpoints] for pool, endpoints in self.lane.fleet.pools.items()}


def test_pool_by_pool() -> None:
    """One pool loses too much and keeps what it has; another one's new endpoints are served all the same."""
    bench = Bench(a=A, b=B[:4])
    bench.found(a=[], b=B)
    assert (bench.served(), bench.told) == ({"a": A, "b": B}, [{"b"}])
    assert bench.state.fleet_error.startswith("8 of 12 endpoints")
    bench.found(a=A[:7], b=B)
    assert (bench.served(), bench.told) == ({"a": A[:7], "b": B}, [{"b"}, {"a"}])
    assert bench.state.fleet_error == ""


def test_force() -> None:
    """What was held back is served, once."""
    bench = Bench(a=A)
    bench.found(a=A[:1])
    assert (bench.served(), bench.told) == ({"a": A}, [])
    bench.lane.force()
    assert (bench.served(), bench.told, bench.state.fleet_error) == ({"a": A[:1]}, [{"a"}], "")
    bench.lane.force()
    assert bench.told == [{"a"}]


def test_an_edit_meanwhile() -> None:
    """Pools that the edit leaves as they are keep what they have and are still held back; the others follow it."""
    bench = Bench(a=A, b=B)
    bench.found(a=A[:1], b=B[:1])
    kept = bench.lane.without_held_back(bench.fleet, frozenset({"a"}))
    assert kept == fleet({"a": A, "b": B[:1]})
    bench.lane.reset(kept, 50, bench.fleet)
    assert bench.state.fleet_error
    bench.lane.force()
    assert bench.served() == {"a": A[:1], "b": B[:1]}


def test_what_an_edit_takes_away() -> None:
    """Measured by what there is."""
    bench = Bench(a=A)
    assert bench.lane.removal(fleet({"a": A[:1]}), 50).startswith("7 of 8 endpoints")
    assert bench.lane.removal(fleet({"a": A[:1]}), 100) == ""
    assert bench.lane.removal(fleet({"a": [*A, *B]}), 50) == ""


def test_the_start() -> None:
    """What was found by now follows on what an earlier process had; what is not what is served is told."""
    bench = Bench()
    bench.fleet = fleet({"a": A[:1]})
    assert bench.lane.begin(fleet({"a": A}), 50) == fleet({"a": A})
    assert bench.state.fleet_error
    bench.fleet = fleet({"a": A[:6]})
    bench.lane.changed(frozenset({"a"}))
    bench.told.clear()
    bench.lane.attach(None, fleet({"a": A}))
    assert bench.told == [{"a"}]
    bench.lane.attach(None, fleet({"a": A[:6]}))
    assert bench.told == [{"a"}]


def test_who_drains() -> None:
    """Is shown so, in a pool that is held back as well; pools that there are not are nobody's business."""
    bench = Bench(a=A)
    bench.found(a=[])
    bench.drains.begin([("a", A[0])], 0.0, 10.0)
    bench.lane.restated(frozenset({"a", "nowhere"}))
    assert bench.told == [{"a"}]
    assert [each.health for each in bench.lane.fleet.pools["a"]] == [Health.DRAINING] + [Health.HEALTHY] * 7
    bench.lane.restated(frozenset({"nowhere"}))
    assert bench.told == [{"a"}]


def test_who_drains_is_no_loss() -> None:
    """It was to go: what the guard counts is what goes unexpectedly."""
    bench = Bench(a=A)
    bench.drains.begin([("a", address) for address in A[:5]], 0.0, 10.0)
    bench.found(a=A[5:])
    assert bench.served() == {"a": A[5:]}
    bench = Bench(a=A)
    bench.drains.begin([("a", A[0])], 0.0, 10.0)
    bench.found(a=A[5:])
    assert bench.served() == {"a": A}
    assert bench.state.fleet_error.startswith("4 of 7 endpoints")


def test_weights_that_were_learned() -> None:
    """Are served; what was taken from discovery stays as it is."""
    bench = Bench(a=A[:2])
    pools = {"a": (WeightRule(), dict.fromkeys(A[:2], 100))}
    bench.weights.look(0.0, pools)
    for address, busy_s in zip(A[:2], (40.0, 10.0), strict=True):
        bench.weights.take("a", address, PICKER, Observed(100, 100, 0, busy_s, 100))
    assert bench.weights.look(5.0, pools) == {"a"}
    assert [each.weight for each in bench.lane.fleet.pools["a"]] == [80, 120]
    assert [each.weight for each in bench.lane.taken.pools["a"]] == [100, 100]

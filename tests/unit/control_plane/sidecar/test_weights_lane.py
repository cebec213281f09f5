"""Who is asked to measure, what is made of it, and who is told."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from control_plane.fleet.model import Endpoint, Fleet
from control_plane.fleet.weights import WeightRule, Weights
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar.weights_lane import SAMPLE_S, WeightsLane, rule_of
from control_plane.xds.load_stats import EndpointWork
from ext_proc.core.events import Event, RequestEnded

A, B = "10.0.0.1:80", "10.0.0.2:80"
ADAPTIVE = "trafficPolicy: {loadBalancer: {adaptiveWeights: {interval: 1s, maxStep: 50}}}"
PLAIN = "engine: vllm"


def policy(pool: str) -> Policy:
    """Two pools of the same two endpoints, the first with these further keys."""
    endpoints = f"endpoints: [{{address: {A}}}, {{address: {B}}}]"
    text = f"""
kvpilot: v1
listeners: [{{name: l, address: 127.0.0.1:8080}}]
models: [{{name: m, pool: p}}, {{name: n, pool: q}}]
pools:
  p: {{{endpoints}, {pool}}}
  q: {{{endpoints}}}
"""
    loaded = load(text, "policy.yaml")
    assert loaded.document is not None, loaded.diagnostics
    return loaded.document.policy


class Bench:
    """A lane between a picker, Envoys and those who are told. Mutable: all that they say."""

    def __init__(self, pool: str, *, picker: bool = True, envoys: bool = True) -> None:
        self.now = 0.0
        self.running: dict[str, int] = {}
        self.watched: Callable[[Event], None] | None = None
        self.asked: set[str] = set()
        self.told_of = 0
        self.pushed: list[set[str]] = []
        self.policy = policy(pool)
        pods = tuple(Endpoint(pool="p", address=address) for address in (A, B))
        self.taken = Fleet(pools={"p": pods, "q": pods})
        self.told: Callable[[Any], None] = lambda work: None
        me: Any = self
        self.survey = me
        self.weights = Weights()
        self.lane = WeightsLane(
            self.weights, me, lambda: self.policy, lambda: self.now, me if picker else None, me if envoys else None
        )
        self.lane.attach()

    def in_flight(self, addresses: Iterable[str]) -> list[int]:
        """As the picker's."""
        return [self.running.get(address, 0) for address in addresses]

    def want(self, clusters: set[str], endpoints: int) -> None:
        """As the load reports' service."""
        self.asked, self.told_of = clusters, endpoints

    def restated(self, pools: frozenset[str]) -> None:
        """As the endpoints lane's."""
        self.pushed.append(set(pools))

    def seconds(self, count: int) -> None:
        """Seconds in which the picker sees A take twice as long as B for the same."""
        for _ in range(count):
            for _ in range(10):
                self.now += SAMPLE_S
                self.lane.sample()
            for address in (A, B):
                for _ in range(10):
                    assert self.watched is not None
                    self.watched(RequestEnded(decision_id="d", at=self.now, status=200, served=address))
            self.lane.look()


def test_nothing_is_asked_for_nothing() -> None:
    """Without such a pool nobody measures and nobody is told."""
    bench = Bench(PLAIN)
    bench.in_flight = None  # type: ignore[assignment, method-assign]
    bench.taken = None  # type: ignore[assignment]
    bench.lane.sample()
    bench.lane.look()
    assert (bench.watched, bench.asked, bench.pushed, bench.lane.status()) == (None, set(), [], [])


def test_by_the_picker() -> None:
    """What it has in flight and what ended well become weights of that pool alone, and Envoys are told of it."""
    bench = Bench(ADAPTIVE)
    bench.lane.look()
    assert (bench.asked, bench.told_of) == ({"pool/p"}, 2)
    bench.running = {A: 4, B: 2}
    bench.seconds(30)
    first, second = bench.lane.status()
    assert (first["pool"], first["address"], first["configured"], first["source"]) == ("p", A, 100, "picker")
    assert first["weight"] == pytest.approx(67, abs=5)
    assert second["weight"] == pytest.approx(133, abs=5)
    assert first["why"].startswith("0.4")
    assert bench.pushed
    assert all(pools == {"p"} for pools in bench.pushed)
    assert bench.lane.pushes == len(bench.pushed)
    shown = bench.weights.shown(bench.taken)
    assert [each.weight for each in shown.pools["q"]] == [100, 100]


def test_by_envoys() -> None:
    """Reports of clusters become measurements of pools; of unknown ones they are dropped."""
    bench = Bench(ADAPTIVE, picker=False)
    for _ in range(30):
        bench.now += 1
        bench.lane.look()
        bench.told((EndpointWork("pool/p", A, 10, 0, 4.0, 4), EndpointWork("pool/p", B, 10, 0, 2.0, 2)))
        bench.told((EndpointWork("pool/q", A, 10, 0, 4.0, 4), EndpointWork("x", A, 10, 0, 4.0, 4)))
    first, second = bench.lane.status()
    assert first["source"] == "envoy"
    assert first["weight"] < 0.7 * second["weight"]


def test_an_edit_ends_it() -> None:
    """Nobody measures any more, and the configured weights are told."""
    bench = Bench(ADAPTIVE)
    bench.lane.look()
    bench.running = {A: 4, B: 1}
    bench.seconds(20)
    pushes = len(bench.pushed)
    bench.policy = policy(PLAIN)
    bench.lane.look()
    assert (bench.watched, bench.asked, bench.told_of, bench.lane.status()) == (None, set(), 0, [])
    assert len(bench.pushed) == pushes + 1
    bench.lane.sample()
    bench.lane.look()
    assert len(bench.pushed) == pushes + 1


def test_a_pause() -> None:
    """A process that stood still for a minute does not count it as a minute of work."""
    bench = Bench(ADAPTIVE)
    bench.lane.look()
    bench.running = {A: 1}
    bench.lane.sample()
    bench.now += 60
    bench.lane.sample()
    assert bench.lane._sampled[A].busy_s == 1.0


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A line when a weight has become otherwise by half, with the reason."""
    caplog.set_level(logging.INFO, "kvpilot")
    bench = Bench(ADAPTIVE)
    bench.lane.look()
    bench.running = {A: 8, B: 1}
    bench.seconds(40)
    lines = [record.message for record in caplog.records if f"p/{A} weighs" in record.message]
    assert 1 <= len(lines) <= 4
    assert "was 100: 0." in lines[0]


def test_rules() -> None:
    """As the policy says, and its defaults."""
    assert rule_of(policy(PLAIN).pools[0]) is None
    said = "{interval: 2s, maxStep: 10, minPercent: 5, maxPercent: 200, halfLife: 1m}"
    made = rule_of(policy(f"trafficPolicy: {{loadBalancer: {{adaptiveWeights: {said}}}}}").pools[0])
    assert made == WeightRule(interval_s=2.0, step=0.1, minimum=0.05, maximum=2.0, half_life_s=60.0)
    assert rule_of(policy("trafficPolicy: {loadBalancer: {adaptiveWeights: {}}}").pools[0]) == WeightRule()

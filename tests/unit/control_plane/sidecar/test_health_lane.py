"""What is asked of the picker, by which rules, and who is told."""

import logging
from typing import Any

import pytest

from control_plane.fleet.mirror import Mirror, MirrorRule
from control_plane.policy import load
from control_plane.policy.model import Policy
from control_plane.sidecar.health_lane import SHOWN, HealthLane, rule_of
from ext_proc.core.verdicts import State, StateChange

A, B, C, D = (f"10.0.0.{n}:80" for n in range(1, 5))


def policy(pool: str) -> Policy:
    """One pool with these further keys."""
    text = f"""
kvpilot: v1
listeners: [{{name: l, address: 127.0.0.1:8080}}]
models: [{{name: m, pool: p}}]
pools:
  p: {{endpoints: [{{address: {A}}}], {pool}}}
"""
    loaded = load(text, "policy.yaml")
    assert loaded.document is not None, loaded.diagnostics
    return loaded.document.policy


class Bench:
    """A lane over a picker that says what the test wants. Mutable: the time, its words, who was told."""

    def __init__(self, pool: str) -> None:
        self.now = 0.0
        self.words: dict[str, str] = {}
        self.changes: list[tuple[str, StateChange]] = []
        self.told: list[set[str]] = []
        self.policy = policy(pool)
        survey: Any = self
        endpoints: Any = self
        self.lane = HealthLane(Mirror(), survey, endpoints, lambda: self.policy, lambda: self.now)

    @property
    def is_anyone_out(self) -> bool:
        """As the picker's."""
        return any(word != "healthy" for word in self.words.values())

    def health(self, now: float) -> list[tuple[str, list[tuple[str, str]]]]:
        """As the picker's; the second pool is none of the policy's."""
        return [("p", [(name, self.words.get(name, "healthy")) for name in (A, B, C, D)]), ("old", [(A, "ejected")])]

    def take_health_changes(self) -> list[tuple[str, StateChange]]:
        """As the picker's."""
        changes, self.changes = self.changes, []
        return changes

    def restated(self, pools: frozenset[str]) -> None:
        """As the endpoints lane's."""
        self.told.append(set(pools))

    def look(self, now: float, **words: str) -> None:
        """A look at that time."""
        self.now = now
        self.words = {A: words.get("a", "healthy"), B: words.get("b", "healthy")}
        self.lane.look()


@pytest.mark.parametrize("word", ["ejected", "half-open"])
def test_who_is_out(word: str) -> None:
    """Is told of once, and once more when it is back."""
    bench = Bench("trafficPolicy: {outlierDetection: off}")
    for now in (0.0, 1.0, 2.0, 3.0):
        bench.look(now, a=word)
    assert (bench.told, bench.lane.pushes) == ([{"p"}], 1)
    assert bench.lane.status() == [{"pool": "p", "address": A, "state": "unhealthy"}]
    for now in (4.0, 8.0, 9.0, 10.0):
        bench.look(now)
    assert bench.told == [{"p"}, {"p"}]
    assert bench.lane.status() == []


def test_degraded_ones() -> None:
    """Are told of while they are no more than half, for beyond that the picker makes no difference either."""
    bench = Bench("health: {mirror: {after: 0s, clearAfter: 0s}}")
    bench.look(0.0, a="degraded", b="degraded")
    assert [row["state"] for row in bench.lane.status()] == ["degraded", "degraded"]
    bench.words[C] = "degraded"
    bench.lane.look()
    assert bench.lane.status() == []


def test_nobody_is_asked_while_all_is_well() -> None:
    """A look costs nothing then, however large the fleet is."""
    bench = Bench("engine: vllm")
    bench.health = None  # type: ignore[assignment, method-assign]
    bench.look(0.0)
    assert bench.told == []


def test_switched_off() -> None:
    """Nobody is told, and what was told is taken back."""
    bench = Bench("health: {mirror: {after: 0s}}")
    bench.look(0.0, a="ejected")
    assert len(bench.lane.status()) == 1
    bench.policy = policy("health: {mirror: off}")
    bench.look(1.0, a="ejected")
    bench.look(9.0, a="ejected")
    assert (bench.told, bench.lane.status()) == ([{"p"}, {"p"}], [])


def test_rules() -> None:
    """As the policy says, with what Envoy may eject by itself."""
    assert rule_of(policy("health: {mirror: off}").pools[0]) is None
    assert rule_of(policy("engine: vllm").pools[0]) == MirrorRule(others_share=0.5)
    said = "health: {mirror: {after: 1s, clearAfter: 1m, maxPercent: 10}}, trafficPolicy: {outlierDetection: off}"
    assert rule_of(policy(said).pools[0]) == MirrorRule(after_s=1.0, clear_after_s=60.0, max_share=0.1)


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A line for each change of state; of a wave a few, and how many more there are."""
    bench = Bench("engine: vllm")
    caplog.set_level(logging.INFO, "kvpilot")
    bench.changes = [
        (A, StateChange(0, 0.0, State.HEALTHY, State.UNHEALTHY, "nothing was heard of it for 31 s")),
        (A, StateChange(0, 1.0, State.UNHEALTHY, State.HEALTHY, "")),
    ]
    bench.look(0.0)
    assert caplog.messages == [
        f"{A} is unhealthy, was healthy: nothing was heard of it for 31 s",
        f"{A} is healthy, was unhealthy",
    ]
    caplog.clear()
    bench.changes = [(A, StateChange(0, 0.0, State.HEALTHY, State.DEGRADED, "full"))] * (SHOWN + 3)
    bench.look(1.0)
    assert (len(caplog.messages), caplog.messages[-1]) == (SHOWN + 1, "3 more endpoints are otherwise than before")
    assert bench.lane.changes == {"unhealthy": 1, "healthy": 1, "degraded": SHOWN + 3}


def test_without_envoys() -> None:
    """A picker alone tells the log, and mirrors nothing."""
    bench = Bench("health: {mirror: {after: 0s}}")
    survey: Any = bench
    lane = HealthLane(Mirror(), survey, None, lambda: bench.policy, lambda: 0.0)
    bench.words = {A: "ejected"}
    lane.look()
    assert (bench.told, lane.status()) == ([], [])

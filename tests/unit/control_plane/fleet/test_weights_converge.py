"""Weights and simulated pods of speeds 1, 2 and 4, in virtual time: shares come to 1 : 2 : 4 and stay there."""

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, replace

import pytest

from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import ENVOY, PICKER, WeightRule, Weights
from sim.events import Finished, Request
from sim.profile import Profile
from sim.virtual.pod import Pod

BASE = Profile(kv_blocks=200_000, step_base_ms=20.0, step_per_request_ms=0.5)
"""The slowest of the three serves about 9.8 such requests a second, all of them 69."""

SPEEDS = (1, 2, 4)
TICK_S = 0.1
PROMPT, ANSWER = 100, 100
"""Tokens; answers are log-normal."""

RULE = WeightRule()


def faster(factor: float) -> Profile:
    """The same engine on a quicker clock."""
    return replace(
        BASE,
        step_base_ms=BASE.step_base_ms / factor,
        step_per_request_ms=BASE.step_per_request_ms / factor,
        prefill_tokens_per_s=BASE.prefill_tokens_per_s * factor,
    )


@dataclass(frozen=True, kw_only=True)
class Case:
    """A load, and how it is seen: by whom, how often, and how late what is learned takes effect."""

    rate: float
    source: str = PICKER
    sample_s: float = TICK_S
    delay_s: float = 0.0
    failing: float = 0.0
    """Share of requests that fail at once on the quickest pod."""


class Play:
    """Mutable: the pods, the weights, and what clients and controller have seen."""

    def __init__(self, case: Case, seed: int = 1) -> None:
        self.case = case
        self.rng = random.Random(seed)
        self.pods = {f"10.0.0.{n}:80": Pod(f"10.0.0.{n}:80", faster(speed)) for n, speed in enumerate(SPEEDS, 1)}
        self.configured = dict.fromkeys(self.pods, 100)
        self.weights = Weights()
        self.now = 0.0
        self.ticks = 0
        self.shares: Counter[str] = Counter()
        self.history: list[dict[str, float]] = []
        self._obeyed: dict[str, float] = dict.fromkeys(self.pods, 100.0)
        self._late: deque[tuple[float, dict[str, float]]] = deque()
        self._running: Counter[str] = Counter()
        self._seen = dict.fromkeys(self.pods, Observed())

    def seconds(self, count: int) -> None:
        """Lets time pass."""
        for _ in range(round(count / TICK_S)):
            self.ticks += 1
            self.now = self.ticks * TICK_S
            while self._late and self._late[0][0] <= self.now:
                self._obeyed = self._late.popleft()[1]
            self._end()
            for _ in range(self._arrivals()):
                self._send()
            if self.ticks % round(self.case.sample_s / TICK_S) == 0:
                self._sample()
            if self.ticks % 10 == 0:
                self._look()

    def _note(self, name: str, **more: float) -> None:
        seen = self._seen[name]
        self._seen[name] = seen._replace(**{key: getattr(seen, key) + value for key, value in more.items()})

    def _end(self) -> None:
        for name, pod in self.pods.items():
            for event in pod.advance(self.now):
                if isinstance(event, Finished):
                    self._running[name] -= 1
                    work = event.usage.output_tokens if self.case.source == PICKER else 1
                    self._note(name, done=work, requests=1)

    def _arrivals(self) -> int:
        """Poisson (Knuth's way)."""
        count, left, limit = 0, self.rng.random(), math.exp(-self.case.rate * TICK_S)
        while left > limit:
            left *= self.rng.random()
            count += 1
        return count

    def _send(self) -> None:
        names = list(self.pods)
        (name,) = self.rng.choices(names, [self._obeyed[each] for each in names])
        self.shares[name] += 1
        if name == names[-1] and self.rng.random() < self.case.failing:
            self._note(name, failed=1)
            return
        self._running[name] += 1
        answer = max(1, round(self.rng.lognormvariate(math.log(ANSWER) - 0.32, 0.8)))
        self.pods[name].submit(Request(f"{self.shares.total()}", (), PROMPT, answer), self.now)

    def _sample(self) -> None:
        for name, count in self._running.items():
            self._note(name, busy_s=count * self.case.sample_s, seen=count)

    def _look(self) -> None:
        for name, seen in self._seen.items():
            self.weights.take("p", name, self.case.source, seen)
        self._seen = dict.fromkeys(self.pods, Observed())
        self.weights.look(self.now, {"p": (RULE, self.configured)})
        found = {row["address"]: row["weight"] for row in self.weights.rows}
        self._late.append((self.now + self.case.delay_s, found))
        self.history.append(found)


@pytest.mark.parametrize(
    "case",
    [
        Case(rate=10.0),
        Case(rate=45.0),
        Case(rate=62.0),
        Case(rate=30.0, source=ENVOY, sample_s=1.0),
        Case(rate=45.0, source=ENVOY, sample_s=1.0, delay_s=5.0),
    ],
    ids=["a seventh of what they can", "two thirds", "nine tenths", "as Envoys see it", "and five seconds late"],
)
def test_shares_are_speeds(case: Case) -> None:
    """After a minute and a half that began with equal weights: within 15 % of 1 : 2 : 4, and no weight swings by more
    than three tenths to either side."""
    play = Play(case)
    play.seconds(90)
    play.shares.clear()
    play.seconds(90)
    for n, (name, speed) in enumerate(zip(play.pods, SPEEDS, strict=True)):
        assert play.shares[name] / play.shares.total() == pytest.approx(speed / sum(SPEEDS), rel=0.15), n
        lately = [found[name] for found in play.history[-60:]]
        middle = sorted(lately)[len(lately) // 2]
        assert max(lately) < 1.3 * middle
        assert min(lately) > 0.7 * middle


def test_one_that_fails_fast() -> None:
    """The quickest pod, which fails half of its requests at once and so has next to nothing to do, ends with the
    smallest share of all; well again it has the largest within two minutes."""
    play = Play(Case(rate=10.0, failing=0.5))
    play.seconds(90)
    *_, quickest = play.pods
    assert min(play.history[-1], key=lambda name: play.history[-1][name]) == quickest
    play.case = replace(play.case, failing=0.0)
    play.seconds(120)
    assert max(play.history[-1], key=lambda name: play.history[-1][name]) == quickest


def test_one_that_becomes_slow() -> None:
    """Ten times as slow as it was, it has the smallest weight a minute later."""
    play = Play(Case(rate=10.0))
    play.seconds(60)
    *_, quickest = play.pods
    play.pods[quickest].engine.set_slowdown(10.0)
    play.seconds(60)
    assert min(play.history[-1], key=lambda name: play.history[-1][name]) == quickest

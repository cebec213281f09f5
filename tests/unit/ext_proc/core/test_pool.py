"""Prepared pools: who is in them, and which strategies live on when the settings change."""

from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.pool import Pool, deciders, prepared
from ext_proc.core.settings import EndpointSettings, FilterSettings, PoolSettings
from ext_proc.core.shadow import Shadow
from ext_proc.core.slots import Slots
from ext_proc.core.strategies.queue_depth import Parameters
from ext_proc.core.strategies.weighted_round_robin import WeightedRoundRobin

PODS = tuple(EndpointSettings(address=f"10.0.0.{n}:8000", priority=n // 3) for n in range(1, 5))
SETTINGS = PoolSettings(name="p", cluster="pool/p", strategy="weighted-round-robin", endpoints=PODS)


def pool_of(settings: PoolSettings, known: Pool | None = None, *, has_shadows: bool = True) -> Pool:
    """The pool, as it follows another one."""
    return prepared(settings, deciders(settings, known, has_shadows=has_shadows), Slots())


def test_what_is_prepared() -> None:
    """Levels and filters, the settings by address, who is out, and whether the strategy wants to hear of its picks."""
    pods = (replace(PODS[0], available=False), *PODS[1:])
    pool = pool_of(replace(SETTINGS, endpoints=pods, filters=(FilterSettings(),)))
    assert [priority for priority, _ in pool.levels.parts] == [0, 1]
    assert len(pool.levels.slots) == 3
    assert pool.unavailable == ((PODS[0].address, ""),)
    assert list(pool.endpoints) == [pod.address for pod in PODS]
    assert len(pool.filters) == 1
    assert pool.remembers is pool.strategy
    assert isinstance(pool.strategy, WeightedRoundRobin)
    assert pool_of(replace(SETTINGS, strategy="random")).remembers is None


@pytest.mark.parametrize(
    ("strategy", "shadow", "needs_prompt"),
    [("random", "", False), ("kv-aware", "", True), ("random", "kv-aware", True), ("random", "session", False)],
)
def test_who_needs_the_prompt(strategy: str, shadow: str, needs_prompt: bool) -> None:
    """It is hashed for either of the two, and for nobody else."""
    assert pool_of(replace(SETTINGS, strategy=strategy, shadow=shadow)).needs_prompt is needs_prompt


@pytest.mark.parametrize(
    ("changes", "keeps_strategy", "keeps_shadow"),
    [
        ({}, True, True),
        ({"endpoints": PODS[:1]}, True, True),
        ({"parameters": {"queue-depth": Parameters(maximum_depth=3)}}, True, False),
        ({"parameters": {"weighted-round-robin": 1}}, False, False),
        ({"strategy": "random"}, False, False),
        ({"shadow": "random"}, True, False),
    ],
)
def test_what_lives_on(changes: dict[str, Any], keeps_strategy: bool, keeps_shadow: bool) -> None:
    """A strategy while nothing about it changes; a shadow while nothing about either of the two does."""
    before = pool_of(replace(SETTINGS, shadow="queue-depth"))
    after = pool_of(replace(before.settings, **changes), before)
    assert (after.strategy is before.strategy) is keeps_strategy
    assert isinstance(after.shadow, Shadow)
    assert (after.shadow is before.shadow) is keeps_shadow


def test_no_shadow() -> None:
    """Where the policy has none, and where nobody has chances for one."""
    assert pool_of(SETTINGS).shadow is None
    assert pool_of(replace(SETTINGS, shadow="random"), has_shadows=False).shadow is None


@pytest.mark.parametrize("key", ["strategy", "shadow"])
def test_unknown(key: str) -> None:
    """Neither of the two is guessed."""
    with pytest.raises(ValueError, match="unknown strategy 'no-such'"):
        deciders(replace(SETTINGS, **{key: "no-such"}), None, has_shadows=True)  # type: ignore[arg-type]

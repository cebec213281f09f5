"""Who is asked, and for what, by the settings."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from ext_proc.core.settings import (
    EndpointSettings,
    FilterSettings,
    GpuSettings,
    HealthSettings,
    KvEventSettings,
    PickerSettings,
    PoolSettings,
    ProbeSettings,
    ScrapeSettings,
    TrialSettings,
)
from ext_proc.counters import Counters
from ext_proc.signals.intake import Intake
from protos.messages import load

A, B = "10.0.0.1:80", "10.0.0.2:80"
EVERYTHING: Mapping[str, Any] = {
    "health": HealthSettings(probe=ProbeSettings(), trial=TrialSettings(timeout_s=2.0), gpu=GpuSettings()),
    "filters": (FilterSettings(model=True),),
    "base_model": "m",
}
SOURCES = ("_scraper", "_model_lists", "_readiness", "_trying", "_gpus")


class Told:
    """An intake whose sources are told, and ask nobody. Mutable: what they were told last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.intake = Intake(
            load(),
            on_event=lambda event: None,
            due=lambda most: [],
            is_known=lambda address: True,
            clock=lambda: 0.0,
            rng=random.Random(1),
            counters=Counters(),
        )
        self.endpoints: dict[str, dict[str, Any]] = {}
        for name in SOURCES:
            source = getattr(self.intake, name)
            monkeypatch.setattr(source, "set_endpoints", lambda told, *more, name=name: self._take(name, told))

    def _take(self, name: str, told: dict[str, Any]) -> None:
        self.endpoints[name] = told

    def apply(self, *pools: PoolSettings) -> dict[str, dict[str, Any]]:
        """Who is asked by each source under these pools."""
        self.intake.apply_settings(PickerSettings(version="v", pools=pools))
        return self.endpoints


def pool(name: str, *addresses: str, **more: Any) -> PoolSettings:
    """A pool of these."""
    endpoints = tuple(EndpointSettings(address=address) for address in addresses)
    return PoolSettings(name=name, cluster=f"pool/{name}", endpoints=endpoints, **more)


def test_the_first_pool_has_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint of two pools is asked by every source as the first one's."""
    told = Told(monkeypatch).apply(pool("p", A, **EVERYTHING), pool("q", A, B, **EVERYTHING))
    assert told["_model_lists"] == {A: "p", B: "q"}
    for name in ("_readiness", "_trying", "_gpus"):
        assert {address: each.pool for address, each in told[name].items()} == {A: "p", B: "q"}


def test_nobody_is_asked_for_what_nobody_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool is asked for nothing that it does not look at; where it is no more, its endpoints neither."""
    bench = Told(monkeypatch)
    silent = HealthSettings()
    told = bench.apply(pool("p", A, health=silent, scrape=ScrapeSettings(is_on=False), filters=EVERYTHING["filters"]))
    assert [told[name] for name in SOURCES[1:]] == [{}] * 4
    assert bench.apply(pool("p", A, **EVERYTHING))["_trying"][A].timeout_s == 2.0
    assert bench.apply()["_trying"] == {}


def test_a_pool_without_gpus_keeps_its_endpoints_from_another_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pool that judges health says whether hardware is looked at."""
    told = Told(monkeypatch).apply(pool("p", A, health=HealthSettings()), pool("q", A, B, **EVERYTHING))
    assert list(told["_gpus"]) == [B]


async def test_cache_events_are_loaded_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before a pool has them; then for good, with counters and a status."""
    bench = Told(monkeypatch)
    bench.apply(pool("p", A))
    assert (bench.intake.kv_counters, bench.intake.kv_events_failing) == (None, {})
    assert bench.intake.status()["kv_events"] == {}
    bench.apply(pool("p", A, kv_events=KvEventSettings(port=1)))
    assert bench.intake.kv_counters is not None
    assert list(bench.intake.status()["kv_events"]) == [A]
    bench.apply(pool("p", A))
    assert bench.intake.status()["kv_events"] == {}
    await bench.intake.stop()
    await bench.intake.stop()

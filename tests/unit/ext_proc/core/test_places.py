"""Places: when a pool is full, and who of it may take one more."""

import math
from typing import Any

import numpy as np
import pytest

from ext_proc.core.events import Picked, Scraped
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group, levels
from ext_proc.core.places import free_first, is_any_free, load_share, places
from ext_proc.core.settings import AdmissionSettings, EndpointSettings

NOW = 100.0


class Pool:
    """A fleet with so many requests in flight at each endpoint, each of 100 prompt tokens without a first token."""

    def __init__(self, *in_flight: int) -> None:
        self.fleet = Fleet()
        self.endpoints = [EndpointSettings(address=f"10.0.0.{n + 1}:8000") for n in range(len(in_flight))]
        self.fleet.want({each.address for each in self.endpoints})
        self.levels = levels(self.endpoints, self.fleet.slots)
        for endpoint, count in zip(self.endpoints, in_flight, strict=True):
            for n in range(count):
                self.pick(endpoint.address, f"{endpoint.address}/{n}")

    def pick(self, address: str, decision_id: str) -> None:
        """One more request there."""
        event = Picked(
            decision_id=decision_id, at=NOW, address=address, uncached_tokens=100, prompt_tokens=100, max_age_s=1e6
        )
        self.fleet.apply(event, None)

    def scrape(self, number: int, **numbers: Any) -> None:
        """The metrics of an endpoint, counted from 1."""
        event = Scraped(address=f"10.0.0.{number}:8000", at=NOW, **{"running": 0, "waiting": 0, **numbers})
        self.fleet.apply(event, None)

    def free(self, **limits: Any) -> str:
        """Whose places are free, one letter for each endpoint."""
        found = places(AdmissionSettings(**limits), self.fleet, self.levels.slots, NOW)
        assert is_any_free(AdmissionSettings(**limits), self.fleet, self.levels, NOW) == found.any()
        return "".join("y" if each else "n" for each in found)


@pytest.mark.parametrize(
    ("in_flight", "limits", "free"),
    [
        ((1, 2, 9), {"max_in_flight": 5}, "yyy"),
        ((1, 2, 12), {"max_in_flight": 5}, "nnn"),
        ((0, 2, 13), {"max_in_flight": 5}, "ynn"),
        ((1, 2, 9), {"max_in_flight": 5, "headroom": 0.0}, "yyn"),
        ((1, 5, 6), {"max_in_flight": 5, "headroom": 0.25}, "yyn"),
        ((1, 1, 1), {"max_in_flight": 1, "headroom": 0.9}, "nnn"),
        ((0, 0, 0), {"max_in_flight": 1}, "yyy"),
        ((1, 2, 9), {"max_prefill_tokens": 401}, "yyy"),
        ((1, 2, 9), {"max_prefill_tokens": 400}, "nnn"),
        ((1, 2, 5), {"max_prefill_tokens": 400, "headroom": 0.0}, "yyn"),
        ((1, 2, 9), {"max_in_flight": 9, "max_prefill_tokens": 400}, "nnn"),
        ((1, 2, 9), {}, "yyy"),
    ],
)
def test_limits(in_flight: tuple[int, ...], limits: dict[str, Any], free: str) -> None:
    """They are those of the mean; beyond it only who is idle has a place, below it whoever headroom allows."""
    assert Pool(*in_flight).free(**limits) == free


def test_kv_usage() -> None:
    """The mean of what engines say counts, and with headroom also each one's own."""
    pool = Pool(1, 1)
    pool.scrape(1, running=1, kv_usage=0.99, kv_tokens=1_000_000)
    pool.scrape(2, running=1, kv_usage=0.5, kv_tokens=1_000_000)
    assert pool.free(max_kv_usage=0.8) == "yy"
    assert pool.free(max_kv_usage=0.8, headroom=0.0) == "ny"
    assert pool.free(max_kv_usage=0.7) == "nn"


def test_what_others_send() -> None:
    """Requests in an engine that are none of ours take places, and leave them when they are gone."""
    pool = Pool(1, 1)
    pool.scrape(1, running=2, waiting=1)
    assert pool.free(max_in_flight=2) == "nn"
    pool.scrape(1, running=1)
    assert pool.free(max_in_flight=2) == "yy"


def test_nobody() -> None:
    """A pool without endpoints has no place."""
    pool = Pool()
    assert not is_any_free(AdmissionSettings(max_in_flight=1), pool.fleet, pool.levels, NOW)


def test_order() -> None:
    """Those with places first, level by level, then the others; a half-open one that is full is left out."""
    pool = Pool(1, 0, 1, 0)
    slots = pool.levels.slots
    weights = np.ones(2)
    groups = [Group(0, slots[:2], weights, int(slots[0])), Group(1, slots[2:], weights)]
    limits = AdmissionSettings(max_in_flight=1, headroom=0.0)
    found = [(g.priority, g.slots.tolist(), g.note) for g in free_first(iter(groups), limits, pool.fleet, NOW)]
    assert found == [
        (0, [slots[1]], "1 of 2 are full"),
        (1, [slots[3]], "1 of 2 are full"),
        (1, [slots[2]], ""),
    ]


@pytest.mark.parametrize("most", [1, 9])
def test_all_or_none(most: int) -> None:
    """Where all or none have places, groups stay as they are."""
    pool = Pool(1, 1)
    groups = [Group(0, pool.levels.slots, np.ones(2), note="filters left 2 of 3")]
    limits = AdmissionSettings(max_in_flight=most, headroom=math.inf)
    assert list(free_first(iter(groups), limits, pool.fleet, NOW)) == groups


def test_how_much_of_its_limits_a_pool_has_in_use() -> None:
    """The highest part; none without a limit."""
    pool = Pool(2, 4)
    slots = pool.levels.slots

    def share(**limits: Any) -> float:
        return load_share(AdmissionSettings(**limits), pool.fleet, slots, NOW)

    assert share() == 0.0
    assert share(max_in_flight=2) == 1.5
    assert share(max_in_flight=6, max_prefill_tokens=400) == 0.75
    pool.scrape(1, kv_usage=0.8)
    pool.scrape(2, kv_usage=0.8)
    assert share(max_kv_usage=0.5) == pytest.approx(1.6)

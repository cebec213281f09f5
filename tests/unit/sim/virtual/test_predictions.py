"""Predictions of caches against engines that are not as they were taken to be, in virtual time."""

from dataclasses import replace
from math import inf
from statistics import fmean
from typing import Any

import pytest

from sim.hardware import named
from sim.profile import Profile
from sim.traces.generate import generate
from sim.virtual.fleet import run
from sim.virtual.outcome import RunResult
from sim.virtual.production import BARE, Production, ProductionFactory
from sim.virtual.router import Context
from sim.virtual.setup import Setup
from sim.virtual.study import rate_for

ENGINES = 4
PROFILE = named("h100-8b")


def played(
    kind: str, profile: Profile, *, checks: bool = True, load: float = 0.4, requests: int = 600, **words: Any
) -> tuple[RunResult, Production]:
    """A run, and its router; with `checks` False predictions are never doubted."""
    routers: list[Production] = []
    make = ProductionFactory("kv-aware", replace(BARE, distrusts=checks))

    def factory(context: Context) -> Production:
        routers.append(make(context))
        return routers[-1]

    trace = generate(kind, 1, requests=requests)
    setup = Setup(factory=factory, profile=profile, engines=ENGINES, **words)
    return run(trace.faster(rate_for(trace, setup, load)), setup, 1), routers[0]


def mean_ms(result: RunResult) -> float:
    """Mean time to the first token."""
    return 1e3 * fmean(outcome.ttft_s for outcome in result.outcomes if outcome.ttft_s is not None)


def prediction(router: Production) -> dict[str, Any]:
    """What is known of the pool."""
    found: dict[str, Any] = router.picker.survey.pools(0.0)["replay"]["prediction"]
    return found


@pytest.mark.parametrize("kind", ["chat", "prompts"])
def test_right_predictions_cost_nothing(kind: str) -> None:
    """The same picks as without the check."""
    (checked, router), (plain, _) = (played(kind, PROFILE, checks=checks, load=0.7) for checks in (True, False))
    assert checked.outcomes == plain.outcomes
    assert (prediction(router)["verdict"], prediction(router)["trust"]) == ("fine", 1.0)


@pytest.mark.parametrize("kind", ["chat", "prompts"])
def test_engines_that_cache_nothing(kind: str) -> None:
    """It is found out, and first tokens come a tenth sooner than where it is not acted upon."""
    profile = replace(PROFILE, prefix_caching=False)
    (checked, router), (plain, _) = (played(kind, profile, checks=checks) for checks in (True, False))
    assert (prediction(router)["verdict"], prediction(router)["trust"]) == ("over", 0.0)
    assert mean_ms(checked) < 0.9 * mean_ms(plain)


def test_a_memory_that_nobody_tells() -> None:
    """Never scraped, engines with little memory: its size is learned, and what is believed is found."""
    profile = replace(PROFILE, kv_blocks=4_000)
    result, router = played("rag:documents=60", profile, load=0.5, requests=1_500, scrape_s=inf)
    fleet = router.picker._fleet
    sizes = [fleet.kv_sizes.blocks(slot) for slot in range(ENGINES)]
    true = profile.kv_tokens / 64
    assert all(size is not None and 0.6 * true < size < 1.7 * true for size in sizes), (sizes, true)
    told = router.picker.survey.pools(0.0)["replay"]["prediction"]
    assert told["found_tokens"] > 0.85 * told["believed_tokens"]
    assert all(outcome.status == "ok" for outcome in result.outcomes)

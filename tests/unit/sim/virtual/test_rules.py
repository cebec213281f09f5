"""What can be compared, by name."""

from dataclasses import replace

import pytest

from ext_proc.core.strategies.table import STRATEGIES, strategy
from sim.baselines import registry
from sim.virtual.fleet import run
from sim.virtual.production import BARE
from sim.virtual.rules import DUPLICATES, UNUSUAL, checked, defaults, factory, names
from tests.unit.sim.virtual.fleets import many, setup


def test_ours_come_first_and_each_once() -> None:
    """All strategies of the picker and all rules of others."""
    assert names()[: len(STRATEGIES)] == tuple(STRATEGIES)
    assert set(names()) == {*STRATEGIES, *registry}
    assert len(set(names())) == len(names())
    assert checked(["unified", "kv-aware", "unified"]) == ("unified", "kv-aware")


def test_nothing_is_compared_twice() -> None:
    """A rule that one of ours shows too is played only when it is named."""
    assert set(names()) - set(defaults()) == DUPLICATES | UNUSUAL
    assert {name.removeprefix("plain-") for name in DUPLICATES} <= set(STRATEGIES)
    assert checked(["plain-least-request"]) == ("plain-least-request",)


def test_a_strategy_of_the_users_goes_by_the_name_that_its_pool_has() -> None:
    """For that pool alone."""
    pool = replace(BARE, strategy="acme.own", own=lambda parameters: strategy("random"))
    assert checked(["acme.own", "kv-aware"], pool) == ("acme.own", "kv-aware")
    with pytest.raises(ValueError, match=r"no strategy 'acme\.own'"):
        checked(["acme.own"])


def test_unknown_names_are_refused() -> None:
    """With those that exist."""
    with pytest.raises(ValueError, match=r"no strategy 'best'; there are kv-aware, "):
        checked(["kv-aware", "best"])


@pytest.mark.parametrize("name", names())
def test_every_rule_serves_a_trace(name: str) -> None:
    """Each rule brings every request to an engine, under its own name."""
    result = run(many(60), setup(factory(name), engines=3, scrape_s=0.2), 1)
    assert result.strategy == name
    assert {outcome.status for outcome in result.outcomes} == {"ok"}

"""What can be compared, by name."""

import pytest

from ext_proc.core.strategies.table import STRATEGIES
from sim.baselines import registry
from sim.virtual.fleet import run
from sim.virtual.rules import checked, factory, names
from tests.unit.sim.virtual.fleets import many, setup


def test_ours_come_first_and_each_once() -> None:
    """All strategies of the picker and all rules of others."""
    assert names()[: len(STRATEGIES)] == tuple(STRATEGIES)
    assert set(names()) == {*STRATEGIES, *registry}
    assert len(set(names())) == len(names())
    assert checked(["unified", "kv-aware", "unified"]) == ("unified", "kv-aware")


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

"""`kv-aware`: the formula, ties, common prefixes, the load of others, and the bound."""

import numpy as np
import pytest

from ext_proc.core.index import Match
from ext_proc.core.strategies import kv_aware
from ext_proc.core.strategies.kv_aware import (
    CROWD,
    LATER,
    LEAST_PREFILL_MS,
    LOAD_FACTOR,
    LOAD_ROOM,
    NEAR_MS,
    SHARED,
    STALL,
    prompt_of,
)
from ext_proc.core.strategies.view import View
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def test_the_cost_is_the_formula() -> None:
    """Worked out by hand from the guess: 10 ms for a step, 0.1 ms per token, 1e-6 per pair, 0.1 ms per request."""
    pool = Pool(2)
    pool.mean_uncached, pool.gap_s = 500.0, 0.1
    pool.send(0, uncached=300, times=2)
    pool.send(0, times=3, is_decoding=True)
    ranking = ranked(kv_aware, pool.view(tokens=1_000, cached=[600, 0]))
    wait = 2 * (30 + 300 * (100 - 150) / 1e6)
    prefill, crowd = 40 + 400 * 800 / 1e6, 5 * 0.1 + 500 * 5e-5
    later = LATER * 0.005 * prefill * (wait + prefill / 2)
    over = (wait + LEAST_PREFILL_MS) / (wait / 2 + LEAST_PREFILL_MS)
    busy = wait + prefill + 10 + CROWD * crowd + STALL * 5 * over * prefill + later
    idle = 100.5 + 10 + LATER * 0.005 * 100.5**2 / 2
    assert ranking.cost.tolist() == pytest.approx([busy, idle])
    assert ranking.terms["wait_ms"].tolist() == pytest.approx([wait, 0])
    assert ranking.terms["prefill_ms"].tolist() == pytest.approx([prefill, 100.5])
    assert ranking.terms["step_ms"].tolist() == pytest.approx([10 + crowd, 10])
    assert ranking.terms["crowd_ms"].tolist() == pytest.approx([(CROWD - 1) * crowd, 0])
    parts = ["wait_ms", "prefill_ms", "step_ms", "crowd_ms", "stall_ms", "later_ms", "shared_ms"]
    assert ranking.cost == pytest.approx(np.sum([ranking.terms[part] for part in parts], axis=0))
    assert ranking.terms["later_ms"][0] == pytest.approx(later)


def test_stays_where_the_prefix_is() -> None:
    """All else equal, the endpoint that holds most of it; those that hold less come next."""
    pool = Pool(3)
    assert pool.order(kv_aware, pool.view(cached=[0, 896, 512])) == [1, 2, 0]


def test_a_queue_outweighs_a_prefix() -> None:
    """A holder behind more uncached tokens than the prefix saves is left."""
    pool = Pool(2)
    pool.send(0, uncached=2_000, times=2)
    assert pool.chosen(kv_aware, pool.view(cached=[896, 0])) == {1}


def test_decoding_requests_are_spared() -> None:
    """Of two without the prefix, the one whose prefill stalls fewer."""
    pool = Pool(2)
    pool.send(0, times=4, is_decoding=True)
    assert pool.chosen(kv_aware, pool.view()) == {1}


def test_those_who_lost_much_already_are_spared() -> None:
    """Of two with as many, the one that prefilled less in the last seconds; a minute later there is no difference."""
    pool = Pool(2)
    for position, uncached in ((0, 2_000), (1, 20)):
        pool.send(position, times=2, uncached=uncached, is_decoding=True, at=10.0)
    shortly, later = (ranked(kv_aware, pool.view(now=now)) for now in (10.5, 70.0))
    assert shortly.order.tolist() == [1, 0]
    assert shortly.terms["stall_ms"][0] > 10 * shortly.terms["stall_ms"][1]
    assert later.terms["stall_ms"].tolist() == pytest.approx([STALL * 2 * 100.5] * 2, rel=1e-3)


def test_near_ties_go_to_the_least_loaded() -> None:
    """Within half a millisecond of the least cost, in flight decides; the next token of prefix is worth more."""
    pool = Pool(3)
    pool.send(0, uncached=0, times=2)
    pool.send(1, uncached=0)
    pool.send(2, uncached=3_000)
    cost = ranked(kv_aware, pool.view(cached=[12, 0, 0])).cost
    assert cost[1] - NEAR_MS < cost[0] < cost[1]
    assert pool.chosen(kv_aware, pool.view(cached=[12, 0, 0])) == {1}
    assert pool.chosen(kv_aware, pool.view(cached=[16, 0, 0])) == {0}


def test_ties_are_broken_at_random() -> None:
    """All idle and equal: everybody has a chance."""
    assert Pool(4).chosen(kv_aware, Pool(4).view()) == {0, 1, 2, 3}


def test_new_prefixes_go_where_nothing_went_for_long() -> None:
    """Among equally good and equally loaded endpoints the one whose last pick is oldest is first."""
    pool = Pool(4)
    for position, at in ((0, 30.0), (1, 10.0), (2, 40.0), (3, 20.0)):
        pool.send(position, at=at)
    assert pool.chosen(kv_aware, pool.view(now=50.0)) == {1}
    pool.send(1, at=50.0)
    assert pool.chosen(kv_aware, pool.view(now=50.0)) == {3}


def test_the_load_of_others_counts() -> None:
    """Requests that the engine reports and we did not send make it dearer, and lose weight with age."""
    pool = Pool(2)
    pool.scrape(0, running=10, waiting=5)
    pool.scrape(1, running=0, waiting=0)
    assert pool.chosen(kv_aware, pool.view(cached=[896, 0])) == {1}
    assert pool.chosen(kv_aware, pool.view(cached=[896, 0], now=200.0)) == {0}


def test_an_overloaded_endpoint_comes_last() -> None:
    """Above twice the mean and some room it is named after all others, whatever it holds."""
    pool = Pool(4)
    # What it holds costs nothing there, so that only the bound can turn the request away.
    cached = [100_000, 0, 64, 128]
    held = int(LOAD_ROOM / (1 - LOAD_FACTOR / 4))
    pool.send(0, times=held)
    assert pool.order(kv_aware, pool.view(tokens=100_000, cached=cached))[0] == 0
    pool.send(0)
    assert pool.order(kv_aware, pool.view(tokens=100_000, cached=cached)) == [3, 2, 1, 0]


def test_the_load_of_others_counts_for_the_bound() -> None:
    """Requests that others let run there fill an endpoint up as well."""
    pool = Pool(4)
    cached = [100_000, 0, 64, 128]
    pool.scrape(0, running=int(LOAD_ROOM / (1 - LOAD_FACTOR / 4)) + 1, waiting=0)
    assert pool.order(kv_aware, pool.view(tokens=100_000, cached=cached))[-1] == 0


def test_the_reason_tells_cache_and_queue() -> None:
    """One sentence for people."""
    pool = Pool(2)
    pool.send(1, uncached=1_000)
    pool.send(0, uncached=12)
    reason = ranked(kv_aware, pool.view(tokens=1_600, cached=[1_536, 0])).reason
    assert reason == f"cache: 1,536 of 1,600 tokens on {pool.addresses[0]}, wait 1 ms"


def test_needs_a_prompt() -> None:
    """Without one there is nothing to compare."""
    view = Pool(1).view()
    bare = View(view.slots, view.weights, view.fleet, 0.0, 0, 1_000.0)
    with pytest.raises(ValueError, match="needs the prompt"):
        ranked(kv_aware, bare)


def test_uncached_is_what_no_block_covers() -> None:
    """And at least one token, since the last one is always computed."""
    prompt = prompt_of(130, Match(), np.array([0, 1, 2, 3]))
    assert prompt.uncached.tolist() == [130, 66, 2, 1]
    assert prompt.charged.tolist() == [130, 66, 2, 1]


def test_a_beginning_of_everybody_is_not_charged() -> None:
    """Of ten blocks with which all prompts begin, an endpoint is not charged for those that it lacks."""
    match = Match(common_blocks=10, fan_out=8, opening_blocks=10)
    prompt = prompt_of(1_000, match, np.array([0, 5, 10, 12]), is_everybodys=True)
    assert prompt.uncached.tolist() == [1_000, 680, 360, 232]
    assert prompt.charged.tolist() == [360, 360, 360, 232]
    assert prompt_of(640, match, np.array([0]), is_everybodys=True).charged.tolist() == [1]


def test_behind_the_beginning_of_everybody_copies_are_charged_in_part() -> None:
    """A document behind the common instructions is popular, and not everybody's."""
    match = Match(common_blocks=10, fan_out=8, opening_blocks=4)
    prompt = prompt_of(1_000, match, np.array([0, 4, 6, 12]), is_everybodys=True)
    assert prompt.charged.tolist() == [744 - SHARED * 384, 744 - SHARED * 384, 616 - SHARED * 256, 232]


def test_a_prefix_of_some_is_charged_in_part() -> None:
    """Later requests bear their share of a copy; what is not popular, and the last token, is charged in full."""
    match = Match(common_blocks=10, fan_out=8)
    assert prompt_of(1_000, match, np.array([0, 5, 12])).charged.tolist() == [
        1_000 - SHARED * 640,
        680 - SHARED * 320,
        232,
    ]
    assert prompt_of(640, match, np.array([0])).charged.tolist() == [640 - SHARED * 640]
    assert prompt_of(1_000, Match(), np.array([0, 12])).charged.tolist() == [1_000, 232]


def test_a_copy_that_many_share_counts_less() -> None:
    """For the choice, not for the time that the first token is expected to take."""
    pool = Pool(2)
    pool.send(0, uncached=600)
    own = pool.view(tokens=1_000, cached=[900, 0])
    shared = pool.view(tokens=1_000, cached=[900, 0], charged=[100, 400])
    assert pool.chosen(kv_aware, own) == {0}
    assert pool.chosen(kv_aware, shared) == {1}
    terms = ranked(kv_aware, shared).terms
    assert terms["prefill_ms"].tolist() == pytest.approx(ranked(kv_aware, own).terms["prefill_ms"].tolist())
    assert terms["shared_ms"].tolist() == pytest.approx([0, (40 + 400 * 800 / 1e6) - 100.5])

"""Priorities of localities."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile.localities import SHARE_UNITS, Locality, Placement, placements, priorities
from control_plane.compile.localities import places as places_of
from control_plane.policy.load_balancing import Distribute
from control_plane.policy.model import Failover, LocalityLbSetting

HERE = Locality("us-east", "us-east-1a")
ON = LocalityLbSetting(enabled=True)
TO_WEST = LocalityLbSetting(enabled=True, failover=(Failover(from_="us-east", to="us-west"),))

places = st.builds(Locality, st.sampled_from(["", "r1", "r2", "r3"]), st.sampled_from(["", "z1", "z2"]))
failovers = st.builds(Failover, from_=st.sampled_from(["r1", "r2", "z1"]), to=st.sampled_from(["r2", "r3", "z2"]))
settings_on = st.builds(LocalityLbSetting, enabled=st.just(True), failover=st.lists(failovers, max_size=3).map(tuple))


def test_nearest_first() -> None:
    """Own zone, own region, the failover region, then the rest and the unknown together."""
    zone_b, west, eu, unknown = (
        Locality("us-east", "us-east-1b"),
        Locality("us-west", "us-west-1a"),
        Locality("eu", "eu-1"),
        Locality(),
    )
    found = priorities([eu, west, unknown, zone_b, HERE], HERE, TO_WEST)
    assert found == {HERE: 0, zone_b: 1, west: 2, eu: 3, unknown: 3}


def test_gaps_are_closed() -> None:
    """Without pods in the own region the failover region comes first."""
    west, eu = Locality("us-west", "us-west-1a"), Locality("eu", "eu-1")
    assert priorities([west, eu], HERE, TO_WEST) == {west: 0, eu: 1}


def test_failovers_count_in_their_order() -> None:
    """Of two places for the same region the first named comes first."""
    both = LocalityLbSetting(
        enabled=True, failover=(Failover(from_="us-east", to="eu"), Failover(from_="us-east", to="us-west"))
    )
    west, eu, asia = Locality("us-west"), Locality("eu"), Locality("asia")
    assert priorities([west, eu, asia, HERE], HERE, both) == {HERE: 0, eu: 1, west: 2, asia: 3}


def test_anothers_failover_does_not_apply() -> None:
    """A rule for another region changes nothing here."""
    west, eu = Locality("us-west"), Locality("eu")
    other = LocalityLbSetting(enabled=True, failover=(Failover(from_="asia", to="us-west"),))
    assert priorities([west, eu, HERE], HERE, other) == {HERE: 0, west: 1, eu: 1}


def test_zones_alone() -> None:
    """Where endpoints have no region, zones are compared, and failover names zones."""
    a, b, c = Locality("", "a"), Locality("", "b"), Locality("", "c")
    a_to_c = LocalityLbSetting(enabled=True, failover=(Failover(from_="a", to="c"),))
    assert priorities([a, b, c], Locality("", "a"), a_to_c) == {a: 0, c: 1, b: 2}
    assert priorities([a, b, c], Locality("somewhere", "a"), a_to_c) == {a: 0, c: 1, b: 2}


def test_a_region_alone_is_compared_alone() -> None:
    """An endpoint without a zone is in the node's own place when the region is the same."""
    region = Locality("us-east")
    assert priorities([region, Locality("eu")], HERE, ON)[region] == 0


@pytest.mark.parametrize(
    ("node", "setting"), [(HERE, LocalityLbSetting(enabled=False)), (Locality(), TO_WEST)], ids=["off", "no place"]
)
def test_one_priority(node: Locality, setting: LocalityLbSetting) -> None:
    """Switched off, or for a node that does not say where it is, all are alike."""
    assert set(priorities([HERE, Locality("eu"), Locality()], node, setting).values()) == {0}


@given(st.lists(places, min_size=1), places, settings_on)
def test_priorities_have_no_gap(localities: list[Locality], node: Locality, setting: LocalityLbSetting) -> None:
    """Envoy wants 0, 1, 2, … without a gap, whatever the places are."""
    found = priorities(localities, node, setting)
    assert set(found) == set(localities)
    assert sorted(set(found.values())) == list(range(len(set(found.values()))))


@given(st.lists(places, min_size=1), places, settings_on)
def test_no_place_is_nearer_than_the_own(
    localities: list[Locality], node: Locality, setting: LocalityLbSetting
) -> None:
    """A pod in exactly the node's place is in the first priority."""
    assert priorities([*localities, node], node, setting)[node] == 0


@given(st.lists(places, min_size=1), st.randoms(use_true_random=False), places, settings_on)
def test_order_does_not_matter(
    localities: list[Locality], rng: random.Random, node: Locality, setting: LocalityLbSetting
) -> None:
    """Priorities come from the places, not from the order in which they are listed."""
    shuffled = list(localities)
    rng.shuffle(shuffled)
    assert priorities(localities, node, setting) == priorities(shuffled, node, setting)


EAST_A, EAST_B, WEST = Locality("us-east", "us-east-1a"), Locality("us-east", "us-east-1b"), Locality("us-west", "w")
SHARES = LocalityLbSetting(
    enabled=True,
    distribute=(
        Distribute(from_="us-east/us-east-1b", to={"us-east": 100}),
        Distribute(from_="us-east/*", to={"us-east": 80, "us-west/*": 20}),
    ),
)


def test_shares_of_a_place() -> None:
    """The first rule for the node's place holds; localities of one share divide it by what they weigh."""
    weights = {EAST_A: 300, EAST_B: 100, WEST: 5, Locality("eu"): 7}
    assert placements(weights, EAST_A, SHARES) == {
        EAST_A: Placement(0, 60 * SHARE_UNITS),
        EAST_B: Placement(0, 20 * SHARE_UNITS),
        WEST: Placement(0, 20 * SHARE_UNITS),
    }
    assert set(placements(weights, EAST_B, SHARES)) == {EAST_A, EAST_B}


def test_no_rule_for_the_place() -> None:
    """An Envoy that no rule names, and one whose setting is off, use all places by distance and weight."""
    weights = {EAST_A: 300, WEST: 5}
    assert placements(weights, WEST, SHARES) == {WEST: Placement(0, 5), EAST_A: Placement(1, 300)}
    off = LocalityLbSetting(enabled=False, distribute=SHARES.distribute)
    assert placements(weights, EAST_A, off) == {EAST_A: Placement(0, 300), WEST: Placement(0, 5)}


def test_a_place_without_anybody_leaves_its_share_to_the_others() -> None:
    """Weights are relative, so those that are there keep their proportions; with none of them there is nobody."""
    assert placements({EAST_A: 1}, EAST_A, SHARES) == {EAST_A: Placement(0, 80 * SHARE_UNITS)}
    assert placements({Locality("eu"): 1}, EAST_A, SHARES) == {}


@given(st.dictionaries(places, st.integers(1, 2**32 - 1), min_size=1), st.sampled_from(["r1", "r2/z1", "*", "z1"]))
def test_shares_are_weights_that_envoy_takes(weights: dict[Locality, int], pattern: str) -> None:
    """At least 1, and together far below 2³²."""
    setting = LocalityLbSetting(enabled=True, distribute=(Distribute(from_="*", to={pattern: 100}),))
    found = placements(weights, HERE, setting)
    assert all(placement.weight >= 1 and placement.priority == 0 for placement in found.values())
    assert sum(placement.weight for placement in found.values()) <= 100 * SHARE_UNITS + len(found)


def test_places_have_stable_names() -> None:
    """Nearest first; a name does not depend on which localities there are."""
    zone_b, west, eu = Locality("us-east", "us-east-1b"), Locality("us-west", "us-west-1a"), Locality("eu", "eu-1")
    found = places_of([eu, west, Locality(), zone_b, HERE], HERE, TO_WEST)
    assert list(found.items()) == [
        (HERE, "us-east/us-east-1a"),
        (zone_b, "us-east/*"),
        (west, "us-west"),
        (Locality(), "*"),
        (eu, "*"),
    ]
    assert places_of([west], HERE, TO_WEST) == {west: "us-west"}


@given(st.sets(places), places, settings_on)
def test_a_place_is_a_priority(found: set[Locality], node: Locality, setting: LocalityLbSetting) -> None:
    """Localities are one place where they have one priority, and the order is the same."""
    if node:
        order, names = priorities(found, node, setting), places_of(found, node, setting)
        assert list(dict.fromkeys(order[locality] for locality in names)) == sorted(set(order.values()))
        for one in found:
            for other in found:
                assert (order[one] == order[other]) == (names[one] == names[other])


def test_shares_are_one_priority() -> None:
    """Places with a share come first, together, and weigh as much as it says; the others follow in their order."""
    zone_b, west, eu = Locality("us-east", "us-east-1b"), Locality("us-west", "us-west-1a"), Locality("eu", "eu-1")
    weights = {HERE: 300, zone_b: 100, west: 100, eu: 50}
    shares = {HERE: 60, zone_b: 0, west: 40, eu: 0}
    assert placements(weights, HERE, TO_WEST, shares) == {
        HERE: Placement(0, 60 * SHARE_UNITS),
        west: Placement(0, 40 * SHARE_UNITS),
        zone_b: Placement(1, 100),
        eu: Placement(2, 50),
    }
    gone = placements(weights, HERE, TO_WEST, {HERE: 0, zone_b: 0, west: 100, eu: 0})
    assert {locality: placement.priority for locality, placement in gone.items()} == {
        west: 0,
        HERE: 1,
        zone_b: 2,
        eu: 3,
    }


def test_a_place_of_two_localities_has_one_share() -> None:
    """They divide it by what their endpoints weigh."""
    b, c = Locality("us-east", "b"), Locality("us-east", "c")
    placed = placements({b: 300, c: 100}, HERE, ON, {b: 100, c: 100})
    assert placed == {b: Placement(0, 75 * SHARE_UNITS), c: Placement(0, 25 * SHARE_UNITS)}


@given(st.dictionaries(places, st.integers(1, 1_000), min_size=1), places, settings_on, st.data())
def test_shares_leave_no_gaps(
    weights: dict[Locality, int], node: Locality, setting: LocalityLbSetting, data: st.DataObject
) -> None:
    """Priorities begin at 0 and have none, whichever places have a share; nobody is left out."""
    shares = {locality: data.draw(st.integers(0, 100)) for locality in weights}
    placed = placements(weights, node, setting, shares)
    assert placed.keys() == weights.keys()
    found = {placement.priority for placement in placed.values()}
    assert found == set(range(len(found)))
    assert min(placement.weight for placement in placed.values()) >= 1

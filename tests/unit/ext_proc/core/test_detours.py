"""Where requests go when the pool of their route cannot serve them, and when they come back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.decision import Degraded, Level
from ext_proc.core.detours import LEAST_OPEN_S, LEAST_TRY_S, Detours, Rank, Seen, Taken
from ext_proc.core.settings import DegradationSettings, WaySettings

WELL = Seen(is_usable=True)
FULL = Seen(is_usable=True, is_free=False)
GONE = Seen(is_usable=False)
DUE = Seen(is_usable=False, is_trial_due=True)

FIRST = WaySettings(cluster="b", pool="b", model="m", is_same=True)
SECOND = WaySettings(cluster="c", pool="c", model="n")
SETTINGS = DegradationSettings(ways=(FIRST, SECOND), recover_after_s=10.0)


class Road:
    """Pools as they are, and what is decided. Mutable: all."""

    def __init__(self, settings: DegradationSettings = SETTINGS) -> None:
        self.settings = settings
        self.detours = Detours()
        self.pools = {"a": WELL, "b": WELL, "c": WELL}
        self.expected: dict[str, float] = {}
        self.now = 100.0

    def take(self) -> Taken:
        """Where a request goes that Envoy gave to `a`."""
        return self.detours.take(
            self.settings,
            "a",
            self.settings.ways,
            self.pools.__getitem__,
            lambda way: self.expected.get("a" if way is None else way.cluster),
            self.now,
        )

    def goes_to(self) -> str:
        """The cluster, `a` for none of the ways."""
        way = self.take().way
        return "a" if way is None else way.cluster

    def after(self, seconds: float, *, look: bool = True) -> str:
        """The same later."""
        self.now += seconds
        if look:
            self.detours.look(self.pools.__getitem__, self.now)
        return self.goes_to()


@pytest.mark.parametrize(
    ("own", "first", "second", "where", "rank"),
    [
        (WELL, WELL, WELL, "a", Rank.WELL),
        (WELL, GONE, GONE, "a", Rank.WELL),
        (GONE, WELL, WELL, "b", Rank.WELL),
        (GONE, GONE, WELL, "c", Rank.WELL),
        (GONE, FULL, WELL, "c", Rank.WELL),
        (GONE, FULL, FULL, "b", Rank.FULL),
        (GONE, FULL, GONE, "b", Rank.FULL),
        (GONE, GONE, GONE, "a", Rank.NONE),
        (FULL, WELL, WELL, "b", Rank.WELL),
        (FULL, FULL, WELL, "c", Rank.WELL),
        (FULL, FULL, FULL, "a", Rank.FULL),
        (FULL, GONE, GONE, "a", Rank.FULL),
        (GONE, DUE, WELL, "b", Rank.WELL),
    ],
)
def test_the_order(own: Seen, first: Seen, second: Seen, where: str, rank: Rank) -> None:
    """Its own pool, then the ways in their order, each while somebody there has a place; then the first queue."""
    road = Road()
    road.pools = {"a": own, "b": first, "c": second}
    taken = road.take()
    assert (road.goes_to(), taken.rank) == (where, rank)
    assert bool(taken.why) is (own is not WELL)


def test_triggers_that_are_off() -> None:
    """What is no reason keeps nobody away from the pool of the route."""
    road = Road(replace(SETTINGS, on_unavailable=False))
    road.pools["a"] = GONE
    assert road.goes_to() == "a"
    road.pools["a"] = FULL
    assert road.goes_to() == "b"
    road = Road(replace(SETTINGS, on_saturation=False))
    road.pools["a"] = FULL
    assert road.goes_to() == "a"
    road.pools["a"] = GONE
    assert road.goes_to() == "b"


def test_the_way_back() -> None:
    """A pool must have been well for `recoverAfter` without a break, and then has all again."""
    road = Road()
    road.pools["a"] = GONE
    assert road.goes_to() == "b"
    road.pools["a"] = WELL
    assert road.after(0) == "b"
    assert road.after(9) == "b"
    road.pools["a"] = GONE
    assert road.after(0.5) == "b"
    road.pools["a"] = WELL
    assert road.after(0.5) == "b"
    assert road.after(9.9) == "b"
    assert road.after(0.2) == "a"
    assert road.detours.open() == []


def test_the_way_back_without_requests() -> None:
    """It is found without anybody asking for the model."""
    road = Road()
    road.pools["a"] = GONE
    assert road.goes_to() == "b"
    road.pools["a"] = WELL
    road.detours.look(road.pools.__getitem__, 105.0)
    road.now = 115.0
    assert road.after(0, look=False) == "a"


def test_one_that_has_just_come_back_is_better_than_none() -> None:
    """While nobody else is there it need not wait."""
    road = Road()
    road.pools = {"a": GONE, "b": GONE, "c": GONE}
    assert road.take().rank is Rank.NONE
    road.pools["a"] = WELL
    assert road.take() == Taken(None, Rank.ANY, "it was unavailable less than 10 s ago")


def test_a_trial() -> None:
    """One who is due to be tried gets a request, and that opens nothing for others."""
    road = Road()
    road.pools["a"] = DUE
    assert road.goes_to() == "a"
    road.pools["a"] = GONE  # it is being tried
    assert road.goes_to() == "b"


def test_a_limit_for_first_tokens() -> None:
    """Who would miss it goes where it is kept or nobody knows; where it is kept nowhere, to its own pool."""
    road = Road(replace(SETTINGS, slo_ms=1_000.0))
    assert road.goes_to() == "a"
    road.expected["a"] = 1_000.0
    assert road.goes_to() == "a"
    road.expected["a"] = 1_001.0
    assert road.take().why == "its first token would come after 1,001 ms, not within 1,000 ms"
    assert road.goes_to() == "b"
    road.expected["b"] = 2_000.0
    assert road.goes_to() == "c"
    road.expected["c"] = 2_000.0
    assert road.goes_to() == "a"


def test_a_limit_that_was_just_missed() -> None:
    """For a while after a miss a request must be well below the limit; then the limit itself is enough again."""
    road = Road(replace(SETTINGS, slo_ms=1_000.0))
    road.expected["a"] = 900.0
    assert road.goes_to() == "a"
    road.expected["a"] = 1_100.0
    assert road.goes_to() == "b"
    road.expected["a"] = 900.0
    assert road.after(5) == "b"
    road.expected["a"] = 800.0
    assert road.after(1) == "a"
    road.expected["a"] = 900.0
    assert road.after(4.5) == "a"


def test_a_pool_that_is_quicker_than_is_believed() -> None:
    """One request in ten seconds goes there all the same: what is believed of a pool that gets none never changes."""
    road = Road(replace(SETTINGS, slo_ms=500.0))
    road.expected = {"a": 600.0, "b": 100.0}
    assert [road.goes_to(), *(road.after(1.0) for _ in range(21))].count("a") == 2
    road.expected["a"] = 300.0
    assert road.after(10.0) == "a"
    road.expected["a"] = 600.0
    assert [road.goes_to(), *(road.after(1.0) for _ in range(9))] == ["b"] * 10, "it is a miss of its own"


def test_who_is_tried_when_the_policy_is_impatient() -> None:
    """Not every request of a slow model, however short `recoverAfter` is."""
    road = Road(replace(SETTINGS, slo_ms=500.0, recover_after_s=0.0))
    road.expected = {"a": 600.0, "b": 100.0}
    assert [road.goes_to(), *(road.after(0.5) for _ in range(20))].count("a") == 20 * 0.5 / LEAST_TRY_S


def test_what_is_open() -> None:
    """A model is degraded from its first degraded request until its pool is well and none has come for a while."""
    road = Road(replace(SETTINGS, recover_after_s=1.0))
    road.pools["a"] = GONE
    taken = road.take()
    degraded = Degraded(level=Level.POOL, model="m", why=taken.why, to="b")
    for _ in range(3):
        road.detours.note(degraded, "a", "pool a", 1.0, road.now)
    assert road.detours.open() == [
        {"model": "m", "pool": "pool a", "label": "pool/b", "why": "nobody there may be named", "requests": 3}
    ]
    road.after(3_600)
    assert road.detours.open(), "nobody asks for the model, but its pool is still gone"
    road.pools["a"] = WELL
    road.after(0)
    assert road.after(1.1) == "a"
    road.after(LEAST_OPEN_S)
    assert road.detours.open() == []


def test_settings_that_lack_it_now() -> None:
    """Nothing is remembered of models and pools that are no more."""
    road = Road()
    road.pools["a"] = GONE
    road.detours.note(Degraded(level=Level.MODEL, model="m", why=road.take().why, to="n"), "a", "a", 1.0, road.now)
    road.detours.configure({"m": SETTINGS}, frozenset({"a", "b", "c"}))
    assert road.detours.open()
    assert road.after(0) == "b"
    road.detours.configure({}, frozenset({"a", "b", "c"}))
    road.pools["a"] = WELL
    assert road.detours.open() == []
    assert road.after(0) == "a"


STATES = st.sampled_from([WELL, FULL, GONE, DUE])
STEPS = st.lists(st.tuples(STATES, STATES, STATES, st.floats(0, 20)), min_size=1, max_size=30)


@given(STEPS)
def test_whatever_happens(steps: list[tuple[Seen, Seen, Seen, float]]) -> None:
    """A pool that is free, and was never found unavailable within the time to recover, keeps its requests; nobody goes
    where nobody is while somebody is anywhere; once all are well for long enough, all is as it was."""
    road = Road()
    bad_at = -1e9
    for own, first, second, seconds in steps:
        road.now += seconds
        road.pools = {"a": own, "b": first, "c": second}
        taken = road.take()
        if not own.is_usable:
            bad_at = road.now
        where = "a" if taken.way is None else taken.way.cluster
        if own is WELL and road.now - bad_at >= 10.0 + 20.0:
            assert where == "a"
        if any(seen.is_usable for seen in road.pools.values()):
            assert taken.rank is not Rank.NONE
            assert road.pools[where].is_usable or road.pools[where] is DUE
        if any(seen is WELL for seen in (own, first, second)):
            assert road.pools[where] in (WELL, DUE)
    road.pools = {"a": WELL, "b": WELL, "c": WELL}
    road.after(0)
    assert road.after(10.001) == "a"

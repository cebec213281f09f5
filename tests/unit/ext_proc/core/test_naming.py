"""Naming: the list of one request over levels, on trial and in doubt."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.decision import MAX_NAMED
from ext_proc.core.domains import Domains
from ext_proc.core.events import AttemptEnded, Event, RequestEnded, Scraped
from ext_proc.core.fleet import Fleet
from ext_proc.core.health import BACK_OFF_S
from ext_proc.core.levels import Group, levels
from ext_proc.core.naming import Naming, name
from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.settings import EndpointSettings, ShareSettings
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.core.strategies.table import strategy as make
from ext_proc.core.strategies.view import Prompt, View


class Pool:
    """Endpoints `10.0.0.0:80`, `10.0.0.1:80`, … of the given priorities, known by their number."""

    def __init__(self, *priorities: int, strategy: str = "round-robin") -> None:
        self.fleet = Fleet()
        self.strategy = make(strategy)
        endpoints = [EndpointSettings(address=_address(n), priority=p) for n, p in enumerate(priorities)]
        self.fleet.want({each.address for each in endpoints})
        self.levels = levels(endpoints, self.fleet.slots)

    def refused(self, *numbers: int, at: float = 0.0) -> None:
        """Connections were refused."""
        for number in numbers:
            self.tell(
                AttemptEnded(
                    decision_id="d", address=_address(number), at=at, status=503, flags=("UF",), failure="refused"
                )
            )

    def scraped(self, *numbers: int, at: float = 0.0) -> None:
        """These answered a scrape."""
        for number in numbers:
            self.tell(Scraped(address=_address(number), at=at, running=0, waiting=0))

    def tell(self, event: Event) -> None:
        """Something happened."""
        self.fleet.apply(event, None)

    def name(self, *, turn: int = 0, now: float = 0.0, seed: int = 0) -> Naming:
        """One naming; the prompt is new to everybody."""

        def view(group: Group) -> View:
            prompt = Prompt(100, 0 * group.slots + 100, 0.0 * group.weights + 100.0)
            return View(group.slots, group.weights, self.fleet, now, turn, 1_000.0, prompt)

        return name(self.levels, self.fleet, self.strategy, view, now, random.Random(seed))

    def named(self, *, turn: int = 0, now: float = 0.0, seed: int = 0) -> list[int]:
        """The numbers that are named."""
        return [_number(address) for address in self.name(turn=turn, now=now, seed=seed).addresses]


def _address(number: int) -> str:
    return f"10.0.{number // 250}.{number % 250}:80"


def _number(address: str) -> int:
    third, fourth = address.removesuffix(":80").split(".")[2:]
    return int(third) * 250 + int(fourth)


def test_one_level_is_as_the_strategy_says() -> None:
    """Three in their turn."""
    assert Pool(0, 0, 0, 0).named(turn=2) == [2, 3, 0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_nearer_level_comes_first(strategy: str) -> None:
    """The first name is of level 0 under every strategy; of the others one is of the next level."""
    pool = Pool(1, 0, 1, 0, 2, strategy=strategy)
    for turn in range(8):
        named = pool.named(turn=turn, seed=turn)
        assert {named[0], named[2]} == {1, 3}
        assert named[1] in {0, 2}


def test_the_second_try_leaves_the_level() -> None:
    """A level of which nobody is known to be gone yet may be gone as a whole; the third try comes back to it."""
    assert Pool(0, 0, 0, 1, 2).named(turn=1) == [1, 3, 2]
    assert Pool(0, 0, 1, 2).named(turn=1) == [1, 2, 0]
    assert Pool(0, 0, 0, 0).named(turn=1) == [1, 2, 3]
    naming = Pool(*[0] * 20, 1).name()
    assert naming.addresses[1] == naming.candidates.addresses[-1] == _address(20)
    assert len(set(naming.candidates.addresses)) == MAX_CANDIDATES


def test_the_second_try_is_beyond_the_level_and_trusted() -> None:
    """In doubt, who answered lately in the next level goes before who answered lately in this one."""
    pool = Pool(0, 0, 0, 0, 1, 1)
    pool.scraped(2, 5)
    pool.refused(3)
    assert pool.named(turn=0) == [0, 5, 1]
    pool = Pool(0, 0, 0, 0, 1, 1)
    pool.scraped(2)
    pool.refused(3)
    assert pool.named(turn=0) == [0, 1, 2], "nobody there has answered"


def test_names_are_of_different_machines() -> None:
    """Two machines of two endpoints: the second name is of the other one, whatever the turn; the first is as ever."""
    pool = Pool(0, 0, 0, 0)
    machines = [EndpointSettings(address=f"10.0.0.{n // 2}:{80 + n % 2}") for n in range(4)]
    pool.fleet.want({each.address for each in machines})
    pool.levels = levels(machines, pool.fleet.slots)
    named = [pool.name(turn=turn).addresses for turn in range(3)]
    assert named == [
        ("10.0.0.0:80", "10.0.0.1:80", "10.0.0.0:81"),
        ("10.0.0.0:81", "10.0.0.1:80", "10.0.0.1:81"),
        ("10.0.0.1:80", "10.0.0.0:80", "10.0.0.1:81"),
    ]


def test_another_machine_is_not_sought_beyond_the_record() -> None:
    """The eighth of a level stays out where the last name is from elsewhere: it would be named and not be recorded."""
    pool = Pool(*[0] * 8, 1)
    machines = {pool.fleet.slots.acquire(_address(number)): str(number // 7) for number in range(9)}
    pool.levels = replace(pool.levels, domains=Domains(machines, {}))
    naming = pool.name()
    assert [_number(address) for address in naming.addresses] == [0, 8, 1]
    assert set(naming.addresses) <= set(naming.candidates.addresses)


def test_the_list_reaches_over_several_levels() -> None:
    """One each, if there are no more."""
    assert Pool(0, 1, 2, 3).named() == [0, 1, 2]


def test_an_ejected_level_is_left_and_said_to_be() -> None:
    """The reason tells the priority; the record holds the names of all groups."""
    pool = Pool(0, 0, 1, 1)
    pool.refused(0)
    assert pool.named() == [1, 2, 3]
    pool.refused(1)
    naming = pool.name()
    assert [_number(address) for address in naming.addresses] == [2, 3]
    assert "priority 1" in naming.reason
    assert naming.candidates.addresses == naming.addresses


def test_candidates_hold_every_name_within_their_bound() -> None:
    """Also when the last name comes from elsewhere than the first eight."""
    pool = Pool(*[0] * 20)
    pool.refused(0)
    pool.scraped(15)
    naming = pool.name(turn=0)
    assert naming.addresses == (_address(1), _address(2), _address(15))
    assert "answered lately" in naming.reason
    rows = naming.candidates
    assert set(naming.addresses) <= set(rows.addresses)
    assert len(rows.addresses) == len(rows.costs) == MAX_CANDIDATES
    assert len(set(rows.addresses)) == MAX_CANDIDATES


def test_a_half_open_one_is_named_first_or_not_at_all() -> None:
    """Whatever the turn."""
    pool = Pool(0, 0, 0, 0)
    pool.refused(1, 2)
    named = [pool.named(turn=turn, now=BACK_OFF_S) for turn in range(3)]
    assert named == [[0, 3], [1, 3, 0], [3, 0]]


def test_in_doubt_the_last_name_is_trusted() -> None:
    """The first two stay the strategy's; a list that ends with a trusted one stays as it is."""
    pool = Pool(*[0] * 6)
    pool.scraped(4)
    assert pool.named(turn=0) == [0, 1, 2], "no doubt yet"
    pool.refused(5)
    assert pool.named(turn=0) == [0, 1, 4]
    assert pool.named(turn=2) == [2, 3, 4]
    assert pool.named(turn=4) == [4, 0, 1], "it is in the list, and there is no other"


def test_doubt_ends_when_it_is_refuted() -> None:
    """The endpoint that was gone answers again."""
    pool = Pool(*[0] * 6)
    pool.scraped(4)
    pool.refused(5)
    pool.tell(RequestEnded(decision_id="d", at=1.0, status=200, served=_address(5)))
    assert pool.named(turn=0, now=1.0) == [0, 1, 2]


def test_trust_may_leave_the_level() -> None:
    """Untried ones nearby are named, and one that lives further away."""
    pool = Pool(0, 0, 0, 0, 1)
    pool.scraped(4)
    pool.refused(3)
    assert pool.named() == [0, 4, 1]


_STEP = st.tuples(st.sampled_from(["refused", "scraped", "picked"]), st.integers(0, 7), st.floats(0, 3))


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    priorities=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    steps=st.lists(_STEP, max_size=25),
    seed=st.integers(0, 2**16),
)
def test_lists_keep_the_rules(
    strategy: str, priorities: list[int], steps: list[tuple[str, int, float]], seed: int
) -> None:
    """Distinct; beside a healthy one only the first is half open and none is ejected; full if enough are healthy, and
    then not all of one level if there are more; in doubt one is trusted if anybody is."""
    pool, now = Pool(*priorities, strategy=strategy), 0.0
    health, slots = pool.fleet.health, pool.fleet.slots
    every = pool.levels.slots.tolist()
    shared = Domains(
        {slot: str(slot % (1 + seed % 4)) for slot in every}, {slot: ("", str(slot // 4)) for slot in every}
    )
    pool.levels = replace(pool.levels, domains=shared)
    for kind, number, wait in steps:
        now += wait
        number %= len(priorities)
        if kind == "picked":
            health.picked(slots.acquire(_address(number)), now)
        else:
            getattr(pool, kind)(number, at=now)
    naming = pool.name(now=now, seed=seed, turn=seed)
    named = [slots.acquire(address) for address in naming.addresses]
    states = {slot: health.state(slot, now) for slot in pool.levels.slots.tolist()}
    healthy = [slot for slot, state in states.items() if state == "healthy"]
    assert 1 <= len(named) == len(set(named)) <= MAX_NAMED
    if healthy:
        assert {states[slot] for slot in named[1:]} <= {"healthy"}
        assert states[named[0]] in ("healthy", "half-open")
        assert len(named) >= min(MAX_NAMED, len(healthy))
    trusted = health.trusted(pool.levels.slots)
    sure = set() if trusted is None else set(pool.levels.slots[trusted].tolist())
    assert not sure or sure & set(named)
    priority_of = {slots.acquire(_address(number)): priority for number, priority in enumerate(priorities)}
    behind = [slot for slot in healthy if priority_of[slot] > priority_of[named[0]]]
    if len(named) == MAX_NAMED and behind and not sure:
        assert priority_of[named[1]] > priority_of[named[0]]
    assert set(naming.addresses) <= set(naming.candidates.addresses)
    assert len(naming.candidates.addresses) <= MAX_CANDIDATES


def shared(pool: Pool, *percents: int) -> Pool:
    """The pool, whose levels have these shares of the requests."""
    endpoints = [EndpointSettings(address=_address(n), priority=n // 2) for n in range(2 * len(percents))]
    shares = [ShareSettings(priority=n, percent=each, why="failover from za") for n, each in enumerate(percents)]
    pool.levels = levels(endpoints, pool.fleet.slots, shares)
    return pool


def lot_named(pool: Pool, lot: float, now: float = 0.0) -> tuple[list[int], str]:
    """Who is named for the request of this lot, and the reason's last words."""

    def view(group: Group) -> View:
        return View(group.slots, group.weights, pool.fleet, now, 0, 1_000.0, None)

    naming = name(pool.levels, pool.fleet, pool.strategy, view, now, random.Random(0), lot=lot)
    return [_number(address) for address in naming.addresses], naming.reason.rpartition("; ")[2]


def test_a_request_begins_at_the_level_of_its_lot() -> None:
    """The other names are of the nearest levels then; one of a full list is of another level, nearer or not."""
    pool = shared(Pool(0, 0, 1, 1, 2, 2), 50, 50, 0)
    assert lot_named(pool, 20.0)[0] == [0, 2, 1]
    assert lot_named(pool, 70.0) == ([2, 0, 3], "priority 1: failover from za")
    pool.refused(3)
    assert lot_named(pool, 70.0)[0] == [2, 0, 1]


def test_a_level_that_is_gone_is_no_share() -> None:
    """At once, and the reason does not speak of the share."""
    pool = shared(Pool(0, 0, 1, 1, 2, 2), 0, 100, 0)
    pool.refused(2, 3)
    assert lot_named(pool, 70.0)[0] == [0, 4, 1]
    pool.refused(0, 1)
    assert lot_named(pool, 70.0) == ([4, 5], "priority 2, nobody nearer may be named")


def test_a_trial_comes_before_the_share() -> None:
    """Of the level that requests have left; the retries go where the share is."""
    pool = shared(Pool(0, 0, 1, 1), 0, 100)
    pool.refused(0, 1)
    assert lot_named(pool, 70.0)[0] == [2, 3]
    named, reason = lot_named(pool, 70.0, now=BACK_OFF_S)
    assert (named, reason) == ([0, 2, 3], "on trial")

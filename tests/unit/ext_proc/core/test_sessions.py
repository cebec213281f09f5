"""Sessions and their homes: made by picks, corrected by ends, bounded, and lost with their endpoint."""

import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ext_proc.core.events import Picked
from ext_proc.core.sessions import HASH_BYTES, IDLE_S, MAX_SESSIONS, NOBODY, Sessions
from ext_proc.core.slots import Slots

A, B, C = 0, 1, 2
ME, OTHER = b"m" * HASH_BYTES, b"o" * HASH_BYTES


def pick(session: bytes = ME, decision_id: str = "d", at: float = 0.0) -> Picked:
    """One of a session."""
    return Picked(
        decision_id=decision_id,
        at=at,
        address="a",
        uncached_tokens=1,
        prompt_tokens=1,
        max_age_s=60.0,
        session=session,
    )


def table(**bounds: Any) -> Sessions:
    """Three endpoints, `a` to `c`, in slots 0 to 2."""
    slots = Slots()
    for address in ("a", "b", "c"):
        slots.acquire(address)
    return Sessions(slots, **bounds)


def test_a_pick_makes_a_home() -> None:
    """At once, so that two requests of a new session find each other."""
    it = table()
    assert it.home(ME, 0.0) == NOBODY
    it.picked(pick(), A)
    assert (it.home(ME, 1.0), it.home(OTHER, 1.0), it.at(A), it.moved) == (A, NOBODY, 1, 0)
    it.ended("d", A, 1.0)
    assert it.home(ME, 1.0) == A


def test_home_is_who_answered() -> None:
    """After retries; a request that nobody answered changes nothing, and each end is told once."""
    it = table()
    it.picked(pick(decision_id="one"), A)
    it.ended("one", None, 1.0)
    assert it.home(ME, 0.0) == A
    it.picked(pick(decision_id="two"), A)
    it.ended("two", B, 1.0)
    it.ended("two", C, 1.0)
    it.ended("unknown", C, 1.0)
    assert (it.home(ME, 0.0), it.at(A), it.at(B), it.moved) == (B, 0, 1, 1)


def test_old_ends_are_no_news() -> None:
    """What began before the session moved does not call it back."""
    it = table()
    it.picked(pick(decision_id="old"), A)
    it.picked(pick(decision_id="new"), B)
    it.ended("old", C, 1.0)
    assert it.home(ME, 0.0) == B
    it.ended("new", B, 1.0)
    assert it.home(ME, 0.0) == B


def test_an_endpoint_that_is_forgotten_is_home_to_nobody() -> None:
    """Its sessions have none, and whoever gets its slot inherits none of them."""
    it = table()
    it.picked(pick(ME, "one"), A)
    it.picked(pick(OTHER, "two"), B)
    it.forget(A)
    it.forget(C)
    assert (it.home(ME, 0.0), it.home(OTHER, 0.0), it.at(A)) == (NOBODY, B, 0)
    it.picked(pick(OTHER, "three"), A)
    assert (it.home(ME, 0.0), it.at(A)) == (NOBODY, 1)
    it.ended("one", A, 1.0)  # a request of its former life
    assert it.home(ME, 0.0) == A, "who answers is there"


def test_sessions_that_are_not_used_are_new_again() -> None:
    """Whether or not it was looked after them, and use is what counts."""
    it = table(idle_s=10.0)
    it.picked(pick(ME, "one", at=0.0), A)
    it.picked(pick(OTHER, "two", at=0.0), A)
    it.picked(pick(ME, "three", at=8.0), A)
    assert (it.home(ME, 15.0), it.home(OTHER, 15.0)) == (A, NOBODY)
    it.expire(15.0)
    assert (len(it), it.at(A)) == (1, 1)
    it.expire(19.0)
    assert (len(it), it.at(A)) == (0, 0)


def test_bounds_hold() -> None:
    """The session that was unused for longest goes, and so does the oldest request."""
    it = table(max_sessions=2, max_open=2)
    for n, session in enumerate((b"1", b"2", b"1", b"3")):
        it.picked(pick(session, f"d{n}", at=float(n)), A)
    assert [it.home(session, 4.0) for session in (b"1", b"2", b"3")] == [A, NOBODY, A]
    it.ended("d0", B, 4.0)
    assert it.home(b"1", 4.0) == A, "that request is not known any more"
    it.ended("d2", B, 4.0)
    assert it.home(b"1", 4.0) == B


def test_a_full_table_is_as_quick_as_an_empty_one() -> None:
    """Neither new sessions nor the end of an hour may hold up picks: what is oldest is found without looking at all
    that was before it again and again."""
    it = table()
    events = [pick(n.to_bytes(HASH_BYTES, "big"), "d", at=0.0) for n in range(3 * MAX_SESSIONS)]

    def cost_s(of: Iterable[Picked]) -> float:
        started = time.thread_time()
        for event in of:
            it.picked(event, A)
        return time.thread_time() - started

    filled_s = cost_s(events[:MAX_SESSIONS])
    assert cost_s(events[MAX_SESSIONS:]) < 6 * filled_s
    assert 0.99 * MAX_SESSIONS < len(it) <= MAX_SESSIONS
    assert it.at(A) == len(it)
    started = time.thread_time()
    it.expire(IDLE_S + 1.0)
    assert (len(it), it.at(A)) == (0, 0)
    assert time.thread_time() - started < 3 * filled_s


def test_changes_are_counted() -> None:
    """Whatever a restart should know, and not that nothing has changed."""
    it = table()
    it.picked(pick(), A)
    seen = it.changes
    it.picked(pick(decision_id="again", at=1.0), A)
    it.ended("again", A, 1.0)
    assert it.changes == seen
    it.picked(pick(decision_id="x"), B)
    moved = it.changes
    it.forget(B)
    lost = it.changes
    it.expire(1e9)
    assert seen < moved < lost < it.changes
    assert it.as_dict() == {"known": 0, "limit": 65_536, "moved": 1}


def test_a_snapshot_is_of_its_moment() -> None:
    """What happens later is not in it, but for endpoints that leave: nobody is at home there."""
    it = table()
    it.picked(pick(ME, "one", at=1.0), A)
    it.picked(pick(OTHER, "two", at=2.0), B)
    taken = it.snapshot(5.0)
    it.picked(pick(ME, "three", at=3.0), C)
    assert list(taken.homes()) == [(ME, "a", 4.0), (OTHER, "b", 3.0)]
    it.forget(B)
    assert list(taken.homes()) == [(ME, "a", 4.0)]


def test_restoring() -> None:
    """As if it had been picked then."""
    it = table(idle_s=10.0)
    assert it.restore([(ME, "a", 5.0), (OTHER, "gone", 1.0)], 0.0) == 1
    assert (it.home(ME, 4.0), it.home(ME, 6.0), it.at(A), it.home(OTHER, 0.0)) == (A, NOBODY, 1, NOBODY)


def test_hashes_tell_pools_and_keys_apart() -> None:
    """Nothing else, and whatever a client sends."""
    tables = [Sessions(Slots(), key) for key in (b"", b"k")]
    names = {it.called(pool, name) for it in tables for pool in ("p", "q") for name in ("a", "b", "\ud800")}
    assert len(names) == 12
    assert {len(name) for name in names} == {HASH_BYTES}
    assert Sessions(Slots(), b"k").called("p", "a") in names


class AgainstANaiveTable(RuleBasedStateMachine):
    """Any order of events: the same homes as a plain dictionary with the same rules."""

    def __init__(self) -> None:
        super().__init__()
        self.it = table(max_sessions=3, idle_s=50.0, max_open=100)
        self.now = 0.0
        self.lives = [0, 0, 0]
        self.table: OrderedDict[bytes, tuple[int, int, float]] = OrderedDict()
        self.open: dict[str, tuple[bytes, tuple[int, int]]] = {}
        self.count = 0

    def _settle(self, session: bytes, slot: int, at: float) -> None:
        self.table[session] = (slot, self.lives[slot], at)
        self.table.move_to_end(session)
        if len(self.table) > 3:
            self.table.popitem(last=False)

    @rule(session=st.sampled_from([b"1", b"2", b"3", b"4", b"5"]), slot=st.integers(0, 2))
    def pick(self, session: bytes, slot: int) -> None:
        """A pick that settles a session."""
        self.count += 1
        self.it.picked(pick(session, str(self.count), self.now), slot)
        self._settle(session, slot, self.now)
        self.open[str(self.count)] = (session, (slot, self.lives[slot]))

    @rule(number=st.integers(1, 20), slot=st.one_of(st.none(), st.integers(0, 2)))
    def end(self, number: int, slot: int | None) -> None:
        """The end of any request."""
        self.it.ended(str(number), slot, self.now)
        session, named = self.open.pop(str(number), (b"", (0, 0)))
        home = self.table.get(session)
        is_named_alive = named[1] == self.lives[named[0]]
        if session and slot is not None and home and home[:2] == named and not (is_named_alive and slot == named[0]):
            self._settle(session, slot, self.now)

    @rule(slot=st.integers(0, 2))
    def leave(self, slot: int) -> None:
        """An endpoint ends."""
        self.it.forget(slot)
        self.lives[slot] += 1

    @rule(seconds=st.sampled_from([1.0, 30.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by, and somebody cleans up."""
        self.now += seconds
        self.it.expire(self.now)
        for session in [each for each, (_, _, at) in self.table.items() if self.now - at > 50.0]:
            del self.table[session]

    @invariant()
    def same(self) -> None:
        """Homes and counts."""
        for session in (b"1", b"2", b"3", b"4", b"5"):
            slot, life, at = self.table.get(session, (NOBODY, 0, 0.0))
            is_there = slot != NOBODY and life == self.lives[slot] and self.now - at <= 50.0
            assert self.it.home(session, self.now) == (slot if is_there else NOBODY)
        for slot in range(3):
            alive = [1 for at, life, _ in self.table.values() if at == slot and life == self.lives[slot]]
            assert self.it.at(slot) == len(alive)
        assert len(self.it) == len(self.table) <= 3


TestAgainstANaiveTable = AgainstANaiveTable.TestCase


@given(st.lists(st.tuples(st.sampled_from([b"1", b"2", b"3"]), st.integers(0, 9)), max_size=50))
def test_moves_are_counted(picks: list[tuple[bytes, int]]) -> None:
    """One for each pick of a known session elsewhere than before."""
    it, homes, moves = table(), dict[bytes, int](), 0
    for n, (session, slot) in enumerate(picks):
        it.picked(pick(session, str(n)), slot)
        moves += homes.get(session, slot) != slot
        homes[session] = slot
    assert it.moved == moves

"""The door of one pool: who goes in, who waits, who is refused, and what the refused are told."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.admission import (
    EXPIRED,
    FULL,
    MAX_RETRY_AFTER_S,
    MAX_TENANT_CHARS,
    NO_WAIT,
    SPARE_DEADLINES,
    Admission,
    Admit,
    Reject,
    Visitor,
    Wait,
)
from ext_proc.core.settings import AdmissionSettings, PrioritySettings

PRIORITIES = (
    PrioritySettings(name="high", max_wait_s=10.0),
    PrioritySettings(name="normal", max_wait_s=30.0),
    PrioritySettings(name="batch", kinds=frozenset({"embedding"}), max_wait_s=120.0),
    PrioritySettings(name="spare", max_wait_s=0.0),
)


def settings(**others: Any) -> AdmissionSettings:
    """Four priorities, `normal` is the usual one."""
    return AdmissionSettings(**{"max_in_flight": 1, "priorities": PRIORITIES, "usual_priority": 1, **others})


def visitor(priority: str = "", tenant: str = "", tokens: int = 100, kind: str = "chat", wait: str = "") -> Visitor:
    """A request with these headers."""
    named = {"x-priority": priority, "x-tenant": tenant, "x-max-wait-ms": wait}
    return Visitor(kind=kind, tokens=tokens, headers={name: value for name, value in named.items() if value})


def test_whose_priority_counts() -> None:
    """That of the route, the header's, the model's, the kind's, the usual one."""
    models = PrioritySettings(name="books", models=frozenset({"llama"}))
    admission = Admission(settings(priorities=(*PRIORITIES, models), route_priorities={"rule/free": 3}))

    def priority(route: str = "", header: str = "", model: str = "", kind: str = "") -> str:
        about = replace(visitor(header, kind=kind), route=route, model=model)
        return admission.settings.priorities[admission.priority_of(about)].name

    assert priority("rule/free", "high", "llama", "embedding") == "spare"
    assert priority("rule/other", "high", "llama", "embedding") == "high"
    assert priority("", "no such", "llama", "embedding") == "books"
    assert priority("", "", "qwen", "embedding") == "batch"
    assert priority() == "normal"


def test_headers_that_are_not_looked_at() -> None:
    """Clients choose neither priority nor tenant nor how long they wait."""
    admission = Admission(settings(priority_header="", tenant_header="", wait_header=""))
    about = visitor("high", tenant="a", wait="1")
    assert admission.priority_of(about) == 1
    answer = admission.arrive(about, 0.0, 0, is_free=False)
    assert isinstance(answer, Wait)
    assert (answer.waiter.tenant, answer.waiter.deadline) == ("", 30.0)


class Door:
    """An admission with numbers for tickets, whose places are all taken."""

    def __init__(self, **others: Any) -> None:
        self.admission = Admission(settings(**others))
        self.tickets = 0

    def arrive(self, who: Visitor, now: float = 0.0, *, is_free: bool = False) -> Admit | Wait | Reject:
        """Somebody comes."""
        self.tickets += 1
        return self.admission.arrive(who, now, self.tickets - 1, is_free=is_free)

    def waits(self, who: Visitor, now: float = 0.0) -> Wait:
        """Somebody comes and has to wait."""
        answer = self.arrive(who, now)
        assert isinstance(answer, Wait), answer
        return answer

    def drained(self, now: float = 0.0) -> list[int]:
        """The tickets of all, in order."""
        return [self.admission.admit_next(now).ticket for _ in range(len(self.admission))]


def test_goes_in_while_there_is_a_place() -> None:
    """Nobody waits while a place is free, and nobody passes one that waits."""
    door = Door()
    assert door.arrive(visitor(), is_free=True) == Admit()
    assert door.waits(visitor()).waiter.ticket == 1
    assert isinstance(door.arrive(visitor(), is_free=True), Wait)
    assert door.drained() == [1, 2]


@pytest.mark.parametrize(
    ("who", "priority"),
    [
        (visitor("high"), "high"),
        (visitor(), "normal"),
        (visitor("urgent"), "normal"),
        (visitor(kind="embedding"), "batch"),
        (visitor("high", kind="embedding"), "high"),
        (visitor("urgent", kind="embedding"), "batch"),
    ],
)
def test_priority(who: Visitor, priority: str) -> None:
    """The header says it; without one, or with an unknown word, the kind of the request; else the usual one."""
    door = Door()
    assert PRIORITIES[door.waits(who).waiter.priority].name == priority
    assert door.admission.waiting() == {**dict.fromkeys(("high", "normal", "batch", "spare"), 0), priority: 1}


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [
        ("", 30.0), ("1500", 1.5), ("99999", 30.0), ("-5", 30.0), ("1.5", 30.0), ("soon", 30.0), ("٣", 0.003),
        ("9" * 11, 30.0),
    ],
)  # fmt: skip
def test_deadline(wait: str, seconds: float) -> None:
    """The policy's, or what the request asks for where that is sooner; what is no number is not heard."""
    assert Door().waits(visitor(wait=wait), now=5.0).waiter.deadline == pytest.approx(5.0 + seconds)


@pytest.mark.parametrize("who", [visitor("spare"), visitor(wait="0")], ids=["priority", "request"])
def test_some_do_not_wait(who: Visitor) -> None:
    """Sheddable requests are refused at once when all is full, and let in when it is not."""
    door = Door()
    assert door.arrive(who) in (Reject(NO_WAIT, 1), Reject(NO_WAIT, 30))
    assert door.arrive(who, is_free=True) == Admit()
    assert len(door.admission) == 0
    assert door.admission.rejected == {FULL: 0, EXPIRED: 0, NO_WAIT: 1}


def test_a_tenants_name_is_bounded() -> None:
    """A header of any length is no key of ours."""
    assert len(Door().waits(visitor(tenant="t" * 60_000)).waiter.tenant) == MAX_TENANT_CHARS


def test_full() -> None:
    """One too many is refused, of equals the newcomer."""
    door = Door(max_waiting=2)
    door.waits(visitor())
    door.waits(visitor())
    answer = door.arrive(visitor())
    assert isinstance(answer, Reject)
    assert answer.why == FULL
    assert door.drained() == [0, 1]


def test_full_of_lower_ones() -> None:
    """The lowest priority's newest makes room; a newcomer that is lower still is refused."""
    door = Door(max_waiting=3)
    for name in ("batch", "normal", "batch"):
        door.waits(visitor(name))
    assert [each.ticket for each in door.waits(visitor("high")).shed] == [2]
    assert isinstance(door.arrive(visitor("batch")), Reject)
    assert [each.ticket for each in door.waits(visitor("high")).shed] == [0]
    assert isinstance(door.arrive(visitor("normal")), Reject)
    assert door.admission.rejected[FULL] == 4
    assert door.drained() == [3, 5, 1]


def test_full_of_one_tenant() -> None:
    """Who fills the queue makes room for others, until it is shared evenly."""
    door = Door(max_waiting=4)
    for _ in range(4):
        door.waits(visitor(tenant="big"))
    assert [each.ticket for each in door.waits(visitor(tenant="small")).shed] == [3]
    assert [each.ticket for each in door.waits(visitor(tenant="small")).shed] == [2]
    assert isinstance(door.arrive(visitor(tenant="small")), Reject)
    assert door.drained() == [0, 1, 4, 5]


def test_tokens_are_bounded_too() -> None:
    """What waits has a size; a request larger than all that may wait never does, and nobody goes for it."""
    door = Door(max_waiting_tokens=1_000)
    door.waits(visitor(tokens=600))
    door.waits(visitor("batch", tokens=300))
    door.waits(visitor("batch", tokens=100))
    assert isinstance(door.arrive(visitor("high", tokens=1_001)), Reject)
    assert isinstance(door.arrive(visitor("high", tokens=350)), Wait)
    assert door.admission.waiting_tokens == 950
    assert door.drained() == [4, 0]


def test_nobody_goes_for_one_that_cannot_stay() -> None:
    """When even all that may go would not be enough, all stay, in their old order."""
    door = Door(max_waiting_tokens=1_000)
    for name, tokens in (("normal", 700), ("batch", 100), ("batch", 100), ("batch", 100)):
        door.waits(visitor(name, tokens=tokens))
    assert isinstance(door.arrive(visitor("normal", tokens=400)), Reject)
    assert door.drained() == [0, 1, 2, 3]


def test_deadlines() -> None:
    """Each is due at its own; who is due is refused, oldest first, and others stay."""
    door = Door()
    door.waits(visitor("high"), now=0.0)
    door.waits(visitor("normal"), now=0.0)
    door.waits(visitor("high"), now=1.0)
    assert door.admission.expire(9.9) == []
    assert [each.ticket for each in door.admission.expire(11.0)] == [0, 2]
    assert [each.ticket for each in door.admission.expire(100.0)] == [1]
    assert door.admission.expire(1e9) == []
    assert door.admission.rejected[EXPIRED] == 3


def test_leaving() -> None:
    """A client that goes away leaves nothing."""
    door = Door()
    for _ in range(1_000):
        door.waits(visitor())
    assert all(door.admission.leave(ticket) for ticket in range(1_000))
    assert not door.admission.leave(0)
    assert (len(door.admission), door.admission.waiting_tokens, door.admission.left) == (0, 0, 1_000)
    assert door.admission.expire(1e9) == []


def test_deadlines_of_those_who_left_are_few() -> None:
    """However many come and go while one waits for long, no more is kept than for those who are there, and some."""
    door = Door()
    stays = door.waits(visitor("batch")).waiter.ticket
    for _ in range(5_000):
        assert door.admission.leave(door.waits(visitor()).waiter.ticket)
        assert len(door.admission._deadlines) <= 2 * 2 + SPARE_DEADLINES + 1
    assert [each.ticket for each in door.admission.expire(120.0)] == [stays]
    assert door.admission._deadlines == []


def test_retry_after_follows_the_rate() -> None:
    """It is the time until those before it have gone in: at two a second, 20 of the same or a higher priority take ten
    seconds, while a higher one has nobody before it."""
    door = Door()
    for n in range(1_000):
        assert door.arrive(visitor(), now=n * 0.5, is_free=True) == Admit()
    for _ in range(20):
        door.waits(visitor(), now=500.0)
    for _ in range(10):
        door.waits(visitor("batch"), now=500.0)
    assert door.admission.rate_per_s(500.0) == pytest.approx(2.0, rel=0.05)
    assert door.admission.retry_after_s(0, 500.0) == 1
    assert 9 <= door.admission.retry_after_s(1, 500.0) <= 11
    assert 14 <= door.admission.retry_after_s(2, 500.0) <= 17


def test_the_rate_is_right_from_the_start() -> None:
    """Ten in the first second are ten a second, not ten in the last ten seconds."""
    door = Door()
    for n in range(11):
        door.arrive(visitor(), now=100 + n / 10, is_free=True)
    assert door.admission.rate_per_s(101.0) == pytest.approx(10.0, rel=0.15)


def test_retry_after_without_any_rate() -> None:
    """Where nothing has gone in yet it is the longest wait, and never more than a minute."""
    admission = Admission(settings())
    assert [admission.retry_after_s(n, 0.0) for n in range(4)] == [10, 30, MAX_RETRY_AFTER_S, 1]


def test_other_settings_go_on_with_the_same_waiters() -> None:
    """Tickets, deadlines and order stay; a priority that is no more becomes the lowest."""
    door = Door()
    for name in ("normal", "batch", "high"):
        door.waits(visitor(name))
    changed = Admission(settings(priorities=(PRIORITIES[1], PRIORITIES[0]), usual_priority=0))
    changed.follow(door.admission)
    assert changed.waiting() == {"normal": 1, "high": 2}
    assert len(door.admission) == 0
    assert [changed.admit_next(0.0).ticket for _ in range(3)] == [0, 1, 2]
    door.waits(visitor("high"))
    changed.follow(door.admission)
    assert [each.ticket for each in changed.expire(10.0)] == [3]


COMERS = st.tuples(
    st.sampled_from(("high", "normal", "batch", "spare")), st.sampled_from("ab"), st.integers(1, 400), st.booleans()
)


@given(st.lists(st.one_of(COMERS, st.integers(0, 50), st.just("next")), max_size=60))
def test_everybody_has_one_fate(steps: list[Any]) -> None:
    """Whatever happens, everybody is let in, refused or gone, once; and the bounds hold all the time."""
    door = Door(max_waiting=5, max_waiting_tokens=1_000)
    there: set[int] = set()
    for now, step in enumerate(steps):
        for each in door.admission.expire(float(now)):
            there.remove(each.ticket)
        if isinstance(step, tuple):
            priority, tenant, tokens, is_free = step
            answer = door.arrive(visitor(priority, tenant, tokens), float(now), is_free=is_free)
            if isinstance(answer, Wait):
                assert not (is_free and not there)
                there -= {each.ticket for each in answer.shed}
                there.add(answer.waiter.ticket)
        elif step == "next" and there:
            there.remove(door.admission.admit_next(float(now)).ticket)
        elif isinstance(step, int):
            assert door.admission.leave(step) == (step in there)
            there.discard(step)
        assert len(door.admission) == len(there) <= 5
        assert door.admission.waiting_tokens <= 1_000
    assert set(door.drained()) == there


def test_whoever_was_tried_keeps_its_turn() -> None:
    """A newcomer that is refused after all, because making room for it is not enough, costs nobody what it had left."""
    door = Door(max_waiting_tokens=2_300)
    for tenant, tokens in (("a", 600), ("a", 600), ("b", 700)):
        door.waits(visitor("batch", tenant, tokens))
    assert door.admission.admit_next(0.0).ticket == 0
    door.waits(visitor("normal", "x", 1_000))
    assert isinstance(door.arrive(visitor("normal", "y", 2_000)), Reject)
    # What is left of the turn of `a` is not enough for its next one.
    assert door.drained() == [3, 2, 1]


_COMING = st.tuples(
    st.sampled_from("abc"), st.sampled_from([1, 300, 600, 700, 900]), st.sampled_from(["high", "normal", "batch"])
)


@given(st.lists(_COMING, max_size=14), st.integers(0, 6), st.sampled_from("abcd"), st.integers(1, 2_500))
def test_a_refused_newcomer_changes_nothing(
    there: list[tuple[str, int, str]], served: int, tenant: str, tokens: int
) -> None:
    """Who has no room, although others were tried for it, leaves the order of all as it would have been."""

    def door() -> Door:
        made = Door(max_waiting=9, max_waiting_tokens=3_000)
        for name, size, priority in there:
            made.arrive(visitor(priority, name, size))
        for _ in range(min(served, len(made.admission))):
            made.admission.admit_next(0.0)
        return made

    alone, asked = door(), door()
    if isinstance(asked.arrive(visitor("normal", tenant, tokens)), Reject):
        assert asked.admission.waiting_tokens == alone.admission.waiting_tokens
        assert asked.drained() == alone.drained()

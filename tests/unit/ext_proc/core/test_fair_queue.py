"""The queue: strict priorities, fair tenants, and who has to go when it is full."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core import fair_queue
from ext_proc.core.fair_queue import LEAST_TOKENS, QUANTUM_TOKENS, FairQueue, Waiter


def waiter(ticket: int, tenant: str = "a", tokens: int = 100, priority: int = 0) -> Waiter:
    """One that came at second `ticket`."""
    return Waiter(
        ticket=ticket, priority=priority, tenant=tenant, tokens=tokens, since=float(ticket), deadline=ticket + 30.0
    )


def queue(*waiters: Waiter, priorities: int = 3) -> FairQueue:
    """A queue with these in it."""
    made = FairQueue(priorities)
    for each in waiters:
        made.push(each)
    return made


def drained(made: FairQueue) -> list[Waiter]:
    """All, in the order in which they are served."""
    return [made.pop() for _ in range(len(made))]


def test_nobody_there() -> None:
    """An empty queue has nobody to serve, to remove or to push out."""
    made = queue()
    with pytest.raises(IndexError, match="nobody waits"):
        made.pop()
    assert made.remove(1) is None
    assert made.sheddable(waiter(1), in_tokens=False) is None
    assert (len(made), made.tokens, made.lengths()) == (0, 0, (0, 0, 0))


def test_priorities_are_strict() -> None:
    """A higher priority is served whatever has waited longer below it."""
    made = queue(waiter(0, priority=2), waiter(1, priority=1), waiter(2, priority=0), waiter(3, priority=2))
    assert made.lengths() == (1, 1, 2)
    assert [each.ticket for each in drained(made)] == [2, 1, 0, 3]


def test_tenants_take_turns_by_tokens() -> None:
    """A tenant with long prompts gets as many tokens as one with short ones, not as many requests."""
    long = [waiter(n, "long", QUANTUM_TOKENS) for n in range(10)]
    short = [waiter(n, "short", QUANTUM_TOKENS // 4) for n in range(10, 90)]
    order = drained(queue(*long, *short))
    served = Counter(each.tenant for each in order[:20])
    assert served == {"long": 4, "short": 16}


def test_short_prompts_are_not_for_nothing() -> None:
    """A tenant with a flood of one-word prompts lets another one in after four of them, not after a thousand."""
    flood = [waiter(n, "flood", 1) for n in range(20)]
    order = drained(queue(*flood, waiter(20, "late", 1), waiter(21, "late", 40)))
    assert [each.ticket for each in order[:7]] == [0, 1, 2, 3, 20, 21, 4]


def test_credit_ends_with_the_line() -> None:
    """Who had nothing waiting for a while has no claim to what it might have had."""
    made = queue(waiter(0, "a", 1), waiter(1, "b", QUANTUM_TOKENS), waiter(2, "b", QUANTUM_TOKENS))
    assert made.pop().ticket == 0
    made.push(waiter(3, "a", QUANTUM_TOKENS))
    made.push(waiter(4, "a", QUANTUM_TOKENS))
    assert [each.ticket for each in drained(made)] == [1, 3, 2, 4]


def test_places_for_some_only() -> None:
    """They go to the first one who may take them, a higher priority before a lower one; the others stand as before."""
    made = queue(waiter(0, priority=1), waiter(1, "b", priority=1), waiter(2, priority=2), waiter(3, priority=1))
    among = {1, 2, 3}
    assert [each.ticket for each in iter(lambda: made.pop_among(among.__contains__), None)] == [3, 1, 2]
    assert made.pop_among(among.__contains__) is None
    assert made.pop().ticket == 0


def test_tenants_share_places_for_some_by_tokens() -> None:
    """As much for each, in tokens, also for one that comes later; and nobody's turn at the other places is touched."""
    long = [waiter(n, "long", QUANTUM_TOKENS) for n in range(10)]
    short = [waiter(n, "short", QUANTUM_TOKENS // 4) for n in range(10, 50)]
    made = queue(*long, *short, waiter(50, "stays", 1))
    served = Counter(each.tenant for _ in range(20) if (each := made.pop_among(lambda ticket: ticket < 50)))
    assert served == {"long": 4, "short": 16}
    for number in range(60, 70):
        made.push(waiter(number, "late", QUANTUM_TOKENS))
    served = Counter(each.tenant for _ in range(12) if (each := made.pop_among(lambda ticket: ticket != 50)))
    assert served == {"long": 2, "short": 8, "late": 2}
    assert [made.pop().tenant for _ in range(6)] == ["long", "short", "short", "short", "short", "stays"]


def test_leaving_in_the_middle_of_a_turn() -> None:
    """When the one whose turn it is leaves, the next one's turn is worth a whole quantum."""
    made = queue(waiter(0, "a", 600), waiter(1, "a", 600), waiter(2, "b", 600), waiter(3, "b", 600), waiter(4, "c", 1))
    assert made.pop().ticket == 0
    assert made.remove(1) == waiter(1, "a", 600)
    assert made.remove(1) is None
    assert [each.ticket for each in drained(made)] == [2, 4, 3]


def test_a_newcomer_pushes_out_the_lowest_newest() -> None:
    """First the lowest priority goes, there the longest line's newest; equals only for a shorter line than theirs."""
    low = [waiter(0, "a", priority=2), waiter(1, "a", priority=2), waiter(2, "b", priority=2)]
    made = queue(*low, waiter(3, "c", priority=1))
    assert made.sheddable(waiter(9, "z", priority=0), in_tokens=False) == low[1]
    assert made.sheddable(waiter(9, "z", priority=1), in_tokens=False) == low[1]
    assert made.sheddable(waiter(9, "z", priority=2), in_tokens=False) == low[1]
    assert made.sheddable(waiter(9, "b", priority=2), in_tokens=False) is None
    assert made.sheddable(waiter(9, "a", priority=2), in_tokens=False) is None


def test_who_comes_back_stands_as_it_stood() -> None:
    """Taking out the last one of a line and putting it back changes neither whose turn it is nor what is left of it."""
    made = queue(waiter(0, "a", 500), waiter(1, "a", 500), waiter(2, "b", 500), waiter(3, "b", 500), waiter(4, "b", 24))
    assert made.pop().ticket == 0
    (last,) = (each for each in made if each.tenant == "a")
    assert made.sheddable(waiter(9, "z", 1), in_tokens=False) == waiter(4, "b", 24)
    made.take_last(last)
    made.push(last)
    assert [each.ticket for each in made] == [1, 2, 3, 4]
    assert [each.ticket for each in drained(made)] == [1, 2, 3, 4]


def test_who_does_not_come_back_loses_its_turn() -> None:
    """After `settle` the line is gone, and with it what was left of its turn."""
    made = queue(waiter(0, "a", 500), waiter(1, "a", 500), waiter(2, "b", 500), waiter(3, "b", 500))
    assert made.pop().ticket == 0
    (last,) = (each for each in made if each.tenant == "a")
    made.take_last(last)
    made.settle([last])
    made.push(waiter(5, "a", 500))
    assert [each.ticket for each in drained(made)] == [2, 3, 5]


def test_nobody_is_pushed_out_for_something_lower() -> None:
    """A newcomer below everybody else is the one to go."""
    made = queue(waiter(0, priority=1), waiter(1, priority=1), waiter(2, priority=1))
    assert made.sheddable(waiter(9, "z", priority=2), in_tokens=False) is None


def test_equals_are_compared_in_tokens_where_these_are_scarce() -> None:
    """A tenant gives way while it still has as much waiting as the newcomer's own; a single huge prompt stays."""
    made = queue(waiter(0, "huge", 50_000), *(waiter(n, "many", 100) for n in range(1, 20)))
    assert made.sheddable(waiter(99, "new", 200), in_tokens=True) is None
    assert made.sheddable(waiter(99, "new", 200), in_tokens=False) == waiter(19, "many", 100)
    made.remove(0)
    assert made.sheddable(waiter(99, "new", 1_800), in_tokens=True) == waiter(19, "many", 100)
    assert made.sheddable(waiter(99, "new", 1_801), in_tokens=True) is None


TENANTS = st.sampled_from("abc")
WAITERS = st.lists(st.tuples(TENANTS, st.integers(1, 5_000), st.integers(0, 2)), max_size=80)


@given(WAITERS)
def test_nobody_is_lost_or_served_twice(drawn: list[tuple[str, int, int]]) -> None:
    """Everybody is served once, priorities in order, and each tenant's requests in the order of their coming."""
    waiters = [waiter(n, tenant, tokens, priority) for n, (tenant, tokens, priority) in enumerate(drawn)]
    made = queue(*waiters)
    order = drained(made)
    assert sorted(each.ticket for each in order) == list(range(len(waiters)))
    assert [each.priority for each in order] == sorted(each.priority for each in order)
    lines = defaultdict(list)
    for each in order:
        lines[each.priority, each.tenant].append(each.ticket)
    assert all(tickets == sorted(tickets) for tickets in lines.values())
    assert (len(made), made.tokens, list(made)) == (0, 0, [])


@given(
    st.lists(st.integers(1, 8_000), min_size=30, max_size=30),
    st.lists(st.integers(1, 8_000), min_size=30, max_size=30),
    st.integers(0, 20),
)
def test_bound_of_fairness(first: list[int], second: list[int], start: int) -> None:
    """Over any time in which two tenants always have something waiting, neither gets more tokens than the other by more
    than the quantum and two of the longest prompts; a short prompt counts as much as `LEAST_TOKENS`."""
    made = queue(
        *(waiter(n, "a", tokens) for n, tokens in enumerate(first)),
        *(waiter(100 + n, "b", tokens) for n, tokens in enumerate(second)),
        *(waiter(200 + n, "c", 700) for n in range(30)),
    )
    bound = QUANTUM_TOKENS + 2 * max(LEAST_TOKENS, *first, *second)
    for _ in range(start):
        made.pop()
    got: Counter[str] = Counter()
    while {"a", "b"} <= {each.tenant for each in made}:
        each = made.pop()
        got[each.tenant] += max(LEAST_TOKENS, each.tokens)
        assert abs(got["a"] - got["b"]) <= bound


@given(st.lists(st.one_of(st.tuples(TENANTS, st.integers(1, 3_000), st.integers(0, 2)), st.integers(0, 60))))
def test_any_order_of_coming_leaving_and_serving(steps: list[tuple[str, int, int] | int]) -> None:
    """The counts are those of who is there, whatever happened before."""
    made = queue()
    there: dict[int, Waiter] = {}
    for ticket, step in enumerate(steps):
        if isinstance(step, tuple):
            there[ticket] = waiter(ticket, *step)
            made.push(there[ticket])
        elif step % 2 and there:
            highest = min(each.priority for each in there.values())
            served = made.pop()
            assert there.pop(served.ticket).priority == highest
        else:
            assert made.remove(step) == there.pop(step, None)
        assert list(made) == list(there.values())
        assert made.tokens == sum(each.tokens for each in there.values())
        assert made.lengths() == tuple(sum(each.priority == p for each in there.values()) for p in range(3))


@given(
    st.lists(
        st.one_of(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.integers(0, 1)), st.integers(0, 30)),
        max_size=120,
    ),
    st.booleans(),
)
def test_who_has_to_go(steps: list[tuple[str, int, int] | int], in_tokens: bool) -> None:
    """After any comings and goings: the lowest priority's tenant with most waiting, of equals the newest, its last."""
    made = queue(priorities=3)
    there: dict[int, Waiter] = {}
    for ticket, step in enumerate(steps):
        if isinstance(step, tuple):
            tenant, tokens, priority = step
            there[ticket] = waiter(ticket, tenant, tokens, priority + 1)
            made.push(there[ticket])
        elif there and step % 3:
            left = list(there)[step % len(there)]
            assert made.remove(left) == there.pop(left)
        elif there:
            del there[made.pop().ticket]
        expected = None
        if there:
            lowest = [each for each in there.values() if each.priority == max(one.priority for one in there.values())]
            sizes: Counter[str] = Counter()
            for each in lowest:
                sizes[each.tenant] += each.tokens if in_tokens else 1
            expected = max(
                (each for each in lowest if sizes[each.tenant] == max(sizes.values())), key=lambda each: each.ticket
            )
        assert made.sheddable(waiter(1_000), in_tokens=in_tokens) == expected


def test_many_tenants_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever invents tenants cannot make the queue slow: no search looks at all of them."""
    looks = 0
    size = fair_queue._Line.size

    def counted(line: fair_queue._Line, *, in_tokens: bool) -> int:
        nonlocal looks
        looks += 1
        return size(line, in_tokens=in_tokens)

    monkeypatch.setattr(fair_queue._Line, "size", counted)
    made = queue(*(waiter(number, f"tenant-{number}", priority=2) for number in range(2_000)))
    looks = 0
    for number in range(1_000):
        victim = made.sheddable(waiter(5_000), in_tokens=bool(number % 2))
        assert victim is not None
        assert victim.ticket == 1_999 - number
        made.remove(victim.ticket)
    assert looks < 20_000

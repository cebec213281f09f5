"""What a webhook is still to hear."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from control_plane.notices import kinds
from control_plane.notices.notice import Notice
from control_plane.notices.outbox import MAX_AGE_S, MAX_PENDING, Interest, Outbox
from tests.unit.control_plane.notices.making import notice


def over(one: Notice) -> Notice:
    """The word of its end."""
    return replace(one, ended_at=one.started_at + 60)


def drain(outbox: Outbox, now: float = 0.0) -> list[Notice]:
    """Delivers all that waits, one by one."""
    found: list[Notice] = []
    while batch := outbox.batch(1, now):
        outbox.delivered(batch, now)
        found += batch
    return found


def test_in_order() -> None:
    """Beginnings and ends as they came; what is not delivered is still there."""
    outbox, a, b = Outbox(Interest()), notice("a"), notice("b")
    for one in (a, b, over(a)):
        outbox.put(one, 0.0)
    assert outbox.batch(1, 0.0) == outbox.batch(1, 5.0) == (a,)
    assert outbox.batch(10, 5.0) == (a, b, over(a))
    assert drain(outbox) == [a, b, over(a)]
    assert outbox.pending == 0


def test_interest() -> None:
    """By kind and severity; the end of what was not told is not told."""
    outbox = Outbox(Interest(kinds=frozenset({kinds.POLICY}), severity=kinds.CRITICAL))
    mild, severe = notice("a"), notice("b", severity=kinds.CRITICAL)
    other = notice("c", severity=kinds.CRITICAL, kind=kinds.DISCOVERY)
    for one in (mild, severe, other, over(mild), over(severe), over(other)):
        outbox.put(one, 0.0)
    assert drain(outbox) == [severe, over(severe)]


def test_what_gets_worse() -> None:
    """It takes the place of what still waits, and is told again where it was told; who wants only the worst hears it
    for the first time."""
    mild = notice("a")
    worse = replace(mild, severity=kinds.CRITICAL, was=kinds.WARNING)
    outbox = Outbox(Interest())
    outbox.put(mild, 0.0)
    outbox.put(notice("b"), 0.0)
    outbox.put(worse, 0.0)
    assert drain(outbox) == [worse, notice("b")]
    outbox, strict = Outbox(Interest()), Outbox(Interest(severity=kinds.CRITICAL))
    outbox.put(mild, 0.0)
    strict.put(mild, 0.0)
    assert (drain(outbox), drain(strict)) == ([mild], [])
    outbox.put(worse, 0.0)
    strict.put(worse, 0.0)
    assert drain(outbox) == drain(strict) == [worse]


def test_worse_while_it_is_on_its_way() -> None:
    """What was sent is not what is true now: that is still sent."""
    outbox, mild = Outbox(Interest()), notice("a")
    outbox.put(mild, 0.0)
    batch = outbox.batch(1, 0.0)
    worse = replace(mild, severity=kinds.CRITICAL, was=kinds.WARNING)
    outbox.put(worse, 0.0)
    outbox.delivered(batch, 0.0)
    assert drain(outbox) == [worse]


def test_no_recoveries() -> None:
    """Who does not want to hear of ends hears of none, and of a second occurrence."""
    outbox, first = Outbox(Interest(recoveries=False)), notice("a")
    outbox.put(first, 0.0)
    outbox.put(over(first), 0.0)
    second = notice("a", started_at=2000.0)
    outbox.put(second, 0.0)
    assert drain(outbox) == [first, second]


def test_again_and_again() -> None:
    """Every so often, as long as it is open, without what it was before; not while one waits, and not to those who did
    not ask for it."""
    outbox, open_now = Outbox(Interest(resend_s=60)), (replace(notice("a"), was=kinds.INFO),)
    outbox.repeat(open_now, 0.0)
    assert outbox.pending == 0, "nothing was told that could be repeated"
    outbox.put(open_now[0], 0.0)
    outbox.repeat(open_now, 100.0)
    assert outbox.pending == 1
    assert drain(outbox, 100.0) == list(open_now)
    outbox.repeat(open_now, 159.0)
    assert outbox.pending == 0
    outbox.repeat(open_now, 160.0)
    assert drain(outbox, 160.0) == [notice("a")]
    once = Outbox(Interest())
    once.put(notice("a"), 0.0)
    drain(once)
    once.repeat(open_now, 1e6)
    assert once.pending == 0


def test_told_by_an_earlier_process() -> None:
    """Its end is told; who wants to hear again does so at once, the others do not."""
    for resend_s, heard in ((None, []), (60.0, [notice("a")])):
        outbox = Outbox(Interest(resend_s=resend_s))
        outbox.known([notice("a")])
        outbox.repeat([notice("a")], 5.0)
        assert drain(outbox, 5.0) == heard
        outbox.put(over(notice("a")), 6.0)
        assert drain(outbox, 6.0) == [over(notice("a"))]


def test_refused() -> None:
    """What the receiver will never take is gone, and so is its end; a repetition that is refused is not."""
    outbox, a, b = Outbox(Interest()), notice("a"), notice("b")
    for one in (a, over(a), b):
        outbox.put(one, 0.0)
    outbox.refused(outbox.batch(1, 0.0))
    assert drain(outbox) == [b]
    outbox.put(b, 1.0)
    outbox.refused(outbox.batch(1, 1.0))
    outbox.put(over(b), 2.0)
    assert drain(outbox) == [over(b)]


def test_too_many() -> None:
    """The oldest goes, with its end."""
    outbox = Outbox(Interest())
    many = [notice(str(number)) for number in range(MAX_PENDING)]
    outbox.put(many[0], 0.0)
    outbox.put(over(many[0]), 0.0)
    for one in many[1:]:
        outbox.put(one, 0.0)
    assert (outbox.pending, outbox.dropped) == (MAX_PENDING - 1, 2)
    assert drain(outbox) == many[1:]


def test_too_old() -> None:
    """An hour later nobody wants to know; the end of it is not told either."""
    outbox = Outbox(Interest())
    outbox.put(notice("a"), 0.0)
    outbox.put(notice("b"), 10.0)
    outbox.put(over(notice("a")), MAX_AGE_S)
    assert outbox.batch(10, MAX_AGE_S + 5) == (notice("b"),)
    assert outbox.dropped == 2


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "end", "deliver", "refuse", "repeat"]),
        st.integers(0, 4),
        st.sampled_from(kinds.SEVERITIES),
        st.floats(0.0, 2000.0),
    ),
    max_size=80,
)


@given(_STEPS, st.booleans(), st.sampled_from([None, 60.0]))
def test_whatever_happens(steps: list[tuple[str, int, str, float]], recoveries: bool, resend_s: float | None) -> None:
    """A receiver never hears of an end without the beginning, of none twice, and of nothing after the end; what waits
    is bounded."""
    outbox = Outbox(Interest(severity=kinds.WARNING, recoveries=recoveries, resend_s=resend_s))
    now, began, ended = 0.0, set[str](), set[str]()
    open_now: dict[int, Notice] = {}
    for step, number, severity, pause in steps:
        now += pause
        if step == "put":
            known = open_now.get(number)
            open_now[number] = replace(known, severity=severity) if known else notice(str(number), started_at=now)
            outbox.put(open_now[number], now)
        elif step == "end" and number in open_now:
            outbox.put(replace(open_now.pop(number), ended_at=now), now)
        elif step == "repeat":
            outbox.repeat(open_now.values(), now)
        elif step == "refuse":
            outbox.refused(outbox.batch(1, now))
        elif step == "deliver":
            batch = outbox.batch(number, now)
            outbox.delivered(batch, now)
            for one in batch:
                assert one.id not in ended
                if one.is_over:
                    assert recoveries
                    assert one.id in began
                    ended.add(one.id)
                began.add(one.id)
        assert outbox.pending <= MAX_PENDING

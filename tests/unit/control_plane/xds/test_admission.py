"""Newcomers come in at a bounded rate, and no host takes all the room."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.xds.admission import BURST, MAX_WAIT_S, NEWCOMERS_PER_S, Admission, Hosts


def test_a_normal_fleet_never_waits() -> None:
    """A whole burst at one moment goes on at once."""
    admission = Admission()
    assert [admission.wait_s(5.0) for _ in range(BURST)] == [0.0] * BURST


def test_a_thousand_are_in_within_five_seconds() -> None:
    """They are let in one after the other, evenly."""
    admission = Admission()
    waits = [admission.wait_s(0.0) for _ in range(1_000)]
    assert waits[BURST] == pytest.approx(1 / NEWCOMERS_PER_S)
    assert waits[-1] == pytest.approx((1_000 - BURST) / NEWCOMERS_PER_S)
    assert waits[-1] is not None
    assert waits[-1] < 5.0


def test_who_would_wait_too_long_is_sent_away() -> None:
    """And takes no turn from those who come later."""
    admission = Admission(per_s=1.0, burst=1, max_wait_s=2.0)
    assert [admission.wait_s(0.0) for _ in range(5)] == [0.0, 1.0, 2.0, None, None]
    assert admission.wait_s(1.0) == 2.0


def test_the_credit_does_not_grow_for_ever() -> None:
    """After a quiet day it is one burst, not a day's worth."""
    admission = Admission(per_s=1.0, burst=2)
    assert [admission.wait_s(86_400.0) for _ in range(3)] == [0.0, 0.0, 1.0]


@given(gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
def test_the_rate_is_kept(gaps: list[float]) -> None:
    """In no span of time do more begin than a burst and the rate allow."""
    admission = Admission(per_s=2.0, burst=3)
    now, begun = 0.0, []
    for gap in gaps:
        now += gap
        wait = admission.wait_s(now)
        assert wait is not None
        assert wait <= MAX_WAIT_S
        begun.append(now + wait)
    for first in range(len(begun)):
        for last in range(first, len(begun)):
            assert last - first + 1 <= 3 + (begun[last] - begun[first]) * 2.0 + 1e-6


def test_a_host_has_its_share() -> None:
    """The next one is refused until one leaves; another host is not concerned."""
    hosts = Hosts(most=2)
    assert [hosts.enter("a"), hosts.enter("a"), hosts.enter("a"), hosts.enter("b")] == [True, True, False, True]
    hosts.leave("a")
    assert hosts.enter("a")


def test_hosts_that_left_leave_nothing_behind() -> None:
    """A table of everybody who was ever there would grow for ever."""
    hosts = Hosts()
    hosts.enter("a")
    hosts.leave("a")
    with pytest.raises(KeyError):
        hosts.leave("a")

"""Who gets which version of the policy: at once, in stages, back again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.xds.rollout import Event, Pace, Rollout, Stage

AT_ONCE = Pace(staged=False)
STAGED = Pace(staged=True, soak_s=5.0, timeout_s=30.0)


def versions(rollout: Rollout) -> tuple[str, str]:
    """What the first groups have, and what the rest has."""
    return rollout.version_for(is_first=True), rollout.version_for(is_first=False)


def test_at_once() -> None:
    """Without groups that go first everybody has the new version, and nothing is under way."""
    rollout = Rollout("v1")
    rollout.offer("v2", AT_ONCE, 0.0)
    assert versions(rollout) == ("v2", "v2")
    assert (rollout.stage, rollout.deadline(), rollout.candidate) == (Stage.SETTLED, None, None)
    assert rollout.observe(all_accepted=True, now=100.0) is None


def test_promotion_after_the_soak() -> None:
    """First, all accept, the soak passes, and then the rest; the deadlines are told."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 10.0)
    assert versions(rollout) == ("v2", "v1")
    assert (rollout.stage, rollout.deadline()) == (Stage.FIRST, 40.0)
    assert rollout.observe(all_accepted=False, now=11.0) is None
    assert rollout.observe(all_accepted=True, now=12.0) is None
    assert (rollout.stage, rollout.deadline()) == (Stage.SOAKING, 17.0)
    assert rollout.observe(all_accepted=True, now=16.9) is None
    assert versions(rollout) == ("v2", "v1")
    assert rollout.observe(all_accepted=True, now=17.0) is Event.PROMOTED
    assert versions(rollout) == ("v2", "v2")
    assert (rollout.stage, rollout.failed) == (Stage.SETTLED, "")


def test_the_soak_begins_anew_when_somebody_lacks_it() -> None:
    """An Envoy that comes during the soak must accept, too, and the whole soak counts from then."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 0.0)
    rollout.observe(all_accepted=True, now=1.0)
    rollout.observe(all_accepted=False, now=4.0)
    assert rollout.stage is Stage.FIRST
    assert rollout.observe(all_accepted=True, now=5.0) is None
    assert rollout.observe(all_accepted=True, now=9.9) is None
    assert rollout.observe(all_accepted=True, now=10.0) is Event.PROMOTED


def test_timeout() -> None:
    """Not accepted in time: the first groups go back, the rest never saw it, and the reason is told."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 0.0)
    assert rollout.observe(all_accepted=False, now=29.9) is None
    assert rollout.observe(all_accepted=False, now=30.0) is Event.TIMED_OUT
    assert versions(rollout) == ("v1", "v1")
    assert (rollout.failed, rollout.reason) == ("v2", "not accepted within 30 s")


def test_the_timeout_is_for_lacking_it() -> None:
    """A soak may be longer than the timeout: one who comes late into it has his time, but all lacking counts together,
    so that one who comes and goes for ever ends it. Who lacked it is told."""
    rollout = Rollout("v1")
    rollout.offer("v2", Pace(staged=True, soak_s=600.0, timeout_s=30.0), 0.0)
    assert rollout.observe(all_accepted=True, now=10.0) is None
    assert rollout.observe(all_accepted=False, now=300.0) is None
    assert rollout.deadline() == 320.0
    assert rollout.observe(all_accepted=False, now=305.0) is None
    assert rollout.observe(all_accepted=True, now=310.0) is None
    assert rollout.deadline() == 910.0
    assert rollout.observe(all_accepted=False, now=400.0, lacking="canary-1") is None
    assert rollout.observe(all_accepted=False, now=409.9, lacking="canary-1") is None
    assert rollout.observe(all_accepted=False, now=410.0, lacking="canary-1") is Event.TIMED_OUT
    assert (versions(rollout), rollout.reason) == (("v1", "v1"), "not accepted within 30 s by canary-1")


def test_time_in_which_nobody_can_be_asked() -> None:
    """It does not count, neither for the timeout nor for the soak."""
    rollout = Rollout("v1")
    rollout.postpone(0.0)
    rollout.offer("v2", STAGED, 0.0)
    rollout.postpone(20.0)
    assert rollout.deadline() == 50.0
    rollout.observe(all_accepted=True, now=21.0)
    rollout.postpone(25.0)
    assert rollout.observe(all_accepted=True, now=26.0) is None
    assert rollout.observe(all_accepted=True, now=31.0) is Event.PROMOTED


def test_a_refusal_rolls_back() -> None:
    """One refusal is enough, also during the soak; a later one changes nothing."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 0.0)
    rollout.observe(all_accepted=True, now=1.0)
    rollout.refuse("no")
    assert versions(rollout) == ("v1", "v1")
    assert (rollout.failed, rollout.reason) == ("v2", "no")
    rollout.refuse("no again")
    assert rollout.reason == "no"


def test_a_newer_offer_takes_over() -> None:
    """The first groups go on to the newer one, which has its whole time; the rest has not moved."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 0.0)
    rollout.offer("v3", STAGED, 29.0)
    assert versions(rollout) == ("v3", "v1")
    assert rollout.observe(all_accepted=False, now=31.0) is None
    rollout.refuse("no")
    rollout.offer("v4", AT_ONCE, 40.0)
    assert (versions(rollout), rollout.failed, rollout.reason) == (("v4", "v4"), "", "")


def test_back_to_the_stable_version() -> None:
    """An edit that takes the candidate back is no rollout at all."""
    rollout = Rollout("v1")
    rollout.offer("v2", STAGED, 0.0)
    rollout.offer("v1", STAGED, 1.0)
    assert (versions(rollout), rollout.stage) == (("v1", "v1"), Stage.SETTLED)


def test_a_group_goes_back_on_its_own() -> None:
    """To the last version that it accepted as a whole, others stay; the next offer ends it."""
    rollout = Rollout("v1")
    rollout.group_accepted("edge", "v1")
    rollout.offer("v2", AT_ONCE, 0.0)
    assert rollout.go_back("edge", "v2", "cannot say")
    assert rollout.version_for(is_first=False, group="edge") == "v1"
    assert rollout.version_for(is_first=False, group="other") == "v2"
    assert (rollout.failed, rollout.reason) == ("v2", "cannot say")
    assert rollout.needed() == {"v1", "v2"}
    rollout.offer("v3", AT_ONCE, 1.0)
    assert rollout.version_for(is_first=False, group="edge") == "v3"


def test_nothing_to_go_back_to() -> None:
    """A group that never accepted anything, or nothing but what it refuses now, stays."""
    rollout = Rollout("v1")
    assert not rollout.go_back("edge", "v1", "no")
    rollout.group_accepted("edge", "v1")
    assert not rollout.go_back("edge", "v1", "no")
    assert rollout.version_for(is_first=False, group="edge") == "v1"


def test_what_was_accepted_before_the_restart() -> None:
    """Counts for every group until it has accepted something itself, and is kept."""
    rollout = Rollout("v2", restored="v1")
    assert rollout.needed() == {"v1", "v2"}
    assert rollout.last_accepted("edge") == "v1"
    rollout.group_accepted("edge", "v2")
    assert rollout.last_accepted("edge") == "v2"
    assert rollout.go_back("other", "v2", "no")
    assert rollout.version_for(is_first=False, group="other") == "v1"


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.booleans()),
        st.tuples(st.just("observe"), st.booleans()),
        st.tuples(st.just("refuse"), st.booleans()),
    ),
    max_size=30,
)


@given(STEPS, st.lists(st.floats(0.0, 20.0), min_size=30, max_size=30))
def test_promotion_only_after_all_have_accepted(steps: list[tuple[str, bool]], waits: list[float]) -> None:
    """Whatever happens: the rest gets a staged version only after acceptance without a break for the whole soak, and a
    rollback gives everybody exactly what the rest had."""
    rollout, now, number = Rollout("v0"), 0.0, 0
    accepted_since: float | None = None
    for (step, flag), wait in zip(steps, waits, strict=False):
        now += wait
        rest = rollout.version_for(is_first=False)
        candidate = rollout.candidate
        if step == "offer":
            number += 1
            rollout.offer(f"v{number}", STAGED if flag else AT_ONCE, now)
            accepted_since = None
            continue
        if step == "refuse":
            rollout.refuse("no")
            assert versions(rollout) == (rest, rest)
            continue
        accepted_since = (now if accepted_since is None else accepted_since) if flag else None
        event = rollout.observe(all_accepted=flag, now=now)
        if event is Event.PROMOTED:
            assert accepted_since is not None
            assert now - accepted_since >= STAGED.soak_s
            assert versions(rollout) == (candidate, candidate)
        else:
            assert rollout.version_for(is_first=False) == rest
        if candidate is None or rollout.candidate is None:
            accepted_since = None
        if event is Event.TIMED_OUT:
            assert versions(rollout) == (rest, rest)


@pytest.mark.parametrize("soak_s", [0.0, 1.0])
def test_nobody_connected_is_nobody_who_objects(soak_s: float) -> None:
    """With no Envoy in the first groups the soak alone is waited for."""
    rollout = Rollout("v1")
    rollout.offer("v2", Pace(staged=True, soak_s=soak_s, timeout_s=30.0), 0.0)
    first = rollout.observe(all_accepted=True, now=0.0)
    assert (first is Event.PROMOTED) == (soak_s == 0.0)
    assert first or rollout.observe(all_accepted=True, now=soak_s) is Event.PROMOTED

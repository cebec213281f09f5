"""What breaks when in a soak."""

import os
from itertools import pairwise

from bench.soak import FIRST_S, LAST_S, POD_STEPS, PROCESS_STEPS, SLOT_S, Tally, sample, schedule
from control_plane.drills.facts import Sent

PODS = ("10.0.0.1:80", "10.0.0.2:80")


def test_every_kind_has_its_turn() -> None:
    """All of them once in each round, one at a time, the last early enough; two minutes are one round."""
    kinds = len(POD_STEPS) + len(PROCESS_STEPS)
    duration_s = FIRST_S + SLOT_S * (2 * kinds - 1) + LAST_S
    steps = schedule(duration_s, 1, PODS)
    assert len(steps) == 2 * kinds
    both = sorted([one["fault"] for one in (*POD_STEPS, *PROCESS_STEPS)])
    for half in (steps[:kinds], steps[kinds:]):
        assert sorted(step.fault for step in half) == both
    assert all(later.at_s - step.at_s == SLOT_S > (step.for_s or 0.0) for step, later in pairwise(steps))
    assert steps[-1].at_s + LAST_S == duration_s
    assert all(bool(step.process) + bool(step.pods) + (step.fault == "breakPolicy") == 1 for step in steps)
    assert len(schedule(120.0, 1, PODS)) == kinds
    assert len({step.name for step in steps}) == len(steps)


def test_the_seed_decides() -> None:
    """The same seed breaks the same; another one something else."""
    assert schedule(600, 1, PODS) == schedule(600, 1, PODS) != schedule(600, 2, PODS)
    assert schedule(FIRST_S + LAST_S - 1, 1, PODS) == ()


def test_a_process_is_sampled() -> None:
    """Its memory and its descriptors; one that is gone has none."""
    found = sample(os.getpid(), 3.0)
    assert found is not None
    assert (found.at_s, found.rss_kib > 1024, found.fds > 2) == (3.0, True, True)
    assert sample(2**22 + 1, 3.0) is None


def test_what_became_of_requests() -> None:
    """A plain answer that broke off is a cut one; it, what is lost and what never ends is told with its reason."""
    tally = Tally()
    for one in (
        Sent(sent_s=0.0, end_s=1.0),
        Sent(sent_s=0.0, end_s=1.0, is_ok=False, is_left=True, status=0),
        Sent(sent_s=0.0, end_s=1.0, is_ok=False, status=502, error="broke off"),
        Sent(sent_s=0.0, end_s=1.0, is_ok=False, status=200),
        Sent(sent_s=0.0, end_s=1.0, is_ok=False, status=503, error="none"),
        Sent(sent_s=0.0, end_s=1.0, is_ok=False, is_timed_out=True, status=0, error="late"),
    ):
        tally.heard(one)
    assert tally.counts == {"sent": 6, "answered": 1, "left": 1, "lost": 1, "cut": 2, "unended": 1}
    assert tally.errors == {"502 broke off": 1, "503 none": 1, "0 late": 1}

"""Which picks move a session."""

import numpy as np
import pytest

from ext_proc.core.homing import Homing
from ext_proc.core.levels import Group
from ext_proc.core.sessions import NOBODY

A, B, C = 0, 1, 2
ME = b"me"


@pytest.mark.parametrize(
    ("home", "slot", "is_settled"),
    [(NOBODY, B, True), (A, A, True), (A, B, False), (C, B, True), (C, C, True)],
)
def test_who_moves(home: int, slot: int, is_settled: bool) -> None:
    """A session without a home, or whose home may not be named, whatever this one request may not have."""
    homing = Homing(ME, home)
    groups = [Group(0, np.array([A, B]), np.ones(2)), Group(1, np.array([C]), np.ones(1))]
    assert list(homing.watch(iter(groups))) == groups
    assert homing.settled(slot) == (ME if is_settled else b"")


@pytest.mark.parametrize(("home", "is_settled"), [(A, False), (B, False), (NOBODY, True), (C, True)])
def test_a_trial_moves_nobody(home: int, is_settled: bool) -> None:
    """Who is tried alone takes one request; but the session that was at home there before, and those that are new."""
    homing = Homing(ME, home)
    groups = [Group(0, np.array([C]), np.ones(1), on_trial=C), Group(0, np.array([A, B]), np.ones(2))]
    assert list(homing.watch(iter(groups))) == groups
    assert homing.settled(C) == (ME if is_settled else b"")


def test_a_trial_of_the_only_one() -> None:
    """There is nobody else to be at home."""
    homing = Homing(ME, A)
    assert len(list(homing.watch(iter([Group(0, np.array([C]), np.ones(1), on_trial=C)])))) == 1
    assert homing.settled(C) == ME

"""Faults as words."""

import pytest

from sim.virtual.faults import Fault, fault


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("slow:1:2", Fault("slow", 1, 0.0, None, 2.0)),
        ("slow:3:1.5@10..20.5", Fault("slow", 3, 10.0, 20.5, 1.5)),
        ("crash:2@0", Fault("crash", 2, 0.0)),
        ("restart:2@5..35", Fault("restart", 2, 5.0, 35.0)),
        ("hang:12@5..6", Fault("hang", 12, 5.0, 6.0)),
        ("fail:2:0.25", Fault("fail", 2, 0.0, None, 0.25)),
        ("fail:2:1@5..6", Fault("fail", 2, 5.0, 6.0, 1.0)),
    ],
)
def test_each_kind_is_read(text: str, read: Fault) -> None:
    """Every form of the module's text."""
    assert fault(text) == read
    assert str(read) == text


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "there are slow:POD:X"),
        ("explode:1@2", "there are slow:POD:X"),
        ("slow:1", "slow:POD:X or slow:POD:X@T..T"),
        ("slow:1:2@3", "slow:POD:X or slow:POD:X@T..T"),
        ("slow:1:0", "X is positive"),
        ("fail:1", "fail:POD:X or fail:POD:X@T..T"),
        ("fail:1:0.5@3", "fail:POD:X or fail:POD:X@T..T"),
        ("fail:1:1.5", "X is a share"),
        ("crash:1", "crash:POD@T"),
        ("crash:1@2..3", "crash:POD@T"),
        ("crash:1:2@3", "crash:POD@T"),
        ("restart:1@2", "restart:POD@T..T"),
        ("hang:1@2", "hang:POD@T..T"),
        ("hang:0@2..3", "pods count from 1"),
        ("hang:1@3..3", "the end comes after the start"),
        ("hang:1@3..3 ", "there are slow:POD:X"),
        ("hang:１@3..4", "there are slow:POD:X"),
    ],
)
def test_what_is_no_fault_says_how_it_is_written(text: str, named: str) -> None:
    """A wrong word is refused with the right form."""
    with pytest.raises(ValueError, match=r"POD|pods|share") as refused:
        fault(text)
    assert named in str(refused.value)


@pytest.mark.parametrize(
    ("one", "other", "do"),
    [
        ("restart:1@0..5", "restart:1@1..3", True),
        ("restart:1@5..9", "crash:1@2", True),
        ("crash:1@9", "restart:1@5..9", False),
        ("slow:1:2", "slow:1:3@5..6", True),
        ("slow:1:2@5..6", "slow:1:3@6..7", False),
        ("slow:1:2", "slow:2:2", False),
        ("slow:1:2", "crash:1@3", False),
    ],
)
def test_two_of_a_kind_at_a_time_contradict_each_other(one: str, other: str, do: bool) -> None:
    """The end of the first would end the second as well; a pod comes back from one restart only."""
    assert fault(one).contradicts(fault(other)) is fault(other).contradicts(fault(one)) is do

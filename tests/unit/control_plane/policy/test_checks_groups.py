"""Which listeners may meet on one Envoy; the findings themselves are in `test_groups.py`."""

import pytest

from control_plane.policy.checks_groups import do_groups_meet
from tests.unit.control_plane.compile.samples import listener


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [((), (), True), ((), ("a",), True), (("a",), (), True), (("a",), ("b",), False), (("a", "b"), ("b",), True)],
)
def test_meeting(one: tuple[str, ...], other: tuple[str, ...], meet: bool) -> None:
    """No groups are all groups."""
    assert do_groups_meet(listener(groups=one), listener(groups=other)) == meet

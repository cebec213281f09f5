"""The list of roots."""

from protos.roots import ROOTS


def test_each_root_is_named_once() -> None:
    """A name appears once, so that removing a line removes the root."""
    assert sorted(ROOTS) == sorted(set(ROOTS))

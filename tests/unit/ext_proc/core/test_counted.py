"""Prompts by their token ids."""

from ext_proc.core.counted import NOT_COUNTED, Counted


def test_how_many() -> None:
    """Four bytes each; an engine computes at least one."""
    assert Counted(bytes(12)).tokens == 3
    assert Counted(b"").tokens == 1


def test_whether_there_are_any() -> None:
    """An empty prompt has been counted, too."""
    assert Counted(b"").is_exact
    assert not Counted(None, "late").is_exact
    assert not NOT_COUNTED.is_exact

"""Replays in processes."""

import pytest

from control_plane.cli.playing import played, with_progress


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_keep_their_order(jobs: int) -> None:
    """Whichever process has them first."""
    assert list(played(abs, [-3, 2, -1], jobs)) == [3, 2, 1]


def test_a_failure_comes_out() -> None:
    """What a process raises is raised here."""
    with pytest.raises(ValueError, match="invalid literal"):
        list(played(int, ["1", "x"], 2))


def test_progress_passes_all_on(capsys: pytest.CaptureFixture[str]) -> None:
    """In order, with nothing on standard error where nobody looks."""
    assert list(with_progress(iter("abc"), 3, "counting", str.upper)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")

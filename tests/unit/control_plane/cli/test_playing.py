"""Replays in processes."""

import time
from multiprocessing import active_children

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


def test_who_stops_waits_for_nobody() -> None:
    """A process in the middle of a long replay is ended; none is left."""
    found = played(time.sleep, [0.0, 600.0, 600.0], 2)
    assert next(iter(found)) is None
    found.close()
    assert not active_children()


def test_progress_passes_all_on(capsys: pytest.CaptureFixture[str]) -> None:
    """In order, with nothing on standard error where nobody looks."""
    assert list(with_progress(iter("abc"), 3, "counting", str.upper)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")

"""When a webhook is tried again."""

import pytest

from control_plane.notices.pace import MAX_RETRY_S, MAX_TOLD_WAIT_S, is_final, told_wait_s, wait_s


def test_the_back_off() -> None:
    """It doubles to a bound, at least half of it certain."""
    assert [wait_s(failures, 1.0) for failures in (1, 2, 3, 6, 7, 8, 10_000)] == [1, 2, 4, 32, 60, 60, 60]
    assert [wait_s(failures, 0.0) for failures in (1, 2, 7)] == [0.5, 1, MAX_RETRY_S / 2]


def test_what_the_receiver_says() -> None:
    """It is obeyed where it is longer, up to a bound."""
    assert wait_s(1, 0.0, 30.0) == 30.0
    assert wait_s(7, 1.0, 3.0) == 60.0
    assert wait_s(1, 0.0, 1e9) == MAX_TOLD_WAIT_S


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("9" * 400, None),
        ("Wed, 21 Oct", None),
        ("²", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds in digits, and nothing else."""
    assert told_wait_s(header) == seconds


@pytest.mark.parametrize(
    ("status", "final"),
    [(301, True), (307, True), (400, True), (404, True), (410, True), (408, False), (425, False), (429, False),
     (500, False), (503, False), (599, False)],
)  # fmt: skip
def test_what_is_given_up(status: int, final: bool) -> None:
    """What says that the request is wrong; the rest is tried again."""
    assert is_final(status) is final

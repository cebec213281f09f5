"""Durations and sizes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.codes import Code
from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.units import ByteSize, Duration

DURATION = Duration("1ms", "24h")
SIZE = ByteSize("1B", "1GiB")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25), ("5s", 5.0), ("1m30s", 90.0), ("2h", 7200.0), ("1.5s", 1.5), ("0.001s", 0.001),
        ("1h1m1s1ms", 3661.001), ("90m", 5400.0), ("24h", 86400.0),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """Parts add up, exactly."""
    assert DURATION.parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "5.0",
        "s",
        "-5s",
        "+5s",
        "5 s",
        "5S",
        "5sec",
        "5s ",
        "5s\n",
        ".5s",
        "1e3s",
        "٥s",
        "12:30:00",
        "9" * 99 + "s",
    ],
)
def test_no_durations(text: str) -> None:
    """A number without a unit, a sign, a blank or another unit is no duration."""
    with pytest.raises(ValueRefusedError) as refused:
        DURATION.parse(text)
    assert refused.value.code == Code.NOT_A_VALUE


@pytest.mark.parametrize("text", ["0s", "0.5ms", "24h1ms", "999999999h"])
def test_durations_out_of_bounds(text: str) -> None:
    """Bounds are inclusive, and hold exactly."""
    with pytest.raises(ValueRefusedError) as refused:
        DURATION.parse(text)
    assert refused.value.code == Code.OUT_OF_BOUNDS


def test_missing_unit_is_named() -> None:
    """The commonest mistake has a hint that can be copied."""
    with pytest.raises(ValueRefusedError) as refused:
        DURATION.parse("250")
    assert refused.value.hint == "the unit is missing: 250s or 250ms?"


@given(st.integers(1, 86_400_000))
def test_shown_durations_are_read_again(milliseconds: int) -> None:
    """What is shown as a default is what a file would say."""
    seconds = milliseconds / 1000
    assert DURATION.parse(DURATION.plain(seconds)) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(("seconds", "text"), [(0.25, "250ms"), (1.0, "1s"), (600.0, "600s"), (1.5, "1.5s")])
def test_show_duration(seconds: float, text: str) -> None:
    """Below a second in milliseconds, else in seconds."""
    assert DURATION.plain(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("64KB", 64_000), ("16MiB", 16_777_216), ("1GiB", 2**30), ("3MB", 3_000_000)]
)
def test_sizes(text: str, size: int) -> None:
    """Units with an i are powers of 1,024, the others of 1,000."""
    assert SIZE.parse(text) == size


@pytest.mark.parametrize("text", ["", "16", "16M", "16Mi", "16mib", "1.5MiB", "-1B", "16 MiB", "KiB"])
def test_no_sizes(text: str) -> None:
    """A number without a unit or with half of one is no size."""
    with pytest.raises(ValueRefusedError) as refused:
        SIZE.parse(text)
    assert refused.value.code == Code.NOT_A_VALUE


@pytest.mark.parametrize("text", ["0B", "2GiB", "999999999999GiB"])
def test_sizes_out_of_bounds(text: str) -> None:
    """Bounds hold."""
    with pytest.raises(ValueRefusedError) as refused:
        SIZE.parse(text)
    assert refused.value.code == Code.OUT_OF_BOUNDS


@given(st.integers(1, 2**30))
def test_shown_sizes_are_read_again(size: int) -> None:
    """What is shown as a default is what a file would say."""
    assert SIZE.parse(SIZE.plain(size)) == size

"""Shares of requests."""

from decimal import Decimal

import pytest

from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.percentages import Share


@pytest.mark.parametrize(
    ("text", "value"), [("0", "0"), ("100", "100"), ("0.1%", "0.1"), ("33.3333", "33.3333"), ("100.0", "100")]
)
def test_shares(text: str, value: str) -> None:
    """Exact, with or without the sign."""
    assert Share().parse(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "-1", "1.", ".5", "1e1", "0.00001", "101", "100.0001", "half", "007"])
def test_what_is_no_share(text: str) -> None:
    """Nothing below 0, above 100, or finer than a millionth."""
    with pytest.raises(ValueRefusedError):
        Share().parse(text)


def test_shown() -> None:
    """As a number of JSON."""
    assert (Share().plain(Decimal(100)), Share().plain(Decimal("0.5"))) == (100, 0.5)
    assert Share().noun == "a percentage from 0 to 100"
    assert "percent" in Share().describe()
    assert Share().schema()["maximum"] == 100

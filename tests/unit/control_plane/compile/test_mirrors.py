"""Mirrors."""

from decimal import Decimal

import pytest

from control_plane.compile.mirrors import fraction, mirror_policies
from control_plane.policy.percentages import Percentage
from control_plane.policy.routing import Mirror


@pytest.mark.parametrize(
    ("percent", "numerator", "denominator"),
    [("100", 100, "HUNDRED"), ("1", 1, "HUNDRED"), ("0.5", 5_000, "MILLION"), ("0.0001", 1, "MILLION")],
)
def test_shares(percent: str, numerator: int, denominator: str) -> None:
    """Whole percent, or millionths; nothing is rounded."""
    assert fraction(Decimal(percent)) == {"numerator": numerator, "denominator": denominator}


def test_policies() -> None:
    """One for each mirror, in order; one without a share is left out."""
    mirrors = (
        Mirror(pool="a"),
        Mirror(pool="b", percentage=Percentage(value=Decimal(0))),
        Mirror(pool="c", percentage=Percentage(value=Decimal(5))),
    )
    found = mirror_policies(mirrors)
    assert [policy["cluster"] for policy in found] == ["pool/a", "pool/c"]
    assert found[1]["runtimeFraction"] == {"defaultValue": {"numerator": 5, "denominator": "HUNDRED"}}

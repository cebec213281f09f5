"""Quantiles by nearest rank: a value that occurred, without interpolation, the same on any machine. Pure."""

from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")


def nearest_rank(ordered: Sequence[Value], percent: int) -> Value:
    """The smallest of `ordered` (rising, at least one) that `percent` % of all, 1 to 100, are not above."""
    return ordered[-(-len(ordered) * percent // 100) - 1]

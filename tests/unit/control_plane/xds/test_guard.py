"""What takes away too much is refused."""

import pytest

from control_plane.xds.guard import Inventory, inventory, refusal


def of(pools: int, endpoints: int) -> Inventory:
    """So many pools, and so many endpoints in the first of them."""
    return inventory({f"p{n}": [f"e{e}" for e in range(endpoints if n == 0 else 0)] for n in range(pools)})


@pytest.mark.parametrize(
    ("old", "new", "percent", "why"),
    [
        (of(1, 10), of(1, 10), 50, ""),
        (of(1, 10), of(1, 5), 50, ""),
        (of(1, 10), of(1, 4), 50, "6 of 10 endpoints would be removed, more than 50 %"),
        (of(1, 10), of(1, 9), 0, ""),
        (of(1, 10), of(1, 7), 0, "3 of 10 endpoints would be removed, more than 0 %"),
        (of(1, 4), of(1, 2), 10, ""),
        (of(10, 1), of(4, 1), 50, "6 of 10 pools would be removed, more than 50 %"),
        (of(10, 10), of(1, 0), 100, ""),
        (of(1, 2), of(1, 0), 50, "all endpoints would be removed"),
        (of(1, 0), of(1, 0), 50, ""),
        (of(0, 0), of(5, 5), 0, ""),
    ],
)
def test_refusal(old: Inventory, new: Inventory, percent: int, why: str) -> None:
    """By share, from three on; an empty result always; at 100 never."""
    assert refusal(old, new, percent) == why


def test_replaced_endpoints_count_as_removed() -> None:
    """Ten others in place of ten are ten removals: nothing that was there is there."""
    old, new = inventory({"p": [f"a{n}" for n in range(10)]}), inventory({"p": [f"b{n}" for n in range(10)]})
    assert refusal(old, new, 50) == "10 of 10 endpoints would be removed, more than 50 %"


def test_an_endpoint_that_moves_to_another_pool_is_removed_from_the_first() -> None:
    """Identity is pool and address together: requests for the first pool lose it."""
    old, new = inventory({"p": ["a", "b", "c"], "q": []}), inventory({"p": [], "q": ["a", "b", "c"]})
    assert refusal(old, new, 50)

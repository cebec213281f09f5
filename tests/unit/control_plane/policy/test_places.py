"""Places as `distribute` names them."""

import pytest

from control_plane.policy.places import covers, path_of


@pytest.mark.parametrize(
    ("pattern", "place", "expected"),
    [
        ("*", "us-east/a", True),
        ("*", "", True),
        ("us-east", "us-east/a", True),
        ("us-east/*", "us-east/a", True),
        ("us-east/*/*", "us-east/a", True),
        ("us-east/*", "us-east", True),
        ("us-east/a", "us-east/a", True),
        ("us-east/a", "us-east/ab", False),
        ("us-east", "us-east-2/a", False),
        ("us-east/a", "us-east", False),
        ("us-east", "", False),
        ("us-east", "*", False),
        ("a", "us-east/a", False),
        ("us-east/*", "us-east/*", True),
    ],
)
def test_covers(pattern: str, place: str, expected: bool) -> None:
    """A region means its zones, a zone itself, a star everything; a longer name is another place."""
    assert covers(pattern, place) is expected


@pytest.mark.parametrize(("region", "zone", "place"), [("r", "z", "r/z"), ("r", "", "r"), ("", "z", "z"), ("", "", "")])
def test_path(region: str, zone: str, place: str) -> None:
    """What there is of region and zone."""
    assert path_of(region, zone) == place

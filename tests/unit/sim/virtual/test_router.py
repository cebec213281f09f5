"""What routers are asked with."""

from sim.virtual.router import RoutedRequest


def test_the_last_token_is_always_computed() -> None:
    """What is uncached counts whole blocks, and is never nothing."""
    request = RoutedRequest("r", (1, 2), 512, 1_024)
    assert [request.uncached(matched) for matched in (0, 1, 2)] == [1_024, 512, 1]

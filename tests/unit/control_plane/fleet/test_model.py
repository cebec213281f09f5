"""Fleet values."""

from control_plane.fleet.model import Endpoint, Health, static_fleet
from control_plane.policy.model import Pool, StaticEndpoint
from tests.unit.control_plane.compile.samples import policy


def test_static_fleet_is_what_the_policy_lists() -> None:
    """Every listed endpoint is in its pool, healthy, with all that the policy says of it."""
    listed = StaticEndpoint(address="10.0.0.1:8000", region="r", zone="z", weight=7, labels={"gpu": "h100"})
    fleet = static_fleet(policy(pools=(Pool(name="a", endpoints=(listed,)),)))
    assert fleet.pools == {
        "a": (
            Endpoint(
                pool="a",
                address="10.0.0.1:8000",
                region="r",
                zone="z",
                weight=7,
                labels={"gpu": "h100"},
                health=Health.HEALTHY,
            ),
        )
    }

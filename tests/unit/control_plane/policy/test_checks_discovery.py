"""Rules about the items of `endpoints`; their findings are tested with the items (`test_discovery.py`)."""

from control_plane.policy.checks_discovery import are_places_known
from control_plane.policy.model import FileEndpoints, Pool, StaticEndpoint


def test_only_a_file_knows_places_of_its_own() -> None:
    """Addresses and names stand where the policy says."""
    static = StaticEndpoint(address="10.0.0.1:1")
    assert are_places_known(Pool(name="a", endpoints=(static,)))
    assert not are_places_known(Pool(name="a", endpoints=(static, FileEndpoints(file="t"))))

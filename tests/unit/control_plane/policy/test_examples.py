"""The examples are policies, without a warning, on addresses of this machine."""

import ipaddress
from pathlib import Path

import pytest

from control_plane.policy import load_bytes

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    """The ones that the documentation speaks of."""
    assert {"minimal.yaml", "canary.yaml", "two-zones.yaml"} <= {path.name for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples(path: Path) -> None:
    """Each loads without any finding and needs nothing outside this machine."""
    result = load_bytes(path.read_bytes(), path.name)
    assert result.diagnostics == ()
    assert result.document is not None
    policy = result.document.policy
    hosts = [listener.address.host for listener in policy.listeners]
    hosts += [endpoint.address.rpartition(":")[0] for pool in policy.pools for endpoint in pool.static_endpoints]
    assert all(ipaddress.ip_address(host).is_loopback for host in hosts)

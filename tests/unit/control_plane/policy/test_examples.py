"""The examples are policies, without a warning, on addresses of this machine."""

import ipaddress
import itertools
import re
from pathlib import Path

import pytest

from control_plane.cli.pods import REPLAY_OFFSET
from control_plane.policy import load_bytes
from sim.traces.generate import KINDS

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


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_commands_of_examples(path: Path) -> None:
    """The simulated pods leave kvpilot's own ports alone, and what is replayed can be made."""
    head = path.read_text(encoding="utf-8").partition("kvpilot: v1")[0]
    for words in (line.split() for line in head.splitlines() if "kvpilot pods" in line):
        said = dict(itertools.pairwise(words))
        count, first, events = (int(said.get(f"--{name}", 0)) for name in ("count", "base-port", "kv-events"))
        starts = [first] if not events else [first, events, events + REPLAY_OFFSET]
        taken = {start + number for start in starts for number in range(count)}
        assert not taken & {8080, 9002, 9909, 18000}
    assert set(re.findall(r"generate:(\w+)", head)) <= set(KINDS)

"""Several pods together."""

import aiohttp
import pytest

from sim.fleet import SimFleet, pod_specs
from sim.pod import Pod, PodSpec
from tests.unit.sim.live import FAST


async def health(address: str) -> int:
    """The status of a health check."""
    async with aiohttp.ClientSession() as client, client.get(f"http://{address}/health") as answer:
        return answer.status


async def test_a_fleet_starts_and_ends_together() -> None:
    """Each pod has its own address, and none answers afterwards."""
    async with SimFleet(pod_specs(3, profile=FAST, zones=("a", "b"))) as fleet:
        addresses = fleet.addresses
        assert len(set(addresses)) == len(fleet) == 3
        assert [await health(address) for address in addresses] == [200, 200, 200]
        assert [pod.spec.zone for pod in fleet] == ["a", "b", "a"]
        assert fleet["pod-1"].address == addresses[1]
    for address in addresses:
        with pytest.raises(aiohttp.ClientConnectorError):
            await health(address)


async def test_a_fleet_starts_whole_or_not_at_all() -> None:
    """When one port is taken, the pods that had started are ended again."""
    async with Pod(PodSpec(name="first", models=("m",))) as taken:
        port = int(taken.address.rpartition(":")[2])
        fleet = SimFleet([PodSpec(name="a", models=("m",)), PodSpec(name="b", models=("m",), port=port)])
        with pytest.raises(OSError, match="in use"):
            await fleet.__aenter__()
        assert not any(pod.is_running for pod in fleet)


def test_names_are_unique() -> None:
    """Two pods with one name would be one in every table."""
    with pytest.raises(ValueError, match="same name"):
        SimFleet([PodSpec(name="a", models=("m",)), PodSpec(name="a", models=("m",))])


def test_ports_follow_the_base_port() -> None:
    """Data ports count up from the base, control ports are the choice of the OS; impossible ones are refused."""
    specs = pod_specs(2, base_port=9000)
    assert [(spec.port, spec.control_port) for spec in specs] == [(9000, 0), (9001, 0)]
    with pytest.raises(ValueError, match="do not exist"):
        pod_specs(2, base_port=65_535)
    with pytest.raises(ValueError, match="at least one"):
        pod_specs(0)

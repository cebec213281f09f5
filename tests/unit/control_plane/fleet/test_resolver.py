"""Asking as the machine does."""

from pathlib import Path

import pytest

from control_plane.fleet.records import Addresses, LookupFailedError, NoRecordsError, RecordType
from control_plane.fleet.resolver import HOSTS_TTL_S, SystemResolver, hosts_entries
from tests.kit.name_server import Zone, name_server

HOSTS = """
127.0.0.1 localhost
10.0.0.1  Pod-A pod # the first
10.0.0.2  pod
fd00::1   pod
nonsense  pod
10.0.0.9
"""


def test_hosts_file() -> None:
    """All addresses of a name, whatever its case and a dot at its end; what cannot be read is skipped."""
    assert list(hosts_entries(HOSTS, "POD.")) == ["10.0.0.1", "10.0.0.2", "fd00::1"]
    assert list(hosts_entries(HOSTS, "pod-a")) == ["10.0.0.1"]
    assert list(hosts_entries(HOSTS, "10.0.0.1")) == []


async def test_the_hosts_file_comes_first(tmp_path: Path) -> None:
    """Nobody is asked for its names; without records of a family there are none."""
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    resolver = SystemResolver(hosts=hosts, configuration=tmp_path / "missing")
    assert await resolver.addresses("pod", RecordType.A) == Addresses(("10.0.0.1", "10.0.0.2"), HOSTS_TTL_S)
    with pytest.raises(NoRecordsError):
        await resolver.addresses("pod-a", RecordType.AAAA)


async def test_localhost_needs_no_name_server(tmp_path: Path) -> None:
    """Also where there is no hosts file."""
    resolver = SystemResolver(hosts=tmp_path / "missing", configuration=tmp_path / "missing")
    assert (await resolver.addresses("localhost", RecordType.A)).addresses == ("127.0.0.1",)
    assert (await resolver.addresses("pod.localhost.", RecordType.AAAA)).addresses == ("::1",)


async def test_no_name_server_at_all(tmp_path: Path) -> None:
    """A machine without resolv.conf: a failure in words, no exception of a library."""
    resolver = SystemResolver(hosts=tmp_path / "missing", configuration=tmp_path / "missing")
    with pytest.raises(LookupFailedError, match=r"cannot open .*missing"):
        await resolver.addresses("vllm.test", RecordType.A)


async def test_search_domains_and_ndots(tmp_path: Path) -> None:
    """Short names are searched first, names with enough dots and absolute ones are asked as they are."""
    zone = Zone({("vllm.ns.test", "A"): ["10.0.0.1"], ("a.b.test", "A"): ["10.0.0.2"]})
    async with name_server(zone) as server:
        configuration = tmp_path / "resolv.conf"
        configuration.write_text(f"nameserver {server.host}\nsearch other.test ns.test\noptions ndots:2\n")
        resolver = SystemResolver(configuration=configuration, hosts=tmp_path / "missing", port=server.port)
        assert (await resolver.addresses("vllm", RecordType.A)).addresses == ("10.0.0.1",)
        assert [name for _, name, _ in zone.questions] == ["vllm.other.test", "vllm.ns.test"]
        zone.questions.clear()
        assert (await resolver.addresses("a.b.test", RecordType.A)).addresses == ("10.0.0.2",)
        assert [name for _, name, _ in zone.questions] == ["a.b.test"]
        zone.questions.clear()
        with pytest.raises(NoRecordsError, match="no such name"):
            await resolver.addresses("vllm.", RecordType.A)
        assert [name for _, name, _ in zone.questions] == ["vllm"]


async def test_one_name_server_alone(tmp_path: Path) -> None:
    """The machine's own settings and the hosts file do not count then."""
    zone = Zone({("localhost", "A"): ["10.0.0.5"]})
    async with name_server(zone) as server:
        assert (await SystemResolver(server).addresses("localhost", RecordType.A)).addresses == ("10.0.0.5",)


async def test_silence_ends_by_the_clock() -> None:
    """A name server that never answers is a failure after the bound."""
    async with name_server(Zone(silent={"vllm.test"})) as server:
        with pytest.raises(LookupFailedError, match=r"no answer within 0\.2 s"):
            await SystemResolver(server, timeout_s=0.2).addresses("vllm.test", RecordType.A)


async def test_a_name_server_that_is_not_there() -> None:
    """A refused connection is a failure, too."""
    async with name_server(Zone()) as server:
        pass
    with pytest.raises(LookupFailedError):
        await SystemResolver(server, timeout_s=0.2).services("_http._tcp.vllm.test")

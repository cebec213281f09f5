"""Host names and SRV records as sources, against a real name server on loopback and a moved clock."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from control_plane.fleet.dns import NameSource, ServiceSource
from control_plane.fleet.resolver import SystemResolver
from control_plane.policy.discovery import DnsEndpoints, HostPort, SrvEndpoints
from tests.kit.name_server import Zone, name_server
from tests.unit.control_plane.fleet.check_source import Reported, check_source
from tests.unit.control_plane.fleet.moved_time import MovedTime

NAME = "vllm.test"
SERVICE = "_http._tcp.vllm.test"


@asynccontextmanager
async def followed(zone: Zone, item: DnsEndpoints | SrvEndpoints) -> AsyncIterator[tuple[Reported, MovedTime]]:
    """The item's source, followed; ended at the exit."""
    time, reported, rng = MovedTime(), Reported(), random.Random(1)
    async with name_server(zone) as server:
        resolver = SystemResolver(server)
        source = (
            NameSource(item, resolver, rng, time.sleep)
            if isinstance(item, DnsEndpoints)
            else ServiceSource(item, resolver, rng, time.sleep)
        )
        task = asyncio.create_task(source.follow(reported))
        try:
            yield reported, time
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def name(dns_lookup_family: str = "ALL") -> DnsEndpoints:
    """The item for `NAME`."""
    return DnsEndpoints(dns=HostPort(NAME, 8000), dns_lookup_family=dns_lookup_family)


def service() -> SrvEndpoints:
    """The item for `SERVICE`."""
    return SrvEndpoints(dns_srv=SERVICE)


class NameWorld:
    """The zone as the suite of all sources changes it."""

    def __init__(self, zone: Zone, kind: str) -> None:
        """`kind`: A or SRV."""
        self.zone = zone
        self.kind = kind

    def has(self, *addresses: str) -> None:
        """Answers with these."""
        self.zone.rcode.clear()
        hosts = [address.partition(":")[0] for address in addresses]
        self.zone.records = {(NAME, "A"): hosts}
        if self.kind == "SRV":
            self.zone.records = {(f"{host}.pod.test", "A"): [host] for host in hosts}
            self.zone.records[SERVICE, "SRV"] = [f"0 0 8000 {host}.pod.test." for host in hosts]

    def is_empty(self) -> None:
        """The name is there and has no such records."""
        self.zone.records = {(NAME, "TXT"): ["x"], (SERVICE, "TXT"): ["x"]}

    def is_broken(self) -> None:
        """The name server cannot say."""
        self.zone.rcode = {(name, kind): "SERVFAIL" for name in (NAME, SERVICE) for kind in ("A", "AAAA", "SRV")}


@pytest.mark.parametrize("kind", ["A", "SRV"])
async def test_the_suite_of_all_sources(kind: str) -> None:
    """Both pass it."""
    zone, time, rng = Zone(), MovedTime(), random.Random(1)
    async with name_server(zone) as server:
        resolver = SystemResolver(server)
        source = (
            NameSource(name(), resolver, rng, time.sleep)
            if kind == "A"
            else ServiceSource(service(), resolver, rng, time.sleep)
        )
        await check_source(source, NameWorld(zone, kind), time)


async def test_every_address_of_both_families_is_an_endpoint() -> None:
    """A and AAAA records, each with the item's port, in Envoy's text, once each."""
    zone = Zone({(NAME, "A"): ["10.0.0.2", "10.0.0.1"], (NAME, "AAAA"): ["FD00::1", "fd00:0::1"]})
    async with followed(zone, name()) as (reported, _):
        assert await reported.addresses() == ["10.0.0.1:8000", "10.0.0.2:8000", "[fd00::1]:8000"]


@pytest.mark.parametrize(
    ("family", "expected", "asked"),
    [
        ("V4_ONLY", ["10.0.0.1:8000"], {"A"}),
        ("V6_ONLY", ["[fd00::1]:8000"], {"AAAA"}),
        ("V4_PREFERRED", ["10.0.0.1:8000"], {"A", "AAAA"}),
    ],
)
async def test_families(family: str, expected: list[str], asked: set[str]) -> None:
    """Only the wanted family counts, and only what can count is asked for."""
    zone = Zone({(NAME, "A"): ["10.0.0.1"], (NAME, "AAAA"): ["fd00::1"]})
    async with followed(zone, name(dns_lookup_family=family)) as (reported, _):
        assert await reported.addresses() == expected
        assert {kind for _, _, kind in zone.questions} == asked


async def test_a_host_with_both_counts_once() -> None:
    """Unless the policy says otherwise: twice it would get twice the load, and half of its cache would be known."""
    zone = Zone({(NAME, "A"): ["10.0.0.1"], (NAME, "AAAA"): ["fd00::1"]})
    async with followed(zone, DnsEndpoints(dns=HostPort(NAME, 8000))) as (reported, _):
        assert await reported.addresses() == ["10.0.0.1:8000"]


async def test_v4_preferred_takes_v6_where_there_is_no_v4() -> None:
    """The second choice is better than nobody."""
    zone = Zone({(NAME, "AAAA"): ["fd00::1"]})
    async with followed(zone, name(dns_lookup_family="V4_PREFERRED")) as (reported, _):
        assert await reported.addresses() == ["[fd00::1]:8000"]


async def test_asked_again_when_the_time_to_live_is_over() -> None:
    """Not before, and then the new answer counts."""
    zone = Zone({(NAME, "A"): ["10.0.0.1"]}, ttl_s=30)
    async with followed(zone, name()) as (reported, time):
        assert await reported.addresses() == ["10.0.0.1:8000"]
        wait = await time.asleep()
        assert 30 <= wait <= 33
        zone.records = {(NAME, "A"): ["10.0.0.1", "10.0.0.7"]}
        asked = len(zone.questions)
        time.move(29)
        await asyncio.sleep(0)
        assert len(zone.questions) == asked
        time.move(4)
        assert await reported.addresses() == ["10.0.0.1:8000", "10.0.0.7:8000"]


async def test_aliases_are_followed_and_their_time_counts() -> None:
    """A CNAME leads to addresses."""
    zone = Zone({(NAME, "CNAME"): ["pods.test."], ("pods.test", "A"): ["10.0.0.1"]}, ttl_s=7)
    async with followed(zone, name(dns_lookup_family="V4_ONLY")) as (reported, time):
        assert await reported.addresses() == ["10.0.0.1:8000"]
        assert 7 <= await time.asleep() <= 7.7


async def test_a_long_answer_comes_over_tcp() -> None:
    """Hundreds of addresses do not fit a datagram: the server says so, and is asked again over TCP."""
    hosts = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(1_000)]
    zone = Zone({(NAME, "A"): hosts}, truncate_udp=True)
    async with followed(zone, name(dns_lookup_family="V4_ONLY")) as (reported, _):
        assert await reported.addresses() == sorted(f"{host}:8000" for host in hosts)
        assert [transport for transport, _, _ in zone.questions] == ["udp", "tcp"]


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda zone: zone.records.clear(), "no such name"),
        (
            lambda zone: zone.rcode.update({(NAME, "A"): "SERVFAIL", (NAME, "AAAA"): "SERVFAIL"}),
            "SERVFAIL from 127.0.0.1:",
        ),
        (lambda zone: zone.rcode.update({(NAME, "A"): "REFUSED", (NAME, "AAAA"): "REFUSED"}), "REFUSED"),
        (lambda zone: zone.records.update({(NAME, "A"): []}), "no A records; no AAAA records"),
        (lambda zone: zone.records.update({(NAME, "A"): ["0.0.0.0"]}), "only 0.0.0.0"),
    ],
    ids=["nxdomain", "servfail", "refused", "empty", "sinkhole"],
)
async def test_failures_are_told_and_tried_again_with_longer_waits(break_it: object, words: str) -> None:
    """Each says what happened; the waits double up to their bound; a good answer ends it."""
    assert callable(break_it)
    zone = Zone({(NAME, "A"): ["10.0.0.1"]})
    async with followed(zone, name()) as (reported, time):
        await reported.addresses()
        break_it(zone)
        time.move(await time.asleep())
        waits = []
        for _ in range(7):
            assert words in await reported.error()
            waits.append(await time.asleep())
            time.move(waits[-1])
        await reported.error()
        assert all(least <= wait <= 1.1 * least for wait, least in zip(waits, [1, 2, 4, 8, 16, 30, 30], strict=True)), (
            waits
        )
        zone.records, zone.rcode = {(NAME, "A"): ["10.0.0.2"]}, {}
        time.move(await time.asleep())
        assert await reported.addresses() == ["10.0.0.2:8000"]


async def test_a_family_that_fails_keeps_its_addresses_while_the_other_answers() -> None:
    """And the operator is told which one; it is tried again soon."""
    zone = Zone({(NAME, "A"): ["10.0.0.1"], (NAME, "AAAA"): ["fd00::1"]})
    async with followed(zone, name()) as (reported, time):
        await reported.addresses()
        zone.rcode = {(NAME, "AAAA"): "SERVFAIL"}
        zone.records[NAME, "A"] = ["10.0.0.2"]
        time.move(await time.asleep())
        assert await reported.addresses() == ["10.0.0.2:8000", "[fd00::1]:8000"]
        assert reported.notes[-1].startswith("AAAA: SERVFAIL from")
        assert await time.asleep() < 2


async def test_a_family_that_went_goes() -> None:
    """ "No records" is an answer as long as the other family has some."""
    zone = Zone({(NAME, "A"): ["10.0.0.1"], (NAME, "AAAA"): ["fd00::1"]})
    async with followed(zone, name()) as (reported, time):
        await reported.addresses()
        del zone.records[NAME, "AAAA"]
        time.move(await time.asleep())
        assert await reported.addresses() == ["10.0.0.1:8000"]


async def test_a_question_that_is_cancelled_leaves_nothing_open() -> None:
    """A pool is taken out of the policy while its name server is silent; a socket left open would be a warning."""
    zone = Zone(silent={NAME})
    async with followed(zone, name()):
        async with asyncio.timeout(5):
            while len(zone.questions) < 2:
                await asyncio.sleep(0.001)
    gc.collect()


async def test_service_records_bring_port_and_weight() -> None:
    """Each record is an endpoint, or several if its target has several addresses; a weight of 0 beside others is the
    least there is. A target with IPv4 and IPv6 is one host."""
    zone = Zone(
        {
            (SERVICE, "SRV"): ["10 60 8001 a.test.", "10 0 8002 b.test.", "10 40 8003 a.test."],
            ("a.test", "A"): ["10.0.0.1"],
            ("b.test", "A"): ["10.0.0.2", "10.0.0.3"],
            ("b.test", "AAAA"): ["fd00::2"],
        }
    )
    async with followed(zone, service()) as (reported, _):
        found = await reported.next()
        assert not isinstance(found, str)
        assert [(target.address, target.weight) for target in found] == [
            ("10.0.0.1:8001", 60),
            ("10.0.0.1:8003", 40),
            ("10.0.0.2:8002", 1),
            ("10.0.0.3:8002", 1),
        ]
        assert zone.questions.count(("udp", "a.test", "A")) == 1


async def test_service_records_without_weights_have_the_items() -> None:
    """All 0 means that the records do not say."""
    zone = Zone({(SERVICE, "SRV"): ["0 0 8001 a.test."], ("a.test", "A"): ["10.0.0.1"]})
    async with followed(zone, service()) as (reported, _):
        found = await reported.next()
        assert [target.weight for target in found if not isinstance(target, str)] == [None]


async def test_only_the_first_priority_that_resolves_is_used() -> None:
    """Stand-ins get traffic only when nobody before them is there."""
    zone = Zone(
        {
            (SERVICE, "SRV"): ["1 1 8001 a.test.", "2 1 8002 b.test."],
            ("a.test", "A"): ["10.0.0.1"],
            ("b.test", "A"): ["10.0.0.2"],
        }
    )
    async with followed(zone, service()) as (reported, time):
        assert await reported.addresses() == ["10.0.0.1:8001"]
        del zone.records["a.test", "A"]
        time.move(await time.asleep())
        assert await reported.addresses() == ["10.0.0.2:8002"]
        assert "a.test.: no such name" in reported.notes[-1]


async def test_a_target_that_nobody_can_look_up_keeps_its_addresses() -> None:
    """One failed question of many takes no endpoint away."""
    zone = Zone(
        {
            (SERVICE, "SRV"): ["1 1 8001 a.test.", "1 1 8002 b.test."],
            ("a.test", "A"): ["10.0.0.1"],
            ("b.test", "A"): ["10.0.0.2"],
        }
    )
    async with followed(zone, service()) as (reported, time):
        await reported.addresses()
        zone.rcode = {("b.test", "A"): "SERVFAIL", ("b.test", "AAAA"): "SERVFAIL"}
        time.move(await time.asleep())
        assert await reported.addresses() == ["10.0.0.1:8001", "10.0.0.2:8002"]
        assert "b.test.: A: SERVFAIL" in reported.notes[-1]


async def test_a_service_that_is_said_not_to_be_here_is_a_failure() -> None:
    """The target `.` (RFC 2782) empties no pool."""
    zone = Zone({(SERVICE, "SRV"): ["0 0 0 ."]})
    async with followed(zone, service()) as (reported, _):
        assert "said not to exist" in await reported.error()


async def test_more_service_records_than_are_used() -> None:
    """Over the bound nothing is used, and the operator is told the bound."""
    zone = Zone({(SERVICE, "SRV"): [f"0 0 {port} a.test." for port in range(1, 1_002)]}, truncate_udp=True)
    async with followed(zone, service()) as (reported, _):
        assert "1,001 records; at most 1,000" in await reported.error()

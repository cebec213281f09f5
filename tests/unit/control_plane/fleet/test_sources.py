"""All sources of a policy together: last good, ages, edits, gathering, ends."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.fleet.debounce import LONGEST_S, QUIET_S
from control_plane.fleet.interface import Report
from control_plane.fleet.records import Addresses, NoRecordsError, RecordType, Services
from control_plane.fleet.sources import RESTART_S, FleetSources
from control_plane.fleet.targets import Target
from control_plane.policy.discovery import EndpointItem, HostPort
from control_plane.policy.model import DnsEndpoints, FileEndpoints, Policy, Pool, StaticEndpoint
from control_plane.sidecar.watch import POLL_S
from tests.unit.control_plane.compile.samples import policy
from tests.unit.control_plane.fleet.moved_time import MovedTime

STATIC = StaticEndpoint(address="10.9.9.9:1")
FILE = FileEndpoints(file="t.yaml")


@dataclass(slots=True)
class Names:
    """A resolver that knows some A records. Mutable: a test writes it; `asked` is written by the questions."""

    hosts: dict[str, list[str]] = field(default_factory=dict)
    ttl_s: float = 30.0
    asked: list[str] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    error: Exception | None = None

    async def addresses(self, host: str, family: RecordType) -> Addresses:
        """`Resolver.addresses`."""
        self.asked.append(host)
        if host in self.silent:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        if family is RecordType.AAAA or not self.hosts.get(host):
            raise NoRecordsError("no such name")
        return Addresses(tuple(self.hosts[host]), self.ttl_s)

    async def services(self, name: str) -> Services:
        """`Resolver.services`; there are none."""
        raise NoRecordsError("no such name")


def dns(host: str, **fields: str) -> DnsEndpoints:
    """The item of a name."""
    return DnsEndpoints(dns=HostPort(host, 8000), region=fields.get("region", ""))


def pools(**items: tuple[EndpointItem, ...]) -> Policy:
    """A policy of these pools."""
    return policy(pools=tuple(Pool(name=name, endpoints=endpoints) for name, endpoints in items.items()))


@dataclass(slots=True)
class Bench:
    """What a test works with."""

    sources: FleetSources
    names: Names
    time: MovedTime
    told: list[frozenset[str]]
    directory: Path

    def addresses(self, pool: str = "a") -> list[str]:
        """The pool's addresses now."""
        return [endpoint.address for endpoint in self.sources.fleet.pools[pool]]

    async def moved(self, seconds: float) -> None:
        """Moves the clock and lets everything happen that this sets off."""
        self.time.move(seconds)
        await settled()

    def states(self) -> list[object]:
        """The state of each source."""
        return [entry["state"] for entry in self.sources.status()]


async def settled() -> None:
    """Lets the event loop run until nothing is ready any more."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def bench(directory: Path) -> AsyncIterator[Bench]:
    """Sources on a moved clock with a resolver of the test's own."""
    names, time, told = Names(), MovedTime(), list[frozenset[str]]()
    before = asyncio.all_tasks()
    sources = FleetSources(directory, told.append, time, random.Random(1), names, time.sleep)
    try:
        yield Bench(sources, names, time, told, directory)
    finally:
        await sources.stop()
        await sources.stop()
    assert asyncio.all_tasks() <= before


async def test_the_fleet_is_there_after_the_start(tmp_path: Path) -> None:
    """Static endpoints and what the sources found, in the policy's order; the start itself is no change."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"vllm": ["10.0.0.2", "10.0.0.1"]}
        (tmp_path / "t.yaml").write_text("[{targets: ['10.0.1.1:1']}]")
        await one.sources.start(pools(a=(FILE, dns("vllm")), b=(STATIC, dns("vllm", region="r"))), wait_s=5)
        assert one.addresses() == ["10.0.1.1:1", "10.0.0.1:8000", "10.0.0.2:8000"]
        assert [(each.address, each.region) for each in one.sources.fleet.pools["b"]] == [
            ("10.9.9.9:1", ""),
            ("10.0.0.1:8000", "r"),
            ("10.0.0.2:8000", "r"),
        ]
        assert one.names.asked.count("vllm") == 2, "one source for two pools: A and AAAA once"
        await one.moved(1)
        assert one.told == []
        assert one.sources.status()[0] == {
            "pool": "a", "kind": "file", "target": "t.yaml", "state": "fresh", "age_s": 0.0, "error": "",
            "endpoints": 1,
        }  # fmt: skip


async def test_a_policy_of_addresses_needs_nothing(tmp_path: Path) -> None:
    """No task, no status, no wait."""
    async with bench(tmp_path) as one:
        await one.sources.start(pools(a=(STATIC,)), wait_s=0)
        assert one.addresses() == ["10.9.9.9:1"]
        assert one.sources.status() == []


async def test_the_start_waits_only_so_long(tmp_path: Path) -> None:
    """A name server that is silent delays the start by its bound, and the pool is served when it answers."""
    async with bench(tmp_path) as one:
        one.names.silent = {"vllm"}
        await one.sources.start(pools(a=(STATIC, dns("vllm"))), wait_s=0.01)
        assert (one.addresses(), one.states()) == (["10.9.9.9:1"], ["pending"])
        assert one.sources.status()[0]["age_s"] is None


async def test_changes_are_told_once_after_a_moment(tmp_path: Path) -> None:
    """Two names that change together are one change of their pools; the fleet has them at once."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1"], "y": ["10.0.0.2"]}
        await one.sources.start(pools(a=(dns("x"),), b=(dns("y"),), c=(STATIC,)), wait_s=5)
        one.names.hosts = {"x": ["10.0.0.1", "10.0.0.3"], "y": ["10.0.0.4"]}
        await one.moved(40)
        assert (one.addresses(), one.addresses("b")) == (["10.0.0.1:8000", "10.0.0.3:8000"], ["10.0.0.4:8000"])
        assert one.told == []
        await one.moved(QUIET_S)
        assert one.told == [frozenset("ab")]


async def test_changes_without_a_pause_are_told_all_the_same(tmp_path: Path) -> None:
    """The bound of the gathering holds."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1"]}
        await one.sources.start(pools(a=(dns("x"),)), wait_s=5)
        (followed,) = one.sources._followed.values()
        report: Report = followed
        started = one.time.now
        number = 0
        while not one.told:
            number += 1
            report.found((Target(address=f"10.0.0.{number}:8000"),))
            await one.moved(QUIET_S / 2)
            assert one.time.now - started <= LONGEST_S + QUIET_S


async def test_the_same_answer_is_no_change(tmp_path: Path) -> None:
    """Also in another order, as name servers rotate theirs; the age starts anew."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1", "10.0.0.2"]}
        await one.sources.start(pools(a=(dns("x"),)), wait_s=5)
        one.names.hosts = {"x": ["10.0.0.2", "10.0.0.1"]}
        await one.moved(20)
        assert one.sources.status()[0]["age_s"] == 20.0
        await one.moved(20)
        await one.moved(1)
        assert one.told == []
        assert one.sources.status()[0]["age_s"] == 1.0


async def test_a_failure_keeps_the_last_endpoints_and_ages_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The status says stale, since when and why; the log says it once; a good answer ends it."""
    caplog.set_level(logging.INFO, logger="kvpilot")
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1"]}
        await one.sources.start(pools(a=(dns("x"),)), wait_s=5)
        one.names.hosts = {}
        for _ in range(4):
            await one.moved(40)
        assert (one.addresses(), one.told) == (["10.0.0.1:8000"], [])
        (entry,) = one.sources.status()
        assert (entry["state"], entry["age_s"], entry["endpoints"]) == ("stale", 160.0, 1)
        assert entry["error"] == "no such name"
        assert [record.getMessage() for record in caplog.records] == [
            "discovery: dns x:8000: no such name (keeping 1 endpoints)"
        ]
        one.names.hosts = {"x": ["10.0.0.2"]}
        await one.moved(40)
        await one.moved(QUIET_S)
        assert (one.addresses(), one.states(), one.told) == (["10.0.0.2:8000"], ["fresh"], [frozenset("a")])


async def test_a_source_that_never_answered_is_failed(tmp_path: Path) -> None:
    """The start does not wait for it any longer than for its failure."""
    async with bench(tmp_path) as one:
        await one.sources.start(pools(a=(FILE, dns("x"))), wait_s=60)
        assert (one.addresses(), one.states()) == ([], ["failed", "failed"])
        (tmp_path / "t.yaml").write_text("[{targets: ['10.0.1.1:1']}]")
        one.time.move(POLL_S)
        async with asyncio.timeout(5):
            while one.states()[0] != "fresh":
                await asyncio.sleep(0.001)
        await one.moved(QUIET_S)
        assert (one.addresses(), one.told) == (["10.0.1.1:1"], [frozenset("a")])


async def test_an_edit_keeps_what_unchanged_sources_found(tmp_path: Path) -> None:
    """Nobody is asked again; what is not named any more ends; a changed item counts at once."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1"], "y": ["10.0.0.2"]}
        await one.sources.start(pools(a=(dns("x"), dns("y"))), wait_s=5)
        asked = len(one.names.asked)
        one.sources.apply(pools(a=(dns("x", region="r"), STATIC)))
        assert [(each.address, each.region) for each in one.sources.fleet.pools["a"]] == [
            ("10.0.0.1:8000", "r"),
            ("10.9.9.9:1", ""),
        ]
        await settled()
        assert len(one.names.asked) == asked
        await one.moved(100)
        assert set(one.names.asked[asked:]) == {"x"}
        assert one.told == []


async def test_a_pool_that_moves_to_a_source_keeps_its_endpoints_until_that_answers(tmp_path: Path) -> None:
    """An edit from addresses to a name that cannot be looked up yet must not empty the pool."""
    async with bench(tmp_path) as one:
        await one.sources.start(pools(a=(STATIC,)), wait_s=5)
        one.sources.apply(pools(a=(dns("x"),)))
        await settled()
        assert (one.addresses(), one.states()) == (["10.9.9.9:1"], ["failed"])
        one.names.hosts = {"x": ["10.0.0.1"]}
        await one.moved(2)
        await one.moved(QUIET_S)
        assert (one.addresses(), one.told) == (["10.0.0.1:8000"], [frozenset("a")])


async def test_preparing_an_edit_waits_for_its_new_sources_and_changes_nothing(tmp_path: Path) -> None:
    """The fleet of the policy to come is known before it is applied; a refused one leaves nothing behind."""
    async with bench(tmp_path) as one:
        one.names.hosts = {"x": ["10.0.0.1"], "y": ["10.0.0.2"]}
        now, new = pools(a=(dns("x"),)), pools(a=(dns("x"),), b=(dns("y"),))
        await one.sources.start(now, wait_s=5)
        await one.sources.prepare(new, wait_s=5)
        assert set(one.sources.fleet.pools) == {"a"}
        assert [each.address for each in one.sources.fleet_for(new).pools["b"]] == ["10.0.0.2:8000"]
        one.sources.apply(now)
        asked = len(one.names.asked)
        await one.moved(100)
        assert set(one.names.asked[asked:]) == {"x"}
        await one.sources.prepare(new, wait_s=5)
        one.sources.apply(new)
        assert one.addresses("b") == ["10.0.0.2:8000"]
        await one.moved(1)
        assert one.told == []


async def test_allowed_emptiness_empties(tmp_path: Path) -> None:
    """Where the policy says that a file may list nobody, nobody is the answer, also at an edit."""
    (tmp_path / "t.yaml").write_text("[]")
    async with bench(tmp_path) as one:
        await one.sources.start(pools(a=(STATIC,)), wait_s=5)
        new = pools(a=(FileEndpoints(file="t.yaml", allow_empty=True),))
        await one.sources.prepare(new, wait_s=5)
        one.sources.apply(new)
        assert (one.addresses(), one.states()) == ([], ["fresh"])


async def test_a_source_that_breaks_is_followed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours is a failure like another one, and does not end the others."""
    async with bench(tmp_path) as one:
        one.names.hosts, one.names.error = {"x": ["10.0.0.1"]}, ZeroDivisionError("oops")
        await one.sources.start(pools(a=(dns("x"),)), wait_s=5)
        assert (one.states(), one.sources.status()[0]["error"]) == (["failed"], "ZeroDivisionError: oops")
        one.names.error = None
        await one.moved(RESTART_S)
        assert (one.states(), one.addresses()) == (["fresh"], ["10.0.0.1:8000"])
        caplog.clear()


async def test_an_error_of_who_is_told_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next change is told again."""
    names, time, told = Names({"x": ["10.0.0.1"]}), MovedTime(), list[frozenset[str]]()

    def changed(which: frozenset[str]) -> None:
        told.append(which)
        raise ZeroDivisionError

    sources = FleetSources(tmp_path, changed, time, random.Random(1), names, time.sleep)
    await sources.start(pools(a=(dns("x"),)), wait_s=5)
    for number in (2, 3):
        names.hosts = {"x": [f"10.0.0.{number}"]}
        time.move(40)
        await settled()
        time.move(QUIET_S)
        await settled()
    await sources.stop()
    assert told == [frozenset("a")] * 2
    caplog.clear()

"""When the picker may name what: an Envoy's answer about that very assignment, a refusal, or nobody to wait for."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from control_plane.compile import Node
from control_plane.fleet.model import Endpoint, Fleet
from control_plane.policy import load
from control_plane.sidecar import picker_lane
from control_plane.sidecar.builds import variant_of
from control_plane.sidecar.picker_lane import PickerLane, settings_of, with_fleet
from control_plane.sidecar.streams import LiveStream, Streams
from control_plane.xds.kinds import ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.snapshot import Snapshot, build_snapshot
from ext_proc.core.settings import DegradationSettings, PickerSettings, WaySettings
from protos.messages import load as load_messages
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD, policy_text

NODE = Node(id="a")


def settings(*addresses: str) -> PickerSettings:
    """What the picker is to be under with these endpoints of pool `p`."""
    document = load(policy_text(*addresses), "policy.yaml").document
    assert document is not None
    fleet = Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in addresses)})
    return settings_of(document, fleet, "", "")


def assignment(*addresses: str) -> Snapshot:
    """What an Envoy is offered for them."""
    endpoints = [
        {"endpoint": {"address": {"socketAddress": {"address": host, "portValue": int(port)}}}}
        for host, _, port in (address.rpartition(":") for address in addresses)
    ]
    value = {"clusterName": "pool/p", "endpoints": [{"lbEndpoints": endpoints}]}
    return build_snapshot({ENDPOINTS: {"pool/p": value}}, load_messages())


def everything(note: str) -> Snapshot:
    """What an Envoy is offered of a whole policy."""
    routes = {"l": {"name": "l", "virtualHosts": [{"name": note, "domains": ["*"]}]}}
    return build_snapshot({LISTENERS: {"l": {"name": "l"}}, ROUTES: routes}, load_messages())


def take(streams: Streams, stream: LiveStream, found: Snapshot) -> None:
    """It accepts all of that."""
    for type_url in (LISTENERS, ROUTES):
        streams.accepted(stream, type_url, {"l": found.resources(type_url)["l"].version})


class Picker:
    """Stands for the service. Mutable: what it was put under."""

    def __init__(self) -> None:
        self.now: PickerSettings | None = None

    def apply_settings(self, found: PickerSettings) -> None:
        """Taken."""
        self.now = found

    @property
    def named(self) -> list[str]:
        """The endpoints that it may name."""
        return [one.address for pool in (self.now.pools if self.now else ()) for one in pool.endpoints]

    @property
    def led_to(self) -> list[str]:
        """To where it may lead requests."""
        return sorted((self.now and self.now.led_to) or ())


class Bench:
    """A lane, one Envoy's stream, and a clock. Mutable: all."""

    def __init__(self, streams: Streams | None) -> None:
        self.now = 0.0
        self.picker = Picker()
        self.streams = streams
        service: Any = self.picker
        self.lane = PickerLane(service, settings(FIRST), lambda: self.now, streams)

    def offer(self, stream: LiveStream, *addresses: str) -> Snapshot:
        """An edit of the endpoints, which the Envoy is offered."""
        found = assignment(*addresses)
        self.lane.want(settings(*addresses))
        stream.offer("v", variant_of(NODE), found)
        self.lane.published()
        return found


def version(found: Snapshot) -> dict[str, str]:
    """Name to version, as in an answer."""
    return {"pool/p": found.resources(ENDPOINTS)["pool/p"].version}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a look."""
    monkeypatch.setattr(picker_lane, "SYNC_POLL_S", 0.0005)


async def test_after_the_answer_about_it() -> None:
    """The answer about the assignment before is none about this one; that of a later one is."""
    streams = Streams()
    stream = streams.open(NODE)
    bench = Bench(streams)
    streams.accepted(stream, ENDPOINTS, {"pool/p": "as it was"})
    second = bench.offer(stream, FIRST, SECOND)
    third = bench.offer(stream, FIRST, SECOND, THIRD)
    await asyncio.sleep(0.01)
    assert bench.picker.named == [FIRST]
    streams.accepted(stream, ENDPOINTS, version(second))
    await eventually(lambda: bench.picker.named == [FIRST, SECOND])
    streams.accepted(stream, ENDPOINTS, version(third))
    await eventually(lambda: bench.picker.named == [FIRST, SECOND, THIRD])
    await bench.lane.stop()


async def test_a_refusal_is_an_answer() -> None:
    """An Envoy that does not want it is not waited for."""
    streams = Streams()
    stream = streams.open(NODE)
    bench = Bench(streams)
    streams.accepted(stream, ENDPOINTS, {"pool/p": "as it was"})
    found = bench.offer(stream, FIRST, SECOND)
    streams.refused(stream, ENDPOINTS, version(found), "no")
    await eventually(lambda: bench.picker.named == [FIRST, SECOND])
    await bench.lane.stop()


async def test_who_has_no_endpoints_at_all_yet() -> None:
    """It has just come, and its first answer may take long; others must not wait for it."""
    streams = Streams()
    bench = Bench(streams)
    bench.offer(streams.open(NODE), FIRST, SECOND)
    await eventually(lambda: bench.picker.named == [FIRST, SECOND])
    await bench.lane.stop()


async def test_ways_to_other_pools() -> None:
    """They wait until an Envoy has all of that very policy; what it holds of the one before is not enough."""
    streams = Streams()
    stream = streams.open(NODE)
    bench = Bench(streams)
    before, after = everything("before"), everything("after")
    stream.offer("1", variant_of(NODE), before)
    take(streams, stream, before)
    assert stream.has_all()
    degradation = DegradationSettings(ways=(WaySettings(cluster="pool/q", pool="q", model="m"),))
    bench.lane.want(replace(settings(FIRST), version="2", degradations={"m": degradation}))
    bench.lane.published()
    await asyncio.sleep(0.01)
    assert bench.picker.led_to == []
    stream.offer("2", variant_of(NODE), after)
    await asyncio.sleep(0.01)
    assert bench.picker.led_to == []
    take(streams, stream, after)
    await eventually(lambda: bench.picker.led_to == ["pool/q"])
    await bench.lane.stop()


def test_without_envoys_of_our_own() -> None:
    """Somebody else serves them: everything counts at once, and time has to tell what they have."""
    bench = Bench(None)
    bench.lane.want(settings(FIRST, SECOND))
    assert bench.picker.named == [FIRST, SECOND]
    assert bench.picker.now is not None
    assert bench.picker.now.led_to is None
    bench.lane.published()
    assert bench.lane.wanted == settings(FIRST, SECOND)


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often endpoints change while an Envoy is silent."""
    monkeypatch.setattr(picker_lane, "MAX_REMEMBERED", 3)
    streams = Streams()
    stream = streams.open(NODE)
    bench = Bench(streams)
    streams.accepted(stream, ENDPOINTS, {"pool/p": "as it was"})
    for port in range(100, 110):
        bench.offer(stream, FIRST, f"127.0.0.1:{port}")
    assert len(bench.lane._numbers) == 3
    await bench.lane.stop()


def test_one_pool_is_made_anew() -> None:
    """The others are the very same objects."""
    text = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}, {name: n, pool: q}]
pools:
  p: {engine: custom, endpoints: [{address: 127.0.0.1:9}]}
  q: {engine: custom, endpoints: [{address: 127.0.0.1:9}]}
"""
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    before = Fleet(pools={name: (Endpoint(pool=name, address=FIRST),) for name in "pq"})
    after = Fleet(pools={name: (Endpoint(pool=name, address=SECOND),) for name in "pq"})
    known = settings_of(result.document, before, "", "")
    made = with_fleet(known, result.document, after, frozenset({"p"}), "", "")
    assert [[one.address for one in pool.endpoints] for pool in made.pools] == [[SECOND], [FIRST]]
    assert made.pools[1] is known.pools[1]

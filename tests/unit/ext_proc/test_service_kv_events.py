"""The service listens to engines that tell of their caches, where its settings say so."""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ext_proc.core.events import CacheCleared, Event
from ext_proc.core.picker import Picker
from ext_proc.core.settings import EndpointSettings, KvEventSettings, PickerSettings, PoolSettings
from ext_proc.service import PickerService
from protos.messages import load
from sim.kv_publisher import KvPorts, KvPublisher
from tests.kit.waiting import eventually
from tests.unit.ext_proc.signals.kv_samples import payload, stored_map

POD = "127.0.0.1:8000"
STORED = payload(stored_map([1], range(64), 64))


def settings(events: KvEventSettings | None, other: KvEventSettings | None = None) -> PickerSettings:
    """Two pools with the same endpoint, which is not scraped."""
    endpoint = EndpointSettings(address=POD, engine="none")
    pools = tuple(
        PoolSettings(name=name, cluster=name, endpoints=(endpoint,), kv_events=said)
        for name, said in (("a", events), ("b", other))
    )
    return PickerSettings(version="v1", pools=pools)


class Spy(Picker):
    """Keeps the events about caches."""

    def __init__(self, initial: PickerSettings) -> None:
        super().__init__(initial)
        self.told: list[Event] = []

    def apply(self, event: Event) -> None:
        """As the picker, with a list beside."""
        self.told.append(event)
        super().apply(event)


@asynccontextmanager
async def running(initial: PickerSettings) -> AsyncIterator[tuple[PickerService, Spy]]:
    """A service with a picker that tells."""
    picker = Spy(initial)
    service = PickerService(picker, load(), time.monotonic, random.Random(1))
    await service.start(["127.0.0.1:0"])
    try:
        yield service, picker
    finally:
        await service.stop(0.1)


async def test_nobody_listens_by_default() -> None:
    """No sockets, no counters."""
    async with running(settings(None)) as (service, _):
        assert service.intake.kv_counters is None
        assert service.status()["kv_events"] == service.status()["kv_events_failing"] == {}


async def test_a_restart_reaches_the_picker() -> None:
    """Blocks do not, as prompts are compared by text; the numbers are in the status. New settings end it."""
    async with KvPublisher(KvPorts()) as publisher:
        publisher.publish(STORED)
        events = KvEventSettings(port=publisher.port, replay_port=publisher.replay_port)
        async with running(settings(events, KvEventSettings(port=1))) as (service, picker):
            await eventually(lambda: service.status()["kv_events"][POD]["blocks"] == 1, "a block")
            assert picker.told == []
            publisher.stop()
            publisher.start()
            await eventually(lambda: len(picker.told) == 1, "a restart")
            assert isinstance(picker.told[0], CacheCleared)
            assert picker.told[0].address == POD
            assert service.intake.kv_counters is not None
            assert service.intake.kv_counters.cleared["restarted"] == 1
            assert service.counters.internal_errors == 0
            service.apply_settings(settings(None))
            assert service.status()["kv_events"] == {}

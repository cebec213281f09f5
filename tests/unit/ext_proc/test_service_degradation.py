"""What the service counts and records of degraded requests."""

from dataclasses import replace

from ext_proc.core.settings import (
    CannedSettings,
    DegradationSettings,
    EndpointSettings,
    PickerSettings,
    PoolSettings,
    WaySettings,
)
from tests.unit.ext_proc import envoy_messages as envoy
from tests.unit.ext_proc.test_service import ask, running

POD = "10.0.0.9:8000"


def settings(*addresses: str) -> PickerSettings:
    """The model `m`, whose own pool is empty, with a way to another one, and a text."""
    way = WaySettings(cluster="pool/q", pool="q", model="n")
    endpoints = tuple(EndpointSettings(address=address, engine="none") for address in addresses)
    return PickerSettings(
        version="v1",
        pools=(
            PoolSettings(name="p", cluster="pool/p", strategy="random"),
            PoolSettings(name="q", cluster="pool/q", strategy="round-robin", endpoints=endpoints),
        ),
        models={"m": "m", "n": "n"},
        degradations={"m": DegradationSettings(ways=(way,), answer=CannedSettings(text="Later."))},
    )


async def test_a_pick_elsewhere() -> None:
    """It is counted where it went, and as degraded; recordings of that pool have it, and the status says it."""
    async with running(settings(POD)) as it:
        recording = it.service.recordings.begin("r", pool="q")
        other = it.service.recordings.begin("r", pool="p")
        data = await ask(it.stream(), envoy.body(b'{"model": "m", "prompt": "Once upon"}'))
        told = envoy.metadata(data)
        assert (told["kvpilot-pool"], told["kvpilot-degraded"]) == ("q", "n")
        assert told["x-gateway-destination-endpoint"] == POD
        counters = it.service.counters
        assert counters.picked == {("q", "round-robin"): 1}
        assert counters.degraded == {("m", "model", "n"): 1}
        assert [each["label"] for each in it.service.survey.degraded()] == ["n"]
        assert (recording.status()["requests"], other.status()["requests"]) == (1, 0)


async def test_a_text_of_the_policy() -> None:
    """It is counted as an answer of ours; without a model that degrades it is none."""
    async with running(settings()) as it:
        immediate = envoy.answer(await ask(it.stream(), envoy.body(b'{"model": "m", "prompt": "Once"}')))
        assert immediate["dynamicMetadata"] == {"envoy.lb": {"kvpilot-degraded": "answer"}}
        assert it.service.counters.rejected == {200: 1}
        assert it.service.counters.degraded == {("m", "answer", ""): 1}
        it.service.apply_settings(replace(settings(), degradations={}))
        await ask(it.stream(), envoy.body(b'{"model": "m", "prompt": "Once"}'))
        assert it.service.counters.rejected == {200: 1, 503: 1}
        assert sum(it.service.counters.degraded.values()) == 1
        assert it.service.counters.internal_errors == 0

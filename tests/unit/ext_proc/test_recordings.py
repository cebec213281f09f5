"""What a service tells its recordings: each pick, those that waited for a place, and how requests ended."""

import json
import logging
from typing import Any

import pytest

from ext_proc.core.settings import AdmissionSettings, EndpointSettings, PickerSettings, PoolSettings, PrioritySettings
from ext_proc.recording import LOG_PATIENCE_S, Recording
from ext_proc.recordings import MAX_RECORDINGS, TooManyRecordingsError
from tests.unit.ext_proc import envoy_messages as envoy
from tests.unit.ext_proc.test_service import Running, ask, running, settled


def settings() -> PickerSettings:
    """One endpoint with one place."""
    priorities = (PrioritySettings(name="normal", max_wait_s=30.0),)
    door = AdmissionSettings(max_in_flight=1, headroom=0.0, priorities=priorities)
    endpoints = (EndpointSettings(address="10.0.0.1:8000", engine="none"),)
    pool = PoolSettings(name="p", cluster="pool/p", strategy="round-robin", endpoints=endpoints, admission=door)
    return PickerSettings(version="v", pools=(pool,))


def taken(recording: Recording) -> list[dict[str, Any]]:
    """The requests that have come."""
    found = [json.loads(line) for line in recording.take().splitlines()]
    return [line for line in found if "at" in line]


async def served(it: Running, call: Any) -> None:
    """The end of a stream, and the log's record of it."""
    decision = next(iter(it.picker.decisions.latest(1))).id
    await it.log(envoy.log_entry("DownstreamEnd", customTags={"decision": decision, "completion_tokens": "9"}))
    await call.done_writing()


async def test_arrivals_are_recorded() -> None:
    """A request that waited for a place is told with the time at which it came, not that of its pick."""
    async with running(settings()) as it:
        recording = it.service.recordings.begin("t")
        it.clock.now += 1.0
        first, second = it.stream(), it.stream()
        await ask(first, envoy.body())
        it.clock.now += 0.5
        assert "overrideMessageTimeout" in envoy.answer(await ask(second, envoy.body()))
        it.clock.now += 3.0
        await served(it, first)
        assert envoy.metadata(bytes(await second.read()))
        await served(it, second)
        await settled(lambda: not recording.status()["in_flight"])
        assert [(line["at"], line["output"]) for line in taken(recording)] == [(1.0, 9), (1.5, 9)]


async def test_nothing_before_and_nothing_after() -> None:
    """A recording has what comes while it runs."""
    async with running() as it:
        await ask(it.stream(), envoy.body())
        recording = it.service.recordings.begin("t", pool="p")
        await ask(it.stream(), envoy.body())
        await settled(lambda: recording.taken == 1)
        it.service.recordings.end(recording)
        it.service.recordings.end(recording)
        await ask(it.stream(), envoy.body())
        assert (recording.taken, it.service.status()["recordings"]) == (1, [])


async def test_a_log_that_never_comes() -> None:
    """The service looks after requests whose stream has ended and of which nobody told more."""
    async with running() as it:
        recording = it.service.recordings.begin("t")
        call = it.stream()
        await ask(call, envoy.body())
        await settled(lambda: recording.taken == 1)
        await call.done_writing()
        await settled(lambda: it.service.open_streams == 0)
        it.clock.now += LOG_PATIENCE_S + 1
        await settled(lambda: not recording.status()["in_flight"])
        assert [line["guessed"] for line in taken(recording)] == [True]


async def test_refusals() -> None:
    """Unknown pools, and more than a few at a time."""
    async with running() as it:
        with pytest.raises(KeyError):
            it.service.recordings.begin("t", pool="nowhere")
        keys = {it.service.recordings.begin("t")._blocks.copy().hexdigest() for _ in range(MAX_RECORDINGS)}
        assert len(keys) == MAX_RECORDINGS  # no two have one key
        with pytest.raises(TooManyRecordingsError):
            it.service.recordings.begin("t")


async def test_a_bug_costs_a_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a recording trips over, requests are picked and events learned from as without it."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    async with running() as it:
        it.service.recordings.begin("t")
        for method in ("picked", "apply"):
            monkeypatch.setattr(Recording, method, fail)
        with caplog.at_level(logging.CRITICAL, "kvpilot"):
            call = it.stream()
            assert envoy.metadata(await ask(call, envoy.body()))
            await call.done_writing()
            await settled(lambda: it.service.open_reservations == 0)
            await settled(lambda: it.service.counters.internal_errors == 2)

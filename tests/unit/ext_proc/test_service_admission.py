"""Requests that wait for a place, over real gRPC streams: told to be patient, answered later, refused, gone."""

import asyncio
import json
import random
import sys
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.settings import AdmissionSettings, EndpointSettings, PickerSettings, PoolSettings, PrioritySettings
from ext_proc.core.strategies import round_robin
from ext_proc.core.strategies.view import Ranking, View
from tests.unit.ext_proc import envoy_messages as envoy
from tests.unit.ext_proc.test_service import PATIENCE_S, Running, ask, running, settled

PRIORITIES = (PrioritySettings(name="high", max_wait_s=30.0), PrioritySettings(name="low", max_wait_s=30.0))


def settings(count: int = 1, **limits: Any) -> PickerSettings:
    """One pool of so many endpoints, each with one place."""
    door = AdmissionSettings(**{"max_in_flight": 1, "priorities": PRIORITIES, "usual_priority": 1, **limits})
    endpoints = tuple(EndpointSettings(address=f"10.0.0.{n + 1}:8000", engine="none") for n in range(count))
    pool = PoolSettings(name="p", cluster="pool/p", strategy="round-robin", endpoints=endpoints, admission=door)
    return PickerSettings(version="v", pools=(pool,))


def body(priority: str = "", wait: str = "") -> bytes:
    """A request with these headers."""
    headers = {'request.headers["x-priority"]': priority, 'request.headers["x-max-wait-ms"]': wait}
    return envoy.body(attributes={**envoy.ATTRIBUTES, **headers})


async def waiting(it: Running, message: bytes) -> Any:
    """A stream whose request was told to wait."""
    call = it.stream()
    told = envoy.answer(await ask(call, message))
    assert set(told) == {"overrideMessageTimeout"}, told
    return call


async def picked(call: Any) -> str:
    """The endpoint named in the answer that comes now."""
    answer = bytes(await asyncio.wait_for(call.read(), PATIENCE_S))
    return str(envoy.metadata(answer)["x-gateway-destination-endpoint"])


async def test_waits_for_a_place() -> None:
    """Envoy is asked to be patient a little longer than the wait may be; the end of one stream answers the next."""
    async with running(settings()) as it:
        first = it.stream()
        assert envoy.metadata(await ask(first, body()))
        second = it.stream()
        assert envoy.answer(await ask(second, body())) == {"overrideMessageTimeout": "31s"}
        assert it.service.status()["pools"]["p"]["admission"]["waiting"] == {"high": 0, "low": 1}
        it.clock.now += 3.0
        await first.done_writing()
        assert await picked(second) == "10.0.0.1:8000"
        assert it.service.counters.picked == {("p", "round-robin"): 2}
        assert it.service.counters.wait_seconds.total == 3.0
        await second.done_writing()
        await settled(lambda: it.service.open_reservations == it.service.open_streams == 0)


async def test_priority() -> None:
    """Who came later may go first."""
    async with running(settings()) as it:
        first = it.stream()
        await ask(first, body())
        low = await waiting(it, body("low"))
        high = await waiting(it, body("high"))
        await first.done_writing()
        await picked(high)
        await high.done_writing()
        await picked(low)


async def test_refused() -> None:
    """A full queue, and a wait that was too long, are answered 429 with `retry-after` in OpenAI's words."""
    async with running(settings(max_waiting=1)) as it:
        await ask(it.stream(), body())
        waits = await waiting(it, body(wait="5000"))
        full = envoy.answer(await ask(it.stream(), body()))["immediateResponse"]
        it.clock.now += 5.0
        late = envoy.answer(bytes(await asyncio.wait_for(waits.read(), PATIENCE_S)))["immediateResponse"]
        for refusal in (full, late):
            assert refusal["status"]["code"] == "TooManyRequests"
            headers = [each["header"]["key"] for each in refusal["headers"]["setHeaders"]]
            assert headers == ["content-type", "retry-after"]
        assert it.service.counters.rejected == {429: 2}


@pytest.mark.parametrize("is_polite", [True, False], ids=["half-close", "reset"])
async def test_a_client_that_gives_up(is_polite: bool) -> None:
    """It leaves at once, and its place in the queue with it."""
    async with running(settings()) as it:
        first = it.stream()
        await ask(first, body())
        gone = await waiting(it, body())
        stays = await waiting(it, body())
        if is_polite:
            await gone.done_writing()
        else:
            gone.cancel()
        await settled(lambda: it.service.status()["pools"]["p"]["admission"]["left"] == 1)
        await first.done_writing()
        await picked(stays)
        await stays.done_writing()
        await settled(lambda: it.service.open_streams == it.service.open_reservations == 0)
        assert (len(it.service._waiters), it.service._waiters._asked, it.picker.waiting) == (0, {}, 0)


async def test_stop() -> None:
    """When the picker ends, who waits goes on without a pick, at once."""
    async with running(settings()) as it:
        await ask(it.stream(), body())
        waits = [await waiting(it, body()) for _ in range(40)]
        stopping = asyncio.create_task(it.service.stop(2.0))
        for call in waits:
            answer = bytes(await asyncio.wait_for(call.read(), PATIENCE_S))
            assert envoy.answer(answer) == {"requestBody": {}}
        await stopping
        assert it.service.counters.unpicked == {"shutting down": 40}


async def test_a_larger_limit_lets_them_in() -> None:
    """An edit of the policy is looked at without any other event."""
    async with running(settings()) as it:
        await ask(it.stream(), body())
        waits = await waiting(it, body())
        it.service.apply_settings(settings(max_in_flight=2))
        await picked(waits)


async def test_a_pool_that_loses_all_endpoints() -> None:
    """Who waits is answered 503 with a time to come back, without any other event; nothing of it stays."""
    async with running(settings()) as it:
        first = it.stream()
        await ask(first, body())
        waits = await waiting(it, body())
        it.service.apply_settings(settings(0))
        refusal = envoy.answer(bytes(await asyncio.wait_for(waits.read(), PATIENCE_S)))["immediateResponse"]
        assert refusal["status"]["code"] == "ServiceUnavailable"
        assert [each["header"]["key"] for each in refusal["headers"]["setHeaders"]] == ["content-type", "retry-after"]
        assert it.service.counters.rejected == {503: 1}
        await first.done_writing()
        await settled(lambda: it.service.open_reservations == 0)
        assert (len(it.service._waiters), it.service._waiters._asked, it.picker.waiting) == (0, {}, 0)


async def test_a_strategy_that_exits(caplog: pytest.LogCaptureFixture) -> None:
    """`sys.exit` in somebody's strategy costs picks: requests, waiting or not, are left to Envoy; the log says why."""

    class Exiting:
        needs_prompt = False

        def __init__(self, _: object) -> None:
            self.picks = 0

        def rank(self, view: View, rng: random.Random) -> Ranking:
            self.picks += 1
            if self.picks > 1:
                sys.exit("enough")
            return round_robin.rank(view, rng)

    initial = settings()
    initial = replace(initial, pools=(replace(initial.pools[0], strategy="acme.exiting", own=Exiting),))
    async with running(initial) as it:
        first = it.stream()
        await ask(first, body())
        waits = await waiting(it, body())
        await first.done_writing()
        assert envoy.answer(bytes(await asyncio.wait_for(waits.read(), PATIENCE_S))) == {"requestBody": {}}
        assert envoy.answer(await ask(it.stream(), body())) == {"requestBody": {}}
        assert it.service.counters.unpicked == {"internal error": 2}
        assert it.service.counters.internal_errors == 2
        assert "the strategy acme.exiting raised SystemExit" in caplog.text


async def test_many_at_once() -> None:
    """More than are answered in one go are all answered in the end."""
    async with running(settings()) as it:
        await ask(it.stream(), body())
        waits = [await waiting(it, body()) for _ in range(100)]
        it.service.apply_settings(settings(max_in_flight=1_000))
        for call in waits:
            await picked(call)


async def test_a_bug_costs_a_pick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A strategy that fails for one that waited leaves it to Envoy; the failure is counted."""
    async with running(settings()) as it:
        first = it.stream()
        await ask(first, body())
        waits = await waiting(it, body())
        monkeypatch.setattr(it.picker, "_place", lambda *_: json.loads("{"))
        await first.done_writing()
        answer = bytes(await asyncio.wait_for(waits.read(), PATIENCE_S))
        assert envoy.answer(answer) == {"requestBody": {}}
        assert it.service.counters.internal_errors == 1
        assert "the answer to a request that waited failed" in caplog.text

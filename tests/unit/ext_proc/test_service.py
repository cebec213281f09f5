"""The picker as a service: real gRPC clients, real engines' pages, the real core."""

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from aiohttp import web

from ext_proc.core.announcements import Announced
from ext_proc.core.events import Event, LoadReported, RequestEnded
from ext_proc.core.picker import Picker
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.service import PickerService
from ext_proc.signals.scrape import ScrapeTiming
from ext_proc.transport.interface import AddressInUseError
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy

PATIENCE_S = 20.0
"""No test waits this long unless it has failed."""
POLL_S = 0.001

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
PODS = ("10.0.0.1:8000", "10.0.0.2:8000")


def settings(*addresses: str, engine: str = "none", version: str = "v1") -> PickerSettings:
    """One pool of these endpoints for the model `m` with the alias `gpt-4`; engine `none` is not scraped."""
    endpoints = tuple(EndpointSettings(address=address, engine=engine) for address in addresses)
    pool = PoolSettings(name="p", cluster="pool/p", strategy="round-robin", endpoints=endpoints)
    return PickerSettings(version=version, pools=(pool,), models={"m": "m", "gpt-4": "m"})


class Clock:
    """Mutable: `now`, set by the test."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Running:
    """A running service and a channel to it."""

    def __init__(self, service: PickerService, picker: Picker, address: str, channel: Any, clock: Clock) -> None:
        self.service = service
        self.address = address
        self.picker = picker
        self.channel = channel
        self.clock = clock

    def stream(self) -> Any:
        """A new ext_proc stream."""
        return self.channel.stream_stream(PROCESS)()

    async def log(self, *entries: Any) -> None:
        """Sends records as Envoy's access log does."""
        call = self.channel.stream_unary(LOGS)()
        await call.write(envoy.log_message(*entries))
        await call.done_writing()
        await call


@asynccontextmanager
async def running(initial: PickerSettings | None = None) -> AsyncIterator[Running]:
    """Runs a service on a port of the system's choice."""
    picker = Picker(initial or settings(*PODS))
    clock = Clock()
    timing = ScrapeTiming(interval_s=0.01, idle_interval_s=0.01)
    service = PickerService(picker, load(), clock, random.Random(1), scrape_timing=timing)
    (bound,) = await service.start(["127.0.0.1:0"])
    try:
        async with grpc.aio.insecure_channel(bound) as channel:
            yield Running(service, picker, bound, channel, clock)
    finally:
        await service.stop(0.0)


async def ask(call: Any, data: bytes) -> bytes:
    """Sends one message and waits for its answer."""
    await call.write(data)
    return bytes(await asyncio.wait_for(call.read(), PATIENCE_S))


async def settled(check: Callable[[], bool]) -> None:
    """Waits until `check` is true."""
    for _ in range(int(PATIENCE_S / POLL_S)):
        if check():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("it never became true")


async def test_pick() -> None:
    """A request gets endpoints of its pool; the stream's end gives the reservation back."""
    async with running() as it:
        call = it.stream()
        picked = envoy.metadata(await ask(call, envoy.body()))
        assert sorted(picked["x-gateway-destination-endpoint"].split(",")) == sorted(PODS)
        assert it.service.open_reservations == it.service.open_streams == 1
        await call.done_writing()
        await settled(lambda: it.service.open_reservations == 0)
        assert it.service.counters.picked == {("p", "round-robin"): 1}
        assert it.service.counters.streams == 1
        assert sum(it.service.counters.decision_seconds.counts) == 1


async def test_two_messages_and_an_alias() -> None:
    """With headers first, a rewritten body brings its length along."""
    async with running() as it:
        call = it.stream()
        assert envoy.answer(await ask(call, envoy.headers())) == {"requestHeaders": {}}
        data = b'{"model": "gpt-4", "prompt": "Once"}'
        answer = envoy.answer(await ask(call, envoy.body(data, attributes=None, config=None)))
        common = answer["requestBody"]["response"]
        assert set(common) == {"bodyMutation", "headerMutation"}
        assert common["headerMutation"]["setHeaders"][0]["header"]["key"] == "content-length"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [(b"not json", 400, "invalid_json"), (b'{"prompt": "x"}', 400, "missing_required_parameter")],
)
async def test_client_errors(data: bytes, status: int, code: str) -> None:
    """A client's mistake is answered in OpenAI's shape; nothing is reserved."""
    async with running() as it:
        immediate = envoy.answer(await ask(it.stream(), envoy.body(data)))["immediateResponse"]
        assert immediate["status"]["code"] == "BadRequest"
        assert it.service.counters.rejected == {status: 1}
        assert it.service.open_reservations == 0
        assert json.loads(base64.b64decode(immediate["body"]))["error"]["code"] == code


async def test_no_endpoint() -> None:
    """A pool without endpoints is answered 503 with a time to come back (T20)."""
    async with running(settings()) as it:
        immediate = envoy.answer(await ask(it.stream(), envoy.body()))["immediateResponse"]
        assert immediate["status"]["code"] == "ServiceUnavailable"
        names = [header["header"]["key"] for header in immediate["headers"]["setHeaders"]]
        assert names == ["content-type", "retry-after"]


async def test_unpicked() -> None:
    """What is no inference request goes on without a pick, and is counted by reason."""
    async with running() as it:
        attributes = {**envoy.ATTRIBUTES, "request.path": "/metrics"}
        assert envoy.answer(await ask(it.stream(), envoy.body(attributes=attributes))) == {"requestBody": {}}
        assert list(it.service.counters.unpicked.values()) == [1]


@pytest.mark.parametrize("stage", ["nothing", "headers", "picked"])
@pytest.mark.parametrize("way", ["cancel", "half-close"])
async def test_released_once(stage: str, way: str) -> None:
    """However and whenever the client leaves, nothing stays reserved; a late record changes nothing."""
    async with running() as it:
        call = it.stream()
        await call.wait_for_connection()
        if stage != "nothing":
            await ask(call, envoy.headers())
        if stage == "picked":
            await ask(call, envoy.body(attributes=None, config=None))
            assert it.service.open_reservations == 1
        if way == "cancel":
            call.cancel()
        else:
            await call.done_writing()
        await settled(lambda: it.service.open_streams == 0)
        assert it.service.open_reservations == 0
        for decision in it.service.decisions(1):
            await it.log(envoy.log_entry("DownstreamEnd", customTags={"decision": decision["id"]}))
        assert it.service.open_reservations == 0
        assert in_flight(it) == [0, 0]


def in_flight(it: Running) -> list[int]:
    """What the status says is in flight, per endpoint."""
    endpoints: list[dict[str, Any]] = it.service.status()["pools"]["p"]["endpoints"]
    return [endpoint["in_flight"] for endpoint in endpoints]


async def test_record_before_the_stream_ends() -> None:
    """The log record ends the reservation when it is first; the stream's end then changes nothing."""
    async with running() as it:
        call = it.stream()
        decision = envoy.metadata(await ask(call, envoy.body()))["kvpilot-decision"]
        told = {"cached_tokens": "5", "prompt_tokens": "7"}
        await it.log(envoy.log_entry("DownstreamEnd", customTags={"decision": decision, **told}))
        assert it.service.open_reservations == 0
        await call.done_writing()
        await settled(lambda: it.service.open_streams == 0)
        assert in_flight(it) == [0, 0]
        found = it.service.decision(decision)
        assert found is not None
        assert found["outcome"]["status"] == 200
        assert found["outcome"]["cached_tokens"] == 5
        assert it.service.counters.ended == {"ok": 1}
        assert it.service.counters.tokens == {"prompt": 7, "cached": 5}


async def test_age_ends_what_nothing_else_does() -> None:
    """A reservation whose stream hangs and whose records were lost ends by age."""
    async with running() as it:
        await ask(it.stream(), envoy.body())
        it.clock.now += 10_000
        await settled(lambda: it.service.open_reservations == 0)
        assert it.service.counters.reservations_expired == 1


async def test_own_shutdown_is_not_the_end_of_a_request() -> None:
    """A stream that we close at shutdown leaves its request counted as running: it does run."""
    async with running() as it:
        call = it.stream()
        await ask(call, envoy.body())
        await it.service.stop(0.2)
        assert await call.code() is grpc.StatusCode.OK
        assert it.service.open_reservations == 1


async def test_garbage() -> None:
    """Garbage ends its stream with INVALID_ARGUMENT and leaves nothing behind, also after a pick."""
    async with running() as it:
        call = it.stream()
        await ask(call, envoy.body())
        await call.write(b"\xff\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        await settled(lambda: it.service.open_streams == 0)
        assert it.service.open_reservations == 0
        assert it.service.counters.stream_errors == 1


async def test_bug_in_the_picker(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An exception inside the core costs the pick, not the request; it is logged once and counted always."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    async with running() as it:
        monkeypatch.setattr(it.picker, "decide", broken)
        monkeypatch.setattr(it.picker, "apply", broken)
        for _ in range(3):
            assert envoy.answer(await ask(it.stream(), envoy.body())) == {"requestBody": {}}
        await it.log(envoy.log_entry("UpstreamPoolReady"))
        assert it.service.counters.internal_errors == 4
        assert it.service.counters.unpicked == {"internal error": 3}
    assert len(caplog.records) == 1


async def test_decisions() -> None:
    """Decisions are shown newest first, by number and by id."""
    async with running() as it:
        ids = [envoy.metadata(await ask(it.stream(), envoy.body()))["kvpilot-decision"] for _ in range(3)]
        assert [each["id"] for each in it.service.decisions(2)] == ids[:0:-1]
        found = it.service.decision(ids[0])
        assert found is not None
        assert found["pool"] == "p"
        assert it.service.decision("none") is None
        json.dumps(it.service.decisions(10))
        json.dumps(it.service.status())


async def test_settings_change() -> None:
    """New settings name new endpoints at once; the streams of before stay open."""
    async with running() as it:
        call = it.stream()
        await ask(call, envoy.body())
        it.service.apply_settings(settings("10.0.0.9:8000", version="v2"))
        picked = envoy.metadata(await ask(it.stream(), envoy.body()))
        assert picked["x-gateway-destination-endpoint"] == "10.0.0.9:8000"
        assert it.service.open_streams == 2


async def test_settings_before_start() -> None:
    """Settings may change before the service has started."""
    service = PickerService(Picker(settings()), load(), Clock(), random.Random(1))
    service.apply_settings(settings(*PODS))
    assert len(service.status()["pools"]["p"]["endpoints"]) == 2
    await service.stop(0.0)


async def test_somebody_watches() -> None:
    """Events are passed on once the picker has them, and what is in flight can be asked for endpoint by endpoint."""
    async with running() as it:
        told: list[tuple[Event, int]] = []
        it.service.watched = lambda event: told.append((event, it.service.open_reservations))
        decision = envoy.metadata(await ask(it.stream(), envoy.body()))["kvpilot-decision"]
        assert sorted(it.service.survey.in_flight((*PODS, "10.9.9.9:1"))) == [0, 0, 1]
        await it.log(envoy.log_entry("DownstreamEnd", customTags={"decision": decision}))
        assert [(type(event), running) for event, running in told] == [(RequestEnded, 0)]
        assert it.service.survey.in_flight(PODS) == [0, 0]


async def test_what_engines_say_of_themselves() -> None:
    """Told at once and once, and taken back when the endpoint leaves."""
    async with running() as it:
        told: list[Announced] = []
        it.service.announced = told.append
        address = PODS[0]
        it.service._apply(LoadReported(address=address, at=1.0, draining=True))
        it.service._apply(LoadReported(address=address, at=2.0, draining=True))
        assert told == [Announced(address, "draining")] == list(it.service.announcements)
        assert it.service.survey.is_sound(address, it.clock())
        assert it.service.survey.load(address, it.clock()) == (0, 0.0, None)
        it.service.apply_settings(settings(*PODS[1:]))
        await settled(lambda: len(told) == 2)
        assert told[1] == Announced(address, "")
        assert it.service.announcements == ()


async def test_address_in_use() -> None:
    """A service that cannot listen starts nothing, and its end is harmless."""
    async with running() as it:
        other = PickerService(Picker(settings(*PODS, engine="vllm")), load(), Clock(), random.Random(1))
        with pytest.raises(AddressInUseError):
            await other.start([it.address])
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("scrape")] == []
        await other.stop(0.0)


async def test_scrapes_reach_the_picker() -> None:
    """What an engine shows is seen in the status; one that shows nothing is listed with its reason."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="vllm:num_requests_running 3\nvllm:num_requests_waiting 2\n")

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    good = "{}:{}".format(*runner.addresses[0])
    try:
        async with running(settings(good, "127.0.0.1:1", engine="vllm")) as it:
            await settled(lambda: it.service.counters.scrapes_ok > 0 and it.service.counters.scrapes_failed > 0)
            status = it.service.status()
            assert (status["pools"]["p"]["endpoints"][0]["running"], list(status["scrapes_failing"])) == (
                3,
                ["127.0.0.1:1"],
            )
            it.service.apply_settings(settings(good))
            assert it.service.status()["scrapes_failing"] == {}
    finally:
        await runner.cleanup()

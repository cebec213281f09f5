"""The service finds the tokens of prompts before it picks, for models that have a tokenizer."""

import asyncio
import json
import random
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ext_proc.core.picker import Picker
from ext_proc.core.settings import (
    AdmissionSettings,
    EndpointSettings,
    KvEventSettings,
    PickerSettings,
    PoolSettings,
    ScrapeSettings,
)
from ext_proc.service import PickerService
from ext_proc.signals.pod_tls import PodTokenOf, no_token
from ext_proc.tokens.encoder import Encoder, Plan, Work
from protos.messages import load
from tests.kit.waiting import eventually
from tests.unit.ext_proc import envoy_messages as envoy
from tests.unit.ext_proc.test_service import PROCESS, Clock, ask
from tests.unit.ext_proc.tokens.test_prompts import LONG, TOKENIZER, model

POOL = PoolSettings(
    name="p",
    cluster="pool/p",
    endpoints=(EndpointSettings(address="127.0.0.1:1", engine="none"),),
    models=("m",),
    base_model="m",
    kv_events=KvEventSettings(port=1, is_exact=True),
)
SETTINGS = PickerSettings(version="v1", pools=(POOL,), models={"m": "m"}, tokenizers={"m": "file"})


def completion(prompt: str) -> bytes:
    """Envoy's only message of a request."""
    return envoy.body(json.dumps({"model": "m", "prompt": prompt}).encode())


@asynccontextmanager
async def running(
    settings: PickerSettings = SETTINGS, token: PodTokenOf = no_token
) -> AsyncIterator[tuple[PickerService, Any]]:
    """A service and a channel to it."""
    service = PickerService(Picker(settings), load(), Clock(), random.Random(1), pod_token=token)
    (bound,) = await service.start(["127.0.0.1:0"])
    try:
        async with grpc.aio.insecure_channel(bound) as channel:
            yield service, channel
    finally:
        await service.stop(0.0)


def shape(service: PickerService) -> dict[str, Any]:
    """Of the latest request."""
    found: dict[str, Any] = service.decisions(1)[0]["request"]
    return found


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Tokenising waits for it."""
    made = threading.Event()
    real = Encoder.work

    def work(self: Encoder, plan: Plan) -> Work:
        made.wait(5)
        return real(self, plan)

    monkeypatch.setattr(Encoder, "work", work)
    monkeypatch.setattr("ext_proc.tokens.prompts.WITHIN_S", 10.0)
    return made


async def test_by_text_until_the_files_are_there() -> None:
    """Then by tokens; the status says so."""
    async with running() as (service, channel):
        await ask(channel.stream_stream(PROCESS)(), completion("I think"))
        assert shape(service)["counted_by"] == "text: its tokenizer's files cannot be used"
        assert service.status()["pools"]["p"]["prefix_index"]["blocks_of"] == "text"
        service.set_models({"m": model()})
        await ask(channel.stream_stream(PROCESS)(), completion("I think"))
        assert shape(service)["counted_by"] == "tokens"
        assert shape(service)["tokens"] == len(TOKENIZER.encode("I think").ids)
        assert service.status()["pools"]["p"]["prefix_index"]["blocks_of"] == "tokens"
        assert service.token_counts is not None
        assert (service.token_counts.exact, service.token_counts.by_text) == (1, 1)


async def test_a_long_prompt_waits_in_silence(gate: threading.Event) -> None:
    """Envoy is told nothing before its answer, and others are served meanwhile."""
    async with running() as (service, channel):
        service.set_models({"m": model()})
        call = channel.stream_stream(PROCESS)()
        await call.write(completion(LONG))
        reading = asyncio.ensure_future(call.read())
        await ask(channel.stream_stream(PROCESS)(), envoy.body(b'{"model": "m", "prompt": [1, 2, 3]}'))
        assert not reading.done()
        gate.set()
        assert "x-gateway-destination-endpoint" in envoy.metadata(await asyncio.wait_for(reading, 10))
        assert shape(service)["tokens"] == len(TOKENIZER.encode(LONG).ids)


async def test_a_client_that_leaves(gate: threading.Event) -> None:
    """Nothing is reserved for it, whenever its tokens come."""
    async with running() as (service, channel):
        service.set_models({"m": model()})
        call = channel.stream_stream(PROCESS)()
        await call.write(completion(LONG))
        await eventually(lambda: service.open_streams == 1, "the stream")
        await asyncio.sleep(0.02)
        call.cancel()
        await eventually(lambda: service.open_streams == 0, "its end")
        gate.set()
        await asyncio.sleep(0.02)
        assert service.open_reservations == 0
        assert service.counters.picked == {}
        assert service.counters.internal_errors == 0


async def test_tokens_first_then_a_place(gate: threading.Event) -> None:
    """A long prompt for a full pool waits twice on one stream: for its tokens, then, as Envoy is told, for a place."""
    full = replace(POOL, admission=AdmissionSettings(max_in_flight=1))
    async with running(replace(SETTINGS, pools=(full,))) as (service, channel):
        service.set_models({"m": model()})
        first = channel.stream_stream(PROCESS)()
        await ask(first, envoy.body(b'{"model": "m", "prompt": [1, 2, 3]}'))
        call = channel.stream_stream(PROCESS)()
        await call.write(completion(LONG))
        gate.set()
        told = envoy.answer(await asyncio.wait_for(call.read(), 10))
        assert "overrideMessageTimeout" in told
        await first.done_writing()
        answer = await asyncio.wait_for(call.read(), 10)
        assert "x-gateway-destination-endpoint" in envoy.metadata(answer)
        assert shape(service)["counted_by"] == "tokens"


async def test_engines_are_asked_with_the_pools_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for everything else that they are asked."""
    monkeypatch.setattr("ext_proc.tokens.prompts.WITHIN_S", 10.0)
    seen: asyncio.Queue[str | None] = asyncio.Queue()

    async def tokenize(request: web.BaseRequest) -> web.StreamResponse:
        seen.put_nowait(request.headers.get("authorization"))
        return web.json_response({"tokens": [1]})

    server = TestServer(web.Application())
    server.app.router.add_post("/tokenize", tokenize)
    await server.start_server()
    try:
        here = EndpointSettings(address=f"{server.host}:{server.port}", engine="custom")
        pool = replace(POOL, endpoints=(here,), kv_events=None, scrape=ScrapeSettings(is_on=False))
        settings = replace(SETTINGS, pools=(pool,), tokenizers={"m": "engine"})
        async with running(settings, lambda pool: f"of {pool}") as (service, channel):
            await ask(channel.stream_stream(PROCESS)(), completion("I think"))
            assert await seen.get() == "Bearer of p"
            assert shape(service)["counted_by"] == "tokens"
    finally:
        await server.close()


async def test_engines_are_believed_with_the_files() -> None:
    """Their blocks count from then on, and are forgotten when the policy does without tokens."""
    async with running() as (service, _):
        listened: list[bool] = []
        real = service.intake.apply_settings

        def listen(settings: PickerSettings) -> None:
            events = settings.pools[0].kv_events
            listened.append(events is not None and events.is_exact)
            real(settings)

        service.intake.apply_settings = listen  # type: ignore[method-assign]
        service.set_models({"m": model()})
        service.apply_settings(SETTINGS)
        service.set_models({})
        assert listened == [True, True, False]

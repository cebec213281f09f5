"""Asking engines whether they are ready: who is, who is not and why, and what comes of broken and vanishing ones."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ext_proc.core.events import Probed
from ext_proc.core.settings import ProbeSettings
from ext_proc.signals.readiness import Ask, Readiness
from tests.unit.ext_proc.signals.test_scrape import PATIENCE_S, Engine, serving

MODELS = json.dumps({"data": [{"id": "llama"}, {"id": "sql-lora"}]}).encode()
READY = {"/health": b"", "/v1/models": MODELS}


@asynccontextmanager
async def asking() -> AsyncIterator[tuple[Readiness, "asyncio.Queue[Probed]"]]:
    """Running questions whose clock stands at 3 s."""
    told: asyncio.Queue[Probed] = asyncio.Queue()
    readiness = Readiness(on_event=told.put_nowait, clock=lambda: 3.0, rng=random.Random(1))
    try:
        yield readiness, told
    finally:
        await readiness.stop()


def ask(model: str = "llama", timeout_s: float = PATIENCE_S) -> Ask:
    """Every ten milliseconds."""
    return Ask(pool="chat", probe=ProbeSettings(interval_s=0.01, timeout_s=timeout_s), model=model)


async def first(engine: Engine, asked: Ask) -> Probed:
    """What is told of an engine first."""
    async with serving(engine), asking() as (readiness, told):
        readiness.set_endpoints({engine.address: asked})
        return await asyncio.wait_for(told.get(), PATIENCE_S)


@pytest.mark.parametrize(
    ("engine", "model", "fault"),
    [
        (Engine(pages=dict(READY)), "llama", ""),
        (Engine(pages=dict(READY)), "sql-lora", ""),
        (Engine(pages=dict(READY)), "qwen", "it does not serve qwen"),
        (Engine(pages={"/health": b""}), "llama", ""),
        (Engine(pages={"/health": b""}, statuses={"/v1/models": 500}), "llama", "/v1/models: HTTP 500"),
        (Engine(pages={"/health": b"", "/v1/models": b"<html>"}), "llama", "JSON is malformed"),
        (Engine(pages={"/health": b"", "/v1/models": b"<html>"}), "", ""),
        (Engine(pages={"/v1/models": MODELS}), "llama", "/health: HTTP 404"),
        (Engine(pages={"/v1/models": MODELS}, statuses={"/health": 503}), "llama", "/health: HTTP 503"),
    ],
)
async def test_who_is_ready(engine: Engine, model: str, fault: str) -> None:
    """The page of health answers, and the model is there where there is a list."""
    found = await first(engine, ask(model))
    assert (found.address, found.at, found.is_refused) == (engine.address, 3.0, False)
    assert found.fault.startswith(fault)
    assert bool(found.fault) == bool(fault)


async def test_the_bound() -> None:
    """An answer that does not come in time is none."""
    engine = Engine(stall=asyncio.Event(), pages=dict(READY))
    assert (await first(engine, ask(timeout_s=0.02))).fault == "no answer within 0.02 s"


async def test_nobody_listens() -> None:
    """That is more than being not ready."""
    async with serving(Engine(pages=dict(READY))) as engine:
        address = engine.address
    async with asking() as (readiness, told):
        readiness.set_endpoints({address: ask()})
        found = await asyncio.wait_for(told.get(), PATIENCE_S)
        assert found.is_refused
        assert found.fault.startswith("/health: cannot connect")


async def test_again_and_again() -> None:
    """As long as it is wanted so; asked otherwise from then on, and who leaves is left alone."""
    async with serving(Engine(pages=dict(READY))) as engine, asking() as (readiness, told):
        readiness.set_endpoints({})
        readiness.set_endpoints({engine.address: ask()})
        for _ in range(3):
            assert not (await asyncio.wait_for(told.get(), PATIENCE_S)).fault
        readiness.set_endpoints({engine.address: ask("qwen")})
        while not (await asyncio.wait_for(told.get(), PATIENCE_S)).fault:
            pass
        readiness.set_endpoints({})
        await readiness.stop()
        assert engine.now == 0
        before = engine.seen
        await asyncio.sleep(0.05)
        assert engine.seen == before

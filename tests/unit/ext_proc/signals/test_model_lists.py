"""Asking engines for their models: what counts as a list, and what comes of good, closed, broken and vanishing ones."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ext_proc.core.events import ModelsListed
from ext_proc.core.loaded_models import MAX_NAMES
from ext_proc.signals.model_lists import INTERVAL_S, MAX_LIST_BYTES, MISSING_S, PATH, ModelLists, names_in
from tests.unit.ext_proc.signals.test_scrape import PATIENCE_S, Engine, serving

VLLM = {
    "object": "list",
    "data": [
        {"id": "qwen", "object": "model", "root": "Qwen/Qwen2.5", "parent": None},
        {"id": "sql-lora", "object": "model", "root": "/adapters/sql", "parent": "qwen"},
    ],
}
ROUTER = {
    "data": [{"id": "a", "status": {"value": "loaded"}}, {"id": "b", "status": {"value": "unloaded"}}, {"id": "c"}],
    "models": [{"name": "x"}],
}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (VLLM, {"qwen", "sql-lora"}),
        (ROUTER, {"a", "c"}),
        ({"data": []}, set()),
        ({"data": [{"id": 5}, {"id": None}, {}, {"id": ""}, {"id": "m" * 2_000}, {"id": "m", "status": "odd"}]}, {"m"}),
    ],
)
def test_names(page: object, expected: set[str]) -> None:
    """Models and adapters; not what a router could load; what is no name is left out."""
    assert names_in(json.dumps(page).encode()) == expected


@pytest.mark.parametrize(
    "page", [b"", b"[]", b"{}", b'{"data": {}}', b'{"data": [5]}', b"\xff", b"[" * 100_000, b" " * (MAX_LIST_BYTES + 1)]
)
def test_what_is_no_list(page: bytes) -> None:
    """It is refused, however it is broken."""
    with pytest.raises((ValueError, RecursionError)):
        names_in(page)


def test_endless_lists() -> None:
    """No more names than are kept anyway, the first ones in the alphabet."""
    page = {"data": [{"id": f"m{number:05}"} for number in range(MAX_NAMES + 5)]}
    assert len(names_in(json.dumps(page).encode())) == MAX_NAMES


@asynccontextmanager
async def asking(interval_s: float = 0.01) -> AsyncIterator[tuple[ModelLists, "asyncio.Queue[ModelsListed]"]]:
    """Running lists whose clock stands at 3 s."""
    told: asyncio.Queue[ModelsListed] = asyncio.Queue()
    lists = ModelLists(on_event=told.put_nowait, clock=lambda: 3.0, rng=random.Random(1), interval_s=interval_s)
    try:
        yield lists, told
    finally:
        await lists.stop()


async def test_a_list_is_told_again_and_again() -> None:
    """With the address and the time."""
    async with serving(Engine(page=json.dumps(VLLM))) as engine, asking() as (lists, told):
        lists.set_endpoints({engine.address: "chat"})
        for _ in range(2):
            event = await asyncio.wait_for(told.get(), PATIENCE_S)
            assert event == ModelsListed(address=engine.address, at=3.0, models=frozenset({"qwen", "sql-lora"}))
        assert set(engine.asked) == {PATH}


async def test_who_is_not_wanted_is_not_asked() -> None:
    """Nobody at first; who leaves is left alone."""
    async with serving(Engine(page=json.dumps(VLLM))) as engine, asking() as (lists, told):
        lists.set_endpoints({})
        lists.set_endpoints({engine.address: "chat"})
        await asyncio.wait_for(told.get(), PATIENCE_S)
        lists.set_endpoints({})
        await lists.stop()
        assert engine.now == 0
        before = engine.seen
        await asyncio.sleep(0.05)
        assert engine.seen == before


@pytest.mark.parametrize(
    ("status", "page", "expected"),
    [
        (404, "", MISSING_S),
        (401, "", MISSING_S),
        (500, "", INTERVAL_S),
        (200, "no", INTERVAL_S),
        (200, '{"data": []}', INTERVAL_S),
    ],
)
async def test_the_next_question(status: int, page: str, expected: float) -> None:
    """Later where there is no such page; a broken list tells nothing, an empty one that nothing is loaded."""
    async with serving(Engine(status=status, page=page)) as engine, asking(INTERVAL_S) as (lists, told):
        lists.set_endpoints({engine.address: "chat"})
        assert await lists._ask(engine.address, "chat") == expected
        assert told.qsize() == (page == '{"data": []}')


async def test_an_engine_that_is_busy_is_left_alone() -> None:
    """For as long as it asks, and at least for the interval."""
    async with serving(Engine(status=503, headers={"retry-after": "25"})) as engine, asking(INTERVAL_S) as (lists, _):
        lists.set_endpoints({engine.address: "chat"})
        assert await lists._ask(engine.address, "chat") == 25.0

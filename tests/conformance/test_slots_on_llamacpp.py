"""The model of slots, held against a real llama.cpp server: the same requests, the same hits, similar times."""

import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.sidecar.leash import leashed
from sim.engine import Finished, FirstToken, Profile, Request
from sim.slots import SlotEngine
from tests.kit.llama_server import CONTEXT, SLOTS
from tests.kit.ports import free_ports
from tests.kit.tiny_gguf import write_tiny_llama

pytestmark = pytest.mark.e2e

PROFILE = Profile(
    block_size=1,
    kv_blocks=CONTEXT,
    max_batch=SLOTS,
    token_budget=2_048,  # llama.cpp's --batch-size
    prefill_tokens_per_s=120_000.0,
    step_base_ms=1.0,
    attention_ns_per_pair=18.5,
)
"""The tiny model on one core, roughly: its layers are so narrow that attention is most of a long prompt's time. Blocks
of one token, because llama.cpp finds a prefix to the token."""

RAM_TOKENS = 10_000_000
"""More than any sequence here: llama.cpp keeps 8 GiB of prompts."""

VOCABULARY = 200
ANSWER = 4


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a llama.cpp server on a tiny random model."""
    model = tmp_path / "tiny.gguf"
    write_tiny_llama(model)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        leashed(sys.executable, "-m", "tests.kit.llama_server", str(model), str(port)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while not await _is_healthy(session, url):
                await asyncio.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


async def _is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def complete(url: str, prompt: list[int], answer: int) -> dict[str, Any]:
    """What the server says of one prompt of token numbers; a connection each, because the server closes them."""
    body = {"prompt": prompt, "n_predict": answer, "ignore_eos": True, "temperature": 0, "return_tokens": True}
    async with aiohttp.ClientSession() as session, session.post(f"{url}/completion", json=body) as response:
        assert response.status == 200
        said: dict[str, Any] = await response.json(content_type=None)
        return said


def chained(tokens: list[int]) -> tuple[int, ...]:
    """Hashes of blocks of one token, each over all before it."""
    hashes, head = [], 0
    for token in tokens:
        head = hash((head, token))
        hashes.append(head)
    return tuple(hashes)


def conversations(rng: random.Random, count: int) -> list[list[int]]:
    """Prompts of chats that take turns: some begin like others, some go on (with other words than the answer's)."""
    systems = [_some(rng, length) for length in (20, 20, 200, 200, 600, 600)]
    open_chats: list[list[int]] = []
    prompts = []
    for _ in range(count):
        if open_chats and rng.random() < 0.4:
            chat = rng.choice(open_chats)
            chat += _some(rng, rng.choice([1, 30, 200]))
            if len(chat) > 1_500:
                open_chats.remove(chat)
        else:
            chat = rng.choice(systems) + _some(rng, rng.choice([1, 50, 300]))
            open_chats.append(chat)
        prompts.append(list(chat))
    return prompts


def _some(rng: random.Random, count: int) -> list[int]:
    return [rng.randrange(VOCABULARY) for _ in range(count)]


def serve(engine: SlotEngine, request: Request, now: float) -> tuple[int, float, float]:
    """Cached tokens, seconds to the first token, and the time of the end, of a request that comes alone."""
    engine.submit(request, now)
    cached, first, end = 0, 0.0, now
    while (at := engine.next_event_at()) is not None:
        for event in engine.advance(at):
            if isinstance(event, FirstToken):
                first = event.at - now
            elif isinstance(event, Finished):
                cached, end = event.usage.cached_tokens, event.at
    return cached, first, end


async def test_the_same_requests_hit_the_same_tokens(server: str) -> None:
    """60 requests of chats that share beginnings: each finds to the token what the model says, some of it in RAM."""
    engine = SlotEngine(replace(PROFILE, ram_tokens=RAM_TOKENS))
    plain = SlotEngine(PROFILE)
    now = 0.0
    real, modelled, without_ram = [], [], []
    for index, prompt in enumerate(conversations(random.Random(5), 60)):
        said = await complete(server, prompt, ANSWER)
        # The answer's tokens stay in the slot too, and a later prompt can begin with them by chance.
        request = Request(str(index), chained(prompt + said["tokens"]), len(prompt), ANSWER)
        real.append(said["timings"]["cache_n"])
        cached, _, end = serve(engine, request, now)
        modelled.append(cached)
        without_ram.append(serve(plain, request, now)[0])
        now = end + 1.0
    assert modelled == real
    assert sum(cached > 0 for cached in real) > 30
    assert sum(without_ram) < sum(real), "this sequence never needed the prompts in main memory"


@pytest.mark.long
async def test_first_token_times_correlate(server: str) -> None:
    """Prompts of 100 to 3,500 tokens, cold and half cached: r > 0.9 between real and modelled first-token times."""
    engine = SlotEngine(replace(PROFILE, ram_tokens=RAM_TOKENS))
    rng = random.Random(6)
    now = 0.0
    real: dict[tuple[int, bool], float] = {}
    modelled: dict[tuple[int, bool], float] = {}
    for length in [100, 300, 700, 1_200, 1_800, 2_500, 3_500] * 3:
        prompt = _some(rng, length)
        for is_cold, tokens in ((True, prompt), (False, prompt[: length // 2] + _some(rng, length // 2))):
            began = time.perf_counter()
            said = await complete(server, tokens, 1)
            took = time.perf_counter() - began
            cached, first, end = serve(engine, Request(str(now), chained(tokens), len(tokens), 1), now)
            assert cached == said["timings"]["cache_n"]
            # The least of three: what else the machine does only makes it longer.
            real[length, is_cold] = min(took, real.get((length, is_cold), took))
            modelled[length, is_cold] = first
            now = end + 1.0
    assert statistics.correlation(list(real.values()), [modelled[key] for key in real]) > 0.9

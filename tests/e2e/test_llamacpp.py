"""Three real llama.cpp servers behind Envoy: a pick really hits a real cache."""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from control_plane.demo.conversations import Conversation, text
from control_plane.sidecar.leash import leashed
from ext_proc.signals.fetch import PageClient
from ext_proc.signals.probe import probe_url
from tests.kit.llama_server import CONTEXT, SLOTS
from tests.kit.mesh import PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.tiny_gguf import LAYERS, write_tiny_llama

pytestmark = pytest.mark.alone

SERVERS = 3
WAITING = 2
ANSWER = 1_000
"""Tokens: long enough to be looked at."""
CONVERSATIONS = 4
TURNS = 4

QUICK_LAYERS, SLOW_LAYERS = 4, 24
SHARED_REQUESTS = 80


@asynccontextmanager
async def llama_servers(directory: Path, count: int, layers: Sequence[int] = ()) -> AsyncIterator[list[str]]:
    """`count` llama.cpp servers on tiny random models; their addresses, once they are healthy.

    `layers` are those of each server's model, where they are not all alike.
    """
    models = []
    for number in layers or [LAYERS] * count:
        models.append(directory / f"tiny-{number}.gguf")
        if not models[-1].exists():
            write_tiny_llama(models[-1], layers=number)
    ports = free_ports(count)
    processes = [
        subprocess.Popen(
            leashed(sys.executable, "-m", "tests.kit.llama_server", str(model), str(port)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for model, port in zip(models, ports, strict=True)
    ]
    try:
        addresses = [f"127.0.0.1:{port}" for port in ports]
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            for address in addresses:
                while not await _is_healthy(session, address):
                    await asyncio.sleep(0.1)
        yield addresses
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def _is_healthy(session: aiohttp.ClientSession, address: str) -> bool:
    try:
        async with session.get(f"http://{address}/health") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def cached_under(directory: Path, addresses: list[str], strategy: str, seed: int) -> list[list[int]]:
    """Cached tokens of each turn of each conversation under a strategy; the seed makes conversations unseen so far."""
    policy = PolicyText(pools={"real": addresses}, models={"tiny": "real"}, strategy=strategy, engine="llamacpp")
    directory.mkdir()
    async with mesh(directory, policy) as running:
        conversations = [Conversation(seed + number, 150) for number in range(CONVERSATIONS)]
        cached: list[list[int]] = [[] for _ in conversations]
        for _ in range(TURNS):
            for number, conversation in enumerate(conversations):
                answer = await running.chat("tiny", conversation.ask(), max_tokens=8, stream=False)
                assert answer.ok, answer.error
                conversation.answered(f"answer {number}")
                cached[number].append(answer.cached_tokens)
        return cached


async def test_repeated_prefixes_hit_real_caches(tmp_path: Path) -> None:
    """Under kv-aware every later turn finds cached tokens, and in sum markedly more than under round-robin."""
    async with llama_servers(tmp_path, SERVERS) as addresses:
        blind = await cached_under(tmp_path / "round-robin", addresses, "round-robin", 100)
        aware = await cached_under(tmp_path / "kv-aware", addresses, "kv-aware", 200)
        assert all(turn > 0 for turns in aware for turn in turns[1:])
        assert sum(map(sum, aware)) > 1.3 * sum(map(sum, blind))


async def test_shares_follow_speed(tmp_path: Path) -> None:
    """Of two servers whose models differ in depth, nobody said by how much, the faster one gets clearly more."""
    async with llama_servers(tmp_path, 2, layers=[QUICK_LAYERS, SLOW_LAYERS]) as (quick, slow):
        policy = PolicyText(pools={"real": [slow, quick]}, models={"tiny": "real"}, engine="llamacpp")
        async with mesh(tmp_path, policy) as running:
            numbers = iter(range(SHARED_REQUESTS))
            decisions = []

            async def work() -> None:
                for number in numbers:
                    answer = await running.chat("tiny", text(number, 150), max_tokens=16)
                    assert answer.ok, answer.error
                    decisions.append(answer.decision)

            await asyncio.gather(*(work() for _ in range(2 * SLOTS)))
            served = Counter([(await running.decision(each))["outcome"]["served"] for each in decisions])
    assert served[quick] >= 1.5 * served[slow], served
    assert served[slow] >= 5, "it is slow, not gone"


async def test_a_real_server_is_read(tmp_path: Path) -> None:
    """With more requests than slots: the batch is full, the others wait, memory is in use; and afterwards it is all
    counted."""
    async with llama_servers(tmp_path, 1) as (address,), aiohttp.ClientSession() as session:
        client = PageClient(timeout_s=10)

        async def generate(number: int) -> None:
            # Words of its own, so that no slot has them in its cache.
            body = {"prompt": f"{number} " * 100, "n_predict": ANSWER, "ignore_eos": True}
            async with session.post(f"http://{address}/completion", json=body) as response:
                assert response.status == 200
                await response.read()

        try:
            idle = (await probe_url(f"http://{address}", client)).scrape
            assert (idle.running, idle.waiting, idle.kv_usage, idle.generation_tokens) == (0, 0, 0.0, 0)
            assert (idle.max_running, idle.kv_tokens) == (SLOTS, CONTEXT)
            requests = [asyncio.create_task(generate(number)) for number in range(SLOTS + WAITING)]
            async with asyncio.timeout(60):
                while True:
                    assert not any(request.done() for request in requests), "they ended before they were seen"
                    busy = await probe_url(f"http://{address}", client)
                    if (busy.scrape.running, busy.scrape.waiting) == (SLOTS, WAITING) and busy.scrape.kv_usage:
                        break
                await asyncio.gather(*requests)
            assert busy.adapter is not None
            assert busy.adapter.engine == "llamacpp"
            ended = (await probe_url(f"http://{address}", client)).scrape
            assert (ended.running, ended.waiting, ended.generation_tokens) == (0, 0, ANSWER * (SLOTS + WAITING))
            assert (ended.prompt_tokens or 0) > 100 * (SLOTS + WAITING)
        finally:
            await client.close()

"""A real vLLM on a CPU, with a tiny random model: what is read of it is what it did.

`make e2e-vllm` installs it into an environment of its own; without that, these tests are skipped.
"""

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.demo.conversations import Conversation
from control_plane.sidecar.leash import leashed
from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.token_blocks import token_block_hashes
from ext_proc.signals.fetch import PageClient
from ext_proc.signals.kv_feed import KvSource
from ext_proc.signals.probe import Probe, probe_url
from tests.conformance.test_kv_events_zmq import Listener, listening
from tests.kit.mesh import PolicyText, mesh
from tests.kit.ports import quiet_ports
from tests.kit.tiny_vllm import (
    BLOCK_TOKENS as ENGINE_BLOCK_TOKENS,
)
from tests.kit.tiny_vllm import (
    KV_TOKENS,
    MODEL,
    arguments,
    environment,
    write_tiny_model,
)
from tests.kit.waiting import eventually

PYTHON = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
START_S = 180
"""It imports PyTorch twice: 35 s on a quiet machine."""

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="vLLM is installed by `make e2e-vllm`")


@dataclass(frozen=True, slots=True)
class Vllm:
    """The running server."""

    model: Path
    port: int
    kv_port: int
    replay_port: int

    @property
    def address(self) -> str:
        """Of its API."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of its API."""
        return f"http://{self.address}"

    @property
    def source(self) -> KvSource:
        """Where it tells of its cache."""
        return KvSource(port=self.kv_port, replay_port=self.replay_port, is_exact=True, model=MODEL)


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """One server for all tests of this module; their prompts have nothing in common."""
    directory = tmp_path_factory.mktemp("vllm")
    write_tiny_model(directory / "model")
    found = Vllm(directory / "model", *quiet_ports(3))
    log = directory / "log"
    with log.open("wb") as output:
        words = leashed(str(PYTHON), *arguments(directory / "model", found.port, found.kv_port, found.replay_port))
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment(), cwd=directory
        )
    try:
        asyncio.run(_healthy(found.url, process, log))
        yield found
    finally:
        process.terminate()  # it ends its engine's process, too
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            assert process.poll() is None, log.read_text()[-4_000:]
            try:
                async with session.get(f"{url}/health") as response:
                    return response.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, "vLLM to be healthy", START_S)


@asynccontextmanager
async def client(vllm: Vllm) -> AsyncIterator["Client"]:
    """Somebody who asks vLLM."""
    async with aiohttp.ClientSession() as session:
        pages = PageClient(timeout_s=10)
        try:
            yield Client(vllm, session, pages)
        finally:
            await pages.close()


@dataclass(frozen=True, slots=True)
class Client:
    """Requests to vLLM itself."""

    vllm: Vllm
    session: aiohttp.ClientSession
    pages: PageClient

    async def post(self, path: str, **body: Any) -> Any:
        """The JSON answer."""
        async with self.session.post(f"{self.vllm.url}{path}", json={"model": MODEL, **body}) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def probe(self) -> Probe:
        """What `kvpilot probe` sees."""
        return await probe_url(self.vllm.url, self.pages)


def prompt(word: str, count: int) -> str:
    """A text that begins with a word of its own."""
    return f"{word} " * count


async def test_the_scraper(vllm: Vllm) -> None:
    """Sizes are those it was started with, a running request is seen, and its counters are the sums of its answers."""
    async with client(vllm) as asked:
        idle = await asked.probe()
        assert idle.adapter is not None
        assert idle.adapter.engine == "vllm"
        before = idle.scrape
        assert (before.running, before.waiting, before.kv_usage) == (0, 0, 0.0)
        assert (before.block_size, before.kv_tokens) == (ENGINE_BLOCK_TOKENS, KV_TOKENS)
        assert before.is_asleep is False
        text = prompt("scraper", 100)
        long = asyncio.create_task(asked.post("/v1/completions", prompt=text, max_tokens=1_000, ignore_eos=True))

        async def is_seen() -> bool:
            assert not long.done(), "it ended before it was seen"
            seen = (await asked.probe()).scrape
            return (seen.running, seen.waiting) == (1, 0) and bool(seen.kv_usage)

        await eventually(is_seen, "a running request in the metrics")
        first = (await long)["usage"]
        second = (await asked.post("/v1/completions", prompt=text, max_tokens=1))["usage"]
        after = (await asked.probe()).scrape
        assert (after.running, after.waiting) == (0, 0)
        assert (after.generation_tokens or 0) - (before.generation_tokens or 0) == 1_001
        cached = second["prompt_tokens_details"]["cached_tokens"]
        assert cached > 0
        assert (after.prefix_hits or 0) - (before.prefix_hits or 0) == cached
        asked_for = first["prompt_tokens"] + second["prompt_tokens"]
        assert (after.prefix_queries or 0) - (before.prefix_queries or 0) == asked_for


async def test_kv_events_are_what_tokenize_says(vllm: Vllm) -> None:
    """The blocks that it says it has are those of the prompt's tokens, live and by replay; then none is new."""
    async with client(vllm) as asked, listening({vllm.address: vllm.source}) as live:
        text = prompt("events", 150)
        tokens = (await asked.post("/tokenize", prompt=text))["tokens"]
        usage = (await asked.post("/v1/completions", prompt=text, max_tokens=1))["usage"]
        assert usage["prompt_tokens"] == len(tokens)
        wanted = set(token_block_hashes(tokens, MODEL)[: len(tokens) // BLOCK_TOKENS])
        assert len(wanted) > 5

        def holds(listener: Listener) -> bool:
            return wanted <= listener.held.get(vllm.address, set())

        await eventually(lambda: holds(live), "the prompt's blocks")
        number = len(live.told)
        again = (await asked.post("/v1/completions", prompt=text, max_tokens=1))["usage"]
        assert again["prompt_tokens_details"]["cached_tokens"] >= len(wanted) * BLOCK_TOKENS - BLOCK_TOKENS
        async with listening({vllm.address: vllm.source}) as late:
            await eventually(lambda: holds(late), "the prompt's blocks by replay")
            assert late.held == live.held
        assert len(live.told) == number
        counters = live.events.counters
        assert (counters.undecodable, counters.skipped, counters.cleared) == (0, 0, Counter())


async def test_salted_prompts_are_others(vllm: Vllm) -> None:
    """A cache salt is told with the blocks, and they are named as we name them."""
    async with client(vllm) as asked, listening({vllm.address: vllm.source}) as live:
        text = prompt("salted", 100)
        tokens = (await asked.post("/tokenize", prompt=text))["tokens"]
        await asked.post("/v1/completions", prompt=text, max_tokens=1, cache_salt="acme")
        wanted = set(token_block_hashes(tokens, MODEL, "acme")[: len(tokens) // BLOCK_TOKENS])
        await eventually(lambda: wanted <= live.held.get(vllm.address, set()), "the salted blocks")
        plain = (await asked.post("/v1/completions", prompt=text, max_tokens=1))["usage"]
        assert plain["prompt_tokens_details"]["cached_tokens"] == 0


async def test_tokens_of_a_chat(vllm: Vllm) -> None:
    """`/tokenize` gives for messages exactly the tokens that the engine then computes."""
    async with client(vllm) as asked:
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt("why", 40)}]
        tokens = (await asked.post("/tokenize", messages=messages))["tokens"]
        usage = (await asked.post("/v1/chat/completions", messages=messages, max_tokens=1))["usage"]
        assert usage["prompt_tokens"] == len(tokens)


async def test_predicted_and_cached(vllm: Vllm, tmp_path: Path) -> None:
    """Through Envoy: of each turn of a conversation about as much is cached as was predicted, first none, then most."""
    policy = PolicyText(pools={"real": [vllm.address]}, models={MODEL: "real"}, engine="vllm")
    async with mesh(tmp_path, policy) as running:
        conversation = Conversation(1, 250)
        for turn in range(4):
            answer = await running.chat(MODEL, conversation.ask(), max_tokens=8, stream=turn % 2 == 0)
            assert answer.ok, answer.error
            conversation.answered("so be it")
            record = await running.decision(answer.decision)
            outcome = record["outcome"]
            assert outcome["cached_tokens"] == answer.cached_tokens
            # Shares, for without a tokenizer the numbers are estimates; in whole blocks of ours, of which one may end
            # in the midst of what is cached, and one beyond.
            tokens = record["request"]["tokens"]
            cached = answer.cached_tokens / answer.prompt_tokens
            assert cached == pytest.approx(record["predicted"]["cached_tokens"] / tokens, abs=2 * BLOCK_TOKENS / tokens)
            assert (cached == 0) == (turn == 0)
        assert cached > 0.5


@pytest.mark.parametrize("source", ["file", "engine"])
async def test_precise(vllm: Vllm, tmp_path: Path, source: str) -> None:
    """With its tokens and its events, a prompt's length is known to the token and its hits to a block of ours."""
    files = f"{{file: {vllm.model}/tokenizer.json, config: {vllm.model}/tokenizer_config.json}}"
    policy = f"""\
kvpilot: v1
listeners: [{{name: openai, address: LISTEN, picker: {{explain: always}}}}]
models: [{{name: {MODEL}, pool: real, tokenizer: {files if source == "file" else "{from: engine}"}}}]
pools:
  real:
    endpoints: [{{address: {vllm.address}}}]
    kvEvents: {{port: {vllm.kv_port}, replayPort: {vllm.replay_port}}}
    prefixIndex: {{mode: precise}}
"""
    async with mesh(tmp_path, PolicyText(text=policy)) as running:
        conversation = Conversation({"file": 2, "engine": 3}[source], 250)
        for turn in range(4):
            answer = await running.chat(MODEL, conversation.ask(), max_tokens=8)
            assert answer.ok, answer.error
            conversation.answered("so be it")
            record = await running.decision(answer.decision)
            assert record["request"]["tokens"] == answer.prompt_tokens, turn
            if turn:  # before, the events of other tests may or may not have been heard
                predicted = record["predicted"]["cached_tokens"]
                assert predicted > 0
                assert 0 <= answer.cached_tokens - predicted < BLOCK_TOKENS, turn


async def test_load_in_answers(vllm: Vllm, tmp_path: Path) -> None:
    """It tells its load beside whole answers when it is asked to, and the client sees nothing of it."""
    policy = f"""\
kvpilot: v1
listeners: [{{name: openai, address: LISTEN, picker: {{explain: always}}}}]
models: [{{name: {MODEL}, pool: real}}]
feedback: {{orca: {{ask: TEXT, hide: true}}}}
pools: {{real: {{scrape: off, endpoints: [{{address: {vllm.address}}}]}}}}
"""
    async with mesh(tmp_path, PolicyText(text=policy)) as running:
        answer = await running.chat(MODEL, prompt("load", 50), max_tokens=4, stream=False)
        assert answer.ok, answer.error
        assert "endpoint-load-metrics" not in answer.headers

        async def is_told() -> Any:
            (found,) = (await running.kvpilot.get("/status"))["pools"]["real"]["endpoints"]
            return {name: (each["value"], each["source"]) for name, each in found["told"].items()}

        told = await eventually(is_told, "the load of an answer")
        assert told["waiting"] == (0, "orca")
        assert told["kv_usage"][1] == "orca"

"""The APIs of a live pod, over real HTTP."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sim.engine import Profile
from sim.pod import Pod, PodSpec
from tests.kit.waiting import eventually
from tests.unit.sim.live import LONG_ANSWER

CHAT = "/v1/chat/completions"
PROMPT = "a prompt that is long enough for several blocks of the cache " * 10


def chat(content: str = PROMPT, **fields: Any) -> dict[str, Any]:
    """A chat body."""
    return {"model": "m", "messages": [{"role": "user", "content": content}], **fields}


@pytest.fixture
async def sdk(pod: Pod) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's own client, without retries that would hide an error."""
    async with openai.AsyncOpenAI(base_url=f"http://{pod.address}/v1", api_key="none", max_retries=0) as made:
        yield made


async def scraped(client: aiohttp.ClientSession) -> dict[str, float]:
    """Samples of `/metrics` by name; of several with one name the sum."""
    async with client.get("/metrics") as answer:
        families = list(text_string_to_metric_families(await answer.text()))
    values: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        values[sample.name] = values.get(sample.name, 0.0) + sample.value
    return values


async def test_the_sdk_reads_a_whole_chat_answer(sdk: openai.AsyncOpenAI) -> None:
    """Text, reason and usage arrive; a repeated prompt is answered the same, from the cache."""
    answers = [
        await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": PROMPT}], max_tokens=3)
        for _ in range(2)
    ]
    first, second = answers
    assert first.usage is not None
    assert second.usage is not None
    assert first.choices[0].message.content == second.choices[0].message.content
    assert first.choices[0].finish_reason == "length"
    assert first.usage.completion_tokens == 3
    assert first.usage.prompt_tokens_details is not None
    assert second.usage.prompt_tokens_details is not None
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    cached = second.usage.prompt_tokens_details.cached_tokens or 0
    assert second.usage.prompt_tokens - 16 <= cached < second.usage.prompt_tokens


async def test_the_sdk_reads_a_chat_stream(sdk: openai.AsyncOpenAI) -> None:
    """The chunks add up to the whole answer, with usage at the end when asked for."""
    whole = await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    text, usage = "", None
    async for chunk in await sdk.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": "x"}],
        stream=True,
        stream_options={"include_usage": True},
    ):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == whole.choices[0].message.content
    assert usage is not None
    assert (usage.completion_tokens, whole.choices[0].finish_reason) == (16, "stop")


async def test_the_sdk_reads_completions(sdk: openai.AsyncOpenAI) -> None:
    """Whole and streamed completions agree."""
    whole = await sdk.completions.create(model="m", prompt=PROMPT, max_tokens=4)
    parts = [
        chunk.choices[0].text
        async for chunk in await sdk.completions.create(model="m", prompt=PROMPT, max_tokens=4, stream=True)
    ]
    assert "".join(parts) == whole.choices[0].text


async def test_the_sdk_reads_responses(sdk: openai.AsyncOpenAI) -> None:
    """Whole and streamed responses agree."""
    whole = await sdk.responses.create(model="m", input="x")
    async with sdk.responses.stream(model="m", input="x") as stream:
        streamed = await stream.get_final_response()
    assert whole.output_text == streamed.output_text
    assert whole.status == "completed"


async def test_the_sdk_reads_embeddings_and_models(sdk: openai.AsyncOpenAI) -> None:
    """The SDK asks for base64 by itself and decodes it; both served names are listed."""
    answer = await sdk.embeddings.create(model="m", input=["a", "b"])
    assert [len(row.embedding) for row in answer.data] == [8, 8]
    assert [model.id async for model in sdk.models.list()] == ["m", "m-alias"]


async def test_messages_whole_and_streamed(client: aiohttp.ClientSession) -> None:
    """Anthropic's API answers in its own shape."""
    body = chat(max_tokens=3)
    async with client.post("/v1/messages", json=body) as answer:
        whole = await answer.json()
    async with client.post("/v1/messages", json={**body, "stream": True}) as answer:
        lines = (await answer.text()).splitlines()
    deltas = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    text = "".join(event["delta"]["text"] for event in deltas if event["type"] == "content_block_delta")
    assert whole["content"] == [{"type": "text", "text": text}]
    assert [line for line in lines if line.startswith("event: ")][-1] == "event: message_stop"


async def test_headers_of_a_stream_come_before_its_first_token(client: aiohttp.ClientSession, pod: Pod) -> None:
    """The status is there while the engine still computes, as in real engines."""
    await pod.set_fault({"kind": "slow", "factor": 1e9})
    async with client.post(CHAT, json=chat(stream=True)) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["x-pod"] == "pod-a"
        assert pod.engine.gauges().generation_tokens == 0


async def test_a_client_that_leaves_aborts_its_request(client: aiohttp.ClientSession, pod: Pod) -> None:
    """Streamed or whole, the engine stops working for a client that is gone and frees its memory."""
    async with client.post(CHAT, json=chat(stream=True, max_tokens=LONG_ANSWER)) as answer:
        await answer.content.readline()
    await eventually(lambda: pod.engine.unfinished == 0 and pod.engine.cache.used == 0)
    waiting = asyncio.ensure_future(client.post(CHAT, json=chat(max_tokens=LONG_ANSWER)))
    await eventually(lambda: pod.engine.unfinished == 1)
    waiting.cancel()
    await eventually(lambda: pod.engine.unfinished == 0 and pod.engine.cache.used == 0)
    assert pod.engine.gauges().aborted == 2


async def test_metrics_tell_what_was_done(client: aiohttp.ClientSession) -> None:
    """After two equal prompts the counters show both, the second from the cache."""
    for _ in range(2):
        async with client.post(CHAT, json=chat(max_tokens=2)) as answer:
            usage = (await answer.json())["usage"]
    values = await scraped(client)
    assert values["vllm:prompt_tokens_total"] == 2 * usage["prompt_tokens"]
    assert values["vllm:prefix_cache_hits_total"] == usage["prompt_tokens_details"]["cached_tokens"]
    assert values["vllm:generation_tokens_total"] == 4
    assert values["vllm:request_success_total"] == values["vllm:time_to_first_token_seconds_count"] == 2
    assert values["vllm:num_requests_running"] == values["vllm:kv_cache_usage_perc"] == 0


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        (CHAT, b'{"model": "other", "messages": [{"role": "user", "content": "x"}]}', 404, "NotFoundError"),
        (CHAT, b"{", 400, "BadRequestError"),
        (CHAT, b'{"model": "m"}', 400, "BadRequestError"),
        (CHAT, b'{"model": "m", "messages": [{"role": "user"}], "max_tokens": 60000}', 400, "BadRequestError"),
        ("/v1/embeddings", b'{"model": "other", "input": "x"}', 404, "NotFoundError"),
    ],
)
async def test_errors_look_like_those_of_vllm(
    client: aiohttp.ClientSession, path: str, body: bytes, status: int, kind: str
) -> None:
    """A wrong model is 404, a bad body or too long a request 400, each as a JSON error that names its kind."""
    async with client.post(path, data=body) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["type"]) == (status, status, kind)


async def test_errors_of_messages_look_like_anthropics(client: aiohttp.ClientSession) -> None:
    """`/v1/messages` has its own error shape."""
    async with client.post("/v1/messages", json=chat(model="other", max_tokens=1)) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (404, "not_found_error")


async def test_a_full_queue_refuses() -> None:
    """With a bounded queue the pod answers like a busy vLLM, and counts it."""
    full = Profile(max_waiting=0, step_base_ms=1.0)
    async with (
        Pod(PodSpec(name="full", models=("m",), profile=full)) as pod,
        aiohttp.ClientSession(f"http://{pod.address}") as client,
        client.post(CHAT, json=chat()) as answer,
    ):
        assert answer.status == 503
        assert (await answer.json())["error"]["type"] == "Service Unavailable"
        assert (await scraped(client))["vllm:admission_rejections_total"] == 1


async def test_other_paths_and_methods(client: aiohttp.ClientSession) -> None:
    """Health and version answer, unknown paths are 404, wrong methods 405."""
    expected = {("GET", "/health"): 200, ("GET", "/version"): 200, ("GET", "/nope"): 404}
    expected |= {("GET", CHAT): 405, ("POST", "/v1/models"): 405}
    for (method, path), status in expected.items():
        async with client.request(method, path) as answer:
            assert answer.status == status


async def test_a_long_prompt_passes() -> None:
    """A body of several megabytes, beyond common limits, is read and served."""
    wide = Profile(kv_blocks=100_000, token_budget=1_000_000, prefill_tokens_per_s=1e9, step_base_ms=1.0)
    body = io.BytesIO(json.dumps({"model": "m", "prompt": "x" * 3_000_000, "max_tokens": 1}).encode())
    async with (
        Pod(PodSpec(name="wide", models=("m",), profile=wide)) as pod,
        aiohttp.ClientSession(f"http://{pod.address}") as client,
        client.post("/v1/completions", data=body) as answer,
    ):
        assert (await answer.json())["usage"]["prompt_tokens"] == 750_000


async def test_load_headers_of_answers_that_are_asked_for_them(client: aiohttp.ClientSession) -> None:
    """As vLLM: on plain answers, in the form that was asked for, and never on streams."""
    asks = {"endpoint-load-metrics-format": "TEXT"}
    found = []
    for body, headers in ((chat(), asks), (chat(), {}), (chat(stream=True), asks)):
        async with client.post(CHAT, json={**body, "max_tokens": 1}, headers=headers) as answer:
            assert answer.status == 200
            found.append(answer.headers.get("endpoint-load-metrics", "").partition(" ")[0])
    assert found == ["TEXT", "", ""]


async def test_tokens_of_a_prompt(client: aiohttp.ClientSession) -> None:
    """As many as are computed, for chats and completions; tokens by number have theirs; the rest as vLLM refuses it."""
    body = chat("Count me, please.")
    async with client.post("/v1/chat/completions", json={**body, "max_tokens": 1}) as response:
        usage = (await response.json())["usage"]
    async with client.post("/tokenize", json=body) as response:
        told = await response.json()
    assert told["count"] == len(told["tokens"]) == usage["prompt_tokens"]
    async with client.post("/tokenize", json={"model": "sim-model", "prompt": [7, 8, 9]}) as response:
        assert (await response.json())["tokens"] == [7, 8, 9]
    async with client.post("/tokenize", json={"model": "sim-model"}) as response:
        assert response.status == 400
    async with client.get("/tokenize") as response:
        assert response.status == 404

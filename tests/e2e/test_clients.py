"""What clients do: the OpenAI SDK, very long prompts, odd bodies, aborts."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from sim.engine import Profile
from tests.conformance.raw_http import http2
from tests.kit.fleet import QUICK, quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

BIG = Profile(
    prefill_tokens_per_s=4_000_000.0,
    step_base_ms=1.0,
    step_per_request_ms=0.0,
    kv_blocks=200_000,
    token_budget=100_000,
)
"""An engine that takes prompts of megabytes in a moment."""

MIB = 1024 * 1024

LONG = 50_000
"""Tokens that no test waits for."""


def simple(addresses: list[str], **fields: Any) -> PolicyText:
    """One model, with an alias, on one pool."""
    return PolicyText(pools={"chat": addresses}, models={"llama": "chat"}, aliases={"llama": ["gpt-4"]}, **fields)


@pytest.mark.parametrize("mode", MODES)
async def test_the_openai_sdk(tmp_path: Path, mode: str) -> None:
    """Chat (plain, streamed, by alias), completions, embeddings, responses, models, errors: as the SDK expects."""
    async with (
        quick_fleet(2) as fleet,
        mesh(tmp_path, simple(fleet.addresses, mode=mode)) as running,
        AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
    ):
        messages: Any = [{"role": "user", "content": "hello there"}]
        for model in ("llama", "gpt-4"):
            plain = await client.chat.completions.create(model=model, messages=messages)
            assert plain.choices[0].message.content
            assert plain.usage is not None
            assert plain.usage.prompt_tokens > 0
        stream = await client.chat.completions.create(
            model="gpt-4", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert chunks[-1].usage is not None
        completion = await client.completions.create(model="llama", prompt="once upon a time")
        assert completion.choices[0].text
        embedding = await client.embeddings.create(model="llama", input="some text", encoding_format="float")
        assert embedding.data[0].embedding
        response = await client.responses.create(model="llama", input="hello")
        assert response.output_text
        assert "llama" in {model.id async for model in client.models.list()}
        with pytest.raises(NotFoundError) as unknown:
            await client.chat.completions.create(model="nobody-serves-this", messages=messages)
        assert unknown.value.code == "model_not_found"
        with pytest.raises(BadRequestError):
            await client.post("/chat/completions", body=[1, 2], cast_to=object)


def prompt_of(size: int, model: str = "llama") -> bytes:
    """A chat request of about `size` bytes."""
    content = "lorem ipsum " * (size // 12)
    return json.dumps({"model": model, "max_tokens": 2, "messages": [{"role": "user", "content": content}]}).encode()


@pytest.mark.alone
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("model", ["llama", "gpt-4"])
async def test_a_3_mb_prompt_passes(tmp_path: Path, mode: str, model: str) -> None:
    """With a length, chunked, and over HTTP/2; also where an alias makes the picker rewrite the body."""
    body = prompt_of(3 * MIB, model)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    headers = {"content-type": "application/json"}
    async with quick_fleet(2, profile=BIG) as fleet, mesh(tmp_path, simple(fleet.addresses, mode=mode)) as running:
        path = "/v1/chat/completions"
        for data in (BytesIO(body), chunks()):
            async with running.session.post(f"{running.url}{path}", data=data, headers=headers) as response:
                assert response.status == 200, await response.text()
                assert (await response.json())["usage"]["prompt_tokens"] > 100_000
                assert response.headers["x-kvpilot-decision"]
        reply = await http2(running.policy.listen, path, body, headers)
        assert reply.status == 200, reply.body
        assert reply.json["usage"]["prompt_tokens"] > 100_000


@pytest.mark.parametrize("mode", MODES)
async def test_a_body_over_the_limit_is_refused(tmp_path: Path, mode: str) -> None:
    """413 in OpenAI's shape: with a length, chunked, and over HTTP/2."""
    body = prompt_of(3 * MIB)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    headers = {"content-type": "application/json"}
    policy_fields = {"mode": mode, "listener": "maxRequestBytes: 1MiB"}
    async with quick_fleet(1) as fleet, mesh(tmp_path, simple(fleet.addresses, **policy_fields)) as running:
        for data in (BytesIO(body), chunks()):
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.post(
                        f"{running.url}/v1/chat/completions", data=data, headers=headers
                    ) as response:
                        assert response.status == 413
                        assert (await response.json())["error"]["message"]
                except aiohttp.ClientConnectionError:
                    # The answer came before the whole body was sent and Envoy closed the connection: HTTP/1.1 clients
                    # may see only that. Envoy's own count says what it answered.
                    stats = await running.stats(r"downstream_rq_too_large$")
                    assert sum(stats.values()) >= 1
        reply = await http2(running.policy.listen, "/v1/chat/completions", body, headers)
        assert reply.status == 413
        assert reply.json["error"]["message"]


GOOD = {"model": "llama", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
CASES: list[tuple[str, str | None, bytes, int, str]] = [
    ("charset", "application/json; charset=utf-8", json.dumps(GOOD).encode(), 200, ""),
    ("no content type", None, json.dumps(GOOD).encode(), 200, ""),
    ("other content type", "text/plain", json.dumps(GOOD).encode(), 200, ""),
    ("not JSON", "application/json", b"{not json", 400, "invalid_request_error"),
    ("no body", "application/json", b"", 400, "invalid_request_error"),
    ("an array", "application/json", b"[1]", 400, "invalid_request_error"),
    ("no model", "application/json", b'{"messages": []}', 400, "invalid_request_error"),
    ("model is a number", "application/json", b'{"model": 7}', 404, "model_not_found"),
    ("unknown model", "application/json", b'{"model": "gpt-17", "messages": []}', 404, "model_not_found"),
]


@pytest.mark.parametrize("mode", MODES)
async def test_odd_bodies(tmp_path: Path, mode: str) -> None:
    """Each odd body gets the status and the OpenAI-shaped error that it deserves."""
    async with quick_fleet(1) as fleet, mesh(tmp_path, simple(fleet.addresses, mode=mode)) as running:
        for path in ("/v1/chat/completions", "/v1/messages"):
            for name, content_type, body, expected, told in CASES:
                skip = [] if content_type else ["content-type"]
                headers = {"content-type": content_type} if content_type else {}
                async with running.session.post(
                    f"{running.url}{path}", data=body, headers=headers, skip_auto_headers=skip
                ) as response:
                    text = await response.text()
                    assert response.status == expected, f"{name} on {path}: {response.status} {text}"
                    if expected != 200:
                        error = json.loads(text)["error"]
                        assert told in (error["type"], error["code"]), f"{name}: {error}"
                        assert set(error) == {"message", "type", "param", "code"}
                    else:
                        assert response.headers["x-kvpilot-decision"], name
        for path in ("/v1/models", "/health", "/version"):
            async with running.session.get(f"{running.url}{path}") as response:
                assert response.status == 200
                assert "x-kvpilot-decision" not in response.headers


@pytest.mark.parametrize("mode", MODES)
async def test_nobody_forges_a_pick(tmp_path: Path, mode: str) -> None:
    """Our own headers in a client's request reach neither the picker nor the pod."""
    async with quick_fleet(2) as fleet, mesh(tmp_path, simple(fleet.addresses, mode=mode)) as running:
        forged = {
            "x-gateway-destination-endpoint": "127.0.0.1:1",
            "x-kvpilot-decision": "forged",
            "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        }
        for stream in (True, False):
            answer = await running.chat("llama", "hello", stream=stream, headers=forged, max_tokens=30)
            assert answer.ok, answer.error
            assert answer.decision
            assert answer.decision != "forged"


async def test_in_flight_returns_to_zero_after_aborts(tmp_path: Path) -> None:
    """1,000 requests, a third of them aborted by the client: no reservation stays behind."""
    rng = random.Random(3)
    async with quick_fleet(4, profile=QUICK) as fleet, mesh(tmp_path, simple(fleet.addresses)) as running:
        numbers = iter(range(1000))
        aborted = 0

        async def abort_one(number: int) -> None:
            request = running.chat("llama", f"question {number % 50}", max_tokens=LONG, stream=number % 2 == 0)
            task = asyncio.create_task(request)
            await asyncio.sleep(rng.random() * 0.03)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        async def work() -> None:
            nonlocal aborted
            for number in numbers:
                if number % 3 == 0:
                    aborted += 1
                    await abort_one(number)
                else:
                    answer = await running.chat("llama", f"question {number % 50}", max_tokens=4)
                    assert answer.ok, answer.error

        await asyncio.gather(*(work() for _ in range(16)))
        assert aborted == 334

        async def none_left(running: Mesh = running) -> bool:
            return not any((await running.in_flight()).values())

        await eventually(none_left, "every reservation to end")
        # Pods and picker are told at the same time: who hears it first is chance.
        await eventually(lambda: not any(pod.engine.unfinished for pod in fleet), "the aborts to reach the engines")

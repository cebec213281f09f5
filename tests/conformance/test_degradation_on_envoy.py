"""A real Envoy goes where the picker leads it: to another pool, or to an answer of the policy's own, with a label."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ext_proc.core.events import AttemptEnded, Picked
from ext_proc.core.picker import Picker
from ext_proc.service import PickerService
from tests.conformance import envoy_lab as lab
from tests.conformance.picker_lab import picking
from tests.conformance.raw_http import Pod, Reply, http1
from tests.kit.ports import free_ports

SHAPES = ("one-message", "two-message")
CHAT = "/v1/chat/completions"
BODY = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 900, "tools": [{"a": 1}]}'

POLICY = """
kvpilot: v1
listeners:
  - {{name: openai, address: "127.0.0.1:{port}", picker: {{mode: {shape}, messageTimeout: 5s, explain: never}}}}
models:
  - name: big
    aliases: [gpt-4]
    pool: big
    fallback: [{{model: small, features: {{tools: off, maxTokens: 100}}}}]
    degradation: {{answer: {{text: "Nobody is here."}}}}
  - {{name: small, pool: small, rewrite: {{model: tiny}}}}
pools:
  big:
    scrape: off
    endpoints: [{{address: "{big}"}}]
  small:
    scrape: off
    endpoints: [{{address: "{small}"}}]
    timeouts: {{request: 7s}}
"""


@dataclass
class Bench:
    """An Envoy, a pod for each model, a picker."""

    address: str
    big: Pod
    small: Pod
    picker: Picker
    service: PickerService

    async def post(self, body: bytes = BODY, path: str = CHAT, **headers: str) -> Reply:
        """One request."""
        return await http1(self.address, path, body, headers={"content-type": "application/json", **headers})

    def gone(self, pod: Pod) -> None:
        """The picker is told that nobody listens there."""
        now = time.monotonic()
        self.picker.apply(
            Picked(
                decision_id=pod.address, at=now, address=pod.address, uncached_tokens=1, prompt_tokens=1, max_age_s=9.0
            )
        )
        self.picker.apply(
            AttemptEnded(
                decision_id=pod.address,
                at=now,
                address=pod.address,
                status=503,
                flags=("UF",),
                failure="Connection refused",
            )
        )


@asynccontextmanager
async def bench(tmp_path: Path, shape: str) -> AsyncIterator[Bench]:
    """Everything on ports from the system; Envoy has its configuration from the start."""
    big, small = Pod(extra_headers="x-kvpilot-degraded: forged\r\n"), Pod()
    async with lab.running(big, small):
        (port,) = free_ports(1)
        text = POLICY.format(port=port, shape=shape, big=big.address, small=small.address)
        async with picking(tmp_path, text) as it:
            yield Bench(f"127.0.0.1:{port}", big, small, it.picker, it.service)


@pytest.mark.parametrize("shape", SHAPES)
async def test_another_model(tmp_path: Path, shape: str) -> None:
    """While its pool is well a model answers unlabelled; then another one, by its engine's name, labelled."""
    async with bench(tmp_path, shape) as it:
        reply = await it.post()
        assert reply.status == 200
        assert reply.json["pod"] == it.big.address
        assert b'"big"' in it.big.received[0].body
        assert "x-kvpilot-degraded" not in reply.headers, "nobody but kvpilot says that"
        it.gone(it.big)
        reply = await it.post()
        assert reply.json["pod"] == it.small.address
        (seen,) = it.small.received
        assert seen.body.startswith(b'{"model":"tiny"')
        assert b"tools" not in seen.body
        assert b'"max_tokens":100' in seen.body
        assert reply.json["received"] == len(seen.body)
        assert reply.headers["x-kvpilot-degraded"] == "small"
        assert reply.headers["x-kvpilot-degraded-features"] == "tools,max_tokens"
        assert seen.headers["x-kvpilot-decision"]
        assert len(it.big.received) == 1


@pytest.mark.parametrize("shape", SHAPES)
async def test_streams(tmp_path: Path, shape: str) -> None:
    """A stream is led the same way."""
    async with bench(tmp_path, shape) as it:
        it.small.behaviour = "sse"
        it.gone(it.big)
        reply = await it.post(b'{"model": "big", "stream": true, "messages": [], "max_tokens": 5}')
        assert reply.status == 200
        assert b"[DONE]" in reply.body
        assert reply.headers["x-kvpilot-degraded"] == "small"
        assert "x-kvpilot-degraded-features" not in reply.headers


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_text_of_the_policy(tmp_path: Path, shape: str) -> None:
    """With nobody anywhere the policy's text is the answer, plain and streamed, labelled; an embedding is refused."""
    async with bench(tmp_path, shape) as it:
        it.gone(it.big)
        it.gone(it.small)
        reply = await it.post()
        assert reply.status == 200, reply
        assert reply.json["choices"][0]["message"]["content"] == "Nobody is here."
        assert reply.headers["x-kvpilot-degraded"] == "answer"
        assert reply.headers["content-type"] == "application/json"
        reply = await it.post(b'{"model": "big", "stream": true, "messages": []}')
        assert reply.headers["content-type"] == "text/event-stream"
        assert b"Nobody is here." in reply.body
        reply = await it.post(b'{"model": "big", "input": "a"}', "/v1/embeddings")
        assert (reply.status, reply.error["code"]) == (503, "no_endpoint")
        assert reply.headers["retry-after"] == "1"
        assert reply.headers["x-kvpilot-degraded"] == "refused"
        assert not it.big.received
        assert not it.small.received

"""A real Envoy asks the real picker: every way of a request, in both shapes of the exchange."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ext_proc.core.settings import PickerSettings
from ext_proc.service import PickerService
from tests.conformance import envoy_lab as lab
from tests.conformance.picker_lab import picking
from tests.conformance.raw_http import Pod, Reply, http1
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

SHAPES = ("one-message", "two-message")
PROMPT = b'{"model": "m", "prompt": "Once upon a time"}'
PATH = "/v1/completions"

POLICY = """
kvpilot: v1
listeners:
  - {{name: openai, address: "127.0.0.1:{port}", picker: {{mode: {shape}, messageTimeout: 5s, explain: always}}}}
models:
  - {{name: m, aliases: [gpt-4], pool: p}}
pools:
  p:
    scrape: off
    picker: {picker}
    endpoints: [{{address: "{first}"}}, {{address: "{second}"}}]
    timeouts: {{firstByte: 2s}}
"""


@dataclass
class Bench:
    """An Envoy, two pods, a picker."""

    address: str
    pods: tuple[Pod, Pod]
    service: PickerService
    settings: PickerSettings
    envoy: lab.Envoy

    async def post(self, body: bytes = PROMPT, headers: dict[str, str] | None = None) -> Reply:
        """One completion."""
        return await http1(self.address, PATH, body, headers={"content-type": "application/json", **(headers or {})})

    def pod(self, address: str) -> Pod:
        """The pod at an address."""
        (found,) = (pod for pod in self.pods if pod.address == address)
        return found

    async def decision(self) -> dict[str, Any]:
        """The latest decision, once its outcome is known."""
        await eventually(
            lambda: self.service.decisions(1) and self.service.decisions(1)[0]["outcome"]["status"] is not None,
            "the request's record",
        )
        return self.service.decisions(1)[0]

    async def idle(self) -> None:
        """Waits until nothing is in flight any more."""
        await eventually(lambda: self.service.open_reservations == 0, "the reservation's end")
        await eventually(lambda: self.service.open_streams == 0, "the stream's end")


@asynccontextmanager
async def bench(tmp_path: Path, shape: str, picker: str = "{strategy: round-robin}") -> AsyncIterator[Bench]:
    """Everything on ports from the system; Envoy has its configuration from the start."""
    pods = (Pod(), Pod())
    async with lab.running(*pods):
        (port,) = free_ports(1)
        text = POLICY.format(port=port, shape=shape, picker=picker, first=pods[0].address, second=pods[1].address)
        async with picking(tmp_path, text) as it:
            yield Bench(f"127.0.0.1:{port}", pods, it.service, it.settings, it.envoy)


@pytest.mark.parametrize("shape", SHAPES)
async def test_pick(tmp_path: Path, shape: str) -> None:
    """The pod that was named serves; the log tells what came of it; nothing stays in flight."""
    async with bench(tmp_path, shape) as it:
        for _ in range(4):
            reply = await it.post()
            assert reply.status == 200
            decision = await it.decision()
            await it.idle()
            assert reply.headers["x-kvpilot-decision"] == decision["id"]
            assert reply.json["pod"] == decision["endpoints"][0] == decision["outcome"]["served"]
            assert (decision["pool"], decision["model"]) == ("p", "m")
            outcome = decision["outcome"]
            assert (outcome["status"], outcome["attempts"], outcome["cached_tokens"]) == (200, 1, 8)
            assert outcome["ttft_ms"] > 0
        assert it.service.counters.stream_errors == it.service.counters.internal_errors == 0
        assert it.service.counters.log_messages_bad == 0


@pytest.mark.parametrize(
    ("shape", "session", "header", "value"),
    [
        ("one-message", "{httpCookieName: sid}", "cookie", "other=1; sid={}"),
        ("two-message", "{httpHeaderName: x-team}", "x-team", "{}"),
        ("one-message", "{}", "x-session-id", "{}"),
    ],
)
async def test_sessions(tmp_path: Path, shape: str, session: str, header: str, value: str) -> None:
    """Envoy tells the picker the header that a pool's strategy looks at, beside the listener's session header."""
    async with bench(tmp_path, shape, f"{{strategy: session, session: {session}}}") as it:
        homes: dict[int, set[str]] = {}
        for n in range(16):
            reply = await it.post(headers={header: value.format(n % 8)})
            homes.setdefault(n % 8, set()).add(reply.json["pod"])
            assert "session: " in (await it.decision())["reason"]
            await it.idle()
        assert all(len(home) == 1 for home in homes.values())
        assert set.union(*homes.values()) == {pod.address for pod in it.pods}


@pytest.mark.parametrize("shape", SHAPES)
async def test_alias(tmp_path: Path, shape: str) -> None:
    """An alias is replaced in the body on its way, and the body's length is right."""
    async with bench(tmp_path, shape) as it:
        reply = await it.post(b'{"model": "gpt-4", "prompt": "Once upon a time"}')
        assert reply.status == 200
        assert it.pod(reply.json["pod"]).received[-1].body == PROMPT


@pytest.mark.parametrize("shape", SHAPES)
async def test_refusal(tmp_path: Path, shape: str) -> None:
    """A refusal of the picker reaches the client as it is: status, JSON, when to come back."""
    async with bench(tmp_path, shape) as it:
        (pool,) = it.settings.pools
        gone = tuple(replace(endpoint, available=False) for endpoint in pool.endpoints)
        it.service.apply_settings(replace(it.settings, pools=(replace(pool, endpoints=gone),)))
        reply = await it.post()
        assert reply.status == 503
        assert reply.headers["retry-after"] == "1"
        assert reply.error["type"] == "service_unavailable"
        await it.idle()


@pytest.mark.parametrize("shape", SHAPES)
async def test_first_pod_fails(tmp_path: Path, shape: str) -> None:
    """When the first one named fails the second one serves, and the log says so."""
    async with bench(tmp_path, shape) as it:
        failing, healthy = it.pods
        failing.behaviour = "reset"
        replies = [await it.post() for _ in range(2)]
        assert {(reply.status, reply.json["pod"]) for reply in replies} == {(200, healthy.address)}
        assert len(failing.received) >= 1
        await it.idle()
        await eventually(
            lambda: any(
                each["endpoints"][0] == failing.address and each["outcome"]["served"] == healthy.address
                for each in it.service.decisions(2)
            ),
            "the record of a request that moved",
        )


@pytest.mark.parametrize("shape", SHAPES)
async def test_client_leaves(tmp_path: Path, shape: str) -> None:
    """A client that leaves while the pod is silent gives its place back, and is no failure of the pod."""
    async with bench(tmp_path, shape) as it:
        for pod in it.pods:
            pod.behaviour = "stall"
        client = asyncio.create_task(it.post())
        await eventually(lambda: it.pods[0].received or it.pods[1].received, "the request at a pod")
        await eventually(lambda: it.service.open_reservations == 1, "the reservation")
        client.cancel()
        await asyncio.gather(client, return_exceptions=True)
        await it.idle()
        assert (await it.decision())["outcome"]["aborted"]
        assert it.service.counters.ended == {"aborted": 1}


@pytest.mark.parametrize("shape", SHAPES)
async def test_shutdown_in_the_middle(tmp_path: Path, shape: str) -> None:
    """A picker that stops closes answered streams at once; the generation goes on and reaches its client."""
    async with bench(tmp_path, shape) as it:
        hold = asyncio.Event()
        for pod in it.pods:
            pod.hold = hold
        client = asyncio.create_task(it.post())
        await eventually(lambda: it.pods[0].received or it.pods[1].received, "the request at a pod")
        await it.service.stop(1.0)
        assert not client.done()
        assert it.service.open_streams == 0
        hold.set()
        assert (await client).status == 200


async def test_large_prompt(tmp_path: Path) -> None:
    """Three megabytes of prompt are picked like any other."""
    async with bench(tmp_path, "one-message") as it:
        reply = await it.post(b'{"model": "m", "prompt": "%s"}' % (b"x" * (3 << 20)))
        assert reply.status == 200
        assert "x-kvpilot-decision" in reply.headers


async def test_without_picker(tmp_path: Path) -> None:
    """When the picker is gone requests are served all the same, without a decision."""
    async with bench(tmp_path, "one-message") as it:
        assert "x-kvpilot-decision" in (await it.post()).headers
        await it.service.stop(0.0)
        for _ in range(4):
            reply = await it.post()
            assert reply.status == 200
            assert "x-kvpilot-decision" not in reply.headers

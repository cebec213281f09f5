"""Who may know which decision led to an answer, through a real Envoy; and what `kvpilot explain` then says."""

import asyncio
from pathlib import Path

import pytest

from control_plane.cli import main
from tests.conformance.envoy_lab import running as running_pod
from tests.conformance.raw_http import Pod
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, PolicyText, mesh

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {mode: MODE}}]
models: [{name: llama, pool: chat}]
pools: {chat: {picker: {strategy: least-request, shadow: kv-aware}, endpoints: [ENDPOINTS]}}
"""


@pytest.mark.parametrize("mode", MODES)
async def test_who_asks_is_told(tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Streamed or not, the id is in the answers to requests that ask for it, and the pod's address in none."""
    async with quick_fleet(2) as fleet:
        endpoints = ", ".join(f"{{address: {address}}}" for address in fleet.addresses)
        policy = PolicyText(text=POLICY.replace("MODE", mode).replace("ENDPOINTS", endpoints))
        async with mesh(tmp_path, policy) as running:
            for stream in (True, False):
                for value in (None, "0", "1"):
                    headers = {} if value is None else {"x-kvpilot-explain": value}
                    answer = await running.chat("llama", "hello " * 200, stream=stream, headers=headers)
                    assert answer.ok, answer.error
                    assert bool(answer.decision) is (value == "1")
                    assert "x-kvpilot-pod" not in answer.headers
            await running.decision(answer.decision)
            words = ("explain", answer.decision, "--admin", running.kvpilot.admin)
            assert await asyncio.to_thread(main, words) == 0
    said = capsys.readouterr().out
    assert "chat of about 30" in said
    assert "shadow kv-aware: " in said
    assert "answered 200 by 127.0.0.1:" in said


async def test_pods_do_not_see_the_question(tmp_path: Path) -> None:
    """It is for the picker: the pod gets the decision's id, and what else the client sent."""
    pod = Pod()
    async with running_pod(pod):
        policy = PolicyText(
            text=POLICY.replace("MODE", "one-message").replace("ENDPOINTS", f"{{address: {pod.address}}}")
        )
        async with mesh(tmp_path, policy) as running:
            headers = {"x-kvpilot-explain": "1", "x-other": "1"}
            answer = await running.chat("llama", "hello", stream=False, headers=headers)
    (request,) = (each for each in pod.received if each.path == "/v1/chat/completions")
    assert "x-kvpilot-explain" not in request.headers
    assert request.headers["x-other"] == "1"
    assert answer.decision == request.headers["x-kvpilot-decision"] != ""

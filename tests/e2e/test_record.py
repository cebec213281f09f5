"""Recorded through a real Envoy, replayed in virtual time: as many requests, and the same ones begin alike."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from itertools import takewhile
from pathlib import Path

from control_plane.demo.conversations import text
from ext_proc.core.blocks import BLOCK_TOKENS
from sim.traces.read import read_trace
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.waiting import eventually

LONG = text(1, 400)
PROMPTS = [
    LONG,
    LONG,
    f"{LONG} And so on, for quite some more words than fit into a block. {text(2, 100)}",
    text(3, 300),
]


async def test_what_was_recorded_is_replayed(tmp_path: Path) -> None:
    """Four chats, two of which repeat one and one of which goes on from it; Ctrl-C; the trace has just that."""
    path = tmp_path / "recorded.jsonl"
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": list(fleet.addresses)}, models={"llama": "chat"}, strategy="least-request")
        async with mesh(tmp_path, policy) as running:
            words = ("record", "-o", str(path), "--admin", running.kvpilot.admin)
            recorder = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "control_plane.cli", *words, stderr=PIPE
            )

            async def is_recording() -> bool:
                return bool((await running.kvpilot.get("/status"))["recordings"])

            await eventually(is_recording, "the recording to begin")
            answers = [
                await running.chat("llama", prompt, max_tokens=7, stream=n % 2 == 0) for n, prompt in enumerate(PROMPTS)
            ]
            assert all(answer.ok for answer in answers)

            def is_told() -> bool:
                return path.read_text().count('"at"') == len(PROMPTS)

            await eventually(is_told, "the last request in the file")
            recorder.send_signal(signal.SIGINT)
            _, said = await recorder.communicate()
            assert (recorder.returncode, b"4 requests in" in said) == (0, True), said

            async def is_over() -> bool:
                return not (await running.kvpilot.get("/status"))["recordings"]

            await eventually(is_over, "the sidecar to notice")

    trace = read_trace(path)
    assert [request.output_tokens for request in trace.requests] == [answer.output_tokens for answer in answers]
    assert [request.stream for request in trace.requests] == [True, False, True, False]
    assert {(request.model, request.pool) for request in trace.requests} == {("llama", "chat")}
    recorded = path.read_text()
    assert not any(word in recorded for word in ("Note", "router", "cached because"))

    # What chats send as text, cut by the same rule: equal blocks from the start, and nothing beyond.
    def alike(one: str, two: str) -> int:
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))

    shared = list(trace.shared_tokens())
    assert (shared[0], shared[3]) == (0, 0)
    assert shared[1] == len(trace.requests[1].blocks) * BLOCK_TOKENS > 0
    assert abs(shared[2] - alike(PROMPTS[0], PROMPTS[2]) / 4) <= BLOCK_TOKENS

    report = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane.cli", "replay", str(path), "--policy", str(tmp_path / "policy.yaml")),
        *("--profile", "demo", "--strategies", "kv-aware,least-request", "--output", "json"),
        stdout=PIPE,
    )
    out, _ = await report.communicate()
    assert report.returncode == 0
    found = json.loads(out)
    assert found["trace"]["requests"] == len(PROMPTS)
    assert abs(found["trace"]["sharing_rate"] - trace.sharing_rate) < 1e-5
    assert {row["strategy"] for row in found["results"]} == {"kv-aware", "least-request"}

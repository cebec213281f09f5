"""`kvpilot replay --live`: a trace through the real Envoy, and whether it shows what the virtual run says."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import pytest

from bench.live import PODS, measure, ranking, trace_of
from tests.e2e.test_llamacpp import llama_servers
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh


async def replayed(*words: str) -> Any:
    """The JSON report of a client in a process of its own."""
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane.cli", "replay", *words, "--output", "json"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await client.communicate()
    assert client.returncode == 0, err.decode()
    return json.loads(out)


async def test_a_trace_through_envoy(tmp_path: Path) -> None:
    """All 80 requests answered, on time, by all pods; times, hits and lengths are those that a replay reports."""
    async with quick_fleet(3, "m") as fleet:
        policy = PolicyText(pools={"p": fleet.addresses}, models={"m": "p"})
        async with mesh(tmp_path, policy) as running:
            trace = ("generate:chat:answer_tokens=8", "--requests", "80", "--rate", "10", "--max-rate", "1000")
            found = await replayed(*trace, "--live", running.url, "--model", "m")
            picked = (await running.kvpilot.get("/decisions"))["decisions"]
    (result,) = found["results"]
    assert (result["requests"], result["failed"], result["shed"]) == (80, 0, 0)
    assert (found["sending"]["answered"], found["errors"]) == (80, {})
    assert 0 < result["ttft_ms"]["p50"] <= result["e2e_ms"]["p50"]
    assert result["tpot_ms"]["mean"] > 0
    assert found["sending"]["prompt_tokens_share"] == pytest.approx(1.0, abs=0.01)
    # Turns find the caches of earlier ones, as far as these are not still being computed.
    assert 0.5 * found["trace"]["sharing_rate"] < result["cached_share"] <= found["trace"]["sharing_rate"]
    assert result["imbalance"] >= 1.0, "answers name their pods"
    assert len(picked) >= 80, "the picker was asked for all of them"


async def test_a_trace_to_a_real_engine(tmp_path: Path) -> None:
    """A llama.cpp server with a tokenizer of its own: sizes are measured, and prompts are as long as the trace says."""
    async with llama_servers(tmp_path, 1) as (address,):
        trace = ("generate:chat:system_tokens=200,answer_tokens=8,context_tokens=1200", "--requests", "24")
        words = ("--rate", "3", "--max-rate", "50", "--live", f"http://{address}", "--model", "tiny", "--ignore-eos")
        found = await replayed(*trace, *words)
    (result,) = found["results"]
    assert (result["requests"], result["failed"]) == (24, 0), found["errors"]
    assert found["sizes"]["tiny"]["is_measured"]
    assert found["sending"]["prompt_tokens_share"] == pytest.approx(1.0, abs=0.05)
    assert result["ttft_ms"]["mean"] > 0
    assert result["cached_share"] > 0.1


@pytest.mark.long
async def test_the_virtual_ranking_holds_in_the_real_program() -> None:
    """Three strategies over one trace with shared prefixes, live and virtual: kv-aware, then who sees queues.

    The means may differ: live there is a network, an Envoy, a picker that takes time, and a machine that others use.
    """
    ranked = ["kv-aware", "queue-depth", "round-robin"]
    rows = await measure(trace_of(rate=10.0, seconds=40.0, seed=1), ranked)
    assert ranking(rows, "live") == ranking(rows, "virtual") == ranked
    for row in rows:
        assert abs(row.difference) < 0.5, row
        assert abs(row.live.cached_share - row.virtual.cached_share) < 0.1, row
        assert row.sending["answered"] == row.sending["planned"], row
    assert PODS == 4

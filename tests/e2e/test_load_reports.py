"""Load headers and load reports through a real Envoy and a real kvpilot: the picker knows the load without scraping."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.messages import load
from tests.kit.fleet import QUICK, quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

POLICY = """
kvpilot: v1
listeners: [{{name: openai, address: LISTEN}}]
models: [{{name: llama, pool: chat}}]
feedback: {{orca: {{}}}}
pools:
  chat:
    scrape: off
    endpoints: [{{address: "{pod}"}}]
"""

ONE_BY_ONE = replace(QUICK, max_batch=1)
"""Who is second waits, and answers say how many do."""

PATIENCE_S = 10.0
"""No test waits this long unless it has failed."""

FORMS = ("", "JSON", "BIN")
"""What a client asks for itself; the policy asks for TEXT in its place."""


async def told(it: Mesh, name: str, source: str, least: int = 0) -> Any:
    """The only endpoint's number once it is from that source and large enough."""

    async def found() -> Any:
        (endpoint,) = (await it.kvpilot.get("/status"))["pools"]["chat"]["endpoints"]
        known = endpoint["told"].get(name)
        return endpoint if known and known["source"] == source and known["value"] >= least else None

    return await eventually(found, f"{name} from {source}, at least {least}")


async def ask(it: Mesh, form: str, tokens: int) -> tuple[int, str | None]:
    """The status of a plain answer, and the load header that its client sees."""
    async with it.session.post(
        f"{it.url}/v1/chat/completions",
        json={"model": "llama", "messages": [{"role": "user", "content": "hello"}], "max_tokens": tokens},
        headers={"endpoint-load-metrics-format": form} if form else {},
    ) as answer:
        return answer.status, answer.headers.get("endpoint-load-metrics")


async def read_headers(it: Mesh) -> str:
    """How many load headers were read so far."""
    lines = (await it.kvpilot.text("/metrics")).splitlines()
    return next(line.split()[-1] for line in lines if line.startswith('kvpilot_load_headers_total{result="ok"}'))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Mesh, str, str]]:
    """A mesh, its only pod's address, and where loads are reported."""
    reports = f"127.0.0.1:{free_ports(1)[0]}"
    async with quick_fleet(1, profile=ONE_BY_ONE) as fleet:
        policy = PolicyText(text=POLICY.format(pod=fleet.pods[0].address))
        async with mesh(tmp_path, policy, arguments=("--load-reports", reports)) as it:
            yield it, fleet.pods[0].address, reports


@asynccontextmanager
async def reporter(directory: Path, picker: str, engine: str) -> AsyncIterator[None]:
    """The reporter of docs/load_reports.md, as it stands there."""
    text = (Path(__file__).parents[2] / "docs/load_reports.md").read_text(encoding="utf-8")
    script = directory / "report.py"
    script.write_text(text.partition("```python\n")[2].partition("```")[0])
    process = await asyncio.create_subprocess_exec(sys.executable, str(script), picker, engine)
    try:
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_load_headers_and_reports(running: tuple[Mesh, str, str], tmp_path: Path) -> None:
    """Answers tell the load in each form of the header, which clients do not see; a report overtakes them; a stranger
    is told that it is one."""
    it, pod, reports = running
    for count, form in enumerate(FORMS, 1):
        assert await ask(it, form, 2) == (200, None)

        async def is_read(wanted: str = f"{count}.0") -> bool:
            return await read_headers(it) == wanted

        await eventually(is_read, f"header {count} to be read")
    known = await told(it, "waiting", "orca")
    assert (known["told"]["waiting"]["value"], known["waiting"]) == (0, 0.0)

    asked = [asyncio.create_task(ask(it, form, 300)) for form in ("", "JSON", "BIN", "")]
    known = await told(it, "waiting", "orca", least=1)
    assert known["told"]["waiting"]["age_s"] < 5
    assert await asyncio.gather(*asked) == [(200, None)] * 4

    async with reporter(tmp_path, reports, pod):
        known = await told(it, "running", "report")
        assert (known["told"]["running"]["value"], known["told"]["waiting"]["source"]) == (0, "report")
        assert (await it.kvpilot.get("/status"))["reporters"] == 1
    heartbeat = load().parse_json("kvpilot.load.v1.Heartbeat", {"address": "127.0.0.1:1"}).SerializeToString()
    async with grpc.aio.insecure_channel(reports) as channel:
        stranger = channel.stream_stream("/kvpilot.load.v1.LoadReports/Report")()
        await stranger.write(heartbeat)
        assert await asyncio.wait_for(stranger.code(), PATIENCE_S) is grpc.StatusCode.NOT_FOUND

"""A pod's life and its faults, seen from outside."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from sim.faults import BadFaultError
from sim.pod import Pod, PodSpec
from tests.kit.waiting import eventually
from tests.unit.sim.live import LONG_ANSWER

CHAT = "/v1/chat/completions"
GONE = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)


def chat(**fields: Any) -> dict[str, Any]:
    """A short chat body."""
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], **fields}


async def status(client: aiohttp.ClientSession, path: str = CHAT) -> int:
    """The status of a request that is read to its end."""
    request = client.post(path, json=chat()) if path == CHAT else client.get(path)
    async with request as answer:
        await answer.read()
        return answer.status


async def read_into(lines: list[bytes], content: aiohttp.StreamReader) -> None:
    """Read lines until the end, keeping those before an error."""
    while line := await content.readline():
        lines.append(line)


async def test_a_spec_needs_a_model() -> None:
    """A pod that serves nothing is a mistake."""
    with pytest.raises(ValueError, match="no model"):
        PodSpec(name="p", models=())


async def test_stop_and_start_on_the_same_port(pod: Pod, client: aiohttp.ClientSession) -> None:
    """A stopped pod refuses; started again it has its address back and an empty cache."""
    address = pod.address
    assert await status(client) == 200
    assert pod.engine.gauges().finished == 1
    await pod.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(client)
    with pytest.raises(RuntimeError, match="not running"):
        _ = pod.engine
    await pod.start()
    assert (pod.address, await status(client)) == (address, 200)
    assert pod.engine.gauges().finished == 1


async def test_stop_resets_running_requests(pod: Pod, client: aiohttp.ClientSession) -> None:
    """A stream breaks off when its pod dies."""
    async with client.post(CHAT, json=chat(stream=True, max_tokens=LONG_ANSWER)) as answer:
        await answer.content.readline()
        await pod.stop()
        with pytest.raises(GONE):
            await answer.read()


async def test_start_and_stop_twice_do_no_harm(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Both are idempotent."""
    await pod.start()
    assert await status(client) == 200
    await pod.stop()
    await pod.stop()
    assert not pod.is_running


async def test_refuse_closes_the_data_port_only(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Open connections are reset and new ones refused, while the control port still ends the fault."""
    async with client.post(CHAT, json=chat(stream=True, max_tokens=LONG_ANSWER)) as answer:
        await answer.content.readline()
        await pod.set_fault({"kind": "refuse"})
        with pytest.raises(GONE):
            await answer.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(client)
    async with client.delete(f"http://{pod.control_address}/fault") as cleared:
        assert (await cleared.json())["fault"] is None
    assert await status(client) == 200


async def test_refuse_by_the_data_port_still_answers(pod: Pod, client: aiohttp.ClientSession) -> None:
    """The request that closes the port gets its answer, with the address where the fault can be ended."""
    async with client.post("/fault", json={"kind": "refuse"}) as answer:
        shown = await answer.json()
    assert (shown["fault"], shown["control"]) == ({"kind": "refuse"}, pod.control_address)
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(client)


async def test_hang_takes_a_request_and_never_answers(pod: Pod, client: aiohttp.ClientSession) -> None:
    """The connection stays open without a byte; health still answers, and the next request is served."""
    await pod.set_fault({"kind": "hang", "count": 1})
    hanging = asyncio.create_task(status(client))
    await eventually(lambda: pod.fault is None)
    assert await status(client, "/health") == 200
    assert await status(client) == 200
    assert not hanging.done()
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_hang_of_the_whole_process(pod: Pod, client: aiohttp.ClientSession) -> None:
    """With scope `all` health hangs too."""
    await pod.set_fault({"kind": "hang", "scope": "all"})
    with pytest.raises(TimeoutError):
        await client.get("/health", timeout=aiohttp.ClientTimeout(0.05))


async def test_die_closes_before_any_byte(pod: Pod, client: aiohttp.ClientSession) -> None:
    """The request is lost with its connection; after two of them the pod serves again."""
    await pod.set_fault({"kind": "die", "count": 2})
    for _ in range(2):
        with pytest.raises(aiohttp.ClientConnectionError):
            await status(client)
    assert await status(client) == 200


async def test_slow_stretches_the_steps(pod: Pod, client: aiohttp.ClientSession) -> None:
    """The engine's own times grow by the factor, and shrink back when the fault is cleared."""
    gaps = []
    for fault in (None, {"kind": "slow", "factor": 30}, None):
        await pod.set_fault(fault)
        async with client.post(CHAT, json=chat(stream=True, max_tokens=LONG_ANSWER)) as answer:
            await answer.content.readline()
            gaps.append(pod.engine._pace.step(1, 0, 0, 0))
        await eventually(lambda: pod.engine.unfinished == 0)
    assert gaps == [1_000_000, 30_000_000, 1_000_000]


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_status_is_answered_in_the_engine_s_shape(pod: Pod, client: aiohttp.ClientSession, code: int) -> None:
    """The wanted status comes with a JSON error; 503 is vLLM's busy answer."""
    await pod.set_fault({"kind": "status", "code": code})
    async with client.post(CHAT, json=chat()) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"]) == (code, code)
    assert (error["type"] == "Service Unavailable") == (code == 503)


async def test_cut_ends_a_stream_in_the_middle(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Exactly so many events arrive, then the connection breaks."""
    await pod.set_fault({"kind": "cut", "after_chunks": 3})
    lines: list[bytes] = []
    async with client.post(CHAT, json=chat(stream=True)) as answer:
        with pytest.raises(GONE):
            await read_into(lines, answer.content)
    assert sum(line.startswith(b"data: ") for line in lines) == 3
    await eventually(lambda: pod.engine.unfinished == 0)


async def test_cut_ends_a_whole_answer_in_the_middle(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Headers announce more bytes than arrive."""
    await pod.set_fault({"kind": "cut"})
    async with client.post(CHAT, json=chat()) as answer:
        assert answer.status == 200
        with pytest.raises(GONE):
            await answer.read()


async def test_fail_scrape_fails_scrapes_only(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Metrics answer 500 while requests are served."""
    await pod.set_fault({"kind": "fail_scrape"})
    assert [await status(client, path) for path in ("/metrics", "/health", CHAT)] == [500, 200, 200]


@pytest.mark.parametrize(("kind", "told"), [("lie", 0), ("stale", 0), (None, 1)])
async def test_metrics_that_do_not_tell_what_is(
    pod: Pod, client: aiohttp.ClientSession, kind: str | None, told: int
) -> None:
    """A pod that lies, or tells what it told before, is idle to who reads its metrics while it answers a request."""
    assert await running(client) == 0
    await pod.set_fault({"kind": kind} if kind else None)
    async with client.post(CHAT, json=chat(max_tokens=LONG_ANSWER, stream=True)) as answer:
        await answer.content.readline()
        while not pod.engine.gauges().running:
            await asyncio.sleep(0)
        assert await running(client) == told
        await pod.set_fault(None)
        assert await running(client) == 1


async def running(client: aiohttp.ClientSession) -> int:
    """Requests that run, as the metrics tell."""
    async with client.get("/metrics") as answer:
        found = re.search(r"^vllm:num_requests_running\{[^}]*\} (\S+)$", await answer.text(), re.MULTILINE)
        assert found is not None
        return int(float(found[1]))


async def test_bad_faults_are_refused(pod: Pod, client: aiohttp.ClientSession) -> None:
    """Nonsense is an error over HTTP and in process, and changes nothing."""
    async with client.post("/fault", json={"kind": "explode"}) as answer:
        assert answer.status == 400
    with pytest.raises(BadFaultError, match="kind must be"):
        await pod.set_fault({"kind": "explode"})
    async with client.get("/fault") as answer:
        assert (await answer.json())["fault"] is None
    async with client.put("/fault") as answer:
        assert answer.status == 405


async def test_a_restart_ends_a_fault(pod: Pod, client: aiohttp.ClientSession) -> None:
    """A new process has no fault, even when the old one refused connections."""
    await pod.set_fault({"kind": "refuse"})
    await pod.stop()
    await pod.start()
    assert (pod.fault, await status(client)) == (None, 200)


@pytest.mark.parametrize(
    ("dialect", "there", "not_there"),
    [("sglang", "/v1/loads?include=core", "/slots"), ("llamacpp", "/slots", "/v1/loads"), ("", "/metrics", "/slots")],
)
async def test_dialects(dialect: str, there: str, not_there: str) -> None:
    """A pod has the pages of its dialect, and those of no other one."""
    async with (
        Pod(PodSpec(name="p", models=("m",), dialect=dialect)) as pod,
        aiohttp.ClientSession() as session,
    ):
        for path, status in ((there, 200), (not_there, 404)):
            async with session.get(f"http://{pod.address}{path}") as response:
                assert response.status == status
        async with session.get(f"http://{pod.address}/v1/models") as response:
            assert (await response.json())["data"][0]["owned_by"] == (dialect or "vllm")


def test_no_such_dialect() -> None:
    """A pod cannot speak as nobody does."""
    with pytest.raises(ValueError, match="is not one of"):
        PodSpec(name="p", models=("m",), dialect="klingon")

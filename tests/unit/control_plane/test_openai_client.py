"""The client of OpenAI endpoints: against simulated pods as they are, and against servers that talk nonsense."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from control_plane.openai_client import Answer, ask, chat
from sim.pod import Pod, PodSpec
from tests.kit.fleet import QUICK

PROMPT = [{"role": "user", "content": "Once upon a time there was a router. " * 20}]
CHUNK = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    """One quick pod that serves `m`."""
    async with Pod(PodSpec(name="pod", models=("m",), profile=QUICK)) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session of the test's own."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@asynccontextmanager
async def talking(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """A server that answers everything with this; gives its URL."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(body=body, status=status, headers=headers)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def said(session: aiohttp.ClientSession, body: bytes, *, stream: bool = True, status: int = 200) -> Answer:
    """What the client makes of an answer with this body."""
    async with talking(body, status=status) as url:
        return await chat(session, url, "m", PROMPT, stream=stream)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_good_answer(pod: Pod, session: aiohttp.ClientSession, stream: bool) -> None:
    """Streamed or plain: text, usage and both times; a repeated prompt is told as cached."""
    first, again = [
        await chat(session, f"http://{pod.address}", "m", PROMPT, max_tokens=8, stream=stream) for _ in range(2)
    ]
    for answer in (first, again):
        assert answer.ok
        assert (answer.status, answer.error) == (200, "")
        assert answer.text
        assert answer.prompt_tokens > 100
        assert answer.ttft_ms is not None
        assert 0 < answer.ttft_ms <= answer.total_ms
    assert first.cached_tokens == 0 < again.cached_tokens <= again.prompt_tokens


async def test_an_error_of_the_engine(pod: Pod, session: aiohttp.ClientSession) -> None:
    """An unknown model is no good end, and the engine's own words are told."""
    answer = await chat(session, f"http://{pod.address}", "nothing", PROMPT)
    assert not answer.ok
    assert answer.status == 404
    assert "nothing" in answer.error


async def test_a_stream_that_is_cut(pod: Pod, session: aiohttp.ClientSession) -> None:
    """It had begun, it did not finish, and what came is kept."""
    await pod.set_fault({"kind": "cut", "after_chunks": 3})
    answer = await chat(session, f"http://{pod.address}", "m", PROMPT)
    assert (answer.status, answer.finished, answer.ok) == (200, False, False)
    assert answer.error


@pytest.mark.parametrize("fault", ["die", "refuse"])
async def test_no_answer_at_all(pod: Pod, session: aiohttp.ClientSession, fault: str) -> None:
    """Status 0, nothing had begun, and the reason is told."""
    await pod.set_fault({"kind": fault})
    answer = await chat(session, f"http://{pod.address}", "m", PROMPT)
    assert (answer.status, answer.ok) == (0, False)
    assert answer.error


async def test_headers_go_both_ways(session: aiohttp.ClientSession) -> None:
    """The caller's headers are sent; the decision id is read from the answer's."""
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("x-session-id"))
        return web.Response(body=CHUNK + DONE, headers={"x-kvpilot-decision": "d1"})

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        found = await chat(session, url, "m", PROMPT, headers={"x-session-id": "s1"})
    finally:
        await runner.cleanup()
    assert seen == ["s1"]
    assert found.decision == found.headers["x-kvpilot-decision"] == "d1"


async def test_a_stream_of_the_barest_kind(session: aiohttp.ClientSession) -> None:
    """Comments, empty choices, missing usage, no space behind the colon: all of it is allowed."""
    answer = await said(session, b': ping\n\ndata: {"choices": []}\n\n' + CHUNK.replace(b": {", b":{", 1) + DONE)
    assert answer.ok
    assert (answer.text, answer.prompt_tokens, answer.cached_tokens) == ("Hi", 0, 0)


async def test_a_stream_without_its_end(session: aiohttp.ClientSession) -> None:
    """An answer without `[DONE]` was cut, even if the connection ended in order."""
    answer = await said(session, CHUNK)
    assert (answer.text, answer.finished, answer.ok) == ("Hi", False, False)


async def test_an_error_within_a_stream(session: aiohttp.ClientSession) -> None:
    """The headers said 200, but what came is an error: its words are told."""
    answer = await said(session, CHUNK + b'data: {"error": {"message": "out of memory"}}\n\n')
    assert not answer.ok
    assert "out of memory" in answer.error


@pytest.mark.parametrize(
    "body",
    [
        *(b"data: {", b"data: 1\n", b'data: {"choices": 1}\n', b"data: [1]\n", b'data: {"choices": [1]}\n'),
        b"data: " + b"x" * 1_000_000 + b"\n",
    ],
    ids=["cut JSON", "a number", "choices", "a list", "a choice", "an overlong line"],
)
async def test_a_stream_of_nonsense(session: aiohttp.ClientSession, body: bytes) -> None:
    """It is an answer that failed, never an exception."""
    answer = await said(session, body)
    assert not answer.ok
    assert answer.error


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"[]", b"1", b'"\x80"', b'{"choices": []}', b'{"choices": [{"message": null}]}']
)
@pytest.mark.parametrize("status", [200, 500])
async def test_a_plain_answer_of_nonsense(session: aiohttp.ClientSession, body: bytes, status: int) -> None:
    """It is an answer that failed, never an exception; the status is what was sent."""
    answer = await said(session, body, stream=False, status=status)
    assert not answer.ok
    assert answer.status == status


async def test_a_plain_answer_without_text(session: aiohttp.ClientSession) -> None:
    """A `content` of null (a tool call) is an empty text, and an answer all the same."""
    answer = await said(session, b'{"choices": [{"message": {"content": null}}]}', stream=False)
    assert answer.ok
    assert answer.text == ""


async def test_usage_of_odd_types(session: aiohttp.ClientSession) -> None:
    """Usage that is no number counts as none."""
    body = b'{"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": "9", "prompt_tokens_details": 1}}'
    answer = await said(session, body, stream=False)
    assert answer.ok
    assert (answer.prompt_tokens, answer.cached_tokens) == (0, 0)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "tool_calls"])
async def test_the_first_token_of_a_model_that_thinks(session: aiohttp.ClientSession, key: str) -> None:
    """What it thinks or calls is its first word too, though no text of the answer; the role alone is none."""
    role = b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    answer = await said(session, role + b'data: {"choices": [{"delta": {"%b": "Hm"}}]}\n\n' % key.encode() + DONE)
    assert answer.ttft_ms is not None
    assert (answer.text, answer.ok, answer.output_tokens) == ("", True, 1)
    assert (await said(session, role + DONE)).ttft_ms is None


async def test_pieces_count_as_tokens_where_no_usage_is_told(session: aiohttp.ClientSession) -> None:
    """Usage is the engine's own word; without it the pieces are counted, and cached tokens are not known."""
    bare = await said(session, CHUNK * 3 + DONE)
    assert (bare.output_tokens, bare.is_cached_told) == (3, False)
    usage = (
        b'data: {"choices": [], "usage": {"completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}}\n\n'
    )
    told = await said(session, CHUNK * 3 + usage + DONE)
    assert (told.output_tokens, told.cached_tokens, told.is_cached_told) == (7, 0, True)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_text_completion(pod: Pod, session: aiohttp.ClientSession, stream: bool) -> None:
    """The older API, whose words stand in `text`."""
    body = b'{"model": "m", "prompt": "Once upon a time", "max_tokens": 5, "stream": %b, "stream_options": %b}'
    body %= (b"true", b'{"include_usage": true}') if stream else (b"false", b"null")
    answer = await ask(session, f"http://{pod.address}/v1/completions", body, stream=stream)
    assert answer.ok
    assert len(answer.text) == 20
    assert (answer.prompt_tokens, answer.output_tokens) == (4, 5)


async def test_an_answer_that_takes_too_long(pod: Pod, session: aiohttp.ClientSession) -> None:
    """The limit is the caller's, and is told."""
    await pod.set_fault({"kind": "hang"})
    body = b'{"model": "m", "prompt": "Hello", "stream": true}'
    answer = await ask(session, f"http://{pod.address}/v1/completions", body, timeout_s=0.05)
    assert (answer.status, answer.ok) == (0, False)
    assert "0.05 s" in answer.error


async def test_nobody_is_sent_elsewhere(session: aiohttp.ClientSession) -> None:
    """A redirect is an answer that failed: its target was not asked for."""
    async with talking(CHUNK + DONE) as there, talking(b"", status=307, headers={"location": there}) as here:
        answer = await chat(session, here, "m", PROMPT)
    assert (answer.status, answer.ok) == (307, False)

"""Questions to engines: what is sent, and whatever may come back."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ext_proc.signals.fetch import MAX_PAGE_BYTES
from ext_proc.signals.pod_tls import PodTls, no_token, plaintext
from ext_proc.tokens.asking import AskError, EngineTokens, question_of

CHAT = {"messages": [{"role": "user", "content": "hi"}], "temperature": 1, "tools": [], "model": "alias"}


class Engine:
    """Answers as it is told to. Mutable: the answers by path, the questions it got."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[], web.Response]] = {}
        self.got: list[tuple[str, Any]] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        self.got.append((request.path, json.loads(await request.read())))
        assert request.headers["authorization"] == "Bearer of p"
        return self.answers[request.path]()


@pytest.fixture
async def engine() -> AsyncIterator[tuple[Engine, str, EngineTokens]]:
    """An engine, its address, and who asks it."""
    here, client = Engine(), EngineTokens(plaintext, lambda pool: f"of {pool}", 5.0)
    server = TestServer(web.Application())
    server.app.router.add_route("*", "/{tail:.*}", here.handle)
    await server.start_server()
    try:
        yield here, f"{server.host}:{server.port}", client
    finally:
        await client.close()
        await server.close()


Started = tuple[Engine, str, EngineTokens]


def test_questions() -> None:
    """Only what decides the tokens, with the name that the engine knows."""
    asked = {"model": "llama", "messages": CHAT["messages"], "tools": []}
    assert question_of("chat", CHAT, "llama", "vllm") == asked
    assert question_of("completion", {"prompt": ["a"]}, "m", "vllm") == {
        "model": "m",
        "prompt": "a",
        "add_special_tokens": True,
    }
    assert question_of("embedding", {"input": "a", "add_special_tokens": False}, "m", "vllm") == {
        "model": "m", "prompt": "a", "add_special_tokens": False,
    }  # fmt: skip


def test_what_vllm_wants_elsewhere() -> None:
    """Its `/tokenize` knows some fields of chats as variables of the template only, where those of the client win."""
    chat = {"messages": [1], "documents": [2], "reasoning_effort": "none", "chat_template_kwargs": {"documents": [3]}}
    for engine in ("vllm", "custom"):
        assert question_of("chat", chat, "m", engine) == {
            "model": "m",
            "messages": [1],
            "chat_template_kwargs": {"documents": [3], "reasoning_effort": "none", "enable_thinking": False},
        }
    for engine in ("sglang", "llamacpp"):
        assert question_of("chat", chat, "m", engine) == {"model": "m", **chat}


async def test_vllm(engine: Started) -> None:
    """One question; ids are 32-bit numbers."""
    here, address, client = engine
    here.answers["/tokenize"] = lambda: web.json_response({"count": 2, "tokens": [1, 70_000]})
    question = question_of("chat", CHAT, "llama", "vllm")
    assert await client.ask("p", address, "vllm", question) == b"\x01\0\0\0\x70\x11\x01\0"
    assert here.got == [("/tokenize", question)]


async def test_llamacpp(engine: Started) -> None:
    """The template is another question, and special tokens are parsed."""
    here, address, client = engine
    here.answers["/apply-template"] = lambda: web.json_response({"prompt": "<s>hi"})
    here.answers["/tokenize"] = lambda: web.json_response({"tokens": [1]})
    await client.ask("p", address, "llamacpp", question_of("chat", CHAT, "llama", "llamacpp"))
    await client.ask("p", address, "llamacpp", question_of("completion", {"prompt": "x"}, "llama", "llamacpp"))
    assert [path for path, _ in here.got] == ["/apply-template", "/tokenize", "/tokenize"]
    assert here.got[1][1] == {"content": "<s>hi", "add_special": True, "parse_special": True}
    assert here.got[2][1] == {"content": "x", "add_special": True, "parse_special": True}


@pytest.mark.parametrize(
    ("answer", "is_lasting"),
    [
        (lambda: web.Response(status=404), True),
        (lambda: web.Response(status=503), False),
        (lambda: web.Response(status=302, headers={"location": "http://127.0.0.1:1/"}), False),
        (lambda: web.Response(text="no json"), True),
        (lambda: web.json_response([1]), True),
        (lambda: web.json_response({"tokens": "1"}), True),
        (lambda: web.json_response({"tokens": [1, "2"]}), True),
        (lambda: web.json_response({"tokens": [True]}), True),
        (lambda: web.json_response({"tokens": [-1]}), True),
        (lambda: web.json_response({"tokens": [2**32]}), True),
        (lambda: web.json_response({"tokens": [1.5]}), True),
        (lambda: web.json_response({"tokens": None}), True),
        (lambda: web.json_response({}), True),
        (lambda: web.Response(body=b"[" * 100_000), True),
        (lambda: web.Response(body=b"\xff"), True),
        (lambda: web.Response(body=b" " * (MAX_PAGE_BYTES + 1)), False),
    ],
)
async def test_what_is_no_answer(engine: Started, answer: Callable[[], web.Response], is_lasting: bool) -> None:
    """An error, which says whether asking again is of any use."""
    here, address, client = engine
    here.answers["/tokenize"] = answer
    with pytest.raises(AskError) as raised:
        await client.ask("p", address, "vllm", {"prompt": "x"})
    assert raised.value.is_lasting is is_lasting


async def test_a_request_that_is_not_taken(engine: Started) -> None:
    """Says nothing about the next one; a wrong token does."""
    here, address, client = engine
    for status, is_of_request, is_lasting in ((400, True, False), (401, False, True), (503, False, False)):
        here.answers["/tokenize"] = lambda status=status: web.Response(status=status)  # type: ignore[misc]
        with pytest.raises(AskError, match=f"`/tokenize`: HTTP {status}") as raised:
            await client.ask("p", address, "vllm", {"prompt": "x"})
        assert (raised.value.is_of_request, raised.value.is_lasting) == (is_of_request, is_lasting)


@pytest.mark.parametrize(
    ("tls", "token", "words"),
    [
        (None, "", "cannot connect"),
        (PodTls(context=None), "", "the certificates for its pool are missing"),
        (None, None, "the token file for its pool is missing"),
    ],
)
async def test_nobody_there(tls: PodTls | None, token: str | None, words: str) -> None:
    """Nor is a refused connection, or a pool without its files, more than an error."""
    client = EngineTokens(lambda pool: tls, lambda pool: token, 5.0)
    try:
        with pytest.raises(AskError, match=words) as raised:
            await client.ask("p", "127.0.0.1:1", "vllm", {"prompt": "x"})
        assert not raised.value.is_lasting
    finally:
        await client.close()


async def test_an_engine_that_is_late() -> None:
    """It is asked again for the next prompt."""

    async def never(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server = TestServer(web.Application())
    server.app.router.add_route("*", "/{tail:.*}", never)
    await server.start_server()
    client = EngineTokens(plaintext, no_token, 0.05)
    try:
        with pytest.raises(AskError, match=r"no answer within 0\.05 s"):
            await client.ask("p", f"{server.host}:{server.port}", "vllm", {"prompt": "x"})
    finally:
        await client.close()
        await server.close()

"""The endpoint of a live replay: URLs, bodies, answers."""

from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest
from aiohttp import web

from control_plane.cli.live_endpoint import Api, Endpoint, answered, endpoint_base, sessions
from control_plane.openai_client import Answer
from sim.pod import Pod, PodSpec
from tests.kit.fleet import QUICK


@pytest.fixture
async def pod() -> AsyncIterator[Pod]:
    """One quick pod that serves `m`."""
    async with Pod(PodSpec(name="pod-x", models=("m",), profile=QUICK)) as running:
        yield running


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:8080/v1/", "http://127.0.0.1:8080"),
        ("https://a.example/team/v1/chat/completions", "https://a.example/team"),
        ("http://[::1]:80/v1/completions", "http://[::1]:80"),
    ],
)
def test_urls_in_all_usual_forms(text: str, base: str) -> None:
    """With and without the API's path, and behind a path of their own."""
    assert endpoint_base(text) == base


@pytest.mark.parametrize(
    "text", ["127.0.0.1:8080", "ftp://a", "http://", "http://u:p@a", "http://a?key=1", "http://a#b", ""]
)
def test_urls_that_are_refused(text: str) -> None:
    """No scheme, no host, or something secret in it that a report would show."""
    with pytest.raises(ValueError, match="endpoint"):
        endpoint_base(text)


@pytest.mark.parametrize(
    ("base", "is_loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:1", True),
        ("http://localhost:1", True),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0:1", False),
        ("http://localhost.example", False),
        ("https://api.example", False),
    ],
)
def test_only_this_machine_is_loopback(base: str, is_loopback: bool) -> None:
    """Everything else asks for consent."""
    assert Endpoint(base, "chat").is_loopback is is_loopback


@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_a_pod_is_asked(pod: Pod, api: Api) -> None:
    """Streamed, with usage: the times, the tokens on both sides, and who answered."""
    endpoint = Endpoint(f"http://{pod.address}", api, pod_header="X-Pod")
    async with sessions() as session:
        first, again = [await endpoint.ask(session, endpoint.body("m", "ace " * 200, 9), 10.0) for _ in range(2)]
    for found in (first, again):
        assert (found.status, found.is_ok, found.error, found.pod) == (200, True, "", "pod-x")
        assert found.output_tokens == 9
        assert found.prompt_tokens == (208 if api == "chat" else 200)
        assert found.ttft_s is not None
        assert found.e2e_s is not None
        assert 0 < found.ttft_s <= found.e2e_s
    assert first.cached_tokens == 0
    assert (again.cached_tokens or 0) >= 192


async def test_a_key_is_sent_and_never_shown() -> None:
    """It stands in the header alone."""
    seen: list[str | None] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers.get("authorization"))
        return web.Response(status=401, text="no")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = Endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}", "chat", {"authorization": "Bearer secret"})
    try:
        async with sessions() as session:
            found = await endpoint.ask(session, b"{}", 1.0)
    finally:
        await runner.cleanup()
    assert seen == ["Bearer secret"]
    assert (found.status, found.is_ok, found.error) == (401, False, "no")
    assert "secret" not in repr(endpoint)


def test_bodies() -> None:
    """What engines know by the same names; `ignore_eos` only where it was asked for."""
    chat = msgspec.json.decode(Endpoint("http://a", "chat").body("m", "hi", 3))
    assert chat == {
        "model": "m",
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": "hi"}],
    }
    text = msgspec.json.decode(Endpoint("http://a", "completions", ignore_eos=True).body("m", "hi", 3))
    assert (text["prompt"], text["ignore_eos"], "messages" in text) == ("hi", True, False)


def test_an_empty_answer_has_no_first_token() -> None:
    """It came to its proper end: a model may have nothing to say."""
    found = answered(Answer(status=200, finished=True, total_ms=5.0), "x-pod")
    assert (found.is_ok, found.ttft_s, found.e2e_s, found.error) == (True, None, 0.005, "")


def test_an_error_has_no_first_token() -> None:
    """The time at which an error page came is not that of a token; no cached tokens told is not zero."""
    found = answered(Answer(status=503, ttft_ms=3.0, total_ms=3.0, error="busy"), "x-pod")
    assert (found.status, found.is_ok, found.ttft_s, found.cached_tokens, found.error) == (
        503,
        False,
        None,
        None,
        "busy",
    )


async def test_the_session_keeps_no_cookies() -> None:
    """Else an affinity cookie would make all requests those of one client."""
    async with sessions() as session:
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)

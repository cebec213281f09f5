"""Getting pages from real HTTP servers: good, moved, closed, busy, compressed and huge ones."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import web

from ext_proc.signals.fetch import (
    MAX_PAGE_BYTES,
    MAX_RETRY_AFTER_S,
    PageClient,
    PageError,
    PageMissingError,
    PageRefusedError,
)

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@asynccontextmanager
async def serving(response: web.Response | None = None) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server with one answer for everything, and what it was asked."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return response or web.Response(body=b"page")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}/metrics".format(*runner.addresses[0]), seen
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client() -> AsyncIterator[PageClient]:
    """A client at a fixed time."""
    made = PageClient(timeout_s=10, wall_clock=lambda: NOW)
    try:
        yield made
    finally:
        await made.close()


async def test_page() -> None:
    """The body as it is; the token only where there is one; connections are kept."""
    async with serving() as (url, seen), client() as it:
        assert await it.get(url) == b"page"
        assert await it.get(url, token="secret") == b"page"
        assert [request.headers.get("authorization") for request in seen] == [None, "Bearer secret"]
        assert seen[0].headers["accept-encoding"] == "identity"
        assert seen[0].transport is seen[1].transport


@pytest.mark.parametrize(
    ("response", "kind", "words"),
    [
        (web.Response(status=404), PageMissingError, "HTTP 404"),
        (web.Response(status=405), PageMissingError, "HTTP 405"),
        (web.Response(status=501), PageMissingError, "HTTP 501"),
        (web.Response(status=401), PageMissingError, "another token"),
        (web.Response(status=403), PageMissingError, "another token"),
        (web.Response(status=500), PageRefusedError, "HTTP 500"),
        (web.Response(status=302, headers={"location": "/elsewhere"}), PageRefusedError, "HTTP 302"),
        (web.Response(body=b"x" * (MAX_PAGE_BYTES + 1)), PageError, "more than 4194304 bytes"),
        (web.Response(body=gzip.compress(b"x"), headers={"content-encoding": "gzip"}), PageError, "compressed"),
    ],
)
async def test_no_page(response: web.Response, kind: type[PageError], words: str) -> None:
    """What is no page says what it is; a redirect is not followed."""
    async with serving(response) as (url, seen), client() as it:
        with pytest.raises(PageError, match=words) as caught:
            await it.get(url)
        assert type(caught.value) is kind
        assert len(seen) == 1


@pytest.mark.parametrize(
    ("status", "header", "wait_s"),
    [
        (503, "7", 7.0),
        (429, " 0 ", 0.0),
        (503, "Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        (503, "Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
        (503, "Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        (503, "Fri, 20 Nov 2099 11:00:00 GMT", MAX_RETRY_AFTER_S),
        (503, "9" * 100, MAX_RETRY_AFTER_S),
        (503, "soon", 0.0),
        (503, "", 0.0),
        (500, "7", 0.0),
    ],
)
async def test_retry_after(status: int, header: str, wait_s: float) -> None:
    """Seconds and dates are understood, bounded, and only of an engine that is busy."""
    async with serving(web.Response(status=status, headers={"retry-after": header})) as (url, _), client() as it:
        with pytest.raises(PageError) as caught:
            await it.get(url)
        assert caught.value.retry_after_s == wait_s


async def test_asking() -> None:
    """The JSON goes there as such, and the answer is judged like a page."""
    async with serving() as (url, seen), client() as it:
        assert await it.ask(url, {"a": "ä"}, token="secret") == b"page"
        assert (seen[0].method, seen[0].headers["content-type"]) == ("POST", "application/json")
        assert seen[0].headers["authorization"] == "Bearer secret"
        assert seen[0].content_length == len('{"a":"ä"}'.encode())
    async with serving(web.Response(status=422)) as (url, _), client() as it:
        with pytest.raises(PageRefusedError, match="HTTP 422") as caught:
            await it.ask(url, {})
        assert caught.value.status == 422


async def test_no_server() -> None:
    """A refused connection says so, and an address that is none does not raise anything else."""
    async with serving() as (url, _):
        pass
    async with client() as it:
        no_urls = [
            (each, "that is no URL") for each in ("http://127.0.0.1:99999/", "http://1.2.3.4:80:9400/", "http://[/")
        ]
        for bad, words in ((url, "cannot connect"), *no_urls):
            with pytest.raises(PageError, match=words):
                await it.get(bad)

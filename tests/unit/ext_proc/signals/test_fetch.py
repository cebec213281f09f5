"""Getting pages from real HTTP servers: good, moved, closed, busy, compressed and huge ones."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

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
from ext_proc.signals.pod_tls import PodTls
from tests.kit.certificates import authority

CHUNK = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@asynccontextmanager
async def serving(
    response: web.Response | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server with one answer for everything, and what it was asked."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return response or web.Response(body=b"page")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield "{}://{}:{}/metrics".format("https" if tls else "http", *runner.addresses[0]), seen
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
        (503, "Fri, 20 Nov 2026 12:00:30 +99999999999999", 0.0),
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


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"vllm:num_requests_running 3\n", "^the answer is no proper HTTP: Bad status line:$"),
        (
            b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000,
            "^the answer is no proper HTTP: Got more than 8190 bytes .{1,60}$",
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\nabc", "no proper HTTP: Invalid character in Content-Length:$"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 52428800\r\n\r\nabc", "more than 4194304 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * (MAX_PAGE_BYTES + 1), "more than 4194304 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK * 65, "more than 4194304 bytes"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "no proper HTTP: Invalid character in chunk"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", "cut off"),
        (b"", "disconnected"),
    ],
    ids=("no status", "endless header", "length", "50 MB", "endless", "chunks", "chunk", "cut", "nothing"),
)
async def test_broken_answers(answer: bytes, words: str) -> None:
    """Whatever comes on the connection, the reason is one short line, and nothing is read without end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, client() as it:
        with pytest.raises(PageError, match=words) as caught:
            await it.get("http://{}:{}/metrics".format(*server.sockets[0].getsockname()))
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("signer", "name", "words"),
    [
        ("ca", "pods.test", ""),
        ("ca", "others.test", "^its certificate is not taken: .*not valid for 'others.test'"),
        ("stranger", "pods.test", "^its certificate is not taken: .*unable to get local issuer"),
    ],
)
async def test_certificates(tmp_path: Path, signer: str, name: str, words: str) -> None:
    """A page is read from whom the pool's authority calls by the name that is asked for, and from nobody else."""
    known = authority(tmp_path)
    signed = known if signer == "ca" else authority(tmp_path, signer)
    trusted, served = ssl.create_default_context(cadata=known.pem.decode()), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*signed.issue("pod", "pods.test"))
    async with serving(tls=served) as (url, seen), client() as it:
        tls = PodTls(context=trusted, server_name=name)
        if not words:
            assert await it.get(url, tls=tls) == b"page"
            return
        with pytest.raises(PageError, match=words):
            await it.get(url, tls=tls, token="secret")
        assert seen == []


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

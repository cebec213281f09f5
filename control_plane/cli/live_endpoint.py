"""The endpoint that `kvpilot replay --live` sends to: its URL, its bodies, and its answers as values of a replay."""

import ipaddress
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    import aiohttp

    from control_plane.openai_client import Answer
    from sim.sending.outcomes import Answered

Api = Literal["chat", "completions"]

PATHS: Mapping[str, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and how they are written."""

    base: str
    """URL without the API's path."""

    api: Api
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request; they may hold a key, and are never shown."""

    pod_header: str = ""
    ignore_eos: bool = False

    @property
    def url(self) -> str:
        """Where requests are posted to."""
        return self.base + PATHS[self.api]

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def body(self, model: str, prompt: str, max_tokens: int) -> bytes:
        """The JSON of one streamed request."""
        asked: dict[str, object] = {"model": model, "max_tokens": max_tokens, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        if self.api == "chat":
            asked["messages"] = [{"role": "user", "content": prompt}]
        else:
            asked["prompt"] = prompt
        if self.ignore_eos:
            asked["ignore_eos"] = True
        return msgspec.json.encode(asked)

    async def ask(self, session: "aiohttp.ClientSession", body: bytes, timeout_s: float) -> "Answered":
        """Sends one request and reads its answer to the end; raises nothing."""
        from control_plane.openai_client import ask

        answer = await ask(session, self.url, body, headers=self.headers, timeout_s=timeout_s)
        return answered(answer, self.pod_header)


def endpoint_base(text: str) -> str:
    """The URL without `/v1` and what follows. Raises ValueError for one that cannot be sent to, or that has secrets."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{text!r} is no URL of an endpoint, like http://127.0.0.1:8080")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the URL of an endpoint has no user, query or fragment; a key goes with --api-key-env")
    path = parts.path.rstrip("/")
    for ending in (*PATHS.values(), "/v1"):
        path = path.removesuffix(ending)
    return f"{parts.scheme}://{parts.netloc}{path}"


def answered(answer: "Answer", pod_header: str) -> "Answered":
    """A client's answer as a value of a replay."""
    from sim.sending.outcomes import Answered

    has_content = answer.ttft_ms is not None and answer.status == 200
    return Answered(
        status=answer.status,
        is_ok=answer.ok,
        ttft_s=answer.ttft_ms / 1e3 if answer.ttft_ms is not None and has_content else None,
        e2e_s=answer.total_ms / 1e3,
        prompt_tokens=answer.prompt_tokens,
        cached_tokens=answer.cached_tokens if answer.is_cached_told else None,
        output_tokens=answer.output_tokens,
        pod=_header(answer.headers, pod_header),
        error=answer.error,
    )


def _header(headers: Mapping[str, str], name: str) -> str:
    wanted = name.lower()
    return next((value for key, value in headers.items() if key.lower() == wanted), "")


@asynccontextmanager
async def sessions() -> "AsyncIterator[aiohttp.ClientSession]":
    """A session in which each request has a connection of its own, and which keeps no cookies.

    Engines close idle connections when they like (uvicorn after 5 s, llama.cpp at once), and a request that is sent
    into that moment fails through nobody's fault. So the time to the first token has that of connecting in it.
    """
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session

"""A plain HTTP client of an OpenAI endpoint that measures what a user feels."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import msgspec
from aiohttp.http import HttpProcessingError

_UNREADABLE = (msgspec.DecodeError, HttpProcessingError, ValueError, LookupError, TypeError, AttributeError)
"""What reading an answer raises that is no OpenAI answer: no JSON, an overlong line, other fields or other types."""

_ALSO_CONTENT = ("reasoning_content", "reasoning", "tool_calls")
"""What else of a chunk is the model's own word (vLLM, SGLang: both spellings of reasoning); the role is not."""

FULL_TIMEOUT_S = 60.0
"""For who says nothing else (a demonstration): a request that hangs must not hang its report."""


@dataclass(slots=True)
class Answer:
    """What became of one request. Mutable only while it is being read."""

    status: int = 0
    """HTTP status; 0 when there was no answer at all."""
    text: str = ""
    ttft_ms: float | None = None
    """Milliseconds from sending to the first piece of content."""
    total_ms: float = 0.0
    decision: str = ""
    """Value of `x-kvpilot-decision`; empty when the picker was not asked or did not answer."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    is_cached_told: bool = False
    """The answer said how many prompt tokens came from a cache, be it none; engines differ in whether they do."""
    output_tokens: int = 0
    """As the usage says; without one, the pieces that came, which are tokens in most engines."""
    finished: bool = False
    """The answer came to its proper end."""
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """A complete 200."""
        return self.status == 200 and self.finished


async def chat(
    session: aiohttp.ClientSession,
    base_url: str,
    model: str,
    messages: Sequence[Mapping[str, object]],
    *,
    max_tokens: int = 16,
    stream: bool = True,
    headers: Mapping[str, str] | None = None,
    into: Answer | None = None,
) -> Answer:
    """One chat completion; never raises for what the server or the network does.

    `into` is filled as the answer comes, for who wants to look at it before its end.
    """
    body: dict[str, object] = {"model": model, "messages": list(messages), "max_tokens": max_tokens, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    url = f"{base_url}/v1/chat/completions"
    return await ask(session, url, msgspec.json.encode(body), stream=stream, headers=headers, into=into)


async def ask(
    session: aiohttp.ClientSession,
    url: str,
    body: bytes,
    *,
    stream: bool = True,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = FULL_TIMEOUT_S,
    into: Answer | None = None,
) -> Answer:
    """One chat or text completion with this JSON, `stream` as it says; never raises for what comes of it."""
    answer = into if into is not None else Answer()
    started = time.perf_counter()
    try:
        async with session.post(
            url,
            data=body,
            headers={"content-type": "application/json", **(headers or {})},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,  # to where nobody has been asked whether that is wanted
        ) as response:
            answer.status = response.status
            answer.headers = dict(response.headers)
            answer.decision = response.headers.get("x-kvpilot-decision", "")
            if stream and response.status == 200:
                await _read_stream(response, answer, started)
            else:
                _read_plain(await response.read(), answer, started)
    except TimeoutError as error:
        answer.error = f"{type(error).__name__}: not answered within {timeout_s:g} s"
    except aiohttp.ClientError as error:
        answer.error = f"{type(error).__name__}: {error}"
    except _UNREADABLE as error:
        answer.error = f"not an OpenAI answer: {type(error).__name__}: {error}"
    answer.total_ms = (time.perf_counter() - started) * 1000
    return answer


async def _read_stream(response: aiohttp.ClientResponse, answer: Answer, started: float) -> None:
    pieces = 0
    async for line in response.content:
        if not line.startswith(b"data:"):
            continue
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            answer.finished = True
            continue
        chunk = msgspec.json.decode(data)
        if "error" in chunk:
            answer.error = str(chunk["error"])
            continue
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta") or choice
            content = delta.get("content") or delta.get("text") or ""
            if content or any(delta.get(key) for key in _ALSO_CONTENT):
                if answer.ttft_ms is None:
                    answer.ttft_ms = (time.perf_counter() - started) * 1000
                answer.text += content
                pieces += 1
        if chunk.get("usage"):
            _read_usage(chunk["usage"], answer)
    answer.output_tokens = answer.output_tokens or pieces


def _read_plain(body: bytes, answer: Answer, started: float) -> None:
    answer.ttft_ms = (time.perf_counter() - started) * 1000
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        answer.error = body[:200].decode(errors="replace")
        return
    if answer.status != 200:
        answer.error = str(value.get("error", value) if isinstance(value, dict) else value)
        return
    choice = value["choices"][0]
    answer.text = (choice["message"]["content"] if "message" in choice else choice["text"]) or ""
    answer.finished = True
    _read_usage(value.get("usage") or {}, answer)


def _read_usage(usage: Mapping[str, object], answer: Answer) -> None:
    prompt = usage.get("prompt_tokens")
    answer.prompt_tokens = prompt if isinstance(prompt, int) else 0
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    answer.cached_tokens = cached if isinstance(cached, int) else 0
    answer.is_cached_told = isinstance(cached, int)
    output = usage.get("completion_tokens")
    answer.output_tokens = output if isinstance(output, int) else 0

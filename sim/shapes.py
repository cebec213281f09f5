"""Answers of the OpenAI and Anthropic APIs, streamed and whole.

Pure. A `Shape` turns words into the bytes that one API sends for them. Streams come as a list of server-sent events, so
that a fault can cut between two of them; the variable part of a chunk is set into a prepared text, because chunks are
what a pod sends most. Chat chunks are as vLLM sends them: role first, then the words, then the reason of the end, then
(if asked for) usage, then `[DONE]`.
"""

import base64
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import xxhash

from sim.bodies import Job
from sim.engine import Usage

EMBEDDING_DIMENSIONS = 8
"""Length of an embedding when the request names none; long enough to tell texts apart, short enough to read."""

_DONE = b"data: [DONE]\n\n"
_TEXT = "@@"  # what is replaced by the words; words and JSON keys never contain it


@dataclass(frozen=True, slots=True)
class Meta:
    """What identifies one answer."""

    id: str
    created: int
    """Unix time in seconds."""

    job: Job

    @property
    def finish_reason(self) -> str:
        """`length` when the client's limit ended the answer, else `stop`."""
        return "length" if self.job.is_limited else "stop"


class Shape(Protocol):
    """How one API answers."""

    def first(self, usage: Usage) -> list[bytes]:
        """Events before the first word; the answer's own token count is not known yet."""
        ...

    def words(self, words: Sequence[str]) -> list[bytes]:
        """One event per word."""
        ...

    def last(self, text: str, usage: Usage) -> list[bytes]:
        """Events after the last word."""
        ...

    def whole(self, text: str, usage: Usage) -> dict[str, Any]:
        """The answer as one JSON object."""
        ...


def _event(value: Any, name: str | None = None) -> bytes:
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + msgspec.json.encode(value) + b"\n\n"


def openai_usage(usage: Usage) -> dict[str, Any]:
    """`usage` of the chat, completions and embeddings APIs."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "total_tokens": usage.prompt_tokens + usage.output_tokens,
        "completion_tokens": usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


class _OpenAI(ABC):
    """What chat and completions share: an envelope with one choice."""

    def __init__(self, meta: Meta, kind: str, chunk_kind: str) -> None:
        self._meta = meta
        self._kind = kind
        self._chunk_kind = chunk_kind
        self._head, self._tail = _event(self._chunk(self._delta(_TEXT))).split(_TEXT.encode())

    @abstractmethod
    def _delta(self, text: str) -> dict[str, Any]: ...

    @abstractmethod
    def _last_choice(self) -> dict[str, Any]: ...

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        meta = self._meta
        return {"id": meta.id, "object": kind, "created": meta.created, "model": meta.job.model, "choices": choices}

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return self._envelope(self._chunk_kind, [{"index": 0, **choice, "logprobs": None}])

    def words(self, words: Sequence[str]) -> list[bytes]:
        return [self._head + word.encode() + self._tail for word in words]

    def last(self, text: str, usage: Usage) -> list[bytes]:
        events = [_event(self._chunk(self._last_choice()))]
        if self._meta.job.include_usage:
            events.append(_event({**self._envelope(self._chunk_kind, []), "usage": openai_usage(usage)}))
        return [*events, _DONE]


class Chat(_OpenAI):
    """`/v1/chat/completions`."""

    def __init__(self, meta: Meta) -> None:
        """Prepare the chunks of one answer."""
        super().__init__(meta, "chat.completion", "chat.completion.chunk")

    def _delta(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}, "finish_reason": None}

    def _last_choice(self) -> dict[str, Any]:
        return {"delta": {}, "finish_reason": self._meta.finish_reason}

    def first(self, usage: Usage) -> list[bytes]:
        """The role, with empty content."""
        return [_event(self._chunk({"delta": {"role": "assistant", "content": ""}, "finish_reason": None}))]

    def whole(self, text: str, usage: Usage) -> dict[str, Any]:
        """One `chat.completion`."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": None,
            "finish_reason": self._meta.finish_reason,
        }
        return {**self._envelope(self._kind, [choice]), "usage": openai_usage(usage)}


class Completion(_OpenAI):
    """`/v1/completions`."""

    def __init__(self, meta: Meta) -> None:
        """Prepare the chunks of one answer."""
        super().__init__(meta, "text_completion", "text_completion")

    def _delta(self, text: str) -> dict[str, Any]:
        return {"text": text, "finish_reason": None}

    def _last_choice(self) -> dict[str, Any]:
        return {"text": "", "finish_reason": self._meta.finish_reason}

    def first(self, usage: Usage) -> list[bytes]:
        """Nothing comes before the first word."""
        return []

    def whole(self, text: str, usage: Usage) -> dict[str, Any]:
        """One `text_completion`."""
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": self._meta.finish_reason}
        return {**self._envelope(self._kind, [choice]), "usage": openai_usage(usage)}


class Responses:
    """`/v1/responses`: one message with one text part, and the events that build it up."""

    def __init__(self, meta: Meta) -> None:
        """Start with event number 0."""
        self._meta = meta
        self._item = "msg_" + meta.id
        self._number = 0

    def _numbered(self, kind: str, **fields: Any) -> bytes:
        event = _event({"type": kind, "sequence_number": self._number, **fields}, kind)
        self._number += 1
        return event

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item, "output_index": 0, "content_index": 0}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": []}

    def _message(self, status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "message", "id": self._item, "status": status, "role": "assistant", "content": parts}

    def _response(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        is_short = status == "incomplete"
        return {
            "id": "resp_" + self._meta.id,
            "object": "response",
            "created_at": self._meta.created,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if is_short else None,
            "instructions": None,
            "metadata": {},
            "model": self._meta.job.model,
            "output": output,
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": usage,
        }

    def _end_status(self) -> str:
        return "incomplete" if self._meta.job.is_limited else "completed"

    def first(self, usage: Usage) -> list[bytes]:
        """The response, its message and its text part begin."""
        begun = self._response("in_progress", [], None)
        return [
            self._numbered("response.created", response=begun),
            self._numbered("response.in_progress", response=begun),
            self._numbered("response.output_item.added", output_index=0, item=self._message("in_progress", [])),
            self._numbered("response.content_part.added", **self._place(), part=self._part("")),
        ]

    def words(self, words: Sequence[str]) -> list[bytes]:
        """One delta per word."""
        place = self._place()
        return [self._numbered("response.output_text.delta", **place, delta=word, logprobs=[]) for word in words]

    def last(self, text: str, usage: Usage) -> list[bytes]:
        """The text part, its message and the response end."""
        status = self._end_status()
        message = self._message(status, [self._part(text)])
        return [
            self._numbered("response.output_text.done", **self._place(), text=text, logprobs=[]),
            self._numbered("response.content_part.done", **self._place(), part=self._part(text)),
            self._numbered("response.output_item.done", output_index=0, item=message),
            self._numbered(f"response.{status}", response=self.whole(text, usage)),
        ]

    def whole(self, text: str, usage: Usage) -> dict[str, Any]:
        """One `response`."""
        status = self._end_status()
        counts = {
            "input_tokens": usage.prompt_tokens,
            "input_tokens_details": {"cached_tokens": usage.cached_tokens},
            "output_tokens": usage.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt_tokens + usage.output_tokens,
        }
        return self._response(status, [self._message(status, [self._part(text)])], counts)


class Messages:
    """`/v1/messages` (Anthropic): `input_tokens` leaves out what was read from the cache, as there."""

    def __init__(self, meta: Meta) -> None:
        """Prepare one answer."""
        self._meta = meta

    def _message(self, content: list[dict[str, Any]], stop: str | None, counts: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self._meta.id,
            "type": "message",
            "role": "assistant",
            "model": self._meta.job.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": counts,
        }

    def _counts(self, usage: Usage, output_tokens: int) -> dict[str, int]:
        return {
            "input_tokens": usage.prompt_tokens - usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": usage.cached_tokens,
            "output_tokens": output_tokens,
        }

    def _stop_reason(self) -> str:
        # A limit is mandatory in this API, so reaching it is the only way to end here.
        return "max_tokens"

    def first(self, usage: Usage) -> list[bytes]:
        """The message and its text block begin."""
        begun = self._message([], None, self._counts(usage, 0))
        block = {"type": "text", "text": ""}
        return [
            _event({"type": "message_start", "message": begun}, "message_start"),
            _event({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start"),
        ]

    def words(self, words: Sequence[str]) -> list[bytes]:
        """One delta per word."""
        kind = "content_block_delta"
        return [
            _event({"type": kind, "index": 0, "delta": {"type": "text_delta", "text": word}}, kind) for word in words
        ]

    def last(self, text: str, usage: Usage) -> list[bytes]:
        """The text block and the message end, with the answer's length."""
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        counts = {"output_tokens": usage.output_tokens}
        return [
            _event({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            _event({"type": "message_delta", "delta": delta, "usage": counts}, "message_delta"),
            _event({"type": "message_stop"}, "message_stop"),
        ]

    def whole(self, text: str, usage: Usage) -> dict[str, Any]:
        """One `message`."""
        block = {"type": "text", "text": text}
        return self._message([block], self._stop_reason(), self._counts(usage, usage.output_tokens))


def embeddings(job: Job, usage: Usage) -> dict[str, Any]:
    """`/v1/embeddings`: vectors that follow from the text and mean nothing."""
    size = job.dimensions or EMBEDDING_DIMENSIONS
    data = []
    for index in range(job.inputs):
        seeds = (xxhash.xxh3_64_intdigest(job.prompt, index * size + place) for place in range(size))
        vector = [seed / 2**63 - 1.0 for seed in seeds]
        packed = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": packed if job.as_base64 else vector})
    counts = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    return {"object": "list", "data": data, "model": job.model, "usage": counts}


def error(status: int, kind: str, message: str, param: str | None = None) -> dict[str, Any]:
    """vLLM's error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def anthropic_error(kind: str, message: str) -> dict[str, Any]:
    """The error body of `/v1/messages`."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def busy() -> dict[str, Any]:
    """vLLM's answer when its queue is full (status 503); it is meant to be retried on another instance."""
    reason = "The engine is currently busy and cannot accept new requests."
    return error(503, "Service Unavailable", f"{reason} Please try again later or on a different instance.")

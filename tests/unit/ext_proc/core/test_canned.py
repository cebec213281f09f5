"""Answers with a text of the policy, in the shapes that clients wait for."""

import json

import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ext_proc.core.canned import canned
from ext_proc.core.decision import Canned, Level
from ext_proc.core.request import Kind, ParsedRequest
from ext_proc.core.settings import CannedSettings

TEXT = "Nobody is here.\nCome back later."


def answer(kind: Kind, *, stream: bool = False, status: int = 200, retry_after_s: int | None = None) -> Canned | None:
    """The answer to a request of this kind."""
    request = ParsedRequest(kind=kind, model="m", stream=stream, max_tokens=None, prompt_parts=(), session="", salt="")
    return canned(CannedSettings(text=TEXT, status=status), request, "m", "no_endpoint", 12.5, retry_after_s)


def test_a_chat() -> None:
    """A chat completion that says it."""
    made = answer("chat")
    assert made is not None
    assert (made.status, made.content_type) == (200, "application/json")
    body = json.loads(made.body)
    assert body["object"] == "chat.completion"
    assert body["model"] == "m"
    assert body["created"] == 12
    assert body["choices"][0]["message"] == {"role": "assistant", "content": TEXT}
    assert ChatCompletion.model_validate(body, strict=True).choices[0].finish_reason == "stop"
    assert made.degraded.level is Level.ANSWER
    assert made.degraded.label == "answer"


def test_a_completion() -> None:
    """A completion that says it."""
    made = answer("completion")
    assert made is not None
    body = json.loads(made.body)
    assert Completion.model_validate(body, strict=True).choices[0].text == TEXT


@pytest.mark.parametrize(
    ("kind", "shape", "said"),
    [
        ("chat", "chat.completion.chunk", {"delta": {"role": "assistant", "content": TEXT}}),
        ("completion", "text_completion", {"text": TEXT}),
    ],
)
def test_streams(kind: Kind, shape: str, said: dict[str, object]) -> None:
    """Events, of which the last but one ends the choice."""
    made = answer(kind, stream=True)
    assert made is not None
    assert made.content_type == "text/event-stream"
    *events, done, end = made.body.decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    first, last = (json.loads(event.removeprefix("data: ")) for event in events)
    assert first["object"] == last["object"] == shape
    if kind == "chat":
        ChatCompletionChunk.model_validate(first, strict=True)
    assert said.items() <= first["choices"][0].items()
    assert last["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("kind", ["embedding", "responses", "messages"])
def test_kinds_without_one(kind: Kind) -> None:
    """Where a text is no answer there is none."""
    assert answer(kind) is None


def test_an_error() -> None:
    """With another status it is an error for all kinds, streamed or not, and says when to come back."""
    made = answer("embedding", status=503)
    assert made is not None
    assert (made.status, made.retry_after_s) == (503, 1)
    assert json.loads(made.body)["error"]["message"] == TEXT
    made = answer("chat", stream=True, status=429, retry_after_s=7)
    assert made is not None
    assert (made.content_type, made.retry_after_s) == ("application/json", 7)

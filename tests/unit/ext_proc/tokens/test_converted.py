"""The Responses and the Messages API as chats: what was said in text, as all versions of vLLM see it."""

from typing import Any, Literal

import pytest

from ext_proc.tokens.asked import Untold
from ext_proc.tokens.converted import as_chat

HI: dict[str, Any] = {"role": "user", "content": "hi"}
TEXT = {"type": "text", "text": "hi"}


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({"input": "hi"}, [HI]),
        ({"input": "hi", "instructions": "be brief"}, [{"role": "system", "content": "be brief"}, HI]),
        ({"input": [HI, {"role": "assistant", "content": "ho"}]}, [HI, {"role": "assistant", "content": "ho"}]),
        (
            {"input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}, TEXT]}]},
            [{"role": "user", "content": [TEXT, TEXT]}],
        ),
        (
            {
                "input": [
                    {
                        "type": "message",
                        "id": "x",
                        "role": "assistant",
                        "status": "completed",
                        "content": [{"type": "output_text", "text": "hi", "annotations": []}],
                    }
                ]
            },
            [{"role": "assistant", "content": [TEXT]}],
        ),
        ({"input": "hi", "tools": [], "previous_response_id": None, "max_output_tokens": 5}, [HI]),
    ],
)
def test_responses(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Instructions are the system's, a text is the user's, items are messages."""
    assert as_chat("responses", body, "vllm") == {"messages": messages}


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({"messages": [HI], "max_tokens": 5}, [HI]),
        ({"messages": [HI], "system": "be brief"}, [{"role": "system", "content": "be brief"}, HI]),
        (
            {"messages": [HI], "system": [{**TEXT, "cache_control": {"type": "ephemeral"}}, TEXT]},
            [{"role": "system", "content": "hihi"}, HI],
        ),
        ({"messages": [{"role": "user", "content": [TEXT]}]}, [HI]),
        ({"messages": [{"role": "user", "content": [TEXT, TEXT]}]}, [{"role": "user", "content": [TEXT, TEXT]}]),
        ({"messages": [HI, {"role": "assistant", "content": [{"type": "text", "text": ""}]}]}, [HI]),
    ],
)
def test_messages(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """The system's parts are one text; a single part is its text; what says nothing is left out."""
    assert as_chat("messages", body, "custom") == {"messages": messages}


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("responses", {"input": "hi", "tools": [{}]}, "with `tools`"),
        ("responses", {"input": "hi", "previous_response_id": "x"}, "with `previous_response_id`"),
        ("responses", {"input": "hi", "reasoning": {"effort": "low"}}, "with `reasoning`"),
        ("responses", {"input": [{"type": "function_call", "name": "f"}]}, "with `function_call`"),
        ("responses", {"input": [{**HI, "content": [{"type": "input_image"}]}]}, "with `input_image`"),
        ("responses", {"input": [{"type": 2 * ["x"]}]}, "with a type that is no text"),
        ("responses", {"input": "hi", "chat_template_kwargs": {"a": 1}}, "with `chat_template_kwargs`"),
        ("responses", {"input": [{**HI, "status": "in_progress"}]}, "an answer to be continued"),
        ("responses", {"input": [{**HI, "role": "robot"}]}, "another role"),
        ("responses", {"input": [{**HI, "role": []}]}, "another role"),
        ("responses", {"input": "hi", "instructions": ["x"]}, "unexpected types"),
        ("responses", {"input": 5}, "unexpected types"),
        ("responses", {"input": ["x"]}, "unexpected types"),
        ("responses", {}, "unexpected types"),
        ("messages", {"messages": [HI], "tools": [{}]}, "with `tools`"),
        ("messages", {"messages": [HI], "thinking": {"type": "enabled"}}, "with `thinking`"),
        ("messages", {"messages": [{**HI, "content": [{"type": "tool_result"}]}]}, "with `tool_result`"),
        ("messages", {"messages": [{**HI, "role": "system"}]}, "with the role `system`"),
        ("messages", {"messages": [HI], "system": "x-anthropic-billing-header: 1"}, "with a billing header"),
        ("messages", {"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "unexpected types"),
        ("messages", {"messages": [{"role": "user"}]}, "unexpected types"),
        ("messages", {"messages": None}, "unexpected types"),
    ],
)
def test_what_is_not_known(kind: Literal["responses", "messages"], body: dict[str, Any], why: str) -> None:
    """It goes by its text, and the reason is said."""
    found = as_chat(kind, body, "vllm")
    assert isinstance(found, Untold)
    assert why in found.why


def test_reasons_are_short() -> None:
    """Decisions keep them, whatever a client calls its parts."""
    for kind in ("x" * 1_000_000, _nested(500)):
        found = as_chat("messages", {"messages": [{"role": "user", "content": [{"type": kind}]}]}, "vllm")
        assert isinstance(found, Untold)
        assert len(found.why) < 100


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize("engine", ["sglang", "llamacpp", "trtllm"])
def test_other_engines(engine: str) -> None:
    """They have rules of their own."""
    found = as_chat("messages", {"messages": [HI]}, engine)
    assert isinstance(found, Untold)
    assert engine in found.why

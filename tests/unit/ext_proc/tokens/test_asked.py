"""Bodies as engines put them before their tokenizers."""

from typing import Any

import pytest

from ext_proc.core.request import Kind
from ext_proc.tokens.asked import Chat, Ids, Plain, Untold, asked_for, continued

PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def chat(engine: str = "vllm", *, takes_parts: bool = False, **body: Any) -> Any:
    """What a chat comes to."""
    return asked_for(
        "chat", {"messages": [{"role": "user", "content": "hi"}], **body}, engine=engine, takes_parts=takes_parts
    )


def contents(engine: str, content: Any, *, takes_parts: bool = False) -> Any:
    """What the content of a single message comes to."""
    found = chat(engine, takes_parts=takes_parts, messages=[{"role": "user", "content": content}])
    return found.variables["messages"][0]["content"]


def test_contents() -> None:
    """Text or parts, as the template wants them; where several become one, engines differ."""
    assert contents("vllm", "x") == contents("sglang", "x") == "x"
    assert contents("vllm", None) == contents("sglang", None) == ""
    assert contents("vllm", PARTS) == "a\nb"
    assert contents("sglang", PARTS) == "a b"
    assert contents("vllm", ["a", *PARTS]) == "a\na\nb"
    empty = [{"type": "text", "text": ""}, *PARTS]
    assert contents("vllm", empty) == "a\nb"
    assert contents("sglang", empty) == " a b"
    said = [{"type": "refusal", "refusal": "no"}, {"type": "thinking", "thinking": "hm"}]
    assert contents("vllm", said) == "no\nhm"
    assert isinstance(chat("sglang", messages=[{"role": "user", "content": said}]), Untold)
    assert contents("vllm", PARTS, takes_parts=True) == contents("sglang", PARTS, takes_parts=True) == PARTS
    assert contents("vllm", "x", takes_parts=True) == [{"type": "text", "text": "x"}]
    assert contents("sglang", "x", takes_parts=True) == "x"
    assert contents("vllm", None, takes_parts=True) == []


def test_tool_calls_and_tools() -> None:
    """Arguments are values; tools have the fields of vLLM's type, in its order."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}
    message = {"role": "assistant", "tool_calls": [call, {"function": {"name": "g", "arguments": ""}}]}
    answer = {"role": "tool", "tool_call_id": "1", "content": "2", "unknown": 1}
    tools = [{"function": {"parameters": {}, "name": "f", "strict": True}, "type": "function"}]
    found = chat(messages=[message, answer], tools=tools).variables
    calls = found["messages"][0]["tool_calls"]
    assert [each["function"]["arguments"] for each in calls] == [{"x": [1]}, {}]
    assert found["messages"][1] == {"role": "tool", "content": "2", "tool_call_id": "1"}
    assert list(found["tools"][0]["function"].items()) == [
        ("name", "f"), ("description", None), ("parameters", {}), ("strict", True),
    ]  # fmt: skip
    assert list(found["tools"][0]) == ["type", "function"]
    assert chat("sglang", tools=tools, tool_choice="none").variables["tools"] is None
    assert chat(tools=tools, tool_choice="none").variables["tools"] is not None
    assert chat(tools=[]).variables["tools"] is None


def test_tools_of_sglang() -> None:
    """Its type has another order and other fields; a choice of one leaves one."""
    tools = [{"type": "function", "function": {"name": name, "parameters": {}, "more": 1}} for name in "fg"]
    (one,) = chat("sglang", tools=tools, tool_choice={"type": "function", "function": {"name": "g"}}).variables["tools"]
    assert list(one.items()) == [("type", "function"), ("function", one["function"])]
    assert list(one["function"].items()) == [
        ("description", None), ("name", "g"), ("parameters", {}), ("strict", False),
    ]  # fmt: skip
    assert len(chat("sglang", tools=tools, tool_choice="auto").variables["tools"]) == 2


def test_what_sglang_does_by_itself() -> None:
    """It always begins the answer, has no other special tokens, takes ids in the place of messages, and turns a last
    message of the assistant into something else."""
    found = chat("sglang", add_generation_prompt=False, add_special_tokens=True)
    assert found.variables["add_generation_prompt"] is True
    assert not found.has_special_tokens
    assert chat("sglang", input_ids=[1, 2]) == Ids([1, 2])
    assert isinstance(chat("sglang", input_ids=[]), Untold)
    assert isinstance(chat("sglang", input_ids="12"), Untold)
    assert isinstance(chat(input_ids=[1, 2]), Chat)
    assert isinstance(chat("sglang", messages=[{"role": "assistant", "content": "x"}]), Untold)


def test_tool_calls_without_arguments() -> None:
    """vLLM takes them for none: templates go over them as over others."""
    calls = [{"function": {"name": "f", "arguments": None}}, {"function": {"name": "g"}}]
    found = chat(messages=[{"role": "assistant", "tool_calls": calls}]).variables["messages"][0]["tool_calls"]
    assert [each["function"]["arguments"] for each in found] == [{}, {}]


def test_answers_of_tools() -> None:
    """vLLM tells them as text also where the template takes parts."""
    answer = {"role": "tool", "tool_call_id": "1", "content": PARTS}
    assert chat(takes_parts=True, messages=[answer]).variables["messages"][0]["content"] == "a\nb"
    assert chat("sglang", takes_parts=True, messages=[answer]).variables["messages"][0]["content"] == PARTS


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_of_earlier_turns(name: str) -> None:
    """vLLM's templates find them under both names."""
    found = chat(messages=[{"role": "assistant", "content": "x", name: "hm"}]).variables["messages"][0]
    assert (found["reasoning"], found["reasoning_content"]) == ("hm", "hm")


def test_fields_of_other_roles() -> None:
    """vLLM's templates do not see them."""
    odd = {"role": "user", "content": "x", "tool_call_id": "1", "reasoning": "hm", "name": "n"}
    assert chat(messages=[odd]).variables["messages"] == [{"role": "user", "content": "x", "name": "n"}]
    assert chat("sglang", messages=[odd]).variables["messages"] == [odd]


def test_what_vllm_drops_of_tools() -> None:
    """Fields that its type does not know, and `strict` where it is null."""
    (tool,) = chat(tools=[{"type": "function", "function": {"name": "f", "strict": None, "x": 1}}]).variables["tools"]
    assert tool["function"] == {"name": "f", "description": None, "parameters": None}


def test_effort() -> None:
    """At vLLM it says whether to think, too, unless the request does so itself."""
    assert chat(reasoning_effort="low").variables["enable_thinking"] is True
    assert chat(reasoning_effort="none").variables["enable_thinking"] is False
    own = chat(reasoning_effort="none", chat_template_kwargs={"enable_thinking": True})
    assert own.variables["enable_thinking"] is True
    assert "enable_thinking" not in chat().variables
    assert "enable_thinking" not in chat("sglang", reasoning_effort="none").variables


def test_variables_of_the_template() -> None:
    """The request's own win."""
    assert chat().variables["add_generation_prompt"] is True
    found = chat(add_generation_prompt=False, chat_template_kwargs={"enable_thinking": False}, documents=[1])
    assert found.variables["add_generation_prompt"] is False
    assert found.variables["enable_thinking"] is False
    assert found.variables["documents"] == [1]
    assert chat(add_special_tokens=True).has_special_tokens
    assert not chat().has_special_tokens


def test_a_message_that_is_continued() -> None:
    """The text ends where the last message does."""
    found = chat(messages=[{"role": "assistant", "content": " so far "}], continue_final_message=True)
    assert isinstance(found, Chat)
    assert found.continued == " so far "
    assert continued("<a> so far <end>", " so far ") == "<a> so far "
    assert continued("<a>so far<end>", " so far ") == "<a>so far"
    with pytest.raises(ValueError, match="substring"):
        continued("nothing", "so far")


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("completion", {"prompt": "a"}, Plain("a")),
        ("completion", {"prompt": ["a"]}, Plain("a")),
        ("completion", {"prompt": "a", "add_special_tokens": False}, Plain("a", has_special_tokens=False)),
        ("completion", {"prompt": [1, 2]}, Ids([1, 2])),
        ("completion", {"prompt": [7]}, Ids([7])),
        ("completion", {"prompt": [[1, 2]]}, Ids([1, 2])),
        ("embedding", {"input": "a"}, Plain("a")),
    ],
)
def test_prompts(kind: Kind, body: dict[str, Any], expected: object) -> None:
    """A text, or token ids that the client made."""
    assert asked_for(kind, body, engine="vllm", takes_parts=False) == expected


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("completion", {}),
        ("completion", {"prompt": None}),
        ("completion", {"prompt": []}),
        ("completion", {"prompt": ["a", "b"]}),
        ("completion", {"prompt": [1, "a"]}),
        ("completion", {"prompt": [True]}),
        ("completion", {"prompt": {"a": 1}}),
        ("completion", {"prompt": "a", "truncate_prompt_tokens": 4}),
        ("completion", {"prompt": "a", "prompt_embeds": "AAAA"}),
        ("chat", {}),
        ("chat", {"messages": []}),
        ("chat", {"messages": "x"}),
        ("chat", {"messages": [1]}),
        ("chat", {"messages": [{"content": "no role"}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}),
        ("chat", {"messages": [{"role": "user", "content": [{"type": "input_audio", "text": "x"}]}]}),
        ("chat", {"messages": [{"role": "user", "content": 1}]}),
        ("chat", {"messages": [{"role": "a", "tool_calls": [{"function": {"arguments": "no json"}}]}]}),
        ("chat", {"messages": [{"role": "user", "content": "x"}], "chat_template": "{{ x }}"}),
        ("chat", {"messages": [{"role": "user", "content": "x"}], "chat_template_kwargs": {"chat_template": "x"}}),
        ("chat", {"messages": [{"role": "user", "content": ""}], "continue_final_message": True}),
        ("chat", {"messages": [{"role": "user", "content": "x"}], "tools": [1]}),
        ("responses", {"input": "x"}),
        ("messages", {"messages": []}),
    ],
)
def test_what_only_engines_know(kind: Kind, body: dict[str, Any]) -> None:
    """The request goes by its text, with a reason, whatever it holds."""
    found = asked_for(kind, body, engine="vllm", takes_parts=False)
    assert isinstance(found, Untold)
    assert found.why

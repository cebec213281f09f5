"""What a policy says about the tokens of prompts."""

import pytest

from control_plane.policy import load
from control_plane.policy.tokenizers import PrefixIndex, Tokenizer
from tests.unit.control_plane.policy.samples import document

POLICY = """kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models:
  - {name: llama, pool: chat%s}
  - {name: sql, aliases: [s], route: [{pool: chat}, {pool: other}]}
pools:
  chat:
    endpoints: [{address: 10.0.0.1:8000}]
    %s
  other: {endpoints: [{address: 10.0.0.2:8000}]}
rules: %s
"""


def policy(model: str = "", pool: str = "engine: vllm", rules: str = "[]") -> str:
    """Two models for one pool; `model` is said about the first."""
    return POLICY % (model and f", {model}", pool, rules)


def findings(text: str) -> list[str]:
    """Codes with their places."""
    return [f"{each.line}:{each.column} {each.code}" for each in load(text, "p.yaml").diagnostics]


def test_defaults() -> None:
    """By the text."""
    found = document(policy()).policy
    assert found.models[0].tokenizer is None
    assert found.pools[0].prefix_index == PrefixIndex(mode="auto")
    assert findings(policy()) == []


def test_everything() -> None:
    """All keys of it."""
    text = policy("tokenizer: {file: a.json, config: b.json, chatTemplate: c.jinja}", "prefixIndex: {baseModel: sql}")
    found = document(text).policy
    assert found.models[0].tokenizer == Tokenizer(file="a.json", config="b.json", chat_template="c.jinja")
    assert found.models[0].tokenizer.files == (("file", "a.json"), ("config", "b.json"), ("chatTemplate", "c.jinja"))
    assert found.pools[0].prefix_index.base_model == "sql"
    assert findings(text) == []
    assert document(policy("tokenizer: {from: engine}")).policy.models[0].tokenizer == Tokenizer(from_="engine")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (policy("tokenizer: {}"), ["4:31 KP203"]),
        (policy("tokenizer: {config: a}"), ["4:31 KP203"]),
        (policy("tokenizer: {from: air}"), ["4:49 KP208"]),
        (policy("tokenizer: {from: engine, file: a}"), ["4:63 KP902"]),
        (policy("tokenizer: {file: a, chatTemplate: b}"), ["4:66 KP909"]),
        (policy(pool="prefixIndex: {mode: exact}"), ["9:25 KP208"]),
        (policy(pool="prefixIndex: {mode: approximate}"), ["9:25 KP902"]),
        (policy(pool="prefixIndex: {mode: precise}"), ["4:5 KP317", "5:5 KP317", "9:25 KP317"]),
        (policy(pool="kvEvents: {}"), ["9:5 KP909"]),
        (policy("tokenizer: {from: engine}", "kvEvents: {}"), ["9:5 KP909"]),
        (policy(pool="kvEvents: {}\n    prefixIndex: {mode: approximate}"), []),
        (policy("tokenizer: {from: engine}", "engine: tgi"), ["4:49 KP909"]),
        (policy("tokenizer: {from: engine}", "kvEvents: {}\n    prefixIndex: {mode: precise}"), ["5:5 KP317"]),
    ],
)
def test_findings(text: str, expected: list[str]) -> None:
    """Each at its place."""
    assert sorted(findings(text)) == sorted(expected)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("[]", ["sql"]),
        ("[{name: a, match: [{models: [llama]}], pool: other}]", ["llama", "sql"]),
        ("[{name: a, match: [{models: [s]}], pool: other}]", ["sql"]),
        ("[{name: a, match: [{headers: {x: {exact: y}}}], pool: other}]", ["llama", "sql"]),
        ("[{name: a, match: [{models: [llama]}], pool: chat}]", ["sql"]),
    ],
)
def test_models_of_a_pool(rules: str, expected: list[str]) -> None:
    """Those that lead to it, and those that rules may send there."""
    assert [model.name for model in document(policy(rules=rules)).policy.models_of("other")] == expected

"""What kvpilot's checks let through, before `envoy --mode validate`: it takes all but what a patch can do."""

import json
import random
from pathlib import Path

import pytest

from control_plane.cli.envoy_validate import validated
from control_plane.compile.findings import findings
from control_plane.policy import load
from control_plane.policy.codes import Code
from control_plane.policy.log_format import OPERATORS_WITH_ARGUMENT, OPERATORS_WITH_FORMAT, PLAIN_OPERATORS
from control_plane.policy.regex import MAX_PROGRAM, program_size, regex_problem
from protos.messages import load as load_messages

pytestmark = pytest.mark.e2e

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 127.0.0.1:8000}]}}
"""

FIELDS_PER_LOG = 60


def refusal(text: str) -> str:
    """What Envoy says against a policy that kvpilot's own checks take; empty for nothing."""
    result = load(text, "policy.yaml")
    assert result.document is not None, result.diagnostics
    assert findings(result.document, load_messages()) == ()
    found = [each for each in validated("policy.yaml", result).diagnostics if each.code == Code.ENVOY_REFUSES]
    return found[0].message if found else ""


def test_every_command_operator(tmp_path: Path) -> None:
    """Each operator that a log may have is one of Envoy's, with and without what may be written to it."""
    examples = [example for _, example in OPERATORS_WITH_ARGUMENT.values()]
    operators = [*PLAIN_OPERATORS, *OPERATORS_WITH_FORMAT, *examples, "REQ(x-a?:path):5"]
    formats = [f"%{operator}%" for operator in sorted(operators)] + ["100%%", "a%PROTOCOL%b"]
    logs = [
        {"path": str(tmp_path / f"{start}.json"), "fields": dict(zip(map("f{}".format, range(60)), part, strict=False))}
        for start in range(0, len(formats), FIELDS_PER_LOG)
        if (part := formats[start : start + FIELDS_PER_LOG])
    ]
    assert refusal(POLICY.replace("8080}", f"8080, accessLog: {json.dumps(logs)}}}")) == ""


@pytest.mark.parametrize(
    ("kind", "resource", "operation", "words"),
    [
        ("cluster", "pool/chat", "{op: replace, path: /connectTimeout, value: 0s}", "ConnectTimeout"),
        (
            "listener",
            "openai",
            "{op: replace, path: /filterChains/0/filters/0/typedConfig/statPrefix, value: ''}",
            "StatPrefix",
        ),
        ("route", "openai", "{op: add, path: /virtualHosts/0/domains/-, value: '*'}", "wildcard domain"),
        (
            "endpoints",
            "pool/chat",
            "{op: add, path: /endpoints/0/lbEndpoints/0/loadBalancingWeight, value: 0}",
            "LoadBalancingWeight",
        ),
    ],
)
def test_patches_that_only_envoy_can_judge(kind: str, resource: str, operation: str, words: str) -> None:
    """They fit, they are messages of Envoy's, and Envoy refuses what they say: what quarantine is for."""
    patch = f"envoyPatch: [{{name: p, kind: {kind}, resource: {resource}, patch: [{operation}]}}]\n"
    assert words in refusal(POLICY + patch)


PIECES = (
    "a", "k", "é", "漢", "abc", ".", "|", "(", "(?:", ")", "*", "+", "?", "{2}", "{3,5}", "{0,6}", "{7,}", "{40}", "^",
    "$", r"\.", r"\b", r"\d", r"\s", r"\w", r"\S", r"\W", "[a-c]", "[^x]", r"[^é\d]", "[à-ü漢]", r"[\w.-]", "(?i)",
    "(?s)",
)  # fmt: skip
EXPRESSIONS = 1_000


def test_regular_expressions() -> None:
    """What the policy takes, Envoy takes: neither its language nor its bound on the length of programs is exceeded."""
    rng = random.Random(1)
    taken: set[str] = set()
    while len(taken) < EXPRESSIONS:
        text = "".join(rng.choices(PIECES, k=rng.randint(1, 14)))
        if not regex_problem(text):
            taken.add(text)
    longest = max(map(program_size, taken))
    assert longest > MAX_PROGRAM - 5, longest
    rules = [
        {"name": f"r{index}", "match": {"headers": {"x-a": {"regex": text}}}, "pool": "chat"}
        for index, text in enumerate(sorted(taken))
    ]
    assert refusal(f"{POLICY}rules: {json.dumps(rules)}\n") == ""

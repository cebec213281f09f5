"""Policies and pieces of them that several tests use."""

from control_plane.policy import Diagnostic, Document, load
from control_plane.policy.nodes import Node, compose, split_lines
from control_plane.policy.reader import Reader

FULL = """\
kvpilot: v1
listeners:
  - name: openai
    address: 0.0.0.0:8080
    maxRequestBytes: 16MiB
    sessionHeader: X-Session-Id
    defaultPool: llama-8b
    picker: {mode: two-message, messageTimeout: 100ms, modelFrom: envoy}
models:
  - name: llama-3-70b
    aliases: [gpt-4, openai/gpt-4]
    route:
      - {pool: llama-70b, weight: 95}
      - {pool: llama-70b-next, weight: 5}
  - {name: llama-3.1-8b, pool: llama-8b}
pools:
  llama-70b:
    engine: vllm
    endpoints:
      - {address: 10.0.0.1:8000, region: us-east, zone: us-east-1a, weight: 90, labels: {gpu: h100, v: 1.10, on: on}}
      - {address: "[fd00:0::1]:8000", region: us-west, zone: us-west-1b}
    picker: {strategy: queue-depth}
    trafficPolicy:
      connectionPool:
        tcp: {maxConnections: 10, connectTimeout: 1500ms}
        http: {http2MaxRequests: 1000, http1MaxPendingRequests: 100, maxRetries: 10, idleTimeout: 3s}
      outlierDetection:
        consecutive5xxErrors: 7
        consecutiveGatewayErrors: 3
        interval: 10s
        baseEjectionTime: 1m30s
        maxEjectionPercent: 20
      loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: us-east, to: us-west}]}}
    retries: {attempts: 3, retryOn: "reset, retriable-status-codes", retriableStatusCodes: [503, "502"]}
    timeouts: {request: 1h, firstByte: 20s, idle: 30s}
  llama-70b-next:
    engine: sglang
    endpoints: [{address: 10.0.0.9:8000}]
    trafficPolicy: {outlierDetection: off}
  llama-8b:
    endpoints: [{address: 10.0.0.10:8000}]
"""
"""Keys of most blocks, away from their defaults."""

MINIMAL = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: llama, pool: chat}]
pools: {chat: {endpoints: [{address: 10.0.0.1:8000}]}}
"""
"""Only what is required."""

FILE = "policy.yaml"


def document(text: str) -> Document:
    """The document of a policy that must be good."""
    result = load(text, FILE)
    assert result.document is not None, result.diagnostics
    return result.document


def places(text: str) -> list[str]:
    """All findings as `line:column code`."""
    return [place(diagnostic) for diagnostic in load(text, FILE).diagnostics]


def place(diagnostic: Diagnostic) -> str:
    """One finding as `line:column code`."""
    return f"{diagnostic.line}:{diagnostic.column} {diagnostic.code}"


def parsed(text: str) -> tuple[Reader, Node]:
    """A reader and the root node of a text that is good YAML."""
    root, problems = compose(text)
    assert root is not None, problems
    assert problems == ()
    return Reader(FILE, split_lines(text)), root


def with_pool(lines: str) -> str:
    """A policy with `lines` (from column 1) as the content of the pool `chat`, from line 5 on, indented by 4."""
    body = "".join(f"    {line}\n" for line in lines.splitlines())
    return MINIMAL.splitlines(keepends=True)[0] + (
        "listeners: [{name: openai, address: 127.0.0.1:8080}]\n"
        "models: [{name: llama, pool: chat}]\n"
        f"pools:\n  chat:\n{body}"
    )


TWO_POOLS = "pools: {p: {endpoints: [{address: 10.0.0.1:80}]}, q: {endpoints: [{address: 10.0.0.2:80}]}}\n"
_HEAD = "kvpilot: v1\nlisteners: [{name: a, address: 127.0.0.1:80}]\n"


def with_models(models: str) -> str:
    """A policy with two pools and these models, in line 3."""
    return f"{_HEAD}models: [{models}]\n{TWO_POOLS}"


def with_rule(rule: str) -> str:
    """A policy with two pools and one rule, in line 5."""
    models = "[{name: m, aliases: [n], route: [{pool: p}, {pool: q}]}]"
    return f"{_HEAD}models: {models}\n{TWO_POOLS}rules: [{{{rule}}}]\n"

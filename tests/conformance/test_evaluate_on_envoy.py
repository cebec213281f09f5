"""`control_plane.compile.evaluate` against a real Envoy: the same requests take the same routes.

Every matcher that the evaluator knows stands in the table at least once, with requests on both sides of it.
"""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from control_plane.compile import (
    KVPILOT_CLUSTER,
    Compiled,
    Node,
    Services,
    capabilities,
    compile_snapshot,
    static_bootstrap,
)
from control_plane.compile.evaluate import Request, evaluate
from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from ext_proc.core.address import SocketAddress
from tests.conformance.envoy_lab import Envoy, running
from tests.conformance.raw_http import Pod, http1
from tests.kit.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ROUTE_HEADER = "x-lab-route"
JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"

POLICY = """\
kvpilot: v1
listeners:
  - {{name: openai, address: "127.0.0.1:{compiled}", taskHeader: x-task-type, defaultPool: a}}
  - {{name: matchers, address: "127.0.0.1:{matchers}", defaultPool: a}}
models:
  - {{name: llama, aliases: [gpt-4], pool: a}}
  - {{name: mixtral, route: [{{pool: a, weight: 1}}, {{pool: b, weight: 1}}]}}
rules:
  - {{name: exact, match: {{headers: {{x-user-tier: {{exact: premium}}}}}}, pool: b}}
  - {{name: prefix, match: {{headers: {{x-a: {{prefix: ab}}}}, method: {{exact: POST}}}}, pool: b}}
  - {{name: regex, match: {{headers: {{x-b: {{regex: "[0-9]+"}}}}}}, pool: b}}
  - {{name: present, match: {{headers: {{x-c: {{present: true}}}}, withoutHeaders: {{x-d: {{exact: "1"}}}}}}, pool: b}}
  - {{name: query, match: {{queryParams: {{k: {{exact: v}}}}}}, pool: b}}
  - {{name: admin, match: {{uri: {{prefix: /admin}}}}, directResponse: {{status: 403, message: "no"}}}}
  - {{name: both, match: [{{models: [llama], headers: {{x-e: {{exact: e}}}}}}, {{uri: {{exact: /both}}}}], pool: b}}
  - {{name: task, match: {{taskType: [embedding, summary]}}, pool: b}}
  - {{name: tools, match: {{tools: true, taskType: [tools]}}, pool: b}}
  - {{name: no-tools, match: {{tools: false, taskType: [tools]}}, pool: b}}
  - {{name: small, match: {{promptTokens: {{lessThan: 50}}, taskType: [length]}}, pool: b}}
  - {{name: medium, match: {{promptTokens: {{atLeast: 50, lessThan: 100}}, taskType: [length]}}, pool: b}}
  - {{name: large, match: {{promptTokens: {{atLeast: 100}}, taskType: [length]}}, pool: b}}
  - {{name: brief, match: {{maxTokens: {{lessThan: 50}}, taskType: [answer]}}, pool: b}}
  - {{name: fair, match: {{maxTokens: {{atLeast: 50, lessThan: 100}}, taskType: [answer]}}, pool: b}}
  - {{name: endless, match: {{maxTokens: {{atLeast: 100}}, taskType: [answer]}}, pool: b}}
pools:
  a: {{endpoints: [{{address: "{pod}"}}]}}
  b: {{endpoints: [{{address: "{pod}"}}]}}
"""
"""What the compiler makes of rules; `matchers` gets routes by hand, for what no policy asks for today."""


def direct(name: str, **match: Any) -> dict[str, Any]:
    """A route that answers 200 by itself."""
    return {"name": name, "match": match, "directResponse": {"status": 200}}


def header(**fields: Any) -> list[dict[str, Any]]:
    """A condition on the header `x-h`."""
    return [{"name": "x-h", **fields}]


def on_body(value: dict[str, Any], key: str = "model", **more: Any) -> dict[str, Any]:
    """A condition on what was read from the body."""
    matcher = {"filter": "kvpilot", "path": [{"key": key}], "value": value, **more}
    return {"prefix": "/v1/chat", "dynamicMetadata": [matcher]}


HOSTS = [
    {"name": "exact", "domains": ["api.example.com"], "routes": [direct("host-exact", prefix="/")]},
    {"name": "suffix", "domains": ["*.example.com"], "routes": [direct("host-suffix", prefix="/")]},
    {"name": "longer", "domains": ["*-eu.example.com"], "routes": [direct("host-longer", prefix="/")]},
    {"name": "prefix", "domains": ["api.*"], "routes": [direct("host-prefix", prefix="/")]},
    {
        "name": "rest",
        "domains": ["*"],
        "routes": [
            direct("path", path="/exact/path"),
            direct("any-case", path="/Any/Case", caseSensitive=False),
            direct("separated", pathSeparatedPrefix="/separated"),
            direct("regex", safeRegex={"regex": "/re/[a-z]+"}),
            direct("suffix", prefix="/h", headers=header(stringMatch={"suffix": "-end"})),
            direct("contains", prefix="/h", headers=header(stringMatch={"contains": "middle"})),
            direct("ignore-case", prefix="/h", headers=header(stringMatch={"exact": "LOUD", "ignoreCase": True})),
            direct("absent", prefix="/absent", headers=header(presentMatch=False)),
            direct("not-x", prefix="/not", headers=header(stringMatch={"exact": "x"}, invertMatch=True)),
            direct(
                "not-y-or-none",
                prefix="/either",
                headers=header(stringMatch={"exact": "y"}, invertMatch=True, treatMissingHeaderAsEmpty=True),
            ),
            direct("no-presence", prefix="/no-presence", headers=header(presentMatch=True, invertMatch=True)),
            direct("query-regex", prefix="/q", queryParameters=[{"name": "k", "stringMatch": {"prefix": "a%20"}}]),
            direct("query-there", prefix="/q", queryParameters=[{"name": "k", "presentMatch": True}]),
            direct("query-absent", prefix="/q", queryParameters=[{"name": "other", "presentMatch": False}]),
            direct(
                "either",
                **on_body(
                    {"orMatch": {"valueMatchers": [{"stringMatch": {"exact": "a"}}, {"stringMatch": {"prefix": "b-"}}]}}
                ),
            ),
            direct("stream", **on_body({"boolMatch": True}, "stream")),
            direct("no-model", **on_body({"stringMatch": {"exact": "no-model"}}, "body")),
            direct("not-json", **on_body({"stringMatch": {"exact": "not-json"}}, "body")),
            direct("not-c", **on_body({"stringMatch": {"exact": "c"}}, invert=True)),
            direct("some-model", **on_body({"presentMatch": True})),
        ],
    },
]


@dataclass(frozen=True)
class Case:
    """One request; `expected` guards against two wrongs that agree."""

    listener: str
    expected: str
    path: str = CHAT
    method: str = "POST"
    host: str = "lab"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    chunked: bool = False


def asks(**fields: object) -> bytes:
    """A body."""
    return json.dumps({"model": "llama", "messages": [], **fields}).encode()


def get(listener: str, expected: str, path: str, host: str = "lab", **headers: str) -> Case:
    """A GET; header names have `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(listener, expected, path, "GET", host, named)


def post(listener: str, expected: str, body: bytes, path: str = CHAT, *, chunked: bool = False, **headers: str) -> Case:
    """A POST of a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Case(listener, expected, path, headers={**JSON, **named}, body=body, chunked=chunked)


def tools(expected: str, text: str) -> Case:
    """A call with `text` at its end, judged by whether it has tools."""
    return post(C, f"rule/{expected}", asks()[:-1] + text.encode() + b"}", x_task_type="tools")


def sized(expected: str, size: int, *, chunked: bool = False) -> Case:
    """A call of so many bytes, judged by them."""
    return post(C, f"rule/{expected}", asks().ljust(size), chunked=chunked, x_task_type="length")


def bounded(expected: str, **fields: object) -> Case:
    """A call judged by how long the answer may become."""
    return post(C, f"rule/{expected}", asks(**fields), x_task_type="answer")


C, M = "openai", "matchers"
CASES = [
    post(C, "model/llama", asks()),
    post(C, "model/llama", asks(model="gpt-4", stream=True), "/v1/completions?x=1"),
    post(C, "model/mixtral", asks(model="mixtral")),
    post(C, "unknown-model", asks(model="nobody")),
    post(C, "no-model", b"{}"),
    post(C, "no-model", b"[]"),
    post(C, "no-model", b'"text"'),
    post(C, "no-model", b'{"model": {"a": 1}}'),
    post(C, "no-model", asks(model="x" * 9000)),
    post(C, "no-model", b""),
    post(C, "not-json", b"{"),
    post(C, "model/llama", asks(), "/v1/chat/../chat//completions"),
    post(C, "model/llama", asks(), "/v1%2Fchat/completions"),
    post(C, "default", asks(), "/v1/other"),
    get(C, "default", "/v1/models"),
    get(C, "default", CHAT),
    post(C, "rule/exact", asks(), x_user_tier="premium"),
    post(C, "model/llama", asks(), x_user_tier="premiums"),
    get(C, "rule/exact", "/v1/models", x_user_tier="premium"),
    post(C, "rule/prefix", asks(), x_a="abc"),
    get(C, "default", "/", x_a="abc"),
    post(C, "rule/regex", asks(model="nobody"), x_b="123"),
    post(C, "unknown-model", asks(model="nobody"), x_b="123a"),
    get(C, "rule/present", "/", x_c="anything"),
    get(C, "rule/present", "/", x_c="anything", x_d="2"),
    get(C, "default", "/", x_c="anything", x_d="1"),
    get(C, "rule/query", "/x?a=b&k=v&k=w"),
    get(C, "default", "/x?k=w&k=v"),
    get(C, "default", "/x?k=%76"),
    get(C, "rule/admin", "/admin/x"),
    get(C, "rule/admin", "/v1/../admin"),
    post(C, "rule/both", asks(), x_e="e"),
    post(C, "rule/both", asks(model="gpt-4"), x_e="e"),
    post(C, "model/mixtral", asks(model="mixtral"), x_e="e"),
    get(C, "rule/both", "/both?x"),
    post(C, "rule/task", asks(input="x"), "/v1/embeddings"),
    post(C, "rule/task", asks(), x_task_type="summary"),
    post(C, "model/llama", asks(), x_task_type="summaries"),
    tools("tools", ', "tools": [{"type": "function"}]'),
    tools("tools", ', "tools"\t:\r\n [ {}]'),
    tools("tools", ', "tools": [], "x": {"tools": [1]}'),
    tools("tools", ', "tools": ["' + "x" * 200_000 + '"]'),
    tools("no-tools", ""),
    tools("no-tools", ', "tools": []'),
    tools("no-tools", ', "tools": [ \n ]'),
    tools("no-tools", ', "tools": null'),
    tools("no-tools", ', "tools": {"a": 1}'),
    tools("no-tools", ', "a": "tools", "b": "tools: [1]"'),
    tools("no-tools", r', "a": "\"tools\": [1]"'),
    tools("no-tools", "".join(f', "x{number}": "tools"' for number in range(999))),
    tools("tools", "".join(f', "x{number}": "tools"' for number in range(1000))),
    post(C, "no-model", b'{"tools": [1]}', x_task_type="tools"),
    sized("small", 199),
    sized("medium", 200),
    sized("medium", 399),
    sized("large", 400),
    sized("large", 199, chunked=True),
    get(C, "default", CHAT, x_task_type="length"),
    bounded("brief", max_tokens=49),
    bounded("brief", max_tokens=49.5),
    bounded("brief", max_tokens=0),
    bounded("fair", max_tokens=50),
    bounded("fair", max_tokens=500, max_completion_tokens=50),
    bounded("fair", max_completion_tokens=99, max_tokens=None),
    bounded("brief", max_output_tokens=9),
    bounded("endless", max_tokens=-1),
    bounded("endless", max_tokens=100),
    bounded("endless", max_tokens=1e300),
    bounded("endless"),
    bounded("endless", max_tokens=None),
    bounded("endless", max_tokens="5"),
    bounded("endless", max_tokens=True),
    bounded("endless", max_tokens=[5]),
    get(M, "host-exact", "/", "api.example.com"),
    get(M, "host-exact", "/", "API.example.com"),
    get(M, "host-exact", "/", "api.example.com:8443"),
    get(M, "host-suffix", "/", "x.example.com"),
    get(M, "host-longer", "/", "x-eu.example.com"),
    get(M, "host-prefix", "/", "api.other.org"),
    get(M, "path", "/exact/path", "example.com"),
    get(M, "path", "/exact/path?k=v"),
    get(M, "", "/exact/Path"),
    get(M, "any-case", "/any/CASE"),
    get(M, "separated", "/separated/below"),
    get(M, "separated", "/separated"),
    get(M, "", "/separatedly"),
    get(M, "regex", "/re/abc?x"),
    get(M, "", "/re/abc/d"),
    get(M, "suffix", "/h", x_h="the-end"),
    get(M, "contains", "/h", x_h="the middle of it"),
    get(M, "ignore-case", "/h", x_h="lOuD"),
    get(M, "", "/h", x_h="quiet"),
    get(M, "absent", "/absent"),
    get(M, "", "/absent", x_h="there"),
    get(M, "not-x", "/not", x_h="y"),
    get(M, "", "/not", x_h="x"),
    get(M, "", "/not"),
    get(M, "not-y-or-none", "/either"),
    get(M, "", "/either", x_h="y"),
    get(M, "no-presence", "/no-presence"),
    get(M, "", "/no-presence", x_h="there"),
    get(M, "query-regex", "/q?k=a%20b&other"),
    get(M, "query-there", "/q?k=a b".replace(" ", "+")),
    get(M, "query-absent", "/q"),
    get(M, "", "/q?other=1"),
    post(M, "either", asks(model="a")),
    post(M, "either", asks(model="b-1")),
    post(M, "stream", asks(model="x", stream=True)),
    post(M, "not-c", asks(model="x", stream=False)),
    post(M, "some-model", asks(model="c")),
    post(M, "no-model", asks(model=None)),
    post(M, "not-json", b"no"),
]  # fmt: skip


@dataclass
class Lab:
    """What runs, and what it was compiled from."""

    compiled: Compiled
    addresses: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """One Envoy with both listeners; nobody picks, so every request fails open."""
    pod = Pod()
    async with running(pod):
        nobody, first, second = free_ports(3)
        document = load(POLICY.format(compiled=first, matchers=second, pod=pod.address), "policy.yaml").document
        assert document is not None
        compiled = compile_snapshot(
            document.policy,
            static_fleet(document.policy),
            Services(ext_proc=SocketAddress("127.0.0.1", nobody)),
            capabilities(Node(id="lab", version=(1, 40, 0))),
            "",
            "",
        )
        del compiled.clusters[KVPILOT_CLUSTER]["healthChecks"]
        by_hand: Any = compiled.routes["matchers"]
        by_hand["virtualHosts"] = HOSTS
        by_hand["ignorePortInHostMatching"] = True
        for table in compiled.routes.values():
            table["responseHeadersToAdd"] = [{"header": {"key": ROUTE_HEADER, "value": "%ROUTE_NAME%"}}]
        async with running(Envoy(tmp_path_factory.mktemp("envoy"), static_bootstrap(compiled))):
            yield Lab(compiled, {"openai": f"127.0.0.1:{first}", "matchers": f"127.0.0.1:{second}"})


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.expected or 'none'}-{case.method}-{case.path[:40]}")
async def test_the_same_route(lab: Lab, case: Case) -> None:
    """Envoy and the evaluator choose the same route, the one that the table says."""
    headers = {**case.headers, **({"transfer-encoding": "chunked"} if case.chunked else {})}
    request = Request(path=case.path, method=case.method, authority=case.host, headers=headers, body=case.body or b"")
    found = evaluate(lab.compiled.listeners[case.listener], lab.compiled.routes[case.listener], request)
    reply = await http1(
        lab.addresses[case.listener],
        case.path,
        case.body,
        method=case.method,
        headers={"host": case.host, **case.headers},
        chunked=case.chunked,
    )
    name = reply.headers.get(ROUTE_HEADER, "").removeprefix("-")
    assert (name, found.route_name) == (case.expected, case.expected), (reply, found.passed)
    if found.status is not None:
        assert reply.status == found.status

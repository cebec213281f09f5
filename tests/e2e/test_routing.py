"""Rules, rewrites, mirrors, colours and virtual hosts on a real Envoy: each request reaches the pool that it should."""

import io
import json
import random
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from control_plane.compile.model_rewrite import MAX_REWRITTEN_BYTES
from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from ext_proc.core.alias import replace_model
from sim.fleet import SimFleet
from tests.e2e.test_picker_gone import grown, load
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh

CHAT = "/v1/chat/completions"

RULES = """\
kvpilot: v1
listeners:
  - {name: openai, address: LISTEN, picker: {mode: MODE, explain: always}, defaultPool: rest}
models:
  - {name: llama, aliases: [gpt-4], pool: main}
  - {name: qwen, pool: main}
rules:
  - {name: premium-qwen, match: {headers: {x-user-tier: {exact: premium}}, models: [qwen]}, pool: a}
  - {name: premium, match: {userTier: [premium, gold.plus]}, pool: b}
  - {name: blocked, match: {headers: {x-client: {exact: bad}}}, directResponse: {status: 403, message: "Not for you."}}
  - {name: beta, match: {headers: {x-client: {prefix: beta-}}}, pool: c}
  - {name: staff, match: {headers: {x-client: {regex: "[a-z]+@corp"}}}, pool: d}
  - {name: traced, match: {headers: {x-trace: {present: true}}, withoutHeaders: {x-silent: {exact: "yes"}}}, pool: e}
  - {name: query, match: {queryParams: {pool: {exact: f}}}, pool: f}
  - {name: path, match: [{uri: {exact: /v1/models}, method: {exact: GET}}, {uri: {prefix: /v2/}}], pool: g}
  - {name: pattern, match: {uri: {regex: "/v3/[0-9]+"}, method: {regex: "PUT|POST"}}, pool: h}
  - {name: tasks, match: {taskType: [embedding, summarise]}, pool: i}
  - {name: near, match: {region: [eu]}, pool: j}
  - {name: alias, match: {models: [gpt-4], queryParams: {old: {present: true}}}, pool: k}
  - {name: tools, match: {tools: true}, pool: l}
  - {name: brief, match: {maxTokens: {lessThan: 2}, promptTokens: {lessThan: 100}}, pool: m}
  - {name: split, match: {headers: {x-split: {present: true}}}, route: [{pool: a, weight: 1}, {pool: b, weight: 1}]}
pools:
"""


@dataclass(frozen=True, slots=True)
class Case:
    """A request and the pool that serves it."""

    pool: str
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = CHAT
    model: str = "llama"
    method: str = "POST"
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the body."""


CASES = (
    Case("main"),
    Case("main", model="gpt-4"),
    Case("a", {"x-user-tier": "premium"}, model="qwen"),
    Case("b", {"x-user-tier": "premium"}),
    Case("b", {"x-user-tier": "gold.plus", "x-client": "beta-9"}),
    Case("main", {"x-user-tier": "goldxplus"}),
    Case("c", {"x-client": "beta-9"}),
    Case("main", {"x-client": "alpha-9"}),
    Case("d", {"x-client": "anne@corp"}),
    Case("main", {"x-client": "anne@corporation"}),
    Case("e", {"x-trace": "1"}),
    Case("e", {"x-trace": "1", "x-silent": "no"}),
    Case("main", {"x-trace": "1", "x-silent": "yes"}),
    Case("f", path=f"{CHAT}?x=1&pool=f"),
    Case("main", path=f"{CHAT}?pool=g"),
    Case("g", path="/v1/models", method="GET"),
    Case("rest", path="/v1/model", method="GET"),
    Case("g", path="/v2/anything?x", method="PUT"),
    Case("h", path="/v3/17", method="PUT"),
    Case("rest", path="/v3/17", method="GET"),
    Case("rest", path="/v3/17x", method="PUT"),
    Case("i", path="/v1/embeddings"),
    Case("i", {"x-task-type": "summarise"}),
    Case("main", {"x-task-type": "embedding"}),
    Case("j", {"x-region": "eu"}),
    Case("j", {"x-region": "eu"}, path="/v1/health", method="GET"),
    Case("k", path=f"{CHAT}?old", model="gpt-4"),
    Case("main", path=f"{CHAT}?old"),
    Case("l", more={"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
    Case("l", more={"tools": [{}], "stream": True}),
    Case("main", more={"tools": []}),
    Case("m", more={"max_tokens": 1}),
    Case("m", more={"max_tokens": 1, "stream": True}),
    Case("main", more={"max_tokens": 1, "user": "long " * 100}),
    Case("main", more={"max_tokens": None}),
    Case("rest", path="/v1/other", more={"max_tokens": 1, "tools": [{}]}),
)
POOLS = ("main", "rest", *"abcdefghijklm")


def with_pools(policy: str, fleet: SimFleet, names: tuple[str, ...] = POOLS) -> str:
    """The policy with a pool of one pod for each name."""
    return policy + "".join(
        f"  {name}: {{endpoints: [{{address: {address}}}]}}\n"
        for name, address in zip(names, fleet.addresses, strict=True)
    )


def one_pod_each(fleet: SimFleet, names: tuple[str, ...] = POOLS) -> dict[str, str]:
    """Address → pool."""
    return dict(zip(fleet.addresses, names, strict=True))


async def ask(running: Mesh, case: Case) -> aiohttp.ClientResponse:
    """Sends the request of a case."""
    body: dict[str, Any] = {"model": case.model, "max_tokens": 2}
    body |= {"input": "x"} if case.path == "/v1/embeddings" else {"messages": [{"role": "user", "content": "hi"}]}
    body |= case.more
    data = json.dumps(body).encode() if case.method == "POST" else None
    async with running.session.request(
        case.method, running.url + case.path, data=data, headers={"content-type": "application/json", **case.headers}
    ) as response:
        await response.read()
        return response


@pytest.mark.parametrize("mode", MODES)
async def test_every_condition_reaches_its_pool(tmp_path: Path, mode: str) -> None:
    """Each kind of condition, rules before models, in the order of the file; calls are picked, all else is not.

    The same requests go the same ways when the picker is dead.
    """
    async with quick_fleet(len(POOLS)) as fleet:
        pool_of = one_pod_each(fleet)
        policy = PolicyText(text=with_pools(RULES.replace("MODE", mode), fleet))
        async with mesh(tmp_path, policy) as running:
            found = [(case, await ask(running, case)) for case in CASES]
            assert [case for case, answer in found if pool_of[answer.headers["x-kvpilot-pod"]] != case.pool] == []
            unpicked = [case for case, answer in found if not answer.headers.get("x-kvpilot-decision")]
            assert [case.path for case in unpicked] == [
                case.path
                for case in CASES
                if case.method != "POST" or case.path.startswith(("/v2", "/v3", "/v1/other"))
            ]
            await stays_with_its_session(running, pool_of)
            for headers, path in (({}, CHAT), ({}, "/v1/models"), ({"x-user-tier": "free"}, CHAT)):
                await refused(running, path, headers)
            await running.kvpilot.signal(signal.SIGKILL)
            again = [(case, await ask(running, case)) for case in CASES]
            assert [case for case, answer in again if pool_of[answer.headers["x-kvpilot-pod"]] != case.pool] == []
            await refused(running, CHAT, {})


async def refused(running: Mesh, path: str, headers: Mapping[str, str]) -> None:
    """A rule's own answer has its own words."""
    method = "POST" if path == CHAT else "GET"
    data = json.dumps({"model": "llama", "messages": []}).encode() if method == "POST" else None
    async with running.session.request(
        method, running.url + path, data=data, headers={"x-client": "bad", **headers}
    ) as response:
        assert response.status == 403
        assert await response.json() == {
            "error": {
                "message": "Not for you.",
                "type": "invalid_request_error",
                "param": None,
                "code": "refused_by_rule",
            }
        }


async def stays_with_its_session(running: Mesh, pool_of: Mapping[str, str]) -> None:
    """A rule's split serves a session from one pool, and all sessions together from both."""
    chosen: dict[str, set[str]] = {}
    for number in range(24):
        session = f"s-{number % 8}"
        answer = await ask(running, Case("", {"x-split": "1", "x-session-id": session}))
        chosen.setdefault(session, set()).add(pool_of[answer.headers["x-kvpilot-pod"]])
    assert {len(pools) for pools in chosen.values()} == {1}
    assert set.union(*chosen.values()) == {"a", "b"}


REWRITES = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {mode: MODE, explain: always}}]
models:
  - {name: llama, aliases: [gpt-4, latest], pool: plain}
  - {name: public, aliases: [other], rewrite: {model: llama}, pool: plain}
rules:
  - {name: any, match: {headers: {x-any: {present: true}}}, pool: plain, rewrite: {model: llama}}
  - {name: same, match: {headers: {x-same: {present: true}}}, pool: plain}
pools:
"""
# What a scan that does not know strings and brackets would trip over.
TRAPS = (
    '{{"model": "{model}", "max_tokens": 2, "messages": [{{"role": "user", "content": "hi"}}]}}',
    '{{"messages": [{{"role": "user", "content": "\\"model\\": \\"gpt-4\\", }}]"}}], '
    '"model" :\n "{model}", "max_tokens": 2}}',
    '{{"metadata": {{"model": "x"}}, "user": "model", "max_tokens": 2, "model": "{model}", '
    '"messages": [{{"role": "user", "content": "back\\\\"}}]}}',
    '{{"model": "{model}", "max_tokens": 2, "messages": [{{"role": "user", "content": "é ☃ \\u2603"}}], '
    '"model": "{model}"}}',
)


@pytest.mark.parametrize("mode", MODES)
async def test_engines_that_know_one_name_are_asked_for_it(tmp_path: Path, mode: str) -> None:
    """Aliases and rewrites reach the engine as its own name: by the picker, and by Envoy while the picker is dead."""
    async with quick_fleet(1, "llama") as fleet:
        policy = PolicyText(text=with_pools(REWRITES.replace("MODE", mode), fleet, ("plain",)))
        async with mesh(tmp_path, policy) as running:
            assert await _refused_names(running) == []
            await running.kvpilot.signal(signal.SIGKILL)
            assert await _refused_names(running) == []
            long = json.dumps({"model": "gpt-4", "max_tokens": 2, "prompt": '"{[\\' * 40_000})
            assert await _status(running, long, {}, "/v1/completions") == 200


async def _refused_names(running: Mesh) -> list[tuple[str, str, int]]:
    asked = [
        *((model, {}) for model in ("llama", "gpt-4", "latest", "public", "other")),
        *((model, {"x-any": "1"}) for model in ("llama", "gpt-4", "whatever")),
        *((model, {"x-same": "1"}) for model in ("llama", "gpt-4", "public", "other")),
    ]
    found = []
    for model, headers in asked:
        for body in TRAPS:
            status = await _status(running, body.format(model=model), headers)
            if status != 200:
                found.append((model, body, status))
    return found


async def _status(running: Mesh, body: str, headers: Mapping[str, str], path: str = CHAT) -> int:
    """The status of a body, sent in one piece or in chunks."""

    async def chunks() -> Any:
        yield body.encode()[:7]
        yield body.encode()[7:]

    statuses = set()
    for data in (io.BytesIO(body.encode()), chunks()):
        async with running.session.post(running.url + path, data=data, headers=headers) as response:
            await response.read()
            statuses.add(response.status)
    (status,) = statuses
    return status


MIRRORS = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {explain: always}}]
models:
  - name: llama
    aliases: [gpt-4]
    pool: main
    mirrors: [{pool: copy, percentage: {value: 50}}, {pool: gone}, {pool: none, percentage: {value: 0}}]
pools:
  gone: {endpoints: [{address: 127.0.0.1:1}]}
"""


async def test_mirrors_get_their_share_and_cost_nothing(tmp_path: Path) -> None:
    """About half of the requests are copied; a mirror that fails, or refuses connections, is nobody's problem."""
    async with quick_fleet(3, "llama") as fleet:
        policy = PolicyText(text=with_pools(MIRRORS, fleet, ("main", "copy", "none")))
        async with mesh(tmp_path, policy) as running:
            answers = [await running.chat("gpt-4", text(number, 20), max_tokens=2) for number in range(100)]
            assert [answer.error for answer in answers if not answer.ok] == []
            assert {answer.headers["x-kvpilot-pod"] for answer in answers} == {fleet.addresses[0]}
            seen = await running.stats(r"cluster\.pool/(copy|none)\.upstream_rq_(total|200)$")
            assert 20 <= seen["cluster.pool/copy.upstream_rq_total"] <= 80
            assert seen["cluster.pool/copy.upstream_rq_200"] >= 20, "the mirror's engine is asked by the name it knows"
            assert "cluster.pool/none.upstream_rq_total" not in seen


TRIES = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {explain: always}}]
models:
  - {name: llama, pool: ill}
  - {name: once, pool: ill, retries: {attempts: 0}}
  - {name: hasty, pool: slow, timeout: 300ms}
rules:
  - {name: twice, match: {headers: {x-tries: {exact: "2"}}}, pool: ill, retries: {attempts: 1, retryOn: 5xx}}
  - {name: brief, match: {headers: {x-brief: {present: true}}}, pool: slow, timeout: 200ms}
pools:
"""


async def test_tries_and_times_of_models_and_rules(tmp_path: Path) -> None:
    """A model or a rule has its own number of tries and its own timeout; the pool's hold for the others."""
    async with quick_fleet(3, "llama", "once", "hasty") as fleet:
        ill, iller, slow = fleet.addresses
        for pod in ("pod-0", "pod-1"):
            await fleet[pod].set_fault({"kind": "status", "code": 503})
        await fleet["pod-2"].set_fault({"kind": "hang"})
        pools = f"  ill: {{endpoints: [{{address: {ill}}}, {{address: {iller}}}]}}\n"
        pools += f"  slow: {{endpoints: [{{address: {slow}}}]}}\n"
        async with mesh(tmp_path, PolicyText(text=TRIES + pools)) as running:
            counter, tries = "cluster.pool/ill.upstream_rq_total", []
            for model, headers in (("llama", {}), ("once", {}), ("once", {"x-tries": "2"})):
                before = (await running.stats(counter)).get(counter, 0)
                assert (await running.chat(model, "hi", headers=headers)).status == 503
                tries.append((await running.stats(counter))[counter] - before)
            assert tries == [3, 1, 2]
            for model, headers, longest_ms in (("hasty", {}, 300), ("llama", {"x-brief": "1"}, 200)):
                answer = await running.chat(model, "hi", headers=headers)
                assert answer.status == 504
                assert 0.9 * longest_ms < answer.total_ms < longest_ms + 2000


COLOURS = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {explain: always}}]
models:
  - {name: llama, blueGreen: {blue: one, green: two, active: ACTIVE}}
  - {name: qwen, pool: one}
pools:
"""


async def test_blue_and_green_switch_under_load(tmp_path: Path) -> None:
    """One word moves all requests to the other pool and back; none of them fails."""
    async with quick_fleet(2) as fleet:
        text_of = with_pools(COLOURS, fleet, ("one", "two"))
        policy = PolicyText(text=text_of.replace("ACTIVE", "blue"))
        async with mesh(tmp_path, policy) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                for active, pod in (("green", fleet.addresses[1]), ("blue", fleet.addresses[0])):
                    await grown(answers, 20)
                    policy.text = text_of.replace("ACTIVE", active)
                    await running.edit()
                    marker = len(answers) + 6
                    await grown(answers, 30)
                    later = [answer for model, answer in answers[marker:] if model == "llama"]
                    assert {answer.headers["x-kvpilot-pod"] for answer in later} == {pod}
            assert [answer.error for _, answer in answers if not answer.ok] == []


HOSTS = """\
kvpilot: v1
listeners:
  - name: openai
    address: LISTEN
    picker: {explain: always}
    defaultPool: rest
    virtualHosts:
      - {name: exact, domains: [api.example.com], models: [llama], rules: []}
      - {name: wild, domains: ["*.example.com"], models: [qwen], rules: [beta], defaultPool: c}
      - {name: raw, domains: [raw.test], models: [], rules: []}
models:
  - {name: llama, pool: a}
  - {name: qwen, pool: b}
rules:
  - {name: beta, match: {headers: {x-beta: {present: true}}}, pool: d}
pools:
"""


async def test_virtual_hosts(tmp_path: Path) -> None:
    """Each host name has its own models, rules and default pool; the port and the case of a name do not count."""
    names = ("a", "b", "c", "d", "rest")
    async with quick_fleet(len(names)) as fleet:
        pool_of = one_pod_each(fleet, names)
        async with mesh(tmp_path, PolicyText(text=with_pools(HOSTS, fleet, names))) as running:
            for host, model, headers, status, pool in (
                ("api.example.com", "llama", {}, 200, "a"),
                ("API.example.com:8080", "llama", {"x-beta": "1"}, 200, "a"),
                ("api.example.com", "qwen", {}, 404, ""),
                ("eu.example.com:443", "qwen", {}, 200, "b"),
                ("eu.example.com", "llama", {"x-beta": "1"}, 200, "d"),
                ("eu.example.com", "llama", {}, 404, ""),
                ("raw.test", "llama", {}, 200, "rest"),
                ("example.org", "llama", {}, 404, ""),
            ):
                answer = await running.chat(model, "hi", max_tokens=2, headers={"host": host, **headers})
                assert (answer.status, pool_of.get(answer.headers.get("x-kvpilot-pod", ""), "")) == (status, pool), host
                if host == "example.org":
                    assert "nothing here" in answer.error, "it is not the model that is unknown"
            for host, pool in (("api.example.com", "rest"), ("eu.example.com", "c")):
                other = await ask(running, Case("", {"host": host}, "/v1/models", method="GET"))
                assert pool_of[other.headers["x-kvpilot-pod"]] == pool


ECHO = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, maxRequestBytes: 16MiB}]
models: [{name: a-name-of-its-own, aliases: [m], pool: echo}]
pools: {echo: {endpoints: [{address: ADDRESS}]}}
"""


def documents(rng: random.Random) -> Iterator[bytes]:
    """JSON objects with brackets, quotes, escapes and models in all the wrong places, and some that are large."""
    alphabet = 'model":{}[],\\ü\n \t☃'

    def value(depth: int) -> Any:
        kind = rng.randrange(7 if depth else 4)
        if kind < 3:
            return rng.choice([None, True, 1.5, 7])
        if kind == 3:
            return "".join(rng.choices(alphabet, k=rng.randrange(12)))
        if kind == 4:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {rng.choice(["model", "m", '"', "x\\", "model:"]): value(depth - 1) for _ in range(rng.randrange(4))}

    for number in range(80):
        names = ["model", "messages", "x\\", '"model"', "stop"]
        rng.shuffle(names)
        fields = {name: "m" if name == "model" else value(3) for name in names}
        text = json.dumps(fields, ensure_ascii=number % 2 == 0, indent=number % 3 or None)
        yield text.encode()
    yield json.dumps({"prompt": 'say "model": ' * 100_000, "model": "m"}).encode()
    yield json.dumps({"prompt": "x" * 4_300_000, "model": "m"}).encode()


async def test_envoy_rewrites_as_the_picker_does(tmp_path: Path) -> None:
    """Byte for byte the same body, while the picker is dead; a body over the bound goes on as it is."""
    bodies: list[bytes] = []

    async def echo(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.json_response({})

    app = web.Application(client_max_size=1 << 25)
    app.router.add_post("/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"127.0.0.1:{runner.addresses[0][1]}"
        async with mesh(tmp_path, PolicyText(text=ECHO.replace("ADDRESS", address))) as running:
            await running.kvpilot.signal(signal.SIGKILL)
            for document in documents(random.Random(5)):
                bodies.clear()
                async with running.session.post(running.url + CHAT, data=io.BytesIO(document)) as response:
                    assert response.status == 200
                is_small = len(document) <= MAX_REWRITTEN_BYTES
                assert bodies == [replace_model(document, "a-name-of-its-own") if is_small else document]
    finally:
        await runner.cleanup()


UNREAD = """\
kvpilot: v1
listeners:
  - name: openai
    address: LISTEN
    picker: {explain: always}
    virtualHosts: [{name: all, domains: ["*"], models: []}]
    defaultPool: rest
models: [{name: llama, pool: main}]
rules:
  - {name: blocked, match: {headers: {x-client: {exact: bad}}}, directResponse: {status: 403, message: "Not for you."}}
  - {name: beta, match: {headers: {x-beta: {present: true}}}, pool: beta}
pools:
"""


async def test_rules_alone_need_no_body(tmp_path: Path) -> None:
    """Where no route asks for the model Envoy does not read it: rules decide by headers, the picker still picks."""
    names = ("main", "rest", "beta")
    async with quick_fleet(len(names)) as fleet:
        pool_of = one_pod_each(fleet, names)
        async with mesh(tmp_path, PolicyText(text=with_pools(UNREAD, fleet, names))) as running:
            assert "request_rules" not in await running.envoy_admin("/config_dump?resource=dynamic_listeners")
            for case in (Case("rest"), Case("beta", {"x-beta": "1"}), Case("beta", {"x-beta": "1"}, model="qwen")):
                answer = await ask(running, case)
                assert (answer.status, pool_of[answer.headers["x-kvpilot-pod"]]) == (200, case.pool)
                assert answer.headers["x-kvpilot-decision"]
            await refused(running, CHAT, {})
            async with running.session.post(running.url + CHAT, data=b"{") as response:
                assert (response.status, (await response.json())["error"]["code"]) == (400, "invalid_json")

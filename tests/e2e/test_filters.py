"""Limits, faults, access logs, token counts and patches, by the whole product on a real Envoy."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

POLICY = """\
kvpilot: v1
listeners:
  - name: openai
    address: LISTEN
    picker: {explain: always}
    rateLimit:
      - {requests: 2, per: 1h, header: x-api-key}
      - {requests: 1, per: 1h, header: {name: x-user-tier, prefix: free}}
    fault: {abort: {httpStatus: 503}, headers: {x-fault: {exact: abort}}}
    accessLog:
      - {path: ACCESS_LOG, fields: {team: "%REQ(x-team)%", user_agent: ""}}
      - {path: ERROR_LOG, filter: {minStatus: 400}}
models:
  - {name: llama, pool: chat, rateLimit: [{requests: 6, per: 1h}]}
  - {name: qwen, pool: chat, fault: {delay: {fixedDelay: 400ms}, headers: {x-fault: {regex: "slow|late"}}}}
rules:
  - name: vip
    match: {headers: {x-user-tier: {exact: vip}}}
    pool: chat
    rateLimit: [{requests: 1, per: 1h}]
    fault: {abort: {httpStatus: 418}, headers: {x-fault: {exact: teapot}}}
pools:
  chat: {endpoints: [ENDPOINTS]}
feedback: {usage: USAGE}
envoyPatch:
  - name: stats-name
    kind: cluster
    resource: pool/chat
    patch: [{op: add, path: /altStatName, value: patched_chat}]
"""

PATH = "/v1/chat/completions"


def policy_text(directory: Path, addresses: list[str]) -> PolicyText:
    """The policy of this file over these pods."""
    endpoints = ", ".join(f"{{address: {address}}}" for address in addresses)
    text = POLICY.replace("ENDPOINTS", endpoints).replace("USAGE", "true")
    text = text.replace("ACCESS_LOG", str(directory / "access.log")).replace("ERROR_LOG", str(directory / "errors.log"))
    return PolicyText(text=text)


async def ask(running: Mesh, model: str, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and body of one plain completion; `x_api_key` is the header `x-api-key`."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
    async with running.session.post(running.url + PATH, json=body, headers=sent) as response:
        return response.status, response.headers, await response.json()


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a log."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


async def test_limits_faults_and_logs(tmp_path: Path) -> None:
    """Each limit has its own bucket, each fault its own requests, and each request its line."""
    async with quick_fleet(2) as fleet:
        policy = policy_text(tmp_path, fleet.addresses)
        async with mesh(tmp_path, policy) as running:
            await limits(running)
            await faults(running)
            await logs(running, tmp_path, fleet.addresses)
            assert await running.stats("^cluster.patched_chat.upstream_rq_completed$")
            await usage_switched_off(running, policy, tmp_path)


async def limits(running: Mesh) -> None:
    """By key, by tier, by model and by rule; streamed and plain requests of a model share a bucket."""
    statuses = [(await ask(running, "qwen", x_api_key="a"))[0] for _ in range(3)]
    assert statuses == [200, 200, 429], "two requests of a key"
    assert (await ask(running, "qwen", x_api_key="b"))[0] == 200, "another key has its own bucket"
    statuses = [(await ask(running, "qwen", x_user_tier="free-1", x_api_key=str(key)))[0] for key in range(2)]
    assert statuses == [200, 429], "the tier's bucket is one for all keys"
    statuses = [(await ask(running, "qwen", x_user_tier="vip", x_api_key=f"vip-{key}"))[0] for key in range(2)]
    assert statuses == [200, 429], "the rule's bucket"

    for number in range(6):
        answer = await running.chat("llama", "hi", stream=number % 2 == 0, headers={"x-api-key": f"c{number}"})
        assert answer.ok, answer.error
    status, headers, body = await ask(running, "llama", x_api_key="d")
    assert status == 429, "six requests of a model, streamed or not"
    assert body["error"]["code"] == "rate_limit_exceeded"
    assert headers["content-type"] == "application/json"
    assert int(headers["retry-after"]) == 3600
    assert headers["x-ratelimit-remaining"] == "0"

    statuses = [(await ask(running, "qwen"))[0] for _ in range(3)]
    assert statuses == [200, 200, 429], "requests without the header share a bucket"


async def faults(running: Mesh) -> None:
    """The most specific fault acts, on the requests that it asks for."""
    started = time.monotonic()
    status, _, body = await ask(running, "qwen", x_fault="late", x_api_key="f")
    assert (status, time.monotonic() - started >= 0.4) == (200, True), body
    status, _, body = await ask(running, "qwen", x_fault="abort", x_api_key="g")
    assert status == 200, "the model has a fault of its own, so the listener's does not act"
    async with running.session.get(f"{running.url}/v1/models", headers={"x-fault": "abort", "x-api-key": "h"}) as found:
        assert (found.status, (await found.json())["error"]["code"]) == (503, "service_unavailable")


async def logs(running: Mesh, directory: Path, pods: list[str]) -> None:
    """A line has what the picker decided and what became of it."""
    status, headers, body = await ask(running, "qwen", x_api_key="log", x_team="blue", x_session_id="s1")
    assert status == 200

    async def logged() -> list[dict[str, Any]]:
        return [line for line in lines_of(directory / "access.log") if line["team"] == "blue"]

    (line,) = await eventually(logged, "the line of a request")
    assert line["served"] in pods
    assert line["served"] == headers["x-kvpilot-pod"]
    assert line["served"] in line["picked"].split(",")
    assert line["decision"] == headers["x-kvpilot-decision"]
    told = {name: line[name] for name in ("status", "pool", "model", "route", "method", "path", "attempts", "session")}
    assert told == {
        "status": 200,
        "pool": "pool/chat",
        "model": "qwen",
        "route": "model/qwen",
        "method": "POST",
        "path": PATH,
        "attempts": 1,
        "session": "s1",
    }
    assert line["completion_tokens"] == body["usage"]["completion_tokens"]
    assert "user_agent" not in line
    errors = lines_of(directory / "errors.log")
    assert {error["status"] for error in errors} == {429, 503}
    assert {error["flags"] for error in errors} == {"RL", "FI"}


async def usage_switched_off(running: Mesh, policy: PolicyText, directory: Path) -> None:
    """Without the filters no token count is read, and requests work as before."""
    policy.text = policy.text.replace("usage: true", "usage: false").replace("requests: 2,", "requests: 2000,")
    await running.edit()

    async def is_unread() -> bool:
        # A connection of before the edit keeps its filters.
        async with aiohttp.ClientSession() as session:
            status, _, _ = await ask(replace(running, session=session), "qwen", x_team="red")
        assert status == 200
        lines = [line for line in lines_of(directory / "access.log") if line["team"] == "red"]
        return bool(lines) and "completion_tokens" not in lines[-1]

    await eventually(is_unread, "a request whose usage is not read")
    assert "kvpilot.usage" not in await running.envoy_admin("/config_dump")

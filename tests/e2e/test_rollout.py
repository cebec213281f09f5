"""Real Envoys that refuse: what is good still applies, what is bad stays away from all, and a restart knows it."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.compile import AdsVariant
from control_plane.xds.lane import CUT_BY_ENVOY
from tests.kit.envoys import admin, envoy, row_of
from tests.kit.fleet import quick_fleet
from tests.kit.kvpilot import Kvpilot
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

BAD_LISTENER = """\
envoyPatch:
  - name: bad
    kind: listener
    resource: openai
    patch: [{op: replace, path: /filterChains/0/filters/0/typedConfig/statPrefix, value: ""}]
"""
BAD_CLUSTER = """\
envoyPatch:
  - {name: bad, kind: cluster, resource: pool/a, patch: [{op: replace, path: /connectTimeout, value: 0s}]}
"""


def policy_text(addresses: list[str], *models: str, more: str = "") -> str:
    """A policy with one pool `a` for all models."""
    endpoints = ", ".join(f"{{address: {address}}}" for address in addresses)
    listed = "".join(f"  - {{name: {model}, pool: a}}\n" for model in models)
    return (
        f"kvpilot: v1\nlisteners: [{{name: openai, address: LISTEN}}]\nmodels:\n{listed}"
        f"pools: {{a: {{engine: vllm, endpoints: [{endpoints}]}}}}\n{more}"
    )


def write(running: Mesh, text: str) -> None:
    """Edits the policy file."""
    running.policy.text = text
    running.kvpilot.policy.write_text(running.policy.render())


async def status_when(kvpilot: Kvpilot, true: Any, what: str) -> Any:
    """The first status for which `true` holds."""

    async def look() -> Any:
        found = await kvpilot.get("/status")
        return found if true(found) else None

    return await eventually(look, what)


async def post(kvpilot: Kvpilot, path: str, body: object) -> tuple[int, Any]:
    """An order to kvpilot: status and JSON of the answer."""
    async with aiohttp.ClientSession() as session, session.post(f"http://{kvpilot.admin}{path}", json=body) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_refused_resource_holds_up_nothing_else(tmp_path: Path, ads: AdsVariant) -> None:
    """The listener is refused, the routes that came with it apply; the line is told; a new Envoy gets the last good
    listener; taking the mistake back clears all of it."""
    async with quick_fleet(1) as fleet:
        policy = PolicyText(text=policy_text(fleet.addresses, "llama"))
        async with mesh(tmp_path, policy, ads=ads) as running:
            kvpilot = running.kvpilot
            await eventually(running.is_synced, "the first configuration")
            write(running, policy_text(fleet.addresses, "llama", "qwen", more=BAD_LISTENER))
            found = await status_when(kvpilot, lambda status: status["quarantine"], "the refusal")
            (held,) = found["quarantine"]
            line = 1 + policy.render().splitlines().index("  - name: bad")
            assert (held["type"], held["resource"], held["instead"]) == ("LDS", "openai", "last good")
            assert held["policy"].startswith(f"{kvpilot.policy}:{line}:")
            assert held["error"] == f"Error adding/updating listener(s) openai: {CUT_BY_ENVOY}"
            lds = row_of(found, "test")["types"]["LDS"]
            assert lds["state"] == "ERROR"
            assert lds["policy"] == [held["policy"]]
            assert f'policy="{held["policy"]}"' in await kvpilot.text("/metrics")
            assert held["policy"] in kvpilot.log.read_text()

            async def is_served() -> bool:
                return bool((await running.chat("qwen", "hello")).ok)

            await eventually(is_served, "the routes that came with it")

            async with envoy(tmp_path / "second", kvpilot, "second", ads=ads) as second:
                listeners = json.loads(await admin(second, "/config_dump?resource=dynamic_listeners"))
                assert '"stat_prefix": "openai"' in json.dumps(listeners)
                found = await status_when(
                    kvpilot, lambda status: row_of(status, "second")["types"]["RDS"]["version_acked"], "its routes"
                )
                assert {cell["nacks"] for cell in row_of(found, "second")["types"].values()} == {0}
                assert "model/qwen" in await admin(second, "/config_dump?resource=dynamic_route_configs")

            write(running, policy_text(fleet.addresses, "llama", "qwen"))
            await status_when(kvpilot, lambda status: not status["quarantine"], "the quarantine to be empty")
            await eventually(running.is_synced, "all to be well again")


async def test_the_canary_group_goes_first(tmp_path: Path) -> None:
    """What the canary refuses goes nowhere, and the canary is back where it was; what it takes goes to the rest."""
    groups = """\
groups: [{name: canary, appliesTo: {nodeId: {prefix: canary-}}, rollout: first}]
safety: {soak: 3s, timeout: 10s}
"""
    # So long that whoever asks for the state now and then finds the rollout under way, however busy the machine is.
    async with quick_fleet(1) as fleet:
        policy = PolicyText(text=policy_text(fleet.addresses, "llama", more=groups))
        async with (
            mesh(tmp_path, policy) as running,
            envoy(tmp_path / "canary", running.kvpilot, "canary-1") as canary,
        ):
            kvpilot = running.kvpilot
            first = await status_when(
                kvpilot,
                lambda status: {group["state"] for group in status["groups"].values()} == {"applied"},
                "both groups to have it",
            )
            pushes = row_of(first, "test")["types"]["CDS"]["pushes"]
            write(running, policy_text(fleet.addresses, "llama", "qwen", more=groups + BAD_CLUSTER))
            back = await status_when(kvpilot, lambda status: status["policy"]["state"] == "rolled-back", "the rollback")
            assert back["policy"]["version"] == first["policy"]["version"]
            assert f"{kvpilot.policy}:" in back["policy"]["error"]
            assert back["history"][-1]["state"] == "rolled-back"
            assert {group["policy_version"] for group in back["groups"].values()} == {first["policy"]["version"]}
            row = row_of(back, "test")
            assert (row["types"]["CDS"]["pushes"], row["types"]["CDS"]["nacks"]) == (pushes, 0)

            async def is_back() -> bool:
                return "model/qwen" not in await admin(canary, "/config_dump?resource=dynamic_route_configs")

            await eventually(is_back, "the canary's old routes")

            write(running, policy_text(fleet.addresses, "llama", "qwen", more=groups))
            staged = await status_when(
                kvpilot, lambda status: status["policy"]["state"] == "rolling-out", "the rollout to begin"
            )
            assert staged["groups"]["default"]["policy_version"] == first["policy"]["version"]
            await status_when(kvpilot, lambda status: status["policy"]["state"] == "applied", "the promotion")

            async def is_served() -> bool:
                return bool((await running.chat("qwen", "hello")).ok)

            await eventually(is_served, "the rest to have it")


async def test_a_restart_over_a_broken_file_and_orders_of_the_operator(tmp_path: Path) -> None:
    """The guard refuses and is forced; a runtime value arrives; `rollback` goes back; a broken file at a restart brings
    up the last good policy, which is told."""
    dead = [f"127.0.0.1:{port}" for port in range(2, 8)]
    async with quick_fleet(1) as fleet:
        policy = PolicyText(text=policy_text([*fleet.addresses, *dead], "llama"))
        async with mesh(tmp_path, policy) as running:
            kvpilot = running.kvpilot
            await eventually(running.is_synced, "the first configuration")
            first = (await kvpilot.get("/status"))["policy"]["version"]
            write(running, policy_text(fleet.addresses, "llama", more="runtime: {kvpilot.test: 17}\n"))
            refused = await status_when(
                kvpilot, lambda status: status["policy"]["state"] == "refused", "the guard to refuse"
            )
            assert "6 of 7 endpoints" in refused["policy"]["error"]
            assert refused["policy"]["version"] == first
            code, answer = await post(kvpilot, "/reload", {})
            assert (code, "6 of 7 endpoints" in answer["error"]) == (409, True)
            code, answer = await post(kvpilot, "/reload", {"force": True})
            assert (code, answer["state"]) == (200, "applied")

            async def has_value() -> bool:
                return '"kvpilot.test"' in await running.envoy_admin("/runtime")

            await eventually(has_value, "the runtime value")
            second = (await kvpilot.get("/status"))["policy"]["version"]

            assert (await post(kvpilot, "/rollback", {"version": "nothing"}))[0] == 404
            assert await post(kvpilot, "/rollback", {}) == (200, {"version": first})
            gone = await status_when(
                kvpilot, lambda status: len(status["pools"]["a"]["endpoints"]) == 7, "all endpoints to be back"
            )
            assert [(entry["version"], entry["state"]) for entry in gone["history"]] == [
                (second, "rolled-back"),
                (first, "applied"),
            ]

            await kvpilot.stop()
            kvpilot.policy.write_text("kvpilot: v1\nlisteners: nonsense\n")
            await kvpilot.start()
            restored = (await kvpilot.get("/status"))["policy"]
            assert (restored["state"], restored["source"]) == ("rejected", "last-good")
            assert restored["version"] == first
            assert [found["severity"] for found in restored["diagnostics"]][:1] == ["error"]
            assert "kvpilot_config_last_reload_successful 0.0" in await kvpilot.text("/metrics")

            async def is_served() -> bool:
                return bool((await running.chat("llama", "hello")).ok)

            await eventually(is_served, "an answer: six of seven endpoints are dead")

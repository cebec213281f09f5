"""The verbs that talk to a running sidecar, and a policy that is a mounted ConfigMap."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from control_plane.cli import main
from tests.kit.fleet import quick_fleet
from tests.kit.kvpilot import Kvpilot
from tests.kit.mesh import PolicyText, mesh
from tests.kit.waiting import eventually

pytestmark = pytest.mark.e2e


async def test_status_explain_reload_and_rollback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sidecar: its status, a decision in words, an edit that is refused and then forced, and the way back."""
    async with quick_fleet(4) as fleet:
        policy = PolicyText(pools={"a": list(fleet.addresses)}, models={"llama": "a"})
        async with mesh(tmp_path, policy) as running:

            async def kvpilot(*arguments: str) -> tuple[int, str]:
                """A verb's exit status and what it prints."""
                code = await asyncio.to_thread(main, [*arguments, "--admin", running.kvpilot.admin])
                found = capsys.readouterr()
                return code, found.out + found.err

            async def state() -> str:
                return str((await running.kvpilot.get("/status"))["policy"]["state"])

            answer = await running.chat("llama", "hello")
            await running.decision(answer.decision)
            code, text = await kvpilot("explain", answer.decision)
            assert code == 0
            assert text.startswith(f"decision {answer.decision}: model llama, pool a, strategy kv-aware\n")
            assert "answered 200 by 127.0.0.1:" in text

            code, text = await kvpilot("status", "test")
            assert code == 0, text
            assert "SYNCED" in text
            assert all(address in text for address in fleet.addresses)
            first = json.loads((await kvpilot("status", "--output", "json"))[1])["policy"]["version"]

            policy.pools["a"] = policy.pools["a"][:1]
            running.kvpilot.policy.write_text(policy.render())

            async def refused() -> bool:
                return await state() == "refused"

            await eventually(refused, "the guard")
            code, text = await kvpilot("status")
            assert code == 1
            code, text = await kvpilot("reload")
            assert (code, "3 of 4 endpoints would be removed" in text) == (1, True), text
            code, text = await kvpilot("reload", "--force")
            assert (code, text.startswith("serving policy ")) == (0, True), text
            assert text.split()[2] != first
            code, text = await kvpilot("status")
            assert (code, text.count(first)) == (0, 1), text  # among the versions to go back to

            code, text = await kvpilot("rollback", "nosuchversion")
            assert code == 1
            code, text = await kvpilot("rollback", first)
            assert (code, text.startswith(f"serving policy {first}")) == (0, True), text

            async def is_back() -> bool:
                pools = (await running.kvpilot.get("/status"))["pools"]
                return {each["address"] for each in pools["a"]["endpoints"]} == set(fleet.addresses)

            await eventually(is_back, "the endpoints of the first policy")
            assert (await running.chat("llama", "hello")).ok


def config_map(mount: Path, generation: int, **files: str) -> None:
    """Writes a ConfigMap into `mount` as Kubernetes does: a new folder, and a link that is switched over to it."""
    folder = mount / f"..2026_{generation}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(f"kvpilot: v1\n{text}\n")
    (mount / "..data_tmp").symlink_to(folder.name)
    os.replace(mount / "..data_tmp", mount / "..data")
    for name in files:
        if not (mount / f"{name}.yaml").is_symlink():
            (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")


async def test_a_mounted_config_map(tmp_path: Path) -> None:
    """A directory of files is one policy; the switch of its link is one edit, and an error names its file."""
    mount = tmp_path / "mount"
    edge = "listeners: [{name: openai, address: 127.0.0.1:1}]"
    team = "models: [{name: llama, pool: a}]\npools: {a: {endpoints: [{address: 127.0.0.1:9}]}}"
    config_map(mount, 1, edge=edge, team=team)
    kvpilot = Kvpilot(mount)
    try:
        await kvpilot.start()
        first = (await kvpilot.get("/status"))["policy"]["version"]
        config_map(mount, 2, edge=edge, team=team.replace("llama", "qwen"))

        async def edited() -> bool:
            found = (await kvpilot.get("/status"))["policy"]
            return bool(found["version"] != first and found["state"] == "applied")

        await eventually(edited, "the new policy")
        config_map(mount, 3, edge=edge, team=team.replace("pool: a", "pool: b"))

        async def rejected() -> list[object]:
            return list((await kvpilot.get("/status"))["policy"]["diagnostics"])

        (finding,) = await eventually(rejected, "the finding")
        assert isinstance(finding, dict)
        assert (finding["file"], finding["line"], finding["code"]) == (str(mount / "team.yaml"), 2, "KP301")
    finally:
        await kvpilot.stop()

"""Sessions on a running fleet: they move once when their pod is lost, and keep their pod over reloads and restarts."""

import signal
from pathlib import Path

from control_plane.sidecar import kept_files
from ext_proc.core.kept_sessions import kept_in
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

NAMES = [f"client-{n}" for n in range(12)]


def sessions_in(path: Path) -> int:
    """How many a file has; 0 where there is none yet."""
    value = kept_files.read(path)
    return 0 if value is None else len(kept_in(value, value["saved_at"]).homes)


async def served(running: Mesh) -> dict[str, str]:
    """Session → the pod that answers its next request."""
    pods = {}
    for name in NAMES:
        answer = await running.chat("llama", "hello", stream=False, max_tokens=2, headers={"x-session-id": name})
        assert answer.ok, answer.error
        pods[name] = answer.headers["x-kvpilot-pod"]
    return pods


async def test_sessions_survive(tmp_path: Path) -> None:
    """A pod dies: its sessions move, the others stay, and all stay when it is back, over an edit of the policy and a
    kvpilot that was killed. What is kept on disk names no session."""
    async with quick_fleet(4, "llama") as fleet:
        policy = PolicyText(
            pools={"a": fleet.addresses},
            models={"llama": "a"},
            strategy="session, session: {httpHeaderName: x-session-id}",
            pool="health: {probe: {interval: 200ms}}",
        )
        async with mesh(tmp_path, policy) as running:
            first = await served(running)
            lost = first[NAMES[0]]
            pod = next(each for each in fleet.pods if each.address == lost)
            await pod.stop()
            moved = await served(running)
            assert {name for name in NAMES if moved[name] != first[name]} == {n for n in NAMES if first[n] == lost}
            await pod.start()

            async def is_back() -> bool:
                rows = (await running.kvpilot.get("/status"))["pools"]["a"]["endpoints"]
                return all(row["health"] == "healthy" for row in rows)

            await eventually(is_back, "the pod to be used again")
            assert await served(running) == moved

            policy.aliases = {"llama": ["gpt-4"]}
            await running.edit()
            assert await served(running) == moved

            kept = tmp_path / "state" / "sessions.json"
            await running.chat("llama", "hello", stream=False, max_tokens=2, headers={"x-session-id": "one more"})
            # Not "until it is written again": that may still be for what was before.
            await eventually(lambda: sessions_in(kept) == len(NAMES) + 1, "the sessions to be kept")
            assert not any(name.encode() in kept.read_bytes() for name in NAMES)
            await running.kvpilot.signal(signal.SIGKILL)
            await running.kvpilot.start()
            await eventually(running.is_synced, "Envoy to be back")
            assert (await running.kvpilot.get("/status"))["sessions"]["known"] == len(NAMES) + 1
            assert await served(running) == moved

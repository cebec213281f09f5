"""What engines tell of their prefix caches, in `/metrics`."""

from pathlib import Path

from sim.kv_publisher import KvPorts, KvPublisher
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, get
from tests.unit.control_plane.admin.test_metrics import scrape, value
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, edit, policy_text, running
from tests.unit.ext_proc.signals.kv_samples import payload, stored_map


async def test_nobody_listens(tmp_path: Path) -> None:
    """Without `kvEvents` there are no such metrics."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        assert not [name for name, _ in await scrape(admin) if name.startswith("kvpilot_kv_events")]


async def test_what_was_told(tmp_path: Path) -> None:
    """Messages in all, and by endpoint what it holds and how long ago it was heard; an edit switches it off."""
    async with KvPublisher(KvPorts()) as publisher:
        publisher.publish(payload(stored_map([1], range(64), 64)))
        said = f"kvEvents: {{port: {publisher.port}, replayPort: {publisher.replay_port}}}"
        text = policy_text().replace("engine: custom", f"scrape: off, {said}")
        async with running(tmp_path, text) as sidecar, admin_of(sidecar) as admin:
            assert sidecar.picker is not None
            counters = sidecar.picker.intake.kv_counters
            assert counters is not None
            await eventually(lambda: counters.replayed == 2, "a replay for each of two endpoints of one host")
            samples = await scrape(admin)
            assert value(samples, "kvpilot_kv_events_replayed_total") == 2
            assert value(samples, "kvpilot_kv_events_lost_total") == 0
            assert value(samples, "kvpilot_kv_events_blocks", endpoint=FIRST) == 1
            assert value(samples, "kvpilot_kv_events_age_s", endpoint=SECOND) == 0
            publisher.stop()
            publisher.start()
            await eventually(lambda: counters.cleared["restarted"] == 2, "the restart")
            samples = await scrape(admin)
            assert value(samples, "kvpilot_kv_events_cleared_total", reason="restarted") == 2
            assert (await get(admin, "/status"))["kv_events_failing"] == {}
            await edit(sidecar, text.replace(said, "engine: vllm"))
            assert value(await scrape(admin), "kvpilot_kv_events_blocks", endpoint=FIRST) is None

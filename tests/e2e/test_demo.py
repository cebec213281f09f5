"""`kvpilot demo --once`: what a newcomer sees."""

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.ports import free_ports
from tests.kit.processes import children_of, is_alive
from tests.kit.waiting import eventually


async def start_demo(*words: str) -> asyncio.subprocess.Process:
    """A demo on free ports, its output captured."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane.cli", "demo", *words), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )


async def test_once_reports_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Status 0; who was picked, who served and why; a killed pod costs no request; kv-aware finds more cached."""
    listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    report_file = tmp_path / "report.json"
    demo = await start_demo("--once", "--json", str(report_file), "--listen", listen, "--admin", admin)

    async def has_children() -> bool:
        return len(children_of(demo.pid)) >= 5

    await eventually(has_children, "four pods and an Envoy", timeout_s=20)
    children = children_of(demo.pid)
    out, err = await demo.communicate()
    assert demo.returncode == 0, (out + err).decode()
    assert not [pid for pid in children if is_alive(pid)], "every child has ended"

    report: Any = json.loads(report_file.read_text())
    assert report["ok"]
    assert report["envoy_rejected"] == []
    rows = report["requests"]
    assert all(row["ok"] for row in rows)
    assert all(row["served"] == row["picked"] != "-" for row in rows)
    for chat in (1, 2, 3):
        turns = [row for row in rows if row["request"].startswith(f"chat {chat} ")]
        assert len({row["served"] for row in turns}) == 1
        assert turns[-1]["cached_tokens"] > 1000
    kill = report["kill"]
    assert kill["failed"] == 0
    assert kill["ok"] + kill["cut_streams"] == kill["sent"]
    blind, aware = report["strategies"]
    assert (blind["strategy"], aware["strategy"]) == ("round-robin", "kv-aware")
    assert aware["cached_share"] > blind["cached_share"]
    for word in ("Who answered, and why", "killed under load", "round-robin", "kv-aware"):
        assert word in out.decode()


async def test_keeps_running_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """The printed curl line works, the admin address answers, SIGTERM ends it all within 3 s."""
    listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    demo = await start_demo("--listen", listen, "--admin", admin, "--pods", "2")
    try:
        assert demo.stdout is not None
        seen = b""
        async with asyncio.timeout(90):
            while b"admin: http://" not in seen:
                line = await demo.stdout.readline()
                assert line, seen.decode()
                seen += line
        found = re.search(r"curl -i (\S+) -H '(.+?): (.+?)' -d '(.+)'", seen.decode())
        assert found is not None, seen.decode()
        url, name, value, body = found.groups()
        async with aiohttp.ClientSession() as session:
            async with session.post(url, headers={name: value}, data=body) as response:
                assert response.status == 200
                assert "data: [DONE]" in await response.text()
                decision = response.headers["x-kvpilot-decision"]
            async with session.get(f"http://{admin}/decisions/{decision}") as response:
                assert (await response.json())["id"] == decision
        children = children_of(demo.pid)
        assert len(children) == 3
        demo.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert await demo.wait() == 0
        assert not [pid for pid in children if is_alive(pid)]
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()


async def test_a_killed_demo_takes_its_children_along(tmp_path: Path) -> None:
    """SIGKILL gives nobody a chance to tidy up; the kernel ends pods and Envoy all the same."""
    listen, admin = (f"127.0.0.1:{port}" for port in free_ports(2))
    demo = await start_demo("--once", "--listen", listen, "--admin", admin, "--pods", "2")

    async def has_children() -> bool:
        return len(children_of(demo.pid)) >= 3

    await eventually(has_children, "two pods and an Envoy", timeout_s=20)
    children = children_of(demo.pid)
    demo.kill()
    await demo.communicate()

    async def all_gone() -> bool:
        return not [pid for pid in children if is_alive(pid)]

    await eventually(all_gone, "the children to end")

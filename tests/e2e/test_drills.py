"""`kvpilot drill`: short drills on processes of their own, one against a fleet that is there already, and long ones."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.processes import children_of, is_alive
from tests.kit.waiting import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples" / "drills").glob("*.yaml"))

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080, picker: {explain: always}}]
models: [{name: llama, pool: chat}]
pools:
  chat:
    endpoints: [{address: 127.0.0.1:8001}, {address: 127.0.0.1:8002}, {address: 127.0.0.1:8003}]
    timeouts: {firstByte: 1s}
    retries: {retriableStatusCodes: [500, 503]}
"""
SHORT = """\
policy: policy.yaml
apart: true
duration: 5s
load: {rate: 20, outputTokens: 40}
steps:
  - name: pod dies
    at: 1s
    fault: kill
    pods: ["127.0.0.1:8001"]
    bounds: {leavesWithin: 0s}
  - {name: picker freezes, at: 2s, for: 1s, fault: freeze, process: picker}
  - {name: control plane dies, at: 3s, fault: kill, process: controlPlane}
  - {name: picker stutters, at: 3500ms, for: 1s, fault: stutter, process: picker}
bounds: {lostBeforeFirstByte: 0, unended: 0}
"""
WRONG = """\
policy: policy.yaml
duration: 9s
load: {rate: 20, outputTokens: 20, leaving: 10}
steps:
  - name: pod fails
    at: 1s
    for: 2s
    fault: status
    pods: ["127.0.0.1:8001"]
  - name: metrics lie
    at: 3500ms
    for: 2500ms
    fault: lie
    pods: ["127.0.0.1:8002"]
    bounds: {share: [{most: 2, of: fair}]}
  - {name: sidecar restarts, at: 6s, for: 2s, fault: restart, process: kvpilot, count: 2}
bounds: {lostBeforeFirstByte: 0, cut: 0, unended: 0}
"""


async def started(*words: str) -> asyncio.subprocess.Process:
    """`kvpilot drill WORDS…`."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane.cli", "drill", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def drilled(*words: str) -> tuple[int, Any, str]:
    """Its exit status, its report, and what it said on standard error."""
    process = await started(*words, "--output", "json")
    out, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else None, errors.decode()


async def test_a_short_drill(tmp_path: Path) -> None:
    """A pod dies, then the picker freezes, then the control plane dies: nothing is lost, and all is seen."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "drill.yaml").write_text(SHORT)
    status, report, errors = await drilled(str(tmp_path / "drill.yaml"))
    assert report is not None, errors
    assert [one for one in report["bounds"] if not one["holds"]] == []
    assert status == 0
    assert report["requests"]["sent"] == 100
    assert [(step["name"], step["ended_s"] is None) for step in report["steps"]] == [
        ("pod dies", True),
        ("picker freezes", False),
        ("control plane dies", True),
        ("picker stutters", False),
    ]


async def test_a_drill_of_what_is_wrong(tmp_path: Path) -> None:
    """A pod answers 500, another one lies, the sidecar restarts, clients leave: no request is lost."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "drill.yaml").write_text(WRONG)
    _, report, errors = await drilled(str(tmp_path / "drill.yaml"))
    assert report is not None, errors
    # How long two restarts take is the machine's business.
    assert [one for one in report["bounds"] if not one["holds"] and one["bound"] != "steps.sidecar restarts"] == []
    assert report["requests"]["sent"] == 180


async def test_against_a_fleet_that_allows_it(tmp_path: Path) -> None:
    """A broken bound is exit 1 with its place; only what the file allows is touched, and the fault is taken back."""
    async with quick_fleet(2, "llama") as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"}, pool="retries: {attempts: 0}")
        async with mesh(tmp_path, policy) as running:
            first, second = fleet
            text = (
                f"policy: policy.yaml\nduration: 2s\nload: {{rate: 20, models: [llama], outputTokens: 4}}\n"
                f'allow: {{"{first.address}": "http://{first.control_address}/fault"}}\n'
                f'steps: [{{name: a, at: 500ms, for: 1s, fault: status, pods: ["{first.address}"]}}]\n'
                "bounds: {lostBeforeFirstByte: 0}\n"
            )
            drill = tmp_path / "drill.yaml"
            drill.write_text(text)
            target = ("--target", running.url, "--target-admin", f"http://{running.kvpilot.admin}")
            status, report, errors = await drilled(str(drill), *target)
            assert report is not None, errors
            assert status == 1
            (broken,) = [one for one in report["bounds"] if not one["holds"]]
            assert broken["place"] == f"{drill}:6:31"
            assert report["requests"]["lost"]["count"] > 0
            assert first.fault is None
            drill.write_text(text.replace(f'pods: ["{first.address}"]', f'pods: ["{second.address}"]'))
            status, report, errors = await drilled(str(drill), *target)
            assert (status, report) == (1, None)
            assert f"`allow` has no URL for {second.address}" in errors


async def test_a_stopped_drill_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM in the middle ends all that it has started, frozen processes too."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    text = SHORT.replace("at: 2s, for: 1s", "at: 0s, for: 4s")
    (tmp_path / "drill.yaml").write_text(text)
    process = await started(str(tmp_path / "drill.yaml"))
    assert process.stderr is not None
    while b"picker freezes" not in (line := await process.stderr.readline()):
        assert line, "it ended by itself"
    children = children_of(process.pid)
    assert len(children) >= 6
    os.kill(process.pid, signal.SIGTERM)
    await process.communicate()
    assert process.returncode == 130
    await eventually(lambda: not any(map(is_alive, children)), "the end of all that was started")


@pytest.mark.long
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
async def test_examples(path: Path) -> None:
    """All bounds hold, as docs/reliability.md says."""
    status, report, errors = await drilled(str(path))
    assert report is not None, errors
    assert [one for one in report["bounds"] if not one["holds"]] == []
    assert status == 0

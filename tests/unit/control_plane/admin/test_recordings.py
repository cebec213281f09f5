"""`/record` over HTTP: lines as they come, ends, refusals."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.admin import recordings
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.recordings import MAX_RECORDINGS
from tests.kit.waiting import eventually
from tests.unit.control_plane.admin.asking import admin_of, get, log, pick
from tests.unit.control_plane.sidecar.in_process import SECOND, running
from tests.unit.ext_proc.envoy_messages import log_entry

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here waits for the rhythm of real life."""
    monkeypatch.setattr(recordings, "POLL_S", 0.005)
    monkeypatch.setattr(recordings, "BEAT_S", 0.02)


async def ended(sidecar: Sidecar, decision: str) -> None:
    """The log's record of a request."""
    host, _, port = SECOND.rpartition(":")
    tags = {"decision": decision, "completion_tokens": "5"}
    await log(sidecar, log_entry("DownstreamEnd", host=host, port=int(port), customTags=tags))


def recording(sidecar: Sidecar) -> list[dict[str, Any]]:
    """What the status says of recordings."""
    assert sidecar.picker is not None
    found: list[dict[str, Any]] = sidecar.picker.status()["recordings"]
    return found


async def begun(sidecar: Sidecar, count: int = 1) -> None:
    """Waits until so many are under way."""

    async def is_so() -> bool:
        return len(recording(sidecar)) == count

    await eventually(is_so, "the recording to begin")


async def test_so_many_requests(tmp_path: Path) -> None:
    """The answer ends after the requests asked for: a header, then a line for each; what came before is not told."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        await pick(sidecar)
        fetching = asyncio.create_task(_text(admin, "/record?requests=2"))
        await begun(sidecar)
        for _ in range(3):
            await ended(sidecar, await pick(sidecar))
        text = await asyncio.wait_for(fetching, PATIENCE_S)
        header, *lines = [json.loads(line) for line in text.splitlines() if line]
        assert header["block_tokens"] == 64
        assert header["name"].startswith("recorded-20")
        assert [(line["output"], line["model"], line["pool"]) for line in lines] == [(5, "m", "p")] * 2
        assert recording(sidecar) == []


async def test_so_long(tmp_path: Path) -> None:
    """It ends after its time; something comes all the while, so that each side knows that the other is there."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        text = await asyncio.wait_for(_text(admin, "/record?duration=0.3"), PATIENCE_S)
        assert [json.loads(line)["kvpilot_trace"] for line in text.splitlines() if line] == [1]
        assert text.endswith("\n\n")  # the beat
        assert recording(sidecar) == []


async def test_what_is_in_flight_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that takes longer than anybody waits is told with a guessed length."""
    monkeypatch.setattr(recordings, "DRAIN_S", 0.05)
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        fetching = asyncio.create_task(_text(admin, "/record?requests=1"))
        await begun(sidecar)
        await pick(sidecar)
        text = await asyncio.wait_for(fetching, PATIENCE_S)
        lines = [json.loads(line) for line in text.splitlines() if line]
        assert [line["guessed"] for line in lines[1:]] == [True]


async def test_a_client_that_leaves_ends_it(tmp_path: Path) -> None:
    """Nothing is recorded for nobody."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        async with admin.get("/record") as response:
            assert json.loads(await response.content.readline())["kvpilot_trace"] == 1
            await begun(sidecar)
            assert (await get(admin, "/status"))["recordings"] == [
                {"pool": "", "requests": 0, "in_flight": 0, "dropped": 0}
            ]
            response.close()
        await begun(sidecar, 0)


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("pool=nowhere", 404, "there is no pool 'nowhere'"),
        ("requests=0", 400, "requests must be a number above 0"),
        ("requests=many", 400, "not 'many'"),
        ("duration=nan", 400, "duration must be"),
        ("duration=1e9", 400, "at most 604,800"),
    ],
)
async def test_refusals(tmp_path: Path, query: str, status: int, words: str) -> None:
    """What is not possible is said, and nothing is recorded."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        found = await get(admin, f"/record?{query}", status=status)
        assert words in found["error"]["message"]
        assert recording(sidecar) == []


async def test_there_are_only_so_many(tmp_path: Path) -> None:
    """Each one costs; one too many is refused until another ends."""
    async with running(tmp_path) as sidecar, admin_of(sidecar) as admin:
        open_ = [await admin.get("/record") for _ in range(MAX_RECORDINGS)]
        await get(admin, "/record", status=429)
        open_.pop().close()
        await begun(sidecar, MAX_RECORDINGS - 1)
        async with admin.get("/record") as response:
            assert response.status == 200
        for response in open_:
            response.close()
        await begun(sidecar, 0)


async def test_without_a_picker(tmp_path: Path) -> None:
    """A control plane alone picks nothing."""
    async with running(tmp_path, roles=frozenset({"xds"})) as sidecar, admin_of(sidecar) as admin:
        assert "no picker" in (await get(admin, "/record", status=503))["error"]["message"]


async def _text(admin: aiohttp.ClientSession, path: str) -> str:
    async with admin.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == recordings.CONTENT_TYPE
        return await response.text()

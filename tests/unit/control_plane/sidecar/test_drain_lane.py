"""Drains on a running sidecar: the picker at once, Envoy next, the disk before the answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from control_plane.fleet.drains import DrainRefusedError
from control_plane.sidecar import endpoints_lane, kept_files
from control_plane.sidecar.drain_lane import LOOK_S, UNHEARD_S, DrainLane, load_drains
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.core.events import LoadReported, Picked, Scraped, StreamEnded
from protos.messages import load
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import (
    FIRST,
    SECOND,
    THIRD,
    Clock,
    EndpointsClient,
    connected,
    edit,
    policy_text,
    running,
)

KEY = f"p/{FIRST}"


def lane_of(sidecar: Sidecar) -> DrainLane:
    """The part under test."""
    assert sidecar.drains is not None
    return sidecar.drains


def health(sidecar: Sidecar) -> dict[str, str]:
    """Address → state, of who the picker knows."""
    assert sidecar.picker is not None
    return {each["address"]: each["health"] for each in sidecar.picker.status()["pools"]["p"]["endpoints"]}


def rows(sidecar: Sidecar) -> list[tuple[str, str, Any]]:
    """Address, state and what runs there."""
    return [(row["address"], row["state"], row.get("running")) for row in lane_of(sidecar).status()]


def picked(sidecar: Sidecar, address: str) -> None:
    """A request that runs at an endpoint."""
    assert sidecar.picker is not None
    event = Picked(
        decision_id="one", at=1000.0, address=address, uncached_tokens=1, prompt_tokens=1, max_age_s=60.0, pool="p"
    )
    sidecar.picker._apply(event)


def told(response: Any) -> dict[str, str]:
    """Port → health status in an assignment."""
    message: Any = load()["envoy.config.endpoint.v3.ClusterLoadAssignment"].FromString(response.resources[0].value)
    value: Any = load().to_json(message)
    return {
        str(each["endpoint"]["address"]["socketAddress"]["portValue"]): each["healthStatus"]
        for group in value.get("endpoints", ())
        for each in group["lbEndpoints"]
    }


async def test_the_whole_way(tmp_path: Path) -> None:
    """DRAINING for Envoy while a request runs; then out; back when an Envoy has taken it."""
    async with running(tmp_path) as sidecar, connected(sidecar) as envoy:
        picked(sidecar, FIRST)
        assert await lane_of(sidecar).drain([KEY]) == [
            {
                **lane_of(sidecar).rows()[0],
                "pool": "p",
                "address": FIRST,
                "state": "draining",
                "by": "operator",
                "running": 1,
                "is_over": False,
            }
        ]
        assert health(sidecar) == {FIRST: "draining", SECOND: "healthy"}
        response = await envoy.receive()
        assert told(response) == {"1": "DRAINING", "2": "HEALTHY"}
        await envoy.accept(response)
        assert rows(sidecar) == [(FIRST, "draining", 1)]

        assert sidecar.picker is not None
        sidecar.picker._apply(StreamEnded(decision_id="one", at=1001.0))
        response = await envoy.receive()
        assert told(response) == {"2": "HEALTHY"}
        assert rows(sidecar) == [(FIRST, "removed", 0)], "this Envoy has not confirmed"
        assert health(sidecar) == {FIRST: "removed", SECOND: "healthy"}
        await envoy.accept(response)
        await eventually(lambda: rows(sidecar) == [(FIRST, "drained", 0)])
        assert health(sidecar) == {SECOND: "healthy"}

        assert await lane_of(sidecar).undrain(["p"]) == [("p", FIRST)]
        assert health(sidecar) == {SECOND: "healthy"}
        response = await envoy.receive()
        assert told(response) == {"1": "HEALTHY", "2": "HEALTHY"}
        await envoy.accept(response)
        await eventually(lambda: health(sidecar) == {FIRST: "healthy", SECOND: "healthy"})
        assert rows(sidecar) == []


async def test_at_once_whatever_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picker lets go before anything is made for Envoys, which takes a thread for large fleets."""
    monkeypatch.setattr(endpoints_lane, "INLINE_ENDPOINTS", 0)
    async with running(tmp_path) as sidecar:
        order = asyncio.ensure_future(lane_of(sidecar).drain([KEY]))
        await asyncio.sleep(0)
        assert health(sidecar)[FIRST] == "unavailable"
        await order
        await eventually(lambda: health(sidecar) == {FIRST: "draining", SECOND: "healthy"})


async def test_nobody_left(tmp_path: Path) -> None:
    """Refused, and nothing is done; force gets its way, for all of a pool as well."""
    async with running(tmp_path) as sidecar:
        with pytest.raises(DrainRefusedError, match="nobody would be left to serve p"):
            await lane_of(sidecar).drain(["p"])
        assert rows(sidecar) == []
        await lane_of(sidecar).drain([KEY])
        with pytest.raises(DrainRefusedError, match="nobody would be left"):
            await lane_of(sidecar).drain([f"p/{SECOND}"])
        await lane_of(sidecar).drain(["p"], force=True)
        assert set(health(sidecar).values()) <= {"draining"}
        with pytest.raises(DrainRefusedError, match="is no endpoint that is served"):
            await lane_of(sidecar).drain(["p/127.0.0.1:9"])
        with pytest.raises(DrainRefusedError, match="is no endpoint that drains"):
            await lane_of(sidecar).undrain(["q"])


async def test_over_a_restart(tmp_path: Path) -> None:
    """Out from the first assignment on; an edit of the policy changes nothing about it."""
    state = tmp_path / "state"
    async with running(tmp_path, state_dir=state) as sidecar:
        await lane_of(sidecar).drain([KEY])
        await eventually(lambda: rows(sidecar) == [(FIRST, "drained", 0)])
    async with running(tmp_path, state_dir=state) as sidecar:
        assert rows(sidecar) == [(FIRST, "drained", 0)]
        client = EndpointsClient(sidecar.xds_address)
        assert told(await client.ask()) == {"2": "HEALTHY"}
        await client.close()
        assert health(sidecar) == {SECOND: "healthy"}
        await edit(sidecar, policy_text(FIRST, SECOND, THIRD))
        await eventually(lambda: health(sidecar) == {SECOND: "healthy", THIRD: "healthy"})
        await lane_of(sidecar).undrain(["*"])
    assert len(load_drains(state / "drains.json")) == 0


async def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    """A process that begins nothing leaves the file alone: it may be another one's."""
    state = tmp_path / "state"
    async with running(tmp_path, state_dir=state) as sidecar:
        await lane_of(sidecar).drain([KEY])
        await eventually(lambda: rows(sidecar) == [(FIRST, "drained", 0)])
    kept = (state / "drains.json").read_bytes()
    async with running(tmp_path, state_dir=state):
        (state / "drains.json").unlink()
    assert not (state / "drains.json").exists()
    assert b"drained" in kept


async def test_a_restart_waits_to_hear_what_runs(tmp_path: Path) -> None:
    """The account of a new process is empty; what the engine says is waited for, for a while."""
    text = policy_text().replace("engine: custom", "engine: vllm, scrape: off")
    state = tmp_path / "state"
    async with running(tmp_path, text, state_dir=state) as sidecar:
        picked(sidecar, FIRST)
        await lane_of(sidecar).drain([KEY])
    async with running(tmp_path, text, state_dir=state) as sidecar:
        assert rows(sidecar) == [(FIRST, "draining", None)]
        assert sidecar.picker is not None
        sidecar.picker._apply(Scraped(address=FIRST, at=1000.0, running=2, waiting=1))
        assert rows(sidecar) == [(FIRST, "draining", 3)]
        sidecar.picker._apply(Scraped(address=FIRST, at=1000.0, running=0, waiting=0))
        await eventually(lambda: rows(sidecar) == [(FIRST, "removed", 0)])
        await asyncio.sleep(3 * LOOK_S)
        assert rows(sidecar) == [(FIRST, "removed", 0)], "no Envoy has come back yet"
        assert isinstance(sidecar.clock, Clock)
        sidecar.clock.now += UNHEARD_S
        await eventually(lambda: rows(sidecar) == [(FIRST, "drained", 0)])


async def test_a_pods_own_word(tmp_path: Path) -> None:
    """No new picks at once, DRAINING for Envoy; an operator's order counts more, and all is back by another word."""
    async with running(tmp_path) as sidecar, connected(sidecar) as envoy:
        assert sidecar.picker is not None
        sidecar.picker._apply(LoadReported(address=FIRST, at=1.0, draining=True))
        assert health(sidecar) == {FIRST: "draining", SECOND: "healthy"}
        response = await envoy.receive()
        assert told(response) == {"1": "DRAINING", "2": "HEALTHY"}
        await envoy.accept(response)
        assert lane_of(sidecar).status() == [
            {"pool": "p", "address": FIRST, "state": "draining", "by": "pod", "why": "draining"}
        ]
        with pytest.raises(DrainRefusedError, match="nobody would be left"):
            await lane_of(sidecar).drain([f"p/{SECOND}"])
        sidecar.picker._apply(LoadReported(address=FIRST, at=2.0, draining=False))
        assert health(sidecar) == {FIRST: "healthy", SECOND: "healthy"}
        assert told(await envoy.receive()) == {"1": "HEALTHY", "2": "HEALTHY"}


async def test_only_one_of_the_roles(tmp_path: Path) -> None:
    """Without a picker nobody knows what runs, so the deadline counts; without a control plane there is no Envoy."""
    async with running(tmp_path, roles=frozenset({"xds"})) as sidecar:
        await lane_of(sidecar).drain([KEY], 60.0)
        assert rows(sidecar) == [(FIRST, "draining", None)]
        await lane_of(sidecar).drain([KEY], 0.0)
        await eventually(lambda: rows(sidecar) == [(FIRST, "removed", None)])
    async with running(tmp_path, roles=frozenset({"picker"})) as sidecar:
        await lane_of(sidecar).drain([KEY])
        await eventually(lambda: rows(sidecar) == [(FIRST, "drained", 0)])
        assert health(sidecar) == {SECOND: "healthy"}


async def test_the_pools_own_bound(tmp_path: Path) -> None:
    """`drain.timeout`, else the longest time of a request."""
    async with running(tmp_path) as sidecar:
        (row,) = await lane_of(sidecar).drain([KEY])
        assert row["deadline"] - row["since"] == 600.0
        await edit(sidecar, policy_text().replace("engine: custom", "engine: custom, drain: {timeout: 42s}"))
        await lane_of(sidecar).undrain(["*"])
        (row,) = await lane_of(sidecar).drain([KEY])
        assert row["deadline"] - row["since"] == 42.0


async def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    """The drain holds all the same, and it is said."""
    state = tmp_path / "state"
    state.mkdir()
    async with running(tmp_path, state_dir=state) as sidecar:
        (state / "drains.json").mkdir()
        await lane_of(sidecar).drain([KEY])
        assert health(sidecar)[FIRST] == "draining"
        assert "drains.json" in lane_of(sidecar).error


@pytest.mark.parametrize("value", [{"a": 1}, [1], [{"pool": "p"}]])
def test_a_file_that_is_not_ours(tmp_path: Path, value: object) -> None:
    """Counts as nothing."""
    path = tmp_path / "drains.json"
    kept_files.write(path, kept_files.encoded(value))
    assert len(load_drains(path)) == 0
    path.write_bytes(b"half a file")
    assert len(load_drains(path)) == 0
    assert len(load_drains(None)) == 0

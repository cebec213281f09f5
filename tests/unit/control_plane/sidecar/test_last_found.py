"""What discovery found outlives a restart: pools are not emptied by a name server that is down, nor by a bad file."""

import asyncio
import json
from pathlib import Path

import pytest

from control_plane.fleet.merge import Found, SourceKey
from control_plane.fleet.targets import Target
from control_plane.sidecar import kept_files, last_found
from control_plane.sidecar.last_found import LastFound
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import FIRST, Clock, named, policy_text, running

KEY = ("dns", "vllm:8000", "AUTO")
TARGETS = (
    Target(address="10.0.0.1:8000", region="r", zone="z", weight=7, labels={"gpu": "h100"}),
    Target(address="10.0.0.2:8000", draining=True),
)
MANY = [f"127.0.0.1:{port}" for port in range(1, 9)]
FROM_FILE = policy_text(FIRST).replace(f"{{address: {FIRST}}}", "{file: targets.json}")


def write_targets(directory: Path, addresses: list[str]) -> None:
    """The file that the policy names."""
    (directory / "targets.json").write_text(json.dumps([{"targets": addresses}]))


def test_round_trip(tmp_path: Path) -> None:
    """All that a source says of an endpoint is kept; what is doubtful is not written."""
    path = tmp_path / "endpoints.json"
    LastFound(path).save({KEY: TARGETS})
    LastFound(path).save(None)
    found = LastFound(path).load()
    assert found == {KEY: TARGETS}
    assert found[KEY][0].labels == {"gpu": "h100"}


def test_only_what_is_new_is_written(tmp_path: Path) -> None:
    """What was read or written last is not written again."""
    path = tmp_path / "endpoints.json"
    LastFound(path).save({KEY: TARGETS})
    kept = LastFound(path)
    kept.load()
    path.unlink()
    kept.save({KEY: TARGETS})
    assert not path.exists()
    kept.save({KEY: TARGETS[:1]})
    assert path.exists()


@pytest.mark.parametrize("value", [1, {"a": 1}, [1], [[["dns"], [{"address": "x"}]]], [[["dns"], [None]]]])
def test_another_shape(tmp_path: Path, value: object) -> None:
    """As from another version of the program: counts as nothing."""
    path = tmp_path / "endpoints.json"
    path.write_bytes(kept_files.encoded(value))
    assert LastFound(path).load() == {}


def test_a_disk_that_takes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One complaint, and it is tried again."""
    (tmp_path / "state").write_text("in the way")
    kept = LastFound(tmp_path / "state" / "endpoints.json")
    kept.save({KEY: TARGETS})
    kept.save({KEY: TARGETS})
    assert caplog.text.count("cannot be kept") == 1
    (tmp_path / "state").unlink()
    kept.save({KEY: TARGETS})
    assert LastFound(tmp_path / "state" / "endpoints.json").load() == {KEY: TARGETS}


@pytest.mark.parametrize("rest", [1, 1_000_000])
async def test_it_is_written_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: int) -> None:
    """A process that is killed has left it behind, too: at once at first, and after a rest from then on."""
    monkeypatch.setattr(last_found, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(last_found, "REST_LOOKS", rest)
    path, looks = tmp_path / "endpoints.json", 0
    found: dict[SourceKey, tuple[Target, ...]] = {KEY: TARGETS}

    def now() -> Found:
        nonlocal looks
        looks += 1
        return dict(found)

    task = asyncio.create_task(LastFound(path).follow(now))
    await eventually(path.exists)
    found[KEY] = TARGETS[:1]
    if rest == 1:
        await eventually(lambda: LastFound(path).load() == found)
    else:
        await asyncio.sleep(0.01)
        assert LastFound(path).load() == {KEY: TARGETS}
        assert looks == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_restart_while_the_source_is_down(tmp_path: Path) -> None:
    """The endpoints from before are served, and the source is said to be stale."""
    write_targets(tmp_path, MANY)
    async with running(tmp_path, FROM_FILE, state_dir=tmp_path / "state") as sidecar:
        assert named(sidecar) == MANY
    (tmp_path / "targets.json").unlink()
    async with running(tmp_path, FROM_FILE, state_dir=tmp_path / "state") as sidecar:
        assert named(sidecar) == MANY
        assert sidecar.slow_loop is not None
        assert len(sidecar.slow_loop.fleet.pools["p"]) == len(MANY)
        assert sidecar.sources is not None
        (row,) = sidecar.sources.status()
        assert (row["state"], row["endpoints"], row["age_s"]) == ("stale", len(MANY), None)
        write_targets(tmp_path, MANY[:6])
        sources = sidecar.sources
        await eventually(lambda: sources.status()[0]["state"] == "fresh")
        assert isinstance(sidecar.clock, Clock)
        sidecar.clock.now += 1.0  # changes are gathered for a moment
        await eventually(lambda: named(sidecar) == MANY[:6])


async def test_a_restart_over_a_result_that_takes_too_much_away(tmp_path: Path) -> None:
    """A restart is not the order to take it, and neither are two."""
    write_targets(tmp_path, MANY)
    async with running(tmp_path, FROM_FILE, state_dir=tmp_path / "state"):
        pass
    write_targets(tmp_path, MANY[:1])
    for _ in range(2):
        async with running(tmp_path, FROM_FILE, state_dir=tmp_path / "state") as sidecar:
            assert named(sidecar) == MANY
            assert sidecar.state.fleet_error.startswith("7 of 8 endpoints")
            assert sidecar.edits is not None
    async with running(tmp_path, FROM_FILE, state_dir=tmp_path / "state") as sidecar:
        assert sidecar.edits is not None
        await sidecar.edits.reload(force=True)
        assert (named(sidecar), sidecar.state.fleet_error) == (MANY[:1], "")

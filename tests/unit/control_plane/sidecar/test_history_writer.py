"""The history is written behind the back of the edits, and a full disk harms nobody."""

import asyncio
from pathlib import Path

import pytest

from control_plane.sidecar import history_writer
from control_plane.sidecar.history import History, Pending
from control_plane.sidecar.history_writer import HistoryWriter
from control_plane.sidecar.policy_state import PolicyState
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import FIRST, THIRD, edit, named, policy_text, running


def recorded(history: History, version: str) -> None:
    """One more version."""
    history.record(version, (("policy.yaml", version.encode()),), "applied", 0.0)


def kept(directory: Path) -> list[str]:
    """What a restart would know."""
    history = History(directory)
    history.load()
    return [entry.version for entry in history.entries]


async def test_the_newest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded during a write is the next one, and a stop waits for it."""
    history = History(tmp_path)
    writer = HistoryWriter(history, PolicyState(version="a"))
    write = History.write
    writes: list[Pending | None] = []

    def noted(self: History, pending: Pending | None) -> None:
        writes.append(pending)
        if len(writes) == 1:
            recorded(history, "b")
            loop.call_soon_threadsafe(writer.save)
        write(self, pending)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(History, "write", noted)
    recorded(history, "a")
    writer.save()
    await eventually(lambda: kept(tmp_path) == ["a", "b"])
    assert len(writes) == 2
    recorded(history, "c")
    await writer.stop()
    assert kept(tmp_path) == ["a", "b", "c"]


async def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The history cannot be written: said in the log, once, and traffic goes on."""

    def full(self: object, pending: object) -> None:
        if pending is not None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(History, "write", full)
    async with running(tmp_path, policy_text(FIRST), state_dir=tmp_path / "state") as sidecar:
        await edit(sidecar, policy_text(THIRD))
        assert named(sidecar) == [THIRD]
        await eventually(lambda: "No space left on device" in sidecar.state.history_error)
    assert caplog.text.count("No space left on device") == 1


async def test_a_disk_that_has_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is written then, without another edit, and the state has no more to say."""
    monkeypatch.setattr(history_writer, "REWRITE_S", 0.01)
    (tmp_path / "state").write_text("in the way")
    async with running(tmp_path, policy_text(FIRST), state_dir=tmp_path / "state") as sidecar:
        await eventually(lambda: bool(sidecar.state.history_error))
        (tmp_path / "state").unlink()
        await eventually(lambda: not sidecar.state.history_error)
        assert kept(tmp_path / "state" / "history") == [sidecar.state.version]

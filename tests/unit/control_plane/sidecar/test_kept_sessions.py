"""Sessions outlive a restart of the sidecar; a file that is none harms nobody."""

import asyncio
from pathlib import Path

import pytest

from control_plane.sidecar import kept_files, kept_sessions
from control_plane.sidecar.kept_sessions import KeptSessions
from control_plane.sidecar.sidecar import Sidecar
from ext_proc.core.events import Picked
from ext_proc.core.kept_sessions import KEY_BYTES, MAX_BYTES
from ext_proc.core.sessions import HASH_BYTES
from tests.kit.waiting import eventually
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, edit, policy_text, running

TEXT = policy_text(strategy="session")
ONE, TWO = b"1" * HASH_BYTES, b"2" * HASH_BYTES


def pick(sidecar: Sidecar, session: bytes, address: str = FIRST) -> None:
    """A pick that makes a home."""
    assert sidecar.picker is not None
    sidecar.picker._apply(
        Picked(
            decision_id=session.hex(),
            at=1000.0,
            address=address,
            uncached_tokens=1,
            prompt_tokens=1,
            max_age_s=60.0,
            pool="p",
            session=session,
        )
    )


def homes(sidecar: Sidecar) -> dict[bytes, str]:
    """Session → address."""
    assert sidecar.picker is not None
    return {session: address for session, address, _ in sidecar.picker.sessions.snapshot(1000.0).homes()}


def known(sidecar: Sidecar) -> int:
    """Of the status."""
    assert sidecar.picker is not None
    return int(sidecar.picker.status()["sessions"]["known"])


async def test_over_a_stop(tmp_path: Path) -> None:
    """All of them, under the same key; those of endpoints that are gone are dropped."""
    state = tmp_path / "state"
    async with running(tmp_path, TEXT, state_dir=state) as sidecar:
        pick(sidecar, ONE)
        pick(sidecar, TWO, SECOND)
        assert sidecar._sessions is not None
        key = sidecar._sessions.key
    async with running(tmp_path, TEXT, state_dir=state) as sidecar:
        assert homes(sidecar) == {ONE: FIRST, TWO: SECOND}
        assert sidecar._sessions is not None
        assert sidecar._sessions.key == key
    async with running(tmp_path, policy_text(SECOND, strategy="session"), state_dir=state) as sidecar:
        assert homes(sidecar) == {TWO: SECOND}


async def test_without_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written while it runs, once for many changes, and again when there are new ones."""
    monkeypatch.setattr(kept_sessions, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(kept_sessions, "REST_LOOKS", 3)
    path = tmp_path / "state" / "sessions.json"
    async with running(tmp_path, TEXT, state_dir=path.parent) as sidecar:
        await asyncio.sleep(0.05)
        assert not path.exists(), "there is nothing to be known"
        pick(sidecar, ONE)
        await eventually(path.exists)
        path.unlink()
        await asyncio.sleep(0.1)
        assert not path.exists(), "nothing is new"
        pick(sidecar, TWO)
        await eventually(path.exists)


async def test_sessions_that_go_on_are_refreshed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a restart would take them for unused."""
    monkeypatch.setattr(kept_sessions, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(kept_sessions, "REFRESH_LOOKS", 5)
    path = tmp_path / "state" / "sessions.json"
    async with running(tmp_path, TEXT, state_dir=path.parent) as sidecar:
        pick(sidecar, ONE)
        await eventually(path.exists)
        path.unlink()
        await eventually(path.exists)


async def test_over_a_reload(tmp_path: Path) -> None:
    """An edit of the policy changes nothing about who is at home where."""
    async with running(tmp_path, TEXT) as sidecar:
        pick(sidecar, ONE, SECOND)
        await edit(sidecar, TEXT.replace("gpt-4", "gpt-5"))
        assert homes(sidecar) == {ONE: SECOND}


async def test_without_a_state_directory(tmp_path: Path) -> None:
    """Nothing is kept."""
    async with running(tmp_path, TEXT) as sidecar:
        pick(sidecar, ONE)
        assert known(sidecar) == 1
    async with running(tmp_path, TEXT) as sidecar:
        assert known(sidecar) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["policy.yaml"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged and left out"),
        (b"\0" * 1_000, "is damaged and left out"),
        (kept_files.encoded({"version": 7}), "is left out: of another version"),
        (kept_files.encoded([1]), "is left out: not what was expected"),
        (b"x" * (MAX_BYTES + 1), "more than it can have, and is left out"),
    ],
)
async def test_files_that_are_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, words: str
) -> None:
    """The sidecar starts, says so once, and goes on without."""
    path = tmp_path / "state" / "sessions.json"
    path.parent.mkdir()
    path.write_bytes(content)
    async with running(tmp_path, TEXT, state_dir=path.parent) as sidecar:
        assert caplog.text.count(words) == 1
        assert path.read_bytes() == content, "nothing is new"
        pick(sidecar, ONE)
    async with running(tmp_path, TEXT, state_dir=path.parent) as sidecar:
        assert homes(sidecar) == {ONE: FIRST}


async def test_a_disk_that_takes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One complaint, and it is tried again."""
    async with running(tmp_path, TEXT) as sidecar:
        assert sidecar.picker is not None
        (tmp_path / "state").write_text("in the way")
        kept = KeptSessions(tmp_path / "state" / "sessions.json", lambda: 0.0, lambda: 0.0)
        kept.restore(sidecar.picker.sessions)
        pick(sidecar, ONE)
        for _ in range(2):
            await kept.stop()
        assert caplog.text.count("sessions cannot be kept") == 1
        (tmp_path / "state").unlink()
        await kept.stop()
        assert (tmp_path / "state" / "sessions.json").exists()


def test_keys_differ() -> None:
    """Each installation has its own."""
    one, other = (KeptSessions(None, lambda: 0.0, lambda: 0.0).key for _ in range(2))
    assert one != other
    assert len(one) == KEY_BYTES

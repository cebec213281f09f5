"""What outlives a restart, whatever happens to the disk."""

import json
import stat
from pathlib import Path

import pytest

from control_plane.sidecar import history as module
from control_plane.sidecar import kept_files
from control_plane.sidecar.history import APPLIED, ROLLED_BACK, ROLLING_OUT, History


def files(text: str) -> tuple[tuple[str, bytes], ...]:
    """A policy of one file."""
    return (("policy.yaml", text.encode()),)


def recorded(directory: Path | None, *versions: str) -> History:
    """A history of these versions, written."""
    history = History(directory)
    for number, version in enumerate(versions):
        history.record(version, files(f"text of {version}"), APPLIED, float(number))
    history.write(history.pending())
    return history


def reloaded(directory: Path) -> History:
    """What the next process reads."""
    history = History(directory)
    history.load()
    return history


def test_round_trip(tmp_path: Path) -> None:
    """Entries with their order, times, states, texts, and the refusals."""
    history = recorded(tmp_path / "history", "a", "b")
    history.mark("a", accepted=True)
    history.mark("b", state=ROLLED_BACK)
    history.mark("unknown", state=APPLIED)
    history.remember_rejections([{"name": "pool/p"}])
    history.write(history.pending())
    found = reloaded(tmp_path / "history")
    assert found.entries == history.entries
    assert [(e.version, e.time, e.state, e.accepted) for e in found.entries] == [
        ("a", 0.0, APPLIED, True),
        ("b", 1.0, ROLLED_BACK, False),
    ]
    assert found.files("a") == files("text of a")
    assert found.rejections == ({"name": "pool/p"},)
    assert found.files("unknown") is None


def test_last_good_and_last_accepted(tmp_path: Path) -> None:
    """Good is what was applied and not rolled back; accepted what Envoys have taken as a whole."""
    history = recorded(None, "a", "b", "c", "d")
    history.mark("a", accepted=True)
    history.mark("c", state=ROLLING_OUT)
    history.mark("d", state=ROLLED_BACK, accepted=True)
    good, accepted = history.last_good(), history.last_accepted()
    assert good is not None
    assert accepted is not None
    assert (good.version, accepted.version) == ("b", "a")
    before = history.last_good(but="b")
    assert before is not None
    assert before.version == "a"


def test_a_version_that_comes_back_is_the_newest() -> None:
    """Once, at the end; what Envoys said of it still counts."""
    history = recorded(None, "a", "b")
    history.mark("a", accepted=True)
    history.record("a", files("text of a"), APPLIED, 9.0)
    assert [(e.version, e.accepted) for e in history.entries] == [("b", False), ("a", True)]


def test_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, from the disk, too; the last one that was accepted stays however old it is."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    history = recorded(tmp_path, "a")
    history.mark("a", accepted=True)
    for version in "bcde":
        history.record(version, files(version), APPLIED, 1.0)
        history.write(history.pending())
    assert [e.version for e in history.entries] == ["a", "d", "e"]
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "d.json", "e.json", "index.json"}


def test_modes(tmp_path: Path) -> None:
    """Nobody else reads a policy."""
    recorded(tmp_path / "history", "a")
    assert stat.S_IMODE((tmp_path / "history").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "history").iterdir()} == {0o600}


def test_written_once(tmp_path: Path) -> None:
    """A text is not written again, and nothing at all when nothing changed."""
    history = recorded(tmp_path, "a")
    assert history.pending() is None
    history.mark("a", accepted=True)
    pending = history.pending()
    assert pending is not None
    assert list(pending.contents) == ["index"]


def test_a_disk_that_was_full(tmp_path: Path) -> None:
    """What could not be written is still to be written, texts and all, and what was to go still goes."""
    history = recorded(tmp_path, "a")
    history.record("b", files("b"), APPLIED, 1.0)
    lost = history.pending()
    assert lost is not None
    history.failed(lost)
    again = history.pending()
    assert again is not None
    assert set(again.contents) == {"b", "index"}
    history.failed(module.Pending({}, ("a",)))
    assert history.pending() is not None
    history.write(again)
    assert [e.version for e in reloaded(tmp_path).entries] == ["a", "b"]


def test_one_rollout_at_a_time() -> None:
    """A version that a newer one overtook is not said to be under way any more."""
    history = recorded(None, "a")
    history.record("b", files("b"), "rolling-out", 1.0)
    history.record("c", files("c"), "rolling-out", 2.0)
    assert [(e.version, e.state) for e in history.entries] == [("a", APPLIED), ("b", "replaced"), ("c", "rolling-out")]


def test_an_entry_with_more_than_we_know(tmp_path: Path) -> None:
    """A newer kvpilot ran here before: its entries are read as far as they are understood."""
    history = recorded(tmp_path, "a")
    history.record("b", files("b"), APPLIED, 1.0)
    history.write(history.pending())
    index = json.loads((tmp_path / "index.json").read_bytes().split(b"\n", 1)[1])
    index["entries"][0]["author"] = "somebody"
    (tmp_path / "index.json").write_bytes(kept_files.encoded(index))
    assert [e.version for e in reloaded(tmp_path).entries] == ["a", "b"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\x00" * 100])
def test_a_damaged_text(tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """That version is left out, with a word; the others are there."""
    recorded(tmp_path, "a", "b")
    (tmp_path / "b.json").write_bytes(damage)
    assert [e.version for e in reloaded(tmp_path).entries] == ["a"]
    assert "b.json is damaged" in caplog.text


def test_a_damaged_index(tmp_path: Path) -> None:
    """The start goes on without a history."""
    recorded(tmp_path, "a")
    content = (tmp_path / "index.json").read_bytes()
    (tmp_path / "index.json").write_bytes(content[:-1])
    assert reloaded(tmp_path).entries == ()


@pytest.mark.parametrize("value", [[], {"rejections": 1}, {"rejections": [], "entries": [{"x": 1}]}])
def test_an_index_of_another_shape(tmp_path: Path, value: object) -> None:
    """As from another version of the program: nothing is read, and nothing raises."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "index.json").write_bytes(kept_files.encoded(value))
    assert reloaded(tmp_path).entries == ()


def test_a_crash_between_two_files(tmp_path: Path) -> None:
    """The text is there, the index is the old one: the old state is what the next process has."""
    history = recorded(tmp_path, "a")
    index = (tmp_path / "index.json").read_bytes()
    history.record("b", files("b"), APPLIED, 1.0)
    history.write(history.pending())
    (tmp_path / "index.json").write_bytes(index)
    assert [e.version for e in reloaded(tmp_path).entries] == ["a"]


def test_without_a_directory() -> None:
    """Everything works, nothing is kept."""
    history = recorded(None, "a")
    assert history.pending() is None
    history.load()
    assert [e.version for e in history.entries] == ["a"]


def test_what_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A directory in the place of the index: told, and gone on without."""
    (tmp_path / "index.json").mkdir()
    assert reloaded(tmp_path).entries == ()
    assert "cannot be read" in caplog.text


def test_the_text_is_json_behind_a_checksum(tmp_path: Path) -> None:
    """A person can read it with any tool."""
    recorded(tmp_path, "a")
    _, body = (tmp_path / "a.json").read_bytes().split(b"\n", 1)
    assert json.loads(body) == [["policy.yaml", "text of a"]]

"""Files behind a checksum: whole or not at all, and never a reason not to start."""

import os
import stat
from pathlib import Path

import pytest

from control_plane.sidecar import kept_files


def test_round_trip(tmp_path: Path) -> None:
    """Any JSON value, in a directory that is made; nobody else may read either, and nothing else is left there."""
    path = tmp_path / "state" / "value.json"
    kept_files.write(path, kept_files.encoded({"é": [1, None]}))
    kept_files.write(path, kept_files.encoded({"é": [2, None]}))
    assert kept_files.read(path) == {"é": [2, None]}
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]
    assert os.listdir(path.parent) == ["value.json"]


@pytest.mark.parametrize("cut", [0, 1, 64, -1])
def test_what_was_cut_off(tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it ends, it is left out with a word."""
    path = tmp_path / "value.json"
    path.write_bytes(kept_files.encoded(["text"])[:cut])
    assert kept_files.read(path) is None
    assert f"{path} is damaged" in caplog.text


def test_a_crash_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the rename the old content is there, whatever happened to the new one."""
    path = tmp_path / "value.json"
    kept_files.write(path, kept_files.encoded("old"))

    def crash(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", crash)
    with pytest.raises(OSError, match="No space"):
        kept_files.write(path, kept_files.encoded("new"))
    assert kept_files.read(path) == "old"


def test_nothing_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was never written is no news; one that cannot be read is."""
    assert kept_files.read(tmp_path / "none.json") is None
    assert caplog.text == ""
    assert kept_files.read(tmp_path) is None
    assert "cannot be read" in caplog.text

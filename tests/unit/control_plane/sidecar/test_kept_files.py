"""Files behind a checksum: whole or not at all, and never a reason not to start."""

import os
import stat
import threading
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


def test_a_disk_that_refuses(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, until it takes the file again; and again when it refuses anew."""
    place = tmp_path / "state"
    place.touch()
    file = kept_files.KeptFile(place / "value.json", "something")
    content = kept_files.encoded([1])
    assert [file.write(content), file.write(content)] == [False, False]
    assert str(place / "value.json") in file.error
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "something cannot be kept for a restart" in caplog.text
    place.unlink()
    assert file.write(content)
    assert (file.error, kept_files.read(place / "value.json")) == ("", [1])
    (place / "value.json").unlink()
    place.rmdir()
    place.touch()
    assert not file.write(content)
    assert len(caplog.records) == 2


def test_one_writer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that somebody has left behind ends before the next one begins."""
    begun: list[bytes] = []
    ended: list[bytes] = []
    go_on = threading.Event()

    def slow(path: Path, content: bytes) -> None:
        begun.append(content)
        go_on.wait(10.0)
        ended.append(content)

    monkeypatch.setattr(kept_files, "write", slow)
    file = kept_files.KeptFile(tmp_path / "value.json", "something")
    threads = [threading.Thread(target=file.write, args=(content,)) for content in (b"1", b"2")]
    threads[0].start()
    while not begun:
        pass
    threads[1].start()
    assert begun == [b"1"]
    go_on.set()
    for thread in threads:
        thread.join()
    assert begun == ended == [b"1", b"2"]

"""Where policies come from: files, directories, mounted ConfigMaps, and what counts as an edit."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from control_plane.policy.loader import MAX_FILES
from control_plane.sidecar.policy_source import PolicySource


def test_a_file(tmp_path: Path) -> None:
    """A file is itself; paths in it are relative to its folder."""
    path = tmp_path / "policy"
    path.write_bytes(b"x")
    source = PolicySource(path)
    assert source.read() == ((str(path), b"x"),)
    assert source.base == tmp_path


def test_a_directory(tmp_path: Path) -> None:
    """YAML files by name; hidden ones, other files and folders are not read."""
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "readme.md", "c.yaml~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder.yaml").mkdir()
    source = PolicySource(tmp_path)
    assert source.read() == ((str(tmp_path / "a.yml"), b"a.yml"), (str(tmp_path / "b.yaml"), b"b.yaml"))
    assert source.base == tmp_path


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_to_read(tmp_path: Path, name: str) -> None:
    """A missing file and a directory without a policy cannot be read."""
    (tmp_path / "empty").mkdir()
    source = PolicySource(tmp_path / name)
    with pytest.raises(OSError):  # noqa: PT011 - the kind is all that is promised
        source.read()


def test_too_many_files_are_not_read(tmp_path: Path) -> None:
    """One more than there may be is enough to show that there are too many."""
    for number in range(MAX_FILES + 5):
        (tmp_path / f"{number:04}.yaml").touch()
    assert len(PolicySource(tmp_path).read()) == MAX_FILES + 1


def config_map(mount: Path, generation: str, **files: str) -> None:
    """Writes a ConfigMap into `mount` as Kubernetes' kubelet does: a new folder, then `..data` switched over to it."""
    folder = mount / f"..2026_{generation}"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    (mount / "..data_tmp").symlink_to(folder.name)
    os.replace(mount / "..data_tmp", mount / "..data")
    for name in files:
        if not (mount / f"{name}.yaml").is_symlink():
            (mount / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")


async def test_a_config_map_is_switched(tmp_path: Path) -> None:
    """All files of a ConfigMap change at once, and are told once."""
    config_map(tmp_path, "1", a="one", b="one")
    source = PolicySource(tmp_path)
    seen: asyncio.Queue[tuple[tuple[str, bytes], ...]] = asyncio.Queue()
    task = asyncio.create_task(source.watch(source.read(), seen.put, poll_s=0.001))
    try:
        config_map(tmp_path, "2", a="two", b="two")
        assert [content for _, content in await asyncio.wait_for(seen.get(), 5)] == [b"two", b"two"]
        config_map(tmp_path, "3", a="two", b="two", c="new")
        assert [content for _, content in await asyncio.wait_for(seen.get(), 5)] == [b"two", b"two", b"new"]
        assert seen.empty()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_three_ways_to_change_a_file(tmp_path: Path) -> None:
    """A write in place, a switched link and a rename over the file are each noticed, in order."""
    path = tmp_path / "policy.yaml"
    (tmp_path / "1").write_bytes(b"one")
    path.symlink_to(tmp_path / "1")
    source = PolicySource(path)
    seen: asyncio.Queue[tuple[tuple[str, bytes], ...]] = asyncio.Queue()
    task = asyncio.create_task(source.watch(source.read(), seen.put, poll_s=0.001))
    try:
        changes: tuple[tuple[bytes, Callable[[], object]], ...] = (
            (b"two", lambda: (tmp_path / "1").write_bytes(b"two")),
            (b"three", lambda: switch(path, tmp_path, b"three")),
            (b"four", lambda: rename(path, tmp_path, b"four")),
        )
        for content, change in changes:
            change()
            assert await asyncio.wait_for(seen.get(), 5) == ((str(path), content),)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def switch(path: Path, folder: Path, content: bytes) -> None:
    """Points the link `path` at a new file."""
    (folder / "next").write_bytes(content)
    (folder / "link").symlink_to(folder / "next")
    os.replace(folder / "link", path)


def rename(path: Path, folder: Path, content: bytes) -> None:
    """Renames a new file over `path`."""
    (folder / "new").write_bytes(content)
    os.replace(folder / "new", path)


async def test_gone_and_back(tmp_path: Path) -> None:
    """A directory that is taken away is told, once, and so is its return, which is no edit."""
    folder = tmp_path / "policies"
    config_map(folder, "1", a="one")
    source = PolicySource(folder)
    told: asyncio.Queue[str | tuple[tuple[str, bytes], ...]] = asyncio.Queue()
    task = asyncio.create_task(source.watch(source.read(), told.put, told.put_nowait, poll_s=0.001))
    try:
        folder.rename(tmp_path / "away")
        assert await asyncio.wait_for(told.get(), 5) == "No such file or directory"
        (tmp_path / "away").rename(folder)
        assert await asyncio.wait_for(told.get(), 5) == ""
        assert told.empty()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

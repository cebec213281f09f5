"""A file of targets as a source."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.fleet import files
from control_plane.fleet.files import FileSource
from control_plane.sidecar.watch import POLL_S, SETTLE_POLLS
from tests.unit.control_plane.fleet.check_source import Reported, check_source
from tests.unit.control_plane.fleet.moved_time import MovedTime

ONE = b"[{targets: ['10.0.0.1:1']}]"
TWO = b"[{targets: ['10.0.0.1:1', '10.0.0.2:1']}]"


@asynccontextmanager
async def followed(path: Path, allow_empty: bool = False) -> AsyncIterator[tuple[Reported, MovedTime]]:
    """The file's source, followed; ended at the exit."""
    time, reported = MovedTime(), Reported()
    task = asyncio.create_task(FileSource(path, path.name, allow_empty, time.sleep).follow(reported))
    try:
        yield reported, time
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def polled(reported: Reported, time: MovedTime) -> list[str] | str:
    """What the next look at the file reports."""
    await time.asleep()
    time.move(POLL_S)
    found = await reported.next()
    return found if isinstance(found, str) else [target.address for target in found]


class FileWorld:
    """The file as the suite of all sources changes it."""

    def __init__(self, path: Path) -> None:
        """The file need not be there yet."""
        self.path = path

    def has(self, *addresses: str) -> None:
        """Lists these."""
        self.path.write_text(f"[{{targets: [{', '.join(addresses)}]}}]")

    def is_empty(self) -> None:
        """Lists nobody."""
        self.path.write_text("[]")

    def is_broken(self) -> None:
        """Is no list."""
        self.path.write_text("targets")


async def test_the_suite_of_all_sources(tmp_path: Path) -> None:
    """It passes it."""
    path, time = tmp_path / "t.yaml", MovedTime()
    await check_source(FileSource(path, "t.yaml", False, time.sleep), FileWorld(path), time)


async def test_a_new_content_counts_when_it_was_read_twice(tmp_path: Path) -> None:
    """Half a file, caught while it is written, is not the result."""
    assert SETTLE_POLLS == 1
    path = tmp_path / "t.yaml"
    path.write_bytes(ONE)
    async with followed(path) as (reported, time):
        assert await reported.addresses() == ["10.0.0.1:1"]
        path.write_bytes(b"[]")
        assert await polled(reported, time) == ["10.0.0.1:1"]
        path.write_bytes(TWO)
        assert await polled(reported, time) == ["10.0.0.1:1"]
        assert await polled(reported, time) == ["10.0.0.1:1", "10.0.0.2:1"]


async def test_rename_and_symbolic_link(tmp_path: Path) -> None:
    """Both ways in which files are replaced at once; and a switched link to a directory, as Kubernetes does."""
    for name, content in (("v1", ONE), ("v2", TWO)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.yaml").write_bytes(content)
    (tmp_path / "now").symlink_to("v1")
    async with followed(tmp_path / "now" / "t.yaml") as (reported, time):
        assert await reported.addresses() == ["10.0.0.1:1"]
        (tmp_path / "next").symlink_to("v2")
        os.replace(tmp_path / "next", tmp_path / "now")
        await polled(reported, time)
        assert await polled(reported, time) == ["10.0.0.1:1", "10.0.0.2:1"]
        (tmp_path / "new").write_bytes(ONE)
        os.replace(tmp_path / "new", tmp_path / "now" / "t.yaml")
        await polled(reported, time)
        assert await polled(reported, time) == ["10.0.0.1:1"]


async def test_errors_have_their_place_and_last_until_the_file_is_good(tmp_path: Path) -> None:
    """A broken file, then none at all, then the old content again."""
    path = tmp_path / "t.yaml"
    path.write_bytes(ONE)
    async with followed(path) as (reported, time):
        await reported.addresses()
        path.write_bytes(b"- targets: [vllm:1]")
        await polled(reported, time)
        for _ in range(3):
            assert str(await polled(reported, time)).startswith("t.yaml:1:13: `vllm` is a host name")
        path.unlink()
        assert await polled(reported, time) == "No such file or directory"
        path.write_bytes(ONE)
        await polled(reported, time)
        assert await polled(reported, time) == ["10.0.0.1:1"]


async def test_a_file_that_comes_later(tmp_path: Path) -> None:
    """It need not be there at the start."""
    path = tmp_path / "t.yaml"
    async with followed(path) as (reported, time):
        assert await reported.error() == "No such file or directory"
        path.write_bytes(ONE)
        assert await polled(reported, time) == ["10.0.0.1:1"]


async def test_nobody_only_where_the_policy_allows_it(tmp_path: Path) -> None:
    """Otherwise the operator is told the word."""
    path = tmp_path / "t.yaml"
    path.write_bytes(b"[]")
    async with followed(path) as (reported, _):
        assert "allowEmpty: true" in await reported.error()
    async with followed(path, allow_empty=True) as (reported, _):
        assert await reported.addresses() == []


async def test_a_file_larger_than_any_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read to its end."""
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    path = tmp_path / "t.yaml"
    path.write_bytes(ONE)
    async with followed(path) as (reported, _):
        assert "more than 10 bytes" in await reported.error()

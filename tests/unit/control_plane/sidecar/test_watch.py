"""The policy watch: what counts as an edit."""

import asyncio
import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from control_plane.sidecar.watch import ContentWatch, read_or_none, watch


def test_a_new_content_counts_once_it_has_settled() -> None:
    """The first sight of a content is not enough, the second is, the third is no news."""
    state = ContentWatch(b"old")
    assert [state.observe(b"new") for _ in range(3)] == [None, b"new", None]


def test_a_half_written_file_is_never_reported() -> None:
    """A truncated file that is whole at the next look is reported whole only."""
    state = ContentWatch(b"old")
    assert [state.observe(content) for content in (b"", b"ne", b"new", b"new")] == [None, None, None, b"new"]


def test_back_to_the_old_content_is_no_edit() -> None:
    """A change that is undone before it settled leaves nothing to report."""
    state = ContentWatch(b"old")
    assert [state.observe(content) for content in (b"new", b"old", b"new", b"old")] == [None] * 4


def test_a_missing_file_changes_nothing() -> None:
    """Between an unlink and a rename there is no file: the next content must settle again."""
    state = ContentWatch(b"old")
    assert [state.observe(content) for content in (b"new", None, b"new", b"new")] == [None, None, None, b"new"]


@given(st.lists(st.sampled_from([None, b"a", b"b", b"c"])))
def test_reports_are_changes_that_were_seen_twice(contents: list[bytes | None]) -> None:
    """Whatever happens, a report differs from the one before and was observed twice in a row."""
    state, current = ContentWatch(b"a"), b"a"
    for number, content in enumerate(contents):
        reported = state.observe(content)
        if reported is not None:
            assert reported != current
            assert contents[number - 1] == reported == content
            current = reported


async def test_rename_write_in_place_and_symlink_switch_all_count(tmp_path: Path) -> None:
    """The three ways in which editors and Kubernetes change a file are each noticed, in order."""
    (tmp_path / "1").write_bytes(b"one")
    path = tmp_path / "policy"
    path.symlink_to(tmp_path / "1")
    seen: asyncio.Queue[bytes] = asyncio.Queue()
    task = asyncio.create_task(watch(path, b"one", seen.put, poll_s=0.001))
    try:
        (tmp_path / "1").write_bytes(b"two")
        assert await asyncio.wait_for(seen.get(), 5) == b"two"
        (tmp_path / "3").write_bytes(b"three")
        (tmp_path / "link").symlink_to(tmp_path / "3")
        os.replace(tmp_path / "link", path)
        assert await asyncio.wait_for(seen.get(), 5) == b"three"
        (tmp_path / "4").write_bytes(b"four")
        os.replace(tmp_path / "4", path)
        assert await asyncio.wait_for(seen.get(), 5) == b"four"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_an_unreadable_path_reads_as_none(tmp_path: Path) -> None:
    """A missing file and a folder are None, not an exception."""
    assert read_or_none(tmp_path / "nothing") is None
    assert read_or_none(tmp_path) is None

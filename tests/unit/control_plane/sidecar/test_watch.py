"""What counts as a change."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.sidecar.watch import LOST_POLLS, RESTLESS_POLLS, ContentWatch


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
    """Whatever happens, a report differs from the one before and was observed twice in a row, unless all looks for a
    while have found something new."""
    state, current = ContentWatch(b"a"), b"a"
    for number, content in enumerate(contents):
        reported = state.observe(content)
        if reported is not None:
            assert reported == content != current
            last = contents[max(0, number + 1 - RESTLESS_POLLS) : number + 1]
            is_restless = len(last) == RESTLESS_POLLS and not {None, current} & set(last)
            assert contents[number - 1] == content or is_restless
            current = reported


def test_what_never_settles() -> None:
    """A file that is another one at every look counts now and then all the same."""
    state = ContentWatch(b"old")
    looks = [state.observe(str(number).encode()) for number in range(2 * RESTLESS_POLLS)]
    assert [number for number, found in enumerate(looks) if found] == [RESTLESS_POLLS - 1, 2 * RESTLESS_POLLS - 1]


def test_lost() -> None:
    """Gone for a moment is not lost; what can be read again is not lost any more, changed or not."""
    state = ContentWatch(b"old")

    def look(content: bytes | None) -> bool:
        assert state.observe(content) is None
        return state.is_lost

    assert [look(None) for _ in range(LOST_POLLS + 1)] == [False] * (LOST_POLLS - 1) + [True, True]
    assert [look(b"old"), look(None)] == [False, False]

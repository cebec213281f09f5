"""What is told, as a value."""

from dataclasses import replace

from control_plane.notices.notice import MAX_TEXT, cut
from tests.unit.control_plane.notices.making import notice


def test_an_id_is_one_occurrence() -> None:
    """The same from its beginning to its end, whatever becomes of it; another one the next time, and for others."""
    one = notice("a")
    assert one.id == replace(one, severity="critical", summary="b", ended_at=1e9).id
    others = {notice("b").id, notice("a", started_at=1001.0).id, notice("a", kind="drain").id}
    assert len(others) == 3
    assert one.id not in others
    assert replace(one, subject="\udc80").id, "a name that is no Unicode has one, too"


def test_cut() -> None:
    """Short enough and printable."""
    assert cut("fine ü") == "fine ü"
    assert cut("a\tb\u202e") == "a b "
    assert len(cut("x" * 10_000)) == MAX_TEXT

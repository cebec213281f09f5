"""What is open outlives a restart, as JSON."""

import json

import pytest

from control_plane.notices.kept_notices import as_json, notices_in
from tests.unit.control_plane.notices.making import notice


def test_there_and_back() -> None:
    """Nothing is lost on the way."""
    some = (notice("a", facts={"count": 3, "share": 0.5, "name": "x"}), notice("b", severity="critical"))
    assert notices_in(json.loads(json.dumps([as_json(one) for one in some]))) == some


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        {},
        {"kind": "gone"},
        {"severity": "odd"},
        {"started_at": "x"},
        {"started_at": float("nan")},
        {"started_at": 1e300},
        {"facts": 3},
    ],
)
def test_what_cannot_be_read_is_left_out(row: object) -> None:
    """A file of another version, or of nobody's, keeps nobody from starting."""
    good = as_json(notice("a"))
    bad = {**good, **row} if isinstance(row, dict) and row else row
    assert notices_in([bad, good]) == (notice("a"),)
    assert notices_in(row) == ()

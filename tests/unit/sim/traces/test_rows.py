"""What the formats share: located errors, checked numbers, the order of rows."""

import pytest

from sim.traces import rows
from sim.traces.rows import BadRowError, Row, TraceError, assemble, ids, numbered, shown, whole
from sim.traces.trace import TraceRequest


def test_error_says_where() -> None:
    """With a line, `source:line:`; for a whole file without."""
    assert str(TraceError("a.csv", 7, "no number")) == "a.csv:7: no number"
    error = TraceError("a.csv", 0, "not there")
    assert (str(error), error.source, error.line, error.problem) == ("a.csv: not there", "a.csv", 0, "not there")


def test_numbered_counts_blank_lines_and_leaves_them_out() -> None:
    """Numbers are those of an editor."""
    assert list(numbered([" a \n", "\n", "b"], "f")) == [(1, "a"), (3, "b")]


def test_numbered_refuses_a_long_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line longer than the limit is refused with its number."""
    monkeypatch.setattr(rows, "MAX_LINE_CHARACTERS", 5)
    with pytest.raises(TraceError, match=r"^f:2: the line is longer than 5 characters$"):
        list(numbered(["12345", "123456"], "f"))


def test_assemble_orders_and_starts_at_zero() -> None:
    """Rows come by time, equals as they were written, the first at 0 s, to the microsecond on clocks of today."""
    now = 1_700_000_000_000_000
    made = [Row(now + at, TraceRequest(0.0, (), tokens, 1)) for at, tokens in ((2_000_001, 1), (5, 2), (5, 3))]
    trace = assemble("t", 64, made)
    assert [(found.at_s, found.prompt_tokens) for found in trace.requests] == [(0.0, 2), (0.0, 3), (1.999996, 1)]
    assert assemble("t", 64, []).requests == ()


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_whole_refuses_what_is_no_int(value: object) -> None:
    """Only whole numbers, and a truth value is none."""
    with pytest.raises(BadRowError, match="n must be a whole number, not "):
        whole(value, "n", 0, 10)


def test_whole_holds_its_bounds() -> None:
    """Both bounds are included."""
    assert [whole(value, "n", 0, 10) for value in (0, 10)] == [0, 10]
    for value in (-1, 11):
        with pytest.raises(BadRowError, match=f"n must be between 0 and 10, not {value}"):
            whole(value, "n", 0, 10)


def test_ids_are_unsigned_numbers_of_64_bits() -> None:
    """A list of ids becomes a tuple; anything else is named."""
    assert ids([0, 2**64 - 1], "blocks") == (0, 2**64 - 1)
    wrong: list[object] = ["12", {}, [2**64], [-1], ["a"]]
    for value in wrong:
        with pytest.raises(BadRowError, match="blocks"):
            ids(value, "blocks")


def test_shown_is_short() -> None:
    """A message holds at most 40 characters of what was found."""
    assert (shown("a"), len(shown("a" * 1000)), shown("a" * 1000)[-1]) == ("'a'", 38, "…")

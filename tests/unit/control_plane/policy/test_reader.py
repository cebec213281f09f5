"""What is collected: findings once and in order, suggestions, the nearest mark."""

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import Mark
from control_plane.policy.loader import load
from control_plane.policy.nodes import Scalar
from control_plane.policy.reader import MAX_DIAGNOSTICS, MAX_SUGGESTIONS, Reader, names_text, nearest_mark
from tests.unit.control_plane.policy.samples import FILE, MINIMAL


def _reader() -> Reader:
    return Reader(FILE, ["first", "second"])


def test_findings_are_ordered_and_unique() -> None:
    """Findings come by position, each once, however often it was reported."""
    reader = _reader()
    for line, column in [(2, 1), (1, 3), (1, 1), (2, 1)]:
        reader.report(Scalar(line, column), Code.UNKNOWN_KEY, "unknown")
    assert [(found.line, found.column) for found in reader.diagnostics()] == [(1, 1), (1, 3), (2, 1)]


def test_places_are_inside_the_file() -> None:
    """A place behind the end is moved to the end."""
    reader = _reader()
    reader.report(Scalar(9, 9), Code.SYNTAX, "unexpected end")
    assert [(found.line, found.column, found.source) for found in reader.diagnostics()] == [(2, 7, "second")]


def test_many_findings() -> None:
    """Of too many findings the first ones are listed, errors before warnings, and the last one says how many more."""
    reader = Reader(FILE, ["x"] * 2000)
    for line in range(1, 1001):
        reader.report(Scalar(line, 1), Code.UNUSED_POOL, "unused")
    reader.report(Scalar(1500, 1), Code.UNKNOWN_KEY, "unknown")
    found = reader.diagnostics()
    assert len(found) == MAX_DIAGNOSTICS + 1
    assert [(last.line, last.code) for last in found[-2:]] == [(1500, "KP201"), (1500, "KP900")]
    assert found[-1].message == "501 more findings are not listed"


def test_many_warnings_leave_a_policy() -> None:
    """The note about what is not listed is no error."""
    unused = "".join(f"  p{n}: {{endpoints: [{{address: 10.0.0.1:1}}]}}\n" for n in range(MAX_DIAGNOSTICS + 1))
    result = load(
        MINIMAL.replace(
            "{chat: {endpoints: [{address: 10.0.0.1:8000}]}}",
            "\n  chat: {endpoints: [{address: 10.0.0.1:8000}]}\n" + unused,
        ),
        FILE,
    )
    assert result.document is not None
    assert {found.severity for found in result.diagnostics} == {"warning"}
    assert result.diagnostics[-1].code == "KP900"


def test_did_you_mean() -> None:
    """A similar name, one that differs in case only, or the names there are."""
    reader = _reader()
    assert reader.did_you_mean("selctor", ["selector", "other"]) == "did you mean `selector`?"
    assert reader.did_you_mean("HTTP", ["http", "tcp"]) == "did you mean `http`?"
    assert reader.did_you_mean("xyz", ["b", "a"]) == "possible here: a, b"
    assert reader.did_you_mean("xyz", [f"name{n}" for n in range(20)]).endswith(", …")
    assert reader.did_you_mean("xyz", []) == ""


def test_suggestions_end() -> None:
    """The search for similar names is bounded: a file of typos costs no minutes."""
    reader = _reader()
    hints = [reader.did_you_mean("selctor", ["selector"]) for _ in range(MAX_SUGGESTIONS + 1)]
    assert all(hints[:-1])
    assert hints[-1] == ""


def test_first_definition_counts() -> None:
    """A name belongs to the node that defined it first."""
    reader = _reader()
    first, second = Scalar(1, 1), Scalar(2, 1)
    assert reader.define("pools", "a", first)
    assert not reader.define("pools", "a", second)
    assert reader.define("models", "a", second)
    assert reader.defined["pools"]["a"] is first


def test_nearest_mark() -> None:
    """Above a path are the path without its last key or position; names with dots do no harm."""
    marks = {path: Mark(FILE, line, 1) for line, path in enumerate(["a", "a.b-1.5", "a.b-1.5.c[0]"], start=1)}
    assert nearest_mark(marks, "a.b-1.5.c[0].d") == marks["a.b-1.5.c[0]"]
    assert nearest_mark(marks, "a.b-1.5.c[1].d") == marks["a.b-1.5"]
    assert nearest_mark(marks, "a.x.y.z") == marks["a"]
    assert nearest_mark(marks, "b") is None


def test_report_at_a_path_without_any_mark() -> None:
    """What is nowhere in the file is reported at its start."""
    reader = _reader()
    reader.report_at("x.y", Code.UNUSED_POOL, "unused")
    assert [(found.line, found.column) for found in reader.diagnostics()] == [(1, 1)]
    assert not reader.has_errors


def test_names_text() -> None:
    """Names read as a sentence would have them."""
    assert names_text(["a"]) == "`a`"
    assert names_text(["a", "b", "c"]) == "`a`, `b` and `c`"
    assert names_text([str(n) for n in range(20)]).endswith("`7`, …")

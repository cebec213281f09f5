"""The tree: places as an editor counts them, bounds that hold before memory does, problems located."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.codes import Code
from control_plane.policy.nodes import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    Mapping,
    Node,
    Problem,
    Scalar,
    Sequence,
    compose,
    compose_start,
    split_lines,
)


def _only(text: str) -> Problem:
    _, problems = compose(text)
    assert len(problems) == 1, problems
    return problems[0]


def _plain(node: Node) -> object:
    if isinstance(node, Sequence):
        return [_plain(item) for item in node.items]
    if isinstance(node, Mapping):
        return [(_plain(key), _plain(value)) for key, value in node.pairs]
    assert isinstance(node, Scalar)
    return node.text


def _tree(text: str) -> object:
    root, problems = compose(text)
    assert problems == ()
    assert root is not None
    return _plain(root)


def test_texts_stay_as_written() -> None:
    """No value gets a type: what YAML 1.1 would turn into something else is still text."""
    assert _tree("[on, 1.10, 12:30:00, 0o17, 2026-11-21, ~, 'null', y]") == [
        "on", "1.10", "12:30:00", "0o17", "2026-11-21", "~", "null", "y",
    ]  # fmt: skip


def test_duplicate_keys_are_kept() -> None:
    """Which of two equal keys counts is not decided here."""
    assert _tree("{a: 1, a: 2}") == [("a", "1"), ("a", "2")]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (
            "a: 1\nb: [x, {c: d, e: f}, {g: h, i: j\n",
            [("a", "1"), ("b", ["x", [("c", "d"), ("e", "f")], [("g", "h")]])],
        ),
        ("a: 1\nb:\n  - c: d\n    e: f\n   g: h\n", [("a", "1"), ("b", [])]),
        ("a: 'x\nb: c\n", []),
        ("a: {b: *c}\n", [("a", [])]),
        ("- x\n" * (MAX_NODES + 1), None),
    ],
)
def test_what_stands_before_a_break(text: str, start: object) -> None:
    """Without what was read last, which may be anything; nothing where a bound was broken."""
    found = compose_start(text)
    assert not found.is_whole
    assert (_plain(found.root) if found.root else None) == start
    assert compose(text) == (None, found.problems)


@pytest.mark.parametrize(
    ("text", "nothing"), [("a:", True), ("a: ~", True), ("a: null", True), ("a: ''", False), ("a: 'null'", False)]
)
def test_nothing(text: str, nothing: bool) -> None:
    """Only what is written without quotes can be nothing."""
    root, _ = compose(text)
    assert isinstance(root, Mapping)
    value = root.pairs[0][1]
    assert isinstance(value, Scalar)
    assert value.is_nothing == nothing


def test_columns_count_characters() -> None:
    """Characters outside ASCII, and outside the basic plane, are one column each."""
    root, _ = compose("é: {😀: x}")
    assert isinstance(root, Mapping)
    inner = root.pairs[0][1]
    assert isinstance(inner, Mapping)
    key, value = inner.pairs[0]
    assert [(key.line, key.column), (value.line, value.column)] == [(1, 5), (1, 8)]


@given(st.lists(st.sampled_from(["\n", "\r\n", "\r", "\x85", "\u2028", "\u2029"]), max_size=6))
def test_lines_are_counted_as_the_parser_does(breaks: list[str]) -> None:
    """A value behind any line breaks is on the line that `split_lines` says."""
    text = "#" + "#".join(breaks) + "\n- x"
    root, problems = compose(text)
    assert problems == ()
    assert root is not None
    lines = split_lines(text)
    assert root.line == len(lines)
    assert lines[root.line - 1] == "- x"


def test_aliases_share_their_node() -> None:
    """An alias is the node of its anchor, also after the name was given to another one."""
    assert _tree("[&a x, *a, &a y, *a]") == ["x", "x", "y", "y"]


def test_an_alias_means_the_last_anchor() -> None:
    """Inside a node that takes over a name, the name is that node's already (YAML 1.1, section 7.1)."""
    assert _only("[&a x, &a [*a]]").code == Code.ALIAS


def test_alias_bomb() -> None:
    """Aliases count at full size: nine levels of nine stop at the bound, without being expanded."""
    levels = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    problem = _only("\n".join(levels))
    assert problem.code == Code.TOO_MANY_NODES
    assert problem.line == 7  # 9 ** 6 > 400,000 > 9 ** 5


def test_bounds_are_reached_exactly() -> None:
    """As many values and levels as the bounds say are fine, one more is not."""
    root, problems = compose("- x\n" * (MAX_NODES - 1))
    assert root is not None
    assert (root.size, problems) == (MAX_NODES, ())
    assert _only("- x\n" * MAX_NODES).code == Code.TOO_MANY_NODES
    root, problems = compose("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert root is not None
    assert (root.height, problems) == (MAX_DEPTH, ())
    assert _only("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).code == Code.TOO_DEEP


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_absurd_nesting(text: str) -> None:
    """Nesting far over the bound is an error like any other, not the end of the process."""
    assert _only(text).code == Code.TOO_DEEP


def test_depth_of_aliases() -> None:
    """An alias is as deep as what it stands for."""
    half = MAX_DEPTH // 2
    deep = "[" * half + "x" + "]" * half
    inside = "[" * (half + 1) + "*a" + "]" * (half + 1)
    assert _only(f"- &a {deep}\n- {inside}\n").code == Code.TOO_DEEP


def test_too_many_characters() -> None:
    """A file over the bound is not even parsed."""
    assert _only("#" * (MAX_CHARACTERS + 1)).code == Code.TOO_LARGE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [\n  1,\n", "1:4"),  # the end of the file shows nothing, the bracket does
        ("a: 'x\n\n", "1:4"),
        ("a: b\nc\nd: e\n", "2:1"),  # the colon is missing here, the next line is innocent
        ("a: {b: c\nd: [\n", "2:2"),
    ],
)
def test_place_of_syntax_errors(text: str, expected: str) -> None:
    """What was never closed is shown where it starts."""
    problem = _only(text)
    assert problem.code == Code.SYNTAX
    assert f"{problem.line}:{problem.column}" == expected


def test_syntax_error_names_the_line_where_it_starts() -> None:
    """An error lines below its cause says where the cause is."""
    assert "that starts in line 1" in _only("a: [b,\n  c\nd: e\n").message


@pytest.mark.parametrize(("text", "code"), [("a: !x b\nc: @", Code.SYNTAX), ("a: !x b\n---\n", Code.SEVERAL_DOCUMENTS)])
def test_tags_do_not_hide_what_follows(text: str, code: Code) -> None:
    """A tag is reported, and so is what is wrong behind it."""
    _, problems = compose(text)
    assert [problem.code for problem in problems] == [Code.TAG, code]


def test_only_the_first_document_is_read() -> None:
    """What comes behind `---` is reported and not mixed in."""
    root, problems = compose("a: b\n---\nc: d\n")
    assert root is not None
    assert _plain(root) == [("a", "b")]
    assert [(problem.line, problem.code) for problem in problems] == [(2, Code.SEVERAL_DOCUMENTS)]


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\x9f", "\ud800", "\ufeff", "\ufffe"])
def test_forbidden_characters(character: str) -> None:
    """What YAML does not allow is named by its code point, at its place."""
    problem = _only(f"a: b\nc: 'd{character}'")
    assert (problem.line, problem.column, problem.code) == (2, 6, Code.CHARACTER)
    assert f"U+{ord(character):04X}" in problem.message

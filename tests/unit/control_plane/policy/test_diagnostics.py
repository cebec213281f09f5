"""The printed forms of a finding."""

import json

import pytest

from control_plane.policy.diagnostics import (
    SHOWN_COLUMNS,
    Diagnostic,
    Mark,
    format_github,
    format_json,
    format_text,
    quoted,
)
from control_plane.policy.loader import load
from tests.unit.control_plane.policy.samples import FILE, with_pool


def _diagnostic(source: str = "abc", column: int = 1, message: str = "wrong", hint: str = "") -> Diagnostic:
    return Diagnostic(FILE, 3, column, "KP999", "error", message, hint, source)


def _caret(source: str, column: int) -> tuple[str, int]:
    """The excerpt and the number of cells before the caret."""
    _, excerpt, caret = format_text(_diagnostic(source, column)).split("\n")
    assert excerpt.startswith("    ")
    assert caret.endswith("^")
    return excerpt[4:], len(caret) - 5


def test_text_golden() -> None:
    """The form for people, as it is printed: place, code, line, caret, hint."""
    text = with_pool("endpoints: [{address: 10.0.0.1:8000, wieght: 5}]\nengine: vlm\ntimeouts: {idle: 60}")
    assert "\n\n".join(map(format_text, load(text, FILE).diagnostics)) == (
        "policy.yaml:6:42: error [KP201] unknown key `wieght`\n"
        "        endpoints: [{address: 10.0.0.1:8000, wieght: 5}]\n"
        "                                             ^\n"
        "hint: did you mean `weight`?\n"
        "\n"
        "policy.yaml:7:13: error [KP208] `vlm` is not a known word here\n"
        "        engine: vlm\n"
        "                ^\n"
        "hint: did you mean `vllm`?\n"
        "\n"
        "policy.yaml:8:22: error [KP206] `60` is not a duration\n"
        "        timeouts: {idle: 60}\n"
        "                         ^\n"
        "hint: the unit is missing: 60s or 60ms?"
    )


def test_text_without_source_and_hint() -> None:
    """Where there is no line to show, there is no caret either."""
    assert format_text(_diagnostic(source="  ")) == "policy.yaml:3:1: error [KP999] wrong"


@pytest.mark.parametrize(
    ("source", "column", "excerpt", "cells"),
    [
        ("a: b", 4, "a: b", 3),
        ("\ta: b", 5, " a: b", 4),  # a tab is one cell, so that the caret is below its character
        ("模型: b", 5, "模型: b", 6),  # wide characters take two cells
        ("e\u0301: b", 5, "e\u0301: b", 3),  # a combining accent takes none
        ("\x1b[31m: b", 8, "\ufffd[31m: b", 7),  # nothing that a terminal obeys
        ("abc", 4, "abc", 3),  # behind the end
    ],
)
def test_caret(source: str, column: int, excerpt: str, cells: int) -> None:
    """The caret is below the character that is meant, whatever stands before it."""
    assert _caret(source, column) == (excerpt, cells)


def test_long_line() -> None:
    """Of a line without end only the part around the caret is shown, and the caret is still right."""
    source = "x" * 100_000 + "!" + "y" * 100_000
    excerpt, cells = _caret(source, 100_001)
    assert excerpt[cells] == "!"
    assert (excerpt[0], excerpt[-1]) == ("…", "…")
    assert len(excerpt) == SHOWN_COLUMNS + 2


def test_json() -> None:
    """The form for programs has exactly the keys of the contract, and text as it is."""
    assert json.loads(format_json([_diagnostic(message='"é"', hint="h")])) == {
        "diagnostics": [
            {"file": FILE, "line": 3, "column": 1, "code": "KP999", "severity": "error", "message": '"é"', "hint": "h"}
        ]
    }
    assert json.loads(format_json([])) == {"diagnostics": []}


def test_github() -> None:
    """A workflow command: what would end a property or the line is escaped."""
    assert (
        format_github(Diagnostic("a,b:c.yaml", 3, 5, "KP901", "warning", "50% of\nit", "do so", ""))
        == "::warning file=a%2Cb%3Ac.yaml,line=3,col=5,title=KP901::50%25 of%0Ait (do so)"
    )
    assert format_github(_diagnostic()) == "::error file=policy.yaml,line=3,col=1,title=KP999::wrong"


def test_quoted() -> None:
    """What is repeated from the file is short, on one line and visible."""
    assert quoted("a\n\x1bb") == "`a\ufffd\ufffdb`"
    assert len(quoted("x" * 1000)) == 62
    assert quoted("x" * 60) == f"`{'x' * 60}`"


def test_mark() -> None:
    """A mark reads as editors and terminals understand it."""
    assert str(Mark("a.yaml", 3, 7)) == "a.yaml:3:7"

"""What is wrong with a policy and where: values, and the three forms in which they are printed.

policy.yaml:3:5: error [KP201] unknown key `selctor`
    selctor: {app: vllm}
    ^
hint: did you mean `selector`?
"""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]

SHOWN_COLUMNS = 160
"""How much of a line is shown around the caret; a policy in one line of flow style may have megabytes."""

SHOWN_WORD = 60
"""How much of a value from the file is repeated in a message."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a policy file; line and column count characters from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `code` is stable and explained in the policy reference; `source` is the line it points into."""

    file: str
    line: int
    column: int
    code: str
    severity: Severity
    message: str
    hint: str
    source: str


def quoted(text: str) -> str:
    """A piece of the file for a message: shortened, in backticks, on one line, nothing invisible."""
    shown = text if len(text) <= SHOWN_WORD else text[: SHOWN_WORD - 1] + "…"
    return f"`{_visible(shown)}`"


def format_text(diagnostic: Diagnostic) -> str:
    """The form for people: the place, the finding, the line with a caret below it, the hint."""
    lines = [
        f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}: "
        f"{diagnostic.severity} [{diagnostic.code}] {diagnostic.message}"
    ]
    if diagnostic.source.strip():
        source, caret = _excerpt(diagnostic.source, diagnostic.column - 1)
        lines += [f"    {source}", f"    {' ' * caret}^"]
    if diagnostic.hint:
        lines.append(f"hint: {diagnostic.hint}")
    return "\n".join(lines)


def as_json(diagnostic: Diagnostic) -> dict[str, object]:
    """One finding as a JSON value; the source line is left out, as its reader has the file."""
    return {
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
        "code": diagnostic.code,
        "severity": diagnostic.severity,
        "message": diagnostic.message,
        "hint": diagnostic.hint,
    }


def format_json(diagnostics: Iterable[Diagnostic]) -> str:
    """The form for programs: `{"diagnostics": [{"file", "line", "column", "code", "severity", "message", "hint"}]}`."""
    return json.dumps({"diagnostics": [as_json(found) for found in diagnostics]}, indent=2, ensure_ascii=False)


def format_github(diagnostic: Diagnostic) -> str:
    """The form for GitHub Actions: a workflow command, which becomes an annotation at the line."""
    properties = (
        f"file={_property(diagnostic.file)},line={diagnostic.line},col={diagnostic.column},"
        f"title={_property(diagnostic.code)}"
    )
    message = f"{diagnostic.message} ({diagnostic.hint})" if diagnostic.hint else diagnostic.message
    return f"::{diagnostic.severity} {properties}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _excerpt(source: str, offset: int) -> tuple[str, int]:
    """The part of a line that is shown and the width before its caret, both in terminal cells."""
    start = max(0, offset - SHOWN_COLUMNS // 2) if len(source) > SHOWN_COLUMNS else 0
    before = _visible(source[start:offset])
    after = _visible(source[offset : start + SHOWN_COLUMNS])
    head = "…" if start else ""
    tail = "…" if start + SHOWN_COLUMNS < len(source) else ""
    return f"{head}{before}{after}{tail}", len(head) + sum(map(_width, before))


def _visible(text: str) -> str:
    """Tabs as one space (the caret stays below its column), other invisible characters as U+FFFD."""
    return "".join(char if char.isprintable() else " " if char == "\t" else "\ufffd" for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1

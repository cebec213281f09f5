"""What is collected while a tree of nodes is read into dataclasses: findings, places, names and references to names."""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import Diagnostic, Mark, quoted
from control_plane.policy.nodes import Node, Problem
from control_plane.policy.own_strategies import NoOwnStrategies, OwnStrategies

MAX_DIAGNOSTICS = 500
"""Findings that are listed; a file with more has one cause that the first ones show."""

MAX_SUGGESTIONS = 100
"""Searches for a similar name, each up to some milliseconds over 1,000 names: they end where nobody reads on anyway."""

_LONGEST_LISTED = 8
"""Names that a hint lists when none is similar."""


class RefusedError(Exception):
    """A value was refused; the finding is with the reader already."""


@dataclass(frozen=True, slots=True)
class Named:
    """A name that is used for something; `what` is the key of the list where it is defined, such as `pools`."""

    what: str
    name: str
    node: Node


@dataclass(frozen=True, slots=True)
class Items:
    """A list that was read: its items with their paths, without those that were refused."""

    path: str
    items: tuple[tuple[str, object], ...]
    is_complete: bool


class Reader:
    """Mutable: all that it collects. Single writers: the kinds while they read, then the checks (findings only)."""

    def __init__(self, file: str, lines: Sequence[str], others: Mapping[str, Sequence[str]] | None = None) -> None:
        """`lines` are those of the file, for the findings' excerpts; `others` are further files and their lines."""
        self.marks: dict[str, Mark] = {}
        self.defined: dict[str, dict[str, Node]] = {}
        """What is defined, such as `pools` → name → where; also of things that are wrong inside."""
        self.references: list[Named] = []
        """Names that must be defined somewhere in the file."""
        self.aliases: list[Named] = []
        """Names that something has beside the one it is defined by."""
        self.lists: list[Items] = []
        self.built: list[tuple[str, object]] = []
        """Every block that could be built, with its path, inner ones first."""
        self._file = file
        self._lines = {file: lines, **(others or {})}
        self._found: dict[
            Diagnostic, None
        ] = {}  # a set that keeps order: an alias is read, and refused, more than once
        self._suggestions = 0
        self.own_strategies: OwnStrategies = NoOwnStrategies()
        """The users' own strategies, which pools may name."""

    def mark(self, path: str, node: Node) -> None:
        """Remembers where `path` stands."""
        self.marks[path] = Mark(node.file or self._file, node.line, node.column)

    def define(self, what: str, name: str, node: Node) -> bool:
        """Remembers that `name` is defined here; False if it was already."""
        names = self.defined.setdefault(what, {})
        return names.setdefault(name, node) is node

    def refuse(self, node: Node, code: Code, message: str, hint: str = "") -> RefusedError:
        """Notes a finding at a node and gives the exception to raise, which ends the reading of this value alone."""
        self.report(node, code, message, hint)
        return RefusedError()

    def report(self, node: Node, code: Code, message: str, hint: str = "") -> None:
        """Notes a finding at a node; the value stays."""
        self._report(Mark(node.file or self._file, node.line, node.column), code, message, hint)

    def report_problem(self, problem: Problem, file: str = "") -> None:
        """Notes what is wrong with the text itself; `file` says with which, where there are several."""
        place = Mark(file or self._file, problem.line, problem.column)
        self._report(place, problem.code, problem.message, problem.hint)

    def report_at(self, path: str, code: Code, message: str, hint: str = "") -> None:
        """Notes a finding at a path, or at the nearest thing above it that is written in the file."""
        self._report(nearest_mark(self.marks, path) or Mark(self._file, 1, 1), code, message, hint)

    def report_idle(self, path: str, keys: Iterable[str], message: str) -> None:
        """Notes each key that is written in the block at `path` and does nothing; `{key}` in `message` is its name."""
        for key in keys:
            if f"{path}.{key}" in self.marks:
                self.report_at(f"{path}.{key}", Code.NO_EFFECT, message.format(key=key), "remove it")

    def line_of(self, place: Node | Mark) -> str:
        """Where something stands, for a hint: `line 5`, with the file where there are several."""
        return f"line {place.line}" + (f" of {place.file or self._file}" if len(self._lines) > 1 else "")

    def did_you_mean(self, word: str, known: Collection[str]) -> str:
        """A hint for a word that is not among the known ones."""
        self._suggestions += 1
        if self._suggestions > MAX_SUGGESTIONS or not known:
            return ""
        similar = difflib.get_close_matches(word, known, n=1, cutoff=0.6) or _same_but_for_case(word, known)
        if similar:
            return f"did you mean `{similar[0]}`?"
        listed = sorted(known)[:_LONGEST_LISTED]
        more = ", …" if len(known) > len(listed) else ""
        return f"possible here: {', '.join(listed)}{more}"

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """All findings by position; of too many the first `MAX_DIAGNOSTICS`, errors first, and how many more."""
        ordered = sorted(self._found, key=self._position)
        if len(ordered) <= MAX_DIAGNOSTICS:
            return tuple(ordered)
        by_weight = sorted(ordered, key=lambda found: found.severity)  # "error" < "warning", and sorting is stable
        shown = sorted(by_weight[:MAX_DIAGNOSTICS], key=self._position)
        message = f"{len(ordered) - MAX_DIAGNOSTICS:,} more findings are not listed"
        last = Mark(shown[-1].file, shown[-1].line, shown[-1].column)
        return (*shown, self._diagnostic(last, Code.LIST_CUT, message, ""))

    def keep(self, codes: Collection[Code]) -> None:
        """Forgets all findings about values but those with these codes; what is wrong with the text itself stays."""
        self._found = {found: None for found in self._found if Code(found.code).is_of_text or found.code in codes}

    @property
    def has_errors(self) -> bool:
        """Whether any finding so far makes the policy unusable."""
        return any(found.severity == "error" for found in self._found)

    def _report(self, place: Mark, code: Code, message: str, hint: str) -> None:
        self._found.setdefault(self._diagnostic(place, code, message, hint))

    def _diagnostic(self, place: Mark, code: Code, message: str, hint: str) -> Diagnostic:
        lines = self._lines[place.file]
        line = min(max(place.line, 1), len(lines))
        source = lines[line - 1]
        column = min(max(place.column, 1), len(source) + 1)
        severity = "warning" if code.is_warning else "error"
        return Diagnostic(place.file, line, column, code.value, severity, message, hint, source)  # type: ignore[arg-type]

    def _position(self, found: Diagnostic) -> tuple[int, int, int, str, str]:
        file = list(self._lines).index(found.file) if len(self._lines) > 1 else 0
        return file, found.line, found.column, found.code, found.message


BlockRule = Callable[[Any, str, Reader], None]
"""A rule between values: looks at a block and its path, and reports to the reader."""

ListRule = Callable[[Items, Reader], None]
"""Looks at the items of a list that could be read, and reports to the reader."""


def nearest_mark(marks: Mapping[str, Mark], path: str) -> Mark | None:
    """The mark of `path`, or of the nearest path above it that has one: a default has no place of its own."""
    while path:
        if path in marks:
            return marks[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return None


def names_text(names: Sequence[str]) -> str:
    """Names for a message: `a`, `b` and `c`."""
    shown = [quoted(name) for name in names[:_LONGEST_LISTED]]
    if len(names) > len(shown):
        return f"{', '.join(shown)}, …"
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


def _same_but_for_case(word: str, known: Collection[str]) -> list[str]:
    return [name for name in known if name.lower() == word.lower()]

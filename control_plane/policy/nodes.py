"""YAML text → a bounded tree of nodes that know their place and have no types yet.

YAML's own typing is left out on purpose: what a value means is decided by the key it belongs to (`kinds.py`), from the
text as it is written, so `on`, `1.10` and `12:30:00` stay what the operator wrote. The tree is built from parser events
and not by `yaml.compose`, because that recurses on the C stack and expands nothing it could be stopped at.
"""

import re
from dataclasses import dataclass, field

import yaml

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted

MAX_CHARACTERS = 8 * 1024 * 1024
"""Size of a policy file. 10,000 endpoints with all their keys are about 1.5 MB; more is not a policy."""

MAX_NODES = 400_000
"""Values in the file, aliases counted at full size: 10,000 endpoints with labels have 170,000. Stops alias bombs."""

MAX_DEPTH = 32
"""Levels of nesting; the policy's deepest key is at level 9. Keeps the reader's recursion far from Python's limit."""

_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What YAML 1.1 (section 5.1) does not allow in a stream, lone surrogates and U+FEFF within the text included."""

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
"""Line breaks of YAML 1.1 (section 5.4): the parser counts lines by them."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_HINTS = (
    ("mapping values are not allowed", "the indentation is off, or a text with `: ` in it needs quotes"),
    ("did not find expected key", "compare the indentation of this line with the lines above"),
    ("expected <block end>", "compare the indentation of this line with the lines above"),
    ("did not find expected '-' indicator", "compare the indentation of this line with the lines above"),
    ("could not find expected ':'", "a key is followed by a colon, a space and its value"),
    ("cannot start any token", "a text that starts with this character needs quotes"),
    ("did not find expected ',' or", "a bracket or a comma is missing"),
    ("unexpected end of stream", "a quote is not closed"),
)  # fmt: skip
"""Words of the parser → what usually lies behind them."""


@dataclass(slots=True, eq=False)
class Node:
    """A value; `line` and `column` count from 1, `size` and `height` count itself and everything below.

    `file` is empty where there is only one.
    """

    line: int
    column: int
    size: int = 1
    height: int = 1
    file: str = ""


@dataclass(slots=True, eq=False)
class Scalar(Node):
    """A single value: its text, and whether it was written without quotes."""

    text: str = ""
    plain: bool = True

    @property
    def is_nothing(self) -> bool:
        """Whether YAML reads it as null: nothing at all, `~` or `null` without quotes."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True, eq=False)
class Sequence(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Mapping(Node):
    """A mapping: pairs in the order of the file, duplicates included."""

    pairs: list[tuple[Node, Node]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the text itself."""

    line: int
    column: int
    code: Code
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Composed:
    """What became of a text. Unless it `is_whole`, `root` is the part before the place where it stops being YAML."""

    root: Node | None
    problems: tuple[Problem, ...]
    is_whole: bool = False


class _StopError(Exception):
    """Ends the building of the tree; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def split_lines(text: str) -> list[str]:
    """The lines as the parser counts them; one empty line at least."""
    return _LINE_BREAK.split(text)


def compose(text: str, file: str = "") -> tuple[Node | None, tuple[Problem, ...]]:
    """The tree of the first document and what is wrong with the text; no tree where nothing could be read.

    Never raises. `text` has no byte order mark (the decoder's business). `file` is what the nodes say they come from.
    """
    found = compose_start(text, file)
    return (found.root if found.is_whole else None), found.problems


def compose_start(text: str, file: str = "") -> Composed:
    """The same, and of a text that stops being YAML somewhere what stands before that place."""
    if len(text) > MAX_CHARACTERS:
        message = f"the file has {len(text):,} characters; a policy has at most {MAX_CHARACTERS:,}"
        return Composed(None, (Problem(1, 1, Code.TOO_LARGE, message),))
    forbidden = _forbidden_characters(text)
    if forbidden:
        return Composed(None, forbidden)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.feed(event)
    except _StopError as stop:
        problems = (*builder.problems, stop.problem)
        if builder.root is not None:  # the whole first document
            return Composed(builder.root, problems, is_whole=True)
        return Composed(builder.start(), problems)
    except yaml.MarkedYAMLError as error:
        problem = _syntax_problem(error, text, builder.innermost)
        return Composed(builder.start(), (*builder.problems, problem))
    except yaml.YAMLError as error:
        problem = Problem(1, 1, Code.SYNTAX, f"this is not YAML: {error}")
        return Composed(builder.start(), (*builder.problems, problem))
    if builder.root is None or (isinstance(builder.root, Scalar) and builder.root.is_nothing):
        hint = "start with `kvpilot: v1`"
        return Composed(None, (Problem(1, 1, Code.EMPTY, "the file has no content", hint),))
    return Composed(builder.root, tuple(builder.problems), is_whole=True)


def _forbidden_characters(text: str) -> tuple[Problem, ...]:
    first = _FORBIDDEN.search(text)
    if first is None:
        return ()
    lines = split_lines(text[: first.start()])
    message = f"the character U+{ord(first.group()):04X} is not allowed in YAML"
    hint = "inside double quotes it can be written as an escape, such as \\x07"
    return (Problem(len(lines), len(lines[-1]) + 1, Code.CHARACTER, message, hint),)


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, innermost: Node | None) -> Problem:
    words = error.problem or "this is not YAML"
    message = f"{words} ({error.context}{_where(error)})" if error.context else words
    lines = split_lines(text)
    line, column = _place(error, lines, innermost)
    here = lines[line - 1][column - 1 : column] if line <= len(lines) else ""
    if here == "\t" or "tab character" in words:
        return Problem(line, column, Code.TAB, "a tab where YAML wants spaces", "indent with spaces")
    hint = next((hint for part, hint in _HINTS if part in words), "")
    return Problem(line, column, Code.SYNTAX, message, hint)


def _place(error: yaml.MarkedYAMLError, lines: list[str], innermost: Node | None) -> tuple[int, int]:
    """Where to look: at the problem, or, where there is nothing to see, at the start of what was not finished."""
    candidates = [error.problem_mark, error.context_mark]
    if "simple key" in (error.context or ""):
        candidates.reverse()  # a line without its colon is only missed in the next one
    for mark in candidates:
        if mark is not None and mark.line < len(lines) and lines[mark.line].strip():
            return mark.line + 1, mark.column + 1
    return (innermost.line, innermost.column) if innermost is not None else (1, 1)


def _where(error: yaml.MarkedYAMLError) -> str:
    """Where the unfinished thing starts, if that is another line than the one where it went wrong."""
    start, end = error.context_mark, error.problem_mark
    return f" that starts in line {start.line + 1}" if start and end and start.line != end.line else ""


class _Builder:
    """Events → tree, without recursion. Mutable: everything; `feed` is the single writer."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[tuple[Node, list[Node], str | None]] = []  # container, what it has so far, its anchor
        self._anchors: dict[str, Node] = {}
        self._documents = 0
        self._nodes = 0

    @property
    def innermost(self) -> Node | None:
        """The list or mapping that is being read."""
        return self._open[-1][0] if self._open else None

    def start(self) -> Node | None:
        """The tree so far, for a text that ends in the middle of it.

        Of what was read last nothing is taken: with a bracket or a quote missing, much more than one value looks like
        one.
        """
        if self._open:
            node, children, _ = self._open[-1]
            is_pair = isinstance(node, Mapping) and len(children) % 2 == 0
            del children[max(0, len(children) - 1 - is_pair) :]
        try:
            while self._open:
                node, children, _ = self._open[-1]
                if isinstance(node, Mapping) and len(children) % 2:
                    children.pop()  # a key that is still without its value
                self._end()
        except _StopError:
            return None  # there is too much of it already
        return self.root

    def feed(self, event: yaml.Event) -> None:
        """Takes the next event of the parser; raises `_StopError` where the tree would break a bound or a rule."""
        mark = event.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        if isinstance(event, yaml.ScalarEvent):
            self._no_tag(event, line, column)
            plain = event.style in (None, "")
            self._add(Scalar(line, column, file=self._file, text=event.value, plain=plain), event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start(Sequence(line, column, file=self._file), event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start(Mapping(line, column, file=self._file), event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line, column)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                message = "a second YAML document starts here; a policy is one document"
                raise _StopError(Problem(line, column, Code.SEVERAL_DOCUMENTS, message, "remove the `---`"))

    def _start(self, node: Node, event: "yaml.CollectionStartEvent") -> None:
        self._no_tag(event, node.line, node.column)
        if event.anchor is not None:
            self._anchors.pop(event.anchor, None)  # the name now means this node, which is not ready yet
        self._open.append((node, [], event.anchor))
        self._check_depth(len(self._open), node.line, node.column)

    def _end(self) -> None:
        node, children, anchor = self._open.pop()
        if isinstance(node, Sequence):
            node.items = children
        elif isinstance(node, Mapping):
            node.pairs = list(zip(children[::2], children[1::2], strict=True))
        node.size = 1 + sum(child.size for child in children)
        node.height = 1 + max((child.height for child in children), default=0)
        self._add(node, anchor)

    def _alias(self, anchor: str, line: int, column: int) -> None:
        target = self._anchors.get(anchor)
        if target is None:
            is_open = any(name == anchor for _, _, name in self._open)
            message = "stands inside its own anchor" if is_open else "has no anchor before it"
            hint = f"{quoted('&' + anchor)} in front of a value names it for later use"
            raise _StopError(Problem(line, column, Code.ALIAS, f"the alias {quoted('*' + anchor)} {message}", hint))
        self._check_depth(len(self._open) + target.height, line, column)
        self._count(target.size, line, column)
        self._attach(target)

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        self._count(1, node.line, node.column)
        self._attach(node)

    def _attach(self, node: Node) -> None:
        if self._open:
            self._open[-1][1].append(node)
        else:
            self.root = node

    def _count(self, nodes: int, line: int, column: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            message = f"more than {MAX_NODES:,} values, aliases expanded"
            raise _StopError(Problem(line, column, Code.TOO_MANY_NODES, message))

    @staticmethod
    def _check_depth(depth: int, line: int, column: int) -> None:
        if depth > MAX_DEPTH:
            raise _StopError(Problem(line, column, Code.TOO_DEEP, f"more than {MAX_DEPTH} levels of nesting"))

    def _no_tag(self, event: "yaml.ScalarEvent | yaml.CollectionStartEvent", line: int, column: int) -> None:
        if event.tag is not None:
            message = f"the YAML tag {quoted(event.tag)} has no meaning here"
            self.problems.append(Problem(line, column, Code.TAG, message, "remove it: a value has the type of its key"))

"""Text → policy: the one way in. Nothing raises; what is wrong comes back as diagnostics, all of it at once.

result = load(path.read_text(), "policy.yaml")
if result.document is None:
    print("\n".join(map(format_text, result.diagnostics)))
"""

import codecs
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from control_plane.policy.blocks import BlockOf
from control_plane.policy.checks import check_parts, check_policy
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import Diagnostic, Mark, Severity
from control_plane.policy.merge import merged
from control_plane.policy.model import Policy
from control_plane.policy.nodes import MAX_CHARACTERS, Composed, Node, Problem, compose_start, split_lines
from control_plane.policy.own_strategies import NoOwnStrategies, OwnStrategies
from control_plane.policy.reader import Reader, RefusedError, nearest_mark

_BOM = "\ufeff"

NO_OWN_STRATEGIES: Final[OwnStrategies] = NoOwnStrategies()

MAX_BYTES = 4 * MAX_CHARACTERS
"""Size of a policy file in bytes: a character has at most 4 of them in UTF-8."""

MAX_FILES = 256
"""Files that make up one policy: a team's each, not a pod's each. Together they have at most `MAX_BYTES`."""

WITHOUT_THE_REST = frozenset(
    {
        Code.UNKNOWN_KEY,
        Code.DUPLICATE_KEY,
        Code.NOT_A_VALUE,
        Code.OUT_OF_BOUNDS,
        Code.UNKNOWN_WORD,
        Code.BAD_NAME,
        Code.BAD_ADDRESS,
        Code.BAD_PORT,
        Code.HOST_NAME,
        Code.EXCLUSIVE_KEYS,
        Code.UNSUPPORTED,
        Code.FORMAT_VERSION,
    }
)
"""What is wrong with a value or a key whatever else is in the file: told also of one that cannot be read to its end."""

VERSION_DIGITS = 16
"""Hexadecimal digits of a version: 64 bits of SHA-256, short enough for a log line."""


@dataclass(frozen=True, slots=True)
class Document:
    """A policy that can be used, with the place of everything that the file says.

    `marks` has a path for each key and item that is written, such as `pools.chat.endpoints[0].address`; things with a
    name have it in place of a position: `models.llama-3-70b.route[1].pool`, `listeners.openai`. A model's `pool: x` is
    also found as `route`, `route[0]` and `route[0].pool`. What the file leaves to its default has no mark.
    """

    policy: Policy
    marks: Mapping[str, Mark]
    version: str

    def mark(self, path: str) -> Mark | None:
        """The place of `path`, or of the nearest thing above it that is written; None for a path of no file."""
        return nearest_mark(self.marks, path)

    def finding(self, path: str, code: Code, message: str, hint: str = "", *, file: str = "") -> Diagnostic:
        """What is wrong with `path` as somebody found later, so without an excerpt; no such path: `file` as a whole."""
        place = self.mark(path) or Mark(file, 1, 1)
        severity: Severity = "warning" if code.is_warning else "error"
        return Diagnostic(place.file, place.line, place.column, code.value, severity, message, hint, "")


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a text: `document` is None exactly if a diagnostic is an error."""

    document: Document | None
    diagnostics: tuple[Diagnostic, ...]


def load(text: str, file: str) -> LoadResult:
    """The policy in `text`; `file` is only the name for the diagnostics. Never raises."""
    return _load({file: text.removeprefix(_BOM)})


def load_bytes(data: bytes, file: str) -> LoadResult:
    """The same for the bytes of a file, which must be UTF-8. Never raises."""
    return load_files([(file, data)])


def load_files(files: Sequence[tuple[str, bytes]], own_strategies: OwnStrategies = NO_OWN_STRATEGIES) -> LoadResult:
    """The policy that files (name, content) make up together, in their order. Never raises.

    Top-level sections are joined: lists of listeners, models and rules one after the other, mappings such as `pools`
    key by key. Names are unique over all files, and each mark and finding has its own file. `kvpilot: v1` stands in
    each. The version depends on the contents alone, so a file may be renamed as long as the order stays.
    `own_strategies` are those that pools may name beside ours.
    """
    if not files:
        return failure("policy", Code.EMPTY, "there is no policy file")
    names = [name for name, _ in files]
    if len(files) > MAX_FILES:
        return failure(names[MAX_FILES], Code.TOO_LARGE, f"more than {MAX_FILES} files make up this policy")
    texts: dict[str, str] = {}
    failures: list[Diagnostic] = []
    left = MAX_BYTES
    for name, data in files:
        left -= len(data)
        text = _text(data, name) if left >= 0 else _too_large(name, len(files))
        if isinstance(text, LoadResult):
            failures += text.diagnostics
        else:
            texts[name] = text.removeprefix(_BOM)
    return LoadResult(None, tuple(failures)) if failures else _load(texts, own_strategies)


def _too_large(file: str, count: int) -> LoadResult:
    who = "the file has" if count == 1 else "the files have together"
    return failure(file, Code.TOO_LARGE, f"{who} more than {MAX_BYTES:,} bytes, more than any policy")


def _text(data: bytes, file: str) -> str | LoadResult:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(data, file, error.start)


def _load(texts: Mapping[str, str], own_strategies: OwnStrategies = NO_OWN_STRATEGIES) -> LoadResult:
    lines = {name: split_lines(text) for name, text in texts.items()}
    first = next(iter(lines))
    reader = Reader(first, lines[first], lines)
    reader.own_strategies = own_strategies
    policy = _read(texts, reader)
    if policy is None or reader.has_errors:
        return LoadResult(None, reader.diagnostics())
    check_policy(policy, reader)
    version = version_of("\0".join(texts.values()))  # NUL: no text has it
    document = Document(policy, reader.marks, version)
    return LoadResult(None if reader.has_errors else document, reader.diagnostics())


def failure(file: str, code: Code, message: str, hint: str = "") -> LoadResult:
    """The result for a file of which nothing could be read."""
    reader = Reader(file, [""])
    reader.report_problem(Problem(1, 1, code, message, hint))
    return LoadResult(None, reader.diagnostics())


def version_of(text: str) -> str:
    """The version of a policy: from its text alone, so every replica gives the same text the same version."""
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def _read(texts: Mapping[str, str], reader: Reader) -> Policy | None:
    found = [_composed(name, text, reader) for name, text in texts.items()]
    roots = [one.root for one in found if one.root is not None]
    if not all(one.is_whole for one in found):
        # Where a file breaks off, what stands before is checked all the same, so far as the rest cannot matter to it.
        if roots:
            _read_whole(roots, reader)
            reader.keep(WITHOUT_THE_REST)
        return None
    policy = _read_whole(roots, reader)
    check_parts(reader)
    return None if policy is None else _with_default_pools(policy)


def _composed(name: str, text: str, reader: Reader) -> Composed:
    found = compose_start(text, name)
    for problem in found.problems:
        reader.report_problem(problem, name)
    return found


def _read_whole(roots: Sequence[Node], reader: Reader) -> Policy | None:
    """None where it cannot be made; the findings are with the reader, and so is what could be read."""
    root = roots[0] if len(roots) == 1 else merged(roots, reader)
    try:
        return None if root is None else BlockOf(Policy).read(reader, root, "")
    except RefusedError:
        return None


def _with_default_pools(policy: Policy) -> Policy:
    """A listener without `defaultPool` has the first pool."""
    first = policy.pools[0].name if policy.pools else ""
    listeners = tuple(
        listener if listener.default_pool else replace(listener, default_pool=first) for listener in policy.listeners
    )
    return replace(policy, listeners=listeners)


def _not_utf8(data: bytes, file: str, start: int) -> LoadResult:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return failure(file, Code.NOT_UTF8, "the file is UTF-16", "save it as UTF-8")
    lines = split_lines(data[:start].decode("utf-8-sig"))
    rest = data[start:].split(b"\n", 1)[0].decode("utf-8", "replace")
    reader = Reader(file, [*lines[:-1], lines[-1] + rest])
    message = f"the byte 0x{data[start]:02X} is not UTF-8"
    reader.report_problem(Problem(len(lines), len(lines[-1]) + 1, Code.NOT_UTF8, message, "save the file as UTF-8"))
    return LoadResult(None, reader.diagnostics())

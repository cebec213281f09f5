"""Text → policy: the one way in. Nothing raises; what is wrong comes back as diagnostics, all of it at once.

result = load(path.read_text(), "policy.yaml")
if result.document is None:
    print("\n".join(map(format_text, result.diagnostics)))
"""

import codecs
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from control_plane.policy.blocks import BlockOf
from control_plane.policy.checks import check_parts, check_policy
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import Diagnostic, Mark
from control_plane.policy.model import Policy
from control_plane.policy.nodes import MAX_CHARACTERS, Problem, compose, split_lines
from control_plane.policy.reader import Reader, RefusedError, nearest_mark

_BOM = "\ufeff"

MAX_BYTES = 4 * MAX_CHARACTERS
"""Size of a policy file in bytes: a character has at most 4 of them in UTF-8."""

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


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What became of a text: `document` is None exactly if a diagnostic is an error."""

    document: Document | None
    diagnostics: tuple[Diagnostic, ...]


def load(text: str, file: str) -> LoadResult:
    """The policy in `text`; `file` is only the name for the diagnostics. Never raises."""
    text = text.removeprefix(_BOM)
    reader = Reader(file, split_lines(text))
    policy = _read(text, reader)
    if policy is None or reader.has_errors:
        return LoadResult(None, reader.diagnostics())
    check_policy(policy, reader)
    return LoadResult(Document(policy, reader.marks, version_of(text)), reader.diagnostics())


def load_bytes(data: bytes, file: str) -> LoadResult:
    """The same for the bytes of a file, which must be UTF-8. Never raises."""
    if len(data) > MAX_BYTES:
        return failure(file, Code.TOO_LARGE, f"the file has more than {MAX_BYTES:,} bytes, more than any policy")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(data, file, error.start)
    return load(text, file)


def failure(file: str, code: Code, message: str, hint: str = "") -> LoadResult:
    """The result for a file of which nothing could be read."""
    reader = Reader(file, [""])
    reader.report_problem(Problem(1, 1, code, message, hint))
    return LoadResult(None, reader.diagnostics())


def version_of(text: str) -> str:
    """The version of a policy: from its text alone, so every replica gives the same text the same version."""
    return hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def _read(text: str, reader: Reader) -> Policy | None:
    root, problems = compose(text)
    for problem in problems:
        reader.report_problem(problem)
    if root is None:
        return None
    policy: Policy | None = None
    try:
        policy = BlockOf(Policy).read(reader, root, "")
    except RefusedError:
        pass  # the findings are with the reader, and what could be read is still checked
    check_parts(reader)
    return None if policy is None else _with_default_pools(policy)


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

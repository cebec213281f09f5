"""Regular expressions that Envoy takes: RE2's language, judged without RE2.

RE2 runs in linear time and so has no back references, no look-around, no possessive or atomic groups, and counts to a
thousand at most (its page "Syntax"). An expression that Python cannot read, or that has any of these, is refused here;
what both languages have is the rest. So is one that becomes a longer program than Envoy takes (runtime key
`re2.max_program_size.error_level`); how long it becomes is estimated, on the safe side.
"""

import re

# Python's own parser, without a public name: reading an expression by hand would be a worse copy of it.
import re._constants as ops  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError

MAX_REGEX = 1024
"""Characters of an expression: Envoy compiles it on every worker, and a longer one is a list of cases."""

MAX_REPEAT = 1000
"""RE2's own bound of `x{n}`, and of the product of such repeats within each other."""

MAX_PROGRAM = 100
"""Instructions that Envoy takes unless its runtime says otherwise, which kvpilot cannot know of an Envoy."""

_FRAME = 4
"""Instructions that each program has beside those of the expression (seen on Envoy 1.40)."""

_NOT_RE2 = {
    ops.ASSERT: "look-around",
    ops.ASSERT_NOT: "look-around",
    ops.GROUPREF: "back references",
    ops.GROUPREF_EXISTS: "back references",
    ops.ATOMIC_GROUP: "atomic groups",
    ops.POSSESSIVE_REPEAT: "possessive repeats",
}
# What Python reads and RE2 does not: other flags, comments, and escapes of Python's own.
_PYTHON_ONLY = re.compile(r"\(\?[aLux]|\(\?#|(?<!\\)(?:\\\\)*\\(?:[ZNuU]|[^\x00-\x7f])")


@dataclass(frozen=True, slots=True)
class Regex(ScalarKind[str]):
    """A regular expression in the language of RE2."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a regular expression (RE2)"

    def parse(self, text: str) -> str:
        """The expression itself; raises ValueRefusedError."""
        if not text:
            raise ValueRefusedError("an empty regular expression", "`.*` matches everything")
        if len(text) > MAX_REGEX:
            message = f"{quoted(text)} is longer than {MAX_REGEX} characters"
            raise ValueRefusedError(message, code=Code.OUT_OF_BOUNDS)
        problem = regex_problem(text)
        if problem:
            raise ValueRefusedError(f"{quoted(text)} is no regular expression that Envoy takes: {problem}")
        return text

    def schema(self) -> Json:
        """A text; what it may hold only the loader knows."""
        return {"type": "string", "pattern": ".", "maxLength": MAX_REGEX}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"regular expression (RE2, at most about {MAX_PROGRAM} characters)"


def regex_problem(text: str) -> str:
    """What keeps Envoy from taking `text` as a regular expression; empty for nothing."""
    if _PYTHON_ONLY.search(text):
        return "a flag, comment or escape that RE2 does not have"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            tree = parser.parse(text)
    except FutureWarning:
        return "`[[`, `--`, `&&`, `||` and `~~` within brackets have two readings; put a backslash before the sign"
    except (re.error, OverflowError) as error:
        return str(error)
    except RecursionError:
        return "it is nested too deeply"
    problem = next(_problems(tree, MAX_REPEAT), "")
    if not problem and (size := program_size(text)) > MAX_PROGRAM:
        return f"about {size} steps for one of at most {MAX_PROGRAM}; use `exact` or `prefix`, or split it up"
    return problem


def program_size(text: str) -> int:
    """Instructions of RE2's program for an expression that both languages have: at least as many as it has."""
    return _FRAME + _size(parser.parse(text))


def _problems(part: Any, repeats: int) -> Iterator[str]:
    """What RE2 lacks, anywhere below `part` of Python's parse tree, which may be repeated `repeats` times more."""
    if isinstance(part, parser.SubPattern | list):
        for item in part:
            yield from _problems(item, repeats)
    elif isinstance(part, tuple):
        if part and part[0] in _NOT_RE2:
            yield f"RE2 has no {_NOT_RE2[part[0]]}"
        if part == (ops.LITERAL, ord("\b")):
            yield r"RE2 has no `\b` within brackets"
        if part and part[0] in (ops.MAX_REPEAT, ops.MIN_REPEAT):
            least, most, _ = part[1]
            repeats //= max(least if most == ops.MAXREPEAT else most, 1)
            if not repeats:
                yield f"repeats are bounded to {MAX_REPEAT}"
        for item in part:
            yield from _problems(item, repeats)


# Measured on Envoy 1.40, rounded up.
_CATEGORY_SIZES = {
    ops.CATEGORY_DIGIT: 1,
    ops.CATEGORY_SPACE: 3,
    ops.CATEGORY_WORD: 4,
    ops.CATEGORY_NOT_DIGIT: 3,
    ops.CATEGORY_NOT_SPACE: 5,
    ops.CATEGORY_NOT_WORD: 6,
}
_OTHER_SCRIPT = 6
"""A character, or one end of a range, of several bytes: up to four of them, and the ways between them."""


def _size(tree: Any) -> int:
    return sum(_item_size(kind, value) for kind, value in tree)


def _item_size(kind: Any, value: Any) -> int:
    if kind in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        least, most, body = value
        once = _size(body)
        # A loop costs two jumps, and each copy that may be left out one.
        copies = max(least, 1) if most == ops.MAXREPEAT else most
        return int(copies * once + (2 if most == ops.MAXREPEAT else 1 + most - least))
    if kind is ops.SUBPATTERN:
        return _size(value[3]) + (0 if value[0] is None else 2)
    if kind is ops.BRANCH:
        return sum(1 + _size(branch) for branch in value[1])
    if kind is ops.IN:
        return _set_size(value)
    if kind in (ops.LITERAL, ops.NOT_LITERAL):
        return _character_size(value) + (2 if kind is ops.NOT_LITERAL else 0)
    return 2 if kind is ops.ANY else 1


def _set_size(items: Any) -> int:
    total = 0
    for kind, value in items:
        if kind is ops.CATEGORY:
            total += _CATEGORY_SIZES[value]
        elif kind is ops.RANGE:
            total += max(_character_size(end) for end in value)
        else:
            total += _character_size(value) if kind is ops.LITERAL else 2
    return total


def _character_size(code: int) -> int:
    return 1 if code < 0x80 else _OTHER_SCRIPT

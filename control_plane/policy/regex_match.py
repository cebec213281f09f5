"""Whether a text matches a regular expression, in time that no expression can make explode.

Python's own matcher tries one way after the other, and an expression such as `(([a-z]+)+)+!` has more ways through
twenty characters than fit into a day: RE2, and so Envoy, takes it, and a control plane must not stand still because of
it. Here each part of the expression goes once through the text, from all places at which it can begin. Letters, digits
and blanks of `\\w`, `\\d` and `\\s` are those of ASCII, as in RE2.

>>> full_match("(([a-z]+)+)+!", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
False
"""

import re

# Python's own parser, without a public name: reading an expression by hand would be a worse copy of it.
import re._constants as ops  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from typing import Any

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_DIGITS = frozenset("0123456789")
_BLANKS = frozenset("\t\n\f\r ")
_CATEGORIES = {
    ops.CATEGORY_WORD: (_WORD, True),
    ops.CATEGORY_NOT_WORD: (_WORD, False),
    ops.CATEGORY_DIGIT: (_DIGITS, True),
    ops.CATEGORY_NOT_DIGIT: (_DIGITS, False),
    ops.CATEGORY_SPACE: (_BLANKS, True),
    ops.CATEGORY_NOT_SPACE: (_BLANKS, False),
}

_CHARACTERS = (ops.ANY, ops.IN, ops.LITERAL, ops.NOT_LITERAL)
"""Parts that stand for one character each."""


def full_match(expression: str, text: str) -> bool:
    """Whether the whole text matches; raises re.error for what has no place in RE2's language, or cannot be read."""
    tree = parser.parse(expression)
    return len(text) in _after(tree, {0}, text, tree.state.flags)


def _after(parts: Any, places: set[int], text: str, flags: int) -> set[int]:
    """Where the parts, one behind the other, can end if they begin at one of `places`."""
    for kind, value in parts:
        places = _after_one(kind, value, places, text, flags)
    return places


def _after_one(kind: Any, value: Any, places: set[int], text: str, flags: int) -> set[int]:
    if kind is ops.SUBPATTERN:
        _, added, removed, parts = value
        return _after(parts, places, text, (flags | added) & ~removed)
    if kind is ops.BRANCH:
        return set().union(*(_after(parts, places, text, flags) for parts in value[1]))
    if kind in (ops.MAX_REPEAT, ops.MIN_REPEAT):
        return _after_repeats(value, places, text, flags)
    if kind is ops.AT:
        return {place for place in places if _is_at(value, place, text)}
    if kind not in _CHARACTERS:
        raise re.error(f"RE2 has no {str(kind).lower()}")
    return {place + 1 for place in places if place < len(text) and _takes(kind, value, text[place], flags)}


def _after_repeats(value: Any, places: set[int], text: str, flags: int) -> set[int]:
    least, most, parts = value
    current, found = places, set(places) if least == 0 else set()
    count = 0
    while current and (most == ops.MAXREPEAT or count < most):
        count += 1
        current = _after(parts, current, text, flags)
        if count >= least:
            # From places that were reached before, everything was tried already.
            current = current - found
            found |= current
    return found


def _is_at(where: Any, place: int, text: str) -> bool:
    if where in (ops.AT_BEGINNING, ops.AT_BEGINNING_STRING):
        return place == 0
    if where in (ops.AT_END, ops.AT_END_STRING):
        return place == len(text)
    is_boundary = (text[place - 1 : place] in _WORD) != (text[place : place + 1] in _WORD)
    return is_boundary == (where is ops.AT_BOUNDARY)


def _takes(kind: Any, value: Any, char: str, flags: int) -> bool:
    """Whether a part that stands for one character takes this one."""
    if kind is ops.ANY:
        return char != "\n" or bool(flags & re.DOTALL)
    forms = {char, char.lower(), char.upper()} if flags & re.IGNORECASE else {char}
    if kind is ops.IN:
        is_negated = value[0][0] is ops.NEGATE
        return any(_is_in(item, forms) for item in value[is_negated:]) != is_negated
    return _is_in((ops.LITERAL, value), forms) == (kind is ops.LITERAL)


def _is_in(item: Any, forms: set[str]) -> bool:
    kind, value = item
    if kind is ops.LITERAL:
        return any(ord(form) == value for form in forms if len(form) == 1)
    if kind is ops.RANGE:
        return any(value[0] <= ord(form) <= value[1] for form in forms if len(form) == 1)
    members, is_wanted = _CATEGORIES[value]
    return any((form in members) == is_wanted for form in forms)

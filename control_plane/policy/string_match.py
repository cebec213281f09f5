"""A condition on a text, in Istio's words: `{exact: a}`, `{prefix: a}`, `{regex: "a.*"}`."""

from typing import Protocol

from control_plane.policy.codes import Code
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.reader import Reader
from control_plane.policy.regex import Regex
from control_plane.policy.regex_match import full_match
from control_plane.policy.scalars import Text

MAX_MATCHED = 1024
"""Characters of a text to compare with: a header's value, not a document."""

ANY_TEXT = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]*", MAX_MATCHED, code=Code.NOT_A_VALUE)
# Envoy refuses an empty prefix (`StringMatcher.prefix`, min_len 1).
SOME_TEXT = Text("a text without control characters", "[^\\x00-\\x1f\\x7f]+", MAX_MATCHED, code=Code.NOT_A_VALUE)


@block()
class StringMatch(Block):
    """A condition on a text: exactly one of the keys."""

    exact: str | None = setting(ANY_TEXT, default=None, absent=(None, ""), doc="The whole text is this.")
    prefix: str | None = setting(SOME_TEXT, default=None, absent=(None, ""), doc="The text starts with this.")
    regex: str | None = setting(
        Regex(),
        default=None,
        absent=(None, ""),
        doc="The whole text matches this expression (RE2: no look-around, no back references).",
    )


class Condition(Protocol):
    """What conditions on texts have in common; at most one of the three is there."""

    @property
    def exact(self) -> str | None:
        """The whole text."""

    @property
    def prefix(self) -> str | None:
        """How the text starts."""

    @property
    def regex(self) -> str | None:
        """An expression for the whole text."""


def holds(condition: Condition, text: str) -> bool:
    """Whether a text meets a condition; one without any of the three is met by nothing.

    A regex must match the whole text, as everywhere in Envoy.
    """
    if condition.exact is not None:
        return text == condition.exact
    if condition.prefix is not None:
        return text.startswith(condition.prefix)
    return condition.regex is not None and full_match(condition.regex, text)


def check_string_match(match: StringMatch, path: str, reader: Reader) -> None:
    """Exactly one of the three."""
    if not _given(match):
        reader.report_at(path, Code.MISSING_KEY, "one of `exact`, `prefix`, `regex` is missing")
    check_condition(match, path, reader)


def check_condition(condition: Condition, path: str, reader: Reader) -> None:
    """At most one of the three."""
    given = _given(condition)
    for name in given[1:]:
        message = f"`{given[0]}` and `{name}` are two conditions"
        reader.report_at(f"{path}.{name}", Code.EXCLUSIVE_KEYS, message, "keep one of them; a regex can say both")


def _given(condition: Condition) -> list[str]:
    return [name for name in ("exact", "prefix", "regex") if getattr(condition, name) is not None]

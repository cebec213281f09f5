"""What is wrong (a condition), and what is told of it (a notice). Pure values."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Fact = str | int | float

MAX_TEXT: Final = 1_000
"""Characters of a summary or a fact: Envoy's words about a resource can be a page, and chats cut long messages."""

MAX_FACTS: Final = 20
"""Facts of one notice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is wrong now. `kind` is one of `kinds.KINDS`; same kind and same subject are the same trouble.

    Without a `severity` it has that of its kind. Keys of `facts` are names (letters, digits, `_`).
    """

    kind: str
    subject: str
    summary: str
    severity: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)


Key = tuple[str, str]
"""Kind and subject."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What is told: times are seconds since 1970, `ended_at` is None as long as it lasts.

    `was` is the severity that was told before it got worse.
    """

    kind: str
    subject: str
    severity: str
    summary: str
    started_at: float
    ended_at: float | None = None
    was: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Which trouble it is; of one key one notice is open at most."""
        return self.kind, self.subject

    @property
    def id(self) -> str:
        """The same for all that is told of one occurrence, also after a restart: 16 hexadecimal digits."""
        text = f"{self.kind}\n{self.subject}\n{self.started_at!r}"
        return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def is_over(self) -> bool:
        """Whether it is the word that all is well again."""
        return self.ended_at is not None


def cut(text: str) -> str:
    """A text of bearable length without control characters: what others say ends up in chats and logs."""
    if len(text) <= MAX_TEXT and text.isprintable():
        return text
    plain = "".join(char if char.isprintable() else " " for char in text[: MAX_TEXT + 1])
    return plain if len(plain) <= MAX_TEXT else f"{plain[: MAX_TEXT - 1]}…"

"""When the content of what is read again and again counts as changed.

The content is compared, not its times: a rename over a file, a write in place and the switch of a symbolic link all
count, and a `touch` does not.
"""

from typing import Generic, TypeVar

POLL_S = 0.25
"""How often files are read: well under the second that an operator notices; reading 100 KB costs about 50 µs."""

SETTLE_POLLS = 1
"""A new content must be read this many times more before it counts: an editor that truncates and then writes in place
would otherwise be caught with half a file, and a copy of several files with some of them."""

RESTLESS_POLLS = 12
"""After so many looks in a row (3 s) that all found something else it counts as it is: what is written again and again,
as targets in a rolling update, must not be kept waiting for ever. Whoever takes it checks it like any other."""

LOST_POLLS = 8
"""After so many looks in vain (2 s) the files are gone: no editor and no ConfigMap takes that long to put new ones."""

Content = TypeVar("Content")


class ContentWatch(Generic[Content]):
    """What was seen last and what is pending. Mutable: both, the looks in vain and those that found something else;
    written only by `observe`."""

    def __init__(self, content: Content) -> None:
        """`content` is what is in use now."""
        self._current = content
        self._pending: Content | None = None
        self._seen = 0
        self._missed = 0
        self._restless = 0

    @property
    def is_lost(self) -> bool:
        """Whether nothing could be read for some time now."""
        return self._missed >= LOST_POLLS

    def observe(self, content: Content | None) -> Content | None:
        """The new content once it has settled, else None; `content` is None while it cannot be read."""
        self._missed = self._missed + 1 if content is None else 0
        if content is None or content == self._current:
            self._pending = None
            self._restless = 0
            return None
        self._restless += 1
        if content != self._pending:
            self._pending, self._seen = content, 0
        else:
            self._seen += 1
        if self._seen < SETTLE_POLLS and self._restless < RESTLESS_POLLS:
            return None
        self._current, self._pending, self._restless = content, None, 0
        return content

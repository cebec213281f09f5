"""Notices that the policy file's content changed.

The content is compared, not its times: a rename over the file, a write in place and the switch of a symbolic link (how
Kubernetes updates a mounted ConfigMap) all count, and a `touch` does not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

POLL_S = 0.25
"""How often the file is read: well under the second that an operator notices; reading 100 KB costs about 50 µs."""

SETTLE_POLLS = 1
"""A new content must be read this many times more before it counts: an editor that truncates and then writes in place
would otherwise be caught with half a file."""


class ContentWatch:
    """What was seen last and what is pending. Mutable: both, written only by `observe`."""

    def __init__(self, content: bytes) -> None:
        self._current = content
        self._pending: bytes | None = None
        self._seen = 0

    def observe(self, content: bytes | None) -> bytes | None:
        """The new content once it has settled, else None; `content` is None while the file cannot be read."""
        if content is None or content == self._current:
            self._pending = None
            return None
        if content != self._pending:
            self._pending, self._seen = content, 0
            return None
        self._seen += 1
        if self._seen < SETTLE_POLLS:
            return None
        self._current, self._pending = content, None
        return content


def read_or_none(path: Path) -> bytes | None:
    """The file's bytes, or None while it is missing or unreadable (between an unlink and a rename, for instance)."""
    try:
        return path.read_bytes()
    except OSError:
        return None


async def watch(
    path: Path, content: bytes, changed: Callable[[bytes], Awaitable[None]], poll_s: float = POLL_S
) -> None:
    """Calls `changed` with each new settled content of `path`, until cancelled; `content` is what is applied now."""
    state = ContentWatch(content)
    while True:
        await asyncio.sleep(poll_s)
        settled = state.observe(read_or_none(path))
        if settled is not None:
            await changed(settled)

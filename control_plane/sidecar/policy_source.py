"""Where a policy comes from: one file, or a directory of files, and the notice that its content changed.

The content is compared, not its times: a rename over the file, a write in place and the switch of a symbolic link (how
Kubernetes updates a mounted ConfigMap: `..data` is a link to a folder of a new name, and the files are links into it)
all count, and a `touch` does not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from control_plane.policy.loader import MAX_BYTES, MAX_FILES
from control_plane.sidecar.watch import POLL_S, ContentWatch

Files = tuple[tuple[str, bytes], ...]
"""Names and contents, in the order in which they make up the policy."""

SUFFIXES = (".yaml", ".yml")

MAX_ENTRIES = 10_000
"""Entries of a directory that are looked at: one that has more is not a directory of policies."""


def _untold(reason: str) -> None:
    """Nobody wants to know."""


class PolicySource:
    """A path that holds a policy. Immutable; what it reads may change at any time."""

    def __init__(self, path: Path) -> None:
        """`path` is a file, or a directory whose `*.yaml` and `*.yml` make up the policy, sorted by name."""
        self.path = path

    @property
    def base(self) -> Path:
        """The directory that paths within the policy are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    def read(self) -> Files:
        """All files with their contents; raises OSError, also for a directory without a policy file.

        Hidden entries are left out, and so the `..data` and `..2026_…` of a mounted ConfigMap are: its files stand
        beside them as links, whose content is read. Of what is far too large no more is read than shows that.
        """
        if not self.path.is_dir():
            return ((str(self.path), _content(self.path)),)
        names = self._names()
        if not names:
            raise FileNotFoundError(2, f"no {' or '.join('*' + suffix for suffix in SUFFIXES)} in it", str(self.path))
        return tuple((str(self.path / name), _content(self.path / name)) for name in names)

    def _names(self) -> list[str]:
        entries = [entry for entry, _ in zip(self.path.iterdir(), range(MAX_ENTRIES), strict=False)]
        names = sorted(entry.name for entry in entries if _is_policy(entry))
        return names[: MAX_FILES + 1]  # one more than there may be shows that there are too many

    async def watch(
        self,
        current: Files,
        changed: Callable[[Files], Awaitable[None]],
        lost: Callable[[str], None] = _untold,
        poll_s: float = POLL_S,
    ) -> None:
        """Calls `changed` with each new settled content, until cancelled; `current` is what is applied now.

        `lost` is called with the reason when nothing could be read for some time (not between an unlink and a rename),
        and with an empty text when something can be read again.
        """
        state = ContentWatch(current)
        was_lost = False
        while True:
            await asyncio.sleep(poll_s)
            files, error = self._read_or_why()
            settled = state.observe(files)
            if state.is_lost != was_lost:
                was_lost = state.is_lost
                lost(error)
            if settled is not None:
                await changed(settled)

    def _read_or_why(self) -> tuple[Files | None, str]:
        try:
            return self.read(), ""
        except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
            return None, getattr(error, "strerror", None) or str(error)


def _is_policy(entry: Path) -> bool:
    return not entry.name.startswith(".") and entry.name.endswith(SUFFIXES) and not entry.is_dir()


def _content(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)

"""A file of targets as a source of endpoints; it is read again and again, and its content is what counts.

So a rename over it, a write in place and the switch of a symbolic link (a mounted Kubernetes ConfigMap) are all seen. A
new content must be read the same twice before it counts, and one that cannot be used changes nothing.
"""

import asyncio
from pathlib import Path

from control_plane.fleet.interface import Report, Sleep
from control_plane.fleet.targets import Target, TargetsError, read_targets
from control_plane.policy.nodes import MAX_CHARACTERS
from control_plane.sidecar.watch import POLL_S, ContentWatch

MAX_BYTES = MAX_CHARACTERS
"""Size of a file of targets: that of a policy, which could list as many endpoints itself."""


class FileSource:
    """The targets of one file. Mutable: what was accepted last, written by `follow`."""

    def __init__(self, path: Path, name: str, allow_empty: bool, sleep: Sleep) -> None:
        """`name` is the file as the operator wrote it."""
        self._path = path
        self._name = name
        self._allow_empty = allow_empty
        self._sleep = sleep
        self._accepted: tuple[Target, ...] | None = None

    async def follow(self, report: Report) -> None:
        """Reports until cancelled."""
        watch: ContentWatch[bytes] | None = None
        error = ""
        while True:
            try:
                content = self._read()
            except OSError as problem:
                report.failed(problem.strerror or str(problem))
            else:
                fresh = content if watch is None else watch.observe(content)
                watch = watch or ContentWatch(content)
                if fresh is not None:
                    error = await self._taken(fresh)
                self._tell(report, error)
            await self._sleep(POLL_S)

    def _read(self) -> bytes:
        """The content; raises OSError, also for more than a file of targets can have."""
        with self._path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise OSError(f"the file has more than {MAX_BYTES:,} bytes")
        return content

    async def _taken(self, content: bytes) -> str:
        """Takes a new content, or says what is wrong with it."""
        try:
            # Ten thousand targets take most of a second: not in one piece on the event loop.
            targets = await asyncio.to_thread(read_targets, content, self._name)
        except TargetsError as error:
            return str(error)
        if not targets and not self._allow_empty:
            return "the file lists nobody; if that is meant, the policy must say `allowEmpty: true`"
        self._accepted = targets
        return ""

    def _tell(self, report: Report, error: str) -> None:
        if error:
            report.failed(error)
        elif self._accepted is not None:
            report.found(self._accepted)

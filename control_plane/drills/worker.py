"""A process of a drill that can be killed, frozen and started again; only ever signalled by its own id."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

from control_plane.sidecar.leash import leashed

START_TIMEOUT_S = 30.0
"""A process of ours is up within a second or two; many at once on a busy machine take longer."""

STOP_TIMEOUT_S = 10.0
"""After SIGTERM; then SIGKILL. kvpilot itself stops within 3 s."""

POLL_S = 0.05
"""Between two questions whether it is up."""

_TAIL_LINES = 5


class NotStartedError(RuntimeError):
    """A process did not come up; the text has the end of what it wrote."""


class Worker:
    """`python -m control_plane.cli WORDS…`. Mutable: the running process."""

    def __init__(self, words: tuple[str, ...], log: Path, is_up: Callable[[], Awaitable[bool]]) -> None:
        """`is_up` asks whether it serves."""
        self._words = words
        self._log = log
        self._is_up = is_up
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before its first start."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Starts it, if it does not run, and waits until it serves. Raises `NotStartedError`."""
        if self._process is not None and self._process.returncode is None:
            return
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *leashed(sys.executable, "-m", "control_plane.cli", *self._words),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await self._is_up():
                    if self._process.returncode is not None:
                        raise NotStartedError(f"kvpilot {self._words[0]} ended at its start:\n{self._tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise NotStartedError(f"kvpilot {self._words[0]} did not come up:\n{self._tail()}") from None

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])

    def signal(self, number: Signals) -> None:
        """Sends it a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL, and its end."""
        await self._end(SIGKILL)

    async def stop(self) -> None:
        """SIGTERM, and its end; SIGKILL when that takes too long. A frozen one wakes up for it."""
        self.signal(SIGCONT)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._end(SIGTERM)
        except TimeoutError:
            await self.kill()

    async def _end(self, number: Signals) -> None:
        if self._process is not None:
            self.signal(number)
            await self._process.wait()

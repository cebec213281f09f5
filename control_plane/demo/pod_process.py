"""A simulated pod in a process of its own, so that it can be killed as a real one dies."""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

from control_plane.sidecar.leash import leashed

START_TIMEOUT_S = 15.0
"""A pod prints its address in well under a second; several starting at once on a busy machine take longer."""


class PodNotStartedError(RuntimeError):
    """A pod did not come up in time."""


class PodProcess:
    """Mutable: the running process; the address stays the same from the first start on."""

    def __init__(self, *, models: tuple[str, ...], zone: str = "", profile: str = "demo") -> None:
        """`models` are the names that it serves; `zone` is only remembered, for whoever writes the policy.

        `profile` is the name of what its engine is, as `kvpilot pods` takes it.
        """
        self.models = models
        self.profile = profile
        self.zone = zone
        self.address = ""
        self._process: Process | None = None

    async def start(self) -> None:
        """Starts the pod, on its former port if it had one; raises `PodNotStartedError` when it does not come up."""
        port = self.address.rpartition(":")[2] or "0"
        arguments = ["--profile", self.profile]
        arguments += [word for model in self.models for word in ("--model", model)]
        self._process = await asyncio.create_subprocess_exec(
            *leashed(sys.executable, "-m", "control_plane.cli", "pods", "--base-port", port, *arguments),
            stdin=DEVNULL,
            stdout=PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            line = b""
        if not line:
            await self.kill()
            raise PodNotStartedError("a simulated pod did not start")
        self.address = line.decode().strip()

    async def kill(self) -> None:
        """SIGKILL: what the kernel does to a pod that is out of memory. Its connections are reset."""
        if self._process is not None:
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            self._process = None

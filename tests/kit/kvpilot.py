"""A `kvpilot run` of the test's own, in a process that can be stopped and killed."""

import asyncio
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path
from typing import Any

import aiohttp

from tests.kit.ports import free_ports

START_TIMEOUT_S = 20.0


class Kvpilot:
    """One sidecar without an Envoy; its addresses stay the same over restarts."""

    def __init__(self, policy: Path, *arguments: str) -> None:
        """`arguments` are further words of the command line."""
        xds, ext_proc, admin = free_ports(3)
        self.policy = policy
        own_state = () if "--state-dir" in arguments else ("--state-dir", str(policy.parent / "state"))
        self.arguments = (*own_state, *arguments)
        self.xds = f"127.0.0.1:{xds}"
        self.ext_proc = f"127.0.0.1:{ext_proc}"
        self.admin = f"127.0.0.1:{admin}"
        self.log = policy.with_suffix(".log")
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Starts it and waits until it says that it is ready."""
        words = ("run", str(self.policy), "--no-envoy", "--xds", self.xds, "--ext-proc", self.ext_proc)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "control_plane.cli", *words, "--admin", self.admin, *self.arguments),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession() as session:
            while True:
                if self._process.returncode is not None:
                    raise AssertionError(f"kvpilot ended with {self._process.returncode}:\n{self.log.read_text()}")
                try:
                    async with session.get(f"http://{self.admin}/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> Any:
        """The JSON value at `path` of the admin server."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}{path}") as response:
            assert response.status == 200, f"{path}: {response.status} {await response.text()}"
            return await response.json()

    async def text(self, path: str) -> str:
        """The text at `path` of the admin server."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}{path}") as response:
            return await response.text()

    async def signal(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end; gives the exit status (negative: died of that signal)."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self._process.wait()

    async def stop(self) -> None:
        """Ends it, if it still runs."""
        if self._process is not None and self._process.returncode is None:
            try:
                async with asyncio.timeout(5):
                    await self.signal(signal.SIGTERM)
            except TimeoutError:
                await self.signal(signal.SIGKILL)

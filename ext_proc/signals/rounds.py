"""Asking endpoints again and again: a task for each, spread in time, and the pages of pods as their pools want it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from ext_proc.signals.fetch import PageClient, UnpreparedError
from ext_proc.signals.pod_tls import PodTls, PodTlsOf, PodTokenOf

JITTER: Final = 0.1
"""Pauses vary by this share of themselves, so that endpoints do not fall into step."""

# The first answer is wanted soon, but a thousand endpoints are not to be asked at once.
_SPREAD_S: Final = 1.0

How = TypeVar("How")


class Ending:
    """Tasks that were told to end. Mutable: those that have not yet."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def end(self, task: "asyncio.Task[None]") -> None:
        """Cancels a task and keeps it until it is over."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.cancel()

    async def wait(self) -> None:
        """Until all of them are over."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


class PodPages:
    """Pages of pods, over TLS and with a token where their pool wants that. Mutable: the client, while it is open."""

    def __init__(self, pod_tls: PodTlsOf, pod_token: PodTokenOf) -> None:
        """Both are asked each time, so that new certificates and tokens count at once."""
        self._pod_tls = pod_tls
        self._pod_token = pod_token
        self._client: PageClient | None = None

    def open(self, timeout_s: float) -> None:
        """Opens the client, if it is not; needs a running event loop."""
        if self._client is None:
            self._client = PageClient(timeout_s=timeout_s)

    async def get(self, pool: str, host: str, path: str) -> bytes:
        """A page; raises PageError, also where what the pool wants is missing."""
        client, base, tls, token = self._way(pool, host)
        return await client.get(f"{base}{path}", tls=tls, token=token)

    async def ask(self, pool: str, host: str, path: str, value: Any) -> bytes:
        """The good answer to some JSON; raises as `get` does."""
        client, base, tls, token = self._way(pool, host)
        return await client.ask(f"{base}{path}", value, tls=tls, token=token)

    async def post(self, pool: str, host: str, path: str, value: Any) -> int:
        """The status of the answer to some JSON; raises PageError where none comes."""
        client, base, tls, token = self._way(pool, host)
        return await client.post(f"{base}{path}", value, tls=tls, token=token)

    def _way(self, pool: str, host: str) -> tuple[PageClient, str, PodTls | None, str]:
        assert self._client is not None, "open() comes first"
        tls, token = self._pod_tls(pool), self._pod_token(pool)
        if tls is not None and tls.context is None:
            raise UnpreparedError("the certificates for its pool are missing")
        if token is None:
            raise UnpreparedError("the token file for its pool is missing")
        return self._client, f"{'http' if tls is None else 'https'}://{host}", tls, token

    async def close(self) -> None:
        """Closes the client; harmless when called twice."""
        if self._client is not None:
            await self._client.close()
            self._client = None


class Rounds(Generic[How]):
    """Asks each endpoint in its own pace. Mutable: one task for each address and how it is asked. One event loop."""

    def __init__(
        self,
        ask: Callable[[str, How], Awaitable[float]],
        interval_s: Callable[[How], float],
        rng: random.Random,
        what: str,
    ) -> None:
        """`ask` asks once, must not raise and gives the seconds until the next time; `interval_s` is the usual pause;
        `what` names the tasks."""
        self._ask = ask
        self._interval_s = interval_s
        self._rng = rng
        self._what = what
        self._tasks: dict[tuple[str, How], asyncio.Task[None]] = {}
        self._ending = Ending()

    def set(self, wanted: Iterable[tuple[str, How]]) -> None:
        """Asks exactly these from now on. Needs a running event loop; who stays as it is is not disturbed."""
        keys = dict.fromkeys(wanted)
        for key in [key for key in self._tasks if key not in keys]:
            self._ending.end(self._tasks.pop(key))
        for key in keys:
            if key not in self._tasks:
                self._tasks[key] = asyncio.create_task(self._follow(*key), name=f"{self._what} of {key[0]}")

    async def stop(self) -> None:
        """Ends all asking; harmless when called twice."""
        self.set(())
        await self._ending.wait()

    async def _follow(self, address: str, how: How) -> None:
        await asyncio.sleep(self._rng.random() * min(self._interval_s(how), _SPREAD_S))
        while True:
            pause_s = await self._ask(address, how)
            await asyncio.sleep(pause_s * (1 + self._rng.uniform(-JITTER, JITTER)))

"""Sends what is planned, on time, and waits for what comes of it.

One task decides when a request goes out, each request is a task of its own. The next request is written (`write`)
before its time comes, so that writing a long prompt makes nobody late.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sim.sending.outcomes import Answered, Run, Sent
from sim.sending.plan import Plan, Send

Ask = Callable[[], Awaitable[Answered]]
"""Sends one request, and gives its end; bounded in time by itself, and raises nothing."""

LEAD_S: Final = 0.1
"""Before the first request: time to write it."""


async def play(
    plan: Plan,
    write: Callable[[Send], Ask],
    *,
    max_in_flight: int,
    stopped: asyncio.Event,
    progress: Callable[[int, int], None] = lambda ended, in_flight: None,
) -> Run:
    """Sends all of `plan`, or what there is time for until `stopped`; what is then on its way is given up.

    `progress` hears how many have ended and how many are in flight.
    """
    return await _Play(plan, write, max_in_flight, progress).run(stopped)


class _Play:
    """One sending. Mutable: what is in flight and what has ended; the loop is the only writer."""

    def __init__(
        self, plan: Plan, write: Callable[[Send], Ask], max_in_flight: int, progress: Callable[[int, int], None]
    ) -> None:
        self._plan, self._write, self._progress = plan, write, progress
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(max_in_flight)
        self._sent: list[Sent] = []
        self._in_flight = self._most = self._waited = 0

    async def run(self, stopped: asyncio.Event) -> Run:
        sending = asyncio.create_task(self._send_all(), name="sending")
        stop = asyncio.create_task(stopped.wait(), name="stop")
        try:
            await asyncio.wait({sending, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_interrupted, unfinished = not sending.done(), self._in_flight
            sending.cancel()
            stop.cancel()
            ended, _ = await asyncio.gather(sending, stop, return_exceptions=True)
        if isinstance(ended, Exception):
            raise ended  # `write` or `Ask` has broken its word
        return Run(self._plan, tuple(self._sent), unfinished, self._most, self._waited, is_interrupted)

    async def _send_all(self) -> None:
        begin = self._loop.time() + LEAD_S
        async with asyncio.TaskGroup() as group:
            for send in self._plan.sends:
                ask = self._write(send)
                await asyncio.sleep(begin + send.at_s - self._loop.time())
                if self._places.locked():
                    self._waited += 1
                await self._places.acquire()
                self._in_flight += 1
                self._most = max(self._most, self._in_flight)
                group.create_task(self._one(send, ask, begin + send.at_s))

    async def _one(self, send: Send, ask: Ask, due: float) -> None:
        late_s = max(0.0, self._loop.time() - due)
        answered = await ask()
        self._in_flight -= 1
        self._sent.append(Sent(send, late_s, answered))
        self._places.release()
        self._progress(len(self._sent), self._in_flight)

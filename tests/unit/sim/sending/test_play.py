"""Sending on time: what goes out when, and what becomes of it when it is stopped."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from sim.sending.outcomes import Answered, Run
from sim.sending.plan import Bounds, Send, plan
from sim.sending.play import play
from sim.traces.trace import Trace, TraceRequest

FINE = Answered(status=200, is_ok=True, ttft_s=0.1, e2e_s=0.2)


def times(*at_s: float) -> Trace:
    """Requests at these times."""
    return Trace("t", 16, tuple(TraceRequest(at, (), 100, 5) for at in at_s))


class Endpoint:
    """Notes when requests come, and answers when it is let. Mutable: its notes."""

    def __init__(self) -> None:
        self.came: list[tuple[int, float]] = []
        self.written: list[int] = []
        self.free = asyncio.Event()
        self.at_once: set[int] = set()
        """Those that are answered whether it is let or not."""
        self.cancelled = 0
        self.holds_up_s: dict[int, float] = {}
        """For how long a request keeps the loop, and so all others, from going on."""

    def write(self, send: Send) -> Callable[[], Awaitable[Answered]]:
        """As `play` wants it."""
        self.written.append(send.number)

        async def ask() -> Answered:
            self.came.append((send.number, asyncio.get_running_loop().time()))
            time.sleep(self.holds_up_s.get(send.number, 0.0))  # noqa: ASYNC251 - the loop is busy
            try:
                if send.number not in self.at_once:
                    await self.free.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            return FINE

        return ask

    async def played(self, trace: Trace, max_in_flight: int = 100, stopped: asyncio.Event | None = None) -> Run:
        """Sends the trace here."""
        planned = plan(trace, Bounds(max_rate=1_000))
        stopped = stopped or asyncio.Event()
        return await play(planned, self.write, max_in_flight=max_in_flight, stopped=stopped)


async def test_requests_go_out_at_their_times_whatever_becomes_of_the_others() -> None:
    """Nobody is answered before all are sent: the distances are the trace's, never less, and lateness is noted."""
    endpoint = Endpoint()
    endpoint.holds_up_s[2] = 0.1
    begin = asyncio.get_running_loop().time()
    task = asyncio.create_task(endpoint.played(times(0.0, 0.02, 0.02, 0.05)))
    while len(endpoint.came) < 4:
        await asyncio.sleep(0.001)
    endpoint.free.set()
    run = await task
    assert [number for number, _ in endpoint.came] == [0, 1, 2, 3]
    for (_, at), one in zip(endpoint.came, run.sent, strict=True):
        assert 0 <= one.late_s <= at - begin - one.send.at_s
    assert run.sent[3].late_s >= 0.02 + 0.1 - 0.05 - 1e-3
    assert (run.in_flight_most, run.waited, run.unfinished, run.is_interrupted) == (4, 0, 0, False)
    assert run.answered == 4


async def test_no_more_in_flight_than_allowed() -> None:
    """The third waits until a place is free, and that is told: the load was not open loop."""
    endpoint = Endpoint()
    task = asyncio.create_task(endpoint.played(times(0.0, 0.0, 0.0), max_in_flight=2))
    while len(endpoint.came) < 2:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    assert len(endpoint.came) == 2
    endpoint.free.set()
    run = await task
    assert (run.in_flight_most, run.waited, len(run.sent)) == (2, 1, 3)
    assert run.sent[2].late_s >= 0.01
    assert not run.is_open_loop


async def test_a_stop_keeps_what_was_measured() -> None:
    """What has ended is there, what is on its way is given up, what was not sent is not sent."""
    endpoint, stopped = Endpoint(), asyncio.Event()
    endpoint.at_once = {0}
    task = asyncio.create_task(endpoint.played(times(0.0, 0.03, 200.0), stopped=stopped))
    while len(endpoint.came) < 2:
        await asyncio.sleep(0.001)
    stopped.set()
    run = await task
    assert (len(run.sent), run.unfinished, run.is_interrupted) == (1, 1, True)
    assert endpoint.cancelled == 1
    assert endpoint.written == [0, 1, 2], "the next one is written before its time"
    assert len(asyncio.all_tasks()) == 1


async def test_a_cancelled_run_leaves_nothing_behind() -> None:
    """No task of it goes on."""
    endpoint = Endpoint()
    task = asyncio.create_task(endpoint.played(times(0.0)))
    while not endpoint.came:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert endpoint.cancelled == 1
    assert len(asyncio.all_tasks()) == 1


async def test_a_broken_client_is_no_silent_loss() -> None:
    """An exception, which an `Ask` never raises, ends the run as one."""

    def write(send: Send) -> Callable[[], Awaitable[Answered]]:
        async def ask() -> Answered:
            raise RuntimeError("broken")

        return ask

    with pytest.raises(ExceptionGroup) as caught:
        await play(plan(times(0.0), Bounds()), write, max_in_flight=1, stopped=asyncio.Event())
    assert caught.group_contains(RuntimeError, match="broken")


async def test_progress_is_told() -> None:
    """How many have ended, and how many are on their way."""
    endpoint, told = Endpoint(), []
    endpoint.free.set()
    await play(
        plan(times(0.0, 0.0), Bounds()),
        endpoint.write,
        max_in_flight=2,
        stopped=asyncio.Event(),
        progress=lambda ended, in_flight: told.append((ended, in_flight)),
    )
    assert [ended for ended, _ in told] == [1, 2]
    assert told[-1] == (2, 0)

"""What every source of endpoints must do (`control_plane.fleet.interface`), whatever it asks."""

import asyncio
from typing import Protocol

from control_plane.fleet.interface import Source
from control_plane.fleet.targets import Target
from tests.unit.control_plane.fleet.moved_time import MovedTime

LONG_S = 600.0
"""Longer than any source waits: moves the clock past its next question."""


class Reported:
    """What a source reported: targets, or the text of a failure. Mutable: written by the source."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.notes: list[str] = []
        self._queue: asyncio.Queue[tuple[Target, ...] | str] = asyncio.Queue()

    def found(self, targets: tuple[Target, ...], note: str = "") -> None:
        """`Report.found`."""
        self.notes.append(note)
        self._queue.put_nowait(targets)

    def failed(self, error: str) -> None:
        """`Report.failed`."""
        self._queue.put_nowait(error)

    async def next(self) -> tuple[Target, ...] | str:
        """The next report."""
        async with asyncio.timeout(10):
            return await self._queue.get()

    async def addresses(self) -> list[str]:
        """The addresses of the next report, which must be one of success."""
        found = await self.next()
        assert not isinstance(found, str), found
        return [target.address for target in found]

    async def error(self) -> str:
        """The text of the next report, which must be one of failure."""
        found = await self.next()
        assert isinstance(found, str), found
        return found


class World(Protocol):
    """What a source looks at, as the suite changes it."""

    def has(self, *addresses: str) -> None:
        """From now on there are these endpoints."""

    def is_empty(self) -> None:
        """From now on the answer is: there is nobody."""

    def is_broken(self) -> None:
        """From now on there is no usable answer."""


async def check_source(source: Source, world: World, time: MovedTime) -> None:
    """The whole suite; `world` starts out as it likes."""
    world.has("10.0.0.2:8000", "10.0.0.1:8000")
    reported = Reported()
    before = asyncio.all_tasks()
    task = asyncio.create_task(source.follow(reported))
    assert await reported.addresses() == ["10.0.0.1:8000", "10.0.0.2:8000"], "at once, sorted"

    world.has("10.0.0.3:8000")
    await until(reported, time, ["10.0.0.3:8000"])

    world.is_empty()
    assert await until_error(reported, time), "an empty answer is a failure, with words for the operator"

    world.is_broken()
    assert await until_error(reported, time)

    world.has("10.0.0.1:8000")
    await until(reported, time, ["10.0.0.1:8000"])

    await time.asleep()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled(), "a cancelled source ends"
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}, "and leaves nothing running"


async def until(reported: Reported, time: MovedTime, addresses: list[str]) -> None:
    """Moves the clock until these are reported, a few questions later at most."""
    for _ in range(10):
        await time.asleep()
        time.move(LONG_S)
        found = await reported.next()
        if not isinstance(found, str) and [target.address for target in found] == addresses:
            return
    raise AssertionError(f"{addresses} were not reported")


async def until_error(reported: Reported, time: MovedTime) -> str:
    """Moves the clock until a failure is reported; nothing empty may be reported before."""
    for _ in range(10):
        await time.asleep()
        time.move(LONG_S)
        found = await reported.next()
        if isinstance(found, str):
            return found
        assert found, "nobody must not be reported as a result"
    raise AssertionError("no failure was reported")

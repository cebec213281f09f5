"""A clock that a test moves, with sleepers that wake up by it."""

import asyncio


class MovedTime:
    """Mutable: the time, written by `move`, and who sleeps until when."""

    def __init__(self) -> None:
        """Starts at some time that is not 0."""
        self.now = 1_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def __call__(self) -> float:
        """The clock."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Waits until the clock has been moved by so much."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now + seconds, future))
        await future

    def move(self, seconds: float) -> None:
        """Moves the clock and wakes who has slept enough."""
        self.now += seconds
        due = [future for at, future in self._sleepers if at <= self.now]
        self._sleepers = [(at, future) for at, future in self._sleepers if at > self.now]
        for future in due:
            if not future.done():
                future.set_result(None)

    @property
    def waits(self) -> list[float]:
        """In how many seconds each living sleeper wakes up."""
        return sorted(at - self.now for at, future in self._sleepers if not future.done())

    async def asleep(self) -> float:
        """Waits until somebody sleeps; gives the shortest wait."""
        async with asyncio.timeout(5):
            while not self.waits:
                await asyncio.sleep(0.001)
        return self.waits[0]

"""A long-running verb in the test's own process, ended by a real SIGTERM."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

PATIENCE_S = 10.0


@asynccontextmanager
async def until_sigterm(verb: Coroutine[object, object, int], is_up: Callable[[], bool]) -> AsyncIterator[None]:
    """Runs `verb` until it `is_up`, and ends it by SIGTERM at the exit; its status must be 0."""
    task = asyncio.create_task(verb)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not is_up():
                assert not task.done(), task.result()
                await asyncio.sleep(0.002)
        yield
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            assert await task == 0
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""Waiting for what must become so: by asking, for a time that only bounds a failure."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar, cast, overload

WAIT_S = 10.0
"""Longest wait for something that takes milliseconds on a quiet machine."""

POLL_S = 0.002
"""Between two looks at a value of this process."""

ASK_POLL_S = 0.02
"""Between two looks that ask another process: each costs it something."""

T = TypeVar("T")


@overload
async def eventually(probe: Callable[[], Awaitable[T]], what: str = ..., timeout_s: float = ...) -> T: ...


@overload
async def eventually(probe: Callable[[], T], what: str = ..., timeout_s: float = ...) -> T: ...


async def eventually(probe: Callable[[], Any], what: str = "what must become so", timeout_s: float = WAIT_S) -> Any:
    """The first true value of `probe`, which may be asynchronous; fails with `what` when none comes in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                value = probe()
                asks = isawaitable(value)
                if asks:
                    value = await cast(Awaitable[Any], value)
                if value:
                    return value
                await asyncio.sleep(ASK_POLL_S if asks else POLL_S)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s:.0f} s for {what}") from None

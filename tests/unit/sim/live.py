"""A fast engine and a bounded wait, for tests with live pods."""

import asyncio
from collections.abc import Callable

from sim.engine import Profile

FAST = Profile(prefill_tokens_per_s=1e6, step_base_ms=1.0, step_per_request_ms=0.0)
"""Steps of 1 ms, so that no test waits; everything else as in the demo."""

LONG_ANSWER = 50_000
"""Tokens of an answer that no test waits for: at 1 ms each it would take 50 s."""


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after a time that only a broken pod needs."""
    async with asyncio.timeout(10.0):
        while not condition():
            await asyncio.sleep(0.001)

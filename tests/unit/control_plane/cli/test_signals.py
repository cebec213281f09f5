"""Waiting for the end of a long-running verb."""

import asyncio
import os
import signal

import pytest

from control_plane.cli.signals import until_stopped


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_either_signal_ends_the_wait(number: signal.Signals) -> None:
    """Not before, and afterwards the process reacts to signals as it did."""
    before = signal.getsignal(signal.SIGTERM)
    waiting = asyncio.create_task(until_stopped())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(5):
        await waiting
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_a_wait_that_is_given_up() -> None:
    """A cancelled wait leaves no handler behind."""
    before = signal.getsignal(signal.SIGTERM)
    waiting = asyncio.create_task(until_stopped())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert signal.getsignal(signal.SIGTERM) == before

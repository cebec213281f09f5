"""The signals that end a long-running verb."""

import asyncio
import os
import signal

import pytest

from control_plane.cli.signals import stopping


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_each_signal_is_told_and_a_second_one_does_no_harm(number: signal.Signals) -> None:
    """Not set before; set by the first; the second, during the end, changes nothing; afterwards all is as it was."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    with stopping() as stopped:
        await asyncio.sleep(0.01)
        assert not stopped.is_set()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stopped.wait()
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.01)
        assert stopped.is_set()
    assert {each: signal.getsignal(each) for each in before} == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

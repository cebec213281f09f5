"""Waiting for the signal that ends a long-running verb."""

import asyncio
import signal

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


async def until_stopped() -> None:
    """Returns when the process gets SIGTERM, SIGINT or, its terminal being closed, SIGHUP.

    A second one ends it at once, as the default does.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in _ENDING:
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)

"""Waiting for the signal that ends a long-running verb."""

import asyncio
import signal


async def until_stopped() -> None:
    """Returns when the process gets SIGTERM or SIGINT; a second one ends it at once, as the default does."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)

"""The signals that end a long-running verb."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def stopping() -> Iterator[asyncio.Event]:
    """An event that is set by SIGTERM, SIGINT or, the terminal being closed, SIGHUP.

    The block is the whole of a verb's work, its end included: a second signal changes nothing there, because an end is
    bounded by itself and, cut short, would leave children behind.
    """
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in _ENDING:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)

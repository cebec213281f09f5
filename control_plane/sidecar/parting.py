"""The end of a sidecar with an Envoy of its own, where clients are to notice nothing: `kvpilot run --drain-time`.

Whoever sends clients here must stop that first, and learns it by `/readyz` (503), by Envoy's own health check, and by
answers that close their connection (Envoy, "Draining": a failed health check makes every answer do so). Who comes all
the same is served. It is over when no request has run for `QUIET_S`, or when the time is.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("kvpilot")

LOOK_S = 0.25
"""Between two looks at what runs; each is one small page of Envoy's admin server."""

QUIET_S = 2.0
"""Without a request for so long nobody is sent here any more, or nobody was: a load balancer that had two requests a
second for us has heard."""


class Draining(Protocol):
    """What an Envoy can be asked for its end."""

    async def begin_drain(self) -> None:
        """Has it tell everybody that it goes; harmless when it does not answer."""

    async def active_requests(self) -> int | None:
        """How many requests of clients run; None when it does not answer."""


async def part(envoy: Draining, limit_s: float, clock: Callable[[], float], quiet_s: float = QUIET_S) -> bool:
    """Waits until nobody is served any more; False where the time was over first. All times in seconds."""
    started = clock()
    await envoy.begin_drain()
    busy_at, last = started, -1
    while clock() - started < limit_s:
        active = await envoy.active_requests()
        if active is None:
            return True  # it has ended, and nothing can be waited for
        if active != last:
            log.info("%d requests run; %.0f s are left", active, limit_s - (clock() - started))
            last = active
        if active:
            busy_at = clock()
        elif clock() - busy_at >= quiet_s:
            return True
        await asyncio.sleep(LOOK_S)
    return False

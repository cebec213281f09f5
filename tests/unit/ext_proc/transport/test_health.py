"""The state behind gRPC health checking."""

import asyncio

import pytest

from ext_proc.transport.health import LIVENESS, SERVICES, Health
from ext_proc.wire_health import ServingStatus

SERVING = ServingStatus.SERVING
NOT_SERVING = ServingStatus.NOT_SERVING


@pytest.mark.parametrize("service", SERVICES)
def test_services(service: str) -> None:
    """Nothing serves at first, all serve then, and none at the end; only liveness is always true (T34)."""
    health = Health()
    seen = [health.check(service)]
    for is_serving in (True, False):
        health.set_serving(is_serving)
        seen.append(health.check(service))
    assert seen == ([SERVING] * 3 if service == LIVENESS else [NOT_SERVING, SERVING, NOT_SERVING])


def test_unknown_service() -> None:
    """A service of another name is unknown."""
    assert Health().check("other") is ServingStatus.SERVICE_UNKNOWN


async def test_watch() -> None:
    """A watcher is told the status at once and then each change, not each call."""
    health = Health()
    watch = health.watch("readiness")
    assert await anext(watch) is NOT_SERVING
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    health.set_serving(False)
    await asyncio.sleep(0)
    assert not waiting.done()
    health.set_serving(True)
    assert await waiting is SERVING
    health.set_serving(False)
    health.set_serving(True)
    health.set_serving(False)
    assert await anext(watch) is NOT_SERVING


async def test_watch_of_what_never_changes() -> None:
    """A watcher of an unknown service is told so once."""
    health = Health()
    watch = health.watch("other")
    assert await anext(watch) is ServingStatus.SERVICE_UNKNOWN
    waiting = asyncio.ensure_future(anext(watch))
    health.set_serving(True)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()

"""The engine in real time."""

import asyncio

import pytest

from sim.driver import EngineDriver
from sim.engine import Engine, Request, Usage
from sim.metrics import Observations
from tests.kit.waiting import eventually
from tests.unit.sim.live import FAST, LONG_ANSWER


async def test_a_ticket_gets_all_tokens_and_the_usage() -> None:
    """Tokens arrive in pieces that add up, and the end comes with the last of them."""
    seen = Observations()
    driver = EngineDriver(Engine(FAST), seen)
    ticket = driver.submit(Request("r", (), 100, 5), "length")
    tokens = 0
    while not ticket.is_over:
        tokens += await ticket.more()
    assert (tokens, ticket.usage) == (5, Usage(100, 0, 5))
    assert (seen.ttft_s.count, seen.finished["length"], seen.finished["abort"]) == (1, 1, 0)
    driver.close()


async def test_an_idle_driver_has_no_timer_and_wakes_up_again() -> None:
    """Nothing is armed while there is nothing to do; a later request is served as the first was."""
    driver = EngineDriver(Engine(FAST), Observations())
    for name in ("first", "second"):
        assert driver._timer is None
        assert await driver.submit(Request(name, (), 10, 2), "stop").end() == Usage(10, 0, 2)
    driver.close()


async def test_an_abort_frees_the_engine() -> None:
    """An aborted request leaves the engine at the end of the step, and is counted once."""
    seen = Observations()
    driver = EngineDriver(Engine(FAST), seen)
    ticket = driver.submit(Request("r", (), 10, LONG_ANSWER), "length")
    await ticket.more()
    driver.abort(ticket)
    driver.abort(ticket)
    await eventually(lambda: driver.engine.next_event_at() is None)
    assert (driver.engine.unfinished, driver.engine.cache.used, seen.finished["abort"]) == (0, 0, 1)
    driver.close()


async def test_an_ended_request_is_not_aborted() -> None:
    """Abort after the end changes nothing."""
    seen = Observations()
    driver = EngineDriver(Engine(FAST), seen)
    ticket = driver.submit(Request("r", (), 10, 1), "stop")
    await ticket.end()
    driver.abort(ticket)
    assert (seen.finished["stop"], seen.finished["abort"]) == (1, 0)
    driver.close()


async def test_a_closed_driver_is_silent() -> None:
    """After close no timer runs and no ticket is served."""
    driver = EngineDriver(Engine(FAST), Observations())
    ticket = driver.submit(Request("r", (), 10, LONG_ANSWER), "length")
    await ticket.more()
    driver.close()
    assert driver._timer is None
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await ticket.more()

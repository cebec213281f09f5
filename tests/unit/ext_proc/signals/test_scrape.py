"""Scraping real HTTP servers: what comes of good, slow, huge, broken and vanishing ones."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.signals.scrape import IDLE_AFTER, MAX_PAGE_BYTES, Scraper, ScrapeTiming, _Pace

TIMING = ScrapeTiming(interval_s=0.01, idle_interval_s=0.02, timeout_s=5.0, max_backoff_s=0.02, max_rate_per_s=1e6)
PATIENCE_S = 20.0
"""No test waits this long unless it has failed."""

PAGE = "vllm:num_requests_running 3.0\nvllm:num_requests_waiting 1.0\nvllm:kv_cache_usage_perc 0.5\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Engine:
    """A pretended engine. Mutable: what it answers, and what it has seen."""

    address: str = ""
    status: int = 200
    page: str = PAGE
    seen: int = 0
    now: int = 0
    most_at_once: int = 0
    connections: set[object] = field(default_factory=set)
    stall: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """Its metrics page."""
        self.seen += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        self.connections.add(request.transport)
        self.entered.set()
        try:
            if self.stall is not None:
                await self.stall.wait()
        finally:
            self.now -= 1
        headers = {"location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, text=self.page, headers=headers)


@asynccontextmanager
async def serving(engine: Engine, handler: Handler | None = None) -> AsyncIterator[Engine]:
    """Runs an engine on a port of the system's choice."""
    app = web.Application()
    app.router.add_get("/metrics", handler or engine.metrics)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine.address = "{}:{}".format(*runner.addresses[0])
    try:
        yield engine
    finally:
        await runner.cleanup()


class Results:
    """Collects events. Mutable: those not yet taken."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Scraped | ScrapeFailed] = asyncio.Queue()

    async def next(self) -> Scraped | ScrapeFailed:
        """The next event."""
        return await asyncio.wait_for(self.queue.get(), PATIENCE_S)

    async def until(self, kind: type[Scraped] | type[ScrapeFailed]) -> Scraped | ScrapeFailed:
        """The next event of that kind."""
        while not isinstance(event := await self.next(), kind):
            pass
        return event


@asynccontextmanager
async def scraping(timing: ScrapeTiming = TIMING) -> AsyncIterator[tuple[Scraper, Results]]:
    """A running scraper whose clock stands at 3 s."""
    results = Results()
    scraper = Scraper(on_event=results.queue.put_nowait, clock=lambda: 3.0, rng=random.Random(1), timing=timing)
    scraper.start()
    try:
        yield scraper, results
    finally:
        await scraper.stop()


async def test_good_page() -> None:
    """A page becomes an event with its numbers, again and again, over one connection and one at a time."""
    async with serving(Engine()) as engine, scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        for _ in range(3):
            assert await results.next() == Scraped(address=engine.address, at=3.0, running=3, waiting=1, kv_usage=0.5)
        assert len(engine.connections) == 1
        assert engine.most_at_once == 1
        assert scraper.failing() == {}


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Engine(status=404), "HTTP 404"),
        (Engine(status=302), "HTTP 302"),
        (Engine(page="<html>"), "running and waiting"),
        (Engine(page="vllm:num_requests_running 1\n"), "running and waiting"),
        (Engine(page="x" * (MAX_PAGE_BYTES + 1)), "more than 4194304 bytes"),
    ],
    ids=["not found", "redirect", "no metrics", "half", "huge"],
)
async def test_useless_pages(engine: Engine, reason: str) -> None:
    """What is no page of an engine is a failure with its reason, shown until it is over."""
    async with serving(engine), scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        event = await results.next()
        assert isinstance(event, ScrapeFailed)
        assert (event.address, event.at) == (engine.address, 3.0)
        assert reason in event.reason
        assert scraper.failing() == {engine.address: event.reason}
        engine.status, engine.page = 200, PAGE
        await results.until(Scraped)
        assert scraper.failing() == {}


async def test_nobody_listens() -> None:
    """A refused connection is a failure, and tried again."""
    async with serving(Engine()) as engine:
        pass
    async with scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        for _ in range(2):
            assert isinstance(await results.next(), ScrapeFailed)


async def test_no_answer() -> None:
    """An engine that does not answer in time is a failure, and no second request is sent beside the first."""
    engine = Engine(stall=asyncio.Event())
    async with serving(engine), scraping(ScrapeTiming(interval_s=0.01, timeout_s=0.05)) as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        event = await results.next()
        assert isinstance(event, ScrapeFailed)
        assert event.reason == "no page within 0.05 s"
        assert engine.most_at_once == 1


async def test_page_cut_off() -> None:
    """A connection that ends inside the page is a failure, not half a page."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "1000"})
        await response.prepare(request)
        await response.write(PAGE.encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(Engine(), cut) as engine, scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        assert isinstance(await results.next(), ScrapeFailed)


async def test_endpoints_come_and_go() -> None:
    """Exactly the endpoints of the last call are scraped; one that left is forgotten, failures included."""
    async with serving(Engine()) as one, serving(Engine(status=500)) as two, scraping() as (scraper, results):
        scraper.set_endpoints({one.address: "vllm", two.address: "vllm"})
        await results.until(Scraped)
        await results.until(ScrapeFailed)
        scraper.set_endpoints({one.address: "vllm"})
        assert scraper.failing() == {}
        while not results.queue.empty():
            results.queue.get_nowait()
        for _ in range(5):
            assert (await results.next()).address == one.address


async def test_what_stays_is_not_disturbed() -> None:
    """Naming an endpoint again does not start it again: its connection stays the same."""
    async with serving(Engine()) as engine, scraping() as (scraper, results):
        for _ in range(3):
            scraper.set_endpoints({engine.address: "vllm"})
            await results.next()
        assert len(engine.connections) == 1


async def test_engines_that_are_not_understood() -> None:
    """An engine whose page is not known is left alone, also when an endpoint turns into one."""
    async with serving(Engine()) as engine, scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        await results.next()
        assert len(scrapes(engine)) == 1
        scraper.set_endpoints({engine.address: "trtllm"})
        await asyncio.wait(scrapes(engine), timeout=PATIENCE_S)
        assert scrapes(engine) == []


def scrapes(engine: Engine) -> list[asyncio.Task[object]]:
    """The tasks that scrape an engine."""
    return [task for task in asyncio.all_tasks() if task.get_name() == f"scrape {engine.address}"]


async def test_stop() -> None:
    """Stopping ends a request that is under way, and may be done twice, or before the start."""
    engine = Engine(stall=asyncio.Event())
    async with serving(engine), scraping() as (scraper, results):
        scraper.set_endpoints({engine.address: "vllm"})
        await asyncio.wait_for(engine.entered.wait(), PATIENCE_S)
        await scraper.stop()
        await scraper.stop()
        assert results.queue.empty()
    await Scraper(on_event=results.queue.put_nowait, clock=lambda: 0.0, rng=random.Random(1)).stop()


def pause(pace: _Pace, endpoints: int = 1, timing: ScrapeTiming | None = None) -> float:
    """The pause after a scrape, with the jitter in its middle."""

    class Middle(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return (a + b) / 2

    scraper = Scraper(on_event=lambda _: None, clock=lambda: 0.0, rng=Middle(), timing=timing)
    scraper._watches = dict.fromkeys(map(str, range(endpoints)))  # type: ignore[assignment]
    return scraper._pause_s(pace)


def test_pace() -> None:
    """Idle endpoints are asked once a second, broken ones ever more seldom up to five seconds."""
    assert pause(_Pace()) == 0.2
    assert pause(_Pace(idle=IDLE_AFTER - 1)) == 0.2
    assert pause(_Pace(idle=IDLE_AFTER)) == 1.0
    assert [pause(_Pace(failures=count)) for count in (1, 2, 3, 4, 5, 10_000)] == [0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_all_together_are_bounded() -> None:
    """A thousand endpoints are asked as often in all as the bound allows."""
    assert pause(_Pace(), endpoints=1_000) == 4.0
    assert pause(_Pace(idle=IDLE_AFTER), endpoints=1_000) == 4.0
    assert pause(_Pace(), endpoints=50) == 0.2


def test_jitter() -> None:
    """Pauses differ by up to a tenth, so that endpoints do not fall into step."""
    scraper = Scraper(on_event=lambda _: None, clock=lambda: 0.0, rng=random.Random(1))
    pauses = {scraper._pause_s(_Pace()) for _ in range(20)}
    assert len(pauses) == 20
    assert all(0.18 <= each <= 0.22 for each in pauses)


async def test_load_ends_idleness() -> None:
    """A request on an idle endpoint makes it busy again at once."""
    scraper = Scraper(on_event=lambda _: None, clock=lambda: 0.0, rng=random.Random(1))
    pace = _Pace()
    for _ in range(IDLE_AFTER + 3):
        scraper._note("a", Scraped(address="a", at=0.0, running=0, waiting=0), pace)
    assert pace.idle > IDLE_AFTER
    scraper._note("a", Scraped(address="a", at=0.0, running=0, waiting=1), pace)
    assert pace.idle == 0

"""Scraping real HTTP servers: what comes of good, slow, huge, broken and vanishing ones."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.core.settings import ScrapeSettings
from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.vllm import read_vllm
from ext_proc.signals.fetch import MAX_PAGE_BYTES
from ext_proc.signals.numbers import Scrape
from ext_proc.signals.scrape import (
    DETAIL_INTERVAL_S,
    IDLE_AFTER,
    MISSING_S,
    Scraper,
    ScrapeTiming,
    Target,
    _Pace,
    target_of,
)
from sim.dialects import DIALECTS
from sim.pod import Pod, PodSpec
from tests.unit.ext_proc.signals.pages import page

TIMING = ScrapeTiming(interval_s=0.01, idle_interval_s=0.02, timeout_s=5.0, max_backoff_s=0.02, max_rate_per_s=1e6)
PATIENCE_S = 20.0
"""No test waits this long unless it has failed."""

CUT = 599
"""In place of a status: the connection ends without an answer."""

PAGE = "vllm:num_requests_running 3.0\nvllm:num_requests_waiting 1.0\nvllm:kv_cache_usage_perc 0.5\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Engine:
    """A pretended engine. Mutable: what it answers, and what it has seen. `pages` are further ones by their path, and
    with them `/metrics` is there only if it is one of them."""

    address: str = ""
    status: int = 200
    page: str = PAGE
    seen: int = 0
    now: int = 0
    most_at_once: int = 0
    connections: set[object] = field(default_factory=set)
    stall: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    pages: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

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
        self.asked.append(request.path)
        self.tokens.append(request.headers.get("authorization", ""))
        headers = {"location": "/elsewhere"} if self.status == 302 else self.headers
        if self.pages and self.status == 200:
            body = self.pages.get(request.path)
            status = self.statuses.get(request.path, 404)
            if status == CUT and request.transport is not None:
                request.transport.close()
            return web.Response(status=status, headers=headers) if body is None else web.Response(body=body)
        return web.Response(status=self.status, text=self.page, headers=headers)


@asynccontextmanager
async def serving(engine: Engine, handler: Handler | None = None) -> AsyncIterator[Engine]:
    """Runs an engine on a port of the system's choice."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", handler or engine.metrics)
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
        (Engine(page="vllm:num_requests_running 1\n"), "not tell waiting requests"),
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
        scraper.set_endpoints({engine.address: "custom"})
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


def test_pages_that_are_slow_to_read() -> None:
    """Nobody is picked while a page is read: one that takes 0.3 s is read every 15 s, a usual one as often as ever."""
    assert pause(_Pace(reading_s=0.3)) == pytest.approx(15.0)
    assert pause(_Pace(reading_s=0.0001)) == 0.2


async def test_time_to_read_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause follows from how long the pages of the last scrape took, not from those before."""
    now, takes = 0.0, iter((0.25, 0.0))

    async def get(*_: str) -> bytes:
        return PAGE.encode()

    def read(body: bytes) -> Scrape:
        nonlocal now
        now += next(takes)
        return read_vllm(body)

    scraper = Scraper(on_event=lambda _: None, clock=lambda: now, rng=random.Random(1))
    monkeypatch.setattr(scraper._pages, "get", get)
    adapter = Adapter(engine="slow", title="", pages=(Page(path="/metrics", read=read),))
    pace = _Pace()
    for reading_s in (0.25, 0.0):
        assert isinstance(await scraper._scrape(Target(address="a:1", host="a:1", adapter=adapter), pace), Scraped)
        assert pace.reading_s == reading_s


def test_all_together_are_bounded() -> None:
    """A thousand endpoints are asked as often in all as the bound allows."""
    assert pause(_Pace(), endpoints=1_000) == 4.0
    assert pause(_Pace(idle=IDLE_AFTER), endpoints=1_000) == 4.0
    assert pause(_Pace(), endpoints=50) == 0.2


async def test_many_do_not_begin_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred endpoints at 100 scrapes a second are asked for the first time in the course of a second."""
    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    scraper = Scraper(
        on_event=lambda _: None,
        clock=lambda: 0.0,
        rng=random.Random(1),
        timing=ScrapeTiming(max_rate_per_s=100.0),
    )
    scraper.set_endpoints({f"127.0.0.1:{port}": "vllm" for port in range(1, 101)})
    await real_sleep(0)
    await scraper.stop()
    assert len(slept) == 100
    assert min(slept) < 0.1
    assert 0.9 < max(slept) <= 1.0


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


class Clock:
    """Mutable: `now`, set by the test."""

    def __init__(self) -> None:
        self.now = 3.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def looking(engine: Engine, kind: str, settings: ScrapeSettings | None = None) -> AsyncIterator["Looks"]:
    """Single looks at an engine of some kind, with a clock of the test's."""
    async with serving(engine):
        clock = Clock()
        scraper = Scraper(on_event=lambda _: None, clock=clock, rng=random.Random(1), timing=TIMING)
        scraper.start()
        target = target_of(engine.address, kind, "p", settings)
        assert target is not None

        async def look() -> Scraped | ScrapeFailed:
            engine.asked.clear()
            return await scraper._scrape(target, pace)

        pace = _Pace()
        try:
            yield Looks(look, clock, pace)
        finally:
            await scraper.stop()


@dataclass
class Looks:
    """How a test looks at an engine."""

    look: Callable[[], Awaitable[Scraped | ScrapeFailed]]
    clock: Clock
    pace: _Pace


async def test_details_are_asked_for_now_and_then() -> None:
    """Queues are read each time, memory and counters once a second; in between they are not told, not repeated."""
    pages = {
        "/metrics": page("captured/llamacpp-b11549-queue.prom"),
        "/slots": page("captured/llamacpp-b11549-slots.json"),
    }
    async with looking(Engine(pages=pages), "llamacpp") as it:
        for seconds, kv_tokens in ((0, 16_384), (0.2, None), (DETAIL_INTERVAL_S, 16_384)):
            it.clock.now = 3.0 + seconds
            event = await it.look()
            assert isinstance(event, Scraped)
            assert (event.running, event.waiting, event.kv_tokens) == (4, 2, kv_tokens)


async def test_details_that_fail_cost_nothing() -> None:
    """The load is what a scrape is for: without the other page it is told all the same."""
    for engine in (
        Engine(pages={"/metrics": page("llamacpp-b11549.prom"), "/slots": b"nonsense"}),
        Engine(pages={"/metrics": page("llamacpp-b11549.prom")}, statuses={"/slots": 500}),
        Engine(pages={"/metrics": page("llamacpp-b11549.prom")}, statuses={"/slots": CUT}),
    ):
        async with looking(engine, "llamacpp") as it:
            for asked in (["/metrics", "/slots"], ["/metrics"]):
                assert isinstance(await it.look(), Scraped)
                # The client itself tries once more where a kept connection ends.
                assert list(dict.fromkeys(engine.asked)) == asked


async def test_a_page_that_an_engine_does_not_have() -> None:
    """An old SGLang is asked for `/v1/loads` once a minute, and read from `/metrics` meanwhile."""
    engine = Engine(pages={"/metrics": page("sglang-0.4.6.prom")})
    async with looking(engine, "sglang") as it:
        for seconds, asked in (
            (0, ["/v1/loads", "/metrics"]),
            (1, ["/metrics"]),
            (MISSING_S, ["/v1/loads", "/metrics"]),
        ):
            it.clock.now = 3.0 + seconds
            event = await it.look()
            assert isinstance(event, Scraped)
            assert (event.running, event.waiting, event.prefix_hit_rate) == (2, 0, 0.62)
            assert engine.asked == asked


async def test_two_pages_together() -> None:
    """A new SGLang tells the load by `/v1/loads`, and its counters in `/metrics` now and then."""
    loads = page("sglang-0.5.23-v1_loads.json")
    engine = Engine(pages={"/metrics": page("sglang-0.5.23.prom"), "/v1/loads": loads})
    async with looking(engine, "sglang") as it:
        event = await it.look()
        assert isinstance(event, Scraped)
        assert (event.waiting_tokens, event.block_size) == (41_211, 64)
        it.clock.now += 0.2
        event = await it.look()
        assert isinstance(event, Scraped)
        assert (event.waiting_tokens, event.block_size, engine.asked) == (41_211, None, ["/v1/loads"])


async def test_no_page_at_all() -> None:
    """The reason says what the engine must be started with, each time, and it is asked again."""
    engine = Engine(pages={"/other": b""})
    async with looking(engine, "sglang") as it:
        for _ in range(2):
            event = await it.look()
            assert isinstance(event, ScrapeFailed)
            assert event.reason.startswith(
                "/v1/loads?include=core: HTTP 404 (it needs SGLang 0.5.9 or later); /metrics"
            )
            assert "--enable-metrics" in event.reason
            assert engine.asked == ["/v1/loads", "/metrics"]


async def test_records_of_trtllm_are_left_alone() -> None:
    """`/metrics` of `trtllm-serve` is not touched, unless the policy names it; an empty list is no load of zero."""
    engine = Engine(pages={"/metrics": page("trtllm-serve-iteration-stats.json")})
    async with looking(engine, "trtllm") as it:
        event = await it.look()
        assert isinstance(event, ScrapeFailed)
        assert "return_perf_metrics" in event.reason
        assert engine.asked == ["/prometheus/metrics"]
    async with looking(engine, "trtllm", ScrapeSettings(path="/metrics")) as it:
        event = await it.look()
        assert isinstance(event, Scraped)
        assert (event.running, event.waiting) == (17, 5)
        engine.pages["/metrics"] = b"[]"
        event = await it.look()
        assert isinstance(event, ScrapeFailed)
        assert "no iteration" in event.reason


async def test_a_custom_engine() -> None:
    """Path and names come from the policy."""
    engine = Engine(pages={"/stats": b"busy 3\nqueued 4\n"})
    settings = ScrapeSettings(path="/stats", metrics={"running": "busy", "waiting": "queued"})
    async with looking(engine, "custom", settings) as it:
        event = await it.look()
        assert isinstance(event, Scraped)
        assert (event.running, event.waiting) == (3, 4)


async def test_retry_after_is_obeyed() -> None:
    """An engine that names a time is left alone that long, however short the back-off would be."""
    engine = Engine(status=503, headers={"retry-after": "30"})
    async with looking(engine, "vllm") as it:
        assert isinstance(await it.look(), ScrapeFailed)
        assert it.pace.retry_after_s == 30
        it.pace.failures = 1
        assert pause(it.pace) == 30
        scraper = Scraper(on_event=lambda _: None, clock=lambda: 0.0, rng=random.Random(1))
        assert all(scraper._pause_s(it.pace) >= 30 for _ in range(20)), "jitter makes it no shorter"
        engine.status = 200
        assert isinstance(await it.look(), Scraped)
        assert it.pace.retry_after_s == 0


@pytest.mark.parametrize(
    ("kind", "settings", "host"),
    [
        ("vllm", ScrapeSettings(), "10.0.0.1:8000"),
        ("vllm", ScrapeSettings(port=9000), "10.0.0.1:9000"),
        ("triton", ScrapeSettings(), "10.0.0.1:8002"),
        ("triton", ScrapeSettings(port=9000), "10.0.0.1:9000"),
    ],
)
def test_ports(kind: str, settings: ScrapeSettings, host: str) -> None:
    """Metrics may be on another port than requests."""
    target = target_of("10.0.0.1:8000", kind, "p", settings)
    assert target is not None
    assert target.host == host
    other = target_of("[fd00::1]:8000", kind, "p", settings)
    assert other is not None
    assert other.host == host.replace("10.0.0.1", "[fd00::1]")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("vllm", ScrapeSettings(is_on=False)),
        ("nobody", ScrapeSettings()),
        ("custom", ScrapeSettings()),
        ("custom", ScrapeSettings(metrics={"running": "not a name"})),
    ],
)
def test_nothing_to_ask(kind: str, settings: ScrapeSettings) -> None:
    """A pool that is not to be scraped, an engine that nobody knows, and names that are none."""
    assert target_of("10.0.0.1:8000", kind, "p", settings) is None


async def test_tokens() -> None:
    """The pool's token is sent, the newest with each scrape; while its file is missing nothing is sent."""
    tokens: dict[str, str | None] = {"p": "first"}
    results = Results()
    async with serving(Engine()) as engine:
        scraper = Scraper(
            on_event=results.queue.put_nowait,
            clock=lambda: 3.0,
            rng=random.Random(1),
            timing=TIMING,
            pod_token=lambda pool: tokens[pool],
        )
        scraper.start()
        try:
            scraper.set_endpoints({engine.address: "vllm"}, {engine.address: "p"})
            await results.until(Scraped)
            assert set(engine.tokens) == {"Bearer first"}
            tokens["p"] = None
            event = await results.until(ScrapeFailed)
            assert isinstance(event, ScrapeFailed)
            assert "token file" in event.reason
            tokens["p"] = "second"
            await results.until(Scraped)
            assert engine.tokens[-1] == "Bearer second"
        finally:
            await scraper.stop()


async def test_settings_that_change() -> None:
    """Other settings count at once; the same ones disturb nothing."""
    async with serving(Engine(pages={"/metrics": PAGE.encode()})) as engine, scraping() as (scraper, results):
        pools = {engine.address: "p"}
        for path, kind in (("", Scraped), ("/elsewhere", ScrapeFailed), ("/metrics", Scraped)):
            scraper.set_endpoints({engine.address: "vllm"}, pools, {"p": ScrapeSettings(path=path)})
            await results.until(kind)
        before = scrapes(engine)
        scraper.set_endpoints({engine.address: "vllm"}, pools, {"p": ScrapeSettings(path="/metrics")})
        assert scrapes(engine) == before
        scraper.set_endpoints({engine.address: "vllm"}, pools, {"p": ScrapeSettings(is_on=False)})
        await asyncio.wait(before, timeout=PATIENCE_S)
        assert scrapes(engine) == []


def test_interval_of_a_pool() -> None:
    """A pool's own interval stands in place of the usual one, under load and for the back-off."""
    scraper = Scraper(on_event=lambda _: None, clock=lambda: 0.0, rng=random.Random(1))
    assert 1.8 <= scraper._pause_s(_Pace(), 2.0) <= 2.2
    assert 3.6 <= scraper._pause_s(_Pace(failures=1), 2.0) <= 4.4
    assert 1.8 <= scraper._pause_s(_Pace(idle=IDLE_AFTER), 2.0) <= 2.2


@pytest.mark.parametrize(("status", "asked_again"), [(401, False), (500, True), (503, True)])
async def test_a_page_that_is_refused(status: int, asked_again: bool) -> None:
    """One page that is closed or fails does not cost the other; what may pass is asked for each time."""
    engine = Engine(pages={"/metrics": page("sglang-0.5.9.prom")}, statuses={"/v1/loads": status})
    async with looking(engine, "sglang") as it:
        for first in (True, False):
            event = await it.look()
            assert isinstance(event, Scraped)
            assert ("/v1/loads" in engine.asked) is (first or asked_again)


async def test_all_pages_are_refused() -> None:
    """All reasons are told, and the longest wait that was asked for counts."""
    engine = Engine(pages={"/other": b""}, statuses={"/v1/loads": 500, "/metrics": 503}, headers={"retry-after": "9"})
    async with looking(engine, "sglang") as it:
        event = await it.look()
        assert isinstance(event, ScrapeFailed)
        assert event.reason == "/v1/loads?include=core: HTTP 500; /metrics: HTTP 503"
        assert it.pace.retry_after_s == 9


@pytest.mark.parametrize("engine", DIALECTS)
async def test_simulated_pods(engine: str) -> None:
    """Each dialect of a simulated pod is followed by the scraper for that engine."""
    async with Pod(PodSpec(name="p", models=("m",), dialect=engine)) as pod, scraping() as (scraper, results):
        scraper.set_endpoints({pod.address: engine})
        for _ in range(2):
            event = await results.next()
            assert isinstance(event, Scraped), event
            assert (event.running, event.waiting) == (0, 0)

"""Asking exporters: one question for all endpoints of a node, whose GPUs are whose, and what comes of broken ones."""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ext_proc.core.gpus import GpusTold, GpusUntold
from ext_proc.core.settings import GpuSettings
from ext_proc.signals.fetch import MAX_PAGE_BYTES
from ext_proc.signals.gpu_exporters import Asked, GpuExporters
from ext_proc.signals.pod_tls import PodTls, PodTlsOf, PodTokenOf, no_token, plaintext
from tests.unit.ext_proc.signals.test_gpu_pages import PAGE, UUID
from tests.unit.ext_proc.signals.test_scrape import PATIENCE_S, Engine, serving

A, B, C = "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000"


@asynccontextmanager
async def asking(
    pod_tls: PodTlsOf = plaintext, token: PodTokenOf = no_token
) -> AsyncIterator[tuple[GpuExporters, "asyncio.Queue[GpusTold | GpusUntold]"]]:
    """Running questions whose clock stands at 3 s."""
    told: asyncio.Queue[GpusTold | GpusUntold] = asyncio.Queue()
    exporters = GpuExporters(
        on_event=told.put_nowait, clock=lambda: 3.0, rng=random.Random(1), pod_tls=pod_tls, token=token
    )
    try:
        yield exporters, told
    finally:
        await exporters.stop()


def asked(engine: Engine, pool: str = "chat", **values: object) -> Asked:
    """Every ten milliseconds, at `/metrics` of an exporter, the GPUs of the pod that a label names."""
    settings = {"url": f"http://{engine.address}/metrics", "match": (("pod", "{label.pod}"),), "interval_s": 0.01}
    labels = values.pop("labels", {"pod": "llama-0"})
    gpu = GpuSettings(**{**settings, "timeout_s": PATIENCE_S, **values})  # type: ignore[arg-type]
    return Asked(pool=pool, gpu=gpu, labels=labels)  # type: ignore[arg-type]


async def taken(told: "asyncio.Queue[GpusTold | GpusUntold]", count: int = 1) -> list[GpusTold | GpusUntold]:
    """So many events."""
    return [await asyncio.wait_for(told.get(), PATIENCE_S) for _ in range(count)]


async def test_one_question_for_a_whole_node() -> None:
    """Three endpoints of two pools have one exporter: it is asked once a round, and each is told of its own GPUs."""
    async with serving(Engine(page=PAGE.decode())) as engine, asking() as (exporters, told):
        exporters.set_endpoints(
            {
                A: asked(engine),
                B: asked(engine, labels={"pod": "llama-1"}, pool="code"),
                C: asked(engine, match=(("gpu", "{label.gpus}"),), labels={"gpus": "1,3"}),
            }
        )
        events = await taken(told, 30)
        gpus = {event.address: [gpu.name for gpu in event.gpus] for event in events if isinstance(event, GpusTold)}
        assert gpus == {
            A: [UUID.format(0), UUID.format(1)],
            B: [UUID.format(2)],
            C: [UUID.format(1), UUID.format(3)],
        }
        assert {event.at for event in events} == {3.0}
        assert engine.seen <= 12
        assert engine.most_at_once == 1
        assert exporters.failing() == {}
        assert exporters.reads["failed"] == 0
        assert exporters.reads["ok"] >= 10


async def test_gpus_that_several_endpoints_have(caplog: pytest.LogCaptureFixture) -> None:
    """Discovery brought two engines of one node, and nothing says whose GPUs are whose: one line for that."""
    async with serving(Engine(page=PAGE.decode())) as engine, asking() as (exporters, _):
        alike = {A: asked(engine, match=()), B: asked(engine, match=()), C: asked(engine)}
        exporters.set_endpoints({A: alike[A], C: alike[C]})
        assert not caplog.records
        for _ in range(2):
            exporters.set_endpoints(alike)
        (record,) = caplog.records
        page = f"http://{engine.address}/metrics"
        assert record.getMessage().startswith(f"{page}: several endpoints are judged by all GPUs there")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        (Engine(status=500), "HTTP 500"),
        (Engine(status=302), "HTTP 302"),
        (Engine(page="<html>"), "the page tells of no GPU"),
        (Engine(page="x" * (MAX_PAGE_BYTES + 1)), "more than 4194304 bytes"),
        (Engine(page="{"), "truncated"),
    ],
)
async def test_an_exporter_that_cannot_be_read(engine: Engine, reason: str) -> None:
    """Is told as such, which is no word about GPUs; and is over when it can be."""
    async with serving(engine), asking() as (exporters, told):
        exporters.set_endpoints({A: asked(engine)})
        assert await taken(told) == [GpusUntold(address=A, at=3.0)]
        (shown,) = exporters.failing().values()
        assert reason in shown
        engine.status, engine.page = 200, PAGE.decode()
        while not isinstance((await taken(told))[0], GpusTold):
            pass
        assert exporters.failing() == {}


async def test_nobody_listens_or_answers() -> None:
    """Neither is waited for longer than wanted."""
    async with serving(Engine(stall=asyncio.Event())) as engine, asking() as (exporters, told):
        exporters.set_endpoints({A: asked(engine, timeout_s=0.02)})
        assert await taken(told) == [GpusUntold(address=A, at=3.0)]
        assert list(exporters.failing().values()) == ["no answer within 0.02 s"]
    async with asking() as (exporters, told):
        exporters.set_endpoints({A: asked(engine)})
        assert await taken(told) == [GpusUntold(address=A, at=3.0)]
        assert "cannot connect" in next(iter(exporters.failing().values()))


async def test_endpoints_without_gpus() -> None:
    """No row of theirs on the page, or no label that says where to look: shown, and nobody else suffers."""
    async with serving(Engine(page=PAGE.decode())) as engine, asking() as (exporters, told):
        exporters.set_endpoints(
            {
                A: asked(engine),
                B: asked(engine, labels={"pod": "gone"}),
                C: asked(engine, labels={}),
                "10.0.0.4:80": asked(engine, url="http://{label.node}/", labels={"node": "a/b?", "pod": "x"}),
            }
        )
        events = {event.address: type(event) for event in await taken(told, 20)}
        assert events == {A: GpusTold, B: GpusUntold, C: GpusUntold, "10.0.0.4:80": GpusUntold}
        assert exporters.failing() == {
            f"http://{engine.address}/metrics": f"no GPU there matches {B}",
            C: "the endpoint has no label pod",
            "10.0.0.4:80": "the endpoint's label node cannot be a part of a URL",
        }
        exporters.set_endpoints({A: asked(engine)})
        await taken(told, 8)
        assert exporters.failing() == {}


async def test_a_question_that_is_asked_twice() -> None:
    """Pools look at an exporter at different paces: that one finds its GPUs does not hide that the other does not."""
    async with serving(Engine(page=PAGE.decode())) as engine, asking() as (exporters, told):
        exporters.set_endpoints({A: asked(engine), B: asked(engine, labels={"pod": "gone"}, interval_s=0.02)})
        while GpusUntold(address=B, at=3.0) not in await taken(told):
            pass
        for _ in range(10):
            await taken(told)
            assert list(exporters.failing().values()) == [f"no GPU there matches {B}"]


async def test_who_loses_the_label_that_leads_there() -> None:
    """What was told ages from then on, and does not stay for ever; where GPUs were found is told with them."""
    async with serving(Engine(page=PAGE.decode())) as engine, asking() as (exporters, told):
        exporters.set_endpoints({A: asked(engine)})
        (event,) = await taken(told)
        assert isinstance(event, GpusTold)
        assert event.source == f"http://{engine.address}/metrics pod=llama-0"
        exporters.set_endpoints({A: asked(engine, labels={})})
        events = await taken(told, 8)
        assert events[-1] == GpusUntold(address=A, at=3.0)
        assert exporters.failing() == {A: "the endpoint has no label pod"}
        exporters.set_endpoints({A: asked(engine)})
        while not isinstance((await taken(told))[0], GpusTold):
            pass
        assert exporters.failing() == {}


async def test_tokens() -> None:
    """Sent to the exporters of pools that have one, of no other; one whose file is missing asks nothing."""
    tokens = {"chat": "secret", "lost": None}
    async with serving(Engine(page=PAGE.decode())) as engine, asking(token=tokens.get) as (exporters, told):
        exporters.set_endpoints({A: asked(engine, has_token=True)})
        await taken(told)
        exporters.set_endpoints({A: asked(engine)})
        await taken(told, 3)
        assert engine.tokens[0] == "Bearer secret"
        assert engine.tokens[-1] == ""
        exporters.set_endpoints({A: asked(engine, pool="lost", has_token=True)})
        while not isinstance((await taken(told))[0], GpusUntold):
            pass
        assert list(exporters.failing().values()) == ["the token file for it is missing"]


async def test_tls_of_the_pool() -> None:
    """Is for https alone; without its files nothing is sent."""
    wanted: list[str] = []

    def tls(pool: str) -> PodTls:
        wanted.append(pool)
        return PodTls(context=None)

    async with serving(Engine(page=PAGE.decode())) as engine, asking(pod_tls=tls) as (exporters, told):
        exporters.set_endpoints({A: asked(engine)})
        assert isinstance((await taken(told))[0], GpusTold)
        assert wanted == []
        exporters.set_endpoints({A: asked(engine, url=f"https://{engine.address}/metrics")})
        while not isinstance((await taken(told))[0], GpusUntold):
            pass
        assert wanted[0] == "chat"
        assert list(exporters.failing().values()) == ["the certificates for its pool are missing"]
        assert engine.connections


async def test_plain_text_where_tls_is_wanted() -> None:
    """The words of the library are shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with serving(Engine()) as engine, asking(pod_tls=lambda pool: PodTls(context=context)) as (exporters, told):
        exporters.set_endpoints({A: asked(engine, url=f"https://{engine.address}/")})
        assert await taken(told) == [GpusUntold(address=A, at=3.0)]
        assert exporters.failing()


async def test_a_rotation_of_endpoints() -> None:
    """Who leaves is asked for no more, also when nobody stays; stopping twice is harmless."""
    page = json.dumps([{"uuid": "a", "pod": "llama-0"}])
    async with serving(Engine(page=page)) as engine, asking() as (exporters, told):
        exporters.set_endpoints({})
        exporters.set_endpoints({A: asked(engine)})
        await taken(told)
        exporters.set_endpoints({B: asked(engine)})
        await taken(told)
        while (await taken(told))[0].address != B:
            pass
        exporters.set_endpoints({})
        await exporters.stop()
        before = engine.seen
        await asyncio.sleep(0.05)
        assert engine.seen == before
        await exporters.stop()

"""One look at an engine or at a saved page of it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from ext_proc.signals.engines.table import ADAPTERS
from ext_proc.signals.fetch import PageClient
from ext_proc.signals.numbers import FIELDS
from ext_proc.signals.probe import MEANS, Asked, probe_page, probe_url
from sim.dialects import DIALECTS
from sim.pod import Pod, PodSpec
from tests.unit.ext_proc.signals.pages import page


@pytest_asyncio.fixture
async def client() -> AsyncIterator[PageClient]:
    """A client for pages."""
    made = PageClient(timeout_s=20)
    yield made
    await made.close()


@pytest.mark.parametrize("engine", DIALECTS)
async def test_a_running_engine_is_recognised(engine: str, client: PageClient) -> None:
    """By the owner of its models, else by its page; and then all of its pages are read."""
    async with Pod(PodSpec(name="p", models=("m",), dialect=engine)) as pod:
        found = await probe_url(f"http://{pod.address}", client)
        assert found.adapter is ADAPTERS[engine]
        assert ("models" in found.known_by) is bool(DIALECTS[engine].owner)
        assert found.scrape.tells_load
        pages = ADAPTERS[engine].pages if DIALECTS[engine].owner else ADAPTERS[engine].pages[:1]
        assert [seen.place for seen in found.pages] == [f"http://{pod.address}{each.path}" for each in pages]
        assert all(seen.size and not seen.error for seen in found.pages)
        assert set(found.missing) | set(found.scrape.values()) | {"prefix_hit_rate"} == set(FIELDS)


async def test_records_are_not_taken_unasked(client: PageClient) -> None:
    """`trtllm-serve` keeps its records, unless their page is named."""
    async with Pod(PodSpec(name="p", models=("m",), dialect="trtllm")) as pod:
        await probe_url(f"http://{pod.address}/", client)
        found = await probe_url(f"http://{pod.address}/metrics", client)
        assert found.adapter is ADAPTERS["trtllm"]
        assert found.scrape.max_running is not None
        again = await probe_url(f"http://{pod.address}/metrics", client, Asked(engine="trtllm"))
        assert not again.scrape.tells_load
        assert "iteration" in again.missing["running"][0]


async def test_what_is_not_there(client: PageClient) -> None:
    """A page that the engine does not have is listed with what it needs; nobody at all is listed, too."""
    async with Pod(PodSpec(name="p", models=("m",), dialect="vllm")) as pod:
        found = await probe_url(f"http://{pod.address}", client, Asked(engine="sglang"))
        assert [seen.error.partition(";")[0] for seen in found.pages] == ["HTTP 404", ""]
        assert "0.5.9" in found.pages[0].error
        assert not found.scrape.tells_load
        assert found.missing["running"][1] == MEANS["running"]
    gone = await probe_url(f"http://{pod.address}", client)
    assert gone.adapter is None
    assert "cannot connect" in gone.pages[0].error
    assert gone.missing == {}


async def test_another_port(client: PageClient) -> None:
    """Triton is asked on its port of metrics, also with an address of IPv6."""
    for host in ("127.0.0.1", "[::1]"):
        found = await probe_url(f"http://{host}:1", client, Asked(engine="triton"))
        assert [seen.place for seen in found.pages] == [f"http://{host}:8002/metrics"]


@pytest.mark.parametrize("url", ["ftp://a", "http://", "127.0.0.1:80", "http:///metrics"])
async def test_no_url(url: str, client: PageClient) -> None:
    """What is no URL says so."""
    with pytest.raises(ValueError, match="is no URL"):
        await probe_url(url, client)


def test_saved_pages() -> None:
    """A page is read as the engine's that it is by its names, or as was said."""
    body = page("vllm-0.32.0.prom")
    found = probe_page("file", body)
    assert (found.adapter, found.known_by) == (ADAPTERS["vllm"], "by the names on the page")
    assert found.scrape.sources["running"] == "vllm:num_requests_running"
    assert found.pages[0].size == len(body)
    assert probe_page("file", body, "sglang").scrape.values() == {}
    assert probe_page("file", page("captured/llamacpp-b11549-slots.json"), "llamacpp").scrape.max_running == 4
    custom = probe_page("file", body, "custom", {"running": "vllm:num_requests_waiting"})
    assert custom.scrape.values() == {"running": 118}
    assert custom.missing["waiting"][0] == "no metric is named for it"
    assert probe_page("file", b"<html>").adapter is None


@pytest.mark.parametrize(
    ("engine", "metrics", "words"),
    [
        ("custom", None, "needs the names"),
        ("vllm", {"running": "x"}, "are known"),
        ("", {"running": "x"}, "custom"),
        ("klingon", None, "klingon"),
        ("custom", {"speed": "x"}, "not one of"),
    ],
)
def test_what_cannot_be_asked(engine: str, metrics: dict[str, str] | None, words: str) -> None:
    """Engines that nobody knows, and names where they are not wanted or not there."""
    with pytest.raises(ValueError, match=words):
        probe_page("file", b"", engine, metrics)


def test_everything_has_a_meaning() -> None:
    """For each number it is said what follows when it is not told."""
    assert set(MEANS) == set(FIELDS)

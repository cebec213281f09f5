"""Simulated pods in each engine's dialect, read by the picker's own scraper for that engine."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control_plane.cli.pods import DIALECTS as LISTED
from ext_proc.signals.engines.table import ADAPTERS, reader_of, recognised
from ext_proc.signals.numbers import Scrape, merged
from sim.dialects import DIALECTS, JSON, State
from sim.engine import DEMO, Gauges
from sim.metrics import Observations

GAUGES = Gauges(
    running=3, waiting=2, kv_usage=0.25, prompt_tokens=800, cached_tokens=320, generation_tokens=90,
    prefix_queries=800, prefix_hits=320, preemptions=1, steps=70,
)  # fmt: skip
IDLE = Gauges()


def state(gauges: Gauges = GAUGES, last_read: Gauges | None = None) -> State:
    """A pod with these numbers."""
    return State(model='m"1', profile=DEMO, gauges=gauges, seen=Observations(), created=1.7e9, last_read=last_read)


def look(engine: str, gauges: Gauges) -> Scrape:
    """What the scraper for that engine reads, from all of its pages together."""
    found = Scrape()
    for page in ADAPTERS[engine].pages:
        answer = DIALECTS[engine].pages[page.path.partition("?")[0]](state(gauges))
        found = merged(found, page.read(answer.body.encode()))
    return found


@pytest.mark.parametrize("engine", DIALECTS)
def test_each_dialect_is_read_by_its_scraper(engine: str) -> None:
    """The load as it is, and of all else what the engine tells."""
    for gauges in (GAUGES, IDLE):
        found = look(engine, gauges)
        assert (found.running, found.waiting) == (gauges.running, gauges.waiting)
        for name in ("prompt_tokens", "generation_tokens", "prefix_queries", "prefix_hits", "preemptions"):
            assert getattr(found, name) in (None, getattr(gauges, name)), name
        assert found.kv_usage in (None, pytest.approx(gauges.kv_usage, abs=1e-3))
        assert found.kv_tokens in (None, DEMO.kv_tokens, DEMO.kv_tokens // DEMO.max_batch * DEMO.max_batch)
        assert found.block_size in (None, DEMO.block_size)
        assert found.max_running in (None, DEMO.max_batch)


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm", "llamacpp"])
def test_what_engines_with_a_cache_tell(engine: str) -> None:
    """Usage, capacity and hits are told by these in any case."""
    found = look(engine, GAUGES)
    assert None not in (found.kv_usage, found.kv_tokens, found.prefix_hits, found.prefix_queries)


@pytest.mark.parametrize("engine", DIALECTS)
def test_pages_are_lawful(engine: str) -> None:
    """Prometheus' own parser takes each page that is in its format, and each is known for whose it is."""
    for path, render in DIALECTS[engine].pages.items():
        answer = render(state())
        if answer.content_type != JSON:
            assert list(text_string_to_metric_families(answer.body))
        found = recognised(answer.body.encode())
        assert found is not None, path
        assert found[0].engine == engine


def test_records_are_taken_away() -> None:
    """`trtllm-serve` shows an iteration once: who comes second, or finds the engine idle, gets an empty list."""
    render = DIALECTS["trtllm"].pages["/metrics"]
    read = reader_of(ADAPTERS["trtllm"], "/metrics")
    first = read(render(state()).body.encode())
    assert (first.running, first.waiting, first.max_running) == (3, 2, DEMO.max_batch)
    assert render(state(last_read=GAUGES)).body == "[]"
    assert render(state(last_read=IDLE)).body != "[]"


def test_owners() -> None:
    """Whom an engine calls the owner of its models is by what a probe knows it."""
    for engine, dialect in DIALECTS.items():
        assert dialect.owner == ADAPTERS[engine].owner


def test_the_verb_knows_all() -> None:
    """`kvpilot pods` lists them without loading them."""
    assert set(LISTED) == set(DIALECTS)

"""Metrics pages of real engines, hostile pages, and Prometheus' own parser as the judge of both."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ext_proc.signals.exposition import Scrape, parse_metrics

PAGES = Path(__file__).parents[3] / "data" / "metrics"

EXPECTED = {
    "vllm-0.32.prom": Scrape(running=6, waiting=12, kv_usage=0.873015873015873, block_size=32, kv_tokens=2048),
    "vllm-0.32-dp4.prom": Scrape(running=29, waiting=7, kv_usage=0.285, block_size=16, kv_tokens=384_000),
    "vllm-0.10.prom": Scrape(running=31, waiting=9, kv_usage=0.9642, block_size=16, kv_tokens=220_352),
    "vllm-0.6.prom": Scrape(running=12, waiting=5, kv_usage=0.4128, block_size=16, kv_tokens=440_688),
    "sglang-0.5.23-dp2.prom": Scrape(running=55, waiting=4, kv_usage=0.63, block_size=64, kv_tokens=1_426_816),
    "sglang-0.5.9.prom": Scrape(running=9, waiting=1, kv_usage=0.38, block_size=64, kv_tokens=713_408),
    "llamacpp.prom": Scrape(running=4, waiting=2),
}


@pytest.mark.parametrize(("name", "scrape"), EXPECTED.items())
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_engines(name: str, scrape: Scrape, newline: bytes) -> None:
    """Each engine's page gives its numbers: ranks summed, usage averaged, with either kind of line end."""
    found = parse_metrics((PAGES / name).read_bytes().replace(b"\n", newline))
    assert found.kv_usage == pytest.approx(scrape.kv_usage)
    assert (found.running, found.waiting, found.block_size, found.kv_tokens) == (
        scrape.running,
        scrape.waiting,
        scrape.block_size,
        scrape.kv_tokens,
    )


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("vllm")])
def test_engines_by_the_other_parser(name: str) -> None:
    """Prometheus' own parser sums the same numbers out of the same pages."""
    text = (PAGES / name).read_text()
    found = parse_metrics(text.encode())
    assert found.running == oracle(text, "vllm:num_requests_running")
    swapped = oracle(text, "vllm:num_requests_swapped") or 0
    assert found.waiting == (oracle(text, "vllm:num_requests_waiting") or 0) + swapped


def oracle(text: str, name: str) -> float | None:
    """The sum of a family's usable samples, read by `prometheus_client`."""
    values = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and math.isfinite(sample.value) and sample.value >= 0
    ]
    return sum(values) if values else None


LABEL_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(
    st.integers(0, 10**6).map(float), st.floats(0, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, -1.0])
)


@given(rows=st.dictionaries(st.tuples(LABEL_TEXTS, LABEL_TEXTS), VALUES, min_size=1, max_size=5))
def test_any_page_of_the_other_writer(rows: dict[tuple[str, str], float]) -> None:
    """Whatever labels and values Prometheus' own writer puts on a page, both readers find the same sum."""
    registry = CollectorRegistry()
    gauge = Gauge("vllm:num_requests_waiting", "Any { text }", ["model_name", "engine"], registry=registry)
    for labels, value in rows.items():
        gauge.labels(*labels).set(value)
    page = generate_latest(registry)
    expected = oracle(page.decode(), "vllm:num_requests_waiting")
    assert parse_metrics(page).waiting == (None if expected is None else int(expected))


@pytest.mark.parametrize(
    ("page", "waiting"),
    [
        (b'vllm:num_requests_waiting{model_name="m"} 3.0\r\n', 3),
        (b'vllm:num_requests_waiting{a="1"} 1.0\nvllm:num_requests_waiting{a="1"} 9.0\n', 9),
        (b'vllm:num_requests_waiting{model="a"} 1\nvllm:num_requests_waiting{model="b"} 2\n', 3),
        (b'vllm:num_requests_waiting{model_name="m"} 1.2e+01 1795210200123\n', 12),
        (b'vllm:num_requests_waiting{model_name="a\\"b\\\\c\\n,}{",engine="0"} 5.0\n', 5),
        (b'vllm:num_requests_waiting{ model_name = "m" , engine = "0" , } 6.0\n', 6),
        (b'vllm:num_requests_waiting {a="b"}  6.0\n', 6),
        (b'vllm:num_requests_waiting{a="b"}6\n', 6),
        (b"vllm:num_requests_waiting\t7\n", 7),
        (b"vllm:num_requests_waiting{} 7\n", 7),
        (b'vllm:num_requests_waiting{a="b"} 4.0', 4),
        (b'vllm:num_requests_waiting{a="\xff\xfe"} 3.0\n', 3),
        (b'vllm:num_requests_waiting{a="b"} 7.0 # {trace_id="abc"} 1.0 1795210200.1\n# EOF\n', 7),
        (b'{"vllm:num_requests_waiting","model_name"="m"} 8.0\n', 8),
        (b'{"vllm:num_requests_waiting"} 8.0\n', 8),
        (b"llamacpp:requests_deferred 2\n", 2),
        (b'sglang:num_queue_reqs{priority=""} 5\nsglang:num_queue_reqs{priority="1"} 3\n', 5),
        (b'sglang:num_queue_reqs{tp_rank="0"} 5\nsglang:num_queue_reqs{tp_rank="1"} 5\n', 5),
        (b'sglang:num_queue_reqs{tp_rank="0",dp_rank="0"} 5\nsglang:num_queue_reqs{tp_rank="0",dp_rank="1"} 2\n', 7),
    ],
)
def test_odd_pages(page: bytes, waiting: int) -> None:
    """Lawful oddities and common mistakes of writers are read for what they mean."""
    assert parse_metrics(page).waiting == waiting


@pytest.mark.parametrize(
    "page",
    [
        b"",
        b"\n",
        b"<!doctype html><html><body>502 Bad Gateway</body></html>",
        b'[{"numActiveRequests": 3}]',
        b'vllm:num_requests_waiting{model_name="m"} NaN\n',
        b'vllm:num_requests_waiting{model_name="m"} +Inf\n',
        b'vllm:num_requests_waiting{model_name="m"} -1.0\n',
        b'vllm:num_requests_waiting{model_name="m"} 1e300\n',
        b'vllm:num_requests_waiting{model_name="m"} three\n',
        b'vllm:num_requests_waiting{engine="0",mod',
        b'vllm:num_requests_waiting{engine="0"}',
        b'vllm:num_requests_waiting{engine="0"} ',
        b'vllm:num_requests_waiting{engine="0\n"} 3\n',
        b"vllm:num_requests_waiting 33333333333333333333333333333333333333333333\n",
        b'vllm:num_requests_waiting_by_reason{reason="capacity"} 12.0\n',
        b'my_vllm:num_requests_waiting{a="b"} 12.0\n',
        b"# HELP vllm:num_requests_waiting 12\n# TYPE vllm:num_requests_waiting gauge\n",
        b'vllm:prompt_tokens_created{model_name="m"} 1.7952e+09\n',
        b'sglang:num_queue_reqs{priority="1"} 3\n',
    ],
)
def test_nothing_to_read(page: bytes) -> None:
    """What tells nothing is None, never zero and never an exception."""
    assert parse_metrics(page) == Scrape()


def test_broken_line_spoils_itself_only() -> None:
    """A line with an open quote does not swallow the next one."""
    page = b'vllm:num_requests_running{a="b} 1\nvllm:num_requests_waiting{a="b"} 2\n'
    assert parse_metrics(page) == Scrape(waiting=2)


@pytest.mark.parametrize(
    ("text", "usage"), [("0.95", 0.95), ("1.0", 1.0), ("1.005", 1.0), ("93.0", 0.93), ("101", None), ("-1", None)]
)
def test_usage(text: str, usage: float | None) -> None:
    """Usage is a ratio; a little over one is rounding, more was meant as per cent, nonsense is not told."""
    assert parse_metrics(f"vllm:kv_cache_usage_perc {text}\n".encode()).kv_usage == usage


@pytest.mark.parametrize(
    ("labels", "block_size", "kv_tokens"),
    [
        ('block_size="16",num_gpu_blocks="100"', 16, 1600),
        ('block_size="16",num_gpu_blocks="None"', 16, None),
        ('block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="1500"', 16, 1500),
        ('block_size="16",num_gpu_blocks="99999999999999999999999"', 16, None),
        ('enable_prefix_caching="True"', None, None),
        ('note="block_size=\\"8\\"",block_size="16"', 16, None),
    ],
)
def test_cache_config(labels: str, block_size: int | None, kv_tokens: int | None) -> None:
    """Block size and capacity come from labels, where they are numbers."""
    found = parse_metrics(f"vllm:cache_config_info{{{labels}}} 1.0\n".encode())
    assert (found.block_size, found.kv_tokens) == (block_size, kv_tokens)


@given(st.binary(max_size=300))
def test_garbage(page: bytes) -> None:
    """No page raises."""
    parse_metrics(page)


@given(page=st.sampled_from(list(EXPECTED)), cut=st.integers(0, 3_000))
def test_cut_pages(page: str, cut: int) -> None:
    """A page that was cut off gives what is whole in it, and no row more than that."""
    whole = (PAGES / page).read_bytes()
    found = parse_metrics(whole[:cut])
    rows = re.findall(
        rb"(?m)^\S*(?:num_requests_running|num_running_reqs|requests_processing)(?:\{.*\})? \S", whole[:cut]
    )
    assert (found.running is None) == (not rows)

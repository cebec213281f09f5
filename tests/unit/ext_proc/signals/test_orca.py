"""ORCA's texts: which metrics they hold, and which numbers those are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import LoadReported
from ext_proc.signals import orca


def test_text_of_vllm() -> None:
    """As vLLM 0.32 sends it: a comma and a space between the pairs."""
    text = "named_metrics.num_requests_waiting=2.0, named_metrics.kv_cache_usage_perc=0.25"
    assert orca.numbers_of(orca.metrics_of_text(text), orca.NAMES) == {"waiting": 2, "kv_usage": 0.25}


def test_text_with_bad_pairs() -> None:
    """What is no pair of a name and a number is left out, nonsense too; of two with one name the first counts."""
    text = "a=1,b,=,c=x,d=-1,e=nan,f=inf,g=1e99,a=2,cpu_utilization=0.5,"
    assert orca.metrics_of_text(text) == {"a": 1.0, "cpu_utilization": 0.5}
    assert orca.metrics_of_text("") == {}


@pytest.mark.parametrize(
    "text",
    [
        '{"named_metrics": {"num_requests_waiting": 2.0}, "cpu_utilization": 0.5}',
        '{"namedMetrics": {"num_requests_waiting": 2}, "cpuUtilization": "0.5"}',
    ],
)
def test_json(text: str) -> None:
    """In vLLM's spelling and in protobuf's."""
    assert orca.metrics_of_json(text) == {"named_metrics.num_requests_waiting": 2.0, "cpu_utilization": 0.5}


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "null", "[" * 100_000, '{"rps": ' + "9" * 5_000 + "}", "\ud800"])
def test_json_that_is_none(text: str) -> None:
    """An error, and no other one than this."""
    with pytest.raises(ValueError):  # noqa: PT011 -- of any text
        orca.metrics_of_json(text)


def test_json_with_other_values() -> None:
    """Whatever is no number where one belongs is left out."""
    text = (
        '{"named_metrics": {"a": true, "b": null, "c": [1], "d": "x", "e": 3}, "utilization": 5, "eps": {}, "rps": NaN}'
    )
    assert orca.metrics_of_json(text) == {"named_metrics.e": 3.0}


def test_reports_are_bounded() -> None:
    """Metrics beyond the limit are not read."""
    text = ",".join(f"m{number}=1" for number in range(orca.MAX_METRICS + 50))
    assert len(orca.metrics_of_text(text)) == orca.MAX_METRICS


def test_own_names_replace_known_ones() -> None:
    """A user's name for a number is the only one for it; shares may be in per cent."""
    names = orca.names_with({"kv_usage": "application_utilization", "running": ""})
    metrics = {
        "application_utilization": 55.0,
        "named_metrics.kv_cache_usage_perc": 0.1,
        "named_metrics.num_requests_running": 7.0,
    }
    assert orca.numbers_of(metrics, names) == {"kv_usage": 0.55, "running": 7}
    assert orca.numbers_of({"named_metrics.kv_cache_usage_perc": math.nan}, orca.NAMES) == {}


def test_each_number_is_one_of_a_report() -> None:
    """So that they fit into the event."""
    assert set(orca.NAMES) == set(orca.TOLD) <= set(LoadReported.__dataclass_fields__)


@given(st.text(max_size=200))
def test_any_text_gives_metrics(text: str) -> None:
    """And those are finite numbers that are not negative."""
    assert all(0 <= value < math.inf for value in orca.metrics_of_text(text).values())

"""Engines whose metrics the policy names."""

import pytest

from ext_proc.signals.engines.custom import MAX_METRIC, NAMEABLE, custom_adapter, custom_reader

PAGE = b"""app_requests{state="active",shard="0"} 3
app_requests{state="active",shard="1"} 4
app_requests{state="queued",shard="0"} 2
app_memory{shard="0"} 0.2
app_memory{shard="1"} 0.4
app_block{shard="0"} 16
app_block{shard="1"} 32
"""


def test_named_metrics() -> None:
    """Rows are chosen by labels and summed; shares are averaged, and of block sizes the largest counts."""
    read = custom_reader(
        {
            "running": 'app_requests{state="active"}',
            "waiting": 'app_requests{state="queued"}',
            "kv_usage": "app_memory",
            "block_size": "app_block",
            "kv_tokens": "app_nothing",
        }
    )
    found = read(PAGE)
    assert found.values() == {"running": 7, "waiting": 2, "kv_usage": pytest.approx(0.3), "block_size": 32}
    assert found.sources["running"] == 'app_requests{state="active"}'


@pytest.mark.parametrize("name", NAMEABLE)
def test_every_number_can_be_named(name: str) -> None:
    """Whatever is a number can have a metric."""
    assert custom_reader({name: "x"})(b"x 1\n").values() == {name: 1}


@pytest.mark.parametrize(
    ("name", "metric", "words"),
    [
        ("speed", "x", "not one of"),
        ("running_loras", "x", "not one of"),
        ("running", "", "not the name"),
        ("running", "two words", "not the name"),
        ("running", "x{a=1}", "not the name"),
        ("running", 'x{a="1"', "not the name"),
        ("running", 'x{a="\\"}', "not the name"),
        ("running", "x" * (MAX_METRIC + 1), "not the name"),
    ],
)
def test_what_cannot_be_named(name: str, metric: str, words: str) -> None:
    """A number that nobody knows and a metric that is none are refused."""
    with pytest.raises(ValueError, match=words):
        custom_reader({name: metric})


def test_adapter() -> None:
    """The page is where the policy says; what has no metric is said to have none."""
    adapter = custom_adapter({"running": "a", "waiting": "b"}, "/stats")
    assert [page.path for page in adapter.pages] == ["/stats"]
    assert "running" not in adapter.missing
    assert adapter.missing["kv_usage"] == "no metric is named for it"

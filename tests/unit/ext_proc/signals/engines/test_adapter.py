"""What adapters share."""

from ext_proc.signals.engines.table import ADAPTERS


def test_each_has_a_page_of_metrics() -> None:
    """Every engine has one page in Prometheus' format."""
    assert {adapter.metrics_path for adapter in ADAPTERS.values()} == {"/metrics", "/prometheus/metrics"}

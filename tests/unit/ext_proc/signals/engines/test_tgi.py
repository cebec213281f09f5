"""TGI's page."""

from ext_proc.signals.engines.tgi import read_tgi
from tests.unit.ext_proc.signals.pages import page


def test_page() -> None:
    """Gauges without labels."""
    assert read_tgi(page("tgi.prom")).values() == {"running": 11, "waiting": 6}


def test_tokens() -> None:
    """Sums of histograms count tokens."""
    found = read_tgi(b"tgi_request_input_length_sum 70\ntgi_request_generated_tokens_sum 9\n")
    assert found.values() == {"prompt_tokens": 70, "generation_tokens": 9}

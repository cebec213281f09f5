"""Hugging Face's Text Generation Inference: `/metrics`, without labels. Pure.

Names as in its `docs/source/reference/metrics.md`. Gauges appear with the first request, so a fresh one tells nothing.
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.exposition import Scanner
from ext_proc.signals.numbers import Numbers, Scrape

_RUNNING: Final = "tgi_batch_current_size"
_WAITING: Final = "tgi_queue_size"
# Sums of histograms: they grow when a request begins and when it ends.
_PROMPT: Final = "tgi_request_input_length_sum"
_GENERATED: Final = "tgi_request_generated_tokens_sum"

_SCAN: Final = Scanner((_RUNNING, _WAITING, _PROMPT, _GENERATED))


def read_tgi(page: bytes) -> Scrape:
    """The numbers of its page."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", samples.total(_RUNNING))
    numbers.take("waiting", samples.total(_WAITING))
    numbers.take("prompt_tokens", samples.total(_PROMPT))
    numbers.take("generation_tokens", samples.total(_GENERATED))
    return numbers.scrape()


_NOT_SHOWN: Final = "TGI does not show it"

TGI: Final = Adapter(
    engine="tgi",
    title="TGI",
    pages=(Page(path="/metrics", read=read_tgi, needs="nothing"),),
    prefixes=("tgi_",),
    missing={
        "running": "shown from the first request on",
        "waiting": "shown from the first request on",
        "prompt_tokens": "shown from the first request on",
        "generation_tokens": "shown from the first request on",
        **dict.fromkeys(
            (
                *("waiting_tokens", "max_running", "kv_usage", "block_size", "kv_tokens", "prefix_queries"),
                *("prefix_hits", "prefix_hit_rate", "preemptions", "running_loras", "waiting_loras", "max_loras"),
                "is_asleep",
            ),
            _NOT_SHOWN,
        ),
    },
)

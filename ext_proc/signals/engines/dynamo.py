"""NVIDIA Dynamo's frontend: `/metrics`, rows by model; many workers stand behind it. Pure.

Names as in its `dynamo/prometheus_names.py` (1.6). A request counts as in flight from its arrival to its end, and as
queued, too, until its first answer.
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.exposition import Scanner
from ext_proc.signals.numbers import Numbers, Scrape

_IN_FLIGHT: Final = ("dynamo_frontend_inflight_requests", "dynamo_frontend_active_requests")
_QUEUED: Final = "dynamo_frontend_queued_requests"
_BLOCK_SIZE: Final = "dynamo_frontend_model_kv_cache_block_size"

_SCAN: Final = Scanner((*_IN_FLIGHT, _QUEUED, _BLOCK_SIZE))


def read_dynamo(page: bytes) -> Scrape:
    """The numbers of the frontend's page, its models together."""
    samples, numbers = _SCAN(page), Numbers()
    in_flight, queued = samples.total(*_IN_FLIGHT), samples.total(_QUEUED)
    if in_flight is not None and queued is not None:
        numbers.take("running", (max(0.0, in_flight[0] - queued[0]), f"{in_flight[1]} - {queued[1]}"))
    numbers.take("waiting", queued)
    numbers.take("block_size", samples.largest(_BLOCK_SIZE))
    return numbers.scrape()


_BEHIND: Final = "known to the workers behind the frontend only"

DYNAMO: Final = Adapter(
    engine="dynamo",
    title="Dynamo frontend",
    pages=(Page(path="/metrics", read=read_dynamo, needs="nothing"),),
    prefixes=("dynamo_frontend_",),
    owner="nvidia",
    missing={
        "block_size": "shown once a worker has registered its model",
        **dict.fromkeys(
            (
                *("waiting_tokens", "max_running", "kv_usage", "kv_tokens", "prefix_queries", "prefix_hits"),
                *("prefix_hit_rate", "preemptions", "prompt_tokens", "generation_tokens", "running_loras"),
                *("waiting_loras", "max_loras", "is_asleep"),
            ),
            _BEHIND,
        ),
    },
)

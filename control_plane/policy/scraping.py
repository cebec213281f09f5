"""How the picker reads the engines' own numbers."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.health_checks import CHECK_PATH
from control_plane.policy.scalars import Integer, Text
from control_plane.policy.security import FILE
from control_plane.policy.units import Duration
from ext_proc.core.address import MAX_PORT
from ext_proc.signals.engines.custom import MAX_METRIC, METRIC

METRIC_NAME = Text('the name of a metric, such as `app_queue` or `app_requests{state="queued"}`', METRIC, MAX_METRIC)

_UNTOLD = ("", "not told")


def _metric(doc: str) -> str:
    """An optional name."""
    name: str = setting(METRIC_NAME, default="", absent=_UNTOLD, doc=doc)
    return name


@block()
class Metrics(Block):
    """Under which names an engine shows its numbers, for `engine: custom`.

    With labels behind the name only rows that have them count. Rows are added up, shares averaged.
    """

    running: str = setting(METRIC_NAME, doc="Requests in the batch.")
    waiting: str = setting(METRIC_NAME, doc="Requests that the engine has taken and not begun.")
    waiting_tokens: str = _metric("Prompt tokens of waiting requests that are in no cache.")
    max_running: str = _metric("Most requests in the batch.")
    kv_usage: str = _metric("Share of the KV memory that running requests hold, 0 to 1 or in per cent.")
    block_size: str = _metric("Tokens per KV block.")
    kv_tokens: str = _metric("KV memory in tokens.")
    prefix_queries: str = _metric("Prompt tokens looked up in the prefix cache; counts up.")
    prefix_hits: str = _metric("Prompt tokens found in the prefix cache; counts up.")
    prefix_hit_rate: str = _metric("The engine's own hit rate, 0 to 1 or in per cent.")
    preemptions: str = _metric("Requests that lost their memory and began again; counts up.")
    prompt_tokens: str = _metric("Prompt tokens of all requests; counts up.")
    generation_tokens: str = _metric("Tokens generated; counts up.")
    max_loras: str = _metric("LoRA adapters that fit into a batch.")


@block()
class Scrape(Block):
    """How the picker asks the engines of a pool for their numbers, beside what it knows from its own picks."""

    path: str = setting(
        CHECK_PATH,
        default="",
        absent=("", "where the engine has it"),
        doc="The page with the numbers. For `engine: trtllm`, `/metrics` is the statistics of its iterations: to read "
        "them takes them away from whoever else reads them.",
    )
    port: int | None = setting(
        Integer(1, MAX_PORT),
        default=None,
        absent=(None, "that of the endpoint; 8002 for `engine: triton`"),
        doc="Port of the page.",
    )
    interval_s: float = setting(
        Duration("20ms", "1m"),
        default=0.2,
        doc="Time between two looks at an endpoint with requests; an idle one is asked once a second.",
    )
    bearer_token_file: str = setting(
        FILE,
        default="",
        absent=("", "no token is sent"),
        doc="File with the token that the page wants (`authorization: Bearer …`); it is watched. Probes, lists of "
        "models and questions for tokens bring it, too. Without `tls` towards the pool it travels in the clear.",
    )
    metrics: Metrics | None = setting(
        BlockOf(Metrics),
        default=None,
        absent=(None, "those that the engine is known to have"),
        doc="The names of the numbers, for `engine: custom`.",
    )

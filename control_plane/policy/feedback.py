"""`feedback`: what Envoy reads from answers for kvpilot."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.load_balancing import METRIC_NAME
from control_plane.policy.scalars import Boolean, Choice

ASK_NOTHING = "NONE"
ASKED = ("TEXT", "JSON", ASK_NOTHING)


def _metric(doc: str) -> str:
    """An optional name."""
    name: str = setting(METRIC_NAME, default="", absent=("", "those that engines are known to have"), doc=doc)
    return name


@block()
class OrcaMetrics(Block):
    """The names of numbers in load headers, such as `named_metrics.my_queue` or `application_utilization`."""

    running: str = _metric("Requests in the batch.")
    waiting: str = _metric("Requests that the engine has taken and not begun.")
    waiting_tokens: str = _metric("Prompt tokens of waiting requests that are in no cache.")
    max_running: str = _metric("Most requests in the batch.")
    kv_usage: str = _metric("Share of the KV memory that running requests hold, 0 to 1 or in per cent.")
    kv_tokens: str = _metric("KV memory in tokens.")
    block_size: str = _metric("Tokens per KV block.")


@block()
class Orca(Block):
    """Load headers: `endpoint-load-metrics`, in which engines tell their load on each answer (ORCA), in the header or
    the trailer. They reach the picker with the access log, so that no answer waits for it.
    """

    ask: str = setting(
        Choice(ASKED),
        default="TEXT",
        doc="What requests ask engines for by `endpoint-load-metrics-format`, which vLLM needs; `NONE`: nothing is "
        "asked. A client that asks by itself gets its own way.",
    )
    hide: bool = setting(Boolean(), default=True, doc="Whether the header is kept from clients.")
    metrics: OrcaMetrics = setting(BlockOf(OrcaMetrics), default=OrcaMetrics(), doc="Names of the numbers.")


@block()
class Feedback(Block):
    """What Envoy reads from answers for kvpilot."""

    usage: bool = setting(
        Boolean(),
        default=True,
        doc="Whether token counts are read from answers (of streams, too, from Envoy 1.38 on), for metrics and logs. "
        "For it Envoy holds plain answers until they are complete, up to 64 MiB.",
    )
    orca: Orca | None = setting(
        BlockOf(Orca),
        default=None,
        absent=(None, "load headers are not read"),
        doc="How the picker reads the load that engines tell on their answers. `docs/load_reports.md` says more.",
    )

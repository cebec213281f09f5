"""Rules about what counts against an endpoint."""

from control_plane.policy.checks_gpu import label_of_nobody, share_that_is_always_used
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.endpoint_health import COUNTING_ENGINES, EndpointHealth
from control_plane.policy.gpu_health import GpuHealth
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader

_OF_SCRAPES = ("scrapes", "stuckAfter")


def _without_scrapes(pool: Pool, path: str, reader: Reader) -> None:
    if pool.scrape is None:
        reader.report_idle(f"{path}.health", _OF_SCRAPES, "engines are not asked (`scrape: off`): `{key}` does nothing")


def _engine_that_does_not_count(pool: Pool, path: str, reader: Reader) -> None:
    if pool.scrape is not None and pool.engine not in COUNTING_ENGINES and pool.health.stuck_after_s is not None:
        message = f"{quoted(pool.engine)} does not count tokens as they come: `{{key}}` does nothing"
        reader.report_idle(f"{path}.health", ("stuckAfter",), message)


def _memory_that_is_always_used(health: EndpointHealth, path: str, reader: Reader) -> None:
    if health.max_kv_usage == 0:
        message = "every endpoint uses 0% of its memory at least, so all would be degraded"
        reader.report_at(f"{path}.maxKvUsage", Code.OUT_OF_BOUNDS, message, "`off` does not look at it")


HEALTH_RULES: dict[type, tuple[BlockRule, ...]] = {
    Pool: (_without_scrapes, label_of_nobody, _engine_that_does_not_count),
    EndpointHealth: (_memory_that_is_always_used,),
    GpuHealth: (share_that_is_always_used,),
}

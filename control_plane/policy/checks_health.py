"""Rules about what counts against an endpoint."""

from control_plane.policy.checks_gpu import gpus_of_several, label_of_nobody, share_that_is_always_used
from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.endpoint_health import COUNTING_ENGINES, EndpointHealth
from control_plane.policy.gpu_health import GpuHealth
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader

_OF_SCRAPES = ("scrapes", "stuckAfter")

_GENERATING_PAGES = ("/health", "/health_generate")
_GENERATES_FOR_S = 1.0
"""SGLang answers both by generating a token, and no sooner than this (its `http_server.py`; `/ready`, from 0.5.20 on,
answers at once)."""


def _without_scrapes(pool: Pool, path: str, reader: Reader) -> None:
    if pool.scrape is None:
        reader.report_idle(f"{path}.health", _OF_SCRAPES, "engines are not asked (`scrape: off`): `{key}` does nothing")


def _engine_that_does_not_count(pool: Pool, path: str, reader: Reader) -> None:
    if pool.scrape is not None and pool.engine not in COUNTING_ENGINES and pool.health.stuck_after_s is not None:
        message = f"{quoted(pool.engine)} does not count tokens as they come: `{{key}}` does nothing"
        reader.report_idle(f"{path}.health", ("stuckAfter",), message)


def _page_that_takes_longer(pool: Pool, path: str, reader: Reader) -> None:
    """A question that no SGLang answers in time: every check fails, and nobody is used without a pick."""
    if pool.engine != "sglang":
        return
    checks, probe = pool.health_check, pool.health.probe
    asked = []
    if checks is not None and checks.http is not None and checks.port is None:
        asked.append((f"{path}.healthCheck", checks.http.path, checks.timeout_s))
    if probe is not None:
        asked.append((f"{path}.health.probe", probe.path, probe.timeout_s))
    for place, page, timeout_s in asked:
        if page in _GENERATING_PAGES and timeout_s <= _GENERATES_FOR_S:
            message = f"SGLang takes a second for {quoted(page)}, and this waits for {timeout_s:g} s: every check fails"
            reader.report_at(place, Code.SLOW_PAGE, message, "timeout: 5s, or the page `/ready` (SGLang 0.5.20)")


def _memory_that_is_always_used(health: EndpointHealth, path: str, reader: Reader) -> None:
    if health.max_kv_usage == 0:
        message = "every endpoint uses 0% of its memory at least, so all would be degraded"
        reader.report_at(f"{path}.maxKvUsage", Code.OUT_OF_BOUNDS, message, "`off` does not look at it")


HEALTH_RULES: dict[type, tuple[BlockRule, ...]] = {
    Pool: (
        _without_scrapes,
        label_of_nobody,
        gpus_of_several,
        _engine_that_does_not_count,
        _page_that_takes_longer,
    ),
    EndpointHealth: (_memory_that_is_always_used,),
    GpuHealth: (share_that_is_always_used,),
}

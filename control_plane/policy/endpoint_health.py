"""`pools.NAME.health`: what counts against an endpoint, and when Envoy is told of it."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.gpu_health import GpuHealth
from control_plane.policy.health_checks import CHECK_PATH
from control_plane.policy.scalars import Boolean, Integer, Percent
from control_plane.policy.units import Duration

MAX_MIRRORED_PERCENT = 50
"""What takes more than half of a pool out at once is rather the requests or the network, as in the picker's own
bound on ejections (`ext_proc.core.health`)."""

MAX_IN_A_ROW = 100
"""An endpoint is looked at once a second, at least: more than this would not be noticed at all."""

COUNTING_ENGINES = ("vllm",)
"""Engines whose counters of tokens grow with each step. Others count a request when it ends (older SGLang, llama.cpp),
or it is not known: one long answer would look like standing still."""


@block()
class HealthMirror(Block):
    """When Envoy is told what the picker has found out about an endpoint, for requests without a pick."""

    after_s: float = setting(
        Duration("0s", "10m"),
        default=2.0,
        doc="For so long without a break an endpoint must be out in the picker before Envoy is told. A first ejection "
        "ends after one second.",
    )
    clear_after_s: float = setting(
        Duration("0s", "1h"), default=5.0, doc="For so long it must be sound again before Envoy is told that."
    )
    max_percent: int = setting(
        Integer(0, MAX_MIRRORED_PERCENT, "percent"),
        default=MAX_MIRRORED_PERCENT,
        doc="The largest share of the pool that Envoy is told to be `UNHEALTHY`; who is out beyond that is `DEGRADED`. "
        "Together with `outlierDetection.maxEjectionPercent` it never takes all.",
    )


@block()
class Probe(Block):
    """Whether endpoints are ready, as they say themselves when they are asked."""

    path: str = setting(CHECK_PATH, default="/health", doc="The page that answers 200 when they are.")
    interval_s: float = setting(Duration("200ms", "10m"), default=5.0, doc="Time between two questions.")
    timeout_s: float = setting(
        Duration("10ms", "60s"), default=2.0, doc="An answer that takes longer is none: the bound on response time."
    )
    models: bool = setting(
        Boolean(),
        default=True,
        doc="Whether the first of the pool's models (else `prefixIndex.baseModel`) must be in `/v1/models`; endpoints "
        "without that page are not asked for it.",
    )


@block()
class Trial(Block):
    """How an endpoint that failed is asked for one token, before a request is risked there."""

    timeout_s: float = setting(
        Duration("10ms", "60s"),
        default=5.0,
        doc="An answer that takes longer is no sign of life.",
    )


@block()
class EndpointHealth(Block):
    """What counts against an endpoint, for picks and, mirrored, for Envoy.

    Degraded endpoints are named after the others, unhealthy ones only when nobody else is left. `docs/health.md` says
    more.
    """

    attempts: bool = setting(
        Boolean(),
        default=True,
        doc="Whether what becomes of requests may eject an endpoint: at once by a failed connection or a reset, after "
        "three failures in a row by 5xx answers and silence.",
    )
    scrapes: bool = setting(
        Boolean(),
        default=True,
        doc="Whether an endpoint is degraded whose metrics could be read, and cannot be read any more.",
    )
    heartbeat_timeout_s: float | None = setting(
        OrWord(Duration("1s", "1h"), "off", "silence says nothing"),
        default=30.0,
        doc="An endpoint that is scraped or reports its load is unhealthy when nothing was heard of it for so long.",
    )
    max_kv_usage: int | None = setting(
        OrWord(Percent(), "off", "memory is not looked at"),
        default=95,
        doc="An endpoint is degraded from this share of its KV memory on, until it is five percent below.",
    )
    stuck_after_s: float | None = setting(
        OrWord(Duration("1s", "1h"), "off", "not looked at"),
        default=30.0,
        doc="An endpoint of an engine that counts tokens as they come (`vllm`) is unhealthy when requests ran for so "
        "long and its counters stood still. A long prompt alone in an engine must be computed within it.",
    )
    probe: Probe | None = setting(
        OrWord(BlockOf(Probe), "off", "endpoints are not asked"),
        default=None,
        doc="An endpoint is unhealthy that is not ready, or does not say so in time; at once where nobody listens.",
    )
    gpu: GpuHealth | None = setting(
        OrWord(BlockOf(GpuHealth), "off", "hardware is not looked at"),
        default=None,
        doc="An endpoint is unhealthy whose GPU has failed, and degraded while one is too hot.",
    )
    trial: Trial | None = setting(
        OrWord(BlockOf(Trial), "off", "its pages or time must do"),
        default=Trial(),
        doc="Whether kvpilot itself asks an endpoint that was ejected, or answered with an error, for one token of the "
        "pool's model; no request is sent there before that is answered.",
    )
    failures: int = setting(
        Integer(1, MAX_IN_A_ROW), default=3, doc="How often in a row something must be found before it counts."
    )
    successes: int = setting(
        Integer(1, MAX_IN_A_ROW), default=2, doc="How often in a row it must not be found before it does not any more."
    )
    mirror: HealthMirror | None = setting(
        OrWord(BlockOf(HealthMirror), "off", "Envoy is told nothing"),
        default=HealthMirror(),
        doc="Whether and when Envoy is told, so that it avoids the same endpoints while there are no picks.",
    )

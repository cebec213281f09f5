"""When Envoy stops using an endpoint that fails: Istio's `outlierDetection`, and the rest of Envoy's detectors."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import OrWord
from control_plane.policy.decimals import Decimal
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import MAX_UINT32, Boolean, Integer, Percent
from control_plane.policy.units import Duration


@block()
class SuccessRate(Block):
    """Ejects endpoints that succeed far less often than the others; looked at every `interval`."""

    minimum_hosts: int = setting(
        Integer(1, MAX_UINT32), default=5, doc="Endpoints that must have had enough requests, or nobody is compared."
    )
    request_volume: int = setting(
        Integer(1, MAX_UINT32),
        default=100,
        doc="Requests within one interval that are enough for an endpoint to count.",
    )
    stdev_factor: float = setting(
        Decimal(0.0, 100.0),
        default=1.9,
        doc="How many standard deviations below the mean success rate ejects.",
    )
    enforcing_percent: int = setting(
        Percent(), default=100, doc="How often a found outlier is really ejected; 0: only counted, to try it out."
    )


@block()
class FailurePercentage(Block):
    """Ejects endpoints that fail more often than a fixed share; looked at every `interval`."""

    threshold: int = setting(
        Percent(), default=85, doc="Share of failed requests from which on an endpoint is ejected."
    )
    minimum_hosts: int = setting(
        Integer(0, MAX_UINT32), default=5, doc="Endpoints that the pool must have, or nobody is ejected so."
    )
    request_volume: int = setting(
        Integer(0, MAX_UINT32), default=50, doc="Requests within one interval that are enough for an endpoint to count."
    )
    enforcing_percent: int = setting(
        Percent(), default=100, doc="How often a found outlier is really ejected; 0: only counted, to try it out."
    )


@block(planned={"consecutiveErrors": "Istio's old word; write `consecutiveGatewayErrors`"})
class OutlierDetection(Block):
    """When Envoy stops using an endpoint that fails, on the path without a pick."""

    consecutive_5xx_errors: int = setting(
        Integer(0, MAX_UINT32), default=5, doc="5xx answers and failed connections in a row that eject; 0: never."
    )
    consecutive_gateway_errors: int | None = setting(
        OrWord(Integer(0, MAX_UINT32), "off", "not looked at"),
        default=None,
        doc="502, 503, 504 answers and failed connections in a row that eject; 0: never.",
    )
    split_external_local_origin_errors: bool = setting(
        Boolean(),
        default=True,
        doc="Whether failed connections, resets and timeouts are counted apart from answers, so that an answer in "
        "between does not hide them, nor the other way round. `false`: they count as 5xx and gateway errors.",
    )
    consecutive_local_origin_failures: int | None = setting(
        Integer(0, MAX_UINT32),
        default=None,
        absent=(None, "that of `consecutive5xxErrors`"),
        doc="Failed connections, resets and timeouts in a row that eject, where they are counted apart; 0: never.",
    )
    success_rate: SuccessRate | None = setting(
        OrWord(BlockOf(SuccessRate), "off", "not looked at"),
        default=None,
        doc="Ejection of endpoints that succeed far less often than the others.",
    )
    failure_percentage: FailurePercentage | None = setting(
        OrWord(BlockOf(FailurePercentage), "off", "not looked at"),
        default=None,
        doc="Ejection of endpoints that fail more often than a fixed share.",
    )
    interval_s: float = setting(Duration("1ms", "1h"), default=5.0, doc="How often ejected endpoints are looked at.")
    base_ejection_time_s: float = setting(
        Duration("1ms", "1h"), default=30.0, doc="How long the first ejection lasts; the n-th lasts n times as long."
    )
    max_ejection_time_s: float | None = setting(
        Duration("1ms", "24h"),
        default=None,
        absent=(None, "`5m`, or `baseEjectionTime` if that is longer"),
        doc="How long any ejection lasts at most.",
    )
    max_ejection_time_jitter_s: float = setting(
        Duration("0s", "1h"),
        default=0.0,
        doc="Up to how much longer an ejection lasts, at random, so that not all come back at once.",
    )
    max_ejection_percent: int = setting(Percent(), default=50, doc="Largest share of the pool that is ejected at once.")
    always_eject_one_host: bool = setting(
        Boolean(), default=False, doc="Whether one endpoint may be ejected although `maxEjectionPercent` allows none."
    )
    min_health_percent: int = setting(
        Percent(),
        default=0,
        doc="Panic threshold: with fewer healthy endpoints than this share, requests without a pick go to all of them, "
        "ejected and unhealthy ones included; 0: never.",
    )
    healthy_check_ends_ejection: bool = setting(
        Boolean(), default=True, doc="Whether a health check that succeeds (`healthCheck`) ends an ejection."
    )
    detect_degraded_hosts: bool = setting(
        Boolean(),
        default=False,
        doc="Whether an endpoint that answers with the header `x-envoy-degraded` is used only while the others are not "
        "enough, for as long as an ejection would last.",
    )

"""Ejections: what the policy says of failing endpoints, in Envoy's words."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.typed import Json, duration
from control_plane.policy.outliers import FailurePercentage, OutlierDetection, SuccessRate


def outlier_detection(settings: OutlierDetection, capabilities: Capabilities) -> Json:
    """`Cluster.outlier_detection`: only what the policy names ejects.

    Envoy's statistical ejections are on by default and are switched off here unless they are asked for. Failures to
    connect are counted apart from answers (`splitExternalLocalOriginErrors`), by default with the same threshold, so an
    answer in between does not hide a port that refuses, nor the other way round.
    """
    consecutive = settings.consecutive_5xx_errors
    local_origin = settings.consecutive_local_origin_failures
    result: Json = {
        "consecutive5xx": consecutive,
        "interval": duration(settings.interval_s),
        "baseEjectionTime": duration(settings.base_ejection_time_s),
        "maxEjectionPercent": settings.max_ejection_percent,
    }
    if settings.split_external_local_origin_errors:
        result["splitExternalLocalOriginErrors"] = True
        result["consecutiveLocalOriginFailure"] = consecutive if local_origin is None else local_origin
    if settings.consecutive_gateway_errors is not None:
        result["consecutiveGatewayFailure"] = settings.consecutive_gateway_errors
        result["enforcingConsecutiveGatewayFailure"] = 100
    result |= _success_rate(settings.success_rate, settings.split_external_local_origin_errors)
    result |= _failure_percentage(settings.failure_percentage, settings.split_external_local_origin_errors)
    if settings.max_ejection_time_s is not None:
        result["maxEjectionTime"] = duration(settings.max_ejection_time_s)
    if settings.max_ejection_time_jitter_s:
        result["maxEjectionTimeJitter"] = duration(settings.max_ejection_time_jitter_s)
    if settings.always_eject_one_host:
        result["alwaysEjectOneHost"] = True
    if not settings.healthy_check_ends_ejection:
        result["successfulActiveHealthCheckUnejectHost"] = False
    if settings.detect_degraded_hosts and capabilities.has(Feature.DEGRADED_BY_HEADER):
        result["detectDegradedHosts"] = True
    return result


def _success_rate(settings: SuccessRate | None, is_split: bool) -> Json:
    """Where errors are counted apart, one's own failures have a rate of their own, judged in the same way."""
    enforcing = 0 if settings is None else settings.enforcing_percent
    result: Json = {"enforcingSuccessRate": enforcing}
    if is_split:
        result["enforcingLocalOriginSuccessRate"] = enforcing
    if settings is not None:
        result["successRateMinimumHosts"] = settings.minimum_hosts
        result["successRateRequestVolume"] = settings.request_volume
        # Envoy's unit is a thousandth (`success_rate_stdev_factor`).
        result["successRateStdevFactor"] = round(settings.stdev_factor * 1000)
    return result


def _failure_percentage(settings: FailurePercentage | None, is_split: bool) -> Json:
    """Off by default in Envoy, too."""
    if settings is None:
        return {}
    result: Json = {
        "failurePercentageThreshold": settings.threshold,
        "enforcingFailurePercentage": settings.enforcing_percent,
        "failurePercentageMinimumHosts": settings.minimum_hosts,
        "failurePercentageRequestVolume": settings.request_volume,
    }
    if is_split:
        result["enforcingFailurePercentageLocalOrigin"] = settings.enforcing_percent
    return result
